//! What this machine can do, found out by trying each thing in scratch namespaces: for `minik doctor`.
//!
//! Neither kernel version nor `lsmod` says it (things are built in, backported, or left out), so every right is used,
//! every device made, every rule loaded, every set created, and the kernel's answer is what counts. What is made goes
//! with its namespace. Asking also makes the kernel load the module, if there is one, as `up` would: modules are the
//! whole machine's and stay loaded, and that of ipip puts a `tunl0` into every namespace. br_netfilter alone, and
//! `-m physdev`, which loads it, are not asked for in that way, since it changes what passes on the host's own bridges.

mod bisect;
pub mod catalogue;
mod cure;
mod devices;
mod ipvs;
mod nfnetlink;
mod rights;
mod sctp;
mod tools;
mod tun_cure;

use std::path::Path;

use super::features::scratch;
use super::netlink::Rtnetlink;
use crate::error::Result;
pub(super) use catalogue::Device;
use catalogue::{FEATURES, Feature, IP6TABLES, IPTABLES, Probe, Right};

/// What came of a trial: a detail such as a version, or why not.
type Outcome = std::result::Result<String, String>;

/// What a trial says of a tool that is not there.
const NOT_INSTALLED: &str = "is not installed";

/// br_netfilter's setting, which it puts into every namespace.
const BRIDGE_SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// What came out for one feature.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which one.
    pub feature: &'static Feature,
    /// Whether it works; none if it could not be tried.
    pub works: Option<bool>,
    /// A version, or why it does not work or could not be tried.
    pub detail: String,
    /// What would bring it; only if it does not work.
    pub cure: Option<String>,
}

impl Finding {
    fn new(feature: &'static Feature, outcome: Outcome) -> Finding {
        let works = Some(outcome.is_ok());
        let (Ok(detail) | Err(detail)) = outcome;
        Finding { feature, works, detail, cure: None }
    }

    fn untried(feature: &'static Feature, without: &str) -> Finding {
        Finding { feature, works: None, detail: format!("cannot be tried without {without}"), cure: None }
    }
}

/// Whether the kernel makes a device or queueing discipline, in the scratch namespace that the caller is in.
pub(super) fn makes(rtnetlink: &mut Rtnetlink, device: Device) -> bool {
    devices::attempt(rtnetlink, device).is_ok()
}

/// Whether nftables can drop a share of what leaves a link, in the scratch namespace that the caller is in; nft's words
/// if it cannot.
pub(super) fn drops_at_egress() -> Outcome {
    all_work(tools::nft(&catalogue::find(catalogue::EGRESS).into_iter().collect::<Vec<_>>()))
}

/// Whether iptables can ask what IPVS does with a packet, in the scratch namespace that the caller is in; its words if it
/// cannot.
pub(super) fn matches_ipvs() -> Outcome {
    all_work(tools::rules(&catalogue::find(catalogue::IPVS).into_iter().collect::<Vec<_>>()))
}

fn all_work(findings: Vec<Finding>) -> Outcome {
    findings.into_iter().try_for_each(|finding| match finding.works {
        Some(true) => Ok(()),
        _ => Err(finding.detail),
    })?;
    Ok(String::new())
}

/// Tries everything; the findings are in the order of [`FEATURES`]. Nothing is left behind but loaded modules.
///
/// # Errors
/// If a scratch namespace cannot be made though one could be made before.
pub fn survey() -> Result<Vec<Finding>> {
    let mut findings = try_rights()?;
    let needed = |finding: &&Finding| ["namespaces", "administration"].contains(&finding.feature.name);
    let lacking = findings.iter().filter(needed).find(|finding| finding.works != Some(true));
    let lacking = lacking.map(|finding| finding.feature.name);
    let lanes: Vec<Lane> = lanes();
    let tried: Vec<Result<Vec<Finding>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = lanes.iter().map(|lane| scope.spawn(|| lane.run(lacking))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    for lane in tried {
        findings.extend(lane?);
    }
    let machine = cure::Machine::read();
    depend_on_tools(&mut findings);
    for finding in findings.iter_mut().filter(|finding| finding.works == Some(false)) {
        finding.cure = Some(machine.cure(finding.feature, &finding.detail));
    }
    let place = |finding: &Finding| FEATURES.iter().position(|feature| std::ptr::eq(feature, finding.feature));
    findings.sort_by_key(place);
    Ok(findings)
}

/// The caller's rights. Those that need a scratch namespace are untried without one.
fn try_rights() -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = Vec::new();
    for feature in catalogue::rights() {
        let Probe::Right(right) = feature.probe else { continue };
        let has_namespaces = findings.iter().any(|f| f.feature.name == "namespaces" && f.works == Some(true));
        findings.push(match right {
            Right::Root | Right::Namespaces | Right::Mounts => Finding::new(feature, rights::attempt(right)),
            _ if !has_namespaces => Finding::untried(feature, "namespaces"),
            Right::Settings | Right::RawSockets | Right::Administration => {
                Finding::new(feature, scratch(|| rights::attempt(right))?)
            }
        });
    }
    Ok(findings)
}

/// Features that are tried one after the other, in one scratch namespace or none; lanes run side by side, since most
/// of their time is waiting for the kernel.
struct Lane {
    features: Vec<&'static Feature>,
    work: fn(&[&'static Feature]) -> Vec<Finding>,
    scratch: bool,
}

impl Lane {
    fn run(&self, lacking: Option<&str>) -> Result<Vec<Finding>> {
        match lacking {
            _ if !self.scratch => Ok((self.work)(&self.features)),
            Some(right) => Ok(self.features.iter().map(|feature| Finding::untried(feature, right)).collect()),
            None => scratch(|| (self.work)(&self.features)),
        }
    }
}

fn lanes() -> Vec<Lane> {
    let of = |wanted: fn(Probe) -> bool| -> Vec<&'static Feature> {
        FEATURES.iter().filter(|feature| wanted(feature.probe)).collect()
    };
    let lane = |wanted, work| Lane { features: of(wanted), work, scratch: true };
    vec![
        Lane { features: of(|p| matches!(p, Probe::Tool(_))), work: try_tools, scratch: false },
        lane(|p| matches!(p, Probe::Device(_) | Probe::Ipvs(_) | Probe::Sctp | Probe::BrNetfilter), try_kernel),
        lane(|p| matches!(p, Probe::Netfilter(_)), try_netfilter),
        lane(|p| matches!(p, Probe::Rule(IPTABLES, ..)), tools::rules),
        lane(|p| matches!(p, Probe::Rule(IP6TABLES, ..)), tools::rules),
        lane(|p| matches!(p, Probe::Rule("iptables-nft-restore", ..)), tools::rules),
        lane(|p| matches!(p, Probe::Rule("iptables-legacy-restore", ..)), tools::rules),
        lane(|p| matches!(p, Probe::Set(_)), tools::sets),
        lane(|p| matches!(p, Probe::Nft(_)), tools::nft),
        lane(|p| matches!(p, Probe::Ebtables(_)), tools::ebtables),
    ]
}

/// Whether br_netfilter is there, built in or loaded.
pub(super) fn has_br_netfilter() -> bool {
    Path::new(BRIDGE_SETTING).exists()
}

fn try_tools(features: &[&'static Feature]) -> Vec<Finding> {
    let tried = features.iter().filter_map(|feature| match feature.probe {
        Probe::Tool(flag) => Some(tools::version(feature, flag)),
        _ => None,
    });
    tried.collect()
}

fn try_kernel(features: &[&'static Feature]) -> Vec<Finding> {
    let attempt = |feature: &&'static Feature| {
        let outcome = match feature.probe {
            Probe::Device(device) => match Rtnetlink::open() {
                Ok(mut rtnetlink) => devices::attempt(&mut rtnetlink, device),
                Err(error) => Err(error.to_string()),
            },
            Probe::Ipvs(ip) => ipvs::attempt(ip),
            Probe::Sctp => sctp::attempt(),
            _ if has_br_netfilter() => Ok(String::new()),
            _ => Err("is not loaded".to_owned()),
        };
        Finding::new(feature, outcome)
    };
    features.iter().map(attempt).collect()
}

/// Each in a namespace of its own, so that one's rules are not in another's way.
fn try_netfilter(features: &[&'static Feature]) -> Vec<Finding> {
    let attempt = |feature: &&'static Feature| {
        let Probe::Netfilter(part) = feature.probe else { return Finding::untried(feature, "netfilter") };
        let outcome = scratch(|| nfnetlink::attempt(part));
        Finding::new(feature, outcome.unwrap_or_else(|error| Err(error.to_string())))
    };
    features.iter().map(attempt).collect()
}

/// What a tool would have tried says nothing about the kernel if the tool itself is missing.
fn depend_on_tools(findings: &mut [Finding]) {
    let missing: Vec<&'static str> = findings
        .iter()
        .filter(|finding| matches!(finding.feature.probe, Probe::Tool(_)) && finding.works == Some(false))
        .map(|finding| finding.feature.name)
        .collect();
    for finding in findings.iter_mut().filter(|finding| finding.works == Some(false)) {
        let wanted: &[&str] = match finding.feature.probe {
            Probe::Rule(tool, ..) if finding.feature.name.contains("match set") => &[tool, "ipset"],
            Probe::Rule(tool, ..) => &[tool],
            Probe::Set(_) => &["ipset"],
            Probe::Nft(_) => &["nft"],
            Probe::Ebtables(_) => &["ebtables"],
            _ => continue,
        };
        if let Some(tool) = wanted.iter().find(|tool| missing.contains(tool)) {
            *finding = Finding::untried(finding.feature, tool);
        }
    }
}
