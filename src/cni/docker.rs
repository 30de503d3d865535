//! `docker`: no Kubernetes at all, but one machine with Docker and its four network modes.
//!
//! `bridge`: the container is a port of docker0, which has 172.17.0.1/16; it is masqueraded, and reached from outside by
//! its published ports only, for dockerd sets the policy of FORWARD to DROP. `container:NAME` and `host`: the container
//! lives in another namespace (see `guests`), as the containers of a pod live in that of its pause container. `none`: it
//! has `lo`. Rules as of Docker 18 to 27, with `--userland-proxy`, of which there is no process here: the machine itself
//! reaches a published port at its own address, and not at 127.0.0.1. Sources: moby v27, libnetwork/drivers/bridge
//! (setup_ip_tables_linux.go, port_mapping_linux.go), libnetwork/iptables, libnetwork/firewall_linux.go.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use sha1::{Digest, Sha1};

use super::bridge_plugin::{address, node_sysctls};
use super::underlay;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::netfilter::{CtState, Match, Policy, Rule, Side, TableName, Target};
use crate::plan::{Datapath, Link, LinkKind, Mac, Namespace, Plan, Role, Route, Sysctl};
use crate::topology::{Cluster, ContainerPort, Mode, Node, Pod, PodNetwork};

/// The bridge.
const BRIDGE: &str = "docker0";
/// Its address (`--bip`); containers have the addresses behind it.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// Prefix length of the bridge's network.
const LENGTH: u8 = 16;
/// A container's interface.
const NIC: &str = "eth0";
/// Bytes of a packet on the bridge: dockerd does not look at the NIC.
const MTU: u32 = 1500;

/// The plan of a cluster of machines with Docker.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let mut namespaces = underlay::namespaces(cluster)?;
    let mut containers: Vec<Namespace> = Vec::new();
    for node in &cluster.nodes {
        let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
        ns.sysctls = node_sysctls();
        dockerd(cluster, node, &mut ns);
        let pods = cluster.pods.iter().filter(|pod| pod.node == node.name && pod.network == PodNetwork::Own);
        let kept = |pod: &Pod| cluster.memory.pods.get(&pod.key()).and_then(|kept| kept.address);
        let mut taken: BTreeSet<Ipv4Addr> = pods.clone().filter_map(kept).collect();
        for pod in pods {
            let mut free = || (0..).map_while(nth_address).find(|address| taken.insert(*address));
            let own = kept(pod).or_else(&mut free).ok_or_else(|| no_address(pod))?;
            containers.push(bridged(cluster, pod, Ipv4Net::new_assert(own, LENGTH), &mut ns));
        }
        namespaces.push(ns);
    }
    for pod in &cluster.pods {
        let own = containers.iter().position(|ns| ns.name == pod.key());
        namespaces.push(own.map_or_else(|| container(cluster, pod), |own| containers.swap_remove(own)));
    }
    Ok(Plan { cluster: cluster.name.clone(), mode: Mode::Docker.name().to_string(), datapath, namespaces })
}

/// The address of the `number`th container: the first is 172.17.0.2.
fn nth_address(number: u32) -> Option<Ipv4Addr> {
    let net = Ipv4Net::new_assert(GATEWAY, LENGTH);
    let address = Ipv4Addr::from(u32::from(GATEWAY).checked_add(number)?.checked_add(1)?);
    (net.contains(&address) && address != net.broadcast()).then_some(address)
}

fn no_address(pod: &Pod) -> Error {
    Error::new(
        Kind::Topology,
        format!("pod {}: no available IPv4 addresses on this network's address pools: bridge", pod.key()),
    )
    .hint("ask for fewer containers, or give some of them another node or network mode")
}

/// What dockerd makes when it starts: the bridge and its rules.
fn dockerd(cluster: &Cluster, node: &Node, ns: &mut Namespace) {
    ns.links.push(Link {
        mac: Some(names::mac(&[&cluster.name, &node.name, BRIDGE])),
        mtu: Some(MTU),
        addresses: vec![address(Ipv4Net::new_assert(GATEWAY, LENGTH).into())],
        ..Link::new(BRIDGE, LinkKind::Bridge)
    });
    let network = Ipv4Net::new_assert(GATEWAY, LENGTH).trunc();
    let nat = ns.table(TableName::Nat);
    nat.chain("PREROUTING").rules.push(rule([to_this_host()], jump("DOCKER")));
    let loopback = Match::Destination { net: Ipv4Net::new_assert([127, 0, 0, 0].into(), 8).into(), invert: true };
    nat.chain("OUTPUT").rules.push(rule([loopback, to_this_host()], jump("DOCKER")));
    let from_containers = Match::Source { net: network.into(), invert: false };
    nat.chain("POSTROUTING").rules.push(rule([from_containers, not_out()], MASQUERADE));
    nat.chain("DOCKER").rules.push(rule([within()], Target::Return));
    let filter = ns.table(TableName::Filter);
    let established = Match::CtState { states: vec![CtState::Related, CtState::Established], invert: false };
    let forward = filter.chain("FORWARD");
    forward.policy = Some(Policy::Drop);
    forward.rules = vec![
        rule([], jump("DOCKER-USER")),
        rule([], jump("DOCKER-ISOLATION-STAGE-1")),
        rule([out(), established], Target::Accept),
        rule([out()], jump("DOCKER")),
        rule([within(), not_out()], Target::Accept),
        rule([within(), out()], Target::Accept),
    ];
    filter.chain("DOCKER").rules = Vec::new();
    filter.chain("DOCKER-ISOLATION-STAGE-1").rules =
        vec![rule([within(), not_out()], jump("DOCKER-ISOLATION-STAGE-2")), rule([], Target::Return)];
    filter.chain("DOCKER-ISOLATION-STAGE-2").rules = vec![rule([out()], Target::Drop), rule([], Target::Return)];
    filter.chain("DOCKER-USER").rules = vec![rule([], Target::Return)];
}

const MASQUERADE: Target = Target::Masquerade { random_fully: false };

fn rule<const N: usize>(matches: [Match; N], target: Target) -> Rule {
    Rule { matches: matches.into(), target: Some(target), ..Rule::default() }
}

fn jump(chain: &str) -> Target {
    Target::Jump { chain: chain.to_string() }
}

fn to_this_host() -> Match {
    Match::AddrTypeLocal { side: Side::Dst, invert: false, limit_iface_out: false }
}

fn within() -> Match {
    Match::InInterface { name: BRIDGE.to_string() }
}

fn out() -> Match {
    Match::OutInterface { name: BRIDGE.to_string() }
}

fn not_out() -> Match {
    Match::NotOutInterface { name: BRIDGE.to_string() }
}

/// A container without any link, which is all that `none` gives it.
fn container(cluster: &Cluster, pod: &Pod) -> Namespace {
    let role = Role::Pod { node: pod.node.clone(), namespace: pod.namespace.clone(), pod: pod.name.clone() };
    let mut ns = Namespace::new(&cluster.name, &pod.key(), &pod.name, role);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0"), Sysctl::new("net.ipv6.conf.all.disable_ipv6", "1")];
    ns
}

/// A container on the bridge: its veth, its port, its published ports.
fn bridged(cluster: &Cluster, pod: &Pod, own: Ipv4Net, node: &mut Namespace) -> Namespace {
    let veth = veth(cluster, pod, node);
    let peer = LinkKind::Veth { peer_namespace: pod.key(), peer: NIC.to_string() };
    node.links.push(Link {
        mac: Some(names::mac(&[&cluster.name, &pod.node, &veth])),
        mtu: Some(MTU),
        master: Some(BRIDGE.to_string()),
        ..Link::new(&veth, peer)
    });
    for port in pod.containers.iter().flat_map(|container| &container.ports) {
        if let Some(host_port) = port.host_port {
            publish(own.addr(), port, host_port, node);
        }
    }
    let mut ns = container(cluster, pod);
    let [a, b, c, d] = own.addr().octets();
    ns.links.push(Link {
        mac: Some(Mac([0x02, 0x42, a, b, c, d])),
        mtu: Some(MTU),
        addresses: vec![address(own.into())],
        ..Link::new(NIC, LinkKind::Veth { peer_namespace: pod.node.clone(), peer: veth })
    });
    ns.routes = vec![Route::default_via(GATEWAY, NIC)];
    ns
}

/// `veth` and seven hexadecimal digits, random on a real machine.
fn veth(cluster: &Cluster, pod: &Pod, node: &Namespace) -> String {
    let named = |attempt: u32| {
        let digest = Sha1::digest(format!("{}\0{}\0docker\0{attempt}", cluster.name, pod.key()));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("veth{}", &hex[..7])
    };
    (0..).map(named).find(|name| node.link(name).is_none()).unwrap_or_default()
}

/// `docker run -p HOST:CONTAINER`: translated on the way in, let through, and masqueraded where the container asks for
/// its own published port.
fn publish(container: Ipv4Addr, port: &ContainerPort, host_port: u16, node: &mut Namespace) {
    let number = match port.protocol.as_str() {
        "UDP" => 17,
        "SCTP" => 132,
        _ => 6,
    };
    let own: IpNet = Ipv4Net::from(container).into();
    let to = |port: u16| [Match::Protocol { number }, Match::Transport { protocol: number, port: Some(port) }];
    let not_within = Match::NotInInterface { name: BRIDGE.to_string() };
    let at = port.host_ip.filter(|host| !host.is_unspecified());
    let at = at.map(|host| Match::Destination { net: host.into(), invert: false });
    let nat = node.table(TableName::Nat);
    let itself = [Match::Source { net: own, invert: false }, Match::Destination { net: own, invert: false }];
    nat.chain("POSTROUTING").rules.push(Rule {
        matches: itself.into_iter().chain(to(port.port)).collect(),
        target: Some(MASQUERADE),
        ..Rule::default()
    });
    let target = SocketAddr::new(IpAddr::V4(container), port.port);
    nat.chain("DOCKER").rules.push(Rule {
        matches: at.into_iter().chain([not_within.clone()]).chain(to(host_port)).collect(),
        target: Some(Target::Dnat { to: target }),
        ..Rule::default()
    });
    let towards = [Match::Destination { net: own, invert: false }, not_within, out()];
    node.table(TableName::Filter).chain("DOCKER").rules.push(Rule {
        matches: towards.into_iter().chain(to(port.port)).collect(),
        target: Some(Target::Accept),
        ..Rule::default()
    });
}
