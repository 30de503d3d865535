//! `minik diff` against files in tests/diffs/, and what must hold for any two modes.
//!
//! `MINIK_BLESS=1 cargo test --test diff` writes the files anew; look at the difference before committing it.

#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a test ends where its preparation fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn diff(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minik"));
    command.arg("diff").args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINIK_")) {
        command.env_remove(name);
    }
    command.output().expect("minik runs")
}

fn stdout(arguments: &[&str]) -> String {
    let output = diff(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What is said of each family, IPv4's first.
fn flows(arguments: &[&str]) -> Vec<Value> {
    let all: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let mut found: Value = serde_json::from_str(&stdout(&all)).expect("JSON");
    found["flows"].as_array_mut().map(std::mem::take).expect("a list")
}

/// The same of a cluster with one.
fn json(arguments: &[&str]) -> Value {
    let mut flows = flows(arguments);
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows.remove(0)
}

#[test]
fn what_is_printed_is_what_the_golden_files_say() {
    for (name, arguments) in [
        ("calico-ipip-calico-bgp", &["calico-ipip", "calico-bgp"][..]),
        ("flannel-vxlan-flannel-host-gw", &["flannel-vxlan", "flannel-host-gw"]),
        ("dualstack", &["flannel-vxlan", "flannel-host-gw", "--topology", "flannel-vxlan-dualstack"]),
    ] {
        let now = stdout(arguments);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/diffs/{name}.txt"));
        if std::env::var_os("MINIK_BLESS").is_some() {
            std::fs::write(&file, &now).expect("written");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(golden, now, "run with MINIK_BLESS=1 and look at git diff");
        let widest = now.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{widest:?}");
    }
}

/// The documents' own numbers: 98 bytes bare, 118 in IPIP, 148 in VXLAN; 1480, 1450 and 1500 bytes at most.
#[test]
fn lengths_and_limits_are_those_of_the_documents() {
    for (mode, longest, largest, tunnel) in [
        ("calico-ipip", 118, 1480, Some("tunl0")),
        ("flannel-vxlan", 148, 1450, Some("flannel.1")),
        ("flannel-host-gw", 98, 1500, None),
        ("calico-bgp", 98, 1500, None),
    ] {
        let found = json(&[mode, "calico-bgp"]);
        let left = &found["left"];
        let interfaces = left["interfaces"].as_array().expect("a list");
        assert_eq!(interfaces.iter().filter_map(|it| it["length"].as_u64()).max(), Some(longest), "{mode}");
        let headers: u64 =
            left["headers"].as_array().expect("a list").iter().filter_map(|it| it["length"].as_u64()).sum();
        assert_eq!((headers, left["largest"].as_u64()), (longest, Some(largest)), "{mode}");
        assert_eq!(left["wireAt"], "node-1/ens33 out", "{mode}");
        assert_eq!((&left["ttlOnArrival"], &left["answered"]), (&62.into(), &true.into()), "{mode}");
        let passes = |name: &str| interfaces.iter().any(|it| it["interface"] == name);
        assert!(tunnel.is_none_or(passes), "{mode}");
        assert!(tunnel.is_some() || !passes("tunl0"), "{mode}");
    }
}

/// IPv6's header is 20 bytes longer, so that 70 of VXLAN stand around a frame; nothing else changes.
#[test]
fn both_families_of_a_flow_are_told_where_both_clusters_have_them() {
    let dual = ["flannel-vxlan", "flannel-host-gw", "--topology", "flannel-vxlan-dualstack"];
    let both = flows(&dual);
    let told: Vec<&Value> = both.iter().map(|flow| &flow["family"]).collect();
    assert_eq!(told, ["IPv4", "IPv6"]);
    for (flow, [vxlan, bare]) in both.iter().zip([[(148, 1450), (98, 1500)], [(188, 1430), (118, 1500)]]) {
        for (side, (longest, largest)) in [("left", vxlan), ("right", bare)] {
            let interfaces = flow[side]["interfaces"].as_array().expect("a list");
            assert_eq!(interfaces.iter().filter_map(|it| it["length"].as_u64()).max(), Some(longest), "{side}");
            assert_eq!((&flow[side]["largest"], &flow[side]["answered"]), (&largest.into(), &true.into()), "{side}");
        }
    }
    let only = |word: &str| json(&[&dual[..], &[word]].concat());
    assert_eq!((only("-4"), only("-6")), (both[0].clone(), both[1].clone()));
    // An address has one family, and so has a cluster without the other.
    let to_address = |address: &str| json(&[&dual[..2], &["node-1", address], &dual[2..]].concat());
    assert_eq!(to_address("fd00:10:1:10::8")["right"]["destinationSeen"], "fd00:10:1:10::8");
    let half = ["calico-bgp", "flannel-host-gw", "--topology", "calico-bgp-dualstack"];
    assert_eq!(json(&half)["family"], "IPv4");
}

#[test]
fn a_mode_does_not_differ_from_itself_and_sides_are_interchangeable() {
    let same = stdout(&["calico-ipip", "calico-ipip"]);
    assert!(!same.lines().any(|line| line.contains(" | ") || line.contains(" < ") || line.contains("  > ")), "{same}");
    let there = json(&["calico-ipip", "flannel-vxlan", "--topology", "calico-ipip"]);
    let back = json(&["flannel-vxlan", "calico-ipip", "--topology", "calico-ipip"]);
    assert_eq!((&there["left"], &there["right"]), (&back["right"], &back["left"]));
    let unlike = |found: &Value| {
        found["aligned"]["interfaces"].as_array().expect("rows").iter().filter(|row| row["same"] == false).count()
    };
    assert!(unlike(&there) > 0);
    assert_eq!(unlike(&there), unlike(&back));
}

#[test]
fn what_rules_change_is_told_with_the_rule() {
    // Out to a client every one of these modes hides the pod behind its node.
    let found = json(&["calico-bgp", "flannel-host-gw", "deploy/test", "client", "--tcp", "80"]);
    for side in ["left", "right"] {
        assert_eq!(found[side]["sourceSeen"], "10.1.10.9", "{side}");
        let rules = found[side]["rules"].as_array().expect("a list");
        let masquerade =
            rules.iter().find(|rule| rule["text"].as_str().is_some_and(|text| text.contains("-j MASQUERADE")));
        let rule = masquerade.expect("a rule that masquerades")["rule"].as_str().expect("the whole rule");
        assert!(rule.starts_with("-A ") && rule.contains("-j MASQUERADE"), "{rule}");
    }
    // Into a pod's network from outside there is no way, and nothing arrives.
    let lost = json(&["calico-bgp", "flannel-host-gw", "client", "10.1.10.77"]);
    assert!(lost["left"]["end"].as_str().is_some_and(|end| end.starts_with("dropped in client")), "{lost}");
    assert_eq!((&lost["left"]["largest"], &lost["left"]["ttlOnArrival"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    for (arguments, said) in [
        (&["calico-ipip", "calico-bpg"][..], "did you mean `calico-bgp`?"),
        (&["calico-ipip"], "OTHER MODE"),
        (&["calico-ipip", "calico-bgp", "deploy/test"], "<TO>"),
        (&["calico-ipip", "calico-bgp", "deploy/test", "nobody"], "nothing in cluster"),
        (&["calico-ipip", "calico-bgp", "--tcp", "0"], "0"),
        (&["calico-ipip", "calico-bgp", "-6"], "has no IPv6 address in calico-ipip"),
        (&["calico-ipip", "calico-bgp", "node-1", "10.1.10.8", "-6"], "10.1.10.8 is not an IPv6 address"),
        (&["calico-ipip", "calico-bgp", "--tcp", "1", "--udp", "2"], "cannot be used with"),
        (&["calico-ipip", "calico-bgp", "--topology", "/nowhere.yaml"], "/nowhere.yaml"),
    ] {
        let output = diff(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said) && output.stdout.is_empty(), "{arguments:?}: {stderr}");
    }
}
