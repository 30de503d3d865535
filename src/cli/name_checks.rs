//! The names that `minik verify` looks up. PURE.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::compose;
use crate::plan::{Namespace, Plan, Role};
use crate::topology::{Cluster, EndpointSlice, Service, ServiceKind};
use crate::verify::{Found, NameCheck};

/// Services that are looked up; names of a cluster's later ones are made in the same way.
const SERVICES_MAX: usize = 8;

/// From one pod on each node, for each Service: its short name, its ports, and the name of its address; and a name that is
/// nobody's.
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
        for service in cluster.services.iter().take(SERVICES_MAX) {
            of_service(service, &slices, &dns.domain, &mut add);
        }
        add(format!("no-such-service.default.svc.{}.", dns.domain), Found::Nothing);
    }
    checks
}

fn of_service(service: &Service, slices: &[EndpointSlice], domain: &str, add: &mut impl FnMut(String, Found)) {
    if service.kind == ServiceKind::ExternalName {
        return;
    }
    let whole = format!("{}.{}.svc.{domain}", service.name, service.namespace);
    // As a program in any namespace may say it.
    let short = format!("{}.{}", service.name, service.namespace);
    let own = slices.iter().filter(|slice| slice.namespace == service.namespace && slice.service == service.name);
    let ready = own.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.ready);
    let addresses: BTreeSet<IpAddr> = match service.headless() {
        true => ready.map(|endpoint| endpoint.address).filter(IpAddr::is_ipv4).collect(),
        false => service.cluster_ips.iter().copied().filter(IpAddr::is_ipv4).collect(),
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
            let IpAddr::V4(address) = address else { continue };
            let [a, b, c, d] = address.octets();
            add(format!("{d}.{c}.{b}.{a}.in-addr.arpa."), Found::Names(BTreeSet::from([whole.clone()])));
        }
    }
    add(short, Found::Addresses(addresses));
}
