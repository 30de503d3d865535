//! Services whose endpoints change while somebody uses them: what clients and load balancers see, judged by curl, socat
//! and conntrack.
//!
//! Needs root; without it, or without one of the programs, every test is counted as ignored, with the reason in its name,
//! unless MINIK_REQUIRE is set.

#![allow(clippy::disallowed_methods, reason = "a test starts what it checks, and ends where that fails")]

mod kernel;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::lab::Cluster;
use kernel::objects::deployment;
use kernel::{Outcome, checked, words};
use libtest_mimic::Arguments;
use serde_json::Value;

/// Services of the pods that answer with their names.
const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.7.1
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 9376, nodePort: 30080}
  - {name: udp, port: 90, protocol: UDP, targetPort: 9376, nodePort: 30090}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec:
  type: LoadBalancer
  clusterIP: 10.96.7.2
  externalTrafficPolicy: Local
  healthCheckNodePort: 30900
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376, nodePort: 30081}]
";

/// A cluster with these Services, healed as for users.
fn up(mode: &str, tag: &str, version: &str) -> Result<Cluster, String> {
    let cluster = Cluster::named(tag).healing();
    let text = cluster.minik(&["show", mode])?;
    let text = text.replacen("\nspec:\n", &format!("\nspec:\n  proxy: {{version: \"{version}\"}}\n"), 1);
    checked("minik up -", &cluster.fed(&["up", "-"], &(text + &deployment(4) + SERVICES))?).map(|_| cluster)
}

/// Names of the pods of `web`, and their nodes.
fn pods(cluster: &Cluster) -> Result<Vec<(String, String)>, String> {
    let list: Value = serde_json::from_str(&cluster.minik(&["get", "pods", "-o", "json"])?).map_err(words)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = list["items"].as_array().ok_or("no items")?;
    let pods = all.iter().map(|pod| (word(&pod["metadata"]["name"]), word(&pod["spec"]["nodeName"])));
    Ok(pods.filter(|(name, _)| name.starts_with("web-")).collect())
}

/// The pod that answers a datagram of the client's from this port of its own.
fn asks_by_udp(cluster: &Cluster, own: u16, to: &str) -> Result<String, String> {
    let netns = File::open(format!("/run/netns/{}", cluster.netns("client"))).map_err(words)?;
    let ask = || -> std::io::Result<String> {
        let socket = UdpSocket::bind(("0.0.0.0", own))?;
        socket.set_read_timeout(Some(kernel::patience(Duration::from_secs(5))))?;
        socket.connect(to)?;
        socket.send(b"hello")?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned())
    };
    let asked = minik::kernel::netns::inside(&netns, ask).map_err(words)?;
    asked.map_err(|e| format!("{to} from port {own}: {e}{}", overflows()))
}

/// What else can lose packets: the table of neighbours is one for the whole machine, and others fill it, too.
fn overflows() -> String {
    let text = std::fs::read_to_string("/proc/net/stat/arp_cache").unwrap_or_default();
    let full = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().last())
        .any(|count| u64::from_str_radix(count, 16).is_ok_and(|count| count > 0));
    if full {
        "\n(the machine's table of neighbours has been full: net.ipv4.neigh.default.gc_thresh3)".into()
    } else {
        String::new()
    }
}

/// A connection of a client that stays open from one request to the next.
struct Conversation {
    socat: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Conversation {
    fn open(cluster: &Cluster, to: &str) -> Result<Conversation, String> {
        let mut socat = Command::new("ip")
            .args(["netns", "exec", &cluster.netns("client"), "socat", "-T", "60", "-", &format!("TCP4:{to}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(words)?;
        let to = socat.stdin.take().ok_or("no stdin")?;
        let from = BufReader::new(socat.stdout.take().ok_or("no stdout")?);
        Ok(Conversation { socat, to, from })
    }

    /// Asks once and gives the pod's name.
    fn ask(&mut self) -> Result<String, String> {
        self.to.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").map_err(words)?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).map_err(words)? == 0 {
                return Err("the connection has ended".to_owned());
            }
            if line.starts_with("web-") {
                return Ok(line.trim().to_owned());
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.socat.kill();
        let _ = self.socat.wait();
    }
}

/// A client's datagrams from one port go to one pod, until that fails its readiness; its connections stay there.
fn datagrams_move_and_connections_stay(version: &'static str) -> Outcome {
    let cluster = up("calico-bgp", &format!("udp{}", version.replace('.', "")), version)?;
    let ways = [(40001, "10.1.10.9:30090"), (40002, "10.1.10.10:30090")];
    for (own, way) in ways {
        let first = asks_by_udp(&cluster, own, way)?;
        if first != asks_by_udp(&cluster, own, way)? {
            return Err(format!("{way}: another pod for the same flow"));
        }
        // Rules alone do not move it: that is why entries have to be removed.
        let chain = "C=$(iptables -t nat -S | grep -- '-A KUBE-SVC.*web:udp' | head -1 | cut -d' ' -f2)";
        let all = pods(&cluster)?;
        let other = &all.iter().find(|(pod, _)| *pod != first).ok_or("no other pod")?.0;
        let address = cluster.minik(&["get", "pod", other, "-o", "json"])?;
        let address: Value = serde_json::from_str(&address).map_err(words)?;
        let address = address["status"]["podIP"].as_str().ok_or("no address")?;
        let node = if way.starts_with("10.1.10.9:") { "node-1" } else { "node-2" };
        cluster
            .exec(node, &format!("{chain}; iptables -t nat -I $C -p udp -j DNAT --to-destination {address}:9376"))?;
        let moved = asks_by_udp(&cluster, own, way)?;
        cluster
            .exec(node, &format!("{chain}; iptables -t nat -D $C -p udp -j DNAT --to-destination {address}:9376"))?;
        if moved != first {
            return Err(format!("{way}: a rule moved the flow from {first} to {moved}: this test shows nothing"));
        }
        let mut talk = loop {
            let mut talk = Conversation::open(&cluster, "10.1.10.9:30080")?;
            if talk.ask()? == first {
                break talk;
            }
        };
        cluster.minik(&["ready", "--not", &first])?;
        let entries = cluster.exec(node, "conntrack -L -p udp --dport 30090 2>/dev/null || true")?;
        if entries.contains(&format!("sport={own}")) {
            return Err(format!("{way}: still there:\n{entries}"));
        }
        let second = asks_by_udp(&cluster, own, way)?;
        if second == first || !second.starts_with("web-") {
            return Err(format!("{way}: {first} is not ready, and {second:?} answers"));
        }
        if talk.ask()? != first {
            return Err(format!("{way}: the connection to {first} went elsewhere"));
        }
        cluster.minik(&["ready", &first])?;
        if asks_by_udp(&cluster, own, way)? != second {
            return Err(format!("{way}: an endpoint more moved the flow"));
        }
    }
    Ok(())
}

/// Code and body of a page, as curl gets it; the code is 000 if nobody answers.
fn page(cluster: &Cluster, from: &str, url: &str) -> Result<(String, String, String), String> {
    let line = format!("curl -s -m 5 -D - -o /tmp/{0}.body -w '%{{http_code}}' {url} || true", cluster.name);
    let text = cluster.exec(from, &format!("rm -f /tmp/{0}.body; {line}", cluster.name))?;
    let body = std::fs::read_to_string(format!("/tmp/{}.body", cluster.name)).unwrap_or_default();
    let _ = std::fs::remove_file(format!("/tmp/{}.body", cluster.name));
    let (headers, code) = text.split_at(text.len().saturating_sub(3));
    Ok((code.to_owned(), headers.to_lowercase(), body))
}

/// Load balancers ask nodes after a Service, and go by what they say.
fn load_balancers_are_answered(version: &'static str) -> Outcome {
    let cluster = up("flannel-host-gw", &format!("hc{}", version.replace('.', "")), version)?;
    let newest = version == "1.30";
    let nodes = [("node-1", "10.1.10.9"), ("node-2", "10.1.10.10")];
    let expect = |local: [usize; 2]| -> Outcome {
        for ((node, address), local) in nodes.iter().zip(local) {
            let (code, headers, body) = page(&cluster, "client", &format!("http://{address}:30900/any"))?;
            let wanted = if local > 0 { "200" } else { "503" };
            let object: Value = serde_json::from_str(&body).unwrap_or_default();
            let service = &object["service"];
            let right = code == wanted
                && (service["namespace"] == "default" && service["name"] == "near")
                && object["localEndpoints"] == local
                && object["serviceProxyHealthy"].as_bool() == newest.then_some(true)
                && headers.contains("content-type: application/json")
                && headers.contains("x-content-type-options: nosniff")
                && headers.contains(&format!("x-load-balancing-endpoint-weight: {local}")) == newest;
            if !right {
                return Err(format!("{node}, {local} endpoints: {code}\n{headers}{body}"));
            }
            let (own, _, body) = page(&cluster, "client", &format!("http://{address}:10256/healthz"))?;
            if own != "200" || !body.contains("lastUpdated") || body.contains("nodeEligible") != newest {
                return Err(format!("{node}: kube-proxy says {own} {body}"));
            }
        }
        Ok(())
    };
    expect([2, 2])?;
    let on = |node: &str| -> Result<Vec<String>, String> {
        Ok(pods(&cluster)?.into_iter().filter(|(_, on)| on == node).map(|(pod, _)| pod).collect())
    };
    let there = on("node-2")?;
    cluster.minik(&["ready", "--not", &there[0]])?;
    expect([2, 1])?;
    cluster.minik(&["ready", "--not", &there[1]])?;
    expect([2, 0])?;
    let (refused, ..) = page(&cluster, "client", "http://10.1.10.10:30081/")?;
    if refused != "000" {
        return Err(format!("node-2 has no endpoint, and answers {refused}"));
    }
    cluster.minik(&["agent", "restart"])?;
    expect([2, 0])?;
    cluster.minik(&["ready", &there[0], &there[1]])?;
    cluster.minik(&["scale", "deploy/web", "--replicas", "5"])?;
    let (one, two) = (on("node-1")?.len(), on("node-2")?.len());
    expect([one, two])?;
    cluster.minik(&["delete", "svc", "near"])?;
    let (gone, ..) = page(&cluster, "client", "http://10.1.10.9:30900/")?;
    if gone == "000" { Ok(()) } else { Err(format!("the Service is gone, and its health check answers {gone}")) }
}

/// Requests that follow each other until dropped, and what came of them.
struct Load {
    shell: Child,
    directory: tempfile::TempDir,
}

impl Load {
    fn start(cluster: &Cluster, from: &str, url: &str) -> Result<Load, String> {
        let directory = tempfile::tempdir().map_err(words)?;
        let path = directory.path().display();
        let line = format!(
            "while [ ! -e {path}/stop ]; do curl -s -m 5 {url} >>{path}/log || echo \"failed: $?\" >>{path}/log; done"
        );
        let shell = Command::new("ip")
            .args(["netns", "exec", &cluster.netns(from), "sh", "-c", &line])
            .spawn()
            .map_err(words)?;
        let load = Load { shell, directory };
        load.goes_on(20)?;
        Ok(load)
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for so many more requests, and gives them.
    fn goes_on(&self, more: usize) -> Result<Vec<String>, String> {
        let (before, deadline) = (self.lines().len(), Instant::now() + kernel::patience(Duration::from_secs(30)));
        loop {
            let lines = self.lines();
            if lines.len() >= before + more {
                return Ok(lines[before..].to_vec());
            }
            if Instant::now() > deadline {
                return Err(format!("{} of {more} requests within the deadline", lines.len() - before));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Its loop ends with the file, and the directory after it.
        let _ = std::fs::write(self.directory.path().join("stop"), "");
        let _ = self.shell.wait();
    }
}

/// Pods come, fail, go, and a node goes, while somebody asks without a pause: no request is lost, and a connection to a
/// pod that stays goes on.
fn nothing_is_lost_under_load(mode: &'static str) -> Outcome {
    let cluster = up(mode, &format!("load{}", mode.len()), "1.30")?;
    let (stays, _) = pods(&cluster)?.into_iter().next().ok_or("no pods")?;
    let mut talk = loop {
        let mut talk = Conversation::open(&cluster, "10.1.10.9:30080")?;
        if talk.ask()? == stays {
            break talk;
        }
    };
    let loads = [
        Load::start(&cluster, "client", "http://10.1.10.9:30080")?,
        Load::start(&cluster, &format!("default/{stays}"), "http://10.96.7.1")?,
    ];
    let failing = pods(&cluster)?.pop().ok_or("no pods")?.0;
    let steps: &[&[&str]] = &[
        &["scale", "deploy/web", "--replicas", "9"],
        &["ready", "--not", &failing],
        &["scale", "deploy/web", "--replicas", "2"],
        &["scale", "deploy/web", "--replicas", "6"],
        &["delete", "svc", "near"],
        &["delete", "node", "node-2"],
        &["scale", "deploy/web", "--replicas", "1"],
    ];
    for step in steps {
        cluster.minik(step)?;
        let now: Vec<String> = pods(&cluster)?.into_iter().map(|(pod, _)| pod).collect();
        for load in &loads {
            let after = load.goes_on(15)?;
            let lost: Vec<String> = load.lines().into_iter().filter(|line| !line.starts_with("web-")).collect();
            if !lost.is_empty() {
                let all = load.lines().len();
                return Err(format!("{step:?}: {} of {all} requests: {}{}", lost.len(), lost[0], overflows()));
            }
            // The first may have been under way while it changed.
            if let Some(wrong) = after[1..].iter().find(|pod| !now.contains(pod)) {
                return Err(format!("{step:?}: {wrong} answers, and there are {now:?}"));
            }
        }
        if talk.ask()? != stays {
            return Err(format!("{step:?}: the connection to {stays} went elsewhere"));
        }
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let missing = kernel::not_root().or_else(|| kernel::lacking(&["curl", "socat", "conntrack"]));
    let mut trials = Vec::new();
    for version in ["1.20", "1.30"] {
        let title = format!("{version}: datagrams move with endpoints, connections stay");
        trials.push(kernel::trial(title, missing.clone(), move || Ok(datagrams_move_and_connections_stay(version)?)));
        let title = format!("{version}: load balancers are answered");
        trials.push(kernel::trial(title, missing.clone(), move || Ok(load_balancers_are_answered(version)?)));
    }
    for mode in ["calico-ipip", "flannel-vxlan"] {
        let title = format!("{mode}: nothing is lost under load");
        trials.push(kernel::trial(title, missing.clone(), move || Ok(nothing_is_lost_under_load(mode)?)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
