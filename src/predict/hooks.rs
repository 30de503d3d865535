//! Linux's hooks: at each one the tables in order of priority, with connection tracking and translation among them.

use super::neighbour::Place;
use super::netfilter::{self, Inspected, Verdict};
use super::route::Path;
use super::told::Told;
use super::walk::{Carried, Walker};
use super::{Event, Reason, source};
use crate::error::{Error, Kind, Result};
use crate::packet::{Packet, Transport};
use crate::plan::netfilter::{CtState, Side, TableName};
use crate::plan::{Link, Namespace, Scope};

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

impl<'a> Walker<'a> {
    /// PREROUTING.
    pub(super) fn prerouting(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "PREROUTING", incoming: Some(at.link), path: None };
        self.pass(hook, &[RAW, Stage::Track, MANGLE, Stage::Nat(Side::Dst)], carried)
    }

    /// INPUT.
    pub(super) fn input(&mut self, at: Place<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "INPUT", incoming: Some(at.link), path: None };
        self.pass(hook, &[MANGLE, FILTER], carried)
    }

    /// FORWARD.
    pub(super) fn forwarding(&mut self, at: Place<'a>, path: Path<'a>, carried: &mut Carried) -> Result<Option<Stop>> {
        let hook = Hook { ns: at.ns, name: "FORWARD", incoming: Some(at.link), path: Some(path) };
        self.pass(hook, &[MANGLE, FILTER], carried)
    }

    /// OUTPUT up to where a destination is translated.
    pub(super) fn output_translating(
        &mut self,
        ns: &'a Namespace,
        path: Path<'a>,
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        let hook = Hook { ns, name: "OUTPUT", incoming: None, path: Some(path) };
        self.pass(hook, &[RAW, Stage::Track, MANGLE, Stage::Nat(Side::Dst)], carried)
    }

    /// The rest of OUTPUT.
    pub(super) fn output_filter(
        &mut self,
        ns: &'a Namespace,
        path: Path<'a>,
        carried: &mut Carried,
    ) -> Result<Option<Stop>> {
        self.pass(Hook { ns, name: "OUTPUT", incoming: None, path: Some(path) }, &[FILTER], carried)
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
        for stage in stages {
            let verdict = match stage {
                Stage::Track => {
                    let table = self.conntrack.entry(&hook.ns.name).or_default();
                    carried.tracked = (!is_untracked(&carried.packet)).then(|| table.track(&carried.packet));
                    Verdict::Pass
                }
                Stage::Nat(side) => self.translate(hook, *side, carried)?,
                Stage::Table(table) => self.evaluate(hook, *table, carried)?,
            };
            match verdict {
                Verdict::Drop(place) => return Ok(Some(Stop { reason: Reason::Rule(place), told: None })),
                Verdict::Reject(place) => {
                    return Ok(Some(Stop { reason: Reason::Rule(place), told: Some(Told::Port) }));
                }
                Verdict::NoSource(link) => return Ok(Some(Stop { reason: Reason::NoSource(link), told: None })),
                Verdict::Pass => {}
                Verdict::Masquerade { .. } | Verdict::Dnat { .. } => return Err(misplaced(hook)),
            }
        }
        Ok(None)
    }

    /// The nat table decides about the first packet of a connection; all others follow it.
    fn translate(&mut self, hook: Hook<'a>, side: Side, carried: &mut Carried) -> Result<Verdict> {
        let Some(tracked) = carried.tracked else { return Ok(Verdict::Pass) };
        if self.conntrack.entry(&hook.ns.name).or_default().undecided(tracked, side) {
            let verdict = self.evaluate(hook, TableName::Nat, carried)?;
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

    fn evaluate(&mut self, hook: Hook, table: TableName, carried: &mut Carried) -> Result<Verdict> {
        let tracked = carried.tracked.filter(|_| table != TableName::Raw);
        let connections = self.conntrack.get(hook.ns.name.as_str());
        let is_dnat = tracked.zip(connections).is_some_and(|(tracked, connections)| connections.is_dnat(tracked));
        let state = tracked.map(|tracked| tracked.state);
        let noting = self.noting().is_some();
        let mut inspected = Inspected {
            packet: &carried.packet,
            incoming: hook.incoming,
            outgoing: hook.path.map(|path| path.link),
            through_port: carried.through_port,
            state: state.or((table != TableName::Raw && !is_untracked(&carried.packet)).then_some(CtState::Invalid)),
            is_dnat,
            mark: carried.mark,
            chances: &mut self.chances,
            met: noting.then(Vec::new),
        };
        let verdict = netfilter::evaluate(hook.ns, table, hook.name, &mut inspected)?;
        carried.mark = inspected.mark;
        let met = inspected.met.unwrap_or_default();
        if let Some(events) = self.noting() {
            events.extend(met.into_iter().map(|met| Event::rule(&hook.ns.name, met)));
        }
        Ok(verdict)
    }
}

/// Connection tracking leaves neighbour discovery alone: it is in no state.
fn is_untracked(packet: &Packet) -> bool {
    matches!(&packet.transport, Transport::Icmp(icmp) if packet.is_v6() && icmp.is_of_neighbours())
}

fn misplaced(hook: Hook) -> Error {
    let Hook { ns, name, .. } = hook;
    Error::new(Kind::Check, format!("in {}: an address is translated at {name}, where it cannot be", ns.name))
}
