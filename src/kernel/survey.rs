//! What this machine can do, found out by trying each thing in a scratch namespace: for `minik doctor`.
//!
//! Neither kernel version nor `lsmod` says it (things are built in, backported, or left out), so every device, match
//! and set is asked for once, and the kernel's answer is what counts. Asking also loads the module, if there is one.

#![expect(clippy::disallowed_methods, reason = "asks the tools for what they can do here")]

use std::io::Write;
use std::process::{Command, Stdio};

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use serde::{Serialize, Serializer};

use super::features::scratch;
use super::messages::CREATE;
use super::netlink::{Batch, Rtnetlink};
use super::tun;
use crate::error::{Error, Result};

/// Something that a machine may or may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// The right to make namespaces and to administer networks.
    Privilege,
    /// veth pairs.
    Veth,
    /// Bridges.
    Bridge,
    /// IP in IP devices.
    Ipip,
    /// TUN devices, which stand in for IP in IP.
    Tun,
    /// VXLAN devices.
    Vxlan,
    /// macvlan devices.
    Macvlan,
    /// dummy devices.
    Dummy,
    /// The queueing discipline netem.
    Netem,
    /// IPVS.
    Ipvs,
    /// The tool ip.
    IpTool,
    /// The tool iptables-restore, on either kernel interface.
    IptablesRestore,
    /// The tool ipset.
    IpsetTool,
    /// Sets of prefixes.
    IpsetHashNet,
    /// `-m set`.
    MatchSet,
    /// `-m mark`.
    MatchMark,
    /// `-m conntrack`.
    MatchConntrack,
    /// `-m addrtype`.
    MatchAddrtype,
    /// `-m rpfilter`.
    MatchRpfilter,
    /// `-m comment`.
    MatchComment,
    /// `-m multiport`.
    MatchMultiport,
}

/// What each link type is asked for as.
const LINKS: &[(Feature, InfoKind)] = &[
    (Feature::Veth, InfoKind::Veth),
    (Feature::Bridge, InfoKind::Bridge),
    (Feature::Ipip, InfoKind::IpIp),
    (Feature::Vxlan, InfoKind::Vxlan),
    (Feature::Macvlan, InfoKind::MacVlan),
    (Feature::Dummy, InfoKind::Dummy),
];

/// The tools, how they say their version, and their Debian package.
const TOOLS: &[(Feature, &str, &str, &str)] = &[
    (Feature::IpTool, "ip", "-V", "iproute2"),
    (Feature::IptablesRestore, "iptables-restore", "--version", "iptables"),
    (Feature::IpsetTool, "ipset", "--version", "ipset"),
];

/// A rule for each match, in the table where it is allowed. The set is made before.
const MATCHES: &[(Feature, &str, &str)] = &[
    (Feature::MatchSet, "filter", "-A FORWARD -m set --match-set minik-probe src"),
    (Feature::MatchMark, "filter", "-A FORWARD -m mark --mark 0x1/0x1"),
    (Feature::MatchConntrack, "filter", "-A FORWARD -m conntrack --ctstate NEW"),
    (Feature::MatchAddrtype, "filter", "-A FORWARD -m addrtype --dst-type LOCAL"),
    (Feature::MatchRpfilter, "raw", "-A PREROUTING -m rpfilter --invert"),
    (Feature::MatchComment, "filter", "-A FORWARD -m comment --comment x"),
    (Feature::MatchMultiport, "filter", "-A FORWARD -p tcp -m multiport --dports 1,2"),
];

impl Feature {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Privilege => "privilege",
            Feature::Veth => "veth",
            Feature::Bridge => "bridge",
            Feature::Ipip => "ipip",
            Feature::Tun => "tun",
            Feature::Vxlan => "vxlan",
            Feature::Macvlan => "macvlan",
            Feature::Dummy => "dummy",
            Feature::Netem => "netem",
            Feature::Ipvs => "ip_vs",
            Feature::IpTool => "ip",
            Feature::IptablesRestore => "iptables-restore",
            Feature::IpsetTool => "ipset",
            Feature::IpsetHashNet => "ipset hash:net",
            Feature::MatchSet => "match set",
            Feature::MatchMark => "match mark",
            Feature::MatchConntrack => "match conntrack",
            Feature::MatchAddrtype => "match addrtype",
            Feature::MatchRpfilter => "match rpfilter",
            Feature::MatchComment => "match comment",
            Feature::MatchMultiport => "match multiport",
        }
    }

    /// The kernel module that has it, to be loaded or built.
    fn module(self) -> &'static str {
        match self {
            Feature::Netem => "sch_netem",
            Feature::IpsetHashNet => "ip_set_hash_net",
            Feature::MatchSet => "xt_set",
            Feature::MatchMark => "xt_mark",
            Feature::MatchConntrack => "xt_conntrack",
            Feature::MatchAddrtype => "xt_addrtype",
            Feature::MatchRpfilter => "ipt_rpfilter",
            Feature::MatchComment => "xt_comment",
            Feature::MatchMultiport => "xt_multiport",
            other => other.name(),
        }
    }
}

/// By its name.
impl Serialize for Feature {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What came out for one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which one.
    pub feature: Feature,
    /// Whether it works; none if it could not be tried.
    pub works: Option<bool>,
    /// A version, or why it does not work and what would cure it.
    pub detail: String,
}

impl Finding {
    fn yes(feature: Feature, detail: impl Into<String>) -> Finding {
        Finding { feature, works: Some(true), detail: detail.into() }
    }

    fn no(feature: Feature, detail: impl Into<String>) -> Finding {
        Finding { feature, works: Some(false), detail: detail.into() }
    }

    /// What a request's result says: the kernel may dislike it, but must know what is meant.
    fn of_module(feature: Feature, outcome: std::result::Result<(), String>) -> Finding {
        match outcome {
            Ok(()) => Finding::yes(feature, ""),
            Err(why) => Finding::no(feature, format!("{why}; kernel module {}", feature.module())),
        }
    }
}

/// Tries everything, in a fixed order. Nothing is left behind.
///
/// # Errors
/// If the kernel's answers cannot be read.
pub fn survey() -> Result<Vec<Finding>> {
    let privilege = scratch(|| ());
    let mut findings = Vec::new();
    match &privilege {
        Ok(()) => findings.push(Finding::yes(Feature::Privilege, "may make network namespaces")),
        Err(e) => findings.push(Finding::no(Feature::Privilege, format!("{}: run it as root", e.message()))),
    }
    findings.extend(TOOLS.iter().map(|(feature, tool, flag, package)| try_tool(*feature, tool, flag, package)));
    if privilege.is_ok() {
        findings.extend(scratch(try_kernel)??);
    } else {
        let links = LINKS.iter().map(|(feature, _)| *feature);
        let rest = [Feature::Tun, Feature::Netem, Feature::Ipvs, Feature::IpsetHashNet];
        let untried = links.chain(rest).chain(MATCHES.iter().map(|(feature, ..)| *feature));
        let detail = "cannot be tried without privilege".to_owned();
        findings.extend(untried.map(|feature| Finding { feature, works: None, detail: detail.clone() }));
    }
    Ok(findings)
}

fn try_tool(feature: Feature, tool: &str, flag: &str, package: &str) -> Finding {
    match Command::new(tool).arg(flag).stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::yes(feature, text.lines().next().unwrap_or_default().trim())
        }
        Err(e) => Finding::no(feature, format!("{e}; install the package {package}")),
    }
}

/// Everything that needs a namespace; the calling thread is in a fresh one.
fn try_kernel() -> Result<Vec<Finding>> {
    let mut rtnetlink = Rtnetlink::open()?;
    let mut findings = Vec::new();
    for (feature, kind) in LINKS {
        findings.push(Finding::of_module(*feature, try_link(&mut rtnetlink, kind)));
    }
    findings.push(match tun::create("minik-probe-tun", 0) {
        Ok(_) => Finding::yes(Feature::Tun, "stands in for ipip"),
        Err(e) => Finding::no(Feature::Tun, e.to_string().replace('\n', "; ")),
    });
    findings.push(Finding::of_module(Feature::Netem, try_qdisc(&mut rtnetlink, "netem")));
    let has_ipvs = std::path::Path::new("/proc/thread-self/net/ip_vs").exists();
    findings.push(Finding::of_module(Feature::Ipvs, if has_ipvs { Ok(()) } else { Err("not loaded".to_owned()) }));
    findings.push(Finding::of_module(Feature::IpsetHashNet, run("ipset", &["create", "minik-probe", "hash:net"], "")));
    for (feature, table, rule) in MATCHES {
        let input = format!("*{table}\n{rule}\nCOMMIT\n");
        findings.push(Finding::of_module(*feature, run("iptables-restore", &["-n", "-w"], &input)));
    }
    Ok(findings)
}

/// Asks for a link of a kind without its parameters. The kernel may miss those; that it knows the kind, it says by any
/// answer but EOPNOTSUPP.
pub(super) fn try_link(rtnetlink: &mut Rtnetlink, kind: &InfoKind) -> std::result::Result<(), String> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName("minik-probe".to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind.clone())]));
    let mut batch = Batch::default();
    batch.push(Message::NewLink(message), CREATE, "make a device");
    let outcome = known(rtnetlink.send(batch), &[libc::EOPNOTSUPP]);
    let mut made = LinkMessage::default();
    made.attributes.push(LinkAttribute::IfName("minik-probe".to_owned()));
    let mut batch = Batch::default();
    batch.push(Message::DelLink(made), 0, "remove a device");
    // There is none if the kernel missed a parameter.
    let _ = rtnetlink.send(batch);
    outcome
}

/// Asks for a queueing discipline on `lo` without its parameters; ENOENT means that the kernel does not know the name.
pub(super) fn try_qdisc(rtnetlink: &mut Rtnetlink, kind: &str) -> std::result::Result<(), String> {
    let mut message = TcMessage::default();
    message.header.index = 1;
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    let mut batch = Batch::default();
    batch.push(Message::NewQueueDiscipline(message), CREATE, "set a queueing discipline");
    known(rtnetlink.send(batch), &[libc::ENOENT, libc::EOPNOTSUPP])
}

fn known(outcome: Result<()>, unknown: &[i32]) -> std::result::Result<(), String> {
    match outcome.as_ref().err().and_then(Error::errno) {
        Some(errno) if unknown.contains(&errno) => Err("this kernel does not know it".to_owned()),
        _ => Ok(()),
    }
}

/// Runs a tool in the calling thread's namespace; its complaint's first line if it fails.
fn run(tool: &str, arguments: &[&str], input: &str) -> std::result::Result<(), String> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot run {tool}: {e}"))?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| format!("cannot wait for {tool}: {e}"))?;
    if output.status.success() {
        return written.map_err(|e| format!("cannot write to {tool}: {e}"));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.lines().next().unwrap_or("it failed without a word").trim().to_owned())
}
