//! How pods are connected: the mode, Calico's pools, and whether all prefixes of the cluster live side by
//! side.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::cluster_file::{ClusterSpec, NetworkEntry, PoolEntry};
use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::manifests::IpPoolObject;
use super::options;
use super::rules;
use super::schedule::Placed;
use super::source::Span;
use super::underlay::{MTU_RANGE, Underlay};
use super::{Addressing, Flannel, IpPool, Mode, Network, Node};

/// Name of the pool that Calico's installer makes.
const DEFAULT_POOL: &str = "default-ipv4-ippool";

/// Calico's default block size.
const BLOCK_SIZE: u32 = 26;

/// Block sizes that Calico takes (libcalico-go, validator for IPPool).
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 20..=32;

/// `serviceCIDR` if the file does not say it: kubeadm's.
const SERVICE_CIDR: &str = "10.96.0.0/12";

/// Whose prefix that is.
const SERVICE_DEFAULT: &str = "the default serviceCIDR";

/// A prefix with whose it is and where it was written, if it was.
struct Claim {
    net: Ipv4Net,
    whose: String,
    span: Option<Span>,
}

/// Resolves the network of a cluster: mode, pools (of the Cluster document, then the objects), `serviceCIDR`.
pub(super) fn resolve(
    spec: &ClusterSpec,
    objects: &[&IpPoolObject],
    underlay: &Underlay,
    cluster_cidr: Ipv4Net,
    mode: Mode,
) -> Checked<(Network, Ipv4Net)> {
    let entry = &spec.network;
    let mut claims = underlay_claims(spec, underlay);
    let service_cidr = service_cidr(spec, &claims)?;
    let mut pools = Vec::new();
    if mode.addressing() == Addressing::PodCidr {
        let span = entry.cluster_cidr.as_ref().map(|cidr| cidr.span);
        no_overlap(&claims, &Claim { net: cluster_cidr, whose: "clusterCIDR".to_owned(), span })?;
    }
    for (pool, name_span, cidr_span) in written_pools(entry, objects, mode)? {
        add_pool(pool, name_span, cidr_span, &mut pools, &mut claims)?;
    }
    if pools.is_empty() {
        pools.push(default_pool(&claims)?);
    }
    check_blocks(spec, &underlay.nodes, &pools)?;
    let mtu = entry.mtu.as_ref().map(|mtu| rules::in_range("an MTU", mtu, MTU_RANGE)).transpose()?;
    let network = Network {
        mode,
        cluster_cidr,
        pools: pools.into_iter().map(|(pool, _)| pool).collect(),
        strict_affinity: entry.strict_affinity.unwrap_or(false),
        mtu,
        random_fully: entry.random_fully.unwrap_or(false),
        flannel: Flannel { random_fully: entry.random_fully.unwrap_or(true), ..Flannel::new(cluster_cidr) },
        options: options::resolve(entry, mode)?,
    };
    Ok((network, service_cidr))
}

/// The CNI mode: the command line's, else the file's.
pub(super) fn resolve_mode(spec: &ClusterSpec, argument: Option<&str>) -> Checked<Mode> {
    let names: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).collect();
    let (wanted, span) = match (argument, &spec.network.cni) {
        (Some(argument), _) => (argument, None),
        (None, Some(written)) => (written.value.as_str(), Some(written.span)),
        (None, None) => {
            return Err(Complaint::at(spec.nodes.span, "no CNI mode is given")
                .hint(format!("add `network: {{cni: {}}}` to the Cluster's spec, or pass --cni", names.join("|"))));
        }
    };
    Mode::ALL.iter().copied().find(|mode| mode.name() == wanted).ok_or_else(|| {
        Complaint::at_or_usage(span, format!("unknown CNI mode {}", quote(wanted))).hint(rules::one_of(wanted, &names))
    })
}

fn underlay_claims(spec: &ClusterSpec, underlay: &Underlay) -> Vec<Claim> {
    let claim = |(segment, entry): (&super::Segment, &super::cluster_file::SegmentEntry)| Claim {
        net: segment.subnet,
        whose: format!("segment `{}`", segment.name),
        span: Some(entry.subnet.span),
    };
    underlay.segments.iter().zip(spec.segments.iter()).map(claim).collect()
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

/// The services' prefix, apart from every segment. It may overlap a pool: neither kubeadm nor Calico minds, and
/// the cluster of the document has its pool 10.100.0.0/16 inside of the default 10.96.0.0/12.
fn service_cidr(spec: &ClusterSpec, segments: &[Claim]) -> Checked<Ipv4Net> {
    let (net, span) = match &spec.service_cidr {
        Some(text) => (rules::host_prefix("the services' prefix", text)?, Some(text.span)),
        None => {
            let default = SERVICE_CIDR.parse().map_err(|_| Complaint::anywhere("the default serviceCIDR is wrong"))?;
            (default, None)
        }
    };
    let whose = if span.is_some() { "serviceCIDR" } else { SERVICE_DEFAULT }.to_owned();
    no_overlap(segments, &Claim { net, whose, span })?;
    Ok(net)
}

/// A pool as written, with the places of its name and prefix.
type Written = (IpPool, Span, Span);

/// The pools of the Cluster document, then those given as objects.
fn written_pools(entry: &NetworkEntry, objects: &[&IpPoolObject], mode: Mode) -> Checked<Vec<Written>> {
    if let (Some(one), Some(many)) = (&entry.pool, &entry.pools) {
        return Err(Complaint::at(one.span, "`pool` and `pools` are both given")
            .and(Some(many.span), "`pools` is here")
            .hint("put all pools under `pools`"));
    }
    let listed = entry.pools.iter().flat_map(|pools| pools.iter());
    let mut pools = Vec::new();
    for (index, pool) in entry.pool.iter().chain(listed).enumerate() {
        pools.push(pool_entry(pool, index)?);
    }
    for object in objects {
        pools.push(pool_object(object, mode)?);
    }
    Ok(pools)
}

fn pool_entry(entry: &Spanned<PoolEntry>, index: usize) -> Checked<Written> {
    let (name, span) = match &entry.name {
        Some(name) => (rules::dns_subdomain("a pool", name)?, name.span),
        None if index == 0 => (DEFAULT_POOL.to_owned(), entry.span),
        None => {
            return Err(Complaint::at(entry.span, "this pool has no name")
                .hint(format!("only the first pool is called `{DEFAULT_POOL}` by itself; add `name:`")));
        }
    };
    let pool = IpPool {
        name,
        cidr: rules::host_prefix("a pool", &entry.cidr)?,
        block_size: block_size(entry.block_size.as_ref(), &entry.cidr)?,
        nat_outgoing: entry.nat_outgoing.unwrap_or(true),
        disabled: entry.disabled.unwrap_or(false),
    };
    Ok((pool, span, entry.cidr.span))
}

fn pool_object(object: &IpPoolObject, mode: Mode) -> Checked<Written> {
    let spec = &object.spec;
    let Some(name) = &object.metadata.name else {
        return Err(Complaint::at(spec.cidr.span, "this IPPool has no name").hint("add `metadata: {name: …}`"));
    };
    check_encapsulation(object, mode)?;
    let only = |field: &str, value: &Option<Spanned<String>>, allowed: &str| match value {
        Some(value) if !value.is_empty() && value.value != allowed => {
            Err(Complaint::at(value.span, format!("{field} {} is not in this version of minik", quote(value)))
                .hint(format!("write `{field}: {allowed}`, or leave it out")))
        }
        _ => Ok(()),
    };
    only("nodeSelector", &spec.node_selector, "all()")?;
    only("assignmentMode", &spec.assignment_mode, "Automatic")?;
    if let Some(uses) = &spec.allowed_uses
        && !["Workload", "Tunnel"].iter().all(|needed| uses.iter().any(|given| given == needed))
    {
        return Err(Complaint::at(
            uses.span,
            "a pool for less than workloads and tunnels is not in this version of minik",
        )
        .hint("write `allowedUses: [Workload, Tunnel]`, or leave it out"));
    }
    let pool = IpPool {
        name: rules::dns_subdomain("a pool", name)?,
        cidr: rules::host_prefix("a pool", &spec.cidr)?,
        block_size: block_size(spec.block_size.as_ref(), &spec.cidr)?,
        nat_outgoing: spec.nat_outgoing.unwrap_or(false),
        disabled: spec.disabled.unwrap_or(false),
    };
    Ok((pool, name.span, spec.cidr.span))
}

/// An IPPool's own encapsulation must be the mode's: Calico decides by the pool, minik by the mode.
fn check_encapsulation(object: &IpPoolObject, mode: Mode) -> Checked<()> {
    if mode.addressing() != Addressing::Pools {
        return Ok(());
    }
    let (ipip, vxlan) = mode.encapsulation();
    let spec = &object.spec;
    for (field, written, needed) in [("ipipMode", &spec.ipip_mode, ipip), ("vxlanMode", &spec.vxlan_mode, vxlan)] {
        let given = written.as_ref().map_or("Never", |mode| mode.as_str());
        if given != needed {
            let span = written.as_ref().map_or(spec.cidr.span, |mode| mode.span);
            let known = ["Always", "CrossSubnet", "Never"].contains(&given);
            let what = if known {
                format!("{field} of this pool is `{given}`")
            } else {
                format!("unknown {field} {}", quote(given))
            };
            return Err(Complaint::at(span, format!("{what}, but the mode {mode} needs `{needed}`"))
                .hint(format!("write `{field}: {needed}`, or choose another mode")));
        }
    }
    Ok(())
}

fn block_size(written: Option<&Spanned<u32>>, cidr: &Spanned<String>) -> Checked<u8> {
    let pool = rules::prefix(cidr)?;
    let size = written.map_or(Ok(BLOCK_SIZE), |size| rules::in_range("a block size", size, BLOCK_SIZES))?;
    let size = u8::try_from(size).unwrap_or(u8::MAX);
    if size < pool.prefix_len() {
        let span = written.map_or(cidr.span, |size| size.span);
        return Err(Complaint::at(span, format!("a /{size} block does not fit into the pool {pool}"))
            .hint(format!("make the pool larger, or write a `blockSize` from {} to 32", pool.prefix_len().max(20))));
    }
    Ok(size)
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

/// The pool that Calico makes when there is none: 192.168.0.0/16, or the first of 172.16.0.0/16 to
/// 172.31.0.0/16 where that is taken (node, pkg/startup/autodetection/ipv4/poolselector.go).
fn default_pool(claims: &[Claim]) -> Checked<(IpPool, Option<Span>)> {
    let candidates = std::iter::once("192.168.0.0/16".to_owned()).chain((16..32).map(|n| format!("172.{n}.0.0/16")));
    let free = candidates
        .filter_map(|text| text.parse::<Ipv4Net>().ok())
        .find(|net| !claims.iter().any(|claim| rules::overlap(claim.net, *net)));
    let cidr = free.ok_or_else(|| {
        Complaint::anywhere("no prefix is free for Calico's default pool")
            .hint("give one: `network: {pool: {cidr: …}}`")
    })?;
    let pool = IpPool { name: DEFAULT_POOL.to_owned(), cidr, block_size: 26, nat_outgoing: true, disabled: false };
    Ok((pool, None))
}

/// Blocks that the file fixes for nodes: each in a pool, of its block size, of one node.
fn check_blocks(spec: &ClusterSpec, nodes: &[Node], pools: &[(IpPool, Option<Span>)]) -> Checked<()> {
    let fixed: Vec<_> =
        spec.nodes.iter().zip(nodes).filter_map(|(e, n)| Some((e.block.as_ref()?, n.block?, n))).collect();
    for (index, (written, block, _)) in fixed.iter().enumerate() {
        let Some((pool, _)) = pools.iter().find(|(pool, _)| pool.cidr.contains(block) && !pool.disabled) else {
            return Err(Complaint::at(written.span, format!("the block {block} is in no pool that is in use"))
                .hint("choose a block of a pool, or leave `block` out: Calico's algorithm chooses one"));
        };
        if block.prefix_len() != pool.block_size {
            return Err(Complaint::at(
                written.span,
                format!("blocks of the pool `{}` are /{}", pool.name, pool.block_size),
            )
            .hint(format!("write {}/{}", block.addr(), pool.block_size)));
        }
        if let Some((first, _, node)) = fixed[..index].iter().find(|(_, other, _)| other == block) {
            return Err(Complaint::at(written.span, format!("the block {block} is given to two nodes"))
                .and(Some(first.span), format!("node `{}` has it", node.name))
                .hint("a block belongs to one node"));
        }
    }
    Ok(())
}

/// Whether the pools have room for a tunnel address per node and an address per pod.
pub(super) fn check_room(
    network: &Network,
    spec: &ClusterSpec,
    objects: &[&IpPoolObject],
    nodes: &[Node],
    pods: &[Placed],
) -> Checked<()> {
    if network.mode.addressing() != Addressing::Pools {
        return Ok(());
    }
    let pools = || network.pools.iter().filter(|pool| !pool.disabled);
    let listed = spec.network.pools.iter().flat_map(|pools| pools.iter());
    let written = spec.network.pool.iter().chain(listed).map(|pool| pool.cidr.span);
    let place = written.chain(objects.iter().map(|pool| pool.spec.cidr.span)).next().unwrap_or(spec.nodes.span);
    if pools().next().is_none() {
        return Err(Complaint::at(place, "every pool is disabled").hint("pods need one that is not"));
    }
    let room: u64 = pools().map(|pool| 1u64 << (32 - pool.cidr.prefix_len())).sum();
    let needed = (pods.len() + nodes.len()) as u64;
    if room < needed {
        let message = format!(
            "the pools have {room} addresses, but {needed} are needed: {} for pods and {} for the nodes' tunnels",
            pods.len(),
            nodes.len()
        );
        return Err(Complaint::at(place, message).hint("make the pool larger, or add another one"));
    }
    if !network.strict_affinity {
        return Ok(());
    }
    let largest = pools().map(|pool| 32 - pool.block_size).max().unwrap_or(0);
    let have: u64 = pools().map(|pool| 1u64 << (pool.block_size - pool.cidr.prefix_len())).sum();
    let mut addresses: BTreeMap<&str, u64> = nodes.iter().map(|node| (node.name.as_str(), 1)).collect();
    for (pod, _) in pods {
        *addresses.entry(&pod.node).or_default() += 1;
    }
    let wanted: u64 = addresses.values().map(|count| count.div_ceil(1 << largest)).sum();
    if have < wanted {
        let message = format!(
            "the pools have too few blocks: {have}, but {wanted} are needed, as strictAffinity lets no node borrow"
        );
        return Err(Complaint::at(place, message)
            .hint("make the pool larger, or its blocks smaller by a larger `blockSize`, or drop strictAffinity"));
    }
    Ok(())
}
