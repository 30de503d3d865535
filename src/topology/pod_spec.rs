//! Pods as they are written, alone or as the template of a controller: field names and types, nothing
//! checked yet. See `manifests` for the three sorts of fields.

use schemars::JsonSchema;
use serde::Deserialize;

use super::fields::{Ignored, Spanned, Unsupported};
use super::manifests::{Labels, Metadata};

/// A selector of labels.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    /// Labels that must be equal.
    #[serde(default)]
    pub(super) match_labels: Labels,
    /// Conditions that must hold.
    #[serde(default)]
    pub(super) match_expressions: Vec<Expression>,
}

/// A condition on a label.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Expression {
    /// The label's key.
    pub(super) key: Spanned<String>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub(super) operator: Spanned<String>,
    /// Values for `In` and `NotIn`.
    #[serde(default)]
    pub(super) values: Vec<String>,
}

/// The pods that a controller makes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Template {
    /// Labels of the pods.
    #[serde(default)]
    pub(super) metadata: Metadata,
    /// The pods.
    pub(super) spec: PodSpec,
}

/// A pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodSpec {
    /// Its containers, which share one network namespace.
    pub(super) containers: Spanned<Vec<ContainerEntry>>,
    /// The node to place it on; chosen round robin if not given.
    pub(super) node_name: Option<Spanned<String>>,
    /// Labels that its node must have.
    #[serde(default)]
    pub(super) node_selector: Labels,
    /// Its service account, `default` if not given.
    pub(super) service_account_name: Option<Spanned<String>>,
    /// The older name of `serviceAccountName`.
    pub(super) service_account: Option<Spanned<String>>,
    /// Security settings, of which `sysctls` is not supported.
    #[serde(default, rename = "securityContext")]
    pub(super) _security_context: Option<PodSecurityContext>,
    #[serde(default, rename = "initContainers")]
    pub(super) _init_containers: Option<Unsupported>,
    #[serde(default, rename = "ephemeralContainers")]
    pub(super) _ephemeral_containers: Option<Unsupported>,
    /// Whether it lives in its node's network namespace.
    pub(super) host_network: Option<Spanned<bool>>,
    /// Its host name; its own name if not given.
    pub(super) hostname: Option<Spanned<String>>,
    /// The headless Service under which DNS knows its host name.
    pub(super) subdomain: Option<Spanned<String>>,
    #[serde(default, rename = "setHostnameAsFQDN")]
    pub(super) _set_hostname_as_fqdn: Option<Unsupported>,
    #[serde(default, rename = "hostnameOverride")]
    pub(super) _hostname_override: Option<Unsupported>,
    #[serde(default, rename = "hostAliases")]
    pub(super) _host_aliases: Option<Unsupported>,
    /// Servers, domains and options of its resolver, beside those of its policy.
    pub(super) dns_config: Option<DnsConfigEntry>,
    #[serde(default, rename = "affinity")]
    pub(super) _affinity: Option<Unsupported>,
    #[serde(default, rename = "topologySpreadConstraints")]
    pub(super) _topology_spread_constraints: Option<Unsupported>,
    #[serde(default, rename = "schedulingGates")]
    pub(super) _scheduling_gates: Option<Unsupported>,
    #[serde(default, rename = "resourceClaims")]
    pub(super) _resource_claims: Option<Unsupported>,
    #[serde(default, rename = "volumes")]
    pub(super) _volumes: Option<Ignored>,
    /// `Always`, `OnFailure` or `Never`; minik starts no ended program again.
    pub(super) restart_policy: Option<Spanned<String>>,
    #[serde(default, rename = "terminationGracePeriodSeconds")]
    pub(super) _termination_grace_period_seconds: Option<Ignored>,
    /// After how many seconds it is ended, which minik does not do; no controller's pods have it.
    pub(super) active_deadline_seconds: Option<Spanned<i64>>,
    /// `ClusterFirst`, `ClusterFirstWithHostNet`, `Default` (as the node) or `None`; `ClusterFirst` if not given.
    pub(super) dns_policy: Option<Spanned<String>>,
    #[serde(default, rename = "automountServiceAccountToken")]
    pub(super) _automount_service_account_token: Option<Ignored>,
    #[serde(default, rename = "hostPID")]
    pub(super) _host_pid: Option<Ignored>,
    #[serde(default, rename = "hostIPC")]
    pub(super) _host_ipc: Option<Ignored>,
    #[serde(default, rename = "hostUsers")]
    pub(super) _host_users: Option<Ignored>,
    #[serde(default, rename = "shareProcessNamespace")]
    pub(super) _share_process_namespace: Option<Ignored>,
    #[serde(default, rename = "imagePullSecrets")]
    pub(super) _image_pull_secrets: Option<Ignored>,
    #[serde(default, rename = "schedulerName")]
    pub(super) _scheduler_name: Option<Ignored>,
    #[serde(default, rename = "tolerations")]
    pub(super) _tolerations: Option<Ignored>,
    #[serde(default, rename = "priorityClassName")]
    pub(super) _priority_class_name: Option<Ignored>,
    #[serde(default, rename = "priority")]
    pub(super) _priority: Option<Ignored>,
    #[serde(default, rename = "preemptionPolicy")]
    pub(super) _preemption_policy: Option<Ignored>,
    #[serde(default, rename = "readinessGates")]
    pub(super) _readiness_gates: Option<Ignored>,
    #[serde(default, rename = "runtimeClassName")]
    pub(super) _runtime_class_name: Option<Ignored>,
    #[serde(default, rename = "enableServiceLinks")]
    pub(super) _enable_service_links: Option<Ignored>,
    #[serde(default, rename = "overhead")]
    pub(super) _overhead: Option<Ignored>,
    #[serde(default, rename = "os")]
    pub(super) _os: Option<Ignored>,
    #[serde(default, rename = "resources")]
    pub(super) _resources: Option<Ignored>,
}

/// Settings of a pod's resolver.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsConfigEntry {
    /// Servers to ask.
    #[serde(default)]
    pub(super) nameservers: Vec<Spanned<String>>,
    /// Domains to try for short names.
    #[serde(default)]
    pub(super) searches: Vec<Spanned<String>>,
    /// Options of resolv.conf.
    #[serde(default)]
    pub(super) options: Vec<DnsOptionEntry>,
}

/// An option of resolv.conf.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsOptionEntry {
    /// Its name: `ndots`.
    pub(super) name: Spanned<String>,
    /// Its value.
    pub(super) value: Option<Spanned<String>>,
}

/// Security settings of a pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodSecurityContext {
    #[serde(default, rename = "sysctls")]
    pub(super) _sysctls: Option<Unsupported>,
    #[serde(default, rename = "seLinuxOptions")]
    pub(super) _se_linux_options: Option<Ignored>,
    #[serde(default, rename = "windowsOptions")]
    pub(super) _windows_options: Option<Ignored>,
    #[serde(default, rename = "runAsUser")]
    pub(super) _run_as_user: Option<Ignored>,
    #[serde(default, rename = "runAsGroup")]
    pub(super) _run_as_group: Option<Ignored>,
    #[serde(default, rename = "runAsNonRoot")]
    pub(super) _run_as_non_root: Option<Ignored>,
    #[serde(default, rename = "supplementalGroups")]
    pub(super) _supplemental_groups: Option<Ignored>,
    #[serde(default, rename = "supplementalGroupsPolicy")]
    pub(super) _supplemental_groups_policy: Option<Ignored>,
    #[serde(default, rename = "fsGroup")]
    pub(super) _fs_group: Option<Ignored>,
    #[serde(default, rename = "fsGroupChangePolicy")]
    pub(super) _fs_group_change_policy: Option<Ignored>,
    #[serde(default, rename = "seccompProfile")]
    pub(super) _seccomp_profile: Option<Ignored>,
    #[serde(default, rename = "appArmorProfile")]
    pub(super) _app_armor_profile: Option<Ignored>,
}

/// A container.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Its image; known names run one of minik's built-in apps.
    pub(super) image: Option<Spanned<String>>,
    /// A program of this machine to run in the pod instead of the image's app.
    #[serde(default)]
    pub(super) command: Vec<Spanned<String>>,
    /// The program's arguments.
    #[serde(default)]
    pub(super) args: Vec<Spanned<String>>,
    /// The ports it declares.
    #[serde(default)]
    pub(super) ports: Vec<PortEntry>,
    /// Environment variables.
    #[serde(default)]
    pub(super) env: Vec<EnvEntry>,
    #[serde(default, rename = "envFrom")]
    pub(super) _env_from: Option<Unsupported>,
    #[serde(default, rename = "lifecycle")]
    pub(super) _lifecycle: Option<Unsupported>,
    #[serde(default, rename = "workingDir")]
    pub(super) _working_dir: Option<Ignored>,
    #[serde(default, rename = "volumeMounts")]
    pub(super) _volume_mounts: Option<Ignored>,
    #[serde(default, rename = "volumeDevices")]
    pub(super) _volume_devices: Option<Ignored>,
    #[serde(default, rename = "resources")]
    pub(super) _resources: Option<Ignored>,
    #[serde(default, rename = "resizePolicy")]
    pub(super) _resize_policy: Option<Ignored>,
    #[serde(default, rename = "restartPolicy")]
    pub(super) _restart_policy: Option<Ignored>,
    #[serde(default, rename = "livenessProbe")]
    pub(super) _liveness_probe: Option<Ignored>,
    #[serde(default, rename = "readinessProbe")]
    pub(super) _readiness_probe: Option<Ignored>,
    #[serde(default, rename = "startupProbe")]
    pub(super) _startup_probe: Option<Ignored>,
    #[serde(default, rename = "terminationMessagePath")]
    pub(super) _termination_message_path: Option<Ignored>,
    #[serde(default, rename = "terminationMessagePolicy")]
    pub(super) _termination_message_policy: Option<Ignored>,
    #[serde(default, rename = "imagePullPolicy")]
    pub(super) _image_pull_policy: Option<Ignored>,
    #[serde(default, rename = "securityContext")]
    pub(super) _security_context: Option<Ignored>,
    #[serde(default, rename = "stdin")]
    pub(super) _stdin: Option<Ignored>,
    #[serde(default, rename = "stdinOnce")]
    pub(super) _stdin_once: Option<Ignored>,
    #[serde(default, rename = "tty")]
    pub(super) _tty: Option<Ignored>,
}

/// A declared port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PortEntry {
    /// Its number.
    pub(super) container_port: Spanned<u32>,
    /// Its name.
    pub(super) name: Option<Spanned<String>>,
    /// `TCP`, `UDP` or `SCTP`; `TCP` if not given.
    pub(super) protocol: Option<Spanned<String>>,
    /// The node's port by which it is published.
    pub(super) host_port: Option<Spanned<u32>>,
    /// The node's address to which that is limited.
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Option<Spanned<String>>,
}

/// An environment variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EnvEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Its value.
    pub(super) value: Option<String>,
    #[serde(default, rename = "valueFrom")]
    pub(super) _value_from: Option<Unsupported>,
}
