//! Each part of a plan as the rtnetlink message that makes it. No effects: values in, messages out.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{AfSpecInet, AfSpecUnspec, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags};
use netlink_packet_route::neighbour::{NeighbourMessage, NeighbourState};
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::netlink::Batch;
use super::{devices, qdisc};
use crate::plan::{Address, FdbEntry, Ipv4Conf, Link, Neighbour, PolicyRule, Route, RouteKind, Scope};

/// Flags of a request that must make something new.
pub const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// `IFLA_INET_CONF` (linux/if_link.h) and the numbers in it (linux/ip.h).
const IFLA_INET_CONF: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const DEVCONF_FORWARDING: u16 = 1;
const DEVCONF_PROXY_ARP: u16 = 3;
const DEVCONF_ROUTE_LOCALNET: u16 = 26;

/// What is set on a link that exists: MTU, master, IPv4 settings, promiscuous, up.
pub fn settle(link: &Link, index: u32, master: Option<u32>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    for (flag, on) in [(LinkFlags::Up, link.up), (LinkFlags::Promisc, link.promiscuous)] {
        if on {
            message.header.flags |= flag;
            message.header.change_mask |= flag;
        }
    }
    if let Some(mtu) = link.mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(master) = master {
        message.attributes.push(LinkAttribute::Controller(master));
    }
    if let Some(conf) = inet_conf(&link.ipv4) {
        let inet = AfSpecUnspec::Inet(vec![AfSpecInet::Other(conf)]);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![inet]));
    }
    message
}

/// `IFLA_INET_CONF` with the settings that are given. netlink-packet-route's own type leaves out zeros.
fn inet_conf(conf: &Ipv4Conf) -> Option<DefaultNla> {
    let settings = [
        (DEVCONF_FORWARDING, conf.forwarding),
        (DEVCONF_PROXY_ARP, conf.proxy_arp),
        (DEVCONF_ROUTE_LOCALNET, conf.route_localnet),
    ];
    let mut bytes = Vec::new();
    for (number, value) in settings {
        let Some(value) = value else { continue };
        let nla = DefaultNla::new(number, u32::from(value).to_ne_bytes().to_vec());
        let at = bytes.len();
        bytes.resize(at + nla.buffer_len(), 0);
        nla.emit(&mut bytes[at..]);
    }
    (!bytes.is_empty()).then(|| DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, bytes))
}

/// `net.ipv4.neigh.<link>.proxy_delay`, in hundredths of a second.
pub fn proxy_delay(index: u32, hundredths: u32) -> NeighbourTableMessage {
    let mut message = NeighbourTableMessage::default();
    message.header.family = AddressFamily::Inet;
    message.attributes.push(NeighbourTableAttribute::Name("arp_cache".to_owned()));
    message.attributes.push(NeighbourTableAttribute::Parms(vec![
        NeighbourTableParameter::Ifindex(index),
        NeighbourTableParameter::ProxyDelay(u64::from(hundredths) * 10),
    ]));
    message
}

/// An address of a link.
pub fn address(address: &Address, index: u32) -> AddressMessage {
    let prefix = address.net.prefix_len();
    let mut message = match address.net.addr() {
        IpAddr::V4(ip) => AddressMessageBuilder::<std::net::Ipv4Addr>::new().address(ip, prefix).build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<std::net::Ipv6Addr>::new().address(ip, prefix).build(),
    };
    message.header.index = index;
    message.header.scope = match address.scope {
        Scope::Global => AddressScope::Universe,
        Scope::Link => AddressScope::Link,
        Scope::Host => AddressScope::Host,
    };
    // The builder adds a broadcast address of its own choice; the plan says whether there is one.
    message.attributes.retain(|a| !matches!(a, AddressAttribute::Broadcast(_)));
    message.attributes.extend(address.broadcast.map(AddressAttribute::Broadcast));
    if address.net.addr().is_ipv6() {
        // Nobody else has it, and what is not tentative can be used at once.
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    message
}

/// A route; `dev` is the index of its link.
pub fn route(route: &Route, dev: Option<u32>) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .protocol(RouteProtocol::from(route.protocol.number()))
        .scope(RouteScope::from(route.scope.number()))
        .kind(match route.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Blackhole => RouteType::BlackHole,
        });
    if route.metric > 0 {
        builder = builder.priority(route.metric);
    }
    if route.onlink {
        builder = builder.onlink();
    }
    if let Some(index) = dev {
        builder = builder.output_interface(index);
    }
    let mut message = builder.table_id(route.table.0).build();
    let ip = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    };
    message.header.address_family = match route.dst {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.dst.prefix_len();
    if route.dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(ip(route.dst.network())));
    }
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(ip(via))));
    message.attributes.extend(route.src.map(|src| RouteAttribute::PrefSource(ip(src))));
    message
}

/// A permanent neighbour.
pub fn neighbour(neighbour: &Neighbour, index: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match neighbour.address {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
    message
}

/// A permanent entry of the FDB of the VXLAN device with this index.
pub fn fdb(entry: &FdbEntry, index: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(entry.dst.into()));
    message
}

/// A rule of policy routing.
pub fn policy(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.from {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.src_len = rule.from.prefix_len();
    message.header.action = RuleAction::ToTable;
    // The header has room for small numbers only; the attribute is what counts.
    message.header.table = u8::try_from(rule.table.0).unwrap_or(0);
    message.attributes.push(RuleAttribute::Table(rule.table.0));
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    if rule.from.prefix_len() > 0 {
        message.attributes.push(RuleAttribute::Source(rule.from.network()));
    }
    message
}

/// Adds everything of one settled link to a batch: state and settings, proxy delay, addresses.
pub fn push_settled(batch: &mut Batch, link: &Link, index: u32, master: Option<u32>) {
    let name = &link.name;
    let set = settle(link, index, master);
    if set.header.flags.contains(LinkFlags::Up) || !set.attributes.is_empty() {
        batch.push(Message::SetLink(set), 0, format!("set up link {name}"));
    }
    if let Some(delay) = link.ipv4.proxy_delay {
        let message = Message::SetNeighbourTable(proxy_delay(index, delay));
        batch.push(message, NLM_F_REPLACE, format!("set proxy_delay of {name}"));
    }
    if link.hairpin {
        let message = Message::NewLink(devices::hairpin(index, true));
        batch.push(message, 0, format!("set hairpin mode of {name}"));
    }
    if let Some(wanted) = &link.qdisc {
        let message = Message::NewQueueDiscipline(qdisc::root(wanted, index));
        batch.push(message, CREATE, format!("set the queueing discipline {wanted} of {name}"));
    }
    push_addresses(batch, link, index);
}

/// Adds the addresses of a link to a batch.
pub fn push_addresses(batch: &mut Batch, link: &Link, index: u32) {
    for one in &link.addresses {
        let doing = format!("add address {} to {}", one.net, link.name);
        batch.push(Message::NewAddress(address(one, index)), CREATE, doing);
    }
}
