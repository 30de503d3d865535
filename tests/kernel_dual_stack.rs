//! IPv6 beside IPv4 in the kernel, in every mode that has it, judged by programs that are not ours: ip, bridge, ping,
//! tcpdump, ip6tables, curl. Needs root; without it, or without one of the programs, a test is counted as ignored, with
//! the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::Cluster;
use kernel::tcpdump::Dump;
use kernel::{Outcome, Test, contains, same};
use serde_json::Value;

const TESTS: &[Test] = &[
    ("calico_s_pods_route_by_a_link_local_gateway", &["ping"], calico_bgp),
    ("calico_s_vxlan_of_ipv6_is_in_ipv6", &["bridge", "ping", "tcpdump"], calico_vxlan),
    ("flannel_s_vxlan_of_ipv6_is_flannel_v6", &["bridge", "ping", "tcpdump"], flannel_vxlan),
    ("host_gw_has_routes_of_both_families", &["ping"], host_gw),
    ("the_bridge_plugin_masquerades_both_families", &["ping", "tcpdump"], bridge),
    ("a_gateway_is_asked_for_by_its_solicited_node_address", &["ping", "tcpdump"], discovery),
    ("services_have_addresses_of_the_families_that_they_ask_for", &["curl"], services),
    ("a_cluster_without_ipv6_is_silent", &[], silent),
];

fn main() {
    kernel::run(TESTS, &["ip", "ip6tables", "ip6tables-restore"], None);
}

/// A pod of a node, with its IPv6 address.
fn pod_on(cluster: &Cluster, node: &str) -> Result<(String, String), String> {
    let (pod, _) = cluster.pod_on(node)?;
    let shown = cluster.json(&pod, "ip -j -6 address show dev eth0 scope global")?;
    let infos = shown[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let own = infos.iter().find_map(|info| info["local"].as_str()).ok_or("the pod has no IPv6 address")?;
    Ok((pod, own.to_owned()))
}

/// The first packet passes, and comes back with this hop limit: nobody waits for addresses to settle.
fn reaches(cluster: &Cluster, from: &str, to: &str, ttl: u8) -> Outcome {
    contains(&cluster.exec(from, &format!("ping -6 -n -c 1 -W 2 {to}"))?, &format!("ttl={ttl} "))
}

/// Pods, nodes and the client reach each other, and the kernel holds what the plan says. `client` is the hop limit with
/// which answers come to the client: over node-1, by which it asks, only if node-1 masquerades.
fn all_reach(cluster: &Cluster, client: u8) -> Outcome {
    let ((one, _), (other, far)) = (pod_on(cluster, "node-1")?, pod_on(cluster, "node-2")?);
    reaches(cluster, &one, &far, 62)?;
    reaches(cluster, &one, "fd00:10:1:10::8", 63)?;
    reaches(cluster, &one, "fd00:10:1:10::9", 64)?;
    reaches(cluster, "node-2", &far, 64)?;
    reaches(cluster, "node-1", &far, 63)?;
    reaches(cluster, "client", &far, client)?;
    reaches(cluster, &other, "fd00:10:1:10::2", 63)?;
    contains(&cluster.status()?, "drift:     none")
}

fn calico_bgp() -> Outcome {
    let cluster = Cluster::up("dsb", "calico-bgp-dualstack")?;
    all_reach(&cluster, 63)?;
    let (pod, own) = pod_on(&cluster, "node-1")?;
    let routes = cluster.exec(&pod, "ip -6 route")?;
    contains(&routes, "default via fe80::ecee:eeff:feee:eeee dev eth0")?;
    contains(&routes, &format!("{own} dev eth0 proto kernel"))?;
    let node = cluster.exec("node-1", "ip -6 route")?;
    contains(&node, "via fd00:10:1:10::10 dev ens33 proto bird")?;
    contains(&node, "blackhole fd00:10:100:")?;
    let veth = node.lines().find(|line| line.starts_with(&format!("{own} dev cali"))).ok_or("no route to the pod")?;
    let veth = veth.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let proxy = cluster.exec("node-1", &format!("cat /proc/sys/net/ipv6/conf/{veth}/proxy_ndp"))?;
    same("proxy_ndp", "1", proxy.trim())?;
    // Nobody tests whether an address is taken: nothing is tentative when `up` is back.
    same("tentative addresses", "", cluster.exec("node-1", "ip -6 address show tentative")?.trim())?;
    let rules = cluster.exec("node-1", "ip6tables-save")?;
    for number in [130, 131, 132, 133, 135, 136] {
        contains(&rules, &format!("-m icmp6 --icmpv6-type {number} -j ACCEPT"))?;
    }
    contains(
        &rules,
        "--match-set cali60masq-ipam-pools src -m set ! --match-set cali60all-ipam-pools dst -j MASQUERADE",
    )?;
    let shown = cluster.minik(&["bgp", "status", "node-1"])?;
    contains(&shown, "| fd00:10:1:10::10 | node-to-node mesh | up")?;
    contains(&cluster.minik(&["get", "nodes", "-o", "wide"])?, "fd00:10:1:10::9/64")?;
    // Felix turns proxying on and gives it nobody to answer for: pods route by a link-local address.
    same("neighbours that a node answers for", "", cluster.exec("node-1", "ip -6 neigh show proxy")?.trim())?;
    told(&cluster, &pod, &own)
}

/// What is listed and described has both families, the first one being the pod's address.
fn told(cluster: &Cluster, pod: &str, six: &str) -> Outcome {
    let name = pod.split_once('/').map_or(pod, |(_, name)| name);
    let object: Value =
        serde_json::from_str(&cluster.minik(&["get", "pod", name, "-o", "json"])?).map_err(kernel::words)?;
    let status = &object["status"];
    let four = status["podIP"].as_str().ok_or("no podIP")?;
    same("podIPs", &serde_json::json!([{ "ip": four }, { "ip": six }]), &status["podIPs"])?;
    let hosts = serde_json::json!([{ "ip": "10.1.10.9" }, { "ip": "fd00:10:1:10::9" }]);
    same("hostIPs", &hosts, &status["hostIPs"])?;
    let wide = cluster.minik(&["get", "pods", "-o", "wide"])?;
    let row = wide.lines().find(|line| line.starts_with(name)).ok_or("the pod is not listed")?;
    same(
        "the one address of a list",
        &vec![four],
        &row.split_whitespace().filter(|cell| cell.contains(['.', ':'])).collect(),
    )?;
    let described = cluster.minik(&["describe", "pod", name])?;
    contains(&described, &format!("IP:              {four}\nIPs:\n  IP:            {four}\n  IP:            {six}\n"))?;
    same("blocks of the pod", &2, &described.matches("\nBlock:").count())?;
    let node = cluster.minik(&["describe", "node", "node-1"])?;
    contains(
        &node,
        "Addresses:\n  InternalIP:    10.1.10.9\n  InternalIP:    fd00:10:1:10::9\n  Hostname:      node-1\n",
    )?;
    contains(&node, &format!("{four},{six}"))?;
    contains(&cluster.minik(&["get", "ippools"])?, "default-ipv6-ippool   fd00:10:100::/48")?;
    contains(&cluster.minik(&["get", "blocks"])?, "| IP Pool  | fd00:10:100::/48")
}

/// What tcpdump sees on the NIC of node-2 of a ping between pods of two nodes.
fn on_the_wire(cluster: &Cluster, filter: &str) -> Result<String, String> {
    let ((one, _), (_, far)) = (pod_on(cluster, "node-1")?, pod_on(cluster, "node-2")?);
    let dump = Dump::on(cluster, ("node-2", "ens33"), "-lnnve", 2, filter)?;
    reaches(cluster, &one, &far, 62)?;
    dump.text()
}

fn calico_vxlan() -> Outcome {
    let cluster = Cluster::up("dsv", "calico-vxlan-dualstack")?;
    all_reach(&cluster, 63)?;
    let link = cluster.exec("node-1", "ip -d link show dev vxlan-v6.calico")?;
    contains(&link, "mtu 1430")?;
    contains(&link, "vxlan id 4096 local fd00:10:1:10::9 dev ens33")?;
    contains(&link, "dstport 4789 nolearning")?;
    let mac = cluster.json("node-2", "ip -j link show dev vxlan-v6.calico")?[0]["address"].clone();
    let mac = mac.as_str().ok_or("no Ethernet address")?;
    contains(
        &cluster.exec("node-1", "bridge fdb show dev vxlan-v6.calico")?,
        &format!("{mac} dst fd00:10:1:10::10 self permanent"),
    )?;
    contains(&cluster.exec("node-1", "ip -6 neigh show dev vxlan-v6.calico")?, &format!("lladdr {mac} PERMANENT"))?;
    let seen = on_the_wire(&cluster, "udp port 4789")?;
    contains(&seen, "fd00:10:1:10::9.")?;
    contains(&seen, "> fd00:10:1:10::10.4789: ")?;
    contains(&seen, "VXLAN, flags [I] (0x08), vni 4096")?;
    contains(&seen, "ICMP6, echo request")
}

fn flannel_vxlan() -> Outcome {
    let cluster = Cluster::up("dsf", "flannel-vxlan-dualstack")?;
    all_reach(&cluster, 62)?;
    let link = cluster.exec("node-1", "ip -d link show dev flannel-v6.1")?;
    contains(&link, "mtu 1430")?;
    contains(&link, "vxlan id 1 local fd00:10:1:10::9 dev ens33")?;
    contains(&link, "dstport 8472 nolearning")?;
    let routes = cluster.exec("node-1", "ip -6 route")?;
    contains(&routes, "fd00:10:244:1::/64 via fd00:10:244:1:: dev flannel-v6.1 metric 1024 onlink")?;
    contains(&cluster.exec("node-1", "ip -6 neigh show dev flannel-v6.1")?, "fd00:10:244:1:: lladdr")?;
    contains(&cluster.exec("node-1", "bridge fdb show dev flannel-v6.1")?, "dst fd00:10:1:10::10 self permanent")?;
    contains(&cluster.exec("node-1", "cat /proc/sys/net/ipv6/conf/flannel-v6.1/accept_ra")?, "0")?;
    let rules = cluster.exec("node-1", "ip6tables -t nat -S FLANNEL-POSTRTG")?;
    contains(&rules, "-s fd00:10:244::/56 ! -d ff00::/8 -m comment --comment \"flanneld masq\" -j MASQUERADE")?;
    let seen = on_the_wire(&cluster, "udp port 8472")?;
    contains(&seen, "> fd00:10:1:10::10.8472: ")?;
    contains(&seen, "OTV, flags [I] (0x08), overlay 0, instance 1")?;
    // A pod may send more than the device takes: its node says so.
    let ((one, _), (_, far)) = (pod_on(&cluster, "node-1")?, pod_on(&cluster, "node-2")?);
    let long = cluster.exec(&one, &format!("ping -6 -n -c 2 -i 0.2 -W 2 -M do -s 1402 {far} || true"))?;
    contains(&long, "Packet too big: mtu=1430")
}

fn host_gw() -> Outcome {
    let cluster = Cluster::up("dsh", "flannel-host-gw-dualstack")?;
    all_reach(&cluster, 62)?;
    contains(&cluster.exec("node-1", "ip -6 route")?, "fd00:10:244:1::/64 via fd00:10:1:10::10 dev ens33")?;
    contains(
        &cluster.minik(&["describe", "node", "node-1"])?,
        "PodCIDR:         10.244.0.0/24\nPodCIDRs:        10.244.0.0/24,fd00:10:244::/64\n",
    )
}

fn bridge() -> Outcome {
    let cluster = Cluster::up("dsp", "bridge-dualstack")?;
    let (pod, own) = pod_on(&cluster, "node-1")?;
    contains(&cluster.exec(&pod, "ip -6 route")?, "default via fd00:22::1 dev eth0")?;
    let dump = Dump::on(&cluster, ("client", "ens33"), "-lnn", 2, "icmp6 and ip6[40] >= 128 and ip6[40] <= 129")?;
    reaches(&cluster, &pod, "fd00:10:1:10::8", 63)?;
    let seen = dump.text()?;
    contains(&seen, "IP6 fd00:10:1:10::9 > fd00:10:1:10::8: ICMP6, echo request")?;
    let chains = cluster.exec("node-1", "ip6tables -t nat -S")?;
    contains(&chains, &format!("-A POSTROUTING -s {own}/128"))?;
    // The same chain in both families, as the name is a hash of network and container.
    let jumps = |text: &str| text.lines().filter(|line| line.starts_with("-N CNI-")).map(str::to_owned).collect();
    let (six, four): (Vec<String>, Vec<String>) =
        (jumps(&chains), jumps(&cluster.exec("node-1", "iptables -t nat -S")?));
    same("chains", &four, &six)?;
    contains(&cluster.status()?, "drift:     none")
}

fn discovery() -> Outcome {
    let cluster = Cluster::up("dsd", "calico-bgp-dualstack")?;
    let (pod, _) = pod_on(&cluster, "node-1")?;
    cluster.exec(&pod, "ip -6 neigh flush dev eth0")?;
    let dump = Dump::on(&cluster, (&pod, "eth0"), "-lnn", 2, "icmp6 and (ip6[40] == 135 or ip6[40] == 136)")?;
    reaches(&cluster, &pod, "fd00:10:1:10::8", 63)?;
    let seen = dump.text()?;
    contains(&seen, "> ff02::1:ffee:eeee: ICMP6, neighbor solicitation, who has fe80::ecee:eeff:feee:eeee")?;
    contains(&seen, "IP6 fe80::ecee:eeff:feee:eeee >")?;
    contains(&seen, "neighbor advertisement, tgt is fe80::ecee:eeff:feee:eeee")
}

fn services() -> Outcome {
    let builtin = kernel::builtin("flannel-host-gw-dualstack")?.text.clone();
    let service = |name: &str, extra: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{extra}, selector: {{app: web}}, \
             ports: [{{port: 80}}]}}\n"
        )
    };
    let both = service("both", "ipFamilyPolicy: PreferDualStack");
    let six = service("six", "type: NodePort, ipFamilies: [IPv6]");
    let local = service(
        "local",
        "type: LoadBalancer, ipFamilies: [IPv6], externalTrafficPolicy: Local, healthCheckNodePort: 31000",
    );
    let cluster = Cluster::up_text("dss", &format!("{builtin}{both}{six}{local}"))?;
    let address = |name: &str| -> Result<Vec<String>, String> {
        let shown: Value =
            serde_json::from_str(&cluster.minik(&["get", "svc", name, "-o", "json"])?).map_err(kernel::words)?;
        let ips = shown["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
        Ok(ips.iter().filter_map(|ip| ip.as_str().map(str::to_owned)).collect())
    };
    let (both, six) = (address("both")?, address("six")?);
    same("families", &vec![false, true, true], &both.iter().chain(&six).map(|ip| ip.contains(':')).collect())?;
    let (pod, _) = pod_on(&cluster, "node-1")?;
    for ip in [format!("[{}]", both[1]), format!("[{}]", six[0]), both[0].clone()] {
        contains(&cluster.exec(&pod, &format!("curl -s -m 5 -g http://{ip}/"))?, "Welcome to nginx!")?;
    }
    let rules = cluster.exec("node-1", "ip6tables-save -t nat")?;
    let port = rules.lines().filter(|line| line.starts_with("-A KUBE-NODEPORTS")).find_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| *word == "--dport")?;
        words.next().map(str::to_owned)
    });
    let port = port.ok_or_else(|| format!("no node port in\n{rules}"))?;
    let line = format!("curl -s -m 5 -g http://[fd00:10:1:10::10]:{port}/");
    contains(&cluster.exec("client", &line)?, "Welcome to nginx!")?;
    // A Service that has IPv6 alone is asked after as others are, over either family.
    let web: Value =
        serde_json::from_str(&cluster.minik(&["get", "pod", "web", "-o", "json"])?).map_err(kernel::words)?;
    let count = usize::from(web["spec"]["nodeName"] == "node-1");
    for node in ["10.1.10.9", "[fd00:10:1:10::9]"] {
        let answer = cluster.exec("client", &format!("curl -s -m 5 -g http://{node}:31000/"))?;
        contains(&answer, "\"name\": \"local\"")?;
        contains(&answer, &format!("\"localEndpoints\": {count}"))?;
    }
    contains(&cluster.status()?, "drift:     none")
}

fn silent() -> Outcome {
    let cluster = Cluster::up("dsn", "flannel-vxlan")?;
    for what in ["client", "gateway"] {
        same(what, "", cluster.exec(what, "ip -6 address")?.trim())?;
    }
    let (pod, _) = cluster.pod_on("node-1")?;
    same("the pod", "", cluster.exec(&pod, "ip -6 address")?.trim())
}
