//! `verify` of IPv6 on real dual-stack clusters: sound ones pass every check in both families, and what is broken in IPv6
//! alone makes the checks of IPv6 fail, with the place and the cause, while those of IPv4 go on to pass.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

#![allow(clippy::expect_used, reason = "a test ends where what it needs fails")]

#[path = "kernel/mod.rs"]
mod kernel;

use std::net::IpAddr;
use std::time::Duration;

use kernel::broken::{Lab, Twin, caught};
use libtest_mimic::{Arguments, Failed};
use minik::plan::netfilter::Family;
use minik::probe::matrix::{self, End};
use minik::probe::pair::{self, Answer, Question};

/// The topologies with both families.
const DUAL_STACK: &[&str] = &[
    "calico-bgp-dualstack",
    "calico-vxlan-dualstack",
    "flannel-vxlan-dualstack",
    "flannel-host-gw-dualstack",
    "bridge-dualstack",
];

const CALICO: &[Twin] = &[
    Twin {
        name: "a pod's IPv6 host route is gone",
        breaks: &[(
            "node-1",
            "ip -6 route del $(ip -6 route show dev {cali-a} | cut -d' ' -f1 | grep -v fe80) dev {cali-a}",
        )],
        check: "pod-to-pod-same-node/icmp6",
        place: "node-1/{cali-a} out",
        says: "missing: route fd00:10:100:",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "the pods' gateway is gone",
        breaks: &[("node-1", "ip -6 address del fe80::ecee:eeff:feee:eeee/64 dev {cali-a}")],
        check: "gateway-fe80::ecee:eeff:feee:eeee/nd",
        place: "node-1/{cali-a} out",
        says: "ip -6 address",
        spares: "pod-to-pod-cross-node/udp",
    },
    Twin {
        name: "INPUT drops neighbour solicitations",
        breaks: &[(
            "node-1",
            "ip6tables -I INPUT -p ipv6-icmp --icmpv6-type neighbour-solicitation -i {cali-a} -j DROP",
        )],
        check: "gateway-fe80::ecee:eeff:feee:eeee/nd",
        place: "node-1/{cali-a} out",
        says: "ip6tables",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "FORWARD drops IPv6's UDP alone",
        breaks: &[("node-2", "ip6tables -I FORWARD -p udp -j DROP")],
        check: "pod-to-pod-cross-node/udp6",
        place: "node-2/{cali-c} out",
        says: "`ip6tables -vS FORWARD`",
        spares: "pod-to-pod-cross-node/udp",
    },
    Twin {
        name: "IPv6 is not forwarded",
        breaks: &[("node-2", "sysctl -w net.ipv6.conf.all.forwarding=0")],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-2/{cali-c} out",
        says: "last seen node-2/ens33 in",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "the route to the other block has a wrong next hop",
        breaks: &[(
            "node-1",
            "for block in $(ip -6 route show via fd00:10:1:10::10 | cut -d' ' -f1); do \
             ip -6 route replace $block via fd00:10:1:10::8 dev ens33 proto bird; done",
        )],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-1/ens33 out: destination MAC",
        says: "via fd00:10:1:10::10 dev ens33",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "a neighbour entry of IPv6 is wrong",
        breaks: &[("node-1", "ip -6 neigh replace fd00:10:1:10::10 lladdr 02:00:00:00:00:99 dev ens33 nud permanent")],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-1/ens33 out",
        says: "destination MAC 02:00:00:00:00:99 seen",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "the hop limit is changed on the way",
        breaks: &[("node-1", "ip6tables -t mangle -A PREROUTING -i {cali-a} -j HL --hl-dec 1")],
        check: "pod-to-pod-same-node/icmp6",
        place: "node-1/{cali-b} out",
        says: "hop limit 62 seen, 63 expected",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "IPv6 is not masqueraded",
        breaks: &[("node-1", "ip6tables -t nat -F cali-nat-outgoing")],
        check: "pod-to-client/icmp6",
        place: "node-1/ens33 out",
        says: "fd00:10:1:10::9 expected",
        spares: "pod-to-client/icmp",
    },
    Twin {
        name: "a pod has IPv6 switched off",
        breaks: &[("{c}", "sysctl -w net.ipv6.conf.eth0.disable_ipv6=1")],
        check: "node-to-own-pod/icmp6",
        place: "{c}/eth0 out",
        says: "missing: address fd00:10:100:",
        spares: "node-to-own-pod/icmp",
    },
];

const FLANNEL: &[Twin] = &[
    Twin {
        name: "the FDB entry of flannel-v6.1 points elsewhere",
        breaks: &[(
            "node-1",
            "mac=$(ip -6 neigh show dev flannel-v6.1 nud permanent | cut -d' ' -f3); \
             bridge fdb replace $mac dev flannel-v6.1 dst fd00:10:1:10::8 self permanent; \
             bridge fdb del $mac dev flannel-v6.1 dst fd00:10:1:10::10 self || true",
        )],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-1/ens33 out: ",
        says: "fdb ",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "flannel-v6.1 does not know its neighbour",
        breaks: &[("node-1", "ip -6 neigh flush dev flannel-v6.1 nud permanent")],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-1/flannel-v6.1 out",
        says: "missing: neighbour fd00:10:244:",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "INPUT drops VXLAN over IPv6",
        breaks: &[("node-2", "ip6tables -I INPUT -p udp --dport 8472 -j DROP")],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-2/flannel-v6.1 in",
        says: "`ip6tables -vS INPUT`",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "nobody hears that a packet is too big",
        breaks: &[("node-1", "ip6tables -I OUTPUT -p ipv6-icmp --icmpv6-type packet-too-big -j DROP")],
        check: "client-to-pod-1451/icmp6",
        place: "node-1/ens33 out",
        says: "the ICMP error not seen",
        spares: "client-to-pod/icmp6",
    },
    Twin {
        name: "flannel-v6.1 is down",
        breaks: &[("node-2", "ip link set flannel-v6.1 down")],
        check: "pod-to-pod-cross-node/icmp6",
        place: "node-2/flannel-v6.1",
        says: "missing: ",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "a port of the bridge does not pass IPv6",
        breaks: &[("node-1", "ebtables -A FORWARD -i {cali-a} -p IPv6 -j DROP")],
        check: "pod-to-pod-same-node/icmp6",
        place: "node-1/{cali-b} out",
        says: "not passed on by the bridge cni0",
        spares: "pod-to-pod-same-node/icmp",
    },
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Two at a time: each waits more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let missing = kernel::not_root;
    let mut trials: Vec<libtest_mimic::Trial> = DUAL_STACK
        .iter()
        .map(|builtin| kernel::trial(format!("sound in both families: {builtin}"), missing(), || sound(builtin)))
        .collect();
    trials.push(kernel::trial("the matrix and pairs tell who reaches whom over IPv6", missing(), reached));
    let twins = |builtin: &'static str, twins: &'static [Twin]| {
        twins.iter().map(move |twin| {
            kernel::trial(format!("caught in {builtin}: {}", twin.name), missing(), move || caught(builtin, twin))
        })
    };
    trials.extend(twins("calico-bgp-dualstack", CALICO));
    trials.extend(twins("flannel-vxlan-dualstack", FLANNEL));
    libtest_mimic::run(&arguments, trials).exit();
}

fn sound(builtin: &str) -> Result<(), Failed> {
    let lab = Lab::up(builtin).map_err(|e| e.to_string())?;
    for round in ["cold", "warm"] {
        let report = lab.verify().map_err(|e| e.to_string())?;
        if !report.passed() {
            return Err(format!("{round}:\n{}", report.text()).into());
        }
        let of = |six: bool| report.checks.iter().filter(|check| check.protocol.ends_with(['6', 'd']) == six).count();
        eprintln!("{builtin}, {round}: {} checks over IPv4, {} over IPv6", of(false), of(true));
        assert!(of(true) > 10 && of(true) <= of(false));
    }
    Ok(())
}

fn reached() -> Result<(), Failed> {
    let lab = Lab::up("calico-bgp-dualstack").map_err(|e| e.to_string())?;
    let address = |pod: &minik::plan::Namespace| pod.address_in(Family::Inet6).expect("pods have IPv6 addresses");
    let ends: Vec<End> = lab.plan.pods().map(|pod| End { namespace: pod, address: address(pod) }).collect();
    assert!(ends.iter().all(|end| matches!(end.address, IpAddr::V6(_))));
    let patience = kernel::patience(Duration::from_millis(300));
    let sound = matrix::matrix(&lab.plan, &ends, patience).map_err(|e| e.to_string())?;
    assert_eq!((sound.answered(), sound.asked()), (12, 12));
    let client = lab.plan.namespace("client").ok_or("no client")?;
    let ask = |question| pair::pair(client, ends[0].address, question, patience).map_err(|e| e.to_string());
    assert!(matches!(ask(Question::Icmp)?, Answer::Yes { .. }));
    assert!(matches!(ask(Question::Tcp(9))?, Answer::Closed { .. }));
    assert!(matches!(ask(Question::Udp(9))?, Answer::Closed { .. }));
    lab.run("node-1", "ip6tables -I FORWARD -o {cali-a} -j DROP")?;
    assert_eq!(ask(Question::Icmp)?, Answer::Silence);
    assert_eq!(ask(Question::Udp(9))?, Answer::Silence);
    let broken = matrix::matrix(&lab.plan, &ends, patience).map_err(|e| e.to_string())?;
    assert_eq!(broken.answered(), 6, "nobody reaches the first pod, and no answer to it comes back");
    Ok(())
}
