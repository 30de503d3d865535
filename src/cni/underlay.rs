//! The network below the cluster: switches, routers, hosts outside, and the nodes' NICs.
//!
//! A segment is one namespace with one bridge. Routers are namespaces with a NIC on each of their segments, so that
//! hosts of different segments reach each other; they know no route to pods, as routers outside of a cluster do not.
//! Switches keep br_netfilter out, so that they forward frames as a switch does: no conntrack, no reassembly.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sha1::{Digest, Sha1};

use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Address, Family, Link, LinkKind, Mac, Namespace, Netem, Qdisc, Role, Route, Scope, Sysctl};
use crate::topology::{Client, Cluster, Line, Node, Router, Segment};

/// The bridge of a switch.
const BRIDGE: &str = "br0";

/// A machine with one NIC on a segment.
pub(super) struct Host<'a> {
    name: &'a str,
    /// Its addresses, one of a family.
    addresses: Vec<IpAddr>,
    segment: &'a str,
    nic: &'a str,
    mac: Option<Mac>,
    line: Line,
    mtu: u32,
}

impl<'a> Host<'a> {
    /// The machine that a node is.
    pub(super) fn node(node: &'a Node) -> Self {
        Host {
            name: &node.name,
            addresses: Family::BOTH.into_iter().filter_map(|family| node.address_in(family)).collect(),
            segment: &node.segment,
            nic: &node.nic,
            mac: node.mac,
            line: node.line,
            mtu: node.mtu_now.unwrap_or(node.mtu),
        }
    }

    fn client(client: &'a Client) -> Self {
        let Client { name, address, address6, segment, nic, mac, line, mtu, .. } = client;
        let addresses = [Some(IpAddr::from(*address)), address6.map(IpAddr::from)].into_iter().flatten().collect();
        Host { name, addresses, segment, nic, mac: *mac, line: *line, mtu: *mtu }
    }
}

/// The segment of this name.
pub(super) fn segment<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Segment> {
    let found = cluster.segments.iter().find(|segment| segment.name == name);
    found.ok_or_else(|| Error::new(Kind::Topology, format!("there is no segment {name}")))
}

/// Switches, routers and clients.
pub(super) fn namespaces(cluster: &Cluster) -> Result<Vec<Namespace>> {
    let mut all: Vec<Namespace> = cluster.segments.iter().map(|segment| switch(cluster, segment)).collect();
    for one in &cluster.routers {
        all.push(router(cluster, one)?);
    }
    for client in &cluster.clients {
        let mut ns = host(cluster, &Host::client(client), Role::Client)?;
        ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0")];
        ns.sysctls.extend(if client.address6.is_some() { ipv6(false) } else { vec![no_ipv6()] });
        ns.routes.extend(client.routes.iter().map(|route| Route::via(route.to, route.via, &client.nic)));
        all.push(ns);
    }
    Ok(all)
}

/// A machine's namespace: its NIC, plugged into its segment's switch, and its default route.
pub(super) fn host(cluster: &Cluster, host: &Host, role: Role) -> Result<Namespace> {
    let segment = segment(cluster, host.segment)?;
    let mut ns = Namespace::new(&cluster.name, host.name, host.name, role);
    let mut nic = nic(cluster, segment, host.name, host.nic, &host.addresses);
    nic.mac = host.mac.or(nic.mac);
    (nic.mtu, nic.qdisc) = (Some(host.mtu), qdisc(host.line));
    ns.links.push(nic);
    let families = host.addresses.iter().map(Family::of);
    let routers = families.filter_map(|family| segment.router_in(family));
    ns.routes.extend(routers.map(|router| Route::default_via(router, host.nic)));
    Ok(ns)
}

fn router(cluster: &Cluster, router: &Router) -> Result<Namespace> {
    let mut ns = Namespace::new(&cluster.name, &router.name, &router.name, Role::Router);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "1")];
    ns.sysctls.extend(if has_ipv6(cluster) { ipv6(true) } else { vec![no_ipv6()] });
    // Where another router is nearer, one of a data centre forwards and does not tell hosts to go there; with a single
    // router nobody is.
    let redirects = |what: &str| Sysctl::new(format!("net.ipv4.conf.{what}.send_redirects"), "0");
    let several = cluster.routers.len() > 1;
    ns.sysctls.extend(several.then(|| redirects("all")));
    for port in &router.ports {
        let addresses: Vec<IpAddr> = port.addresses.iter().map(IpNet::addr).collect();
        let mut link = nic(cluster, segment(cluster, &port.segment)?, &router.name, &port.nic, &addresses);
        link.mac = port.mac.or(link.mac);
        (link.mtu, link.qdisc) = (Some(port.mtu), qdisc(port.line));
        link.sysctls.extend(several.then(|| redirects(&port.nic)));
        ns.links.push(link);
    }
    for route in &router.routes {
        let port = router.way(route.via).map(|(port, _)| port);
        ns.routes.extend(port.map(|port| Route::via(route.to, route.via, &port.nic)));
    }
    Ok(ns)
}

fn switch(cluster: &Cluster, segment: &Segment) -> Namespace {
    let name = cluster.switch_name(segment);
    let mut ns = Namespace::new(&cluster.name, &name, &name, Role::Switch { segment: segment.name.clone() });
    // A switch forwards frames and does not show them to iptables; asking costs a fifth of its work.
    ns.sysctls = vec![no_ipv6(), Sysctl::new("net.bridge.bridge-nf-call-iptables", "0")];
    if has_ipv6(cluster) {
        ns.sysctls.push(Sysctl::new("net.bridge.bridge-nf-call-ip6tables", "0"));
    }
    let mac = Some(names::mac(&[&cluster.name, &name, BRIDGE]));
    ns.links.push(Link { mac, mtu: Some(segment.mtu), ..Link::new(BRIDGE, LinkKind::Bridge) });
    for Plug { host, nic, line, mtu } in plugged(cluster, segment) {
        let port = port_name(cluster, segment, &host);
        ns.links.push(Link {
            mac: Some(names::mac(&[&cluster.name, &name, &port])),
            mtu: Some(mtu),
            master: Some(BRIDGE.to_string()),
            qdisc: qdisc(line),
            ..Link::new(&port, LinkKind::Veth { peer_namespace: host, peer: nic })
        });
    }
    ns
}

/// What a line does, at each of its two ends to what leaves there.
fn qdisc(line: Line) -> Option<Qdisc> {
    let Line { delay, loss, rate } = line;
    (line != Line::default()).then_some(Qdisc::Netem(Netem { delay, loss, rate }))
}

/// A machine on a segment, with the NIC that is plugged into the switch.
struct Plug {
    host: String,
    nic: String,
    line: Line,
    mtu: u32,
}

/// The machines on a segment: routers, clients, nodes.
fn plugged(cluster: &Cluster, segment: &Segment) -> Vec<Plug> {
    let clients = cluster.clients.iter().map(Host::client);
    let hosts = clients.chain(cluster.nodes.iter().map(Host::node)).filter(|host| host.segment == segment.name);
    let ports = cluster.routers.iter().flat_map(|router| router.ports.iter().map(move |port| (router, port)));
    let ports = ports.filter(|(_, port)| port.segment == segment.name);
    let routers = ports.map(|(router, port)| Plug {
        host: router.name.clone(),
        nic: port.nic.clone(),
        line: port.line,
        mtu: port.mtu,
    });
    let plug =
        |host: Host| Plug { host: host.name.to_string(), nic: host.nic.to_string(), line: host.line, mtu: host.mtu };
    routers.chain(hosts.map(plug)).collect()
}

/// A switch's port is called after the machine that it leads to. Where that is too long for a link, or taken by the
/// bridge, a hash stands for the rest of it.
fn port_name(cluster: &Cluster, segment: &Segment, host: &str) -> String {
    let usable = |name: &str| name.len() <= names::INTERFACE_NAME_MAX && name != BRIDGE && name != "lo";
    if usable(host) {
        return host.to_string();
    }
    let digest: String = Sha1::digest(host).iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let taken: BTreeSet<String> = plugged(cluster, segment).into_iter().map(|plug| plug.host).collect();
    let short: String = host.chars().take(names::INTERFACE_NAME_MAX - 1 - digest.len()).collect();
    let name = format!("{short}-{digest}");
    if taken.contains(&name) { format!("{digest}-{}", host.len()) } else { name }
}

fn nic(cluster: &Cluster, segment: &Segment, host: &str, name: &str, addresses: &[IpAddr]) -> Link {
    let peer = port_name(cluster, segment, host);
    let address = |address: &IpAddr| {
        let length = segment.subnet_in(Family::of(address))?.prefix_len();
        let net = IpNet::new(*address, length).ok()?;
        let broadcast = if let IpNet::V4(net) = net { Some(net.broadcast()) } else { None };
        Some(Address { net, broadcast, scope: Scope::Global })
    };
    Link {
        mac: Some(names::mac(&[&cluster.name, host, name])),
        mtu: Some(segment.mtu),
        addresses: addresses.iter().filter_map(address).collect(),
        ..Link::new(name, LinkKind::Veth { peer_namespace: cluster.switch_name(segment), peer })
    }
}

/// Whether any host of the underlay has IPv6.
fn has_ipv6(cluster: &Cluster) -> bool {
    cluster.segments.iter().any(|segment| segment.subnet6.is_some())
}

/// A new namespace inherits the host's IPv4 settings: those that decide whether packets pass a node are written down.
/// Felix and the bridge plugin write `accept_ra` on every link of theirs; as a default it reaches all of them at once.
pub(super) fn node_sysctls() -> Vec<Sysctl> {
    vec![
        Sysctl::new("net.ipv4.ip_forward", "1"),
        Sysctl::new("net.ipv4.conf.all.rp_filter", "0"),
        Sysctl::new("net.ipv4.conf.default.rp_filter", "0"),
        Sysctl::new("net.ipv6.conf.default.accept_ra", "0"),
    ]
}

/// What a namespace with IPv6 writes down: whether it forwards, and that it asks nobody whether its addresses are taken.
/// A machine has that behind it since it booted, and the CNI plugins write `accept_dad` 0 for a pod's link, Calico's for
/// both of its ends; only on a bridge a real node asks, for a second. A tentative link-local address would keep it from asking for neighbours for a second or two.
pub(super) fn ipv6(forwards: bool) -> Vec<Sysctl> {
    let mut all = vec![Sysctl::new("net.ipv6.conf.all.disable_ipv6", "0")];
    if forwards {
        all.push(Sysctl::new("net.ipv6.conf.all.forwarding", "1"));
    }
    all.push(Sysctl::new("net.ipv6.conf.default.accept_dad", "0"));
    all
}

/// Keeps a namespace that never speaks IPv6 silent.
pub(super) fn no_ipv6() -> Sysctl {
    Sysctl::new("net.ipv6.conf.all.disable_ipv6", "1")
}
