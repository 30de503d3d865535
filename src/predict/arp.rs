//! An ARP request's way to everybody who hears it, and the answer's way back.

use std::net::Ipv4Addr;

use super::neighbour::{self, Place, Wiring};
use super::{End, Hop, Journey, Leg, Purpose, Reason, Turn, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{Arp, ArpOperation, Body, Direction, Ethernet, Frame};
use crate::plan::{LinkKind, Mac, Plan};

/// Length of an ARP message in an Ethernet frame that nobody padded, in bytes.
const FRAME: usize = 42;
/// Length of the request that minik injects, which is padded as a NIC would pad it, in bytes.
const REQUEST_FRAME: usize = 60;

/// See [`super::arp`].
pub fn journey(plan: &Plan, from: &str, interface: &str, sender: Ipv4Addr, target: Ipv4Addr) -> Result<Journey> {
    let none = || Error::new(Kind::Check, format!("the plan has no interface {from}/{interface}"));
    let ns = plan.namespace(from).ok_or_else(none)?;
    let at = Place { ns, link: ns.link(interface).ok_or_else(none)? };
    let mut flood = Flood { wiring: Wiring::new(plan), spots: Vec::new() };
    flood.leave(at, None)?;
    let asks = |place: &Place| place.ns.name == ns.name;
    let answering = flood
        .spots
        .iter()
        .position(|spot| spot.has_stack && !asks(&spot.at) && neighbour::answers(spot.at, target, Some(sender)));
    let way = flood.way(answering.unwrap_or(0));
    let mine = settings::mac(at.ns, at.link)?;
    let question = (mine, Mac::BROADCAST, asked(mine, sender, target));
    let told = |(index, spot): (usize, &Spot)| {
        hop(spot.at, spot.direction, question, if way.contains(&index) { Turn::InOrder } else { Turn::Aside })
    };
    let hops = flood.spots.iter().enumerate().map(told).collect();
    let Some(there) = answering.and_then(|index| flood.spots.get(index)).map(|spot| spot.at) else {
        let reason = Reason::NoNeighbour { address: target, interface: interface.to_owned() };
        let end = End::Dropped { namespace: ns.name.clone(), reason };
        return Ok(Journey { legs: vec![Leg { purpose: Purpose::Request, hops, end }] });
    };
    let theirs = settings::mac(there.ns, there.link)?;
    let answer = (theirs, mine, answered(question.2, theirs));
    let leg = |purpose, hops, place: Place| {
        let end = End::Delivered { namespace: place.ns.name.clone() };
        Leg { purpose, hops, end }
    };
    let back = flood.back(&way, answer);
    Ok(Journey { legs: vec![leg(Purpose::Request, hops, there), leg(Purpose::Answer, back, at)] })
}

fn asked(mine: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
    Arp { operation: ArpOperation::Request, sender_mac: mine, sender, target_mac: Mac([0; 6]), target, mark: None }
}

fn answered(question: Arp, theirs: Mac) -> Arp {
    Arp {
        operation: ArpOperation::Reply,
        sender_mac: theirs,
        sender: question.target,
        target_mac: question.sender_mac,
        target: question.sender,
        mark: None,
    }
}

/// Where a broadcast is seen.
struct Spot<'a> {
    at: Place<'a>,
    direction: Direction,
    /// Where it was seen just before.
    before: Option<usize>,
    /// Whether an IP stack gets it here.
    has_stack: bool,
}

struct Flood<'a> {
    wiring: Wiring<'a>,
    spots: Vec<Spot<'a>>,
}

impl<'a> Flood<'a> {
    fn note(&mut self, at: Place<'a>, direction: Direction, before: Option<usize>, has_stack: bool) -> Option<usize> {
        self.spots.push(Spot { at, direction, before, has_stack });
        self.spots.len().checked_sub(1)
    }

    /// Out of a link.
    fn leave(&mut self, at: Place<'a>, before: Option<usize>) -> Result<()> {
        let here = self.note(at, Direction::Out, before, false);
        match at.link.kind {
            LinkKind::Bridge => {
                for port in neighbour::ports(at) {
                    self.leave(port, here)?;
                }
                Ok(())
            }
            LinkKind::Macvlan { .. } => {
                let parent = self.wiring.parent(at)?;
                let siblings: Vec<Place> = self.wiring.children(parent).filter(|child| !child.is(&at)).collect();
                for sibling in siblings {
                    self.note(sibling, Direction::In, here, true);
                }
                self.leave(parent, here)
            }
            _ => self.arrive(self.wiring.peer(at)?, here),
        }
    }

    /// Into a link.
    fn arrive(&mut self, at: Place<'a>, before: Option<usize>) -> Result<()> {
        if !at.link.up {
            return Ok(());
        }
        let bridge = neighbour::bridge(at);
        let here = self.note(at, Direction::In, before, bridge.is_none());
        let Some(bridge) = bridge else {
            let children: Vec<Place> = self.wiring.children(at).collect();
            for child in children {
                self.note(child, Direction::In, here, true);
            }
            return Ok(());
        };
        for port in neighbour::ports(bridge).filter(|port| !port.is(&at) || port.link.hairpin) {
            self.leave(port, here)?;
        }
        self.note(bridge, Direction::In, here, true);
        Ok(())
    }

    /// The spots on the way to one of them, in order.
    fn way(&self, to: usize) -> Vec<usize> {
        let before = |index: &usize| self.spots.get(*index).and_then(|spot| spot.before);
        let mut way: Vec<usize> = std::iter::successors(Some(to), before).collect();
        way.reverse();
        way
    }

    /// The answer goes the question's way back, to one alone. A promiscuous bridge takes a copy of it.
    fn back(&self, way: &[usize], answer: (Mac, Mac, Arp)) -> Vec<Hop> {
        let mut hops = Vec::new();
        for spot in way.iter().rev().filter_map(|index| self.spots.get(*index)) {
            let (direction, bridge) = match spot.direction {
                Direction::In => (Direction::Out, None),
                Direction::Out => (Direction::In, neighbour::bridge(spot.at)),
            };
            hops.push(hop(spot.at, direction, answer, Turn::InOrder));
            let copied = bridge.filter(|bridge| bridge.link.promiscuous && bridge.link.mac != Some(answer.1));
            hops.extend(copied.map(|bridge| hop(bridge, Direction::In, answer, Turn::Aside)));
        }
        hops
    }
}

fn hop(at: Place, direction: Direction, (src, dst, arp): (Mac, Mac, Arp), turn: Turn) -> Hop {
    let length = if arp.operation == ArpOperation::Request { REQUEST_FRAME } else { FRAME };
    let ethernet = Some(Ethernet { src, dst, vlan: None });
    Hop {
        namespace: at.ns.name.clone(),
        interface: at.link.name.clone(),
        direction,
        frame: Frame { ethernet, body: Body::Arp(arp), length },
        turn,
    }
}
