//! What was asked for: the cluster as its input files describe it. PURE.
//!
//! [`Cluster`] is what remains when text has been parsed, checked, defaulted, and its controllers have been
//! turned into pods with a node each. Nothing here knows how a network is programmed.

pub mod builtin;
mod cluster_file;
mod complaint;
mod decode;
mod documents;
mod fields;
mod manifests;
mod network;
mod parse;
mod pod_spec;
mod pods;
mod rules;
mod schedule;
mod schema;
mod source;
mod tree;
mod underlay;
mod workloads;
mod wrong;

pub use complaint::nearest;
pub use parse::parse;
pub use schema::schema;
pub use source::{Overrides, SOURCE_BYTES_MAX, Source};

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::plan::Mac;

/// A cluster, resolved: every reference holds, every default is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Its name, the `<cluster>` of its namespaces.
    pub name: String,
    /// The Ethernet segments of the underlay.
    pub segments: Vec<Segment>,
    /// The nodes, in input order.
    pub nodes: Vec<Node>,
    /// Hosts outside of the cluster.
    pub clients: Vec<Client>,
    /// How pods are connected.
    pub network: Network,
    /// `serviceCIDR`.
    pub service_cidr: Ipv4Net,
    /// The Kubernetes namespaces: those of the input, `default` and `kube-system`.
    pub namespaces: Vec<KubeNamespace>,
    /// The controllers (Deployment, ReplicaSet, …), in input order.
    pub workloads: Vec<Workload>,
    /// The pods in creation order, each placed on a node.
    pub pods: Vec<Pod>,
}

/// An Ethernet segment with one switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// The prefix of its hosts.
    pub subnet: Ipv4Net,
    /// MTU in bytes of every NIC on it.
    pub mtu: u32,
    /// The gateway's address; hosts have their default route through it.
    pub router: Ipv4Addr,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Name of the segment it is on.
    pub segment: String,
    /// Name of its NIC: `ens33`.
    pub nic: String,
    /// The NIC's Ethernet address, if the file fixes it.
    pub mac: Option<Mac>,
    /// Labels; `kubernetes.io/hostname` is always among them.
    pub labels: BTreeMap<String, String>,
    /// A Calico block that the file fixes for it.
    pub block: Option<Ipv4Net>,
}

/// A host outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Name of the segment it is on.
    pub segment: String,
    /// Name of its NIC.
    pub nic: String,
    /// The NIC's Ethernet address, if the file fixes it.
    pub mac: Option<Mac>,
    /// Routes beside its default route, as `ip route add TO via VIA`.
    pub routes: Vec<ClientRoute>,
}

/// A static route of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientRoute {
    /// Destination.
    pub to: Ipv4Net,
    /// Next hop, an address of the client's segment.
    pub via: Ipv4Addr,
}

/// The CNI modes that this minik can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Calico with `ipipMode: Always`.
    #[serde(rename = "calico-ipip")]
    CalicoIpip,
}

impl Mode {
    /// Every mode, in the order in which they are listed.
    pub const ALL: &'static [Mode] = &[Mode::CalicoIpip];

    /// The mode's one name: command line, file in src/cni/, golden files, built-in topology.
    pub fn name(self) -> &'static str {
        match self {
            Mode::CalicoIpip => "calico-ipip",
        }
    }

    /// `ipipMode` and `vxlanMode` of a pool in this mode, in Calico's words.
    pub fn encapsulation(self) -> (&'static str, &'static str) {
        match self {
            Mode::CalicoIpip => ("Always", "Never"),
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How pods are connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The CNI mode.
    pub mode: Mode,
    /// Calico's IP pools, in the order in which they are tried.
    pub pools: Vec<IpPool>,
    /// Calico IPAM's `strictAffinity`: a node takes addresses from its own blocks only.
    pub strict_affinity: bool,
    /// The pods' MTU if the file fixes it (Calico's `veth_mtu`); none is Calico's own choice.
    pub mtu: Option<u32>,
    /// Whether Felix finds an iptables and kernel that know `--random-fully`.
    pub random_fully: bool,
}

/// A Calico IPPool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpPool {
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub cidr: Ipv4Net,
    /// Prefix length of its blocks, 20 to 32.
    pub block_size: u8,
    /// `natOutgoing`: masquerade what leaves all pools.
    pub nat_outgoing: bool,
    /// `disabled`: no new addresses from it.
    pub disabled: bool,
}

/// A Kubernetes namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KubeNamespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A controller of pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// `Deployment`, `ReplicaSet`, `DaemonSet` or `StatefulSet`.
    pub kind: WorkloadKind,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods it has (nodes, for a DaemonSet).
    pub replicas: u32,
}

/// The kinds of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum WorkloadKind {
    /// Pods through a ReplicaSet.
    Deployment,
    /// Pods with random suffixes.
    ReplicaSet,
    /// A pod on every node.
    DaemonSet,
    /// Pods with ordinals.
    StatefulSet,
}

impl WorkloadKind {
    /// The kind as manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::ReplicaSet => "ReplicaSet",
            WorkloadKind::DaemonSet => "DaemonSet",
            WorkloadKind::StatefulSet => "StatefulSet",
        }
    }
}

/// A pod with its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of the node it is placed on.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `serviceAccountName`, `default` if not given.
    pub service_account: String,
    /// The controller that made it, as (kind, name); a Deployment's pods are owned by the Deployment.
    pub owner: Option<(WorkloadKind, String)>,
    /// Its containers.
    pub containers: Vec<Container>,
}

impl Pod {
    /// `namespace/name`, which is also the name of its network namespace inside the cluster.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image; known names map to built-in apps.
    pub image: String,
    /// `command` followed by `args`: a program of the host to run in the pod; empty runs the image's app.
    pub command: Vec<String>,
    /// Declared ports.
    pub ports: Vec<ContainerPort>,
    /// Literal environment variables.
    pub env: Vec<(String, String)>,
}

/// A declared port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerPort {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Number, 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}
