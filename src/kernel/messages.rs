//! Each part of a plan as the rtnetlink message that makes it. No effects: values in, messages out.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::IpProtocol;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{AfSpecInet, AfSpecUnspec, InfoData, InfoIpTunnel, InfoKind, InfoVeth};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use super::netlink::Batch;
use crate::plan::{Address, Ipv4Conf, Link, Neighbour, Route, RouteKind, Scope};

/// Flags of a request that must make something new.
pub const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// `IFLA_INET_CONF` (linux/if_link.h) and the numbers in it (linux/ip.h).
const IFLA_INET_CONF: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const DEVCONF_FORWARDING: u16 = 1;
const DEVCONF_PROXY_ARP: u16 = 3;
const DEVCONF_ROUTE_LOCALNET: u16 = 26;

/// A bridge.
pub fn bridge(link: &Link, index: u32) -> LinkMessage {
    dressed(LinkMessageBuilder::<LinkBridge>::new(&link.name), link).index(index).build()
}

/// `tunl0` of the ipip module, where the kernel has not made it by itself.
pub fn ipip(link: &Link, index: u32) -> LinkMessage {
    LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::IpIp).name(link.name.clone()).index(index).build()
}

/// A tunnel of the ipip module from `local`, up, for another protocol than IP ([`crate::plan::aside`] says what for).
pub fn silent(name: &str, index: u32, local: Ipv4Addr) -> LinkMessage {
    let parts = vec![InfoIpTunnel::Local(local.into()), InfoIpTunnel::Protocol(IpProtocol::Mpls)];
    LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::IpIp)
        .name(name.to_owned())
        .index(index)
        .set_info_data(InfoData::IpTunnel(parts))
        .up()
        .build()
}

/// A new name for the link with this index, which must be down.
pub fn rename(index: u32, name: String) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfName(name));
    message
}

/// A veth pair: `link` here, with `index`, and `peer` born in the namespace `peer_netns` with `peer_index`. One
/// queue each; the far end cannot be born up.
pub fn veth(link: &Link, index: u32, peer: &Link, peer_index: u32, peer_netns: RawFd) -> LinkMessage {
    let mut far = named(peer).index(peer_index).setns_by_fd(peer_netns).build();
    far.attributes.extend(one_queue());
    let far_end = InfoData::Veth(InfoVeth::Peer(far));
    let near = dressed(LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth), link);
    let mut near = near.index(index).set_info_data(far_end).build();
    near.attributes.extend(one_queue());
    near
}

/// A queue less is several sysfs objects less: a sixth of the cost of a veth pair on two CPUs.
fn one_queue() -> [LinkAttribute; 2] {
    [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]
}

fn named(link: &Link) -> LinkMessageBuilder<LinkUnspec> {
    let mut builder = LinkMessageBuilder::<LinkUnspec>::new().name(link.name.clone());
    if let Some(mac) = link.mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(mtu) = link.mtu {
        builder = builder.mtu(mtu);
    }
    builder
}

fn dressed<T>(mut builder: LinkMessageBuilder<T>, link: &Link) -> LinkMessageBuilder<T> {
    builder = builder.name(link.name.clone());
    if let Some(mac) = link.mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(mtu) = link.mtu {
        builder = builder.mtu(mtu);
    }
    if link.up { builder.up() } else { builder }
}

/// What is set on a link that exists: MTU, master, IPv4 settings, up.
pub fn settle(link: &Link, index: u32, master: Option<u32>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if link.up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
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
    message
}

/// A route of the main table; `dev` is the index of its link.
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
    let mut message = builder.build();
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
    push_addresses(batch, link, index);
}

/// Adds the addresses of a link to a batch.
pub fn push_addresses(batch: &mut Batch, link: &Link, index: u32) {
    for one in &link.addresses {
        let doing = format!("add address {} to {}", one.net, link.name);
        batch.push(Message::NewAddress(address(one, index)), CREATE, doing);
    }
}
