//! Endpoints of Services with a selector, from the pods that a plan has (pkg/controller/endpointslice).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::parallel::in_parts;
use crate::plan::{Family, Plan};
use crate::topology::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Pod, SLICES_OF_SELECTOR, Service, ServiceKind, ServicePort,
    TargetPort,
};

use super::names;

/// What a pod's readiness probe and its end say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodState {
    /// Condition `Ready`.
    pub ready: bool,
    /// It was deleted and has not ended yet.
    pub terminating: bool,
}

impl PodState {
    /// Running and ready.
    pub const READY: PodState = PodState { ready: true, terminating: false };
}

/// The slices of all Services that have a selector: a pod whose labels fit is an endpoint, by whatever name its containers
/// give the port.
pub fn selected(cluster: &Cluster, plan: &Plan, state: impl Fn(&Pod) -> PodState) -> Vec<EndpointSlice> {
    let addressed = Family::BOTH.map(|family| addressed(cluster, plan, family, &state));
    let with_selector = |s: &&Service| !s.selector.is_empty() && s.kind != ServiceKind::ExternalName;
    let services: Vec<&Service> = cluster.services.iter().filter(with_selector).collect();
    let of_service = |service: &&Service| -> Vec<EndpointSlice> {
        let of_family = |family: &Family| slices(service, *family, &addressed[usize::from(*family == Family::Inet6)]);
        service.families.iter().flat_map(of_family).collect()
    };
    let parts = in_parts(&services, |services| services.iter().flat_map(of_service).collect::<Vec<_>>());
    parts.into_iter().flatten().collect()
}

/// A pod with its address of one family.
struct Addressed<'c> {
    pod: &'c Pod,
    address: IpAddr,
    state: PodState,
}

/// The pods that have an address of this family; one without a namespace of its own has its host's.
fn addressed<'c>(
    cluster: &'c Cluster,
    plan: &Plan,
    family: Family,
    state: &impl Fn(&Pod) -> PodState,
) -> Vec<Addressed<'c>> {
    let mut addresses: BTreeMap<&str, IpAddr> = BTreeMap::new();
    for namespace in &plan.namespaces {
        let Some(address) = namespace.address_in(family) else { continue };
        addresses.insert(namespace.name.as_str(), address);
        addresses.extend(namespace.guests.iter().map(|guest| (guest.as_str(), address)));
    }
    let address = |pod: &Pod| addresses.get(pod.key().as_str()).copied();
    let pods = cluster.pods.iter();
    pods.filter_map(|pod| Some(Addressed { pod, address: address(pod)?, state: state(pod) })).collect()
}

fn slices(service: &Service, family: Family, pods: &[Addressed]) -> Vec<EndpointSlice> {
    let mut by_ports: BTreeMap<Vec<EndpointPort>, Vec<Endpoint>> = BTreeMap::new();
    for Addressed { pod, address, state } in pods.iter().filter(|one| service.selects(one.pod)) {
        let PodState { ready, terminating } = *state;
        let ports: Vec<EndpointPort> = service.ports.iter().filter_map(|port| port_of(pod, port)).collect();
        // Without any port that fits, a pod is behind a headless Service that has none to begin with.
        if ports.is_empty() && !service.ports.is_empty() {
            continue;
        }
        by_ports.entry(ports).or_default().push(Endpoint {
            address: *address,
            ready: service.publish_not_ready || (ready && !terminating),
            serving: service.publish_not_ready || ready,
            terminating,
            node: Some(pod.node.clone()),
            hostname: named(pod, service),
            pod: Some(pod.name.clone()),
            zones: Vec::new(),
        });
    }
    let slice = |(ports, endpoints): (Vec<EndpointPort>, Vec<Endpoint>)| {
        let spelled: Vec<String> = ports.iter().map(|port| format!("{}/{}", port.name, port.port)).collect();
        let of_family = if family == Family::Inet6 { " IPv6" } else { "" };
        let hashed = format!("{} {}{of_family}", service.key(), spelled.join(","));
        let suffix = names::hash(&hashed, 5).to_lowercase();
        EndpointSlice {
            namespace: service.namespace.clone(),
            name: format!("{}-{suffix}", service.name),
            service: service.name.clone(),
            v6: family == Family::Inet6,
            headless: service.headless(),
            managed_by: Some(SLICES_OF_SELECTOR.to_owned()),
            ports,
            endpoints,
        }
    };
    by_ports.into_iter().map(slice).collect()
}

/// The pod's name in DNS, if it says that it belongs to this Service (`ShouldSetHostname`).
fn named(pod: &Pod, service: &Service) -> Option<String> {
    pod.hostname.clone().filter(|_| pod.subdomain.as_ref() == Some(&service.name))
}

/// The pod's port behind a Service's: its number, or that of the container's port of the name and protocol.
fn port_of(pod: &Pod, port: &ServicePort) -> Option<EndpointPort> {
    let number = match &port.target {
        TargetPort::Number(number) => *number,
        TargetPort::Name(name) => {
            let mut declared = pod.containers.iter().flat_map(|container| &container.ports);
            declared.find(|p| p.name.as_ref() == Some(name) && p.protocol == port.protocol.name())?.port
        }
    };
    Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: number })
}
