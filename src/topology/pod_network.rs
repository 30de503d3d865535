//! Whose network namespace a pod lives in: its own, its node's, another pod's, or one without any link.
//!
//! Kubernetes knows the first two (`hostNetwork`). All four are network modes of Docker's (`docker run --network`),
//! which a pod of the mode `docker` chooses by an annotation: `minik.dev/docker-network: bridge|container:NAME|host|none`.

use std::net::IpAddr;

use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::manifests::Labels;
use super::pod_spec::PodSpec;
use super::rules;
use super::schedule::Placed;
use super::{Container, HostPorts, Mode, Pod, PodNetwork};

/// The annotation by which a pod takes the place of a container of Docker's.
const ANNOTATION: &str = "minik.dev/docker-network";

/// What follows `--network` when a container joins another.
const CONTAINER: &str = "container:";

/// What a pod or template asks for.
pub(super) fn wanted(annotations: &Labels, spec: &PodSpec) -> Checked<PodNetwork> {
    let host = spec.host_network.as_ref().filter(|host| host.value);
    let Some(written) = annotations.get(ANNOTATION) else {
        return Ok(if host.is_some() { PodNetwork::Host } else { PodNetwork::Own });
    };
    let network = docker_network(written)?;
    match host {
        Some(host) if network != PodNetwork::Host => {
            let message = format!("`hostNetwork: true` and {ANNOTATION} {} contradict each other", quote(written));
            Err(Complaint::at(written.span, message)
                .and(Some(host.span), "the node's network is asked for here")
                .hint(format!("write `{ANNOTATION}: host`, or drop `hostNetwork`")))
        }
        _ => Ok(network),
    }
}

/// `bridge`, `none`, `host` or `container:NAME`, as `docker run --network` takes them.
fn docker_network(written: &Spanned<String>) -> Checked<PodNetwork> {
    match written.as_str() {
        "bridge" | "default" => Ok(PodNetwork::Own),
        "host" => Ok(PodNetwork::Host),
        "none" => Ok(PodNetwork::None),
        other => match other.strip_prefix(CONTAINER).filter(|name| !name.is_empty()) {
            Some(name) => Ok(PodNetwork::Pod(name.to_owned())),
            None => Err(Complaint::at(written.span, format!("Docker has no network mode {}", quote(written)))
                .hint(rules::one_of(written, &["bridge", "host", "none", "container:NAME"]))),
        },
    }
}

/// Checks what pods ask for against the mode, and against the pods that they want to share a network with.
pub(super) fn check(pods: &[Placed], mode: Mode) -> Checked<()> {
    for (pod, span) in pods {
        let complain = |message: String| Complaint::at(*span, message);
        if mode != Mode::Docker && matches!(pod.network, PodNetwork::None | PodNetwork::Pod(_)) {
            return Err(complain(format!("pod {} asks for a network mode of Docker's, but the mode is {mode}", pod.key()))
                .hint(format!("remove the annotation `{ANNOTATION}`: Kubernetes gives every pod a network of its own, or with `hostNetwork: true` the node's")));
        }
        let PodNetwork::Pod(name) = &pod.network else { continue };
        let Some(other) = pods.iter().map(|(pod, _)| pod).find(|o| o.namespace == pod.namespace && o.name == *name)
        else {
            return Err(complain(format!("pod {} joins the network of `{name}`, which is not there", pod.key()))
                .hint(format!("write the name of a pod in namespace `{}` behind `{CONTAINER}`", pod.namespace)));
        };
        if other.key() == pod.key() || matches!(other.network, PodNetwork::Pod(_)) {
            return Err(complain(format!("pod {} cannot join `{name}`, which has no network of its own", pod.key()))
                .hint("name the pod whose network both shall share"));
        }
        if other.node != pod.node {
            return Err(complain(format!("pod {} is on {}, but `{name}` is on {}", pod.key(), pod.node, other.node))
                .hint(format!("pods that share a network are on one node: add `nodeName: {}`", other.node)));
        }
    }
    Ok(())
}

/// A port of a node that a pod wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostPort<'p> {
    number: u16,
    protocol: &'p str,
    /// The one address of the node at which it is wanted; none is all of them.
    address: Option<IpAddr>,
}

impl HostPort<'_> {
    /// Whether a node cannot give both away (kubernetes pkg/scheduler/framework, `HostPortInfo.CheckConflict`).
    pub(super) fn excludes(&self, other: &HostPort) -> bool {
        let same = self.address.is_none() || other.address.is_none() || self.address == other.address;
        same && (self.number, self.protocol) == (other.number, other.protocol)
    }
}

/// The ports of its node that a pod wants: `hostPort`s, and each port of a container in the node's own network, which the
/// API server makes a `hostPort`.
pub(super) fn published<'p>(
    network: &'p PodNetwork,
    containers: &'p [Container],
) -> impl Iterator<Item = HostPort<'p>> {
    let in_host = *network == PodNetwork::Host;
    containers.iter().flat_map(|container| &container.ports).filter_map(move |port| {
        let number = port.host_port.or(in_host.then_some(port.port))?;
        let address = port.host_ip.filter(|ip| !ip.is_unspecified());
        Some(HostPort { number, protocol: &port.protocol, address })
    })
}

/// Checks published ports: only some modes program them, and a port of a node is given away once.
pub(super) fn check_host_ports(pods: &[Placed], mode: Mode) -> Checked<()> {
    // kubelet itself opens the port, whatever `hostIP` says.
    let by_address = mode.host_ports() != HostPorts::Kubelet;
    for (index, (pod, span)) in pods.iter().enumerate() {
        for port in published(&pod.network, &pod.containers) {
            let (number, protocol) = (port.number, port.protocol);
            if pod.network != PodNetwork::Host && mode.host_ports() == HostPorts::None {
                let message = format!("pod {} asks for `hostPort`, which the mode {mode} does not program", pod.key());
                return Err(Complaint::at(*span, message).hint("remove it: minik would not do what it says"));
            }
            if let Some((ip, reason)) = lone_v6(pod, mode) {
                let message =
                    format!("pod {} asks for the `hostIP` {ip}, but the mode {mode} has no IPv6: {reason}", pod.key());
                return Err(Complaint::at(*span, message).hint("remove it, or write an IPv4 address of the node"));
            }
            let port = if by_address { port } else { HostPort { address: None, ..port } };
            let same = |(other, _): &&Placed| {
                other.node == pod.node && published(&other.network, &other.containers).any(|own| own.excludes(&port))
            };
            if let Some((other, place)) = pods[..index].iter().find(same) {
                let message = format!("port {number}/{protocol} of node {} is published by two pods", pod.node);
                return Err(Complaint::at(*span, message)
                    .and(Some(*place), format!("pod {} has it", other.key()))
                    .hint("give one of them another `hostPort`, or another node"));
            }
        }
    }
    Ok(())
}

/// An IPv6 address of its node that a pod wants a port of, in a mode without IPv6, and why there is none.
fn lone_v6(pod: &Pod, mode: Mode) -> Option<(IpAddr, &'static str)> {
    let reason = mode.without_ipv6().filter(|_| pod.network != PodNetwork::Host)?;
    let wanted = pod.containers.iter().flat_map(|container| &container.ports).filter_map(|port| port.host_ip);
    wanted.filter(IpAddr::is_ipv6).map(|ip| (ip, reason)).next()
}
