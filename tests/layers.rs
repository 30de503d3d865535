//! The house rules that a machine can check: who may use whom, purity, sizes, and words at the head of each file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// What of ours each module may use; `plan::Mac` is that item alone. A new module needs a row.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("names", &["plan::Mac"]),
    ("parallel", &[]),
    ("plan", &["names", "error"]),
    ("packet", &["plan::Mac", "names", "error"]),
    ("topology", &["plan::Mac", "plan::Family", "plan::nth", "parallel", "names", "error"]),
    ("ipam", &["topology", "plan::bits", "plan::nth", "names", "error"]),
    ("cni", &["topology", "ipam", "plan", "names", "error"]),
    ("proxy", &["topology", "plan", "parallel", "names", "error"]),
    ("dns", &["topology", "plan", "names", "error"]),
    ("compose", &["dns", "proxy", "cni", "topology", "plan", "names", "error"]),
    ("predict", &["packet", "plan", "names", "error"]),
    // The record of a live cluster holds these as they are.
    ("kernel", &["plan", "topology::Edit", "topology::Memory", "names", "error"]),
    ("tunnel", &["kernel", "packet", "plan", "names", "error"]),
    ("probe", &["kernel", "packet", "plan", "names", "error"]),
    ("agent", &["dns", "tunnel", "kernel", "plan", "names", "error"]),
    ("verify", &["probe", "predict", "packet", "kernel", "plan", "names", "error"]),
];
/// Modules that compute and do nothing else, and what would be doing something.
const PURE: &[&str] =
    &["error", "names", "parallel", "plan", "packet", "topology", "ipam", "cni", "proxy", "dns", "compose", "predict"];
const EFFECTS: &[&str] = &[
    "tokio::",
    "nix::",
    "netlink_",
    "rtnetlink::",
    "netns_rs",
    "libc::",
    "std::process",
    "std::fs",
    "std::env",
    "Instant",
    "SystemTime",
];

/// Everything in one source file that breaks a rule; `path` is relative to src/.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code: Vec<&str> = text.lines().collect();
    let tests = code.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].ends_with('{'));
    code.truncate(tests.unwrap_or(code.len()));
    let parts: Vec<&str> = path.split('/').collect();
    let module = parts[0].trim_end_matches(".rs");
    let depth = parts.len() - usize::from(path.ends_with("mod.rs"));
    let bare: String = code.iter().map(|line| line.split("//").next().unwrap_or("").trim().to_owned() + " ").collect();
    let bare = bare.replace(&"super::".repeat(depth), "crate::");
    if !matches!(module, "lib" | "main" | "cli") {
        let rules = MAY_USE.iter().find(|(name, _)| *name == module).map(|(_, may)| *may);
        let allowed = |used: &str| {
            let may = rules.unwrap_or_default();
            may.iter().chain([&module]).any(|rule| used == *rule || used.starts_with(&format!("{rule}::")))
        };
        found.extend(
            paths(&bare, "crate::").into_iter().filter(|used| !allowed(used)).map(|used| format!("uses crate::{used}")),
        );
    }
    if PURE.contains(&module) {
        let bare = format!("{bare} std::{}", paths(&bare, "std::").join(" std::"));
        let named = EFFECTS.iter().filter(|word| bare.contains(**word));
        found.extend(named.map(|word| format!("is pure and names {word}")));
    }
    if !text.starts_with("//!") {
        found.push("does not begin with //!".to_owned());
    }
    if code.len() > 400 {
        found.push(format!("has {} lines without tests", code.len()));
    }
    found.extend(long_functions(&code));
    found.into_iter().map(|what| format!("src/{path} {what}")).collect()
}

/// What follows each `root` (`crate::`), groups in braces taken apart: `a::b`.
fn paths(code: &str, root: &str) -> Vec<String> {
    code.split(root).skip(1).flat_map(|rest| expand(&mut rest.chars().peekable())).collect()
}

fn expand(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<String> {
    let mut head = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == ':' || *c == ' ') {
        head.push(c);
    }
    if rest.next_if_eq(&'{').is_none() {
        return vec![head.split(' ').find(|word| !word.is_empty()).unwrap_or("").to_owned()];
    }
    let mut all = Vec::new();
    loop {
        all.extend(expand(rest).into_iter().map(|tail| format!("{}{tail}", head.trim())));
        if rest.next() != Some(',') {
            return all;
        }
    }
}

/// A function reaches from its `fn` to the next line of the same indent that ends an item.
fn long_functions(code: &[&str]) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let before = |word: &&str| matches!(*word, "" | "pub" | "crate)" | "super)" | "const" | "async" | "unsafe");
    let begins = |line: &str| line.trim().split([' ', '(']).find(|word| !before(word)) == Some("fn");
    let length = |(at, line): (usize, &&str)| {
        let ends = |l: &&&str| indent(l) == indent(line) && l.ends_with(['}', ';']);
        1 + code[at..].iter().take_while(|l| !ends(l)).count()
    };
    let functions = code.iter().enumerate().filter(|(_, line)| begins(line));
    let long = functions.map(|(at, line)| (line.trim(), length((at, line)))).filter(|(_, lines)| *lines > 60);
    long.map(|(line, lines)| format!("has a function of {lines} lines: {line}")).collect()
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Whether a file is declared as `#[cfg(test)] mod NAME;` by the one above it.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let parent = path.with_file_name("mod.rs");
    let declared = format!("#[cfg(test)]\nmod {name};");
    std::fs::read_to_string(parent).is_ok_and(|text| text.contains(&declared))
}

#[test]
fn every_source_file_keeps_the_rules() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 10, "found only {files:?}");
    files.sort();
    let read = |path: &PathBuf| {
        violations(path.strip_prefix(&src).unwrap().to_str().unwrap(), &std::fs::read_to_string(path).unwrap())
    };
    let found: Vec<String> = files.iter().filter(|path| !is_test(path)).flat_map(read).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_rule_can_be_broken() {
    let found = |path: &str, text: &str| violations(path, &format!("//! Words.\n{text}"));
    for (path, text, expected) in [
        ("plan/mod.rs", "use crate::topology::Cluster;\n", "uses crate::topology::Cluster"),
        ("plan/text.rs", "use super::super::kernel::{\n    netns,\n    read,\n};\n", "uses crate::kernel::read"),
        ("kernel/apply.rs", "use crate::{error::Error, cni::{Cni, felix}};\n", "uses crate::cni::felix"),
        ("names.rs", "fn f() -> crate::plan::Plan {}\n", "uses crate::plan::Plan"),
        ("heaven.rs", "use crate::error::Error;\n", "uses crate::error::Error"),
        ("cni/calico.rs", "use std::{net, fs};\n", "is pure and names std::fs"),
        ("predict/mod.rs", "use std::time::{Duration, Instant};\n", "is pure and names Instant"),
        ("cli/up.rs", &format!("fn f() {{\n{}}}\n", "    g();\n".repeat(59)), "has a function of 61 lines: fn f() {"),
        (
            "cli/up.rs",
            &format!("pub(crate) async fn f() {{\n{}}}\n", "\n".repeat(59)),
            "has a function of 61 lines: pub(crate) async fn f() {",
        ),
        ("cli/up.rs", &"\n".repeat(400), "has 401 lines without tests"),
    ] {
        assert!(found(path, text).contains(&format!("src/{path} {expected}")), "{text}: {:?}", found(path, text));
    }
    assert_eq!(violations("cli/up.rs", "use crate::plan;\n"), ["src/cli/up.rs does not begin with //!"]);
    assert_eq!(found("cli/up.rs", &format!("struct S {{\n    f: fn(u8),\n{}}}\n", "    a: u8,\n".repeat(70))), [""; 0]);
    let fine = "use crate::plan::Mac;\n// crate::kernel\n#[cfg(test)]\nmod tests {\n    use crate::kernel;\n}\n";
    assert_eq!(found("topology/mod.rs", fine), [""; 0]);
    assert_eq!(found("cli/up.rs", &format!("fn f() {{\n{}}}\n", "    g();\n".repeat(58))), [""; 0]);
}
