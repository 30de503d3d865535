//! flannel's ConfigMap `kube-flannel-cfg`: `net-conf.json` and `cni-conf.json`, as flanneld and its CNI plugin read
//! them. Sources: flannel v0.28.9, pkg/subnet/config.go, pkg/subnet/kube/kube.go, pkg/backend/manager.go,
//! pkg/backend/vxlan/vxlan.go, pkg/backend/udp/udp_amd64.go; cni-plugin v1.9.1-flannel1, flannel.go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Mode;
use super::complaint::{Checked, Complaint, nearest, quote};
use super::documents::Document;
use super::dual_stack;
use super::embedded::{Embedded, Field, Object};
use super::flannel::VNI_RANGE;
use super::manifests::ConfigMapObject;
use super::rules;
use super::source::{Source, Span};
use super::underlay::MTU_RANGE;

/// The ConfigMap of flannel's manifest.
const NAME: &str = "kube-flannel-cfg";
/// Its key for flanneld.
const NET_CONF: &str = "net-conf.json";
/// Its key for the CNI plugins.
const CNI_CONF: &str = "cni-conf.json";

/// Fields of `net-conf.json`.
const FIELDS: &[&str] = &[
    "Network",
    "SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "Backend",
    "EnableIPv4",
    "EnableIPv6",
    "EnableNFTables",
    "IPv6Network",
    "IPv6SubnetLen",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
];
/// Fields of its `Backend`.
const BACKEND_FIELDS: &[&str] = &["Type", "VNI", "Port", "MTU", "GBP", "Learning", "DirectRouting"];
/// Backends that flannel has and this minik has not.
const OTHER_BACKENDS: &[&str] = &["alloc", "extension", "ipip", "ipsec", "tencent-vpc", "wireguard"];

/// `IPv6Network` and where it is.
pub(super) type Placed6 = (Ipv6Net, Span);

/// What the ConfigMap says.
pub(super) struct NetConf {
    /// The mode that `Backend` asks for.
    pub(super) mode: Mode,
    /// Where it does.
    pub(super) mode_span: Span,
    /// `Network`.
    pub(super) network: Ipv4Net,
    /// Where it is.
    pub(super) network_span: Span,
    /// How the network is cut into the nodes' subnets.
    pub(super) subnets: Subnets<Ipv4Addr>,
    /// `IPv6Network` with its place, if `EnableIPv6` is on.
    pub(super) network6: Option<Placed6>,
    /// How that is cut into the nodes' subnets.
    pub(super) subnets6: Subnets<Ipv6Addr>,
    /// `Backend`'s settings.
    pub(super) backend: Settings,
    /// `cni-conf.json`.
    pub(super) plugins: Option<Plugins>,
}

/// How the network is cut into the nodes' subnets.
#[derive(Clone, Copy)]
pub(super) struct Subnets<A> {
    /// `SubnetLen`, `IPv6SubnetLen`.
    pub(super) len: Option<u8>,
    /// `SubnetMin`, `IPv6SubnetMin`.
    pub(super) min: Option<A>,
    /// `SubnetMax`, `IPv6SubnetMax`.
    pub(super) max: Option<A>,
}

impl<A> Default for Subnets<A> {
    fn default() -> Self {
        Subnets { len: None, min: None, max: None }
    }
}

/// The settings of `Backend`.
#[derive(Default)]
pub(super) struct Settings {
    /// `Backend.VNI`.
    pub(super) vni: Option<u32>,
    /// `Backend.Port`; 0 is the backend's own.
    pub(super) port: Option<u16>,
    /// `Backend.MTU` with its place; 0 is the NIC's.
    pub(super) mtu: Option<(u32, Span)>,
    /// `Backend.Learning`.
    pub(super) learning: bool,
}

/// What `cni-conf.json` says.
pub(super) struct Plugins {
    /// The text.
    pub(super) text: String,
    /// `hairpinMode` of the delegate.
    pub(super) hairpin: bool,
    /// `isDefaultGateway` of the delegate.
    pub(super) default_gateway: bool,
    /// `mtu` of the delegate.
    pub(super) mtu: Option<u32>,
}

/// flannel's ConfigMap among the objects, read.
pub(super) fn find(objects: &[Document], sources: &[Source]) -> Checked<Option<NetConf>> {
    let maps = objects.iter().filter_map(|o| if let Document::ConfigMap(map) = o { Some(&**map) } else { None });
    let named = |map: &ConfigMapObject| map.metadata.name.as_ref().is_some_and(|name| name.as_str() == NAME);
    let mut found = maps.filter(|map| named(map) || map.data.contains_key(NET_CONF));
    let Some(first) = found.next() else { return Ok(None) };
    if let (Some(second), Some(name)) = (found.next(), &first.metadata.name) {
        let again = second.metadata.name.as_ref().map_or(name.span, |name| name.span);
        return Err(Complaint::at(again, "flannel's ConfigMap is given twice")
            .and(Some(name.span), "the first one")
            .hint("flanneld reads one; remove the other"));
    }
    read(first, sources).map(Some)
}

fn read(map: &ConfigMapObject, sources: &[Source]) -> Checked<NetConf> {
    let Some(text) = map.data.get(NET_CONF) else {
        let complaint = match &map.metadata.name {
            Some(name) => Complaint::at(name.span, format!("{NAME} has no `{NET_CONF}`")),
            None => Complaint::anywhere(format!("{NAME} has no `{NET_CONF}`")),
        };
        return Err(complaint.hint("its `data` has it, beside `cni-conf.json`, in flannel's manifest"));
    };
    let json = Embedded::new(NET_CONF, text, sources);
    let root = json.read()?;
    let object = json.object(&root, "", FIELDS)?;
    object.refuse(&["EnableNFTables"])?;
    if let Some(field) = object.get("EnableIPv4").filter(|field| field.switch().is_ok_and(|on| !on)) {
        return Err(field.complain("without IPv4 there is no network").hint("remove `EnableIPv4`, or set it to true"));
    }
    let network = object.get("Network").ok_or_else(|| {
        object
            .complain("please define a correct Network parameter in the flannel config")
            .hint("add `\"Network\": \"10.244.0.0/16\"`: the prefix of which the nodes' podCIDRs are parts")
    })?;
    let network_span = network.span();
    let network = rules::host_prefix("the pods' prefix", &network.text()?)?;
    let subnets = subnets(&object, network)?;
    let (network6, subnets6) = network6(&object)?;
    // Without `Backend` flannel takes `udp`.
    let without = (Mode::FlannelUdp, network_span, Settings::default());
    let (mode, mode_span, backend) = object.get("Backend").map_or(Ok(without), |field| backend(&field))?;
    let plugins = map.data.get(CNI_CONF).map(|text| plugins(Embedded::new(CNI_CONF, text, sources))).transpose()?;
    Ok(NetConf { mode, mode_span, network, network_span, subnets, network6, subnets6, backend, plugins })
}

/// `IPv6Network` and how it is cut, if `EnableIPv6` is on, checked as flannel's CheckNetworkConfig does.
fn network6(object: &Object) -> Checked<(Option<Placed6>, Subnets<Ipv6Addr>)> {
    let Some(enabled) = object.get("EnableIPv6") else { return Ok((None, Subnets::default())) };
    if !enabled.switch()? {
        return Ok((None, Subnets::default()));
    }
    let network = object.get("IPv6Network").ok_or_else(|| {
        enabled
            .complain("please define a correct IPv6Network parameter in the flannel config")
            .hint("add `\"IPv6Network\": \"fd00:10:244::/56\"`: the prefix of which the nodes' podCIDRs are parts")
    })?;
    let span = network.span();
    let network = dual_stack::host_prefix6("the pods' prefix", &network.text()?)?;
    let mut len = None;
    if let Some(field) = object.get("IPv6SubnetLen") {
        let number = field.number(0..=u32::from(u8::MAX))?;
        if number > 126 {
            return Err(field.complain("SubnetLen must be less than /127").hint("write a number up to 126"));
        }
        if number > 0 && number < u32::from(network.prefix_len()) + 2 {
            return Err(field
                .complain("IPv6Network must be able to accommodate at least four subnets")
                .hint(format!("write a number from {} to 126", network.prefix_len() + 2)));
        }
        len = u8::try_from(number).ok().filter(|number| *number > 0);
    }
    let size = len.unwrap_or_else(|| if network.prefix_len() <= 62 { 64 } else { (network.prefix_len() + 2).min(128) });
    let edge = |name: &str| -> Checked<Option<Ipv6Addr>> {
        let edge = object.get(name).map(|field| edge_of(&field, name, network.into(), size)).transpose()?;
        Ok(edge.and_then(|edge| if let IpAddr::V6(edge) = edge { Some(edge) } else { None }))
    };
    Ok((Some((network, span)), Subnets { len, min: edge("IPv6SubnetMin")?, max: edge("IPv6SubnetMax")? }))
}

/// SubnetLen, SubnetMin and SubnetMax, checked as flannel's CheckNetworkConfig does.
fn subnets(object: &Object, network: Ipv4Net) -> Checked<Subnets<Ipv4Addr>> {
    let mut len = None;
    if let Some(field) = object.get("SubnetLen") {
        let number = field.number(0..=u32::from(u8::MAX))?;
        if number > 30 {
            return Err(field.complain("SubnetLen must be less than /31").hint("write a number up to 30"));
        }
        if number > 0 && number < u32::from(network.prefix_len()) + 2 {
            return Err(field
                .complain("network must be able to accommodate at least four subnets")
                .hint(format!("write a number from {} to 30", network.prefix_len() + 2)));
        }
        len = u8::try_from(number).ok().filter(|number| *number > 0);
    }
    let size = len.unwrap_or_else(|| if network.prefix_len() <= 22 { 24 } else { (network.prefix_len() + 2).min(32) });
    let edge = |name: &str| -> Checked<Option<Ipv4Addr>> {
        let edge = object.get(name).map(|field| edge_of(&field, name, network.into(), size)).transpose()?;
        Ok(edge.and_then(|edge| if let IpAddr::V4(edge) = edge { Some(edge) } else { None }))
    };
    Ok(Subnets { len, min: edge("SubnetMin")?, max: edge("SubnetMax")? })
}

/// `SubnetMin` or `SubnetMax` of subnets of this `size`: an address, of which articles also write the prefix.
fn edge_of(field: &Field, name: &str, network: IpNet, size: u8) -> Checked<IpAddr> {
    let text = field.text()?;
    let address = text.split_once('/').map_or(text.as_str(), |(address, _)| address);
    let example = if network.addr().is_ipv4() { "10.244.10.0" } else { "fd00:10:244:10::" };
    let of_family = |address: &IpAddr| address.is_ipv4() == network.addr().is_ipv4();
    let address: IpAddr = address.parse().ok().filter(of_family).ok_or_else(|| {
        field
            .complain(format!("`{name}` is not an address"))
            .hint(format!("write the first address of a subnet: \"{example}\""))
    })?;
    if !network.contains(&address) {
        let whole = if network.addr().is_ipv4() { "Network" } else { "IPv6Network" };
        return Err(field
            .complain(format!("{name} is not in the range of the {whole}"))
            .hint(format!("write an address of {network}")));
    }
    let aligned = IpNet::new(address, size).map_or(address, |net| net.network());
    if aligned != address {
        return Err(field
            .complain(format!("{name} is not on a SubnetLen boundary: {address}"))
            .hint(format!("a /{size} begins at {aligned}")));
    }
    Ok(address)
}

/// `Backend`: the mode, where it stands, and its settings.
fn backend(field: &Field) -> Checked<(Mode, Span, Settings)> {
    let backend = field.object(BACKEND_FIELDS)?;
    let Some(kind) = backend.get("Type") else {
        return Err(backend
            .complain("unknown backend type: Backend has no Type")
            .hint("add `\"Type\": \"vxlan\"`, `\"host-gw\"` or `\"udp\"`"));
    };
    backend.refuse(&["GBP"])?;
    let direct = backend.get("DirectRouting");
    let mode = match kind.text()?.to_lowercase().as_str() {
        "vxlan" if direct.as_ref().map(Field::switch).transpose()?.unwrap_or(false) => Mode::FlannelVxlanDirectRouting,
        "vxlan" => Mode::FlannelVxlan,
        "host-gw" => Mode::FlannelHostGw,
        "udp" => Mode::FlannelUdp,
        other => return Err(unknown_backend(&kind, other)),
    };
    let foreign: &[&str] = match mode {
        Mode::FlannelHostGw => &["VNI", "Port", "MTU", "Learning", "DirectRouting"],
        Mode::FlannelUdp => &["VNI", "MTU", "Learning", "DirectRouting"],
        _ => &[],
    };
    if let Some(field) = foreign.iter().find_map(|name| backend.get(name)) {
        return Err(field
            .complain(format!("the backend {} knows none of this, and flannel would ignore it", quote(&kind.text()?)))
            .hint("remove it, or take the backend `vxlan`"));
    }
    let number = |name: &str, range| backend.get(name).map(|field| field.number(range)).transpose();
    let mtu = |field: Field| field.number(0..=*MTU_RANGE.end()).map(|mtu| (mtu, field.span()));
    let mtu = backend.get("MTU").map(mtu).transpose()?;
    let settings = Settings {
        vni: number("VNI", VNI_RANGE)?,
        port: number("Port", 0..=65535)?.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
        mtu: mtu.filter(|(mtu, _)| *mtu > 0),
        learning: backend.get("Learning").map(|field| field.switch()).transpose()?.unwrap_or(false),
    };
    Ok((mode, kind.span(), settings))
}

fn unknown_backend(kind: &Field, name: &str) -> Box<Complaint> {
    let ours = ["vxlan", "host-gw", "udp"];
    if OTHER_BACKENDS.contains(&name) {
        return kind
            .complain(format!("flannel's backend {} is not in this version of minik", quote(name)))
            .hint(format!("choose one of {}", ours.join(", ")));
    }
    let complaint = kind.complain(format!("unknown backend type: {}", quote(name)));
    match nearest(name, ours.iter().chain(OTHER_BACKENDS).copied()) {
        Some(near) => complaint.hint(format!("did you mean `{near}`?")),
        None => complaint.hint(format!("choose one of {}", ours.join(", "))),
    }
}

/// The chain of plugins: `flannel` with its delegate, then what needs nothing of the network.
fn plugins(json: Embedded) -> Checked<Plugins> {
    let root = json.read()?;
    let object = json.object(&root, "", &["name", "cniVersion", "plugins", "disableCheck"])?;
    if let Some(name) = object.get("name").filter(|name| name.text().is_ok_and(|text| text.value != "cbr0")) {
        return Err(name.complain("another name than `cbr0` is not in this version of minik").hint("write \"cbr0\""));
    }
    let list = object.get("plugins").ok_or_else(|| {
        object.complain("the chain of plugins is missing").hint("add `\"plugins\": [ { \"type\": \"flannel\", … } ]`")
    })?;
    let mut read = Plugins { text: json.text(), hairpin: false, default_gateway: false, mtu: None };
    let mut items = list.list()?.into_iter();
    let first =
        items.next().ok_or_else(|| list.complain("the chain of plugins is empty").hint("flannel is its first"))?;
    let flannel = first.object(&["type", "delegate", "subnetFile", "dataDir"])?;
    flannel.refuse(&["subnetFile", "dataDir"])?;
    only_type(&flannel, &first, "flannel")?;
    if let Some(delegate) = flannel.get("delegate") {
        let delegate = delegate.object(&[
            "type",
            "hairpinMode",
            "isDefaultGateway",
            "isGateway",
            "mtu",
            "bridge",
            "promiscMode",
        ])?;
        delegate.refuse(&["bridge", "promiscMode"])?;
        let switch = |name: &str| delegate.get(name).map(|field| field.switch()).transpose();
        read.hairpin = switch("hairpinMode")?.unwrap_or(false);
        read.default_gateway = switch("isDefaultGateway")?.unwrap_or(false);
        read.mtu = delegate.get("mtu").map(|field| field.number(MTU_RANGE)).transpose()?;
    }
    for plugin in items {
        only_type(&plugin.object(&["type", "capabilities", "snat", "externalSetMarkChain"])?, &plugin, "portmap")?;
    }
    Ok(read)
}

fn only_type(plugin: &Object, whole: &Field, wanted: &str) -> Checked<()> {
    match plugin.get("type") {
        Some(kind) if kind.text()?.value == wanted => Ok(()),
        Some(kind) => Err(kind
            .complain(format!("the plugin {} is not in this version of minik", quote(&kind.text()?)))
            .hint(format!("this plugin must be `{wanted}`"))),
        None => Err(whole.complain("this plugin has no type").hint(format!("add `\"type\": \"{wanted}\"`"))),
    }
}
