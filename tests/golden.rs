//! Every built-in topology's plan, in its three printed forms, held against files in tests/golden/.
//!
//! `MINIK_BLESS=1 cargo test --test golden` writes the files anew; look at the difference before committing it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use minik::cni;
use minik::plan::{Datapath, Plan, render, shell};
use minik::topology::{Cluster, Overrides, builtin, parse};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The cluster of a built-in topology.
fn cluster(name: &str, overrides: &Overrides) -> Cluster {
    let builtin = builtin::find(name).unwrap_or_else(|error| panic!("{error}"));
    parse(&[builtin.source()], overrides).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn plan(name: &str) -> Plan {
    cni::plan(&cluster(name, &Overrides::default()), Datapath::Kernel).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of all built-in topologies.
fn names() -> impl Iterator<Item = &'static str> {
    builtin::ALL.iter().map(|builtin| builtin.name)
}

/// File name and content of every printed form.
fn printed(name: &str) -> Vec<(String, String)> {
    let plan = plan(name);
    let json = serde_json::to_string_pretty(&plan).expect("a plan is plain data");
    vec![
        (format!("{name}.txt"), render::text(&plan)),
        (format!("{name}.json"), json + "\n"),
        (format!("{name}.sh"), shell::script(&plan)),
    ]
}

#[test]
fn plans_are_what_the_golden_files_say() {
    let bless = std::env::var_os("MINIK_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, content) in names().flat_map(printed) {
        let path = directory().join(&name);
        if bless {
            fs::write(&path, content).unwrap();
        } else if let Some(difference) = first_difference(&fs::read_to_string(&path).unwrap_or_default(), &content) {
            wrong.push(format!("{name}, {difference}"));
        }
    }
    assert!(wrong.is_empty(), "run with MINIK_BLESS=1 and look at git diff:\n{}", wrong.join("\n"));
}

/// The first line that is not the same on both sides.
fn first_difference(golden: &str, now: &str) -> Option<String> {
    let (golden, now): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), now.lines().collect());
    let line = (0..golden.len().max(now.len())).find(|line| golden.get(*line) != now.get(*line))?;
    Some(format!("line {}: golden {:?}, now {:?}", line + 1, golden.get(line), now.get(line)))
}

#[test]
fn no_golden_file_is_left_without_a_topology() {
    let expected: BTreeSet<String> =
        names().flat_map(|name| ["txt", "json", "sh"].map(|form| format!("{name}.{form}"))).collect();
    let entries = fs::read_dir(directory()).unwrap();
    let found: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}

#[test]
fn equal_input_gives_equal_output() {
    for name in names() {
        assert_eq!(printed(name), printed(name), "{name}");
    }
}

#[test]
fn the_cluster_s_name_is_in_every_namespace_and_mac() {
    let other = Overrides { cluster_name: Some("other".into()), ..Overrides::default() };
    let other = cluster("calico-ipip", &other);
    let other = cni::plan(&other, Datapath::Kernel).unwrap();
    for (a, b) in plan("calico-ipip").namespaces.iter().zip(&other.namespaces) {
        assert_ne!(a.netns, b.netns);
        for (a, b) in a.links.iter().zip(&b.links).filter(|(a, _)| a.mac.is_some() && a.name.starts_with("eth")) {
            assert_ne!(a.mac, b.mac);
        }
        assert_eq!(a.name, b.name);
        assert_eq!(a.routes, b.routes);
    }
}
