//! Services checked as the API server checks them (kubernetes pkg/apis/core/validation, `ValidateService`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::ip_families;
use super::pods;
use super::rules;
use super::service::{Service, ServiceKind, ServicePort, ServiceProtocol, TargetPort, TrafficPolicy};
use super::service_spec::{IntOrString, ServiceObject, ServicePortEntry, ServiceSpec};
use super::source::Span;
use crate::plan::Family;

/// Seconds of `sessionAffinity: ClientIP` if not given.
const AFFINITY_SECONDS: u32 = 10_800;

/// Where kubelets answer.
const KUBELET_PORT: u16 = 10_250;

/// A Service with the places of what may clash with another's.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) service: Service,
    pub(super) name_span: Span,
    /// What it says of families of addresses.
    pub(super) families: ip_families::Wanted,
    /// Where its cluster address is written; none if it is to be chosen.
    pub(super) ip_span: Option<Span>,
    /// Whether it wants a cluster address.
    pub(super) wants_ip: bool,
    /// Where each port's node port is written.
    pub(super) node_port_spans: Vec<Option<Span>>,
    /// Whether its ports want node ports.
    pub(super) wants_node_ports: bool,
    /// Where the health check's port is written.
    pub(super) health_span: Option<Span>,
    /// Whether it wants a port for its health check.
    pub(super) wants_health: bool,
}

/// Checks one Service, whose name and namespace were checked before.
pub(super) fn service(object: &ServiceObject, name: &Spanned<String>, namespace: &str) -> Checked<Draft> {
    let spec = &object.spec;
    let kind = choice("type", spec.kind.as_ref(), ServiceKind::ClusterIP, KINDS)?;
    if name.len() > 63 || !rules::is_dns_label(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Complaint::at(name.span, format!("{} is no name for a Service", quote(name))).hint(
            "a Service's name is a host name: up to 63 lower case letters, digits and `-`, beginning with a letter",
        ));
    }
    let (cluster_ips, ip_span, headless) = addresses(spec, kind)?;
    let ports = ports(spec, kind, headless, name.span)?;
    balancers_alone(spec, kind)?;
    let external = matches!(kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
    let external_policy = external_policy(spec, external)?;
    let families = ip_families::written(spec)?;
    let (affinity, service_health) = (affinity(spec)?, health(spec)?);
    let metadata = &object.metadata;
    let labels = pods::labels(&metadata.labels)?;
    let balancer = kind == ServiceKind::LoadBalancer;
    let annotation = |key: &str| metadata.annotations.get(key).map(|value| value.value.clone());
    let service = Service {
        namespace: namespace.to_owned(),
        name: name.value.clone(),
        kind,
        selector: pods::labels(&spec.selector)?,
        families: vec![Family::Inet],
        family_policy: None,
        cluster_ips,
        external_name: external_name(spec, kind, name.span)?,
        ports,
        affinity,
        external_policy,
        internal_policy: internal_policy(spec)?,
        external_ips: spec.external_ips.iter().map(external_ip).collect::<Checked<_>>()?,
        ingress: ingress(object, None)?,
        proxied_ingress: ingress(object, Some(false))?,
        source_ranges: source_ranges(spec, balancer)?,
        health_check_node_port: service_health,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        topology_hints: annotation("service.kubernetes.io/topology-aware-hints"),
        topology_mode: annotation("service.kubernetes.io/topology-mode"),
        proxy_name: labels.get("service.kubernetes.io/service-proxy-name").cloned(),
        labels,
    };
    Ok(Draft {
        name_span: name.span,
        families,
        wants_ip: ip_span.is_none() && !headless && kind != ServiceKind::ExternalName,
        ip_span,
        node_port_spans: spec.ports.iter().map(|port| port.node_port.as_ref().map(|number| number.span)).collect(),
        wants_node_ports: kind == ServiceKind::NodePort
            || (balancer && spec.allocate_load_balancer_node_ports.as_ref().is_none_or(|allocate| allocate.value)),
        health_span: spec.health_check_node_port.as_ref().map(|port| port.span),
        wants_health: balancer && external_policy == TrafficPolicy::Local && service_health.is_none(),
        service,
    })
}

/// How traffic inside of the cluster goes. `trafficDistribution` is nothing to nodes: 1.30 leaves it alone unless told.
fn internal_policy(spec: &ServiceSpec) -> Checked<TrafficPolicy> {
    choice("traffic distribution", spec.traffic_distribution.as_ref(), (), &[("PreferClose", ())])?;
    choice("traffic policy", spec.internal_traffic_policy.as_ref(), TrafficPolicy::Cluster, POLICIES)
}

/// Fields that only a LoadBalancer has.
fn balancers_alone(spec: &ServiceSpec, kind: ServiceKind) -> Checked<()> {
    let allocate = spec.allocate_load_balancer_node_ports.as_ref().map(|field| field.span);
    let class = spec.load_balancer_class.as_ref().map(|field| field.span);
    let written = [(allocate, "allocateLoadBalancerNodePorts"), (class, "loadBalancerClass")];
    match written.into_iter().find_map(|(span, name)| Some((span?, name))) {
        Some((span, name)) if kind != ServiceKind::LoadBalancer => {
            Err(Complaint::at(span, format!("`{name}` of a Service that is no LoadBalancer"))
                .hint("add `type: LoadBalancer`, or remove it"))
        }
        _ => Ok(()),
    }
}

fn external_policy(spec: &ServiceSpec, external: bool) -> Checked<TrafficPolicy> {
    if let Some(written) = spec.external_traffic_policy.as_ref()
        && !external
        && spec.external_ips.is_empty()
    {
        return Err(Complaint::at(
            written.span,
            "`externalTrafficPolicy` of a Service that is not reachable from outside",
        )
        .hint("it may only be set for types NodePort and LoadBalancer, or with `externalIPs`"));
    }
    choice("traffic policy", spec.external_traffic_policy.as_ref(), TrafficPolicy::Cluster, POLICIES)
}

const KINDS: &[(&str, ServiceKind)] = &[
    ("ClusterIP", ServiceKind::ClusterIP),
    ("NodePort", ServiceKind::NodePort),
    ("LoadBalancer", ServiceKind::LoadBalancer),
    ("ExternalName", ServiceKind::ExternalName),
];

const POLICIES: &[(&str, TrafficPolicy)] = &[("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)];

/// A word of a few; nothing and the empty text are the default.
pub(super) fn choice<T: Copy>(
    what: &str,
    written: Option<&Spanned<String>>,
    default: T,
    words: &[(&str, T)],
) -> Checked<T> {
    let Some(written) = written.filter(|word| !word.is_empty()) else { return Ok(default) };
    words.iter().find(|(name, _)| *name == written.value).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        Complaint::at(written.span, format!("unknown {what} {}", quote(written))).hint(rules::one_of(written, &names))
    })
}

/// A transport protocol; TCP if not given.
pub(super) fn protocol(written: Option<&Spanned<String>>) -> Checked<ServiceProtocol> {
    let words = ServiceProtocol::ALL.map(|protocol| (protocol.name(), protocol));
    choice("protocol", written, ServiceProtocol::Tcp, &words)
}

/// The cluster addresses that are written, where, and whether the Service is headless.
fn addresses(spec: &ServiceSpec, kind: ServiceKind) -> Checked<(Vec<IpAddr>, Option<Span>, bool)> {
    let one = spec.cluster_ip.iter().filter(|ip| !ip.is_empty());
    let all: Vec<&Spanned<String>> =
        if spec.cluster_ips.is_empty() { one.collect() } else { spec.cluster_ips.iter().collect() };
    if let (Some(first), Some(single)) =
        (spec.cluster_ips.first(), spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty()))
        && first.value != single.value
    {
        return Err(Complaint::at(first.span, "`clusterIP` and the first of `clusterIPs` differ")
            .and(Some(single.span), "`clusterIP` is here")
            .hint("write only one of the two fields"));
    }
    let Some(first) = all.first() else { return Ok((Vec::new(), None, false)) };
    if kind == ServiceKind::ExternalName {
        return Err(
            Complaint::at(first.span, "an ExternalName Service has no cluster address").hint("remove this line")
        );
    }
    if first.value == "None" {
        return match (kind, all.get(1)) {
            (_, Some(second)) => Err(Complaint::at(second.span, "a headless Service has no cluster address")
                .hint("write `clusterIPs: [None]`, or addresses alone")),
            (ServiceKind::ClusterIP, None) => Ok((Vec::new(), Some(first.span), true)),
            _ => Err(Complaint::at(first.span, format!("a Service of type {kind:?} cannot be headless"))
                .hint("`clusterIP: None` goes with type ClusterIP")),
        };
    }
    let ips: Vec<IpAddr> = all.iter().map(|ip| any_address(ip)).collect::<Checked<_>>()?;
    match ips.as_slice() {
        [_] => {}
        [a, b] if a.is_ipv4() != b.is_ipv4() => {}
        _ => {
            return Err(
                Complaint::at(all[1].span, "a Service has at most one address per family").hint("keep one of them")
            );
        }
    }
    Ok((ips, Some(first.span), false))
}

/// An address of either family.
pub(super) fn any_address(text: &Spanned<String>) -> Checked<IpAddr> {
    text.parse().map_err(|_| {
        Complaint::at(text.span, format!("{} is not an IP address", quote(text)))
            .hint("write an address as 10.96.0.20 or fd00::20")
    })
}

/// An address at which nodes may take traffic: none of the host's own scopes.
fn external_ip(text: &Spanned<String>) -> Checked<IpAddr> {
    let ip = any_address(text)?;
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
    };
    match local || ip.is_loopback() || ip.is_unspecified() {
        true => Err(Complaint::at(text.span, format!("{ip} cannot be an address of a Service"))
            .hint("it must not be unspecified, loopback, link-local or multicast")),
        false => Ok(ip),
    }
}

fn ports(spec: &ServiceSpec, kind: ServiceKind, headless: bool, place: Span) -> Checked<Vec<ServicePort>> {
    if spec.ports.is_empty() && !headless && kind != ServiceKind::ExternalName {
        return Err(Complaint::at(place, "this Service has no ports").hint("add `ports: [{port: 80}]` to its spec"));
    }
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut taken: BTreeMap<(ServiceProtocol, u32), Span> = BTreeMap::new();
    let mut resolved = Vec::with_capacity(spec.ports.len());
    for entry in &spec.ports {
        let port = port(entry, kind, headless, spec.ports.len() > 1)?;
        if let Some(name) = entry.name.as_ref().filter(|name| !name.is_empty())
            && let Some(first) = names.insert(name, name.span)
        {
            return Err(Complaint::at(name.span, format!("the port `{}` is given twice", name.value))
                .and(Some(first), "first given here")
                .hint("ports of a Service have names of their own"));
        }
        if let Some(first) = taken.insert((port.protocol, entry.port.value), entry.port.span) {
            let message = format!("the port {} of {} is given twice", port.port, port.protocol.name());
            return Err(Complaint::at(entry.port.span, message)
                .and(Some(first), "first given here")
                .hint("remove one, or give it another protocol"));
        }
        resolved.push(port);
    }
    Ok(resolved)
}

fn port(entry: &Spanned<ServicePortEntry>, kind: ServiceKind, headless: bool, several: bool) -> Checked<ServicePort> {
    let name = entry.name.as_ref().filter(|name| !name.is_empty());
    match name {
        Some(name) => {
            rules::dns_label("a port", name, Some(name.span))?;
        }
        None if several => {
            return Err(Complaint::at(entry.port.span, "this port has no name")
                .hint("the ports of a Service with several have names: add `name: http`"));
        }
        None => {}
    }
    rules::app_protocol(entry.app_protocol.as_ref())?;
    let port = port_number(&entry.port)?;
    if kind == ServiceKind::LoadBalancer && port == KUBELET_PORT {
        return Err(Complaint::at(entry.port.span, format!("a LoadBalancer cannot have the port {port}"))
            .hint("the API server says: may not expose port 10250 externally since it is used by kubelet"));
    }
    if let Some(number) = entry.node_port.as_ref().filter(|number| number.value != 0)
        && !matches!(kind, ServiceKind::NodePort | ServiceKind::LoadBalancer)
    {
        return Err(match headless {
            true => Complaint::at(number.span, "a headless Service has no `nodePort`").hint("remove this line"),
            false => Complaint::at(number.span, format!("a Service of type {kind:?} has no `nodePort`"))
                .hint("add `type: NodePort`, or remove this line"),
        });
    }
    let node_port = entry.node_port.as_ref().filter(|number| number.value != 0);
    Ok(ServicePort {
        name: name.map(|name| name.value.clone()).unwrap_or_default(),
        protocol: protocol(entry.protocol.as_ref())?,
        port,
        target: target(entry.target_port.as_ref(), port)?,
        node_port: node_port.map(port_number).transpose()?,
    })
}

/// A port's number, 1 to 65535.
pub(super) fn port_number(number: &Spanned<u32>) -> Checked<u16> {
    Ok(u16::try_from(rules::in_range("a port", number, 1..=65535)?).unwrap_or(u16::MAX))
}

fn target(written: Option<&Spanned<IntOrString>>, port: u16) -> Checked<TargetPort> {
    let Some(written) = written else { return Ok(TargetPort::Number(port)) };
    match &written.value {
        IntOrString::Number(0) => Ok(TargetPort::Number(port)),
        IntOrString::Number(number) => {
            let number = Spanned { value: u32::try_from(*number).unwrap_or(u32::MAX), span: written.span };
            port_number(&number).map(TargetPort::Number)
        }
        IntOrString::Text(name) if name.is_empty() => Ok(TargetPort::Number(port)),
        IntOrString::Text(name) if rules::is_port_name(name) => Ok(TargetPort::Name(name.clone())),
        IntOrString::Text(name) => {
            Err(Complaint::at(written.span, format!("{} is no name for a port", quote(name)))
                .hint(rules::PORT_NAME_CURE))
        }
    }
}

/// Seconds for which a client keeps its endpoint. Without `sessionAffinity: ClientIP` the API server takes the configuration
/// away before it looks at it (pkg/apis/core/v1/defaults.go, `SetDefaults_Service`).
fn affinity(spec: &ServiceSpec) -> Checked<Option<u32>> {
    let kinds = [("None", false), ("ClientIP", true)];
    if !choice("session affinity", spec.session_affinity.as_ref(), false, &kinds)? {
        return Ok(None);
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    match config.and_then(|config| config.timeout_seconds.as_ref()) {
        Some(seconds) => rules::in_range("the seconds of affinity", seconds, 1..=86_400).map(Some),
        None => Ok(Some(AFFINITY_SECONDS)),
    }
}

fn health(spec: &ServiceSpec) -> Checked<Option<u16>> {
    spec.health_check_node_port.as_ref().filter(|port| port.value != 0).map(port_number).transpose()
}

fn external_name(spec: &ServiceSpec, kind: ServiceKind, place: Span) -> Checked<Option<String>> {
    match (kind, spec.external_name.as_ref().filter(|name| !name.is_empty())) {
        (ServiceKind::ExternalName, Some(name)) => {
            let bare = Spanned { value: name.trim_end_matches('.').to_owned(), span: name.span };
            rules::dns_subdomain("an external host", &bare).map(Some)
        }
        (ServiceKind::ExternalName, None) => {
            Err(Complaint::at(place, "an ExternalName Service names no host").hint("add `externalName: example.net`"))
        }
        (_, Some(name)) => Err(Complaint::at(name.span, format!("a Service of type {kind:?} has no `externalName`"))
            .hint("add `type: ExternalName`, or remove this line")),
        (_, None) => Ok(None),
    }
}

/// The load balancer's addresses: all, or only those that nodes handle, or that they leave alone.
fn ingress(object: &ServiceObject, wanted: Option<bool>) -> Checked<Vec<IpAddr>> {
    let Some(status) = &object.status else { return Ok(Vec::new()) };
    let mut addresses = Vec::new();
    for entry in &status.load_balancer.ingress {
        let vip = choice("ipMode", entry.ip_mode.as_ref(), true, &[("VIP", true), ("Proxy", false)])?;
        if let Some(ip) = entry.ip.as_ref().filter(|ip| wanted.is_none_or(|wanted| wanted == vip) && !ip.is_empty()) {
            addresses.push(any_address(ip)?);
        }
    }
    Ok(addresses)
}

fn source_ranges(spec: &ServiceSpec, balancer: bool) -> Checked<Vec<IpNet>> {
    let mut ranges = Vec::new();
    for range in &spec.load_balancer_source_ranges {
        if !balancer {
            return Err(Complaint::at(range.span, "`loadBalancerSourceRanges` of a Service that is no LoadBalancer")
                .hint("add `type: LoadBalancer`, or remove it"));
        }
        let net: IpNet = range.trim().parse().map_err(|_| {
            Complaint::at(range.span, format!("{} is not a prefix", quote(range))).hint("write it as 203.0.113.0/25")
        })?;
        ranges.push(net.trunc());
    }
    Ok(ranges)
}
