//! What kube-proxy of one node knows, for one family of addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::endpoints::Target;
use crate::parallel::in_parts;
use crate::plan::Family;
use crate::topology::{
    Endpoint, EndpointSlice, ProxyConfig, Service, ServiceKind, ServicePort, ServiceProtocol, TrafficPolicy,
};

/// The node that a kube-proxy runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The addresses of its Node object, one per family at most.
    pub node_ips: Vec<IpAddr>,
    /// Every address of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

/// One node's Services of one family.
#[derive(Debug)]
pub struct View<'a> {
    /// kube-proxy's options.
    pub config: &'a ProxyConfig,
    /// The node.
    pub host: &'a Host,
    /// The family.
    pub family: Family,
    /// The ports of its Services, by namespace and name, then in the Service's order.
    pub ports: Vec<PortView<'a>>,
}

/// A port of a Service as kube-proxy sees it.
#[derive(Debug)]
pub struct PortView<'a> {
    /// The Service.
    pub service: &'a Service,
    /// The port.
    pub port: &'a ServicePort,
    /// `namespace/service:port`, without the colon if the port has no name.
    pub name: String,
    /// The cluster's address of this family.
    pub cluster_ip: IpAddr,
    /// External addresses of this family.
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses of this family.
    pub ingress: Vec<IpAddr>,
    /// Whether what comes from outside stays on the node.
    local_outside: bool,
    /// Source ranges of this family.
    pub source_ranges: Vec<IpNet>,
    /// Every endpoint, whatever its state, in the order of `address:port` as text.
    pub endpoints: Vec<Target>,
    /// How many of them make a cluster large: from 1.21 on those that are not ready as well.
    pub counted: usize,
}

impl<'a> View<'a> {
    /// What `host`'s kube-proxy knows of these Services and slices. Headless Services, those with no address of the family
    /// and those of another proxy are none of its business (pkg/proxy/util, `ShouldSkipService`).
    pub fn new(
        config: &'a ProxyConfig,
        host: &'a Host,
        family: Family,
        services: &'a [Service],
        slices: &[EndpointSlice],
    ) -> View<'a> {
        let written = by_port(family, slices);
        let mut known: Vec<&Service> = services.iter().filter(|service| is_proxied(service)).collect();
        known.sort_by_key(|service| (&service.namespace, &service.name));
        let of_service = |service: &&'a Service| ports_of(config, host, family, service, &written);
        let parts = in_parts(&known, |services| services.iter().flat_map(of_service).collect::<Vec<_>>());
        View { config, host, family, ports: parts.into_iter().flatten().collect() }
    }

    /// The address that kube-proxy takes for its node's: the one to bind to, else the Node object's, else that of the
    /// loopback interface (`detectNodeIPs`). 1.21 to 1.27, and 1.20 with two families, take the one to bind to as it is, by
    /// default 0.0.0.0 and `::`, which only ranges of everything contain (`nodeIPTuple`).
    pub fn node_ip(&self) -> IpAddr {
        let own = self.host.node_ips.iter().copied().find(|ip| self.family.has(ip));
        let bound = self.config.bind_address.filter(|ip| !ip.is_unspecified() && self.family.has(ip));
        let (unspecified, loopback): (IpAddr, IpAddr) = match self.family {
            Family::Inet => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
            Family::Inet6 => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        };
        match self.config.minor {
            20 if self.dual_stack() => bound.unwrap_or(unspecified),
            21..=27 => bound.unwrap_or(unspecified),
            _ => bound.or(own).unwrap_or(loopback),
        }
    }

    /// Whether pods have addresses of both families: 1.20 then runs with `IPv6DualStack`, which 1.21 turned on for all.
    fn dual_stack(&self) -> bool {
        let both = |nets: &[IpNet]| Family::BOTH.iter().all(|family| nets.iter().any(|net| family.has_net(net)));
        both(&self.config.cluster_cidrs) || both(&self.host.pod_cidrs)
    }

    /// Whether any of a Service's source ranges lets the node itself in.
    pub fn lets_node_in(&self, port: &PortView) -> bool {
        let ip = self.node_ip();
        port.source_ranges.iter().any(|range| range.contains(&ip))
    }
}

impl PortView<'_> {
    /// Its protocol.
    pub fn protocol(&self) -> ServiceProtocol {
        self.port.protocol
    }

    /// Whether traffic from outside stays on the node.
    pub fn external_local(&self) -> bool {
        self.local_outside
    }

    /// Whether traffic to the cluster's address stays on the node.
    pub fn internal_local(&self) -> bool {
        self.service.internal_policy == TrafficPolicy::Local
    }

    /// Whether nodes answer for it to hosts outside.
    pub fn externally_accessible(&self) -> bool {
        self.port.node_port.is_some() || !self.ingress.is_empty() || !self.external_ips.is_empty()
    }

    /// The port of its health check, if it has one.
    pub fn health_check(&self) -> Option<u16> {
        self.service.health_check_node_port.filter(|_| {
            self.service.kind == ServiceKind::LoadBalancer && self.service.external_policy == TrafficPolicy::Local
        })
    }
}

/// The load balancer's addresses that a node handles: all of them before 1.30, which came with `ipMode`.
fn ingress(service: &Service, family: Family, minor: u8) -> Vec<IpAddr> {
    let handled = |ip: &&IpAddr| family.has(ip) && (minor < 30 || !service.proxied_ingress.contains(ip));
    service.ingress.iter().filter(handled).copied().collect()
}

/// Whether the policy for what comes from outside is `Local`, which a Service with nothing but external addresses can have
/// since 1.29 (kubernetes PR 119150).
fn local_outside(service: &Service, minor: u8) -> bool {
    let of_node = matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
    service.external_policy == TrafficPolicy::Local && (of_node || (minor >= 29 && service.externally_accessible()))
}

/// Those that kube-proxy watches: its informers leave two labels out, whatever their values (cmd/kube-proxy/app/server.go).
fn is_proxied(service: &Service) -> bool {
    let headless = service.labels.contains_key("service.kubernetes.io/headless");
    service.kind != ServiceKind::ExternalName && service.proxy_name.is_none() && !headless
}

fn port_name(service: &Service, port: &ServicePort) -> String {
    let colon = if port.name.is_empty() { "" } else { ":" };
    format!("{}{colon}{}", service.key(), port.name)
}

/// A Service's port: namespace and name of the Service, the port's name, its protocol.
type PortKey<'a> = (&'a str, &'a str, &'a str, ServiceProtocol);

/// What slices say of Services' ports: every slice with the port's number in it.
type Written<'a> = HashMap<PortKey<'a>, Vec<(&'a EndpointSlice, u16)>>;

fn by_port(family: Family, slices: &[EndpointSlice]) -> Written<'_> {
    let mut all = Written::with_capacity(slices.len());
    for slice in slices.iter().filter(|slice| slice.v6 == (family == Family::Inet6) && !slice.headless) {
        for port in &slice.ports {
            let key = (slice.namespace.as_str(), slice.service.as_str(), port.name.as_str(), port.protocol);
            all.entry(key).or_default().push((slice, port.port));
        }
    }
    all
}

/// A Service's ports as `host`'s kube-proxy sees them; none if it has no address of the family.
fn ports_of<'a>(
    config: &ProxyConfig,
    host: &Host,
    family: Family,
    service: &'a Service,
    written: &Written,
) -> Vec<PortView<'a>> {
    let Some(cluster_ip) = service.cluster_ips.iter().copied().find(|ip| family.has(ip)) else { return Vec::new() };
    let view = |port: &'a ServicePort| {
        let key = (service.namespace.as_str(), service.name.as_str(), port.name.as_str(), port.protocol);
        let mut endpoints = written.get(&key).map(|found| targets(host, config.minor, found)).unwrap_or_default();
        let counted = endpoints.len();
        match config.minor {
            // These came by address alone, which sorts otherwise.
            ..=20 => endpoints.sort_by_cached_key(|target| target.to.to_string()),
            // Endpoints about to end count only since ProxyTerminatingEndpoints is on.
            21..=25 => endpoints.retain(|target| target.ready),
            _ => {}
        }
        PortView {
            service,
            port,
            name: port_name(service, port),
            cluster_ip,
            external_ips: service.external_ips.iter().copied().filter(|ip| family.has(ip)).collect(),
            ingress: ingress(service, family, config.minor),
            local_outside: local_outside(service, config.minor),
            source_ranges: service.source_ranges.iter().copied().filter(|net| family.has_net(net)).collect(),
            endpoints,
            counted,
        }
    };
    service.ports.iter().map(view).collect()
}

/// The endpoints of a Service's port, in the order of `address:port` as text; 1.20 knows the ready ones only, and tells
/// them apart by address alone, whose order it is then. One that is in several slices is one: as the first says, or as the
/// last of those that say that it is on this node (pkg/proxy/endpointslicecache.go, `addEndpoints`; up to 1.20
/// `addEndpointsByIP`, which asks the slices in random order).
fn targets(host: &Host, minor: u8, found: &[(&EndpointSlice, u16)]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (slice, port) in found {
        let target = |endpoint: &Endpoint| Target {
            to: SocketAddr::new(endpoint.address, *port),
            local: endpoint.node.as_deref() == Some(host.name.as_str()),
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
            zones: endpoint.zones.clone(),
        };
        targets.extend(slice.endpoints.iter().filter(|endpoint| endpoint.ready || minor >= 21).map(target));
    }
    match minor {
        ..=20 => targets.sort_by_cached_key(|target| target.to.ip().to_string()),
        _ => targets.sort_by_cached_key(|target| target.to.to_string()),
    }
    targets.dedup_by(|later, first| {
        let same = later.to.ip() == first.to.ip() && (minor < 21 || later.to == first.to);
        if same && later.local {
            std::mem::swap(later, first);
        }
        same
    });
    targets
}
