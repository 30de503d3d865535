//! Single packets: what they look like on the wire, which hooks they pass, and what is said when one cannot go.

use minik::tunnel::Cause;

use super::lab::{Lab, Outcome, POD_1, POD_2, contains, equal, until};

pub fn every_size() -> Outcome {
    let lab = Lab::new(1)?;
    for size in [1, 56, 1000, 1451, 1452] {
        lab.ping(&format!("-M do -c 3 -s {size}"))?;
    }
    for size in [1453, 3000, 65507] {
        lab.ping(&format!("-M dont -c 3 -s {size}"))?;
    }
    equal("dropped", &lab.dropped(), &Vec::new())
}

pub fn on_the_wire() -> Outcome {
    let lab = Lab::new(1)?;
    let wire = lab.capture("n1", "ens33", 2, "ip proto 4")?;
    let device = lab.capture("n1", "tunl0", 2, "icmp")?;
    lab.ping("-c 1")?;
    let wire = wire.output()?;
    contains(&wire, "length 118: (tos 0x0, ttl 63, id ")?;
    contains(&wire, "offset 0, flags [DF], proto IPIP (4), length 104)")?;
    contains(&wire, "10.1.10.9 > 10.1.10.10: (tos 0x0, ttl 63, id ")?;
    contains(&wire, "10.1.10.10 > 10.1.10.9: (tos 0x0, ttl 63, id ")?;
    contains(&wire, &format!("{POD_1} > {POD_2}: ICMP echo request"))?;
    let device = device.output()?;
    contains(&device, "ip: (tos 0x0, ttl 63, id ")
        .or_else(|_| contains(&device, "length 84: (tos 0x0, ttl 63, id "))?;
    contains(&device, &format!("{POD_2} > {POD_1}: ICMP echo reply"))?;
    contains(&lab.exec("p1", &format!("ping -c 1 {POD_2}"))?, "64 bytes from 10.100.247.1: icmp_seq=1 ttl=62")
}

pub fn ecn_and_dscp() -> Outcome {
    let lab = Lab::new(1)?;
    // The TOS that is sent, and what the outer header must show: no DSCP, and ECT(0) for CE.
    for (tos, outer) in
        [("0xb8", "tos 0x0, ttl 63"), ("0x01", "tos 0x1,ECT(1), ttl 63"), ("0xbb", "tos 0x2,ECT(0), ttl 63")]
    {
        let wire = lab.capture("n1", "ens33", 1, "ip proto 4 and src host 10.1.10.9")?;
        lab.ping(&format!("-c 1 -Q {tos}"))?;
        contains(&wire.output()?, &format!("length 118: ({outer}"))?;
    }
    // Congestion on the way: told to a packet that understands it, and the end of one that does not.
    lab.exec("n1", "iptables -t mangle -A POSTROUTING -p 4 -j TOS --set-tos 0x03/0x03")?;
    let inner = lab.capture("n2", "tunl0", 1, "src host 10.100.84.130")?;
    lab.ping("-c 1 -Q 0x02")?;
    contains(&inner.output()?, "tos 0x3,CE")?;
    lab.no_ping("-c 2 -W 0.2")?;
    lab.has_dropped(&[(Cause::Congestion, 2)])
}

const HOOKS: [(&str, &str, &str); 6] = [
    ("n1", "filter", "OUTPUT"),
    ("n1", "mangle", "POSTROUTING"),
    ("n1", "filter", "INPUT"),
    ("n2", "mangle", "PREROUTING"),
    ("n2", "filter", "INPUT"),
    ("n2", "filter", "OUTPUT"),
];

pub fn pass_every_hook() -> Outcome {
    let lab = Lab::new(1)?;
    for (ns, table, chain) in HOOKS {
        lab.exec(ns, &format!("iptables -t {table} -A {chain} -p 4"))?;
    }
    lab.exec("n1", "iptables -A FORWARD -o tunl0")?;
    lab.exec("n2", "iptables -A FORWARD -i tunl0")?;
    // Nobody may tell the sender that protocol 4 is not spoken here.
    lab.exec("n2", "iptables -t mangle -A OUTPUT -p icmp --icmp-type destination-unreachable")?;
    lab.ping("-c 7")?;
    for (ns, table, chain) in HOOKS.into_iter().chain([("n1", "filter", "FORWARD"), ("n2", "filter", "FORWARD")]) {
        equal(&format!("packets in {ns} {table} {chain}"), &lab.packets(ns, table, chain)?, &7)?;
    }
    equal("unreachable messages", &lab.packets("n2", "mangle", "OUTPUT")?, &0)
}

pub fn stopped_by_the_firewall() -> Outcome {
    let lab = Lab::new(1)?;
    for (ns, chain) in [("n2", "INPUT"), ("n1", "OUTPUT")] {
        lab.exec(ns, &format!("iptables -A {chain} -p 4 -j DROP"))?;
        lab.no_ping("-c 3 -W 0.2")?;
        equal(&format!("packets dropped in {chain}"), &lab.packets(ns, "filter", chain)?, &3)?;
        lab.exec(ns, &format!("iptables -F {chain}"))?;
        lab.ping("-c 3")?;
    }
    lab.has_dropped(&[(Cause::Filtered, 3)])
}

pub fn path_mtu() -> Outcome {
    let lab = Lab::new(1)?;
    lab.ping("-c 1 -M do -s 1452")?;
    for node in ["n1", "n2"] {
        lab.ip(node, "link set ens33 mtu 1400")?;
    }
    let refused = lab.try_exec("p1", &format!("ping -n -c 1 -W 20 -M do -s 1452 {POD_2}"))?;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    contains(&said, "Frag needed and DF set (mtu = 1380)")?;
    contains(&lab.ip("p1", &format!("route get {POD_2}"))?, "mtu 1380")?;
    lab.ping("-c 2 -M do -s 1352")?;
    lab.ping("-c 2 -M dont -s 1452")?;
    // Once the pod has forgotten what it was told, the node must cut the outer packet.
    lab.ip("p1", "route flush cache")?;
    let wire = lab.capture("n1", "ens33", 1, "ip proto 4 and ip[6:2] & 0x1fff != 0 and src host 10.1.10.9")?;
    lab.ping("-c 1 -M dont -s 1452")?;
    contains(&wire.output()?, "proto IPIP (4)")?;
    // A route that says less than its device.
    lab.ip("n1", "link set ens33 mtu 1500")?;
    lab.ip("n1", "route add 10.1.10.10 dev ens33 mtu 1300")?;
    lab.ip("p1", "route flush cache")?;
    let refused = lab.try_exec("p1", &format!("ping -n -c 1 -W 20 -M do -s 1252 {POD_2}"))?;
    contains(&String::from_utf8_lossy(&refused.stdout), "1 received")?;
    let refused = lab.try_exec("p1", &format!("ping -n -c 1 -W 20 -M do -s 1253 {POD_2}"))?;
    contains(&String::from_utf8_lossy(&refused.stdout), "Frag needed and DF set (mtu = 1280)")
}

pub fn ttl_ends() -> Outcome {
    let lab = Lab::new(1)?;
    for (ttl, who) in [(1, "From 10.1.10.9 "), (2, "From 10.100.247.0 ")] {
        let answer = lab.try_exec("p1", &format!("ping -n -c 1 -W 20 -t {ttl} {POD_2}"))?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        contains(&said, who)?;
        contains(&said, "Time to live exceeded")?;
    }
    lab.ping("-c 1 -t 3")
}

pub fn follow_the_routes() -> Outcome {
    let lab = Lab::new(1)?;
    lab.ping("-c 2")?;
    let route = |to: &str| lab.ip("n1", &format!("route replace 10.100.247.0/26 {to}"));
    for _ in 0..20 {
        // A next hop that does not answer: silence. The right one again: the very next packet arrives.
        route("via 10.1.10.99 dev tunl0 onlink")?;
        lab.no_ping("-c 1 -W 0.05")?;
        route("via 10.1.10.10 dev tunl0 onlink")?;
        lab.ping("-c 1")?;
    }
    // A next hop without a route, one behind the tunnel itself, and none at all.
    lab.ip("n1", "route del default")?;
    route("via 172.31.0.1 dev tunl0 onlink")?;
    lab.no_ping("-c 2 -W 0.2")?;
    lab.has_dropped(&[(Cause::NoRoute, 2)])?;
    route("dev tunl0")?;
    lab.no_ping("-c 2 -W 0.2")?;
    lab.has_dropped(&[(Cause::NoRoute, 2), (Cause::Loop, 2)])?;
    route("via 10.1.10.10 dev tunl0 onlink")?;
    lab.ping("-c 2")
}

pub fn wrong_ones() -> Outcome {
    let lab = Lab::new(1)?;
    // Protocol 4 around nothing, around IPv6, around noise; sent by a node, as anyone on the segment can.
    let socket = lab.raw_ipip("n1")?;
    let mut noise = vec![0xa5u8; 600];
    let mut packets: Vec<Vec<u8>> = vec![vec![], vec![0x45; 19], vec![0x60; 40], vec![0x45; 40]];
    for seed in 0..200u32 {
        for (place, byte) in noise.iter_mut().enumerate() {
            *byte = (seed.wrapping_mul(2_654_435_761).wrapping_add(place as u32).wrapping_mul(40_503) >> 7) as u8;
        }
        packets.push(noise.clone());
        packets.push([&[0x45, 0, 2, 0x58][..], &noise[4..]].concat());
    }
    let before = lab.engine.counters()[1].counters.clone();
    for packet in &packets {
        let to = std::net::SocketAddr::from(([10, 1, 10, 10], 0));
        lab.send(&socket, packet, to)?;
    }
    let seen = || {
        let now = lab.engine.counters()[1].counters.clone();
        let dropped = |s: &minik::tunnel::Snapshot| s.dropped.values().sum::<u64>();
        (now.received.packets - before.received.packets + dropped(&now) - dropped(&before)) as usize
    };
    until("every packet to be counted", || seen() == packets.len())?;
    lab.ping("-c 3")
}
