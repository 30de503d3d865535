//! Several routers between the segments of the underlay, judged by ping, traceroute and `ip route get`.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use kernel::lab::Cluster;
use kernel::{Outcome, Test, contains, equal};
use minik::topology::builtin;

const TESTS: &[Test] = &[
    ("a_node_behind_two_routers_is_reached_through_both", &["traceroute"], both),
    ("a_smaller_mtu_is_told_by_the_router_in_front_of_it", &["traceroute"], bottleneck),
    ("a_static_route_stands_in_place_of_what_would_be_found", &["traceroute"], detour),
    ("every_mode_that_crosses_routers_is_verified_over_two", &["tcpdump"], modes),
    ("a_mode_that_cannot_cross_routers_is_refused", &[], refused),
    ("a_line_between_routers_loses_its_share_on_every_way", &["fping"], lossy),
];

fn main() {
    kernel::run(TESTS, &["ip", "ping"], Some(2));
}

/// The built-in topology.
fn text() -> Result<&'static str, String> {
    builtin::find("two-routers").map(|found| found.text).map_err(kernel::words)
}

/// The same without what decides the mode.
fn modeless() -> Result<String, String> {
    let text = text()?;
    let (before, rest) = text.split_once("---\n# The pool").ok_or("no pool in two-routers.yaml")?;
    let (_, after) = rest.split_once("\n---\n").ok_or("nothing behind the pool in two-routers.yaml")?;
    Ok(format!("{before}---\n{after}"))
}

/// The text with `new` in place of `old`, which must be there.
fn with(text: &str, old: &str, new: &str) -> Result<String, String> {
    match text.contains(old) {
        true => Ok(text.replacen(old, new, 1)),
        false => Err(format!("no `{old}` in the topology")),
    }
}

fn on(cluster: &Cluster, host: &str, line: &str) -> Result<String, String> {
    cluster.minik(&["exec", host, "--", "sh", "-c", line])
}

/// The hops of a traceroute, one a line.
fn hops(cluster: &Cluster, from: &str, to: &str) -> Result<String, String> {
    let printed = on(cluster, from, &format!("traceroute -n -q1 -w5 {to}"))?;
    let hop = |line: &str| line.split_whitespace().nth(1).map(|hop| format!("{hop}\n"));
    Ok(printed.lines().skip(1).filter_map(hop).collect())
}

fn both() -> Outcome {
    let cluster = Cluster::up("b", "two-routers")?;
    contains(&on(&cluster, "node-1", "ping -c1 -W5 10.1.20.11")?, " ttl=62 ")?;
    contains(&on(&cluster, "node-3", "ping -c1 -W5 10.1.10.8")?, " ttl=62 ")?;
    equal("the way there", "10.1.10.2\n10.1.99.2\n10.1.20.11\n", &hops(&cluster, "node-1", "10.1.20.11")?)?;
    equal("the way back", "10.1.20.2\n10.1.99.1\n10.1.10.9\n", &hops(&cluster, "node-3", "10.1.10.9")?)?;
    equal(
        "router-b's routes",
        "10.1.10.0/24 via 10.1.99.1 dev eth0 \n10.1.20.0/24 dev eth1 proto kernel scope link src 10.1.20.2 \n\
         10.1.99.0/24 dev eth0 proto kernel scope link src 10.1.99.2 \n",
        &on(&cluster, "router-b", "ip route")?,
    )?;
    cluster.minik(&["verify"])?;
    cluster.minik(&["status"]).map(drop)
}

fn bottleneck() -> Outcome {
    let cluster =
        Cluster::up_text("m", &with(text()?, "subnet: 10.1.99.0/24", "subnet: 10.1.99.0/24\n    mtu: 1400")?)?;
    for (from, to, router) in [("node-1", "10.1.20.11", "10.1.10.2"), ("node-3", "10.1.10.9", "10.1.20.2")] {
        let fits = on(&cluster, from, &format!("ping -c1 -W5 -M do -s 1372 {to}"))?;
        contains(&fits, "1380 bytes from")?;
        // Exits with 1, as there is no answer.
        let told = on(&cluster, from, &format!("ping -c1 -W5 -M do -s 1373 {to} || true"))?;
        contains(&told, &format!("From {router} icmp_seq=1 Frag needed and DF set (mtu = 1400)"))?;
        contains(&on(&cluster, from, &format!("ip route get {to}"))?, "mtu 1400")?;
        contains(&on(&cluster, from, &format!("ip route flush cache; traceroute -n -q1 --mtu {to}"))?, " F=1400")?;
    }
    // The live change of one router's end of the line.
    cluster.minik(&["link", "set", "router-a/core", "--mtu", "1300"])?;
    let told = on(&cluster, "node-1", "ip route flush cache; ping -c1 -W5 -M do -s 1300 10.1.20.11 || true")?;
    contains(&told, "From 10.1.10.2 icmp_seq=1 Frag needed and DF set (mtu = 1300)")?;
    cluster.minik(&["status"])?;
    cluster.minik(&["link", "reset"])?;
    contains(
        &on(&cluster, "node-1", "ip route flush cache; ping -c1 -W5 -M do -s 1372 10.1.20.11")?,
        "1380 bytes from",
    )?;
    cluster.minik(&["status"]).map(drop)
}

/// A third router beside the core: without a static route nobody goes there.
fn detour() -> Outcome {
    let third = "  routers:\n  - name: router-c\n    interfaces:\n    - {segment: core, address: 10.1.99.3}\n    routes:\n    \
                 - {to: 10.1.20.0/25, via: 10.1.99.2}\n";
    let text = with(text()?, "  routers:\n", third)?;
    let cluster = Cluster::up_text("d", &text)?;
    equal("the way that is found", "10.1.10.2\n10.1.99.2\n10.1.20.11\n", &hops(&cluster, "node-1", "10.1.20.11")?)?;
    drop(cluster);
    let core = "    - segment: core\n      address: 10.1.99.1\n";
    let detour = format!("{core}    routes:\n    - {{to: 10.1.20.0/24, via: 10.1.99.3}}\n");
    let cluster = Cluster::up_text("d", &with(&text, core, &detour)?)?;
    equal("the way", "10.1.10.2\n10.1.99.3\n10.1.99.2\n10.1.20.11\n", &hops(&cluster, "node-1", "10.1.20.11")?)?;
    contains(&on(&cluster, "node-1", "ping -c1 -W5 10.1.20.11")?, " ttl=62 ")?;
    contains(&on(&cluster, "node-3", "ping -c1 -W5 10.1.10.9")?, " ttl=61 ")?;
    cluster.minik(&["verify"])?;
    cluster.minik(&["status"]).map(drop)
}

fn modes() -> Outcome {
    let text = modeless()?;
    for mode in [
        "calico-bgp",
        "calico-ipip",
        "calico-vxlan",
        "calico-vxlan-crosssubnet",
        "flannel-vxlan",
        "flannel-vxlan-directrouting",
        "flannel-udp",
        "canal",
        "kube-router",
        "kubenet, kubenet: {routes: router}",
    ] {
        let text = with(&text, "  serviceCIDR:", &format!("  network: {{cni: {mode}}}\n  serviceCIDR:"))?;
        let cluster = Cluster::up_text("v", &text)?;
        cluster.minik(&["verify"]).map_err(|e| format!("{mode}: {e}"))?;
    }
    Ok(())
}

fn refused() -> Outcome {
    let text = modeless()?;
    for (mode, words) in [
        ("flannel-host-gw", "a router is between segment rack-a and segment rack-b"),
        ("kubenet", "node-1 cannot have a route to the pods of node-3 through 10.1.20.11: a router is between them"),
    ] {
        let text = with(&text, "  serviceCIDR:", &format!("  network: {{cni: {mode}}}\n  serviceCIDR:"))?;
        let cluster = Cluster::named("h");
        let output = cluster.fed(&["up", "-"], &text)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        contains(&said, words)?;
        kernel::same("exit code", &Some(2), &output.status.code())?;
    }
    Ok(())
}

fn lossy() -> Outcome {
    let cluster = Cluster::up("l", "two-routers")?;
    cluster.minik(&["link", "set", "router-a/core", "--loss", "100%"])?;
    let count = |to: &str| on(&cluster, "node-1", &format!("fping -q -c5 -p20 -t500 {to} 2>&1 || true"));
    contains(&count("10.1.20.11")?, "xmt/rcv/%loss = 5/0/100%")?;
    // The line is none of those to the first router and inside the rack.
    contains(&count("10.1.99.1")?, "xmt/rcv/%loss = 5/5/0%")?;
    contains(&count("10.1.10.10")?, "xmt/rcv/%loss = 5/5/0%")?;
    contains(&cluster.minik(&["link", "show", "router-a/core"])?, "loss 100%")?;
    cluster.minik(&["link", "reset", "router-a/core"])?;
    // The routers may be waiting for the answer to an ARP request that was lost.
    kernel::until("the way through the core", || on(&cluster, "node-1", "ping -c1 -W1 10.1.20.11").is_ok())?;
    contains(&count("10.1.20.11")?, "xmt/rcv/%loss = 5/5/0%")?;
    let said = cluster.refused(&["link", "set", "router-a/cor", "--loss", "1%"], 2)?;
    contains(&said, "did you mean `router-a/core`?")
}
