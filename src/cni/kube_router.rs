//! `kube-router`: its routing, as `--run-router=true --run-firewall=true --run-service-proxy=false` sets it up.
//!
//! Pods are ports of kube-bridge. Nodes tell each other their podCIDRs by BGP; minik has the routes that come of it, and
//! no BGP. To a node of the same subnet goes a plain route (`proto 17`); for a node of another subnet there is an IP in
//! IP device of its own, `tun-` and a hash of the node's address. So that packets which came through a device are
//! answered through it whatever rp_filter says, what pods send is looked up in table 77 first, where the other nodes'
//! own addresses are behind their devices.
//!
//! Of the firewall there is what does not depend on policies; the chains for single pods (KUBE-POD-FW-…), which without
//! a policy let everything pass, are left out. Source: kube-router v2, pkg/controllers/routing, pkg/tunnels,
//! pkg/controllers/netpol/network_policy_controller.go, daemonset/generic-kuberouter.yaml.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use super::bridge_plugin::{self, Conf};
use crate::error::Result;
use crate::plan::netfilter::{Family, Match, Rule, Side, TableName, Target};
use crate::plan::{
    Datapath, File, IpSet, Keeper, Keeps, Link, LinkKind, Member, Namespace, Plan, PolicyRule, Protocol, Route,
    RouteTable,
};
use crate::topology::{Cluster, Mode, Node, OverlayType};

/// The bridge.
const BRIDGE: &str = "kube-bridge";
/// `name` of the network.
const NETWORK: &str = "mynet";
/// The table of the overlay, called `kube-router` in rt_tables.
const TABLE: RouteTable = RouteTable(77);
/// What `ip rule add` takes without a number: the next below `main`.
const PRIORITY: u32 = 32765;
/// Bytes of the outer header.
const IPIP: u32 = 20;
/// Destination ports of NodePorts, by default (`--service-node-port-range`).
const NODE_PORTS: (u16, u16) = (30000, 32767);
/// Marks what a policy accepted, and what it matched.
const ACCEPTED: u32 = 0x2_0000;
const MATCHED: u32 = 0x1_0000;

/// The plan of a cluster on whose nodes kube-router runs.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let conf = |node: &Node| {
        Ok(Conf {
            name: NETWORK,
            bridge: BRIDGE,
            mtu: mtu(cluster, node)?,
            hairpin_mode: false,
            promisc_mode: false,
            ip_masq: false,
            routes: vec![Ipv4Net::default().into()],
        })
    };
    let kube_router = |node: &Node, ns: &mut Namespace| {
        if cluster.network.options.kube_router.overlay.is_some() {
            let own = node.pod_cidr.map(|from| PolicyRule { priority: PRIORITY, from: from.into(), table: TABLE });
            ns.policy.extend(own);
        }
        for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
            add_peer(cluster, node, other, ns)?;
        }
        ns.sets = sets(cluster);
        // `--routes-sync-period`.
        ns.keepers.push(Keeper::new("kube-router", 60, Keeps::routes(Protocol::KubeRouter)));
        masquerade(ns);
        forward(node, ns);
        firewall(cluster.service_cidr, ns);
        if let Some(subnet) = node.pod_cidr {
            ns.files.push(conflist(subnet, mtu(cluster, node)?));
        }
        Ok(())
    };
    let flavour = bridge_plugin::Flavour { mode: Mode::KubeRouter, conf: &conf, node: &kube_router };
    bridge_plugin::plan(cluster, datapath, &flavour)
}

/// `--auto-mtu`: that of the NIC. IP in IP is not allowed for, so a pod learns of it by "fragmentation needed".
fn mtu(cluster: &Cluster, node: &Node) -> Result<u32> {
    Ok(cluster.network.mtu.unwrap_or(node.mtu))
}

/// The name of the device to a node.
fn tunnel_name(node: Ipv4Addr) -> String {
    let digest = Sha256::digest(node.to_string().replace('.', ""));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("tun-{}", &hex[..11])
}

/// The way to the pods of another node; none to another subnet without an overlay.
fn add_peer(cluster: &Cluster, node: &Node, other: &Node, ns: &mut Namespace) -> Result<()> {
    let Some(pods) = other.pod_cidr else { return Ok(()) };
    let by_kube_router = |route| Route { protocol: Protocol::KubeRouter, ..route };
    let same_subnet = node.segment == other.segment;
    match cluster.network.options.kube_router.overlay {
        Some(overlay) if !same_subnet || overlay == OverlayType::Full => {
            let tunnel = tunnel_name(other.address);
            let nic = node.mtu;
            let kind = LinkKind::IpipPeer { local: node.address, remote: other.address };
            ns.links.push(Link { mtu: Some(nic.saturating_sub(IPIP)), ..Link::new(&tunnel, kind) });
            let source = Some(node.address.into());
            ns.routes.push(by_kube_router(Route { src: source, ..Route::on_link(pods, &tunnel) }));
            ns.routes.push(Route { table: TABLE, ..Route::on_link(Ipv4Net::from(other.address), &tunnel) });
        }
        _ if same_subnet => ns.routes.push(by_kube_router(Route::via(pods, other.address, &node.nic))),
        _ => {}
    }
    Ok(())
}

/// Whose packets are pods', and which addresses are nodes'.
fn sets(cluster: &Cluster) -> Vec<IpSet> {
    let set = |name: &str, kind: &str, members: Vec<Ipv4Net>| {
        let mut members: Vec<Member> = members.into_iter().map(|net| Member::Net(net.into())).collect();
        members.sort();
        let (name, kind) = (name.to_string(), kind.to_string());
        IpSet { name, kind, family: Family::Inet, capacity: IpSet::CAPACITY, members }
    };
    let nodes = cluster.nodes.iter().map(|node| node.address.into()).collect();
    let pods = cluster.nodes.iter().filter_map(|node| node.pod_cidr).collect();
    vec![set("kube-router-node-ips", "hash:ip", nodes), set("kube-router-pod-subnets", "hash:net", pods)]
}

/// What pods send to neither a pod nor a node gets the node's address.
fn masquerade(ns: &mut Namespace) {
    let set = |name: &str, side, invert| Match::Set { name: name.to_string(), side, invert };
    ns.table(TableName::Nat).chain("POSTROUTING").rules.push(Rule {
        matches: vec![
            set("kube-router-pod-subnets", Side::Src, false),
            set("kube-router-pod-subnets", Side::Dst, true),
            set("kube-router-node-ips", Side::Dst, true),
        ],
        target: Some(Target::Masquerade { random_fully: true }),
        ..Rule::default()
    });
}

/// Pods' packets are forwarded whatever the policy of FORWARD says. Each rule is inserted as the first, so the last
/// comes first.
fn forward(node: &Node, ns: &mut Namespace) {
    let accept = |comment: &str, condition| commented(comment, vec![condition], Target::Accept);
    let out = |name: &str| Match::OutInterface { name: name.to_string() };
    ns.table(TableName::Filter).chain("FORWARD").rules.extend([
        accept("allow outbound node port traffic on node interface with which node ip is associated", out(&node.nic)),
        accept("allow inbound traffic to pods", out(BRIDGE)),
        accept("allow outbound traffic from pods", Match::InInterface { name: BRIDGE.to_string() }),
    ]);
}

fn commented(comment: &str, matches: Vec<Match>, target: Target) -> Rule {
    Rule { comments: vec![comment.to_string()], matches, target: Some(target), ..Rule::default() }
}

/// Sixteen characters of base32 over a rule's chain and words, by which kube-router finds it again.
fn with_id(chain: &str, comment: &str, before: &[&str], after: &[&str]) -> String {
    let words = [before, &["-m", "comment", "--comment", comment], after].concat();
    let digest = Sha256::digest(format!("{chain}{}", words.concat()));
    let bits = digest.iter().take(10).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let id = (0..16).rev().map(|at| char::from(letters[(bits >> (5 * at) & 31) as usize]));
    format!("{comment} - {}", id.collect::<String>())
}

/// The chains of policies, without any: kube-router's own come first in every built-in chain.
fn firewall(services: Ipv4Net, ns: &mut Namespace) {
    let filter = ns.table(TableName::Filter);
    for builtin in ["INPUT", "FORWARD", "OUTPUT"] {
        let own = format!("KUBE-ROUTER-{builtin}");
        let comment = with_id(builtin, "kube-router netpol", &[], &["-j", &own]);
        let jump = commented(&comment, Vec::new(), Target::Jump { chain: own.clone() });
        filter.chain(builtin).rules.insert(0, jump);
        if builtin == "INPUT" {
            filter.chain(&own).rules = allowed_in(&own, services);
        }
        let accepted = Match::Mark { value: ACCEPTED, mask: ACCEPTED, invert: false };
        let comment = "rule to explicitly ACCEPT traffic that comply to network policies";
        filter.chain(&own).rules.push(commented(comment, vec![accepted], Target::Accept));
    }
    let icmp = |comment: &str, number| {
        commented(comment, vec![Match::Protocol { number: 1 }, Match::IcmpType { number }], Target::Accept)
    };
    let mark = Target::SetMark { value: MATCHED, mask: MATCHED };
    filter.chain("KUBE-NWPLCY-DEFAULT").rules = vec![
        icmp("allow icmp echo requests", 8),
        icmp("allow icmp destination unreachable messages", 3),
        icmp("allow icmp time exceeded messages", 11),
        commented("rule to mark traffic matching a network policy", Vec::new(), mark),
    ];
}

/// Services are not what policies of the node's own pods are about.
fn allowed_in(chain: &str, services: Ipv4Net) -> Vec<Rule> {
    let range = services.to_string();
    let comment = "allow traffic to primary/secondary cluster IP range";
    let comment = with_id(chain, comment, &[], &["-d", &range, "-j", "RETURN"]);
    let to_services = Match::Destination { net: services.into(), invert: false };
    let mut rules = vec![commented(&comment, vec![to_services], Target::Return)];
    for (name, number) in [("tcp", 6), ("udp", 17)] {
        let ports = format!("{}:{}", NODE_PORTS.0, NODE_PORTS.1);
        let after = ["-m", "addrtype", "--dst-type", "LOCAL", "-m", "multiport", "--dports", &ports, "-j", "RETURN"];
        let comment = format!("allow LOCAL {} traffic to node ports", name.to_uppercase());
        let comment = with_id(chain, &comment, &["-p", name], &after);
        let matches = vec![
            Match::Protocol { number },
            Match::AddrTypeLocal { side: Side::Dst, invert: false, limit_iface_out: false },
            Match::DestinationPorts { ports: vec![NODE_PORTS] },
        ];
        rules.push(commented(&comment, matches, Target::Return));
    }
    rules
}

/// What its manifest installs, after kube-router put the node's podCIDR and MTU in.
fn conflist(subnet: Ipv4Net, mtu: u32) -> File {
    let content = format!(
        r#"{{"cniVersion":"0.3.0","name":"{NETWORK}","plugins":[{{"bridge":"{BRIDGE}","ipam":{{"subnet":"{subnet}","type":"host-local"}},"isDefaultGateway":true,"mtu":{mtu},"name":"kubernetes","type":"bridge"}},{{"capabilities":{{"portMappings":true,"snat":true}},"type":"portmap"}}]}}"#
    );
    File::new("/etc/cni/net.d/10-kuberouter.conflist", content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_the_ids_that_are_published() {
        for (chain, id) in
            [("INPUT", "4IA2OSFRMVNDXBVV"), ("FORWARD", "TEMCG2JMHZYE7H7T"), ("OUTPUT", "VEAAIY32XVBHCSCY")]
        {
            let comment = with_id(chain, "kube-router netpol", &[], &["-j", &format!("KUBE-ROUTER-{chain}")]);
            assert_eq!(comment, format!("kube-router netpol - {id}"));
        }
        let rules = allowed_in("KUBE-ROUTER-INPUT", "10.43.0.0/16".parse().unwrap());
        let comments: Vec<&str> = rules.iter().map(|rule| rule.comments[0].as_str()).collect();
        assert!(comments[1].ends_with("LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M"), "{comments:?}");
        assert!(comments[2].ends_with("LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ"), "{comments:?}");
        let older = ["-d", "10.43.0.0/16", "-j", "RETURN"];
        let comment = with_id("KUBE-ROUTER-INPUT", "allow traffic to primary cluster IP range", &[], &older);
        assert!(comment.ends_with(" - TZZOAXOCHPHEHX7M"), "{comment}");
    }

    #[test]
    fn a_tunnel_is_called_after_the_other_node() {
        // `printf 1012010 | sha256sum`
        assert_eq!(tunnel_name(Ipv4Addr::new(10, 1, 20, 10)), "tun-820da6d4b1f");
    }
}
