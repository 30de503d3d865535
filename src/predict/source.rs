//! The address that a kernel gives to packets that have no source yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::settings;
use crate::plan::{Link, Namespace, Scope};

/// The source of a packet to `dst` out of `link`, of the family of `dst`. `scope` is that of the route.
pub fn choose(ns: &Namespace, link: &Link, dst: IpAddr, gateway: Option<IpAddr>, scope: Scope) -> Option<IpAddr> {
    match dst {
        IpAddr::V6(_) => v6(ns, link, dst),
        IpAddr::V4(_) => {
            let gateway = match gateway {
                Some(IpAddr::V4(gateway)) => Some(gateway),
                _ => None,
            };
            v4(ns, link, gateway, scope).map(IpAddr::V4)
        }
    }
}

/// `inet_select_addr`: one of the link's own, first of all in the gateway's prefix; else the first of any link's, in the
/// order in which the links were made.
fn v4(ns: &Namespace, link: &Link, gateway: Option<Ipv4Addr>, scope: Scope) -> Option<Ipv4Addr> {
    let usable = |of: Scope| of.number() <= scope.number();
    let own = || ipv4(link).filter(move |(_, of)| usable(*of));
    let near = gateway.and_then(|gateway| own().find(|(net, _)| net.contains(&gateway)));
    let elsewhere = || {
        let links = ns.links.iter().filter(|other| other.up);
        links.flat_map(ipv4).find(|(_, of)| *of != Scope::Link && usable(*of))
    };
    near.or_else(|| own().next()).or_else(elsewhere).map(|(net, _)| net.addr())
}

fn ipv4(link: &Link) -> impl Iterator<Item = (Ipv4Net, Scope)> {
    link.addresses.iter().filter_map(|address| match address.net {
        IpNet::V4(net) => Some((net, address.scope)),
        IpNet::V6(_) => None,
    })
}

/// How well an address suits a destination, by those rules of RFC 6724 that tell a plan's addresses apart, in their order
/// (`ipv6_get_saddr_eval`): it is the destination; its scope; it is of the outgoing link; its label; its prefix.
type Score = (bool, i32, bool, bool, u8);

/// `ipv6_dev_get_saddr`: the best address of all links, of the outgoing link alone for what does not leave that; of
/// equals the one that was given last.
pub fn v6(ns: &Namespace, link: &Link, dst: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(dst) = dst else { return None };
    let stays = scope(dst) <= LINK_LOCAL || dst.is_multicast();
    let links = ns.links.iter().filter(|other| other.up && (!stays || other.name == link.name));
    let candidates = links.flat_map(|other| {
        let planned = other.addresses.iter().rev().filter_map(|address| match address.net {
            IpNet::V6(net) => Some((net.addr(), net.prefix_len())),
            IpNet::V4(_) => None,
        });
        let by_kernel = settings::own_v6(ns, other).map(|own| (own, 64));
        let is_outgoing = other.name == link.name;
        planned.chain(by_kernel).map(move |(own, length)| (score(own, length, dst, is_outgoing), own))
    });
    let better = |best: Option<(Score, Ipv6Addr)>, next: (Score, Ipv6Addr)| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    };
    candidates.fold(None, better).map(|(_, own)| own.into())
}

fn score(own: Ipv6Addr, length: u8, dst: Ipv6Addr, is_outgoing: bool) -> Score {
    let (of, wanted) = (scope(own), scope(dst));
    // The smallest scope that suffices; else the largest.
    let fitting = if of >= wanted { -of } else { of - 128 };
    let alike = (own.to_bits() ^ dst.to_bits()).leading_zeros().min(length.into()) as u8;
    (own == dst, fitting, is_outgoing, label(own) == label(dst), alike)
}

const LINK_LOCAL: i32 = 2;
const GLOBAL: i32 = 14;

/// The scope of an address as RFC 4291 numbers them; `::1` counts as link-local (RFC 6724, 3.4), and addresses of
/// fc00::/7 as global.
fn scope(address: Ipv6Addr) -> i32 {
    match address {
        _ if address.is_multicast() => i32::from(address.octets()[1] & 0x0f),
        _ if address.is_unicast_link_local() || address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// The label of an address in Linux's policy table (net/ipv6/addrlabel.c).
fn label(address: Ipv6Addr) -> u8 {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => 0,
        [0, 0, 0, 0, 0, 0xffff, ..] => 4,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 6,
        [0x2001, second, ..] if second & 0xfff0 == 0x10 => 7,
        [0x3ffe, ..] => 12,
        [first, ..] if first & 0xfe00 == 0xfc00 => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Address, LinkKind, Mac, Role};

    fn link(name: &str, nets: &[&str]) -> Link {
        let address =
            |net: &&str| Address { net: net.parse().expect("a prefix"), broadcast: None, scope: Scope::Global };
        let mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        Link { mac, addresses: nets.iter().map(address).collect(), ..Link::new(name, LinkKind::Bridge) }
    }

    fn chosen(links: Vec<Link>, out: &str, dst: &str) -> String {
        let ns = Namespace { links, ..Namespace::new("t", "node", "node", Role::Node) };
        let link = ns.link(out).expect("is there");
        v6(&ns, link, dst.parse().expect("an address")).map_or("none".into(), |own| own.to_string())
    }

    #[test]
    fn the_outgoing_link_comes_before_the_longer_prefix() {
        let links = || vec![link("ens33", &["fd00:10::9/64"]), link("cni0", &["fd00:244::1/64"]), link("eth1", &[])];
        assert_eq!(chosen(links(), "cni0", "fd00:244::7"), "fd00:244::1");
        assert_eq!(chosen(links(), "ens33", "fd00:244::7"), "fd00:10::9");
        // A link with nothing but its link-local address: any other's that is like the destination.
        assert_eq!(chosen(links(), "eth1", "fd00:244::7"), "fd00:244::1");
        assert_eq!(chosen(links(), "eth1", "fe80::7"), "fe80::ff:fe00:1");
    }

    #[test]
    fn labels_tell_local_networks_from_the_world() {
        let links = || vec![link("a", &["fd00:1::1/64", "2001:db8::1/64"])];
        assert_eq!(chosen(links(), "a", "2001:db8:7::1"), "2001:db8::1");
        assert_eq!(chosen(links(), "a", "fd77::1"), "fd00:1::1");
        // Of equals the last one that was given.
        assert_eq!(chosen(vec![link("a", &["fd00::1/64", "fd00::2/64"])], "a", "fd00::8"), "fd00::2");
    }
}
