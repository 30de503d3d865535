//! Options of single CNI modes: `network: {kubenet: …}` and the like. An option of another mode is a mistake.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use super::cluster_file::NetworkEntry;
use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;

/// kubelet's options for kubenet, and who routes between nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KubenetEntry {
    /// Who has the routes to the nodes' `podCIDR`s, which kubenet leaves to the cloud: `nodes` (each the others',
    /// set by an administrator; not given), `router` (the route table of a cloud) or `none`.
    routes: Option<Spanned<String>>,
    /// `--hairpin-mode`: `promiscuous-bridge` if not given, `hairpin-veth` or `none`.
    hairpin_mode: Option<Spanned<String>>,
    /// `--non-masquerade-cidr`: what is not masqueraded, `10.0.0.0/8` if not given. `0.0.0.0/0` masquerades nothing.
    #[serde(rename = "nonMasqueradeCIDR")]
    non_masquerade_cidr: Option<Spanned<String>>,
}

/// kube-router's options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KubeRouterEntry {
    /// `--overlay-type`: `subnet` (IP in IP to nodes of other subnets; not given) or `full` (to all nodes).
    overlay_type: Option<Spanned<String>>,
    /// `--enable-overlay`: `true` if not given.
    enable_overlay: Option<bool>,
}

/// Options of the modes that have some; for all other modes, and for those not given, the real system's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeOptions {
    /// kubenet's.
    pub kubenet: Kubenet,
    /// kube-router's.
    pub kube_router: KubeRouter,
}

/// How kubelet sets kubenet up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kubenet {
    /// Who has the routes to the nodes' `podCIDR`s.
    pub routes: CloudRoutes,
    /// `--hairpin-mode`.
    pub hairpin_mode: HairpinMode,
    /// `--non-masquerade-cidr`; a length of 0 masquerades nothing.
    pub non_masquerade_cidr: Ipv4Net,
}

/// How kube-router reaches other nodes' pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KubeRouter {
    /// The overlay; none is `--enable-overlay=false`.
    pub overlay: Option<OverlayType>,
}

/// Who has the routes to the nodes' `podCIDR`s where the network plugin has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudRoutes {
    /// Every node has a static route through every other one.
    Nodes,
    /// The router has them all, as a cloud's route controller sets them.
    Router,
    /// Nobody: pods reach those of their own node only.
    None,
}

/// kubelet's `--hairpin-mode`: how a pod reaches itself through a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HairpinMode {
    /// cbr0 is promiscuous, and ebtables drops the second copies that come of it.
    PromiscuousBridge,
    /// Every pod's port may send a frame back to where it came from.
    HairpinVeth,
    /// It does not.
    None,
}

/// kube-router's `--overlay-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayType {
    /// IP in IP to nodes of other subnets.
    Subnet,
    /// IP in IP to every node.
    Full,
}

impl Default for ModeOptions {
    fn default() -> Self {
        let non_masquerade_cidr = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8);
        let (routes, hairpin_mode) = (CloudRoutes::Nodes, HairpinMode::PromiscuousBridge);
        ModeOptions {
            kubenet: Kubenet { routes, hairpin_mode, non_masquerade_cidr },
            kube_router: KubeRouter { overlay: Some(OverlayType::Subnet) },
        }
    }
}

/// Resolves the options of the mode, and refuses those of others.
pub(super) fn resolve(entry: &NetworkEntry, mode: Mode) -> Checked<ModeOptions> {
    let given = [
        (Mode::Kubenet, "kubenet", entry.kubenet.as_ref().map(|options| options.span)),
        (Mode::KubeRouter, "kubeRouter", entry.kube_router.as_ref().map(|options| options.span)),
    ];
    for (of, field, span) in given {
        if let Some(span) = span.filter(|_| of != mode) {
            return Err(Complaint::at(span, format!("`{field}` has options of the mode {of}, but the mode is {mode}"))
                .hint(format!("remove them, or write `cni: {of}`")));
        }
    }
    let mut options = ModeOptions::default();
    if let Some(written) = &entry.kubenet {
        let kubenet = &mut options.kubenet;
        let routes = [("nodes", CloudRoutes::Nodes), ("router", CloudRoutes::Router), ("none", CloudRoutes::None)];
        kubenet.routes = choice(&written.routes, kubenet.routes, &routes)?;
        let modes = [
            ("promiscuous-bridge", HairpinMode::PromiscuousBridge),
            ("hairpin-veth", HairpinMode::HairpinVeth),
            ("none", HairpinMode::None),
        ];
        kubenet.hairpin_mode = choice(&written.hairpin_mode, kubenet.hairpin_mode, &modes)?;
        if let Some(cidr) = &written.non_masquerade_cidr {
            kubenet.non_masquerade_cidr = rules::prefix(cidr)?;
        }
    }
    if let Some(written) = &entry.kube_router {
        let types = [("subnet", OverlayType::Subnet), ("full", OverlayType::Full)];
        let overlay = choice(&written.overlay_type, OverlayType::Subnet, &types)?;
        options.kube_router.overlay = written.enable_overlay.unwrap_or(true).then_some(overlay);
    }
    Ok(options)
}

/// One of a few words.
fn choice<T: Copy>(written: &Option<Spanned<String>>, default: T, words: &[(&str, T)]) -> Checked<T> {
    let Some(word) = written else { return Ok(default) };
    let known: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let found = words.iter().find(|(name, _)| *name == word.value).map(|(_, value)| *value);
    found.ok_or_else(|| {
        Complaint::at(word.span, format!("{} is none of the words here", quote(word))).hint(rules::one_of(word, &known))
    })
}
