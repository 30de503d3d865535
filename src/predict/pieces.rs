//! What fits through a link: fragments, and what is too long.

use super::Reason;
use super::neighbour::Place;
use super::settings;
use super::walk::{Carried, Split};
use crate::error::{Error, Kind, Result};
use crate::packet::{ETHERNET_HEADER, FRAGMENT_HEADER, Inside, Ip, Packet, Transport};

/// What a veth or a bridge port lets through beyond its MTU: the Ethernet header and a VLAN tag, in bytes
/// (`is_skb_forwardable`).
const BEYOND_MTU: u32 = 18;

/// Splits what is too long for the link, or says why it must not be.
pub fn fit(carried: &mut Carried, interface: &str, mtu: u32) -> Result<Option<Reason>> {
    let longest = longest(carried);
    if u32::from(longest) <= mtu {
        return Ok(None);
    }
    let split = Split::outermost(&carried.packet, mtu);
    let outermost = split.level;
    match carried.split {
        // IPv6's sender has split what it might; what a tunnel makes longer than that is not sent (`ip6_fragment`).
        _ if carried.is_whole()? => {
            return Ok(Some(Reason::TooLong { interface: interface.to_owned(), mtu }));
        }
        Some(split) if split.level != outermost => {
            let text = format!("cannot predict fragments of fragments, which the MTU {mtu} of {interface} makes");
            return Err(Error::new(Kind::Unsupported, text));
        }
        _ => {}
    }
    carried.split = Some(split);
    Ok(None)
}

/// Why a veth's end or a bridge port does not take the longest of the frames.
pub fn longer(at: Place, carried: &Carried) -> Option<Reason> {
    let mtu = settings::mtu(at.link);
    let length = u32::from(longest(carried)) + ETHERNET_HEADER as u32;
    (length > mtu + BEYOND_MTU).then(|| Reason::TooLong { interface: at.link.name.clone(), mtu })
}

/// Length in bytes of the longest packet that a datagram travels as.
pub fn longest(carried: &Carried) -> u16 {
    pieces(carried).iter().filter_map(|packet| packet.outer()).map(|ip| ip.length).max().unwrap_or(0)
}

/// The packets that a datagram travels as.
pub fn pieces(carried: &Carried) -> Vec<Packet> {
    match carried.split {
        Some(split) => divided(&carried.packet, split),
        None => vec![carried.packet.clone()],
    }
}

fn divided(packet: &Packet, split: Split) -> Vec<Packet> {
    let Some(depth) = packet.headers().count().checked_sub(1 + split.level) else { return vec![packet.clone()] };
    let Some(header) = packet.layers.get(depth) else {
        let inside = packet.inside().map(|inside| divided(inside, split)).unwrap_or_default();
        return inside.into_iter().map(|piece| around(packet, piece)).collect();
    };
    let room = (split.limit.saturating_sub(in_fragment(header)) / 8 * 8).max(8);
    let total = header.length.saturating_sub(header.header());
    if header.length <= split.limit {
        return vec![packet.clone()];
    }
    (0..total.div_ceil(room)).map(|index| piece(packet, depth, index * room, room, total)).collect()
}

/// Length of a header in each piece, in bytes: IPv6 has one more for it.
fn in_fragment(header: &Ip) -> u16 {
    header.header() + if header.is_v6() { FRAGMENT_HEADER } else { 0 }
}

fn piece(packet: &Packet, depth: usize, offset: u16, room: u16, total: u16) -> Packet {
    let carried = room.min(total - offset);
    let mut piece = packet.clone();
    if offset > 0 {
        piece.transport = Transport::Fragment;
        piece.layers.truncate(depth + 1);
    }
    let mut length = carried;
    for (index, ip) in piece.layers.iter_mut().enumerate().take(depth + 1).rev() {
        length += if index == depth { in_fragment(ip) } else { ip.header() };
        ip.length = length;
        if index == depth {
            ip.offset = offset;
            ip.more_fragments = offset + carried < total;
        }
    }
    piece
}

/// The tunnel's packet around one piece of what it carries.
fn around(packet: &Packet, piece: Packet) -> Packet {
    let length = |packet: &Packet| packet.outer().map_or(0, |ip| ip.length);
    let shorter = packet.inside().map_or(0, length).saturating_sub(length(&piece));
    let mut whole = packet.clone();
    for ip in &mut whole.layers {
        ip.length = ip.length.saturating_sub(shorter);
    }
    if let Transport::Tunnel { inside, .. } = &mut whole.transport {
        match &mut **inside {
            Inside::Bare(packet) => *packet = piece,
            Inside::Vxlan { frame, .. } => {
                frame.length = frame.length.saturating_sub(usize::from(shorter));
                frame.body = crate::packet::Body::Ip(piece);
            }
        }
    }
    whole
}
