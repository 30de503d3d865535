//! How nodes carry the traffic of Services: kube-proxy's version, mode and options. PURE.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::cluster_file::{IpvsEntry, ProxyEntry};
use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;
use super::services::{any_address, choice};

/// kube-proxy as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxyConfig {
    /// `--proxy-mode`.
    pub mode: ProxyMode,
    /// Minor version of Kubernetes 1.x, 20 to 30.
    pub minor: u8,
    /// `--cluster-cidr`: the pods' prefixes; empty if kube-proxy is not told.
    pub cluster_cidrs: Vec<IpNet>,
    /// `--detect-local-mode`.
    pub detect_local: DetectLocal,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `--iptables-masquerade-bit`.
    pub masquerade_bit: u8,
    /// `--nodeport-addresses`; empty is the version's default.
    pub node_port_addresses: Vec<IpNet>,
    /// `--iptables-localhost-nodeports`, which versions before 1.26 do not have.
    pub localhost_node_ports: bool,
    /// `--bind-address`, if it is given.
    pub bind_address: Option<IpAddr>,
    /// Whether masquerade rules say `--random-fully`, as with an iptables of 1.6.2 or newer.
    pub random_fully: bool,
    /// Endpoints beyond which iptables rules lose their comments. A constant, 1000, in every version.
    pub large_cluster_endpoints: usize,
    /// Options of the ipvs mode.
    pub ipvs: IpvsOptions,
}

/// Options of the ipvs mode (KubeProxyConfiguration's `ipvs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpvsOptions {
    /// `--ipvs-scheduler`: which endpoint a new connection gets.
    pub scheduler: String,
    /// `--ipvs-strict-arp`: devices do not answer ARP for the addresses of Services.
    pub strict_arp: bool,
    /// `--ipvs-tcp-timeout` in seconds; 0 leaves the kernel's own choice.
    pub tcp_timeout: u32,
    /// `--ipvs-tcpfin-timeout` in seconds; 0 leaves the kernel's own choice.
    pub tcp_fin_timeout: u32,
    /// `--ipvs-udp-timeout` in seconds; 0 leaves the kernel's own choice.
    pub udp_timeout: u32,
}

impl IpvsOptions {
    /// The schedulers that kube-proxy takes (`validateIPVSSchedulerMethod`), and `mh`, which came later.
    pub const SCHEDULERS: [&str; 11] = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh"];
}

impl Default for IpvsOptions {
    fn default() -> Self {
        let scheduler = IpvsOptions::SCHEDULERS[0].to_owned();
        IpvsOptions { scheduler, strict_arp: false, tcp_timeout: 0, tcp_fin_timeout: 0, udp_timeout: 0 }
    }
}

/// `--proxy-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// Rules of iptables.
    Iptables,
    /// The kernel's load balancer.
    Ipvs,
    /// Rules of nftables.
    Nftables,
    /// No kube-proxy on the nodes.
    None,
}

/// How kube-proxy knows whether a packet comes from a pod of its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectLocal {
    /// It comes from the pods' prefix, of whatever node.
    ClusterCidr,
    /// It comes from the node's own `podCIDR`.
    NodeCidr,
    /// It comes in through this bridge.
    BridgeInterface(String),
    /// It comes in through an interface whose name begins so.
    InterfaceNamePrefix(String),
}

impl ProxyMode {
    /// As `--proxy-mode` and minik's `--proxy` spell it.
    pub fn name(self) -> &'static str {
        match self {
            ProxyMode::Iptables => "iptables",
            ProxyMode::Ipvs => "ipvs",
            ProxyMode::Nftables => "nftables",
            ProxyMode::None => "none",
        }
    }

    /// Every mode.
    pub const ALL: [ProxyMode; 4] = [ProxyMode::Iptables, ProxyMode::Ipvs, ProxyMode::Nftables, ProxyMode::None];
}

impl ProxyConfig {
    /// A version that still has kubenet, which went away with dockershim in 1.24.
    pub const KUBENET_MINOR: u8 = 20;

    /// The oldest and the newest minor version whose rules are known.
    pub const MINORS: std::ops::RangeInclusive<u8> = 20..=30;

    /// kube-proxy 1.30 in iptables mode with its own defaults, told that these are the pods' prefixes.
    pub fn new(cluster_cidrs: Vec<IpNet>) -> Self {
        ProxyConfig {
            mode: ProxyMode::Iptables,
            minor: *ProxyConfig::MINORS.end(),
            cluster_cidrs,
            detect_local: DetectLocal::ClusterCidr,
            masquerade_all: false,
            masquerade_bit: 14,
            node_port_addresses: Vec::new(),
            localhost_node_ports: true,
            bind_address: None,
            random_fully: true,
            large_cluster_endpoints: 1000,
            ipvs: IpvsOptions::default(),
        }
    }
}

/// The mode that a word of the command line names.
pub(super) fn mode_argument(word: &str) -> Checked<ProxyMode> {
    ProxyMode::ALL.into_iter().find(|mode| mode.name() == word).ok_or_else(|| {
        let names = ProxyMode::ALL.map(ProxyMode::name);
        Complaint::usage(format!("unknown proxy mode {}", quote(word))).hint(rules::one_of(word, &names))
    })
}

/// The `proxy:` of a Cluster document; `pods` are the prefixes of its pods, and `mode` is that of the command line, which
/// wins.
pub(super) fn resolve(entry: &ProxyEntry, pods: Vec<IpNet>, mode: Option<ProxyMode>) -> Checked<ProxyConfig> {
    let mut config = ProxyConfig::new(pods);
    let modes = ProxyMode::ALL.map(|mode| (mode.name(), mode));
    let written = choice("proxy mode", entry.mode.as_ref(), ProxyMode::Iptables, &modes)?;
    config.mode = mode.unwrap_or(written);
    if let Some(version) = &entry.version {
        config.minor = minor(version)?;
    }
    if let Some(cidr) = &entry.cluster_cidr {
        let parts = cidr.split(',').filter(|part| !part.is_empty());
        config.cluster_cidrs = parts.map(|part| net(part, cidr)).collect::<Checked<_>>()?;
    }
    config.detect_local = detect_local(entry, config.minor)?;
    config.masquerade_all = entry.masquerade_all.unwrap_or(false);
    if let Some(bit) = &entry.masquerade_bit {
        config.masquerade_bit = u8::try_from(rules::in_range("the bit of a mark", bit, 0..=31)?).unwrap_or(14);
    }
    config.node_port_addresses =
        entry.node_port_addresses.iter().map(|text| net(text, text)).collect::<Checked<_>>()?;
    config.localhost_node_ports = entry.localhost_node_ports.unwrap_or(true);
    config.bind_address = entry.bind_address.as_ref().map(any_address).transpose()?;
    config.random_fully = entry.random_fully.unwrap_or(true);
    config.ipvs = entry.ipvs.as_ref().map(ipvs).transpose()?.unwrap_or_default();
    if config.mode == ProxyMode::Nftables {
        refuse_nftables(entry, &config)?;
    }
    if config.mode == ProxyMode::Ipvs && config.ipvs.scheduler == "mh" && config.minor < 27 {
        let place = entry.ipvs.as_ref().and_then(|ipvs| ipvs.scheduler.as_ref()).map(|name| name.span);
        return Err(Complaint::at(
            place.unwrap_or_default(),
            format!("kube-proxy 1.{} does not know `mh`", config.minor),
        )
        .hint("it came with 1.27"));
    }
    Ok(config)
}

fn ipvs(entry: &IpvsEntry) -> Checked<IpvsOptions> {
    let mut options = IpvsOptions { strict_arp: entry.strict_arp.unwrap_or(false), ..IpvsOptions::default() };
    if let Some(name) = &entry.scheduler {
        // As for kube-proxy, the empty text is the default.
        let known = IpvsOptions::SCHEDULERS.into_iter().find(|known| *known == name.as_str());
        match known {
            Some(known) => options.scheduler = known.to_owned(),
            None if name.is_empty() => {}
            None => {
                return Err(Complaint::at(name.span, format!("unknown scheduler {}", quote(name)))
                    .hint(rules::one_of(name, &IpvsOptions::SCHEDULERS)));
            }
        }
    }
    let seconds = |text: &Option<Spanned<String>>| text.as_ref().map_or(Ok(0), seconds);
    options.tcp_timeout = seconds(&entry.tcp_timeout)?;
    options.tcp_fin_timeout = seconds(&entry.tcp_fin_timeout)?;
    options.udp_timeout = seconds(&entry.udp_timeout)?;
    Ok(options)
}

/// Most seconds that every kernel takes: it counts in ticks, of which there are up to 1000 a second.
const TIMEOUT_MAX: u32 = i32::MAX as u32 / 1000;

/// `15m0s`: whole seconds, as IPVS has them; 0 is none.
fn seconds(text: &Spanned<String>) -> Checked<u32> {
    let wrong = || {
        Complaint::at(text.span, format!("{} is not a time in whole seconds", quote(text)))
            .hint("write it as Kubernetes does: 900s, 15m, 1h30m0s")
    };
    let (mut total, mut rest) = (0u32, text.trim());
    if rest.is_empty() {
        return Err(wrong());
    }
    if rest == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let factor = match rest.as_bytes().get(digits) {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if total > TIMEOUT_MAX {
        return Err(Complaint::at(text.span, format!("{} is longer than IPVS can count", quote(text)))
            .hint(format!("write at most {TIMEOUT_MAX}s")));
    }
    Ok(total)
}

/// The nftables mode needs 1.30: that of 1.29, which was alpha, has other chains, sets and maps. And 1.30 writes
/// `iif NAME*`, which nft refuses, and with it all of the table: nothing would work on any node.
fn refuse_nftables(entry: &ProxyEntry, config: &ProxyConfig) -> Checked<()> {
    let minor = config.minor;
    if minor < 30 {
        let message = match minor {
            29 => "the nftables mode of kube-proxy 1.29, which was alpha, is not known".to_owned(),
            _ => format!("kube-proxy 1.{minor} has no nftables mode"),
        };
        let place = entry.version.as_ref().map(|version| version.span).unwrap_or_default();
        return Err(Complaint::at(place, message)
            .and(entry.mode.as_ref().map(|mode| mode.span), "the mode")
            .hint("it came as alpha with 1.29: write `version: \"1.30\"`, or use the iptables mode"));
    }
    match &entry.detect_local_mode {
        Some(mode) if matches!(config.detect_local, DetectLocal::InterfaceNamePrefix(_)) => Err(Complaint::at(
            mode.span,
            format!("the nftables mode of kube-proxy 1.{minor} does not work with {}", quote(mode)),
        )
        .hint("its rule `iif NAME*` is none that nft takes; write ClusterCIDR, NodeCIDR or BridgeInterface")),
        _ => Ok(()),
    }
}

/// `1.20` to `1.30`; also `v1.30.3`.
fn minor(version: &Spanned<String>) -> Checked<u8> {
    let mut parts = version.trim_start_matches('v').split('.');
    let minor = match (parts.next(), parts.next().map(str::parse::<u8>)) {
        (Some("1"), Some(Ok(minor))) if ProxyConfig::MINORS.contains(&minor) => Some(minor),
        _ => None,
    };
    minor.ok_or_else(|| {
        Complaint::at(version.span, format!("the rules of kube-proxy {} are not known", quote(version)))
            .hint("write a version from \"1.20\" to \"1.30\", in quotes")
    })
}

fn net(text: &str, place: &Spanned<String>) -> Checked<IpNet> {
    let net: IpNet = text.trim().parse().map_err(|_| {
        Complaint::at(place.span, format!("{} is not a prefix", quote(text))).hint("write it as 10.244.0.0/16")
    })?;
    Ok(net.trunc())
}

fn detect_local(entry: &ProxyEntry, minor: u8) -> Checked<DetectLocal> {
    let Some(mode) = &entry.detect_local_mode else { return Ok(DetectLocal::ClusterCidr) };
    let named = |field: &Option<Spanned<String>>, name: &str| {
        if minor < 24 {
            return Err(Complaint::at(mode.span, format!("kube-proxy 1.{minor} does not know {}", quote(mode)))
                .hint("BridgeInterface and InterfaceNamePrefix came with 1.24"));
        }
        field.as_ref().map(|field| field.value.clone()).ok_or_else(|| {
            Complaint::at(mode.span, format!("{} needs the name of an interface", quote(mode)))
                .hint(format!("add `{name}:` to the proxy's options"))
        })
    };
    match mode.as_str() {
        "ClusterCIDR" => Ok(DetectLocal::ClusterCidr),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => named(&entry.pod_bridge_interface, "podBridgeInterface").map(DetectLocal::BridgeInterface),
        "InterfaceNamePrefix" => {
            named(&entry.pod_interface_name_prefix, "podInterfaceNamePrefix").map(DetectLocal::InterfaceNamePrefix)
        }
        _ => Err(Complaint::at(mode.span, format!("unknown detectLocalMode {}", quote(mode)))
            .hint(rules::one_of(mode, &["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]))),
    }
}
