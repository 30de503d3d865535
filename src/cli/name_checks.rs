//! The names that `minik verify` looks up. PURE.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::compose;
use crate::plan::{Namespace, Plan, Role};
use crate::topology::{Cluster, EndpointSlice, Service, ServiceKind};
use crate::verify::{Found, NameCheck};

/// Services that are looked up; names of a cluster's later ones are made in the same way.
const SERVICES_MAX: usize = 8;

/// From one pod on each node, for each Service: its short name, by IPv6 too where the cluster's Services have that, its
/// ports, and the names of its addresses; and a name that is nobody's.
pub(super) fn of(cluster: &Cluster, plan: &Plan) -> Vec<NameCheck> {
    let Some(dns) = &cluster.dns else { return Vec::new() };
    let slices = compose::endpoints(cluster, plan);
    let mut checks = Vec::new();
    for node in plan.nodes() {
        let asks = |ns: &&Namespace| {
            let here = matches!(&ns.role, Role::Pod { node: on, .. } if *on == node.name);
            let servers = ns.resolver.as_ref().map(|resolver| resolver.nameservers.as_slice());
            here && servers == Some(&[dns.address.into()])
        };
        let Some(pod) = plan.pods().find(asks) else { continue };
        let mut add = |name: String, expected: Found| checks.push(NameCheck { from: pod.name.clone(), name, expected });
        let is_dual = cluster.services.iter().any(|service| service.cluster_ips.iter().any(IpAddr::is_ipv6));
        for service in cluster.services.iter().take(SERVICES_MAX) {
            of_service(service, &slices, (&dns.domain, is_dual), &mut add);
        }
        add(format!("no-such-service.default.svc.{}.", dns.domain), Found::Nothing);
    }
    checks
}

fn of_service(
    service: &Service,
    slices: &[EndpointSlice],
    (domain, is_dual): (&str, bool),
    add: &mut impl FnMut(String, Found),
) {
    if service.kind == ServiceKind::ExternalName {
        return;
    }
    let whole = format!("{}.{}.svc.{domain}", service.name, service.namespace);
    // As a program in any namespace may say it.
    let short = format!("{}.{}", service.name, service.namespace);
    let own = slices.iter().filter(|slice| slice.namespace == service.namespace && slice.service == service.name);
    let ready = own.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.ready);
    let addresses: BTreeSet<IpAddr> = match service.headless() {
        true => ready.map(|endpoint| endpoint.address).collect(),
        false => service.cluster_ips.iter().copied().collect(),
    };
    if addresses.is_empty() {
        return add(short, Found::Nothing);
    }
    if !service.headless() {
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let name = format!("_{}._{}.{whole}.", port.name, port.protocol.lower());
            add(name, Found::Ports(BTreeSet::from([(port.port, whole.clone())])));
        }
        for address in &addresses {
            add(reverse(*address), Found::Names(BTreeSet::from([whole.clone()])));
        }
    }
    if is_dual {
        let sixes = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        });
        add(short.clone(), Found::Addresses6(sixes.collect()));
    }
    let fours = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    add(short, Found::Addresses(fours.collect()));
}

/// The name by which it is asked whose an address is (RFC 1035, 3.5; RFC 3596, 2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa."
        }
    }
}
