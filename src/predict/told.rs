//! What the source of a packet is told when it is not sent on, in the numbers of each family.

use super::Reason;
use crate::packet::{IPV6_MTU_MIN, Icmp, Packet};

/// Why a destination is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// No route.
    Net,
    /// Nobody answers for the next hop.
    Host,
    /// Nobody takes it there, or a rule says so.
    Port,
    /// The host does not speak its protocol.
    Protocol,
    /// Longer than this MTU in bytes, and not to be fragmented.
    TooLong(u32),
}

impl Reason {
    /// Whether the sender is told at once that nobody takes what it sends: port unreachable.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Reason::Rejected(_) | Reason::NoServer(_))
    }
}

impl Told {
    /// The ICMP message, in the family of the packet that it is about.
    pub fn about(self, packet: Packet) -> Icmp {
        let is_v6 = packet.is_v6();
        let about = Some(Box::new(packet));
        let code = match (self, is_v6) {
            // The field "next header" of IPv6's header (`ip6_protocol_deliver_rcu`).
            (Told::Protocol, true) => return Icmp::ParameterProblem { code: 1, pointer: 6, about },
            (Told::Protocol, false) => 2,
            (Told::Net, _) => 0,
            (Told::Host, false) => 1,
            (Told::Host, true) | (Told::Port, false) => 3,
            (Told::Port, true) | (Told::TooLong(_), false) => 4,
            (Told::TooLong(mtu), true) => return Icmp::TooBig { mtu: mtu.max(IPV6_MTU_MIN.into()), about },
        };
        let mtu = if let Told::TooLong(mtu) = self { u16::try_from(mtu).unwrap_or(u16::MAX) } else { 0 };
        Icmp::Unreachable { code, mtu, about }
    }
}
