//! What kubelet puts into a node's tables (pkg/kubelet/kubelet_network_linux.go).
//!
//! Up to 1.27 it makes the marks and the masquerading that kube-proxy and host ports use, in the same words as kube-proxy;
//! since 1.28 only the rule that guards 127.0.0.0/8 and a hint for CNI plugins are left.

use super::iptables::{FIREWALL, MARK_DROP, POSTROUTING, head, localnet, masquerade};
use super::overlay::Overlay;
use super::rules::{Chains, jump, rule};
use crate::plan::keeper::{Place, Rules};
use crate::plan::netfilter::{Chain, Match, Rule, TableName, Target};
use crate::plan::{Family, Keeper, Keeps};

/// kubelet looks once a minute for its canary in `mangle`, and makes its rules anew if somebody flushed it away
/// (`iptClient.Monitor` in `initNetworkUtil`).
pub fn keeper() -> Keeper {
    let prefixes = [CANARY, FIREWALL, MARK_DROP, POSTROUTING, "KUBE-MARK-MASQ"];
    let rules = Rules {
        prefixes: prefixes.map(str::to_owned).to_vec(),
        place: Place::First,
        canary: Some(CANARY.to_owned()),
        ..Rules::default()
    };
    Keeper::new("kubelet", 60, Keeps::Rules(rules))
}

/// An empty chain that only a flush takes away.
pub(super) const CANARY: &str = "KUBE-KUBELET-CANARY";

/// The mark for packets to drop (`--iptables-drop-bit` 15).
const DROP_MARK: u32 = 1 << 15;

/// kubelet's chains in a node of this version and family; `mark` is the mark for packets to masquerade.
pub fn overlay(minor: u8, family: Family, mark: u32, random_fully: bool) -> Overlay {
    let (mut mangle, mut nat, mut filter) = (Chains::default(), Chains::default(), Chains::default());
    for table in [&mut mangle, &mut nat, &mut filter] {
        table.declare(CANARY);
    }
    let guard = (family == Family::Inet).then(localnet);
    let mut jumps = Vec::new();
    filter.declare(FIREWALL);
    if minor >= 28 {
        mangle.declare("KUBE-IPTABLES-HINT");
        guard.into_iter().for_each(|rule| filter.add(FIREWALL, rule));
    } else {
        nat.add(MARK_DROP, rule("", Vec::new(), Target::SetMark { value: DROP_MARK, mask: DROP_MARK }));
        let marked = Match::Mark { value: DROP_MARK, mask: DROP_MARK, invert: false };
        let drop = rule("kubernetes firewall for dropping marked packets", vec![marked], Target::Drop);
        let both: Vec<Rule> = match minor {
            ..=24 => [drop].into_iter().chain(guard).collect(),
            _ => guard.into_iter().chain([drop]).collect(),
        };
        both.into_iter().for_each(|rule| filter.add(FIREWALL, rule));
        masquerade(&mut nat, mark, random_fully);
    }
    jumps.extend(["OUTPUT", "INPUT"].map(|from| head(TableName::Filter, from, rule("", Vec::new(), jump(FIREWALL)))));
    if minor < 28 {
        let to = rule("kubernetes postrouting rules", Vec::new(), jump(POSTROUTING));
        jumps.push(head(TableName::Nat, "POSTROUTING", to));
    }
    let of = |name: TableName, chains: Chains| -> Vec<(TableName, Chain)> {
        chains.into_chains().into_iter().map(|chain| (name, chain)).collect()
    };
    let chains = [of(TableName::Mangle, mangle), of(TableName::Nat, nat), of(TableName::Filter, filter)].concat();
    Overlay { chains, jumps }
}
