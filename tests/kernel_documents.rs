//! The experiments of the documents with Services, as they are written there, with the manifests that are part of the
//! binary: loops of curl, rules as `iptables -vnL` prints them beside the documents' own dumps (tests/documents/).
//!
//! Needs root; without it, or without one of the programs, a test is counted as ignored, unless MINIK_REQUIRE is set.

mod kernel;

use std::collections::{BTreeMap, BTreeSet};

use kernel::lab::Cluster;
use kernel::tcpdump::Dump;
use kernel::{Outcome, Test, builtin, checked, contains, words};
use serde_json::Value;

const TESTS: &[Test] = &[
    ("kubenet_every_type_of_service", &["curl", "nslookup", "bash"], kubenet),
    ("a_nodeport_here_and_there", &["curl", "conntrack", "bash"], nodeport),
    ("three_replicas_and_one_that_fails", &["curl", "bash"], three_replicas),
    ("what_a_deployment_and_a_service_add", &["iptables"], before_and_after),
    ("flannel_s_net_conf_json_is_edited_twice", &["curl", "ping", "tcpdump"], flannel_edited),
];

fn main() {
    kernel::run(TESTS, &["ip", "iptables-restore"], None)
}

/// Applies a manifest by its name.
fn apply(cluster: &Cluster, name: &str) -> Outcome {
    cluster.minik(&["apply", "-f", name]).map(drop)
}

/// What a bash loop of the documents prints in one of the namespaces, by lines.
fn bash(cluster: &Cluster, ns: &str, line: &str) -> Result<Vec<String>, String> {
    let said = cluster.exec(ns, &format!("bash -ec '{line}'"))?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// Pods of a name's beginning, with their addresses.
fn pods(cluster: &Cluster, prefix: &str) -> Result<BTreeMap<String, String>, String> {
    let list: Value = serde_json::from_str(&cluster.minik(&["get", "pods", "-o", "json"])?).map_err(words)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = list["items"].as_array().ok_or("no items")?;
    let pods = all.iter().map(|pod| (word(&pod["metadata"]["name"]), word(&pod["status"]["podIP"])));
    Ok(pods.filter(|(name, _)| name.starts_with(prefix)).collect())
}

/// Makes and removes pods until the next address is this one, as others' pods have on the document's machine.
fn count_up_to(cluster: &Cluster, last: u8) -> Outcome {
    let files = "cat /var/lib/cni/networks/*/last_reserved_ip.0";
    let now = cluster.minik(&["exec", "node-1", "--", "sh", "-c", files])?;
    let now: u8 = now.trim().rsplit('.').next().and_then(|last| last.parse().ok()).ok_or(now.clone())?;
    let missing = last.checked_sub(now + 1).ok_or_else(|| format!("{now} was given already, {last} wanted"))?;
    if missing == 0 {
        return Ok(());
    }
    let filler = format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: filler}}, spec: {{replicas: {missing}, \
         selector: {{matchLabels: {{app: filler}}}}, template: {{metadata: {{labels: {{app: filler}}}}, \
         spec: {{containers: [{{name: c, image: pause}}]}}}}}}}}"
    );
    checked("apply", &cluster.fed(&["apply", "-f", "-"], &filler)?)?;
    cluster.minik(&["delete", "deploy", "filler"]).map(drop)
}

/// A rule or a chain's head as `iptables -vnL` prints it, without what is not the same on any two machines: counters,
/// names by chance, and what other versions of iptables print otherwise.
fn normal(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_count = |word: &&&str| word.trim_end_matches(['K', 'M', 'G']).parse::<u64>().is_ok();
    let rest = match words.as_slice() {
        ["Chain", ..] => &words[..],
        ["pkts", "bytes", ..] => return None,
        [pkts, bytes, rest @ ..] if is_count(&pkts) && is_count(&bytes) => rest,
        _ => return None,
    };
    let protocol = |word: &&str| {
        match *word {
            "0" => "all",
            "6" => "tcp",
            "17" => "udp",
            other => other,
        }
        .to_owned()
    };
    let mut words: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    if words[0] != "Chain" {
        words[1] = protocol(&rest[1]);
    }
    for word in &mut words {
        if word.starts_with("KUBE-HP-") {
            // It has the id of the pod's sandbox in it.
            *word = "KUBE-HP-".into();
        }
    }
    // The document's iptables is older than 1.6.2.
    words.retain(|word| word != "random-fully");
    Some(words.join(" "))
}

/// Runs every command of a document's dump on node-1; what it prints must be what stands there. In the chains of all
/// Services, their order is by chance.
fn same_rules(cluster: &Cluster, dump: &str) -> Outcome {
    let path = format!("{}/tests/documents/{dump}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let sandbox = cluster.exec("node-1", "iptables -t nat -S | grep -o \"^-N KUBE-HP-[A-Z0-9]*\" || true")?;
    let sandbox = sandbox.trim().trim_start_matches("-N ").to_owned();
    let mut compared = 0;
    for block in text.split("$ sudo ").skip(1) {
        let (command, expected) = block.split_once('\n').ok_or("no output")?;
        let own: Vec<String> = command
            .split(' ')
            .map(|word| match word.starts_with("KUBE-HP-") {
                true => sandbox.clone(),
                false => word.to_owned(),
            })
            .collect();
        let printed = cluster.exec("node-1", &own.join(" "))?;
        let lines = |text: &str| -> Vec<String> {
            let mut lines: Vec<String> = text.lines().filter_map(normal).collect();
            if command.contains("KUBE-SERVICES") {
                lines.sort();
            }
            lines
        };
        let (found, expected) = (lines(&printed), lines(expected));
        if found != expected || expected.is_empty() {
            return Err(format!(
                "{dump}: {command}:\n{}\n  in the document:\n{}",
                found.join("\n"),
                expected.join("\n")
            ));
        }
        compared += 1;
    }
    if compared > 0 { Ok(()) } else { Err(format!("{dump}: no command")) }
}

/// Every line is the name of one of these pods, and every pod is there if there are enough lines.
fn come_from(lines: &[String], pods: &BTreeMap<String, String>, what: &str) -> Outcome {
    match lines.iter().find(|line| !pods.contains_key(*line)) {
        Some(other) => Err(format!("{what}: {other:?} answered, and not one of {pods:?}")),
        None if lines.is_empty() => Err(format!("{what}: no answer")),
        None => Ok(()),
    }
}

/// Document 003, from "kubenet" to "K8S HostNetwork", one after the other on one cluster.
fn kubenet() -> Outcome {
    let cluster = Cluster::named("doc3");
    cluster.minik(&["up", "kubeadm-1.20"])?;
    two_containers_and_two_pods(&cluster)?;
    cluster_ip(&cluster)?;
    rules_of_two_and_three(&cluster)?;
    client_ip(&cluster)?;
    by_a_route(&cluster)?;
    external_ip(&cluster)?;
    node_port(&cluster)?;
    names(&cluster)?;
    pods_at_the_node(&cluster)
}

fn two_containers_and_two_pods(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 10)?;
    apply(cluster, "pod")?;
    // Containers of a pod share its network: minik has one namespace for both.
    let shown = cluster.minik(&["exec", "test", "--", "ip", "-4", "-br", "a"])?;
    let pod = cluster.minik(&["describe", "pod", "test"])?;
    if !shown.contains("192.168.0.10/24") || !pod.contains("container-1") || !pod.contains("container-2") {
        return Err(format!("{shown}{pod}"));
    }
    cluster.minik(&["delete", "-f", "pod"])?;
    apply(cluster, "deployment")?;
    let two = pods(cluster, "test-")?;
    let addresses: BTreeSet<&str> = two.values().map(String::as_str).collect();
    if addresses != BTreeSet::from(["192.168.0.11", "192.168.0.12"]) {
        return Err(format!("{two:?}"));
    }
    let first = two.iter().find(|(_, address)| address.ends_with(".11")).ok_or("no first pod")?.0;
    cluster.minik(&["exec", first, "--", "ping", "-c1", "-W5", "192.168.0.12"])?;
    cluster.minik(&["delete", "-f", "deployment"]).map(drop)
}

fn cluster_ip(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 20)?;
    apply(cluster, "service")?;
    let own = pods(cluster, "test-service-")?;
    let service = cluster.minik(&["get", "svc", "test-service", "--no-headers"])?;
    if service.split_whitespace().nth(2) != Some("10.107.168.72") {
        return Err(service);
    }
    come_from(&bash(cluster, "node-1", "for i in {1..5} ; do curl -s 10.107.168.72 ; done")?, &own, "ClusterIP")?;
    // "wget -S -O - 10.107.168.72" in a pod, after `iptables -I FORWARD 2 -j ACCEPT`.
    cluster.exec("node-1", "iptables -I FORWARD 2 -j ACCEPT")?;
    apply(cluster, "busybox-pod")?;
    for to in ["10.107.168.72", "192.168.0.20:9376"] {
        let page = cluster.minik(&["exec", "busybox", "--", "curl", "-s", "-m", "5", to])?;
        come_from(&[page.trim().to_owned()], &own, to)?;
    }
    cluster.exec("node-1", "iptables -D FORWARD -j ACCEPT")?;
    cluster.minik(&["delete", "-f", "busybox-pod", "-f", "service"]).map(drop)
}

fn rules_of_two_and_three(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 33)?;
    apply(cluster, "echoserver")?;
    same_rules(cluster, "echoserver-2")?;
    let page = cluster.exec("node-1", "curl -s -m 5 10.106.23.233:8877")?;
    if !page.contains("Hostname: echoserver-") {
        return Err(page);
    }
    cluster.minik(&["scale", "deploy/echoserver", "--replicas", "3"])?;
    same_rules(cluster, "echoserver-3")?;
    cluster.minik(&["delete", "-f", "echoserver"]).map(drop)
}

fn client_ip(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 36)?;
    apply(cluster, "clientip")?;
    same_rules(cluster, "clientip")?;
    let lines = bash(cluster, "node-1", "for i in {1..5} ; do curl -s 10.107.215.65 ; done")?;
    come_from(&lines, &pods(cluster, "test-clientip-")?, "ClientIP")?;
    if lines.len() != 5 || lines.iter().any(|line| *line != lines[0]) {
        return Err(format!("one client came to {lines:?}"));
    }
    cluster.minik(&["delete", "-f", "clientip"]).map(drop)
}

/// "10.1.10.8: ip route add 10.96.0.0/12 via 10.1.10.9".
fn by_a_route(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 38)?;
    let text = cluster.minik(&["show", "service"])?.replace("10.107.168.72", "10.106.235.190");
    checked("apply", &cluster.fed(&["apply", "-f", "-"], &text)?)?;
    cluster.exec("client", "ip route add 10.96.0.0/12 via 10.1.10.9")?;
    let lines = bash(cluster, "client", "curl -s -m 5 10.106.235.190")?;
    come_from(&lines, &pods(cluster, "test-service-")?, "by a route")?;
    cluster.exec("client", "ip route del 10.96.0.0/12 via 10.1.10.9")?;
    cluster.minik(&["delete", "-f", "service"]).map(drop)
}

fn external_ip(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 40)?;
    apply(cluster, "externalip")?;
    same_rules(cluster, "externalip")?;
    let own = pods(cluster, "test-externalip-")?;
    for from in ["client", "node-1"] {
        come_from(&bash(cluster, from, "for i in {1..5} ; do curl -s -m 5 10.1.10.9 ; done")?, &own, from)?;
    }
    cluster.minik(&["delete", "-f", "externalip"]).map(drop)
}

/// The loop of a thousand requests, and how the rules' own counters spread them: by 6 standard deviations at most.
fn node_port(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 42)?;
    apply(cluster, "nodeport")?;
    same_rules(cluster, "nodeport")?;
    let own = pods(cluster, "test-nodeport-")?;
    let lines = bash(cluster, "client", "for i in {1..1000} ; do curl -s -m 5 10.1.10.9:32228 ; done")?;
    come_from(&lines, &own, "NodePort")?;
    let chain = cluster.exec("node-1", "iptables -t nat -vxnL KUBE-SVC-CIFSXFMKAAMIL4QG")?;
    let counted = chain.lines().filter(|line| line.contains("KUBE-SEP-"));
    let counted: Vec<u64> = counted.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let fair = counted.len() == 2 && counted.iter().all(|count| count.abs_diff(500) < 96);
    if lines.len() != 1000 || counted.iter().sum::<u64>() != 1000 || !fair {
        return Err(format!("{} answers, and the rules count {counted:?}", lines.len()));
    }
    cluster.minik(&["delete", "-f", "nodeport"]).map(drop)
}

fn names(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 44)?;
    apply(cluster, "dns")?;
    apply(cluster, "busybox-pod")?;
    let pod = "192-168-0-44.test-dns.default.svc.cluster.local";
    let cases: [(&str, &[&str]); 5] = [
        ("test-dns", &["10.96.0.10", "test-dns.default.svc.cluster.local", "10.106.139.47"]),
        ("test-dns.default.svc.cluster.local", &["test-dns.default.svc.cluster.local", "10.106.139.47"]),
        ("10.106.139.47", &["47.139.106.10.in-addr.arpa", "name = test-dns.default.svc.cluster.local"]),
        ("192.168.0.44", &["44.0.168.192.in-addr.arpa", pod]),
        (pod, &[pod, "192.168.0.44"]),
    ];
    for (name, expected) in cases {
        let said = cluster.minik(&["exec", "busybox", "--", "nslookup", name])?;
        if let Some(missing) = expected.iter().find(|word| !said.contains(**word)) {
            return Err(format!("nslookup {name} says no {missing}:\n{said}"));
        }
    }
    cluster.minik(&["delete", "-f", "busybox-pod", "-f", "dns"]).map(drop)
}

fn pods_at_the_node(cluster: &Cluster) -> Outcome {
    count_up_to(cluster, 47)?;
    for (manifest, at) in [("hostPort", "10.1.10.9:8081"), ("hostNetwork", "10.1.10.9")] {
        apply(cluster, manifest)?;
        if manifest == "hostPort" {
            same_rules(cluster, "hostport")?;
        }
        let page = cluster.exec("client", &format!("curl -s -m 5 {at}"))?;
        if !page.contains("<title>Welcome to nginx!</title>") {
            return Err(format!("{manifest}: {page}"));
        }
        cluster.minik(&["delete", "-f", manifest])?;
    }
    Ok(())
}

/// Document 001: NodePort 32220 of node-1, with the pod there and on the other node; through tunl0 as in the document, and
/// through flannel.1.
fn nodeport() -> Outcome {
    for (mode, device) in [("calico-ipip", "tunl0"), ("flannel-vxlan", "flannel.1")] {
        let cluster = Cluster::named(&format!("doc1{}", mode.len()));
        let text = cluster.minik(&["show", mode])?;
        let text = text.replacen("\nspec:\n", "\nspec:\n  proxy: {version: \"1.20\"}\n", 1);
        checked("up", &cluster.fed(&["up", "-"], &text)?)?;
        apply(&cluster, "nginx-nodeport")?;
        let here = asked(&cluster, mode)?;
        if here != "10.1.10.9" && !(mode == "flannel-vxlan" && here == "10.244.0.1") {
            return Err(format!("{mode}: with the pod here it sees {here}"));
        }
        apply(&cluster, "nginx-nodeport-node-2")?;
        let there = asked(&cluster, mode)?;
        let tunnel = cluster.link("node-1", device)?;
        if !tunnel.addresses("inet").iter().any(|(address, ..)| address.split('/').next() == Some(there.as_str())) {
            return Err(format!(
                "{mode}: with the pod there it sees {there}, and {device} has {:?}",
                tunnel.addresses("inet")
            ));
        }
    }
    Ok(())
}

/// Asks as the document does, checks the rules that it quotes, and gives the address that the pod sees.
fn asked(cluster: &Cluster, mode: &str) -> Result<String, String> {
    let (_, pod) = pods(cluster, "nginx-")?.into_iter().next().ok_or("no pod")?;
    let rules = cluster.exec("node-2", "iptables -t nat -S")?;
    let quoted = [
        "-A KUBE-NODEPORTS -p tcp -m comment --comment \"default/nginx:8080-80\" -m tcp --dport 32220 -j KUBE-MARK-MASQ",
        "-A KUBE-NODEPORTS -p tcp -m comment --comment \"default/nginx:8080-80\" -m tcp --dport 32220 -j \
         KUBE-SVC-DR2DYVPMBY3GPZ5L",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    ];
    let dnat =
        format!("-p tcp -m comment --comment \"default/nginx:8080-80\" -m tcp -j DNAT --to-destination {pod}:80");
    if let Some(missing) = quoted.into_iter().chain([dnat.as_str()]).find(|rule| !rules.contains(rule)) {
        return Err(format!("{mode}: no rule {missing}\n{rules}"));
    }
    let page = cluster.exec("client", "curl -s -m 5 10.1.10.9:32220")?;
    if !page.contains("Welcome to nginx!") {
        return Err(format!("{mode}: {page}"));
    }
    // The direction of the answer tells both translations: from the pod, to the new source.
    let entries = cluster.exec("node-1", "conntrack -L -p tcp --orig-port-dst 32220 2>/dev/null")?;
    let entry = entries.lines().find(|line| line.contains(&format!("src={pod} ")));
    let source = entry.and_then(|line| line.split(&format!("src={pod} dst=")).nth(1)?.split(' ').next());
    source.map(str::to_owned).ok_or_else(|| format!("{mode}: no connection to {pod} in\n{entries}"))
}

/// Document 002: three replicas with equal chances; one that fails is no endpoint any more.
fn three_replicas() -> Outcome {
    let cluster = Cluster::named("doc2");
    let text = cluster.minik(&["show", "flannel-host-gw"])?;
    let text = text.replacen("\nspec:\n", "\nspec:\n  serviceCIDR: 10.0.0.0/20\n", 1);
    checked("up", &cluster.fed(&["up", "-"], &text)?)?;
    apply(&cluster, "nginx-79959")?;
    let replicas = pods(&cluster, "nginx-79959-")?;
    let chains = || -> Result<(Vec<String>, BTreeSet<String>), String> {
        let rules = cluster.exec("node-1", "iptables -t nat -S")?;
        let service = rules.lines().find_map(|line| line.split(" -d 10.0.14.162/32 ").nth(1)?.split(" -j ").nth(1));
        let service = service.ok_or_else(|| rules.clone())?.to_owned();
        let chances =
            rules.lines().filter(|line| line.starts_with(&format!("-A {service} ")) && line.contains("-j KUBE-SEP-"));
        let chances = chances.map(|line| {
            line.split("--probability ").nth(1).unwrap_or("1").split(' ').next().unwrap_or_default().to_owned()
        });
        let to = rules.lines().filter_map(|line| line.split("--to-destination ").nth(1)).map(str::to_owned);
        Ok((chances.collect(), to.collect()))
    };
    let addresses =
        |pods: &BTreeMap<String, String>| pods.values().map(|address| format!("{address}:80")).collect::<BTreeSet<_>>();
    let (chances, to) = chains()?;
    if chances != ["0.33333333349", "0.50000000000", "1"] || to != addresses(&replicas) {
        return Err(format!("{chances:?} to {to:?}, and there are {replicas:?}"));
    }
    let (fails, gone) = replicas.iter().next().ok_or("no pods")?;
    cluster.minik(&["ready", "--not", fails])?;
    let left: BTreeMap<String, String> =
        replicas.iter().filter(|(pod, _)| *pod != fails).map(|(pod, at)| (pod.clone(), at.clone())).collect();
    let (chances, to) = chains()?;
    if chances != ["0.50000000000", "1"] || to != addresses(&left) {
        return Err(format!("{chances:?} to {to:?}, and {fails} has failed"));
    }
    let endpoints = cluster.minik(&["get", "endpoints", "nginx"])?;
    if endpoints.contains(gone.as_str()) {
        return Err(endpoints);
    }
    let pages = bash(
        &cluster,
        "node-1",
        "for i in {1..30} ; do curl -s -m 5 -o /dev/null -w \"%{http_code}\\n\" 10.0.14.162 ; done",
    )?;
    let seen = cluster.exec("node-1", "iptables -t nat -vxnL | grep to:")?;
    if pages.len() != 30 || pages.iter().any(|code| code != "200") || seen.contains(gone.as_str()) {
        return Err(format!("{pages:?}\n{seen}"));
    }
    // When it is well again, it is an endpoint again.
    cluster.minik(&["ready", fails])?;
    let (_, to) = chains()?;
    if to == addresses(&replicas) { Ok(()) } else { Err(format!("{to:?}, and there are {replicas:?}")) }
}

/// Document 000: the chains of the table filter before and after, on the node of the pod and on the other one. There the
/// proxy is ipvs, so that nat stays as it is; here Services are rules of nat.
fn before_and_after() -> Outcome {
    let cluster = Cluster::up("doc0", "calico-ipip")?;
    apply(&cluster, "echoserver")?;
    let dump = |node: &str, table: &str| -> Result<BTreeSet<String>, String> {
        let text = cluster.exec(node, &format!("iptables -S -t {table}"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let places = [("node-1", "filter"), ("node-2", "filter"), ("node-1", "nat"), ("node-2", "nat")];
    let all = || places.iter().map(|(node, table)| dump(node, table)).collect::<Result<Vec<_>, _>>();
    let before = all()?;
    apply(&cluster, "cka2")?;
    let after = all()?;
    let new: Vec<BTreeSet<&str>> = (before.iter().zip(&after))
        .map(|(before, after)| after.difference(before).filter_map(|line| line.strip_prefix("-N ")).collect())
        .collect();
    let pods: Value =
        serde_json::from_str(&cluster.minik(&["-n", "kelu", "get", "pods", "-o", "json"])?).map_err(words)?;
    let pod = &pods["items"][0];
    let (name, node) =
        (pod["metadata"]["name"].as_str().ok_or("no pod")?, pod["spec"]["nodeName"].as_str().ok_or("no node")?);
    let at = usize::from(node != "node-1");
    let interface = new[at].iter().find_map(|chain| chain.strip_prefix("cali-fw-")).ok_or("no chain of a pod")?;
    // The chains are called as the device is that leads to the pod.
    let route = cluster.exec(node, &format!("ip route show dev {interface}"))?;
    if !route.contains(pod["status"]["podIP"].as_str().ok_or("no address")?) {
        return Err(format!("{interface} does not lead to {name}: {route}"));
    }
    let own: BTreeSet<String> = [format!("cali-fw-{interface}"), format!("cali-tw-{interface}")]
        .into_iter()
        .chain(
            ["cali-pri-kns.kelu", "cali-pri-ksa.kelu.default", "cali-pro-kns.kelu", "cali-pro-ksa.kelu.default"]
                .map(str::to_owned),
        )
        .collect();
    let own: BTreeSet<&str> = own.iter().map(String::as_str).collect();
    for ((place, table), chains) in places.iter().zip(&new) {
        let right = match *table {
            "filter" if *place == node => *chains == own,
            "filter" => chains.is_empty(),
            _ => chains.len() == 2 && chains.iter().all(|chain| chain.starts_with("KUBE-S")),
        };
        if !right {
            return Err(format!("{place}, {table}: {chains:?}; {name} is on {node}, {own:?}"));
        }
    }
    // `rules diff` says the same.
    let said = cluster.minik(&["rules", "diff", node])?;
    match own.iter().find(|chain| !said.contains(**chain)) {
        Some(missing) => Err(format!("rules diff does not say {missing}:\n{said}")),
        None => Ok(()),
    }
}

/// flannel's ConfigMap with this Backend, in the document's layout.
fn net_conf(backend: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-flannel-cfg, namespace: kube-system}}\ndata:\n  \
         net-conf.json: |\n    {{\n      \"Network\": \"10.244.0.0/16\",\n      \"Backend\": {{\n        {backend}\n      \
         }}\n    }}\n"
    )
}

/// Document 004: vxlan, then `"Directrouting": "true"`, then host-gw, by the ConfigMap alone; what is seen of the pods' ping
/// on the way; a page in each of two namespaces.
fn flannel_edited() -> Outcome {
    let text = builtin("flannel-vxlan")?.text;
    let (machines, _) = text.split_once("\n  # How pods are connected.\n").ok_or("no network in the topology")?;
    let cluster = Cluster::named("doc4");
    let whole = format!("{machines}\n---\n{}", net_conf("\"Type\": \"vxlan\""));
    checked("up", &cluster.fed(&["up", "-"], &whole)?)?;
    apply(&cluster, "deploy-demo")?;
    contains(&cluster.exec("node-1", "ip route")?, "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink")?;
    let seen = pinged(&cluster, "flannel.1", "icmp")?;
    contains(&seen, "ICMP echo request")?;
    let seen = pinged(&cluster, "ens33", "host 10.1.10.10 and udp")?;
    contains(&seen, "OTV, flags [I] (0x08), overlay 0, instance 1")?;
    for backend in ["\"Type\": \"vxlan\",\n        \"Directrouting\": \"true\"", "\"Type\": \"host-gw\""] {
        checked("apply", &cluster.fed(&["apply", "-f", "-"], &net_conf(backend))?)?;
        contains(&cluster.exec("node-1", "ip route")?, "10.244.1.0/24 via 10.1.10.10 dev ens33")?;
        // The document makes its pods anew.
        cluster.minik(&["delete", "-f", "deploy-demo"])?;
        apply(&cluster, "deploy-demo")?;
        contains(&pinged(&cluster, "cni0", "icmp")?, "ICMP echo request")?;
        let seen = pinged(&cluster, "ens33", "udp port 8472 or icmp")?;
        if !seen.contains("ICMP echo request") || seen.contains("OTV") {
            return Err(format!("{backend}: not bare on ens33:\n{seen}"));
        }
    }
    let devices = cluster.exec("node-1", "ip -o link")?;
    if devices.contains("flannel") {
        return Err(format!("host-gw needs no device of flannel's:\n{devices}"));
    }
    apply(&cluster, "namespaces")?;
    for namespace in ["dev", "prod"] {
        cluster.minik(&["-n", namespace, "apply", "-f", "pod-a"])?;
        let shown: Value =
            serde_json::from_str(&cluster.minik(&["-n", namespace, "get", "pod", "pod1", "-o", "json"])?)
                .map_err(words)?;
        let address = shown["status"]["podIP"].as_str().ok_or("no podIP")?;
        let page = cluster.exec("node-1", &format!("curl -s -m 5 {address}"))?;
        contains(&page, "Hello MyApp | Version: v1 | <a href=\"hostname.html\">Pod Name</a>")?;
    }
    contains(&cluster.status()?, "drift:     none")
}

/// What tcpdump sees on a device of node-1 of a ping from a pod there to one on node-2.
fn pinged(cluster: &Cluster, device: &str, filter: &str) -> Result<String, String> {
    let all = pods(cluster, "myapp-deploy-")?;
    let on = |prefix: &str| all.iter().find(|(_, address)| address.starts_with(prefix));
    let ((from, _), (_, to)) = on("10.244.0.").zip(on("10.244.1.")).ok_or_else(|| format!("not two nodes: {all:?}"))?;
    let dump = Dump::on(cluster, ("node-1", device), "-nnl", 2, filter)?;
    contains(&cluster.exec(&format!("default/{from}"), &format!("ping -c 2 -i 0.2 -W 2 {to}"))?, " 0% packet loss")?;
    dump.text()
}
