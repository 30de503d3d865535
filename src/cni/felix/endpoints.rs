//! The chains that pods bring: dispatch by interface, one chain per pod and direction, profiles
//! (felix v3.18, rules/dispatch.go, rules/endpoints.go, rules/policy.go).

use std::collections::{BTreeMap, BTreeSet};

use super::static_chains::{
    clear_mark, established, from, goto, ipip, jump, marked, noted, rule, set_mark, state, to, vxlan,
};
use super::{mark, names};
use crate::plan::netfilter::{CtState, Match, Rule, Target};
use crate::topology::Pod;

/// A chain by name.
pub(super) type Named = (String, Vec<Rule>);

/// The way a packet goes, as seen from the pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToPod,
    FromPod,
}

impl Direction {
    fn dispatch_chain(self) -> &'static str {
        match self {
            Direction::ToPod => "cali-to-wl-dispatch",
            Direction::FromPod => "cali-from-wl-dispatch",
        }
    }

    fn endpoint_chain(self, interface: &str) -> String {
        match self {
            Direction::ToPod => names::chain("cali-tw-", interface),
            Direction::FromPod => names::chain("cali-fw-", interface),
        }
    }

    fn profile_chain(self, profile: &str) -> String {
        match self {
            Direction::ToPod => names::chain("cali-pri-", profile),
            Direction::FromPod => names::chain("cali-pro-", profile),
        }
    }

    fn interface(self, name: &str) -> Match {
        match self {
            Direction::ToPod => to(name),
            Direction::FromPod => from(name),
        }
    }
}

/// The node's ends of these pods' veths.
pub(super) fn interfaces(pods: &[&Pod]) -> BTreeSet<String> {
    pods.iter().map(|pod| names::veth(pod)).collect()
}

/// The chain of what comes from the pod at this interface.
pub(super) fn from_pod(interface: &str) -> String {
    Direction::FromPod.endpoint_chain(interface)
}

/// All chains of these pods.
pub(super) fn chains(pods: &[&Pod]) -> Vec<Named> {
    let interfaces = interfaces(pods);
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
    let accounts: BTreeSet<(&str, &str)> =
        pods.iter().map(|pod| (pod.namespace.as_str(), pod.service_account.as_str())).collect();
    let mut chains = Vec::new();
    for direction in [Direction::ToPod, Direction::FromPod] {
        chains.extend(dispatch(direction, &interfaces));
        chains.extend(pods.iter().map(|pod| endpoint(direction, pod)));
        chains.extend(namespaces.iter().map(|ns| (direction.profile_chain(&namespace_profile(ns)), allow_all())));
        chains.extend(accounts.iter().map(|(ns, sa)| (direction.profile_chain(&account_profile(ns, sa)), Vec::new())));
    }
    chains
}

fn namespace_profile(namespace: &str) -> String {
    format!("kns.{namespace}")
}

fn account_profile(namespace: &str, account: &str) -> String {
    format!("ksa.{namespace}.{account}")
}

fn dispatch(direction: Direction, interfaces: &BTreeSet<String>) -> Vec<Named> {
    let root = direction.dispatch_chain();
    let leaf = |name: &str| goto(&direction.endpoint_chain(name));
    let end = [unknown_interface()];
    let (mut rules, mut chains) = tree(root, interfaces, |name| direction.interface(name), leaf, &end);
    rules.extend(end);
    chains.push((root.to_string(), rules));
    chains
}

/// A tree of two levels: interfaces are put together by the first character after the prefix that all have in common.
/// The root's rules without its last ones, and the chains below it, each of which ends in `end`.
pub(super) fn tree(
    root: &str,
    interfaces: &BTreeSet<String>,
    matching: impl Fn(&str) -> Match,
    leaf: impl Fn(&str) -> Target,
    end: &[Rule],
) -> (Vec<Rule>, Vec<Named>) {
    let prefix = common_prefix(interfaces);
    let mut buckets: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for interface in interfaces {
        let next = interface[prefix.len()..].chars().next().map_or(0, char::len_utf8);
        buckets.entry(&interface[..prefix.len() + next]).or_default().push(interface);
    }
    let one = |name: &str| rule([matching(name)], leaf(name));
    let (mut rules, mut children) = (Vec::new(), Vec::new());
    for (start, members) in buckets {
        if let [only] = members[..] {
            rules.push(one(only));
            continue;
        }
        let child = format!("{root}-{}", &start[prefix.len()..]);
        rules.push(rule([matching(&format!("{start}+"))], goto(&child)));
        children.push((child, members.iter().map(|name| one(name)).chain(end.iter().cloned()).collect()));
    }
    (rules, children)
}

pub(super) fn unknown_interface() -> Rule {
    noted("Unknown interface", [], Target::Drop)
}

fn common_prefix(names: &BTreeSet<String>) -> String {
    let (Some(first), Some(last)) = (names.first(), names.last()) else {
        return String::new();
    };
    first.chars().zip(last.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// What a pod may send or receive when no policy selects it: what its profiles accept.
fn endpoint(direction: Direction, pod: &Pod) -> Named {
    let mut rules = vec![
        rule([established()], Target::Accept),
        rule([state(&[CtState::Invalid])], Target::Drop),
        rule([], clear_mark(mark::ACCEPT)),
    ];
    if direction == Direction::FromPod {
        rules.push(noted("Drop VXLAN encapped packets originating in workloads", vxlan(), Target::Drop));
        rules.push(noted("Drop IPinIP encapped packets originating in workloads", [ipip()], Target::Drop));
    }
    let profiles = [namespace_profile(&pod.namespace), account_profile(&pod.namespace, &pod.service_account)];
    for profile in profiles {
        rules.push(rule([], jump(&direction.profile_chain(&profile))));
        rules.push(noted("Return if profile accepted", [marked(mark::ACCEPT)], Target::Return));
    }
    rules.push(noted("Drop if no profiles matched", [], Target::Drop));
    (direction.endpoint_chain(&names::veth(pod)), rules)
}

/// The profile of a namespace accepts everything.
fn allow_all() -> Vec<Rule> {
    vec![rule([], set_mark(mark::ACCEPT)), rule([marked(mark::ACCEPT)], Target::Return)]
}
