//! The rules of a namespace, evaluated on a packet value: every match and target that a plan can hold.
//!
//! There is no "ignore what is not known": a plan's types name every match there is, and a chain that is missing or
//! calls itself is an error.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::route::{self, Decision};
use super::sets;
use crate::error::{Error, Kind, Result};
use crate::packet::{Packet, Transport};
use crate::plan::ipvs::Key;
use crate::plan::netfilter::{Chain, CtState, IpSet, Match, Policy, Recent, Rule, Side, Table, TableName, Target};
use crate::plan::{Link, Namespace, restore};

/// Chains that may call each other; iptables refuses loops, a plan made by hand might have one.
const DEPTH_MAX: usize = 64;

/// A packet at a hook, with all that a rule may ask about.
#[derive(Debug)]
pub struct Inspected<'a> {
    /// The packet; rules look at its outermost header.
    pub packet: &'a Packet,
    /// Where it came in; none if it began here.
    pub incoming: Option<&'a Link>,
    /// Where it goes out; none before routing and on delivery.
    pub outgoing: Option<&'a Link>,
    /// Whether it came in through a port of a bridge.
    pub through_port: bool,
    /// Its state; none in the raw table, before connection tracking.
    pub state: Option<CtState>,
    /// Whether its connection's destination is translated.
    pub is_dnat: bool,
    /// The virtual server of IPVS that its connection came to.
    pub server: Option<Key>,
    /// Its mark, which rules may change.
    pub mark: u32,
    /// What comes of rules that leave it to chance.
    pub chances: &'a mut Chances,
    /// The rules that decide about it or change it, if somebody wants to know.
    pub met: Option<Vec<Met>>,
}

/// A rule, or a chain's policy, that decided about a packet or changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Where it stands.
    pub place: Place,
    /// What it does, as iptables-save spells it: `-j ACCEPT`.
    pub does: String,
    /// The whole of it, as iptables-save prints it; none for a policy.
    pub rule: Option<String>,
}

/// What comes of rules that leave it to chance: first what was laid down, then no, again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chances {
    outcomes: Vec<bool>,
    taken: usize,
}

impl Chances {
    /// Probability 1, as the kernel keeps it.
    pub(super) const CERTAIN: u32 = 1 << 31;

    pub(super) fn take(&mut self, parts: u32) -> bool {
        if parts == 0 || parts >= Self::CERTAIN {
            return parts != 0;
        }
        if self.taken == self.outcomes.len() {
            self.outcomes.push(false);
        }
        let outcome = self.outcomes.get(self.taken).copied().unwrap_or_default();
        self.taken += 1;
        outcome
    }

    /// The outcomes to try after these; none if all have been tried.
    pub fn next(mut self) -> Option<Chances> {
        self.taken = 0;
        while let Some(last) = self.outcomes.pop() {
            if !last {
                self.outcomes.push(true);
                return Some(self);
            }
        }
        None
    }
}

/// What a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on.
    Pass,
    /// A rule or a policy drops it.
    Drop(Place),
    /// Its source is to become the outgoing link's address.
    Masquerade {
        /// With a port by chance.
        random_fully: bool,
    },
    /// Its destination is to become another.
    Dnat {
        /// Which.
        to: SocketAddr,
    },
    /// A rule drops it and tells its source "port unreachable".
    Reject(Place),
    /// Its source cannot become that of this link: it has none.
    NoSource(String),
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its table: `nat`, or with its family where it is one of nftables: `ip kube-proxy`.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, counted from 1 as `iptables -L --line-numbers` does; none for the chain's policy.
    pub rule: Option<usize>,
    /// Its comments.
    pub comments: Vec<String>,
}

/// `filter/cali-INPUT rule 2 (Drop IPIP packets from non-Calico hosts)`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table.as_str(), self.chain)?;
        match self.rule {
            Some(number) => write!(f, " rule {number}")?,
            None => f.write_str(" policy")?,
        }
        let text: Vec<&str> = self.comments.iter().map(String::as_str).filter(|c| !c.starts_with("cali:")).collect();
        if text.is_empty() { Ok(()) } else { write!(f, " ({})", text.join("; ")) }
    }
}

/// How a chain was left.
enum Left {
    /// Decided for the whole table.
    With(Verdict),
    /// Undecided: the caller goes on.
    Open,
}

/// Evaluates one table at one hook (a built-in chain's name).
///
/// # Errors
/// If a rule names a chain or a set that the plan does not have, or chains call each other in a circle.
pub fn evaluate(ns: &Namespace, table: TableName, hook: &str, packet: &mut Inspected) -> Result<Verdict> {
    let tables = if packet.packet.is_v6() { &ns.tables6 } else { &ns.tables };
    let Some(table) = tables.iter().find(|known| known.name == table) else { return Ok(Verdict::Pass) };
    let Some(chain) = table.chains.iter().find(|chain| chain.name == hook) else { return Ok(Verdict::Pass) };
    let walk = Walk { ns, table };
    match walk.chain(chain, packet, DEPTH_MAX)? {
        Left::With(verdict) => Ok(verdict),
        Left::Open if chain.policy == Some(Policy::Drop) => {
            let place = walk.place(chain, None);
            if let Some(met) = &mut packet.met {
                met.push(Met { place: place.clone(), does: Policy::Drop.to_string(), rule: None });
            }
            Ok(Verdict::Drop(place))
        }
        Left::Open => Ok(Verdict::Pass),
    }
}

struct Walk<'a> {
    ns: &'a Namespace,
    table: &'a Table,
}

impl Walk<'_> {
    fn chain(&self, chain: &Chain, packet: &mut Inspected, depth: usize) -> Result<Left> {
        for (index, rule) in chain.rules.iter().enumerate() {
            if !self.matches(rule, packet)? {
                continue;
            }
            let left = match &rule.target {
                None => continue,
                Some(Target::Jump { chain: name }) => match self.call(name, packet, depth)? {
                    Left::With(verdict) => return Ok(Left::With(verdict)),
                    Left::Open => continue,
                },
                Some(Target::Goto { chain: name }) => return self.call(name, packet, depth),
                Some(Target::SetMark { value, mask }) => {
                    self.mark(chain, index, (packet.mark & !mask) | (value & mask), packet)
                }
                Some(Target::XorMark { value }) => self.mark(chain, index, packet.mark ^ value, packet),
                Some(Target::Return) => Some(Left::Open),
                Some(Target::Accept) => Some(Left::With(Verdict::Pass)),
                Some(Target::Drop) => Some(Left::With(Verdict::Drop(self.place(chain, Some(index))))),
                Some(Target::Dnat { to }) => Some(Left::With(Verdict::Dnat { to: *to })),
                Some(Target::Reject { .. }) => Some(Left::With(Verdict::Reject(self.place(chain, Some(index))))),
                Some(Target::Masquerade { random_fully }) => {
                    Some(Left::With(Verdict::Masquerade { random_fully: *random_fully }))
                }
            };
            if let Some(left) = left {
                self.note(chain, index, packet);
                return Ok(left);
            }
        }
        Ok(Left::Open)
    }

    /// Changes the packet's mark; nothing is left by that.
    fn mark(&self, chain: &Chain, index: usize, mark: u32, packet: &mut Inspected) -> Option<Left> {
        if packet.mark != mark {
            self.note(chain, index, packet);
        }
        packet.mark = mark;
        None
    }

    fn note(&self, chain: &Chain, index: usize, packet: &mut Inspected) {
        let (Some(met), Some(rule)) = (&mut packet.met, chain.rules.get(index)) else { return };
        met.push(Met {
            place: self.place(chain, Some(index)),
            does: rule.target.as_ref().map(restore::target).unwrap_or_default(),
            rule: Some(restore::append(&chain.name, rule)),
        });
    }

    fn call(&self, name: &str, packet: &mut Inspected, depth: usize) -> Result<Left> {
        let chain = self.table.chains.iter().find(|chain| chain.name == name);
        let chain = chain.ok_or_else(|| self.wrong(format!("calls chain {name}, which does not exist")))?;
        let depth = depth.checked_sub(1).ok_or_else(|| self.wrong(format!("chain {name} calls itself")))?;
        self.chain(chain, packet, depth)
    }

    fn matches(&self, rule: &Rule, packet: &mut Inspected) -> Result<bool> {
        for condition in &rule.matches {
            if !self.holds(condition, packet)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&self, condition: &Match, packet: &mut Inspected) -> Result<bool> {
        let Some(ip) = packet.packet.outer() else { return Ok(false) };
        let side = |side: &Side| match side {
            Side::Src => ip.src,
            Side::Dst => ip.dst,
        };
        Ok(match condition {
            Match::InInterface { name } => packet.incoming.is_some_and(|link| named(name, &link.name)),
            Match::OutInterface { name } => packet.outgoing.is_some_and(|link| named(name, &link.name)),
            Match::Protocol { number } => ip.protocol == *number,
            Match::Source { net, invert } => net.contains(&ip.src) != *invert,
            Match::Destination { net, invert } => net.contains(&ip.dst) != *invert,
            Match::Set { name, side: which, invert } => sets::has_address(self.set(name)?, side(which)) != *invert,
            Match::DestinationPorts { ports } => {
                destination_port(packet.packet).is_some_and(|port| ports.iter().any(|(a, b)| (*a..=*b).contains(&port)))
            }
            Match::CtState { states, invert } => self.in_state(states, packet) != *invert,
            Match::AddrTypeLocal { side: which, invert, limit_iface_out } => {
                self.is_local(side(which), *limit_iface_out, packet) != *invert
            }
            Match::Mark { value, mask, invert } => (packet.mark & mask == *value) != *invert,
            Match::RpFilterInvert => !self.reverse_path(ip.src, packet),
            Match::NotInInterface { name } => !packet.incoming.is_some_and(|link| named(name, &link.name)),
            Match::NotOutInterface { name } => !packet.outgoing.is_some_and(|link| named(name, &link.name)),
            Match::Transport { protocol, port } => {
                ip.protocol == *protocol && port.is_none_or(|port| destination_port(packet.packet) == Some(port))
            }
            Match::IcmpType { number } => !ip.is_v6() && icmp_type(packet.packet) == Some(*number),
            Match::Icmp6Type { number } => ip.is_v6() && icmp_type(packet.packet) == Some(*number),
            Match::Random { parts } => packet.chances.take(*parts),
            // Predictions are about the first packet that anybody sends.
            Match::Recent { action, .. } => *action == Recent::Set,
            Match::PhysdevIsIn { invert } => packet.through_port != *invert,
            Match::SetOf { name, sides, invert } => sets::has(self.set(name)?, sides, packet.packet) != *invert,
            Match::Ipvs { address, protocol, port } => {
                packet.server == Some(Key { address: *address, protocol: *protocol, port: *port })
            }
        })
    }

    fn set(&self, name: &str) -> Result<&IpSet> {
        let set = self.ns.sets.iter().find(|set| set.name == name);
        set.ok_or_else(|| self.wrong(format!("matches set {name}, which does not exist")))
    }

    /// Whether any of these states holds. `DNAT` is no state but a property of the connection.
    fn in_state(&self, states: &[CtState], packet: &Inspected) -> bool {
        let holds = |state: &CtState| match state {
            CtState::Dnat => packet.is_dnat,
            state => packet.state == Some(*state),
        };
        states.iter().any(holds)
    }

    fn is_local(&self, address: IpAddr, limit_iface_out: bool, packet: &Inspected) -> bool {
        match (limit_iface_out, packet.outgoing) {
            (true, Some(link)) => route::is_local_on(self.ns, link, address),
            (true, None) => false,
            (false, _) => route::is_local(self.ns, address),
        }
    }

    /// Whether an answer to `src` would go out where the packet came in (`-m rpfilter`, strict).
    fn reverse_path(&self, src: IpAddr, packet: &Inspected) -> bool {
        let Some(incoming) = packet.incoming else { return true };
        if incoming.kind == crate::plan::LinkKind::Loopback {
            return true;
        }
        let of_link = |address: IpAddr| matches!(address, IpAddr::V6(own) if own.is_unicast_link_local());
        // Who has no address yet passes, and a link's own addresses are on that link (`rpfilter_lookup_reverse6`).
        if src.is_ipv6() && (src.is_unspecified() || of_link(src)) {
            return true;
        }
        let dst = packet.packet.outer().map(|ip| ip.dst);
        matches!(route::lookup(self.ns, src, dst), Decision::Via(path) if path.link.name == incoming.name)
    }

    fn place(&self, chain: &Chain, rule: Option<usize>) -> Place {
        let comments = rule.and_then(|index| chain.rules.get(index)).map(|rule| rule.comments.clone());
        Place {
            table: self.table.name.as_str().to_owned(),
            chain: chain.name.clone(),
            rule: rule.map(|index| index + 1),
            comments: comments.unwrap_or_default(),
        }
    }

    fn wrong(&self, what: String) -> Error {
        Error::new(Kind::Check, format!("in {}: table {} {what}", self.ns.name, self.table.name.as_str()))
    }
}

fn named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn icmp_type(packet: &Packet) -> Option<u8> {
    match &packet.transport {
        Transport::Icmp(icmp) if packet.layers.len() == 1 => Some(icmp.kind(packet.is_v6())),
        _ => None,
    }
}

pub(super) fn destination_port(packet: &Packet) -> Option<u16> {
    packet.transport.ports().filter(|_| packet.layers.len() == 1)?.1
}

#[cfg(test)]
mod tests;
