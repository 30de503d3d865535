//! What kube-proxy was given and what it wrote, read from `tests/kube-proxy/`, and how two dumps are compared.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test binary uses what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use minik::plan::Family;
use minik::plan::restore;
use minik::proxy::{Host, View, iptables};
use minik::topology::{DetectLocal, ProxyConfig, ServiceObjects, Source, parse_services};
use serde_json::Value;

/// Chains in which Services stand one behind the other in random order.
const SHARED: [&str; 4] = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"];

/// A case: what kube-proxy was given.
pub struct Case {
    pub flags: Vec<(String, String)>,
    pub host: Host,
    pub objects: ServiceObjects,
}

pub fn directory() -> PathBuf {
    match std::env::var_os("MINIK_KUBE_PROXY_CASES") {
        Some(other) => PathBuf::from(other),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube-proxy"),
    }
}

/// The documents of a case: those that are a Service or endpoints as text, all others as values.
pub fn documents(text: &str) -> (String, Vec<Value>) {
    let (mut objects, mut others) = (String::new(), Vec::new());
    for document in text.split("\n---\n").map(|document| document.trim_start_matches("---\n")) {
        let value: Value = serde_saphyr::from_str(document).unwrap();
        match value["kind"].as_str().unwrap() {
            "Service" | "Endpoints" | "EndpointSlice" => objects += &format!("---\n{document}\n"),
            _ => others.push(value),
        }
    }
    (objects, others)
}

pub fn case(path: &Path) -> Case {
    let (objects, others) = documents(&fs::read_to_string(path).unwrap());
    let data = &others.iter().find(|value| value["kind"] == "ConfigMap").expect("a ConfigMap")["data"];
    let node = others.iter().find(|value| value["kind"] == "Node" && value["metadata"]["name"] == "node-1");
    let node = node.expect("node-1");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let internal = list(&node["status"]["addresses"]).into_iter().filter(|address| address["type"] == "InternalIP");
    let interfaces = data["addresses"].as_str().unwrap_or_default().split_whitespace();
    let written = interfaces.flat_map(|part| part.split_once('=').expect("interface=addresses").1.split(','));
    let written = written.map(|net| net.split('/').next().unwrap_or_default().parse::<IpAddr>().unwrap());
    let own = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
    let mut pod_cidrs: Vec<String> = list(&node["spec"]["podCIDRs"]).iter().filter_map(text).collect();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(text(&node["spec"]["podCIDR"]));
    }
    let flags = data["flags"].as_str().unwrap_or_default().split_whitespace().map(|flag| {
        let (name, value) =
            flag.trim_start_matches("--").split_once('=').unwrap_or((flag.trim_start_matches("--"), "true"));
        (name.to_owned(), value.to_owned())
    });
    Case {
        flags: flags.collect(),
        host: Host {
            name: "node-1".to_owned(),
            node_ips: internal.map(|address| address["address"].as_str().unwrap().parse().unwrap()).collect(),
            addresses: own.into_iter().chain(written).collect(),
            zone: text(&node["metadata"]["labels"]["topology.kubernetes.io/zone"]),
            pod_cidrs: pod_cidrs.iter().map(|net| net.parse().unwrap()).collect(),
        },
        objects: parse_services(&[Source::new(path.display().to_string(), objects)]).unwrap_or_else(|e| panic!("{e}")),
    }
}

/// `5m30s` in seconds.
fn seconds(value: &str) -> u32 {
    let mut rest = value;
    let mut all = 0;
    for (unit, factor) in [('m', 60), ('s', 1)] {
        if let Some((number, behind)) = rest.split_once(unit) {
            all += number.parse::<u32>().unwrap() * factor;
            rest = behind;
        }
    }
    assert!(rest.is_empty(), "{value}");
    all
}

/// kube-proxy's options from its command line.
pub fn config(case: &Case, minor: u8) -> ProxyConfig {
    let mut config = ProxyConfig { minor, ..ProxyConfig::new(Vec::new()) };
    let nets =
        |value: &str| -> Vec<IpNet> { value.split(',').map(|net| net.parse::<IpNet>().unwrap().trunc()).collect() };
    let get = |name: &str| case.flags.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.clone());
    for (flag, value) in &case.flags {
        match flag.as_str() {
            "cluster-cidr" => config.cluster_cidrs = nets(value),
            "masquerade-all" => config.masquerade_all = value == "true",
            "nodeport-addresses" => config.node_port_addresses = nets(value),
            "iptables-localhost-nodeports" => config.localhost_node_ports = value == "true",
            "iptables-masquerade-bit" => config.masquerade_bit = value.parse().unwrap(),
            "bind-address" => config.bind_address = Some(value.parse().unwrap()),
            "detect-local-mode" => {
                config.detect_local = match value.as_str() {
                    "ClusterCIDR" => DetectLocal::ClusterCidr,
                    "NodeCIDR" => DetectLocal::NodeCidr,
                    "BridgeInterface" => DetectLocal::BridgeInterface(get("pod-bridge-interface").unwrap()),
                    "InterfaceNamePrefix" => {
                        DetectLocal::InterfaceNamePrefix(get("pod-interface-name-prefix").unwrap())
                    }
                    other => panic!("unknown detect-local-mode {other}"),
                }
            }
            "ipvs-scheduler" => config.ipvs.scheduler.clone_from(value),
            "ipvs-strict-arp" => config.ipvs.strict_arp = value == "true",
            "ipvs-tcp-timeout" => config.ipvs.tcp_timeout = seconds(value),
            "ipvs-tcpfin-timeout" => config.ipvs.tcp_fin_timeout = seconds(value),
            "ipvs-udp-timeout" => config.ipvs.udp_timeout = seconds(value),
            "pod-bridge-interface" | "pod-interface-name-prefix" | "feature-gates" | "v" => {}
            other => panic!("this test does not know --{other}"),
        }
    }
    config
}

/// Rules by table and chain; in shared chains every Service's are apart.
pub fn by_chain(dump: &str) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let mut chains: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    let mut table = String::new();
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap();
            chains.entry(format!("{table} {name} ({})", chain.split(' ').nth(1).unwrap())).or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().unwrap();
            let comment = rule.split("--comment ").nth(1).unwrap_or_default().trim_start_matches('"');
            let service = comment.split([' ', '"']).next().unwrap_or_default();
            let last = comment.contains("must be the last rule");
            let group = match SHARED.contains(&name) {
                true if last => "~last",
                true => service,
                false => "",
            };
            let key = chains.keys().find(|key| key.starts_with(&format!("{table} {name} "))).unwrap().clone();
            let groups = chains.get_mut(&key).unwrap();
            assert!(last || !groups.contains_key("~last"), "a rule stands behind the last one: {rule}");
            groups.entry(group.to_owned()).or_default().push(rule.to_owned());
        }
    }
    for groups in chains.values_mut() {
        // One rule per address of the node, in the order of a set.
        groups.entry("~last".to_owned()).or_default().sort();
    }
    chains
}

/// What differs between two dumps.
pub fn differences(expected: &str, found: &str) -> Vec<String> {
    let (expected, found) = (by_chain(expected), by_chain(found));
    let mut wrong = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        match (expected.get(key), found.get(key)) {
            (Some(_), None) => wrong.push(format!("{key} is missing")),
            (None, Some(_)) => wrong.push(format!("{key} is too much")),
            (Some(a), Some(b)) if a != b => {
                let lines =
                    |groups: &BTreeMap<String, Vec<String>>| groups.values().flatten().cloned().collect::<Vec<_>>();
                let (a, b) = (lines(a), lines(b));
                wrong.push(format!("{key} differs:"));
                wrong.extend(a.iter().filter(|line| !b.contains(line)).map(|line| format!("  - {line}")));
                wrong.extend(b.iter().filter(|line| !a.contains(line)).map(|line| format!("  + {line}")));
            }
            _ => {}
        }
    }
    wrong
}

/// The dumps of one kind: version, path of the case, text.
pub fn dumps(extension: &str) -> Vec<(u8, PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for version in fs::read_dir(directory().join("dumps")).unwrap() {
        let version = version.unwrap().path();
        let name = version.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
        let minor = name.split('.').nth(1).unwrap().parse().unwrap();
        for dump in fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path()) {
            if dump.extension().is_some_and(|known| known == extension) {
                let case = directory().join("cases").join(dump.file_stem().unwrap()).with_extension("yaml");
                found.push((minor, case, dump));
            }
        }
    }
    found.sort();
    found
}

pub fn written(case: &Case, minor: u8, family: Family) -> String {
    let config = config(case, minor);
    let view = View::new(&config, &case.host, family, &case.objects.services, &case.objects.slices);
    let mut tables = Vec::new();
    iptables::overlay(&view).into_tables(&mut tables);
    restore::iptables_restore(&tables)
}
