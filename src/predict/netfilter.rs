//! The rules of a namespace, evaluated on a packet value: every match and target that a plan can hold.
//!
//! There is no "ignore what is not known": a plan's types name every match there is, and a chain that is missing or
//! calls itself is an error.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::route::{self, Decision};
use crate::error::{Error, Kind, Result};
use crate::packet::{Packet, Transport};
use crate::plan::netfilter::{Chain, CtState, Match, Policy, Rule, Side, Table, TableName, Target};
use crate::plan::{Link, Namespace};

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
    /// Its state; none in the raw table, before connection tracking.
    pub state: Option<CtState>,
    /// Its mark, which rules may change.
    pub mark: u32,
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
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its table.
    pub table: TableName,
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
    let Some(table) = ns.tables.iter().find(|known| known.name == table) else { return Ok(Verdict::Pass) };
    let Some(chain) = table.chains.iter().find(|chain| chain.name == hook) else { return Ok(Verdict::Pass) };
    let walk = Walk { ns, table };
    match walk.chain(chain, packet, DEPTH_MAX)? {
        Left::With(verdict) => Ok(verdict),
        Left::Open if chain.policy == Some(Policy::Drop) => Ok(Verdict::Drop(walk.place(chain, None))),
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
            match &rule.target {
                None => {}
                Some(Target::Accept) => return Ok(Left::With(Verdict::Pass)),
                Some(Target::Drop) => return Ok(Left::With(Verdict::Drop(self.place(chain, Some(index))))),
                Some(Target::Return) => return Ok(Left::Open),
                Some(Target::Jump { chain: name }) => {
                    if let Left::With(verdict) = self.call(name, packet, depth)? {
                        return Ok(Left::With(verdict));
                    }
                }
                Some(Target::Goto { chain: name }) => return self.call(name, packet, depth),
                Some(Target::SetMark { value, mask }) => packet.mark = (packet.mark & !mask) | (value & mask),
                Some(Target::Masquerade { random_fully }) => {
                    return Ok(Left::With(Verdict::Masquerade { random_fully: *random_fully }));
                }
            }
        }
        Ok(Left::Open)
    }

    fn call(&self, name: &str, packet: &mut Inspected, depth: usize) -> Result<Left> {
        let chain = self.table.chains.iter().find(|chain| chain.name == name);
        let chain = chain.ok_or_else(|| self.wrong(format!("calls chain {name}, which does not exist")))?;
        let depth = depth.checked_sub(1).ok_or_else(|| self.wrong(format!("chain {name} calls itself")))?;
        self.chain(chain, packet, depth)
    }

    fn matches(&self, rule: &Rule, packet: &Inspected) -> Result<bool> {
        for condition in &rule.matches {
            if !self.holds(condition, packet)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&self, condition: &Match, packet: &Inspected) -> Result<bool> {
        let Some(ip) = packet.packet.outer() else { return Ok(false) };
        let side = |side: &Side| match side {
            Side::Src => ip.src,
            Side::Dst => ip.dst,
        };
        Ok(match condition {
            Match::InInterface { name } => packet.incoming.is_some_and(|link| named(name, &link.name)),
            Match::OutInterface { name } => packet.outgoing.is_some_and(|link| named(name, &link.name)),
            Match::Protocol { number } => ip.protocol == *number,
            Match::Source { net, invert } => contains(net, ip.src) != *invert,
            Match::Destination { net, invert } => contains(net, ip.dst) != *invert,
            Match::Set { name, side: which, invert } => self.member(name, side(which))? != *invert,
            Match::DestinationPorts { ports } => {
                destination_port(packet.packet).is_some_and(|port| ports.iter().any(|(a, b)| (*a..=*b).contains(&port)))
            }
            Match::CtState { states, invert } => packet.state.is_some_and(|state| states.contains(&state)) != *invert,
            Match::AddrTypeLocal { side: which, invert, limit_iface_out } => {
                self.is_local(side(which), *limit_iface_out, packet) != *invert
            }
            Match::Mark { value, mask, invert } => (packet.mark & mask == *value) != *invert,
            Match::RpFilterInvert => !self.reverse_path(ip.src, packet),
        })
    }

    fn member(&self, name: &str, address: Ipv4Addr) -> Result<bool> {
        let set = self.ns.sets.iter().find(|set| set.name == name);
        let set = set.ok_or_else(|| self.wrong(format!("matches set {name}, which does not exist")))?;
        Ok(set.members.iter().any(|net| contains(net, address)))
    }

    fn is_local(&self, address: Ipv4Addr, limit_iface_out: bool, packet: &Inspected) -> bool {
        match (limit_iface_out, packet.outgoing) {
            (true, Some(link)) => route::is_local_on(link, address),
            (true, None) => false,
            (false, _) => route::is_local(self.ns, address),
        }
    }

    /// Whether an answer to `src` would go out where the packet came in (`-m rpfilter`, strict).
    fn reverse_path(&self, src: Ipv4Addr, packet: &Inspected) -> bool {
        let Some(incoming) = packet.incoming else { return true };
        if incoming.kind == crate::plan::LinkKind::Loopback {
            return true;
        }
        matches!(route::lookup(self.ns, src), Decision::Via(path) if path.link.name == incoming.name)
    }

    fn place(&self, chain: &Chain, rule: Option<usize>) -> Place {
        let comments = rule.and_then(|index| chain.rules.get(index)).map(|rule| rule.comments.clone());
        Place {
            table: self.table.name,
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

fn contains(net: &IpNet, address: Ipv4Addr) -> bool {
    matches!(net, IpNet::V4(net) if net.contains(&address))
}

fn destination_port(packet: &Packet) -> Option<u16> {
    match &packet.transport {
        Transport::Udp { dst, .. } | Transport::Tcp { dst, .. } if packet.layers.len() == 1 => *dst,
        _ => None,
    }
}
