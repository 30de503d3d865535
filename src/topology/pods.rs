//! What pods are made of: containers, labels and the wish for a node, from one pod or a controller's template.

use std::collections::{BTreeMap, BTreeSet};

use super::complaint::{Checked, Complaint, quote};
use super::dual_stack;
use super::fields::Spanned;
use super::manifests::{Labels, Metadata};
use super::pod_spec::{ContainerEntry, EnvEntry, Expression, PodSpec, PortEntry, Selector};
use super::rules;
use super::services::choice;
use super::source::Span;
use super::{Container, ContainerPort, PodDns, PodNetwork, pod_dns, pod_network};

/// What every pod of a controller has in common.
#[derive(Debug)]
pub(super) struct PodTemplate {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) service_account: String,
    pub(super) containers: Vec<Container>,
    pub(super) network: PodNetwork,
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
    pub(super) dns: PodDns,
    /// `nodeName` with its place.
    pub(super) node_name: Option<(String, Span)>,
    /// `nodeSelector` with the places of its values.
    pub(super) node_selector: Vec<(String, String, Span)>,
    /// Where it is written.
    pub(super) span: Span,
}

/// Which pods a controller's selector chooses; checked before, by [`check_selector`].
#[derive(Debug)]
pub(super) struct Chosen {
    labels: BTreeMap<String, String>,
    expressions: Vec<Expression>,
}

impl Chosen {
    pub(super) fn of(selector: &Selector) -> Chosen {
        let labels = selector.match_labels.iter().map(|(key, value)| (key.clone(), value.value.clone()));
        Chosen { labels: labels.collect(), expressions: selector.match_expressions.clone() }
    }

    /// Whether another selector says the same.
    pub(super) fn is_same(&self, other: &Chosen) -> bool {
        let words = |chosen: &Chosen| -> Vec<(String, String, Vec<String>)> {
            let all = chosen.expressions.iter();
            all.map(|it| (it.key.value.clone(), it.operator.value.clone(), it.values.clone())).collect()
        };
        self.labels == other.labels && words(self) == words(other)
    }

    /// Whether pods with these labels are its own.
    pub(super) fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| matches!(holds(expression, labels), Ok(true)))
    }
}

/// Resolves a pod or template.
pub(super) fn template(metadata: &Metadata, spec: &PodSpec) -> Checked<PodTemplate> {
    refuse_address_annotations(&metadata.annotations)?;
    if spec.containers.is_empty() {
        return Err(Complaint::at(spec.containers.span, "a pod needs a container")
            .hint("add one: `- {name: main, image: busybox}`"));
    }
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for entry in spec.containers.iter() {
        if let Some(first) = names.insert(&entry.name, entry.name.span) {
            return Err(Complaint::at(entry.name.span, format!("the container `{}` is given twice", entry.name.value))
                .and(Some(first), "first given here")
                .hint("containers of a pod have names of their own"));
        }
    }
    check_host_ports(spec)?;
    choice("restart policy", spec.restart_policy.as_ref(), (), &[("Always", ()), ("OnFailure", ()), ("Never", ())])?;
    let account = spec.service_account_name.as_ref().or(spec.service_account.as_ref());
    let service_account = match account.filter(|account| !account.is_empty()) {
        Some(account) => rules::dns_subdomain("a service account", account)?,
        None => "default".to_owned(),
    };
    labels(&spec.node_selector)?;
    let wish = |(key, value): (&String, &Spanned<String>)| (key.clone(), value.value.clone(), value.span);
    let node_name = spec.node_name.as_ref().filter(|name| !name.is_empty());
    Ok(PodTemplate {
        labels: labels(&metadata.labels)?,
        service_account,
        containers: spec.containers.iter().map(container).collect::<Checked<_>>()?,
        network: pod_network::wanted(&metadata.annotations, spec)?,
        hostname: pod_dns::label("a host", spec.hostname.as_ref())?,
        subdomain: pod_dns::label("a subdomain", spec.subdomain.as_ref())?,
        dns: pod_dns::wanted(spec)?,
        node_name: node_name.map(|name| (name.value.clone(), name.span)),
        node_selector: spec.node_selector.iter().map(wish).collect(),
        span: spec.containers.span,
    })
}

/// Checks what the API server does: a port of the node is given away once, and is the container's own in a pod of the
/// node's network (kubernetes pkg/apis/core/validation, `checkHostPortConflicts` and `validateHostNetwork`).
fn check_host_ports(spec: &PodSpec) -> Checked<()> {
    let in_host = spec.host_network.as_ref().is_some_and(|host| host.value);
    let mut seen: BTreeMap<(&str, &str, u32), Span> = BTreeMap::new();
    for entry in spec.containers.iter().flat_map(|container| &container.ports) {
        let Some(port) = entry.host_port.as_ref().filter(|port| port.value != 0) else { continue };
        if in_host && port.value != entry.container_port.value {
            let what = format!("`hostPort` {} of a pod in its node's network is not its `containerPort`", port.value);
            return Err(Complaint::at(port.span, what)
                .and(Some(entry.container_port.span), "which is here")
                .hint("with `hostNetwork: true` both are one: remove `hostPort`"));
        }
        let protocol = entry.protocol.as_ref().map_or("TCP", |protocol| protocol.value.as_str());
        let address = entry.host_ip.as_ref().map_or("", |ip| ip.value.as_str());
        let key = (protocol, address, port.value);
        if let Some(first) = seen.insert(key, port.span) {
            return Err(Complaint::at(port.span, format!("the `hostPort` {}/{} is given twice", key.2, key.0))
                .and(Some(first), "first given here")
                .hint("give one of them another"));
        }
    }
    Ok(())
}

/// Labels without their places, checked.
pub(super) fn labels(written: &Labels) -> Checked<BTreeMap<String, String>> {
    let checked = |(key, value): (&String, &Spanned<String>)| {
        rules::label(key, value).map(|()| (key.clone(), value.value.clone()))
    };
    written.iter().map(checked).collect()
}

/// Whether they can be labels.
pub(super) fn check_labels(written: &Labels) -> Checked<()> {
    written.iter().try_for_each(|(key, value)| rules::label(key, value))
}

/// Annotations by which Calico's CNI plugin gives a pod another address than IPAM would; what the plugin
/// itself writes (`podIP`, `podIPs`, `containerID`) says nothing.
pub(super) fn refuse_address_annotations(annotations: &Labels) -> Checked<()> {
    const HARMLESS: &[&str] = &["podIP", "podIPs", "containerID"];
    for (key, value) in annotations {
        if let Some(name) = key.strip_prefix("cni.projectcalico.org/")
            && !HARMLESS.contains(&name)
        {
            return Err(Complaint::at(
                value.span,
                format!("the annotation {} is not supported by this version of minik", quote(key)),
            )
            .hint("it would change the pod's addresses; remove it"));
        }
    }
    Ok(())
}

fn container(entry: &ContainerEntry) -> Checked<Container> {
    rules::dns_label("a container", &entry.name, Some(entry.name.span))?;
    let image = match &entry.image {
        Some(image) if !image.trim().is_empty() => image.value.clone(),
        _ => {
            return Err(Complaint::at(entry.name.span, format!("the container `{}` has no image", entry.name.value))
                .hint("add `image: busybox`"));
        }
    };
    let mut names = BTreeSet::new();
    let ports = entry.ports.iter().map(|written| port(written, &mut names)).collect::<Checked<_>>()?;
    let words: Vec<String> = entry.command.iter().chain(&entry.args).map(word).collect::<Checked<_>>()?;
    let command: Vec<String> = match entry.command.is_empty() {
        // `args` alone are arguments of the image's own program: agnhost's say which app it is.
        true if is_agnhost(&image) && !words.is_empty() => [vec!["/agnhost".to_owned()], words].concat(),
        // Other images' programs are apps of minik's without any.
        true => Vec::new(),
        false => words,
    };
    Ok(Container {
        name: entry.name.value.clone(),
        image,
        command,
        ports,
        env: entry.env.iter().map(variable).collect::<Checked<_>>()?,
    })
}

/// Whether an image is Kubernetes' own for tests, of whatever registry and version.
fn is_agnhost(image: &str) -> bool {
    let name = image.split('@').next().and_then(|image| image.rsplit('/').next()).unwrap_or_default();
    name.split(':').next() == Some("agnhost")
}

fn word(written: &Spanned<String>) -> Checked<String> {
    match written.contains('\0') {
        true => Err(Complaint::at(written.span, "a program's argument has no zero byte").hint("remove it")),
        false => Ok(written.value.clone()),
    }
}

fn port(entry: &PortEntry, names: &mut BTreeSet<String>) -> Checked<ContainerPort> {
    let number = rules::in_range("a port", &entry.container_port, 1..=65535)?;
    let protocol = match &entry.protocol {
        None => "TCP".to_owned(),
        Some(protocol) if ["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) => protocol.value.clone(),
        Some(protocol) => {
            return Err(Complaint::at(protocol.span, format!("unknown protocol {}", quote(protocol)))
                .hint(rules::one_of(protocol, &["TCP", "UDP", "SCTP"])));
        }
    };
    // 0 is what the API server fills in for a port that is not published.
    let written = entry.host_port.as_ref().filter(|port| port.value != 0);
    let host_port = written.map(|port| rules::in_range("a port", port, 1..=65535)).transpose()?;
    let host_ip = entry.host_ip.as_ref().filter(|ip| !ip.is_empty()).map(dual_stack::either_address).transpose()?;
    if let Some(name) = &entry.name {
        if !rules::is_port_name(name) {
            return Err(
                Complaint::at(name.span, format!("{} is no name for a port", quote(name))).hint(rules::PORT_NAME_CURE)
            );
        }
        if !names.insert(name.value.clone()) {
            return Err(Complaint::at(name.span, format!("the port `{}` is given twice", name.value))
                .hint("ports of a container have names of their own"));
        }
    }
    Ok(ContainerPort {
        name: entry.name.as_ref().map(|name| name.value.clone()),
        port: u16::try_from(number).unwrap_or(u16::MAX),
        protocol,
        host_port: host_port.map(|port| u16::try_from(port).unwrap_or(u16::MAX)),
        host_ip,
    })
}

fn variable(entry: &EnvEntry) -> Checked<(String, String)> {
    let name = &entry.name;
    let value = entry.value.clone().unwrap_or_default();
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(Complaint::at(name.span, format!("{} cannot be an environment variable", quote(name)))
            .hint("a name is not empty and has no `=`; neither name nor value has a zero byte"));
    }
    Ok((name.value.clone(), value))
}

/// Checks that a controller's selector chooses the pods of its own template, as the API server does.
pub(super) fn check_selector(
    kind: &str,
    selector: &Spanned<Selector>,
    labels: &BTreeMap<String, String>,
) -> Checked<()> {
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        return Err(Complaint::at(selector.span, format!("the selector of a {kind} is empty"))
            .hint("write `matchLabels:` with the labels of the template"));
    }
    let cure = "selector and template labels must match: the API server refuses it too";
    for (key, wanted) in &selector.match_labels {
        rules::label(key, wanted)?;
        match labels.get(key) {
            Some(value) if *value == wanted.value => {}
            Some(value) => {
                let message = format!("the selector wants {key}={}, but the template has {key}={value}", wanted.value);
                return Err(Complaint::at(wanted.span, message).hint(cure));
            }
            None => {
                let message =
                    format!("the selector wants {key}={}, which the template's labels do not have", wanted.value);
                return Err(Complaint::at(wanted.span, message).hint(cure));
            }
        }
    }
    for expression in &selector.match_expressions {
        if !holds(expression, labels)? {
            let message =
                format!("the condition on {} does not hold for the template's labels", quote(&expression.key));
            return Err(Complaint::at(expression.key.span, message).hint(cure));
        }
    }
    Ok(())
}

fn holds(expression: &Expression, labels: &BTreeMap<String, String>) -> Checked<bool> {
    let value = labels.get(&expression.key.value);
    let listed = value.is_some_and(|value| expression.values.contains(value));
    let operator = &expression.operator;
    let with_values = matches!(operator.as_str(), "In" | "NotIn");
    let answer = match operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => {
            return Err(Complaint::at(operator.span, format!("unknown operator {}", quote(operator)))
                .hint(rules::one_of(operator, &["In", "NotIn", "Exists", "DoesNotExist"])));
        }
    };
    match with_values == expression.values.is_empty() {
        true => Err(Complaint::at(operator.span, format!("`{}` and its `values` do not fit", operator.value))
            .hint("`In` and `NotIn` have values, `Exists` and `DoesNotExist` have none")),
        false => Ok(answer),
    }
}
