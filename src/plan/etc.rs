//! The files that `ip netns exec` binds over /etc in a namespace.

use std::net::IpAddr;

use serde::Serialize;

use super::Namespace;

/// What resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resolver {
    /// The domains that are tried for short names.
    pub searches: Vec<String>,
    /// The servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// Options: `ndots:5`.
    pub options: Vec<String>,
}

/// As containerd writes it from kubelet's settings (pkg/cri/server/sandbox_run_linux.go, `parseDNSOptions`).
impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        self.nameservers.iter().try_for_each(|server| writeln!(f, "nameserver {server}"))?;
        match self.options.is_empty() {
            true => Ok(()),
            false => writeln!(f, "options {}", self.options.join(" ")),
        }
    }
}

/// Name and content of each file of `/etc/netns/<netns>/`: its own host name, a hosts file without surprises, and where
/// names are looked up; a resolv.conf without servers keeps programs of a lab from waiting for the machine's DNS.
pub fn etc_files(ns: &Namespace) -> Vec<(&'static str, String)> {
    let mut hosts = "127.0.0.1\tlocalhost\n".to_string();
    for (link, address) in ns.addresses() {
        if address.net.addr().is_loopback() || link.kind == super::LinkKind::Ipip {
            continue;
        }
        // As kubelet writes the line (pkg/kubelet/kubelet_pods.go, `managedHostsFileContent`).
        let names = match &ns.domain {
            Some(domain) => format!("{0}.{domain}\t{0}", ns.hostname),
            None => ns.hostname.clone(),
        };
        hosts.push_str(&format!("{}\t{names}\n", address.net.addr()));
    }
    let resolver = ns.resolver.as_ref().map(Resolver::to_string);
    vec![
        ("hostname", format!("{}\n", ns.hostname)),
        ("hosts", hosts),
        ("resolv.conf", resolver.unwrap_or_else(|| "# minik: there is no DNS server here\n".to_string())),
    ]
}
