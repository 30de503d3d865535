//! IPv6 and ICMPv6 from bytes, with the same distrust as IPv4.

use std::net::Ipv6Addr;

use super::decode::{DEPTH_MAX, Scope, layered};
use super::{FRAGMENT_HEADER, IPV6_HEADER, Icmp, Ip, Mark, PROTOCOL_FRAGMENT, Packet, Transport};
use crate::plan::Mac;

/// Extension headers (RFC 8200, 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// The option of neighbour discovery that carries minik's mark: one for experiments (RFC 4727, 6).
pub(super) const OPTION_MARK: u8 = 253;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;

/// Decodes an IPv6 packet; none if there is no whole header.
pub(super) fn packet(bytes: &[u8], scope: Scope) -> Option<Packet> {
    let (header, rest) = bytes.split_first_chunk::<{ IPV6_HEADER as usize }>()?;
    let [v0, v1, v2, v3, l0, l1, next, ttl, addresses @ ..] = *header;
    if v0 >> 4 != 6 {
        return None;
    }
    let (src, dst) = (address(addresses.first_chunk()?), address(addresses.last_chunk()?));
    let carried = u16::from_be_bytes([l0, l1]);
    let label = u32::from_be_bytes([0, v1 & 0x0f, v2, v3]);
    let mut layer = Ip::new(src.into(), dst.into(), next, ttl, IPV6_HEADER.saturating_add(carried));
    layer.label = Some(label);
    let payload = rest.get(..usize::from(carried).min(rest.len())).unwrap_or(&[]);
    match extensions(&mut layer, payload) {
        Some(payload) => Some(layered(layer, payload, scope)),
        None => Some(Packet { layers: vec![layer], transport: Transport::Truncated, mark: None }),
    }
}

fn address(bytes: &[u8; 16]) -> Ipv6Addr {
    Ipv6Addr::from(*bytes)
}

/// Passes the extension headers, and gives what is behind them; none if one of them is cut. In a later fragment nothing
/// behind the fragment header is a header.
fn extensions<'a>(layer: &mut Ip, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    for _ in 0..DEPTH_MAX {
        let length = match layer.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*bytes.get(1)?) + 1) * 8,
            PROTOCOL_FRAGMENT => {
                let [_, _, o0, o1, id @ ..] = *bytes.first_chunk::<{ FRAGMENT_HEADER as usize }>()?;
                let word = u16::from_be_bytes([o0, o1]);
                (layer.offset, layer.more_fragments) = (word & !7, word & 1 != 0);
                layer.id = Some(u32::from_be_bytes(id));
                usize::from(FRAGMENT_HEADER)
            }
            _ => break,
        };
        let was = layer.protocol;
        layer.protocol = *bytes.first()?;
        bytes = bytes.get(length..)?;
        if was == PROTOCOL_FRAGMENT && layer.offset > 0 {
            break;
        }
    }
    Some(bytes)
}

/// An ICMPv6 message, and what follows its header.
pub(super) fn icmp<'a>(payload: &'a [u8], scope: Scope) -> Option<(Transport, &'a [u8])> {
    let ([kind, code, _, _, word @ ..], rest) = payload.split_first_chunk::<8>()?;
    let (kind, code, word) = (*kind, *code, u32::from_be_bytes(*word));
    let (high, low) = ((word >> 16) as u16, word as u16);
    let quoted = || scope.deeper().and_then(|scope| packet(rest, scope)).map(Box::new);
    let icmp = match kind {
        1 => Icmp::Unreachable { code, mtu: 0, about: quoted() },
        2 => Icmp::TooBig { mtu: word, about: quoted() },
        3 => Icmp::TimeExceeded { code, about: quoted() },
        4 => Icmp::ParameterProblem { code, pointer: word, about: quoted() },
        128 => Icmp::EchoRequest { id: Some(high), seq: low },
        129 => Icmp::EchoReply { id: Some(high), seq: low },
        135 | 136 => return neighbour(kind, high, rest),
        _ => Icmp::Other { kind, code },
    };
    Some((Transport::Icmp(icmp), rest))
}

/// A neighbour solicitation or advertisement. What is given back as following it is where its mark is.
fn neighbour(kind: u8, flags: u16, rest: &[u8]) -> Option<(Transport, &[u8])> {
    let (target, options) = rest.split_first_chunk::<16>()?;
    let target = address(target);
    let found = |wanted: u8| Options(options).find(|(kind, _)| *kind == wanted).map(|(_, body)| body);
    let mac = |wanted: u8| found(wanted).and_then(|body| body.first_chunk::<6>()).map(|mac| Mac(*mac));
    let icmp = match kind {
        135 => Icmp::Solicitation { target, source_mac: mac(OPTION_SOURCE) },
        _ => Icmp::Advertisement { target, target_mac: mac(OPTION_TARGET), solicited: flags & 0x4000 != 0 },
    };
    // Behind six bytes of padding, so that the mark ends the option.
    let marked = found(OPTION_MARK).and_then(|body| body.get(body.len().checked_sub(Mark::LENGTH)?..));
    Some((Transport::Icmp(icmp), marked.unwrap_or(&[])))
}

/// Options of neighbour discovery (RFC 4861, 4.6): type, length in units of eight bytes, body.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [kind, units, ..] = *self.0 else { return None };
        let length = usize::from(units) * 8;
        let option = self.0.get(..length).filter(|option| !option.is_empty())?;
        self.0 = self.0.get(length..)?;
        Some((kind, option.get(2..)?))
    }
}
