//! The underlay: segments with their routers, nodes and clients with their addresses, each checked against
//! all others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cluster_file::{ClientEntry, ClusterSpec, NodeEntry, RouteEntry, SegmentEntry};
use super::complaint::{Checked, Complaint, quote};
use super::dual_stack;
use super::fields::Spanned;
use super::line::{self, LinkEntry};
use super::rules;
use super::source::Span;
use super::{Client, Line, LineChange, Node, Router, Segment, StaticRoute, routers, ways};
use crate::plan::{Family, Mac};

/// MTU of a segment if the file does not say it.
const MTU: u32 = 1500;

/// From the smallest MTU that every IPv4 host must take to the largest of a veth.
pub(super) const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=65535;

/// The resolved underlay.
#[derive(Debug)]
pub(super) struct Underlay {
    pub(super) segments: Vec<Segment>,
    pub(super) routers: Vec<Router>,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
}

/// Resolves the segments, nodes and clients of a Cluster document.
pub(super) fn resolve(spec: &ClusterSpec, changed: &BTreeMap<String, LineChange>) -> Checked<Underlay> {
    if spec.segments.is_empty() {
        return Err(Complaint::at(spec.segments.span, "the cluster has no segment")
            .hint("nodes need an Ethernet to be on: add `- {name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}`"));
    }
    if spec.nodes.is_empty() {
        return Err(Complaint::at(spec.nodes.span, "the cluster has no node")
            .hint("add one: `- {name: node-1, address: 10.1.10.9}`"));
    }
    let mut hosts = Hosts::default();
    let mut segments = segments(spec, &mut hosts)?;
    let mut routers = routers::resolve(spec, &mut segments, &mut hosts)?;
    let mut nodes = spec.nodes.iter().map(|entry| node(entry, &segments, &mut hosts)).collect::<Checked<Vec<_>>>()?;
    let mut clients =
        spec.clients.iter().map(|entry| client(entry, &segments, &mut hosts)).collect::<Checked<Vec<_>>>()?;
    for (host, change) in changed {
        for node in nodes.iter_mut().filter(|node| node.name == *host) {
            (node.line, node.mtu_now) = (change.of(node.line), change.mtu);
        }
        for client in clients.iter_mut().filter(|client| client.name == *host) {
            (client.line, client.mtu) = (change.of(client.line), change.mtu.unwrap_or(client.mtu));
        }
        for (_, port) in routers.iter_mut().flat_map(Router::lines_mut).filter(|(name, _)| name == host) {
            (port.line, port.mtu) = (change.of(port.line), change.mtu.unwrap_or(port.mtu));
        }
    }
    for (entry, client) in spec.clients.iter().zip(&clients) {
        check_routes(entry, client, &segments, &hosts)?;
    }
    ways::give_routes(spec, &segments, &mut routers, &hosts)?;
    Ok(Underlay { segments, routers, nodes, clients })
}

/// Who has which name, address and Ethernet address so far.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    names: BTreeMap<String, Span>,
    addresses: BTreeMap<IpAddr, (String, Span)>,
    macs: BTreeMap<(String, Mac), Span>,
}

impl Hosts {
    pub(super) fn name(&mut self, what: &str, name: &Spanned<String>) -> Checked<String> {
        rules::host_name(what, name)?;
        match self.names.insert(name.value.clone(), name.span) {
            None => Ok(name.value.clone()),
            Some(first) => Err(Complaint::at(name.span, format!("the name `{}` is used twice", name.value))
                .and(Some(first), "first used here")
                .hint("nodes, clients and routers have names of their own")),
        }
    }

    fn address(&mut self, who: String, address: impl Into<IpAddr>, span: Span) -> Checked<()> {
        let address = address.into();
        match self.addresses.insert(address, (who, span)) {
            None => Ok(()),
            Some((first, place)) => Err(Complaint::at(span, format!("the address {address} is used twice"))
                .and(Some(place), format!("{first} has it"))
                .hint("give every router, node and client an address of its own")),
        }
    }

    /// Whether a router, node or client has this address.
    pub(super) fn is_somebodys(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    fn mac(&mut self, segment: &str, mac: Option<&Spanned<String>>) -> Checked<Option<Mac>> {
        let Some(text) = mac else { return Ok(None) };
        let mac = rules::mac(text)?;
        match self.macs.insert((segment.to_owned(), mac), text.span) {
            None => Ok(Some(mac)),
            Some(first) => Err(Complaint::at(text.span, format!("the Ethernet address {mac} is used twice"))
                .and(Some(first), "first used here")
                .hint("leave `mac` out, and minik makes one from the name")),
        }
    }
}

fn segments(spec: &ClusterSpec, hosts: &mut Hosts) -> Checked<Vec<Segment>> {
    let entries = &spec.segments.value;
    let mut segments: Vec<Segment> = Vec::with_capacity(entries.len());
    for entry in entries {
        rules::dns_label("a segment", &entry.name, Some(entry.name.span))?;
        let (subnet, subnet6) = dual_stack::host_prefixes("a segment", &entry.subnet)?;
        subnet6.map_or(Ok(()), |net| dual_stack::check_segment(net, entry.subnet.span))?;
        if !(8..=30).contains(&subnet.prefix_len()) {
            return Err(Complaint::at(entry.subnet.span, format!("{subnet} is no size for a segment"))
                .hint("a segment has a prefix length from 8 to 30, so that it has room for hosts"));
        }
        for (earlier, other) in segments.iter().zip(entries) {
            if earlier.name == *entry.name {
                return Err(Complaint::at(entry.name.span, format!("the segment `{}` is given twice", earlier.name))
                    .and(Some(other.name.span), "first given here")
                    .hint("give it another name"));
            }
            let overlapping = [
                Some((IpNet::from(earlier.subnet), IpNet::from(subnet))),
                earlier.subnet6.zip(subnet6).map(|(a, b)| (a.into(), b.into())),
            ];
            if let Some((theirs, ours)) = overlapping.into_iter().flatten().find(|(a, b)| rules::overlap(*a, *b)) {
                return Err(Complaint::at(
                    entry.subnet.span,
                    format!("{ours} overlaps the segment `{}`", earlier.name),
                )
                .and(Some(other.subnet.span), format!("{theirs} is here"))
                .hint("segments are different networks: choose another subnet"));
            }
        }
        let (router, router6) = router(entry, subnet, subnet6, hosts, spec.routers.is_none())?;
        let mtu = entry.mtu.as_ref().map_or(Ok(MTU), |mtu| rules::in_range("an MTU", mtu, MTU_RANGE))?;
        let change = line::read(entry.delay.as_ref(), entry.loss.as_ref(), entry.rate.as_ref(), None)?;
        let line = change.of(Line::default());
        segments.push(Segment { name: entry.name.value.clone(), subnet, subnet6, mtu, router, router6, line });
    }
    Ok(segments)
}

/// The addresses of a segment's router; if it stands there `alone`, they are its own.
fn router(
    entry: &SegmentEntry,
    subnet: Ipv4Net,
    subnet6: Option<Ipv6Net>,
    hosts: &mut Hosts,
    alone: bool,
) -> Checked<(Ipv4Addr, Option<Ipv6Addr>)> {
    let first = subnet.hosts().next().unwrap_or(subnet.network());
    let (router, written6, span) = match &entry.router {
        Some(text) => dual_stack::addresses(text).map(|(four, six)| (four, six, text.span))?,
        None => (first, None, entry.subnet.span),
    };
    let router6 = written6.or(subnet6.map(|net| Ipv6Addr::from_bits(net.network().to_bits() + 1)));
    check_host_address(router, span, subnet, &entry.name)?;
    router6.map_or(Ok(()), |router6| dual_stack::check_host_address(router6, span, subnet6, &entry.name))?;
    if alone {
        let who = format!("the router of segment `{}`", entry.name.value);
        hosts.address(who.clone(), router, span)?;
        router6.map_or(Ok(()), |router6| hosts.address(who, router6, span))?;
    }
    Ok((router, router6))
}

fn check_host_address(address: Ipv4Addr, span: Span, subnet: Ipv4Net, segment: &str) -> Checked<()> {
    let wrong = if !subnet.contains(&address) {
        format!("{address} is outside of segment `{segment}`, which is {subnet}")
    } else if address == subnet.network() {
        format!("{address} is the network's own address in {subnet}")
    } else if address == subnet.broadcast() {
        format!("{address} is the broadcast address of {subnet}")
    } else {
        return Ok(());
    };
    let (first, last) = (u32::from(subnet.network()) + 1, u32::from(subnet.broadcast()) - 1);
    Err(Complaint::at(span, wrong).hint(format!(
        "choose an address from {} to {}",
        Ipv4Addr::from(first),
        Ipv4Addr::from(last)
    )))
}

/// What a node, a client and a router's interface have in common.
pub(super) struct Nic<'e> {
    pub(super) what: &'static str,
    pub(super) name: &'e Spanned<String>,
    pub(super) address: &'e Spanned<String>,
    pub(super) segment: Option<&'e Spanned<String>>,
    pub(super) mac: Option<&'e Spanned<String>>,
    pub(super) link: Option<&'e LinkEntry>,
}

/// What a host has, all checked.
pub(super) struct Attached {
    address: Ipv4Addr,
    address6: Option<Ipv6Addr>,
    pub(super) segment: String,
    pub(super) mac: Option<Mac>,
    pub(super) line: Line,
    pub(super) mtu: u32,
}

impl Attached {
    /// Its addresses with the prefix lengths of its segment.
    pub(super) fn addresses(&self, segments: &[Segment]) -> Vec<IpNet> {
        let Some(segment) = segments.iter().find(|segment| segment.name == self.segment) else { return Vec::new() };
        let addresses = [Some(IpAddr::from(self.address)), self.address6.map(IpAddr::from)];
        let net = |address: IpAddr| IpNet::new(address, segment.subnet_in(Family::of(&address))?.prefix_len()).ok();
        addresses.into_iter().flatten().filter_map(net).collect()
    }
}

/// Checks what is written of a host.
pub(super) fn attach(nic: &Nic<'_>, segments: &[Segment], hosts: &mut Hosts) -> Checked<Attached> {
    let (address, address6) = dual_stack::addresses(nic.address)?;
    let segment = match nic.segment {
        Some(wanted) => segments.iter().find(|segment| segment.name == wanted.value).ok_or_else(|| {
            let names: Vec<&str> = segments.iter().map(|segment| segment.name.as_str()).collect();
            Complaint::at(wanted.span, format!("there is no segment {}", quote(wanted)))
                .hint(rules::one_of(wanted, &names))
        })?,
        None => segments.iter().find(|segment| segment.subnet.contains(&address)).ok_or_else(|| {
            let nets: Vec<String> = segments.iter().map(|s| format!("`{}` is {}", s.name, s.subnet)).collect();
            Complaint::at(nic.address.span, format!("{address} is in no segment"))
                .hint(format!("choose an address of a segment: {}", nets.join(", ")))
        })?,
    };
    check_host_address(address, nic.address.span, segment.subnet, &segment.name)?;
    hosts.address(format!("{} `{}`", nic.what, **nic.name), address, nic.address.span)?;
    if let Some(address6) = address6 {
        dual_stack::check_host_address(address6, nic.address.span, segment.subnet6, &segment.name)?;
        hosts.address(format!("{} `{}`", nic.what, **nic.name), address6, nic.address.span)?;
    }
    let mac = hosts.mac(&segment.name, nic.mac)?;
    let change = line::change(nic.link)?;
    let (line, mtu) = (change.of(segment.line), change.mtu.unwrap_or(segment.mtu));
    Ok(Attached { address, address6, segment: segment.name.clone(), mac, line, mtu })
}

fn node(entry: &NodeEntry, segments: &[Segment], hosts: &mut Hosts) -> Checked<Node> {
    let nic = Nic {
        what: "node",
        name: &entry.name,
        address: &entry.address,
        segment: entry.segment.as_ref(),
        mac: entry.mac.as_ref(),
        link: entry.link.as_ref(),
    };
    let name = hosts.name("a node", nic.name)?;
    let Attached { address, address6, segment, mac, line, mtu } = attach(&nic, segments, hosts)?;
    let mut labels = BTreeMap::new();
    for (key, value) in &entry.labels {
        rules::label(key, value)?;
        if key == "kubernetes.io/hostname" && value.value != name {
            return Err(Complaint::at(value.span, format!("{} is not this node's name", quote(value)))
                .hint("leave the label out: minik adds it to every node"));
        }
        labels.insert(key.clone(), value.value.clone());
    }
    labels.insert("kubernetes.io/hostname".to_owned(), name.clone());
    labels.entry("kubernetes.io/os".to_owned()).or_insert_with(|| "linux".to_owned());
    let (block, block6) = entry.block.as_ref().map_or(Ok((None, None)), dual_stack::blocks)?;
    Ok(Node {
        name,
        address,
        address6,
        segment,
        nic: rules::nic_name(entry.nic.as_ref())?,
        mac,
        line,
        mtu,
        mtu_now: None,
        labels,
        block,
        block6,
        pod_cidr: None,
        pod_cidr6: None,
    })
}

fn client(entry: &ClientEntry, segments: &[Segment], hosts: &mut Hosts) -> Checked<Client> {
    let nic = Nic {
        what: "client",
        name: &entry.name,
        address: &entry.address,
        segment: entry.segment.as_ref(),
        mac: entry.mac.as_ref(),
        link: entry.link.as_ref(),
    };
    let name = hosts.name("a client", nic.name)?;
    let Attached { address, address6, segment, mac, line, mtu } = attach(&nic, segments, hosts)?;
    let routes = entry.routes.iter().map(route).collect::<Checked<_>>()?;
    let nic = rules::nic_name(entry.nic.as_ref())?;
    Ok(Client { name, address, address6, segment, nic, mac, line, mtu, routes })
}

/// A static route, of either family.
pub(super) fn route(entry: &RouteEntry) -> Checked<StaticRoute> {
    if !entry.to.contains(':') {
        return Ok(StaticRoute { to: rules::prefix(&entry.to)?.into(), via: rules::address(&entry.via)?.into() });
    }
    let to = dual_stack::prefix6(&entry.to)?;
    let via: Ipv6Addr = entry.via.parse().map_err(|_| {
        Complaint::at(entry.via.span, format!("{} is no next hop to {to}", quote(&entry.via)))
            .hint("an IPv6 prefix has an IPv6 next hop, as fd00:10:1:10::9")
    })?;
    Ok(StaticRoute { to: to.into(), via: via.into() })
}

/// Checks a client's routes when all hosts are known.
fn check_routes(entry: &ClientEntry, client: &Client, segments: &[Segment], hosts: &Hosts) -> Checked<()> {
    let segment = segments.iter().find(|segment| segment.name == client.segment);
    for (index, (written, route)) in entry.routes.iter().zip(&client.routes).enumerate() {
        if route.to.prefix_len() == 0 {
            return Err(Complaint::at(written.to.span, "a client has its default route already, through its router")
                .hint("name the prefix that goes another way, as the pods' pool"));
        }
        if let Some(first) = client.routes[..index].iter().position(|other| other.to == route.to) {
            return Err(Complaint::at(written.to.span, format!("the route to {} is given twice", route.to))
                .and(Some(entry.routes[first].to.span), "first given here")
                .hint("keep one of them"));
        }
        let subnet = segment.and_then(|segment| segment.subnet_in(Family::of(&route.via)));
        let reachable = subnet.is_some_and(|subnet| subnet.contains(&route.via));
        let own = [Some(IpAddr::from(client.address)), client.address6.map(IpAddr::from)].contains(&Some(route.via));
        let somebody = hosts.addresses.contains_key(&route.via) && !own;
        if !reachable || !somebody {
            let message = format!("the next hop {} is no other host of segment `{}`", route.via, client.segment);
            return Err(Complaint::at(written.via.span, message)
                .hint("a next hop is the address of a node, client or router on the same segment"));
        }
    }
    Ok(())
}
