//! From sources to a [`Cluster`]: the stages in order, and the one place where complaints become errors.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::cluster_file::{ClusterSpec, ProxyEntry};
use super::complaint::{Checked, Complaint, quote};
use super::dns;
use super::documents::{self, Document};
use super::edits::{self, Edited};
use super::flannel;
use super::iptables;
use super::net_conf;
use super::network;
use super::pod_cidr;
use super::pod_dns;
use super::pod_network;
use super::proxy;
use super::room;
use super::rules;
use super::schedule::{self, Placed};
use super::service_objects;
use super::source::{Overrides, Source, Span};
use super::tree::Node;
use super::underlay;
use super::workloads;
use super::{Addressing, Cluster, Network, ProxyConfig, ProxyMode, Reading, Segment, ServiceObjects};
use crate::error::Result;
use crate::names;
use crate::plan::Family;

/// A cluster's name if neither file nor command line give one.
const CLUSTER_NAME: &str = "minik";

/// Reads a cluster from its sources: YAML or JSON, one document of kind `Cluster`, and Kubernetes objects.
///
/// # Errors
/// The first thing that is wrong, of [`Kind::Topology`](crate::error::Kind::Topology), with file, line, column,
/// field and cure; of `Kind::Usage` if an override is wrong.
pub fn parse(sources: &[Source], overrides: &Overrides) -> Result<Cluster> {
    Reading::default().parse(sources, overrides)
}

/// Services and their endpoints of manifests without a cluster, as they reach a proxy that watches the API: checked, and
/// no address or node port chosen.
///
/// # Errors
/// As [`parse`].
pub fn parse_services(sources: &[Source]) -> Result<ServiceObjects> {
    let mut trees = Vec::new();
    let found = documents::read_trees(sources, &mut trees)
        .and_then(|()| documents::decode_all(trees.iter()))
        .and_then(|documents| service_objects::resolve(&documents, &[], None));
    found.map_err(|complaint| complaint.into_error(sources, &trees))
}

/// `sources` are `files` files, then the manifests that were applied; `trees` are their documents.
pub(super) fn resolve(
    sources: &[Source],
    files: usize,
    trees: &[(u32, Node)],
    overrides: &Overrides,
) -> Checked<Cluster> {
    check_not_empty(sources, trees)?;
    let Edited { cluster: file, objects, past } = edits::make(trees, files, &overrides.edits)?;
    let name = cluster_name(file.metadata.name.as_ref().map(|name| (name.as_str(), name.span)), overrides)?;
    let mut underlay = underlay::resolve(&file.spec, &past.lines)?;
    let pool_objects: Vec<_> =
        objects.iter().filter_map(|o| if let Document::IpPool(pool) = o { Some(&**pool) } else { None }).collect();
    let net_conf = net_conf::find(&objects, sources)?;
    let net_conf = net_conf.as_ref();
    let chosen = flannel::mode(&file.spec, &pool_objects, overrides.cni.as_deref(), net_conf)?;
    let cluster_cidrs = pod_cidr::hand_out(&file.spec, &mut underlay.nodes, chosen.mode, net_conf)?;
    let flannel = flannel::settings(&file.spec, net_conf, &underlay, cluster_cidrs, chosen.mode)?;
    if chosen.mode.addressing() == Addressing::Segment {
        pod_cidr::check_segments(&file.spec, &underlay)?;
    }
    let (network, services) = network::resolve(&file.spec, &pool_objects, &underlay, flannel, cluster_cidrs, chosen)?;
    let namespaces = workloads::namespaces(&objects, &past)?;
    let orders = workloads::orders(&objects, &namespaces)?;
    let (workloads, placed) = schedule::place(&orders, &underlay.nodes, &past, &overrides.memory)?;
    pod_network::check(&placed, chosen.mode)?;
    pod_network::check_host_ports(&placed, chosen.mode)?;
    room::check(&network, &file.spec, &pool_objects, &underlay.nodes, &placed)?;
    let dns = dns::resolve(&file.spec)?;
    pod_dns::check(&placed, dns.is_some())?;
    let found = service_objects::resolve(&objects, &namespaces, Some((services, &overrides.memory.services)))?;
    let proxy_mode = overrides.proxy.as_deref().map(proxy::mode_argument).transpose()?;
    let wanted = !found.services.is_empty() || proxy_mode.is_some();
    let proxy = proxy_config(file.spec.proxy.as_ref(), &network, wanted, proxy_mode)?;
    let hosts = file.spec.nodes.iter().map(|n| &n.name).chain(file.spec.clients.iter().map(|c| &c.name));
    let hosts: Vec<(&str, Span)> = hosts.map(|name| (name.as_str(), name.span)).collect();
    let segments: Vec<Span> = file.spec.segments.iter().map(|segment| segment.name.span).collect();
    let cluster = Cluster {
        name,
        segments: underlay.segments,
        routers: underlay.routers,
        nodes: underlay.nodes,
        clients: underlay.clients,
        network,
        service_cidr: services.0,
        service_cidr6: services.1,
        namespaces,
        workloads,
        pods: Vec::new(),
        memory: overrides.memory.clone(),
        services: found.services,
        slices: found.slices,
        proxy,
        iptables: iptables::resolve(overrides.iptables.as_deref(), file.spec.iptables.as_ref())?,
        dns,
    };
    let routers = router_spans(&file.spec);
    check_netns_names(&cluster, [&segments, &routers], &hosts, &placed)?;
    Ok(Cluster { pods: placed.into_iter().map(|(pod, _)| pod).collect(), ..cluster })
}

fn check_not_empty(sources: &[Source], trees: &[(u32, Node)]) -> Checked<()> {
    if !trees.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    Err(Complaint::anywhere(format!("{} is empty", names.join(", ")))
        .hint("a topology has a document of kind `Cluster`; `minik show calico-ipip` prints an example"))
}

/// Where the routers are written; for the one that nobody writes, the first segment.
fn router_spans(spec: &ClusterSpec) -> Vec<Span> {
    let alone = spec.segments.iter().map(|segment| segment.name.span).take(usize::from(spec.routers.is_none()));
    spec.routers.iter().flatten().map(|router| router.name.span).chain(alone).collect()
}

/// kube-proxy, if the file asks for it or there is something for it to do; it is told the pods' prefixes.
fn proxy_config(
    entry: Option<&ProxyEntry>,
    network: &Network,
    wanted: bool,
    mode: Option<ProxyMode>,
) -> Checked<Option<ProxyConfig>> {
    let of_pools = |family| network.pools.iter().find(|pool| pool.family() == family).map(|pool| pool.cidr);
    let pods: Vec<IpNet> = match network.mode.addressing() {
        Addressing::Pools => Family::BOTH.into_iter().filter_map(of_pools).collect(),
        Addressing::PodCidr | Addressing::Segment | Addressing::Own => {
            [Some(network.cluster_cidr.into()), network.cluster_cidr6.map(IpNet::from)].into_iter().flatten().collect()
        }
    };
    let config = match entry {
        Some(entry) => Some(proxy::resolve(entry, pods, mode)?),
        None => wanted
            .then(|| ProxyConfig::new(pods))
            .map(|config| ProxyConfig { mode: mode.unwrap_or(config.mode), ..config }),
    };
    Ok(config)
}

fn cluster_name(written: Option<(&str, Span)>, overrides: &Overrides) -> Checked<String> {
    let (name, span) = match (&overrides.cluster_name, written) {
        (Some(name), _) => (name.as_str(), None),
        (None, Some((name, span))) => (name, Some(span)),
        (None, None) => (CLUSTER_NAME, None),
    };
    rules::dns_label("a cluster", name, span).map(str::to_owned)
}

/// Every namespace of the cluster has a name of its own under /run/netns, and one that a file can have.
fn check_netns_names(
    cluster: &Cluster,
    [segments, routers]: [&[Span]; 2],
    hosts: &[(&str, Span)],
    pods: &[Placed],
) -> Checked<()> {
    let mut taken: BTreeMap<String, (String, Span)> = BTreeMap::new();
    let mut take = |what: &str, who: String, span: Span| {
        let netns = names::netns(&cluster.name, what);
        if netns.len() > names::NETNS_NAME_MAX {
            let message = format!("this name is too long: the network namespace would be {}", quote(&netns));
            return Err(Complaint::at(span, message)
                .hint(format!("a namespace's name has at most {} bytes: shorten it", names::NETNS_NAME_MAX)));
        }
        match taken.insert(netns.clone(), (who.clone(), span)) {
            None => Ok(()),
            Some((first, place)) => {
                Err(Complaint::at(span, format!("{first} and {who} would both be the network namespace `{netns}`"))
                    .and(Some(place), first)
                    .hint("rename one of them"))
            }
        }
    };
    for (segment, span) in cluster.segments.iter().zip(segments) {
        take(&cluster.switch_name(segment), format!("the switch of segment `{}`", segment.name), *span)?;
    }
    for (router, span) in cluster.routers.iter().zip(routers) {
        take(&router.name, format!("router `{}`", router.name), *span)?;
    }
    for (name, span) in hosts {
        take(name, format!("host `{name}`"), *span)?;
    }
    for (pod, span) in pods {
        take(&pod.key(), format!("pod {}", pod.key()), *span)?;
    }
    Ok(())
}

impl Cluster {
    /// Name inside the cluster of a segment's switch: `switch`, and with several segments `switch-lan`.
    pub fn switch_name(&self, segment: &Segment) -> String {
        match self.segments.len() {
            1 => "switch".to_owned(),
            _ => format!("switch-{}", segment.name),
        }
    }
}
