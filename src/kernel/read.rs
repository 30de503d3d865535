//! Reads a namespace back from the kernel as the same values that a plan is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoBridgePort, InfoData, InfoPortData, InfoVxlan};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::tc::TcMessage;

use super::netlink::Rtnetlink;
use super::{netns, qdisc};
use crate::error::Result;
use crate::plan::{
    Address, FdbEntry, Mac, Neighbour, PolicyRule, Protocol, Qdisc, Route, RouteKind, RouteTable, Scope,
};
use crate::plan::{Vxlan, prefix};

/// The table of the kernel's own routes for this host's addresses (linux/rtnetlink.h RT_TABLE_LOCAL).
const TABLE_LOCAL: u32 = 255;

/// The metric that the kernel gives an IPv6 route that asks for none (linux/ipv6_route.h IP6_RT_PRIO_USER).
const METRIC_OF_IPV6: u32 = 1024;

/// Priorities of the rules that every namespace has: local, main, default.
const KERNELS_RULES: [u32; 3] = [0, 32766, 32767];

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLink {
    /// Its name.
    pub name: String,
    /// Its index in its namespace.
    pub index: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Name of the bridge it is a port of.
    pub master: Option<String>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether somebody set it promiscuous; a capture is not meant.
    pub promiscuous: bool,
    /// Whether it is a bridge port that may send frames back.
    pub hairpin: bool,
    /// What it is, if it is a VXLAN device.
    pub vxlan: Option<Vxlan>,
    /// What somebody put at its root, if minik knows it.
    pub qdisc: Option<Qdisc>,
    /// Its addresses, those that the kernel makes by itself (127.0.0.1, fe80::…) left out.
    pub addresses: Vec<Address>,
}

/// What one namespace holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Links by index.
    pub links: Vec<LiveLink>,
    /// Routes of all tables but `local`, connected ones (`proto kernel`) left out.
    pub routes: Vec<Route>,
    /// Permanent neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Permanent entries of VXLAN devices' FDBs.
    pub fdb: Vec<FdbEntry>,
    /// Rules of policy routing, the kernel's own three left out.
    pub policy: Vec<PolicyRule>,
    /// What no plan can say, as facts: queueing disciplines and policy rules of other sorts.
    pub others: BTreeSet<String>,
}

/// Reads links, addresses, routes, neighbours, FDBs, policy rules and queueing disciplines of a namespace.
///
/// # Errors
/// If the namespace cannot be entered or the kernel's answer cannot be read.
pub fn namespace(ns: impl AsFd + Send) -> Result<Live> {
    with(&mut netns::inside(ns, Rtnetlink::open)??)
}

/// The same by a socket that is open already.
///
/// # Errors
/// As [`namespace`].
pub fn with(rtnetlink: &mut Rtnetlink) -> Result<Live> {
    let mut links = links(rtnetlink)?;
    read_addresses(rtnetlink, &mut links)?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let routes = routes(rtnetlink, &names)?;
    let neighbours = neighbours(rtnetlink, &names)?;
    let mut others = BTreeSet::new();
    // The dumps of every bridge and VXLAN device come with this; where there is none, it is not asked for.
    let fdb = if links.iter().any(|link| link.vxlan.is_some()) { fdb(rtnetlink, &names)? } else { Vec::new() };
    let policy = policy(rtnetlink, &mut others)?;
    read_qdiscs(rtnetlink, &mut links, &mut others)?;
    Ok(Live { links, routes, neighbours, fdb, policy, others })
}

fn links(rtnetlink: &mut Rtnetlink) -> Result<Vec<LiveLink>> {
    let mut links = Vec::new();
    let (mut masters, mut lowers) = (Vec::new(), Vec::new());
    rtnetlink.dump(Message::GetLink(LinkMessage::default()), |message| {
        let Message::NewLink(message) = message else { return };
        let flags = message.header.flags;
        let mut link = LiveLink {
            name: String::new(),
            index: message.header.index,
            mtu: 0,
            mac: None,
            master: None,
            up: flags.contains(LinkFlags::Up),
            promiscuous: flags.contains(LinkFlags::Promisc),
            hairpin: false,
            vxlan: None,
            qdisc: None,
            addresses: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
                LinkAttribute::Controller(index) => masters.push((link.index, index)),
                LinkAttribute::LinkInfo(parts) => lowers.extend(read_info(&mut link, parts)),
                _ => {}
            }
        }
        links.push(link);
    })?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let masters: BTreeMap<u32, u32> = masters.into_iter().collect();
    let lowers: BTreeMap<u32, u32> = lowers.into_iter().collect();
    for link in &mut links {
        link.master = masters.get(&link.index).and_then(|master| names.get(master)).cloned();
        if let (Some(vxlan), Some(lower)) = (&mut link.vxlan, lowers.get(&link.index)) {
            vxlan.dev = names.get(lower).cloned().unwrap_or_default();
        }
    }
    Ok(links)
}

/// Reads what a link says of its sort. Gives its index and that of its lower device, if it is a VXLAN device.
fn read_info(link: &mut LiveLink, parts: Vec<LinkInfo>) -> Option<(u32, u32)> {
    let mut lower = None;
    for part in parts {
        match part {
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                link.hairpin = port.contains(&InfoBridgePort::HairpinMode(true));
            }
            LinkInfo::Data(InfoData::Vxlan(parts)) => {
                let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let mut vxlan = Vxlan { vni: 0, local, dev: String::new(), port: 0, learning: false };
                for part in parts {
                    match part {
                        InfoVxlan::Id(vni) => vxlan.vni = vni,
                        InfoVxlan::Local(local) => vxlan.local = local.into(),
                        InfoVxlan::Local6(local) => vxlan.local = local.into(),
                        InfoVxlan::Port(port) => vxlan.port = port,
                        InfoVxlan::Learning(learning) => vxlan.learning = learning,
                        InfoVxlan::Link(index) => lower = Some((link.index, index)),
                        _ => {}
                    }
                }
                link.vxlan = Some(vxlan);
            }
            _ => {}
        }
    }
    lower
}

fn read_addresses(rtnetlink: &mut Rtnetlink, links: &mut [LiveLink]) -> Result<()> {
    rtnetlink.dump(Message::GetAddress(AddressMessage::default()), |message| {
        let Message::NewAddress(message) = message else { return };
        let (mut local, mut address, mut broadcast) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point link the kernel's "address" is the peer's.
        let Some(ip) = local.or(address) else { return };
        let made_by_kernel = ip.is_loopback() || matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let Ok(net) = IpNet::new(ip, message.header.prefix_len) else { return };
        let scope = scope(u8::from(message.header.scope));
        if let Some(link) = links.iter_mut().find(|link| link.index == message.header.index && !made_by_kernel) {
            link.addresses.push(Address { net, broadcast, scope });
        }
    })
}

fn routes(rtnetlink: &mut Rtnetlink, names: &BTreeMap<u32, String>) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        rtnetlink.dump(Message::GetRoute(request), |message| {
            if let Message::NewRoute(message) = message {
                routes.extend(route(&message, names));
            }
        })?;
    }
    Ok(routes)
}

/// A route that somebody installed; none for the kernel's own.
fn route(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Route> {
    let header = &message.header;
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        _ => return None,
    };
    let protocol = Protocol::from_number(u8::from(header.protocol));
    // Cloned: not a route but what the kernel remembers of a destination, such as the MTU on the way through a tunnel.
    let remembered = header.flags.contains(RouteFlags::Cloned);
    if protocol == Protocol::Kernel || remembered {
        return None;
    }
    let inet6 = header.address_family == AddressFamily::Inet6;
    let default = if inet6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let mut route = Route {
        kind,
        dst: IpNet::new(default, header.destination_prefix_length).ok()?,
        via: None,
        dev: None,
        protocol,
        scope: scope(u8::from(header.scope)),
        src: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        metric: 0,
        table: RouteTable(u32::from(header.table)),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => route.dst = IpNet::new(ip_of(ip)?, route.dst.prefix_len()).ok()?,
            RouteAttribute::Gateway(ip) => route.via = ip_of(ip),
            RouteAttribute::PrefSource(ip) => route.src = ip_of(ip),
            RouteAttribute::Oif(index) => route.dev = names.get(index).cloned(),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(table) => route.table = RouteTable(*table),
            _ => {}
        }
    }
    if inet6 {
        route.metric = if route.metric == METRIC_OF_IPV6 { 0 } else { route.metric };
        // The kernel shows IPv6's blackholes on lo.
        route.dev = route.dev.filter(|_| kind == RouteKind::Unicast);
    }
    (route.table.0 != TABLE_LOCAL).then_some(route)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn neighbours(rtnetlink: &mut Rtnetlink, names: &BTreeMap<u32, String>) -> Result<Vec<Neighbour>> {
    let mut neighbours = Vec::new();
    rtnetlink.dump(Message::GetNeighbour(NeighbourMessage::default()), |message| {
        let Message::NewNeighbour(message) = message else { return };
        if message.header.state != NeighbourState::Permanent {
            return;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(ip)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(ip)),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
                _ => {}
            }
        }
        if let (Some(address), Some(mac), Some(dev)) = (address, mac, names.get(&message.header.ifindex)) {
            neighbours.push(Neighbour { address, mac, dev: dev.clone() });
        }
    })?;
    Ok(neighbours)
}

fn fdb(rtnetlink: &mut Rtnetlink, names: &BTreeMap<u32, String>) -> Result<Vec<FdbEntry>> {
    let mut entries = Vec::new();
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    rtnetlink.dump(Message::GetNeighbour(request), |message| {
        let Message::NewNeighbour(message) = message else { return };
        // `bridge fdb` says NOARP as well, flannel does not.
        if u16::from(message.header.state) & u16::from(NeighbourState::Permanent) == 0 {
            return;
        }
        let (mut mac, mut dst) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
                NeighbourAttribute::Destination(ip) => dst = address_of(&ip),
                _ => {}
            }
        }
        // A bridge's own entries have no destination.
        if let (Some(mac), Some(dst), Some(dev)) = (mac, dst, names.get(&message.header.ifindex)) {
            entries.push(FdbEntry { mac, dev: dev.clone(), dst });
        }
    })?;
    Ok(entries)
}

/// An address in an FDB entry, where the message does not say of which family it is.
fn address_of(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        NeighbourAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(&bytes[..]).ok().map(IpAddr::from),
        },
        _ => None,
    }
}

fn policy(rtnetlink: &mut Rtnetlink, others: &mut BTreeSet<String>) -> Result<Vec<PolicyRule>> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        rtnetlink.dump(Message::GetRule(request), |message| {
            let Message::NewRule(message) = message else { return };
            match policy_rule(&message) {
                Ok(rule) if KERNELS_RULES.contains(&rule.priority) && rule.from.prefix_len() == 0 => {}
                Ok(rule) => rules.push(rule),
                Err(words) => drop(others.insert(words)),
            }
        })?;
    }
    Ok(rules)
}

/// A rule that only asks for a source and leads to a table, or words for one of another sort.
fn policy_rule(message: &RuleMessage) -> std::result::Result<PolicyRule, String> {
    let header = &message.header;
    let default = match header.family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let (mut source, mut priority, mut table, mut further) = (default, 0, u32::from(header.table), Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(ip) => source = *ip,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(_) => {}
            RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            other => further.push(format!("{other:?}")),
        }
    }
    let from = IpNet::new(source, header.src_len).map_err(|e| format!("policy {priority}: {e}"))?;
    if !further.is_empty() || header.action != RuleAction::ToTable {
        let what = format!("{:?} {}", header.action, further.join(" "));
        return Err(format!("policy {priority}: from {} {}", prefix(&from), what.trim_end()));
    }
    Ok(PolicyRule { priority, from, table: RouteTable(table) })
}

fn read_qdiscs(rtnetlink: &mut Rtnetlink, links: &mut [LiveLink], others: &mut BTreeSet<String>) -> Result<()> {
    rtnetlink.dump(Message::GetQueueDiscipline(TcMessage::default()), |message| {
        let Message::NewQueueDiscipline(message) = message else { return };
        let Some((index, found)) = qdisc::read(&message) else { return };
        let Some(link) = links.iter_mut().find(|link| link.index == index) else { return };
        match found {
            Ok(known) => link.qdisc = Some(known),
            Err(kind) => drop(others.insert(format!("qdisc {kind} dev {}", link.name))),
        }
    })
}

fn scope(number: u8) -> Scope {
    match number {
        254 => Scope::Host,
        253 => Scope::Link,
        _ => Scope::Global,
    }
}
