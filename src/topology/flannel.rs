//! flannel's settings: from its ConfigMap, or from the Cluster document.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::cluster_file::{ClusterSpec, FlannelEntry, NetworkEntry};
use super::complaint::{Checked, Complaint};
use super::manifests::IpPoolObject;
use super::net_conf::{NetConf, Settings};
use super::pools::Chosen;
use super::source::Span;
use super::underlay::{MTU_RANGE, Underlay};
use super::{Mode, network, rules};

/// VXLAN network identifiers for which the name of the device, `flannel.<VNI>`, has at most 15 characters; VXLAN itself
/// has 24 bits.
pub(super) const VNI_RANGE: std::ops::RangeInclusive<u32> = 0..=9_999_999;

/// What flanneld and its plugin are told: `net-conf.json`, flanneld's options, `cni-conf.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flannel {
    /// `Network`: the prefix of all pods.
    pub network: Ipv4Net,
    /// `IPv6Network`: the IPv6 prefix of all pods; none without `EnableIPv6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network6: Option<Ipv6Net>,
    /// `Backend.VNI`, 24 bits.
    pub vni: u32,
    /// `Backend.Port`: the UDP port, if it is not the backend's own.
    pub port: Option<u16>,
    /// `Backend.MTU` in bytes: of the outgoing packets, if it is not the NIC's.
    pub mtu: Option<u32>,
    /// `Backend.Learning`: the VXLAN device learns where Ethernet addresses are.
    pub learning: bool,
    /// `--ip-masq`: what leaves the pods' prefix gets the node's address.
    pub ip_masq: bool,
    /// Whether masquerade rules say `--random-fully`, as they do where iptables and kernel know it.
    pub random_fully: bool,
    /// `delegate.hairpinMode` of `cni-conf.json`: a port of the bridge may send back where a frame came from.
    pub hairpin: bool,
    /// `delegate.isDefaultGateway`: pods have a default route.
    pub default_gateway: bool,
    /// `delegate.mtu` in bytes: the pods', if it is not what the backend leaves.
    pub pod_mtu: Option<u32>,
    /// The text of `cni-conf.json`, if it is not that of flannel's manifest.
    pub conflist: Option<String>,
}

impl Flannel {
    /// flannel as its manifest installs it.
    pub fn new(network: Ipv4Net) -> Flannel {
        Flannel {
            network,
            network6: None,
            vni: 1,
            port: None,
            mtu: None,
            learning: false,
            ip_masq: true,
            random_fully: true,
            hairpin: true,
            default_gateway: true,
            pod_mtu: None,
            conflist: None,
        }
    }
}

/// The CNI mode: the command line's; else the Cluster's, or that of flannel's ConfigMap, which must not contradict each
/// other.
pub(super) fn mode(
    spec: &ClusterSpec,
    pools: &[&IpPoolObject],
    argument: Option<&str>,
    conf: Option<&NetConf>,
) -> Checked<Chosen> {
    let chosen = match (argument, &spec.network.cni, conf) {
        (None, None, Some(conf)) => return Ok(Chosen { mode: conf.mode, explicit: false }),
        _ => network::resolve_mode(spec, pools, argument)?,
    };
    if argument.is_some() {
        return Ok(chosen);
    }
    let mode = chosen.mode;
    let direct = spec.network.flannel.as_ref().and_then(|entry| entry.direct_routing.as_ref());
    let mode = match (mode, direct) {
        (Mode::FlannelVxlan, Some(direct)) if direct.value => Mode::FlannelVxlanDirectRouting,
        (Mode::FlannelVxlanDirectRouting, Some(direct)) if !direct.value => {
            return Err(Complaint::at(direct.span, format!("the mode {mode} is `directRouting: true`"))
                .hint("write true, or take the mode flannel-vxlan"));
        }
        (mode, _) => mode,
    };
    let written = spec.network.cni.as_ref().map(|cni| cni.span);
    match conf {
        Some(conf) if !agree(mode, conf.mode) => {
            let message = format!("flannel's ConfigMap asks for {}, but the cluster's mode is {mode}", conf.mode);
            Err(Complaint::at(conf.mode_span, message)
                .path("net-conf.json: Backend.Type".to_owned())
                .and(written, format!("{mode} is asked for here"))
                .hint("leave `cni` out of the Cluster, or make both say the same"))
        }
        _ => Ok(Chosen { mode, ..chosen }),
    }
}

/// Canal's flannel is one that encapsulates.
fn agree(mode: Mode, conf: Mode) -> bool {
    mode == conf || (mode == Mode::Canal && conf == Mode::FlannelVxlan)
}

/// The settings of a cluster whose nodes have parts of `cluster_cidr`.
pub(super) fn settings(
    spec: &ClusterSpec,
    conf: Option<&NetConf>,
    underlay: &Underlay,
    (cluster_cidr, cluster_cidr6): (Ipv4Net, Option<Ipv6Net>),
    mode: Mode,
) -> Checked<Flannel> {
    let entry = &spec.network;
    let written = entry.flannel.as_ref();
    if let (Some(conf), Some((name, span))) = (conf, written.and_then(of_the_backend)) {
        return Err(Complaint::at(span, format!("`{name}` is given beside flannel's ConfigMap"))
            .and(Some(conf.mode_span), "the ConfigMap's Backend")
            .hint("write it into `net-conf.json` and remove it here"));
    }
    let backend = match conf {
        Some(conf) => &conf.backend,
        None => &written.map_or(Ok(Settings::default()), from_entry)?,
    };
    check_mtu(backend, underlay, mode)?;
    let network = conf.map_or(cluster_cidr, |conf| conf.network);
    let network6 = conf.map_or(cluster_cidr6, |conf| conf.network6.map(|(network, _)| network));
    if let Some(conf) = conf {
        check_subnets(spec, conf, underlay, mode)?;
    }
    let manifest = Flannel::new(network);
    let plugins = conf.and_then(|conf| conf.plugins.as_ref());
    Ok(Flannel {
        vni: backend.vni.unwrap_or(manifest.vni),
        port: backend.port,
        mtu: backend.mtu.map(|(mtu, _)| mtu),
        learning: backend.learning,
        ip_masq: written.and_then(|entry| entry.ip_masq).unwrap_or(manifest.ip_masq),
        random_fully: entry.random_fully.unwrap_or(manifest.random_fully),
        hairpin: plugins.map_or(manifest.hairpin, |plugins| plugins.hairpin),
        default_gateway: plugins.map_or(manifest.default_gateway, |plugins| plugins.default_gateway),
        pod_mtu: plugins.and_then(|plugins| plugins.mtu).or(pod_mtu(entry)?),
        conflist: plugins.map(|plugins| plugins.text.clone()),
        network,
        network6,
    })
}

fn pod_mtu(entry: &NetworkEntry) -> Checked<Option<u32>> {
    entry.mtu.as_ref().map(|mtu| rules::in_range("an MTU", mtu, MTU_RANGE)).transpose()
}

/// The first setting that is `net-conf.json`'s too.
fn of_the_backend(entry: &FlannelEntry) -> Option<(&'static str, Span)> {
    let numbers = [("vni", &entry.vni), ("port", &entry.port), ("mtu", &entry.mtu)];
    let number = numbers.into_iter().find_map(|(name, value)| Some((name, value.as_ref()?.span)));
    number.or(entry.direct_routing.as_ref().map(|direct| ("directRouting", direct.span)))
}

fn from_entry(entry: &FlannelEntry) -> Checked<Settings> {
    let vni = entry.vni.as_ref().map(|vni| rules::in_range("a VNI of flannel's", vni, VNI_RANGE)).transpose()?;
    let port = entry.port.as_ref().map(|port| rules::in_range("a UDP port", port, 1..=65535)).transpose()?;
    let mtu = entry.mtu.as_ref().map(|mtu| rules::in_range("an MTU", mtu, MTU_RANGE).map(|value| (value, mtu.span)));
    let port = port.and_then(|port| u16::try_from(port).ok());
    Ok(Settings { vni, port, mtu: mtu.transpose()?, learning: false })
}

/// The kernel takes no VXLAN device whose packets would not fit through its NIC.
fn check_mtu(backend: &Settings, underlay: &Underlay, mode: Mode) -> Checked<()> {
    let Some((mtu, span)) = backend.mtu else { return Ok(()) };
    let on = |name: &str| underlay.segments.iter().find(|segment| segment.name == name);
    let nics = underlay.nodes.iter().filter_map(|node| Some((node, on(&node.segment)?.mtu)));
    let smallest = nics.min_by_key(|(_, nic)| *nic);
    if !(*MTU_RANGE.start()..).contains(&mtu) {
        return Err(Complaint::at(span, format!("{mtu} is too small for an MTU"))
            .hint(format!("write at least {}", MTU_RANGE.start())));
    }
    match smallest {
        Some((node, nic)) if mtu > nic && matches!(mode, Mode::FlannelVxlan | Mode::FlannelVxlanDirectRouting) => {
            let message =
                format!("packets of {mtu} bytes do not fit through the NIC of {}, whose MTU is {nic}", node.name);
            Err(Complaint::at(span, message)
                .hint(format!("the kernel refuses such a device: write at most {nic}, or leave it out")))
        }
        _ => Ok(()),
    }
}

/// Every podCIDR is a part of `Network`, or flanneld does not start on that node.
fn check_subnets(spec: &ClusterSpec, conf: &NetConf, underlay: &Underlay, mode: Mode) -> Checked<()> {
    if !matches!(
        mode,
        Mode::FlannelVxlan | Mode::FlannelVxlanDirectRouting | Mode::FlannelHostGw | Mode::FlannelUdp | Mode::Canal
    ) {
        return Ok(());
    }
    for (node, entry) in underlay.nodes.iter().zip(spec.nodes.iter()) {
        let four = node.pod_cidr.filter(|subnet| !conf.network.contains(subnet));
        let four =
            four.map(|subnet| ("", "Network", IpNet::from(conf.network), IpNet::from(subnet), conf.network_span));
        let six = conf.network6.zip(node.pod_cidr6).filter(|((network, _), subnet)| !network.contains(subnet));
        let six = six.map(|((network, span), subnet)| ("IPv6 ", "IPv6Network", network.into(), subnet.into(), span));
        let Some((family, field, network, subnet, span)) = four.or(six) else { continue };
        let message = format!(
            "{family}subnet \"{network}\" specified in the flannel net config doesn't contain \"{subnet}\" {family}PodCIDR \
             of the \"{}\" node",
            node.name
        );
        let cause = entry.pod_cidr.as_ref().or(spec.network.cluster_cidr.as_ref()).map(|text| text.span);
        return Err(Complaint::at(span, message)
            .path(format!("net-conf.json: {field}"))
            .and(cause, "the podCIDR comes from here")
            .hint(format!("make `{field}` and that half of `clusterCIDR` the same prefix")));
    }
    Ok(())
}
