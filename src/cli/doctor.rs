//! `minik doctor`: what this machine can run natively, by fallback, or not at all, and what would cure it.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Globals;
use super::print;
use crate::cni::{self, Need};
use crate::error::Result;
use crate::kernel::survey::catalogue::{self, Feature};
use crate::kernel::survey::{self, Finding};
use crate::topology::{Mode, ProxyMode};

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

/// What stands in for a feature that this machine lacks.
struct Fallback {
    missing: &'static str,
    by: &'static str,
    words: &'static str,
}

const FALLBACKS: &[Fallback] = &[
    Fallback { missing: "ipip", by: "tun", words: "tunl0 is a TUN device served by minik's agent" },
    Fallback {
        missing: "br_netfilter",
        by: "bridge",
        words: "without br_netfilter iptables does not see what passes between pods of one node",
    },
];

/// What a proxy mode can do without.
const PROXY_FALLBACKS: &[Fallback] = &[Fallback {
    missing: "match ipvs",
    // Nothing stands in for that rule, and all else works as it does otherwise.
    by: "iptables-restore",
    words: "no load balancers whose source ranges leave nodes out, from 1.29 on (-m ipvs)",
}];

/// What a line of the underlay can do beside passing packets on: the feature for it, and what stands in for that.
const LINES: &[(&str, &str, &[Fallback])] = &[
    ("delay", "netem", &[]),
    ("loss", "netem", &[Fallback { missing: "netem", by: "nft egress", words: "a rule of nftables drops packets" }]),
    ("rate", "netem", &[Fallback { missing: "netem", by: "tbf", words: "a token bucket (tbf) holds packets back" }]),
];

/// The proxy modes, and the features that the rules, sets, devices and servers of each are made of.
const PROXIES: &[(ProxyMode, &[&str])] = &[
    (
        ProxyMode::Iptables,
        &[
            "iptables-restore",
            "match comment",
            "match mark",
            "match conntrack",
            "match addrtype",
            "match statistic",
            "match recent",
            "target MARK",
            "target MASQUERADE",
            "target DNAT",
            "target REJECT",
        ],
    ),
    (
        ProxyMode::Ipvs,
        &[
            "iptables-restore",
            "ipset",
            "dummy",
            "ip_vs",
            "match comment",
            "match mark",
            "match conntrack",
            "match addrtype",
            "match set",
            "match ipvs",
            "target MARK",
            "target MASQUERADE",
            "target REJECT",
            "ipset hash:ip",
            "ipset hash:ip,port",
            "ipset hash:ip,port,ip",
            "ipset hash:ip,port,net",
            "ipset bitmap:port",
        ],
    ),
    (
        ProxyMode::Nftables,
        &[
            "nft",
            "nf_tables",
            "nft verdict map",
            "nft numgen",
            "nft fib",
            "nft nat",
            "nft masquerade",
            "nft reject",
            "nft update set",
        ],
    ),
];

/// The mode of `up` without a topology; whether it can run is the exit code.
const DEFAULT: Mode = Mode::CalicoIpip;

/// Prints what was found; the exit code is 4 if the default mode cannot run.
///
/// # Errors
/// If a scratch namespace is possible and yet a probe cannot be made.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let findings = survey::survey()?;
    let modes: Vec<(Mode, Verdict)> =
        Mode::ALL.iter().map(|mode| (*mode, verdict(&wanted(*mode), &findings, FALLBACKS))).collect();
    let proxies: Vec<(&str, Verdict)> = PROXIES
        .iter()
        .map(|(mode, features)| {
            (mode.name(), verdict(&with_rights(features.iter().copied()), &findings, PROXY_FALLBACKS))
        })
        .collect();
    let lines: Vec<(&str, Verdict)> = LINES
        .iter()
        .map(|(what, feature, instead)| (*what, verdict(&with_rights([*feature]), &findings, instead)))
        .collect();
    let object = json!({
        "features": findings.iter().map(as_json).collect::<Vec<_>>(),
        "modes": modes.iter().map(|(mode, verdict)| json!({ "mode": mode, "default": *mode == DEFAULT, "runs": verdict }))
            .collect::<Vec<_>>(),
        "proxies": proxies.iter().map(|(mode, verdict)| json!({ "proxy": mode, "runs": verdict })).collect::<Vec<_>>(),
        "lines": lines.iter().map(|(what, verdict)| json!({ "line": what, "runs": verdict })).collect::<Vec<_>>(),
    });
    let text = print::as_data(&object, globals.output)?
        .unwrap_or_else(|| render(&findings, &modes, [("PROXY", &proxies), ("LINE", &lines)]));
    print::text(&text)?;
    let runs = |(mode, verdict): &(Mode, Verdict)| *mode == DEFAULT && !matches!(verdict, Verdict::Impossible(_));
    Ok(if modes.iter().any(runs) { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// The names of the features that a need stands for, as in [`catalogue::FEATURES`]. What is tried, and what would cure
/// it, stands there: a new need is an arm here, and what nobody needed before is a row there.
fn features_of(need: Need) -> &'static [&'static str] {
    match need {
        Need::Veth => &["veth"],
        Need::Bridge => &["bridge"],
        Need::BridgeNetfilter => &["br_netfilter"],
        Need::Iptables => &[
            "iptables-restore",
            "match comment",
            "match mark",
            "match conntrack",
            "match addrtype",
            "match set",
            "match rpfilter",
            "match multiport",
            "target MARK",
            "target MASQUERADE",
        ],
        Need::Ipset => &["ipset", "ipset hash:net"],
        Need::Ipip => &["ipip"],
        Need::Vxlan => &["vxlan"],
        Need::Tun => &["tun"],
        Need::Macvlan => &["macvlan"],
        Need::Ebtables => &["ebtables", "ebtables rules"],
        Need::Htb => &["htb"],
    }
}

/// The names of all that a mode needs, the caller's rights included.
fn wanted(mode: Mode) -> Vec<&'static str> {
    with_rights(cni::needs(mode).iter().flat_map(|need| features_of(*need)).copied())
}

fn with_rights(features: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    catalogue::rights().map(|right| right.name).chain(features).collect()
}

/// The modes that need a feature, itself or as a fallback for another.
fn needed_by(feature: &Feature) -> Vec<&'static str> {
    let is_fallback = |wanted: &[&str]| {
        FALLBACKS.iter().any(|fallback| fallback.by == feature.name && wanted.contains(&fallback.missing))
    };
    let needs = |mode: &&Mode| {
        let wanted = wanted(**mode);
        wanted.contains(&feature.name) || is_fallback(&wanted)
    };
    Mode::ALL.iter().filter(needs).map(|mode| mode.name()).collect()
}

/// The proxy modes that need a feature which no mode needs, in words.
fn needed_by_proxies(feature: &Feature) -> String {
    let proxies: Vec<&str> =
        PROXIES.iter().filter(|(_, names)| names.contains(&feature.name)).map(|(mode, _)| mode.name()).collect();
    match proxies[..] {
        [] => "-".to_owned(),
        [only] => format!("proxy {only}"),
        _ => format!("{} proxies", proxies.len()),
    }
}

fn verdict(wanted: &[&'static str], findings: &[Finding], fallbacks: &[Fallback]) -> Verdict {
    let find = |name: &str| findings.iter().find(|finding| finding.feature.name == name);
    let works = |name: &str| find(name).and_then(|finding| finding.works);
    if works("root") == Some(false) {
        return Verdict::Impossible("it needs root; run `sudo minik doctor` to see the rest".to_owned());
    }
    let mut missing: Vec<&str> = wanted.iter().copied().filter(|name| works(name) != Some(true)).collect();
    let replaced: Vec<&Fallback> = fallbacks
        .iter()
        .filter(|fallback| missing.contains(&fallback.missing) && works(fallback.by) == Some(true))
        .collect();
    missing.retain(|name| !replaced.iter().any(|fallback| fallback.missing == *name));
    // What could not be tried follows from what was tried and does not work.
    if missing.iter().any(|name| works(name) == Some(false)) {
        missing.retain(|name| works(name) == Some(false));
    }
    if !missing.is_empty() {
        let cured = |name: &str| match find(name).and_then(|finding| finding.cure.as_deref()) {
            Some(cure) => format!("{name} ({cure})"),
            None => name.to_owned(),
        };
        let instead = |name: &str| fallbacks.iter().find(|fallback| fallback.missing == name);
        let named = |name: &&str| match instead(name) {
            Some(fallback) => format!("{}; or instead {}", cured(name), cured(fallback.by)),
            None => cured(name),
        };
        return Verdict::Impossible(format!("missing: {}", missing.iter().map(named).collect::<Vec<_>>().join(", ")));
    }
    match replaced.is_empty() {
        true => Verdict::Native,
        false => Verdict::Fallback(replaced.iter().map(|fallback| fallback.words).collect::<Vec<_>>().join("; ")),
    }
}

/// A finding as `doctor -o json` documents it.
fn as_json(finding: &Finding) -> Value {
    let text = |text: &'static str| (!text.is_empty()).then_some(text);
    let feature = finding.feature;
    json!({
        "feature": feature.name,
        "works": finding.works,
        "detail": finding.detail,
        "cure": finding.cure,
        "package": text(feature.package),
        "module": text(feature.module),
        "config": text(feature.config).map(|config| format!("CONFIG_{config}")),
        "neededBy": needed_by(feature),
    })
}

/// Tables: the features, and what follows for the modes and for all else.
fn render(findings: &[Finding], modes: &[(Mode, Verdict)], more: [(&str, &[(&str, Verdict)]); 2]) -> String {
    let cells: Vec<[String; 4]> = findings.iter().map(|finding| row(finding, modes.len())).collect();
    let mut rows = vec![vec!["FEATURE", "WORKS", "NEEDED BY", "DETAIL"]];
    rows.extend(cells.iter().map(|row| row.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut text = print::columns(&rows, false);
    let modes: Vec<(&str, &Verdict)> = modes.iter().map(|(mode, verdict)| (mode.name(), verdict)).collect();
    let more = more.map(|(title, verdicts)| (title, verdicts.iter().map(|(what, verdict)| (*what, verdict)).collect()));
    for (title, verdicts) in std::iter::once(("MODE", modes)).chain(more) {
        let mut rows = vec![vec![title, "RUNS", "BECAUSE"]];
        rows.extend(verdicts.into_iter().map(|(name, verdict)| match verdict {
            Verdict::Native => vec![name, "natively", ""],
            Verdict::Fallback(why) => vec![name, "by fallback", why],
            Verdict::Impossible(why) => vec![name, "not here", why],
        }));
        text.push('\n');
        text.push_str(&print::columns(&rows, false));
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn row(finding: &Finding, all: usize) -> [String; 4] {
    let works = match finding.works {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let modes = match needed_by(finding.feature) {
        modes if modes.is_empty() => needed_by_proxies(finding.feature),
        modes if modes.len() == all && all > 1 => "all modes".to_owned(),
        modes if modes.len() > 2 => format!("{} modes", modes.len()),
        modes => modes.join(","),
    };
    let detail = [Some(finding.detail.as_str()), finding.cure.as_deref()];
    let detail: Vec<&str> = detail.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    [finding.feature.name.to_owned(), works.to_owned(), modes, detail.join("; cure: ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything works but what is in `no`; what is in `untried` could not be tried.
    fn findings(no: &[&str], untried: &[&str]) -> Vec<Finding> {
        let finding = |feature: &'static Feature| {
            let works = if untried.contains(&feature.name) { None } else { Some(!no.contains(&feature.name)) };
            let cure = (works == Some(false)).then(|| "a cure".to_owned());
            Finding { feature, works, detail: String::new(), cure }
        };
        catalogue::FEATURES.iter().map(finding).collect()
    }

    #[test]
    fn every_need_and_fallback_is_a_feature() {
        let named = Mode::ALL.iter().flat_map(|mode| wanted(*mode));
        let fallbacks =
            FALLBACKS.iter().chain(PROXY_FALLBACKS).chain(LINES.iter().flat_map(|(.., fallbacks)| *fallbacks));
        let named = named.chain(LINES.iter().map(|(_, feature, _)| *feature));
        let named = named.chain(PROXIES.iter().flat_map(|(_, features)| features.iter().copied()));
        for name in named.chain(fallbacks.flat_map(|fallback| [fallback.missing, fallback.by])) {
            assert!(catalogue::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_verdict_follows_from_what_was_found() {
        let of = |no: &[&str], untried: &[&str]| verdict(&wanted(Mode::CalicoIpip), &findings(no, untried), FALLBACKS);
        let impossible = |words: &str| Verdict::Impossible(words.to_owned());
        assert_eq!(of(&[], &[]), Verdict::Native);
        assert_eq!(of(&["dummy", "ip_vs", "netem", "tun"], &["nft numgen"]), Verdict::Native);
        assert_eq!(of(&["ipip"], &[]), Verdict::Fallback("tunl0 is a TUN device served by minik's agent".to_owned()));
        assert_eq!(of(&["ipip", "tun"], &[]), impossible("missing: ipip (a cure); or instead tun (a cure)"));
        assert_eq!(of(&["ipset"], &["ipset hash:net", "match set"]), impossible("missing: ipset (a cure)"));
        assert_eq!(of(&["ipip", "match set"], &[]), impossible("missing: match set (a cure)"));
        assert_eq!(of(&["administration"], &["veth", "ipip"]), impossible("missing: administration (a cure)"));
        assert_eq!(of(&[], &["veth"]), impossible("missing: veth"));
        assert!(matches!(of(&["root", "veth"], &[]), Verdict::Impossible(why) if why.contains("sudo")));
        // Every single need, taken away, is missed.
        for name in wanted(Mode::CalicoIpip).into_iter().filter(|name| !["root", "ipip"].contains(name)) {
            assert_eq!(of(&[name], &[]), Verdict::Impossible(format!("missing: {name} (a cure)")));
        }
    }

    #[test]
    fn a_line_without_netem_loses_packets_and_is_slow_and_delays_none() {
        let of = |no: &[&str]| {
            let found = findings(no, &[]);
            let verdict = |(_, feature, instead): &(&str, &'static str, &[Fallback])| {
                verdict(&with_rights([*feature]), &found, instead)
            };
            LINES.iter().map(verdict).collect::<Vec<_>>()
        };
        let without = |name| Verdict::Impossible(format!("missing: netem (a cure); or instead {name} (a cure)"));
        let by = |words: &str| Verdict::Fallback(words.to_owned());
        let no_delay = Verdict::Impossible("missing: netem (a cure)".to_owned());
        let slow = by("a token bucket (tbf) holds packets back");
        assert_eq!(of(&[]), [Verdict::Native, Verdict::Native, Verdict::Native]);
        assert_eq!(of(&["netem"]), [no_delay.clone(), by("a rule of nftables drops packets"), slow.clone()]);
        assert_eq!(of(&["netem", "nft egress"]), [no_delay, without("nft egress"), slow]);
    }

    #[test]
    fn a_proxy_mode_runs_where_what_it_is_made_of_works() {
        let of = |no: &[&str]| {
            let found = findings(no, &[]);
            PROXIES
                .iter()
                .map(|(_, names)| verdict(&with_rights(names.iter().copied()), &found, PROXY_FALLBACKS))
                .collect::<Vec<_>>()
        };
        let names: Vec<&str> = PROXIES.iter().map(|(mode, _)| mode.name()).collect();
        assert_eq!(names, ["iptables", "ipvs", "nftables"]);
        assert_eq!(of(&[]), [Verdict::Native, Verdict::Native, Verdict::Native]);
        let without = |name: &str| Verdict::Impossible(format!("missing: {name} (a cure)"));
        assert_eq!(of(&["ip_vs", "nft fib"]), [Verdict::Native, without("ip_vs"), without("nft fib")]);
        assert!(matches!(&of(&["match ipvs"])[1], Verdict::Fallback(words) if words.contains("-m ipvs")));
    }

    #[test]
    fn the_default_mode_is_that_of_up() {
        use clap::CommandFactory;
        let program = crate::cli::args::Cli::command();
        let up = program.find_subcommand("up").expect("a command up");
        let topology = up.get_positionals().next().expect("a topology");
        assert_eq!(topology.get_default_values(), [DEFAULT.name()]);
        assert!(Mode::ALL.contains(&DEFAULT));
    }

    #[test]
    fn a_fallback_is_needed_by_whom_it_helps() {
        let of = |name: &str| needed_by(catalogue::find(name).expect("a row"));
        assert!(of("tun").contains(&"calico-ipip") && of("root").len() == Mode::ALL.len());
        assert!(of("match recent").is_empty());
        let by_proxies = |name: &str| needed_by_proxies(catalogue::find(name).expect("a row"));
        assert_eq!(
            ["match recent", "ip_vs", "target DNAT"].map(by_proxies),
            ["proxy iptables", "proxy ipvs", "proxy iptables"]
        );
        assert_eq!([by_proxies("target REJECT"), by_proxies("netem")], ["2 proxies", "-"]);
    }
}
