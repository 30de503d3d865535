//! Services on a real kernel, through the program as a user runs it: `minik verify` proves every way to them and catches
//! what is broken by hand; curl and iptables are the judges beside it.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

mod kernel;

use std::collections::BTreeMap;

use kernel::lab::{Cluster, of};
use kernel::objects::{SERVICE, deployment};
use libtest_mimic::{Arguments, Failed};
use serde_json::Value;

/// Pods and Services of other shapes than those that all tests of Services have.
const MORE: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: published}
spec:
  nodeName: node-1
  containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 8088}]}]
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
metadata: {name: half}
spec:
  clusterIP: 10.96.7.5
  selector: {app: web}
  ports: [{name: there, port: 80, targetPort: 9376}, {name: nowhere, port: 81, targetPort: unnamed}]
---
apiVersion: v1
kind: Service
metadata: {name: brief}
spec:
  clusterIP: 10.96.7.4
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}
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

/// Every shape of a Service, over four pods on two nodes.
fn objects() -> String {
    deployment(4) + SERVICE + MORE
}

/// What only a cluster of two families has, and policies: one port each for a Service of both families, of IPv6 alone,
/// without endpoints, and with a policy `Local` inside and outside.
const DUAL: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: names}
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30180}
  - {name: udp, port: 90, protocol: UDP, targetPort: 9376, nodePort: 30190}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: names}, ports: [{name: http, port: 80, targetPort: 9376}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody6}
spec: {ipFamilies: [IPv6], selector: {app: nothing}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  loadBalancerSourceRanges: [10.1.10.0/24, 10.244.1.0/24, 'fd00:10:1:10::/64']
  selector: {where: one}
  ports: [{port: 80, targetPort: 80, nodePort: 30181}]
status: {loadBalancer: {ingress: [{ip: 192.0.2.10}, {ip: 'fd00:10:2::10'}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {where: one}}
spec:
  nodeName: node-1
  containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: deaf}
spec: {selector: {where: one}, ports: [{port: 80, targetPort: 9999}]}
";

/// A mode's cluster with these Services.
fn up(mode: &str, tag: &str) -> Result<Cluster, String> {
    Cluster::up_text(tag, &(kernel::builtin(mode)?.text + &objects()))
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

/// Whether curl reaches by TCP just what `verify` says is reached, and is refused at once where it says so.
fn judged_by_curl(cluster: &Cluster, checks: &[Value]) -> Result<(), String> {
    let by_tcp = |check: &&Value| {
        // Who speaks no HTTP is nobody for curl.
        let by_http = of(check, "to").starts_with("default/") && !of(check, "to").starts_with("default/kubernetes");
        by_http
            && of(check, "protocol").starts_with("tcp")
            && of(check, "result") == "pass"
            && !of(check, "name").contains("hairpin")
    };
    let mut asked: BTreeMap<&str, Vec<(&Value, String)>> = BTreeMap::new();
    for check in checks.iter().filter(by_tcp) {
        // `default/web:80 (10.96.7.1)`
        let (key, address) = of(check, "to").trim_end_matches(')').split_once(" (").ok_or("a check without address")?;
        let port = key.rsplit(':').next().unwrap_or_default();
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let told = &check["expected"]["told"];
        let wanted = match (check["expected"]["reachable"].as_bool(), told.is_string()) {
            // Refused, or nobody answered in time.
            (_, true) => 7,
            (Some(true), false) => 0,
            (_, false) => 28,
        };
        let line = format!(
            "(curl -g -s -m 3 -o /dev/null http://{host}:{port} || e=$?; [ ${{e:-0}} = {wanted} ] || echo \"{host}:{port} ${{e:-0}}\") &"
        );
        asked.entry(of(check, "from")).or_default().push((check, line));
    }
    if asked.values().map(Vec::len).sum::<usize>() < 20 {
        return Err(format!("too little was asked: {asked:?}"));
    }
    for (from, questions) in asked {
        let lines: Vec<&str> = questions.iter().map(|(_, line)| line.as_str()).collect();
        let otherwise = cluster.exec(from, &format!("{}\nwait", lines.join("\n")))?;
        if !otherwise.is_empty() {
            return Err(format!("from {from}, curl ends otherwise than verify says:\n{otherwise}"));
        }
    }
    Ok(())
}

/// Both families, policies, and names of Services that are in one family alone.
fn both_families() -> Result<(), Failed> {
    let text = kernel::builtin("flannel-vxlan-dualstack")?.text;
    let ways = "routes: # it knows";
    assert!(text.contains(ways));
    let more =
        "routes:\n    - {to: 192.0.2.0/24, via: 10.1.10.9}\n    - {to: 'fd00:10:2::/64', via: 'fd00:10:1:10::10'} #";
    let text = text.replace(ways, more).replacen("\nspec:\n", "\nspec:\n  dns: true\n", 1);
    // The topology has a pod `app: web` of its own, which listens elsewhere.
    let names = deployment(4).replace("app: web", "app: names");
    let cluster = Cluster::up_text("both", &format!("{text}{names}{DUAL}"))?;
    let (code, all) = cluster.verify()?;
    let checks: Vec<Value> = all.iter().filter(|check| of(check, "name").starts_with("service-")).cloned().collect();
    if code != Some(0) || all.iter().any(|check| of(check, "result") != "pass") {
        return Err(format!("verify ended with {code:?}\n{}", lines(&all)).into());
    }
    let is_there = |name: &str, to: &str, dropped: &str| {
        let alike = |check: &&Value| of(check, "name") == name && of(check, "to").contains(to);
        checks.iter().filter(alike).any(|check| {
            let why = check["expected"]["dropped"].as_str();
            if dropped.is_empty() { why.is_none() } else { why.is_some_and(|why| why.contains(dropped)) }
        })
    };
    for (name, to, dropped) in [
        ("service-cluster-ip/tcp6", "default/both:80 (fd", ""),
        ("service-cluster-ip/udp6", "default/both:90 (fd", ""),
        ("service-hairpin/tcp6", "default/six:80 (fd", ""),
        ("service-from-node/tcp6", "default/six:80 (fd", ""),
        ("service-node-port/tcp6", "default/both:30180 (fd00:10:1:10::9)", ""),
        ("service-node-port/udp6", "default/both:30190 (fd00:10:1:10::10)", ""),
        ("service-cluster-ip/tcp6", "default/nobody6:80 (fd", "rejected by filter/KUBE-SERVICES"),
        ("service-from-node/tcp6", "default/nobody6:80 (fd", "rejected by filter/KUBE-SERVICES"),
        // The client comes through node-1 by IPv4, where the pod is, and by IPv6 through node-2, where it is not.
        ("service-load-balancer/tcp", "default/near:80 (192.0.2.10)", ""),
        ("service-load-balancer/tcp6", "default/near:80 (fd00:10:2::10)", "dropped by filter/KUBE-PROXY-FIREWALL"),
        ("service-node-port/tcp", "default/near:30181 (10.1.10.9)", ""),
        ("service-node-port/tcp", "default/near:30181 (10.1.10.10)", "dropped by filter/KUBE-EXTERNAL-SERVICES"),
        ("service-cluster-ip/tcp", "default/near:80 (10.", "dropped by filter/KUBE-SERVICES"),
    ] {
        if !is_there(name, to, dropped) {
            return Err(format!("no {name} to {to}, {dropped}\n{}", lines(&checks)).into());
        }
    }
    let deaf = |check: &&Value| of(check, "name") == "service-cluster-ip/tcp" && of(check, "to").contains("/deaf:80");
    let told = checks.iter().find(deaf).and_then(|check| check["expected"]["told"].as_str());
    if told != Some("TCP reset: nobody listens on port 9999 of default/one") {
        return Err(format!("of a port on which nobody listens verify says {told:?}").into());
    }
    judged_by_curl(&cluster, &checks)?;
    names_of_one_family(&cluster, &all)
}

/// dig is the judge: a name that is in one family alone is there without addresses of the other.
fn names_of_one_family(cluster: &Cluster, checks: &[Value]) -> Result<(), Failed> {
    let ask = |kind: &str, name: &str| -> Result<String, String> {
        let (pod, _) = cluster.pod_on("node-1")?;
        let name = format!("{name}.default.svc.cluster.local");
        cluster.exec(&pod, &format!("dig +noall +comments +answer @10.96.0.10 {name} {kind} | grep -e status -e IN"))
    };
    for (kind, name, records) in [("A", "six", 0), ("AAAA", "six", 1), ("A", "both", 1), ("AAAA", "both", 1)] {
        let said = ask(kind, name)?;
        if !said.contains("NOERROR") || said.matches(&format!("IN\t{kind}\t")).count() != records {
            return Err(format!("{kind} of {name}: {said}").into());
        }
    }
    for (name, to) in [("dns-a", "six.default"), ("dns-aaaa", "six.default"), ("dns-aaaa", "both.default")] {
        if !checks.iter().any(|check| of(check, "name") == name && of(check, "to").starts_with(to)) {
            return Err(format!("no {name} of {to}").into());
        }
    }
    let reversed = |check: &Value| of(check, "name") == "dns-ptr" && of(check, "to").contains(".ip6.arpa. ");
    if checks.iter().any(reversed) { Ok(()) } else { Err("no name of an address of IPv6".into()) }
}

/// Every way to a Service of every shape, with kube-proxy in one of its modes.
fn sound(mode: &'static str, proxy: &'static str) -> Result<(), Failed> {
    let text = kernel::builtin(mode)?.text + &objects();
    let text = text.replacen("\nspec:\n", &format!("\nspec:\n  proxy: {{mode: {proxy}}}\n"), 1);
    let cluster = Cluster::up_text(&format!("{mode}{}", &proxy[..2]), &text)?;
    let (code, checks) = verify(&cluster)?;
    if code != Some(0) || checks.iter().any(|check| of(check, "result") != "pass") {
        return Err(format!("verify ended with {code:?}\n{}", lines(&checks)).into());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for check in &checks {
        *counts.entry(of(check, "name")).or_default() += 1;
    }
    // Ports by TCP: `web`, `kept`, `nobody`, `brief` and two of `half`, from a pod of each of two nodes and from these;
    // node ports of two. To itself a pod of `web` and `half` comes, not by the port that none has.
    let expected = [
        ("host-port/tcp", 1),
        ("service-cluster-ip/tcp", 12),
        ("service-cluster-ip/udp", 2),
        ("service-external-ip/tcp", 2),
        ("service-external-ip/udp", 2),
        ("service-from-node/tcp", 12),
        ("service-from-node/udp", 2),
        ("service-hairpin/tcp", 2),
        ("service-hairpin/udp", 1),
        ("service-load-balancer/tcp", 2),
        ("service-node-port-by-loopback/tcp", 2),
        ("service-node-port-by-loopback/udp", 1),
        ("service-node-port/tcp", 4),
        ("service-node-port/udp", 2),
    ];
    // In the nftables mode nobody is let through to 127.0.0.1 (`--nodeport-addresses primary`).
    let of_mode = |(name, _): &(&str, usize)| proxy == "iptables" || !name.contains("by-loopback");
    if counts != expected.into_iter().filter(of_mode).collect() {
        return Err(format!("{counts:?}").into());
    }
    judged_by_curl(&cluster, &checks)?;
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
    let expected: [&[&str]; 8] = [
        &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"],
        &["brief", "ClusterIP", "10.96.7.4", "<none>", "80/TCP", "", "app=web"],
        &["elsewhere", "ExternalName", "<none>", "example.net", "<none>", "", "<none>"],
        &["half", "ClusterIP", "10.96.7.5", "<none>", "80/TCP,81/TCP", "", "app=web"],
        &["headless", "ClusterIP", "None", "<none>", "9376/TCP", "", "app=web"],
        &["kept", "LoadBalancer", "10.96.7.2", "10.1.10.200", "80:30081/TCP", "", "app=web"],
        &["nobody", "ClusterIP", "10.96.7.3", "<none>", "80/TCP", "", "app=nothing"],
        &["web", "NodePort", "10.96.7.1", "10.1.10.77", "80:30080/TCP,90:30090/UDP", "", "app=web"],
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
    let more = objects()
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
    for (mode, proxy) in
        [("calico-ipip", "iptables"), ("flannel-vxlan", "iptables"), ("kubenet", "iptables"), ("canal", "nftables")]
    {
        let title = format!("{mode}, {proxy}: every way to a Service");
        trials.push(kernel::trial(title, missing(), move || sound(mode, proxy)));
    }
    trials.push(kernel::trial("both families, policies, and names in one family alone", missing(), both_families));
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
            "iptables-save -t nat | sed 's/--seconds 1 /--seconds 600 /' | iptables-restore".to_owned(),
            "service-cluster-ip/tcp",
            &["its time was over", "each 1 s later"],
        ),
    ];
    for (title, line, name, words) in twins {
        let line: &'static str = line.leak();
        trials.push(kernel::trial(format!("caught: {title}"), missing(), move || broken(line, name, words)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
