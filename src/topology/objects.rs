//! What is asked for beside pods: Kubernetes namespaces, and the controllers that pods come from.

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// How many pods it asks for (nodes, for a DaemonSet).
    pub replicas: u32,
    /// Its own labels, which have no part in the plan.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
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
