//! What fits through a link: fragments, and what is too long.

use super::Reason;
use super::neighbour::Place;
use super::settings;
use super::walk::{Carried, Split};
use crate::error::Result;
use crate::packet::{ETHERNET_HEADER, FRAGMENT_HEADER, Inside, Ip, Packet, Transport};

/// What a veth or a bridge port lets through beyond its MTU: the Ethernet header and a VLAN tag, in bytes
/// (`is_skb_forwardable`).
const BEYOND_MTU: u32 = 18;

/// Splits what is too long for the link, or says why it must not be. Fragments that were joined on the way are split
/// anew, as one (`ip_do_fragment`); others each by itself.
pub fn fit(at: Place, carried: &mut Carried) -> Result<Option<Reason>> {
    let mtu = settings::mtu(at.link);
    if u32::from(longest(carried)) <= mtu {
        return Ok(None);
    }
    // IPv6's sender has split what it might; what a tunnel makes longer than that is not sent (`ip6_fragment`).
    if carried.is_whole()? {
        return Ok(Some(Reason::TooLong { interface: at.link.name.clone(), mtu }));
    }
    let split = Split::outermost(&carried.packet, mtu);
    if settings::tracks(at.ns, carried.packet.is_v6()) {
        carried.splits.retain(|before| before.level != split.level);
    }
    carried.splits.push(split);
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
    let headers = carried.packet.headers().count();
    let mut pieces = vec![carried.packet.clone()];
    for split in &carried.splits {
        // A later fragment has lost the headers inside of it, so they are counted from the outside.
        let Some(depth) = headers.checked_sub(1 + split.level) else { continue };
        pieces = pieces.iter().flat_map(|piece| divided(piece, depth, split.limit)).collect();
    }
    pieces
}

/// The header so deep inside, counted from 0, with its payload divided.
fn divided(packet: &Packet, depth: usize, limit: u16) -> Vec<Packet> {
    let Some(header) = packet.layers.get(depth) else {
        let Some(inside) = packet.inside() else { return vec![packet.clone()] };
        let inside = divided(inside, depth - packet.layers.len(), limit);
        return inside.into_iter().map(|piece| around(packet, piece)).collect();
    };
    if header.length <= limit {
        return vec![packet.clone()];
    }
    let room = (limit.saturating_sub(in_fragment(header)) / 8 * 8).max(8);
    let total = header.length.saturating_sub(header.header());
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
            // What is a fragment already stays where it belongs, and only the last piece of the last is the last.
            ip.offset += offset;
            ip.more_fragments |= offset + carried < total;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PROTOCOL_IPIP, PROTOCOL_UDP};

    fn carried(layers: Vec<Ip>, splits: &[(usize, u16)]) -> Carried {
        let packet = Packet { layers, transport: Transport::Udp { src: Some(1), dst: Some(2) }, mark: None };
        let splits = splits.iter().map(|(level, limit)| Split { level: *level, limit: *limit }).collect();
        Carried { splits, ..Carried::new(packet) }
    }

    fn ip(protocol: u8, length: u16) -> Ip {
        Ip::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol, 64, length)
    }

    fn header(ip: &Ip) -> (u16, u16, bool) {
        (ip.offset, ip.length, ip.more_fragments)
    }

    #[test]
    fn a_fragment_that_is_split_again_keeps_its_place() {
        let twice = carried(vec![ip(PROTOCOL_UDP, 3000)], &[(0, 1500), (0, 1000)]);
        let seen: Vec<_> = pieces(&twice).iter().filter_map(Packet::outer).map(header).collect();
        let wanted = [(0, 996, true), (976, 524, true), (1480, 996, true), (2456, 524, true), (2960, 40, false)];
        assert_eq!(seen, wanted);
        assert_eq!(longest(&twice), 996);
    }

    #[test]
    fn a_tunnels_packet_around_a_fragment_is_split_by_itself() {
        let layers = vec![ip(PROTOCOL_IPIP, 1520), ip(PROTOCOL_UDP, 1500)];
        let both = carried(layers, &[(0, 1480), (1, 1400)]);
        let seen: Vec<_> = pieces(&both);
        let outer: Vec<_> = seen.iter().filter_map(Packet::outer).map(header).collect();
        // 1456 + 20 inside, then 24 + 20; the first is too long with 20 more around it.
        assert_eq!(outer, [(0, 1396, true), (1376, 120, false), (0, 64, false)]);
        let inner: Vec<_> = seen.iter().filter_map(|packet| packet.layers.get(1)).map(header).collect();
        assert_eq!(inner, [(0, 1476, true), (1456, 44, false)]);
    }
}
