//! The chains that do not depend on pods (felix v3.18, rules/static.go and rules/nat.go).
//!
//! Rules are written in three words: what must hold, the comment, what then happens. Chains that are referenced and
//! empty exist too: host endpoint and floating IP chains are there for policies and services that may come.

use super::{Draft, ipvs, mark};
use crate::plan::Family;
use crate::plan::netfilter::{CtState, Match, Rule, Side, Target};

/// What the static chains depend on.
pub(super) struct Facts<'a> {
    /// Whose chains they are.
    pub family: Family,
    /// Whether a pool has IPIP.
    pub ipip: bool,
    /// Whether a pool has VXLAN.
    pub vxlan: bool,
    /// The tunnel devices that have an address.
    pub tunnels: &'a [&'a str],
    /// Whether a pool has `natOutgoing`.
    pub nat_outgoing: bool,
    /// Whether masquerading picks ports fully at random.
    pub random_fully: bool,
    /// Whether kube-proxy works by IPVS ([`super::ipvs`]).
    pub ipvs: bool,
}

/// A rule without comment.
pub(super) fn rule(matches: impl Into<Vec<Match>>, target: Target) -> Rule {
    Rule { matches: matches.into(), target: Some(target), ..Rule::default() }
}

/// A rule with a comment.
pub(super) fn noted(comment: &str, matches: impl Into<Vec<Match>>, target: Target) -> Rule {
    Rule { comments: vec![comment.to_string()], ..rule(matches, target) }
}

pub(super) fn jump(chain: &str) -> Target {
    Target::Jump { chain: chain.to_string() }
}

pub(super) fn goto(chain: &str) -> Target {
    Target::Goto { chain: chain.to_string() }
}

pub(super) fn set_mark(bits: u32) -> Target {
    Target::SetMark { value: bits, mask: bits }
}

pub(super) fn clear_mark(bits: u32) -> Target {
    Target::SetMark { value: 0, mask: bits }
}

pub(super) fn marked(bits: u32) -> Match {
    Match::Mark { value: bits, mask: bits, invert: false }
}

pub(super) fn not_marked(bits: u32) -> Match {
    Match::Mark { value: 0, mask: bits, invert: false }
}

pub(super) fn state(states: &[CtState]) -> Match {
    Match::CtState { states: states.to_vec(), invert: false }
}

pub(super) fn established() -> Match {
    state(&[CtState::Related, CtState::Established])
}

pub(super) fn ipip() -> Match {
    Match::Protocol { number: 4 }
}

pub(super) fn vxlan() -> [Match; 2] {
    [Match::Protocol { number: 17 }, Match::DestinationPorts { ports: vec![(4789, 4789)] }]
}

pub(super) fn from(interface: &str) -> Match {
    Match::InInterface { name: interface.to_string() }
}

pub(super) fn to(interface: &str) -> Match {
    Match::OutInterface { name: interface.to_string() }
}

impl Facts<'_> {
    /// The name of a set of these chains' family.
    fn set(&self, id: &str) -> String {
        super::names::set(id, self.family)
    }

    fn in_set(&self, id: &str, side: Side) -> Match {
        Match::Set { name: self.set(id), side, invert: false }
    }
}

fn local(side: Side) -> Match {
    Match::AddrTypeLocal { side, invert: false, limit_iface_out: false }
}

fn empty(chain: &str) -> (String, Vec<Rule>) {
    (chain.to_string(), Vec::new())
}

/// A built-in chain whose first rule calls Felix's chain.
fn hook(builtin: &'static str, appended: Vec<Rule>) -> (&'static str, Vec<Rule>, Vec<Rule>) {
    (builtin, vec![rule([], jump(&format!("cali-{builtin}")))], appended)
}

/// A built-in chain that Felix leaves alone.
fn untouched(builtin: &'static str) -> (&'static str, Vec<Rule>, Vec<Rule>) {
    (builtin, Vec::new(), Vec::new())
}

/// Anti-spoofing, and policies before connection tracking.
pub(super) fn raw() -> Draft {
    let prerouting = vec![
        rule([], clear_mark(mark::ALL)),
        rule([from("cali+")], set_mark(mark::SCRATCH0)),
        rule([marked(mark::SCRATCH0), Match::RpFilterInvert], Target::Drop),
        rule([not_marked(mark::SCRATCH0)], jump("cali-from-host-endpoint")),
        rule([marked(mark::ACCEPT)], Target::Accept),
    ];
    let output = vec![
        rule([], clear_mark(mark::ALL)),
        rule([], jump("cali-to-host-endpoint")),
        rule([marked(mark::ACCEPT)], Target::Accept),
    ];
    Draft {
        builtin: vec![hook("PREROUTING", vec![]), hook("OUTPUT", vec![])],
        user: vec![
            ("cali-PREROUTING".to_string(), prerouting),
            ("cali-OUTPUT".to_string(), output),
            empty("cali-from-host-endpoint"),
            empty("cali-to-host-endpoint"),
        ],
    }
}

/// Policies of host endpoints before and after address translation.
pub(super) fn mangle(facts: &Facts) -> Draft {
    let prerouting = vec![
        rule([established()], Target::Accept),
        rule([marked(mark::ACCEPT)], Target::Accept),
        rule([], jump("cali-from-host-endpoint")),
        noted("Host endpoint policy accepted packet.", [marked(mark::ACCEPT)], Target::Accept),
    ];
    let mut postrouting = vec![rule([marked(mark::ACCEPT)], Target::Return)];
    if facts.ipvs {
        postrouting.push(rule([ipvs::sent_on()], Target::Return));
    }
    postrouting.extend([
        rule([], clear_mark(mark::ALL)),
        rule([state(&[CtState::Dnat])], jump("cali-to-host-endpoint")),
        noted("Host endpoint policy accepted packet.", [marked(mark::ACCEPT)], Target::Return),
    ]);
    Draft {
        builtin: vec![
            hook("PREROUTING", vec![]),
            untouched("INPUT"),
            untouched("FORWARD"),
            untouched("OUTPUT"),
            hook("POSTROUTING", vec![]),
        ],
        user: vec![
            ("cali-PREROUTING".to_string(), prerouting),
            ("cali-POSTROUTING".to_string(), postrouting),
            empty("cali-from-host-endpoint"),
            empty("cali-to-host-endpoint"),
        ],
    }
}

/// Masquerading: of what leaves all pools, and of what leaves through the tunnel with an address that is not its own.
pub(super) fn nat(facts: &Facts) -> Draft {
    let masquerade = || Target::Masquerade { random_fully: facts.random_fully };
    let mut postrouting = vec![rule([], jump("cali-fip-snat")), rule([], jump("cali-nat-outgoing"))];
    for device in facts.tunnels {
        let foreign = Match::AddrTypeLocal { side: Side::Src, invert: true, limit_iface_out: true };
        postrouting.push(rule([to(device), foreign, local(Side::Src)], masquerade()));
    }
    let mut outgoing = Vec::new();
    if facts.nat_outgoing {
        let outside = Match::Set { name: facts.set("all-ipam-pools"), side: Side::Dst, invert: true };
        outgoing.push(rule([facts.in_set("masq-ipam-pools", Side::Src), outside], masquerade()));
    }
    Draft {
        builtin: vec![
            hook("PREROUTING", vec![]),
            untouched("INPUT"),
            hook("OUTPUT", vec![]),
            hook("POSTROUTING", vec![]),
        ],
        user: vec![
            ("cali-PREROUTING".to_string(), vec![rule([], jump("cali-fip-dnat"))]),
            ("cali-OUTPUT".to_string(), vec![rule([], jump("cali-fip-dnat"))]),
            ("cali-POSTROUTING".to_string(), postrouting),
            ("cali-nat-outgoing".to_string(), outgoing),
            empty("cali-fip-dnat"),
            empty("cali-fip-snat"),
        ],
    }
}

/// Accept and drop, without the chains of endpoints.
pub(super) fn filter(facts: &Facts) -> Draft {
    let appended = vec![
        noted("Policy explicitly accepted packet.", [marked(mark::ACCEPT)], Target::Accept),
        rule([], set_mark(mark::ACCEPT)),
    ];
    Draft {
        builtin: vec![hook("INPUT", vec![]), hook("FORWARD", appended), hook("OUTPUT", vec![])],
        user: vec![
            ("cali-INPUT".to_string(), filter_input(facts)),
            ("cali-FORWARD".to_string(), filter_forward()),
            ("cali-OUTPUT".to_string(), filter_output(facts)),
            ("cali-wl-to-host".to_string(), workload_to_host(facts.family)),
            empty("cali-from-host-endpoint"),
            empty("cali-to-host-endpoint"),
            empty("cali-from-hep-forward"),
            empty("cali-to-hep-forward"),
            empty("cali-cidr-block"),
        ],
    }
}

/// What Felix says of accepting and dropping what comes, and accepting what goes: v3.18 for IPv4, v3.23 for IPv6.
fn vxlan_comments(family: Family) -> [&'static str; 3] {
    match family {
        Family::Inet => [
            "Allow VXLAN packets from whitelisted hosts",
            "Drop VXLAN packets from non-whitelisted hosts",
            "Allow VXLAN packets to other whitelisted hosts",
        ],
        Family::Inet6 => [
            "Allow IPv6 VXLAN packets from allowed hosts",
            "Drop IPv6 VXLAN packets from non-allowed hosts",
            "Allow IPv6 VXLAN packets to other allowed hosts",
        ],
    }
}

fn filter_input(facts: &Facts) -> Vec<Rule> {
    let mut rules = Vec::new();
    if facts.ipip {
        let hosts = facts.in_set("all-hosts-net", Side::Src);
        rules.push(noted("Allow IPIP packets from Calico hosts", [ipip(), hosts, local(Side::Dst)], Target::Accept));
        rules.push(noted("Drop IPIP packets from non-Calico hosts", [ipip()], Target::Drop));
    }
    if facts.vxlan {
        let hosts = facts.in_set("all-vxlan-net", Side::Src);
        let [udp, port] = vxlan();
        let allowed = [udp.clone(), port.clone(), hosts, local(Side::Dst)];
        let [allow, drop, _] = vxlan_comments(facts.family);
        rules.push(noted(allow, allowed, Target::Accept));
        let others = [udp, port, local(Side::Dst)];
        rules.push(noted(drop, others, Target::Drop));
    }
    if facts.ipvs {
        rules.extend(ipvs::input());
    }
    rules.extend([
        rule([from("cali+")], goto("cali-wl-to-host")),
        rule([marked(mark::ACCEPT)], Target::Accept),
        rule([], clear_mark(mark::ALL)),
        rule([], jump("cali-from-host-endpoint")),
        noted("Host endpoint policy accepted packet.", [marked(mark::ACCEPT)], Target::Accept),
    ]);
    rules
}

fn filter_forward() -> Vec<Rule> {
    vec![
        rule([], clear_mark(mark::ALL_BUT_ACCEPT)),
        rule([not_marked(mark::ACCEPT)], jump("cali-from-hep-forward")),
        rule([from("cali+")], jump("cali-from-wl-dispatch")),
        rule([to("cali+")], jump("cali-to-wl-dispatch")),
        rule([], jump("cali-to-hep-forward")),
        rule([], jump("cali-cidr-block")),
    ]
}

fn filter_output(facts: &Facts) -> Vec<Rule> {
    let mut rules = vec![rule([marked(mark::ACCEPT)], Target::Accept)];
    if facts.ipvs {
        rules.push(rule([ipvs::sent_on()], goto(ipvs::FORWARD_ENDPOINT_MARK)));
    }
    rules.push(rule([to("cali+")], Target::Return));
    if facts.ipip {
        let hosts = facts.in_set("all-hosts-net", Side::Dst);
        rules.push(noted(
            "Allow IPIP packets to other Calico hosts",
            [ipip(), hosts, local(Side::Src)],
            Target::Accept,
        ));
    }
    if facts.vxlan {
        let hosts = facts.in_set("all-vxlan-net", Side::Dst);
        let [udp, port] = vxlan();
        let allowed = [udp, port, local(Side::Src), hosts];
        let [.., allow] = vxlan_comments(facts.family);
        rules.push(noted(allow, allowed, Target::Accept));
    }
    let untranslated = Match::CtState { states: vec![CtState::Dnat], invert: true };
    rules.extend([
        rule([], clear_mark(mark::ALL)),
        rule([untranslated], jump("cali-to-host-endpoint")),
        noted("Host endpoint policy accepted packet.", [marked(mark::ACCEPT)], Target::Accept),
    ]);
    rules
}

/// What a router must take from its neighbours in IPv6, before any policy: questions, reports and ends of multicast
/// listening, router solicitations, neighbour solicitations and advertisements.
const ICMP6_TYPES: [u8; 6] = [130, 131, 132, 133, 135, 136];

fn workload_to_host(family: Family) -> Vec<Rule> {
    let types: &[u8] = if family == Family::Inet6 { &ICMP6_TYPES } else { &[] };
    let accept =
        |number: &u8| rule([Match::Protocol { number: 58 }, Match::Icmp6Type { number: *number }], Target::Accept);
    let mut rules: Vec<Rule> = types.iter().map(accept).collect();
    rules.push(rule([], jump("cali-from-wl-dispatch")));
    rules.push(noted("Configured DefaultEndpointToHostAction", [], Target::Accept));
    rules
}
