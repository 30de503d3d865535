//! IPVS: what a node takes for itself at the address of a virtual server goes on to a real one.
//!
//! IPVS looks at packets behind the filters of INPUT, and at the host's own behind the translation of OUTPUT
//! (`ip_vs_ops4`). What it sends on to another host passes OUTPUT, once more or for the first time, and POSTROUTING; the
//! answers get the virtual server's address back behind the filters of INPUT and FORWARD, and at OUTPUT
//! (net/netfilter/ipvs/ip_vs_core.c, ip_vs_xmit.c of Linux 6.1).

use std::net::SocketAddr;

use super::netfilter::Chances;
use super::route::{Decision, Path};
use super::told::Told;
use super::walk::{Carried, Outcome, Walker};
use super::{Event, Reason, pieces, settings};
use crate::error::Result;
use crate::packet::{Icmp, Transport};
use crate::plan::Namespace;
use crate::plan::ipvs::{Key, RealServer, VirtualServer};
use crate::plan::netfilter::CtState;

/// What IPVS does with a packet.
pub(super) enum Balanced<'a> {
    /// Nothing, or it has given an answer its source back.
    No,
    /// Its destination is an address of this host now.
    Here,
    /// It goes on to another host.
    On(Path<'a>),
    /// It goes nowhere, and its sender is told so.
    Lost(Reason, Told),
}

impl<'a> Walker<'a> {
    /// IPVS' turn at INPUT and OUTPUT.
    pub(super) fn balance(&mut self, ns: &'a Namespace, carried: &mut Carried) -> Result<Balanced<'a>> {
        let Some(ipvs) = ns.ipvs.as_ref().filter(|_| !carried.balanced) else { return Ok(Balanced::No) };
        if self.answer_balanced(ns, carried) {
            return Ok(Balanced::No);
        }
        let Some(tracked) = carried.tracked else { return Ok(Balanced::No) };
        let known = self.conntrack.entry(&ns.name).or_default().server(tracked).is_some();
        if !known {
            let Some(at) = asked(carried).filter(|_| tracked.state == CtState::New) else { return Ok(Balanced::No) };
            let Some(server) = ipvs.find(at) else { return Ok(Balanced::No) };
            let Some(real) = schedule(server, &mut self.chances) else {
                // `ip_vs_leave`: whatever the protocol.
                return Ok(Balanced::Lost(Reason::NoServer(SocketAddr::new(at.address, at.port)), Told::Port));
            };
            if let Some(events) = self.noting() {
                events.push(Event::server(&ns.name, server, real));
            }
            self.conntrack.entry(&ns.name).or_default().balance(tracked, at, real.to);
        }
        self.conntrack.entry(&ns.name).or_default().translate_balanced(tracked, &mut carried.packet);
        let ip = *carried.outer()?;
        carried.balanced = true;
        Ok(match self.look_up(ns, ip.dst, Some(ip.src)) {
            Decision::Via(path) => Balanced::On(path),
            Decision::Local => Balanced::Here,
            Decision::Blackhole(net) => Balanced::Lost(Reason::Blackhole(net), Told::Host),
            Decision::Unreachable => Balanced::Lost(Reason::NoRoute(ip.dst), Told::Host),
        })
    }

    /// Gives the answer of a real server its virtual server's address back; false if it is none.
    pub(super) fn answer_balanced(&mut self, ns: &'a Namespace, carried: &mut Carried) -> bool {
        if ns.ipvs.is_none() || carried.balanced {
            return false;
        }
        let Some(tracked) = carried.tracked.filter(|tracked| tracked.reply) else { return false };
        let connections = self.conntrack.entry(&ns.name).or_default();
        if connections.server(tracked).is_none() {
            return false;
        }
        connections.translate_balanced(tracked, &mut carried.packet);
        carried.balanced = true;
        true
    }

    /// Out to another host: as a router does it, but through OUTPUT (`ip_vs_nat_xmit`).
    pub(super) fn send_on(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let ip = *carried.outer()?;
        let mtu = settings::mtu(path.link);
        if carried.is_whole()? && u32::from(pieces::longest(&carried)) > mtu {
            let reason = Reason::TooLong { interface: path.link.name.clone(), mtu };
            return Ok(Outcome::refused(ns, reason, Told::TooLong(mtu), carried.packet));
        }
        if ip.ttl <= 1 {
            let error = Icmp::TimeExceeded { code: 0, about: Some(Box::new(carried.packet)) };
            let (namespace, reason) = (ns.name.clone(), Reason::TimeExceeded);
            return Ok(Outcome::Dropped { namespace, reason, error: Some(error), through: None });
        }
        if let Some(ip) = carried.packet.layers.first_mut() {
            ip.ttl -= 1;
        }
        for hook in [Walker::output_translating, Walker::output_filter] {
            if let Some(stop) = hook(self, ns, path, &mut carried)? {
                return Ok(Outcome::stopped(ns, stop, carried));
            }
        }
        self.leave(ns, path, carried)
    }
}

/// The virtual server that a packet may be for.
fn asked(carried: &Carried) -> Option<Key> {
    let ip = carried.packet.outer().filter(|_| carried.packet.layers.len() == 1)?;
    let port = match &carried.packet.transport {
        Transport::Tunnel { .. } => return None,
        transport => transport.ports()?.1?,
    };
    Some(Key { address: ip.dst, protocol: ip.protocol, port })
}

/// One of the real servers. Which one depends on those before, or on the client's address: here it is left to chance.
fn schedule<'s>(server: &'s VirtualServer, chances: &mut Chances) -> Option<&'s RealServer> {
    /// Probability 1.
    const CERTAIN: u32 = 1 << 31;
    let open: Vec<&RealServer> = server.servers.iter().filter(|real| real.weight > 0).collect();
    let last = open.len().checked_sub(1)?;
    let chosen = (0..last).find(|at| chances.take(CERTAIN / (open.len() - at) as u32));
    open.get(chosen.unwrap_or(last)).copied()
}
