//! The question who has an address, by ARP or neighbour discovery: its way to everybody who hears it, and the answer's way
//! back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hooks::Stop;
use super::neighbour::{self, Place, Wiring};
use super::netfilter::Chances;
use super::route::{self, Path};
use super::walk::{Carried, Walker};
use super::{End, Hop, Journey, Leg, Purpose, Reason, Turn, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{
    Arp, ArpOperation, Body, Direction, ETHERNET_HEADER, Ethernet, Frame, IPV6_HEADER, Icmp, Ip, PROTOCOL_ICMPV6,
    Packet, Transport, solicited_node,
};
use crate::plan::{LinkKind, Mac, Plan};

/// Length of an ARP message in an Ethernet frame that nobody padded, in bytes.
const ARP_FRAME: usize = 42;
/// Length of the ARP request that minik injects, which is padded as a NIC would pad it, in bytes.
const ARP_REQUEST_FRAME: usize = 60;
/// Length of a neighbour solicitation of minik's, with its mark in an option, in bytes.
const SOLICITATION: u16 = 48;
/// Length of an advertisement with the one option that it has, in bytes.
const ADVERTISEMENT: u16 = 32;
/// Hop limit of what neighbours say to each other (RFC 4861, 7.1).
const NEIGHBOUR: u8 = 255;

/// See [`super::who_has`].
pub fn journey(plan: &Plan, from: &str, interface: &str, sender: IpAddr, target: IpAddr) -> Result<Journey> {
    let none = || Error::new(Kind::Check, format!("the plan has no interface {from}/{interface}"));
    let ns = plan.namespace(from).ok_or_else(none)?;
    let at = Place { ns, link: ns.link(interface).ok_or_else(none)? };
    let wiring = Wiring::new(plan);
    let mut flood = Flood { wiring: &wiring, spots: Vec::new(), target };
    flood.leave(at, None)?;
    let asks = |place: &Place| place.ns.name == ns.name;
    let answering = flood
        .spots
        .iter()
        .position(|spot| spot.has_stack && !asks(&spot.at) && neighbour::answers(spot.at, target, Some(sender)));
    let way = flood.way(answering.unwrap_or(0));
    let mine = settings::mac(at.ns, at.link)?;
    let question = asked(mine, sender, target)?;
    let told = |(index, spot): (usize, &Spot)| {
        hop(spot.at, spot.direction, &question, if way.contains(&index) { Turn::InOrder } else { Turn::Aside })
    };
    let hops = flood.spots.iter().enumerate().map(told).collect();
    let only = |hops, end| Ok(Journey { legs: vec![Leg { purpose: Purpose::Request, hops, end }] });
    let Some(there) = answering.and_then(|index| flood.spots.get(index)).map(|spot| spot.at) else {
        let reason = Reason::NoNeighbour { address: target, interface: interface.to_owned() };
        return only(hops, End::Dropped { namespace: ns.name.clone(), reason });
    };
    let mut walker = Walker::new(&wiring, Chances::default());
    if let Some(stop) = entering(&mut walker, there, &question)? {
        return only(hops, End::Dropped { namespace: there.ns.name.clone(), reason: stop.reason });
    }
    let theirs = settings::mac(there.ns, there.link)?;
    let answer = answered((mine, sender), (theirs, target))?;
    let end = |stop: Option<Stop>, place: Place| match stop {
        Some(stop) => End::Dropped { namespace: place.ns.name.clone(), reason: stop.reason },
        None => End::Delivered { namespace: place.ns.name.clone() },
    };
    let request = Leg { purpose: Purpose::Request, hops, end: end(None, there) };
    let back = match leaving(&mut walker, there, &answer)? {
        Some(stop) => Leg { purpose: Purpose::Answer, hops: Vec::new(), end: end(Some(stop), there) },
        None => {
            let stop = entering(&mut walker, at, &answer)?;
            Leg { purpose: Purpose::Answer, hops: flood.back(&way, &answer), end: end(stop, at) }
        }
    };
    Ok(Journey { legs: vec![request, back] })
}

fn asked(mine: Mac, sender: IpAddr, target: IpAddr) -> Result<Frame> {
    Ok(match (sender, target) {
        (IpAddr::V4(sender), IpAddr::V4(target)) => {
            let target_mac = Mac([0; 6]);
            let operation = ArpOperation::Request;
            let arp = Arp { operation, sender_mac: mine, sender, target_mac, target, mark: None };
            framed(mine, Mac::BROADCAST, Body::Arp(arp), ARP_REQUEST_FRAME)
        }
        (IpAddr::V6(sender), IpAddr::V6(target)) => {
            let (group, group_mac) = solicited_node(target);
            let icmp = Icmp::Solicitation { target, source_mac: Some(mine) };
            of_neighbours((mine, sender), (group_mac, group), icmp, SOLICITATION)
        }
        _ => return Err(two_families(sender, target)),
    })
}

fn answered((mine, sender): (Mac, IpAddr), (theirs, target): (Mac, IpAddr)) -> Result<Frame> {
    Ok(match (sender, target) {
        (IpAddr::V4(sender), IpAddr::V4(target)) => {
            framed(theirs, mine, reply(mine, sender, theirs, target), ARP_FRAME)
        }
        (IpAddr::V6(sender), IpAddr::V6(target)) => {
            let icmp = Icmp::Advertisement { target, target_mac: Some(theirs), solicited: true };
            of_neighbours((theirs, target), (mine, sender), icmp, ADVERTISEMENT)
        }
        _ => return Err(two_families(sender, target)),
    })
}

fn reply(mine: Mac, sender: Ipv4Addr, theirs: Mac, target: Ipv4Addr) -> Body {
    let operation = ArpOperation::Reply;
    Body::Arp(Arp { operation, sender_mac: theirs, sender: target, target_mac: mine, target: sender, mark: None })
}

fn two_families(sender: IpAddr, target: IpAddr) -> Error {
    Error::new(Kind::Usage, format!("{sender} cannot ask who has {target}"))
}

fn of_neighbours((src_mac, src): (Mac, Ipv6Addr), (dst_mac, dst): (Mac, Ipv6Addr), icmp: Icmp, length: u16) -> Frame {
    let length = IPV6_HEADER + length;
    let header = Ip::new(src.into(), dst.into(), PROTOCOL_ICMPV6, NEIGHBOUR, length);
    let packet = Packet { layers: vec![header], transport: Transport::Icmp(icmp), mark: None };
    framed(src_mac, dst_mac, Body::Ip(packet), ETHERNET_HEADER + usize::from(length))
}

fn framed(src: Mac, dst: Mac, body: Body, length: usize) -> Frame {
    Frame { ethernet: Some(Ethernet { src, dst, vlan: None }), body, length }
}

/// The rules that a message of neighbour discovery meets where it is for. ARP meets none.
fn entering<'a>(walker: &mut Walker<'a>, at: Place<'a>, frame: &Frame) -> Result<Option<Stop>> {
    let Some(packet) = frame.packet() else { return Ok(None) };
    let mut carried = Carried::new(packet.clone());
    match walker.prerouting(at, &mut carried)? {
        None => walker.input_filter(at, &mut carried),
        stop => Ok(stop),
    }
}

/// The rules that it meets where it is sent.
fn leaving<'a>(walker: &mut Walker<'a>, at: Place<'a>, frame: &Frame) -> Result<Option<Stop>> {
    let Some(packet) = frame.packet() else { return Ok(None) };
    let mut carried = Carried::new(packet.clone());
    let path = Path { link: at.link, gateway: None, source: None };
    match walker.output_translating(at.ns, path, &mut carried)? {
        None => walker.output_filter(at.ns, path, &mut carried),
        stop => Ok(stop),
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
    wiring: &'a Wiring<'a>,
    spots: Vec<Spot<'a>>,
    target: IpAddr,
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
                let siblings = self.wiring.children(parent).filter(|child| !child.is(&at) && self.hears(*child));
                let siblings: Vec<Place> = siblings.collect();
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
            let children: Vec<Place> = self.wiring.children(at).filter(|child| self.hears(*child)).collect();
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

    /// Whether a macvlan device gets it from its lower one: every broadcast, but of multicast what it has joined.
    fn hears(&self, at: Place) -> bool {
        self.target.is_ipv4() || route::is_local_on(at.ns, at.link, self.target)
    }

    /// The spots on the way to one of them, in order.
    fn way(&self, to: usize) -> Vec<usize> {
        let before = |index: &usize| self.spots.get(*index).and_then(|spot| spot.before);
        let mut way: Vec<usize> = std::iter::successors(Some(to), before).collect();
        way.reverse();
        way
    }

    /// The answer goes the question's way back, to one alone. A promiscuous bridge takes a copy of it.
    fn back(&self, way: &[usize], answer: &Frame) -> Vec<Hop> {
        let dst = answer.ethernet.map(|ethernet| ethernet.dst);
        let mut hops = Vec::new();
        for spot in way.iter().rev().filter_map(|index| self.spots.get(*index)) {
            let (direction, bridge) = match spot.direction {
                Direction::In => (Direction::Out, None),
                Direction::Out => (Direction::In, neighbour::bridge(spot.at)),
            };
            hops.push(hop(spot.at, direction, answer, Turn::InOrder));
            let copied = bridge.filter(|bridge| bridge.link.promiscuous && bridge.link.mac != dst);
            hops.extend(copied.map(|bridge| hop(bridge, Direction::In, answer, Turn::Aside)));
        }
        hops
    }
}

fn hop(at: Place, direction: Direction, frame: &Frame, turn: Turn) -> Hop {
    let (namespace, interface) = (at.ns.name.clone(), at.link.name.clone());
    Hop { namespace, interface, direction, frame: frame.clone(), turn }
}
