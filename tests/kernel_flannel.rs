//! flannel's modes in the kernel, judged by programs that are not ours: ip, bridge, ping, tcpdump, iptables. What is
//! expected is what real nodes of flannel v0.28.9 show. Needs root; without it, or without one of the programs, a test is
//! counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::Cluster;
use kernel::tcpdump::Dump;
use kernel::{Outcome, Test, contains, equal, same, shell, until};
use serde_json::{Value, json};

const TESTS: &[Test] = &[
    ("vxlan_s_device_and_entries_are_flanneld_s", &["bridge"], vxlan_device),
    ("vxlan_is_vxlan_on_the_wire", &["ping", "tcpdump"], vxlan_wire),
    ("host_gw_is_bare_on_the_wire", &["ping", "tcpdump"], host_gw),
    ("host_gw_behind_a_router_is_refused_and_leaves_nothing", &[], host_gw_far),
    ("direct_routing_is_bare_inside_and_vxlan_across", &["bridge", "ping", "tcpdump"], direct_routing),
    ("udp_s_device_and_route_are_flanneld_s", &[], udp_device),
    ("udp_is_bare_ip_in_udp_on_the_wire", &["ping", "tcpdump"], udp_wire),
    ("udp_takes_two_from_the_ttl_in_silence", &["ping"], udp_ttl),
    ("udp_answers_for_subnets_that_nobody_has", &["ping", "tcpdump"], udp_nobody),
    ("udp_passes_the_node_s_own_chains", &["ping"], udp_filtered),
    ("udp_comes_back_with_the_agent", &["ping"], udp_restarted),
    ("rules_are_flanneld_s_in_every_mode", &[], rules),
    ("subnet_env_is_in_every_node", &[], subnet_env),
    ("the_config_map_decides_the_mode", &[], config_map),
];

const MODES: [(&str, &str); 4] = [
    ("flannel-vxlan", "1450"),
    ("flannel-vxlan-directrouting", "1450"),
    ("flannel-host-gw", "1500"),
    ("flannel-udp", "1472"),
];

fn main() {
    kernel::run(TESTS, &["ip", "iptables", "iptables-restore"], None);
}

/// The routes of a node that lead to pods, as `ip -j route` has them: destination, gateway, device and flags.
fn pod_routes(cluster: &Cluster, node: &str) -> Result<Vec<[String; 4]>, String> {
    let routes = cluster.json(node, "ip -j route")?;
    let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let flags = |route: &Value| route["flags"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let rows = routes.as_array().into_iter().flatten();
    let rows = rows.map(|route| [text(route, "dst"), text(route, "gateway"), text(route, "dev"), flags(route)]);
    Ok(rows.filter(|row| row[0].starts_with("10.244.") && row[2] != "cni0").collect())
}

/// The parts of `expected`, whatever else there is.
fn holds(what: &str, expected: &Value, seen: &Value) -> Outcome {
    match expected {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| holds(key, value, &seen[key])),
        _ => same(what, expected, seen),
    }
}

/// What one ping from a pod of `from` to a pod of `to` and its answer look like on the NIC of `to`; `ttl` is that of the
/// answer in the end.
fn ping_seen(cluster: &Cluster, from: &str, to: &str, filter: &str, ttl: u8) -> Result<(String, String), String> {
    let ((pod, source), (_, target)) = (cluster.pod_on(from)?, cluster.pod_on(to)?);
    let dump = Dump::on(cluster, (to, "ens33"), "-lnnve", 2, filter)?;
    contains(&cluster.exec(&pod, &format!("ping -n -c 1 -W 2 {target}"))?, &format!("ttl={ttl} "))?;
    Ok((dump.text()?, format!("{source} > {target}: ICMP echo request")))
}

/// A ping that must stay without an answer.
fn no_answer(cluster: &Cluster, from: &str, arguments: &str) -> Result<String, String> {
    let seen = cluster.exec(from, &format!("ping -n -c 1 -W 1 {arguments} || true"))?;
    contains(&seen, " 0 received")?;
    Ok(seen)
}

/// A counter of a tunnel, of which `minik status` must speak.
fn counter(cluster: &Cluster, node: &str, name: &str) -> Result<Option<u64>, String> {
    let status = cluster.status_json()?;
    let netns = cluster.netns(node);
    let tunnels = status["agent"]["tunnels"].as_array().cloned().unwrap_or_default();
    let tunnel = tunnels.iter().find(|tunnel| tunnel["netns"] == netns.as_str() && tunnel["device"] == "flannel0");
    let counters = tunnel.ok_or("no flannel0 in the status")?["counters"].as_array().cloned().unwrap_or_default();
    Ok(counters.iter().find(|counter| counter[0] == name).and_then(|counter| counter[1].as_u64()))
}

fn vxlan_device() -> Outcome {
    let cluster = Cluster::up("fvd", "flannel-vxlan")?;
    let macs: Vec<Value> = ["node-1", "node-2"]
        .iter()
        .map(|node| Ok(cluster.json(node, "ip -j link show dev flannel.1")?[0]["address"].clone()))
        .collect::<Result<_, String>>()?;
    let link = cluster.json("node-1", "ip -d -j link show dev flannel.1")?;
    let data = json!({"id": 1, "local": "10.1.10.9", "link": "ens33", "port": 8472, "learning": false});
    holds("flannel.1", &json!({"mtu": 1450, "linkinfo": {"info_kind": "vxlan", "info_data": data}}), &link[0])?;
    contains(&cluster.exec("node-1", "ip address show dev flannel.1")?, "inet 10.244.0.0/32 scope global flannel.1")?;
    let neighbours = cluster.json("node-1", "ip -j neigh show dev flannel.1")?;
    same("neighbours", &json!([{"dst": "10.244.1.0", "lladdr": macs[1], "state": ["PERMANENT"]}]), &neighbours)?;
    let fdb = cluster.json("node-1", "bridge -j fdb show dev flannel.1")?;
    let entry = json!([{"mac": macs[1], "dst": "10.1.10.10", "flags": ["self"], "state": "permanent"}]);
    // Older programs name the device in each entry though they were asked for one.
    same("entries of the FDB", &1, &fdb.as_array().map_or(0, Vec::len))?;
    holds("FDB", &entry[0], &fdb[0])?;
    let route = ["10.244.1.0/24", "10.244.1.0", "flannel.1", "\"onlink\""].map(str::to_owned);
    same("routes of node-1", &vec![route], &pod_routes(&cluster, "node-1")?)?;
    let bridge = cluster.json("node-1", "ip -d -j link show dev cni0")?;
    holds("cni0", &json!({"mtu": 1450, "linkinfo": {"info_kind": "bridge"}}), &bridge[0])?;
    contains(&cluster.exec("node-1", "ip address show dev cni0")?, "inet 10.244.0.1/24 brd 10.244.0.255 scope global")
}

fn vxlan_wire() -> Outcome {
    let cluster = Cluster::up("fvw", "flannel-vxlan")?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "udp port 8472", 62)?;
    contains(&seen, "length 148: (tos 0x0, ttl 64,")?;
    contains(&seen, "> 10.1.10.10.8472:")?;
    contains(&seen, &echo)
}

fn host_gw() -> Outcome {
    let cluster = Cluster::up("fhg", "flannel-host-gw")?;
    let route = ["10.244.1.0/24", "10.1.10.10", "ens33", ""].map(str::to_owned);
    same("routes of node-1", &vec![route], &pod_routes(&cluster, "node-1")?)?;
    if cluster.exec("node-1", "ip link")?.contains("flannel") {
        return Err("nothing is encapsulated, so there is no device of flannel's".to_owned());
    }
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "icmp", 62)?;
    contains(&seen, "length 98: (tos 0x0, ttl 63,")?;
    contains(&seen, &echo)
}

/// Two nodes with a router between them, and then what decides the mode.
const FAR: &str = "
apiVersion: minik.dev/v1
kind: Cluster
metadata: {name: far}
spec:
  segments:
  - {name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}
  - {name: far, subnet: 10.1.20.0/24, router: 10.1.20.2}
  nodes:
  - {name: node-1, address: 10.1.10.9}
  - {name: node-2, address: 10.1.20.9}
  network: {cni: flannel-host-gw}
";

fn host_gw_far() -> Outcome {
    let cluster = Cluster::named("ffar");
    let output = cluster.fed(&["up", "-"], FAR)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    same("exit code", &Some(2), &output.status.code())?;
    contains(&error, "`ip route add 10.244.1.0/24 via 10.1.20.9 dev ens33` is refused")?;
    contains(&error, "hint: put all nodes on one segment, or take flannel-vxlan-directrouting")?;
    if shell("ip netns list")?.contains(&cluster.name) || minik::kernel::state::dir(&cluster.name).exists() {
        return Err("something is left of it".to_owned());
    }
    Ok(())
}

fn direct_routing() -> Outcome {
    let cluster = Cluster::up("fdr", "flannel-vxlan-directrouting")?;
    let near = ["10.244.1.0/24", "10.1.10.10", "ens33", ""].map(str::to_owned);
    let far = ["10.244.2.0/24", "10.244.2.0", "flannel.1", "\"onlink\""].map(str::to_owned);
    same("routes of node-1", &vec![near, far], &pod_routes(&cluster, "node-1")?)?;
    let fdb = cluster.exec("node-1", "bridge fdb show dev flannel.1")?;
    contains(&fdb, "dst 10.1.20.9 self permanent")?;
    let neighbours = cluster.exec("node-1", "ip neigh show dev flannel.1")?;
    same("entries for the near node", &(1, 1), &(fdb.lines().count(), neighbours.lines().count()))?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "icmp", 62)?;
    contains(&seen, "length 98: (tos 0x0, ttl 63,")?;
    contains(&seen, &echo)?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-3", "udp port 8472", 62)?;
    contains(&seen, "length 148: (tos 0x0, ttl 63,")?;
    contains(&seen, &echo)
}

fn udp_device() -> Outcome {
    let cluster = Cluster::up("fud", "flannel-udp")?;
    let link = cluster.json("node-1", "ip -d -j link show dev flannel0")?;
    let expected = json!({"mtu": 1472, "link_type": "none", "operstate": "UP", "linkinfo": {"info_kind": "tun"}});
    holds("flannel0", &expected, &link[0])?;
    contains(&cluster.exec("node-1", "ip address show dev flannel0")?, "inet 10.244.0.0/32 scope global flannel0")?;
    let route = ["10.244.0.0/16", "", "flannel0", ""].map(str::to_owned);
    same("routes of node-1", &vec![route], &pod_routes(&cluster, "node-1")?)?;
    contains(&cluster.exec("node-1", "ss -Hulpn sport = 8285")?, "10.1.10.9:8285")?;
    contains(&cluster.minik(&["verify"])?, " 0 failed, 0 skipped")
}

fn udp_wire() -> Outcome {
    let cluster = Cluster::up("fuw", "flannel-udp")?;
    // 16 bytes after the start of the UDP header is the TTL of the inner packet: 64, less by node-1 and by its flannel0.
    let (seen, _) = ping_seen(&cluster, "node-1", "node-2", "udp port 8285 and udp[16]=62", 60)?;
    let headers = seen.lines().filter(|line| line.contains("length 126: (tos 0x0, ttl 64,")).count();
    same("datagrams of 98 bytes less the Ethernet header and 42 bytes of headers", &2, &headers)?;
    same("datagrams that must not be fragmented", &2, &seen.matches("flags [DF], proto UDP (17), length 112").count())?;
    contains(&seen, "10.1.10.9.8285 > 10.1.10.10.8285: UDP, length 84")?;
    contains(&seen, "10.1.10.10.8285 > 10.1.10.9.8285: UDP, length 84")?;
    let ((pod, _), (_, target)) = (cluster.pod_on("node-1")?, cluster.pod_on("node-2")?);
    let dump = Dump::on(&cluster, ("node-2", "flannel0"), "-lnnve", 1, "icmp[0]=8")?;
    cluster.exec(&pod, &format!("ping -n -c 1 -W 2 {target}"))?;
    contains(&dump.text()?, "ttl 61,")
}

fn udp_ttl() -> Outcome {
    let cluster = Cluster::up("fut", "flannel-udp")?;
    let ((pod, _), (_, target)) = (cluster.pod_on("node-1")?, cluster.pod_on("node-2")?);
    contains(&no_answer(&cluster, &pod, &format!("-t 1 {target}"))?, "Time to live exceeded")?;
    for (ttl, node, cause) in [(2, "node-1", "dropped: TtlOut"), (3, "node-2", "dropped: TtlIn")] {
        let seen = no_answer(&cluster, &pod, &format!("-t {ttl} {target}"))?;
        if seen.contains("Time to live exceeded") {
            return Err(format!("flannel's proxy drops in silence, but:\n{seen}"));
        }
        same(cause, &Some(1), &counter(&cluster, node, cause)?)?;
    }
    contains(&no_answer(&cluster, &pod, &format!("-t 4 {target}"))?, "Time to live exceeded")?;
    contains(&cluster.exec(&pod, &format!("ping -n -c 1 -W 2 -t 5 {target}"))?, " 1 received")
}

/// flannel's proxy speaks from the device's own address, and so into the wind: what comes with an address of the node's
/// as source is a martian to the kernel, unless it is told to take it.
fn udp_nobody() -> Outcome {
    let cluster = Cluster::up("fun", "flannel-udp")?;
    let (pod, address) = cluster.pod_on("node-1")?;
    no_answer(&cluster, &pod, "10.244.7.7")?;
    same("packets that no node takes", &Some(1), &counter(&cluster, "node-1", "dropped: NoRoute")?)?;
    let at_device = Dump::on(&cluster, ("node-1", "flannel0"), "-lnnve", 2, "icmp[0]=3")?;
    let at_pod = Dump::on(&cluster, (&pod, "eth0"), "-lnnve", 1, "icmp[0]=3")?;
    let said = format!("10.244.0.0 > {address}: ICMP net 10.244.7.7 unreachable, length 36");
    cluster.exec(&pod, "bash -c 'echo x >/dev/udp/10.244.7.7/1053'")?;
    cluster.exec("node-1", "sh -c 'echo 1 >/proc/sys/net/ipv4/conf/flannel0/accept_local'")?;
    cluster.exec(&pod, "bash -c 'echo x >/dev/udp/10.244.7.7/1054'")?;
    let (at_device, at_pod) = (at_device.text()?, at_pod.text()?);
    contains(&at_pod, "ttl 7,")?;
    contains(&at_pod, &said)?;
    contains(&at_pod, "> 10.244.7.7.1054")?;
    same(
        "messages of the proxy's, of TTL 8",
        &(2, 2),
        &(at_device.matches(&said).count(), at_device.matches("ttl 8,").count()),
    )?;
    contains(&at_device, "> 10.244.7.7.1053")
}

fn udp_filtered() -> Outcome {
    let cluster = Cluster::up("fuf", "flannel-udp")?;
    let ((pod, _), (_, target)) = (cluster.pod_on("node-1")?, cluster.pod_on("node-2")?);
    let rule = "iptables -I OUTPUT -p udp --dport 8285 -j DROP";
    cluster.exec("node-1", rule)?;
    no_answer(&cluster, &pod, &target)?;
    same("refused packets", &Some(1), &counter(&cluster, "node-1", "dropped: Filtered")?)?;
    contains(&cluster.exec("node-1", "iptables -vxnL OUTPUT")?, "       1      112 DROP ")?;
    cluster.exec("node-1", &rule.replace("-I", "-D"))?;
    cluster.exec("node-2", "iptables -I INPUT -i ens33 -p udp --dport 8285 -j DROP")?;
    no_answer(&cluster, &pod, &target)?;
    contains(&cluster.exec("node-2", "iptables -vxnL INPUT")?, "       1      112 DROP ")
}

fn udp_restarted() -> Outcome {
    let cluster = Cluster::up("fur", "flannel-udp")?;
    let ((pod, _), (_, target)) = (cluster.pod_on("node-1")?, cluster.pod_on("node-2")?);
    shell(&format!("kill -9 {}", cluster.agent()?))?;
    let carried = || cluster.exec("node-1", "ip link show dev flannel0").is_ok_and(|link| !link.contains("NO-CARRIER"));
    until("flannel0 without a carrier", || !carried())?;
    cluster.minik(&["agent", "restart"])?;
    contains(&cluster.exec(&pod, &format!("ping -n -c 1 -W 2 {target}"))?, " 1 received")
}

/// What `iptables -S` and `iptables -t nat -S` list of flannel's on node-1.
const RULES: &str = "\
-N FLANNEL-FWD
-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
-N FLANNEL-POSTRTG
-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/24 -d 10.244.0.0/16 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully
";

fn rules() -> Outcome {
    for (mode, _) in MODES {
        let cluster = Cluster::up("frl", mode)?;
        let listed = cluster.exec("node-1", "iptables -S")? + &cluster.exec("node-1", "iptables -t nat -S")?;
        let seen: String =
            listed.lines().filter(|line| line.contains("FLANNEL")).map(|line| format!("{line}\n")).collect();
        equal(&format!("rules of {mode}"), RULES, &seen)?;
    }
    Ok(())
}

fn subnet_env() -> Outcome {
    for (mode, mtu) in MODES {
        let cluster = Cluster::up("fse", mode)?;
        for (number, node) in cluster.plan()?.nodes().enumerate() {
            let seen = cluster.minik(&["exec", &node.name, "--", "cat", "/run/flannel/subnet.env"])?;
            let expected = format!(
                "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{number}.1/24\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
            );
            equal(&format!("subnet.env of {mode}"), &expected, &seen)?;
        }
    }
    Ok(())
}

fn config_map() -> Outcome {
    let near = FAR.replace("10.1.20.9", "10.1.10.10").replace("  network: {cni: flannel-host-gw}\n", "");
    let backends = [
        (r#", "Backend": {"Type": "vxlan"}"#, "flannel-vxlan"),
        (r#", "Backend": {"Type": "vxlan", "DirectRouting": true}"#, "flannel-vxlan-directrouting"),
        (r#", "Backend": {"Type": "host-gw"}"#, "flannel-host-gw"),
        (r#", "Backend": {"Type": "udp"}"#, "flannel-udp"),
        ("", "flannel-udp"),
    ];
    for (backend, mode) in backends {
        let cluster = Cluster::named("fcm");
        let conf = format!(r#"{{"Network": "10.240.0.0/16"{backend}}}"#);
        let map = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-flannel-cfg, namespace: kube-flannel}}\n\
             data:\n  net-conf.json: '{conf}'\n"
        );
        let output = cluster.fed(&["up", "-"], &(near.clone() + &map))?;
        contains(&String::from_utf8_lossy(&output.stderr), &format!(": {mode} with 2 nodes and 0 pods is up"))?;
        contains(&cluster.exec("node-2", "ip route")?, "10.240.0.0/")?;
        cluster.minik(&["down"])?;
    }
    Ok(())
}
