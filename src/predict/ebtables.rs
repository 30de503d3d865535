//! The rules about frames that a bridge sends on.

use crate::error::{Error, Kind, Result};
use crate::packet::{Ethernet, Packet};
use crate::plan::ebtables::{EbChain, EbRule, EbTarget};
use crate::plan::netfilter::Policy;
use crate::plan::{Link, Namespace};

/// Chains that may call each other; ebtables refuses loops, a plan made by hand might have one.
const DEPTH_MAX: usize = 16;

/// An IP packet in a frame on its way out of a port.
struct Sent<'a> {
    ns: &'a Namespace,
    port: &'a Link,
    ethernet: Ethernet,
    packet: &'a Packet,
}

/// Whether the rules of a hook (`FORWARD`, `OUTPUT`) drop an IP packet that leaves through a port.
///
/// # Errors
/// If a rule calls a chain that is not there, or chains call each other in a circle.
pub fn drops(ns: &Namespace, hook: &str, port: &Link, ethernet: Ethernet, packet: &Packet) -> Result<bool> {
    let sent = Sent { ns, port, ethernet, packet };
    let Some(chain) = sent.chain(hook) else { return Ok(false) };
    Ok(sent.passes(chain, DEPTH_MAX)? == Policy::Drop)
}

impl Sent<'_> {
    fn chain(&self, name: &str) -> Option<&EbChain> {
        self.ns.ebtables.iter().find(|chain| chain.name == name)
    }

    fn passes(&self, chain: &EbChain, depth: usize) -> Result<Policy> {
        // Every rule that matches ends its chain: a user chain's policy ACCEPT ends the table, too.
        let Some(rule) = chain.rules.iter().find(|rule| self.matches(rule)) else { return Ok(chain.policy) };
        match &rule.target {
            EbTarget::Accept => Ok(Policy::Accept),
            EbTarget::Drop => Ok(Policy::Drop),
            EbTarget::Jump { chain: name } => {
                let called = self.chain(name).filter(|_| depth > 0);
                let wrong = || format!("in {}: ebtables chain {} cannot call {name}", self.ns.name, chain.name);
                self.passes(called.ok_or_else(|| Error::new(Kind::Check, wrong()))?, depth - 1)
            }
        }
    }

    fn matches(&self, rule: &EbRule) -> bool {
        let source = self.packet.outer().map(|ip| ip.src);
        let named = |pattern: &String| match pattern.strip_suffix('+') {
            Some(prefix) => self.port.name.starts_with(prefix),
            None => *pattern == self.port.name,
        };
        rule.source.is_none_or(|mac| mac == self.ethernet.src)
            && rule.out_interface.as_ref().is_none_or(named)
            && rule
                .ip_source
                .is_none_or(|net| matches!(source, Some(std::net::IpAddr::V4(source)) if net.contains(&source)))
    }
}
