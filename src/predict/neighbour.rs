//! Who is on the other side of a link: veth peers, bridge ports, and who answers ARP for an address.

use std::net::{IpAddr, Ipv4Addr};

use super::route::{self, Decision};
use super::{End, Hop, Journey, Leg, Purpose, Reason, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{Arp, ArpOperation, Body, Direction, Ethernet, Frame};
use crate::plan::{Link, LinkKind, Mac, Namespace, Plan};

/// Length of an ARP message in an Ethernet frame that nobody padded, in bytes.
const ARP_FRAME: usize = 42;
/// Length of the request that minik injects, which is padded as a NIC would pad it, in bytes.
const ARP_REQUEST_FRAME: usize = 60;

/// A link with the namespace that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The namespace.
    pub ns: &'a Namespace,
    /// The link.
    pub link: &'a Link,
}

/// The other end of a veth.
///
/// # Errors
/// If the plan does not have it.
pub fn peer<'a>(plan: &'a Plan, at: Place) -> Result<Place<'a>> {
    let missing = || Error::new(Kind::Check, format!("the plan has no other end of {}/{}", at.ns.name, at.link.name));
    let LinkKind::Veth { peer_namespace, peer } = &at.link.kind else { return Err(missing()) };
    let ns = plan.namespace(peer_namespace).ok_or_else(missing)?;
    Ok(Place { ns, link: ns.link(peer).ok_or_else(missing)? })
}

/// The ports of a bridge that are up.
pub fn ports<'a>(ns: &'a Namespace, bridge: &str) -> impl Iterator<Item = Place<'a>> {
    let bridge = bridge.to_owned();
    ns.links
        .iter()
        .filter(move |link| link.up && link.master.as_deref() == Some(&bridge))
        .map(move |link| Place { ns, link })
}

/// The links with an IP stack behind them that hear a broadcast on the wire into `at`.
///
/// # Errors
/// If the plan lacks the other end of a link.
pub fn listeners<'a>(plan: &'a Plan, at: Place<'a>) -> Result<Vec<Place<'a>>> {
    let Some(master) = at.link.master.as_deref() else {
        return Ok(if at.link.up { vec![at] } else { Vec::new() });
    };
    let mut found: Vec<Place> =
        at.ns.link(master).filter(|bridge| bridge.up).map(|link| Place { ns: at.ns, link }).into_iter().collect();
    for port in ports(at.ns, master).filter(|port| port.link.name != at.link.name) {
        found.extend(listeners(plan, peer(plan, port)?)?);
    }
    Ok(found)
}

/// The Ethernet address that a namespace uses for `address` on `at`; none if nobody answers.
///
/// # Errors
/// If the plan lacks the other end of a link, or an Ethernet address.
pub fn resolve(plan: &Plan, at: Place, address: Ipv4Addr) -> Result<Option<Mac>> {
    let known = at.ns.neighbours.iter().find(|n| n.dev == at.link.name && n.address == IpAddr::V4(address));
    if let Some(neighbour) = known {
        return Ok(Some(neighbour.mac));
    }
    for listener in heard_by(plan, at)? {
        if answers(listener, address) {
            return settings::mac(listener.ns, listener.link).map(Some);
        }
    }
    Ok(None)
}

fn heard_by<'a>(plan: &'a Plan, at: Place<'a>) -> Result<Vec<Place<'a>>> {
    match at.link.kind {
        LinkKind::Veth { .. } => listeners(plan, peer(plan, at)?),
        LinkKind::Bridge => {
            let mut found = Vec::new();
            for port in ports(at.ns, &at.link.name) {
                found.extend(listeners(plan, peer(plan, port)?)?);
            }
            Ok(found)
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether a namespace answers ARP for `address` on a link: its own, or by proxy for what it would forward
/// elsewhere (`arp_process`).
fn answers(at: Place, address: Ipv4Addr) -> bool {
    match route::lookup(at.ns, address) {
        Decision::Local => true,
        Decision::Via(path) => {
            settings::proxies_arp(at.ns, at.link)
                && settings::forwards(at.ns, at.link)
                && path.link.name != at.link.name
        }
        Decision::Blackhole(_) | Decision::Unreachable => false,
    }
}

/// See [`super::arp`].
pub fn arp_journey(plan: &Plan, from: &str, interface: &str, sender: Ipv4Addr, target: Ipv4Addr) -> Result<Journey> {
    let none = || Error::new(Kind::Check, format!("the plan has no interface {from}/{interface}"));
    let ns = plan.namespace(from).ok_or_else(none)?;
    let at = Place { ns, link: ns.link(interface).ok_or_else(none)? };
    let other = peer(plan, at)?;
    if other.link.master.is_some() {
        let text = format!("cannot predict a broadcast through the switch behind {from}/{interface}");
        return Err(Error::new(Kind::Unsupported, text));
    }
    let (mine, theirs) = (settings::mac(at.ns, at.link)?, settings::mac(other.ns, other.link)?);
    let request =
        Arp { operation: ArpOperation::Request, sender_mac: mine, sender, target_mac: Mac([0; 6]), target, mark: None };
    let request_hops = vec![
        hop(at, Direction::Out, mine, Mac::BROADCAST, request),
        hop(other, Direction::In, mine, Mac::BROADCAST, request),
    ];
    let name = |place: Place| place.ns.name.clone();
    if !answers(other, target) {
        let reason = Reason::NoNeighbour { address: target, interface: other.link.name.clone() };
        let end = End::Dropped { namespace: name(other), reason };
        return Ok(Journey { legs: vec![Leg { purpose: Purpose::Request, hops: request_hops, end }] });
    }
    let reply = Arp {
        operation: ArpOperation::Reply,
        sender_mac: theirs,
        sender: target,
        target_mac: mine,
        target: sender,
        mark: None,
    };
    let reply_hops = vec![hop(other, Direction::Out, theirs, mine, reply), hop(at, Direction::In, theirs, mine, reply)];
    let leg = |purpose, hops, place| Leg { purpose, hops, end: End::Delivered { namespace: name(place) } };
    Ok(Journey { legs: vec![leg(Purpose::Request, request_hops, other), leg(Purpose::Answer, reply_hops, at)] })
}

fn hop(at: Place, direction: Direction, src: Mac, dst: Mac, arp: Arp) -> Hop {
    let length = if arp.operation == ArpOperation::Request { ARP_REQUEST_FRAME } else { ARP_FRAME };
    let ethernet = Some(Ethernet { src, dst, vlan: None });
    Hop {
        namespace: at.ns.name.clone(),
        interface: at.link.name.clone(),
        direction,
        frame: Frame { ethernet, body: Body::Arp(arp), length },
    }
}
