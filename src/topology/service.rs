//! Services and their endpoints, resolved: what the API server would hand to a proxy. PURE.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Pod;
use crate::plan::Family;

/// A Service of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// `type`.
    pub kind: ServiceKind,
    /// Labels of the pods behind it; empty if its endpoints are given by hand.
    pub selector: BTreeMap<String, String>,
    /// `ipFamilies`, resolved: the first one first; none for an `ExternalName`.
    #[serde(skip_serializing_if = "is_ipv4_alone")]
    pub families: Vec<Family>,
    /// `ipFamilyPolicy`, given or inferred; none for an `ExternalName`. It has no part in the plan.
    #[serde(skip)]
    pub family_policy: Option<&'static str>,
    /// Its cluster addresses, one per family at most; none for a headless one or an `ExternalName`.
    pub cluster_ips: Vec<IpAddr>,
    /// `externalName` of an `ExternalName`.
    pub external_name: Option<String>,
    /// Its ports in input order.
    pub ports: Vec<ServicePort>,
    /// Seconds for which a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<u32>,
    /// `externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` with an address.
    pub ingress: Vec<IpAddr>,
    /// Those of them with `ipMode: Proxy`, which nodes leave to the load balancer since 1.30; older ones do not know that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxied_ingress: Vec<IpAddr>,
    /// `loadBalancerSourceRanges`.
    pub source_ranges: Vec<IpNet>,
    /// `healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `publishNotReadyAddresses`: pods count before they are ready.
    pub publish_not_ready: bool,
    /// Annotation `service.kubernetes.io/topology-aware-hints`, the older of two that ask for topology aware routing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_hints: Option<String>,
    /// Annotation `service.kubernetes.io/topology-mode`, the newer one.
    pub topology_mode: Option<String>,
    /// Label `service.kubernetes.io/service-proxy-name`: another proxy's business, not kube-proxy's.
    pub proxy_name: Option<String>,
}

/// `type` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ServiceKind {
    /// An address inside of the cluster.
    ClusterIP,
    /// That and a port of every node.
    NodePort,
    /// That and addresses of a load balancer.
    LoadBalancer,
    /// A name of DNS, without any address.
    ExternalName,
}

/// Where traffic may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TrafficPolicy {
    /// To every endpoint.
    Cluster,
    /// To endpoints of the node that got the packet.
    Local,
}

/// A transport protocol that services know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ServiceProtocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl ServiceProtocol {
    /// All of them.
    pub const ALL: [ServiceProtocol; 3] = [ServiceProtocol::Tcp, ServiceProtocol::Udp, ServiceProtocol::Sctp];

    /// In upper case, as manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            ServiceProtocol::Tcp => "TCP",
            ServiceProtocol::Udp => "UDP",
            ServiceProtocol::Sctp => "SCTP",
        }
    }

    /// In lower case, as rules spell it.
    pub fn lower(self) -> &'static str {
        match self {
            ServiceProtocol::Tcp => "tcp",
            ServiceProtocol::Udp => "udp",
            ServiceProtocol::Sctp => "sctp",
        }
    }

    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            ServiceProtocol::Tcp => 6,
            ServiceProtocol::Udp => 17,
            ServiceProtocol::Sctp => 132,
        }
    }
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: ServiceProtocol,
    /// The port of the Service's addresses.
    pub port: u16,
    /// The port of the pods.
    pub target: TargetPort,
    /// The port of the nodes, where it has one.
    pub node_port: Option<u16>,
}

/// `targetPort` of a Service's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a container's port.
    Name(String),
}

/// The label by which an EndpointSlice names its controller (api/discovery/v1/well_known_labels.go).
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The controller that makes the slices of Services with a selector.
pub const SLICES_OF_SELECTOR: &str = "endpointslice-controller.k8s.io";

/// The controller that makes slices of Endpoints.
pub const SLICES_OF_ENDPOINTS: &str = "endpointslicemirroring-controller.k8s.io";

/// Some of a Service's endpoints, of one family of addresses and one set of ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointSlice {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Service that it belongs to.
    pub service: String,
    /// Whether its addresses are IPv6.
    pub v6: bool,
    /// Label `service.kubernetes.io/headless`: proxies leave it alone.
    pub headless: bool,
    /// Label [`MANAGED_BY`]: the controller that writes it, if one does.
    #[serde(skip)]
    pub managed_by: Option<String>,
    /// The ports of every endpoint.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of the endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EndpointPort {
    /// The name of the Service's port; empty if that has none.
    pub name: String,
    /// Its protocol.
    pub protocol: ServiceProtocol,
    /// Its number.
    pub port: u16,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Gets new connections.
    pub ready: bool,
    /// Answers, whether or not it is about to end.
    pub serving: bool,
    /// Is about to end.
    pub terminating: bool,
    /// The node that it is on.
    pub node: Option<String>,
    /// Its host name, for DNS.
    pub hostname: Option<String>,
    /// The pod behind it.
    pub pod: Option<String>,
    /// Zones that should use it (`hints.forZones`).
    pub zones: Vec<String>,
}

fn is_ipv4_alone(families: &[Family]) -> bool {
    families == [Family::Inet]
}

impl Service {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a selector of its own finds this pod.
    pub fn selects(&self, pod: &Pod) -> bool {
        let fits = |(key, value): (&String, &String)| pod.labels.get(key) == Some(value);
        !self.selector.is_empty() && pod.namespace == self.namespace && self.selector.iter().all(fits)
    }

    /// Whether it has neither an address nor a name outside: DNS answers with its endpoints.
    pub fn headless(&self) -> bool {
        self.kind != ServiceKind::ExternalName && self.cluster_ips.is_empty()
    }

    /// Whether nodes answer for it to hosts outside: node ports, external or load balancer addresses.
    pub fn externally_accessible(&self) -> bool {
        matches!(self.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer) || !self.external_ips.is_empty()
    }
}
