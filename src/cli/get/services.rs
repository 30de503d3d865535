//! Services, Endpoints and EndpointSlices, as kubectl v1.30 lists them (kubernetes pkg/printers/internalversion).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::kube::NONE;
use crate::cli::print::{Listing, Row, age, column, wide};
use crate::cli::session::Session;
use crate::compose;
use crate::plan::Family;
use crate::topology::{
    Endpoint, EndpointPort, EndpointSlice, MANAGED_BY, Service, ServiceKind, ServicePort, TrafficPolicy,
};

/// Endpoints that a cell shows before it says how many more there are.
const SHOWN: usize = 3;
/// Width of a load balancer's addresses, without `-o wide`.
const BALANCER_WIDTH: usize = 16;

pub(super) fn services(session: &Session, is_wide: bool) -> Listing {
    let mut all: Vec<&Service> = session.cluster.services.iter().collect();
    all.sort_by_key(|service| (&service.namespace, &service.name));
    let rows = all.into_iter().map(|service| {
        let cells = [
            service.name.clone(),
            format!("{:?}", service.kind),
            cluster_ip(service),
            external_ip(service, is_wide),
            or_none(service.ports.iter().map(port_word).collect::<Vec<_>>().join(",")),
            age(session.age_of("Service", &service.namespace, &service.name)),
            or_none(pairs(&service.selector)),
        ];
        row(&service.namespace, &service.name, cells.to_vec(), service_object(service))
    });
    let columns = ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"].map(column);
    let columns = columns.into_iter().chain([wide("SELECTOR")]).collect();
    Listing { kind: "service", columns, rows: rows.collect(), like_calicoctl: false }
}

fn row(namespace: &str, name: &str, cells: Vec<String>, object: Value) -> Row {
    Row { namespace: Some(namespace.to_owned()), name: name.to_owned(), cells, object }
}

pub(super) fn or_none(text: String) -> String {
    if text.is_empty() { NONE.to_owned() } else { text }
}

pub(super) fn pairs(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

pub(super) fn cluster_ip(service: &Service) -> String {
    match service.cluster_ips.first() {
        Some(ip) => ip.to_string(),
        None if service.headless() => "None".to_owned(),
        None => NONE.to_owned(),
    }
}

pub(super) fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn external_ip(service: &Service, is_wide: bool) -> String {
    let own = list(&service.external_ips);
    match service.kind {
        ServiceKind::ClusterIP | ServiceKind::NodePort => or_none(own),
        ServiceKind::ExternalName => or_none(service.external_name.clone().unwrap_or_default()),
        ServiceKind::LoadBalancer => {
            let mut balancer = list(&service.ingress);
            if !is_wide && balancer.len() > BALANCER_WIDTH {
                balancer.truncate(BALANCER_WIDTH - 3);
                balancer.push_str("...");
            }
            let all: Vec<String> = [balancer, own].into_iter().filter(|part| !part.is_empty()).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
    }
}

fn port_word(port: &ServicePort) -> String {
    let node = port.node_port.map_or_else(String::new, |number| format!(":{number}"));
    format!("{}{node}/{}", port.port, port.protocol.name())
}

/// A value that is left out where it is nothing, as the API server's JSON does.
fn put(object: &mut Value, key: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if !empty {
        object[key] = value;
    }
}

pub(super) fn policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

fn service_object(service: &Service) -> Value {
    let port = |port: &ServicePort| {
        let mut object = json!({ "port": port.port, "protocol": port.protocol, "targetPort": port.target });
        put(&mut object, "name", json!(port.name));
        put(&mut object, "nodePort", json!(port.node_port));
        object
    };
    let mut metadata = json!({ "name": service.name, "namespace": service.namespace });
    put(&mut metadata, "labels", json!(service.labels));
    let mut spec = json!({ "type": service.kind });
    let ips: Vec<String> = match service.headless() {
        true => vec!["None".to_owned()],
        false => service.cluster_ips.iter().map(ToString::to_string).collect(),
    };
    put(&mut spec, "clusterIP", json!(ips.first()));
    put(&mut spec, "clusterIPs", json!(ips));
    put(&mut spec, "ipFamilies", service.families.iter().map(|family| json!(family.name())).collect());
    put(&mut spec, "ipFamilyPolicy", json!(service.family_policy));
    put(&mut spec, "externalIPs", json!(service.external_ips));
    put(&mut spec, "externalName", json!(service.external_name));
    put(&mut spec, "loadBalancerSourceRanges", json!(service.source_ranges));
    put(&mut spec, "healthCheckNodePort", json!(service.health_check_node_port));
    put(&mut spec, "ports", service.ports.iter().map(port).collect());
    if service.kind == ServiceKind::LoadBalancer {
        let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
        put(&mut spec, "allocateLoadBalancerNodePorts", json!(has_node_port));
    }
    put(&mut spec, "selector", json!(service.selector));
    if service.kind != ServiceKind::ExternalName {
        put(&mut spec, "internalTrafficPolicy", json!(policy(service.internal_policy)));
    }
    if service.externally_accessible() {
        put(&mut spec, "externalTrafficPolicy", json!(policy(service.external_policy)));
    }
    if service.publish_not_ready {
        put(&mut spec, "publishNotReadyAddresses", json!(true));
    }
    put(&mut spec, "sessionAffinity", json!(if service.affinity.is_some() { "ClientIP" } else { "None" }));
    if let Some(seconds) = service.affinity {
        put(&mut spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": seconds } }));
    }
    let ingress: Vec<Value> = service.ingress.iter().map(|ip| json!({ "ip": ip })).collect();
    let mut balancer = json!({});
    put(&mut balancer, "ingress", json!(ingress));
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": spec,
        "status": { "loadBalancer": balancer },
    })
}

/// A part of an Endpoints object: ports, and the addresses that have all of them.
#[derive(Debug, Default)]
pub(super) struct Subset<'a> {
    pub(super) ports: &'a [EndpointPort],
    pub(super) ready: Vec<&'a Endpoint>,
    pub(super) not_ready: Vec<&'a Endpoint>,
}

/// Whether a slice is in the Endpoints object of its Service: that has the Service's first family alone, unless it was
/// written by hand (kubernetes pkg/controller/endpoint, `addEndpointSubset`).
fn is_shown(services: &[Service], slice: &EndpointSlice) -> bool {
    let own = services.iter().find(|own| own.namespace == slice.namespace && own.name == slice.service);
    let selected = own.filter(|own| !own.selector.is_empty());
    selected.and_then(|own| own.families.first()).is_none_or(|family| slice.v6 == (*family == Family::Inet6))
}

/// The subsets of a Service: its slices, those with the same ports together, addresses in the order of their text.
pub(super) fn subsets<'a>(
    services: &[Service],
    slices: &'a [EndpointSlice],
    namespace: &str,
    service: &str,
) -> Vec<Subset<'a>> {
    let mut all: BTreeMap<&[EndpointPort], Subset> = BTreeMap::new();
    let own = slices.iter().filter(|slice| slice.namespace == namespace && slice.service == service);
    for slice in own.filter(|slice| is_shown(services, slice)) {
        let subset = all.entry(&slice.ports).or_insert_with(|| Subset { ports: &slice.ports, ..Subset::default() });
        for endpoint in &slice.endpoints {
            if endpoint.ready { &mut subset.ready } else { &mut subset.not_ready }.push(endpoint);
        }
    }
    let by_text = |endpoint: &&Endpoint| endpoint.address.to_string();
    let mut all: Vec<Subset> = all.into_values().collect();
    for subset in &mut all {
        subset.ready.sort_by_key(by_text);
        subset.not_ready.sort_by_key(by_text);
    }
    all
}

/// `address:port` of every ready endpoint; of one port only, if that is given.
pub(super) fn spelled(subsets: &[Subset], only: Option<&str>) -> Vec<String> {
    let mut all = Vec::new();
    for subset in subsets {
        if subset.ports.is_empty() {
            all.extend(subset.ready.iter().map(|endpoint| endpoint.address.to_string()));
        }
        for port in subset.ports.iter().filter(|port| only.is_none_or(|only| only == port.name)) {
            let socket = |endpoint: &&Endpoint| std::net::SocketAddr::new(endpoint.address, port.port).to_string();
            all.extend(subset.ready.iter().map(socket));
        }
    }
    all
}

/// A few of a list, and how many more there are.
pub(super) fn few(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { or_none(shown) }
}

/// The Endpoints objects: one for each Service that has a selector, or slices by hand.
pub(in crate::cli) fn endpoints(session: &Session) -> Listing {
    let slices = compose::endpoints(&session.cluster, &session.plan);
    let with_selector = session.cluster.services.iter().filter(|s| !s.selector.is_empty());
    let selected = with_selector.map(|service| (service.namespace.as_str(), service.name.as_str()));
    let by_hand = slices.iter().map(|slice| (slice.namespace.as_str(), slice.service.as_str()));
    let names: BTreeSet<(&str, &str)> = selected.chain(by_hand).collect();
    let rows = names.into_iter().map(|(namespace, name)| {
        let subsets = subsets(&session.cluster.services, &slices, namespace, name);
        let age = age(session.age_of("Service", namespace, name));
        let cells = vec![name.to_owned(), few(&spelled(&subsets, None)), age];
        let mut metadata = json!({ "name": name, "namespace": namespace });
        let own = session.cluster.services.iter().find(|own| own.namespace == namespace && own.name == name);
        // The controller gives its objects the Service's labels.
        let labels = own.filter(|own| !own.selector.is_empty()).map(|own| &own.labels);
        put(&mut metadata, "labels", json!(labels));
        let mut object = json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": metadata });
        put(&mut object, "subsets", subsets.iter().map(|subset| subset_object(namespace, subset)).collect());
        row(namespace, name, cells, object)
    });
    let columns = ["NAME", "ENDPOINTS", "AGE"].map(column).to_vec();
    Listing { kind: "endpoints", columns, rows: rows.collect(), like_calicoctl: false }
}

fn port_object(port: &EndpointPort) -> Value {
    let mut object = json!({ "port": port.port, "protocol": port.protocol });
    put(&mut object, "name", json!(port.name));
    object
}

fn pod_reference(namespace: &str, endpoint: &Endpoint) -> Value {
    endpoint.pod.as_ref().map_or(Value::Null, |pod| json!({ "kind": "Pod", "name": pod, "namespace": namespace }))
}

fn subset_object(namespace: &str, subset: &Subset) -> Value {
    let address = |endpoint: &&Endpoint| {
        let mut object = json!({ "ip": endpoint.address });
        put(&mut object, "hostname", json!(endpoint.hostname));
        put(&mut object, "nodeName", json!(endpoint.node));
        put(&mut object, "targetRef", pod_reference(namespace, endpoint));
        object
    };
    let mut object = json!({});
    put(&mut object, "addresses", subset.ready.iter().map(address).collect());
    put(&mut object, "notReadyAddresses", subset.not_ready.iter().map(address).collect());
    put(&mut object, "ports", subset.ports.iter().map(port_object).collect());
    object
}

pub(super) fn slices(session: &Session) -> Listing {
    let mut slices = compose::endpoints(&session.cluster, &session.plan);
    slices.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let rows = slices.iter().map(|slice| {
        let family = if slice.v6 { "IPv6" } else { "IPv4" };
        let ports: Vec<String> = slice.ports.iter().map(|port| port.port.to_string()).collect();
        let addresses: Vec<String> = slice.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        let ports = if ports.is_empty() { "<unset>".to_owned() } else { few(&ports) };
        let age = age(session.age_of("Service", &slice.namespace, &slice.service));
        let cells = vec![slice.name.clone(), family.to_owned(), ports, few_slices(&addresses), age];
        row(&slice.namespace, &slice.name, cells, slice_object(slice, family))
    });
    let columns = ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"].map(column).to_vec();
    Listing { kind: "endpointslice.discovery.k8s.io", columns, rows: rows.collect(), like_calicoctl: false }
}

/// As [`few`], but a slice without endpoints says `<unset>`.
fn few_slices(addresses: &[String]) -> String {
    if addresses.is_empty() { "<unset>".to_owned() } else { few(addresses) }
}

fn slice_object(slice: &EndpointSlice, family: &str) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let mut object = json!({
            "addresses": [endpoint.address],
            "conditions": {
                "ready": endpoint.ready, "serving": endpoint.serving, "terminating": endpoint.terminating,
            },
        });
        put(&mut object, "hostname", json!(endpoint.hostname));
        put(&mut object, "nodeName", json!(endpoint.node));
        put(&mut object, "targetRef", pod_reference(&slice.namespace, endpoint));
        if !endpoint.zones.is_empty() {
            let zones: Vec<Value> = endpoint.zones.iter().map(|zone| json!({ "name": zone })).collect();
            object["hints"] = json!({ "forZones": zones });
        }
        object
    };
    let mut labels = json!({ "kubernetes.io/service-name": slice.service });
    put(&mut labels, MANAGED_BY, json!(slice.managed_by));
    if slice.headless {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    json!({
        "addressType": family,
        "apiVersion": "discovery.k8s.io/v1",
        "endpoints": slice.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "kind": "EndpointSlice",
        "metadata": { "labels": labels, "name": slice.name, "namespace": slice.namespace },
        "ports": slice.ports.iter().map(port_object).collect::<Vec<_>>(),
    })
}
