//! `dns:` of a Cluster document: the cluster's DNS server, as kubeadm installs it, and what kubelet knows of it.
//!
//! The objects are those of kubeadm (cmd/kubeadm/app/phases/addons/dns/manifests.go): the Deployment `coredns` and the
//! Service `kube-dns`; and the Service `kubernetes`, which every API server makes for itself. They are objects like those
//! of the input: an object of the input with the same name stands instead of them, and they can be scaled, labelled and
//! deleted; but what is the API server's own it makes again.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::cluster_file::{ClusterSpec, DnsEntry};
use super::complaint::{Checked, Complaint};
use super::documents::{self, Document};
use super::dual_stack;
use super::edits::Reference;
use super::fields::Spanned;
use super::source::Source;
use super::tree::Node;
use super::{network, rules, yaml};

/// The cluster's DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// `clusterDomain` of kubelet and zone of the server, without a dot at its end.
    pub domain: String,
    /// `clusterDNS` of kubelet: the address that pods ask.
    pub address: Ipv4Addr,
    /// Seconds for which an answer may be kept.
    pub ttl: u32,
}

/// The zone if none is given.
const DOMAIN: &str = "cluster.local";

/// CoreDNS' own choice; the Corefile of kubeadm says 30.
const TTL: u32 = 5;

/// How many servers kubeadm starts.
const REPLICAS: u32 = 2;

/// Longest zone in bytes: names of services and ports have to fit before it into the 253 of a name.
const DOMAIN_MAX: usize = 100;

impl Default for Dns {
    /// What a server says that knows nothing of the cluster's settings.
    fn default() -> Dns {
        Dns { domain: DOMAIN.to_owned(), address: Ipv4Addr::UNSPECIFIED, ttl: TTL }
    }
}

/// The cluster's DNS, if it has one.
pub(super) fn resolve(spec: &ClusterSpec) -> Checked<Option<Dns>> {
    let Some(Spanned { value: DnsEntry::On(options), span }) = &spec.dns else { return Ok(None) };
    let domain = match &options.cluster_domain {
        None => DOMAIN.to_owned(),
        Some(written) => {
            let bare = Spanned { value: written.trim_end_matches('.').to_owned(), span: written.span };
            let domain = rules::dns_subdomain("a cluster's domain", &bare)?;
            if domain.len() > DOMAIN_MAX {
                return Err(Complaint::at(written.span, format!("this domain is longer than {DOMAIN_MAX} bytes"))
                    .hint("services' names have to fit before it: shorten it"));
            }
            domain
        }
    };
    let ttl = options.ttl.as_ref().map(|ttl| rules::in_range("a TTL", ttl, 0..=3600)).transpose()?.unwrap_or(TTL);
    let (services, _) = network::service_prefix(spec)?;
    let address = match &options.cluster_ip {
        Some(written) => {
            let ip = rules::address(written)?;
            if !services.contains(&ip) || ip == first(services) {
                let message = format!("{ip} cannot be the address of the cluster's DNS");
                return Err(Complaint::at(written.span, message).hint(format!(
                    "write an address of {services} that is not the first: the API server has that one"
                )));
            }
            ip
        }
        None => services.hosts().nth(9).ok_or_else(|| {
            Complaint::at(*span, format!("{services} has no tenth address for the cluster's DNS"))
                .hint("write a larger `serviceCIDR`, or `dns: {clusterIP: …}`")
        })?,
    };
    Ok(Some(Dns { domain, address, ttl }))
}

/// The objects of a cluster with DNS; each stands where `dns:` does.
pub(super) fn objects(spec: &ClusterSpec) -> Checked<Vec<Document>> {
    documents::decode_all(trees(spec)?.iter())
}

/// The same as trees, each with the index of its source.
pub(super) fn trees(spec: &ClusterSpec) -> Checked<Vec<(u32, Node)>> {
    let Some(Spanned { value: DnsEntry::On(options), span }) = &spec.dns else { return Ok(Vec::new()) };
    let Some(dns) = resolve(spec)? else { return Ok(Vec::new()) };
    let replicas = options.replicas.as_ref();
    let replicas = replicas.map(|count| rules::in_range("a number of servers", count, 0..=100)).transpose()?;
    let Some(node) = spec.nodes.value.first() else { return Ok(Vec::new()) };
    let (api, _) = dual_stack::addresses(&node.address)?;
    let text = manifest(dns.address, first(network::service_prefix(spec)?.0), api, replicas.unwrap_or(REPLICAS));
    let trees = yaml::read(&Source::new("dns", text), span.source)?;
    Ok(trees.into_iter().map(|tree| (span.source, tree.moved_to(*span))).collect())
}

/// The Service that the API server makes for itself.
pub(super) const API_SERVER: &str = "kubernetes";

/// Whether an object is the API server's own Service or the Endpoints of it, which it looks after every ten seconds and
/// makes again where they are gone (kubernetes pkg/controlplane/controller/kubernetesservice).
pub(super) fn is_api_server_s(object: &Reference) -> bool {
    let is_kind = matches!(object.kind.as_str(), "Service" | "Endpoints");
    is_kind && object.namespace == "default" && object.name == API_SERVER
}

/// The Service whose address the API server takes: the first of the prefix.
fn first(services: Ipv4Net) -> Ipv4Addr {
    services.hosts().next().unwrap_or(services.network())
}

fn manifest(dns: Ipv4Addr, kubernetes: Ipv4Addr, api: Ipv4Addr, replicas: u32) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: kubernetes, namespace: default, labels: {{component: apiserver, provider: kubernetes}}}}
spec:
  clusterIP: {kubernetes}
  ports: [{{name: https, port: 443, protocol: TCP, targetPort: 6443}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: kubernetes, namespace: default}}
subsets:
- addresses: [{{ip: {api}}}]
  ports: [{{name: https, port: 6443, protocol: TCP}}]
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{k8s-app: kube-dns, kubernetes.io/cluster-service: \"true\", kubernetes.io/name: CoreDNS}}
spec:
  clusterIP: {dns}
  selector: {{k8s-app: kube-dns}}
  ports:
  - {{name: dns, port: 53, protocol: UDP, targetPort: 53}}
  - {{name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}}
  - {{name: metrics, port: 9153, protocol: TCP, targetPort: 9153}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: coredns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata: {{labels: {{k8s-app: kube-dns}}}}
    spec:
      serviceAccountName: coredns
      nodeSelector: {{kubernetes.io/os: linux}}
      dnsPolicy: Default
      containers:
      - name: coredns
        image: registry.k8s.io/coredns/coredns:v1.11.1
        args: [-conf, /etc/coredns/Corefile]
        ports:
        - {{name: dns, containerPort: 53, protocol: UDP}}
        - {{name: dns-tcp, containerPort: 53, protocol: TCP}}
        - {{name: metrics, containerPort: 9153, protocol: TCP}}
"
    )
}
