//! What decides about a packet beside what is seen of it: the routes that it takes and the rules that it meets.

use super::netfilter::Met;

/// Something that decided about a packet, or changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// What it was.
    pub decided: Decided,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// A route, as `ip route` prints it.
    Route(String),
    /// A rule of netfilter, or a chain's policy.
    Rule(Met),
}

impl Event {
    pub(super) fn route(namespace: &str, route: String) -> Event {
        Event { namespace: namespace.to_owned(), decided: Decided::Route(route) }
    }

    pub(super) fn rule(namespace: &str, met: Met) -> Event {
        Event { namespace: namespace.to_owned(), decided: Decided::Rule(met) }
    }
}
