//! Input as its author meets it: what good files become, and what every kind of mistake is answered with.
//!
//! `tests/bad-topologies/` has one mistake per file and beside it the whole error. `MINIK_BLESS=1` rewrites
//! the errors; they are read by people, so read them before you commit them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use minik::error::Kind;
use minik::topology::{Cluster, KeptService, Memory, Mode, Overrides, Source, WorkloadKind, builtin, parse, schema};
use proptest::prelude::*;

fn bad_topologies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-topologies")
}

fn cluster(text: &str) -> Cluster {
    parse(&[Source::new("test.yaml", text)], &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

const HEAD: &str = "apiVersion: minik.dev/v1
kind: Cluster
spec:
  segments: [{name: lan, subnet: 10.1.10.0/24, router: 10.1.10.2}]
  nodes:
  - {name: node-1, address: 10.1.10.9, labels: {disk: ssd}}
  - {name: node-2, address: 10.1.10.10}
  network: {cni: calico-ipip}
";

/// A controller's manifest with `replicas` pods.
fn controller(kind: &str, name: &str, replicas: u32, pod: &str) -> String {
    let replicas = if kind == "DaemonSet" { String::new() } else { format!("  replicas: {replicas}\n") };
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{replicas}  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers: [{{name: c, image: busybox}}]\n{pod}"
    )
}

#[test]
fn every_mistake_has_its_one_error() {
    let bless = std::env::var_os("MINIK_BLESS").is_some();
    let (mut inputs, mut goldens, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(bad_topologies()).unwrap() {
        let path = entry.unwrap().path();
        let is_golden = path.extension().is_some_and(|extension| extension == "error");
        if is_golden {
            goldens.insert(path)
        } else {
            inputs.insert(path)
        };
    }
    assert!(inputs.len() > 100, "only {} inputs were found", inputs.len());
    for path in &inputs {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source = Source::from_bytes(name, std::fs::read(path).unwrap());
        let error = match source.and_then(|source| parse(&[source], &Overrides::default())) {
            Ok(_) => panic!("{} is accepted", path.display()),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Topology, "{}", path.display());
        let text = format!("error: {error}\n");
        let golden = path.with_extension("error");
        if bless {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{} is answered with\n{text}", path.display()));
        }
        goldens.remove(&golden);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(goldens.is_empty(), "these belong to no input: {goldens:?}");
}

#[test]
fn errors_are_text_for_people() {
    for entry in std::fs::read_dir(bad_topologies()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "error") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for rust in ["struct ", "Some(", "None", "u16", "u32", "minik::", "{ ", "serde"] {
            let message = text.lines().next().unwrap_or_default();
            assert!(!message.contains(rust), "{} says {rust:?}: {message}", path.display());
        }
        assert!(text.contains("\nhint: "), "{} says no cure", path.display());
        assert!(text.lines().all(|line| line.chars().count() <= 200), "{} has a very long line", path.display());
    }
}

#[test]
fn the_builtin_topology_is_the_articles() {
    let cluster = parse(&[builtin::find("calico-ipip").unwrap().source()], &Overrides::default()).unwrap();
    assert_eq!((cluster.name.as_str(), cluster.network.mode), ("minik", Mode::CalicoIpip));
    let nodes: Vec<String> =
        cluster.nodes.iter().map(|n| format!("{} {} {} {}", n.name, n.address, n.nic, n.mac.unwrap())).collect();
    assert_eq!(nodes, ["node-1 10.1.10.9 ens33 00:0c:29:10:a9:6c", "node-2 10.1.10.10 ens33 00:0c:29:2f:33:85"]);
    let placed: Vec<(&str, &str)> =
        cluster.pods.iter().map(|p| (p.name.split('-').next().unwrap(), p.node.as_str())).collect();
    assert_eq!(placed, [("test", "node-1"), ("test", "node-2"), ("test", "node-1"), ("two", "node-2")]);
    assert_eq!(cluster.network.pools[0].cidr.to_string(), "10.100.0.0/16");
    assert!(cluster.network.pools[0].nat_outgoing);
    assert_eq!(cluster.clients[0].routes[0].via.to_string(), "10.1.10.9");
}

#[test]
fn defaults_are_calicos() {
    let cluster = cluster(HEAD);
    let pool = &cluster.network.pools[0];
    assert_eq!(pool.name, "default-ipv4-ippool");
    assert_eq!((pool.cidr.to_string().as_str(), pool.block_size, pool.nat_outgoing), ("192.168.0.0/16", 26, true));
    assert_eq!(cluster.service_cidr.to_string(), "10.96.0.0/12");
    assert_eq!((cluster.segments[0].mtu, cluster.nodes[0].nic.as_str()), (1500, "ens33"));
    let namespaces: Vec<&str> = cluster.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(namespaces, ["default", "kube-system"]);
    assert_eq!(cluster.nodes[1].labels["kubernetes.io/hostname"], "node-2");
}

#[test]
fn the_default_pool_evades_the_nodes() {
    let moved = cluster(&HEAD.replace("10.1.10.", "192.168.7."));
    assert_eq!(moved.network.pools[0].cidr.to_string(), "172.16.0.0/16");
}

#[test]
fn a_pool_object_masquerades_only_if_it_says_so() {
    let pool = "---\napiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: own}\nspec: {cidr: 10.200.0.0/16, ipipMode: Always}\n";
    let cluster = cluster(&format!("{HEAD}{pool}"));
    let names: Vec<(&str, bool)> =
        cluster.network.pools.iter().map(|pool| (pool.name.as_str(), pool.nat_outgoing)).collect();
    assert_eq!(names, [("own", false)]);
}

/// Without `cni` the first pool in use that says its encapsulation decides; others may differ.
#[test]
fn pools_decide_the_mode() {
    let head = HEAD.replace("  network: {cni: calico-ipip}\n", "");
    let pool = |name: &str, net: u8, rest: &str| {
        format!(
            "---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: 10.{net}.0.0/16{rest}}}\n"
        )
    };
    for (rest, mode) in [
        ("", Mode::CalicoBgp),
        (", ipipMode: Always", Mode::CalicoIpip),
        (", ipipMode: CrossSubnet, vxlanMode: \"\"", Mode::CalicoIpipCrossSubnet),
        (", ipipMode: Never, vxlanMode: Always", Mode::CalicoVxlan),
        (", vxlanMode: CrossSubnet", Mode::CalicoVxlanCrossSubnet),
    ] {
        let text =
            format!("{head}{}{}", pool("spare", 199, ", ipipMode: Always, disabled: true"), pool("used", 200, rest));
        let network = cluster(&text).network;
        assert_eq!((network.mode, network.pools[1].mode()), (mode, mode), "{rest}");
        assert_eq!(network.pools[0].mode(), Mode::CalicoIpip);
    }
    let entry = HEAD.replace("{cni: calico-ipip}", "{pool: {cidr: 10.200.0.0/16, vxlanMode: Always}}");
    assert_eq!(cluster(&entry).network.mode, Mode::CalicoVxlan);
}

#[test]
fn overrides_win_and_are_checked() {
    let overrides = |name: Option<&str>, cni: Option<&str>| Overrides {
        cluster_name: name.map(str::to_owned),
        cni: cni.map(str::to_owned),
        ..Overrides::default()
    };
    let source = [Source::new("test.yaml", HEAD.replace("  network: {cni: calico-ipip}\n", ""))];
    let cluster = parse(&source, &overrides(Some("second"), Some("calico-ipip"))).unwrap();
    assert_eq!((cluster.name.as_str(), cluster.network.mode), ("second", Mode::CalicoIpip));
    let error = parse(&source, &overrides(None, Some("calico-ipp"))).unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (Kind::Usage, Some("did you mean `calico-ipip`?")));
    assert_eq!(parse(&source, &overrides(Some("a/b"), Some("calico-ipip"))).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn several_sources_and_lists_are_one_input() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}\n";
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}"#;
    let sources = [Source::new("list.yaml", list), Source::new("c.yaml", HEAD), Source::new("pod.json", pod)];
    let cluster = parse(&sources, &Overrides::default()).unwrap();
    let pods: Vec<String> = cluster.pods.iter().map(|pod| pod.key()).collect();
    assert_eq!(pods, ["default/a", "default/b"]);
    let again = [Source::new("list.yaml", list), Source::new("c.yaml", HEAD), Source::new("again.yaml", list)];
    let error = parse(&again, &Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("again.yaml:4:") && error.contains("list.yaml:4:"), "{error}");
}

#[test]
fn pods_are_named_as_kubernetes_names_them() {
    let text = format!(
        "{HEAD}{}{}{}{}",
        controller("Deployment", "web", 3, ""),
        controller("ReplicaSet", "rs", 2, ""),
        controller("DaemonSet", "ds", 0, ""),
        controller("StatefulSet", "db", 2, "")
    );
    let cluster = cluster(&text);
    assert_eq!(cluster, self::cluster(&text), "the same input is the same cluster");
    let generated = |text: &str| text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    for pod in &cluster.pods {
        let parts: Vec<&str> = pod.name.split('-').collect();
        match (pod.owner.as_ref().unwrap().0, parts.as_slice()) {
            (WorkloadKind::Deployment, ["web", hash, suffix]) => {
                assert!(generated(hash) && hash.len() <= 10 && generated(suffix) && suffix.len() == 5, "{}", pod.name);
                assert_eq!(pod.labels["pod-template-hash"], *hash);
            }
            (WorkloadKind::ReplicaSet, ["rs", suffix]) | (WorkloadKind::DaemonSet, ["ds", suffix]) => {
                assert!(generated(suffix) && suffix.len() == 5, "{}", pod.name);
            }
            (WorkloadKind::StatefulSet, ["db", "0" | "1"]) => {
                assert_eq!(pod.labels["statefulset.kubernetes.io/pod-name"], pod.name);
            }
            other => panic!("{other:?}"),
        }
    }
    let names: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((names.len(), cluster.pods.len()), (9, 9));
    let sizes: Vec<(WorkloadKind, u32)> = cluster.workloads.iter().map(|w| (w.kind, w.replicas)).collect();
    use WorkloadKind::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
    assert_eq!(sizes, [(Deployment, 3), (ReplicaSet, 2), (DaemonSet, 2), (StatefulSet, 2)]);
}

#[test]
fn one_counter_places_all_pods_and_wishes_are_kept() {
    let text = format!(
        "{HEAD}{}{}{}{}{}",
        controller("Deployment", "a", 3, ""),
        controller("Deployment", "b", 2, ""),
        controller("Deployment", "c", 2, "      nodeName: node-2\n"),
        controller("Deployment", "d", 2, "      nodeSelector: {disk: ssd, kubernetes.io/os: linux}\n"),
        controller("DaemonSet", "e", 0, "      nodeSelector: {kubernetes.io/hostname: node-2}\n"),
    );
    let placed = cluster(&text).pods.iter().map(|p| format!("{}{}", &p.name[..1], &p.node[5..])).collect::<Vec<_>>();
    assert_eq!(placed, ["a1", "a2", "a1", "b2", "b1", "c2", "c2", "d1", "d1", "e2"]);
}

#[test]
fn fields_that_cannot_matter_are_accepted() {
    let pod = "---
apiVersion: v1
kind: Pod
metadata:
  name: p
  uid: 9b
  creationTimestamp: null
  annotations: {a/b: c, cni.projectcalico.org/podIP: 10.1.2.3/32}
spec:
  hostNetwork: false
  initContainers: []
  dnsPolicy: ClusterFirst
  tolerations: [{operator: Exists}]
  securityContext: {runAsUser: 0}
  terminationGracePeriodSeconds: 0
  volumes: [{name: v, emptyDir: {}}]
  serviceAccountName: robot
  containers:
  - name: c
    image: busybox
    command: [sleep, '1000']
    args: ['5']
    imagePullPolicy: IfNotPresent
    resources: {limits: {cpu: 1, memory: 1Gi}}
    livenessProbe: {httpGet: {path: /, port: 80}}
    volumeMounts: [{name: v, mountPath: /v}]
    env: [{name: A, value: b}, {name: E}]
    ports: [{containerPort: 53, protocol: UDP, name: dns}]
status: {phase: Running}
";
    let cluster = cluster(&format!("{HEAD}{pod}"));
    let container = &cluster.pods[0].containers[0];
    assert_eq!(container.command, ["sleep", "1000", "5"]);
    assert_eq!(container.env, [("A".to_owned(), "b".to_owned()), ("E".to_owned(), String::new())]);
    assert_eq!((container.ports[0].port, container.ports[0].protocol.as_str()), (53, "UDP"));
    assert_eq!(cluster.pods[0].service_account, "robot");
}

#[test]
fn agnhost_s_arguments_alone_say_what_it_does() {
    let pod = |words: &str| {
        let container = format!("{{name: c, image: 'registry.k8s.io/e2e-test-images/agnhost:2.39', {words}}}");
        let head = "---\n{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [";
        cluster(&format!("{HEAD}{head}{container}]}}}}\n")).pods[0].containers[0].command.clone()
    };
    assert_eq!(pod("args: [netexec, --http-port=80]"), ["/agnhost", "netexec", "--http-port=80"]);
    assert_eq!(pod("command: [/agnhost], args: [pause]"), ["/agnhost", "pause"]);
    assert_eq!(pod("args: []"), [""; 0]);
}

#[test]
fn a_thousand_pods_have_names_of_their_own() {
    let cluster = cluster(&format!("{HEAD}{}", controller("Deployment", "big", 10_000, "")));
    let names: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names.len(), 10_000);
}

#[test]
fn the_schema_names_every_kind() {
    let schema = schema();
    let titles: Vec<&str> =
        schema["oneOf"].as_array().unwrap().iter().map(|kind| kind["title"].as_str().unwrap()).collect();
    let kinds = "Cluster Namespace Pod Deployment ReplicaSet DaemonSet StatefulSet IPPool Service Endpoints EndpointSlice ConfigMap List";
    assert_eq!(titles.join(" "), kinds);
    let text = schema.to_string();
    for name in ["serviceCIDR", "strictAffinity", "podCIDR", "hostIP", "setHostnameAsFQDN", "disableBGPExport"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is missing");
    }
}

/// The last character boundary at or before a byte.
fn boundary(text: &str, byte: usize) -> usize {
    (0..=byte.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Good text with some of it replaced, cut out or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let good = builtin::ALL[0].text;
    let pieces = prop_oneof![
        "[ -~\n\t]{0,12}",
        Just("\u{0}".to_owned()),
        Just("é💥".to_owned()),
        Just("\n---\n".to_owned()),
        Just("&a *a".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("255.255.255.255".to_owned()),
    ];
    proptest::collection::vec((0..good.len(), 0usize..40, pieces), 1..4).prop_map(move |edits| {
        edits.iter().fold(good.to_owned(), |text, (at, length, piece)| {
            let start = boundary(&text, *at);
            let end = boundary(&text, start + length);
            format!("{}{piece}{}", &text[..start], &text[end..])
        })
    })
}

/// A value of the good text replaced by another, so that later stages are reached.
fn revalued() -> impl Strategy<Value = String> {
    let values = prop_oneof![
        Just("null"),
        Just("[]"),
        Just("{}"),
        Just("-1"),
        Just("0"),
        Just("1e9"),
        Just("\"\""),
        Just("a"),
        Just("\u{feff}"),
        Just("10.1.10.0/24"),
        Just("10.1.10.255"),
        Just("0.0.0.0/0"),
        Just("255.255.255.255/32"),
        Just("::1"),
        Just("4294967295"),
        Just("32"),
        Just("20"),
        Just("10.100.0.0/31"),
        Just("node-1"),
        Just("default-test"),
        Just("true")
    ];
    (0usize..200, values).prop_map(|(line, value)| {
        let good = builtin::ALL[0].text;
        let lines: Vec<&str> =
            good.lines().filter(|line| line.contains(": ") && !line.trim_start().starts_with('#')).collect();
        let chosen = lines[line % lines.len()];
        let key = &chosen[..chosen.find(": ").unwrap_or(0)];
        good.replacen(chosen, &format!("{key}: {value}"), 1)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), mutated(), revalued()]) {
        if let Err(error) = parse(&[Source::new("x.yaml", text)], &Overrides::default()) {
            prop_assert_eq!(error.kind(), Kind::Topology);
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Source::from_bytes("x", bytes).and_then(|source| parse(&[source], &Overrides::default()));
    }
}

/// Services of the document's kind, with everything left to be chosen that can be.
#[test]
fn services_get_addresses_and_ports_that_stay_the_same() {
    let services = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, ports: [{port: 80}]}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP, name: u, targetPort: dns}, {port: 53, name: t}]}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 1, name: t}, {port: 1, name: u, protocol: UDP}]}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {name: d}\nspec: {clusterIP: None}\n";
    let first = cluster(&format!("{HEAD}{services}"));
    let ip = |index: usize| first.services[index].cluster_ips.clone();
    assert_eq!(ip(1), ["10.96.0.10".parse::<std::net::IpAddr>().unwrap()]);
    assert!(ip(3).is_empty() && first.services[3].headless());
    for index in [0, 2] {
        let std::net::IpAddr::V4(address) = ip(index)[0] else { panic!("IPv6") };
        assert!(first.service_cidr.contains(&address));
    }
    let balancer = &first.services[2];
    assert_eq!(balancer.ports[0].node_port, balancer.ports[1].node_port, "one number for two protocols");
    assert!(balancer.health_check_node_port.is_some_and(|port| (30_000..=32_767).contains(&port)));
    assert_ne!(first.services[0].ports[0].node_port, balancer.ports[0].node_port);
    assert_eq!(cluster(&format!("{HEAD}{services}")).services, first.services);
    let proxy = first.proxy.unwrap();
    assert_eq!((proxy.minor, proxy.cluster_cidrs[0].to_string().as_str()), (30, "192.168.0.0/16"));
    assert!(cluster(HEAD).proxy.is_none());
}

#[test]
fn an_affinity_s_configuration_counts_only_with_client_ip() {
    let affinity = |line: &str| {
        let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 80}]\n  \
                       sessionAffinityConfig: {clientIP: {timeoutSeconds: 90}}\n";
        cluster(&format!("{HEAD}{service}{line}")).services[0].affinity
    };
    assert_eq!(affinity("  sessionAffinity: ClientIP\n"), Some(90));
    assert_eq!(affinity("  sessionAffinity: None\n"), None);
    assert_eq!(affinity(""), None);
}

/// A cluster of two nodes, `network` as given, with flannel's ConfigMap.
fn with_net_conf(network: &str, net_conf: &str) -> Cluster {
    let head = HEAD.replace("  network: {cni: calico-ipip}\n", network);
    let json: String = net_conf.lines().map(|line| format!("    {line}\n")).collect();
    cluster(&format!(
        "{head}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-flannel-cfg, namespace: kube-system}}\n\
         data:\n  net-conf.json: |\n{json}"
    ))
}

fn pod_cidrs(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().filter_map(|node| Some(node.pod_cidr?.to_string())).collect()
}

/// The configuration of the article, its key in another case and its value in quotes.
#[test]
fn flannel_s_config_map_decides_mode_and_subnets() {
    let article = r#"{ "Network": "10.244.0.0/16", "Backend": { "Type": "vxlan", "Directrouting": "true" } }"#;
    let cluster = with_net_conf("", article);
    assert_eq!(cluster.network.mode, Mode::FlannelVxlanDirectRouting);
    assert_eq!(pod_cidrs(&cluster), ["10.244.0.0/24", "10.244.1.0/24"]);
    let cluster = with_net_conf(
        "",
        r#"{ "Network": "172.16.0.0/12", "SubnetLen": 20, "SubnetMin": "172.17.0.0", "SubnetMax": "172.20.0.0",
             "Backend": { "Type": "VXLAN", "VNI": 7, "Port": 4789, "MTU": 1400 } }"#,
    );
    let flannel = &cluster.network.flannel;
    assert_eq!(cluster.network.mode, Mode::FlannelVxlan);
    assert_eq!((flannel.vni, flannel.port, flannel.mtu), (7, Some(4789), Some(1400)));
    assert_eq!(pod_cidrs(&cluster), ["172.17.0.0/20", "172.17.16.0/20"]);
    assert_eq!(with_net_conf("", r#"{"Network": "10.9.0.0/16"}"#).network.mode, Mode::FlannelUdp, "as flanneld has it");
}

#[test]
fn the_command_line_s_mode_wins_over_flannel_s_config_map() {
    let text = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-flannel-cfg}}\n\
         data: {{net-conf.json: '{{\"Network\": \"10.9.0.0/16\", \"Backend\": {{\"Type\": \"vxlan\"}}}}'}}\n",
        HEAD.replace("  network: {cni: calico-ipip}\n", "")
    );
    let overrides = Overrides { cni: Some("flannel-host-gw".into()), ..Overrides::default() };
    let cluster = parse(&[Source::new("test.yaml", text)], &overrides).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (cluster.network.mode, cluster.network.cluster_cidr.to_string().as_str()),
        (Mode::FlannelHostGw, "10.9.0.0/16")
    );
}

#[test]
fn flannel_s_options_stand_in_the_cluster_too() {
    let written = "  network: {cni: flannel-vxlan, mtu: 1300, flannel: {vni: 9, directRouting: true, ipMasq: false}}\n";
    let cluster = cluster(&HEAD.replace("  network: {cni: calico-ipip}\n", written));
    let flannel = &cluster.network.flannel;
    assert_eq!(cluster.network.mode, Mode::FlannelVxlanDirectRouting);
    assert_eq!((flannel.vni, flannel.ip_masq, flannel.pod_mtu), (9, false, Some(1300)));
}

/// A Service keeps what it was given while others come and go; nobody else can write it down.
#[test]
fn services_keep_what_they_were_given() {
    let service = |name: &str, spec: &str| {
        format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: NodePort, {spec}}}\n")
    };
    let first = cluster(&format!("{HEAD}{}", service("a", "ports: [{port: 80}]")));
    let mut kept = KeptService::of(&first.services[0]);
    kept.addresses = vec!["10.96.7.7".parse().unwrap()];
    kept.node_ports.values_mut().for_each(|port| *port = 31_234);
    let memory = Memory { services: [("default/a".to_owned(), kept)].into(), ..Memory::default() };
    let overrides = Overrides { memory, ..Overrides::default() };
    let with = |text: String| parse(&[Source::new("test.yaml", format!("{HEAD}{text}"))], &overrides);
    let again = with(service("a", "ports: [{port: 80}]")).unwrap();
    assert_eq!(again.services[0].cluster_ips[0].to_string(), "10.96.7.7");
    assert_eq!(again.services[0].ports[0].node_port, Some(31_234));
    for thief in ["clusterIP: 10.96.7.7, ports: [{port: 80}]", "ports: [{port: 80, nodePort: 31234}]"] {
        let both = service("a", "ports: [{port: 80}]") + &service("b", thief);
        let error = with(both).unwrap_err().to_string();
        assert!(error.contains("is already allocated to default/a") && error.contains("test.yaml:1"), "{error}");
    }
}
