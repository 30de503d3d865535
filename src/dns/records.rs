//! What a server knows of the cluster: Services, the endpoints that are ready, the Kubernetes namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::topology::{Cluster, EndpointSlice, Service, ServiceKind};

/// Everything from which questions are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// The zone, without a dot at its end: `cluster.local`.
    pub domain: String,
    /// Seconds for which answers may be kept.
    pub ttl: u32,
    /// The Kubernetes namespaces.
    pub namespaces: Vec<String>,
    /// The Services.
    pub services: Vec<ServiceRecords>,
}

/// What is known of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecords {
    /// Its Kubernetes namespace.
    #[serde(rename = "in")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its name stands for.
    #[serde(rename = "is")]
    pub target: Target,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRecord>,
    /// Its endpoints that are ready, by the ports that they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointRecords>,
}

/// What a Service's name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Its cluster addresses.
    At(Vec<IpAddr>),
    /// Its endpoints.
    Headless,
    /// Another name.
    Alias(String),
}

/// Endpoints with the same ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecords {
    /// Their ports; none if the Service has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRecord>,
    /// Their addresses, each with the host name that the pod has by itself.
    pub at: Vec<(IpAddr, Option<String>)>,
}

/// A port: name, protocol in lower case, number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRecord(pub String, pub String, pub u16);

impl Records {
    /// Those of a cluster whose Services have these endpoints.
    pub fn of(cluster: &Cluster, slices: &[EndpointSlice]) -> Records {
        let dns = cluster.dns.clone().unwrap_or_default();
        let mut by_service: BTreeMap<(String, String), Vec<EndpointRecords>> = BTreeMap::new();
        for slice in slices {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
            let at: Vec<(IpAddr, Option<String>)> =
                ready.map(|endpoint| (endpoint.address, endpoint.hostname.clone())).collect();
            if !at.is_empty() {
                let ports = slice
                    .ports
                    .iter()
                    .map(|port| PortRecord(port.name.clone(), port.protocol.lower().to_owned(), port.port));
                let known = by_service.entry((slice.namespace.clone(), slice.service.clone())).or_default();
                known.push(EndpointRecords { ports: ports.collect(), at });
            }
        }
        let service = |service: &Service| {
            let ports = service.ports.iter();
            ServiceRecords {
                namespace: service.namespace.clone(),
                name: service.name.clone(),
                target: target(service),
                ports: ports.map(|p| PortRecord(p.name.clone(), p.protocol.lower().to_owned(), p.port)).collect(),
                endpoints: by_service.remove(&(service.namespace.clone(), service.name.clone())).unwrap_or_default(),
            }
        };
        Records {
            domain: dns.domain,
            ttl: dns.ttl,
            namespaces: cluster.namespaces.iter().map(|namespace| namespace.name.clone()).collect(),
            services: cluster.services.iter().map(service).collect(),
        }
    }
}

fn target(service: &Service) -> Target {
    match (&service.external_name, service.kind) {
        (Some(name), ServiceKind::ExternalName) => Target::Alias(name.clone()),
        _ if service.headless() => Target::Headless,
        _ => Target::At(service.cluster_ips.clone()),
    }
}
