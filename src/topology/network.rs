//! How pods are connected: the mode, Calico's pools, and whether all prefixes of the cluster live side by
//! side.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cluster_file::ClusterSpec;
use super::complaint::{Checked, Complaint, nearest, quote};
use super::dual_stack;
use super::manifests::IpPoolObject;
use super::options;
use super::pools::{self, Chosen};
use super::rules;
use super::source::Span;
use super::underlay::{MTU_RANGE, Underlay};
use super::{Addressing, Flannel, IpPool, Mode, Network};
use crate::plan::Family;

/// `serviceCIDR` if the file does not say it: kubeadm's.
const SERVICE_CIDR: &str = "10.96.0.0/12";

/// Least prefix length of IPv6's half: the API server takes up to 20 bits (cmd/kube-apiserver, `validateMaxCIDRRange`).
const SERVICE_BITS6: u8 = 108;

/// Whose prefix that is.
const SERVICE_DEFAULT: &str = "the default serviceCIDR";

/// Where the modes are found; there are too many of them for a hint.
const MODES: &str = "`minik topologies` lists the modes";

/// A prefix with whose it is and where it was written, if it was.
struct Claim {
    net: IpNet,
    whose: String,
    span: Option<Span>,
}

/// Resolves the network of a cluster: mode, pools (of the Cluster document, then the objects), `serviceCIDR`.
pub(super) fn resolve(
    spec: &ClusterSpec,
    objects: &[&IpPoolObject],
    underlay: &Underlay,
    flannel: Flannel,
    (cluster_cidr, cluster_cidr6): (Ipv4Net, Option<Ipv6Net>),
    chosen: Chosen,
) -> Checked<(Network, (Ipv4Net, Option<Ipv6Net>))> {
    let entry = &spec.network;
    let mut claims = underlay_claims(spec, underlay);
    let services = service_cidr(spec, &claims)?;
    let mode = chosen.mode;
    let mut pools = Vec::new();
    if mode.addressing() == Addressing::PodCidr {
        let span = entry.cluster_cidr.as_ref().map(|cidr| cidr.span);
        for net in [Some(cluster_cidr.into()), cluster_cidr6.map(IpNet::from)].into_iter().flatten() {
            no_overlap(&claims, &Claim { net, whose: "clusterCIDR".to_owned(), span })?;
        }
    }
    for (pool, name_span, cidr_span) in pools::written(entry, objects, chosen)? {
        add_pool(pool, name_span, cidr_span, &mut pools, &mut claims)?;
    }
    if !pools.iter().any(|(pool, _)| pool.cidr.addr().is_ipv4()) {
        let is_free = |net: Ipv4Net| !claims.iter().any(|claim| rules::overlap(claim.net, net));
        pools.push((pools::default_pool(is_free, mode)?, None));
    }
    let written: Vec<&IpPool> = pools.iter().map(|(pool, _)| pool).collect();
    let routing = pools::routing(entry, &written, mode)?;
    pools::check_blocks(spec, &underlay.nodes, &pools)?;
    let mtu = entry.mtu.as_ref().map(|mtu| rules::in_range("an MTU", mtu, MTU_RANGE)).transpose()?;
    let network = Network {
        mode,
        cluster_cidr,
        cluster_cidr6,
        pools: pools.into_iter().map(|(pool, _)| pool).collect(),
        strict_affinity: entry.strict_affinity.unwrap_or(false),
        routing,
        mtu,
        random_fully: entry.random_fully.unwrap_or(false),
        flannel,
        options: options::resolve(entry, mode)?,
    };
    dual_stack::check(spec, underlay, &network, services.1)?;
    Ok((network, services))
}

/// The CNI mode: the command line's, else the file's, else that of the pools.
pub(super) fn resolve_mode(spec: &ClusterSpec, objects: &[&IpPoolObject], argument: Option<&str>) -> Checked<Chosen> {
    let names: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).collect();
    let (wanted, span) = match (argument, &spec.network.cni) {
        (Some(argument), _) => (argument, None),
        (None, Some(written)) => (written.value.as_str(), Some(written.span)),
        (None, None) => {
            let mode = pools::mode_of(&spec.network, objects)?;
            return mode.map(|mode| Chosen { mode, explicit: false }).ok_or_else(|| {
                Complaint::at(spec.nodes.span, "no CNI mode is given")
                    .hint(format!("add `network: {{cni: calico-ipip}}` to the Cluster's spec, or pass --cni; {MODES}"))
            });
        }
    };
    let mode = Mode::ALL.iter().copied().find(|mode| mode.name() == wanted).ok_or_else(|| {
        Complaint::at_or_usage(span, format!("unknown CNI mode {}", quote(wanted))).hint(
            match nearest(wanted, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => MODES.to_owned(),
            },
        )
    })?;
    Ok(Chosen { mode, explicit: true })
}

fn underlay_claims(spec: &ClusterSpec, underlay: &Underlay) -> Vec<Claim> {
    let claims = |(segment, entry): (&super::Segment, &super::cluster_file::SegmentEntry)| {
        let (whose, span) = (format!("segment `{}`", segment.name), Some(entry.subnet.span));
        let nets = Family::BOTH.into_iter().filter_map(|family| segment.subnet_in(family));
        nets.map(|net| Claim { net, whose: whose.clone(), span }).collect::<Vec<_>>()
    };
    underlay.segments.iter().zip(spec.segments.iter()).flat_map(claims).collect()
}

/// Adds a claim that overlaps no other.
fn claim(claims: &mut Vec<Claim>, new: Claim) -> Checked<()> {
    no_overlap(claims, &new)?;
    claims.push(new);
    Ok(())
}

fn no_overlap(claims: &[Claim], new: &Claim) -> Checked<()> {
    if let Some(other) = claims.iter().find(|other| rules::overlap(other.net, new.net)) {
        let message = format!("{} of {} overlaps {} of {}", new.net, new.whose, other.net, other.whose);
        let complaint = match new.span.or(other.span) {
            Some(span) => Complaint::at(span, message),
            None => Complaint::anywhere(message),
        };
        let second = new.span.and(other.span);
        let cure = match [new, other].iter().any(|claim| claim.whose == SERVICE_DEFAULT) {
            true => "give services a prefix apart from it, as in `serviceCIDR: 10.96.0.0/16`",
            false => "an address must belong to one of them only: choose another prefix",
        };
        return Err(complaint.and(second, other.whose.clone()).hint(cure));
    }
    Ok(())
}

/// `serviceCIDR`, or kubeadm's.
pub(super) fn service_prefix(spec: &ClusterSpec) -> Checked<(Ipv4Net, Option<Ipv6Net>)> {
    let Some(text) = &spec.service_cidr else {
        let default = SERVICE_CIDR.parse().map_err(|_| Complaint::anywhere("the default serviceCIDR is wrong"));
        return Ok((default?, None));
    };
    let (four, six) = dual_stack::host_prefixes("the services' prefix", text)?;
    match six.filter(|six| six.prefix_len() < SERVICE_BITS6) {
        Some(six) => Err(Complaint::at(text.span, format!("{six} is too large for services: specified --secondary-service-cluster-ip-range is too large; for 128-bit addresses, the mask must be >= {SERVICE_BITS6}"))
            .hint("write a prefix length from 108 to 126; kubeadm's is 112")),
        None => Ok((four, six)),
    }
}

/// The services' prefixes, apart from every segment. They may overlap a pool: neither kubeadm nor Calico minds, and
/// the cluster of the document has its pool 10.100.0.0/16 inside of the default 10.96.0.0/12.
fn service_cidr(spec: &ClusterSpec, segments: &[Claim]) -> Checked<(Ipv4Net, Option<Ipv6Net>)> {
    let ((net, net6), span) = (service_prefix(spec)?, spec.service_cidr.as_ref().map(|text| text.span));
    let whose = if span.is_some() { "serviceCIDR" } else { SERVICE_DEFAULT }.to_owned();
    for net in [Some(net.into()), net6.map(IpNet::from)].into_iter().flatten() {
        no_overlap(segments, &Claim { net, whose: whose.clone(), span })?;
    }
    Ok((net, net6))
}

fn add_pool(
    pool: IpPool,
    name: Span,
    cidr: Span,
    pools: &mut Vec<(IpPool, Option<Span>)>,
    claims: &mut Vec<Claim>,
) -> Checked<()> {
    if let Some((_, first)) = pools.iter().find(|(other, _)| other.name == pool.name) {
        return Err(Complaint::at(name, format!("the pool `{}` is given twice", pool.name))
            .and(*first, "first given here")
            .hint("give it another name, or remove one"));
    }
    claim(claims, Claim { net: pool.cidr, whose: format!("pool `{}`", pool.name), span: Some(cidr) })?;
    pools.push((pool, Some(name)));
    Ok(())
}
