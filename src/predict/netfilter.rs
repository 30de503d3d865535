//! The rules of a namespace, evaluated on a packet value: every match and target that a plan can hold.
//!
//! There is no "ignore what is not known": a plan's types name every match there is, and a chain that is missing or
//! calls itself is an error.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::route::{self, Decision};
use crate::error::{Error, Kind, Result};
use crate::packet::{Icmp, Packet, Transport};
use crate::plan::netfilter::{Chain, CtState, Match, Policy, Recent, Rule, Side, Table, TableName, Target};
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
    const CERTAIN: u32 = 1 << 31;

    fn take(&mut self, parts: u32) -> bool {
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
            Match::Source { net, invert } => contains(net, ip.src) != *invert,
            Match::Destination { net, invert } => contains(net, ip.dst) != *invert,
            Match::Set { name, side: which, invert } => self.member(name, side(which))? != *invert,
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
            // No packet of IPv6 is walked yet.
            Match::Icmp6Type { .. } => false,
            Match::IcmpType { number } => icmp_type(packet.packet) == Some(*number),
            Match::Random { parts } => packet.chances.take(*parts),
            // Predictions are about the first packet that anybody sends.
            Match::Recent { action, .. } => *action == Recent::Set,
            Match::PhysdevIsIn { invert } => packet.through_port != *invert,
            Match::SetOf { .. } => {
                let text = restore::extension(condition).unwrap_or_default();
                return Err(self.wrong(format!("has `{text}`, which is not predicted yet")));
            }
        })
    }

    fn member(&self, name: &str, address: Ipv4Addr) -> Result<bool> {
        let set = self.ns.sets.iter().find(|set| set.name == name);
        let set = set.ok_or_else(|| self.wrong(format!("matches set {name}, which does not exist")))?;
        Ok(set.members.iter().any(|net| contains(net, address)))
    }

    /// Whether any of these states holds. `DNAT` is no state but a property of the connection.
    fn in_state(&self, states: &[CtState], packet: &Inspected) -> bool {
        let holds = |state: &CtState| match state {
            CtState::Dnat => packet.is_dnat,
            state => packet.state == Some(*state),
        };
        states.iter().any(holds)
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
        let dst = packet.packet.outer().map(|ip| ip.dst);
        matches!(route::lookup(self.ns, src, dst), Decision::Via(path) if path.link.name == incoming.name)
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

fn icmp_type(packet: &Packet) -> Option<u8> {
    match &packet.transport {
        Transport::Icmp(icmp) if packet.layers.len() == 1 => Some(match icmp {
            Icmp::EchoReply { .. } => 0,
            Icmp::Unreachable { .. } => 3,
            Icmp::EchoRequest { .. } => 8,
            Icmp::TimeExceeded { .. } => 11,
            Icmp::Other { kind, .. } => *kind,
        }),
        _ => None,
    }
}

fn destination_port(packet: &Packet) -> Option<u16> {
    match &packet.transport {
        Transport::Udp { dst, .. } | Transport::Tcp { dst, .. } | Transport::Tunnel { dst, .. }
            if packet.layers.len() == 1 =>
        {
            *dst
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Ip, Packet};
    use crate::plan::netfilter::IpSet;
    use crate::plan::{Address, LinkKind, Role, Scope};

    fn link(name: &str, net: &str) -> Link {
        let address = |net: &str| Address { net: net.parse().unwrap(), broadcast: None, scope: Scope::Global };
        let addresses = if net.is_empty() { Vec::new() } else { vec![address(net)] };
        Link { addresses, ..Link::new(name, LinkKind::Bridge) }
    }

    fn chain(name: &str, rules: Vec<Rule>) -> Chain {
        let policy = (name == "INPUT").then_some(Policy::Accept);
        Chain { name: name.into(), policy, rules }
    }

    fn rule(matches: Vec<Match>, target: Target) -> Rule {
        Rule { comments: vec!["cali:xyz".into(), "said".into()], matches, target: Some(target), ..Rule::default() }
    }

    fn namespace(chains: Vec<Chain>) -> Namespace {
        Namespace {
            links: vec![link("ens33", "10.1.10.9/24"), link("cali1", ""), link("tunl0", "10.100.0.1/32")],
            sets: vec![IpSet {
                name: "hosts".into(),
                kind: "hash:net".into(),
                family: crate::plan::netfilter::Family::Inet,
                members: vec!["10.1.10.0/28".parse().unwrap()],
            }],
            tables: vec![Table { name: TableName::Filter, chains }],
            ..Namespace::new("t", "node", "node", Role::Node)
        }
    }

    fn packet(protocol: u8, src: [u8; 4], dst: [u8; 4], port: u16) -> Packet {
        let ip = Ip {
            src: src.into(),
            dst: dst.into(),
            protocol,
            ttl: 64,
            id: None,
            dont_fragment: false,
            more_fragments: false,
            offset: 0,
            length: 84,
        };
        let transport =
            if protocol == 17 { Transport::Udp { src: Some(1), dst: Some(port) } } else { Transport::Other };
        Packet { layers: vec![ip], transport, mark: None }
    }

    fn at<'a>(packet: &'a Packet, chances: &'a mut Chances) -> Inspected<'a> {
        let (incoming, outgoing, through_port, state, is_dnat, mark, met) = (None, None, false, None, false, 0, None);
        Inspected { packet, incoming, outgoing, through_port, state, is_dnat, mark, chances, met }
    }

    #[test]
    fn chance_is_tried_in_all_ways_and_certainty_in_one() {
        let mut chances = Chances::default();
        let mut all = Vec::new();
        loop {
            // A service of three endpoints: 1/3, else 1/2, else the last one.
            let endpoint = [715_827_883, 1 << 30, 1 << 31].iter().position(|parts| chances.take(*parts));
            all.push(endpoint);
            match chances.next() {
                Some(next) => chances = next,
                None => break,
            }
        }
        assert_eq!(all, [Some(2), Some(1), Some(0)]);
    }

    /// What INPUT says of a packet from 10.1.10.10 to 10.1.10.9 that came in through ens33, and the mark after it.
    fn input(chains: Vec<Chain>, protocol: u8) -> Result<(Verdict, u32)> {
        let ns = namespace(chains);
        let packet = packet(protocol, [10, 1, 10, 10], [10, 1, 10, 9], 4789);
        let incoming = ns.link("ens33");
        let mut chances = Chances::default();
        let mut at = Inspected { incoming, state: Some(CtState::New), mark: 0x2_0001, ..at(&packet, &mut chances) };
        let verdict = evaluate(&ns, TableName::Filter, "INPUT", &mut at)?;
        Ok((verdict, at.mark))
    }

    fn dropped_if(condition: Match, protocol: u8) -> bool {
        let rules = vec![rule(vec![condition], Target::Drop)];
        matches!(input(vec![chain("INPUT", rules)], protocol), Ok((Verdict::Drop(_), _)))
    }

    #[test]
    fn each_match_tells_what_holds_from_what_does_not() {
        let net = |text: &str| text.parse().unwrap();
        let set = |side, invert| Match::Set { name: "hosts".into(), side, invert };
        let local = |side, invert| Match::AddrTypeLocal { side, invert, limit_iface_out: false };
        let cases = [
            (Match::InInterface { name: "ens33".into() }, true),
            (Match::InInterface { name: "ens+".into() }, true),
            (Match::InInterface { name: "cali+".into() }, false),
            (Match::OutInterface { name: "ens33".into() }, false),
            (Match::Protocol { number: 17 }, true),
            (Match::Protocol { number: 4 }, false),
            (Match::Source { net: net("10.1.10.8/30"), invert: false }, true),
            (Match::Source { net: net("10.1.10.8/30"), invert: true }, false),
            (Match::Destination { net: net("10.1.10.10/32"), invert: false }, false),
            (set(Side::Src, false), true),
            (set(Side::Src, true), false),
            (Match::DestinationPorts { ports: vec![(1, 2), (4780, 4790)] }, true),
            (Match::DestinationPorts { ports: vec![(4790, 4790)] }, false),
            (Match::CtState { states: vec![CtState::New], invert: false }, true),
            (Match::CtState { states: vec![CtState::Dnat], invert: true }, true),
            (Match::CtState { states: vec![CtState::Established], invert: false }, false),
            (local(Side::Dst, false), true),
            (local(Side::Src, false), false),
            (local(Side::Src, true), true),
            (Match::Mark { value: 0x2_0000, mask: 0x2_0000, invert: false }, true),
            (Match::Mark { value: 0, mask: 0x2_0000, invert: false }, false),
            (Match::Mark { value: 0, mask: 0x2_0000, invert: true }, true),
            (Match::RpFilterInvert, false),
        ];
        for (condition, holds) in cases {
            assert_eq!(dropped_if(condition.clone(), 17), holds, "{condition:?}");
        }
    }

    #[test]
    fn chains_return_and_goto_as_iptables_does() {
        let drop_all = || rule(Vec::new(), Target::Drop);
        let jump = |chain: &str| rule(Vec::new(), Target::Jump { chain: chain.into() });
        let goto = |chain: &str| rule(Vec::new(), Target::Goto { chain: chain.into() });
        let back = || rule(Vec::new(), Target::Return);
        // A called chain that returns goes on behind the call.
        let called = vec![chain("INPUT", vec![jump("a"), drop_all()]), chain("a", vec![back(), drop_all()])];
        let Ok((Verdict::Drop(place), _)) = input(called, 17) else { panic!("not dropped") };
        assert_eq!(place.to_string(), "filter/INPUT rule 2 (said)");
        // After a goto the caller is not come back to, but its own caller is.
        let gone =
            vec![chain("INPUT", vec![jump("a")]), chain("a", vec![goto("b"), drop_all()]), chain("b", vec![back()])];
        assert_eq!(input(gone, 17).unwrap().0, Verdict::Pass);
        let marked = vec![chain("INPUT", vec![rule(Vec::new(), Target::SetMark { value: 0x1_0000, mask: 0xf_0000 })])];
        assert_eq!(input(marked, 17).unwrap(), (Verdict::Pass, 0x1_0001));
    }

    #[test]
    fn what_the_plan_lacks_is_an_error_and_never_ignored() {
        let jump = |chain: &str| rule(Vec::new(), Target::Jump { chain: chain.into() });
        let set = Match::Set { name: "absent".into(), side: Side::Src, invert: false };
        assert!(input(vec![chain("INPUT", vec![rule(vec![set], Target::Drop)])], 17).is_err());
        assert!(input(vec![chain("INPUT", vec![jump("absent")])], 17).is_err());
        assert!(input(vec![chain("INPUT", vec![jump("a")]), chain("a", vec![jump("a")])], 17).is_err());
    }

    #[test]
    fn limit_iface_out_asks_for_the_outgoing_link_s_own_addresses() {
        let condition = |invert| Match::AddrTypeLocal { side: Side::Src, invert, limit_iface_out: true };
        let rules = vec![rule(vec![condition(true)], Target::Masquerade { random_fully: false })];
        let ns = namespace(vec![chain("INPUT", rules)]);
        let verdict = |src: [u8; 4]| {
            let packet = packet(1, src, [10, 1, 10, 10], 0);
            let outgoing = ns.link("tunl0");
            let mut chances = Chances::default();
            let mut at = Inspected { outgoing, ..at(&packet, &mut chances) };
            evaluate(&ns, TableName::Filter, "INPUT", &mut at).unwrap()
        };
        assert_eq!(verdict([10, 100, 0, 1]), Verdict::Pass);
        assert_eq!(verdict([10, 1, 10, 9]), Verdict::Masquerade { random_fully: false });
    }
}
