//! Whether a packet's fields are a member of an ipset.

use std::net::IpAddr;

use super::netfilter::destination_port;
use crate::packet::Packet;
use crate::plan::Member;
use crate::plan::netfilter::{IpSet, Side};

/// Whether an address is in a set of addresses or prefixes.
pub(super) fn has_address(set: &IpSet, address: IpAddr) -> bool {
    set.members.iter().any(|member| matches!(member, Member::Net(net) if net.contains(&address)))
}

/// Whether a set has a member with these fields of the packet: `sides` says of each field which end of the packet it is
/// looked up from (`dst,dst,src`).
pub(super) fn has(set: &IpSet, sides: &[Side], packet: &Packet) -> bool {
    let Some(ip) = packet.outer() else { return false };
    let address = |at: usize| {
        sides.get(at).map(|side| match side {
            Side::Src => ip.src,
            Side::Dst => ip.dst,
        })
    };
    let port_at = |at: usize| match sides.get(at)? {
        Side::Src => source_port(packet),
        Side::Dst => destination_port(packet),
    };
    let holds = |member: &Member| match member {
        Member::Net(net) => address(0).is_some_and(|ip| net.contains(&ip)),
        Member::Port(port) => port_at(0) == Some(*port),
        Member::Endpoint { address: own, protocol, port, third } => {
            address(0) == Some(*own)
                && ip.protocol == *protocol
                && port_at(1) == Some(*port)
                && third.is_none_or(|net| address(2).is_some_and(|ip| net.contains(&ip)))
        }
    };
    set.members.iter().any(holds)
}

fn source_port(packet: &Packet) -> Option<u16> {
    packet.transport.ports().filter(|_| packet.layers.len() == 1)?.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Ip, Transport};
    use crate::plan::netfilter::Family;

    #[test]
    fn fields_are_looked_up_from_the_ends_that_the_rule_says() {
        let ip = Ip::new([10, 0, 0, 7].into(), [10, 96, 0, 1].into(), 6, 64, 60);
        let flags = crate::packet::TcpFlags(crate::packet::TcpFlags::SYN);
        let transport = Transport::Tcp { src: Some(4000), dst: Some(443), flags, seq: None, ack: 0 };
        let packet = Packet { layers: vec![ip], transport, mark: None };
        let set = |kind: &str, member: Member| IpSet {
            name: "s".into(),
            kind: kind.into(),
            family: Family::Inet,
            capacity: IpSet::CAPACITY,
            members: vec![member],
        };
        let (src, dst) = (Side::Src, Side::Dst);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let service = set("hash:ip,port", Member::endpoint(address("10.96.0.1"), 6, 443));
        assert!(has(&service, &[dst, dst], &packet) && !has(&service, &[src, dst], &packet));
        let other = set("hash:ip,port", Member::endpoint(address("10.96.0.1"), 17, 443));
        assert!(!has(&other, &[dst, dst], &packet), "another protocol");
        let ranged = |net: &str| {
            let third = Some(net.parse().unwrap());
            let member = Member::Endpoint { address: address("10.96.0.1"), protocol: 6, port: 443, third };
            has(&set("hash:ip,port,net", member), &[dst, dst, src], &packet)
        };
        assert!(ranged("10.0.0.0/24") && !ranged("10.1.0.0/24"));
        assert!(has(&set("bitmap:port", Member::Port(443)), &[dst], &packet));
        assert!(!has(&set("bitmap:port", Member::Port(4000)), &[dst], &packet));
        assert!(has(&set("hash:ip", Member::Net(address("10.96.0.1").into())), &[dst], &packet));
    }
}
