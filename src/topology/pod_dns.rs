//! A pod's own names and servers: `hostname`, `subdomain`, `dnsPolicy`, `dnsConfig`, checked as the API server checks them
//! (kubernetes pkg/apis/core/validation, `validatePodDNSConfig`).

use std::net::IpAddr;

use serde::Serialize;

use super::PodNetwork;
use super::complaint::{Checked, Complaint};
use super::fields::Spanned;
use super::pod_spec::{DnsConfigEntry, PodSpec};
use super::rules;
use super::schedule::Placed;
use super::services::{any_address, choice};

/// Most servers that a resolver asks.
const NAMESERVERS_MAX: usize = 3;

/// Most domains of a search list, and bytes of it.
const SEARCHES_MAX: (usize, usize) = (32, 2048);

/// Where a pod's programs look names up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PodDns {
    /// `dnsPolicy`.
    pub policy: DnsPolicy,
    /// `dnsConfig.nameservers`.
    pub nameservers: Vec<IpAddr>,
    /// `dnsConfig.searches`.
    pub searches: Vec<String>,
    /// `dnsConfig.options`, each with its value if it has one.
    pub options: Vec<(String, Option<String>)>,
}

/// `dnsPolicy` of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum DnsPolicy {
    /// The cluster's server; that of the node for a pod in the node's network.
    #[default]
    ClusterFirst,
    /// The cluster's server in any case.
    ClusterFirstWithHostNet,
    /// What the node has.
    Default,
    /// `dnsConfig` alone.
    None,
}

impl PodDns {
    /// Whether the pod says nothing of its own.
    pub fn is_usual(&self) -> bool {
        *self == PodDns::default()
    }
}

/// What a pod or template asks for.
pub(super) fn wanted(spec: &PodSpec) -> Checked<PodDns> {
    let policies = [
        ("ClusterFirst", DnsPolicy::ClusterFirst),
        ("ClusterFirstWithHostNet", DnsPolicy::ClusterFirstWithHostNet),
        ("Default", DnsPolicy::Default),
        ("None", DnsPolicy::None),
    ];
    let policy = choice("dnsPolicy", spec.dns_policy.as_ref(), DnsPolicy::ClusterFirst, &policies)?;
    let mut dns = PodDns { policy, ..PodDns::default() };
    if let Some(config) = &spec.dns_config {
        read(config, &mut dns)?;
    }
    if let Some(written) = spec.dns_policy.as_ref().filter(|_| policy == DnsPolicy::None && dns.nameservers.is_empty())
    {
        return Err(Complaint::at(written.span, "this policy leaves the pod without any server")
            .hint("add `dnsConfig: {nameservers: [10.96.0.10]}`"));
    }
    Ok(dns)
}

fn read(config: &DnsConfigEntry, dns: &mut PodDns) -> Checked<()> {
    if let Some(fourth) = config.nameservers.get(NAMESERVERS_MAX) {
        return Err(Complaint::at(fourth.span, format!("a resolver asks at most {NAMESERVERS_MAX} servers"))
            .hint("remove this one"));
    }
    dns.nameservers = config.nameservers.iter().map(any_address).collect::<Checked<_>>()?;
    let mut length = 0;
    for (index, search) in config.searches.iter().enumerate() {
        length += search.len() + 1;
        if index >= SEARCHES_MAX.0 || length > SEARCHES_MAX.1 {
            let message = format!("a search list has at most {} domains and {} bytes", SEARCHES_MAX.0, SEARCHES_MAX.1);
            return Err(Complaint::at(search.span, message).hint("remove some"));
        }
        // The root alone is allowed, and so is a dot at the end.
        let bare = Spanned { value: search.trim_end_matches('.').to_owned(), span: search.span };
        if search.value != "." {
            rules::dns_subdomain("a search domain", &bare)?;
        }
        dns.searches.push(search.value.clone());
    }
    for option in &config.options {
        let name = &option.name;
        let value = option.value.as_ref().map(|value| value.value.clone());
        let bad = |text: &str| text.contains(char::is_whitespace) || text.contains('\0');
        if name.is_empty() || bad(name) || value.as_deref().is_some_and(bad) {
            return Err(Complaint::at(name.span, "an option of a resolver is a word, and so is its value")
                .hint("write it as `{name: ndots, value: \"2\"}`"));
        }
        dns.options.push((name.value.clone(), value));
    }
    Ok(())
}

/// A pod's host name or subdomain: a label.
pub(super) fn label(what: &str, written: Option<&Spanned<String>>) -> Checked<Option<String>> {
    let Some(name) = written.filter(|name| !name.is_empty()) else { return Ok(None) };
    rules::dns_label(what, name, Some(name.span)).map(|name| Some(name.to_owned()))
}

/// Checks that nobody asks for a resolv.conf that would be its node's at the same time.
pub(super) fn check(pods: &[Placed], has_dns: bool) -> Checked<()> {
    for (pod, span) in pods.iter().filter(|(pod, _)| pod.network == PodNetwork::Host) {
        let cluster = has_dns && pod.dns.policy == DnsPolicy::ClusterFirstWithHostNet;
        let own = !(pod.dns.nameservers.is_empty() && pod.dns.searches.is_empty() && pod.dns.options.is_empty());
        if cluster || own {
            let message = format!("pod {} lives in its node's namespace and asks for servers of its own", pod.key());
            return Err(Complaint::at(*span, message).hint(
                "minik has one resolv.conf per network namespace: remove `dnsPolicy` and `dnsConfig`, or `hostNetwork`",
            ));
        }
    }
    Ok(())
}
