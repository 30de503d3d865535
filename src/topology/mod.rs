//! What was asked for: the cluster as its input files describe it. PURE.
//!
//! [`Cluster`] is what remains when text has been parsed, checked, defaulted, and its controllers have been
//! turned into pods with a node each. Nothing here knows how a network is programmed.

pub mod builtin;
mod cluster_file;
mod complaint;
mod composer;
mod decode;
mod dns;
mod documents;
mod dual_stack;
mod edits;
mod embedded;
mod endpoint_slices;
pub mod examples;
mod fields;
mod flannel;
mod ip_families;
mod ip_pool;
mod iptables;
mod line;
mod manifest;
mod manifests;
mod memory;
mod mode;
mod net_conf;
mod network;
mod objects;
mod options;
mod parse;
mod past;
mod pod;
mod pod_cidr;
mod pod_dns;
mod pod_names;
mod pod_network;
mod pod_spec;
mod pods;
mod pools;
mod proxy;
mod reading;
mod room;
mod routers;
mod rules;
mod scalar;
mod schedule;
mod schema;
mod selector;
mod service;
mod service_objects;
mod service_ports;
mod service_spec;
mod services;
mod source;
mod tree;
mod underlay;
mod ways;
mod workloads;
mod wrong;
mod yaml;

pub use complaint::nearest;
pub use dns::Dns;
pub use edits::{Edit, Reference};
pub use flannel::Flannel;
pub use ip_pool::{EncapsulationMode, IpPool, Routing};
pub use iptables::Iptables;
pub use line::{Line, LineChange, line_change};
pub use manifest::{Applied, applied, objects, written};
pub use memory::{Kept, KeptService, Memory};
pub use mode::{Addressing, HostPorts, Mode};
pub use objects::{KubeNamespace, Workload, WorkloadKind};
pub use options::{CloudRoutes, HairpinMode, KubeRouter, Kubenet, ModeOptions, OverlayType};
pub use parse::{parse, parse_services};
pub use pod::{Container, ContainerPort, Pod, PodNetwork};
pub use pod_dns::{DnsPolicy, PodDns};
pub use proxy::{DetectLocal, IpvsOptions, ProxyConfig, ProxyMode};
pub use reading::Reading;
pub use routers::{Router, RouterPort};
pub use schema::schema;
pub use selector::{Selector, WrongSelector};
pub use service::{
    Endpoint, EndpointPort, EndpointSlice, MANAGED_BY, SLICES_OF_ENDPOINTS, SLICES_OF_SELECTOR, Service, ServiceKind,
    ServicePort, ServiceProtocol, TargetPort, TrafficPolicy,
};
pub use service_objects::ServiceObjects;
pub use source::{Overrides, SOURCE_BYTES_MAX, Source};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use crate::plan::{Family, Mac};

/// A cluster, resolved: every reference holds, every default is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Its name, the `<cluster>` of its namespaces.
    pub name: String,
    /// The Ethernet segments of the underlay.
    pub segments: Vec<Segment>,
    /// The routers: those of the file, or the one that stands on all segments.
    pub routers: Vec<Router>,
    /// The nodes, in input order.
    pub nodes: Vec<Node>,
    /// Hosts outside of the cluster.
    pub clients: Vec<Client>,
    /// How pods are connected.
    pub network: Network,
    /// `serviceCIDR`.
    pub service_cidr: Ipv4Net,
    /// Its second half, IPv6's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cidr6: Option<Ipv6Net>,
    /// The Kubernetes namespaces: those of the input, `default` and `kube-system`.
    pub namespaces: Vec<KubeNamespace>,
    /// The controllers (Deployment, ReplicaSet, …), in input order.
    pub workloads: Vec<Workload>,
    /// The pods in creation order, each placed on a node.
    pub pods: Vec<Pod>,
    /// What was handed out before, if the cluster is live.
    pub memory: Memory,
    /// The Services in input order, addresses and node ports given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Endpoints that are written by hand; those that selectors find are no input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<EndpointSlice>,
    /// kube-proxy, if the file has a `proxy:` or a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyConfig>,
    /// Which iptables its nodes have; none is the machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iptables: Option<Iptables>,
    /// The cluster's DNS, if the file has a `dns:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// An Ethernet segment with one switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// The prefix of its hosts.
    pub subnet: Ipv4Net,
    /// The IPv6 prefix of its hosts, if they have IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<Ipv6Net>,
    /// MTU in bytes of every NIC on it.
    pub mtu: u32,
    /// The gateway's address; hosts have their default route through it.
    pub router: Ipv4Addr,
    /// The gateway's IPv6 address, if there is IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router6: Option<Ipv6Addr>,
    /// What its lines do, but for those of hosts that say otherwise.
    pub line: Line,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Name of the segment it is on.
    pub segment: String,
    /// Name of its NIC: `ens33`.
    pub nic: String,
    /// The NIC's Ethernet address, if the file fixes it.
    pub mac: Option<Mac>,
    /// What its line to the switch does.
    pub line: Line,
    /// MTU in bytes of its NIC, as the network plugin found it.
    pub mtu: u32,
    /// MTU in bytes that was given to its NIC since.
    pub mtu_now: Option<u32>,
    /// Labels; `kubernetes.io/hostname` is always among them.
    pub labels: BTreeMap<String, String>,
    /// A Calico block that the file fixes for it.
    pub block: Option<Ipv4Net>,
    /// One of IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block6: Option<Ipv6Net>,
    /// `spec.podCIDR`, which kube-controller-manager hands out, or the file fixes; none where `cluster_cidr` has none
    /// left, and no pod needs it.
    pub pod_cidr: Option<Ipv4Net>,
    /// The IPv6 prefix of `spec.podCIDRs`, if the cluster has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_cidr6: Option<Ipv6Net>,
}

impl Node {
    /// Its address of this family, if it has one.
    pub fn address_in(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Inet => Some(self.address.into()),
            Family::Inet6 => self.address6.map(IpAddr::from),
        }
    }

    /// The Calico blocks that the file fixes for it, IPv4's first.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> {
        self.block.map(IpNet::from).into_iter().chain(self.block6.map(IpNet::from))
    }

    /// Its `podCIDR` of this family, if it has one.
    pub fn pod_cidr_in(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::Inet => self.pod_cidr.map(IpNet::from),
            Family::Inet6 => self.pod_cidr6.map(IpNet::from),
        }
    }
}

impl Segment {
    /// Its prefix of this family, if it has one.
    pub fn subnet_in(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::Inet => Some(self.subnet.into()),
            Family::Inet6 => self.subnet6.map(IpNet::from),
        }
    }

    /// Its router's address of this family, if it has one.
    pub fn router_in(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Inet => Some(self.router.into()),
            Family::Inet6 => self.router6.map(IpAddr::from),
        }
    }
}

/// A host outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Name of the segment it is on.
    pub segment: String,
    /// Name of its NIC.
    pub nic: String,
    /// The NIC's Ethernet address, if the file fixes it.
    pub mac: Option<Mac>,
    /// What its line to the switch does.
    pub line: Line,
    /// MTU in bytes of its NIC.
    pub mtu: u32,
    /// Routes beside its default route, as `ip route add TO via VIA`.
    pub routes: Vec<StaticRoute>,
}

/// A static route of a client or router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaticRoute {
    /// Destination.
    pub to: IpNet,
    /// Next hop, an address of the same segment and family.
    pub via: IpAddr,
}

/// Whether these can be a label's key and value.
///
/// # Errors
/// Of `Kind::Usage` if they cannot, with what would be right.
pub fn check_label(key: &str, value: &str) -> crate::error::Result<()> {
    let value = fields::Spanned { value: value.to_owned(), span: source::Span::default() };
    rules::label(key, &value).map_err(|complaint| complaint.into_usage())
}

/// How pods are connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The CNI mode.
    pub mode: Mode,
    /// `--cluster-cidr` of kube-controller-manager: the prefix of which every node has its `podCIDR`.
    pub cluster_cidr: Ipv4Net,
    /// Its second half, IPv6's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_cidr6: Option<Ipv6Net>,
    /// Calico's IP pools, in the order in which they are tried.
    pub pools: Vec<IpPool>,
    /// Calico IPAM's `strictAffinity`: a node takes addresses from its own blocks only.
    pub strict_affinity: bool,
    /// Who programs the routes that Calico's BIRD programs.
    pub routing: Routing,
    /// The pods' MTU if the file fixes it (Calico's `veth_mtu`); none is Calico's own choice.
    pub mtu: Option<u32>,
    /// Whether Felix finds an iptables and kernel that know `--random-fully`.
    pub random_fully: bool,
    /// flannel's settings.
    pub flannel: Flannel,
    /// Options of single modes.
    pub options: ModeOptions,
}
