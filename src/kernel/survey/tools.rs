//! Running the tools: their versions, and rules and sets that they load in the calling thread's namespace.

#![expect(clippy::disallowed_methods, reason = "asks the tools for what they can do here")]

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

use super::bisect::bisect;
use super::catalogue::{Feature, Ip, Probe};
use super::{Finding, NOT_INSTALLED, Outcome, has_br_netfilter};

/// What a program says of its version, with the argument that it takes for that.
pub(super) fn version(feature: &'static Feature, flag: &str) -> Finding {
    let outcome = match spawn(feature.name, &[flag], "") {
        // 126 and 127 are the dynamic linker's and a shell's words for: cannot be run.
        Ok(output) if matches!(output.status.code(), Some(0..126)) => {
            let words = String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
            let line = words.lines().next().unwrap_or_default().trim().to_owned();
            Ok(if output.status.success() { line } else { "is there, and does not tell its version".to_owned() })
        }
        Ok(output) => Err(format!("cannot be run: {}", complaint(&output))),
        Err(why) => Err(why),
    };
    Finding::new(feature, outcome)
}

/// Rules of one tool, at first all at once.
pub(super) fn rules(features: &[&'static Feature]) -> Vec<Finding> {
    let Some(Probe::Rule(tool, ip, ..)) = features.first().map(|feature| feature.probe) else { return Vec::new() };
    let loads_br_netfilter =
        |feature: &&&'static Feature| matches!(feature.probe, Probe::Rule(.., rule) if rule.contains("-m physdev"));
    let (careful, free): (Vec<_>, Vec<_>) = features.iter().partition(|f| loads_br_netfilter(f) && !has_br_netfilter());
    let (set, family) = match ip {
        Ip::V4 => ("minik-v4", "inet"),
        Ip::V6 => ("minik-v6", "inet6"),
    };
    // If this fails, what speaks of the set fails with the tool's own words.
    let _ = run("ipset", &["create", set, "hash:net", "family", family], "");
    let mut findings = together(&free, &mut |some| run(tool, &["-w"], &restore_input(some)));
    findings.extend(careful.into_iter().map(|feature| Finding::untried(feature, "br_netfilter")));
    findings
}

/// What a restore tool reads for these rules: tables in turn, each with its rules.
fn restore_input(features: &[&'static Feature]) -> String {
    let mut tables: Vec<(&str, String)> = Vec::new();
    for feature in features {
        let Probe::Rule(_, _, table, rule) = feature.probe else { continue };
        match tables.iter_mut().find(|(name, _)| *name == table) {
            Some((_, rules)) => *rules += &format!("{rule}\n"),
            None => tables.push((table, format!("{rule}\n"))),
        }
    }
    tables.iter().map(|(table, rules)| format!("*{table}\n{rules}COMMIT\n")).collect()
}

/// Sets, at first all at once. What an attempt that failed has made is removed before the next.
pub(super) fn sets(features: &[&'static Feature]) -> Vec<Finding> {
    together(features, &mut |some| {
        let lines = some.iter().enumerate().filter_map(|(number, feature)| match feature.probe {
            Probe::Set(kind) => Some(format!("create minik-{number} {kind}\n")),
            _ => None,
        });
        let outcome = run("ipset", &["restore"], &lines.collect::<String>());
        run("ipset", &["destroy"], "").and(outcome)
    })
}

/// Commands of nft, at first all at once: a file is one transaction, so that a failed attempt leaves nothing.
pub(super) fn nft(features: &[&'static Feature]) -> Vec<Finding> {
    together(features, &mut |some| {
        let lines = some.iter().filter_map(|feature| match feature.probe {
            Probe::Nft(commands) => Some(format!("{commands}\n")),
            _ => None,
        });
        let input = lines.collect::<String>();
        // What an attempt that succeeded has made has names of its own, and does no harm to the next.
        run("nft", &["-f", "-"], &input)
    })
}

/// One call of ebtables each.
pub(super) fn ebtables(features: &[&'static Feature]) -> Vec<Finding> {
    together(features, &mut |some| {
        some.iter().try_for_each(|feature| match feature.probe {
            Probe::Ebtables(arguments) => run("ebtables", arguments, ""),
            _ => Ok(()),
        })
    })
}

fn together(
    features: &[&'static Feature],
    attempt: &mut dyn FnMut(&[&'static Feature]) -> Result<(), String>,
) -> Vec<Finding> {
    let outcomes = bisect(features, attempt);
    let finding = |(feature, outcome): (&&'static Feature, Outcome)| Finding::new(feature, outcome);
    let outcomes = outcomes.into_iter().map(|outcome| outcome.map(|()| String::new()));
    features.iter().zip(outcomes).map(finding).collect()
}

/// Runs a tool in the calling thread's namespace; its complaint if it fails.
fn run(tool: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let output = spawn(tool, arguments, input)?;
    if output.status.success() { Ok(()) } else { Err(complaint(&output)) }
}

fn spawn(tool: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // iptables-legacy's lock is a file of the whole machine; nobody else is in this namespace.
    command.env("XTABLES_LOCKFILE", "/dev/null");
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => NOT_INSTALLED.to_owned(),
        _ => format!("cannot be run: {e}"),
    })?;
    // A tool that gives up early closes the pipe; what it says then is worth more than our write error.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| format!("cannot wait for {tool}: {e}"))?;
    if output.status.success() {
        written.map_err(|e| format!("cannot write to {tool}: {e}"))?;
    }
    Ok(output)
}

/// The line in which a tool says what is wrong: not its name and version, nor its advice.
fn complaint(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.retain(|line| !line.starts_with("Try `") && !line.starts_with("Error occurred at line"));
    // `iptables-restore v1.8.9 (nf_tables): ` stands alone on a line before the words of interest.
    let headless = |line: &&&str| !(line.ends_with("):") && line.contains(" v"));
    match lines.iter().find(headless) {
        Some(line) => (*line).to_owned(),
        None => format!("failed without a word ({})", output.status),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{FEATURES, find};
    use super::*;

    #[test]
    fn a_table_is_opened_once() {
        let all: Vec<&'static Feature> =
            FEATURES.iter().filter(|f| matches!(f.probe, Probe::Rule("iptables-restore", ..))).collect();
        let input = restore_input(&all);
        assert_eq!(input.matches("COMMIT\n").count(), 4);
        assert_eq!(input.matches("*filter\n").count(), 1);
        assert_eq!(input.lines().filter(|line| line.starts_with("-A ")).count(), all.len());
        let one = [find("match rpfilter").expect("a row")];
        assert_eq!(restore_input(&one), "*raw\n-A PREROUTING -m rpfilter --invert\nCOMMIT\n");
    }

    #[test]
    fn a_complaint_is_the_line_that_says_why() {
        let of = |stderr: &str| {
            let status = std::os::unix::process::ExitStatusExt::from_raw(256);
            complaint(&Output { status, stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() })
        };
        let nft = "iptables-restore v1.8.9 (nf_tables): \nline 2: RULE_APPEND failed (No such file or directory)\n";
        assert_eq!(of(nft), "line 2: RULE_APPEND failed (No such file or directory)");
        assert_eq!(of("iptables-restore: line 3 failed\n"), "iptables-restore: line 3 failed");
        let set = "iptables-restore v1.8.9 (nf_tables): Set x doesn't exist.\n\nError occurred at line: 2\nTry `…\n";
        assert_eq!(of(set), "iptables-restore v1.8.9 (nf_tables): Set x doesn't exist.");
        assert!(of("").contains("without a word"));
    }
}
