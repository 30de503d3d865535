//! Rules as kube-proxy writes them: small builders for matches and comments.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::plan::netfilter::{Chain, CtState, Match, Rule, Side, Target};

/// The chains of a table under construction. There may be tens of thousands of them, and those of a Service's port get
/// all their rules together: so a chain is looked for among them and among those of all Services, and not elsewhere.
#[derive(Debug, Default)]
pub(super) struct Chains {
    all: Vec<Chain>,
    /// How many of the first ones are of all Services.
    common: usize,
    /// Where those of the Service's port at hand begin.
    open: usize,
}

impl Chains {
    /// Makes a chain without rules, if it is not there.
    pub(super) fn declare(&mut self, chain: &str) {
        self.chain(chain);
    }

    /// Appends a rule.
    pub(super) fn add(&mut self, chain: &str, rule: Rule) {
        self.chain(chain).rules.push(rule);
    }

    /// The chains that are there are those of all Services.
    pub(super) fn share(&mut self) {
        self.common = self.all.len();
        self.open = self.common;
    }

    /// A Service's port begins: to chains of the one before nothing is added any more.
    pub(super) fn next(&mut self) {
        self.open = self.all.len();
    }

    /// The same chains of all Services, without their rules: what is added to it can be joined.
    pub(super) fn part(&self) -> Chains {
        let empty = |chain: &Chain| Chain { rules: Vec::new(), ..chain.clone() };
        let all = self.all[..self.common].iter().map(empty).collect();
        Chains { all, common: self.common, open: self.common }
    }

    /// Puts the chains that are not of all Services into the order of [`into_chains`](Self::into_chains), which then has
    /// less to do.
    pub(super) fn sort(&mut self) {
        self.all[self.common..].sort_by(|one, other| one.name.cmp(&other.name));
        self.next();
    }

    /// Adds what was added to such a part.
    pub(super) fn join(&mut self, part: Chains) {
        let mut chains = part.all.into_iter();
        for (own, other) in self.all[..self.common].iter_mut().zip(chains.by_ref()) {
            own.rules.extend(other.rules);
        }
        self.all.extend(chains);
    }

    fn chain(&mut self, name: &str) -> &mut Chain {
        let is_it = |chain: &Chain| chain.name == name;
        let own = self.all[self.open..].iter().rposition(is_it).map(|at| self.open + at);
        let at = own.or_else(|| self.all[..self.common].iter().position(is_it)).unwrap_or_else(|| {
            self.all.push(Chain { name: name.to_owned(), policy: None, rules: Vec::new() });
            self.all.len() - 1
        });
        &mut self.all[at]
    }

    /// All of them by name, the order in which iptables-save prints them.
    pub(super) fn into_chains(self) -> Vec<Chain> {
        let mut chains = self.all;
        chains.sort_by(|one, other| one.name.cmp(&other.name));
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
