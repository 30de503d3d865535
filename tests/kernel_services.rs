//! Services on a real kernel, through the program as a user runs it: `minik verify` proves every way to them and catches
//! what is broken by hand; curl and iptables are the judges beside it.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use std::collections::BTreeMap;

use kernel::lab::{Cluster, of};
use libtest_mimic::{Arguments, Failed};
use serde_json::Value;

/// Every shape of a Service, over four pods on two nodes.
const OBJECTS: &str = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: k8s.gcr.io/serve_hostname, ports: [{name: http, containerPort: 9376}]}
---
apiVersion: v1
kind: Pod
metadata: {name: published}
spec:
  nodeName: node-1
  containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 8088}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  clusterIP: 10.96.7.1
  selector: {app: web}
  externalIPs: [10.1.10.77]
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {name: udp, port: 90, protocol: UDP, targetPort: 9376, nodePort: 30090}
---
apiVersion: v1
kind: Service
metadata: {name: kept}
spec:
  type: LoadBalancer
  clusterIP: 10.96.7.2
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376, nodePort: 30081}]
status: {loadBalancer: {ingress: [{ip: 10.1.10.200}]}}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: 10.96.7.3, selector: {app: nothing}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: brief}
spec:
  clusterIP: 10.96.7.4
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 9376}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: example.net}
";

/// A mode's cluster with these Services.
fn up(mode: &str, tag: &str) -> Result<Cluster, String> {
    Cluster::up_text(tag, &(kernel::builtin(mode)?.text + OBJECTS))
}

/// The exit code of `verify`, and every check of a way to a Service or host port.
fn verify(cluster: &Cluster) -> Result<(Option<i32>, Vec<Value>), String> {
    let (code, checks) = cluster.verify()?;
    let ours = |check: &Value| ["service-", "host-port"].iter().any(|head| of(check, "name").starts_with(head));
    Ok((code, checks.into_iter().filter(ours).collect()))
}

fn lines(checks: &[Value]) -> String {
    let words = |check: &Value| ["name", "from", "to", "result", "reason"].map(|field| of(check, field).to_owned());
    checks.iter().map(|check| words(check).join(" | ") + "\n").collect()
}

fn sound(mode: &'static str) -> Result<(), Failed> {
    let cluster = up(mode, mode)?;
    let (code, checks) = verify(&cluster)?;
    if code != Some(0) || checks.iter().any(|check| of(check, "result") != "pass") {
        return Err(format!("verify ended with {code:?}\n{}", lines(&checks)).into());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for check in &checks {
        *counts.entry(of(check, "name")).or_default() += 1;
    }
    // Ports by TCP: `web`, `kept`, `nobody` and `brief`, from a pod of each of two nodes and from these; node ports of two.
    let expected = [
        ("host-port/tcp", 1),
        ("service-cluster-ip/tcp", 8),
        ("service-cluster-ip/udp", 2),
        ("service-external-ip/tcp", 2),
        ("service-external-ip/udp", 2),
        ("service-from-node/tcp", 8),
        ("service-from-node/udp", 2),
        ("service-hairpin/tcp", 1),
        ("service-hairpin/udp", 1),
        ("service-load-balancer/tcp", 2),
        ("service-node-port-by-loopback/tcp", 2),
        ("service-node-port-by-loopback/udp", 1),
        ("service-node-port/tcp", 4),
        ("service-node-port/udp", 2),
    ];
    if counts != expected.into() {
        return Err(format!("{counts:?}").into());
    }
    // The frames of the report show the rewriting: a node's address is the source at the backend.
    let by_node = checks.iter().find(|check| of(check, "name") == "service-node-port/tcp").ok_or("no node port")?;
    let path = by_node["observed"]["path"].to_string();
    if !path.contains("10.1.10.8") || !path.contains("9376") {
        return Err(format!("no translation is seen: {path}").into());
    }
    // The documents' experiment: every endpoint answers in time.
    let names = cluster.exec("client", "for i in $(seq 60); do curl -s -m 2 10.1.10.9:30080; done | sort | uniq -c")?;
    if names.lines().count() != 4 {
        return Err(format!("curl reached\n{names}").into());
    }
    let kept = cluster.exec("client", "for i in $(seq 10); do curl -s -m 2 10.1.10.9:30081; done | sort -u")?;
    if kept.lines().count() != 1 {
        return Err(format!("one client was not kept\n{kept}").into());
    }
    Ok(())
}

/// What `verify` says after a command line on node-1 that breaks something: exactly these checks fail, saying this.
fn broken(line: &'static str, name: &'static str, words: &'static [&'static str]) -> Result<(), Failed> {
    let tag: String = name.chars().filter(char::is_ascii_lowercase).take(8).collect();
    let cluster = up("calico-ipip", &format!("{tag}{}", words[0].len()))?;
    cluster.exec("node-1", line)?;
    let (code, checks) = verify(&cluster)?;
    let failed: Vec<Value> = checks.iter().filter(|check| of(check, "result") == "fail").cloned().collect();
    let caught = failed
        .iter()
        .any(|check| of(check, "name") == name && words.iter().all(|word| of(check, "reason").contains(word)));
    if code == Some(1) && caught { Ok(()) } else { Err(format!("{code:?}, failed:\n{}", lines(&failed)).into()) }
}

/// The chain that `web`'s port http, or another rule of KUBE-SERVICES, jumps to.
const CHAIN: &str =
    "C=$(iptables -t nat -S KUBE-SERVICES | grep '10.96.7.1/32.*dport 80' | grep -o 'KUBE-SVC-[A-Z0-9]*$')";

fn lists() -> Result<(), Failed> {
    let cluster = up("calico-bgp", "lists")?;
    let services = cluster.minik(&["get", "svc", "-o", "wide"])?;
    let words: Vec<Vec<&str>> = services.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected: [&[&str]; 7] = [
        &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"],
        &["web", "NodePort", "10.96.7.1", "10.1.10.77", "80:30080/TCP,90:30090/UDP", "", "app=web"],
        &["kept", "LoadBalancer", "10.96.7.2", "10.1.10.200", "80:30081/TCP", "", "app=web"],
        &["nobody", "ClusterIP", "10.96.7.3", "<none>", "80/TCP", "", "app=nothing"],
        &["brief", "ClusterIP", "10.96.7.4", "<none>", "80/TCP", "", "app=web"],
        &["headless", "ClusterIP", "None", "<none>", "9376/TCP", "", "app=web"],
        &["elsewhere", "ExternalName", "<none>", "example.net", "<none>", "", "<none>"],
    ];
    let same = words.len() == expected.len()
        && words.iter().zip(expected).all(|(own, want)| {
            own.len() == want.len() && own.iter().zip(want).all(|(own, want)| own == want || want.is_empty())
        });
    if !same {
        return Err(services.into());
    }
    let addresses = |output: &str| -> Vec<String> {
        output
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|word| word.starts_with("10.100."))
            .map(str::to_owned)
            .collect()
    };
    let pods = cluster.minik(&["get", "pods", "-o", "wide"])?;
    let mut own: Vec<String> = pods.lines().filter(|line| line.starts_with("web-")).flat_map(addresses).collect();
    own.sort();
    let endpoints = cluster.minik(&["get", "ep", "headless", "-o", "json"])?;
    let object: Value = serde_json::from_str(&endpoints)?;
    let listed = object["subsets"][0]["addresses"].as_array().ok_or("no addresses")?;
    let listed: Vec<&str> = listed.iter().filter_map(|address| address["ip"].as_str()).collect();
    if listed != own || own.len() != 4 {
        return Err(format!("{own:?} are the pods, and {listed:?} the endpoints").into());
    }
    let cells = cluster.minik(&["get", "endpoints", "--no-headers"])?;
    if !cells.contains("+ 1 more...")
        || !cells.lines().any(|line| line.starts_with("nobody") && line.contains("<none>"))
    {
        return Err(cells.into());
    }
    let described = cluster.minik(&["describe", "svc", "web"])?;
    for line in ["Type:                     NodePort\n", "NodePort:                 http  30080/TCP\n"] {
        if !described.contains(line) {
            return Err(described.into());
        }
    }
    Ok(())
}

/// A Deployment and a Service more: what `rules diff` says that came and went is what iptables-save printed differently.
/// Then a pod fails its readiness, and nobody comes to it any more.
fn changes() -> Result<(), Failed> {
    let cluster = up("calico-ipip", "changes")?;
    cluster.refused(&["rules", "diff"], 2)?;
    let before = cluster.exec("node-1", "iptables-save")?;
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    let more = OBJECTS
        .replace("10.96.7.", "10.96.8.")
        .replace("10.1.10.77", "10.1.10.78")
        .replace("web", "more")
        .replace("kept", "held");
    let objects: Vec<&str> = more.split("---").filter(|object| object.contains("name: more")).collect();
    std::fs::write(
        file.path(),
        objects.join("---").replace("nodePort: 30080", "nodePort: 30180").replace("30090", "30190"),
    )?;
    cluster.minik(&["apply", "-f", &file.path().display().to_string()])?;
    let after = cluster.exec("node-1", "iptables-save")?;
    let lines = |dump: &str| -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for line in dump.lines().filter(|line| line.starts_with("-A ")) {
            *lines.entry(line.replace(" -p ipencap ", " -p 4 ")).or_insert(0) += 1;
        }
        lines
    };
    let (old, new) = (lines(&before), lines(&after));
    let fewer = |all: &BTreeMap<String, usize>, others: &BTreeMap<String, usize>| -> Vec<String> {
        let rest = |(line, count): (&String, &usize)| {
            let left = count.saturating_sub(others.get(line).copied().unwrap_or(0));
            std::iter::repeat_n(line.clone(), left).collect::<Vec<_>>()
        };
        all.iter().flat_map(rest).collect()
    };
    let said_by_diff: Value = serde_json::from_str(&cluster.minik(&["rules", "diff", "node-1", "-o", "json"])?)?;
    let named = |field: &str| -> Vec<String> {
        let tables = said_by_diff.as_array().into_iter().flatten();
        let all = tables.flat_map(|table| table[field].as_array().cloned().unwrap_or_default());
        let mut rules: Vec<String> = all.filter_map(|line| line.as_str().map(str::to_owned)).collect();
        rules.retain(|line| line.starts_with("-A "));
        rules.sort();
        rules
    };
    if named("added") != fewer(&new, &old) || named("removed") != fewer(&old, &new) || named("added").len() < 20 {
        return Err(format!("{said_by_diff:#}\nis not what iptables-save says").into());
    }
    let pods = cluster.minik(&["get", "pods", "-o", "name"])?;
    let pod = pods.lines().find_map(|line| line.strip_prefix("pod/web-")).ok_or("no pod")?;
    let pod = format!("web-{pod}");
    let ask = "for i in $(seq 60); do curl -s -m 2 10.1.10.9:30080; done | sort -u";
    for (word, expected) in [(Some("--not"), 3), (None, 4)] {
        cluster.minik(&["ready", &pod].into_iter().chain(word).collect::<Vec<_>>())?;
        let names = cluster.exec("client", ask)?;
        if names.lines().count() != expected || names.contains(&pod) != word.is_none() {
            return Err(format!("with {word:?}, curl reached\n{names}").into());
        }
        let (code, checks) = verify(&cluster)?;
        if code != Some(0) {
            return Err(format!("verify ended with {code:?}\n{}", self::lines(&checks)).into());
        }
    }
    Ok(())
}

/// Names are looked up from pods; a server that is not reached is missed.
fn names() -> Result<(), Failed> {
    let cluster = Cluster::named("names");
    cluster.minik(&["up", "kubeadm-1.20"])?;
    cluster.minik(&["apply", "-f", "dns"])?;
    let looked_up = || -> Result<(Option<i32>, Vec<Value>), Failed> {
        let (code, checks) = cluster.verify()?;
        Ok((code, checks.into_iter().filter(|check| of(check, "name").starts_with("dns-")).collect()))
    };
    let (code, checks) = looked_up()?;
    let is_there = |name: &str, to: &str| {
        checks
            .iter()
            .any(|check| of(check, "name") == name && of(check, "to").starts_with(to) && of(check, "result") == "pass")
    };
    let all = is_there("dns-a", "test-dns.default ")
        && is_there("dns-srv", "_metrics._tcp.kube-dns.kube-system.svc.cluster.local. ")
        && is_there("dns-ptr", "47.139.106.10.in-addr.arpa. ")
        && is_there("dns-no-such-name", "no-such-service.default.svc.cluster.local. ");
    if code != Some(0) || !all {
        return Err(format!("{code:?}\n{}", lines(&checks)).into());
    }
    cluster.exec("node-1", "iptables -I FORWARD -p udp --dport 53 -j DROP")?;
    let (code, checks) = looked_up()?;
    let missed = checks.iter().all(|check| of(check, "reason").contains("does not answer"));
    if code == Some(1) && missed { Ok(()) } else { Err(format!("{code:?}\n{}", lines(&checks)).into()) }
}

fn main() {
    let arguments = Arguments::from_args();
    let missing = kernel::not_root;
    let mut trials = Vec::new();
    for mode in ["calico-ipip", "flannel-vxlan", "kubenet"] {
        trials.push(kernel::trial(format!("{mode}: every way to a Service"), missing(), move || sound(mode)));
    }
    trials.push(kernel::trial("services and endpoints as kubectl lists them", missing(), lists));
    trials.push(kernel::trial("what a change did to rules, and readiness", missing(), changes));
    trials.push(kernel::trial("names, and a server that is away", missing(), names));
    let twins: [(&str, String, &str, &'static [&'static str]); 6] = [
        (
            "an endpoint that gets all",
            format!("{CHAIN}; R=$(iptables -t nat -S $C | grep probability | head -1 | grep -o 'KUBE-SEP.*'); iptables -t nat -I $C -j $R"),
            "service-cluster-ip/tcp",
            &["128 connections", "binomial"],
        ),
        (
            "an endpoint that gets none",
            format!("{CHAIN}; iptables -t nat -D $C $(iptables -t nat -S $C | grep -n probability | head -1 | cut -d: -f1 | awk '{{print $1-1}}')"),
            "service-cluster-ip/tcp",
            &["0 of 128 connections", "binomial"],
        ),
        (
            "no masquerading",
            "iptables -t nat -I KUBE-POSTROUTING -j RETURN".to_owned(),
            "service-node-port/tcp",
            &["10.1.10.8"],
        ),
        (
            "no refusal",
            "iptables -F KUBE-SERVICES".to_owned(),
            "service-cluster-ip/tcp",
            &["seen"],
        ),
        (
            "a client that is not kept",
            "for c in $(iptables -t nat -S | grep -o '^-A KUBE-SVC.*--rcheck' | cut -d' ' -f2 | sort -u); do \
             while iptables -t nat -S $c | grep -q rcheck; do \
             iptables -t nat -D $c $(iptables -t nat -S $c | grep -n rcheck | head -1 | cut -d: -f1 | awk '{print $1-1}'); \
             done; done"
                .to_owned(),
            "service-cluster-ip/tcp",
            &["keeps its endpoint"],
        ),
        (
            "a client whose time does not end",
            "iptables-save -t nat | sed 's/--seconds 2 /--seconds 600 /' | iptables-restore".to_owned(),
            "service-cluster-ip/tcp",
            &["its time was over", "each 2 s later"],
        ),
    ];
    for (title, line, name, words) in twins {
        let line: &'static str = line.leak();
        trials.push(kernel::trial(format!("caught: {title}"), missing(), move || broken(line, name, words)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
