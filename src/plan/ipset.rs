//! Sets of addresses that rules ask for membership.

use ipnet::IpNet;
use serde::Serialize;

use super::Family;

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
