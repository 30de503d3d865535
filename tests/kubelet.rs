//! kubelet 1.20.2's own rules, beside those of kube-proxy 1.20.2: `tests/kubelet/NAME.yaml` is the cluster,
//! `tests/kubelet/NAME.iptables-save` what kubelet's own functions left in the tables of node-1, where they ran before
//! kube-proxy (`syncNetworkUtil`, kubenet's `ensureMasqRule`) and behind it (`HostPortManager.Add`, a pod after the other).
//!
//! Here the order of all rules counts, and the tables are compared line by line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minik::compose;
use minik::plan::{Datapath, restore};
use minik::topology::{Overrides, Source, parse};

/// The lines of every table.
fn tables(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(table) = line.strip_prefix('*') {
            name = table.to_owned();
        }
        tables.entry(name.clone()).or_default().push(line.to_owned());
    }
    for lines in tables.values_mut() {
        // Chains are declared in the order of their making, which says nothing; their rules stand chain by chain.
        let chain = |line: &String| line.split(' ').nth(1).map(str::to_owned);
        lines.sort_by_key(|line| (!line.starts_with(['*', ':']), line.starts_with('-').then(|| chain(line))));
        let declared = lines.iter().filter(|line| line.starts_with(['*', ':'])).count();
        lines[..declared].sort();
    }
    tables
}

#[test]
fn the_tables_of_a_node_are_those_of_kubelet_and_kube_proxy() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubelet");
    let text = fs::read_to_string(directory.join("kubenet-1.20.yaml")).unwrap();
    let cluster =
        parse(&[Source::new("kubenet-1.20.yaml", text)], &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
    let found = tables(&restore::iptables_restore(&plan.namespace("node-1").unwrap().tables));
    let expected = tables(&fs::read_to_string(directory.join("kubenet-1.20.iptables-save")).unwrap());
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (table, lines) in &expected {
        assert_eq!(lines.join("\n"), found[table].join("\n"), "{table}");
    }
}
