//! What a namespace's and a link's settings come to: sysctls of the plan over the kernel's defaults.

use crate::error::{Error, Kind, Result};
use crate::plan::{Link, LinkKind, Mac, Namespace};

/// Time to live of packets that a kernel makes, unless `net.ipv4.ip_default_ttl` says otherwise.
const DEFAULT_TTL: u8 = 64;

/// The value of a sysctl of the namespace, if the plan sets it; of several settings the last one holds.
fn sysctl<'a>(ns: &'a Namespace, key: &str) -> Option<&'a str> {
    ns.sysctls.iter().rev().find(|sysctl| sysctl.key == key).map(|sysctl| sysctl.value.as_str())
}

/// `net.ipv4.conf.<link>.<name>` as the plan leaves it: set for the link, or inherited when the link is made.
fn conf<'a>(ns: &'a Namespace, link: &'a Link, name: &str) -> Option<&'a str> {
    let key = format!("net.ipv4.conf.{}.{name}", link.name.replace('.', "/"));
    let own = link.sysctls.iter().rev().find(|sysctl| sysctl.key == key).map(|sysctl| sysctl.value.as_str());
    own.or_else(|| sysctl(ns, &key)).or_else(|| sysctl(ns, &format!("net.ipv4.conf.default.{name}")))
}

fn all<'a>(ns: &'a Namespace, name: &str) -> Option<&'a str> {
    sysctl(ns, &format!("net.ipv4.conf.all.{name}"))
}

fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "0")
}

/// Whether packets that come in through `link` are forwarded.
pub fn forwards(ns: &Namespace, link: &Link) -> bool {
    let everywhere = sysctl(ns, "net.ipv4.ip_forward").or_else(|| all(ns, "forwarding"));
    link.ipv4.forwarding.unwrap_or_else(|| is_on(conf(ns, link, "forwarding").or(everywhere)))
}

/// Whether ARP for addresses behind other links is answered on `link`.
pub fn proxies_arp(ns: &Namespace, link: &Link) -> bool {
    let own = link.ipv4.proxy_arp.unwrap_or_else(|| is_on(conf(ns, link, "proxy_arp")));
    own || is_on(all(ns, "proxy_arp"))
}

/// The reverse path filter of `link`: 0 none, 1 strict, 2 loose. The stricter of `all` and its own counts.
pub fn rp_filter(ns: &Namespace, link: &Link) -> u8 {
    let number = |value: Option<&str>| value.and_then(|value| value.parse().ok()).unwrap_or(0);
    number(all(ns, "rp_filter")).max(number(conf(ns, link, "rp_filter")))
}

/// Whether what comes in through `link` may have an address of the namespace's as source.
pub fn accepts_local(ns: &Namespace, link: &Link) -> bool {
    is_on(all(ns, "accept_local")) || is_on(conf(ns, link, "accept_local"))
}

/// Whether IPv4 that passes a bridge of the namespace is shown to iptables (br_netfilter). A plan that wants it says
/// so: whether it is a kernel's own choice depends on when the module was loaded.
pub fn bridged_through_iptables(ns: &Namespace) -> bool {
    is_on(sysctl(ns, "net.bridge.bridge-nf-call-iptables"))
}

/// Time to live of the packets that the namespace makes.
pub fn default_ttl(ns: &Namespace) -> u8 {
    sysctl(ns, "net.ipv4.ip_default_ttl").and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_TTL)
}

/// The link's MTU in bytes, the kernel's own where the plan gives none.
pub fn mtu(link: &Link) -> u32 {
    link.mtu.unwrap_or(match link.kind {
        LinkKind::Loopback => 65536,
        LinkKind::Ipip | LinkKind::IpipPeer { .. } => 1480,
        LinkKind::Vxlan(_) => 1450,
        LinkKind::Udp(_) => 1472,
        LinkKind::Bridge | LinkKind::Veth { .. } | LinkKind::Macvlan { .. } => 1500,
    })
}

/// The link's Ethernet address.
///
/// # Errors
/// If the plan leaves it to the kernel: then nobody can predict it.
pub fn mac(ns: &Namespace, link: &Link) -> Result<Mac> {
    let unknown = || Error::new(Kind::Check, format!("the plan gives {}/{} no Ethernet address", ns.name, link.name));
    link.mac.ok_or_else(unknown)
}
