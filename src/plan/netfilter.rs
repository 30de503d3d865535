//! ipsets and iptables rules as values: what a rule matches and does, not its text.
//!
//! Typed rules can be printed in more than one dialect (Felix's long options, iptables-save's short ones),
//! hashed, walked by a virtual packet and compared.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

pub use super::family::Family;
pub use super::ipset::{IpSet, Member};

/// One of the tables of iptables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Which one.
    pub name: TableName,
    /// Built-in chains first, then user chains, in the order in which they are declared.
    pub chains: Vec<Chain>,
}

/// The tables in the order in which a packet meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableName {
    /// Before connection tracking.
    Raw,
    /// Header and mark changes.
    Mangle,
    /// Address translation, for the first packet of a connection.
    Nat,
    /// Accept and drop.
    Filter,
}

impl TableName {
    /// As `iptables -t` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            TableName::Raw => "raw",
            TableName::Mangle => "mangle",
            TableName::Nat => "nat",
            TableName::Filter => "filter",
        }
    }
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// A built-in chain's policy; none for a user chain.
    pub policy: Option<Policy>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

impl TableName {
    /// The built-in chains, in the order in which iptables-save prints them.
    pub fn built_in(self) -> &'static [&'static str] {
        match self {
            TableName::Raw => &["PREROUTING", "OUTPUT"],
            TableName::Mangle => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            TableName::Nat => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            TableName::Filter => &["INPUT", "FORWARD", "OUTPUT"],
        }
    }
}

impl Table {
    /// The table as it is before anybody adds to it: the built-in chains, empty, accepting.
    pub fn new(name: TableName) -> Table {
        let chain = |name: &&str| Chain { name: (*name).to_string(), policy: Some(Policy::Accept), rules: Vec::new() };
        Table { name, chains: name.built_in().iter().map(chain).collect() }
    }

    /// The chain of this name; a user chain that is not there yet is made, in its place by name.
    pub fn chain(&mut self, name: &str) -> &mut Chain {
        let before = |chain: &Chain| chain.policy.is_some() || chain.name.as_str() < name;
        let at = self.chains.iter().position(|chain| chain.name == name).unwrap_or_else(|| {
            let at = self.chains.iter().take_while(|chain| before(chain)).count();
            self.chains.insert(at, Chain { name: name.to_string(), policy: None, rules: Vec::new() });
            at
        });
        &mut self.chains[at]
    }
}

/// What a built-in chain does with a packet that no rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Policy {
    /// Lets it pass.
    Accept,
    /// Drops it.
    Drop,
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        })
    }
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The comments, in order; Felix's `cali:` id is the first.
    pub comments: Vec<String>,
    /// What must hold, in the order in which the rule's author wrote it.
    pub matches: Vec<Match>,
    /// What is then done; none only counts.
    pub target: Option<Target>,
    /// Whether the rule's author wrote the comments behind the matches; iptables keeps that order.
    #[serde(skip_serializing_if = "is_off")]
    pub comments_last: bool,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "match")]
pub enum Match {
    /// Incoming interface; a trailing `+` is a prefix.
    InInterface {
        /// Name or prefix.
        name: String,
    },
    /// Outgoing interface; a trailing `+` is a prefix.
    OutInterface {
        /// Name or prefix.
        name: String,
    },
    /// IP protocol number (4 IPIP, 6 TCP, 17 UDP, 1 ICMP).
    Protocol {
        /// The number.
        number: u8,
    },
    /// Source address.
    Source {
        /// The prefix.
        net: IpNet,
        /// Whether it must not match.
        invert: bool,
    },
    /// Destination address.
    Destination {
        /// The prefix.
        net: IpNet,
        /// Whether it must not match.
        invert: bool,
    },
    /// Membership in an ipset.
    Set {
        /// The set.
        name: String,
        /// Which address of the packet is looked up.
        side: Side,
        /// Whether it must not be a member.
        invert: bool,
    },
    /// Destination ports (multiport); a pair is an inclusive range.
    DestinationPorts {
        /// The ranges.
        ports: Vec<(u16, u16)>,
    },
    /// Connection tracking state.
    CtState {
        /// Any of these.
        states: Vec<CtState>,
        /// Whether none may hold.
        invert: bool,
    },
    /// Type of an address by this host's routing table.
    AddrTypeLocal {
        /// Which address.
        side: Side,
        /// Whether it must not be local.
        invert: bool,
        /// Only addresses of the outgoing interface count.
        limit_iface_out: bool,
    },
    /// The packet's mark under a mask.
    Mark {
        /// Value.
        value: u32,
        /// Mask.
        mask: u32,
        /// Whether it must differ.
        invert: bool,
    },
    /// The reverse path check fails.
    RpFilterInvert,
    /// Incoming interface that it must not be; a trailing `+` is a prefix.
    NotInInterface {
        /// Name or prefix.
        name: String,
    },
    /// Outgoing interface that it must not be; a trailing `+` is a prefix.
    NotOutInterface {
        /// Name or prefix.
        name: String,
    },
    /// The type of an ICMP message (`-m icmp --icmp-type`).
    IcmpType {
        /// Its number: 8 is an echo request.
        number: u8,
    },
    /// The type of an ICMPv6 message (`-m icmp6 --icmpv6-type`).
    Icmp6Type {
        /// Its number: 135 is a neighbour solicitation.
        number: u8,
    },
    /// A transport protocol (`-m tcp`) and one destination port of it, if it matters.
    Transport {
        /// The protocol's number: 6, 17 or 132.
        protocol: u8,
        /// `--dport`.
        port: Option<u16>,
    },
    /// Chance (`-m statistic --mode random`), in 1/2³¹ as the kernel keeps it.
    Random {
        /// Probability times 2³¹.
        parts: u32,
    },
    /// The source address and a list of recently seen ones (`-m recent`).
    Recent {
        /// What is done with the list.
        action: Recent,
        /// The list.
        list: String,
        /// The mask under which addresses are kept: all bits of the family.
        mask: IpAddr,
    },
    /// Whether the packet came in through a port of a bridge (`-m physdev --physdev-is-in`).
    PhysdevIsIn {
        /// Whether it must not.
        invert: bool,
    },
    /// A packet of a connection of IPVS (`-m ipvs`), by the virtual server that it came to.
    Ipvs {
        /// Its address.
        address: IpAddr,
        /// Number of its protocol.
        protocol: u8,
        /// Its port.
        port: u16,
    },
    /// Membership of several of the packet's fields in an ipset (`dst,dst,src`).
    SetOf {
        /// The set.
        name: String,
        /// Which end of the packet each field of the set is looked up from.
        sides: Vec<Side>,
        /// Whether it must not be a member.
        invert: bool,
    },
}

/// What `-m recent` does with its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recent {
    /// Matches if the address was seen at most so many seconds ago, and forgets those that are older (`--rcheck --reap`).
    Check {
        /// Seconds.
        seconds: u32,
    },
    /// Notes the address (`--set`) and matches.
    Set,
}

/// Source or destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Source.
    Src,
    /// Destination.
    Dst,
}

/// A connection tracking state or status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CtState {
    /// First packet of a connection.
    New,
    /// Seen in both directions.
    Established,
    /// Belongs to another connection (an ICMP error).
    Related,
    /// Fits no connection.
    Invalid,
    /// Its destination was translated.
    Dnat,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "target")]
pub enum Target {
    /// Ends the table: pass.
    Accept,
    /// Drops the packet.
    Drop,
    /// Back to the calling chain.
    Return,
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
    /// Sets the bits of `mask` in the mark to those of `value`.
    SetMark {
        /// Value.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// Source address becomes the outgoing interface's.
    Masquerade {
        /// `--random-fully`.
        random_fully: bool,
    },
    /// Flips bits of the mark (`MARK --xor-mark`).
    XorMark {
        /// The bits.
        value: u32,
    },
    /// Destination becomes another address and port.
    Dnat {
        /// They.
        to: SocketAddr,
    },
    /// Drops the packet and tells its sender: port unreachable, in ICMP of its family.
    Reject {
        /// Whether that is ICMPv6.
        v6: bool,
    },
}

impl Side {
    /// As rules spell it.
    pub fn word(self) -> &'static str {
        match self {
            Side::Src => "src",
            Side::Dst => "dst",
        }
    }
}

impl CtState {
    /// As rules spell it.
    pub fn word(self) -> &'static str {
        match self {
            CtState::New => "NEW",
            CtState::Established => "ESTABLISHED",
            CtState::Related => "RELATED",
            CtState::Invalid => "INVALID",
            CtState::Dnat => "DNAT",
        }
    }
}

/// Ranges of ports as rules spell them: `53,8000:8080`.
pub(crate) fn port_list(ports: &[(u16, u16)]) -> String {
    let range = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}:{last}"),
    };
    ports.iter().map(range).collect::<Vec<_>>().join(",")
}
