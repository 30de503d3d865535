//! Services, Endpoints and EndpointSlices as they are written: field names and types, nothing checked yet. See
//! `manifests` for the three sorts of fields. Sources: the API reference of Kubernetes 1.20 to 1.30.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::fields::{Ignored, Spanned};
use super::manifests::{Labels, Metadata};

/// A Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: ServiceSpec,
    /// The load balancer's addresses, which no controller of minik's hands out.
    pub(super) status: Option<ServiceStatus>,
}

/// A Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`; `ClusterIP` if not given.
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<String>>,
    /// Labels of the pods behind it.
    #[serde(default)]
    pub(super) selector: Labels,
    /// Its address, `None` for a headless one; chosen from `serviceCIDR` if not given.
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<Spanned<String>>,
    /// Its address as a list.
    #[serde(default, rename = "clusterIPs")]
    pub(super) cluster_ips: Vec<Spanned<String>>,
    /// `IPv4`, `IPv6`, or both.
    #[serde(default)]
    pub(super) ip_families: Vec<Spanned<String>>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub(super) ip_family_policy: Option<Spanned<String>>,
    /// Its ports.
    #[serde(default)]
    pub(super) ports: Vec<Spanned<ServicePortEntry>>,
    /// The name that an `ExternalName` stands for.
    pub(super) external_name: Option<Spanned<String>>,
    /// `None` or `ClientIP`.
    pub(super) session_affinity: Option<Spanned<String>>,
    /// How long affinity lasts.
    pub(super) session_affinity_config: Option<SessionAffinityConfig>,
    /// `Cluster` or `Local`, for traffic from outside.
    pub(super) external_traffic_policy: Option<Spanned<String>>,
    /// `Cluster` or `Local`, for traffic to the cluster's address.
    pub(super) internal_traffic_policy: Option<Spanned<String>>,
    /// Further addresses at which nodes take its traffic.
    #[serde(default, rename = "externalIPs")]
    pub(super) external_ips: Vec<Spanned<String>>,
    /// Prefixes from which a `LoadBalancer` may be used.
    #[serde(default)]
    pub(super) load_balancer_source_ranges: Vec<Spanned<String>>,
    /// The node port of the health check of a `LoadBalancer` with `externalTrafficPolicy: Local`.
    pub(super) health_check_node_port: Option<Spanned<u32>>,
    /// Whether pods count before they are ready.
    pub(super) publish_not_ready_addresses: Option<bool>,
    /// Whether a `LoadBalancer` gets node ports; `true` if not given.
    pub(super) allocate_load_balancer_node_ports: Option<Spanned<bool>>,
    #[serde(default, rename = "loadBalancerIP")]
    pub(super) _load_balancer_ip: Option<Ignored>,
    /// Whose load balancer it is, of which minik has none.
    pub(super) load_balancer_class: Option<Spanned<String>>,
    /// `PreferClose`, by which endpoints get hints where nodes have zones and Kubernetes 1.30 is told to look at it.
    pub(super) traffic_distribution: Option<Spanned<String>>,
    #[serde(default, rename = "topologyKeys")]
    pub(super) _topology_keys: Option<Ignored>,
}

/// A port of a Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServicePortEntry {
    /// Its name; needed if there are several.
    pub(super) name: Option<Spanned<String>>,
    /// `TCP`, `UDP` or `SCTP`; `TCP` if not given.
    pub(super) protocol: Option<Spanned<String>>,
    /// The port of the Service's address.
    pub(super) port: Spanned<u32>,
    /// Number or name of the pods' port; `port` if not given.
    pub(super) target_port: Option<Spanned<IntOrString>>,
    /// The nodes' port, 30000 to 32767; chosen if not given.
    pub(super) node_port: Option<Spanned<u32>>,
    /// What is spoken there, which no proxy looks at.
    pub(super) app_protocol: Option<Spanned<String>>,
}

/// How long affinity lasts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionAffinityConfig {
    /// Of `ClientIP`.
    #[serde(rename = "clientIP")]
    pub(super) client_ip: Option<ClientIpConfig>,
}

/// How long affinity by the client's address lasts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClientIpConfig {
    /// Seconds, 1 to 86400; 10800 if not given.
    pub(super) timeout_seconds: Option<Spanned<u32>>,
}

/// What a load balancer's controller writes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceStatus {
    /// The load balancer.
    #[serde(default)]
    pub(super) load_balancer: LoadBalancerStatus,
    #[serde(default, rename = "conditions")]
    pub(super) _conditions: Option<Ignored>,
}

/// A load balancer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LoadBalancerStatus {
    /// Its addresses.
    #[serde(default)]
    pub(super) ingress: Vec<IngressEntry>,
}

/// An address of a load balancer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IngressEntry {
    /// The address.
    pub(super) ip: Option<Spanned<String>>,
    /// `VIP` or `Proxy`; with `Proxy`, nodes leave the address alone.
    #[serde(rename = "ipMode")]
    pub(super) ip_mode: Option<Spanned<String>>,
    #[serde(default, rename = "hostname")]
    pub(super) _hostname: Option<Ignored>,
    #[serde(default, rename = "ports")]
    pub(super) _ports: Option<Ignored>,
}

/// Endpoints: addresses behind a Service without a selector, in the older form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointsObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// The Service's name and namespace.
    pub(super) metadata: Metadata,
    /// Addresses and ports.
    #[serde(default)]
    pub(super) subsets: Vec<Spanned<SubsetEntry>>,
}

/// Addresses that have the same ports.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubsetEntry {
    /// Those that are ready.
    #[serde(default)]
    pub(super) addresses: Vec<SubsetAddress>,
    /// Those that are not.
    #[serde(default)]
    pub(super) not_ready_addresses: Vec<SubsetAddress>,
    /// Their ports.
    #[serde(default)]
    pub(super) ports: Vec<SlicePortEntry>,
}

/// An address of Endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubsetAddress {
    /// The address.
    pub(super) ip: Spanned<String>,
    /// Its host name.
    pub(super) hostname: Option<Spanned<String>>,
    /// Its node.
    pub(super) node_name: Option<Spanned<String>>,
    #[serde(default, rename = "targetRef")]
    pub(super) _target_ref: Option<Ignored>,
}

/// An EndpointSlice: addresses behind a Service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointSliceObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace, and the label `kubernetes.io/service-name`.
    pub(super) metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub(super) address_type: Spanned<String>,
    /// The endpoints.
    #[serde(default)]
    pub(super) endpoints: Vec<EndpointEntry>,
    /// The ports of every endpoint.
    #[serde(default)]
    pub(super) ports: Vec<SlicePortEntry>,
}

/// A port of endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SlicePortEntry {
    /// The name of the Service's port.
    pub(super) name: Option<Spanned<String>>,
    /// `TCP`, `UDP` or `SCTP`; `TCP` if not given.
    pub(super) protocol: Option<Spanned<String>>,
    /// Its number.
    pub(super) port: Option<Spanned<u32>>,
    /// What is spoken there, which no proxy looks at.
    pub(super) app_protocol: Option<Spanned<String>>,
}

/// An endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointEntry {
    /// Its addresses, of which the first counts.
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    /// Whether it is ready, serving, terminating.
    #[serde(default)]
    pub(super) conditions: EndpointConditions,
    /// Its host name.
    pub(super) hostname: Option<Spanned<String>>,
    /// Its node.
    pub(super) node_name: Option<Spanned<String>>,
    /// The pod behind it.
    pub(super) target_ref: Option<TargetRef>,
    /// Zones that should use it.
    pub(super) hints: Option<EndpointHints>,
    #[serde(default, rename = "zone")]
    pub(super) _zone: Option<Ignored>,
    /// In v1beta1: its node under `kubernetes.io/hostname`.
    #[serde(default)]
    pub(super) topology: Labels,
    #[serde(default, rename = "deprecatedTopology")]
    pub(super) _deprecated_topology: Option<Ignored>,
}

/// The state of an endpoint.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointConditions {
    /// Gets new connections; `true` if not given.
    pub(super) ready: Option<bool>,
    /// Answers; `true` if not given.
    pub(super) serving: Option<bool>,
    /// Is about to end; `false` if not given.
    pub(super) terminating: Option<bool>,
}

/// What is behind an endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TargetRef {
    /// `Pod`.
    pub(super) kind: Option<Spanned<String>>,
    /// Its name.
    pub(super) name: Option<Spanned<String>>,
    #[serde(default, rename = "namespace")]
    pub(super) _namespace: Option<Ignored>,
    #[serde(default, rename = "uid")]
    pub(super) _uid: Option<Ignored>,
    #[serde(default, rename = "resourceVersion")]
    pub(super) _resource_version: Option<Ignored>,
    #[serde(default, rename = "apiVersion")]
    pub(super) _api_version: Option<Ignored>,
    #[serde(default, rename = "fieldPath")]
    pub(super) _field_path: Option<Ignored>,
}

/// Zones that should use an endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndpointHints {
    /// The zones.
    #[serde(default)]
    pub(super) for_zones: Vec<ForZone>,
}

/// A zone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ForZone {
    /// Its name.
    pub(super) name: Spanned<String>,
}

/// A number or a text: a port or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IntOrString {
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IntOrString, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }
            fn visit_u64<E>(self, number: u64) -> Result<IntOrString, E> {
                Ok(IntOrString::Number(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IntOrString".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}
