//! Calico's modes in the kernel, judged by programs that are not ours: ip, bridge, ping, tcpdump, iptables. What is
//! expected is what real nodes of Calico v3.18 show. Needs root; without it, or without one of the programs, a test is
//! counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::Cluster;
use kernel::tcpdump::Dump;
use kernel::{Outcome, Test, builtin, contains, equal};

const TESTS: &[Test] = &[
    ("bgp_is_bare_on_the_wire", &["ping", "tcpdump"], bgp),
    ("crosssubnet_is_bare_inside_and_ipip_across", &["ping", "tcpdump"], ipip_crosssubnet),
    ("vxlan_calico_is_felix_s", &["bridge"], vxlan_device),
    ("vxlan_is_vxlan_on_the_wire", &["ping", "tcpdump"], vxlan_wire),
    ("vxlan_crosssubnet_routes_as_felix_does", &[], vxlan_crosssubnet),
    ("pools_of_several_encapsulations_pass_every_check", &[], mixed_pools),
    ("bgp_behind_a_router_fails_as_the_plan_says", &[], far_bgp),
    ("sessions_are_shown_as_calicoctl_shows_them", &["iptables"], sessions),
    ("lists_are_calicoctls", &[], lists),
];

fn main() {
    kernel::run(TESTS, &["ip", "iptables-restore", "ipset"], None);
}

/// The lines of `ip route` in a node that lead to blocks.
fn block_routes(cluster: &Cluster, node: &str) -> Result<String, String> {
    let routes = cluster.exec(node, "ip route")?;
    let blocks = routes.lines().map(str::trim_end).filter(|line| line.contains("/26"));
    Ok(blocks.collect::<Vec<_>>().join("\n"))
}

/// What one ping from a pod of `from` to a pod of `to` looks like on the NIC of `to`.
fn ping_seen(cluster: &Cluster, from: &str, to: &str, filter: &str) -> Result<(String, String), String> {
    let ((pod, source), (_, target)) = (cluster.pod_on(from)?, cluster.pod_on(to)?);
    let dump = Dump::on(cluster, (to, "ens33"), "-lnne", 2, filter)?;
    contains(&cluster.exec(&pod, &format!("ping -n -c 1 -W 2 {target}"))?, "ttl=62")?;
    Ok((dump.text()?, format!("{source} > {target}: ICMP echo request")))
}

fn bgp() -> Outcome {
    let cluster = Cluster::up("bgp", "calico-bgp")?;
    equal(
        "routes of node-1",
        "blackhole 10.100.84.128/26 proto bird\n10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird",
        &block_routes(&cluster, "node-1")?,
    )?;
    let (pod, _) = cluster.pod_on("node-1")?;
    contains(&cluster.exec(&pod, "ip link show dev eth0")?, "mtu 1500")?;
    if cluster.exec("node-1", "ip link")?.contains("tunl0:") {
        return Err("nothing is encapsulated, so Felix makes no tunl0".to_owned());
    }
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "icmp")?;
    contains(&seen, &format!("length 98: {echo}"))
}

fn ipip_crosssubnet() -> Outcome {
    let cluster = Cluster::up("ipx", "calico-ipip-crosssubnet")?;
    equal(
        "routes of node-1",
        "blackhole 10.100.84.128/26 proto bird\n\
         10.100.139.64/26 via 10.1.20.11 dev tunl0 proto bird onlink\n\
         10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird",
        &block_routes(&cluster, "node-1")?,
    )?;
    let (pod, _) = cluster.pod_on("node-1")?;
    contains(&cluster.exec(&pod, "ip link show dev eth0")?, "mtu 1480")?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "icmp")?;
    contains(&seen, &format!("length 98: {echo}"))?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-3", "ip proto 4")?;
    let seen = seen.replace("10.1.20.11: 10.", "10.1.20.11: IP 10.");
    contains(&seen, &format!("length 118: 10.1.10.9 > 10.1.20.11: IP {echo}"))
}

fn vxlan_device() -> Outcome {
    let cluster = Cluster::up("vxd", "calico-vxlan")?;
    let link = cluster.exec("node-1", "ip -d link show dev vxlan.calico")?;
    contains(&link, "mtu 1450")?;
    contains(&link, "link/ether 66:b3:68:28:39:8e")?;
    contains(&link, "vxlan id 4096 local 10.1.10.9 dev ens33 srcport 0 0 dstport 4789 nolearning")?;
    contains(&cluster.exec("node-1", "ip address show dev vxlan.calico")?, "inet 10.100.84.128/32 scope global")?;
    let neighbours = cluster.exec("node-1", "ip neigh show dev vxlan.calico")?;
    equal("neighbours", "10.100.247.0 lladdr 66:c0:93:2e:56:2c PERMANENT", neighbours.trim())?;
    let fdb = cluster.exec("node-1", "bridge fdb show dev vxlan.calico")?;
    equal("FDB", "66:c0:93:2e:56:2c dst 10.1.10.10 self permanent", fdb.trim())?;
    equal(
        "routes of node-1",
        "10.100.247.0/26 via 10.100.247.0 dev vxlan.calico onlink",
        &block_routes(&cluster, "node-1")?,
    )?;
    let rules = cluster.exec("node-1", "iptables-save -t filter")?;
    contains(&rules, "-p udp -m comment --comment \"cali:")?;
    contains(&rules, "--match-set cali40all-vxlan-net src")?;
    if rules.contains("IPIP packets from") {
        return Err("no pool has IPIP".to_owned());
    }
    contains(&cluster.exec("node-1", "ipset save cali40all-vxlan-net")?, "add cali40all-vxlan-net 10.1.10.10\n")
}

fn vxlan_wire() -> Outcome {
    let cluster = Cluster::up("vxw", "calico-vxlan")?;
    let (seen, echo) = ping_seen(&cluster, "node-1", "node-2", "udp port 4789")?;
    contains(&seen, "length 148: 10.1.10.9.")?;
    contains(&seen, "> 10.1.10.10.4789: VXLAN, flags [I] (0x08), vni 4096")?;
    contains(&seen, "66:b3:68:28:39:8e > 66:c0:93:2e:56:2c")?;
    contains(&seen, &format!("length 98: {echo}"))
}

fn vxlan_crosssubnet() -> Outcome {
    let cluster = Cluster::up("vxx", "calico-vxlan-crosssubnet")?;
    equal(
        "routes of node-1",
        "10.100.139.64/26 via 10.100.139.64 dev vxlan.calico onlink\n\
         10.100.247.0/26 via 10.1.10.10 dev ens33 proto 80 onlink",
        &block_routes(&cluster, "node-1")?,
    )?;
    for (node, answer) in [("node-2", "from"), ("node-3", "from")] {
        let ((pod, _), (_, target)) = (cluster.pod_on("node-1")?, cluster.pod_on(node)?);
        contains(&cluster.exec(&pod, &format!("ping -n -c 1 -W 2 {target}"))?, answer)?;
    }
    Ok(())
}

/// Three nodes of which two have IPIP and one VXLAN, and a pool without encapsulation beside.
const MIXED: &str = "
apiVersion: minik.dev/v1
kind: Cluster
metadata: {name: mixed}
spec:
  segments:
  - {name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}
  nodes:
  - {name: node-1, address: 10.1.10.9, labels: {rack: a}}
  - {name: node-2, address: 10.1.10.10, labels: {rack: a}}
  - {name: node-3, address: 10.1.10.11, labels: {rack: b}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: tunnelled}
spec: {cidr: 10.100.0.0/16, ipipMode: Always, natOutgoing: true, nodeSelector: rack == 'a'}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: bare}
spec: {cidr: 10.101.0.0/16, natOutgoing: true, nodeSelector: \"rack in {'b'}\"}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: vxlan}
spec: {cidr: 10.102.0.0/16, vxlanMode: Always, disabled: true}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
";

fn mixed_pools() -> Outcome {
    let cluster = Cluster::up_text("mix", MIXED)?;
    let routes = cluster.exec("node-1", "ip route")?;
    contains(&routes, "10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink")?;
    contains(&routes, "10.101.139.64/26 via 10.1.10.11 dev ens33 proto bird")?;
    // The disabled pool makes Felix reckon with VXLAN: pods have its MTU, and no node has an address for the device.
    contains(&cluster.exec("node-3", "ip route")?, "10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink")?;
    let list = cluster.minik(&["get", "ippools", "-o", "wide"])?;
    contains(&list, "tunnelled   10.100.0.0/16   true    Always     Never       false      rack == 'a'")?;
    contains(&cluster.minik(&["verify"])?, " 0 failed, 0 skipped")
}

fn far_bgp() -> Outcome {
    let text = builtin("calico-ipip-crosssubnet")?.text;
    let cluster = Cluster::up_text("far", &text.replace("ipipMode: CrossSubnet", "ipipMode: Never"))?;
    contains(&cluster.exec("node-1", "ip route")?, "10.100.139.64/26 via 10.1.10.2 dev ens33 proto bird")?;
    let report = cluster.minik(&["verify"])?;
    contains(&report, " 0 failed, 0 skipped")?;
    contains(&report, "ICMP net 10.100.139.64 unreachable, as it must be: gateway: no route to 10.100.139.64")
}

fn sessions() -> Outcome {
    let cluster = Cluster::up("ses", "calico-bgp")?;
    let table = cluster.minik(&["bgp", "status", "node-1"])?;
    contains(&table, "Calico process is running.\n\nIPv4 BGP status\n+--------------+-------------------+-------+")?;
    contains(&table, "| PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |    INFO     |\n")?;
    contains(&table, "| 10.1.10.10   | node-to-node mesh | up    | ")?;
    contains(&table, "\n\nIPv6 BGP status\nNo IPv6 peers found.\n\n")?;
    // 10.1.10.9 is the larger text, so node-2 waits for node-1 to connect.
    cluster.exec("node-2", "iptables -I INPUT -p tcp --dport 179 -j REJECT")?;
    contains(&cluster.minik(&["bgp", "status", "node-1"])?, "| Active Socket: Connection |\n")?;
    let waiting = cluster.minik(&["bgp", "status", "node-2"])?;
    contains(&waiting, "| 10.1.10.9    | node-to-node mesh | start | ")?;
    contains(&waiting, "| Passive |")?;
    let without = Cluster::up("nob", "calico-vxlan")?;
    equal(
        "status without BIRD",
        "Calico process is running.\n\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n\n",
        &without.minik(&["bgp", "status", "node-1"])?,
    )
}

fn lists() -> Outcome {
    let cluster = Cluster::up("lst", "calico-vxlan")?;
    equal(
        "nodes",
        "NAME     ASN       IPV4            IPV6   \n\
         node-1   (64512)   10.1.10.9/24           \n\
         node-2   (64512)   10.1.10.10/24          \n\n",
        &cluster.minik(&["get", "nodes", "-o", "wide"])?,
    )?;
    equal(
        "pools",
        "NAME                  CIDR            NAT    IPIPMODE   VXLANMODE   DISABLED   SELECTOR   \n\
         default-ipv4-ippool   10.100.0.0/16   true   Never      Always      false      all()      \n\n",
        &cluster.minik(&["get", "ippools", "-o", "wide"])?,
    )?;
    contains(
        &cluster.minik(&["get", "blocks"])?,
        "| IP Pool  | 10.100.0.0/16    |     65536 | 6 (0%)     | 65530 (100%) |\n\
         | Block    | 10.100.84.128/26 |        64 | 3 (5%)     | 61 (95%)     |\n",
    )
}
