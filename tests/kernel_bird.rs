//! A real BIRD on every node: it must program what minik programs in its place, and everything must go on as without it.
//! Needs root and Debian's bird2; without them every test is counted as ignored, with the reason in its name, unless
//! MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::Cluster;
use kernel::{Outcome, Test, builtin, contains, equal, shell, until, with_bird};

const TESTS: &[Test] = &[
    ("bird_programs_what_minik_programs_without_encapsulation", &[], || same("b1", "calico-bgp", "", "")),
    ("bird_programs_what_minik_programs_with_ipip", &[], || same("b2", "calico-ipip", "", "")),
    ("bird_programs_what_minik_programs_across_subnets", &[], || same("b3", "calico-ipip-crosssubnet", "", "")),
    ("bird_finds_the_same_router_as_minik", &[], || {
        same("b4", "calico-ipip-crosssubnet", "ipipMode: CrossSubnet", "ipipMode: Never")
    }),
    ("bird_programs_what_minik_programs_for_several_pools", &[], several_pools),
    ("bird6_programs_what_minik_programs_for_ipv6", &[], bird6),
    ("bird6_lives_beside_bird_and_apart_from_it", &[], both_live),
    ("a_cluster_with_bird_passes_every_check_and_goes_without_a_trace", &[], whole_life),
    ("sessions_are_asked_of_bird", &[], sessions),
    ("a_vxlan_cluster_has_no_bird", &[], no_bird),
];

fn main() {
    kernel::run(TESTS, &["ip", "iptables-restore", "ipset", "bird", "birdc"], None);
}

/// The text of a mode's topology.
fn text_of(mode: &str) -> Result<String, String> {
    builtin(mode).map(|source| source.text)
}

/// The routes of both families on every node.
fn routes(cluster: &Cluster, nodes: usize) -> Result<String, String> {
    // Link-local routes are the kernel's, and in the order in which links came up.
    let of_node = |number| cluster.exec(&format!("node-{number}"), "ip route; ip -6 route | sed /^fe80::/d");
    let all: Result<Vec<String>, String> = (1..=nodes).map(of_node).collect();
    Ok(all?.join("--\n"))
}

/// Both ways of routing make the same tables.
fn compare(tag: &str, text: &str) -> Outcome {
    let nodes = text.matches("name: node-").count();
    let real = Cluster::up_text(&format!("{tag}r"), &with_bird(text))?;
    let minik = Cluster::up_text(&format!("{tag}m"), text)?;
    let real_routes = routes(&real, nodes)?;
    contains(&real_routes, "proto bird")?;
    equal("the routes of BIRD and of minik", &real_routes, &routes(&minik, nodes)?)
}

fn same(tag: &str, mode: &str, part: &str, instead: &str) -> Outcome {
    let text = text_of(mode)?;
    compare(tag, &if part.is_empty() { text } else { text.replace(part, instead) })
}

fn several_pools() -> Outcome {
    let text = text_of("calico-ipip-crosssubnet")?;
    let text = text.replace("nodeSelector: all()", "nodeSelector: kubernetes.io/hostname != 'node-2'");
    let bare = "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: bare}\n\
                spec: {cidr: 10.101.0.0/16, natOutgoing: true, nodeSelector: kubernetes.io/hostname == 'node-2'}\n";
    compare("b5", &format!("{text}{bare}"))
}

/// With IPv6's blocks without a tunnel beside IPv4's in ipip, and across a router.
fn bird6() -> Outcome {
    compare("b9", &text_of("calico-bgp-dualstack")?)?;
    let both = |four: &str, six: &str| format!("{four},{six}");
    let mut text = text_of("calico-ipip-crosssubnet")?;
    for (four, six) in [
        ("subnet: 10.1.10.0/24", "fd00:10:1:10::/64"),
        ("subnet: 10.1.20.0/24", "fd00:10:1:20::/64"),
        ("router: 10.1.10.2", "fd00:10:1:10::2"),
        ("router: 10.1.20.2", "fd00:10:1:20::2"),
        ("address: 10.1.10.9", "fd00:10:1:10::9"),
        ("address: 10.1.10.10", "fd00:10:1:10::10"),
        ("address: 10.1.20.11", "fd00:10:1:20::11"),
    ] {
        let line = format!("{four}\n");
        if !text.contains(&line) {
            return Err(format!("no line ends with `{four}`"));
        }
        text = text.replace(&line, &format!("{}\n", both(four, six)));
    }
    let pool = "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: six}\n\
                spec: {cidr: 'fd00:10:100::/48', natOutgoing: true}\n";
    compare("ba", &format!("{text}{pool}"))
}

fn both_live() -> Outcome {
    let cluster = Cluster::named("bb").healing();
    kernel::checked("minik up -", &cluster.fed(&["up", "-"], &with_bird(&text_of("calico-bgp-dualstack")?))?)?;
    contains(&cluster.minik(&["verify"])?, " 0 failed, 0 skipped")?;
    contains(&cluster.status()?, "drift:     none")?;
    let shown = cluster.minik(&["bgp", "status", "node-1"])?;
    contains(&shown, "| 10.1.10.10   | node-to-node mesh | up    | ")?;
    contains(&shown, "| fd00:10:1:10::10 | node-to-node mesh | up    | ")?;
    // IPv6's session goes, and with it IPv6's route alone.
    let socket = minik::kernel::state::dir(&cluster.name).join("bird6/node-1.ctl");
    shell(&format!("birdc -s {} disable Mesh_fd00_10_1_10__10", socket.display()))?;
    let gone = || cluster.exec("node-1", "ip -6 route").is_ok_and(|all| !all.contains("via fd00:10:1:10::10"));
    until("the IPv6 route to go with its session", gone)?;
    contains(&cluster.minik(&["bgp", "status", "node-1"])?, "| fd00:10:1:10::10 | node-to-node mesh | down  | ")?;
    contains(&cluster.exec("node-1", "ip route")?, "via 10.1.10.10 dev ens33 proto bird")?;
    let before = shell(&format!("birdc -s {} show status", socket.display()))?;
    contains(&before, "BIRD 2")?;
    // runsv starts the one that ended, and the other stays as it is.
    shell(&format!("birdc -s {} down", socket.display()))?;
    let again =
        || cluster.status().is_ok_and(|text| text.contains("bird6 on node-1") && text.contains("started 2 times"));
    until("bird6 to start again", again)?;
    let back = || cluster.exec("node-1", "ip -6 route").is_ok_and(|all| all.contains("via fd00:10:1:10::10"));
    until("the IPv6 route to come back", back)?;
    contains(&cluster.minik(&["bgp", "status", "node-1"])?, "| 10.1.10.10   | node-to-node mesh | up    | ")?;
    cluster.minik(&["down"])?;
    if socket.exists() { Err("bird6's socket is left".to_owned()) } else { Ok(()) }
}

fn whole_life() -> Outcome {
    let cluster = Cluster::up_text("b6", &with_bird(&text_of("calico-ipip-crosssubnet")?))?;
    contains(&cluster.minik(&["verify"])?, " 0 failed, 0 skipped")?;
    contains(&cluster.minik(&["status"])?, "drift:     none")?;
    let before = routes(&cluster, 3)?;
    cluster.minik(&["agent", "restart"])?;
    equal("routes while BIRD starts again", &before, &routes(&cluster, 3)?)?;
    let up = || cluster.minik(&["bgp", "status", "node-1"]).is_ok_and(|text| text.matches("Established").count() == 2);
    until("the sessions of the new BIRD", up)?;
    // All of them started anew at once, so one may miss for a moment what another has not told yet.
    until("the routes of the new BIRD", || routes(&cluster, 3).is_ok_and(|now| now == before))?;
    let socket = minik::kernel::state::dir(&cluster.name).join("bird/node-1.ctl");
    cluster.minik(&["down"])?;
    if socket.exists() { Err("BIRD's socket is left".to_owned()) } else { Ok(()) }
}

fn sessions() -> Outcome {
    let cluster = Cluster::up_text("b7", &with_bird(&text_of("calico-bgp")?))?;
    let row = "| 10.1.10.10   | node-to-node mesh | up    | ";
    contains(&cluster.minik(&["bgp", "status", "node-1"])?, row)?;
    let socket = minik::kernel::state::dir(&cluster.name).join("bird/node-1.ctl");
    shell(&format!("birdc -s {} disable Mesh_10_1_10_10", socket.display()))?;
    contains(&cluster.minik(&["bgp", "status", "node-1"])?, "| 10.1.10.10   | node-to-node mesh | down  | ")?;
    let gone = || cluster.exec("node-1", "ip route").is_ok_and(|routes| !routes.contains("10.100.247.0/26"));
    until("the route to go with its session", gone)?;
    contains(&cluster.status()?, "10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird")?;
    shell(&format!("birdc -s {} enable Mesh_10_1_10_10", socket.display()))?;
    let back = || cluster.exec("node-1", "ip route").is_ok_and(|routes| routes.contains("10.100.247.0/26 via"));
    until("the route to come back", back)
}

fn no_bird() -> Outcome {
    let cluster = Cluster::named("b8");
    let output = cluster.fed(&["up", "-"], &with_bird(&text_of("calico-vxlan")?))?;
    let error = String::from_utf8_lossy(&output.stderr);
    contains(&error, "no BIRD runs where all pools have VXLAN")?;
    if output.status.code() == Some(2) { Ok(()) } else { Err(format!("{}", output.status)) }
}
