//! kube-proxy's ipvs mode on a real kernel: ipvsadm, ipset, iptables-save, ip and curl are the judges, and `minik verify`
//! tries every way.
//!
//! Needs root, ip_vs and dummy devices; without them every test but that of the refusal is counted as ignored, with the
//! reason in its name, unless MINIK_REQUIRE is set.

#![allow(clippy::disallowed_methods, reason = "tests start what they check")]

mod kernel;

use std::os::unix::process::CommandExt;
use std::process::Command;

use kernel::lab::{Cluster, of};
use kernel::objects::{NOBODY, SERVICE, deployment};
use kernel::{Outcome, contains, equal, until, words};
use libtest_mimic::{Arguments, Failed, Trial};
use minik::kernel::features;
use minik::plan::{Datapath, Ipvs, Link, LinkKind, Namespace, Plan, Role, Table, restore};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Services of other sorts than those of [`objects`].
const MORE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: kept}
spec:
  type: LoadBalancer
  clusterIP: 10.96.7.2
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: [10.1.10.8/32]
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376, nodePort: 30081}]
status: {loadBalancer: {ingress: [{ip: 10.1.10.200}]}}
---
apiVersion: v1
kind: Service
metadata: {name: stays}
spec:
  type: NodePort
  clusterIP: 10.96.7.5
  externalTrafficPolicy: Local
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 9376, nodePort: 30082}
  - {name: signal, port: 3868, protocol: SCTP, targetPort: 3868, nodePort: 30083}
";

/// One with addresses of both families.
const BOTH: &str = "---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  clusterIPs: [10.96.7.6, \"fd00:10:96::76\"]
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376, nodePort: 30084}]
";

/// Three pods, and Services of every sort.
fn objects() -> String {
    deployment(3) + SERVICE + MORE + NOBODY
}

/// Whether this kernel has IPVS with this scheduler.
fn has_ipvs() -> bool {
    let mut ns = Namespace::new("x", "n", "n", Role::Node);
    ns.links.push(Link { up: false, ..Link::new("kube-ipvs0", LinkKind::Dummy) });
    ns.ipvs = Some(Ipvs::default());
    let plan = Plan { cluster: "x".into(), mode: "m".into(), datapath: Datapath::Userspace, namespaces: vec![ns] };
    features::require_parts(&plan).is_ok()
}

fn with_proxy(mode: &str, options: &str) -> Result<String, String> {
    let text = kernel::builtin(mode)?.text;
    let proxy = format!("\n  proxy: {{mode: ipvs{options}}}\n  network:");
    let text = text.replacen("\n  network:", &proxy, 1);
    contains(&text, "mode: ipvs")?;
    Ok(text + &objects())
}

fn up(mode: &str, tag: &str, options: &str) -> Result<Cluster, String> {
    Cluster::up_text(tag, &with_proxy(mode, options)?)
}

fn as_planned(cluster: &Cluster) -> Outcome {
    contains(&cluster.status()?, "drift:     none")
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Lines of `ipset save` without what the kernel chose by itself.
fn members(text: &str) -> String {
    let cut = |line: &str| {
        line.split(" bucketsize").next().unwrap_or_default().split(" initval").next().unwrap_or_default().to_owned()
    };
    sorted(&text.lines().map(cut).collect::<Vec<_>>().join("\n"))
}

fn a_node_shows_what_a_real_one_shows() -> Outcome {
    let cluster = up("flannel-host-gw", "show", ", ipvs: {strictARP: true, tcpTimeout: 15m, udpTimeout: 5m30s}")?;
    let plan = cluster.plan()?;
    for node in plan.nodes() {
        let name = node.name.as_str();
        let device = cluster.exec(name, "ip -d -o link show kube-ipvs0")?;
        contains(&device, "<BROADCAST,NOARP>")?;
        contains(&device, "state DOWN")?;
        contains(&device, " dummy ")?;
        let addresses = cluster.exec(name, "ip -o -4 address show dev kube-ipvs0")?;
        for address in
            ["10.96.7.1/32", "10.96.7.2/32", "10.96.7.3/32", "10.96.7.5/32", "10.1.10.77/32", "10.1.10.200/32"]
        {
            contains(&addresses, &format!(" inet {address} scope global kube-ipvs0"))?;
        }
        let ipvs = node.ipvs.as_ref().ok_or("no ipvs in the plan")?;
        equal("ipvsadm -Sn", &sorted(&ipvs.restore()), &sorted(&cluster.exec(name, "ipvsadm -Sn")?))?;
        contains(&cluster.exec(name, "ipvsadm -L --timeout")?, "900 120 330")?;
        equal(
            "ipset save",
            &members(&restore::ipset_restore(&node.sets)),
            &members(&cluster.exec(name, "ipset save")?),
        )?;
        rules_are("iptables-save", &node.tables, &cluster.exec(name, "iptables-save")?)?;
        for (key, value) in [
            ("net.ipv4.vs.conntrack", "1"),
            ("net.ipv4.vs.expire_nodest_conn", "1"),
            ("net.ipv4.vs.expire_quiescent_template", "1"),
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
        ] {
            equal(key, value, cluster.exec(name, &format!("sysctl -n {key}"))?.trim())?;
        }
    }
    let saved = cluster.minik(&["rules", "save", "node-1"])?;
    contains(&saved, "# node-1: ipvsadm -Sn\n")?;
    contains(&saved, "-A -t 10.96.7.1:80 -s rr\n")?;
    as_planned(&cluster)?;
    // What somebody changes is seen.
    cluster.exec("node-1", "ipvsadm -D -t 10.96.7.3:80; ip address del 10.96.7.3/32 dev kube-ipvs0; ipset del KUBE-CLUSTER-IP 10.96.7.3,tcp:80")?;
    let drift = cluster.status()?;
    contains(&drift, "missing: ipvs -A -t 10.96.7.3:80 -s rr")?;
    contains(&drift, "missing: address 10.96.7.3/32 dev kube-ipvs0")?;
    contains(&drift, "missing: set: add KUBE-CLUSTER-IP 10.96.7.3,tcp:80")
}

/// Every rule of a plan's tables is in a dump, and none besides.
fn rules_are(command: &str, tables: &[Table], dump: &str) -> Outcome {
    let saved = restore::normalised(dump);
    for table in tables {
        let text = restore::table(table);
        let begin = saved.find(&format!("*{}\n", table.name.as_str())).ok_or("a table is missing")?;
        let end = saved[begin..].find("COMMIT\n").ok_or("no end")?;
        equal(command, &sorted(&text), &sorted(&saved[begin..begin + end + 7]))?;
    }
    Ok(())
}

/// Servers, sets and rules of IPv6, with Felix's chains for what IPVS sends on; and connections by them.
fn both_families_are_balanced() -> Outcome {
    let cluster = Cluster::named("six");
    let text = kernel::builtin("calico-bgp-dualstack")?.text + &deployment(2) + BOTH;
    kernel::checked("minik up", &cluster.fed(&["up", "-", "--proxy", "ipvs"], &text)?)?;
    let plan = cluster.plan()?;
    for node in plan.nodes() {
        let name = node.name.as_str();
        let ipvs = node.ipvs.as_ref().ok_or("no ipvs in the plan")?;
        contains(&ipvs.restore(), "-A -t [fd00:10:96::76]:80 -s rr -p 10800\n-a -t [fd00:10:96::76]:80 -r [fd00:")?;
        equal("ipvsadm -Sn", &sorted(&ipvs.restore()), &sorted(&cluster.exec(name, "ipvsadm -Sn")?))?;
        contains(
            &cluster.exec(name, "ip -o -6 address show dev kube-ipvs0")?,
            " inet6 fd00:10:96::76/128 scope global ",
        )?;
        let saved = cluster.exec(name, "ip6tables-save")?;
        rules_are("ip6tables-save", &node.tables6, &saved)?;
        contains(&saved, "-g cali-forward-endpoint-mark")?;
    }
    as_planned(&cluster)?;
    let pod = cluster.pod_on("node-1")?.0;
    for (from, to) in
        [(pod.as_str(), "[fd00:10:96::76]"), ("node-2", "[fd00:10:96::76]"), ("client", "[fd00:10:1:10::9]:30084")]
    {
        let names = answers(&cluster, from, to, 4)?;
        if names.len() != 1 {
            return Err(format!("{from} to {to} came to {names:?}"));
        }
    }
    checks_pass(&cluster, 8)
}

/// kube-proxy goes through all that it made every half minute; here sixty times as often.
fn what_is_lost_comes_back() -> Outcome {
    let cluster = Cluster::named("heal").healing();
    let text = with_proxy("flannel-host-gw", ", version: \"1.20\"")?;
    kernel::checked("minik up", &cluster.fed(&["up", "-", "--heal-speed", "60"], &text)?)?;
    let spoil = "ipvsadm -C; ip address flush dev kube-ipvs0; iptables -t nat -F KUBE-SERVICES; iptables -t nat -F KUBE-FIREWALL";
    cluster.exec("node-1", spoil)?;
    until("all of it to be as planned", || as_planned(&cluster).is_ok())
}

/// Every way is as it was predicted, and who asks is answered.
fn verifies(mode: &'static str) -> Outcome {
    let cluster = Cluster::named(&format!("v{}", mode.len()));
    let text = kernel::builtin(mode)?.text + &objects();
    kernel::checked("minik up", &cluster.fed(&["up", "-", "--proxy", "ipvs"], &text)?)?;
    checks_pass(&cluster, 20)
}

/// `minik verify` finds no fault, whether or not all can be tried, and tries at least so many ways to Services.
fn checks_pass(cluster: &Cluster, least: usize) -> Outcome {
    let (code, checks) = cluster.verify()?;
    let failed = checks.iter().filter(|check| of(check, "result") == "fail");
    let lines: Vec<String> = failed
        .map(|check| ["name", "from", "to", "reason"].map(|field| of(check, field).to_owned()).join(" | "))
        .collect();
    if !matches!(code, Some(0 | 3)) || !lines.is_empty() {
        return Err(format!("verify ended with {code:?}\n{}", lines.join("\n")));
    }
    let ways = checks.iter().filter(|check| of(check, "name").starts_with("service-")).count();
    if ways < least {
        return Err(format!("only {ways} ways to Services were tried"));
    }
    Ok(())
}

/// The names that answered so many connections from a namespace.
fn answers(cluster: &Cluster, from: &str, to: &str, count: usize) -> Result<Vec<String>, String> {
    let line = format!("for i in $(seq {count}); do curl -s -m 10 http://{to}/; echo; done");
    let mut names: Vec<String> = cluster.exec(from, &line)?.split_whitespace().map(str::to_owned).collect();
    if names.len() != count {
        return Err(format!("{} of {count} connections from {from} to {to} were answered", names.len()));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn curl_comes_to_every_endpoint_and_is_refused_where_nobody_is() -> Outcome {
    let cluster = up("flannel-host-gw", "curl", "")?;
    let pod = cluster.pod_on("node-1")?.0;
    for (from, to, expected) in [
        ("client", "10.1.10.9:30080", 3),
        ("client", "10.1.10.10:30080", 3),
        ("node-1", "10.96.7.1", 3),
        (pod.as_str(), "10.96.7.1", 3),
        (pod.as_str(), "10.1.10.77", 3),
        // One client keeps its endpoint.
        ("client", "10.1.10.9:30081", 1),
    ] {
        let names = answers(&cluster, from, to, 12)?;
        if names.len() != expected {
            return Err(format!("{from} to {to} came to {names:?}"));
        }
    }
    let refused = |from: &str, to: &str| -> Outcome {
        match cluster.exec(from, &format!("curl -s -m 10 http://{to}/ || echo \"exit $?\""))?.trim() {
            // At once: "couldn't connect", not a timeout.
            "exit 7" => Ok(()),
            other => Err(format!("{from} to {to}: {other}")),
        }
    };
    refused(&pod, "10.96.7.3")?;
    refused("node-1", "10.96.7.3")?;
    // The node's own programs are not to be had by a Service's address.
    refused(&pod, "10.96.7.1:22")?;
    contains(&cluster.exec(&pod, "ping -c1 -W2 10.96.7.1 || :")?, "Destination Port Unreachable")?;
    // A load balancer's address lets in who is in its ranges.
    let dropped = cluster.exec("node-1", "curl -s -m 2 http://10.1.10.200/ || echo \"exit $?\"")?;
    contains(&dropped, "exit 28")
}

fn endpoints_come_and_go_and_who_is_connected_is_waited_for() -> Outcome {
    let cluster = up("flannel-host-gw", "change", "")?;
    let lines = || cluster.exec("node-1", "ipvsadm -Sn");
    let of_web = |text: &str| text.lines().filter(|line| line.starts_with("-a -t 10.96.7.1:80 ")).count();
    cluster.minik(&["scale", "deploy/web", "--replicas", "4"])?;
    if of_web(&lines()?) != 4 {
        return Err(format!("not four real servers:\n{}", lines()?));
    }
    as_planned(&cluster)?;
    contains(&cluster.minik(&["rules", "diff", "node-1"])?, "+-a -t 10.96.7.1:80 -r ")?;
    // One connection to each endpoint, held open from node-1; then three of the endpoints go.
    let hold = "for i in 1 2 3 4; do nc -d 10.96.7.1 80 & done; wait";
    let mut child = Command::new("ip")
        .args(["netns", "exec", &cluster.netns("node-1"), "sh", "-c", hold])
        .process_group(0)
        .spawn()
        .map_err(words)?;
    let result = connected(&cluster);
    let group = Pid::from_raw(-i32::try_from(child.id()).map_err(words)?);
    kill(group, Signal::SIGKILL).map_err(words)?;
    child.wait().map_err(words)?;
    result?;
    as_planned(&cluster)?;
    cluster.minik(&["delete", "svc", "web"])?;
    if lines()?.contains("10.96.7.1:") || lines()?.contains(":30080") {
        return Err(format!("a deleted Service has servers:\n{}", lines()?));
    }
    as_planned(&cluster)
}

fn connected(cluster: &Cluster) -> Outcome {
    let lines = || cluster.exec("node-1", "ipvsadm -Sn");
    let quiet = |text: &str| {
        text.lines().filter(|line| line.starts_with("-a -t 10.96.7.1:80 ") && line.ends_with(" -w 0")).count()
    };
    until("connections to all endpoints", || {
        let active = cluster.exec("node-1", "ipvsadm -Ln -t 10.96.7.1:80").unwrap_or_default();
        active.lines().filter(|line| line.trim_start().starts_with("->") && line.contains("Masq    1      1")).count()
            == 4
    })?;
    // One that is not ready gets no new connection, and some again when it is.
    let pods = cluster.minik(&["get", "pods", "-o", "name"])?;
    let pod = pods.lines().find_map(|line| line.strip_prefix("pod/").filter(|name| name.starts_with("web-")));
    let pod = pod.ok_or("no pod")?;
    for (arguments, expected) in [(&["ready", "--not", pod][..], 1), (&["ready", pod][..], 0)] {
        cluster.minik(arguments)?;
        if quiet(&lines()?) != expected {
            return Err(format!("{arguments:?}: not {expected} real servers without new connections:\n{}", lines()?));
        }
        as_planned(cluster)?;
    }
    cluster.minik(&["scale", "deploy/web", "--replicas", "1"])?;
    if quiet(&lines()?) != 3 {
        return Err(format!("not three real servers that wait for their end:\n{}", lines()?));
    }
    as_planned(cluster)?;
    as_planned(cluster)
}

fn schedulers_are_the_kernel_s() -> Outcome {
    let cluster = up("flannel-host-gw", "sched", ", ipvs: {scheduler: sh}")?;
    contains(&cluster.exec("node-1", "ipvsadm -Sn")?, "-A -t 10.96.7.1:80 -s sh\n")?;
    // By the client's address: always the same.
    let names = answers(&cluster, "client", "10.1.10.9:30080", 8)?;
    if names.len() != 1 { Err(format!("sh sent one client to {names:?}")) } else { as_planned(&cluster) }
}

fn the_proxy_s_mode_can_be_chosen_for_any_file() -> Outcome {
    let cluster = Cluster::named("word");
    let text = kernel::builtin("bridge")?.text + &objects();
    kernel::checked("minik up", &cluster.fed(&["up", "-", "--proxy", "ipvs", "--iptables", "legacy"], &text)?)?;
    let version = "ipvsadm -Sn | grep -c 10.96.7.1:80";
    if cluster.exec("node-1", version)?.trim() == "0" {
        return Err("no virtual server".to_owned());
    }
    as_planned(&cluster)
}

/// Nothing is built where the kernel has no IPVS, and the cure is said.
fn where_there_is_none_it_is_refused() -> Outcome {
    let cluster = Cluster::named("none");
    let said = cluster.refused(&["up", "flannel-host-gw", "--proxy", "ipvs"], 4)?;
    contains(&said, "IPVS")?;
    contains(&said, "ip_vs")?;
    contains(&said, "--proxy iptables")?;
    if minik::kernel::state::dir(&cluster.name).exists() {
        return Err("something of it is left".to_owned());
    }
    contains(&cluster.minik(&["plan", "flannel-host-gw", "--proxy", "ipvs"])?, "kube-ipvs0")
}

fn main() {
    let root = kernel::not_root();
    let has = root.is_none() && has_ipvs();
    let mut trials: Vec<Trial> = Vec::new();
    let tools = ["ip", "ipset", "iptables", "ipvsadm", "curl"];
    let missing = || root.clone().or_else(|| (!has).then(|| "no ip_vs".to_owned())).or_else(|| kernel::lacking(&tools));
    let tests: [kernel::Test; 7] = [
        ("a_node_shows_what_a_real_one_shows", &[], a_node_shows_what_a_real_one_shows),
        ("both_families_are_balanced", &["ip6tables"], both_families_are_balanced),
        ("what_is_lost_comes_back", &[], what_is_lost_comes_back),
        ("curl_comes_to_every_endpoint", &[], curl_comes_to_every_endpoint_and_is_refused_where_nobody_is),
        ("endpoints_come_and_go", &["nc"], endpoints_come_and_go_and_who_is_connected_is_waited_for),
        ("schedulers_are_the_kernel_s", &[], schedulers_are_the_kernel_s),
        ("the_proxy_s_mode_can_be_chosen", &[], the_proxy_s_mode_can_be_chosen_for_any_file),
    ];
    for (name, needs, test) in tests {
        let missing = missing().or_else(|| kernel::lacking(needs));
        trials.push(kernel::trial(name, missing, move || test().map_err(Failed::from)));
    }
    for mode in ["flannel-host-gw", "calico-ipip"] {
        let test = move || verifies(mode).map_err(Failed::from);
        trials.push(kernel::trial(format!("{mode}_verifies"), missing(), test));
    }
    if root.is_some() || !has {
        let refused = || where_there_is_none_it_is_refused().map_err(Failed::from);
        trials.push(kernel::trial("where_there_is_none_it_is_refused", root, refused));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}
