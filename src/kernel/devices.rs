//! Each sort of device as the rtnetlink message that makes it. No effects: values in, messages out.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use netlink_packet_route::IpProtocol;
use netlink_packet_route::link::{InfoBridgePort, InfoData, InfoIpTunnel, InfoKind, InfoMacVlan, InfoPortData};
use netlink_packet_route::link::{
    InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec};

use crate::plan::{Link, Vxlan};

/// A bridge.
pub fn bridge(link: &Link, index: u32) -> LinkMessage {
    dressed(LinkMessageBuilder::<LinkBridge>::new(&link.name), link).index(index).build()
}

/// A dummy device.
pub fn dummy(link: &Link, index: u32) -> LinkMessage {
    dressed(LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Dummy), link).index(index).build()
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

/// A tunnel of the ipip module to one peer: ttl inherit, pmtudisc.
pub fn ipip_peer(link: &Link, index: u32, local: Ipv4Addr, remote: Ipv4Addr) -> LinkMessage {
    let parts = vec![
        InfoIpTunnel::Local(local.into()),
        InfoIpTunnel::Remote(remote.into()),
        InfoIpTunnel::Ttl(0),
        InfoIpTunnel::PMtuDisc(true),
    ];
    let builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::IpIp);
    dressed(builder, link).index(index).set_info_data(InfoData::IpTunnel(parts)).build()
}

/// A VXLAN device above the link with index `lower`; what is not said here is as `ip link add type vxlan` leaves it.
pub fn vxlan(link: &Link, index: u32, vxlan: &Vxlan, lower: u32) -> LinkMessage {
    let parts = vec![
        InfoVxlan::Id(vxlan.vni),
        match vxlan.local {
            IpAddr::V4(local) => InfoVxlan::Local(local),
            IpAddr::V6(local) => InfoVxlan::Local6(local),
        },
        InfoVxlan::Link(lower),
        InfoVxlan::Learning(vxlan.learning),
        InfoVxlan::Port(vxlan.port),
    ];
    let builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Vxlan);
    dressed(builder, link).index(index).set_info_data(InfoData::Vxlan(parts)).build()
}

/// Name of a macvlan until it is [renamed](rename) in its own namespace, which the macvlan plugin does as well.
pub const NEW_BORN: &str = "minik-new-born";

/// A macvlan in bridge mode, born in the namespace `netns`; sent to the namespace in which `lower` is its lower device.
/// It is named and set up in its own namespace: kernels before 6.14 look for a name or index that is taken in the
/// namespace to which the message is sent, where a pod's `eth0` and 2 may be others'.
pub fn macvlan(link: &Link, lower: u32, netns: RawFd) -> LinkMessage {
    let mode = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
    let mut builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::MacVlan).name(NEW_BORN.to_owned());
    if let Some(mac) = link.mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(mtu) = link.mtu {
        builder = builder.mtu(mtu);
    }
    builder.link(lower).setns_by_fd(netns).set_info_data(mode).build()
}

/// Whether the bridge port with this index may send frames back to where they came from. To be sent as a request about
/// a link that exists: in the message that makes it or gives it its bridge the kernel overlooks this.
pub fn hairpin(index: u32, on: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(on)])),
    ]));
    message
}
