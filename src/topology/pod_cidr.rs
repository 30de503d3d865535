//! The nodes' `podCIDR`s, as kube-controller-manager hands them out.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cluster_file::ClusterSpec;
use super::complaint::{Checked, Complaint};
use super::dual_stack;
use super::fields::Spanned;
use super::net_conf::NetConf;
use super::rules;
use super::underlay::Underlay;
use super::{Mode, Node};

/// What flannel's manifest, and so most of kubeadm's users, have.
const CLUSTER_CIDR: &str = "10.244.0.0/16";

/// `--node-cidr-mask-size`.
const MASK_SIZE: u32 = 24;

/// `--node-cidr-mask-size-ipv6`.
const MASK_SIZE6: u32 = 64;

/// How much longer a node's IPv6 prefix may be than the cluster's (cidrset, `clusterSubnetMaxDiff`).
const MASK_DIFFERENCE_MAX: u32 = 16;

/// Gives every node its `podCIDR`: what the file fixes, and to the others the next free one in the order of the nodes
/// (kubernetes, pkg/controller/nodeipam/ipam/cidrset: lowest first). The cluster's prefix comes back.
///
/// What the file leaves open is taken from flannel's ConfigMap, if there is one: `Network`, `SubnetLen`, and of the free
/// ones those from `SubnetMin` to `SubnetMax`. On a real cluster the controller knows nothing of these three, and
/// flannel with `--kube-subnet-mgr` does not ask for them.
pub(super) fn hand_out(
    spec: &ClusterSpec,
    nodes: &mut [Node],
    mode: Mode,
    flannel: Option<&NetConf>,
) -> Checked<(Ipv4Net, Option<Ipv6Net>)> {
    let entry = &spec.network;
    let (cluster, cluster6) = match (&entry.cluster_cidr, flannel) {
        (Some(text), _) => dual_stack::host_prefixes("the pods' prefix", text)?,
        (None, Some(conf)) => (conf.network, conf.network6.map(|(network, _)| network)),
        (None, None) => {
            let cluster = CLUSTER_CIDR.parse();
            (cluster.map_err(|_| Complaint::anywhere("the default clusterCIDR is wrong"))?, None)
        }
    };
    hand_out4(spec, nodes, mode, flannel, cluster)?;
    if let Some(cluster6) = cluster6 {
        hand_out6(spec, nodes, flannel, cluster6)?;
    }
    let lone = spec.nodes.iter().find(|node| node.pod_cidr.as_ref().is_some_and(|text| text.contains(',')));
    match lone.filter(|_| cluster6.is_none()).and_then(|node| node.pod_cidr.as_ref()) {
        Some(text) => Err(Complaint::at(text.span, "this podCIDR has IPv6, but the clusterCIDR has not")
            .hint("write `clusterCIDR: 10.244.0.0/16,fd00:10:244::/56`, of which it is a part")),
        None => Ok((cluster, cluster6)),
    }
}

/// IPv6's half of [`hand_out`].
fn hand_out6(spec: &ClusterSpec, nodes: &mut [Node], flannel: Option<&NetConf>, cluster: Ipv6Net) -> Checked<()> {
    let entry = &spec.network;
    let subnets = flannel.map(|conf| conf.subnets6).unwrap_or_default();
    let least = u32::from(cluster.prefix_len());
    let size = match &entry.node_cidr_mask_size6 {
        Some(size) => {
            rules::in_range("a podCIDR's IPv6 prefix length", size, least..=(least + MASK_DIFFERENCE_MAX).min(126))?
        }
        None => subnets.len.map_or(MASK_SIZE6, u32::from).max(least),
    };
    let place = entry.cluster_cidr.as_ref().map(|text| text.span);
    let place = place.or(flannel.and_then(|conf| conf.network6.map(|(_, span)| span))).unwrap_or(spec.nodes.span);
    if size > least + MASK_DIFFERENCE_MAX {
        let message =
            format!("{cluster} cannot be cut into /{size}: New CIDR set failed; the node CIDR size is too big");
        return Err(Complaint::at(place, message).hint(format!(
            "kube-controller-manager takes at most {MASK_DIFFERENCE_MAX} bits more than the cluster's: write a longer \
             prefix, or a smaller `nodeCIDRMaskSizeIPv6`"
        )));
    }
    let size = u8::try_from(size).unwrap_or(u8::MAX);
    let written: Vec<Option<IpNet>> = parts(spec, |text| Ok(dual_stack::prefixes(text)?.1.map(IpNet::from)))?;
    check_fixed(spec, &written, cluster.into(), size)?;
    let mut free = cluster
        .subnets(size)
        .map_err(|_| Complaint::anywhere(format!("{cluster} cannot be cut into /{size}")))?
        .filter(|net| subnets.min.is_none_or(|min| net.network() >= min))
        .filter(|net| subnets.max.is_none_or(|max| net.network() <= max))
        .filter(|net| !written.iter().flatten().any(|taken| rules::overlap(*taken, *net)));
    for (node, fixed) in nodes.iter_mut().zip(&written) {
        node.pod_cidr6 = match fixed {
            Some(IpNet::V6(net)) => Some(*net),
            _ => free.next(),
        };
        if node.pod_cidr6.is_none() {
            return Err(Complaint::at(place, format!("{cluster} has no /{size} left for node `{}`", node.name))
                .hint("make `clusterCIDR` larger, or the nodes' parts smaller by a larger `nodeCIDRMaskSizeIPv6`"));
        }
    }
    Ok(())
}

/// What the nodes' `podCIDR`s say, each read by `half`.
fn parts(spec: &ClusterSpec, half: impl Fn(&Spanned<String>) -> Checked<Option<IpNet>>) -> Checked<Vec<Option<IpNet>>> {
    spec.nodes.iter().map(|entry| entry.pod_cidr.as_ref().map_or(Ok(None), &half)).collect()
}

/// IPv4's half of [`hand_out`].
fn hand_out4(
    spec: &ClusterSpec,
    nodes: &mut [Node],
    mode: Mode,
    flannel: Option<&NetConf>,
    cluster: Ipv4Net,
) -> Checked<()> {
    let entry = &spec.network;
    let subnets = flannel.map(|conf| conf.subnets).unwrap_or_default();
    let size = match &entry.node_cidr_mask_size {
        Some(size) => rules::in_range("a podCIDR's prefix length", size, u32::from(cluster.prefix_len())..=30)?,
        None => subnets.len.map_or(MASK_SIZE, u32::from).max(u32::from(cluster.prefix_len())),
    };
    let size = u8::try_from(size).unwrap_or(u8::MAX);
    let fixed = parts(spec, |text| Ok(Some(dual_stack::prefixes(text)?.0.into())))?;
    check_fixed(spec, &fixed, cluster.into(), size)?;
    let mut free = cluster
        .subnets(size)
        .map_err(|_| Complaint::anywhere(format!("{cluster} cannot be cut into /{size}")))?
        .filter(|net| subnets.min.is_none_or(|min| net.network() >= min))
        .filter(|net| subnets.max.is_none_or(|max| net.network() <= max))
        .filter(|net| !fixed.iter().flatten().any(|taken| rules::overlap(*taken, *net)));
    for (node, fixed) in nodes.iter_mut().zip(&fixed) {
        node.pod_cidr = match fixed {
            Some(IpNet::V4(net)) => Some(*net),
            _ => free.next(),
        };
        if node.pod_cidr.is_none() && mode.addressing().is_by_node() {
            let flannels = flannel.map_or(spec.nodes.span, |conf| conf.network_span);
            let span = entry.cluster_cidr.as_ref().map_or(flannels, |cidr| cidr.span);
            return Err(Complaint::at(span, format!("{cluster} has no /{size} left for node `{}`", node.name))
                .hint("make `clusterCIDR` larger, or the nodes' parts smaller by a larger `nodeCIDRMaskSize`"));
        }
    }
    Ok(())
}

/// What the file fixes for each node: inside of the cluster's prefix, and apart from each other.
fn check_fixed(spec: &ClusterSpec, fixed: &[Option<IpNet>], cluster: IpNet, size: u8) -> Checked<()> {
    for (index, entry) in spec.nodes.iter().enumerate() {
        let (Some(text), Some(net)) = (&entry.pod_cidr, fixed[index]) else { continue };
        if !cluster.contains(&net) || net.prefix_len() > net.max_prefix_len() - 2 {
            return Err(Complaint::at(text.span, format!("{net} is no part of clusterCIDR, which is {cluster}"))
                .hint(format!("choose a /{size} of {cluster}, or change `network: {{clusterCIDR: …}}`")));
        }
        let taken = fixed[..index].iter().position(|other| other.is_some_and(|other| rules::overlap(other, net)));
        if let Some(other) = taken.and_then(|index| spec.nodes.get(index)) {
            return Err(Complaint::at(text.span, format!("{net} overlaps the podCIDR of node `{}`", *other.name))
                .and(other.pod_cidr.as_ref().map(|cidr| cidr.span), "it is here")
                .hint("a podCIDR belongs to one node"));
        }
    }
    Ok(())
}

/// In the mode `macvlan` pods are on their node's segment, and its `podCIDR` is a part of the segment's subnet: the
/// range that host-local has on this node. No host of the segment may have an address in it.
pub(super) fn check_segments(spec: &ClusterSpec, underlay: &Underlay) -> Checked<()> {
    let nodes = underlay.nodes.iter().map(|node| (format!("node `{}`", node.name), node.address));
    let clients = underlay.clients.iter().map(|client| (format!("client `{}`", client.name), client.address));
    let ports = underlay.routers.iter().flat_map(|router| router.ports.iter().map(move |port| (router, port)));
    let routers = ports.flat_map(|(router, port)| {
        port.addresses.iter().filter_map(|net| match net.addr() {
            IpAddr::V4(address) => Some((format!("router `{}`", router.name), address)),
            IpAddr::V6(_) => None,
        })
    });
    let hosts: Vec<_> = nodes.chain(clients).chain(routers).collect();
    for (entry, node) in spec.nodes.iter().zip(&underlay.nodes) {
        let segment = underlay.segments.iter().find(|segment| segment.name == node.segment);
        let (Some(range), Some(segment)) = (node.pod_cidr, segment) else { continue };
        let written = entry.pod_cidr.as_ref().or(spec.network.cluster_cidr.as_ref());
        let span = written.map_or(entry.name.span, |cidr| cidr.span);
        if !segment.subnet.contains(&range) {
            let message = format!(
                "the pods of node `{}` would have addresses of {range}, but with macvlan they are on its segment `{}`, {}",
                node.name, segment.name, segment.subnet
            );
            let cure =
                format!("give each node a `podCIDR` out of {}, and let `clusterCIDR` span them all", segment.subnet);
            return Err(Complaint::at(span, message).hint(cure));
        }
        if let Some((who, address)) = hosts.iter().find(|(_, address)| range.contains(address)) {
            return Err(Complaint::at(span, format!("{range} is for pods, but {who} has the address {address}"))
                .hint("choose a part of the subnet without hosts"));
        }
    }
    Ok(())
}
