//! What a real kube-proxy set up in ipvs mode, case by case: `tests/kube-proxy/cases/NAME.yaml` is what it was given,
//! `tests/kube-proxy/dumps/VERSION-ipvs/NAME.ipvs` what `ip`, `ipset save`, `ipvsadm -Sn`, `iptables-save` and `sysctl`
//! printed after that.
//!
//! Addresses, sets, their members and servers have no order; rules have one, and are compared in it. Of 1.20 these are the
//! dumps of kube-proxy 1.20.2 on Debian's Linux 6.1. `MINIK_KUBE_PROXY_CASES` names another directory of that form.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod proxy_cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use minik::compose;
use minik::plan::restore;
use minik::plan::{Datapath, Family, Health, Ipvs, Kernel, Namespace, Role};
use minik::proxy::{View, ipvs};
use minik::topology::{Overrides, ProxyMode, Source, parse};
use proxy_cases::{Case, case, config, dumps};

/// The parts of a dump by the command that printed them; without order, but for those of rules, which are by chain.
type Parts = BTreeMap<String, BTreeSet<String>>;

fn parts(dump: &str) -> Parts {
    let mut parts = Parts::new();
    let mut name = String::new();
    for line in dump.lines() {
        match line.strip_prefix("# ") {
            Some(command) => {
                name = command.to_owned();
                parts.entry(name.clone()).or_default();
            }
            None => {
                parts.get_mut(&name).expect("a command").insert(line.to_owned());
            }
        }
    }
    for (name, lines) in &mut parts {
        if name.ends_with("tables-save") {
            let text = dump.split(&format!("# {name}\n")).nth(1).unwrap().split("\n# ").next().unwrap();
            *lines = chains(text);
        }
    }
    parts
}

/// Chains with their rules in order, each as one line.
fn chains(dump: &str) -> BTreeSet<String> {
    let mut chains: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut table = String::new();
    for line in restore::normalised(dump).lines() {
        let word = |line: &str| line.split(' ').next().unwrap().to_owned();
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            chains.entry((table.clone(), word(chain))).or_insert_with(|| format!("{table} {line}"));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let text = chains.get_mut(&(table.clone(), word(rule))).expect("a chain");
            *text += &format!("\n      {line}");
        }
    }
    chains.into_values().collect()
}

/// What minik makes of a case, in the families that are in a dump.
fn made(case: &Case, minor: u8, families: &[Family]) -> Parts {
    let config = minik::topology::ProxyConfig { mode: ProxyMode::Ipvs, ..config(case, minor) };
    let mut parts = Parts::new();
    let mut servers = Vec::new();
    let mut node = Namespace::new("case", "node-1", "node-1", Role::Node);
    for family in families {
        let view = View::new(&config, &case.host, *family, &case.objects.services, &case.objects.slices);
        let sets = ipvs::sets(&view);
        let mut tables = Vec::new();
        ipvs::overlay(&view, &sets).into_tables(&mut tables);
        let save = if *family == Family::Inet { "iptables-save" } else { "ip6tables-save" };
        parts.insert(save.to_owned(), chains(&restore::iptables_restore(&tables)));
        let mut more = |command: &str, lines: Vec<String>| parts.entry(command.to_owned()).or_default().extend(lines);
        more("ipset save", restore::ipset_restore(&sets).lines().map(str::to_owned).collect());
        let bits = if *family == Family::Inet { 32 } else { 128 };
        more("ip address show kube-ipvs0", ipvs::addresses(&view).iter().map(|ip| format!("{ip}/{bits}")).collect());
        servers.extend(ipvs::servers(&view));
        ipvs::add(&view, &mut node);
    }
    let set = node.ipvs.unwrap().timeouts.unwrap_or_default();
    let [tcp, fin, udp] =
        [(set.tcp, 900), (set.tcp_fin, 120), (set.udp, 300)].map(|(set, kernels)| if set > 0 { set } else { kernels });
    parts.insert(
        "ipvsadm -L --timeout".to_owned(),
        BTreeSet::from([format!("Timeout (tcp tcpfin udp): {tcp} {fin} {udp}")]),
    );
    let lines = Ipvs { timeouts: None, servers }.restore().lines().map(str::to_owned).collect();
    parts.insert("ipvsadm -Sn".to_owned(), lines);
    let settings = ipvs::sysctls(&config).into_iter().map(|one| format!("{} = {}", one.key, one.value));
    parts.insert("sysctl".to_owned(), settings.collect());
    parts
}

fn differences(expected: &Parts, found: &Parts) -> Vec<String> {
    let mut wrong = Vec::new();
    let none = BTreeSet::new();
    for name in expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name))) {
        let (a, b) = (expected.get(name).unwrap_or(&none), found.get(name).unwrap_or(&none));
        // A dump has settings that kube-proxy leaves alone.
        let lacking = a.difference(b).filter(|_| name != "sysctl").map(|line| format!("  - {line}"));
        let lines: Vec<String> = lacking.chain(b.difference(a).map(|line| format!("  + {line}"))).collect();
        if !lines.is_empty() {
            wrong.push(format!("{name}:\n{}", lines.join("\n")));
        }
    }
    wrong
}

#[test]
fn all_is_as_kube_proxy_set_it_up() {
    let (mut wrong, dumps) = (Vec::new(), dumps("ipvs"));
    for (minor, path, dump) in &dumps {
        let expected = parts(&fs::read_to_string(dump).unwrap());
        let has = |command: &str| expected.contains_key(command);
        let families: Vec<Family> = [("iptables-save", Family::Inet), ("ip6tables-save", Family::Inet6)]
            .into_iter()
            .filter(|(command, _)| has(command))
            .map(|(_, family)| family)
            .collect();
        assert!(!families.is_empty() && has("ipset save") && has("ipvsadm -Sn"), "{}", dump.display());
        let differences = differences(&expected, &made(&case(path), *minor, &families));
        if !differences.is_empty() {
            wrong.push(format!("{}:\n{}", dump.display(), differences.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} dumps differ\n{}", wrong.len(), dumps.len(), wrong.join("\n"));
    let recorded: BTreeSet<u8> = dumps.iter().map(|(minor, _, _)| *minor).collect();
    let others = std::env::var_os("MINIK_KUBE_PROXY_CASES").is_some();
    assert!(others || recorded == Health::RECORDED_IPVS.into(), "{recorded:?}");
}

#[test]
fn the_comparison_sees_every_difference() {
    let (_, _, dump) = dumps("ipvs").into_iter().find(|(_, path, _)| path.ends_with("05-nodeport.yaml")).unwrap();
    let dump = fs::read_to_string(dump).unwrap();
    let like = |other: &str| differences(&parts(&dump), &parts(other)).len();
    assert_eq!(like(&dump), 0);
    let rules = [
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n",
    ];
    for (from, to) in [
        (rules.concat(), [rules[1], rules[0]].concat()),
        ("-A -t 10.96.4.1:80 -s rr\n".to_owned(), String::new()),
        ("add KUBE-CLUSTER-IP 10.96.4.3,tcp:80\n".to_owned(), String::new()),
        ("10.96.4.3/32\n".to_owned(), "10.96.4.33/32\n".to_owned()),
        ("net.ipv4.vs.conntrack = 1\n".to_owned(), "net.ipv4.vs.conntrack = 0\n".to_owned()),
    ] {
        assert!(dump.contains(&from), "{from}");
        assert_eq!(like(&dump.replace(&from, &to)), 1, "{from}");
    }
}

/// What was not compared with a real one is said to be so.
#[test]
fn versions_between_the_recorded_ones_are_said_to_follow_sources() {
    for (version, said) in [("1.20", 0), ("1.21", 1), ("1.30", 1)] {
        let text = format!(
            "apiVersion: minik.dev/v1\nkind: Cluster\nspec:\n  segments: [{{name: lan, subnet: 10.1.10.0/24}}]\n  nodes: [{{name: node-1, address: 10.1.10.9}}]\n  network: {{cni: bridge}}\n  proxy: {{mode: ipvs, version: \"{version}\"}}\n"
        );
        let cluster = parse(&[Source::new("test.yaml", text)], &Overrides::default()).unwrap();
        let found = compose::plan(&cluster, Datapath::Kernel).unwrap().differences(Kernel::default());
        assert_eq!(found.len(), said, "{found:?}");
        assert!(found.iter().all(|text| text.contains(&format!("kube-proxy {version}'s ipvs mode "))), "{found:?}");
    }
}
