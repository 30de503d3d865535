//! The files that `ip netns exec` binds over /etc in a namespace.

use super::Namespace;

/// Name and content of each file of `/etc/netns/<netns>/`: its own host name, a hosts file without surprises, and a
/// resolv.conf without servers, so that nothing in a lab waits for the machine's DNS.
pub fn etc_files(ns: &Namespace) -> Vec<(&'static str, String)> {
    let mut hosts = "127.0.0.1\tlocalhost\n".to_string();
    for (link, address) in ns.addresses() {
        if address.net.addr().is_loopback() || link.kind == super::LinkKind::Ipip {
            continue;
        }
        hosts.push_str(&format!("{}\t{}\n", address.net.addr(), ns.hostname));
    }
    vec![
        ("hostname", format!("{}\n", ns.hostname)),
        ("hosts", hosts),
        ("resolv.conf", "# minik: there is no DNS server here\n".to_string()),
    ]
}
