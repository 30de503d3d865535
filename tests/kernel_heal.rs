//! What foreign tools take away comes back as on a real node: by the daemon whose work it is, in that daemon's period, or
//! not at all. Needs root; without it, or without one of the programs, a test is counted as ignored, unless
//! MINIK_REQUIRE is set.

mod kernel;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kernel::lab::Cluster;
use kernel::{Outcome, Test, checked, contains, equal, patience, shell, until, with_bird, words};

const TESTS: &[Test] = &[
    ("host_gw_routes_come_back_within_ten_seconds", &[], host_gw),
    ("direct_routing_s_routes_do_not", &[], direct_routing),
    ("flanneld_s_rules_come_back_and_nobody_else_s", &[], flannel_rules),
    ("flannel_1_set_down_and_up_loses_its_routes_for_good", &["bridge"], vxlan_down_and_up),
    ("vxlan_calico_set_down_and_up_gets_all_back", &["bridge"], felix_vxlan),
    ("felix_hears_of_a_link_that_goes_up", &[], felix_hears),
    ("ipv6_comes_back_as_ipv4_does", &["ip6tables"], ipv6),
    ("bird_s_routes_come_back_at_its_scan", &[], bird_routes),
    ("felix_puts_back_rules_sets_routes_and_devices", &[], felix),
    ("a_bird_that_ends_is_started_again_as_runsv_does", &["bird", "birdc"], bird_killed),
    ("without_healing_a_bird_that_ends_stays_dead", &["bird"], bird_dead),
    ("kube_proxy_looks_for_its_canary_alone", &[], canary),
    ("kube_proxy_s_nftables_come_back_at_its_hourly_sync", &["nft"], nftables),
    ("without_healing_nothing_comes_back", &[], no_heal),
    ("commands_and_healing_do_not_meet", &[], commands),
    ("no_command_waits_for_a_daemon_that_looks", &["flock"], looking),
    ("watch_says_what_is_lost_and_who_put_it_back", &[], watch),
];

fn main() {
    kernel::run(TESTS, &["ip", "iptables", "iptables-save", "ipset"], Some(1));
}

/// A cluster with its daemons.
struct Lab(Cluster);

impl Lab {
    /// A built-in topology or a file, with these options of `up`.
    fn up(tag: &str, mode: &str, options: &[&str]) -> Result<Lab, String> {
        let cluster = Cluster::named(tag).healing();
        cluster.minik(&[&["up", mode], options].concat())?;
        Ok(Lab(cluster))
    }

    /// The cluster of a topology's text.
    fn up_text(tag: &str, text: &str, options: &[&str]) -> Result<Lab, String> {
        let lab = Lab(Cluster::named(tag).healing());
        checked("minik up -", &lab.0.fed(&[&["up", "-"], options].concat(), text)?).map(|_| lab)
    }

    /// Waits until a command on a node prints `part`, for as long as the daemon's period and a margin; says how long it
    /// took.
    fn back(&self, node: &str, command: &str, part: &str, period: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        let limit = period + patience(Duration::from_secs(2));
        loop {
            let text = self.0.exec(node, command)?;
            if text.contains(part) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                let log = std::fs::read_to_string(minik::agent::log_path(&self.0.name)).unwrap_or_default();
                return Err(format!("{part}\nis not back after {limit:?}:\n{text}\nthe agent's log:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails if a command on a node prints `part` at any time of a span.
    fn stays_away(&self, node: &str, command: &str, part: &str, span: Duration) -> Outcome {
        let began = Instant::now();
        while began.elapsed() < span {
            if self.0.exec(node, command)?.contains(part) {
                return Err(format!("{part} is back after {:?}", began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn host_gw() -> Outcome {
    let lab = Lab::up("a", "flannel-host-gw", &[])?;
    let route = "10.244.1.0/24 via 10.1.10.10 dev ens33";
    contains(&lab.0.exec("node-1", "ip route")?, route)?;
    lab.0.exec("node-1", "ip route del 10.244.1.0/24")?;
    contains(&lab.0.status()?, &format!("node-1: missing: route {route}"))?;
    let took = lab.back("node-1", "ip route", route, SECONDS(10))?;
    eprintln!("flannel host-gw's route: back after {took:?}");
    contains(&lab.0.status()?, "drift:     none")
}

fn direct_routing() -> Outcome {
    let lab = Lab::up("b", "flannel-vxlan-directrouting", &[])?;
    let routes = lab.0.exec("node-1", "ip route")?;
    let direct = routes.lines().find(|line| line.starts_with("10.244.") && line.contains("dev ens33"));
    let direct = direct.ok_or_else(|| format!("no direct route in\n{routes}"))?.trim().to_owned();
    lab.0.exec("node-1", &format!("ip route del {direct}"))?;
    lab.stays_away("node-1", "ip route", &direct, SECONDS(11))
}

fn flannel_rules() -> Outcome {
    let lab = Lab::up("c", "flannel-vxlan", &[])?;
    let rules = lab.0.exec("node-1", "iptables -t nat -S FLANNEL-POSTRTG")?;
    let rule = rules.lines().find(|line| line.contains("MASQUERADE")).ok_or("flannel has no MASQUERADE")?;
    let before = lab.0.exec("node-1", "iptables -t nat -S")?;
    lab.0.exec("node-1", &format!("iptables -t nat {}", rule.replacen("-A ", "-D ", 1)))?;
    // Somebody else's rule is none of flanneld's business.
    lab.0.exec("node-1", "iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j ACCEPT")?;
    let took = lab.back("node-1", "iptables -t nat -S FLANNEL-POSTRTG", rule, SECONDS(5))?;
    eprintln!("flanneld's rule: back after {took:?}");
    let after = lab.0.exec("node-1", "iptables -t nat -S")?;
    let others = "-A POSTROUTING -s 192.0.2.0/24 -j ACCEPT\n";
    contains(&after, others)?;
    equal("rules", &before, &after.replace(others, ""))
}

fn vxlan_down_and_up() -> Outcome {
    let lab = Lab::up("d", "flannel-vxlan", &["--heal-speed", "10"])?;
    let (route, entry) = ("10.244.1.0/24 via 10.244.1.0 dev flannel.1", "dst 10.1.10.10");
    contains(&lab.0.exec("node-1", "ip route")?, route)?;
    contains(&lab.0.exec("node-1", "bridge fdb show dev flannel.1")?, entry)?;
    lab.0.exec("node-1", "ip link set flannel.1 down")?;
    lab.0.exec("node-1", "ip link set flannel.1 up")?;
    // Every period of flanneld's passes, ten times as fast.
    lab.stays_away("node-1", "ip route", route, SECONDS(2))?;
    contains(&lab.0.status()?, &format!("node-1: missing: route {route}"))
}

/// In real time: Felix's period for these routes is 90 s, and it hears of links at once.
fn felix_hears() -> Outcome {
    let lab = Lab::up("p", "calico-vxlan", &[])?;
    let on_node = |command: &str| lab.0.exec("node-1", command);
    let (route, peer) = ("10.100.247.0/26 via 10.100.247.0 dev vxlan.calico", "10.100.247.0 lladdr");
    let has_route = || on_node("ip route").is_ok_and(|routes| routes.contains(route));
    // The agent follows a new cluster within a second; before that nobody listens.
    let flapped = || {
        on_node("ip link set vxlan.calico down && ip link set vxlan.calico up").is_ok()
            && lab.back("node-1", "ip route", route, Duration::ZERO).is_ok()
    };
    until("Felix to listen", flapped)?;
    on_node("ip link set vxlan.calico down")?;
    kernel::same("a route through a device that is down", &false, &has_route())?;
    on_node("ip link set vxlan.calico up")?;
    let took = lab.back("node-1", "ip route", route, Duration::ZERO)?;
    eprintln!("Felix's route through vxlan.calico: back after {took:?}");
    lab.back("node-1", "ip neigh show dev vxlan.calico", peer, Duration::ZERO)?;
    let routes = on_node("ip route")?;
    let pod = routes.lines().find(|line| line.contains(" dev cali")).ok_or("no route to a pod")?.trim().to_owned();
    let veth = pod.split_whitespace().nth(2).ok_or("no veth")?;
    on_node(&format!("ip link set {veth} down && ip link set {veth} up"))?;
    lab.back("node-1", "ip route", &pod, Duration::ZERO)?;
    until("no drift", || lab.0.status().is_ok_and(|status| status.contains("drift:     none")))?;
    // A route that somebody removed has to wait for Felix's period: no link went up.
    on_node(&format!("ip route del {pod}"))?;
    lab.stays_away("node-1", "ip route", &pod, SECONDS(2))
}

fn felix_vxlan() -> Outcome {
    let lab = Lab::up("n", "calico-vxlan", &["--heal-speed", "30"])?;
    let on_node = |command: &str| lab.0.exec("node-1", command);
    let (route, peer) = ("10.100.247.0/26 via 10.100.247.0 dev vxlan.calico", "10.100.247.0 lladdr");
    contains(&on_node("ip route")?, route)?;
    on_node("ip link set vxlan.calico down && ip link set vxlan.calico up")?;
    lab.back("node-1", "ip route", route, SECONDS(3))?;
    lab.back("node-1", "ip neigh show dev vxlan.calico", peer, SECONDS(3))?;
    let mac = on_node("ip neigh show dev vxlan.calico")?;
    let mac = mac.split_whitespace().nth(2).ok_or("no MAC")?;
    on_node(&format!("bridge fdb del {mac} dev vxlan.calico dst 10.1.10.10"))?;
    lab.back("node-1", "bridge fdb show dev vxlan.calico", mac, SECONDS(3))?;
    contains(&lab.0.status()?, "drift:     none")
}

fn ipv6() -> Outcome {
    let lab = Lab::up("o", "flannel-host-gw-dualstack", &[])?;
    let route = "fd00:10:244:1::/64 via fd00:10:1:10::10 dev ens33";
    contains(&lab.0.exec("node-1", "ip -6 route")?, route)?;
    contains(&lab.0.minik(&["get", "rules", "node-1"])?, "ip6 nat")?;
    let chain = "ip6tables -t nat -S FLANNEL-POSTRTG";
    let rules = lab.0.exec("node-1", chain)?;
    lab.0.exec("node-1", "ip -6 route del fd00:10:244:1::/64")?;
    lab.0.exec("node-1", "ip6tables -t nat -F FLANNEL-POSTRTG")?;
    contains(&lab.0.status()?, &format!("node-1: missing: route {route}"))?;
    lab.back("node-1", chain, "MASQUERADE", SECONDS(5))?;
    equal(chain, &rules, &lab.0.exec("node-1", chain)?)?;
    let took = lab.back("node-1", "ip -6 route", route, SECONDS(10))?;
    eprintln!("flannel host-gw's route of IPv6: back after {took:?}");
    contains(&lab.0.status()?, "drift:     none")
}

fn bird_routes() -> Outcome {
    let lab = Lab::up("e", "calico-bgp", &[])?;
    let route = "10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird";
    contains(&lab.0.exec("node-1", "ip route")?, route)?;
    lab.0.exec("node-1", "ip route del 10.100.247.0/26")?;
    let took = lab.back("node-1", "ip route", route, SECONDS(2))?;
    eprintln!("BIRD's route: back after {took:?}");
    lab.0.exec("node-1", "ip route flush proto bird")?;
    lab.back("node-1", "ip route", route, SECONDS(2))?;
    lab.back("node-1", "ip route", "blackhole 10.100.84.128/26", SECONDS(0)).map(drop)
}

fn felix() -> Outcome {
    let lab = Lab::up("f", "calico-ipip", &["--heal-speed", "30"])?;
    let ninety = SECONDS(3);
    let before = lab.0.exec("node-1", "iptables -S FORWARD")?;
    lab.0.exec("node-1", "iptables -F cali-FORWARD")?;
    lab.back("node-1", "iptables -S cali-FORWARD", "cali-from-wl-dispatch", ninety)?;
    lab.0.exec("node-1", "iptables -I FORWARD -s 192.0.2.1 -j DROP")?;
    lab.0.exec("node-1", "iptables -D FORWARD 2")?;
    let jump = "-j cali-FORWARD";
    lab.back("node-1", "iptables -S FORWARD", jump, ninety)?;
    lab.0.exec("node-1", "iptables -D FORWARD -s 192.0.2.1 -j DROP")?;
    equal("FORWARD", &before, &lab.0.exec("node-1", "iptables -S FORWARD")?)?;
    lab.0.exec("node-1", "ipset flush cali40masq-ipam-pools")?;
    lab.back("node-1", "ipset list cali40masq-ipam-pools", "10.100.0.0/16", SECONDS(1))?;
    let routes = lab.0.exec("node-1", "ip route")?;
    let pod = routes.lines().find(|line| line.contains("dev cali")).ok_or("no route to a pod")?.trim().to_owned();
    lab.0.exec("node-1", &format!("ip route del {pod}"))?;
    lab.back("node-1", "ip route", &pod, ninety)?;
    lab.0.exec("node-1", "ip link set tunl0 down")?;
    lab.back("node-1", "ip -o link show tunl0", ",UP", SECONDS(1))?;
    lab.back("node-1", "ip route", "10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink", ninety)?;
    contains(&lab.0.status()?, "drift:     none")
}

/// The processes called `bird` in a node's namespace, as `ip` and /proc have them.
fn birds(lab: &Lab, node: &str) -> Result<Vec<i32>, String> {
    let pids = shell(&format!("ip netns pids {}", lab.0.netns(node)))?;
    let is_bird = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "bird\n");
    pids.split_whitespace().filter(|pid| is_bird(pid)).map(|pid| pid.parse().map_err(words)).collect()
}

/// Kills the BIRD of node-1; says how long it took until there was another one.
fn kill_bird(lab: &Lab) -> Result<Duration, String> {
    let before = birds(lab, "node-1")?;
    let [bird] = before[..] else { return Err(format!("not one BIRD: {before:?}")) };
    let began = Instant::now();
    shell(&format!("kill -9 {bird}"))?;
    let another = || birds(lab, "node-1").is_ok_and(|now| now.len() == 1 && now != before);
    until("another BIRD", another)?;
    Ok(began.elapsed())
}

fn bird_killed() -> Outcome {
    let lab = Lab::up_text("l", &with_bird(&kernel::builtin("calico-bgp")?.text), &[])?;
    contains(&lab.0.minik(&["heal"])?, "runsv, for bird, at once")?;
    let watching = Watching::start(&lab, &[])?;
    watching.line(&["watching"], SECONDS(5))?;
    let routes = lab.0.exec("node-1", "ip route")?;
    contains(&routes, "proto bird")?;
    let bird = birds(&lab, "node-1")?.pop().ok_or("no BIRD")?;
    let age = || shell(&format!("ps -o etimes= -p {bird}")).unwrap_or_default();
    until("a BIRD that has run for two seconds", || age().trim().parse::<u64>().is_ok_and(|age| age >= 2))?;
    let took = kill_bird(&lab)?;
    // The one that has just been started: runsv lets a second pass.
    let again = kill_bird(&lab)?;
    eprintln!("BIRD: back after {took:?}, and after {again:?}");
    if took > patience(Duration::from_millis(800)) || again < Duration::from_millis(900) {
        return Err(format!("back after {took:?}, and after {again:?}"));
    }
    equal("routes", &routes, &lab.0.exec("node-1", "ip route")?)?;
    for _ in 0..2 {
        watching.line(&["node-1: missing: process bird"], SECONDS(4))?;
        let line = watching.line(&["node-1: is back: process bird", "runsv put it back"], SECONDS(4))?;
        eprintln!("{line}");
    }
    let status = lab.0.status()?;
    contains(&status, "bird on node-1: process ")?;
    contains(&status, ", started 3 times, ended last with signal 9")?;
    let peers = || lab.0.minik(&["bgp", "status", "node-1"]).is_ok_and(|text| text.contains("Established"));
    until("its session", peers)?;
    until("no drift", || lab.0.status().is_ok_and(|status| status.contains("drift:     none")))
}

fn bird_dead() -> Outcome {
    let lab = Lab::up_text("m", &with_bird(&kernel::builtin("calico-bgp")?.text), &[])?;
    lab.0.minik(&["heal", "off"])?;
    let routes = lab.0.exec("node-1", "ip route")?;
    let bird = birds(&lab, "node-1")?.pop().ok_or("no BIRD")?;
    shell(&format!("kill -9 {bird}"))?;
    until("the end in the status", || {
        lab.0.status().is_ok_and(|status| status.contains("node-1: missing: process bird"))
    })?;
    contains(&lab.0.status()?, "daemon:    bird on node-1: not running, ended last with signal 9")?;
    // Another order to the agent brings it back as little as time does.
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: extra}, spec: {containers: [{name: c, image: nginx}]}}";
    checked("minik apply", &lab.0.fed(&["apply", "-f", "-"], pod)?)?;
    let began = Instant::now();
    while began.elapsed() < SECONDS(2) {
        kernel::same("BIRDs on node-1", &0, &birds(&lab, "node-1")?.len())?;
        std::thread::sleep(Duration::from_millis(50));
    }
    contains(
        &lab.0.exec("node-1", "ip route")?,
        routes.lines().find(|line| line.contains(" proto bird")).unwrap_or("?"),
    )?;
    contains(&lab.0.minik(&["bgp", "status", "node-1"])?, "None of the BGP backend processes")?;
    lab.0.minik(&["heal", "on"])?;
    kernel::same("BIRDs on node-1", &1, &birds(&lab, "node-1")?.len())?;
    until("no drift", || lab.0.status().is_ok_and(|status| status.contains("drift:     none")))
}

fn canary() -> Outcome {
    let text = kernel::builtin("flannel-vxlan")?.text;
    let (head, rest) = text.split_once("\nspec:\n").ok_or("no spec: in the topology")?;
    let text = format!("{head}\nspec:\n  proxy: {{version: \"1.20\"}}\n{rest}");
    let lab = Lab::up_text("g", &text, &["--heal-speed", "20"])?;
    let on_node = |command: &str| lab.0.exec("node-1", command);
    let nat = || on_node("iptables -t nat -S");
    let (before, filter) = (nat()?, on_node("iptables -S")?);
    let jump = "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES";
    contains(&before, jump)?;
    on_node("iptables -t nat -F")?;
    on_node("iptables -F KUBE-FIREWALL")?;
    // Two of kube-proxy's periods of 30 s, and one of kubelet's: the chains are there, so nobody sees that they are empty.
    lab.stays_away("node-1", "iptables -t nat -S", jump, SECONDS(4))?;
    on_node("iptables -t mangle -X KUBE-PROXY-CANARY")?;
    let took = lab.back("node-1", "iptables -t nat -S", jump, Duration::from_millis(1500))?;
    eprintln!("kube-proxy's rules: back after {took:?}, at 20 times its speed");
    // What is in this chain is kubelet's; the rest is kube-proxy's, or flanneld's, who has come before.
    let drop_mark = "-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n";
    equal("rules but for kubelet's", &before.replace(drop_mark, ""), &nat()?)?;
    on_node("iptables -t mangle -S KUBE-PROXY-CANARY")?;
    on_node("iptables -t mangle -X KUBE-KUBELET-CANARY")?;
    lab.back("node-1", "iptables -t nat -S", drop_mark.trim_end(), SECONDS(3))?;
    equal("rules", &before, &nat()?)?;
    equal("rules", &filter, &on_node("iptables -S")?)?;
    contains(&lab.0.status()?, "drift:     none")
}

fn nftables() -> Outcome {
    let text = kernel::builtin("flannel-vxlan")?.text;
    let (head, rest) = text.split_once("\nspec:\n").ok_or("no spec: in the topology")?;
    let text = format!("{head}\nspec:\n  proxy: {{mode: nftables}}\n{rest}");
    let lab = Lab::up_text("p", &text, &["--heal-speed", "1800"])?;
    contains(&lab.0.minik(&["heal"])?, "kube-proxy every 3600 s")?;
    let rule = "vmap @service-ips";
    contains(&lab.0.exec("node-1", "nft list ruleset")?, rule)?;
    for command in ["nft flush chain ip kube-proxy services", "nft delete table ip kube-proxy"] {
        // Asked in the same breath: its hour may end in the next.
        let left = lab.0.exec("node-1", &format!("{command} && nft list ruleset"))?;
        if left.contains(rule) {
            return Err(format!("after `{command}`:\n{left}"));
        }
        lab.back("node-1", "nft list ruleset", rule, SECONDS(2))?;
        contains(&lab.0.status()?, "drift:     none")?;
    }
    Ok(())
}

fn no_heal() -> Outcome {
    let lab = Lab::up("i", "calico-bgp", &["--no-heal", "--heal-speed", "10"])?;
    let route = "10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird";
    lab.0.exec("node-1", "ip route del 10.100.247.0/26")?;
    lab.stays_away("node-1", "ip route", route, SECONDS(3))?;
    contains(&lab.0.status()?, "healing:   off")?;
    contains(&lab.0.minik(&["heal", "on"])?, "on: felix every 10 and 90 s, bird every 2 s")?;
    lab.back("node-1", "ip route", route, SECONDS(2))?;
    contains(&lab.0.minik(&["heal", "off"])?, "off")?;
    lab.0.exec("node-1", "ip route del 10.100.247.0/26")?;
    lab.stays_away("node-1", "ip route", route, SECONDS(2))
}

fn commands() -> Outcome {
    // Timers that run off all the time, and commands beside them that change what the timers go by.
    let lab = Lab::up("j", "calico-bgp", &["--heal-speed", "1000"])?;
    for mode in ["flannel-vxlan", "flannel-host-gw", "kube-router", "calico-bgp"] {
        lab.0.minik(&["switch", mode])?;
        contains(&lab.0.status()?, "drift:     none").map_err(|e| format!("{mode}: {e}"))?;
    }
    lab.0.exec("node-1", "ip route del 10.100.247.0/26")?;
    lab.back("node-1", "ip route", "10.100.247.0/26 via 10.1.10.10", SECONDS(1)).map(drop)
}

fn looking() -> Outcome {
    // Tables of very many Services take seconds to print: here as long as the file `hold` is there.
    let dir = tempfile::tempdir().map_err(words)?;
    let [hold, looks, tool] = ["hold", "looks", "iptables-save"].map(|name| dir.path().join(name));
    let real = shell("command -v iptables-save")?;
    let script = format!(
        "#!/bin/sh\nturns=0\nwhile [ -e {} ] && [ $turns -lt 1000 ]; do : >{}; turns=$((turns + 1)); sleep 0.02; done\n\
         exec {} \"$@\"\n",
        hold.display(),
        looks.display(),
        real.trim()
    );
    std::fs::write(&tool, script).map_err(words)?;
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).map_err(words)?;
    let lab = Lab(Cluster::named("l").healing());
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").map_err(words)?);
    let up = lab.0.command(&["up", "flannel-vxlan", "--heal-speed", "10"]).env("PATH", path).output();
    checked("minik up", &up.map_err(words)?)?;
    let rule = "-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT";
    contains(&lab.0.exec("node-1", "iptables -S FLANNEL-FWD")?, rule)?;
    std::fs::write(&hold, "").map_err(words)?;
    lab.0.exec("node-1", &format!("iptables {}", rule.replacen("-A ", "-D ", 1)))?;
    until("a daemon that looks at the rules", || looks.exists())?;
    shell(&format!("flock --nonblock {} true", minik::kernel::state::dir(&lab.0.name).join("healing").display()))?;
    lab.0.minik(&["label", "pod", "two-containers", "seen=yes"])?;
    std::fs::remove_file(&hold).map_err(words)?;
    lab.back("node-1", "iptables -S FLANNEL-FWD", rule, SECONDS(1)).map(drop)
}

/// `minik watch`, ended with the test.
struct Watching(Child, Receiver<String>);

impl Watching {
    fn start(lab: &Lab, options: &[&str]) -> Result<Watching, String> {
        let mut command = lab.0.command(&[&["watch"], options].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let (send, lines) = channel();
        let output = child.stdout.take().ok_or("no stdout")?;
        let notes = child.stderr.take().ok_or("no stderr")?;
        for reader in [Box::new(output) as Box<dyn std::io::Read + Send>, Box::new(notes)] {
            let send = send.clone();
            std::thread::spawn(move || {
                // The test may be over.
                BufReader::new(reader).lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
            });
        }
        Ok(Watching(child, lines))
    }

    /// The next line with all of these words.
    fn line(&self, words: &[&str], limit: Duration) -> Result<String, String> {
        let deadline = Instant::now() + patience(limit);
        let mut seen = Vec::new();
        loop {
            match self.1.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return Ok(line),
                Ok(line) => seen.push(line),
                Err(e) => return Err(format!("no line with {words:?} ({e}):\n{}", seen.join("\n"))),
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch() -> Outcome {
    // What is lost must be there to see before it is back.
    let speed = (30 / kernel::slowness()).to_string();
    let lab = Lab::up("k", "calico-bgp", &["--heal-speed", &speed])?;
    let watching = Watching::start(&lab, &[])?;
    watching.line(&["watching"], SECONDS(5))?;
    lab.0.exec("node-1", "ip route del 10.100.247.0/26")?;
    watching.line(&["node-1: missing: route 10.100.247.0/26"], SECONDS(2))?;
    let line = watching.line(&["node-1: is back: route 10.100.247.0/26", "bird put it back"], SECONDS(5))?;
    eprintln!("{line}");
    lab.0.exec("node-2", "ip route add 192.0.2.0/24 via 10.1.10.2")?;
    watching.line(&["node-2: not in the plan: route 192.0.2.0/24"], SECONDS(2))?;
    lab.0.exec("node-2", "ip route del 192.0.2.0/24")?;
    watching.line(&["node-2: is gone: route 192.0.2.0/24", "by other hands"], SECONDS(3))?;
    drop(watching);
    let watching = Watching::start(&lab, &["-o", "json"])?;
    lab.0.exec("node-1", "iptables -F cali-FORWARD")?;
    let line = watching.line(&["cali-FORWARD", "appeared"], SECONDS(5))?;
    let object: serde_json::Value = serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))?;
    match (object["drift"].as_str(), object["namespace"].as_str()) {
        (Some("missing"), Some("node-1")) => {}
        _ => return Err(line),
    }
    watching.line(&["cali-FORWARD", "\"event\":\"gone\"", "\"healedBy\":\"felix\""], SECONDS(8))?;
    // Chains that are gone as a whole, not only their rules.
    lab.0.exec("node-1", "iptables -F && iptables -X")?;
    watching.line(&["-A cali-FORWARD", "\"event\":\"gone\"", "\"healedBy\":\"felix\""], SECONDS(8))?;
    drop(watching);
    // Nobody reads: it ends by itself, though nothing happens.
    let mut command = lab.0.command(&["watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(words)?;
    drop(child.stdout.take());
    let ended = until("the end of a watch that nobody reads", || matches!(child.try_wait(), Ok(Some(_))));
    if ended.is_err() {
        child.kill().map_err(words)?;
    }
    ended
}
