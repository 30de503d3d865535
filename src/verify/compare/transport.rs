//! What the headers inside of IP's say, beside what was predicted. PURE.

use super::{Difference, differ, differ_known, header, within};
use crate::packet::{Chunk, Icmp, Init, Sctp, Transport};
use crate::plan::Mac;

/// The first field in which what an IP packet carries is not as predicted.
pub(super) fn transport(expected: &Transport, seen: &Transport, is_v6: bool) -> Option<Difference> {
    match (expected, seen) {
        (Transport::Icmp(expected), Transport::Icmp(seen)) => icmp(expected, seen, is_v6),
        (Transport::Udp { src: a, dst: b }, Transport::Udp { src, dst }) => {
            differ_known("source port", *a, *src).or_else(|| differ_known("destination port", *b, *dst))
        }
        (Transport::Tcp { src: a, dst: b, flags: c, seq: d, ack: e }, Transport::Tcp { src, dst, flags, seq, ack }) => {
            differ_known("source port", *a, *src)
                .or_else(|| differ_known("destination port", *b, *dst))
                .or_else(|| differ("TCP flags", *c, *flags))
                .or_else(|| differ_known("TCP sequence number", *d, *seq))
                .or_else(|| differ("TCP acknowledgement", *e, *ack))
        }
        (Transport::Sctp(expected), Transport::Sctp(seen)) => association(expected, seen),
        (Transport::Tunnel { src: a, dst: b, inside: c }, Transport::Tunnel { src, dst, inside }) => {
            differ_known("outer source port", *a, *src)
                .or_else(|| differ_known("outer destination port", *b, *dst))
                .or_else(|| within(c, inside))
        }
        (expected, seen) => {
            let same = std::mem::discriminant(expected) == std::mem::discriminant(seen);
            (!same).then(|| ("transport".to_owned(), word(expected).to_owned(), word(seen).to_owned()))
        }
    }
}

/// An association's first packet, or the answer to it.
fn association(expected: &Sctp, seen: &Sctp) -> Option<Difference> {
    let Sctp { src, dst, tag, chunk, sound } = *expected;
    let checksum = if seen.sound == Some(false) { "wrong" } else { "right" };
    differ_known("source port", src, seen.src)
        .or_else(|| differ_known("destination port", dst, seen.dst))
        .or_else(|| differ_known("SCTP verification tag", tag, seen.tag))
        .or_else(|| first_chunk(chunk, seen.chunk))
        // What begins with a wrong one is not made right by anybody.
        .or_else(|| differ("SCTP checksum", "right", checksum).filter(|_| sound != Some(false)))
}

fn first_chunk(expected: Option<Chunk>, seen: Option<Chunk>) -> Option<Difference> {
    let offers = |a: Init, b: Init| {
        differ_known("SCTP initiate tag", a.tag, b.tag)
            .or_else(|| differ_known("SCTP outbound streams", a.outbound, b.outbound))
            .or_else(|| differ_known("SCTP inbound streams", a.inbound, b.inbound))
            .or_else(|| differ_known("first SCTP TSN", a.tsn, b.tsn))
    };
    match (expected, seen) {
        (Some(Chunk::Init(expected)), Some(Chunk::Init(seen)))
        | (Some(Chunk::InitAck(expected)), Some(Chunk::InitAck(seen))) => offers(expected, seen),
        (expected, seen) if expected == seen => None,
        (expected, seen) => {
            let words = |chunk: Option<Chunk>| chunk.map_or("none".to_owned(), |chunk| chunk.to_string());
            Some(("SCTP chunk".to_owned(), words(expected), words(seen)))
        }
    }
}

fn word(transport: &Transport) -> &'static str {
    match transport {
        Transport::Icmp(_) => "ICMP",
        Transport::Udp { .. } => "UDP",
        Transport::Tunnel { .. } => "a tunnel over UDP",
        Transport::Tcp { .. } => "TCP",
        Transport::Sctp(_) => "SCTP",
        Transport::Fragment => "a later fragment",
        Transport::Other => "another protocol",
        Transport::Truncated => "a cut header",
    }
}

fn icmp(expected: &Icmp, seen: &Icmp, is_v6: bool) -> Option<Difference> {
    use Icmp::{Advertisement, EchoReply, EchoRequest, ParameterProblem, Solicitation, TooBig, Unreachable};
    let quoted = |expected: &Icmp, seen: &Icmp| {
        let outer = |icmp: &Icmp| icmp.about().and_then(|packet| packet.outer().copied());
        outer(expected).zip(outer(seen)).and_then(|(expected, seen)| header("quoted ", &expected, &seen))
    };
    match (expected, seen) {
        (EchoRequest { id: a, seq: b }, EchoRequest { id, seq })
        | (EchoReply { id: a, seq: b }, EchoReply { id, seq }) => {
            differ_known("ICMP id", *a, *id).or_else(|| differ("ICMP seq", *b, *seq))
        }
        (Unreachable { code: a, mtu: b, .. }, Unreachable { code, mtu, .. }) => differ("ICMP code", *a, *code)
            .or_else(|| differ("next-hop MTU", *b, *mtu))
            .or_else(|| quoted(expected, seen)),
        (TooBig { mtu: a, .. }, TooBig { mtu, .. }) => {
            differ("next-hop MTU", *a, *mtu).or_else(|| quoted(expected, seen))
        }
        (ParameterProblem { code: a, pointer: b, .. }, ParameterProblem { code, pointer, .. }) => {
            differ("ICMP code", *a, *code)
                .or_else(|| differ("pointer", *b, *pointer))
                .or_else(|| quoted(expected, seen))
        }
        (Solicitation { target: a, source_mac: b }, Solicitation { target, source_mac })
        | (
            Advertisement { target: a, target_mac: b, solicited: true },
            Advertisement { target, target_mac: source_mac, solicited: true },
        ) => {
            let none = Mac([0; 6]);
            differ("target", *a, *target).or_else(|| differ("told MAC", b.unwrap_or(none), source_mac.unwrap_or(none)))
        }
        (expected, seen) => differ("ICMP message", expected.words(is_v6).to_string(), seen.words(is_v6).to_string())
            .filter(|_| std::mem::discriminant(expected) != std::mem::discriminant(seen)),
    }
}
