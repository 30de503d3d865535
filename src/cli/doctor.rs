//! `minik doctor`: what this machine can run natively, by fallback, or not at all, and what would cure it.

use std::process::ExitCode;

use serde_json::json;

use super::args::Globals;
use super::print;
use crate::cni::{self, Need};
use crate::error::Result;
use crate::kernel::survey::{self, Feature, Finding};
use crate::topology::Mode;

/// How a mode would run here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "because")]
enum Verdict {
    /// All of it by the kernel.
    Native,
    /// With replacements: what replaces what.
    Fallback(String),
    /// Not: what is missing.
    Impossible(String),
}

/// Prints what was found; the exit code is 4 if the default mode cannot run.
///
/// # Errors
/// If a scratch namespace is possible and yet a probe cannot be made.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let findings = survey::survey()?;
    let modes: Vec<(Mode, Verdict)> = Mode::ALL.iter().map(|mode| (*mode, verdict(*mode, &findings))).collect();
    let object = json!({
        "features": findings,
        "modes": modes.iter().map(|(mode, verdict)| json!({ "mode": mode, "runs": verdict })).collect::<Vec<_>>(),
    });
    let text = print::as_data(&object, globals.output)?.unwrap_or_else(|| render(&findings, &modes));
    print::text(&text)?;
    let default = modes.iter().find(|(mode, _)| *mode == Mode::CalicoIpip);
    let can_run = default.is_some_and(|(_, verdict)| !matches!(verdict, Verdict::Impossible(_)));
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// The features that a need stands for.
fn features_of(need: Need) -> &'static [Feature] {
    match need {
        Need::Veth => &[Feature::Veth],
        Need::Bridge => &[Feature::Bridge],
        Need::Iptables => &[
            Feature::IptablesRestore,
            Feature::MatchSet,
            Feature::MatchMark,
            Feature::MatchConntrack,
            Feature::MatchAddrtype,
            Feature::MatchRpfilter,
            Feature::MatchComment,
            Feature::MatchMultiport,
        ],
        Need::Ipset => &[Feature::IpsetTool, Feature::IpsetHashNet],
        Need::Ipip => &[Feature::Ipip],
        Need::Vxlan => &[Feature::Vxlan],
    }
}

fn verdict(mode: Mode, findings: &[Finding]) -> Verdict {
    let works =
        |feature: Feature| findings.iter().any(|finding| finding.feature == feature && finding.works == Some(true));
    if !works(Feature::Privilege) {
        return Verdict::Impossible("it needs root; run `sudo minik doctor` to see the rest".to_owned());
    }
    let wanted = cni::needs(mode).iter().flat_map(|need| features_of(*need)).copied();
    let mut missing: Vec<Feature> = wanted.filter(|feature| !works(*feature)).collect();
    let replaced = missing.contains(&Feature::Ipip) && works(Feature::Tun);
    missing.retain(|feature| !(replaced && *feature == Feature::Ipip));
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|feature| feature.name()).collect();
        return Verdict::Impossible(format!("missing: {}", names.join(", ")));
    }
    if replaced {
        Verdict::Fallback("tunl0 is a TUN device served by minik's agent".to_owned())
    } else {
        Verdict::Native
    }
}

fn render(findings: &[Finding], modes: &[(Mode, Verdict)]) -> String {
    let mut lines = vec![vec!["FEATURE", "WORKS", "DETAIL"]];
    lines.extend(findings.iter().map(|finding| {
        let works = match finding.works {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        vec![finding.feature.name(), works, finding.detail.as_str()]
    }));
    let mut text = print::columns(&lines, false);
    text.push('\n');
    let names: Vec<String> = modes.iter().map(|(mode, _)| mode.to_string()).collect();
    let mut lines = vec![vec!["MODE", "RUNS", "BECAUSE"]];
    for ((_, verdict), name) in modes.iter().zip(&names) {
        lines.push(match verdict {
            Verdict::Native => vec![name, "natively", ""],
            Verdict::Fallback(why) => vec![name, "by fallback", why],
            Verdict::Impossible(why) => vec![name, "not here", why],
        });
    }
    text.push_str(&print::columns(&lines, false));
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
