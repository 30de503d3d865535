//! A packet inside one namespace: output, input and forwarding, in the order of Linux's hooks.

use super::conntrack::{Conntrack, Tracked};
use super::neighbour::{Place, Wiring};
use super::netfilter::{self, Inspected, Verdict};
use super::route::{self, Decision, Path};
use super::{Hop, Reason, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{Icmp, Ip, PROTOCOL_IPIP, Packet, Transport};
use crate::plan::netfilter::{CtState, TableName};
use crate::plan::{Link, LinkKind, Namespace, Plan, Scope};

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
    /// How it is split into fragments on the wire. Inside a namespace it counts as one, as connection tracking
    /// joins fragments and splits them again as they came.
    pub split: Option<Split>,
}

/// Fragmentation of one IP header's payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// Which header, through all tunnels: 0 is the innermost.
    pub level: usize,
    /// The longest fragment in bytes, with its header.
    pub limit: u16,
}

impl Carried {
    pub fn new(packet: Packet) -> Carried {
        Carried { packet, mark: 0, tracked: None, split: None }
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

    pub fn refused(ns: &Namespace, reason: Reason, code: u8, mtu: u16, about: Packet) -> Outcome {
        let error = Icmp::Unreachable { code, mtu, about: Some(Box::new(about)) };
        Outcome::Dropped { namespace: ns.name.clone(), reason, error: Some(error), through: None }
    }
}

/// What a walk through a plan remembers.
pub(super) struct Walker<'a> {
    pub wiring: Wiring<'a>,
    /// The frames seen on the present leg.
    pub hops: Vec<Hop>,
    /// Connections of each namespace, by name.
    conntrack: std::collections::BTreeMap<&'a str, Conntrack>,
    steps: usize,
}

#[derive(Clone, Copy)]
enum Stage {
    Table(TableName),
    Track,
    Nat,
}

impl<'a> Walker<'a> {
    pub fn new(plan: &'a Plan) -> Walker<'a> {
        Walker { wiring: Wiring::new(plan), hops: Vec::new(), conntrack: Default::default(), steps: 0 }
    }

    pub fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Error::new(Kind::Check, format!("the packet passes more than {STEPS_MAX} interfaces: a loop")));
        }
        Ok(())
    }

    /// Sends a packet that a program or the kernel of `ns` has made.
    pub fn originate(&mut self, ns: &'a Namespace, mut carried: Carried) -> Result<Outcome> {
        let (dst, src) = (carried.outer()?.dst, carried.outer()?.src);
        match route::lookup(ns, dst, Some(src)) {
            Decision::Local => {
                let link = ns.links.iter().find(|link| link.kind == LinkKind::Loopback);
                let link = link.ok_or_else(|| Error::new(Kind::Check, format!("the plan gives {} no lo", ns.name)))?;
                self.output(ns, Path { link, gateway: None, source: Some(dst) }, carried)
            }
            Decision::Via(path) => {
                let mtu = settings::mtu(path.link);
                let ip = carried.outer()?;
                if ip.dont_fragment && u32::from(ip.length) > mtu {
                    let reason = Reason::TooLong { interface: path.link.name.clone(), mtu };
                    return Ok(Outcome::dropped(ns, reason));
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
        let stages = [
            Stage::Table(TableName::Raw),
            Stage::Track,
            Stage::Table(TableName::Mangle),
            Stage::Nat,
            Stage::Table(TableName::Filter),
        ];
        if let Some(reason) = self.hook(ns, "OUTPUT", &stages, None, Some(path), &mut carried)? {
            return Ok(Outcome::dropped(ns, reason));
        }
        self.leave(ns, path, carried)
    }

    /// POSTROUTING, then the wire.
    fn leave(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        match self.postrouting(ns, path, &mut carried)? {
            Some(reason) => Ok(Outcome::dropped(ns, reason)),
            None => self.transmit(ns, path, carried),
        }
    }

    /// PREROUTING, then to the namespace itself or on.
    pub fn receive(&mut self, at: Place<'a>, mut carried: Carried) -> Result<Outcome> {
        match self.prerouting(at, &mut carried)? {
            Some(reason) => Ok(Outcome::dropped(at.ns, reason)),
            None => self.routed(at, carried),
        }
    }

    /// The hook PREROUTING: why it drops the packet, if it does.
    pub fn prerouting(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Reason>> {
        let stages = [Stage::Table(TableName::Raw), Stage::Track, Stage::Table(TableName::Mangle), Stage::Nat];
        self.hook(at.ns, "PREROUTING", &stages, Some(at.link), None, carried)
    }

    /// The hook FORWARD.
    pub fn forwarding(&mut self, at: Place<'a>, path: Path<'a>, carried: &mut Carried) -> Result<Option<Reason>> {
        let stages = [Stage::Table(TableName::Mangle), Stage::Table(TableName::Filter)];
        self.hook(at.ns, "FORWARD", &stages, Some(at.link), Some(path), carried)
    }

    /// The hook POSTROUTING.
    pub fn postrouting(&mut self, ns: &'a Namespace, path: Path<'a>, carried: &mut Carried) -> Result<Option<Reason>> {
        self.hook(ns, "POSTROUTING", &[Stage::Table(TableName::Mangle), Stage::Nat], None, Some(path), carried)
    }

    /// Behind PREROUTING: to the namespace itself or on.
    pub fn routed(&mut self, at: Place<'a>, carried: Carried) -> Result<Outcome> {
        let ip = *carried.outer()?;
        let decision = route::lookup(at.ns, ip.dst, Some(ip.src));
        if matches!(decision, Decision::Local | Decision::Via(_)) && !source_is_valid(at, ip) {
            return Ok(Outcome::dropped(at.ns, Reason::ReversePath(at.link.name.clone())));
        }
        match decision {
            Decision::Local => self.deliver(at, carried),
            _ if !settings::forwards(at.ns, at.link) => Ok(Outcome::dropped(at.ns, Reason::NotForwarding)),
            Decision::Via(path) => self.forward(at, path, carried),
            Decision::Blackhole(net) => Ok(Outcome::dropped(at.ns, Reason::Blackhole(net))),
            Decision::Unreachable => Ok(Outcome::refused(at.ns, Reason::NoRoute(ip.dst), 0, 0, carried.packet)),
        }
    }

    /// INPUT, then the tunnel or a program.
    fn deliver(&mut self, at: Place<'a>, mut carried: Carried) -> Result<Outcome> {
        let stages = [Stage::Table(TableName::Mangle), Stage::Table(TableName::Filter)];
        if let Some(reason) = self.hook(at.ns, "INPUT", &stages, Some(at.link), None, &mut carried)? {
            return Ok(Outcome::dropped(at.ns, reason));
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
        if ip.dont_fragment && u32::from(ip.length) > mtu {
            let reason = Reason::TooLong { interface: path.link.name.clone(), mtu };
            let told = u16::try_from(mtu).unwrap_or(u16::MAX);
            return Ok(Outcome::refused(at.ns, reason, 4, told, carried.packet));
        }
        if let Some(ip) = carried.packet.layers.first_mut() {
            ip.ttl -= 1;
        }
        if let Some(reason) = self.forwarding(at, path, &mut carried)? {
            return Ok(Outcome::dropped(at.ns, reason));
        }
        self.leave(at.ns, path, carried)
    }

    /// One hook: its tables in order of priority, with connection tracking and translation among them.
    fn hook(
        &mut self,
        ns: &'a Namespace,
        name: &str,
        stages: &[Stage],
        incoming: Option<&'a Link>,
        path: Option<Path<'a>>,
        carried: &mut Carried,
    ) -> Result<Option<Reason>> {
        for stage in stages {
            let table = match stage {
                Stage::Track => {
                    carried.tracked = Some(self.conntrack.entry(&ns.name).or_default().track(&carried.packet));
                    continue;
                }
                Stage::Nat => match self.nat(ns, name, incoming, path, carried)? {
                    Some(reason) => return Ok(Some(reason)),
                    None => continue,
                },
                Stage::Table(table) => *table,
            };
            if let Verdict::Drop(place) = evaluate(ns, table, name, incoming, path, carried)? {
                return Ok(Some(Reason::Rule(place)));
            }
        }
        Ok(None)
    }

    /// The nat table decides about the first packet of a connection; all others follow it.
    fn nat(
        &mut self,
        ns: &'a Namespace,
        hook: &str,
        incoming: Option<&'a Link>,
        path: Option<Path<'a>>,
        carried: &mut Carried,
    ) -> Result<Option<Reason>> {
        let Some(tracked) = carried.tracked else { return Ok(None) };
        let last = hook == "POSTROUTING";
        let table = self.conntrack.entry(&ns.name).or_default();
        let verdict = if table.undecided(tracked) {
            evaluate(ns, TableName::Nat, hook, incoming, path, carried)?
        } else {
            Verdict::Pass
        };
        let mut source = None;
        match (verdict, path) {
            (Verdict::Pass, _) => {}
            (Verdict::Drop(place), _) => return Ok(Some(Reason::Rule(place))),
            (Verdict::Masquerade { random_fully }, Some(path)) if last => {
                match route::source(ns, path.link, path.gateway, Scope::Global) {
                    Some(address) => source = Some((address, random_fully)),
                    None => return Ok(Some(Reason::NoSource(path.link.name.clone()))),
                }
            }
            (Verdict::Masquerade { .. }, _) => {
                return Err(Error::new(Kind::Check, format!("in {}: MASQUERADE in nat/{hook}", ns.name)));
            }
        }
        if last {
            if table.undecided(tracked) {
                table.decide(tracked, source);
            }
            table.translate_out(tracked, &mut carried.packet);
        } else if hook == "PREROUTING" {
            table.translate_in(tracked, &mut carried.packet);
        }
        Ok(None)
    }
}

fn evaluate(
    ns: &Namespace,
    table: TableName,
    hook: &str,
    incoming: Option<&Link>,
    path: Option<Path>,
    carried: &mut Carried,
) -> Result<Verdict> {
    let state = carried.tracked.map(|tracked| tracked.state).filter(|_| table != TableName::Raw);
    let mut inspected = Inspected {
        packet: &carried.packet,
        incoming,
        outgoing: path.map(|path| path.link),
        state: state.or((table != TableName::Raw).then_some(CtState::Invalid)),
        mark: carried.mark,
    };
    let verdict = netfilter::evaluate(ns, table, hook, &mut inspected)?;
    carried.mark = inspected.mark;
    Ok(verdict)
}

/// The reverse path filter (`fib_validate_source`).
fn source_is_valid(at: Place, ip: Ip) -> bool {
    let found = route::lookup(at.ns, ip.src, Some(ip.dst));
    match settings::rp_filter(at.ns, at.link) {
        _ if at.link.kind == LinkKind::Loopback => true,
        0 => true,
        1 => matches!(found, Decision::Via(path) if path.link.name == at.link.name),
        _ => matches!(found, Decision::Via(_)),
    }
}
