//! `verify` on real clusters: a sound one passes every check, and each thing broken by hand makes its check fail
//! and name the place.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.
//! MINIK_DATAPATH chooses who carries tunnelled packets.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test starts what it checks, and ends where that fails"
)]

mod kernel;

use std::process::Command;
use std::time::{Duration, Instant};

use kernel::broken::{Lab, Twin, caught, parsed};
use libtest_mimic::{Arguments, Failed};
use minik::probe::matrix::{self, End};
use minik::probe::pair::{self, Answer, Question};
use minik::verify::{self, Options, Report};
use minik::{error, topology};

/// The topology that most of this is about.
const EXAMPLE: &str = "calico-ipip";

/// The example with so many pods, on its nodes in turn.
fn with_pods(count: usize) -> Result<Lab, error::Error> {
    let mut cluster = parsed(EXAMPLE)?;
    let pattern = cluster.pods[0].clone();
    let nodes: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let pod = |index: usize| topology::Pod {
        ready: true,
        name: format!("many-{index}"),
        node: nodes[index % nodes.len()].clone(),
        owner: None,
        ..pattern.clone()
    };
    cluster.pods = (0..count).map(pod).collect();
    cluster.workloads.clear();
    Lab::of(cluster)
}

const TWINS: &[Twin] = &[
    Twin {
        name: "a pod's host route is gone",
        breaks: &[("node-1", "ip route del 10.100.84.129")],
        check: "pod-to-pod-same-node/icmp",
        place: "node-1/{cali-a} out",
        says: "missing: route 10.100.84.129 dev {cali-a}",
        spares: "node-to-other-node-pod/icmp",
    },
    Twin {
        name: "proxy ARP is off",
        breaks: &[("node-1", "sysctl -w net.ipv4.conf.{cali-a}.proxy_arp=0")],
        check: "gateway-169.254.1.1/arp",
        place: "node-1/{cali-a} out",
        says: "proxy_arp",
        spares: "pod-to-pod-cross-node/udp",
    },
    Twin {
        name: "the cali interface has another MAC",
        breaks: &[("node-1", "ip link set {cali-a} address ee:ee:ee:ee:ee:ef")],
        check: "gateway-169.254.1.1/arp",
        place: "node-1/{cali-a} out",
        says: "ee:ee:ee:ee:ee:ef",
        spares: "pod-to-own-node/icmp",
    },
    Twin {
        name: "a neighbour entry is wrong",
        breaks: &[("node-1", "ip neigh replace 10.1.10.10 lladdr 02:00:00:00:00:99 dev ens33 nud permanent")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-1/ens33 out",
        says: "destination MAC 02:00:00:00:00:99 seen",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "the pod's MTU is too small",
        breaks: &[("{a}", "ip link set eth0 mtu 1400")],
        check: "largest-packet-1480-df/icmp",
        place: "in minik-",
        says: "Message too long",
        spares: "pod-to-pod-cross-node/tcp",
    },
    Twin {
        name: "the pod's MTU is too large",
        breaks: &[("{a}", "ip link set eth0 mtu 1500")],
        check: "one-byte-more-1481-df/too-long",
        place: "{a}/eth0 out: seen where nothing should be",
        says: "missing: link eth0 mtu 1480",
        spares: "largest-packet-1480-df/icmp",
    },
    Twin {
        name: "the tunnel's MTU is too small",
        breaks: &[("node-1", "ip link set tunl0 mtu 1400")],
        check: "largest-packet-1480-df/icmp",
        place: "node-1/tunl0 out",
        says: "need to frag (mtu 1400)",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "the cali MTU is too large, so the node does not say so",
        breaks: &[("node-1", "ip link set {cali-a} mtu 1500"), ("{a}", "ip link set eth0 mtu 1500")],
        check: "client-to-pod-1481-df/icmp",
        place: "node-1/{cali-a} out: seen where nothing should be",
        says: "missing: link {cali-a} mtu 1480",
        spares: "client-to-pod/icmp",
    },
    Twin {
        name: "tunl0 is down",
        breaks: &[("node-2", "ip link set tunl0 down")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-2/tunl0",
        says: "missing: ",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "INPUT drops IP in IP",
        breaks: &[("node-2", "iptables -I INPUT -p 4 -j DROP")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-2/tunl0 in",
        says: "INPUT drops IP in IP",
        spares: "client-to-pod/icmp",
    },
    Twin {
        name: "OUTPUT drops IP in IP",
        breaks: &[("node-1", "iptables -I OUTPUT -p 4 -j DROP")],
        check: "pod-to-pod-cross-node/udp",
        place: "node-1/ens33 out",
        says: "OUTPUT drops IP in IP",
        spares: "pod-to-client/udp",
    },
    Twin {
        name: "a peer is missing in the ipset",
        breaks: &[("node-2", "ipset del cali40all-hosts-net 10.1.10.9")],
        check: "pod-to-pod-cross-node/tcp",
        place: "node-2/tunl0 in",
        says: "ipset list",
        spares: "pod-to-pod-same-node/tcp",
    },
    Twin {
        name: "masquerade is gone",
        breaks: &[("node-1", "iptables -t nat -F cali-nat-outgoing")],
        check: "pod-to-client/icmp",
        place: "node-1/ens33 out",
        says: "source 10.100.84.129 seen, 10.1.10.9 expected",
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "pods are masqueraded toward pods",
        breaks: &[("node-1", "ipset del cali40all-ipam-pools 10.100.0.0/16")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-1/tunl0 out",
        says: "source 10.100.84.128 seen, 10.100.84.129 expected",
        spares: "client-to-pod/icmp",
    },
    Twin {
        name: "the route to the other block has a wrong next hop",
        breaks: &[("node-1", "ip route replace 10.100.247.0/26 via 10.1.10.8 dev tunl0 proto bird onlink")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-1/ens33 out",
        says: "10.100.247.0/26 via 10.1.10.10 dev tunl0",
        spares: "pod-to-other-node/icmp",
    },
    Twin {
        name: "the route to the other block goes past the tunnel",
        breaks: &[("node-1", "ip route replace 10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-1/tunl0 out",
        says: "seen instead node-1/ens33 out",
        spares: "pod-to-client/icmp",
    },
    Twin {
        name: "packets leak to where nothing should be",
        breaks: &[("node-1", "iptables -t mangle -I PREROUTING -i {cali-a} -p icmp -j TEE --gateway 10.1.10.2")],
        check: "pod-to-pod-same-node/icmp",
        place: "node-1/ens33 out",
        says: "seen where nothing should be",
        spares: "pod-to-pod-cross-node/udp",
    },
    Twin {
        name: "the TTL is changed on the way",
        breaks: &[("node-1", "iptables -t mangle -A PREROUTING -i {cali-a} -j TTL --ttl-dec 1")],
        check: "pod-to-pod-same-node/icmp",
        place: "node-1/{cali-b} out",
        says: "TTL 62 seen, 63 expected",
        spares: "client-to-pod/udp",
    },
    Twin {
        name: "forwarding is off",
        breaks: &[("node-2", "sysctl -w net.ipv4.conf.tunl0.forwarding=0")],
        check: "pod-to-pod-cross-node/icmp",
        place: "node-2/{cali-c} out",
        says: "last seen node-2/tunl0 in",
        spares: "client-to-pod/icmp",
    },
    Twin {
        name: "FORWARD drops TCP alone",
        breaks: &[("node-2", "iptables -I FORWARD -p tcp -j DROP")],
        check: "pod-to-pod-same-node/tcp",
        place: "node-2/{cali-d} out",
        says: "FORWARD",
        spares: "pod-to-pod-same-node/udp",
    },
    Twin {
        name: "UDP is dropped on its way back alone",
        breaks: &[("node-2", "iptables -I FORWARD -o tunl0 -p udp -j DROP")],
        check: "pod-to-pod-cross-node/udp",
        place: "node-2/tunl0 out",
        says: "the answer not seen",
        spares: "pod-to-pod-cross-node/tcp",
    },
    Twin {
        name: "a pod does not answer pings",
        breaks: &[("{c}", "sysctl -w net.ipv4.icmp_echo_ignore_all=1")],
        check: "node-to-own-pod/icmp",
        place: "{c}/eth0 out",
        says: "icmp_echo_ignore_all",
        spares: "pod-to-pod-same-node/udp",
    },
    Twin {
        name: "a node does not answer",
        breaks: &[("node-2", "iptables -I INPUT -i cali+ -p icmp -j DROP")],
        check: "pod-to-own-node/icmp",
        place: "node-2/{cali-c} out",
        says: "the answer not seen",
        spares: "pod-to-other-node/icmp",
    },
    Twin {
        name: "the node sends to its pods from another address",
        breaks: &[(
            "node-1",
            "ip address add 10.1.10.77/24 dev ens33; \
                    ip route change 10.100.84.129 dev {cali-a} scope link src 10.1.10.77",
        )],
        check: "node-to-own-pod/icmp",
        place: "node-1/{cali-a} out",
        says: "source 10.1.10.77 seen",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "a node's tunnel address is gone",
        breaks: &[("node-1", "ip address del 10.100.84.128/32 dev tunl0")],
        check: "node-to-other-node-pod/icmp",
        place: "node-1/tunl0 out",
        says: "missing: address 10.100.84.128/32 dev tunl0",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "the client has no route to the pods",
        breaks: &[("client", "ip route del 10.100.0.0/16")],
        check: "client-to-pod/icmp",
        place: "client/ens33 out",
        says: "missing: route 10.100.0.0/16 via 10.1.10.9 dev ens33",
        spares: "pod-to-client/icmp",
    },
    Twin {
        name: "a pod's interface is down",
        breaks: &[("{a}", "ip link set eth0 down")],
        check: "pod-to-pod-same-node/icmp",
        place: "in minik-",
        says: "Network is down",
        spares: "pod-to-pod-same-node/udp@node-2",
    },
    Twin {
        name: "a port of the switch is down",
        breaks: &[("switch", "ip link set node-2 down")],
        check: "pod-to-other-node/icmp",
        place: "node-1/ens33 out",
        says: "switch: missing: link node-2",
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "a node has no memory for fragments",
        breaks: &[("node-2", "sysctl -w net.ipv4.ipfrag_low_thresh=0 && sysctl -w net.ipv4.ipfrag_high_thresh=1")],
        check: "one-byte-more-1481-fragments/icmp",
        place: "node-2/{cali-c} out",
        says: "not seen",
        spares: "largest-packet-1480-df/icmp",
    },
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Two at a time: each waits more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let missing = kernel::not_root;
    let mut trials = vec![
        kernel::trial("a sound cluster passes every check", missing(), sound),
        kernel::trial("two runs at once do not disturb each other", missing(), two_runs),
        kernel::trial("other traffic does not disturb a run", missing(), other_traffic),
        kernel::trial("the matrix and pairs tell who reaches whom", missing(), matrix),
        kernel::trial("fifty pods reach each other", missing(), fifty_pods),
    ];
    trials.extend(
        TWINS.iter().map(|twin| kernel::trial(format!("caught: {}", twin.name), missing(), || caught(EXAMPLE, twin))),
    );
    libtest_mimic::run(&arguments, trials).exit();
}

fn sound() -> Result<(), Failed> {
    let lab = Lab::up(EXAMPLE).map_err(|e| e.to_string())?;
    for round in ["cold", "warm", "again"] {
        let start = Instant::now();
        let report = lab.verify().map_err(|e| e.to_string())?;
        eprintln!("{round}: {} checks in {:?}", report.checks.len(), start.elapsed());
        if !report.passed() {
            return Err(format!("{round}:\n{}", report.text()).into());
        }
    }
    Ok(())
}

fn two_runs() -> Result<(), Failed> {
    let lab = Lab::up(EXAMPLE).map_err(|e| e.to_string())?;
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let runs = [1u16, 2].map(|seed| {
            let options = Options { patience: kernel::patience(Duration::from_secs(1)), seed: Some(seed) };
            let plan = &lab.plan;
            scope.spawn(move || verify::run(plan, &options))
        });
        runs.into_iter().map(|run| run.join().expect("no panic").map_err(|e| e.to_string())).collect::<Result<_, _>>()
    })?;
    match reports.iter().find(|report| !report.passed()) {
        Some(report) => Err(report.text().into()),
        None => Ok(()),
    }
}

fn other_traffic() -> Result<(), Failed> {
    let lab = Lab::up(EXAMPLE).map_err(|e| e.to_string())?;
    let netns = &lab.plan.namespace(&lab.named("{a}")).ok_or("no pod")?.netns;
    let mut ping = Command::new("ip")
        .args(["netns", "exec", netns, "ping", "-q", "-i", "0.002", "10.100.247.1"])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let report = lab.verify();
    ping.kill()?;
    ping.wait()?;
    let report = report.map_err(|e| e.to_string())?;
    if report.passed() { Ok(()) } else { Err(report.text().into()) }
}

fn fifty_pods() -> Result<(), Failed> {
    let lab = with_pods(50).map_err(|e| e.to_string())?;
    let ends: Vec<End> = lab
        .plan
        .pods()
        .map(|pod| End { namespace: pod, address: pod.address().expect("pods have addresses").into() })
        .collect();
    for round in ["cold", "warm"] {
        let start = Instant::now();
        let matrix =
            matrix::matrix(&lab.plan, &ends, kernel::patience(Duration::from_secs(1))).map_err(|e| e.to_string())?;
        eprintln!("{round}: {} of {} pairs in {:?}", matrix.answered(), matrix.asked(), start.elapsed());
        assert_eq!((matrix.answered(), matrix.asked()), (2450, 2450));
    }
    let start = Instant::now();
    let report = lab.verify().map_err(|e| e.to_string())?;
    eprintln!("50 pods: {} checks in {:?}", report.checks.len(), start.elapsed());
    if report.passed() { Ok(()) } else { Err(report.text().into()) }
}

fn matrix() -> Result<(), Failed> {
    let lab = Lab::up(EXAMPLE).map_err(|e| e.to_string())?;
    let ends: Vec<End> = lab
        .plan
        .pods()
        .map(|pod| End { namespace: pod, address: pod.address().expect("pods have addresses").into() })
        .collect();
    let patience = kernel::patience(Duration::from_millis(300));
    let start = Instant::now();
    let sound = matrix::matrix(&lab.plan, &ends, patience).map_err(|e| e.to_string())?;
    eprintln!("{} pairs in {:?}", sound.asked(), start.elapsed());
    assert_eq!((sound.answered(), sound.asked()), (12, 12));
    let client = lab.plan.namespace("client").ok_or("no client")?;
    let ask = |question| pair::pair(client, ends[0].address, question, patience).map_err(|e| e.to_string());
    assert!(matches!(ask(Question::Icmp)?, Answer::Yes { .. }));
    assert!(matches!(ask(Question::Tcp(9))?, Answer::Closed { .. }));
    assert!(matches!(ask(Question::Udp(9))?, Answer::Closed { .. }));
    lab.run("node-1", "ip route del 10.100.84.129")?;
    assert_eq!(ask(Question::Icmp)?, Answer::Silence);
    assert_eq!(ask(Question::Tcp(9))?, Answer::Silence);
    let broken = matrix::matrix(&lab.plan, &ends, patience).map_err(|e| e.to_string())?;
    for from in 0..ends.len() {
        for to in 0..ends.len() {
            let touched = [from, to].iter().any(|end| ends[*end].namespace.name == lab.named("{a}"));
            assert_eq!(broken.rtt(from, to).is_some(), from != to && !touched, "{from} to {to}");
        }
    }
    Ok(())
}
