//! The flows that both data paths must carry alike.

use std::time::Duration;

use super::both::{DF, MORE, Packet, Step, echo, same, same_but};
use super::lab::Outcome;

/// How long a neighbour is asked for before it is given up (3 s), and more.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// A TUN's count of bytes includes those that the agent could not send, and how many they were nobody knows.
const BYTES_SENT: &str = "n1/tunl0 tx_bytes";

fn packet() -> Packet {
    Packet::default()
}

pub fn sizes() -> Outcome {
    let sizes = [28, 29, 83, 84, 999, 1479, 1480];
    let with = |fragment| sizes.map(|size| Packet { fragment, ..packet() }.echo(size)).to_vec();
    same(&[Step::Each(with(0)), Step::Each(with(DF))])
}

pub fn options() -> Outcome {
    // A header with two no-operations, an end of options and padding behind its 20 bytes.
    let mut bytes = packet().echo(84);
    bytes.splice(20..20, [1, 1, 0, 0]);
    bytes[0] = 0x46;
    bytes[2..4].copy_from_slice(&88u16.to_be_bytes());
    same(&[Step::Each(vec![bytes])])
}

pub fn fragments() -> Outcome {
    let whole = echo(3000);
    let piece = |from: usize, to: usize| {
        let more = if to < whole.len() { MORE } else { 0 };
        Packet { fragment: (from / 8) as u16 | more, ..packet() }.around(&whole[from..to])
    };
    let in_order = vec![piece(0, 1456), piece(1456, 2912), piece(2912, 3000)];
    let out_of_order = vec![piece(2912, 3000), piece(0, 1456), piece(1456, 2912)];
    same(&[Step::Each(in_order), Step::Each(out_of_order)])
}

pub fn ttl() -> Outcome {
    same(&[Step::Each([1, 2, 3, 255].map(|ttl| Packet { ttl, ..packet() }.echo(84)).to_vec())])
}

pub fn errors_from_afar() -> Outcome {
    let to = |to| Packet { to, ..packet() }.echo(84);
    same(&[
        Step::Run("n2", "ip route add unreachable 10.100.247.9"),
        Step::Run("n2", "ip route add prohibit 10.100.247.10"),
        Step::Run("n2", "ip route add blackhole 10.100.247.11"),
        Step::Run("n2", "iptables -A FORWARD -p udp --dport 7 -j REJECT"),
        Step::Each(vec![
            packet().udp(9, 32),
            packet().udp(9, 1452),
            packet().udp(7, 32),
            to("10.100.247.9"),
            to("10.100.247.10"),
            to("10.100.247.11"),
            // The other node itself, at its tunnel address.
            to("10.100.247.0"),
        ]),
    ])
}

pub fn smaller_way() -> Outcome {
    let echo = |fragment, size| Packet { fragment, ..packet() }.echo(size);
    same_but(
        &[BYTES_SENT],
        &[
            Step::Run("n1", "ip link set ens33 mtu 1400"),
            Step::Run("n2", "ip link set ens33 mtu 1400"),
            Step::Each(vec![
                echo(DF, 1380),
                echo(DF, 1381),
                echo(0, 1380),
                echo(0, 1381),
                echo(0, 1480),
                echo(DF, 1480),
            ]),
        ],
    )
}

pub fn ecn_and_dscp() -> Outcome {
    let packets = || [0, 1, 2, 3, 0x10, 0xb8, 0xbb, 0xfc].map(|tos| Packet { tos, ..packet() }.echo(84)).to_vec();
    // The kernel writes the mark of congestion into the very bytes that were captured a moment before.
    let rewritten = [
        "step 2 packet 1: n1/ens33 out",
        "step 2 packet 2: n1/ens33 out",
        "step 2 packet 1: n2/ens33 in",
        "step 2 packet 2: n2/ens33 in",
    ];
    same_but(
        &rewritten,
        &[
            Step::Each(packets()),
            Step::Run("n1", "iptables -t mangle -A POSTROUTING -p 4 -j TOS --set-tos 0x03/0x03"),
            Step::Each(packets()),
        ],
    )
}

pub fn bursts() -> Outcome {
    let burst = |count: u16| (0..count).map(|id| Packet { id: id + 1, ..packet() }.udp(9000, 100)).collect();
    same(&[Step::Run("p2", "iptables -A INPUT -p udp -j DROP"), Step::Burst(burst(50)), Step::Burst(burst(300))])
}

pub fn unreachable_next_hop() -> Outcome {
    same(&[
        Step::Run("n1", "ip route replace 10.100.247.0/26 via 10.1.10.99 dev tunl0 onlink"),
        Step::Each(vec![packet().echo(84)]),
        Step::Wait(GIVEN_UP),
        // Once it is known to be nowhere.
        Step::Each(vec![packet().echo(84)]),
        Step::Wait(GIVEN_UP),
        Step::Run("n1", "ip route replace 10.100.247.0/26 via 10.1.10.10 dev tunl0 onlink"),
        Step::Each(vec![packet().echo(84)]),
    ])
}

pub fn no_way() -> Outcome {
    same_but(
        &[BYTES_SENT],
        &[
            Step::Run("n1", "ip route del default"),
            Step::Run("n1", "ip route replace 10.100.247.0/26 via 172.31.0.1 dev tunl0 onlink"),
            Step::Each(vec![packet().echo(84)]),
            Step::Run("n1", "ip route replace 10.100.247.0/26 dev tunl0"),
            Step::Each(vec![packet().echo(84)]),
            Step::Run("n1", "ip route replace 10.100.247.0/26 via 10.1.10.10 dev tunl0 onlink"),
            Step::Each(vec![packet().echo(84)]),
        ],
    )
}

pub fn route_changes_under_load() -> Outcome {
    let burst = || Step::Burst((0..100).map(|id| Packet { id: id + 1, ..packet() }.udp(9000, 100)).collect());
    let mut steps = vec![Step::Run("p2", "iptables -A INPUT -p udp -j DROP")];
    for _ in 0..3 {
        steps.push(burst());
        // To the switch's side: nobody there answers, and a neighbour entry keeps ARP out of it.
        steps.push(Step::Run("n1", "ip neigh replace 10.1.10.98 lladdr 02:00:00:00:00:98 dev ens33 nud permanent"));
        steps.push(Step::Run("n1", "ip route replace 10.100.247.0/26 via 10.1.10.98 dev tunl0 onlink"));
        steps.push(burst());
        steps.push(Step::Run("n1", "ip route replace 10.100.247.0/26 via 10.1.10.10 dev tunl0 onlink"));
    }
    steps.push(burst());
    same(&steps)
}

fn filtered(ns: &'static str, rule: &'static str) -> Outcome {
    let packets = vec![packet().echo(84), packet().echo(1480), packet().udp(9, 32)];
    same_but(&[BYTES_SENT], &[Step::Run(ns, rule), Step::Each(packets)])
}

pub fn dropped_in_input() -> Outcome {
    filtered("n2", "iptables -A INPUT -p 4 -j DROP")
}

pub fn dropped_in_output() -> Outcome {
    filtered("n1", "iptables -A OUTPUT -p 4 -j DROP")
}

pub fn rejected_in_input() -> Outcome {
    filtered("n2", "iptables -A INPUT -p 4 -j REJECT")
}

pub fn rejected_in_output() -> Outcome {
    filtered("n1", "iptables -A OUTPUT -p 4 -j REJECT")
}

pub fn dropped_in_forward() -> Outcome {
    filtered("n2", "iptables -A FORWARD -i tunl0 -p icmp -j REJECT --reject-with icmp-admin-prohibited")
}

pub fn far_end_down() -> Outcome {
    same(&[
        Step::Run("n2", "ip link set tunl0 down"),
        Step::Each(vec![packet().echo(84), packet().echo(1480)]),
        Step::Run("n2", "ip link set tunl0 up"),
        Step::Run("n2", "ip route add 10.100.84.128/26 via 10.1.10.9 dev tunl0 onlink"),
        Step::Each(vec![packet().echo(84)]),
    ])
}

/// More complaints than are allowed at once: six of them, then all, for either of two reasons.
pub fn complaints() -> Outcome {
    let burst = || Step::Burst((0..10).map(|id| Packet { id: id + 1, ..packet() }.echo(84)).collect());
    same(&[
        Step::Run("n2", "ip link set tunl0 down"),
        // One in ten seconds, so that none is earned while the packets come.
        Step::Run("n2", "sysctl -qw net.ipv4.icmp_ratemask=6168 net.ipv4.icmp_ratelimit=10000"),
        burst(),
        Step::Run("n2", "sysctl -qw net.ipv4.icmp_ratemask=0"),
        burst(),
        Step::Run("n2", "sysctl -qw net.ipv4.icmp_ratemask=6168 net.ipv4.icmp_ratelimit=0"),
        burst(),
    ])
}

pub fn near_end_down() -> Outcome {
    same(&[
        Step::Run("n1", "ip link set tunl0 down"),
        Step::Each(vec![packet().echo(84)]),
        Step::Wait(GIVEN_UP),
        Step::Run("n1", "ip link set tunl0 up"),
        Step::Run("n1", "ip route add 10.100.247.0/26 via 10.1.10.10 dev tunl0 onlink"),
        Step::Each(vec![packet().echo(84)]),
    ])
}

pub fn wrong_ones() -> Outcome {
    let mut bad_sum = packet().echo(84);
    bad_sum[10] ^= 0xff;
    let mut cut_short = packet().echo(84);
    cut_short.truncate(60);
    same(&[Step::FromNode(vec![packet().echo(84), bad_sum, cut_short, vec![0x45; 40], vec![0x45; 19]])])
}
