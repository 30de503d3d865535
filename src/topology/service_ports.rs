//! Cluster addresses and node ports: what is written is taken first, what is not is chosen, the same each time.
//!
//! Kubernetes chooses by chance, since 1.26 (addresses) and 1.27 (node ports) from the upper part of the range first,
//! so that numbers written by hand stay free (pkg/registry/core/service/ipallocator, portallocator). Here the first try
//! is a hash of the Service's name.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::complaint::{Checked, Complaint};
use super::ip_families;
use super::memory::KeptService;
use super::service::{ServiceKind, ServiceProtocol, TrafficPolicy};
use super::services::Draft;
use super::source::Span;
use crate::plan::{Family, nth};

/// `--service-node-port-range` of the API server.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// How many of them are left to numbers written by hand.
const NODE_PORTS_STATIC: u16 = 86;

/// `serviceCIDR` with its second half.
pub(super) type Ranges = (Ipv4Net, Option<Ipv6Net>);

/// A Service's key, and the place where it asks for something.
type Owner<'k> = (&'k str, Option<Span>);

/// Who has what.
#[derive(Default)]
struct Taken<'k> {
    addresses: HashMap<IpAddr, Owner<'k>>,
    ports: HashMap<(ServiceProtocol, u16), Owner<'k>>,
}

/// Gives every Service the address and node ports that it lacks: those that it had before, if they are still free.
pub(super) fn allocate(drafts: &mut [Draft], ranges: Ranges, before: &BTreeMap<String, KeptService>) -> Checked<()> {
    let mut taken = Taken::default();
    let keys: Vec<String> = drafts.iter().map(|draft| draft.service.key()).collect();
    let held = held(drafts, &keys, before);
    for (draft, key) in drafts.iter_mut().zip(&keys) {
        let place = draft.ip_span.unwrap_or(draft.name_span);
        (draft.service.families, draft.service.family_policy) =
            ip_families::resolve(&draft.families, &draft.service, ranges.1.is_some(), place)?;
        check_unchanged(draft, key, before)?;
        held.check(draft, key)?;
        written_addresses(draft, key, ranges, &mut taken)?;
        written_ports(draft, key, &mut taken)?;
    }
    for (draft, key) in drafts.iter_mut().zip(&keys) {
        if let Some(kept) = before.get(key) {
            keep(draft, key, kept, ranges, &mut taken);
        }
    }
    for (draft, key) in drafts.iter_mut().zip(&keys) {
        for range in lacking(draft, ranges) {
            let ip = choose_address(key, range, &taken).ok_or_else(|| full(draft, "address", &range.to_string()))?;
            taken.addresses.insert(ip, (key, None));
            draft.service.cluster_ips.push(ip);
        }
        choose_ports(draft, key, &mut taken)?;
    }
    Ok(())
}

/// What Services of a live cluster were given without asking for it, with their names: nobody else can have it.
#[derive(Default)]
struct Held<'b> {
    addresses: BTreeMap<IpAddr, &'b str>,
    ports: BTreeMap<(ServiceProtocol, u16), &'b str>,
}

fn held<'b>(drafts: &[Draft], keys: &[String], before: &'b BTreeMap<String, KeptService>) -> Held<'b> {
    let mut held = Held::default();
    for (draft, key) in drafts.iter().zip(keys) {
        let Some((key, kept)) = before.get_key_value(key) else { continue };
        if draft.wants_ip {
            held.addresses.extend(kept.addresses.iter().map(|ip| (*ip, key.as_str())));
        }
        for port in draft.service.ports.iter().filter(|port| draft.wants_node_ports && port.node_port.is_none()) {
            let had = kept.node_port(port);
            held.ports.extend(had.map(|number| ((port.protocol, number), key.as_str())));
        }
        let checked = kept.health_check.filter(|_| draft.wants_health);
        held.ports.extend(checked.map(|number| ((ServiceProtocol::Tcp, number), key.as_str())));
    }
    held
}

impl Held<'_> {
    /// Refuses a Service that writes down what another one has.
    fn check(&self, draft: &Draft, key: &str) -> Checked<()> {
        let of_another = |owner: &&&str| **owner != key;
        for ip in &draft.service.cluster_ips {
            if let Some(first) = self.addresses.get(ip).filter(of_another) {
                return Err(clash(format!("the address {ip}"), key, draft.ip_span, (first, None), draft.name_span));
            }
        }
        for (protocol, number, span) in ports_written(draft) {
            if let Some(first) = self.ports.get(&(protocol, number)).filter(of_another) {
                return Err(clash(format!("the node port {number}"), key, span, (first, None), draft.name_span));
            }
        }
        Ok(())
    }
}

/// A Service keeps its first address as long as it is there (kubernetes pkg/apis/core/validation,
/// `ValidateServiceClusterIPsRelatedFields` with an old object).
fn check_unchanged(draft: &Draft, key: &str, before: &BTreeMap<String, KeptService>) -> Checked<()> {
    let Some(had) = before.get(key).and_then(|kept| kept.addresses.first()) else { return Ok(()) };
    let wanted = match draft.service.cluster_ips.first() {
        Some(ip) if ip == had => return Ok(()),
        Some(ip) => ip.to_string(),
        None if draft.wants_ip || draft.service.kind == ServiceKind::ExternalName => return Ok(()),
        None => "None".to_owned(),
    };
    let place = draft.ip_span.unwrap_or(draft.name_span);
    Err(Complaint::at(place, format!("the address of {key} is {had} and cannot become {wanted}"))
        .hint("the API server says: may not change once set; delete the Service first, or remove the line"))
}

/// The prefixes of which a Service still needs an address, in the order of its families.
fn lacking(draft: &Draft, ranges: Ranges) -> Vec<IpNet> {
    let has = |family: &Family| draft.service.cluster_ips.iter().any(|ip| Family::of(ip) == *family);
    // An address that is written is one of a family; the other family's is chosen beside it.
    let wants = draft.wants_ip || !draft.service.cluster_ips.is_empty();
    let families = draft.service.families.iter().filter(|family| wants && !has(family));
    families.filter_map(|family| range_of(*family, ranges)).collect()
}

/// The services' prefix of a family.
fn range_of(family: Family, ranges: Ranges) -> Option<IpNet> {
    match family {
        Family::Inet => Some(ranges.0.into()),
        Family::Inet6 => ranges.1.map(IpNet::from),
    }
}

/// Gives a Service again what it had, as far as it still wants it and nobody wrote it down for another.
fn keep<'k>(draft: &mut Draft, key: &'k str, kept: &KeptService, ranges: Ranges, taken: &mut Taken<'k>) {
    let mut claim = |protocol, number: u16| {
        let free = NODE_PORTS.contains(&number) && !taken.ports.contains_key(&(protocol, number));
        free.then(|| taken.ports.insert((protocol, number), (key, None)));
        free
    };
    for port in draft.service.ports.iter_mut().filter(|port| draft.wants_node_ports && port.node_port.is_none()) {
        let had = kept.node_port(port);
        port.node_port = had.filter(|number| claim(port.protocol, *number));
    }
    if draft.wants_health {
        let had = kept.health_check.filter(|number| claim(ServiceProtocol::Tcp, *number));
        draft.service.health_check_node_port = had;
    }
    for range in lacking(draft, ranges) {
        let had = kept.addresses.iter().find(|ip| range.contains(*ip));
        if let Some(ip) = had.filter(|ip| !taken.addresses.contains_key(ip)) {
            taken.addresses.insert(*ip, (key, None));
            draft.service.cluster_ips.push(*ip);
        }
    }
    // What was kept may be of the second family alone; the first one's comes first.
    let families = draft.service.families.clone();
    draft.service.cluster_ips.sort_by_key(|ip| families.iter().position(|family| *family == Family::of(ip)));
}

fn full(draft: &Draft, what: &str, range: &str) -> Box<Complaint> {
    Complaint::at(draft.name_span, format!("there is no free {what} in {range}"))
        .hint("remove Services, or choose a larger range")
}

fn clash(what: String, key: &str, span: Option<Span>, first: Owner, place: Span) -> Box<Complaint> {
    Complaint::at(span.unwrap_or(place), format!("{what} is already allocated to {}", first.0))
        .and(first.1, format!("{} has it here", first.0))
        .hint(format!("give {key} another, or remove the line and have one chosen"))
}

fn written_addresses<'k>(draft: &Draft, key: &'k str, ranges: Ranges, taken: &mut Taken<'k>) -> Checked<()> {
    for ip in &draft.service.cluster_ips {
        let span = draft.ip_span.unwrap_or(draft.name_span);
        let Some(range) = range_of(Family::of(ip), ranges) else { continue };
        let last = ip.is_ipv4() && *ip == range.broadcast();
        if *ip == range.network() || last {
            let which = if last { "last" } else { "first" };
            return Err(Complaint::at(span, format!("{ip} is the {which} address of {range}, which no Service has"))
                .hint("write another one of `serviceCIDR`, or remove the line and have one chosen"));
        }
        if !range.contains(ip) {
            return Err(Complaint::at(span, format!("{ip} is not in the valid range, {range}"))
                .hint("write an address of `serviceCIDR`, or remove the line and have one chosen"));
        }
        if let Some(first) = taken.addresses.insert(*ip, (key, draft.ip_span)) {
            return Err(clash(format!("{ip}"), key, draft.ip_span, first, span));
        }
    }
    Ok(())
}

/// The node ports that are written down, with their places.
fn ports_written(draft: &Draft) -> impl Iterator<Item = (ServiceProtocol, u16, Option<Span>)> {
    let ports = draft.service.ports.iter().zip(&draft.node_port_spans);
    let ports = ports.filter_map(|(port, span)| Some((port.protocol, port.node_port?, *span)));
    let health = draft.service.health_check_node_port.map(|port| (ServiceProtocol::Tcp, port, draft.health_span));
    ports.chain(health)
}

fn written_ports<'k>(draft: &Draft, key: &'k str, taken: &mut Taken<'k>) -> Checked<()> {
    let service = &draft.service;
    let checked = service.kind == ServiceKind::LoadBalancer && service.external_policy == TrafficPolicy::Local;
    if service.health_check_node_port.is_some() && !checked {
        let place = draft.health_span.unwrap_or(draft.name_span);
        return Err(Complaint::at(place, "`healthCheckNodePort` of a Service that has no health check")
            .hint("only a LoadBalancer with `externalTrafficPolicy: Local` has one"));
    }
    for (protocol, number, span) in ports_written(draft) {
        let place = span.unwrap_or(draft.name_span);
        if !NODE_PORTS.contains(&number) {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            return Err(Complaint::at(place, format!("{number} is not in the range of node ports, {first}-{last}"))
                .hint("write a number of that range, or remove the line and have one chosen"));
        }
        if let Some(first) = taken.ports.insert((protocol, number), (key, span)) {
            return Err(clash(format!("the node port {number}"), key, span, first, place));
        }
    }
    Ok(())
}

/// A number below `size` that depends on the name alone.
fn hash(name: &str, size: u64) -> u64 {
    let digest = Sha256::digest(name);
    let bytes = digest.iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    bytes % size.max(1)
}

/// The first free address from the hash on, in the upper band of the range and then in the lower one.
fn choose_address(key: &str, range: IpNet, taken: &Taken) -> Option<IpAddr> {
    let size = 1u64 << (range.max_prefix_len() - range.prefix_len()).min(63);
    // min(max(16, size/16), 256) addresses are left to those written by hand; the first is the API server's own.
    let band = (size / 16).clamp(16, 256).min(size.saturating_sub(1));
    let usable = size.saturating_sub(1);
    let upper = usable.saturating_sub(band);
    let ip = |offset: u64| nth(&range, u128::from(offset));
    let start = hash(key, upper);
    let high = (0..upper).map(|step| band + (start + step) % upper);
    high.chain(2..band).map(ip).find(|ip| !taken.addresses.contains_key(ip))
}

fn choose_ports<'k>(draft: &mut Draft, key: &'k str, taken: &mut Taken<'k>) -> Checked<()> {
    if draft.wants_node_ports {
        for index in 0..draft.service.ports.len() {
            let port = &draft.service.ports[index];
            if port.node_port.is_some() {
                continue;
            }
            let (name, protocol) = (format!("{key}:{}", port.name), port.protocol);
            // Ports of one Service that differ in their protocol alone share a node port, as the API server has it.
            let sibling = draft.service.ports[..index].iter().find(|other| {
                other.port == port.port
                    && other.protocol != protocol
                    && other.node_port.is_some_and(|number| !taken.ports.contains_key(&(protocol, number)))
            });
            let chosen = match sibling.and_then(|other| other.node_port) {
                Some(number) => number,
                None => choose_port(&name, protocol, taken).ok_or_else(|| full(draft, "node port", "30000-32767"))?,
            };
            taken.ports.insert((protocol, chosen), (key, None));
            draft.service.ports[index].node_port = Some(chosen);
        }
    }
    if draft.wants_health && draft.service.health_check_node_port.is_none() {
        let name = format!("{key} health check");
        let chosen = choose_port(&name, ServiceProtocol::Tcp, taken);
        let chosen = chosen.ok_or_else(|| full(draft, "node port", "30000-32767"))?;
        taken.ports.insert((ServiceProtocol::Tcp, chosen), (key, None));
        draft.service.health_check_node_port = Some(chosen);
    }
    Ok(())
}

fn choose_port(name: &str, protocol: ServiceProtocol, taken: &Taken) -> Option<u16> {
    let first = NODE_PORTS.start() + NODE_PORTS_STATIC;
    let size = NODE_PORTS.end() - first + 1;
    let start = u16::try_from(hash(name, u64::from(size))).unwrap_or(0);
    let high = (0..size).map(|step| first + (start + step) % size);
    high.chain(*NODE_PORTS.start()..first).find(|port| !taken.ports.contains_key(&(protocol, *port)))
}
