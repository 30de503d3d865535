//! What Cargo.lock brings in: licences, sources and packages that are not wanted. Needs no network. The same rules
//! stand in deny.toml for cargo-deny, which adds the advisories.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, which fails by panicking and asks cargo")]

use std::process::Command;

use serde_json::Value;

/// Licences that may be linked into a program under "Apache-2.0 OR MIT".
const LICENCES: &[&str] =
    &["Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "MIT", "Unicode-3.0", "Zlib"];

/// Packages that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "minik speaks no TLS, and a C library is one more thing to install"),
    ("openssl-sys", "minik speaks no TLS, and a C library is one more thing to install"),
    ("native-tls", "minik speaks no TLS"),
    ("daemonize", "RUSTSEC-2025-0069, undefined behaviour"),
    ("serde_yaml", "no longer maintained; granit-parser reads, serde-saphyr writes"),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Whether an SPDX expression (`/` is an old way to write OR) can be met with the licences above.
fn met(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> bool {
    let mut good = all_of(rest);
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        good |= all_of(rest);
    }
    good
}

fn all_of(rest: &mut &[&str]) -> bool {
    let mut good = one(rest);
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        good &= one(rest);
    }
    good
}

fn one(rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", inside @ ..] => {
            *rest = inside;
            let good = any_of(rest);
            let closed = rest.first() == Some(&")");
            *rest = rest.get(1..).unwrap_or_default();
            good && closed
        }
        [name, "WITH", exception, after @ ..] => {
            *rest = after;
            LICENCES.contains(&format!("{name} WITH {exception}").as_str())
        }
        [name, after @ ..] => {
            *rest = after;
            LICENCES.contains(name)
        }
        [] => false,
    }
}

/// What is wrong with one package of `cargo metadata`.
fn faults(package: &Value) -> Vec<String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let (name, licence, source) = (text("name"), text("license"), text("source"));
    let mut found = Vec::new();
    if !met(&licence) {
        found.push(format!("{name}: licence {licence:?} is not on the list"));
    }
    // minik itself has no source.
    if source != CRATES_IO && !(package["source"].is_null() && name == "minik") {
        found.push(format!("{name}: comes from {source:?} and not from crates.io"));
    }
    let banned = BANNED.iter().filter(|(banned, _)| *banned == name);
    found.extend(banned.map(|(name, why)| format!("{name}: banned: {why}")));
    found
}

/// Of the platform this runs on: the packages of others are not there without a network.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_is_wanted() {
    let packages = packages();
    assert!(packages.len() > 50, "cargo names only {} packages", packages.len());
    let found: Vec<String> = packages.iter().flat_map(faults).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn cargo_deny_has_the_same_rules() {
    let deny = include_str!("../deny.toml");
    let allowed = deny.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let mut allowed: Vec<&str> = allowed.split('"').skip(1).step_by(2).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, LICENCES);
    for (name, _) in BANNED {
        assert!(deny.contains(&format!("crate = \"{name}\"")), "deny.toml does not ban {name}");
    }
}

#[test]
fn an_unwanted_dependency_is_found() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(Apache-2.0 OR GPL-2.0) AND Zlib",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(met(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND SSPL-1.0", "(MIT", "GPL-2.0 WITH LLVM-exception"] {
        assert!(!met(bad), "{bad}");
    }
    let package = |name: &str, source: &str| serde_json::json!({"name": name, "license": "MIT", "source": source});
    assert_eq!(faults(&package("openssl", CRATES_IO)).len(), 1);
    assert_eq!(faults(&package("tokio", "git+https://example.org/tokio")).len(), 1);
    assert_eq!(faults(&package("tokio", CRATES_IO)), [""; 0]);
}
