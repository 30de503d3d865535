//! Tables of nftables as values: what a rule matches and does, not its text.
//!
//! What is here is what kube-proxy's nftables mode is made of. [`text`] spells it as `nft list` prints it, which nft also
//! reads; [`difference`] is what leads from one table to another in one transaction.

pub mod difference;
pub mod facts;
pub mod text;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

use super::Family;
use super::netfilter::Side;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NftTable {
    /// Whose packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: String,
    /// Its sets.
    pub sets: Vec<NftSet>,
    /// Its maps.
    pub maps: Vec<NftMap>,
    /// Its chains, base chains first.
    pub chains: Vec<NftChain>,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NftSet {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Seconds after which an element is forgotten, for a set that rules fill.
    pub timeout: Option<u32>,
    /// Its elements; those of a set that rules fill are the kernel's affair.
    pub elements: Vec<IpAddr>,
}

/// A map to verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NftMap {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: String,
    /// Whose addresses stand before protocol and port in its keys; none if none do.
    pub by_address: Option<Family>,
    /// Its elements.
    pub elements: Vec<NftElement>,
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NftElement {
    /// Its key.
    pub key: NftKey,
    /// Its comment.
    pub comment: Option<String>,
    /// What happens to the packet.
    pub verdict: Verdict,
}

/// What a map is asked about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NftKey {
    /// Its destination, if the map is by address.
    pub address: Option<IpAddr>,
    /// Its protocol's number: 6, 17 or 132.
    pub protocol: u8,
    /// Its destination port.
    pub port: u16,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NftChain {
    /// Its name.
    pub name: String,
    /// Where it hangs; none for a chain that others lead to.
    pub hook: Option<Hook>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its rules in order.
    pub rules: Vec<NftRule>,
}

/// Where a base chain hangs. What no rule of it decides passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// What it does.
    pub kind: ChainType,
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub hook: &'static str,
    /// Lower comes first; iptables' tables are at -300 (raw), -150 (mangle), -100 and 100 (nat), 0 (filter).
    pub priority: i32,
}

/// What a base chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainType {
    /// Sees every packet.
    Filter,
    /// Translates addresses: sees the first packet of a connection.
    Nat,
}

/// A rule: statements from left to right, as far as they match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NftRule {
    /// Its statements.
    pub statements: Vec<Statement>,
    /// Its comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What decides about a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Calls a chain.
    Jump {
        /// Its name.
        chain: String,
    },
    /// Continues in a chain that returns to this chain's caller.
    Goto {
        /// Its name.
        chain: String,
    },
    /// Back to the calling chain.
    Return,
    /// Drops the packet.
    Drop,
}

/// A part of a rule: a condition, or something that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "statement")]
pub enum Statement {
    /// The packet is the first of its connection.
    IsNew,
    /// An address is this host's own, by its routing table.
    Local {
        /// Which address.
        side: Side,
    },
    /// An address is within one of these prefixes.
    Address {
        /// Which address.
        side: Side,
        /// The prefixes; more than one are an anonymous set.
        nets: Vec<IpNet>,
        /// Whether it must be in none of them.
        invert: bool,
    },
    /// An address is in a set.
    Member {
        /// Which address.
        side: Side,
        /// Of which family.
        family: Family,
        /// The set.
        set: String,
    },
    /// The destination port of a transport protocol.
    Port {
        /// The protocol's number.
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// The transport protocol.
    Protocol {
        /// Its number.
        number: u8,
    },
    /// The incoming interface, by its index when the rule is loaded.
    Incoming {
        /// Its name.
        name: String,
        /// Whether it must be another.
        invert: bool,
    },
    /// None of these bits of the mark is set.
    Unmarked {
        /// The bits.
        mask: u32,
    },
    /// Sets bits of the mark.
    SetBits {
        /// The bits.
        bits: u32,
    },
    /// Flips bits of the mark.
    FlipBits {
        /// The bits.
        bits: u32,
    },
    /// What a map says of the packet's protocol and port, and of its destination if the map is by address; if it says
    /// nothing, the rule does not match.
    Lookup {
        /// The map.
        map: String,
        /// Whose destination addresses are asked about too; none if they are not.
        by_address: Option<Family>,
    },
    /// One of these chains by chance, each as likely as the others.
    Spread {
        /// The chains.
        chains: Vec<String>,
    },
    /// Notes the source in a set.
    Remember {
        /// Of which family it is.
        family: Family,
        /// The set.
        set: String,
    },
    /// Destination becomes another address and port.
    Dnat {
        /// They.
        to: SocketAddr,
    },
    /// Source address becomes the outgoing interface's, with a port by chance.
    Masquerade,
    /// Drops the packet and tells its sender: port unreachable.
    Reject,
    /// A verdict.
    Verdict(Verdict),
}

impl NftTable {
    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&NftChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The first key that a map has twice, with the map's name: nft refuses the whole table for it.
    pub fn contradiction(&self) -> Option<(&str, NftKey)> {
        self.maps.iter().find_map(|map| {
            let mut keys: Vec<NftKey> = map.elements.iter().map(|element| element.key).collect();
            keys.sort();
            let twice = keys.windows(2).find(|two| two[0] == two[1])?;
            Some((map.name.as_str(), twice[0]))
        })
    }
}
