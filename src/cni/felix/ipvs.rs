//! What Felix adds where kube-proxy works by IPVS: it takes the device kube-ipvs0 as the sign of it when it starts
//! (`KubeIPVSSupportEnabled`; felix v3.18, rules/static.go, rules/dispatch.go, rules/epmark.go).
//!
//! What a pod sends to a Service comes to INPUT then, and leaves through OUTPUT, where nobody knows any more by which
//! interface it came. So INPUT gives it a mark that says so, one for each endpoint, and OUTPUT sends it by that mark
//! through the rules of the pod that sent it.

use std::collections::{BTreeMap, BTreeSet};

use super::endpoints::{Named, from_pod, tree, unknown_interface};
use super::static_chains::{clear_mark, established, from, goto, jump, marked, noted, rule, to};
use super::{mark, names};
use crate::plan::Family;
use crate::plan::netfilter::{Match, Rule, Side, Target};

const FORWARD_CHECK: &str = "cali-forward-check";
/// Where OUTPUT sends what IPVS sends on.
pub(super) const FORWARD_ENDPOINT_MARK: &str = "cali-forward-endpoint-mark";
const SET_ENDPOINT_MARK: &str = "cali-set-endpoint-mark";
const FROM_ENDPOINT_MARK: &str = "cali-from-endpoint-mark";
/// `KubeNodePortRanges`.
const NODE_PORTS: (u16, u16) = (30000, 32767);

/// What INPUT found to be sent on by IPVS.
pub(super) fn sent_on() -> Match {
    Match::Mark { value: 0, mask: mark::ENDPOINT, invert: true }
}

/// In `cali-INPUT`, before what is for the host itself.
pub(super) fn input() -> [Rule; 3] {
    [rule([], clear_mark(mark::ENDPOINT)), rule([], jump(FORWARD_CHECK)), rule([sent_on()], Target::Return)]
}

/// The chains of the table `filter`; `interfaces` are those of pods.
pub(super) fn chains(interfaces: &BTreeSet<String>, family: Family) -> Vec<Named> {
    let marks = marks(interfaces);
    let of = |interface: &str| marks.get(interface).copied();
    let (mut set, mut chains) =
        tree(SET_ENDPOINT_MARK, interfaces, from, |interface| goto(&set_mark_chain(interface)), &[]);
    set.push(noted("Unknown endpoint", [from("cali+")], Target::Drop));
    set.push(noted("Non-Cali endpoint mark", [], endpoint_mark(mark::NO_ENDPOINT)));
    chains.push((SET_ENDPOINT_MARK.to_string(), set));
    let mut known = Vec::new();
    for interface in interfaces {
        chains.push((
            set_mark_chain(interface),
            of(interface).into_iter().map(|mark| rule([], endpoint_mark(mark))).collect(),
        ));
        known.extend(of(interface).map(|mark| rule([has(mark, false)], goto(&from_pod(interface)))));
    }
    known.push(unknown_interface());
    chains.push((FROM_ENDPOINT_MARK.to_string(), known));
    chains.push((FORWARD_CHECK.to_string(), forward_check(family)));
    chains.push((FORWARD_ENDPOINT_MARK.to_string(), forward_endpoint_mark()));
    chains
}

fn set_mark_chain(interface: &str) -> String {
    names::chain("cali-sm-", interface)
}

fn endpoint_mark(value: u32) -> Target {
    Target::SetMark { value, mask: mark::ENDPOINT }
}

fn has(value: u32, invert: bool) -> Match {
    Match::Mark { value, mask: mark::ENDPOINT, invert }
}

/// Who is sent on: new connections to node ports, and to whatever address is not the host's own.
fn forward_check(family: Family) -> Vec<Rule> {
    let own = |invert| Match::Set { name: names::set("this-host", family), side: Side::Dst, invert };
    let node_port = |number| {
        let ports = Match::DestinationPorts { ports: vec![NODE_PORTS] };
        let matches = [Match::Protocol { number }, ports, own(false)];
        noted("To kubernetes NodePort service", matches, goto(SET_ENDPOINT_MARK))
    };
    vec![
        rule([established()], Target::Return),
        node_port(6),
        node_port(17),
        noted("To kubernetes service", [own(true)], jump(SET_ENDPOINT_MARK)),
    ]
}

/// The rules of who sent it, then of who gets it. The mark is taken away, since a tunnel's packet would have it too.
fn forward_endpoint_mark() -> Vec<Rule> {
    vec![
        rule([has(mark::NO_ENDPOINT, true)], jump(FROM_ENDPOINT_MARK)),
        rule([to("cali+")], jump("cali-to-wl-dispatch")),
        rule([], jump("cali-to-hep-forward")),
        rule([], clear_mark(mark::ENDPOINT)),
        noted("Policy explicitly accepted packet.", [marked(mark::ACCEPT)], Target::Accept),
    ]
}

/// Each interface's mark: a place by FNV-1 of its name, or the next that is free. 0 is none, and 1 is who is no endpoint.
/// Felix gives places in the order in which pods come; here it is that of their interfaces' names.
fn marks(interfaces: &BTreeSet<String>) -> BTreeMap<&str, u32> {
    let places = (mark::ENDPOINT >> mark::ENDPOINT.trailing_zeros()) + 1;
    let mut taken = BTreeSet::from([0, mark::NO_ENDPOINT >> mark::ENDPOINT.trailing_zeros()]);
    let mut marks = BTreeMap::new();
    for interface in interfaces {
        let first = fnv1(interface) % places;
        let free = (0..places).map(|step| (first + step) % places).find(|place| !taken.contains(place));
        // With more than four thousand pods on a node the rest have none, and their packets are dropped.
        if let Some(place) = free {
            taken.insert(place);
            marks.insert(interface.as_str(), place << mark::ENDPOINT.trailing_zeros());
        }
    }
    marks
}

/// FNV-1 of 32 bits.
fn fnv1(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_a_place_taken_gets_the_next_one() {
        assert_eq!(marks(&["cali27d5a8fe8ae".to_owned()].into()).values().copied().collect::<Vec<_>>(), [0xd8e0_0000]);
        // All places but 0 and 1, whichever they ask for, and no mark for who comes too late.
        let many: BTreeSet<String> = (0..4200).map(|number| format!("cali{number:011x}")).collect();
        let given: BTreeSet<u32> = marks(&many).into_values().collect();
        assert_eq!(given.len(), 4094);
        assert!(!given.contains(&0) && !given.contains(&mark::NO_ENDPOINT));
        assert!(given.iter().all(|mark| mark & !mark::ENDPOINT == 0));
    }
}
