//! A packet inside one namespace: output, input and forwarding, in the order of Linux's hooks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::conntrack::{Conntrack, Tracked};
use super::hooks::Stop;
use super::ipvs::Balanced;
use super::neighbour::{Place, Wiring};
use super::netfilter::Chances;
use super::route::{self, Decision, Path};
use super::told::Told;
use super::{Event, Hop, Reason, Turn, pieces, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{Icmp, Ip, PROTOCOL_IPIP, Packet, Transport};
use crate::plan::{LinkKind, Namespace};

/// Interfaces that one packet may pass before it is taken for a loop.
const STEPS_MAX: usize = 1024;

/// A packet on its way, with what a kernel attaches to it.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub packet: Packet,
    /// The mark of rules.
    pub mark: u32,
    /// Its connection in the namespace that it is in.
    pub tracked: Option<Tracked>,
    /// Whether it came in through a port of a bridge, with br_netfilter.
    pub through_port: bool,
    /// Whether IPVS has sent it on (`ipvs_property`).
    pub balanced: bool,
    /// How it is split into fragments on the wire, each one what the one before leaves. Inside a namespace it counts as
    /// one, as connection tracking joins fragments and splits them again as they came.
    pub splits: Vec<Split>,
    /// Whether connection tracking has joined it from fragments and forgotten how long they were: then even IPv6 is split
    /// by who forwards it (`ignore_df` in `ip6_fragment`).
    pub joined: bool,
}

/// Fragmentation of one IP header's payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// Which header, through all tunnels: 0 is the innermost.
    pub level: usize,
    /// The longest fragment in bytes, with its header.
    pub limit: u16,
}

impl Split {
    /// That of the outermost header.
    pub fn outermost(packet: &Packet, mtu: u32) -> Split {
        let level = packet.headers().count().saturating_sub(1);
        Split { level, limit: u16::try_from(mtu).unwrap_or(u16::MAX) }
    }
}

impl Carried {
    pub fn new(packet: Packet) -> Carried {
        Carried {
            packet,
            mark: 0,
            tracked: None,
            through_port: false,
            balanced: false,
            splits: Vec::new(),
            joined: false,
        }
    }

    /// Another namespace: of what a kernel attaches to a packet nothing goes along.
    pub fn cross(&mut self) {
        (self.mark, self.tracked, self.through_port, self.joined) = (0, None, false, false);
        self.balanced = false;
    }

    /// Out of a tunnel: the fragments of what was around it are joined.
    pub fn unwrapped(&mut self) {
        let headers = self.packet.headers().count();
        self.splits.retain(|split| split.level < headers);
    }

    /// Whether nobody but its sender may split it.
    pub fn is_whole(&self) -> Result<bool> {
        let ip = self.outer()?;
        Ok(ip.dont_fragment || ip.is_v6() && !self.joined)
    }

    pub fn outer(&self) -> Result<&Ip> {
        self.packet.outer().ok_or_else(|| Error::new(Kind::Check, "a packet without an IP header"))
    }
}

/// How a packet's way ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A namespace took it.
    Delivered { namespace: String, carried: Box<Carried> },
    /// It is not sent on; `error` goes back to its source. The kernel says it, or the program behind the TUN device
    /// `through`.
    Dropped { namespace: String, reason: Reason, error: Option<Icmp>, through: Option<String> },
}

impl Outcome {
    pub fn dropped(ns: &Namespace, reason: Reason) -> Outcome {
        Outcome::Dropped { namespace: ns.name.clone(), reason, error: None, through: None }
    }

    /// What netfilter does to it.
    pub fn stopped(ns: &Namespace, stop: Stop, carried: Carried) -> Outcome {
        match stop.told {
            Some(told) => Outcome::refused(ns, stop.reason, told, carried.packet),
            None => Outcome::dropped(ns, stop.reason),
        }
    }

    pub fn refused(ns: &Namespace, reason: Reason, told: Told, about: Packet) -> Outcome {
        let (namespace, error) = (ns.name.clone(), Some(told.about(about)));
        Outcome::Dropped { namespace, reason, error, through: None }
    }
}

/// What a walk through a plan remembers.
pub(super) struct Walker<'a> {
    pub wiring: &'a Wiring<'a>,
    /// The frames seen on the present leg.
    pub hops: Vec<Hop>,
    /// When the next ones are seen.
    pub turn: Turn,
    /// Connections of each namespace, by name.
    pub conntrack: BTreeMap<&'a str, Conntrack>,
    /// What comes of the rules that leave it to chance.
    pub chances: Chances,
    /// What decides about the packet, if somebody wants to know.
    pub events: Option<Vec<Event>>,
    steps: usize,
}

impl<'a> Walker<'a> {
    pub fn new(wiring: &'a Wiring<'a>, chances: Chances) -> Walker<'a> {
        Walker {
            wiring,
            hops: Vec::new(),
            turn: Turn::InOrder,
            conntrack: BTreeMap::new(),
            chances,
            events: None,
            steps: 0,
        }
    }

    pub fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Error::new(Kind::Check, format!("the packet passes more than {STEPS_MAX} interfaces: a loop")));
        }
        Ok(())
    }

    /// Asks the routing of a namespace for the packet's way, and notes what it says.
    pub fn look_up(&mut self, ns: &'a Namespace, dst: IpAddr, src: Option<IpAddr>) -> Decision<'a> {
        if let Some(events) = self.noting() {
            events.push(Event::route(&ns.name, route::named(ns, dst, src)));
        }
        route::lookup(ns, dst, src)
    }

    /// Where to note what decides; none for copies that the packet's way does not depend on.
    pub fn noting(&mut self) -> Option<&mut Vec<Event>> {
        self.events.as_mut().filter(|_| self.turn == Turn::InOrder)
    }

    /// Sends a packet that a program or the kernel of `ns` has made.
    pub fn originate(&mut self, ns: &'a Namespace, mut carried: Carried) -> Result<Outcome> {
        let (dst, src) = (carried.outer()?.dst, carried.outer()?.src);
        match self.look_up(ns, dst, Some(src)) {
            Decision::Local => {
                let path = loopback(ns, dst)?;
                self.output(ns, path, carried)
            }
            Decision::Via(path) => {
                let mtu = settings::mtu(path.link);
                let ip = carried.outer()?;
                if ip.dont_fragment && u32::from(ip.length) > mtu {
                    let reason = Reason::TooLong { interface: path.link.name.clone(), mtu };
                    return Ok(Outcome::dropped(ns, reason));
                }
                // Nobody on the way splits IPv6 packets: their sender does (`ip6_append_data`).
                if ip.is_v6() && carried.splits.is_empty() && u32::from(ip.length) > mtu {
                    carried.splits = vec![Split::outermost(&carried.packet, mtu)];
                }
                carried.tracked = None;
                self.output(ns, path, carried)
            }
            Decision::Blackhole(net) => Ok(Outcome::dropped(ns, Reason::Blackhole(net))),
            Decision::Unreachable => Ok(Outcome::dropped(ns, Reason::NoRoute(dst))),
        }
    }

    /// OUTPUT, then out.
    pub fn output(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        if let Some(ip) = carried.packet.layers.first_mut().filter(|ip| ip.src.is_unspecified()) {
            match path.source {
                Some(source) => ip.src = source,
                None => return Ok(Outcome::dropped(ns, Reason::NoSource(path.link.name.clone()))),
            }
        }
        let dst = carried.outer()?.dst;
        if let Some(stop) = self.output_translating(ns, path, &mut carried)? {
            return Ok(Outcome::stopped(ns, stop, carried));
        }
        match self.balance(ns, &mut carried)? {
            Balanced::No | Balanced::Here => {}
            Balanced::On(path) => return self.send_on(ns, path, carried),
            Balanced::Lost(reason, told) => return Ok(Outcome::refused(ns, reason, told, carried.packet)),
        }
        // Translated to another destination, it may have another way (`ip_route_me_harder`).
        let path = match *carried.outer()? {
            ip if ip.dst == dst => path,
            ip => match self.look_up(ns, ip.dst, Some(ip.src)) {
                Decision::Via(path) => path,
                Decision::Local => loopback(ns, ip.dst)?,
                Decision::Blackhole(net) => return Ok(Outcome::dropped(ns, Reason::Blackhole(net))),
                Decision::Unreachable => return Ok(Outcome::dropped(ns, Reason::NoRoute(ip.dst))),
            },
        };
        if let Some(stop) = self.output_filter(ns, path, &mut carried)? {
            return Ok(Outcome::stopped(ns, stop, carried));
        }
        self.leave(ns, path, carried)
    }

    /// POSTROUTING, then the wire.
    pub fn leave(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        match self.postrouting(ns, path, &mut carried)? {
            Some(stop) => Ok(Outcome::stopped(ns, stop, carried)),
            None => self.transmit(ns, path, carried),
        }
    }

    /// PREROUTING, then to the namespace itself or on.
    pub fn receive(&mut self, at: Place<'a>, mut carried: Carried) -> Result<Outcome> {
        match self.prerouting(at, &mut carried)? {
            Some(stop) => Ok(Outcome::stopped(at.ns, stop, carried)),
            None => self.routed(at, carried),
        }
    }

    /// Behind PREROUTING: to the namespace itself or on.
    pub fn routed(&mut self, at: Place<'a>, carried: Carried) -> Result<Outcome> {
        let ip = *carried.outer()?;
        let decision = self.look_up(at.ns, ip.dst, Some(ip.src));
        if matches!(decision, Decision::Local | Decision::Via(_))
            && let Some(reason) = invalid_source(at, ip)
        {
            return Ok(Outcome::dropped(at.ns, reason));
        }
        match decision {
            Decision::Local => self.deliver(at, carried),
            // IPv6 says so even where it does not forward (`ip6_pkt_drop`).
            Decision::Unreachable if ip.is_v6() => {
                Ok(Outcome::refused(at.ns, Reason::NoRoute(ip.dst), Told::Net, carried.packet))
            }
            _ if !settings::forwards(at.ns, at.link, ip.is_v6()) => Ok(Outcome::dropped(at.ns, Reason::NotForwarding)),
            Decision::Via(path) => self.forward(at, path, carried),
            Decision::Blackhole(net) => Ok(Outcome::dropped(at.ns, Reason::Blackhole(net))),
            Decision::Unreachable => Ok(Outcome::refused(at.ns, Reason::NoRoute(ip.dst), Told::Net, carried.packet)),
        }
    }

    /// INPUT, then the tunnel or a program.
    fn deliver(&mut self, at: Place<'a>, mut carried: Carried) -> Result<Outcome> {
        if let Some(stop) = self.input_filter(at, &mut carried)? {
            return Ok(Outcome::stopped(at.ns, stop, carried));
        }
        match self.balance(at.ns, &mut carried)? {
            Balanced::No | Balanced::Here => {}
            Balanced::On(path) => return self.send_on(at.ns, path, carried),
            Balanced::Lost(reason, told) => return Ok(Outcome::refused(at.ns, reason, told, carried.packet)),
        }
        if let Some(stop) = self.input_translating(at, &mut carried)? {
            return Ok(Outcome::stopped(at.ns, stop, carried));
        }
        if carried.outer()?.protocol == PROTOCOL_IPIP {
            return self.take_ipip(at.ns, carried);
        }
        if carried.packet.layers.len() == 1 && matches!(carried.packet.transport, Transport::Tunnel { .. }) {
            return self.take_udp(at.ns, carried);
        }
        Ok(Outcome::Delivered { namespace: at.ns.name.clone(), carried: Box::new(carried) })
    }

    /// `ip_forward`: TTL and MTU before the FORWARD hook, errors to the source.
    fn forward(&mut self, at: Place<'a>, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let ip = *carried.outer()?;
        if ip.ttl <= 1 {
            let error = Icmp::TimeExceeded { code: 0, about: Some(Box::new(carried.packet)) };
            let (namespace, reason) = (at.ns.name.clone(), Reason::TimeExceeded);
            return Ok(Outcome::Dropped { namespace, reason, error: Some(error), through: None });
        }
        let mtu = settings::mtu(path.link);
        if carried.is_whole()? && u32::from(pieces::longest(&carried)) > mtu {
            let reason = Reason::TooLong { interface: path.link.name.clone(), mtu };
            return Ok(Outcome::refused(at.ns, reason, Told::TooLong(mtu), carried.packet));
        }
        if let Some(ip) = carried.packet.layers.first_mut() {
            ip.ttl -= 1;
        }
        if let Some(stop) = self.forwarding(at, path, &mut carried)? {
            return Ok(Outcome::stopped(at.ns, stop, carried));
        }
        self.leave(at.ns, path, carried)
    }
}

/// The way to oneself.
fn loopback(ns: &Namespace, own: IpAddr) -> Result<Path<'_>> {
    let link = ns.links.iter().find(|link| link.kind == LinkKind::Loopback);
    let link = link.ok_or_else(|| Error::new(Kind::Check, format!("the plan gives {} no lo", ns.name)))?;
    Ok(Path { link, gateway: None, source: Some(own) })
}

/// What is wrong with where a packet comes from: the namespace's own addresses do not come from outside, and the
/// reverse path filter (`fib_validate_source`). IPv6 asks neither.
fn invalid_source(at: Place, ip: Ip) -> Option<Reason> {
    if at.link.kind == LinkKind::Loopback || ip.is_v6() {
        return None;
    }
    let found = route::lookup(at.ns, ip.src, Some(ip.dst));
    let interface = || at.link.name.clone();
    if matches!(found, Decision::Local) {
        return (!settings::accepts_local(at.ns, at.link)).then(|| Reason::Martian(interface()));
    }
    let valid = match settings::rp_filter(at.ns, at.link) {
        0 => true,
        1 => matches!(found, Decision::Via(path) if path.link.name == at.link.name),
        _ => matches!(found, Decision::Via(_)),
    };
    (!valid).then(|| Reason::ReversePath(interface()))
}
