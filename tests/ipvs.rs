//! kube-proxy's ipvs mode: what a node gets, held against files in tests/ipvs/ and against what the sources of kube-proxy
//! say; and the ways of packets through it.
//!
//! `MINIK_BLESS=1 cargo test --test ipvs` writes the files anew; look at the difference before committing it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod proxy_cases;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use minik::compose;
use minik::packet::build::Message;
use minik::plan::Family;
use minik::plan::netfilter::TableName;
use minik::plan::{Datapath, Ipvs, Plan, restore, shell};
use minik::predict::account;
use minik::proxy::{Host, View, ipvs};
use minik::topology::{
    Cluster, IpvsOptions, Overrides, ProxyConfig, ProxyMode, ServiceObjects, Source, parse, parse_services,
};
use proxy_cases::{case, config, dumps};

/// All that a node has of the mode, as its tools print it.
fn printed(view: &View) -> String {
    let mut text = String::new();
    let addresses: Vec<String> = ipvs::addresses(view).iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "# {}: {}", ipvs::DEVICE, addresses.join(" "));
    let sets = ipvs::sets(view);
    let _ = write!(text, "# ipset save\n{}", restore::ipset_restore(&sets));
    let servers = Ipvs { timeouts: None, servers: ipvs::servers(view) };
    let _ = write!(text, "# ipvsadm -Sn\n{}", servers.restore());
    let mut tables = Vec::new();
    ipvs::overlay(view, &sets).into_tables(&mut tables);
    let _ = write!(text, "# iptables-save\n{}", restore::iptables_restore(&tables));
    text
}

#[test]
fn nodes_have_what_the_files_say() {
    let bless = std::env::var_os("MINIK_BLESS").is_some();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ipvs");
    let mut wrong = Vec::new();
    // The cases of which there is what a real one set up, of whatever version.
    let cases: BTreeSet<_> = dumps("ipvs").into_iter().map(|(_, case, _)| case).collect();
    assert!(!cases.is_empty());
    for path in cases {
        let case = case(&path);
        // What a real one of 1.20 sets up is in tests/kube_proxy_ipvs.rs.
        for minor in [30] {
            let config = ProxyConfig { mode: ProxyMode::Ipvs, ..config(&case, minor) };
            let mut text = String::new();
            for family in [Family::Inet, Family::Inet6] {
                let view = View::new(&config, &case.host, family, &case.objects.services, &case.objects.slices);
                if family == Family::Inet || !view.ports.is_empty() {
                    text.push_str(&printed(&view));
                }
            }
            let name = format!("1.{minor}-{}.txt", path.file_stem().unwrap().to_str().unwrap());
            let file = golden.join(&name);
            if bless {
                fs::write(&file, text).unwrap();
            } else if fs::read_to_string(&file).unwrap_or_default() != text {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "run with MINIK_BLESS=1 and look at git diff: {}", wrong.join(", "));
}

// --------------------------------------------------------------------------------------------------- single facts

fn host() -> Host {
    let ips = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
    Host {
        name: "test-hostname".to_owned(),
        node_ips: ips(&["192.168.0.2"]),
        addresses: ips(&["127.0.0.1", "::1", "192.168.0.2", "10.180.0.0", "fe80::1"]),
        zone: None,
        pod_cidrs: Vec::new(),
    }
}

fn objects(text: &str) -> ServiceObjects {
    parse_services(&[Source::new("test.yaml", text)]).unwrap_or_else(|e| panic!("{e}"))
}

fn with<T>(minor: u8, change: impl Fn(&mut ProxyConfig), text: &str, look: impl FnOnce(&View) -> T) -> T {
    let (objects, host) = (objects(text), host());
    let cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    let mut config = ProxyConfig { minor, mode: ProxyMode::Ipvs, random_fully: false, ..ProxyConfig::new(cidrs) };
    change(&mut config);
    look(&View::new(&config, &host, Family::Inet, &objects.services, &objects.slices))
}

/// Upstream's TestLoadBalancer's Service, and one that keeps its clients and their addresses.
const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: {name: svc1, namespace: ns1}
spec:
  type: LoadBalancer
  clusterIP: 172.30.0.41
  loadBalancerSourceRanges: [\" 203.0.113.0/25\"]
  ports: [{name: p80, port: 80, protocol: TCP, nodePort: 3001}]
status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc1-x, namespace: ns1, labels: {kubernetes.io/service-name: svc1}}
addressType: IPv4
endpoints: [{addresses: [10.180.0.1], nodeName: test-hostname}]
ports: [{name: p80, port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: svc2, namespace: ns1}
spec:
  type: LoadBalancer
  clusterIP: 172.30.0.42
  externalTrafficPolicy: Local
  healthCheckNodePort: 30000
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 1800}}
  externalIPs: [192.168.0.2, 192.168.99.22]
  ports: [{name: p80, port: 80, protocol: TCP, nodePort: 3002}]
status: {loadBalancer: {ingress: [{ip: 5.6.7.8}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc2-x, namespace: ns1, labels: {kubernetes.io/service-name: svc2}}
addressType: IPv4
endpoints: [{addresses: [10.180.1.1], nodeName: elsewhere}, {addresses: [10.180.0.2], nodeName: test-hostname}]
ports: [{name: p80, port: 80, protocol: TCP}]
";

fn members(view: &View, set: &str) -> Vec<String> {
    let sets = ipvs::sets(view);
    let set = sets.iter().find(|known| known.name == set).unwrap_or_else(|| panic!("no set {set}"));
    set.members.iter().map(ToString::to_string).collect()
}

#[test]
fn sets_have_the_members_that_upstream_tests() {
    // pkg/proxy/ipvs/proxier_test.go: TestLoadBalancerSourceRanges, TestOnlyLocalLoadBalancing, TestHealthCheckNodePort.
    with(
        30,
        |_| {},
        SERVICES,
        |view| {
            for (set, expected) in [
                ("KUBE-CLUSTER-IP", &["172.30.0.41,tcp:80", "172.30.0.42,tcp:80"][..]),
                ("KUBE-LOAD-BALANCER", &["1.2.3.4,tcp:80", "5.6.7.8,tcp:80"]),
                ("KUBE-LOAD-BALANCER-FW", &["1.2.3.4,tcp:80"]),
                ("KUBE-LOAD-BALANCER-SOURCE-CIDR", &["1.2.3.4,tcp:80,203.0.113.0/25"]),
                ("KUBE-LOAD-BALANCER-SOURCE-IP", &[]),
                ("KUBE-LOAD-BALANCER-LOCAL", &["5.6.7.8,tcp:80"]),
                ("KUBE-EXTERNAL-IP", &[]),
                ("KUBE-EXTERNAL-IP-LOCAL", &["192.168.0.2,tcp:80", "192.168.99.22,tcp:80"]),
                ("KUBE-NODE-PORT-TCP", &["3001", "3002"]),
                ("KUBE-NODE-PORT-LOCAL-TCP", &["3002"]),
                ("KUBE-NODE-PORT-UDP", &[]),
                ("KUBE-HEALTH-CHECK-NODE-PORT", &["30000"]),
                ("KUBE-LOOP-BACK", &["10.180.0.1,tcp:80,10.180.0.1", "10.180.0.2,tcp:80,10.180.0.2"]),
                ("KUBE-IPVS-IPS", &["1.2.3.4", "5.6.7.8", "172.30.0.41", "172.30.0.42", "192.168.99.22"]),
            ] {
                assert_eq!(members(view, set), expected, "{set}");
            }
        },
    );
    let within = SERVICES.replace("203.0.113.0/25", "192.168.0.0/24");
    with(
        30,
        |_| {},
        &within,
        |view| {
            assert_eq!(members(view, "KUBE-LOAD-BALANCER-SOURCE-IP"), ["1.2.3.4,tcp:80,1.2.3.4"]);
        },
    );
}

#[test]
fn servers_are_where_upstream_has_them() {
    let lines = |minor: u8, scheduler: &str, text: &str| {
        let change = |config: &mut ProxyConfig| config.ipvs.scheduler = scheduler.to_owned();
        with(minor, change, text, |view| Ipvs { timeouts: None, servers: ipvs::servers(view) }.restore())
    };
    let newest = lines(30, "rr", SERVICES);
    for line in [
        "-A -t 172.30.0.41:80 -s rr\n-a -t 172.30.0.41:80 -r 10.180.0.1:80 -m -w 1\n",
        "-A -t 1.2.3.4:80 -s rr\n",
        "-A -t 192.168.0.2:3001 -s rr\n-a -t 192.168.0.2:3001 -r 10.180.0.1:80 -m -w 1\n",
        "-A -t 10.180.0.0:3001 -s rr\n",
        // The cluster's address leads to every endpoint, all others to that of the node.
        "-A -t 172.30.0.42:80 -s rr -p 1800\n-a -t 172.30.0.42:80 -r 10.180.0.2:80 -m -w 1\n-a -t 172.30.0.42:80 -r 10.180.1.1:80 -m -w 1\n",
        "-A -t 5.6.7.8:80 -s rr -p 1800\n-a -t 5.6.7.8:80 -r 10.180.0.2:80 -m -w 1\n-A",
    ] {
        assert!(newest.contains(line), "{line}\nis not in\n{newest}");
    }
    assert!(!newest.contains("127.0.0.1") && !newest.contains("fe80"), "{newest}");
    assert!(lines(21, "rr", SERVICES).contains("-A -t 127.0.0.1:3001 -s rr\n"), "up to 1.21");
    // Where an address of the node is a Service's too, these forget its node ports.
    let forgotten = |minor| !lines(minor, "rr", SERVICES).contains("-A -t 192.168.0.2:3001 -s rr\n");
    assert_eq!([22, 23, 26, 27].map(forgotten), [false, true, true, false]);
    assert!(lines(30, "mh", SERVICES).contains("-A -t 1.2.3.4:80 -s mh -b mh-port\n"));
    // Without an endpoint here: none up to 1.23, those elsewhere from 1.24 on.
    let elsewhere = SERVICES.replace(
        "{addresses: [10.180.0.2], nodeName: test-hostname}",
        "{addresses: [10.180.1.2], nodeName: elsewhere}",
    );
    assert!(lines(23, "rr", &elsewhere).contains("-A -t 5.6.7.8:80 -s rr -p 1800\n-A"));
    assert!(lines(24, "rr", &elsewhere).contains("-a -t 5.6.7.8:80 -r 10.180.1.1:80"));
}

#[test]
fn addresses_are_on_the_dummy_but_for_the_node_s_own() {
    let addresses = |minor| {
        with(minor, |_| {}, SERVICES, |view| ipvs::addresses(view).iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let all = ["172.30.0.41", "1.2.3.4", "172.30.0.42", "192.168.99.22", "5.6.7.8"];
    assert_eq!(addresses(30), all);
    assert!(addresses(26).contains(&"192.168.0.2".to_owned()), "up to 1.26 (kubernetes issue 117613)");
}

/// The rules of a chain, without `-A CHAIN `.
fn rules(view: &View, table: TableName, chain: &str) -> Vec<String> {
    let mut tables = Vec::new();
    ipvs::overlay(view, &ipvs::sets(view)).into_tables(&mut tables);
    let table = tables.iter().find(|known| known.name == table).unwrap();
    let Some(found) = table.chains.iter().find(|known| known.name == chain) else { return Vec::new() };
    let cut = format!("-A {chain} ");
    found.rules.iter().map(|rule| restore::append(chain, rule).strip_prefix(&cut).unwrap().to_owned()).collect()
}

#[test]
fn what_is_marked_depends_on_what_kube_proxy_knows_of_pods() {
    let comment = "-m comment --comment \"Kubernetes service cluster ip + port for masquerade purpose\" -m set --match-set KUBE-CLUSTER-IP";
    let marked = |change: fn(&mut ProxyConfig)| {
        with(30, change, SERVICES, |view| {
            rules(view, TableName::Nat, "KUBE-SERVICES").into_iter().find(|rule| rule.contains(comment)).unwrap()
        })
    };
    assert_eq!(marked(|_| {}), format!("! -s 10.0.0.0/8 {comment} dst,dst -j KUBE-MARK-MASQ"));
    assert_eq!(marked(|config| config.masquerade_all = true), format!("{comment} dst,dst -j KUBE-MARK-MASQ"));
    assert_eq!(marked(|config| config.cluster_cidrs.clear()), format!("{comment} src,dst -j KUBE-MARK-MASQ"));
}

#[test]
fn nodes_outside_of_the_ranges_are_kept_from_the_load_balancer() {
    let kept =
        |minor, text: &str| with(minor, |_| {}, text, |view| rules(view, TableName::Filter, "KUBE-IPVS-OUT-FILTER"));
    let rule = "-s 1.2.3.4/32 -m ipvs --vproto 6 --vaddr 1.2.3.4 --vport 80 -j DROP";
    assert_eq!(kept(30, SERVICES), [rule]);
    assert!(kept(28, SERVICES).is_empty());
    assert!(kept(30, &SERVICES.replace("203.0.113.0/25", "192.168.0.0/24")).is_empty());
    let firewall = |minor, table| {
        with(
            minor,
            |_| {},
            SERVICES,
            |view| rules(view, table, if minor < 25 { "KUBE-FIREWALL" } else { "KUBE-SOURCE-RANGES-FIREWALL" }),
        )
    };
    assert_eq!(firewall(24, TableName::Nat).last().unwrap(), "-j KUBE-MARK-DROP");
    assert_eq!(firewall(25, TableName::Filter).last().unwrap(), "-j DROP");
}

#[test]
fn settings_are_those_of_the_version() {
    let keys = |minor: u8, strict_arp: bool| {
        let ipvs = IpvsOptions { strict_arp, ..IpvsOptions::default() };
        let config = ProxyConfig { minor, ipvs, ..ProxyConfig::new(Vec::new()) };
        ipvs::sysctls(&config)
            .into_iter()
            .map(|one| format!("{}={}", one.key.trim_start_matches("net.ipv4."), one.value))
            .collect::<Vec<_>>()
    };
    let newest = ["vs.conntrack=1", "vs.expire_nodest_conn=1", "vs.expire_quiescent_template=1", "ip_forward=1"];
    assert_eq!(keys(30, false), newest);
    assert_eq!(keys(30, true)[4..], ["conf.all.arp_ignore=1", "conf.all.arp_announce=2"]);
    assert_eq!(keys(20, false)[..3], ["conf.all.route_localnet=1", "vs.conntrack=1", "vs.conn_reuse_mode=0"]);
}

// ------------------------------------------------------------------------------------------------------ a cluster

fn text(options: &str) -> String {
    format!(
        "apiVersion: minik.dev/v1
kind: Cluster
spec:
  segments: [{{name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}}]
  nodes: [{{name: node-1, address: 10.1.10.9}}, {{name: node-2, address: 10.1.10.10}}]
  clients: [{{name: client, address: 10.1.10.8, segment: lan}}]
  network: {{cni: flannel-host-gw}}
  proxy: {{mode: ipvs{options}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec: {{nodeName: node-1, containers: [{{name: c, image: nginx}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: far, labels: {{app: far}}}}
spec: {{nodeName: node-2, containers: [{{name: c, image: nginx}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, clusterIP: 10.96.7.1, selector: {{app: web}}, ports: [{{port: 80, nodePort: 30080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: far}}
spec: {{clusterIP: 10.96.7.2, externalIPs: [10.1.10.77], selector: {{app: far}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: none}}
spec: {{clusterIP: 10.96.7.3, selector: {{app: nobody}}, ports: [{{port: 80}}]}}
"
    )
}

fn cluster(options: &str) -> Cluster {
    parse(&[Source::new("test.yaml", text(options))], &Overrides::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn plan(options: &str) -> Plan {
    compose::plan(&cluster(options), Datapath::Kernel).unwrap_or_else(|e| panic!("{e}"))
}

fn asked(plan: &Plan, from: &str, to: &str, port: u16) -> account::Account {
    let message = match port {
        0 => Message::Echo { id: 1, seq: 1 },
        port => Message::Syn { src: 40000, dst: port, seq: 1 },
    };
    account::account(plan, account::Question { from, to: to.parse().unwrap(), message })
        .unwrap_or_else(|e| panic!("{from} {to}: {e}"))
}

#[test]
fn packets_go_by_way_of_input_to_a_real_server() {
    let plan = plan("");
    let of = |pod: &str| plan.namespace(pod).unwrap().address().unwrap().to_string();
    let (web, far) = (of("default/web"), of("default/far"));
    let bridge = |node: &str| plan.namespace(node).unwrap().link("cni0").unwrap().addresses[0].net.addr().to_string();
    let own = bridge("node-1");
    for (from, to, port, end, source, destination) in [
        // From a pod to a pod of another node: its own address stays.
        ("default/web", "10.96.7.2", 80, "delivered to default/far", web.as_str(), far.as_str()),
        // To itself: the bridge's address, by the set of endpoints.
        ("default/web", "10.96.7.1", 80, "delivered to default/web", own.as_str(), web.as_str()),
        // The node takes the Service's address for its own, and is masqueraded.
        ("node-1", "10.96.7.2", 80, "delivered to default/far", "10.1.10.9", far.as_str()),
        ("node-1", "10.96.7.1", 80, "delivered to default/web", own.as_str(), web.as_str()),
        // From outside by the node that has no endpoint.
        ("client", "10.1.10.10", 30080, "delivered to default/web", "10.1.10.10", web.as_str()),
        ("client", "10.1.10.9", 30080, "delivered to default/web", own.as_str(), web.as_str()),
        ("default/web", "10.1.10.77", 80, "delivered to default/far", "10.1.10.9", far.as_str()),
    ] {
        let account = asked(&plan, from, to, port);
        let seen =
            [account.source_seen, account.destination_seen].map(|ip| ip.unwrap_or([0, 0, 0, 0].into()).to_string());
        assert_eq!(
            (account.end.as_str(), [seen[0].as_str(), seen[1].as_str()]),
            (end, [source, destination]),
            "{from} to {to}"
        );
        assert!(account.answered, "{from} to {to} gets no answer");
        assert_eq!(account.ways, 1);
        let by_ipvs = account.rules.iter().any(|said| said.chain.as_deref() == Some("ipvs"));
        assert!(by_ipvs, "{from} to {to}: {:?}", account.rules);
    }
}

#[test]
fn nobody_behind_a_service_and_other_ports_of_its_address_are_refused() {
    let plan = plan("");
    for from in ["default/web", "node-1"] {
        let nobody = asked(&plan, from, "10.96.7.3", 80);
        assert_eq!(nobody.end, "dropped in node-1: IPVS has no real server for 10.96.7.3:80");
        // Not the node's own programs, nor its answer to a ping.
        for port in [22, 0] {
            let other = asked(&plan, from, "10.96.7.1", port);
            assert!(
                other.end.starts_with("dropped in node-1: rejected by filter/KUBE-IPVS-FILTER rule 6"),
                "{}",
                other.end
            );
        }
    }
    // Before 1.26 the node answers.
    let older = self::plan(", version: \"1.25\"");
    assert_eq!(asked(&older, "default/web", "10.96.7.1", 0).end, "delivered to node-1");
}

#[test]
fn the_scheduler_chooses_among_all_endpoints() {
    let mut cluster = cluster("");
    let far = cluster.pods.iter_mut().find(|pod| pod.name == "far").unwrap();
    far.labels.insert("app".to_owned(), "web".to_owned());
    let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
    assert_eq!(asked(&plan, "client", "10.1.10.10", 30080).ways, 2);
}

/// With Calico, what a pod sends to a Service passes the rules of who sent it and of who gets it, though by OUTPUT.
#[test]
fn felix_s_rules_are_those_of_who_sent_it() {
    let text = text("").replace("flannel-host-gw", "calico-ipip");
    let cluster = parse(&[Source::new("test.yaml", text)], &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
    let node = plan.namespace("node-1").unwrap();
    let veth = node.links.iter().find(|link| link.name.starts_with("cali")).unwrap().name.as_str();
    let [sent, marked] = ["fw", "sm"].map(|sort| format!("filter/cali-{sort}-{veth}"));
    for (from, to, port, end, before, behind) in [
        ("default/web", "10.96.7.2", 80, "default/far", marked.as_str(), sent.as_str()),
        (
            "client",
            "10.1.10.9",
            30080,
            "default/web",
            "filter/cali-set-endpoint-mark",
            "filter/cali-forward-endpoint-mark",
        ),
    ] {
        let account = asked(&plan, from, to, port);
        assert!(account.answered && account.end == format!("delivered to {end}"), "{from} to {to}: {}", account.end);
        let said: Vec<&str> = account.rules.iter().filter_map(|said| said.chain.as_deref()).collect();
        let first = |chain: &str| said.iter().position(|one| *one == chain);
        let places = [before, "ipvs", behind, "filter/cali-forward-endpoint-mark"].map(first);
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{from} to {to}: {places:?} of {said:?}");
    }
}

#[test]
fn devices_answer_arp_for_services_but_with_strict_arp() {
    let answered = |options: &str| {
        let plan = plan(options);
        let (own, asked) = (IpAddr::from([10, 1, 10, 8]), IpAddr::from([10, 1, 10, 77]));
        minik::predict::who_has(&plan, "client", "ens33", own, asked).unwrap().answered()
    };
    assert!(answered("") && !answered(", ipvs: {strictARP: true}"));
}

#[test]
fn a_plan_has_all_of_it_in_every_form() {
    let plan = plan(", ipvs: {scheduler: lc, strictARP: true, tcpTimeout: 15m, udpTimeout: 5m30s}");
    let script = shell::script(&plan);
    let node = "minik-minik-node-1";
    for line in [
        format!("ip -n {node} link add kube-ipvs0 type dummy\n"),
        format!("ip -n {node} address add 10.96.7.1/32 dev kube-ipvs0\n"),
        format!("ip netns exec {node} sysctl -qw net.ipv4.vs.conntrack=1\n"),
        format!("ip netns exec {node} sysctl -qw net.ipv4.conf.all.arp_ignore=1\n"),
        format!("ip netns exec {node} ipvsadm --set 900 0 330\n"),
        format!("ip netns exec {node} ipvsadm -R <<'END'\n-A -t "),
        "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535\nadd KUBE-NODE-PORT-TCP 30080\n".to_owned(),
    ] {
        assert!(script.contains(&line), "{line}\nis not in\n{script}");
    }
    assert!(!script.contains(&format!("ip -n {node} link set dev kube-ipvs0 up")), "it is never up");
    let text = minik::plan::render::text(&plan);
    assert!(text.contains("  link      kube-ipvs0") && text.contains("-A -t 10.96.7.1:80 -s lc\n"), "{text}");
}

#[test]
fn bad_options_are_refused_where_they_stand() {
    for (options, words) in [
        (", ipvs: {scheduler: rrr}", "unknown scheduler `rrr`"),
        (", ipvs: {tcpTimeout: soon}", "`soon` is not a time in whole seconds"),
        (", ipvs: {strictArp: true}", "strictArp"),
    ] {
        let text = format!(
            "apiVersion: minik.dev/v1\nkind: Cluster\nspec:\n  segments: [{{name: lan, subnet: 10.1.10.0/24}}]\n  nodes: [{{name: node-1, address: 10.1.10.9}}]\n  network: {{cni: bridge}}\n  proxy: {{mode: ipvs{options}}}\n"
        );
        let error = parse(&[Source::new("test.yaml", text)], &Overrides::default()).expect_err(options);
        assert!(error.to_string().contains(words), "{error}");
    }
}
