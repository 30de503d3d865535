//! kube-proxy's own test cases (pkg/proxy/iptables/proxier_test.go, number_generated_rules_test.go), rebuilt: the node has
//! 192.168.0.2, pods are in 10.0.0.0/8, masquerading is not fully random. And the Services of the articles.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use minik::plan::Family;
use minik::plan::netfilter::{Table, TableName};
use minik::plan::restore;
use minik::proxy::{Host, View, iptables};
use minik::topology::{DetectLocal, ProxyConfig, Source, parse_services};

fn host() -> Host {
    let ips = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
    Host {
        name: "test-hostname".to_owned(),
        node_ips: ips(&["192.168.0.2"]),
        addresses: ips(&["127.0.0.1", "192.168.0.2"]),
        zone: None,
        pod_cidrs: Vec::new(),
    }
}

fn config(minor: u8) -> ProxyConfig {
    ProxyConfig { minor, random_fully: false, ..ProxyConfig::new(vec!["10.0.0.0/8".parse().unwrap()]) }
}

/// The tables of these objects.
fn tables(config: &ProxyConfig, objects: &str) -> Vec<Table> {
    let objects = parse_services(&[Source::new("test.yaml", objects)]).unwrap_or_else(|e| panic!("{e}"));
    let host = host();
    let view = View::new(config, &host, Family::Inet, &objects.services, &objects.slices);
    let mut tables = Vec::new();
    iptables::overlay(&view).into_tables(&mut tables);
    tables
}

/// What upstream counts: rules and chains of a restore file, which has no built-in chains and no canary.
fn count(tables: &[Table], name: TableName) -> (usize, usize) {
    let table = tables.iter().find(|table| table.name == name).unwrap();
    let own = || table.chains.iter().filter(|chain| chain.policy.is_none() && !chain.name.ends_with("CANARY"));
    (own().map(|chain| chain.rules.len()).sum(), own().count())
}

fn counts(tables: &[Table]) -> [(usize, usize); 2] {
    [count(tables, TableName::Filter), count(tables, TableName::Nat)]
}

/// The rules of a chain of the table, each without `-A CHAIN `.
fn rules(tables: &[Table], name: TableName, chain: &str) -> Vec<String> {
    let table = tables.iter().find(|table| table.name == name).unwrap();
    let found = table.chains.iter().find(|known| known.name == chain).unwrap_or_else(|| panic!("no chain {chain}"));
    let cut = format!("-A {chain} ");
    found.rules.iter().map(|rule| restore::append(chain, rule).strip_prefix(&cut).unwrap().to_owned()).collect()
}

/// Every chain is reached, and every chain that is jumped to is there.
fn connected(tables: &[Table]) {
    for table in tables {
        let text = restore::table(table);
        for chain in table.chains.iter().filter(|chain| chain.policy.is_none()) {
            let unused = ["KUBE-PROXY-CANARY", "KUBE-MARK-MASQ", "KUBE-MARK-DROP", "KUBE-NODEPORTS"];
            let used = text.contains(&format!("-j {}\n", chain.name)) || unused.contains(&chain.name.as_str());
            assert!(used, "nothing leads to {}", chain.name);
        }
        for target in text.split("-j KUBE-").skip(1).map(|rest| rest.split_whitespace().next().unwrap()) {
            assert!(table.chains.iter().any(|chain| chain.name == format!("KUBE-{target}")), "no KUBE-{target}");
        }
    }
}

fn service(name: &str, spec: &str, status: &str) -> String {
    let status =
        if status.is_empty() { String::new() } else { format!("status: {{loadBalancer: {{ingress: [{status}]}}}}\n") };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: svc{name}, namespace: ns{name}}}\nspec: {{{spec}}}\n{status}"
    )
}

/// The endpoints of `svcN`; a `!` before an address says that it is on this node.
fn endpoints(name: &str, addresses: &[&str]) -> String {
    let entry = |address: &&str| match address.strip_prefix('!') {
        Some(local) => format!("{{addresses: [{local}], nodeName: test-hostname}}"),
        None => format!("{{addresses: [{address}], nodeName: host2}}"),
    };
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: svc{name}-x, namespace: ns{name}, labels: {{kubernetes.io/service-name: svc{name}}}}}\n\
         addressType: IPv4\nendpoints: [{}]\nports: [{{name: p80, port: 80}}]\n",
        addresses.iter().map(entry).collect::<Vec<_>>().join(", ")
    )
}

/// TestOverallIPTablesRulesWithMultipleServices.
fn overall() -> String {
    [
        service("1", "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]", ""),
        endpoints("1", &["10.180.0.1"]),
        service(
            "2",
            "type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 172.30.0.42, externalIPs: [192.168.99.22], \
             healthCheckNodePort: 30000, ports: [{name: p80, port: 80, nodePort: 3001}]",
            "{ip: 1.2.3.4}",
        ),
        endpoints("2", &["10.180.0.2"]),
        service("3", "type: NodePort, clusterIP: 172.30.0.43, ports: [{name: p80, port: 80, nodePort: 3003}]", ""),
        endpoints("3", &["10.180.0.3"]),
        service(
            "4",
            "type: NodePort, clusterIP: 172.30.0.44, externalIPs: [192.168.99.33], ports: [{name: p80, port: 80}]",
            "",
        ),
        endpoints("4", &["10.180.0.4", "!10.180.0.5"]),
        service(
            "5",
            "type: LoadBalancer, clusterIP: 172.30.0.45, healthCheckNodePort: 30000, \
             loadBalancerSourceRanges: [\" 203.0.113.0/25\"], ports: [{name: p80, port: 80, nodePort: 3002}]",
            "{ip: 5.6.7.8}",
        ),
        endpoints("5", &["10.180.0.3"]),
        service("6", "clusterIP: 172.30.0.46, ports: [{name: p80, port: 80}]", ""),
    ]
    .concat()
}

#[test]
fn several_services() {
    let tables = tables(&config(28), &overall());
    connected(&tables);
    assert_eq!(counts(&tables), [(10, 6), (51, 20)], "rules and chains of filter and nat");
    let drops = rules(&tables, TableName::Filter, "KUBE-EXTERNAL-SERVICES");
    assert_eq!(drops.len(), 3, "{drops:#?}");
    assert!(drops.iter().all(|rule| rule.contains("ns2/svc2:p80 has no local endpoints") && rule.ends_with("-j DROP")));
    let ext = rules(&tables, TableName::Nat, "KUBE-EXT-GNZBNJ2PO5MGZ6GT");
    assert_eq!(ext.len(), 3, "three short cuts and nothing behind: {ext:#?}");
    let firewall = rules(&tables, TableName::Nat, "KUBE-FW-NUKIZ6OKUXPJNT4C");
    assert_eq!(
        firewall,
        [
            "-s 203.0.113.0/25 -m comment --comment \"ns5/svc5:p80 loadbalancer IP\" -j KUBE-EXT-NUKIZ6OKUXPJNT4C",
            "-m comment --comment \"other traffic to ns5/svc5:p80 will be dropped by KUBE-PROXY-FIREWALL\"",
        ]
    );
    assert_eq!(rules(&tables, TableName::Filter, "KUBE-PROXY-FIREWALL").len(), 1);
    let shared = rules(&tables, TableName::Nat, "KUBE-SVC-4SW47YFZTEDKD3PK");
    assert!(shared[1].contains("--probability 0.50000000000") && !shared[2].contains("statistic"), "{shared:#?}");
    let health = rules(&tables, TableName::Filter, "KUBE-NODEPORTS");
    assert_eq!(health.len(), 1, "svc5's is none: its policy is Cluster: {health:?}");
    for hash in ["XPGD46QRK7WJZT7O", "X27LE4BHSL4DOUIK"] {
        rules(&tables, TableName::Nat, &format!("KUBE-SVC-{hash}"));
    }
}

#[test]
fn every_version_leads_every_packet_somewhere() {
    for minor in ProxyConfig::MINORS {
        connected(&tables(&config(minor), &overall()));
    }
}

/// What changed from one version to the next, each seen in the rules of the same Services.
#[test]
fn each_version_differs_where_it_should() {
    let text = |minor| tables(&config(minor), &overall()).iter().map(restore::table).collect::<String>();
    for (first, mark) in [
        (21, ":KUBE-NODEPORTS - [0:0]\n:KUBE-PROXY-CANARY"),
        (22, "-A KUBE-SVC-XPGD46QRK7WJZT7O ! -s 10.0.0.0/8"),
        (23, "kubernetes forwarding conntrack rule"),
        (24, "KUBE-EXT-X27LE4BHSL4DOUIK"),
        (25, "traffic not accepted by KUBE-FW-"),
        (27, "will be dropped by KUBE-PROXY-FIREWALL"),
        (27, "block incoming localnet connections"),
    ] {
        for minor in ProxyConfig::MINORS {
            assert_eq!(text(minor).contains(mark), minor >= first, "1.{minor}: {mark}");
        }
    }
    for (last, mark) in [(20, "--physdev-is-in"), (23, "KUBE-XLB-"), (24, "KUBE-MARK-DROP")] {
        for minor in ProxyConfig::MINORS {
            assert_eq!(text(minor).contains(mark), minor <= last, "1.{minor}: {mark}");
        }
    }
}

#[test]
fn a_cluster_address_without_endpoints() {
    let tables = tables(&config(28), &service("1", "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]", ""));
    assert_eq!(
        rules(&tables, TableName::Filter, "KUBE-SERVICES"),
        ["-d 172.30.0.41/32 -p tcp -m comment --comment \"ns1/svc1:p80 has no endpoints\" -m tcp --dport 80 \
          -j REJECT --reject-with icmp-port-unreachable"]
    );
    assert_eq!(rules(&tables, TableName::Nat, "KUBE-SERVICES").len(), 1);
}

#[test]
fn a_load_balancer_that_lets_the_node_in() {
    let spec = "type: LoadBalancer, clusterIP: 172.30.0.41, loadBalancerSourceRanges: [192.168.0.0/24, 203.0.113.0/25], \
                ports: [{name: p80, port: 80, nodePort: 3001}]";
    let objects = service("1", spec, "{ip: 1.2.3.4}, {ip: 5.6.7.8}") + &endpoints("1", &["10.180.0.1"]);
    let newest = tables(&config(28), &objects);
    let firewall = rules(&newest, TableName::Nat, "KUBE-FW-XPGD46QRK7WJZT7O");
    let sources: Vec<&str> = firewall.iter().map(|rule| rule.split(" -m ").next().unwrap()).collect();
    assert_eq!(sources[..4], ["-s 192.168.0.0/24", "-s 203.0.113.0/25", "-s 1.2.3.4/32", "-s 5.6.7.8/32"]);
    assert_eq!(firewall.len(), 5);
    assert_eq!(rules(&newest, TableName::Filter, "KUBE-PROXY-FIREWALL").len(), 2);
    // In 1.20 all of it is there once per address; in between the node is not known.
    let oldest = rules(&tables(&config(20), &objects), TableName::Nat, "KUBE-FW-XPGD46QRK7WJZT7O");
    assert_eq!(oldest.len(), 2 * 5, "{oldest:#?}");
    assert_eq!(rules(&tables(&config(25), &objects), TableName::Nat, "KUBE-FW-XPGD46QRK7WJZT7O").len(), 2);
}

#[test]
fn a_load_balancer_that_stays_on_the_node() {
    let spec = "type: LoadBalancer, clusterIP: 172.30.0.41, externalTrafficPolicy: Local, sessionAffinity: ClientIP, \
                healthCheckNodePort: 30000, ports: [{name: p80, port: 80, nodePort: 3001}]";
    let objects = service("1", spec, "{ip: 1.2.3.4}") + &endpoints("1", &["10.180.0.1", "!10.180.2.1"]);
    let tables = tables(&config(28), &objects);
    let svc = rules(&tables, TableName::Nat, "KUBE-SVC-XPGD46QRK7WJZT7O");
    assert_eq!((svc.len(), svc.iter().filter(|rule| rule.contains("--rcheck --seconds 10800 --reap")).count()), (5, 2));
    assert_eq!(rules(&tables, TableName::Nat, "KUBE-SVL-XPGD46QRK7WJZT7O").len(), 2);
}

#[test]
fn node_ports_on_some_addresses() {
    let spec = "type: NodePort, externalTrafficPolicy: Local, clusterIP: 172.30.0.41, ports: [{name: p80, port: 80, nodePort: 3001}]";
    let objects = service("1", spec, "") + &endpoints("1", &["10.180.0.1", "!10.180.2.1"]);
    let net = |net: &str| vec![net.parse().unwrap(), "2001:db8::/64".parse().unwrap()];
    let only = ProxyConfig { node_port_addresses: net("192.168.0.0/24"), ..config(28) };
    let tables = |config: &ProxyConfig| tables(config, &objects);
    let last = rules(&tables(&only), TableName::Nat, "KUBE-SERVICES").pop().unwrap();
    assert!(last.starts_with("-d 192.168.0.2/32 ") && !last.contains("addrtype"), "{last}");
    assert!(rules(&tables(&only), TableName::Filter, "KUBE-FIREWALL").is_empty());
    let off = ProxyConfig { localhost_node_ports: false, ..config(28) };
    let last = rules(&tables(&off), TableName::Nat, "KUBE-SERVICES").pop().unwrap();
    assert!(last.starts_with("! -d 127.0.0.0/8 "), "{last}");
    // No address at all: node ports lead nowhere, in 1.20 neither does the cluster's address.
    let none = |minor| ProxyConfig { node_port_addresses: net("172.16.0.0/12"), ..config(minor) };
    for minor in ProxyConfig::MINORS {
        let all = rules(&tables(&none(minor)), TableName::Nat, "KUBE-SERVICES");
        assert!(all.iter().all(|rule| !rule.contains("nodeports")), "1.{minor}: {all:?}");
    }
    assert!(rules(&tables(&none(20)), TableName::Nat, "KUBE-SVC-XPGD46QRK7WJZT7O").is_empty());
}

/// number_generated_rules_test.go: how many rules Services with so many endpoints make.
#[test]
fn as_many_rules_as_upstream_counts() {
    for (services, targets) in [(0, 0), (1, 0), (1, 1), (10, 10), (3, 5)] {
        let many = |spec: &dyn Fn(usize) -> String, status: &str| -> String {
            let addresses: Vec<String> = (0..targets).map(|n| format!("10.0.0.{n}")).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let one = |n: usize| service(&n.to_string(), &spec(n), status) + &endpoints(&n.to_string(), &addresses);
            (0..services).map(one).collect()
        };
        let cluster_ip = |n: usize| format!("clusterIP: 172.30.0.{n}, ports: [{{name: p80, port: 80}}]");
        let found = counts(&tables(&config(28), &many(&cluster_ip, "")));
        let expected = if targets == 0 { (4 + services, 5) } else { (4, 5 + services * (2 + 3 * targets)) };
        assert_eq!((found[0].0, found[1].0), expected, "{services} services with {targets} endpoints");
        let balancer = |n: usize| {
            format!(
                "type: LoadBalancer, clusterIP: 172.30.0.{n}, externalIPs: [1.2.3.4], loadBalancerSourceRanges: [1.2.3.4/28], \
                 ports: [{{name: p80, port: 80, nodePort: {}}}]",
                3000 + n
            )
        };
        let found = counts(&tables(&config(28), &many(&balancer, "{ip: 1.2.3.4}")));
        let expected =
            if targets == 0 { (4 + 4 * services, 5) } else { (4 + services, 5 + services * (9 + 3 * targets)) };
        assert_eq!((found[0].0, found[1].0), expected, "{services} balancers with {targets} endpoints");
    }
}

#[test]
fn large_clusters_do_without_comments() {
    let many = |count: usize| {
        let addresses: Vec<String> = (0..count).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let objects = service("1", "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]", "");
        tables(&config(28), &(objects + &endpoints("1", &addresses)))
    };
    let chain = |tables: &[Table]| rules(tables, TableName::Nat, "KUBE-SVC-XPGD46QRK7WJZT7O");
    assert!(chain(&many(998)).iter().all(|rule| rule.contains("--comment")));
    // A slice has at most a thousand endpoints; the threshold is lowered instead.
    let small = ProxyConfig { large_cluster_endpoints: 2, ..config(28) };
    let objects = service("1", "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]", "");
    let large = tables(&small, &(objects + &endpoints("1", &["10.0.0.1", "10.0.0.2", "10.0.0.3"])));
    assert_eq!(chain(&large).iter().filter(|rule| rule.contains("--comment")).count(), 1, "the mark's alone");
    assert!(rules(&large, TableName::Nat, "KUBE-SERVICES")[0].contains("ns1/svc1:p80 cluster IP"));
}

#[test]
fn pods_are_told_from_others_by_prefix_or_interface() {
    let objects =
        service("1", "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]", "") + &endpoints("1", &["10.1.0.1"]);
    for (detect_local, expected) in [
        (DetectLocal::BridgeInterface("cbr0".to_owned()), "-d 172.30.0.41/32 ! -i cbr0 -p tcp "),
        (DetectLocal::InterfaceNamePrefix("veth".to_owned()), "-d 172.30.0.41/32 ! -i veth+ -p tcp "),
        (DetectLocal::ClusterCidr, "! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp "),
    ] {
        let tables = tables(&ProxyConfig { detect_local, ..config(28) }, &objects);
        let first = rules(&tables, TableName::Nat, "KUBE-SVC-XPGD46QRK7WJZT7O").remove(0);
        assert!(first.starts_with(expected), "{first}");
    }
    let blind = ProxyConfig { cluster_cidrs: Vec::new(), ..config(28) };
    assert_eq!(rules(&tables(&blind, &objects), TableName::Nat, "KUBE-SVC-XPGD46QRK7WJZT7O").len(), 1);
}

/// Topology hints, endpoints about to end, traffic policy inside.
#[test]
fn endpoints_are_chosen_as_kube_proxy_chooses() {
    let slice = |endpoints: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: x, namespace: ns1, labels: {{kubernetes.io/service-name: svc1}}}}\n\
             addressType: IPv4\nendpoints: [{endpoints}]\nports: [{{name: p80, port: 80}}]\n"
        )
    };
    let spec = "clusterIP: 172.30.0.41, ports: [{name: p80, port: 80}]";
    let ending = "{addresses: [10.1.0.1], conditions: {ready: false, serving: true, terminating: true}}";
    let objects = service("1", spec, "") + &slice(ending);
    let served =
        |minor| !rules(&tables(&config(minor), &objects), TableName::Nat, "KUBE-SERVICES")[0].contains("nodeports");
    assert_eq!([25, 26, 30].map(served), [false, true, true]);
    let both = service("1", spec, "") + &slice(&format!("{ending}, {{addresses: [10.1.0.2]}}"));
    let text = restore::iptables_restore(&tables(&config(30), &both));
    assert!(text.contains("10.1.0.2:80") && !text.contains("10.1.0.1:80"), "a ready one is there");
    let near = service("1", &format!("internalTrafficPolicy: Local, {spec}"), "")
        + &slice("{addresses: [10.1.0.1], nodeName: host2}");
    for (minor, expected) in [(21, "-j KUBE-SVC-"), (23, "-j REJECT"), (24, "-j KUBE-MARK-DROP"), (25, "-j DROP")] {
        let text = restore::iptables_restore(&tables(&config(minor), &near));
        let mut of_service = text.lines().filter(|line| line.contains("ns1/svc1:p80"));
        assert!(of_service.any(|line| line.contains(expected)), "1.{minor}: {text}");
    }
}

/// The chains of the articles: their names come out of the Services' names and the pods' addresses.
#[test]
fn chains_of_the_articles() {
    let object = |name: &str, spec: &str, port: u16, addresses: &[&str]| {
        let entries: Vec<String> = addresses.iter().map(|ip| format!("{{addresses: [{ip}]}}")).collect();
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-x, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: \"\", port: {port}}}]\n",
            entries.join(", ")
        )
    };
    let echo = ["192.168.0.33", "192.168.0.34", "192.168.0.35"];
    let objects = [
        object("echoserver", "clusterIP: 10.106.23.233, ports: [{port: 8877}]", 8080, &echo),
        object(
            "test-externalip",
            "clusterIP: 10.97.132.81, externalIPs: [10.1.10.9], ports: [{port: 80}]",
            9376,
            &["192.168.0.40", "192.168.0.41"],
        ),
        object(
            "test-nodeport",
            "type: NodePort, clusterIP: 10.97.231.111, ports: [{port: 80, nodePort: 32228}]",
            9376,
            &["192.168.0.42", "192.168.0.43"],
        ),
        object(
            "test-clientip",
            "clusterIP: 10.107.215.65, sessionAffinity: ClientIP, ports: [{port: 80}]",
            9376,
            &["192.168.0.36", "192.168.0.37"],
        ),
    ];
    let tables = tables(&config(20), &objects.concat());
    for (chain, expected) in [
        ("KUBE-SVC-CITWPFL6QQOR27AK", ["KUBE-SEP-RRILQQHBGE5IMDI4", "KUBE-SEP-JRIE3IXDMRY6BNG5"]),
        ("KUBE-SVC-CIFSXFMKAAMIL4QG", ["KUBE-SEP-EEAMLDZD2ZLPIVQ3", "KUBE-SEP-3C6WTWWWE5M27K7C"]),
        ("KUBE-SVC-JASYFCTGROL6PGNE", ["KUBE-SEP-2WE6A5EBAO3UGN4N", "KUBE-SEP-LXKS3SWKA3X476YD"]),
    ] {
        let all = rules(&tables, TableName::Nat, chain);
        let balanced = &all[all.len() - 2..];
        assert!(balanced[0].contains("0.50000000000") && balanced[0].ends_with(expected[0]), "{all:#?}");
        assert!(balanced[1].ends_with(expected[1]), "{all:#?}");
    }
    let echo = rules(&tables, TableName::Nat, "KUBE-SVC-HOYURHXRFA5BUYEO");
    assert!(echo[0].contains("0.33333333349") && echo[1].contains("0.50000000000"), "{echo:#?}");
    let node_ports = rules(&tables, TableName::Nat, "KUBE-NODEPORTS");
    assert_eq!(node_ports.len(), 2);
    assert!(node_ports.iter().all(|rule| rule.contains("\"default/test-nodeport\" -m tcp --dport 32228")));
}
