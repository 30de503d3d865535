//! Every sort of link, entry and rule that a plan can hold, made from plans written by hand and judged by programs that
//! are not ours: ip, bridge, tc, ip6tables-save, ebtables-save. Needs root; without it, or without one of the programs,
//! a test is counted as ignored, unless MINIK_REQUIRE is set.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod kernel;

use kernel::by_hand::{Lab, everything, healed, lines};
use kernel::{Outcome, contains, shell, words};
use libtest_mimic::{Arguments, Failed, Trial};
use minik::kernel::{drift, features, state};
use minik::plan::ebtables::{EbChain, EbRule, EbTarget};
use minik::plan::netfilter::{Chain, Family, Match, Policy, Rule, Side, TableName, Target};
use minik::plan::{
    Address, Datapath, FdbEntry, File, IpSet, Link, LinkKind, Mac, Member, Namespace, Neighbour, Netem, Plan,
};
use minik::plan::{PolicyRule, Protocol, Qdisc, Role, Route, RouteTable, Scope, Sysctl, Table, UdpTunnel, Vxlan};

/// A test: its name, the kernel's parts that it needs, and itself.
type Test = (&'static str, &'static str, fn() -> Outcome);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials()).exit();
}

fn trials() -> Vec<Trial> {
    let parts = |features: &str| {
        kernel::not_root().or_else(|| {
            let needs = ["ip", "bridge", "tc", "iptables-save", "ip6tables-save", "ebtables-save", "ipset"];
            kernel::lacking(&needs).or_else(|| {
                let found = features.split(' ').filter(|f| !f.is_empty()).find(|feature| !has(feature));
                found.map(|feature| format!("no {feature}"))
            })
        })
    };
    let all: [Test; 9] = [
        ("a_vxlan_device_looks_like_flannels", "vxlan", vxlan_looks),
        ("entries_rules_and_tables_are_as_the_tools_show_them", "vxlan", entries),
        ("bridges_ports_and_queues_are_as_the_tools_show_them", "htb", bridges),
        ("ipv6_is_there_at_once", "", ipv6),
        ("a_macvlan_is_born_in_its_pod", "macvlan", macvlan),
        ("tuns_look_like_what_they_stand_in_for", "tun", tuns),
        ("what_is_changed_by_hand_is_drift", "vxlan htb macvlan", broken),
        ("the_script_builds_the_same", "vxlan htb macvlan tun", script),
        ("files_of_a_node_are_seen_by_its_programs_alone", "", files),
    ];
    let mut trials: Vec<Trial> = all
        .into_iter()
        .map(|(name, features, test)| kernel::trial(name, parts(features), move || test().map_err(Failed::from)))
        .collect();
    trials.push(match has("netem") {
        true => kernel::trial("netem_is_set_and_read_back", parts(""), || netem().map_err(Failed::from)),
        false => kernel::trial("netem_is_refused_where_it_is_not", parts(""), || no_netem().map_err(Failed::from)),
    });
    let ipip = if features::has_ipip().unwrap_or(false) { parts("") } else { Some("no ipip".to_owned()) };
    trials.push(kernel::trial("an_ipip_tunnel_to_one_peer", ipip, || peer().map_err(Failed::from)));
    trials
}

fn has(feature: &str) -> bool {
    let plan = |link: Link| {
        let mut ns = Namespace::new("x", "n", "n", Role::Node);
        ns.links.push(link);
        Plan { cluster: "x".into(), mode: "m".into(), datapath: Datapath::Userspace, namespaces: vec![ns] }
    };
    let link = match feature {
        "vxlan" => Link::new("a", vxlan_kind()),
        "macvlan" => Link::new("a", LinkKind::Macvlan { parent_namespace: "n".into(), parent: "b".into() }),
        "htb" => Link { qdisc: Some(Qdisc::Htb { default: 1 }), ..Link::new("a", LinkKind::Bridge) },
        "netem" => Link { qdisc: Some(Qdisc::Netem(Netem::default())), ..Link::new("a", LinkKind::Bridge) },
        "tun" => return std::path::Path::new("/dev/net/tun").exists(),
        other => panic!("{other}"),
    };
    features::require_parts(&plan(link)).is_ok()
}

// ------------------------------------------------------------------------------------------------ a cluster by hand

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

fn net4(text: &str) -> ipnet::Ipv4Net {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> Address {
    Address { net: net(text), broadcast: None, scope: Scope::Global }
}

fn veth(name: &str, mac: u8, peer_namespace: &str, peer: &str) -> Link {
    let kind = LinkKind::Veth { peer_namespace: peer_namespace.into(), peer: peer.into() };
    Link { mac: Some(Mac([2, 0, 0, 0, 0, mac])), mtu: Some(1500), ..Link::new(name, kind) }
}

fn vxlan_kind() -> LinkKind {
    let local = "10.1.10.9".parse().expect("an address");
    LinkKind::Vxlan(Vxlan { vni: 1, local, dev: "ens33".into(), port: 8472, learning: false })
}

/// A switch, a node as flannel and kubenet would have it, and a pod on it.
fn plan(tag: &str) -> Plan {
    let cluster = format!("l{}{tag}", std::process::id());
    let mut switch = Namespace::new(&cluster, "switch", "switch", Role::Switch { segment: "lan".into() });
    switch.links.push(Link::new("br0", LinkKind::Bridge));
    switch.links.push(Link { master: Some("br0".into()), ..veth("node-1", 1, "node-1", "ens33") });
    let mut node = Namespace::new(&cluster, "node-1", "node-1", Role::Node);
    node.sysctls.push(Sysctl::new("net.ipv4.ip_forward", "1"));
    node.links.push(Link { addresses: vec![address("10.1.10.9/24")], ..veth("ens33", 2, "switch", "node-1") });
    let pod_end = Link { mtu: Some(1450), ..veth("veth0a1b2c3d", 4, "default/p", "eth0") };
    node.links.push(Link {
        mac: Some(Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 1])),
        mtu: Some(1450),
        promiscuous: true,
        qdisc: Some(Qdisc::Htb { default: 0x30 }),
        addresses: vec![address("10.244.1.1/24"), address("fd00:10:244:1::1/64")],
        ..Link::new("cni0", LinkKind::Bridge)
    });
    node.links.push(Link { master: Some("cni0".into()), hairpin: true, ..pod_end });
    node.links.push(Link {
        mac: Some(Mac([0x16, 0, 0, 0, 0, 9])),
        mtu: Some(1450),
        addresses: vec![address("10.244.1.0/32")],
        ..Link::new("flannel.1", vxlan_kind())
    });
    entries_of(&mut node);
    tables_of(&mut node);
    let role = Role::Pod { node: "node-1".into(), namespace: "default".into(), pod: "p".into() };
    let mut pod = Namespace::new(&cluster, "default/p", "p", role);
    let addresses = vec![address("10.244.1.2/24"), address("fd00:10:244:1::2/64")];
    pod.links.push(Link { mtu: Some(1450), addresses, ..veth("eth0", 3, "node-1", "veth0a1b2c3d") });
    pod.routes.push(Route::default_via(std::net::Ipv4Addr::new(10, 244, 1, 1), "eth0"));
    pod.routes.push(route6("::/0", Some("fd00:10:244:1::1"), "eth0"));
    let lan = Link { mtu: Some(1500), addresses: vec![address("10.1.10.77/24")], ..Link::new("eth0", macvlan_kind()) };
    let role = Role::Pod { node: "node-1".into(), namespace: "default".into(), pod: "m".into() };
    let mut direct = Namespace::new(&cluster, "default/m", "m", role);
    direct.links.push(Link { mac: Some(Mac([2, 0, 0, 0, 0, 0x77])), ..lan });
    let namespaces = vec![switch, node, pod, direct];
    Plan { cluster, mode: "by-hand".into(), datapath: Datapath::Userspace, namespaces }
}

fn macvlan_kind() -> LinkKind {
    LinkKind::Macvlan { parent_namespace: "node-1".into(), parent: "ens33".into() }
}

fn route6(dst: &str, via: Option<&str>, dev: &str) -> Route {
    Route {
        dst: net(dst),
        via: via.map(|via| via.parse().expect("an address")),
        scope: Scope::Global,
        ..Route::on_link(net4("0.0.0.0/0"), dev)
    }
}

fn entries_of(node: &mut Namespace) {
    let vtep = Mac([0x16, 0, 0, 0, 0, 0x0a]);
    let ip = |text: &str| text.parse().expect("an address");
    node.neighbours.push(Neighbour { address: ip("10.244.2.0"), mac: vtep, dev: "flannel.1".into() });
    node.neighbours.push(Neighbour { address: ip("fd00:10:244:1::99"), mac: vtep, dev: "cni0".into() });
    for last in [10, 11] {
        let dst = std::net::IpAddr::from([10, 1, 10, last]);
        node.fdb.push(FdbEntry { mac: Mac([0x16, 0, 0, 0, 0, last]), dev: "flannel.1".into(), dst });
    }
    let remote = net4("10.244.2.0/24");
    node.routes.push(Route { onlink: true, ..Route::via(remote, remote.network(), "flannel.1") });
    let peer = Route { protocol: Protocol::KubeRouter, ..Route::on_link(net4("10.1.20.9/32"), "ens33") };
    node.routes.push(Route { table: RouteTable(77), ..peer });
    node.routes.push(Route { table: RouteTable(1000), ..Route::blackhole(net4("10.9.0.0/16")) });
    node.routes.push(route6("fd00:10:244:2::/64", Some("fd00:10:244:1::99"), "cni0"));
    node.policy.push(PolicyRule { priority: 32765, from: net("10.244.1.0/24"), table: RouteTable(77) });
    node.policy.push(PolicyRule { priority: 100, from: net("fd00:10:244:1::/64"), table: RouteTable(1000) });
}

fn tables_of(node: &mut Namespace) {
    let set = |name: &str, family, members: &[&str]| IpSet {
        name: name.into(),
        kind: "hash:net".into(),
        family,
        capacity: IpSet::CAPACITY,
        members: members.iter().map(|member| Member::Net(net(member))).collect(),
    };
    node.sets.push(set("pods4", Family::Inet, &["10.244.0.0/16"]));
    node.sets.push(set("pods6", Family::Inet6, &["fd00:10:244::/48"]));
    let masquerade = |set: &str, set_is: &str| {
        let chain = |name: &str, rules| Chain { name: name.into(), policy: Some(Policy::Accept), rules };
        let source = Match::Source { net: net(set_is), invert: false };
        let member = Match::Set { name: set.into(), side: Side::Dst, invert: true };
        let rule = Rule {
            comments: vec!["flanneld masq".into()],
            matches: vec![source, member],
            target: Some(Target::Masquerade { random_fully: true }),
            ..Rule::default()
        };
        let chains = vec![
            chain("PREROUTING", vec![]),
            chain("INPUT", vec![]),
            chain("OUTPUT", vec![]),
            chain("POSTROUTING", vec![rule]),
        ];
        vec![Table { name: TableName::Nat, chains }]
    };
    node.tables = masquerade("pods4", "10.244.0.0/16");
    node.tables6 = masquerade("pods6", "fd00:10:244::/48");
    let plain = EbRule { source: None, out_interface: None, ip_source: None, target: EbTarget::Accept };
    let dedup = |net: &str, target| EbRule {
        source: Some(Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 1])),
        out_interface: Some("veth+".into()),
        ip_source: Some(net4(net)),
        target,
    };
    let chain = |name: &str, rules| EbChain { name: name.into(), policy: Policy::Accept, rules };
    node.ebtables = vec![
        chain("INPUT", vec![]),
        chain("FORWARD", vec![]),
        chain("OUTPUT", vec![EbRule { target: EbTarget::Jump { chain: "KUBE-DEDUP".into() }, ..plain }]),
        chain("KUBE-DEDUP", vec![dedup("10.244.1.1/32", EbTarget::Accept), dedup("10.244.1.0/24", EbTarget::Drop)]),
    ];
}

// ------------------------------------------------------------------------------------------------------- the tests

fn vxlan_looks() -> Outcome {
    let lab = Lab::up(plan("v"))?;
    let text = lab.exec("node-1", "ip -d link show flannel.1")?;
    contains(
        &text,
        "vxlan id 1 local 10.1.10.9 dev ens33 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 \
         udpcsum noudp6zerocsumtx noudp6zerocsumrx",
    )?;
    contains(&text, "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN")?;
    contains(&text, "link/ether 16:00:00:00:00:09")?;
    lab.no_drift()
}

fn entries() -> Outcome {
    let lab = Lab::up(plan("e"))?;
    contains(&lab.exec("node-1", "ip neigh show dev flannel.1")?, "10.244.2.0 lladdr 16:00:00:00:00:0a PERMANENT")?;
    let fdb = lab.exec("node-1", "bridge fdb show dev flannel.1")?;
    contains(&fdb, "16:00:00:00:00:0a dst 10.1.10.10 self permanent")?;
    contains(&fdb, "16:00:00:00:00:0b dst 10.1.10.11 self permanent")?;
    contains(&lab.exec("node-1", "ip route")?, "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink")?;
    contains(&lab.exec("node-1", "ip route show table 77")?, "10.1.20.9 dev ens33 proto 17 scope link")?;
    contains(&lab.exec("node-1", "ip route show table 1000")?, "blackhole 10.9.0.0/16")?;
    contains(&lab.exec("node-1", "ip rule")?, "32765:\tfrom 10.244.1.0/24 lookup 77\n")?;
    contains(&lab.exec("node-1", "ip -6 rule")?, "100:\tfrom fd00:10:244:1::/64 lookup 1000\n")?;
    let rule = "-A POSTROUTING -s 10.244.0.0/16 -m comment --comment \"flanneld masq\" -m set ! --match-set pods4 dst";
    contains(&lab.exec("node-1", "iptables-save")?, rule)?;
    let rule = "-A POSTROUTING -s fd00:10:244::/48 -m comment --comment \"flanneld masq\" -m set ! --match-set pods6";
    contains(&lab.exec("node-1", "ip6tables-save")?, rule)?;
    contains(&lab.exec("node-1", "ipset save pods6")?, "family inet6")?;
    let text = lab.exec("node-1", "ebtables-save")?;
    contains(&text, "-A OUTPUT -j KUBE-DEDUP")?;
    contains(&text, "-A KUBE-DEDUP -p IPv4 -s 0a:58:0a:f4:01:01 -o veth+ --ip-src 10.244.1.0/24 -j DROP")?;
    lab.no_drift()
}

fn bridges() -> Outcome {
    let lab = Lab::up(plan("b"))?;
    contains(
        &lab.exec("node-1", "ip link show cni0")?,
        "<BROADCAST,MULTICAST,PROMISC,UP,LOWER_UP> mtu 1450 qdisc htb",
    )?;
    let port = lab.exec("node-1", "bridge -d link show dev veth0a1b2c3d")?;
    contains(&port, "hairpin on")?;
    contains(&port, "state forwarding")?;
    contains(&lab.exec("switch", "bridge -d link show dev node-1")?, "hairpin off")?;
    contains(&lab.exec("node-1", "tc qdisc show dev cni0")?, "qdisc htb 1: root refcnt 2 r2q 10 default 0x30")?;
    lab.exec("default/p", "ping -c 1 -W 2 10.244.1.1").map(drop)
}

fn ipv6() -> Outcome {
    let lab = Lab::up(plan("6"))?;
    let text = lab.exec("default/p", "ip -6 address show dev eth0")?;
    contains(&text, "inet6 fd00:10:244:1::2/64 scope global nodad")?;
    if text.contains("fd00:10:244:1::2/64 scope global tentative") {
        return Err(text);
    }
    lab.exec("default/p", "ping -c 1 -W 2 fd00:10:244:1::1")?;
    contains(&lab.exec("default/p", "ip -6 route")?, "default via fd00:10:244:1::1 dev eth0 metric 1024")?;
    contains(&lab.exec("node-1", "ip -6 route")?, "fd00:10:244:2::/64 via fd00:10:244:1::99 dev cni0 metric 1024")?;
    contains(
        &lab.exec("node-1", "ip -6 neigh show dev cni0")?,
        "fd00:10:244:1::99 lladdr 16:00:00:00:00:0a PERMANENT",
    )?;
    lab.no_drift()
}

fn macvlan() -> Outcome {
    let lab = Lab::up(plan("m"))?;
    let text = lab.exec("default/m", "ip -d link show eth0")?;
    contains(&text, "macvlan mode bridge")?;
    contains(&text, "link/ether 02:00:00:00:00:77")?;
    contains(&text, "UP")?;
    // Its packets leave by the node's interface: the switch has learned where it is.
    lab.exec("switch", "ip address add 10.1.10.200/24 dev br0")?;
    lab.exec("switch", "ip link set br0 up")?;
    lab.exec("default/m", "ping -c 1 -W 2 10.1.10.200")?;
    contains(&lab.exec("switch", "bridge fdb show br br0")?, "02:00:00:00:00:77 dev node-1")
}

fn tun_plan(tag: &str) -> Plan {
    let mut plan = plan(tag);
    let (local, remote) = ("10.1.10.9".parse().expect("an address"), "10.1.20.9".parse().expect("an address"));
    let peers = vec![(net4("10.244.2.0/24"), "10.1.10.10".parse().expect("an address"))];
    let udp = LinkKind::Udp(UdpTunnel { local, port: 8285, peers });
    let node = &mut plan.namespaces[1];
    node.links.push(Link { mtu: Some(1472), addresses: vec![address("10.244.1.0/32")], ..Link::new("flannel0", udp) });
    let kind = LinkKind::IpipPeer { local, remote };
    node.links.push(Link { mtu: Some(1480), ..Link::new("tun-0a1b2c3d4e5", kind) });
    node.routes.push(Route::on_link(net4("10.245.0.0/16"), "flannel0"));
    node.routes.push(Route { src: Some(local.into()), ..Route::on_link(net4("10.244.3.0/24"), "tun-0a1b2c3d4e5") });
    plan
}

fn tuns() -> Outcome {
    let lab = Lab::up(tun_plan("t"))?;
    // Before Linux 6.8 a lost carrier shows up within a second, and since then at once.
    let flannel0 = "ip -d link show flannel0";
    lab.shows("node-1", flannel0, "<NO-CARRIER,POINTOPOINT,MULTICAST,NOARP,UP> mtu 1472")?;
    let text = lab.exec("node-1", flannel0)?;
    contains(&text, "link/none")?;
    contains(&text, "qlen 500")?;
    let to_peer = "ip -d link show tun-0a1b2c3d4e5";
    lab.shows("node-1", to_peer, "<NO-CARRIER,POINTOPOINT,NOARP,UP> mtu 1480 qdisc noqueue")?;
    contains(&lab.exec("node-1", to_peer)?, "link/ipip")?;
    lab.no_drift()
}

fn peer() -> Outcome {
    let lab = Lab::up(Plan { datapath: Datapath::Kernel, ..tun_plan("i") })?;
    let text = lab.exec("node-1", "ip -d link show tun-0a1b2c3d4e5")?;
    contains(&text, "ipip ipip remote 10.1.20.9 local 10.1.10.9 ttl inherit pmtudisc")?;
    lab.no_drift()
}

fn netem() -> Outcome {
    let mut plan = plan("q");
    let values = Netem { delay: 20_000, loss: 10_000, rate: 1_250_000 };
    plan.namespaces[1].links[1].qdisc = Some(Qdisc::Netem(values));
    let lab = Lab::up(plan)?;
    let text = lab.exec("node-1", "tc qdisc show dev ens33")?;
    contains(&text, "delay 20ms loss 1% rate 10Mbit")?;
    lab.no_drift()
}

fn no_netem() -> Outcome {
    let mut plan = plan("q");
    plan.namespaces[1].links[1].qdisc = Some(Qdisc::Netem(Netem { delay: 20_000, loss: 0, rate: 0 }));
    let error = features::require_parts(&plan).err().ok_or("it was not refused")?.to_string();
    contains(&error, "ens33 of node-1 has the queueing discipline netem delay 20000us")?;
    contains(&error, "sch_netem")
}

/// What the tools change is found and named, and nothing else.
fn broken() -> Outcome {
    let cases: [(&str, &str, &[&str]); 17] = [
        (
            "node-1",
            "bridge fdb del 16:00:00:00:00:0a dev flannel.1",
            &["missing: fdb 16:00:00:00:00:0a dst 10.1.10.10"],
        ),
        ("node-1", "bridge fdb append 16:00:00:00:00:0c dev flannel.1 dst 10.1.10.12", &["not in the plan: fdb 16:00"]),
        ("node-1", "bridge link set dev veth0a1b2c3d hairpin off", &["missing: link veth0a1b2c3d", "hairpin up"]),
        ("node-1", "ip link set dev cni0 promisc off", &["missing: link cni0", "promisc up"]),
        ("node-1", "tc qdisc del dev cni0 root", &["missing: qdisc handle 1: htb default 0x30 dev cni0"]),
        ("node-1", "tc qdisc add dev ens33 root tbf rate 1mbit burst 10k latency 1s", &["plan: qdisc tbf dev ens33"]),
        ("node-1", "ip rule del priority 32765", &["missing: policy 32765: from 10.244.1.0/24 lookup 77"]),
        ("node-1", "ip rule add fwmark 1 lookup 9 priority 9", &["not in the plan: policy 9: from 0.0.0.0/0 ToTable"]),
        ("node-1", "ip route del table 77 10.1.20.9", &["missing: route 10.1.20.9 dev ens33 table 77"]),
        ("node-1", "ip -6 route del fd00:10:244:2::/64", &["missing: route fd00:10:244:2::/64 via fd00:10:244:1::99"]),
        ("node-1", "ip6tables -t nat -F POSTROUTING", &["missing: rule 1: ip6 nat: -A POSTROUTING"]),
        ("node-1", "ebtables -D OUTPUT -j KUBE-DEDUP", &["missing: rule 1: eb filter: -A OUTPUT -j KUBE-DEDUP"]),
        ("node-1", "iptables -P FORWARD DROP", &["not in the plan: policy of filter FORWARD: DROP"]),
        ("default/m", "ip link del eth0", &["default/m: missing: link eth0"]),
        ("default/p", "ip link del eth0", &["default/p: missing: link eth0", "node-1: missing: link veth0a1b2c3d"]),
        (
            "node-1",
            "ip link del flannel.1",
            &["node-1: missing: link flannel.1 mtu 1450 mac 16:00:00:00:00:09 vxlan id 1"],
        ),
        ("node-1", "ip link set flannel.1 down", &["missing: neighbour 10.244.2.0", "missing: route 10.244.2.0/24"]),
    ];
    for (number, (place, command, expected)) in cases.into_iter().enumerate() {
        let lab = Lab::up(plan(&format!("d{number}")))?;
        lab.no_drift()?;
        lab.exec(place, command)?;
        let found = lines(&drift::of(&lab.plan).map_err(words)?);
        for part in expected {
            contains(&found, part).map_err(|e| format!("{command}: {e}"))?;
        }
        healed(&lab.plan).map_err(|e| format!("{command}: {e}"))?;
        let left = lines(&drift::of(&lab.plan).map_err(words)?);
        if left.contains("missing") {
            return Err(format!("{command} was not healed:\n{left}"));
        }
    }
    Ok(())
}

/// What `plan --as shell` writes makes what `up` makes.
fn script() -> Outcome {
    let lab = Lab::named(tun_plan("s"));
    let text = minik::plan::shell::script(&lab.plan);
    let path = std::env::temp_dir().join(format!("{}.sh", lab.plan.cluster));
    std::fs::write(&path, &text).map_err(|e| e.to_string())?;
    let run = shell(&format!("sh {}", path.display())).and_then(|_| {
        lab.no_drift()?;
        everything(&lab)
    });
    let undone = shell(&format!("sh {} down", path.display()));
    let _ = std::fs::remove_file(&path);
    let by_hand = run?;
    undone?;
    lab.build()?;
    let by_minik = everything(&lab)?;
    if by_hand == by_minik {
        return Ok(());
    }
    let lost = by_hand.lines().filter(|line| !by_minik.contains(line)).map(|line| format!("by hand: {line}"));
    let new = by_minik.lines().filter(|line| !by_hand.contains(line)).map(|line| format!("by minik: {line}"));
    Err(lost.chain(new).collect::<Vec<_>>().join("\n"))
}

/// What must not change on the machine; other tests may have clusters at the same time.
const MACHINE: &str = "ls /etc /var/lib /run | grep -v -e minik -e netns; \
                       grep tmpfs /proc/self/mounts | grep -v ' /run/minik/'";

fn files() -> Outcome {
    let mut plan = plan("f");
    let cluster = plan.cluster.clone();
    let subnet = "FLANNEL_NETWORK=10.244.0.0/16\n";
    plan.namespaces[1].files = vec![
        File::new("/run/flannel/subnet.env", subnet),
        File { mode: 0o600, ..File::new("/var/lib/cni/networks/cbr0/10.244.1.2", "id\r\neth0") },
        File::new("/etc/cni/net.d/10-flannel.conflist", "{}\n"),
    ];
    let before = shell(MACHINE)?;
    let lab = Lab::up(plan)?;
    lab.no_drift()?;
    let inside = |command: &'static str| {
        let (netns, cluster) = (lab.plan.namespaces[1].netns.clone(), cluster.clone());
        std::thread::spawn(move || {
            minik::kernel::place::Place { netns: &netns, hostname: "node-1", cluster: &cluster }
                .settle()
                .map_err(words)?;
            shell(command)
        })
        .join()
        .map_err(|_| "the thread ended badly".to_owned())?
    };
    let seen = inside("cat /run/flannel/subnet.env /etc/cni/net.d/10-flannel.conflist; stat -c %a /var/lib/cni/*/*/*")?;
    if seen != format!("{subnet}{{}}\n600\n") {
        return Err(format!("saw {seen}"));
    }
    // What the machine has is there as well, and can be used.
    inside("test -s /etc/passwd && test -d /run/netns && test -d /var/lib/dpkg && ls -L /etc/os-release && hostname")?;
    inside("echo x >> /run/flannel/subnet.env && touch /run/mine /etc/mine && ip netns list")?;
    contains(&inside("cat /run/flannel/subnet.env")?, "x")?;
    contains(&lines(&drift::of(&lab.plan).map_err(words)?), "node-1: missing: file /run/flannel/subnet.env 0644")?;
    let after = shell(MACHINE)?;
    if before != after {
        return Err(format!("the machine's directories changed:\n{before}\n{after}"));
    }
    let directory = state::dir(&cluster);
    drop(lab);
    if directory.exists() { Err(format!("{} is still there", directory.display())) } else { Ok(()) }
}
