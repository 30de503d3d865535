//! kube-proxy's rules in a real kernel: each case of `tests/kube-proxy/` is loaded into a namespace of its own, and what
//! iptables-save and nft print of it is held against what they printed of the real kube-proxy's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "foreign tools are the judges")]

mod kernel;
mod proxy_cases;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use minik::plan::Family;
use minik::plan::{nft, restore};
use minik::proxy::{Host, View, nftables};
use minik::topology::{ProxyConfig, Source, parse_services};
use proxy_cases::{case, config, differences, dumps, written};

/// A network namespace for as long as a test lasts.
struct Netns(String);

impl Netns {
    fn new(name: &str) -> Result<Self, Failed> {
        let netns = Netns(format!("minik-proxytest-{}-{name}", std::process::id()));
        netns.ip(&["netns", "add"])?;
        Ok(netns)
    }

    fn ip(&self, words: &[&str]) -> Result<(), Failed> {
        let status = Command::new("ip").args(words).arg(&self.0).status()?;
        if status.success() { Ok(()) } else { Err(format!("ip {words:?}: {status}").into()) }
    }

    /// Runs a program inside with this input, and gives what it prints.
    fn run(&self, words: &[&str], input: &str) -> Result<String, Failed> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{words:?}: {}: {stderr}", output.status).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = self.ip(&["netns", "del"]) {
            eprintln!("{error:?}");
        }
    }
}

/// What iptables-save prints of our rules is what it printed of kube-proxy's.
fn iptables(backend: &str, minor: u8, path: &Path, dump: &Path) -> Result<(), Failed> {
    let netns = Netns::new(&format!("{backend}-{minor}-{}", stem(path)))?;
    netns.run(&[&format!("iptables-{backend}-restore")], &written(&case(path), minor, Family::Inet))?;
    let saved = restore::normalised(&netns.run(&[&format!("iptables-{backend}-save")], "")?);
    let wrong = differences(&std::fs::read_to_string(dump)?, &saved);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Services of IPv6, in every shape that has an address of its own in the rules.
const IPV6: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: fd00:10:96::20
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
  externalIPs: ['2001:db8::9']
  loadBalancerSourceRanges: ['2001:db8:1::/48']
  healthCheckNodePort: 30900
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: '2001:db8::7'}]}}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: 'fd00:10:96::21', ports: [{port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ['fd00:10:244::2'], nodeName: node-1}, {addresses: ['fd00:10:244:1::2'], nodeName: node-2}]
ports: [{name: '', port: 8080}]
";

/// ip6tables-save prints the rules of IPv6 as they were written, and nft takes the table.
fn ipv6(minor: u8) -> Result<(), Failed> {
    let objects = parse_services(&[Source::new("ipv6.yaml", IPV6)]).map_err(|error| error.to_string())?;
    let host = Host {
        name: "node-1".to_owned(),
        node_ips: vec!["2001:db8::2".parse()?],
        addresses: vec!["::1".parse()?, "2001:db8::2".parse()?],
        zone: None,
        pod_cidrs: Vec::new(),
    };
    let config = ProxyConfig { minor, ..ProxyConfig::new(vec!["fd00:10:244::/48".parse()?]) };
    let view = View::new(&config, &host, Family::Inet6, &objects.services, &objects.slices);
    let mut tables = Vec::new();
    minik::proxy::iptables::overlay(&view).into_tables(&mut tables);
    let ours = restore::iptables_restore(&tables);
    let netns = Netns::new(&format!("v6-{minor}"))?;
    netns.run(&["ip6tables-nft-restore"], &ours)?;
    let wrong = differences(&ours, &restore::normalised(&netns.run(&["ip6tables-nft-save"], "")?));
    if !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    netns.run(&["nft", "-f", "-"], &nft::text::script(&[nftables::table(&view)]))?;
    let listed = netns.run(&["nft", "list", "map", "ip6", "kube-proxy", "service-ips"], "")?;
    if !listed.contains("fd00:10:96::20 . tcp . 80 : goto service-") {
        return Err(listed.into());
    }
    Ok(())
}

/// Prefixes that are one together are listed as nft lists what kube-proxy writes: in braces.
fn nftables_ranges() -> Result<(), Failed> {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.20, \
                   loadBalancerSourceRanges: [0.0.0.0/0], ports: [{port: 80}]}\n\
                   status: {loadBalancer: {ingress: [{ip: 203.0.113.8}]}}\n";
    let objects = parse_services(&[Source::new("ranges.yaml", service)]).map_err(|error| error.to_string())?;
    let host = Host {
        name: "node-1".to_owned(),
        node_ips: vec!["172.18.0.2".parse()?],
        addresses: vec!["172.18.0.2".parse()?],
        zone: None,
        pod_cidrs: Vec::new(),
    };
    let config = ProxyConfig::new(Vec::new());
    let table = nftables::table(&View::new(&config, &host, Family::Inet, &objects.services, &objects.slices));
    let netns = Netns::new("nft-ranges")?;
    netns.run(&["nft", "-f", "-"], &nft::text::script(std::slice::from_ref(&table)))?;
    let listed = netns.run(&["nft", "list", "table", "ip", "kube-proxy"], "")?;
    if !listed.contains("ip saddr != { 0.0.0.0/0 } drop") {
        return Err(format!("{listed}\nhas no such rule").into());
    }
    match nft::facts::of_listing(&listed) == nft::facts::of_tables(&[table]) {
        true => Ok(()),
        false => Err(format!("{listed}\nis not what was loaded").into()),
    }
}

/// What nft lists of our table is what it listed of kube-proxy's; the order of chains and elements is random.
fn nftables_case(minor: u8, path: &Path, dump: &Path) -> Result<(), Failed> {
    let netns = Netns::new(&format!("nft-{minor}-{}", stem(path)))?;
    let case = case(path);
    let config = config(&case, minor);
    for (family, name) in [(Family::Inet, "ip"), (Family::Inet6, "ip6")] {
        let view = View::new(&config, &case.host, family, &case.objects.services, &case.objects.slices);
        let table = nftables::table(&view);
        netns.run(&["nft", "-f", "-"], &nft::text::script(std::slice::from_ref(&table)))?;
        let ours = netns.run(&["nft", "list", "table", name, "kube-proxy"], "")?;
        if nft::facts::of_listing(&ours) != nft::facts::of_tables(&[table]) {
            return Err(format!("{ours}\nis not what was loaded").into());
        }
        let all = std::fs::read_to_string(dump)?;
        let start = all.find(&format!("table {name} kube-proxy {{")).ok_or("the dump has no such table")?;
        let end = all[start..].find("\n}\n").ok_or("the dump ends early")?;
        let theirs = &all[start..start + end + 3];
        if sorted(&ours) != sorted(theirs) {
            return Err(format!("{ours}\nis not\n{theirs}").into());
        }
    }
    Ok(())
}

/// The blocks of a listing in order of their names, elements of sets and maps sorted; rules stay as they stand.
fn sorted(listing: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for block in listing.split("\n\n") {
        let text = block.trim_end_matches(['}', '\n']);
        let (head, elements) = text.split_once("elements = {").unwrap_or((text, ""));
        // Elements are separated by commas and broken into lines by their width.
        let elements = elements.trim_end_matches(['}', '\n', '\t', ' ']);
        let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        blocks.push(format!("{} {}", head.trim(), elements.join(", ")));
    }
    blocks.sort();
    blocks
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// What is missing for a test that needs this program.
fn missing(program: &str) -> Option<String> {
    let installed = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).exists());
    kernel::not_root().or_else(|| (!installed).then(|| format!("no {program}")))
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for (minor, path, dump) in dumps("iptables-save") {
        for backend in ["nft", "legacy"] {
            let (path, dump) = (path.clone(), dump.clone());
            let name = format!("iptables-{backend} 1.{minor} {}", stem(&path));
            let missing = missing(&format!("iptables-{backend}-restore"));
            trials.push(kernel::trial(name, missing, move || iptables(backend, minor, &path, &dump)));
        }
    }
    for (minor, path, dump) in dumps("nft") {
        let name = format!("nft 1.{minor} {}", stem(&path));
        trials.push(kernel::trial(name, missing("nft"), move || nftables_case(minor, &path, &dump)));
    }
    trials.push(kernel::trial("nft source ranges", missing("nft"), nftables_ranges));
    for minor in ProxyConfig::MINORS {
        let missing = missing("ip6tables-nft-restore").or_else(|| missing("nft"));
        trials.push(kernel::trial(format!("ip6tables 1.{minor}"), missing, move || ipv6(minor)));
    }
    assert!(trials.len() >= 30, "only {} cases were found", trials.len());
    libtest_mimic::run(&arguments, trials).exit();
}
