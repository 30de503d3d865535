//! What decides about a packet beside what is seen of it: the routes that it takes and the rules that it meets.

use super::netfilter::Met;
use crate::plan::ipvs::{RealServer, VirtualServer};

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
    /// IPVS: the virtual server, and the real one that got the connection, as `ipvsadm -Sn` prints them.
    Server {
        /// `-A -t 10.96.0.10:53 -s rr`.
        server: String,
        /// `-a -t 10.96.0.10:53 -r 10.244.0.2:53 -m -w 1`.
        real: String,
    },
}

impl Event {
    pub(super) fn route(namespace: &str, route: String) -> Event {
        Event { namespace: namespace.to_owned(), decided: Decided::Route(route) }
    }

    pub(super) fn server(namespace: &str, server: &VirtualServer, real: &RealServer) -> Event {
        let decided = Decided::Server { server: server.line(), real: server.server_line(real) };
        Event { namespace: namespace.to_owned(), decided }
    }

    pub(super) fn rule(namespace: &str, met: Met) -> Event {
        Event { namespace: namespace.to_owned(), decided: Decided::Rule(met) }
    }
}
