//! Pods, each with its node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{PodDns, WorkloadKind};

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
    /// Condition `Ready`: what a readiness probe would say. A pod that is not ready is no endpoint of Services.
    pub ready: bool,
    /// `serviceAccountName`, `default` if not given.
    pub service_account: String,
    /// The controller that made it, as (kind, name); a Deployment's pods are owned by the Deployment.
    pub owner: Option<(WorkloadKind, String)>,
    /// Whose network namespace it lives in.
    pub network: PodNetwork,
    /// Its containers.
    pub containers: Vec<Container>,
    /// `hostname`; without it the host is called as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `subdomain`: the headless Service under which DNS knows its `hostname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Where its programs look names up.
    #[serde(skip_serializing_if = "PodDns::is_usual")]
    pub dns: PodDns,
}

/// Whose network namespace a pod lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub enum PodNetwork {
    /// Its own, connected by the CNI mode: Docker's `bridge`.
    #[default]
    Own,
    /// Its node's: `hostNetwork`, Docker's `host`.
    Host,
    /// That of the pod of this name in the same Kubernetes namespace: Docker's `container:NAME`.
    Pod(String),
    /// Its own with nothing in it but `lo`: Docker's `none`.
    None,
}

impl Pod {
    /// What `hostname` says in it.
    pub fn host(&self) -> &str {
        self.hostname.as_deref().unwrap_or(&self.name)
    }

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
    /// The node's port by which it is published, 1 to 65535.
    pub host_port: Option<u16>,
    /// The node's address to which that is limited, or 0.0.0.0 or :: for all of a family; none is all of them.
    pub host_ip: Option<IpAddr>,
}
