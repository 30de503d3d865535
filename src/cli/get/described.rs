//! What `minik describe` says of Services and Endpoints, as kubectl v1.30 does (kubectl pkg/describe).

use std::fmt::Write;

use super::services::{cluster_ip, few, list, or_none, pairs, policy, spelled, subsets};
use crate::cli::session::Session;
use crate::compose;
use crate::topology::{Endpoint, Service, ServiceKind, ServicePort, TargetPort};

/// The endpoints of a Service's port.
fn endpoints_of_port(session: &Session, service: &Service, port: &ServicePort) -> String {
    let slices = compose::endpoints(&session.cluster, &session.plan);
    let own = subsets(&session.cluster.services, &slices, &service.namespace, &service.name);
    few(&spelled(&own, Some(&port.name)))
}

/// `kubectl describe service`: keys and values.
pub(in crate::cli) fn service(session: &Session, service: &Service) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Name", service.name.clone()),
        ("Namespace", service.namespace.clone()),
        ("Labels", or_none(pairs(&service.labels))),
        ("Selector", or_none(pairs(&service.selector))),
        ("Type", format!("{:?}", service.kind)),
    ];
    lines.extend(service.family_policy.map(|policy| ("IP Family Policy", policy.to_owned())));
    let families: Vec<&str> = service.families.iter().map(|family| family.name()).collect();
    lines.extend((!families.is_empty()).then(|| ("IP Families", families.join(","))));
    lines.extend([
        ("IP", cluster_ip(service)),
        ("IPs", if service.headless() { "None".to_owned() } else { or_none(list(&service.cluster_ips)) }),
    ]);
    if !service.external_ips.is_empty() {
        lines.push(("External IPs", list(&service.external_ips)));
    }
    lines.extend(service.external_name.clone().map(|name| ("External Name", name)));
    if !service.ingress.is_empty() {
        lines.push(("LoadBalancer Ingress", list(&service.ingress)));
    }
    for port in &service.ports {
        let name = if port.name.is_empty() { "<unset>" } else { &port.name };
        let protocol = port.protocol.name();
        let target = match &port.target {
            TargetPort::Number(number) => format!("{number}/{protocol}"),
            TargetPort::Name(name) => format!("{name}/{protocol}"),
        };
        lines.push(("Port", format!("{name}  {}/{protocol}", port.port)));
        lines.push(("TargetPort", target));
        lines.extend(port.node_port.map(|number| ("NodePort", format!("{name}  {number}/{protocol}"))));
        lines.push(("Endpoints", endpoints_of_port(session, service, port)));
    }
    lines.push(("Session Affinity", if service.affinity.is_some() { "ClientIP" } else { "None" }.to_owned()));
    if service.externally_accessible() {
        lines.push(("External Traffic Policy", policy(service.external_policy).to_owned()));
    }
    if service.kind != ServiceKind::ExternalName {
        lines.push(("Internal Traffic Policy", policy(service.internal_policy).to_owned()));
    }
    lines.extend(service.health_check_node_port.map(|port| ("HealthCheck NodePort", port.to_string())));
    if !service.source_ranges.is_empty() {
        lines.push(("LoadBalancer Source Ranges", list(&service.source_ranges)));
    }
    lines
}

/// `kubectl describe endpoints`; writing to a String cannot fail.
pub(in crate::cli) fn endpoints(session: &Session, namespace: &str, name: &str) -> String {
    let slices = compose::endpoints(&session.cluster, &session.plan);
    let mut text = String::new();
    for (key, value) in [("Name", name), ("Namespace", namespace)] {
        let _ = writeln!(text, "{:<12}{value}", format!("{key}:"));
    }
    text.push_str("Subsets:\n");
    let spelled = |endpoints: &[&Endpoint]| {
        or_none(endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>().join(","))
    };
    for subset in subsets(&session.cluster.services, &slices, namespace, name) {
        let _ = writeln!(text, "  Addresses:          {}", spelled(&subset.ready));
        let _ = writeln!(text, "  NotReadyAddresses:  {}", spelled(&subset.not_ready));
        if subset.ports.is_empty() {
            continue;
        }
        text.push_str("  Ports:\n    Name     Port  Protocol\n    ----     ----  --------\n");
        for port in subset.ports {
            let name = if port.name.is_empty() { "<unset>" } else { &port.name };
            let _ = writeln!(text, "    {name:<8} {:<5} {}", port.port, port.protocol.name());
        }
    }
    text
}
