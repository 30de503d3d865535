//! Reads a namespace back from the kernel as the same values that a plan is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType};

use super::netlink::Rtnetlink;
use super::netns;
use crate::error::Result;
use crate::plan::{Address, Mac, Neighbour, Protocol, Route, RouteKind, RouteTable, Scope};

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
    /// Its addresses, those that the kernel makes by itself (127.0.0.1, fe80::…) left out.
    pub addresses: Vec<Address>,
}

/// What one namespace holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Links by index.
    pub links: Vec<LiveLink>,
    /// Routes of the main table, connected ones (`proto kernel`) left out.
    pub routes: Vec<Route>,
    /// Permanent neighbours.
    pub neighbours: Vec<Neighbour>,
}

/// Reads links, addresses, routes and neighbours of a namespace.
///
/// # Errors
/// If the namespace cannot be entered or the kernel's answer cannot be read.
pub fn namespace(ns: impl AsFd + Send) -> Result<Live> {
    let mut rtnetlink = netns::inside(ns, Rtnetlink::open)??;
    let mut links = links(&mut rtnetlink)?;
    read_addresses(&mut rtnetlink, &mut links)?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let routes = routes(&mut rtnetlink, &names)?;
    let neighbours = neighbours(&mut rtnetlink, &names)?;
    Ok(Live { links, routes, neighbours })
}

fn links(rtnetlink: &mut Rtnetlink) -> Result<Vec<LiveLink>> {
    let mut links = Vec::new();
    let mut masters = Vec::new();
    rtnetlink.dump(Message::GetLink(LinkMessage::default()), |message| {
        let Message::NewLink(message) = message else { return };
        let mut link = LiveLink {
            name: String::new(),
            index: message.header.index,
            mtu: 0,
            mac: None,
            master: None,
            up: message.header.flags.contains(LinkFlags::Up),
            addresses: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
                LinkAttribute::Controller(index) => masters.push((link.index, index)),
                _ => {}
            }
        }
        links.push(link);
    })?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    for (port, master) in masters {
        if let Some(link) = links.iter_mut().find(|link| link.index == port) {
            link.master = names.get(&master).cloned();
        }
    }
    Ok(links)
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
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    rtnetlink.dump(Message::GetRoute(request), |message| {
        if let Message::NewRoute(message) = message {
            routes.extend(route(&message, names));
        }
    })?;
    Ok(routes)
}

/// A route of the main table that somebody installed; none for the kernel's own.
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
    if header.table != RouteHeader::RT_TABLE_MAIN || protocol == Protocol::Kernel || remembered {
        return None;
    }
    let default = IpAddr::from([0, 0, 0, 0]);
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
        table: RouteTable::MAIN,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => route.dst = IpNet::new(ip_of(ip)?, route.dst.prefix_len()).ok()?,
            RouteAttribute::Gateway(ip) => route.via = ip_of(ip),
            RouteAttribute::PrefSource(ip) => route.src = ip_of(ip),
            RouteAttribute::Oif(index) => route.dev = names.get(index).cloned(),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            _ => {}
        }
    }
    Some(route)
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

fn scope(number: u8) -> Scope {
    match number {
        254 => Scope::Host,
        253 => Scope::Link,
        _ => Scope::Global,
    }
}
