//! Frames and packets in the words of `tcpdump -n` and, for a frame, `tcpdump -ne`.

use std::fmt::{self, Display, Formatter};

use super::icmp::Open;
use super::{
    Arp, ArpOperation, Body, Frame, Inside, Ip, OTV_PORT, PROTOCOL_UDP, Packet, TcpFlags, Transport, UDP_HEADER,
};

/// As `tcpdump -ne` prints it, without the time: MACs, EtherType and length, or `ip:` on a device of bare IP.
impl Display for Frame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.ethernet {
            None => f.write_str("ip: ")?,
            Some(ethernet) => {
                let (name, number) = match &self.body {
                    Body::Arp(_) => ("ARP", super::ETHERTYPE_ARP),
                    Body::Ip(packet) if packet.is_v6() => ("IPv6", super::ETHERTYPE_IPV6),
                    Body::Ip(_) => ("IPv4", super::ETHERTYPE_IPV4),
                    Body::Other(number, _) => ("Unknown", *number),
                    Body::Malformed => ("Malformed", 0),
                };
                write!(f, "{} > {}, ethertype {name} (0x{number:04x})", ethernet.src, ethernet.dst)?;
                if let Some(vlan) = ethernet.vlan {
                    write!(f, ", vlan {vlan}")?;
                }
                write!(f, ", length {}: ", self.length)?;
            }
        }
        match &self.body {
            Body::Arp(arp) => Display::fmt(arp, f),
            Body::Ip(packet) => Display::fmt(packet, f),
            Body::Other(..) => write!(f, "length {}", self.length),
            Body::Malformed => f.write_str("malformed"),
        }
    }
}

impl Display for Arp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.operation {
            ArpOperation::Request => {
                write!(f, "Request who-has {} tell {}", self.target, self.sender)
            }
            ArpOperation::Reply => write!(f, "Reply {} is-at {}", self.sender, self.sender_mac),
            ArpOperation::Other(number) => write!(f, "ARP operation {number}"),
        }
    }
}

/// As `tcpdump -n` prints it: one `source > destination:` for each IP header, then the transport. What a tunnel over
/// UDP carries follows behind a colon, where tcpdump begins a line; VXLAN's frame is printed as with `-e`.
impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let last = self.layers.last();
        let (ports, length) = (self.transport.ports(), last.map_or(0, Ip::payload));
        let fragment = self.layers.iter().find(|ip| ip.is_fragment());
        for (index, ip) in self.layers.iter().enumerate() {
            match &ports {
                Some((src, dst)) if index + 1 == self.layers.len() => {
                    write!(f, "{}.{} > {}.{}: ", ip.src, Open(*src), ip.dst, Open(*dst))?;
                }
                _ => write!(f, "{} > {}: ", ip.src, ip.dst)?,
            }
        }
        if let Some(ip) = fragment.filter(|ip| ip.is_v6()) {
            write!(f, "frag ({}|{})", ip.offset, ip.payload())?;
            match ip.offset {
                0 => f.write_str(" ")?,
                _ => return Ok(()),
            }
        }
        match &self.transport {
            Transport::Icmp(icmp) => write!(f, "{}, length {length}", icmp.words(last.is_some_and(Ip::is_v6))),
            Transport::Udp { .. } => write!(f, "UDP, length {}", length.saturating_sub(UDP_HEADER)),
            Transport::Tunnel { dst, inside, .. } => match &**inside {
                Inside::Vxlan { vni, frame } if *dst == Some(OTV_PORT) => {
                    write!(f, "OTV, flags [I] (0x08), overlay 0, instance {vni}: {frame}")
                }
                Inside::Vxlan { vni, frame } => write!(f, "VXLAN, flags [I] (0x08), vni {vni}: {frame}"),
                Inside::Bare(packet) => write!(f, "UDP, length {}: {packet}", length.saturating_sub(UDP_HEADER)),
            },
            Transport::Tcp { flags, seq, ack, .. } => {
                write!(f, "Flags [{flags}], seq {}, ack {ack}", Open(*seq))
            }
            Transport::Sctp(packet) => Display::fmt(packet, f),
            Transport::Fragment if last.is_some_and(|ip| ip.protocol == PROTOCOL_UDP) => f.write_str("udp"),
            Transport::Fragment => f.write_str("fragment"),
            Transport::Other => write!(f, "ip-proto-{} {length}", last.map_or(0, |ip| ip.protocol)),
            Transport::Truncated => f.write_str("[|truncated]"),
        }?;
        match fragment.filter(|ip| !ip.is_v6()) {
            Some(ip) => write!(f, " (frag offset {}{})", ip.offset, if ip.more_fragments { "+" } else { "" }),
            None => Ok(()),
        }
    }
}

impl Display for TcpFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let letters = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
        ];
        letters.iter().filter(|(bit, _)| self.0 & bit != 0).try_for_each(|(_, letter)| f.write_str(letter))
    }
}
