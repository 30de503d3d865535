//! What a node forwards by address translation, as far as its connection tracking has to forget it again. PURE.
//!
//! A connection of TCP ends; a "connection" of UDP is an entry that lives for as long as datagrams come. When the endpoint
//! behind it goes, the client's datagrams go on to nowhere until somebody removes the entry. kube-proxy does so after
//! each change, with conntrack(8): pkg/proxy/conntrack/cleanup.go of 1.30, `deleteEndpointConnections` and
//! `syncProxyRules` of 1.20; kubelet and the portmap plugin do so for the host ports of new pods.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// `IPPROTO_UDP`: the one protocol of which whole Services are forgotten.
const UDP: u8 = 17;

/// A port of a Service, or a pod's port of its node, whose entries outlive its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forwarding {
    /// What it is: `default/dns:udp`.
    pub name: String,
    /// Number of its protocol.
    pub protocol: u8,
    /// The addresses that lead to it: the cluster's first, then external ones.
    pub addresses: Vec<IpAddr>,
    /// Addresses of load balancers that lead to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub balancers: Vec<IpAddr>,
    /// The node's port that leads to it.
    pub node_port: Option<u16>,
    /// Where it leads now.
    pub endpoints: Vec<SocketAddr>,
    /// When the entries of the node's port are forgotten.
    pub forgets: Forgets,
}

/// When the entries of a node's port are forgotten, beside those of endpoints that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forgets {
    /// When the port is new: a kube-proxy that binds it (before 1.24), kubelet and the portmap plugin.
    pub new_port: bool,
    /// When the first endpoint comes, and with it the entries of load balancers' addresses (since 1.21).
    pub first_endpoint: bool,
}

/// Entries of connection tracking: those that have all of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entries {
    /// Number of their protocol.
    pub protocol: u8,
    /// The address to which the first packet went.
    pub destination: Option<IpAddr>,
    /// The port to which the first packet went.
    pub port: Option<u16>,
    /// The address to which it was sent on.
    pub translated: Option<IpAddr>,
}

/// As conntrack(8) has it: `-p udp --orig-dst 10.96.0.10 --dst-nat 10.244.0.2`.
impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            UDP => f.write_str("-p udp")?,
            other => write!(f, "-p {other}")?,
        }
        self.destination.iter().try_for_each(|address| write!(f, " --orig-dst {address}"))?;
        self.port.iter().try_for_each(|port| write!(f, " --dport {port}"))?;
        self.translated.iter().try_for_each(|address| write!(f, " --dst-nat {address}"))
    }
}

/// What a node has to forget when it forwards `after` in place of `before`.
pub fn stale(before: &[Forwarding], after: &[Forwarding]) -> Vec<Entries> {
    let mut stale = BTreeSet::new();
    for old in before {
        let bare = Entries { protocol: old.protocol, destination: None, port: None, translated: None };
        match after.iter().find(|new| new.name == old.name && new.protocol == old.protocol) {
            // Its other addresses and its port are left alone: kube-proxy no longer knows them by then.
            None if old.protocol == UDP => {
                stale.extend(old.addresses.first().map(|first| Entries { destination: Some(*first), ..bare }));
            }
            None => {}
            Some(new) => {
                for gone in old.endpoints.iter().filter(|endpoint| !new.endpoints.contains(endpoint)) {
                    let bare = Entries { translated: Some(gone.ip()), ..bare };
                    let all = new.addresses.iter().chain(&new.balancers);
                    stale.extend(all.map(|to| Entries { destination: Some(*to), ..bare }));
                    stale.extend(new.node_port.map(|port| Entries { port: Some(port), ..bare }));
                }
            }
        }
    }
    for new in after.iter().filter(|new| new.protocol == UDP) {
        let old = before.iter().find(|old| old.name == new.name && old.protocol == UDP);
        let bare = Entries { protocol: UDP, destination: None, port: None, translated: None };
        let serves = old.is_none_or(|old| old.endpoints.is_empty()) && !new.endpoints.is_empty();
        if serves {
            let balancers = new.balancers.iter().filter(|_| new.forgets.first_endpoint);
            let all = new.addresses.iter().chain(balancers);
            stale.extend(all.map(|to| Entries { destination: Some(*to), ..bare }));
        }
        let opens = old.is_none_or(|old| old.node_port != new.node_port);
        if (serves && new.forgets.first_endpoint) || (opens && new.forgets.new_port) {
            stale.extend(new.node_port.map(|port| Entries { port: Some(port), ..bare }));
        }
    }
    stale.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(endpoints: &[&str], forgets: Forgets) -> Forwarding {
        Forwarding {
            name: "default/dns".into(),
            protocol: UDP,
            addresses: vec!["10.96.0.10".parse().unwrap(), "10.1.10.77".parse().unwrap()],
            balancers: vec!["10.1.10.99".parse().unwrap()],
            node_port: Some(30053),
            endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
            forgets,
        }
    }

    fn words<const B: usize, const A: usize>(before: [&Forwarding; B], after: [&Forwarding; A]) -> Vec<String> {
        stale(&before.map(Clone::clone), &after.map(Clone::clone)).iter().map(Entries::to_string).collect()
    }

    const OLD: Forgets = Forgets { new_port: true, first_endpoint: false };
    const NEW: Forgets = Forgets { new_port: false, first_endpoint: true };

    #[test]
    fn an_endpoint_that_goes_is_forgotten_for_every_way_to_it() {
        let (two, one) = (dns(&["10.0.0.1:53", "10.0.0.2:53"], NEW), dns(&["10.0.0.2:53"], NEW));
        assert_eq!(
            words([&two], [&one]),
            [
                "-p udp --dport 30053 --dst-nat 10.0.0.1",
                "-p udp --orig-dst 10.1.10.77 --dst-nat 10.0.0.1",
                "-p udp --orig-dst 10.1.10.99 --dst-nat 10.0.0.1",
                "-p udp --orig-dst 10.96.0.10 --dst-nat 10.0.0.1",
            ]
        );
        assert_eq!(words([&one], [&two]), Vec::<String>::new(), "an endpoint more");
        assert_eq!(words([&two], [&two]), Vec::<String>::new(), "nothing changed");
    }

    #[test]
    fn a_first_endpoint_ends_what_led_nowhere() {
        let (none, one) = (|forgets| dns(&[], forgets), |forgets| dns(&["10.0.0.2:53"], forgets));
        let addresses = ["-p udp --orig-dst 10.1.10.77", "-p udp --orig-dst 10.96.0.10"];
        assert_eq!(words([&none(OLD)], [&one(OLD)]), addresses);
        let more = ["-p udp --dport 30053", addresses[0], "-p udp --orig-dst 10.1.10.99", addresses[1]];
        assert_eq!(words([&none(NEW)], [&one(NEW)]), more);
        assert_eq!(words([], [&none(OLD)]), ["-p udp --dport 30053"], "the port is bound");
        assert_eq!(words([], [&none(NEW)]), Vec::<String>::new());
    }

    #[test]
    fn of_a_service_that_goes_only_the_cluster_address_is_forgotten() {
        assert_eq!(words([&dns(&["10.0.0.2:53"], NEW)], []), ["-p udp --orig-dst 10.96.0.10"]);
        let sctp = Forwarding { protocol: 132, ..dns(&["10.0.0.2:53"], OLD) };
        assert_eq!(words([&sctp], []), Vec::<String>::new());
        let none = Forwarding { endpoints: Vec::new(), ..sctp.clone() };
        assert_eq!(words([&sctp], [&none])[0], "-p 132 --dport 30053 --dst-nat 10.0.0.2");
    }
}
