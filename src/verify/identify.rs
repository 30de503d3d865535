//! Which check, and which leg of it, a captured frame belongs to. PURE.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::checks::{Act, Check, SENTINEL};
use crate::packet::build::{Message, Probe};
use crate::packet::{Arp, ArpOperation, Body, Frame, Icmp, Mark, Packet, TcpFlags, Transport};
use crate::predict::Purpose;

/// What is known about the packets of a run.
#[derive(Debug, Default)]
pub struct Identify {
    /// The destination port of each UDP and TCP check's request.
    ports: BTreeMap<Mark, u16>,
    /// Which check a TCP segment answers, by what it acknowledges.
    acknowledged: BTreeMap<u32, Mark>,
    /// Which check an answer of a neighbour belongs to, by who asked for what.
    asked: BTreeMap<(IpAddr, IpAddr), Mark>,
    marks: std::collections::BTreeSet<Mark>,
    /// Later fragments may be too short for a mark; they are known by their first one.
    fragments: BTreeMap<(IpAddr, IpAddr, Option<u32>), (Mark, Purpose)>,
}

impl Identify {
    /// Knows the packets of `checks`.
    pub fn new(checks: &[Check]) -> Identify {
        let mut known = Identify::default();
        for check in checks {
            known.marks.insert(check.mark);
            known.marks.insert(Mark(check.mark.0 | SENTINEL));
            match &check.act {
                Act::Wire { probe: Some(probe), .. } | Act::Stack { probe, .. } => known.learn(check.mark, probe),
                Act::Wire { probe: None, .. } => {
                    let question = check.expected.hops().find_map(|hop| question(&hop.frame));
                    known.asked.extend(question.map(|question| (question, check.mark)));
                }
                Act::Refused { .. } | Act::Unasked { .. } => {}
            }
        }
        known
    }

    fn learn(&mut self, mark: Mark, probe: &Probe) {
        match probe.message {
            Message::Echo { .. } | Message::Init { .. } => {}
            Message::Udp { dst, .. } => {
                self.ports.insert(mark, dst);
            }
            Message::Syn { dst, seq, .. } => {
                self.ports.insert(mark, dst);
                let headers = crate::packet::Ip::header_of(&probe.dst) + probe.message.header();
                let data = u32::from(probe.length.saturating_sub(headers));
                // A reset acknowledges the data too, an accepting port the SYN alone.
                self.acknowledged.insert(seq.wrapping_add(1), mark);
                self.acknowledged.insert(seq.wrapping_add(1 + data), mark);
            }
        }
    }

    /// The check and the leg that a frame is of; none for everybody else's traffic.
    pub fn of(&mut self, frame: &Frame) -> Option<(Mark, Purpose)> {
        match &frame.body {
            Body::Ip(packet) => self.of_packet(packet),
            Body::Arp(arp) => self.of_arp(arp),
            Body::Other(_, mark) => {
                (*mark).filter(|mark| self.marks.contains(mark)).map(|mark| (mark, Purpose::Request))
            }
            Body::Malformed => None,
        }
    }

    fn of_arp(&self, arp: &Arp) -> Option<(Mark, Purpose)> {
        match arp.operation {
            ArpOperation::Request => {
                arp.mark.filter(|mark| self.marks.contains(mark)).map(|mark| (mark, Purpose::Request))
            }
            ArpOperation::Reply => {
                self.asked.get(&(arp.target.into(), arp.sender.into())).map(|mark| (*mark, Purpose::Answer))
            }
            ArpOperation::Other(_) => None,
        }
    }

    fn of_packet(&mut self, packet: &Packet) -> Option<(Mark, Purpose)> {
        let fragment = packet.headers().find(|ip| ip.is_fragment()).map(|ip| (ip.src, ip.dst, ip.id));
        let packet = packet.innermost();
        if let Transport::Icmp(Icmp::Advertisement { target, .. }) = packet.transport {
            let asked = packet.outer().and_then(|ip| self.asked.get(&(ip.dst, target.into())));
            return asked.map(|mark| (*mark, Purpose::Answer));
        }
        if packet.transport == Transport::Fragment {
            return self.fragments.get(&fragment?).copied();
        }
        let marked = packet.any_mark().filter(|mark| self.marks.contains(mark));
        let mark = marked.or_else(|| match &packet.transport {
            Transport::Tcp { ack, flags, .. } if flags.0 & TcpFlags::ACK != 0 => self.acknowledged.get(ack).copied(),
            _ => None,
        })?;
        let found = (mark, self.purpose(mark, &packet.transport));
        if let Some(key) = fragment {
            self.fragments.insert(key, found);
        }
        Some(found)
    }

    fn purpose(&self, mark: Mark, transport: &Transport) -> Purpose {
        match transport {
            Transport::Icmp(Icmp::EchoRequest { .. } | Icmp::Solicitation { .. }) => Purpose::Request,
            Transport::Icmp(Icmp::EchoReply { .. }) => Purpose::Answer,
            Transport::Icmp(_) => Purpose::Error,
            Transport::Udp { dst, .. } | Transport::Tcp { dst, .. } if *dst != self.ports.get(&mark).copied() => {
                Purpose::Answer
            }
            _ => Purpose::Request,
        }
    }
}

/// Who asks who has what.
fn question(frame: &Frame) -> Option<(IpAddr, IpAddr)> {
    match &frame.body {
        Body::Arp(arp) => Some((arp.sender.into(), arp.target.into())),
        Body::Ip(Packet { layers, transport: Transport::Icmp(Icmp::Solicitation { target, .. }), .. }) => {
            Some((layers.first()?.src, (*target).into()))
        }
        _ => None,
    }
}
