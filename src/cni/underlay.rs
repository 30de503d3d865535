//! The network below the cluster: switches, the router, hosts outside, and the nodes' NICs.
//!
//! A segment is one namespace with one bridge. One router namespace stands on all segments, so that hosts of
//! different segments reach each other; it knows no route to pods, as a router outside of a cluster does not.
//! Switches keep br_netfilter out, so that they forward frames as a switch does: no conntrack, no reassembly.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha1::{Digest, Sha1};

use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Address, Link, LinkKind, Mac, Namespace, Netem, Qdisc, Role, Route, Scope, Sysctl};
use crate::topology::{Client, Cluster, Line, Node, Segment};

/// The bridge of a switch.
const BRIDGE: &str = "br0";

/// A machine with one NIC on a segment.
pub(super) struct Host<'a> {
    name: &'a str,
    address: Ipv4Addr,
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
            address: node.address,
            segment: &node.segment,
            nic: &node.nic,
            mac: node.mac,
            line: node.line,
            mtu: node.mtu_now.unwrap_or(node.mtu),
        }
    }

    fn client(client: &'a Client) -> Self {
        let Client { name, address, segment, nic, mac, line, mtu, .. } = client;
        Host { name, address: *address, segment, nic, mac: *mac, line: *line, mtu: *mtu }
    }
}

/// The segment of this name.
pub(super) fn segment<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Segment> {
    let found = cluster.segments.iter().find(|segment| segment.name == name);
    found.ok_or_else(|| Error::new(Kind::Topology, format!("there is no segment {name}")))
}

/// Switches, the router and the clients.
pub(super) fn namespaces(cluster: &Cluster) -> Result<Vec<Namespace>> {
    let mut all: Vec<Namespace> = cluster.segments.iter().map(|segment| switch(cluster, segment)).collect();
    all.push(router(cluster));
    for client in &cluster.clients {
        let mut ns = host(cluster, &Host::client(client), Role::Client)?;
        ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0"), no_ipv6()];
        ns.routes.extend(client.routes.iter().map(|route| Route::via(route.to, route.via, &client.nic)));
        all.push(ns);
    }
    Ok(all)
}

/// A machine's namespace: its NIC, plugged into its segment's switch, and its default route.
pub(super) fn host(cluster: &Cluster, host: &Host, role: Role) -> Result<Namespace> {
    let segment = segment(cluster, host.segment)?;
    let mut ns = Namespace::new(&cluster.name, host.name, host.name, role);
    let mut nic = nic(cluster, segment, host.name, host.nic, host.address);
    nic.mac = host.mac.or(nic.mac);
    (nic.mtu, nic.qdisc) = (Some(host.mtu), qdisc(host.line));
    ns.links.push(nic);
    ns.routes.push(Route::default_via(segment.router, host.nic));
    Ok(ns)
}

fn router(cluster: &Cluster) -> Namespace {
    let name = cluster.router_name();
    let mut ns = Namespace::new(&cluster.name, name, name, Role::Router);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "1"), no_ipv6()];
    for (number, segment) in cluster.segments.iter().enumerate() {
        ns.links.push(nic(cluster, segment, name, &format!("eth{number}"), segment.router));
    }
    ns
}

fn switch(cluster: &Cluster, segment: &Segment) -> Namespace {
    let name = cluster.switch_name(segment);
    let mut ns = Namespace::new(&cluster.name, &name, &name, Role::Switch { segment: segment.name.clone() });
    // A switch forwards frames and does not show them to iptables; asking costs a fifth of its work.
    ns.sysctls = vec![no_ipv6(), Sysctl::new("net.bridge.bridge-nf-call-iptables", "0")];
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

/// The machines on a segment: the router, clients, nodes. The segment's own line is that of the hosts; the router is
/// plugged in without one, so that what is said of a line happens once on each way.
fn plugged(cluster: &Cluster, segment: &Segment) -> Vec<Plug> {
    let number = cluster.segments.iter().take_while(|other| other.name != segment.name).count();
    let clients = cluster.clients.iter().map(Host::client);
    let hosts = clients.chain(cluster.nodes.iter().map(Host::node)).filter(|host| host.segment == segment.name);
    let router = Plug {
        host: cluster.router_name().to_string(),
        nic: format!("eth{number}"),
        line: Line::default(),
        mtu: segment.mtu,
    };
    let plug =
        |host: Host| Plug { host: host.name.to_string(), nic: host.nic.to_string(), line: host.line, mtu: host.mtu };
    std::iter::once(router).chain(hosts.map(plug)).collect()
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

fn nic(cluster: &Cluster, segment: &Segment, host: &str, name: &str, address: Ipv4Addr) -> Link {
    let peer = port_name(cluster, segment, host);
    let net = Ipv4Net::new_assert(address, segment.subnet.prefix_len());
    Link {
        mac: Some(names::mac(&[&cluster.name, host, name])),
        mtu: Some(segment.mtu),
        addresses: vec![Address { net: net.into(), broadcast: Some(net.broadcast()), scope: Scope::Global }],
        ..Link::new(name, LinkKind::Veth { peer_namespace: cluster.switch_name(segment), peer })
    }
}

/// Keeps a namespace that never speaks IPv6 silent.
fn no_ipv6() -> Sysctl {
    Sysctl::new("net.ipv6.conf.all.disable_ipv6", "1")
}
