//! Real kube-proxy's own output, case by case: `tests/kube-proxy/cases/NAME.yaml` is what it was given,
//! `tests/kube-proxy/dumps/VERSION/NAME.*` what it wrote.
//!
//! A case that is dropped into these directories is a test; `MINIK_KUBE_PROXY_CASES` names another directory that has
//! both. Those from 30 on were made with 1.20.2, the others with 1.20.0-rc.0 and 1.30.3. Each dump is compared chain by chain and rule by rule. The order of Services in the chains that they share is
//! that of a Go map, random: there, and only there, order counts within each Service's rules alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod proxy_cases;

use std::fs;
use std::net::IpAddr;

use minik::compose;
use minik::packet::build::Message;
use minik::plan::Family;
use minik::plan::netfilter::{TableName, Target};
use minik::plan::{Datapath, Health, Kernel, forwarding, nft, restore};
use minik::predict::account;
use minik::proxy::{Host, View, iptables, nftables};
use minik::topology::{Overrides, ProxyConfig, ServiceObjects, Source, parse, parse_services};
use proxy_cases::{case, config, differences, dumps, written};

fn compare_dumps(extension: &str, family: Family) -> usize {
    let (mut wrong, dumps) = (Vec::new(), dumps(extension));
    for (minor, path, dump) in &dumps {
        let found = written(&case(path), *minor, family);
        let differences = differences(&fs::read_to_string(dump).unwrap(), &found);
        if !differences.is_empty() {
            wrong.push(format!("{}:\n{}", dump.display(), differences.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} dumps differ\n{}", wrong.len(), dumps.len(), wrong.join("\n"));
    dumps.len()
}

#[test]
fn rules_are_those_of_kube_proxy() {
    assert!(compare_dumps("iptables-save", Family::Inet) > 0, "no dump was found");
    let recorded: std::collections::BTreeSet<u8> = dumps("iptables-save").iter().map(|(minor, _, _)| *minor).collect();
    let others = std::env::var_os("MINIK_KUBE_PROXY_CASES").is_some();
    assert!(others || recorded == Health::RECORDED.into(), "{recorded:?}");
}

#[test]
fn rules_of_ipv6_are_those_of_kube_proxy() {
    let compared = compare_dumps("ip6tables-save", Family::Inet6);
    assert!(compared > 0 || std::env::var_os("MINIK_KUBE_PROXY_CASES").is_some(), "no dump was found");
}

/// The options of a line of conntrack(8), in the order in which minik says them.
fn options(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let value = |option: &&str| words.iter().position(|word| word == option).map(|at| words[at + 1]);
    let known = ["-p", "--orig-dst", "--dport", "--dst-nat"];
    let given = known.iter().filter_map(|option| Some(format!("{option} {}", value(option)?)));
    given.collect::<Vec<_>>().join(" ")
}

/// `NAME-K.conntrack` is what kube-proxy called conntrack(8) with on the way from the case `NAME-(K-1)` to `NAME-K`.
#[test]
fn connection_tracking_forgets_what_kube_proxy_makes_it_forget() {
    let dumps = dumps("conntrack");
    for (minor, path, dump) in &dumps {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (stem, step) = name.rsplit_once('-').expect("NAME-K");
        let before = path.with_file_name(format!("{stem}-{}.yaml", step.parse::<u32>().unwrap() - 1));
        let [before, after] = [case(&before), case(path)].map(|case| {
            let config = config(&case, *minor);
            let view = View::new(&config, &case.host, Family::Inet, &case.objects.services, &case.objects.slices);
            minik::proxy::forwards(&view)
        });
        let mut found: Vec<String> = forwarding::stale(&before, &after).iter().map(ToString::to_string).collect();
        let recorded = fs::read_to_string(dump).unwrap();
        let mut expected: Vec<String> = recorded.lines().map(options).collect();
        found.sort();
        expected.sort();
        assert_eq!(expected, found, "{}", dump.display());
        assert!(!expected.is_empty(), "{}", dump.display());
    }
    assert!(!dumps.is_empty() || std::env::var_os("MINIK_KUBE_PROXY_CASES").is_some(), "no dump was found");
}

#[test]
fn the_comparison_sees_every_difference() {
    let dump = "*nat\n:KUBE-SERVICES - [0:0]\n:x - [0:0]\n-A KUBE-SERVICES -m comment --comment \"a/b cluster IP\" -j x\n\
                -A KUBE-SERVICES -m comment --comment \"a/c cluster IP\" -j x\n-A x -j A\n-A x -j B\nCOMMIT\n";
    assert_eq!(differences(dump, dump), [""; 0]);
    let swapped = |a: &str, b: &str| dump.replace(a, "?").replace(b, a).replace('?', b);
    assert_eq!(differences(dump, &swapped("a/b", "a/c")), [""; 0], "the order of Services is random");
    for broken in
        [swapped("-j A", "-j B"), dump.replace(":x - [0:0]\n", ":x - [0:0]\n:y - [0:0]\n"), dump.replace("a/b", "a/d")]
    {
        assert_ne!(differences(dump, &broken), [""; 0], "{broken}");
    }
}

/// The chains of a node's table that have rules in built-in chains, in order: what a packet meets.
fn order(cluster: &minik::topology::Cluster, table: TableName, chain: &str) -> Vec<String> {
    let plan = compose::plan(cluster, Datapath::Kernel).unwrap();
    let node = plan.namespace("node-1").unwrap();
    let table = node.tables.iter().find(|known| known.name == table).unwrap();
    let chain = table.chains.iter().find(|known| known.name == chain).unwrap();
    let jump = |rule: &minik::plan::netfilter::Rule| match rule.target.as_ref().unwrap() {
        Target::Jump { chain } | Target::Goto { chain } => chain.clone(),
        other => format!("{other:?}"),
    };
    chain.rules.iter().map(jump).collect()
}

fn cluster(mode: &str, version: &str) -> minik::topology::Cluster {
    let text = format!(
        "apiVersion: minik.dev/v1
kind: Cluster
spec:
  segments: [{{name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}}]
  nodes:
  - {{name: node-1, address: 10.1.10.9}}
  - {{name: node-2, address: 10.1.10.10}}
  network: {{cni: {mode}}}
  proxy: {{version: \"{version}\"}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  nodeName: node-1
  containers: [{{name: c, image: nginx, ports: [{{containerPort: 80, name: http, hostPort: 8081}}]}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: other, labels: {{app: web}}}}
spec:
  nodeName: node-2
  containers: [{{name: c, image: nginx, ports: [{{containerPort: 8080, name: http}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: http}}]}}
"
    );
    parse(&[Source::new("test.yaml", text)], &Overrides::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn rules_stand_in_the_order_of_a_real_node() {
    let cluster = cluster("calico-ipip", "1.20");
    for (table, chain, expected) in [
        (TableName::Filter, "INPUT", "cali-INPUT KUBE-EXTERNAL-SERVICES KUBE-FIREWALL"),
        (TableName::Filter, "OUTPUT", "cali-OUTPUT KUBE-SERVICES KUBE-FIREWALL"),
        (TableName::Nat, "PREROUTING", "cali-PREROUTING KUBE-SERVICES CNI-HOSTPORT-DNAT"),
        (TableName::Nat, "OUTPUT", "cali-OUTPUT KUBE-SERVICES CNI-HOSTPORT-DNAT"),
        (TableName::Nat, "POSTROUTING", "cali-POSTROUTING CNI-HOSTPORT-MASQ KUBE-POSTROUTING"),
    ] {
        assert_eq!(order(&cluster, table, chain).join(" "), expected, "{chain}");
    }
    let newest = self::cluster("calico-ipip", "1.30");
    for (chain, expected) in [
        ("INPUT", "cali-INPUT KUBE-PROXY-FIREWALL KUBE-NODEPORTS KUBE-EXTERNAL-SERVICES KUBE-FIREWALL"),
        ("OUTPUT", "cali-OUTPUT KUBE-PROXY-FIREWALL KUBE-SERVICES KUBE-FIREWALL"),
    ] {
        assert_eq!(order(&newest, TableName::Filter, chain).join(" "), expected, "{chain}");
    }
}

/// What was not compared with a real one is said to be so.
#[test]
fn versions_between_the_recorded_ones_are_said_to_follow_sources() {
    for (version, said) in [("1.20", 0), ("1.21", 1), ("1.29", 1), ("1.30", 0)] {
        let plan = compose::plan(&cluster("calico-ipip", version), Datapath::Kernel).unwrap();
        let found = plan.differences(Kernel::default());
        assert_eq!(found.len(), said, "{found:?}");
        assert!(found.iter().all(|text| text.contains(&format!("kube-proxy {version} "))), "{found:?}");
    }
}

#[test]
fn endpoints_are_the_pods_that_a_selector_finds() {
    let cluster = cluster("calico-ipip", "1.30");
    let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
    let node = plan.namespace("node-1").unwrap();
    let text = restore::iptables_restore(&node.tables);
    for pod in ["default/web", "default/other"] {
        let address = plan.namespace(pod).unwrap().address().unwrap();
        let port = if pod == "default/web" { 80 } else { 8080 };
        assert!(text.contains(&format!("-j DNAT --to-destination {address}:{port}\n")), "{pod}");
    }
    let host_port = "-m multiport --dports 8081 -j CNI-DN-";
    assert!(text.contains(host_port), "{text}");
}

#[test]
fn nftables_are_those_of_kube_proxy() {
    let (mut wrong, dumps) = (Vec::new(), dumps("nft"));
    assert!(!dumps.is_empty(), "no dump was found");
    for (minor, path, dump) in &dumps {
        let (case, expected) = (case(path), fs::read_to_string(dump).unwrap());
        let config = config(&case, *minor);
        let of = |family| View::new(&config, &case.host, family, &case.objects.services, &case.objects.slices);
        let tables = [Family::Inet, Family::Inet6].map(|family| nftables::table(&of(family)));
        let (found, expected) = (nft::facts::of_tables(&tables), nft::facts::of_listing(&expected));
        assert!(expected.len() > 20, "{}", dump.display());
        let lines = expected.difference(&found).map(|fact| format!("  - {fact}"));
        wrong.extend(lines.chain(found.difference(&expected).map(|fact| format!("  + {fact}"))));
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// What a Service's fields mean depends on kube-proxy's version: `ipMode: Proxy` counts since 1.30, the policy of external
/// addresses alone since 1.29.
#[test]
fn versions_know_what_they_know() {
    let text = "apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1, ipMode: VIP}, {ip: 203.0.113.2, ipMode: Proxy}]}}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {clusterIP: 10.96.0.2, externalIPs: [203.0.113.3], externalTrafficPolicy: Local, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b-x, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
endpoints: [{addresses: [10.200.0.1], nodeName: node-2}]
ports: [{port: 8080, name: \"\"}]
";
    let objects = parse_services(&[Source::new("services.yaml", text)]).unwrap_or_else(|e| panic!("{e}"));
    let host = Host {
        name: "node-1".to_owned(),
        node_ips: vec![[172, 18, 0, 2].into()],
        addresses: vec![[127, 0, 0, 1].into(), [172, 18, 0, 2].into()],
        zone: None,
        pod_cidrs: Vec::new(),
    };
    for minor in ProxyConfig::MINORS {
        let config = ProxyConfig { minor, ..ProxyConfig::new(vec!["10.200.0.0/14".parse().unwrap()]) };
        let view = View::new(&config, &host, Family::Inet, &objects.services, &objects.slices);
        let mut tables = Vec::new();
        iptables::overlay(&view).into_tables(&mut tables);
        let rules = restore::iptables_restore(&tables);
        assert!(rules.contains("-d 203.0.113.1/32"), "1.{minor}");
        assert_eq!(rules.contains("-d 203.0.113.2/32"), minor < 30, "1.{minor}");
        let dropped = "-d 203.0.113.3/32 -p tcp -m comment --comment \"default/b has no local endpoints\"";
        assert_eq!(rules.contains(dropped), minor >= 29, "1.{minor}: {rules}");
    }
}

/// Where packets of a pod, the node and a client outside end by a plan, all ways of chance together.
fn ends(plan: &minik::plan::Plan) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    let pod = "default/web";
    for (from, to) in
        [(pod, "10.96.7.1"), ("node-1", "10.96.7.1"), (pod, "10.96.7.3"), (pod, "10.1.10.77"), ("node-2", "10.1.10.9")]
    {
        let port = if to == "10.1.10.9" { 30080 } else { 80 };
        let tcp = Message::Syn { src: 40000, dst: port, seq: 1 };
        let question = account::Question { from, to: to.parse().unwrap(), message: tcp };
        let account = account::account(plan, question).unwrap_or_else(|e| panic!("{from} {to}: {e}"));
        let seen =
            [account.source_seen, account.destination_seen].map(|ip| ip.map_or_else(String::new, |ip| ip.to_string()));
        all.push((format!("{from} to {to}"), vec![account.end, account.ways.to_string(), seen.join(" ")]));
    }
    all
}

#[test]
fn packets_go_the_same_ways_by_both_modes() {
    let [iptables, nftables] = ["iptables", "nftables"].map(|mode| {
        let mut cluster = cluster("calico-ipip", "1.30");
        let more = parse_services(&[Source::new("more.yaml", MORE)]).unwrap_or_else(|e| panic!("{e}"));
        cluster.services = more.services;
        cluster.proxy.as_mut().unwrap().mode =
            minik::topology::ProxyMode::ALL.into_iter().find(|known| known.name() == mode).unwrap();
        ends(&compose::plan(&cluster, Datapath::Kernel).unwrap())
    });
    let without_reason = |(flow, end): &(String, Vec<String>)| {
        let end = end.iter().map(|words| words.split(" by ").next().unwrap_or_default().to_owned());
        (flow.clone(), end.collect::<Vec<_>>())
    };
    assert_eq!(
        nftables.iter().map(without_reason).collect::<Vec<_>>(),
        iptables.iter().map(without_reason).collect::<Vec<_>>()
    );
    let refused = &nftables[2].1[0];
    assert!(refused.ends_with("rejected by ip kube-proxy/reject-chain rule 1"), "{refused}");
    assert_eq!(nftables[0].1[1], "2");
}

/// A Service by every address, and one without endpoints.
const MORE: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.7.1
  selector: {app: web}
  externalIPs: [10.1.10.77]
  ports: [{port: 80, targetPort: http, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: 10.96.7.3, selector: {app: nothing}, ports: [{port: 80}]}
";

/// Five thousand Services with three endpoints each.
#[test]
fn thousands_of_services_take_no_time_to_speak_of() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n---\n\
                apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n\
                endpoints: [{addresses: [10.200.0.1]}, {addresses: [10.200.0.2]}, {addresses: [10.200.0.3]}]\n\
                ports: [{port: 8080, name: \"\"}]\n";
    let one = parse_services(&[Source::new("one.yaml", text)]).unwrap_or_else(|e| panic!("{e}"));
    let mut objects = ServiceObjects::default();
    for n in 0..5000u32 {
        let (mut service, mut slice) = (one.services[0].clone(), one.slices[0].clone());
        service.name = format!("svc-{n}");
        service.cluster_ips = vec![IpAddr::from((0x0a60_0000 + n).to_be_bytes())];
        slice.service = service.name.clone();
        objects.services.push(service);
        objects.slices.push(slice);
    }
    let host = Host {
        name: "node-1".to_owned(),
        node_ips: vec![[172, 18, 0, 2].into()],
        addresses: Vec::new(),
        zone: None,
        pod_cidrs: Vec::new(),
    };
    let config = ProxyConfig::new(vec!["10.200.0.0/14".parse().unwrap()]);
    let begin = std::time::Instant::now();
    let view = View::new(&config, &host, Family::Inet, &objects.services, &objects.slices);
    let mut tables = Vec::new();
    iptables::overlay(&view).into_tables(&mut tables);
    let rules: usize = tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
    assert_eq!(rules, 5000 * (2 + 3 + 3 * 2) + 23);
    assert_eq!(nftables::table(&view).chains.len(), 5000 * 4 + 16);
    // Half a second in a debug build on an idle machine; quadratic work would be minutes.
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    println!("took {:?}", begin.elapsed());
}
