//! What a namespace's and a link's settings come to: sysctls of the plan over the kernel's defaults.

use std::net::Ipv6Addr;

use crate::error::{Error, Kind, Result};
use crate::packet::IPV6_MTU_MIN;
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

/// `net.ipv6.conf.<link>.<name>`: set for the link, or by the last of `all` and `default` where `all` sets every link's
/// and the default (`addrconf_disable_ipv6`, `addrconf_fixup_forwarding`).
fn conf6<'a>(ns: &'a Namespace, link: &'a Link, name: &str) -> Option<&'a str> {
    let key = |of: &str| format!("net.ipv6.conf.{of}.{name}");
    let own = key(&link.name.replace('.', "/"));
    let (all, default) = (key("all"), key("default"));
    let set = link.sysctls.iter().rev().find(|sysctl| sysctl.key == own);
    let of_namespace = || ns.sysctls.iter().rev().find(|sysctl| [&own, &all, &default].contains(&&sysctl.key));
    set.or_else(of_namespace).map(|sysctl| sysctl.value.as_str())
}

/// The address of a link that the kernel makes by itself: `::1` of lo, and of others the link-local one, from the Ethernet
/// address (EUI-64, `addr_gen_mode` 0).
pub fn own_v6(ns: &Namespace, link: &Link) -> Option<Ipv6Addr> {
    if is_on(conf6(ns, link, "disable_ipv6")) {
        return None;
    }
    if link.kind == LinkKind::Loopback {
        return Some(Ipv6Addr::LOCALHOST);
    }
    let made = mtu(link) >= IPV6_MTU_MIN.into() && !is_on(conf6(ns, link, "addr_gen_mode"));
    link.mac.filter(|_| made).map(Mac::link_local)
}

fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "0")
}

/// Whether connections are tracked, and fragments therefore joined on their way through: by whom there are rules.
pub fn tracks(ns: &Namespace, v6: bool) -> bool {
    let tables = if v6 { &ns.tables6 } else { &ns.tables };
    !tables.is_empty() || !ns.nft.is_empty()
}

/// Whether packets that come in through `link` are forwarded. IPv6 has one switch for all (`ip6_forward`).
pub fn forwards(ns: &Namespace, link: &Link, v6: bool) -> bool {
    if v6 {
        return is_on(sysctl(ns, "net.ipv6.conf.all.forwarding"));
    }
    let everywhere = sysctl(ns, "net.ipv4.ip_forward").or_else(|| all(ns, "forwarding"));
    link.ipv4.forwarding.unwrap_or_else(|| is_on(conf(ns, link, "forwarding").or(everywhere)))
}

/// Whether ARP for addresses behind other links is answered on `link`.
pub fn proxies_arp(ns: &Namespace, link: &Link) -> bool {
    let own = link.ipv4.proxy_arp.unwrap_or_else(|| is_on(conf(ns, link, "proxy_arp")));
    own || is_on(all(ns, "proxy_arp"))
}

/// Whether ARP on `link` is answered for that link's own addresses alone (`arp_ignore`).
pub fn ignores_others(ns: &Namespace, link: &Link) -> bool {
    is_on(all(ns, "arp_ignore")) || is_on(conf(ns, link, "arp_ignore"))
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

/// Whether packets that pass a bridge of the namespace are shown to iptables, or ip6tables (br_netfilter). A plan that
/// wants it says so: whether it is a kernel's own choice depends on when the module was loaded.
pub fn bridged_through_iptables(ns: &Namespace, v6: bool) -> bool {
    let key = if v6 { "net.bridge.bridge-nf-call-ip6tables" } else { "net.bridge.bridge-nf-call-iptables" };
    is_on(sysctl(ns, key))
}

/// Time to live, or hop limit, of the packets that the namespace makes.
pub fn default_ttl(ns: &Namespace, v6: bool) -> u8 {
    let key = if v6 { "net.ipv6.conf.all.hop_limit" } else { "net.ipv4.ip_default_ttl" };
    sysctl(ns, key).and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_TTL)
}

/// The link's MTU in bytes, the kernel's own where the plan gives none.
pub fn mtu(link: &Link) -> u32 {
    link.mtu.unwrap_or(match link.kind {
        LinkKind::Loopback => 65536,
        LinkKind::Ipip | LinkKind::IpipPeer { .. } => 1480,
        LinkKind::Vxlan(_) => 1450,
        LinkKind::Udp(_) => 1472,
        LinkKind::Bridge | LinkKind::Veth { .. } | LinkKind::Dummy | LinkKind::Macvlan { .. } => 1500,
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
