//! Every mode's own cluster passes `minik verify` cold and warm, and what is broken by hand in a bridge, a VXLAN
//! device or a macvlan device is caught and named. Through the program, as a user runs it.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::{Cluster, of};
use libtest_mimic::{Arguments, Failed};
use minik::topology::Mode;
use serde_json::Value;

fn failures(checks: &[Value]) -> String {
    let failed = checks.iter().filter(|check| of(check, "result") != "pass");
    let line = |check: &Value| {
        let [name, from, to, reason] = ["name", "from", "to", "reason"].map(|field| of(check, field).to_owned());
        format!("{name} from {from} to {to}: {reason}\n")
    };
    failed.map(line).collect()
}

fn sound(mode: Mode) -> Result<(), Failed> {
    let cluster = Cluster::up(mode.name(), mode.name())?;
    for round in ["cold", "warm", "again"] {
        let (code, checks) = cluster.verify()?;
        if code != Some(0) || checks.is_empty() {
            return Err(format!("{round}: exit code {code:?}, {} checks\n{}", checks.len(), failures(&checks)).into());
        }
    }
    Ok(())
}

/// Something broken by hand, and what must come of it.
struct Twin {
    name: &'static str,
    mode: Mode,
    /// Namespace and command line that break it.
    breaks: (&'static str, &'static str),
    /// A check that must fail.
    check: &'static str,
    /// What its reason must hold: place, field, cause.
    says: &'static [&'static str],
    /// A check that must go on to pass.
    spares: &'static str,
}

const TWINS: &[Twin] = &[
    Twin {
        name: "an FDB entry is gone",
        mode: Mode::FlannelVxlan,
        breaks: (
            "node-1",
            "mac=$(bridge fdb show dev flannel.1 | awk '/dst 10.1.10.10/ { print $1 }'); \
             bridge fdb del $mac dev flannel.1 dst 10.1.10.10",
        ),
        check: "pod-to-pod-cross-node/icmp",
        says: &["node-1/ens33 out: the request not seen; last seen node-1/flannel.1 out", "10.1.10.10"],
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "an FDB entry leads to another host",
        mode: Mode::FlannelVxlan,
        breaks: (
            "node-1",
            "mac=$(bridge fdb show dev flannel.1 | awk '/dst 10.1.10.10/ { print $1 }'); \
             bridge fdb replace $mac dev flannel.1 dst 10.1.10.8 self permanent",
        ),
        check: "pod-to-pod-cross-node/icmp",
        says: &["node-1/ens33 out", "10.1.10.10"],
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "the VTEP has another MAC than its peers know",
        mode: Mode::FlannelVxlan,
        breaks: ("node-2", "ip link set flannel.1 address 02:00:00:00:00:77"),
        check: "pod-to-pod-cross-node/udp",
        says: &["node-2/cni0 out: the request not seen; last seen node-2/flannel.1 in", "02:00:00:00:00:77"],
        spares: "pod-to-other-node/icmp",
    },
    Twin {
        name: "VXLAN's port is filtered",
        mode: Mode::FlannelVxlan,
        breaks: ("node-2", "iptables -I INPUT -p udp --dport 8472 -j DROP"),
        check: "pod-to-pod-cross-node/tcp",
        says: &["node-2/flannel.1 in: the request not seen; last seen node-2/ens33 in", "UDP to port 8472"],
        spares: "pod-to-other-node/icmp",
    },
    Twin {
        name: "a port is not in hairpin mode",
        mode: Mode::FlannelHostGw,
        breaks: ("node-1", "for p in $(ls /sys/class/net | grep veth); do bridge link set dev $p hairpin off; done"),
        check: "hairpin/icmp",
        says: &["node-1/veth", "out: the request not seen", "hairpin"],
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "a route to another node's pods is gone",
        mode: Mode::FlannelHostGw,
        breaks: ("node-1", "ip route del 10.244.1.0/24"),
        check: "pod-to-pod-cross-node/icmp",
        says: &["node-1/ens33 out", "missing: route 10.244.1.0/24 via 10.1.10.10 dev ens33"],
        spares: "pod-to-pod-same-node/icmp",
    },
    Twin {
        name: "br_netfilter shows bridged packets to a rule that drops them",
        mode: Mode::FlannelHostGw,
        breaks: ("node-1", "iptables -I FORWARD -m physdev --physdev-is-bridged -j DROP"),
        check: "pod-to-pod-same-node/udp",
        says: &["node-1/veth", "br_netfilter"],
        spares: "pod-to-pod-cross-node/udp",
    },
    Twin {
        name: "nothing keeps a promiscuous bridge from sending twice",
        mode: Mode::Kubenet,
        breaks: ("node-1", "ebtables -F KUBE-DEDUP"),
        check: "pod-to-pod-same-node/icmp",
        says: &["node-1/veth", "out: seen where nothing should be"],
        spares: "pod-to-pod-cross-node/icmp",
    },
    Twin {
        name: "the lower device is down",
        mode: Mode::Macvlan,
        breaks: ("node-1", "ip link set ens33 down"),
        check: "pod-to-pod-same-node/icmp",
        says: &["eth0"],
        spares: "pod-to-pod-same-node/udp",
    },
];

fn caught(number: usize, twin: &Twin) -> Result<(), Failed> {
    let cluster = Cluster::up(&format!("t{number}"), twin.mode.name())?;
    cluster.exec(twin.breaks.0, twin.breaks.1)?;
    let (code, checks) = cluster.verify()?;
    let wrong = |what: &str| Failed::from(format!("{what}\n{}", failures(&checks)));
    if code != Some(1) {
        return Err(wrong(&format!("exit code {code:?}")));
    }
    let named = |check: &&Value| {
        let says = |what: &&str| of(check, "reason").contains(what);
        of(check, "name") == twin.check && of(check, "result") == "fail" && twin.says.iter().all(says)
    };
    if !checks.iter().any(|check| named(&check)) {
        return Err(wrong(&format!("no {} that says {:?}", twin.check, twin.says)));
    }
    let passes = |check: &Value| of(check, "name") == twin.spares && of(check, "result") == "pass";
    if checks.iter().any(passes) { Ok(()) } else { Err(wrong(&format!("no {} passes", twin.spares))) }
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Two at a time: each waits more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let mut trials = Vec::new();
    for &mode in Mode::ALL {
        trials.push(kernel::trial(format!("{mode} passes every check"), kernel::not_root(), move || sound(mode)));
    }
    for (number, twin) in TWINS.iter().enumerate() {
        let name = format!("caught in {}: {}", twin.mode, twin.name);
        let no_mode = || (!Mode::ALL.contains(&twin.mode)).then(|| format!("no mode {}", twin.mode));
        trials.push(kernel::trial(name, kernel::not_root().or_else(no_mode), move || caught(number, twin)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
