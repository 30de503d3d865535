//! Both families of addresses in one field, as kubeadm writes them (`10.244.0.0/16,fd00:10:244::/56`), and which modes
//! have IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cluster_file::ClusterSpec;
use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;
use super::source::Span;
use super::underlay::Underlay;
use super::{Addressing, Network};

/// Prefix lengths of an IPv6 segment: room for hosts, and not all of the Internet.
const SEGMENT_SIZES: std::ops::RangeInclusive<u8> = 16..=126;

/// The halves of a value: that of IPv4, and behind a comma that of IPv6, if there is one. `example` is a right one.
fn halves(text: &Spanned<String>, example: &str) -> Checked<(Spanned<String>, Option<Spanned<String>>)> {
    let is_v6 = |part: &str| part.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let part = |part: &str| Spanned { value: part.trim().to_owned(), span: text.span };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match parts[..] {
        [one] if is_v6(one) => Err(Complaint::at(
            text.span,
            format!("{} is IPv6 alone, which this version of minik does not have", quote(text)),
        )
        .hint(format!("give both families, IPv4 first: {example}"))),
        [_] => Ok((text.clone(), None)),
        [first, second] if !is_v6(first) && is_v6(second) => Ok((part(first), Some(part(second)))),
        [first, second] if is_v6(first) && !is_v6(second) => Err(Complaint::at(
            text.span,
            "IPv6 is first here; a cluster whose first family is IPv6 is not in this version of minik",
        )
        .hint(format!("write IPv4 first: {second},{first}"))),
        _ => Err(Complaint::at(text.span, format!("{} is not one of each family", quote(text)))
            .hint(format!("write one for IPv4, or one for IPv4 and one for IPv6: {example}"))),
    }
}

/// Addresses of a host.
pub(super) fn addresses(text: &Spanned<String>) -> Checked<(Ipv4Addr, Option<Ipv6Addr>)> {
    let (four, six) = halves(text, "`10.1.10.9,fd00:10:1:10::9`")?;
    Ok((rules::address(&four)?, six.as_ref().map(address6).transpose()?))
}

/// An address of either family.
pub(super) fn either_address(text: &Spanned<String>) -> Checked<IpAddr> {
    match text.contains(':') {
        true => Ok(address6(text)?.into()),
        false => Ok(rules::address(text)?.into()),
    }
}

fn address6(text: &Spanned<String>) -> Checked<Ipv6Addr> {
    text.parse().map_err(|_| {
        Complaint::at(text.span, format!("{} is not an IPv6 address", quote(text)))
            .hint("write an address without its prefix length, as fd00:10:1:10::9")
    })
}

/// Prefixes without host bits.
pub(super) fn prefixes(text: &Spanned<String>) -> Checked<(Ipv4Net, Option<Ipv6Net>)> {
    let (four, six) = halves(text, "`10.244.1.0/24,fd00:10:244:1::/64`")?;
    Ok((rules::prefix(&four)?, six.as_ref().map(prefix6).transpose()?))
}

/// A node's blocks of Calico's: one of either family, or of both.
pub(super) fn blocks(text: &Spanned<String>) -> Checked<(Option<Ipv4Net>, Option<Ipv6Net>)> {
    if text.contains(':') && !text.contains(',') {
        return Ok((None, Some(prefix6(text)?)));
    }
    let (four, six) = halves(text, "`10.100.84.128/26,fd00:10:100::40/122`")?;
    Ok((Some(rules::prefix(&four)?), six.as_ref().map(prefix6).transpose()?))
}

/// Prefixes that hosts can have.
pub(super) fn host_prefixes(what: &str, text: &Spanned<String>) -> Checked<(Ipv4Net, Option<Ipv6Net>)> {
    let (four, six) = halves(text, "`10.1.10.0/24,fd00:10:1:10::/64`")?;
    Ok((rules::host_prefix(what, &four)?, six.map(|six| host_prefix6(what, &six)).transpose()?))
}

/// A prefix of either family that hosts can have.
pub(super) fn either_prefix(what: &str, text: &Spanned<String>) -> Checked<IpNet> {
    match text.contains(':') {
        true => Ok(host_prefix6(what, text)?.into()),
        false => Ok(rules::host_prefix(what, text)?.into()),
    }
}

/// An IPv6 prefix without host bits.
pub(super) fn prefix6(text: &Spanned<String>) -> Checked<Ipv6Net> {
    let net: Ipv6Net = text.parse().map_err(|_| {
        Complaint::at(text.span, format!("{} is not an IPv6 prefix", quote(text)))
            .hint("write an address and a length from 0 to 128, as fd00:10:1:10::/64")
    })?;
    match net.addr() == net.network() {
        true => Ok(net),
        false => Err(Complaint::at(text.span, format!("{net} has bits behind its prefix length"))
            .hint(format!("write {}", net.trunc()))),
    }
}

/// An IPv6 prefix that hosts can have: not loopback, link-local, multicast or IPv4's in disguise.
pub(super) fn host_prefix6(what: &str, text: &Spanned<String>) -> Checked<Ipv6Net> {
    let net = prefix6(text)?;
    let reserved = [
        ("::/8", "loopback, unspecified, or IPv4's addresses"),
        ("fe80::/10", "link-local, where Calico's gateway fe80::ecee:eeff:feee:eeee is"),
        ("ff00::/8", "multicast"),
    ];
    for (block, meaning) in reserved {
        if block.parse::<Ipv6Net>().is_ok_and(|block| rules::overlap(net, block)) {
            return Err(Complaint::at(text.span, format!("{net} cannot be {what}: {block} is {meaning}"))
                .hint("take a part of fd00::/8, where networks of one's own are"));
        }
    }
    Ok(net)
}

/// The IPv6 prefix of a segment.
pub(super) fn check_segment(net: Ipv6Net, span: Span) -> Checked<()> {
    match SEGMENT_SIZES.contains(&net.prefix_len()) {
        true => Ok(()),
        false => Err(Complaint::at(span, format!("{net} is no size for a segment"))
            .hint("a segment has an IPv6 prefix length from 16 to 126; most have 64")),
    }
}

/// An address of a host, in its segment's prefix. `span` is where it is written.
pub(super) fn check_host_address(address: Ipv6Addr, span: Span, subnet: Option<Ipv6Net>, segment: &str) -> Checked<()> {
    let Some(subnet) = subnet else {
        return Err(Complaint::at(span, format!("{address} is in no segment: `{segment}` has no IPv6 prefix"))
            .hint("give the segment one behind a comma: `subnet: 10.1.10.0/24,fd00:10:1:10::/64`"));
    };
    let wrong = if !subnet.contains(&address) {
        format!("{address} is outside of segment `{segment}`, which is {subnet}")
    } else if address == subnet.network() {
        format!("{address} is the anycast address of all routers in {subnet}")
    } else {
        return Ok(());
    };
    let first = Ipv6Addr::from_bits(subnet.network().to_bits() + 1);
    Err(Complaint::at(span, wrong).hint(format!("choose an address from {first} to {}", subnet.broadcast())))
}

/// What the parts of a cluster must have of IPv6 together: nothing in a mode without it; nodes have an address if their
/// pods have.
pub(super) fn check(
    spec: &ClusterSpec,
    underlay: &Underlay,
    network: &Network,
    services: Option<Ipv6Net>,
) -> Checked<()> {
    let mode = network.mode;
    let pods = match mode.addressing() {
        Addressing::Pools => network.pools.iter().any(|pool| pool.cidr.addr().is_ipv6()),
        _ => network.cluster_cidr6.is_some(),
    };
    let places = written(spec, underlay, services);
    if let (Some(reason), Some(span)) = (mode.without_ipv6(), places.first()) {
        return Err(Complaint::at(*span, format!("the mode {mode} has no IPv6: {reason}"))
            .hint("leave what is behind the comma out, or choose a mode of Calico's, flannel-vxlan, flannel-host-gw or bridge"));
    }
    let without = underlay.nodes.iter().zip(spec.nodes.iter()).find(|(node, _)| node.address6.is_none());
    match without.filter(|_| pods) {
        Some((node, entry)) => {
            let message = format!("the pods have IPv6, but node `{}` has no IPv6 address", node.name);
            Err(Complaint::at(entry.address.span, message).hint(format!(
                "write it behind a comma: `address: {},fd00:10:1:10::9`, as its segment has it",
                node.address
            )))
        }
        None => Ok(()),
    }
}

/// Where IPv6 is asked for.
fn written(spec: &ClusterSpec, underlay: &Underlay, services: Option<Ipv6Net>) -> Vec<Span> {
    let mut places = Vec::new();
    let segments = underlay.segments.iter().zip(spec.segments.iter());
    places.extend(segments.filter(|(segment, _)| segment.subnet6.is_some()).map(|(_, entry)| entry.subnet.span));
    let pods = spec.network.cluster_cidr.as_ref().filter(|text| text.contains(','));
    places.extend(pods.map(|text| text.span));
    places.extend(spec.service_cidr.as_ref().filter(|_| services.is_some()).map(|text| text.span));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spanned(text: &str) -> Spanned<String> {
        Spanned { value: text.to_owned(), span: Span::default() }
    }

    #[test]
    fn one_of_each_family_with_ipv4_first() {
        let parsed = prefixes(&spanned("10.244.0.0/16, fd00:10:244::/56")).unwrap();
        assert_eq!(parsed, ("10.244.0.0/16".parse().unwrap(), Some("fd00:10:244::/56".parse().unwrap())));
        assert_eq!(addresses(&spanned("10.1.10.9")).unwrap(), (Ipv4Addr::new(10, 1, 10, 9), None));
        for wrong in
            ["fd00::1", "fd00::1,10.1.10.9", "10.1.10.9,10.1.10.10", "10.1.10.9,", "10.1.10.9,fd00::1,fd00::2", "x,y"]
        {
            assert!(addresses(&spanned(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_have_no_addresses_that_mean_something_else() {
        for good in ["fd00:10::/64", "2001:db8::/32"] {
            assert!(host_prefix6("a segment", &spanned(good)).is_ok(), "{good}");
        }
        for wrong in ["::/0", "::1/128", "fe80::/64", "ff02::/16", "fd00::1/64", "10.0.0.0/8", "fd00::"] {
            assert!(host_prefix6("a segment", &spanned(wrong)).is_err(), "{wrong}");
        }
    }
}
