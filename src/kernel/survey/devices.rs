//! Links, queueing disciplines and IPv6 of the calling thread's namespace, each really made, by netlink.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{InfoData, InfoIpTunnel, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVxlan};
use netlink_packet_route::link::{IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::catalogue::Device;
use super::{Outcome, tun_cure};
use crate::error::{Error, Result};
use crate::kernel::messages::CREATE;
use crate::kernel::netlink::{Batch, Rtnetlink};
use crate::kernel::tun;

/// The index of `lo` in every namespace.
const LOOPBACK: u32 = 1;
/// `TCA_OPTIONS` (linux/rtnetlink.h).
const TCA_OPTIONS: u16 = 2;
/// `TCA_HTB_INIT` and `TCA_TBF_PARMS` (linux/pkt_sched.h).
const TCA_HTB_INIT: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
/// The pair of links on which others stand.
const NEAR: &str = "minik-near";
const FAR: &str = "minik-far";
/// Index of its near and of its far end.
const NEAR_INDEX: u32 = 101;
const FAR_INDEX: u32 = 102;

/// Sets `lo` up.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn loopback_up(rtnetlink: &mut Rtnetlink) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = LOOPBACK;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let mut batch = Batch::default();
    batch.push(Message::SetLink(message), 0, "set lo up");
    rtnetlink.send(batch)
}

/// Makes one of them. Macvlan and ipvlan stand on a pair of veth, which is made if it is not there.
pub(super) fn attempt(rtnetlink: &mut Rtnetlink, device: Device) -> Outcome {
    let made = match device {
        Device::Veth => pair(rtnetlink),
        Device::Bridge => link(rtnetlink, "minik-bridge", InfoKind::Bridge, None, None),
        Device::Ipip => {
            // With ends of its own: beside a tunl0, which the module makes, there can be no second one without.
            let ends = vec![
                InfoIpTunnel::Local([192, 0, 2, 1].into()),
                InfoIpTunnel::Remote(std::net::Ipv4Addr::new(192, 0, 2, 2).into()),
            ];
            link(rtnetlink, "minik-ipip", InfoKind::IpIp, Some(InfoData::IpTunnel(ends)), None)
        }
        Device::Vxlan => {
            let data = vec![InfoVxlan::Id(4096), InfoVxlan::Port(4789), InfoVxlan::Learning(false)];
            link(rtnetlink, "minik-vxlan", InfoKind::Vxlan, Some(InfoData::Vxlan(data)), None)
        }
        Device::Macvlan => pair(rtnetlink).and_then(|()| {
            let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
            link(rtnetlink, "minik-macvlan", InfoKind::MacVlan, Some(data), Some(NEAR_INDEX))
        }),
        Device::Ipvlan => pair(rtnetlink).and_then(|()| {
            let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)]);
            link(rtnetlink, "minik-ipvlan", InfoKind::IpVlan, Some(data), Some(FAR_INDEX))
        }),
        Device::Dummy => link(rtnetlink, "minik-dummy", InfoKind::Dummy, None, None),
        Device::Tun => tun::create("minik-tun", 0).map(drop),
        Device::Netem => queue(rtnetlink, "netem", netem()),
        Device::Htb => queue(rtnetlink, "htb", attribute(TCA_HTB_INIT, &words(&[3, 10, 0, 0, 0]))),
        Device::Tbf => queue(rtnetlink, "tbf", attribute(TCA_TBF_PARMS, &tbf())),
        Device::Ipv6 => loopback_up(rtnetlink).and_then(|()| {
            let bound = std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0));
            bound.map(drop).map_err(|e| Error::io("cannot use ::1", e))
        }),
    };
    made.map(|()| String::new()).map_err(|error| reason(device, &error))
}

/// Why the kernel refused, in its words where they are of use.
fn reason(device: Device, error: &Error) -> String {
    match (device, error.errno()) {
        (Device::Tun, _) => tun_cure::reason(error),
        (Device::Netem | Device::Htb | Device::Tbf, Some(libc::ENOENT)) | (_, Some(libc::EOPNOTSUPP)) => {
            "this kernel does not know it".to_owned()
        }
        _ => error.to_string().replace('\n', "; "),
    }
}

fn pair(rtnetlink: &mut Rtnetlink) -> Result<()> {
    let mut far = LinkMessage::default();
    far.header.index = FAR_INDEX;
    far.attributes.push(LinkAttribute::IfName(FAR.to_owned()));
    let made = named(NEAR, NEAR_INDEX, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(far))));
    let mut batch = Batch::default();
    batch.push(Message::NewLink(made), CREATE, "make a pair of veth");
    match rtnetlink.send(batch) {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        outcome => outcome,
    }
}

fn link(
    rtnetlink: &mut Rtnetlink,
    name: &str,
    kind: InfoKind,
    data: Option<InfoData>,
    below: Option<u32>,
) -> Result<()> {
    let mut message = named(name, 0, kind, data);
    message.attributes.extend(below.map(LinkAttribute::Link));
    let mut batch = Batch::default();
    batch.push(Message::NewLink(message), CREATE, format!("make {name}"));
    rtnetlink.send(batch)
}

fn named(name: &str, index: u32, kind: InfoKind, data: Option<InfoData>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

/// Puts a queueing discipline on `lo`, in place of the one before.
fn queue(rtnetlink: &mut Rtnetlink, kind: &str, options: Vec<u8>) -> Result<()> {
    let mut message = TcMessage::with_index(LOOPBACK as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
    let mut batch = Batch::default();
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.push(Message::NewQueueDiscipline(message), flags, format!("set the queueing discipline {kind}"));
    rtnetlink.send(batch)
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

/// A `tc_netem_qopt`: latency (in ticks), limit (packets), loss (of 2^32), gap, duplicates, jitter.
fn netem() -> Vec<u8> {
    words(&[1000, 1000, u32::MAX / 100, 0, 0, 0])
}

/// A `tc_tbf_qopt`: a rate, no peak rate, limit (bytes), buffer (ticks of 64 ns), MTU (ticks).
fn tbf() -> Vec<u8> {
    const LINKLAYER_ETHERNET: u8 = 1;
    // cell_log, linklayer, then overhead, cell_align and mpu as three u16, and bytes a second.
    let mut bytes = vec![0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(words(&[125_000]));
    bytes.extend([0; 12]);
    bytes.extend(words(&[10_000, 1_000_000, 0]));
    bytes
}
