//! Making room for a TUN named `tunl0` where the ipip module has a `tunl0` of its own. PURE.
//!
//! The module puts a device of that name into every namespace. It cannot be deleted, moved or configured, but while it
//! is down it can be renamed: it steps aside as `tunl0-kernel`, down and without address, and the TUN takes its name.
//!
//! That alone would be seen on the wire: the module's receiver gets what the agent's raw socket gets, knows no tunnel
//! that is up for it, and answers every packet with "port unreachable" (net/ipv4/tunnel4.c). It is silent only about
//! packets for a tunnel that it knows and that carries another protocol (`ipip_tunnel_rcv` drops those). So there is
//! one such tunnel, `tunl0-quiet`, for each address at which tunnelled packets arrive: from that address, for MPLS. It
//! is up, has no address and no route, and neither sends nor receives anything. The same holds for TUNs that stand in
//! for tunnels to one peer each: the module's `tunl0` is then in nobody's way, and only has to be kept silent.

use std::net::{IpAddr, Ipv4Addr};

use super::{LinkKind, Namespace};

/// The device that the ipip module puts into every namespace.
pub const MODULES_DEVICE: &str = "tunl0";

/// What the module's device is called once it has stepped aside for a TUN named `tunnel`.
pub fn kernels(tunnel: &str) -> String {
    format!("{tunnel}-kernel")
}

/// The device that keeps the module silent about the `number`th address.
pub fn quiet(tunnel: &str, number: usize) -> String {
    match number {
        0 => format!("{tunnel}-quiet"),
        _ => format!("{tunnel}-quiet{number}"),
    }
}

/// Whether a device beside `tunnel` is one of these.
pub fn is_quiet(tunnel: &str, name: &str) -> bool {
    let number = name.strip_prefix(tunnel).and_then(|rest| rest.strip_prefix("-quiet"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The addresses at which tunnelled packets arrive in a namespace: those of its network interfaces if a tunnel takes
/// packets for any address, else those that its tunnels have as their own. Empty if it has no tunnel of the module's.
pub fn addresses(namespace: &Namespace) -> Vec<Ipv4Addr> {
    let links = &namespace.links;
    let mut found: Vec<Ipv4Addr> = Vec::new();
    if links.iter().any(|link| link.kind == LinkKind::Ipip) {
        let others = links.iter().filter(|link| link.kind.is_met());
        let all = others.flat_map(|link| &link.addresses).map(|address| address.net.addr());
        found.extend(all.filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }));
    } else {
        for link in links {
            if let LinkKind::IpipPeer { local, .. } = link.kind
                && !found.contains(&local)
            {
                found.push(local);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_devices_are_known_by_their_names() {
        for number in [0, 1, 12] {
            assert!(is_quiet("tunl0", &quiet("tunl0", number)));
        }
        for other in ["tunl0", "tunl0-kernel", "tunl0-quietly", "tunl1-quiet"] {
            assert!(!is_quiet("tunl0", other), "{other}");
        }
    }
}
