//! Sets of addresses that rules ask for membership.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// Whose addresses a set holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4's.
    #[default]
    Inet,
    /// IPv6's.
    Inet6,
}

impl Family {
    /// Both, IPv4 first, as everybody lists them.
    pub const BOTH: [Family; 2] = [Family::Inet, Family::Inet6];

    /// That of an address.
    pub fn of(address: &IpAddr) -> Family {
        if address.is_ipv6() { Family::Inet6 } else { Family::Inet }
    }

    /// As ipset spells it.
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        }
    }

    fn is_inet(&self) -> bool {
        *self == Family::Inet
    }
}

/// An ipset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpSet {
    /// Its name, at most 31 bytes.
    pub name: String,
    /// Its type, `hash:net` for example.
    pub kind: String,
    /// Whose addresses it holds.
    #[serde(skip_serializing_if = "Family::is_inet")]
    pub family: Family,
    /// Its members, sorted.
    pub members: Vec<IpNet>,
}
