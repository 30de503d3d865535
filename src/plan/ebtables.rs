//! Rules for Ethernet frames as ebtables has them: the few that kubenet makes.

use std::fmt::{self, Write};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use super::Mac;
use super::netfilter::Policy;

/// A chain of the table `filter` of ebtables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EbChain {
    /// Its name.
    pub name: String,
    /// What happens to a frame that no rule decided; ebtables has that for user chains too, where `ACCEPT` ends the
    /// table as it does in a built-in chain.
    pub policy: Policy,
    /// Its rules in order.
    pub rules: Vec<EbRule>,
}

/// A rule about IPv4 packets in Ethernet frames, or about every frame if nothing is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EbRule {
    /// Source address of the frame.
    pub source: Option<Mac>,
    /// Outgoing port; a trailing `+` is a prefix.
    pub out_interface: Option<String>,
    /// Source address of an IPv4 packet; frames of other protocols do not match.
    pub ip_source: Option<Ipv4Net>,
    /// What is then done.
    pub target: EbTarget,
}

/// What an [`EbRule`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "target")]
pub enum EbTarget {
    /// Ends the table: pass.
    Accept,
    /// Drops the frame.
    Drop,
    /// Calls a chain.
    Jump {
        /// Its name.
        chain: String,
    },
}

/// As `ebtables-save` prints it behind `-A CHAIN`.
impl fmt::Display for EbRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ip_source.is_some() {
            f.write_str("-p IPv4 ")?;
        }
        if let Some(mac) = self.source {
            write!(f, "-s {mac} ")?;
        }
        if let Some(name) = &self.out_interface {
            write!(f, "-o {name} ")?;
        }
        if let Some(net) = self.ip_source {
            write!(f, "--ip-src {} ", super::prefix(&IpNet::V4(net)))?;
        }
        match &self.target {
            EbTarget::Accept => f.write_str("-j ACCEPT"),
            EbTarget::Drop => f.write_str("-j DROP"),
            EbTarget::Jump { chain } => write!(f, "-j {chain}"),
        }
    }
}

/// Input of ebtables-restore for these chains of `filter`, as ebtables-save prints them back.
pub fn ebtables_restore(chains: &[EbChain]) -> String {
    let mut text = "*filter\n".to_owned();
    for chain in chains {
        let _ = writeln!(text, ":{} {}", chain.name, chain.policy);
    }
    for chain in chains {
        for rule in &chain.rules {
            let _ = writeln!(text, "-A {} {rule}", chain.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_spelled_as_ebtables_save_does() {
        let dedup = |net: &str, target| EbRule {
            source: Some(Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 1])),
            out_interface: Some("veth+".into()),
            ip_source: Some(net.parse().unwrap()),
            target,
        };
        let jump = EbRule {
            source: None,
            out_interface: None,
            ip_source: None,
            target: EbTarget::Jump { chain: "KUBE-DEDUP".into() },
        };
        let chains = [
            EbChain { name: "OUTPUT".into(), policy: Policy::Accept, rules: vec![jump] },
            EbChain {
                name: "KUBE-DEDUP".into(),
                policy: Policy::Accept,
                rules: vec![dedup("10.244.1.1/32", EbTarget::Accept), dedup("10.244.1.0/24", EbTarget::Drop)],
            },
        ];
        // As ebtables-save of iptables 1.8.9 prints it.
        assert_eq!(
            ebtables_restore(&chains),
            "*filter\n:OUTPUT ACCEPT\n:KUBE-DEDUP ACCEPT\n-A OUTPUT -j KUBE-DEDUP\n\
             -A KUBE-DEDUP -p IPv4 -s 0a:58:0a:f4:01:01 -o veth+ --ip-src 10.244.1.1 -j ACCEPT\n\
             -A KUBE-DEDUP -p IPv4 -s 0a:58:0a:f4:01:01 -o veth+ --ip-src 10.244.1.0/24 -j DROP\n"
        );
    }
}
