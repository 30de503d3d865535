//! The shapes of single values: names, labels, addresses, prefixes. Sources: Kubernetes'
//! apimachinery/pkg/util/validation, the kernel's `dev_valid_name`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::complaint::{Checked, Complaint, nearest, quote};
use super::fields::Spanned;
use super::source::Span;
pub(super) use crate::names::is_dns_label;
use crate::names::{INTERFACE_NAME_MAX, LABEL_MAX};
use crate::plan::Mac;

/// Longest DNS-1123 subdomain.
const SUBDOMAIN_MAX: usize = 253;

const LABEL_CURE: &str =
    "lower case letters, digits and `-`, with a letter or digit at both ends, at most 63 characters";

/// A name that must be a DNS-1123 label; `what` is whose name it is: "a node".
pub(super) fn dns_label<'a>(what: &str, name: &'a str, span: Option<Span>) -> Checked<&'a str> {
    match is_dns_label(name) {
        true => Ok(name),
        false => Err(Complaint::at_or_usage(span, format!("{} is no name for {what}", quote(name)))
            .hint(format!("a name has {LABEL_CURE}"))),
    }
}

/// Whether a name is a DNS-1123 subdomain.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN_MAX && name.split('.').all(is_dns_label)
}

/// A name that must be a DNS-1123 subdomain: labels with dots between them.
pub(super) fn dns_subdomain(what: &str, name: &Spanned<String>) -> Checked<String> {
    match is_dns_subdomain(name) {
        true => Ok(name.value.clone()),
        false => Err(Complaint::at(name.span, format!("{} is no name for {what}", quote(name)))
            .hint(format!("a name has {LABEL_CURE} between dots, and 253 in all"))),
    }
}

/// A name of a node or client: a subdomain that also fits a label's value, `kubernetes.io/hostname`.
pub(super) fn host_name(what: &str, name: &Spanned<String>) -> Checked<()> {
    match dns_subdomain(what, name)?.len() <= LABEL_MAX {
        true => Ok(()),
        false => Err(Complaint::at(name.span, format!("{} is too long for {what}", quote(name)))
            .hint("a host's name has at most 63 characters, the longest value of `kubernetes.io/hostname`")),
    }
}

/// Whether `name` can be a container port's: an IANA service name (apimachinery, `IsValidPortName`).
pub(super) fn is_port_name(name: &str) -> bool {
    name.len() <= 15 && is_dns_label(name) && name.bytes().any(|b| b.is_ascii_lowercase()) && !name.contains("--")
}

pub(super) const PORT_NAME_CURE: &str =
    "a port's name has up to 15 lower case letters, digits and `-`, at least one of them a letter";

fn is_qualified_part(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    (1..=LABEL_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && text.starts_with(ends)
        && text.ends_with(ends)
}

/// Whether `key` can be a label's key: `name` or `prefix.example/name`.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            prefix.len() <= SUBDOMAIN_MAX && prefix.split('.').all(is_dns_label) && is_qualified_part(name)
        }
        None => is_qualified_part(key),
    }
}

/// A port's `appProtocol`: a qualified name as a label's key is one (apimachinery, `IsQualifiedName`).
pub(super) fn app_protocol(written: Option<&Spanned<String>>) -> Checked<()> {
    match written.filter(|name| !is_label_key(name)) {
        Some(name) => Err(Complaint::at(name.span, format!("{} is no `appProtocol`", quote(name)))
            .hint("up to 63 letters, digits, `-`, `_` and `.`, with an optional prefix: `http`, `kubernetes.io/h2c`")),
        None => Ok(()),
    }
}

/// Checks a label.
pub(super) fn label(key: &str, value: &Spanned<String>) -> Checked<()> {
    if !is_label_key(key) {
        return Err(Complaint::at(value.span, format!("{} is no key for a label", quote(key))).hint(
            "a key is up to 63 letters, digits, `-`, `_` and `.`, with an optional prefix as in `example.com/role`",
        ));
    }
    match value.is_empty() || is_qualified_part(value) {
        true => Ok(()),
        false => Err(Complaint::at(value.span, format!("{} is no value for a label", quote(value)))
            .hint("a value is up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends")),
    }
}

/// A name for a NIC that the kernel takes and that no CNI mode makes for itself.
pub(super) fn nic_name(name: Option<&Spanned<String>>) -> Checked<String> {
    let Some(name) = name else { return Ok("ens33".to_owned()) };
    let fits = !name.is_empty()
        && name.len() <= INTERFACE_NAME_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !matches!(name.as_str(), "all" | "default");
    if !fits {
        return Err(Complaint::at(name.span, format!("{} is no name for a NIC", quote(name)))
            .hint(format!("an interface has 1 to {INTERFACE_NAME_MAX} letters, digits, `_`, `.` and `-`, as `eth0`")));
    }
    let taken =
        ["lo", "tunl0", "vxlan.calico", "vxlan-v6.calico", "flannel0", "cni0", "cbr0", "docker0", "kube-bridge"];
    let series = ["cali", "veth", "flannel.", "flannel-v6", "tun-"];
    if taken.contains(&name.as_str()) || series.iter().any(|start| name.starts_with(start)) {
        return Err(Complaint::at(
            name.span,
            format!("{} cannot be a NIC: Linux or a CNI names its own so", quote(name)),
        )
        .hint("call it `ens33` or `eth0`"));
    }
    Ok(name.value.clone())
}

/// An Ethernet address for a NIC.
pub(super) fn mac(text: &Spanned<String>) -> Checked<Mac> {
    let mac: Mac = text.parse().map_err(|_| {
        Complaint::at(text.span, format!("{} is not an Ethernet address", quote(text)))
            .hint("write six pairs of hexadecimal digits, as 02:00:00:00:00:01")
    })?;
    if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        return Err(Complaint::at(text.span, format!("{mac} is not the address of one NIC"))
            .hint("the first byte of a NIC's address is even, and not all bytes are zero"));
    }
    Ok(mac)
}

/// An IPv4 address.
pub(super) fn address(text: &Spanned<String>) -> Checked<Ipv4Addr> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err(not_ipv6(text)),
        Err(_) => Err(not_an_address(text)),
    }
}

fn not_an_address(text: &Spanned<String>) -> Box<Complaint> {
    let complaint = Complaint::at(text.span, format!("{} is not an IPv4 address", quote(text)));
    match text.split_once('/') {
        Some((address, _)) if address.parse::<Ipv4Addr>().is_ok() => {
            complaint.hint(format!("write `{address}`: the prefix length comes from the segment"))
        }
        _ => complaint.hint("write four numbers from 0 to 255 with dots between, as 10.1.10.9"),
    }
}

fn not_ipv6(text: &Spanned<String>) -> Box<Complaint> {
    Complaint::at(text.span, format!("{} is IPv6, and this is IPv4's", quote(text))).hint("use an IPv4 address")
}

/// An IPv4 prefix without host bits.
pub(super) fn prefix(text: &Spanned<String>) -> Checked<Ipv4Net> {
    let net = match text.parse::<IpNet>() {
        Ok(IpNet::V4(net)) => net,
        Ok(IpNet::V6(_)) => return Err(not_ipv6(text)),
        Err(_) if text.parse::<std::net::Ipv6Addr>().is_ok() => return Err(not_ipv6(text)),
        Err(_) => {
            return Err(Complaint::at(text.span, format!("{} is not an IPv4 prefix", quote(text)))
                .hint("write an address and a length from 0 to 32, as 10.1.10.0/24"));
        }
    };
    match net.addr() == net.network() {
        true => Ok(net),
        false => Err(Complaint::at(text.span, format!("{net} has bits behind its prefix length"))
            .hint(format!("write {}", net.trunc()))),
    }
}

/// A prefix that hosts can have: not loopback, link-local, multicast or "this network".
pub(super) fn host_prefix(what: &str, text: &Spanned<String>) -> Checked<Ipv4Net> {
    let net = prefix(text)?;
    let reserved = [
        ("0.0.0.0/8", "\"this network\""),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, where Calico's gateway 169.254.1.1 is"),
        ("224.0.0.0/3", "multicast or reserved"),
    ];
    for (block, meaning) in reserved {
        if block.parse::<Ipv4Net>().is_ok_and(|block| overlap(net, block)) {
            return Err(Complaint::at(text.span, format!("{net} cannot be {what}: {block} is {meaning}"))
                .hint("take a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"));
        }
    }
    Ok(net)
}

/// Whether two prefixes share an address.
pub(super) fn overlap(a: impl Into<IpNet>, b: impl Into<IpNet>) -> bool {
    let (a, b) = (a.into(), b.into());
    a.contains(&b) || b.contains(&a)
}

/// A number within limits.
pub(super) fn in_range(what: &str, number: &Spanned<u32>, range: std::ops::RangeInclusive<u32>) -> Checked<u32> {
    match range.contains(&number.value) {
        true => Ok(number.value),
        false => Err(Complaint::at(number.span, format!("{} is out of range for {what}", number.value)).hint(format!(
            "write a number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

/// The hint for a word that is none of `candidates`.
pub(super) fn one_of(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("choose one of {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spanned(text: &str) -> Spanned<String> {
        Spanned { value: text.to_owned(), span: Span::default() }
    }

    #[test]
    fn names_are_those_of_rfc_1123() {
        for good in ["a", "node-1", "0", &"a".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(dns_subdomain("a pod", &spanned("a.b-c.d")).is_ok());
        assert!(dns_subdomain("a pod", &spanned("a..b")).is_err());
    }

    #[test]
    fn label_keys_may_have_a_prefix() {
        for good in ["app", "kubernetes.io/hostname", "a/b_c.D"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "A_b/c"] {
            assert!(!is_label_key(bad), "{bad}");
        }
    }

    #[test]
    fn prefixes_have_no_host_bits_and_are_version_4() {
        assert_eq!(prefix(&spanned("10.0.0.0/8")), Ok("10.0.0.0/8".parse().unwrap()));
        for bad in ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "fd00::/8", "", "x"] {
            assert!(prefix(&spanned(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn nics_have_names_that_the_kernel_takes() {
        for good in ["ens33", "eth0", "enp0s31f6", "x"] {
            assert!(nic_name(Some(&spanned(good))).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "lo", "cali123", "tunl0", "vxlan-v6.calico", ".", "sixteen-chars-xx"] {
            assert!(nic_name(Some(&spanned(bad))).is_err(), "{bad}");
        }
    }
}
