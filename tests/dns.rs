//! The cluster's DNS without a cluster: what each question is answered with, from a manifest to the bytes of a message;
//! and what is in pods' resolv.conf.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use minik::compose;
use minik::dns::{Kind, Question, Rcode, Records, Reply, Transport, Zone, respond};
use minik::plan::{self, Datapath, Plan};
use minik::topology::{self, Applied, Cluster, Edit, Overrides, Reading, Reference, Source, applied, parse};
use simple_dns::rdata::{OPT, OPTCode, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, TYPE};

const CLUSTER: &str = "apiVersion: minik.dev/v1
kind: Cluster
spec:
  segments: [{name: lan, subnet: 10.1.10.0/24}]
  nodes: [{name: node-1, address: 10.1.10.9}, {name: node-2, address: 10.1.10.10}]
  network: {cni: calico-bgp}
";

/// Services of every sort with endpoints written by hand, so that their addresses are known. The cases are those of
/// CoreDNS' own tests of its plugin `kubernetes`, as far as a cluster with IPv4 can have them.
const OBJECTS: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: testns}
---
apiVersion: v1
kind: Service
metadata: {name: svc1, namespace: testns}
spec: {clusterIP: 10.96.0.101, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: svc1, namespace: testns}
subsets:
- addresses: [{ip: 172.16.0.1}]
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: testns}
spec: {clusterIP: 10.96.0.102, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: hdls1, namespace: testns}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: hdls1, namespace: testns}
subsets:
- addresses: [{ip: 172.16.0.2}, {ip: 172.16.0.3}, {ip: 172.16.0.4, hostname: dup-name}, {ip: 172.16.0.5, hostname: dup-name}]
  notReadyAddresses: [{ip: 172.16.0.9}]
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: hdlsprtls, namespace: testns}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Endpoints
metadata: {name: hdlsprtls, namespace: testns}
subsets: [{addresses: [{ip: 172.16.0.20}]}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: testns}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: external, namespace: testns}
spec: {type: ExternalName, externalName: ext.interwebs.test, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: to-service, namespace: testns}
spec: {type: ExternalName, externalName: svc1.testns.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: to-nowhere, namespace: testns}
spec: {type: ExternalName, externalName: svc0.testns.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: round, namespace: testns}
spec: {type: ExternalName, externalName: and-round.testns.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: and-round, namespace: testns}
spec: {type: ExternalName, externalName: round.testns.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: address, namespace: testns}
spec: {type: ExternalName, externalName: 1.2.3.4}
";

fn cluster(dns: &str, objects: &str) -> Cluster {
    let text = format!("{CLUSTER}  dns: {dns}\n{objects}");
    parse(&[Source::new("test.yaml", text)], &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn planned(cluster: &Cluster) -> Plan {
    compose::plan(cluster, Datapath::Kernel).unwrap()
}

fn zone_of(cluster: &Cluster, plan: &Plan) -> Zone {
    Zone::new(Records::of(cluster, &compose::endpoints(cluster, plan)), 7)
}

fn zone() -> Zone {
    let cluster = cluster("true", OBJECTS);
    zone_of(&cluster, &planned(&cluster))
}

/// A reply in dig's words, one line each: the code, answers, authority, additional.
fn told(reply: &Reply) -> String {
    let mut lines = vec![reply.rcode.name().to_owned()];
    lines.extend(reply.answers.iter().map(|record| format!("  {record}")));
    lines.extend(reply.authority.iter().map(|record| format!("  authority {record}")));
    lines.extend(reply.additional.iter().map(|record| format!("  additional {record}")));
    lines.join("\n")
}

fn ask(zone: &Zone, kind: Kind, name: &str) -> String {
    told(&zone.answer(&Question { name: name.into(), kind }, None))
}

const SOA: &str =
    "  authority cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5";

#[test]
fn services_are_answered_as_coredns_does() {
    let zone = zone();
    let nothing = |code: &str| format!("{code}\n{SOA}");
    let (no_data, no_name) = (nothing("NOERROR"), nothing("NXDOMAIN"));
    let svc = |name: &str| format!("{name}.testns.svc.cluster.local");
    let a = |name: &str, ips: &[&str]| {
        let lines = ips.iter().map(|ip| format!("\n  {}. 5 IN A {ip}", svc(name)));
        format!("NOERROR{}", lines.collect::<String>())
    };
    let cases: &[(Kind, &str, String)] = &[
        (Kind::A, "svc1", a("svc1", &["10.96.0.101"])),
        (Kind::A, "empty", a("empty", &["10.96.0.102"])),
        (Kind::A, "hdls1", a("hdls1", &["172.16.0.2", "172.16.0.3", "172.16.0.4", "172.16.0.5"])),
        (Kind::A, "hdlsprtls", a("hdlsprtls", &["172.16.0.20"])),
        (Kind::A, "nobody", no_name.clone()),
        (Kind::A, "172-16-0-20.hdlsprtls", a("172-16-0-20.hdlsprtls", &["172.16.0.20"])),
        (Kind::A, "172-16-0-2.hdls1", a("172-16-0-2.hdls1", &["172.16.0.2"])),
        (Kind::A, "dup-name.hdls1", a("dup-name.hdls1", &["172.16.0.4", "172.16.0.5"])),
        (Kind::A, "172-16-0-4.hdls1", no_name.clone()),
        (Kind::A, "172-16-0-9.hdls1", no_name.clone()),
        (Kind::A, "172-16-0-1.svc1", a("172-16-0-1.svc1", &["172.16.0.1"])),
        (Kind::Aaaa, "svc1", no_data.clone()),
        (Kind::Aaaa, "svc0", no_name.clone()),
        (Kind::A, "svc0", no_name.clone()),
        (Kind::A, "bogus.hdls1", no_name.clone()),
        (Kind::A, "bogus.svc0", no_name.clone()),
        (Kind::A, "*", no_name.clone()),
        (Kind::Mx, "svc1", no_data.clone()),
        (Kind::Other, "svc1", no_data.clone()),
        (Kind::Other, "svc0", no_name.clone()),
        (Kind::Soa, "svc1", no_data.clone()),
        (Kind::Txt, "svc1", no_data.clone()),
        (Kind::Ptr, "svc1", no_data.clone()),
        (Kind::Cname, "svc1", no_data.clone()),
        (Kind::Ns, "svc1", no_data),
        (Kind::Ns, "svc0", no_name),
        (Kind::Transfer, "svc1", "REFUSED".to_owned()),
    ];
    for (kind, name, expected) in cases {
        assert_eq!(ask(&zone, *kind, &svc(name)), *expected, "{kind:?} {name}");
    }
}

#[test]
fn ports_are_answered_by_name_and_all_together() {
    let zone = zone();
    let one = |name: &str| {
        format!(
            "NOERROR\n  {name}testns.svc.cluster.local. 5 IN SRV 0 100 80 svc1.testns.svc.cluster.local.\n  \
             additional svc1.testns.svc.cluster.local. 5 IN A 10.96.0.101"
        )
    };
    for name in ["_http._tcp.svc1.", "svc1.", "_HTTP._TCP.svc1."] {
        assert_eq!(ask(&zone, Kind::Srv, &format!("{name}testns.svc.cluster.local")), one(name));
    }
    for wrong in ["_http._udp.svc1", "_https._tcp.svc1", "_http._tcp.svc0", "x._http._tcp.svc1"] {
        let name = format!("{wrong}.testns.svc.cluster.local");
        assert_eq!(ask(&zone, Kind::Srv, &name), format!("NXDOMAIN\n{SOA}"), "{wrong}");
    }
    // Without ports there is nothing to say, and so for a name outside.
    for none in ["hdlsprtls", "external"] {
        let name = format!("{none}.testns.svc.cluster.local");
        assert_eq!(ask(&zone, Kind::Srv, &name), format!("NOERROR\n{SOA}"), "{none}");
    }
    let both = ask(&zone, Kind::Srv, "empty.testns.svc.cluster.local");
    let lines: Vec<&str> = both.lines().map(str::trim).collect();
    let target = "empty.testns.svc.cluster.local.";
    assert_eq!(lines[1], format!("{target} 5 IN SRV 0 50 80 {target}"));
    assert_eq!(lines[2], format!("{target} 5 IN SRV 0 50 53 {target}"));
    assert_eq!(lines[3..], [format!("additional {target} 5 IN A 10.96.0.102")]);
    // One record per endpoint, and one for two of the same name; the shares are those of all four.
    let headless = ask(&zone, Kind::Srv, "_http._tcp.hdls1.testns.svc.cluster.local");
    let lines: Vec<&str> = headless.lines().filter(|line| line.contains(" SRV ")).collect();
    assert_eq!(lines.len(), 3, "{headless}");
    assert!(lines.iter().all(|line| line.contains(" SRV 0 25 80 ")), "{headless}");
    assert!(lines[0].ends_with(" 172-16-0-2.hdls1.testns.svc.cluster.local."), "{headless}");
    assert!(lines[2].ends_with(" dup-name.hdls1.testns.svc.cluster.local."), "{headless}");
    assert_eq!(headless.matches("additional").count(), 4, "{headless}");
}

#[test]
fn external_names_lead_on() {
    let zone = zone();
    let name = |label: &str| format!("{label}.testns.svc.cluster.local");
    let alias = "NOERROR\n  external.testns.svc.cluster.local. 5 IN CNAME ext.interwebs.test.";
    for kind in [Kind::Cname, Kind::A, Kind::Aaaa] {
        assert_eq!(ask(&zone, kind, &name("external")), alias, "{kind:?}");
    }
    assert_eq!(
        ask(&zone, Kind::A, &name("to-service")),
        "NOERROR\n  to-service.testns.svc.cluster.local. 5 IN CNAME svc1.testns.svc.cluster.local.\n  \
         svc1.testns.svc.cluster.local. 5 IN A 10.96.0.101"
    );
    for nothing in ["to-nowhere", "round"] {
        assert_eq!(ask(&zone, Kind::A, &name(nothing)), format!("NOERROR\n{SOA}"), "{nothing}");
    }
    for missing in ["endpoint.external", "address"] {
        assert_eq!(ask(&zone, Kind::A, &name(missing)), format!("NXDOMAIN\n{SOA}"), "{missing}");
    }
}

#[test]
fn addresses_have_names() {
    let zone = zone();
    let ptr = |ip: &str| {
        let labels: Vec<&str> = ip.split('.').rev().collect();
        ask(&zone, Kind::Ptr, &format!("{}.in-addr.arpa", labels.join(".")))
    };
    assert_eq!(ptr("10.96.0.101"), "NOERROR\n  101.0.96.10.in-addr.arpa. 5 IN PTR svc1.testns.svc.cluster.local.");
    assert!(ptr("172.16.0.2").ends_with(" PTR 172-16-0-2.hdls1.testns.svc.cluster.local."));
    assert!(ptr("172.16.0.5").ends_with(" PTR dup-name.hdls1.testns.svc.cluster.local."));
    assert!(ptr("10.96.0.1").ends_with(" PTR kubernetes.default.svc.cluster.local."));
    // Who is behind no Service, and what is not ours, is for servers that are not there.
    for elsewhere in ["172.16.0.9", "8.8.8.8"] {
        assert_eq!(ptr(elsewhere), "SERVFAIL", "{elsewhere}");
    }
    for (kind, name) in [(Kind::A, "example.com"), (Kind::A, ""), (Kind::A, "local"), (Kind::A, "mycluster.local")] {
        assert_eq!(ask(&zone, kind, name), "SERVFAIL", "{name}");
    }
}

#[test]
fn pods_have_names_by_their_addresses() {
    let zone = zone();
    let name = "10-244-1-9.testns.pod.cluster.local";
    assert_eq!(ask(&zone, Kind::A, name), format!("NOERROR\n  {name}. 5 IN A 10.244.1.9"));
    assert_eq!(ask(&zone, Kind::Aaaa, name), format!("NOERROR\n{SOA}"));
    assert!(ask(&zone, Kind::Aaaa, "fd00--2.testns.pod.cluster.local").ends_with("AAAA fd00::2"));
    for missing in ["10-244-1-9.other", "web", "web.testns", "10-244-1-999.testns"] {
        let name = format!("{missing}.pod.cluster.local");
        assert_eq!(ask(&zone, Kind::A, &name), format!("NXDOMAIN\n{SOA}"), "{missing}");
    }
}

#[test]
fn the_zone_itself_has_a_head_servers_and_a_version() {
    let zone = zone();
    for (kind, name) in [
        (Kind::A, "cluster.local"),
        (Kind::A, "svc.cluster.local"),
        (Kind::A, "pod.cluster.local"),
        (Kind::A, "testns.svc.cluster.local"),
        (Kind::Ns, "svc.cluster.local"),
    ] {
        assert_eq!(ask(&zone, kind, name), format!("NOERROR\n{SOA}"), "{name}");
    }
    for missing in ["foo.cluster.local", "foo.svc.cluster.local"] {
        assert_eq!(ask(&zone, Kind::Ns, missing), format!("NXDOMAIN\n{SOA}"), "{missing}");
    }
    assert_eq!(ask(&zone, Kind::Soa, "cluster.local"), SOA.replace("  authority ", "NOERROR\n  "));
    assert_eq!(
        ask(&zone, Kind::Txt, "dns-version.cluster.local"),
        "NOERROR\n  dns-version.cluster.local. 28800 IN TXT \"1.1.0\""
    );
    // A server that is behind no Service speaks for itself.
    let alone =
        |kind, name: &str| told(&zone.answer(&Question { name: name.into(), kind }, Some(IpAddr::from([10, 9, 9, 9]))));
    assert_eq!(alone(Kind::A, "ns.dns.cluster.local"), "NOERROR\n  ns.dns.cluster.local. 5 IN A 10.9.9.9");
    assert_eq!(alone(Kind::Srv, "ns.dns.cluster.local"), format!("NOERROR\n{SOA}"));
}

#[test]
fn the_clusters_own_servers_are_kubeadms() {
    let cluster = cluster("{clusterDomain: lab.example., ttl: 30, replicas: 3}", "");
    let plan = planned(&cluster);
    let zone = zone_of(&cluster, &plan);
    let pods: Vec<_> = cluster.pods.iter().filter(|pod| pod.namespace == "kube-system").collect();
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod.name.starts_with("coredns-") && pod.labels["k8s-app"] == "kube-dns"));
    assert_eq!(
        ask(&zone, Kind::A, "kube-dns.kube-system.svc.lab.example"),
        "NOERROR\n  kube-dns.kube-system.svc.lab.example. 30 IN A 10.96.0.10"
    );
    let own = plan.namespace(&pods[0].key()).unwrap().address().unwrap().into();
    let servers = zone.answer(&Question { name: "lab.example".into(), kind: Kind::Ns }, Some(own));
    assert_eq!(
        told(&servers),
        "NOERROR\n  lab.example. 30 IN NS kube-dns.kube-system.svc.lab.example.\n  \
         additional kube-dns.kube-system.svc.lab.example. 30 IN A 10.96.0.10"
    );
    assert!(ask(&zone, Kind::Srv, "_dns._udp.kube-dns.kube-system.svc.lab.example").contains(" SRV 0 100 53 "));
    // The API server is the first node, as a pod's Service sees it.
    assert!(ask(&zone, Kind::A, "10-1-10-9.kubernetes.default.svc.lab.example").ends_with(" A 10.1.10.9"));
}

#[test]
fn an_object_of_the_file_stands_instead_of_the_clusters() {
    let own = "---
apiVersion: v1
kind: Service
metadata: {name: kubernetes}
spec: {clusterIP: 10.96.0.1, selector: {app: api}, ports: [{port: 443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  replicas: 1
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: own, image: coredns}]}
";
    let cluster = cluster("true", own);
    let names: Vec<&str> = cluster.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["kube-dns", "kubernetes"]);
    assert!(cluster.slices.is_empty(), "the API server's Endpoints belong to its Service");
    assert_eq!(cluster.pods.len(), 1);
    assert_eq!(cluster.pods[0].containers[0].name, "own");
}

#[test]
fn the_clusters_own_objects_change_as_others_do() {
    let files = [Source::new("test.yaml", format!("{CLUSTER}  dns: true\n"))];
    let object =
        |kind: &str, name: &str| Reference { kind: kind.into(), namespace: "kube-system".into(), name: name.into() };
    let edits = vec![
        Edit::Scale { object: object("Deployment", "coredns"), replicas: 3 },
        Edit::Delete { object: object("Service", "kube-dns") },
    ];
    let overrides = Overrides { edits, ..Overrides::default() };
    let cluster = parse(&files, &overrides).unwrap();
    let names: Vec<&str> = cluster.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!((cluster.pods.len(), names), (3, vec!["kubernetes"]));
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\n\
                    spec: {clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]}\n";
    let manifest = Source::new("own.yaml", manifest);
    let mut reading = Reading::default();
    let mut outcome = |edits: &[Edit]| applied(&mut reading, &files, edits, &manifest, "default").unwrap()[0].1;
    assert_eq!(outcome(&[]), Applied::Configured);
    assert_eq!(outcome(&overrides.edits), Applied::Created);
}

#[test]
fn the_api_server_makes_its_service_again() {
    let files = [Source::new("test.yaml", format!("{CLUSTER}  dns: true\n"))];
    let object = |kind: &str| Reference { kind: kind.into(), namespace: "default".into(), name: "kubernetes".into() };
    let of = |edits: &[Edit]| parse(&files, &Overrides { edits: edits.to_vec(), ..Overrides::default() }).unwrap();
    let gone = |kind: &str| Edit::Delete { object: object(kind) };
    let before = of(&[]);
    for edits in [vec![gone("Service")], vec![gone("Endpoints")], vec![gone("Service"), gone("Service")]] {
        assert_eq!(of(&edits), before);
        let there = topology::written(&mut Reading::default(), &files, &edits, &[object("Service")]).unwrap();
        assert_eq!(there.len(), 1, "it can be deleted again");
    }
    let own = "{apiVersion: v1, kind: Service, metadata: {name: kubernetes}, spec: {selector: {app: api}, \
               clusterIP: 10.96.0.1, ports: [{port: 8443}]}}";
    let own = Edit::Apply { name: "own.yaml".into(), text: own.into(), namespace: "default".into() };
    assert_eq!(of(&[gone("Endpoints"), own.clone(), gone("Service")]), before, "as it makes it, not as it was");
    let label = BTreeMap::from([("a".to_owned(), Some("b".to_owned()))]);
    let label = Edit::Label { object: object("Service"), labels: label };
    assert_ne!(of(std::slice::from_ref(&label)), before);
    assert_eq!(of(&[label, gone("Service")]), before);
}

#[test]
fn without_dns_nothing_is_added() {
    for off in ["false", "~"] {
        let cluster = cluster(off, "");
        assert_eq!((cluster.dns, cluster.services.len(), cluster.pods.len()), (None, 0, 0));
        assert!(cluster.proxy.is_none());
    }
}

/// A pod's resolv.conf and hosts.
fn etc(plan: &Plan, pod: &str) -> (String, String) {
    let files = plan::etc_files(plan.namespace(pod).unwrap());
    let file = |name: &str| files.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    (file("resolv.conf"), file("hosts"))
}

fn pod(name: &str, more: &str) -> String {
    let head = format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n");
    format!("{head}  containers: [{{name: c, image: busybox}}]\n{more}")
}

#[test]
fn every_pod_asks_where_its_policy_says() {
    let config = "  dnsConfig: {nameservers: [10.9.9.9, 10.96.0.10], searches: [corp.example, cluster.local], options: [{name: ndots, value: '2'}, {name: rotate}]}\n";
    let objects = [
        pod("usual", ""),
        pod("host", "  hostNetwork: true\n"),
        pod("default", "  dnsPolicy: Default\n"),
        pod("both", config),
        pod("none", &format!("  dnsPolicy: None\n{config}")),
        pod("with-host", "  dnsPolicy: ClusterFirstWithHostNet\n"),
        pod("named", "  hostname: busybox-1\n  subdomain: busybox\n"),
    ];
    let cluster = cluster("true", &objects.concat());
    let plan = planned(&cluster);
    let resolv = |pod: &str| etc(&plan, pod).0;
    let usual =
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(resolv("default/usual"), usual);
    assert_eq!(resolv("default/with-host"), usual);
    let nowhere = "# minik: there is no DNS server here\n";
    for pod in ["default/host", "default/default", "node-1"] {
        assert_eq!(resolv(pod), nowhere, "{pod}");
    }
    assert_eq!(
        resolv("default/both"),
        "search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
         nameserver 10.96.0.10\nnameserver 10.9.9.9\noptions ndots:2 rotate\n"
    );
    assert_eq!(
        resolv("default/none"),
        "search corp.example cluster.local\nnameserver 10.9.9.9\nnameserver 10.96.0.10\noptions ndots:2 rotate\n"
    );
    let named = plan.namespace("default/named").unwrap();
    assert_eq!(named.hostname, "busybox-1");
    let line = format!("{}\tbusybox-1.busybox.default.svc.cluster.local\tbusybox-1\n", named.address().unwrap());
    assert!(etc(&plan, "default/named").1.ends_with(&line));
}

#[test]
fn pods_of_a_stateful_set_have_names_in_its_service() {
    let cluster = cluster(
        "true",
        &format!(
            "{}{}",
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: None, selector: {app: web}}\n",
            "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: web}\nspec:\n  serviceName: web\n  replicas: 2\n  \
             selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
             spec: {containers: [{name: c, image: busybox}]}\n"
        ),
    );
    let plan = planned(&cluster);
    let zone = zone_of(&cluster, &plan);
    let address = plan.namespace("default/web-1").unwrap().address().unwrap();
    let name = "web-1.web.default.svc.cluster.local";
    assert_eq!(ask(&zone, Kind::A, name), format!("NOERROR\n  {name}. 5 IN A {address}"));
}

/// A question as a message.
fn message(name: &str, kind: QTYPE, udp_size: Option<u16>) -> Vec<u8> {
    let mut packet = Packet::new_query(0x1234);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).unwrap();
    packet.questions.push(simple_dns::Question::new(name, kind, CLASS::IN.into(), false));
    let cookie = |code| OPTCode { code, data: vec![1, 2, 3, 4, 5, 6, 7, 8].into() };
    *packet.opt_mut() =
        udp_size.map(|udp_packet_size| OPT { opt_codes: vec![cookie(10), cookie(8)], udp_packet_size, version: 0 });
    packet.build_bytes_vec().unwrap()
}

fn sent(zone: &Zone, transport: Transport, message: &[u8]) -> Vec<u8> {
    respond(zone, None, transport, message).unwrap().message
}

#[test]
fn a_message_is_answered_with_its_id_flags_options_and_letters() {
    let zone = zone();
    let name = "SvC1.TestNS.svc.Cluster.LOCAL";
    let bytes = sent(&zone, Transport::Udp, &message(name, TYPE::A.into(), Some(1232)));
    let reply = Packet::parse(&bytes).unwrap();
    assert_eq!((reply.id(), reply.rcode()), (0x1234, RCODE::NoError));
    let flags = PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_DESIRED;
    assert!(reply.has_flags(flags));
    assert!(!reply.has_flags(PacketFlag::RECURSION_AVAILABLE) && !reply.has_flags(PacketFlag::TRUNCATION));
    assert_eq!(reply.questions[0].qname.to_string(), name);
    assert_eq!(reply.answers[0].name.to_string(), name);
    let RData::A(address) = &reply.answers[0].rdata else { panic!("{reply:?}") };
    assert_eq!(IpAddr::from(address.address.to_be_bytes()), IpAddr::from([10, 96, 0, 101]));
    let options = reply.opt().unwrap();
    assert_eq!(options.udp_packet_size, 1232);
    assert_eq!(options.opt_codes.iter().map(|option| option.code).collect::<Vec<_>>(), [10]);
    // The letters of the zone are the question's also where the zone's head is named.
    let bytes = sent(&zone, Transport::Udp, &message("x.svc.Cluster.LOCAL", TYPE::A.into(), None));
    let reply = Packet::parse(&bytes).unwrap();
    assert_eq!(reply.name_servers[0].name.to_string(), "Cluster.LOCAL");
    assert!(reply.opt().is_none());
}

/// A headless Service with this many endpoints.
fn crowd(count: u32) -> Zone {
    let ips: String = (0..count).map(|i| format!("{{ip: 172.16.{}.{}}},", i / 250, i % 250 + 1)).collect();
    let objects = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many}}\nspec: {{clusterIP: None, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: v1\nkind: Endpoints\nmetadata: {{name: many}}\nsubsets: [{{addresses: [{ips}], ports: [{{port: 80}}]}}]\n"
    );
    let cluster = cluster("true", &objects);
    zone_of(&cluster, &planned(&cluster))
}

#[test]
fn a_datagram_holds_what_the_asker_takes_and_says_that_there_is_more() {
    let zone = crowd(200);
    let question = |size| message("many.default.svc.cluster.local", TYPE::A.into(), size);
    for (size, limit) in [(None, 512), (Some(100), 512), (Some(1232), 1232)] {
        let bytes = sent(&zone, Transport::Udp, &question(size));
        let reply = Packet::parse(&bytes).unwrap();
        assert!(bytes.len() <= limit && bytes.len() > limit - 16, "{} of {limit}", bytes.len());
        assert!(reply.has_flags(PacketFlag::TRUNCATION) && reply.answers.len() < 200);
        assert_eq!(reply.opt().is_some(), size.is_some());
    }
    for (transport, size) in [(Transport::Tcp, None), (Transport::Udp, Some(4096))] {
        let bytes = sent(&zone, transport, &question(size));
        let reply = Packet::parse(&bytes).unwrap();
        assert!(!reply.has_flags(PacketFlag::TRUNCATION));
        assert_eq!(reply.answers.len(), 200);
    }
}

#[test]
fn addresses_come_in_another_order_each_time() {
    let zone = crowd(3);
    let mut firsts = std::collections::BTreeMap::new();
    for id in 0..600u16 {
        let mut question = message("many.default.svc.cluster.local", TYPE::A.into(), None);
        question[..2].copy_from_slice(&id.to_be_bytes());
        let bytes = sent(&zone, Transport::Udp, &question);
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!(reply.answers.len(), 3);
        let RData::A(first) = &reply.answers[0].rdata else { panic!("{reply:?}") };
        *firsts.entry(first.address).or_insert(0) += 1;
    }
    // Each is expected 200 times, with a standard deviation of 11.5; and the numbers are the same every time.
    assert!(firsts.len() == 3 && firsts.values().all(|count| (140..260).contains(count)), "{firsts:?}");
}

#[test]
fn what_is_no_question_gets_an_error_or_nothing() {
    let zone = zone();
    let good = message("svc1.testns.svc.cluster.local", TYPE::A.into(), Some(1232));
    let rcode = |bytes: &[u8]| respond(&zone, None, Transport::Udp, bytes).map(|handled| handled.rcode);
    assert_eq!(rcode(&good), Some(Rcode::NoError));
    assert_eq!(rcode(&[]), None);
    assert_eq!(rcode(&good[..11]), None);
    assert_eq!(rcode(&good[..20]), Some(Rcode::FormErr));
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert_eq!(rcode(&answer), None, "two servers would answer each other for ever");
    let mut notify = good.clone();
    notify[2] |= 4 << 3;
    assert_eq!(rcode(&notify), Some(Rcode::NotImp));
    let mut chaos = good.clone();
    let class = good.len() - 11 - 24 - 1;
    assert_eq!(chaos[class], 1, "the class is elsewhere");
    chaos[class] = 3;
    assert_eq!(rcode(&chaos), Some(Rcode::Refused));
    let mut packet = Packet::parse(&good).unwrap();
    packet.opt_mut().as_mut().unwrap().version = 1;
    let bytes = packet.build_bytes_vec().unwrap();
    assert_eq!(rcode(&bytes), Some(Rcode::BadVers));
    let reply = sent(&zone, Transport::Udp, &bytes);
    assert_eq!(Packet::parse(&reply).unwrap().rcode(), RCODE::BADVERS);
    let mut two = Packet::parse(&good).unwrap();
    two.questions.push(two.questions[0].clone());
    assert_eq!(rcode(&two.build_bytes_vec().unwrap()), Some(Rcode::FormErr));
}

#[test]
fn no_message_makes_it_panic() {
    let zone = zone();
    let good = message("_http._tcp.hdls1.testns.svc.cluster.local", TYPE::SRV.into(), Some(1232));
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        bytes.truncate(1 + next() % bytes.len());
        let _ = respond(&zone, None, Transport::Udp, &bytes);
    }
}

#[test]
fn records_travel_as_they_are() {
    let cluster = cluster("true", OBJECTS);
    let records = Records::of(&cluster, &compose::endpoints(&cluster, &planned(&cluster)));
    let text = serde_json::to_string(&records).unwrap();
    assert_eq!(serde_json::from_str::<Records>(&text).unwrap(), records);
}

#[test]
fn the_manifest_that_shows_it_is_sound() {
    let text = include_str!("../topologies/manifests/cluster-dns.yaml");
    let cluster = parse(&[Source::new("cluster-dns.yaml", text)], &Overrides::default()).unwrap();
    let zone = zone_of(&cluster, &planned(&cluster));
    assert!(ask(&zone, Kind::A, "test-service.default.svc.cluster.local").ends_with(" A 10.96.30.80"));
    assert!(ask(&zone, Kind::A, "alias.default.svc.cluster.local").ends_with(" A 10.96.30.80"));
    assert_eq!(ask(&zone, Kind::A, "web.default.svc.cluster.local").lines().count(), 4);
}
