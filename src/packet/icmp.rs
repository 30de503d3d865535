//! ICMP messages of both families.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv6Addr;

use super::{PROTOCOL_TCP, Packet, Transport};
use crate::plan::Mac;

/// An ICMP message; of which family, the IP header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Icmp {
    /// Echo request.
    EchoRequest {
        /// Identifier; none in a prediction if the kernel chooses it (masquerade with `--random-fully`).
        id: Option<u16>,
        /// Sequence number.
        seq: u16,
    },
    /// Echo reply.
    EchoReply {
        /// Identifier.
        id: Option<u16>,
        /// Sequence number.
        seq: u16,
    },
    /// Destination unreachable.
    Unreachable {
        /// Code. IPv4: 0 net, 1 host, 2 protocol, 3 port, 4 fragmentation needed, 13 prohibited. IPv6: 0 no route, 1 prohibited,
        /// 3 address, 4 port.
        code: u8,
        /// MTU of the next hop, with IPv4's code 4.
        mtu: u16,
        /// The packet that it is about, as far as it is quoted.
        about: Option<Box<Packet>>,
    },
    /// IPv6's "packet too big".
    TooBig {
        /// MTU of the next hop, in bytes.
        mtu: u32,
        /// The packet that it is about.
        about: Option<Box<Packet>>,
    },
    /// Time exceeded.
    TimeExceeded {
        /// Code: 0 in transit, 1 in reassembly.
        code: u8,
        /// The packet that it is about.
        about: Option<Box<Packet>>,
    },
    /// IPv6's "parameter problem".
    ParameterProblem {
        /// Code: 0 erroneous header field, 1 unknown next header, 2 unknown option.
        code: u8,
        /// Where in the packet, in bytes.
        pointer: u32,
        /// The packet that it is about.
        about: Option<Box<Packet>>,
    },
    /// IPv6's neighbour solicitation: who has this address?
    Solicitation {
        /// The address.
        target: Ipv6Addr,
        /// Who asks, by the source link-layer address option.
        source_mac: Option<Mac>,
    },
    /// IPv6's neighbour advertisement.
    Advertisement {
        /// The address.
        target: Ipv6Addr,
        /// Who has it, by the target link-layer address option.
        target_mac: Option<Mac>,
        /// Whether it is an answer.
        solicited: bool,
    },
    /// Another message.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

impl Icmp {
    /// The packet that an error is about.
    pub fn about(&self) -> Option<&Packet> {
        match self {
            Icmp::Unreachable { about, .. }
            | Icmp::TooBig { about, .. }
            | Icmp::TimeExceeded { about, .. }
            | Icmp::ParameterProblem { about, .. } => about.as_deref(),
            _ => None,
        }
    }

    /// The packet that an error is about, to be changed.
    pub fn about_mut(&mut self) -> Option<&mut Packet> {
        match self {
            Icmp::Unreachable { about, .. }
            | Icmp::TooBig { about, .. }
            | Icmp::TimeExceeded { about, .. }
            | Icmp::ParameterProblem { about, .. } => about.as_deref_mut(),
            _ => None,
        }
    }

    /// Whether connection tracking passes it by: what neighbours, routers and multicast listeners say, but no redirect
    /// (net/netfilter/nf_conntrack_proto_icmpv6.c, `noct_valid_new`).
    pub fn is_untracked(&self) -> bool {
        match self {
            Icmp::Solicitation { .. } | Icmp::Advertisement { .. } => true,
            Icmp::Other { kind, .. } => matches!(kind, 130..=136 | 143),
            _ => false,
        }
    }

    /// Its type's number in its family.
    pub fn kind(&self, v6: bool) -> u8 {
        match (self, v6) {
            (Icmp::EchoReply { .. }, false) => 0,
            (Icmp::Unreachable { .. }, false) => 3,
            (Icmp::EchoRequest { .. }, false) => 8,
            (Icmp::TimeExceeded { .. }, false) => 11,
            (Icmp::Unreachable { .. }, true) => 1,
            (Icmp::TooBig { .. }, _) => 2,
            (Icmp::TimeExceeded { .. }, true) => 3,
            (Icmp::ParameterProblem { .. }, _) => 4,
            (Icmp::EchoRequest { .. }, true) => 128,
            (Icmp::EchoReply { .. }, true) => 129,
            (Icmp::Solicitation { .. }, _) => 135,
            (Icmp::Advertisement { .. }, _) => 136,
            (Icmp::Other { kind, .. }, _) => *kind,
        }
    }

    /// As `tcpdump -n` prints it in an IPv4 packet, or in an IPv6 packet.
    pub fn words(&self, v6: bool) -> Words<'_> {
        Words { icmp: self, v6 }
    }
}

/// A message in the words of its family.
pub struct Words<'a> {
    icmp: &'a Icmp,
    v6: bool,
}

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.v6 { self.icmp6(f) } else { self.icmp4(f) }
    }
}

/// A number that a prediction may leave open.
pub(super) struct Open<T>(pub Option<T>);

impl<T: Display> Display for Open<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("*"),
        }
    }
}

impl Words<'_> {
    fn icmp4(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let dst = Open(self.icmp.about().and_then(Packet::outer).map(|ip| ip.dst));
        match self.icmp {
            Icmp::EchoRequest { id, seq } => write!(f, "ICMP echo request, id {}, seq {seq}", Open(*id)),
            Icmp::EchoReply { id, seq } => write!(f, "ICMP echo reply, id {}, seq {seq}", Open(*id)),
            Icmp::Unreachable { code: 0, .. } => write!(f, "ICMP net {dst} unreachable"),
            Icmp::Unreachable { code: 1, .. } => write!(f, "ICMP host {dst} unreachable"),
            Icmp::Unreachable { code: 2, about, .. } => {
                let protocol = Open(about.as_deref().and_then(Packet::outer).map(|ip| ip.protocol));
                write!(f, "ICMP {dst} protocol {protocol} unreachable")
            }
            Icmp::Unreachable { code: 3, .. } => write!(f, "ICMP {dst} port unreachable"),
            Icmp::Unreachable { code: 4, mtu, .. } => write!(f, "ICMP {dst} unreachable - need to frag (mtu {mtu})"),
            Icmp::Unreachable { code, .. } => write!(f, "ICMP {dst} unreachable, code {code}"),
            Icmp::TimeExceeded { code: 0, .. } => f.write_str("ICMP time exceeded in-transit"),
            Icmp::TimeExceeded { .. } => f.write_str("ICMP ip reassembly time exceeded"),
            Icmp::Other { kind, code } => write!(f, "ICMP type-#{kind}, code {code}"),
            Icmp::TooBig { .. }
            | Icmp::ParameterProblem { .. }
            | Icmp::Solicitation { .. }
            | Icmp::Advertisement { .. } => write!(f, "ICMP type-#{}", self.icmp.kind(false)),
        }
    }

    fn icmp6(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let dst = Open(self.icmp.about().and_then(Packet::outer).map(|ip| ip.dst));
        f.write_str("ICMP6, ")?;
        match self.icmp {
            Icmp::EchoRequest { id, seq } => write!(f, "echo request, id {}, seq {seq}", Open(*id)),
            Icmp::EchoReply { id, seq } => write!(f, "echo reply, id {}, seq {seq}", Open(*id)),
            Icmp::Unreachable { code, about, .. } => {
                f.write_str("destination unreachable, ")?;
                match code {
                    0 => write!(f, "unreachable route {dst}"),
                    1 => write!(f, "unreachable prohibited {dst}"),
                    3 => write!(f, "unreachable address {dst}"),
                    4 => write!(f, "unreachable port, {dst}{}", Port(about.as_deref())),
                    code => write!(f, "unknown unreach code ({code}) {dst}"),
                }
            }
            Icmp::TooBig { mtu, .. } => write!(f, "packet too big, mtu {mtu}"),
            Icmp::TimeExceeded { code: 0, .. } => write!(f, "time exceeded in-transit for {dst}"),
            Icmp::TimeExceeded { .. } => f.write_str("time exceeded in-transit (reassembly)"),
            Icmp::ParameterProblem { code, pointer, .. } => {
                let what = match code {
                    0 => "erroneous",
                    1 => "next header",
                    2 => "option",
                    _ => "unknown",
                };
                write!(f, "parameter problem, {what} - octet {pointer}")
            }
            Icmp::Solicitation { target, .. } => write!(f, "neighbor solicitation, who has {target}"),
            Icmp::Advertisement { target, .. } => write!(f, "neighbor advertisement, tgt is {target}"),
            Icmp::Other { kind, .. } => match kind {
                130 => f.write_str("multicast listener query"),
                131 => f.write_str("multicast listener report"),
                132 => f.write_str("multicast listener done"),
                133 => f.write_str("router solicitation"),
                134 => f.write_str("router advertisement"),
                137 => f.write_str("redirect"),
                143 => f.write_str("multicast listener report v2"),
                kind => write!(f, "unknown icmp6 type ({kind})"),
            },
        }
    }
}

/// The port that nobody listens on, behind the address: ` udp port 53`.
struct Port<'a>(Option<&'a Packet>);

impl Display for Port<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(packet) = self.0 else { return Ok(()) };
        match packet.transport {
            Transport::Tcp { dst, .. } => write!(f, " tcp port {}", Open(dst)),
            Transport::Udp { dst, .. } | Transport::Tunnel { dst, .. } => write!(f, " udp port {}", Open(dst)),
            // Too short a quotation, of which the protocol alone is known.
            _ if packet.outer().is_some_and(|ip| ip.protocol == PROTOCOL_TCP) => f.write_str(" tcp"),
            _ => Ok(()),
        }
    }
}
