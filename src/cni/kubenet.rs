//! `kubenet`: kubelet's own network plugin, gone with Kubernetes 1.24.
//!
//! kubelet calls the bridge and host-local plugins for the bridge cbr0, masquerades what leaves the cluster, makes cbr0
//! promiscuous so that a pod can reach itself through a Service, and has ebtables drop the second copies that come of
//! it. It knows no other node: the routes between nodes are the cloud's, or the administrator's
//! ([`CloudRoutes`]). Sources: kubernetes v1.20, pkg/kubelet/dockershim/network/kubenet/kubenet_linux.go,
//! pkg/util/bandwidth/linux.go.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use super::bridge_plugin::{self, Conf};
use crate::error::{Error, Kind, Result};
use crate::plan::ebtables::{EbChain, EbRule, EbTarget};
use crate::plan::netfilter::{Match, Policy, Rule, Side, TableName, Target};
use crate::plan::{Datapath, Mac, Namespace, Plan, Qdisc, Role, Route};
use crate::topology::{CloudRoutes, Cluster, HairpinMode, Mode, Node, RouterPort};

/// The bridge.
const BRIDGE: &str = "cbr0";
/// The chain of ebtables for second copies.
const DEDUP: &str = "KUBE-DEDUP";
/// `default` of the root qdisc of cbr0, which tc reads as hexadecimal: `htb handle 1: default 30`.
const HTB_DEFAULT: u32 = 0x30;

/// The plan of a cluster whose kubelets have `--network-plugin=kubenet`.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let options = &cluster.network.options.kubenet;
    let promiscuous = options.hairpin_mode == HairpinMode::PromiscuousBridge;
    let conf = |node: &Node| {
        Ok(Conf {
            name: "kubenet",
            bridge: BRIDGE,
            mtu: mtu(cluster, node)?,
            hairpin_mode: options.hairpin_mode == HairpinMode::HairpinVeth,
            promisc_mode: promiscuous,
            ip_masq: false,
            routes: vec![Ipv4Net::default().into()],
        })
    };
    let kubelet = |node: &Node, ns: &mut Namespace| {
        masquerade(options.non_masquerade_cidr, ns);
        match options.routes {
            CloudRoutes::Nodes => static_routes(cluster, node, ns),
            CloudRoutes::Router | CloudRoutes::None => Ok(()),
        }
    };
    let flavour = bridge_plugin::Flavour { mode: Mode::Kubenet, conf: &conf, node: &kubelet };
    let mut plan = bridge_plugin::plan(cluster, datapath, &flavour)?;
    for ns in &mut plan.namespaces {
        if ns.role == Role::Node {
            settle_bridge(cluster, promiscuous, ns);
        } else if ns.role == Role::Router && options.routes == CloudRoutes::Router {
            route_table(cluster, ns);
        }
    }
    Ok(plan)
}

/// The smallest MTU of the node's NICs, of which it has one, unless `--network-plugin-mtu` says another.
fn mtu(cluster: &Cluster, node: &Node) -> Result<u32> {
    Ok(cluster.network.mtu.unwrap_or(node.mtu))
}

/// What leaves the cluster gets the node's address; nothing does if all addresses are said to be the cluster's.
fn masquerade(inside: Ipv4Net, ns: &mut Namespace) {
    if inside.prefix_len() == 0 {
        return;
    }
    ns.table(TableName::Nat).chain("POSTROUTING").rules.push(Rule {
        comments: vec!["kubenet: SNAT for outbound traffic from cluster".to_string()],
        matches: vec![
            Match::AddrTypeLocal { side: Side::Dst, invert: true, limit_iface_out: false },
            Match::Destination { net: inside.into(), invert: true },
        ],
        target: Some(Target::Masquerade { random_fully: false }),
        ..Rule::default()
    });
}

/// `ip route add 192.168.1.0/24 via 10.1.10.10`, by hand on every node.
fn static_routes(cluster: &Cluster, node: &Node, ns: &mut Namespace) -> Result<()> {
    for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
        if other.segment != node.segment {
            let message = format!(
                "{} cannot have a route to the pods of {} through {}: a router is between them",
                node.name, other.name, other.address
            );
            return Err(Error::new(Kind::Topology, message)
                .hint("write `network: {kubenet: {routes: router}}`, so that the router knows the way"));
        }
        ns.routes.extend(other.pod_cidr.map(|pods| Route::via(pods, other.address, &node.nic)));
    }
    Ok(())
}

/// The route table of a cloud: what its route controller tells each router.
fn route_table(cluster: &Cluster, ns: &mut Namespace) {
    let Some(router) = cluster.routers.iter().find(|router| router.name == ns.name) else { return };
    for node in &cluster.nodes {
        let way = router.way(node.address.into());
        let route = |(pods, (port, via)): (Ipv4Net, (&RouterPort, Option<IpAddr>))| {
            Route::via(pods, via.unwrap_or(node.address.into()), &port.nic)
        };
        ns.routes.extend(node.pod_cidr.zip(way).map(route));
    }
    ns.routes.sort_by_key(|route| (route.dst.addr(), route.dst.prefix_len()));
}

/// What kubelet does with the bridge after the plugin made it: the root of its shaping, and the rules against second
/// copies. A node without pods has no bridge yet.
fn settle_bridge(cluster: &Cluster, promiscuous: bool, ns: &mut Namespace) {
    let Some(node) = cluster.nodes.iter().find(|node| node.name == ns.name) else { return };
    let Some(bridge) = ns.links.iter_mut().find(|link| link.name == BRIDGE) else { return };
    bridge.qdisc = Some(Qdisc::Htb { default: HTB_DEFAULT });
    if let Some((mac, pods)) = bridge.mac.zip(node.pod_cidr).filter(|_| promiscuous) {
        ns.ebtables = dedup(mac, pods);
    }
}

/// A promiscuous bridge takes a frame that its own ports exchange for itself too, and so forwards it a second time. That
/// copy has the bridge's Ethernet address and a pod's IP address as source; what the gateway itself sends has its own.
fn dedup(bridge: Mac, pods: Ipv4Net) -> Vec<EbChain> {
    let from_bridge = |ip: Ipv4Net, target| EbRule {
        source: Some(bridge),
        out_interface: Some("veth+".to_string()),
        ip_source: Some(ip),
        target,
    };
    let gateway = Ipv4Net::from(pods.hosts().next().unwrap_or(pods.addr()));
    let rules = vec![from_bridge(gateway, EbTarget::Accept), from_bridge(pods, EbTarget::Drop)];
    let jump = EbTarget::Jump { chain: DEDUP.to_string() };
    let jump = EbRule { source: None, out_interface: None, ip_source: None, target: jump };
    let builtin = |name: &str| EbChain { name: name.to_string(), policy: Policy::Accept, rules: Vec::new() };
    vec![
        builtin("INPUT"),
        builtin("FORWARD"),
        EbChain { rules: vec![jump], ..builtin("OUTPUT") },
        EbChain { rules, ..builtin(DEDUP) },
    ]
}
