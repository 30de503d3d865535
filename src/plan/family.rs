//! The two families of addresses. What is of one family only, and what is asked of both in turn, goes by this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// Both, IPv4 first, as everybody lists them.
    pub const BOTH: [Family; 2] = [Family::Inet, Family::Inet6];

    /// That of an address.
    pub fn of(address: &IpAddr) -> Family {
        if address.is_ipv6() { Family::Inet6 } else { Family::Inet }
    }

    /// Whether this address is of the family.
    pub fn has(self, ip: &IpAddr) -> bool {
        Family::of(ip) == self
    }

    /// Whether this prefix is of the family.
    pub fn has_net(self, net: &IpNet) -> bool {
        self.has(&net.addr())
    }

    /// The address that is none: `0.0.0.0` or `::`.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Family::Inet => Ipv4Addr::UNSPECIFIED.into(),
            Family::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The prefix of a host's own addresses.
    pub fn loopback(self) -> IpNet {
        match self {
            Family::Inet => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            Family::Inet6 => IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        }
    }

    /// As people and Kubernetes spell it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "IPv4",
            Family::Inet6 => "IPv6",
        }
    }

    /// As ipset spells it.
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        }
    }

    /// Whether it is IPv4.
    pub(super) fn is_inet(&self) -> bool {
        *self == Family::Inet
    }
}
