//! Linux's hooks: at each one the tables in order of priority, with connection tracking and translation among them.

use std::ops::RangeInclusive;

use super::neighbour::Place;
use super::netfilter::{self, Inspected, Verdict};
use super::nftables;
use super::route::Path;
use super::told::Told;
use super::walk::{Carried, Walker};
use super::{Event, Reason, source};
use crate::error::{Error, Kind, Result};
use crate::packet::{Packet, Transport};
use crate::plan::netfilter::{CtState, Side, TableName};
use crate::plan::nft::ChainType;
use crate::plan::{Link, LinkKind, Namespace, Scope};

/// A packet that a hook does not let pass.
#[derive(Debug)]
pub(super) struct Stop {
    pub reason: Reason,
    /// What its source is told.
    pub told: Option<Told>,
}

#[derive(Clone, Copy)]
enum Stage {
    Table(TableName),
    Track,
    Nat(Side),
}

/// Where a hook is called, and on which way the packet is.
#[derive(Clone, Copy)]
struct Hook<'a> {
    ns: &'a Namespace,
    name: &'static str,
    incoming: Option<&'a Link>,
    path: Option<Path<'a>>,
}

const RAW: Stage = Stage::Table(TableName::Raw);
const MANGLE: Stage = Stage::Table(TableName::Mangle);
const FILTER: Stage = Stage::Table(TableName::Filter);
/// Where OUTPUT is divided: at the translation of destinations, behind which a packet is routed again.
const TRANSLATION: i32 = -100;
/// Where INPUT is divided: at IPVS, which comes before the translation of sources (`NF_IP_PRI_NAT_SRC - 1`).
const BALANCING: i32 = 99;

impl Stage {
    /// Its priority at its hook (linux/netfilter_ipv4.h); what has a lower one comes before it.
    fn priority(self) -> i32 {
        match self {
            Stage::Table(TableName::Raw) => -300,
            Stage::Track => -200,
            Stage::Table(TableName::Mangle) => -150,
            Stage::Nat(Side::Dst) | Stage::Table(TableName::Nat) => TRANSLATION,
            Stage::Table(TableName::Filter) => 0,
            Stage::Nat(Side::Src) => 100,
        }
    }
}

impl<'a> Walker<'a> {
    /// PREROUTING.
    pub(super) fn prerouting(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "PREROUTING", incoming: Some(at.link), path: None };
        self.pass(hook, &[RAW, Stage::Track, MANGLE, Stage::Nat(Side::Dst)], carried)
    }

    /// INPUT up to its filter, behind which IPVS has its turn.
    pub(super) fn input_filter(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "INPUT", incoming: Some(at.link), path: None };
        self.pass_part(hook, i32::MIN..=BALANCING, &[MANGLE, FILTER], carried)
    }

    /// The rest of INPUT. What answers a connection whose destination was translated at OUTPUT gets the source back that
    /// was asked here (`NF_INET_LOCAL_IN` is a hook of sources, nf_nat_core.c).
    pub(super) fn input_translating(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "INPUT", incoming: Some(at.link), path: None };
        self.pass_part(hook, BALANCING + 1..=i32::MAX, &[Stage::Nat(Side::Src)], carried)
    }

    /// FORWARD.
    pub(super) fn forwarding(&mut self, at: Place<'a>, path: Path<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "FORWARD", incoming: Some(at.link), path: Some(path) };
        let stop = self.pass(hook, &[MANGLE, FILTER], carried)?;
        if stop.is_none() {
            // Also of what a bridge passes on, with br_netfilter.
            self.answer_balanced(at.ns, carried);
        }
        Ok(stop)
    }

    /// OUTPUT up to where a destination is translated.
    pub(super) fn output_translating(
        &mut self,
        ns: &'a Namespace,
        path: Path<'a>,
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        let hook = Hook { ns, name: "OUTPUT", incoming: None, path: Some(path) };
        let stages = [RAW, Stage::Track, MANGLE, Stage::Nat(Side::Dst)];
        self.pass_part(hook, i32::MIN..=TRANSLATION, &stages, carried)
    }

    /// The rest of OUTPUT.
    pub(super) fn output_filter(
        &mut self,
        ns: &'a Namespace,
        path: Path<'a>,
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        let hook = Hook { ns, name: "OUTPUT", incoming: None, path: Some(path) };
        self.pass_part(hook, TRANSLATION + 1..=i32::MAX, &[FILTER], carried)
    }

    /// POSTROUTING.
    pub(super) fn postrouting(
        &mut self,
        ns: &'a Namespace,
        path: Path<'a>,
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        let hook = Hook { ns, name: "POSTROUTING", incoming: None, path: Some(path) };
        self.pass(hook, &[MANGLE, Stage::Nat(Side::Src)], carried)
    }

    fn pass(&mut self, hook: Hook<'a>, stages: &[Stage], carried: &mut Carried) -> Result<Option<Stop>> {
        self.pass_part(hook, i32::MIN..=i32::MAX, stages, carried)
    }

    /// Passes the stages, and between them the base chains of nftables whose priorities are in `priorities`.
    fn pass_part(
        &mut self,
        hook: Hook<'a>,
        priorities: RangeInclusive<i32>,
        stages: &[Stage],
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        let mut from = *priorities.start();
        for stage in stages {
            // Of two with the same priority, that comes first which was there last, and nftables are loaded last.
            if let Some(stop) = stop(hook, self.filter(hook, from..=stage.priority(), carried)?)? {
                return Ok(Some(stop));
            }
            from = stage.priority() + 1;
            let verdict = match stage {
                // Through `lo` a packet keeps the connection that it left with (`nf_conntrack_in`).
                Stage::Track if carried.tracked.is_some() && is_from_loopback(hook) => Verdict::Pass,
                // What IPVS sends on is known already.
                Stage::Track if carried.balanced => Verdict::Pass,
                Stage::Track => {
                    let table = self.conntrack.entry(&hook.ns.name).or_default();
                    carried.tracked = (!is_untracked(&carried.packet)).then(|| table.track(&carried.packet));
                    Verdict::Pass
                }
                Stage::Nat(side) => self.translate(hook, *side, carried)?,
                Stage::Table(table) => self.evaluate(hook, *table, carried)?,
            };
            if let Some(stop) = stop(hook, verdict)? {
                return Ok(Some(stop));
            }
        }
        stop(hook, self.filter(hook, from..=*priorities.end(), carried)?)
    }

    /// The filtering base chains of nftables.
    fn filter(&mut self, hook: Hook<'a>, priorities: RangeInclusive<i32>, carried: &mut Carried) -> Result<Verdict> {
        if hook.ns.nft.is_empty() || priorities.is_empty() {
            return Ok(Verdict::Pass);
        }
        self.inspect(hook, true, carried, |inspected| {
            nftables::evaluate(hook.ns, ChainType::Filter, hook.name, priorities, inspected)
        })
    }

    /// The nat table decides about the first packet of a connection; all others follow it.
    fn translate(&mut self, hook: Hook<'a>, side: Side, carried: &mut Carried) -> Result<Verdict> {
        let Some(tracked) = carried.tracked else { return Ok(Verdict::Pass) };
        if self.conntrack.entry(&hook.ns.name).or_default().undecided(tracked, side) {
            let verdict = match self.translate_by_nftables(hook, side, carried)? {
                Verdict::Pass => self.evaluate(hook, TableName::Nat, carried)?,
                decided => decided,
            };
            let dst = carried.outer()?.dst;
            let table = self.conntrack.entry(&hook.ns.name).or_default();
            match (verdict, side, hook.path) {
                (Verdict::Pass, ..) => table.leave(tracked, side),
                (Verdict::Masquerade { random_fully }, Side::Src, Some(path)) => {
                    match source::choose(hook.ns, path.link, dst, path.gateway, Scope::Global) {
                        Some(address) => table.masquerade(tracked, address, random_fully),
                        None => return Ok(Verdict::NoSource(path.link.name.clone())),
                    }
                }
                (Verdict::Dnat { to }, Side::Dst, _) => table.redirect(tracked, to),
                (Verdict::Masquerade { .. } | Verdict::Dnat { .. }, ..) => return Err(misplaced(hook)),
                (stop, ..) => return Ok(stop),
            }
        }
        self.conntrack.entry(&hook.ns.name).or_default().translate(tracked, side, &mut carried.packet);
        Ok(Verdict::Pass)
    }

    /// The translating base chains of nftables: they are asked before the nat table of iptables, which was there before.
    fn translate_by_nftables(&mut self, hook: Hook<'a>, side: Side, carried: &mut Carried) -> Result<Verdict> {
        let at = Stage::Nat(side).priority();
        self.inspect(hook, true, carried, |inspected| {
            nftables::evaluate(hook.ns, ChainType::Nat, hook.name, at..=at, inspected)
        })
    }

    fn evaluate(&mut self, hook: Hook, table: TableName, carried: &mut Carried) -> Result<Verdict> {
        self.inspect(hook, table != TableName::Raw, carried, |inspected| {
            netfilter::evaluate(hook.ns, table, hook.name, inspected)
        })
    }

    /// Asks rules about a packet; its state is known once it is `tracked`.
    fn inspect(
        &mut self,
        hook: Hook,
        tracked: bool,
        carried: &mut Carried,
        ask: impl FnOnce(&mut Inspected) -> Result<Verdict>,
    ) -> Result<Verdict> {
        let connection = carried.tracked.filter(|_| tracked);
        let connections = self.conntrack.get(hook.ns.name.as_str());
        let is_dnat = connection.zip(connections).is_some_and(|(one, connections)| connections.is_dnat(one));
        let server = connection.zip(connections).and_then(|(one, connections)| connections.server(one));
        let state = connection.map(|one| one.state);
        let noting = self.noting().is_some();
        let mut inspected = Inspected {
            packet: &carried.packet,
            incoming: hook.incoming,
            outgoing: hook.path.map(|path| path.link),
            through_port: carried.through_port,
            state: state.or((tracked && !is_untracked(&carried.packet)).then_some(CtState::Invalid)),
            is_dnat,
            server,
            mark: carried.mark,
            chances: &mut self.chances,
            met: noting.then(Vec::new),
        };
        let verdict = ask(&mut inspected)?;
        carried.mark = inspected.mark;
        let met = inspected.met.unwrap_or_default();
        if let Some(events) = self.noting() {
            events.extend(met.into_iter().map(|met| Event::rule(&hook.ns.name, met)));
        }
        Ok(verdict)
    }
}

fn is_from_loopback(hook: Hook) -> bool {
    hook.incoming.is_some_and(|link| link.kind == LinkKind::Loopback)
}

/// What connection tracking leaves alone is in no state.
fn is_untracked(packet: &Packet) -> bool {
    matches!(&packet.transport, Transport::Icmp(icmp) if packet.is_v6() && icmp.is_untracked())
}

/// What does not let a packet pass a filter.
fn stop(hook: Hook, verdict: Verdict) -> Result<Option<Stop>> {
    Ok(Some(match verdict {
        Verdict::Drop(place) => Stop { reason: Reason::Rule(place), told: None },
        Verdict::Reject(place) => Stop { reason: Reason::Rejected(place), told: Some(Told::Port) },
        Verdict::NoSource(link) => Stop { reason: Reason::NoSource(link), told: None },
        Verdict::Pass => return Ok(None),
        Verdict::Masquerade { .. } | Verdict::Dnat { .. } => return Err(misplaced(hook)),
    }))
}

fn misplaced(hook: Hook) -> Error {
    let Hook { ns, name, .. } = hook;
    Error::new(Kind::Check, format!("in {}: an address is translated at {name}, where it cannot be", ns.name))
}
