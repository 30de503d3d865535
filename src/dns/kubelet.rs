//! Where a pod's programs look names up, as kubelet tells them (kubernetes pkg/kubelet/network/dns/dns.go, `GetPodDNS`).

use std::net::IpAddr;

use crate::plan::Resolver;
use crate::topology::{Cluster, DnsPolicy, Pod, PodNetwork};

/// Most servers in a resolv.conf; kubelet leaves out the rest.
const NAMESERVERS_MAX: usize = 3;

/// Most domains of a search list, and bytes of it; kubelet leaves out the rest.
const SEARCHES_MAX: (usize, usize) = (32, 2048);

/// What a pod's resolv.conf says; none if it has no server at all, as its node.
pub fn resolver(cluster: &Cluster, pod: &Pod) -> Option<Resolver> {
    let cluster_first = match pod.dns.policy {
        DnsPolicy::ClusterFirst => pod.network != PodNetwork::Host,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let mut resolver = Resolver::default();
    if let Some(dns) = cluster.dns.as_ref().filter(|_| cluster_first) {
        let domain = &dns.domain;
        resolver.searches = vec![format!("{}.svc.{domain}", pod.namespace), format!("svc.{domain}"), domain.clone()];
        resolver.nameservers = vec![IpAddr::V4(dns.address)];
        resolver.options = vec!["ndots:5".to_owned()];
    }
    add_new(&mut resolver.nameservers, &pod.dns.nameservers);
    add_new(&mut resolver.searches, &pod.dns.searches);
    for (name, value) in &pod.dns.options {
        let option = value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
        match resolver.options.iter_mut().find(|known| known.split(':').next() == Some(name)) {
            Some(known) => *known = option,
            None => resolver.options.push(option),
        }
    }
    resolver.nameservers.truncate(NAMESERVERS_MAX);
    resolver.searches.truncate(SEARCHES_MAX.0);
    while resolver.searches.join(" ").len() > SEARCHES_MAX.1 {
        resolver.searches.pop();
    }
    (resolver != Resolver::default()).then_some(resolver)
}

/// The domain of a pod's host name: that of the headless Service which it names as its `subdomain`.
pub fn host_domain(cluster: &Cluster, pod: &Pod) -> Option<String> {
    let (dns, subdomain) = (cluster.dns.as_ref()?, pod.subdomain.as_ref()?);
    Some(format!("{subdomain}.{}.svc.{}", pod.namespace, dns.domain))
}

fn add_new<T: Clone + PartialEq>(known: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
}
