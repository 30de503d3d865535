//! Kubernetes and Calico objects as kubectl takes them: field names and types, nothing checked yet.
//!
//! Three sorts of fields: those that minik uses have types; those that cannot matter to the network are
//! [`Ignored`]; those that would matter and are not supported are [`Unsupported`], refused by name. Any other
//! name is a mistake. Sources: the API reference of Kubernetes 1.20 to 1.30, Calico's `IPPool` resource.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::fields::{Ignored, Spanned, Unsupported};
use super::pod_spec::{PodSpec, Selector, Template};

/// Name, namespace and labels of an object.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    /// The object's name.
    pub(super) name: Option<Spanned<String>>,
    /// Its namespace, `default` if not given.
    pub(super) namespace: Option<Spanned<String>>,
    /// Its labels.
    #[serde(default)]
    pub(super) labels: Labels,
    /// Its annotations; those that tell Calico which address to give are refused.
    #[serde(default)]
    pub(super) annotations: Labels,
    #[serde(default, rename = "generateName")]
    pub(super) _generate_name: Option<Unsupported>,
    #[serde(default, rename = "uid")]
    pub(super) _uid: Option<Ignored>,
    #[serde(default, rename = "resourceVersion")]
    pub(super) _resource_version: Option<Ignored>,
    #[serde(default, rename = "generation")]
    pub(super) _generation: Option<Ignored>,
    #[serde(default, rename = "creationTimestamp")]
    pub(super) _creation_timestamp: Option<Ignored>,
    #[serde(default, rename = "deletionTimestamp")]
    pub(super) _deletion_timestamp: Option<Ignored>,
    #[serde(default, rename = "deletionGracePeriodSeconds")]
    pub(super) _deletion_grace_period_seconds: Option<Ignored>,
    #[serde(default, rename = "managedFields")]
    pub(super) _managed_fields: Option<Ignored>,
    #[serde(default, rename = "ownerReferences")]
    pub(super) _owner_references: Option<Ignored>,
    #[serde(default, rename = "finalizers")]
    pub(super) _finalizers: Option<Ignored>,
    #[serde(default, rename = "selfLink")]
    pub(super) _self_link: Option<Ignored>,
}

/// Labels, each with its place in the input.
pub(super) type Labels = BTreeMap<String, Spanned<String>>;

/// A Kubernetes namespace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamespaceObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name and labels.
    pub(super) metadata: Metadata,
    #[serde(default, rename = "spec")]
    pub(super) _spec: Option<Ignored>,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// A pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: PodSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// A Deployment: pods through a ReplicaSet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeploymentObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: DeploymentSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// A ReplicaSet: pods with random suffixes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplicaSetObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: ReplicaSetSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// A DaemonSet: a pod on every node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DaemonSetObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: DaemonSetSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// A StatefulSet: pods with ordinals.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StatefulSetObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name, namespace and labels.
    pub(super) metadata: Metadata,
    /// What is asked for.
    pub(super) spec: StatefulSetSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// What a Deployment asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeploymentSpec {
    /// How many pods, 1 if not given.
    pub(super) replicas: Option<Spanned<i64>>,
    /// Which pods belong to it; the template's labels must match.
    pub(super) selector: Spanned<Selector>,
    /// The pods it makes.
    pub(super) template: Template,
    #[serde(default, rename = "paused")]
    pub(super) _paused: Option<Unsupported>,
    #[serde(default, rename = "strategy")]
    pub(super) _strategy: Option<Ignored>,
    #[serde(default, rename = "minReadySeconds")]
    pub(super) _min_ready_seconds: Option<Ignored>,
    #[serde(default, rename = "revisionHistoryLimit")]
    pub(super) _revision_history_limit: Option<Ignored>,
    #[serde(default, rename = "progressDeadlineSeconds")]
    pub(super) _progress_deadline_seconds: Option<Ignored>,
}

/// What a ReplicaSet asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplicaSetSpec {
    /// How many pods, 1 if not given.
    pub(super) replicas: Option<Spanned<i64>>,
    /// Which pods belong to it; the template's labels must match.
    pub(super) selector: Spanned<Selector>,
    /// The pods it makes.
    pub(super) template: Template,
    #[serde(default, rename = "minReadySeconds")]
    pub(super) _min_ready_seconds: Option<Ignored>,
}

/// What a DaemonSet asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DaemonSetSpec {
    /// Which pods belong to it; the template's labels must match.
    pub(super) selector: Spanned<Selector>,
    /// The pods it makes.
    pub(super) template: Template,
    #[serde(default, rename = "updateStrategy")]
    pub(super) _update_strategy: Option<Ignored>,
    #[serde(default, rename = "minReadySeconds")]
    pub(super) _min_ready_seconds: Option<Ignored>,
    #[serde(default, rename = "revisionHistoryLimit")]
    pub(super) _revision_history_limit: Option<Ignored>,
}

/// What a StatefulSet asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StatefulSetSpec {
    /// How many pods, 1 if not given.
    pub(super) replicas: Option<Spanned<i64>>,
    /// Which pods belong to it; the template's labels must match.
    pub(super) selector: Spanned<Selector>,
    /// The pods it makes.
    pub(super) template: Template,
    #[serde(default, rename = "ordinals")]
    pub(super) _ordinals: Option<Unsupported>,
    /// The headless Service that gives its pods names in DNS.
    pub(super) service_name: Option<Spanned<String>>,
    #[serde(default, rename = "podManagementPolicy")]
    pub(super) _pod_management_policy: Option<Ignored>,
    #[serde(default, rename = "updateStrategy")]
    pub(super) _update_strategy: Option<Ignored>,
    #[serde(default, rename = "minReadySeconds")]
    pub(super) _min_ready_seconds: Option<Ignored>,
    #[serde(default, rename = "revisionHistoryLimit")]
    pub(super) _revision_history_limit: Option<Ignored>,
    #[serde(default, rename = "volumeClaimTemplates")]
    pub(super) _volume_claim_templates: Option<Ignored>,
    #[serde(default, rename = "persistentVolumeClaimRetentionPolicy")]
    pub(super) _persistent_volume_claim_retention_policy: Option<Ignored>,
}

/// A Calico IP pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IpPoolObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name of the pool.
    pub(super) metadata: Metadata,
    /// The pool.
    pub(super) spec: IpPoolSpec,
    #[serde(default, rename = "status")]
    pub(super) _status: Option<Ignored>,
}

/// What is in a Calico IP pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IpPoolSpec {
    /// Its prefix.
    pub(super) cidr: Spanned<String>,
    /// Prefix length of its blocks, 20 to 32; 26 if not given.
    pub(super) block_size: Option<Spanned<u32>>,
    /// Masquerade what leaves all pools; `false` if not given.
    pub(super) nat_outgoing: Option<bool>,
    /// Take no new addresses from it; `false` if not given.
    pub(super) disabled: Option<bool>,
    /// `Always`, `CrossSubnet` or `Never`; `Never` if not given. It decides the CNI mode, or agrees with it.
    pub(super) ipip_mode: Option<Spanned<String>>,
    /// `Always`, `CrossSubnet` or `Never`; `Never` if not given. It decides the CNI mode, or agrees with it.
    pub(super) vxlan_mode: Option<Spanned<String>>,
    /// Which nodes take addresses from it, as `rack == 'a'`; `all()` if not given.
    pub(super) node_selector: Option<Spanned<String>>,
    /// What it gives addresses to: `Workload`, `Tunnel`; both if not given.
    pub(super) allowed_uses: Option<Spanned<Vec<String>>>,
    /// `Automatic` or `Manual`: whether it gives addresses to who asks for none; `Automatic` if not given.
    pub(super) assignment_mode: Option<Spanned<String>>,
    #[serde(default, rename = "disableBGPExport")]
    pub(super) _disable_bgp_export: Option<Unsupported>,
    #[serde(default, rename = "namespaceSelector")]
    pub(super) _namespace_selector: Option<Unsupported>,
}

/// A ConfigMap. flannel's, `kube-flannel-cfg`, decides the mode; no other can matter to the network.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfigMapObject {
    /// The object's API version.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// The object's kind.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// Name and namespace.
    pub(super) metadata: Metadata,
    /// Texts by name: `net-conf.json` and `cni-conf.json` are flannel's.
    #[serde(default)]
    pub(super) data: BTreeMap<String, Spanned<String>>,
    #[serde(default, rename = "binaryData")]
    pub(super) _binary_data: Option<Ignored>,
    #[serde(default, rename = "immutable")]
    pub(super) _immutable: Option<Ignored>,
}
