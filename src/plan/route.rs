//! Routes and neighbours of a namespace.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Mac;

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What it does with a packet.
    pub kind: RouteKind,
    /// Destination; a prefix length of 0 is the default route.
    pub dst: IpNet,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Outgoing link; none for a blackhole.
    pub dev: Option<String>,
    /// Who installed it.
    pub protocol: Protocol,
    /// How far its destination is.
    pub scope: Scope,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// The next hop is taken to be on the link, whatever the link's prefixes say.
    pub onlink: bool,
    /// Priority; lower wins, 0 is not printed.
    pub metric: u32,
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Drops it in silence.
    Blackhole,
}

/// Who installed a route; names and numbers as in iproute2's rt_protos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 2: the kernel, for a connected prefix.
    Kernel,
    /// 3: `boot`, what `ip route add` gives; `ip route` does not print it.
    Boot,
    /// 4: an administrator or network manager.
    Static,
    /// 12: BIRD.
    Bird,
}

impl Protocol {
    /// The number in the route message.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Kernel => 2,
            Protocol::Boot => 3,
            Protocol::Static => 4,
            Protocol::Bird => 12,
        }
    }

    /// The word that `ip route` prints after `proto`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Kernel => "kernel",
            Protocol::Boot => "boot",
            Protocol::Static => "static",
            Protocol::Bird => "bird",
        }
    }
}

/// How far an address or a route's destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// 0: anywhere.
    Global,
    /// 253: on the link.
    Link,
    /// 254: this host.
    Host,
}

impl Scope {
    /// The number in the message.
    pub fn number(self) -> u8 {
        match self {
            Scope::Global => 0,
            Scope::Link => 253,
            Scope::Host => 254,
        }
    }
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The link it is on.
    pub dev: String,
}
