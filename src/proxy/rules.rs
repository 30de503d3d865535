//! Rules as kube-proxy writes them: small builders for matches and comments.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::plan::netfilter::{Chain, CtState, Match, Rule, Side, Target};

/// The chains of a table. There may be tens of thousands of them, with names that begin alike.
#[derive(Debug, Default)]
pub(super) struct Chains(HashMap<String, Vec<Rule>>);

impl Chains {
    /// Makes a chain without rules, if it is not there.
    pub(super) fn declare(&mut self, chain: &str) {
        if !self.0.contains_key(chain) {
            self.0.insert(chain.to_owned(), Vec::new());
        }
    }

    /// Appends a rule.
    pub(super) fn add(&mut self, chain: &str, rule: Rule) {
        match self.0.get_mut(chain) {
            Some(rules) => rules.push(rule),
            None => {
                self.0.insert(chain.to_owned(), vec![rule]);
            }
        }
    }

    /// All of them by name, the order in which iptables-save prints them.
    pub(super) fn into_chains(self) -> Vec<Chain> {
        let chains = self.0.into_iter().map(|(name, rules)| Chain { name, policy: None, rules });
        let mut chains: Vec<Chain> = chains.collect();
        chains.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        chains
    }
}

/// A rule with a comment; none if that is empty.
pub(super) fn rule(comment: &str, matches: Vec<Match>, target: Target) -> Rule {
    let comments = if comment.is_empty() { Vec::new() } else { vec![comment.to_owned()] };
    Rule { comments, matches, target: Some(target), ..Rule::default() }
}

/// A jump to a chain.
pub(super) fn jump(chain: &str) -> Target {
    Target::Jump { chain: chain.to_owned() }
}

/// `-s NET`, nothing if that is every address.
pub(super) fn source(net: IpNet, invert: bool) -> Option<Match> {
    (net.prefix_len() > 0 || invert).then_some(Match::Source { net, invert })
}

/// `-d ADDRESS`.
pub(super) fn to(ip: IpAddr) -> Match {
    Match::Destination { net: ip.into(), invert: false }
}

/// `-p PROTOCOL … -m PROTOCOL --dport PORT`.
pub(super) fn port(protocol: u8, port: u16) -> [Match; 2] {
    [Match::Protocol { number: protocol }, Match::Transport { protocol, port: Some(port) }]
}

/// `-m addrtype --src-type LOCAL`, or `--dst-type`.
pub(super) fn local(side: Side, invert: bool) -> Match {
    Match::AddrTypeLocal { side, invert, limit_iface_out: false }
}

/// `-m conntrack --ctstate …`.
pub(super) fn state(states: &[CtState], invert: bool) -> Match {
    Match::CtState { states: states.to_vec(), invert }
}

/// The chance of the `index`-th rule of `count` for equal shares: text with ten digits, then 31 bits, as kube-proxy and
/// iptables round it. The last one is certain.
pub(super) fn share(index: usize, count: usize) -> Option<Match> {
    let left = count.saturating_sub(index);
    if left <= 1 {
        return None;
    }
    let text = format!("{:.10}", 1.0 / left as f64);
    let parts = (text.parse().unwrap_or(0.0) * f64::from(1u32 << 31)).round();
    Some(Match::Random { parts: parts as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::restore;

    #[test]
    fn probabilities_are_rounded_as_iptables_save_prints_them() {
        for (count, text) in [
            (2, "0.50000000000"),
            (3, "0.33333333349"),
            (5, "0.20000000019"),
            (6, "0.16666666651"),
            (7, "0.14285714272"),
            (9, "0.11111111101"),
            (10, "0.10000000009"),
        ] {
            let spelled = share(0, count).map(|chance| restore::extension(&chance).unwrap());
            assert_eq!(spelled.unwrap(), format!("-m statistic --mode random --probability {text}"));
        }
        assert_eq!(share(2, 3), None);
    }
}
