//! kube-proxy's modes and iptables' flavours in whole clusters: what nodes have loaded by foreign tools, connections to
//! Services, live changes that touch only what differs, what is broken by hand and put back.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

#![allow(clippy::disallowed_methods, reason = "a test starts what it checks, and ends where that fails")]

#[path = "kernel/mod.rs"]
mod kernel;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kernel::objects::{NOBODY, deployment};
use libtest_mimic::{Arguments, Failed};

const MINIK: &str = env!("CARGO_BIN_EXE_minik");

/// A Service with endpoints on both nodes and every sort of address, one that keeps clients.
const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.7.1
  selector: {app: web}
  externalIPs: [10.1.10.77]
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: kept}
spec:
  clusterIP: 10.96.7.2
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{port: 80, targetPort: 9376}]
";

/// A cluster, removed when dropped.
struct Cluster {
    name: String,
}

impl Cluster {
    fn up(tag: &str, mode: &str, flags: &[&str]) -> Result<Cluster, Failed> {
        let cluster = Cluster { name: format!("tback{}{tag}", std::process::id()) };
        let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
        let mode = String::from_utf8(Command::new(MINIK).args(["show", mode]).output()?.stdout)?;
        std::fs::write(file.path(), mode + &deployment(4) + SERVICES + NOBODY)?;
        let path = file.path().display().to_string();
        let arguments: Vec<&str> = ["up", &path].into_iter().chain(flags.iter().copied()).collect();
        cluster.prints(&arguments)?;
        Ok(cluster)
    }

    fn minik(&self, arguments: &[&str]) -> Result<Output, Failed> {
        Ok(Command::new(MINIK).args(["-c", &self.name]).args(arguments).output()?)
    }

    /// What a command prints that must succeed.
    fn prints(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.minik(arguments)?;
        if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(said(arguments, &output)) }
    }

    /// What a command line in one of its namespaces prints.
    fn run(&self, ns: &str, line: &str) -> Result<String, Failed> {
        let netns = minik::names::netns(&self.name, ns);
        let output = Command::new("ip").args(["netns", "exec", &netns, "sh", "-ec", line]).output()?;
        if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(said(&[line], &output)) }
    }

    /// Nothing is missing in the kernel, and nothing is too much.
    fn is_as_planned(&self) -> Result<(), Failed> {
        let status = self.minik(&["status"])?;
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        if text.contains("drift:     none") { Ok(()) } else { Err(text.into()) }
    }

    /// The first pod of the Deployment.
    fn pod(&self) -> Result<String, Failed> {
        let pods = self.prints(&["get", "pods", "-o", "name"])?;
        let pod = pods.lines().find_map(|line| line.strip_prefix("pod/web-")).ok_or("no pod")?;
        Ok(format!("default/web-{pod}"))
    }

    /// What every mode has to do: all endpoints answer by every address, one client is kept, nobody is refused at once.
    fn serves(&self) -> Result<(), Failed> {
        let pod = self.pod()?;
        for (from, to) in [
            ("client", "10.1.10.9:30080"),
            ("client", "10.1.10.10:30080"),
            (pod.as_str(), "10.96.7.1"),
            ("node-1", "10.96.7.1"),
            (pod.as_str(), "10.1.10.77"),
        ] {
            let line = format!("for i in $(seq 60); do curl -s -m 5 {to}; echo; done | grep . | sort | uniq -c");
            let names = self.run(from, &line)?;
            let answers: usize =
                names.lines().filter_map(|line| line.split_whitespace().next()?.parse::<usize>().ok()).sum();
            if names.lines().count() != 4 || answers != 60 {
                return Err(format!("from {from} to {to}: \n{names}").into());
            }
        }
        let kept = self.run(&pod, "for i in $(seq 10); do curl -s -m 5 10.96.7.2; echo; done | sort -u | grep -c .")?;
        if kept.trim() != "1" {
            return Err(format!("one client was kept at {kept} endpoints").into());
        }
        let began = Instant::now();
        let refused = self.run(&pod, "curl -s -m 5 10.96.7.3 || echo $?")?;
        if refused.trim() != "7" || began.elapsed() > Duration::from_secs(4) {
            return Err(format!("a Service without endpoints: curl ended with {refused}").into());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match self.minik(&["down"]) {
            Ok(down) if down.status.success() => {}
            Ok(down) => eprintln!("{}", said(&["down"], &down).message().unwrap_or_default()),
            Err(error) => eprintln!("cannot remove {}: {}", self.name, error.message().unwrap_or_default()),
        }
    }
}

fn said(what: &[&str], output: &Output) -> Failed {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{what:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into()
}

/// The handles of the rules of a chain: the kernel numbers what is loaded, so that one that was loaded again has another.
fn handles(listing: &str, chain: &str) -> Vec<String> {
    let head = format!("\tchain {chain}");
    let block = listing.lines().skip_while(|line| !line.starts_with(&head)).take_while(|line| *line != "\t}");
    block.skip(1).filter_map(|line| line.split("# handle ").nth(1).map(str::to_owned)).collect()
}

fn nftables(mode: &'static str) -> Result<(), Failed> {
    let cluster = Cluster::up(&format!("nft{}", mode.len()), mode, &["--proxy", "nftables"])?;
    cluster.is_as_planned()?;
    cluster.serves()?;
    // The mode's own marks: ports that a cluster address does not have are refused, and 127.0.0.1 has no node ports.
    for (from, to) in [("client", "10.1.10.9:30081"), ("node-1", "10.96.7.1:81"), ("node-1", "127.0.0.1:30080")] {
        let code = cluster.run(from, &format!("curl -s -m 5 {to} || echo $?"))?;
        if code.trim() != "7" {
            return Err(format!("{from} to {to}: curl ended with {code}").into());
        }
    }
    let rules = cluster.run("node-1", "iptables-save")?;
    if rules.contains("KUBE-SERVICES") {
        return Err("iptables has kube-proxy's rules too".into());
    }
    let saved = cluster.prints(&["rules", "save", "node-1"])?;
    if !saved.contains("# node-1: nft list table ip kube-proxy\n") || !saved.contains("numgen random mod 4 vmap") {
        return Err(saved.into());
    }
    Ok(())
}

/// A change of one Service leaves the rules of the others, and what the kernel remembers of clients, as they are.
fn nftables_live() -> Result<(), Failed> {
    let cluster = Cluster::up("nftlive", "flannel-host-gw", &["--proxy", "nftables"])?;
    let pod = cluster.pod()?;
    cluster.run(&pod, "curl -s -m 5 10.96.7.2")?;
    let list = "nft -a list table ip kube-proxy";
    let before = cluster.run("node-1", list)?;
    let remembered = |listing: &str| listing.lines().filter(|line| line.contains(" expires ")).count();
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    let more = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\n\
                spec: {clusterIP: 10.96.7.4, selector: {app: web}, ports: [{port: 80, targetPort: 9376}]}\n";
    std::fs::write(file.path(), more)?;
    let path = file.path().display().to_string();
    cluster.prints(&["apply", "-f", &path])?;
    cluster.is_as_planned()?;
    let after = cluster.run("node-1", list)?;
    for chain in before.lines().filter_map(|line| line.strip_prefix("\tchain ")?.split(' ').next()) {
        let (old, new) = (handles(&before, chain), handles(&after, chain));
        if old.is_empty() || old != new {
            return Err(format!("chain {chain} had the rules {old:?} and has {new:?}").into());
        }
    }
    if remembered(&before) != 1 || remembered(&after) != 1 {
        return Err(format!("clients are forgotten:\n{before}\n{after}").into());
    }
    let diff = cluster.prints(&["rules", "diff", "node-1"])?;
    if !diff.contains("+add element ip kube-proxy service-ips { 10.96.7.4 . tcp . 80 : goto service-") {
        return Err(diff.into());
    }
    if cluster
        .run("client", "ip route add 10.96.0.0/12 via 10.1.10.9; curl -s -m 5 10.96.7.4; ip route del 10.96.0.0/12")?
        .is_empty()
    {
        return Err("the new Service does not answer".into());
    }
    cluster.prints(&["delete", "-f", &path])?;
    cluster.is_as_planned()?;
    let end = cluster.run("node-1", "nft list table ip kube-proxy")?;
    if end.contains("default/more") {
        return Err(format!("something is left of what was deleted:\n{end}").into());
    }
    cluster.serves()
}

/// What is broken by hand is named by `status`, and a change that fails leaves all as it was.
fn nftables_broken() -> Result<(), Failed> {
    let cluster = Cluster::up("nftbroken", "calico-bgp", &["--proxy", "nftables"])?;
    let listing = "nft -s list table ip kube-proxy";
    let whole = cluster.run("node-1", listing)?;
    for (line, words) in [
        (
            "nft delete element ip kube-proxy service-ips { 10.96.7.1 . tcp . 80 }",
            "missing: nft ip kube-proxy: element of service-ips: 10.96.7.1 . tcp . 80",
        ),
        (
            "nft flush chain ip kube-proxy masquerading",
            "missing: rule 3: nft ip kube-proxy: chain masquerading: masquerade fully-random",
        ),
        ("nft add table ip other", "not in the plan: nft table ip other"),
    ] {
        cluster.run("node-1", line)?;
        let status = cluster.minik(&["status"])?;
        let text = String::from_utf8_lossy(&status.stdout);
        if !text.contains(words) {
            return Err(format!("after `{line}`: {text}").into());
        }
    }
    cluster.run("node-1", "nft delete table ip other")?;
    // A chain that is in the way of a new one, of another sort: nft refuses it, and the change is taken back.
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    let more = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\n\
                spec: {clusterIP: 10.96.7.4, selector: {app: web}, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: 9376}]}\n";
    std::fs::write(file.path(), more)?;
    let path = file.path().display().to_string();
    cluster.prints(&["apply", "-f", &path])?;
    let set = cluster.run("node-2", "nft list table ip kube-proxy | grep -o 'set affinity.*more[^ ]*' | head -1")?;
    cluster.prints(&["delete", "-f", &path])?;
    cluster.run(
        "node-2",
        &format!("nft add {} '{{ type ipv6_addr; }}'", set.trim().replace("set ", "set ip kube-proxy ")),
    )?;
    let failed = cluster.minik(&["apply", "-f", &path])?;
    let text = String::from_utf8_lossy(&failed.stderr);
    if failed.status.code() != Some(1) || !text.contains("nft -f - failed") || !text.contains("nothing has changed") {
        return Err(said(&["apply"], &failed));
    }
    // All of it was loaded again, and with it what was broken before.
    cluster.is_as_planned()?;
    if cluster.run("node-1", listing)?.lines().count() != whole.lines().count() {
        return Err("the table is not what it was".into());
    }
    cluster.serves()
}

/// All rules of nodes are in the tables of one flavour, Calico's and kube-proxy's, before and after a change; programs on
/// a node find the tools of that flavour under their plain names.
fn flavour(wanted: &'static str, other: &'static str) -> Result<(), Failed> {
    let cluster = Cluster::up(wanted, "calico-bgp", &["--iptables", wanted])?;
    let same = |when: &str| -> Result<(), Failed> {
        cluster.is_as_planned()?;
        let own = cluster.run("node-1", &format!("iptables-{wanted}-save | grep -v '^#'"))?;
        let others = cluster.run("node-1", &format!("iptables-{other}-save | grep -c -e KUBE -e cali || :"))?;
        if !own.contains("-j KUBE-SVC-") || !own.contains("-j cali-FORWARD") || others.trim() != "0" {
            return Err(format!("{when}: {others} rules of {other}, and of {wanted}\n{own}").into());
        }
        let seen = cluster.prints(&["exec", "node-1", "--", "sh", "-c", "iptables-save | grep -v '^#'"])?;
        if minik::plan::restore::normalised(&seen) != minik::plan::restore::normalised(&own) {
            return Err(format!("{when}: a program on the node sees\n{seen}").into());
        }
        Ok(())
    };
    same("at first")?;
    cluster.serves()?;
    let version = cluster.prints(&["exec", "node-1", "--", "iptables", "--version"])?;
    if version.contains("legacy") != (wanted == "legacy") {
        return Err(version.into());
    }
    cluster.prints(&["scale", "deploy/web", "--replicas", "3"])?;
    same("with an endpoint less")?;
    cluster.prints(&["scale", "deploy/web", "--replicas", "4"])?;
    cluster.run("node-1", &format!("iptables-{wanted} -t nat -F KUBE-SERVICES"))?;
    let status = cluster.minik(&["status"])?;
    if !String::from_utf8_lossy(&status.stdout).contains("missing: rule 1: nat: -A KUBE-SERVICES") {
        return Err(said(&["status"], &status));
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let missing = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
        kernel::not_root().or_else(|| (!installed).then(|| format!("no {tool}")))
    };
    let mut trials = Vec::new();
    for mode in ["calico-ipip", "flannel-vxlan"] {
        trials.push(kernel::trial(format!("nftables: {mode} serves"), missing("nft"), move || nftables(mode)));
    }
    trials.push(kernel::trial("nftables: a change touches only what differs", missing("nft"), nftables_live));
    trials.push(kernel::trial("nftables: what is broken, and what fails", missing("nft"), nftables_broken));
    for (wanted, other) in [("legacy", "nft"), ("nft", "legacy")] {
        let missing = missing("iptables-legacy-restore").or_else(|| missing("iptables-nft-restore"));
        let name = format!("iptables-{wanted}: all rules of a node");
        trials.push(kernel::trial(name, missing, move || flavour(wanted, other)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
