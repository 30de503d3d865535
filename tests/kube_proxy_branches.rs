//! Branches of kube-proxy's sources that the recorded cases of tests/kube-proxy/ do not reach, version by version: what
//! each of them must lead to was read in pkg/proxy/{topology,endpointslicecache,serviceport}.go, pkg/proxy/iptables and
//! pkg/proxy/nftables.
//!
//! The node is `node-1` with 172.18.0.2, pods are in 10.100.0.0/16.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use minik::plan::Family;
use minik::plan::netfilter::{Table, TableName};
use minik::plan::{nft, restore};
use minik::proxy::{Host, View, iptables, nftables};
use minik::topology::{DetectLocal, ProxyConfig, ServiceObjects, Source, parse_services};

fn host(more: &[&str]) -> Host {
    let ips = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
    Host {
        name: "node-1".to_owned(),
        node_ips: ips(&["172.18.0.2"]),
        addresses: ips(&[&["127.0.0.1", "::1", "172.18.0.2"], more].concat()),
        zone: Some("zone-a".to_owned()),
        pod_cidrs: Vec::new(),
    }
}

fn config(minor: u8) -> ProxyConfig {
    ProxyConfig { minor, ..ProxyConfig::new(vec!["10.100.0.0/16".parse().unwrap()]) }
}

fn objects(text: &str) -> ServiceObjects {
    parse_services(&[Source::new("test.yaml", text)]).unwrap_or_else(|e| panic!("{e}"))
}

fn tables(config: &ProxyConfig, family: Family, text: &str) -> Vec<Table> {
    let (objects, host) = (objects(text), host(&[]));
    let view = View::new(config, &host, family, &objects.services, &objects.slices);
    let mut tables = Vec::new();
    iptables::overlay(&view).into_tables(&mut tables);
    tables
}

/// The facts of the nftables mode's table.
fn facts(config: &ProxyConfig, family: Family, host: &Host, text: &str) -> Vec<String> {
    let objects = objects(text);
    let view = View::new(config, host, family, &objects.services, &objects.slices);
    nft::facts::of_tables(&[nftables::table(&view)]).into_iter().collect()
}

/// The lines of one table that `iptables-save` prints, but for those of built-in chains.
fn lines(tables: &[Table], name: TableName) -> Vec<String> {
    let table = tables.iter().find(|table| table.name == name).unwrap();
    restore::table(table).lines().filter(|line| line.starts_with("-A KUBE-")).map(str::to_owned).collect()
}

/// A Service `default/svc` with port 80 and the endpoints' port 8080.
fn service(spec: &str, metadata: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: svc{metadata}}}\n\
         spec: {{clusterIP: 10.96.0.80, {spec}}}\nstatus: {{loadBalancer: {{ingress: [{status}]}}}}\n"
    )
}

fn slice(name: &str, endpoints: &[&str]) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: svc}}}}\naddressType: IPv4\n\
         endpoints: [{}]\nports: [{{name: \"\", port: 8080}}]\n",
        endpoints.join(", ")
    )
}

const PORTS: &str = "ports: [{port: 80, targetPort: 8080}]";
const NODE_PORT: &str = "type: NodePort, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]";
const HERE: &str = "{addresses: [10.100.1.2], nodeName: node-1}";
const AWAY: &str = "{addresses: [10.100.2.2], nodeName: node-2}";
const ENDING_HERE: &str =
    "{addresses: [10.100.1.3], nodeName: node-1, conditions: {ready: false, serving: true, terminating: true}}";
const ENDING_AWAY: &str =
    "{addresses: [10.100.2.3], nodeName: node-2, conditions: {ready: false, serving: true, terminating: true}}";
const ENDED: &str =
    "{addresses: [10.100.2.4], nodeName: node-2, conditions: {ready: false, serving: false, terminating: true}}";

/// Last numbers of the endpoints to which a Service's chain leads.
fn targets(tables: &[Table], chain: &str) -> Vec<String> {
    let lines = lines(tables, TableName::Nat);
    let of_chain = lines.iter().filter(|line| line.starts_with(&format!("-A KUBE-{chain}-")));
    let target = |line: &String| {
        let sep = line.split("-j ").nth(1).filter(|to| to.starts_with("KUBE-SEP-"))?;
        let dnat = lines.iter().find(|line| line.starts_with(&format!("-A {sep} ")) && line.contains("-j DNAT"));
        let to = dnat.unwrap_or_else(|| panic!("{sep} leads nowhere")).rsplit(' ').next()?;
        Some(to.split("100.").nth(1)?.split(':').next()?.to_owned())
    };
    of_chain.filter_map(target).collect()
}

/// The verdicts that the filter table has for a Service, by chain.
fn verdicts(tables: &[Table]) -> Vec<String> {
    let lines = lines(tables, TableName::Filter);
    let of_service = lines.iter().filter(|line| line.contains("default/svc"));
    let verdict = |line: &String| {
        let chain = line.split(' ').nth(1).unwrap().trim_start_matches("KUBE-");
        let verdict = line.split("-j ").nth(1).unwrap().split(' ').next().unwrap();
        format!("{chain} {verdict}")
    };
    of_service.map(verdict).collect()
}

/// CategorizeEndpoints: ready endpoints, else those that serve and are about to end, by each policy.
#[test]
fn endpoints_by_policy_and_state() {
    type Expected = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let (local, drop): (_, &[&str]) = ("externalTrafficPolicy: Local, ", &["EXTERNAL-SERVICES DROP"]);
    let cases: &[(String, &[&str], Expected)] = &[
        (PORTS.into(), &[ENDING_HERE, ENDING_AWAY, ENDED], (&["1.3", "2.3"], &[], &[])),
        (PORTS.into(), &[ENDING_HERE, AWAY], (&["2.2"], &[], &[])),
        (PORTS.into(), &[ENDED], (&[], &[], &["SERVICES REJECT"])),
        (format!("{local}{NODE_PORT}"), &[HERE, AWAY], (&["1.2", "2.2"], &["1.2"], &[])),
        (format!("{local}{NODE_PORT}"), &[ENDING_HERE, AWAY], (&["2.2"], &["1.3"], &[])),
        (format!("{local}{NODE_PORT}"), &[ENDING_HERE, ENDING_AWAY], (&["1.3", "2.3"], &["1.3"], &[])),
        (format!("{local}{NODE_PORT}"), &[ENDING_AWAY], (&["2.3"], &[], drop)),
        (format!("{local}{NODE_PORT}"), &[], (&[], &[], &["EXTERNAL-SERVICES REJECT", "SERVICES REJECT"])),
        (format!("internalTrafficPolicy: Local, {PORTS}"), &[HERE, AWAY], (&[], &["1.2"], &[])),
        (format!("internalTrafficPolicy: Local, {PORTS}"), &[ENDING_HERE, AWAY], (&[], &["1.3"], &[])),
        (format!("internalTrafficPolicy: Local, {PORTS}"), &[AWAY], (&[], &[], &["SERVICES DROP"])),
        (format!("internalTrafficPolicy: Local, {NODE_PORT}"), &[AWAY], (&["2.2"], &[], &["SERVICES DROP"])),
        (
            format!("internalTrafficPolicy: Local, {local}{NODE_PORT}"),
            &[AWAY],
            (&["2.2"], &[], &["EXTERNAL-SERVICES DROP", "SERVICES DROP"]),
        ),
    ];
    for (spec, endpoints, (all, near, refused)) in cases {
        let text = service(spec, "", "") + &slice("a", endpoints);
        for minor in 26..=30 {
            let tables = tables(&config(minor), Family::Inet, &text);
            let found = (targets(&tables, "SVC"), targets(&tables, "SVL"), verdicts(&tables));
            let expected =
                [all, near, refused].map(|list| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
            assert_eq!([found.0, found.1, found.2], expected, "1.{minor}: {spec} with {endpoints:?}");
        }
    }
}

/// The traffic policies for outside: which shortcuts there are, and where they end.
#[test]
fn the_way_from_outside() {
    let local = format!("externalTrafficPolicy: Local, {NODE_PORT}");
    let ext = |config: &ProxyConfig, endpoints: &[&str]| -> Vec<String> {
        let tables = tables(config, Family::Inet, &(service(&local, "", "") + &slice("a", endpoints)));
        let lines = lines(&tables, TableName::Nat);
        let rules = lines.iter().filter(|line| line.starts_with("-A KUBE-EXT-"));
        let short = |rule: &String| {
            let condition = ["-s 10.100.0.0/16", "-i cbr0", "--src-type LOCAL"].into_iter().find(|c| rule.contains(c));
            let target = rule.rsplit(' ').next().unwrap();
            let chain = if target == "KUBE-MARK-MASQ" { target } else { &target[..8] };
            format!("{} {chain}", condition.unwrap_or("all"))
        };
        rules.map(short).collect()
    };
    let pods = "-s 10.100.0.0/16 KUBE-SVC";
    let node = ["--src-type LOCAL KUBE-MARK-MASQ", "--src-type LOCAL KUBE-SVC"];
    assert_eq!(ext(&config(30), &[HERE]), [pods, node[0], node[1], "all KUBE-SVL"]);
    assert_eq!(ext(&config(30), &[AWAY]), [pods, node[0], node[1]], "nothing is behind the shortcuts");
    assert_eq!(ext(&config(24), &[AWAY]), [pods, node[0], node[1], "all KUBE-SVL"], "1.24 marks it there for a drop");
    let blind = ProxyConfig { cluster_cidrs: Vec::new(), ..config(30) };
    assert_eq!(ext(&blind, &[HERE]), [node[0], node[1], "all KUBE-SVL"]);
    let bridge = ProxyConfig { detect_local: DetectLocal::BridgeInterface("cbr0".to_owned()), ..config(30) };
    assert_eq!(ext(&bridge, &[HERE])[0], "-i cbr0 KUBE-SVC");
}

/// canUseTopology: the annotations, hints of every ready endpoint, and one for the node's zone.
#[test]
fn topology_hints_count_by_annotation_and_version() {
    let hinted = |ip: &str, zone: &str| format!("{{addresses: [{ip}], hints: {{forZones: [{{name: {zone}}}]}}}}");
    let (a, b) = (hinted("10.100.1.2", "zone-a"), hinted("10.100.2.2", "zone-b"));
    let near = |minor: u8, annotations: &str, endpoints: &[&str]| {
        let metadata = format!(", annotations: {{{annotations}}}");
        let tables = tables(&config(minor), Family::Inet, &(service(PORTS, &metadata, "") + &slice("a", endpoints)));
        targets(&tables, "SVC") == ["1.2"]
    };
    let (older, newer) = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode");
    for (annotations, since) in [
        (format!("{older}: auto"), Some(24)),
        (format!("{older}: Auto"), Some(24)),
        (format!("{newer}: Auto"), Some(27)),
        (format!("{newer}: PreferZone"), Some(27)),
        (format!("{newer}: Disabled"), None),
        (format!("{older}: disabled, {newer}: Auto"), None),
        (format!("{older}: auto, {newer}: Disabled"), Some(24)),
    ] {
        for minor in ProxyConfig::MINORS {
            let expected = since.is_some_and(|since| minor >= since);
            assert_eq!(near(minor, &annotations, &[&a, &b]), expected, "1.{minor}: {annotations}");
        }
    }
    let auto = format!("{newer}: Auto");
    let unready = "{addresses: [10.100.2.9], conditions: {ready: false}}";
    assert!(near(30, &auto, &[&a, &b, unready]), "hints of endpoints that are not ready do not matter");
    assert!(!near(30, &auto, &[&a, &b, "{addresses: [10.100.2.8]}"]), "one is without");
    assert!(!near(30, &auto, &[&b]), "none is for this zone");
}

/// detectNodeIPs and nodeIPTuple: a range that lets the node in makes rules for the load balancer's own address.
#[test]
fn ranges_that_let_the_node_in() {
    let own = |config: &ProxyConfig, range: &str| {
        let spec = format!("type: LoadBalancer, loadBalancerSourceRanges: [{range}], {PORTS}");
        let text = service(&spec, "", "{ip: 203.0.113.1}") + &slice("a", &[HERE]);
        let lines = lines(&tables(config, Family::Inet, &text), TableName::Nat);
        lines.iter().any(|line| line.starts_with("-A KUBE-FW-") && line.contains("-s 203.0.113.1/32"))
    };
    for minor in ProxyConfig::MINORS {
        let bound = ProxyConfig { bind_address: Some([192, 168, 5, 2].into()), ..config(minor) };
        let nowhere = ProxyConfig { bind_address: Some([0, 0, 0, 0].into()), ..config(minor) };
        let knows_node = !(21..=27).contains(&minor);
        let dual = ProxyConfig {
            cluster_cidrs: vec!["10.100.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
            ..config(minor)
        };
        assert_eq!(own(&dual, "172.18.0.0/16"), minor >= 28, "1.{minor} with two families");
        assert_eq!(own(&config(minor), "172.18.0.0/16"), knows_node, "1.{minor}");
        assert_eq!(own(&nowhere, "172.18.0.0/16"), knows_node, "1.{minor}");
        assert!(own(&config(minor), "0.0.0.0/0"), "1.{minor}: 0.0.0.0 is in it as well");
        assert!(own(&bound, "192.168.5.0/24") && !own(&bound, "172.18.0.0/16"), "1.{minor}: the address to bind to");
        assert!(!own(&config(minor), "198.51.100.0/24"), "1.{minor}");
    }
}

/// addEndpoints: an endpoint in two slices is one, as the slice says that has it on this node.
#[test]
fn one_endpoint_in_two_slices() {
    let unready_here = "{addresses: [10.100.1.2], nodeName: node-1, conditions: {ready: false, serving: false}}";
    let moved = "{addresses: [10.100.1.2], nodeName: node-2}";
    let spec = format!("externalTrafficPolicy: Local, {NODE_PORT}");
    for (first, second, expected) in
        [(HERE, moved, 1), (moved, HERE, 1), (moved, unready_here, 0), (unready_here, moved, 0)]
    {
        let text = service(&spec, "", "") + &slice("a", &[first]) + &slice("b", &[second]);
        let tables = tables(&config(30), Family::Inet, &text);
        assert_eq!(targets(&tables, "SVC").len(), expected, "{first} {second}");
        assert_eq!(targets(&tables, "SVL").len(), expected, "{first} {second}");
    }
}

/// addEndpointsByIP: up to 1.20 a slice's endpoints that are not ready are as if they were not there, and two ports of one
/// address are one endpoint.
#[test]
fn the_oldest_version_knows_endpoints_by_address() {
    let unready = "{addresses: [10.100.2.2], nodeName: node-2, conditions: {ready: false}}";
    let other_port = slice("b", &[AWAY]).replace("port: 8080", "port: 9090");
    for minor in ProxyConfig::MINORS {
        let count = |slices: String| {
            let text = service(PORTS, "", "") + &slices;
            targets(&tables(&config(minor), Family::Inet, &text), "SVC").len()
        };
        assert_eq!(count(slice("a", &[unready]) + &slice("b", &[AWAY])), usize::from(minor < 21), "1.{minor}");
        assert_eq!(count(slice("a", &[AWAY]) + &other_port), if minor < 21 { 1 } else { 2 }, "1.{minor}");
    }
}

/// A cluster is large by what is known of endpoints, which 1.20 does not keep unless they are ready.
#[test]
fn endpoints_that_are_not_ready_make_a_cluster_large() {
    let unready = "{addresses: [10.100.2.9], conditions: {ready: false}}";
    let text = service(PORTS, "", "") + &slice("a", &[HERE, AWAY, unready]);
    for minor in ProxyConfig::MINORS {
        let small = ProxyConfig { large_cluster_endpoints: 2, ..config(minor) };
        let lines = lines(&tables(&small, Family::Inet, &text), TableName::Nat);
        let commented = lines.iter().any(|line| line.starts_with("-A KUBE-SEP-") && line.contains("--comment"));
        assert_eq!(commented, minor < 21, "1.{minor}");
    }
}

/// `--nodeport-addresses` and `--iptables-localhost-nodeports`: the last rules of KUBE-SERVICES, and the guard of 127/8.
#[test]
fn node_ports_by_address() {
    let text = service(NODE_PORT, "", "") + &slice("a", &[HERE]);
    for (addresses, localhost, last, guarded) in [
        (&[][..], true, &["--dst-type LOCAL"][..], true),
        (&[], false, &["! -d 127.0.0.0/8 "], false),
        (&["172.18.0.0/16"], true, &["-d 172.18.0.2/32 "], false),
        (&["127.0.0.0/8"], true, &["-d 127.0.0.1/32 "], true),
        (&["127.0.0.0/8", "172.18.0.0/16"], true, &["-d 127.0.0.1/32 ", "-d 172.18.0.2/32 "], true),
        (&["127.0.0.0/8", "172.18.0.0/16"], false, &["-d 172.18.0.2/32 "], false),
        (&["172.18.0.2/32", "0.0.0.0/0"], true, &["--dst-type LOCAL"], true),
        (&["fd00::/8"], true, &["--dst-type LOCAL"], true),
        (&["10.9.0.0/16"], true, &[], false),
    ] {
        let node_port_addresses: Vec<_> = addresses.iter().map(|net| net.parse().unwrap()).collect();
        let config = ProxyConfig { node_port_addresses, localhost_node_ports: localhost, ..config(30) };
        let tables = tables(&config, Family::Inet, &text);
        let lines_nat = lines(&tables, TableName::Nat);
        let found: Vec<&String> = lines_nat.iter().filter(|line| line.contains("must be the last rule")).collect();
        assert_eq!(found.len(), last.len(), "{addresses:?} {localhost}: {found:#?}");
        assert!(found.iter().zip(last).all(|(line, part)| line.contains(part)), "{addresses:?}: {found:#?}");
        let filter = lines(&tables, TableName::Filter);
        assert_eq!(filter.iter().any(|line| line.contains("localnet")), guarded, "{addresses:?} {localhost}");
    }
}

/// Both families of a Service: each proxy takes what is of its own, and ranges of one family leave the other open.
#[test]
fn families_have_their_own() {
    let text = "apiVersion: v1
kind: Service
metadata: {name: svc}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, 'fd00:96::80']
  externalIPs: [192.0.2.1, '2001:db8::1']
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {ip: '2001:db8:2::1'}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six, labels: {kubernetes.io/service-name: svc}}
addressType: IPv6
endpoints: [{addresses: ['fd00:100::2'], nodeName: node-1}]
ports: [{name: \"\", port: 8080}]
";
    let [four, six] = [Family::Inet, Family::Inet6].map(|family| tables(&config(30), family, text));
    assert_eq!(
        verdicts(&four),
        ["EXTERNAL-SERVICES REJECT", "EXTERNAL-SERVICES REJECT", "EXTERNAL-SERVICES REJECT", "SERVICES REJECT"]
    );
    let all = [lines(&six, TableName::Nat), lines(&six, TableName::Filter)].concat();
    assert!(verdicts(&six).is_empty() && !all.iter().any(|line| line.contains("KUBE-FW-")), "{all:#?}");
    for part in
        ["-d fd00:96::80/128", "-d 2001:db8::1/128", "-d 2001:db8:2::1/128", "[fd00:100::2]:8080", "! -d ::1/128"]
    {
        assert!(all.iter().any(|line| line.contains(part)), "{part}: {all:#?}");
    }
    assert!(!all.iter().any(|line| line.contains("192.0.2.1") || line.contains("10.100.0.0/16")), "{all:#?}");
}

/// The nftables mode: node ports at the address to bind to, the firewall whatever endpoints there are.
#[test]
fn nftables_node_ports_and_firewall() {
    let text = service(NODE_PORT, "", "");
    let ips = |config: &ProxyConfig, family, host: &Host| -> Vec<String> {
        let facts = facts(config, family, host, &text);
        let elements = facts.iter().filter_map(|fact| fact.split("element of nodeport-ips: ").nth(1));
        elements.map(str::to_owned).collect()
    };
    let two = host(&["192.168.5.2"]);
    assert_eq!(ips(&config(30), Family::Inet, &two), ["172.18.0.2"]);
    assert!(ips(&config(30), Family::Inet6, &two).is_empty(), "the node has no such address");
    let bound = ProxyConfig { bind_address: Some([192, 168, 5, 2].into()), ..config(30) };
    assert_eq!(ips(&bound, Family::Inet, &two), ["192.168.5.2"]);
    assert!(ips(&bound, Family::Inet, &host(&[])).is_empty(), "no interface has it");
    let ranged = |ranges: &str| {
        let spec = format!("type: LoadBalancer, loadBalancerSourceRanges: [{ranges}], {PORTS}");
        let facts =
            facts(&config(30), Family::Inet, &host(&[]), &service(&spec, "", "{ip: 203.0.113.1}, {ip: 203.0.113.2}"));
        assert!(
            facts
                .iter()
                .any(|fact| fact.contains("firewall-ips: 203.0.113.1 . tcp . 80 comment \"default/svc\" : goto"))
        );
        let rule = facts.iter().find(|fact| fact.contains("chain firewall-") && fact.ends_with(" drop"));
        rule.unwrap().split("ip saddr ").nth(1).unwrap().to_owned()
    };
    assert_eq!(ranged("198.51.100.7/25"), "!= 198.51.100.0/25 drop");
    assert_eq!(
        ranged("198.51.100.0/25, 172.18.0.0/16"),
        "!= { 172.18.0.0/16, 198.51.100.0/25, 203.0.113.1-203.0.113.2 } drop"
    );
    assert_eq!(ranged("198.51.100.0/25, 198.51.100.128/25"), "!= 198.51.100.0/24 drop");
}

/// Services of others, which no informer of kube-proxy's hears of.
#[test]
fn services_of_others_have_no_rules() {
    for label in ["service.kubernetes.io/service-proxy-name: other", "service.kubernetes.io/headless: ''"] {
        let text = service(NODE_PORT, &format!(", labels: {{{label}}}"), "") + &slice("a", &[HERE]);
        let tables = tables(&config(30), Family::Inet, &text);
        let nat = lines(&tables, TableName::Nat);
        assert!(!nat.iter().any(|line| line.contains("default/svc")), "{label}: {nat:#?}");
    }
}
