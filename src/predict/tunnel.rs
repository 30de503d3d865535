//! Into and out of tunnels: IP in IP, VXLAN, and flannel's bare IP in UDP.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::neighbour::Place;
use super::route::{Decision, Path};
use super::told::Told;
use super::walk::{Carried, Outcome, Walker};
use super::{Reason, settings};
use crate::error::Result;
use crate::packet::{
    Body, Direction, ETHERNET_HEADER, Ethernet, Frame, IP_HEADER, Inside, Ip, PROTOCOL_ICMP, PROTOCOL_IPIP,
    PROTOCOL_UDP, Packet, Transport, UDP_HEADER, VXLAN_HEADER,
};
use crate::plan::{Datapath, Link, LinkKind, Namespace, UdpTunnel, Vxlan};

/// The two ends of an outer header.
#[derive(Clone, Copy)]
struct Ends {
    /// The source; none is left to routing.
    src: Option<IpAddr>,
    dst: IpAddr,
}

impl<'a> Walker<'a> {
    /// Into an IPIP tunnel and out again through the namespace's own output, with the TTL copied from inside
    /// (`ip_tunnel_xmit` with ttl inherit). `tunl0` sends to the route's gateway and copies DF (nopmtudisc), a tunnel
    /// to one peer always sets it (pmtudisc).
    pub(super) fn send_ipip(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let at = Place { ns, link: path.link };
        let inner = *carried.outer()?;
        let (ends, dont_fragment) = match (&path.link.kind, path.gateway) {
            (LinkKind::IpipPeer { local, remote }, _) => {
                (Ends { src: Some((*local).into()), dst: (*remote).into() }, true)
            }
            (_, Some(gateway)) => (Ends { src: None, dst: gateway }, inner.dont_fragment),
            (_, None) => return Ok(Outcome::dropped(ns, Reason::NoGateway(path.link.name.clone()))),
        };
        self.see(at, Direction::Out, None, &carried)?;
        let (outer_path, mut header) = match self.around(ns, path.link, ends, inner.length.saturating_add(IP_HEADER)) {
            Ok(found) => found,
            Err(reason) => return Ok(Outcome::dropped(ns, reason)),
        };
        (header.protocol, header.ttl, header.dont_fragment) = (PROTOCOL_IPIP, inner.ttl, dont_fragment);
        carried.packet.layers.insert(0, header);
        carried.tracked = None;
        self.through_ipip(&mut carried);
        self.output(ns, outer_path, carried)
    }

    /// Out of an IPIP tunnel, in the namespace that the outer header is for: the one with that peer, or `tunl0`.
    pub(super) fn take_ipip(&mut self, ns: &'a Namespace, mut carried: Carried) -> Result<Outcome> {
        let outer = *carried.outer()?;
        let up = || ns.links.iter().filter(|link| link.up);
        let is_ours =
            |local: Ipv4Addr, remote: Ipv4Addr| (IpAddr::from(local), IpAddr::from(remote)) == (outer.dst, outer.src);
        let peer =
            up().find(|link| matches!(link.kind, LinkKind::IpipPeer { local, remote } if is_ours(local, remote)));
        let tunnel = peer.or_else(|| up().find(|link| link.kind == LinkKind::Ipip));
        let (Some(link), true) = (tunnel, carried.packet.layers.len() > 1) else {
            return Ok(Outcome::dropped(ns, Reason::NoTunnel));
        };
        carried.packet.layers.remove(0);
        carried.tracked = None;
        carried.unwrapped();
        self.through_ipip(&mut carried);
        let at = Place { ns, link };
        self.see(at, Direction::In, None, &carried)?;
        self.receive(at, carried)
    }

    /// A packet keeps its mark in the kernel's tunnel; through a TUN device it goes without.
    fn through_ipip(&self, carried: &mut Carried) {
        if self.wiring.plan.datapath == Datapath::Userspace {
            carried.mark = 0;
        }
    }

    /// Into a VXLAN device, as a frame that its FDB knows the way of (`vxlan_xmit_one`: df unset, ttl auto). The
    /// packet keeps its mark.
    pub(super) fn send_vxlan(
        &mut self,
        at: Place<'a>,
        vxlan: &Vxlan,
        ethernet: Ethernet,
        mut carried: Carried,
    ) -> Result<Outcome> {
        self.see(at, Direction::Out, Some(ethernet), &carried)?;
        let entry = at.ns.fdb.iter().find(|entry| entry.dev == at.link.name && entry.mac == ethernet.dst);
        let Some(dst) = entry.map(|entry| entry.dst) else {
            return Ok(Outcome::dropped(at.ns, Reason::NoFdb { mac: ethernet.dst, interface: at.link.name.clone() }));
        };
        let frame_length = carried.outer()?.length.saturating_add(ETHERNET_HEADER as u16);
        let length = frame_length.saturating_add(Ip::header_of(&dst) + UDP_HEADER + VXLAN_HEADER);
        let (path, header) = match self.around(at.ns, at.link, Ends { src: Some(vxlan.local), dst }, length) {
            Ok(found) => found,
            Err(reason) => return Ok(Outcome::dropped(at.ns, reason)),
        };
        let frame =
            Frame { ethernet: Some(ethernet), body: Body::Ip(carried.packet), length: usize::from(frame_length) };
        let inside = Box::new(Inside::Vxlan { vni: vxlan.vni, frame });
        let transport = Transport::Tunnel { src: None, dst: Some(vxlan.port), inside };
        carried.packet = Packet { layers: vec![header], transport, mark: None };
        carried.tracked = None;
        self.output(at.ns, path, carried)
    }

    /// Into flannel's TUN device: its daemon sends the packet bare in a datagram, with a TTL less by one, from an
    /// ordinary UDP socket (`tun_to_udp`).
    pub(super) fn send_udp(&mut self, at: Place<'a>, tunnel: &UdpTunnel, mut carried: Carried) -> Result<Outcome> {
        self.see(at, Direction::Out, None, &carried)?;
        let inner = *carried.outer()?;
        let leads = |net: &Ipv4Net| matches!(inner.dst, IpAddr::V4(dst) if net.contains(&dst));
        let Some((_, dst)) = tunnel.peers.iter().find(|(net, _)| leads(net)) else {
            return Ok(no_peer(at, inner, carried.packet));
        };
        if inner.ttl <= 1 {
            return Ok(Outcome::dropped(at.ns, Reason::TimeExceeded));
        }
        lower_ttl(&mut carried.packet);
        let ends = Ends { src: Some(tunnel.local.into()), dst: (*dst).into() };
        let length = inner.length.saturating_add(IP_HEADER + UDP_HEADER);
        let (path, mut header) = match self.around(at.ns, at.link, ends, length) {
            Ok(found) => found,
            Err(reason) => return Ok(Outcome::dropped(at.ns, reason)),
        };
        // What an ordinary socket sends must not be fragmented (IP_PMTUDISC_WANT).
        header.dont_fragment = true;
        let inside = Box::new(Inside::Bare(carried.packet));
        let transport = Transport::Tunnel { src: Some(tunnel.port), dst: Some(tunnel.port), inside };
        carried.packet = Packet { layers: vec![header], transport, mark: None };
        (carried.mark, carried.tracked) = (0, None);
        self.output(at.ns, path, carried)
    }

    /// Out of a tunnel over UDP, in the namespace that the outer header is for.
    pub(super) fn take_udp(&mut self, ns: &'a Namespace, mut carried: Carried) -> Result<Outcome> {
        let outer = *carried.outer()?;
        let Transport::Tunnel { dst: Some(port), inside, .. } = &carried.packet.transport else {
            return Ok(Outcome::dropped(ns, Reason::NoTunnel));
        };
        let Some(link) = ns.links.iter().find(|link| link.up && takes(link, outer.dst, *port, inside)) else {
            let is_open = ns.links.iter().any(|link| link.up && hears(link, outer.dst, *port));
            return Ok(match is_open {
                true => Outcome::dropped(ns, Reason::NoTunnel),
                false => Outcome::refused(ns, Reason::NoTunnel, Told::Port, carried.packet),
            });
        };
        let at = Place { ns, link };
        let (packet, ethernet) = match &**inside {
            Inside::Vxlan { frame: Frame { ethernet, body: Body::Ip(packet), .. }, .. } => (packet.clone(), *ethernet),
            Inside::Bare(packet) => {
                let mut packet = packet.clone();
                if packet.outer().is_none_or(|ip| ip.ttl <= 1) {
                    return Ok(Outcome::dropped(ns, Reason::TimeExceeded));
                }
                lower_ttl(&mut packet);
                carried.mark = 0;
                (packet, None)
            }
            Inside::Vxlan { .. } => return Ok(Outcome::dropped(ns, Reason::NoTunnel)),
        };
        (carried.packet, carried.tracked) = (packet, None);
        carried.unwrapped();
        self.see(at, Direction::In, ethernet, &carried)?;
        match ethernet.filter(|ethernet| link.mac != Some(ethernet.dst)) {
            Some(ethernet) => Ok(Outcome::dropped(ns, Reason::NotForUs(ethernet.dst))),
            None => self.receive(at, carried),
        }
    }

    /// The outer header of what a tunnel device sends, and the way that it takes: never through the device itself.
    fn around(
        &mut self,
        ns: &'a Namespace,
        tunnel: &Link,
        ends: Ends,
        length: u16,
    ) -> std::result::Result<(Path<'a>, Ip), Reason> {
        let path = match self.look_up(ns, ends.dst, ends.src) {
            Decision::Via(path) if path.link.name != tunnel.name => path,
            _ => return Err(Reason::NoRoute(ends.dst)),
        };
        let src = ends.src.or(path.source).ok_or_else(|| Reason::NoSource(path.link.name.clone()))?;
        let ttl = settings::default_ttl(ns, ends.dst.is_ipv6());
        Ok((path, Ip::new(src, ends.dst, PROTOCOL_UDP, ttl, length)))
    }
}

fn lower_ttl(packet: &mut Packet) {
    if let Some(ip) = packet.layers.first_mut() {
        ip.ttl = ip.ttl.saturating_sub(1);
    }
}

/// flannel's daemon knows no node for the destination: it says so through its TUN device, but never about ICMP
/// (`send_net_unreachable`).
fn no_peer(at: Place, inner: Ip, packet: Packet) -> Outcome {
    let reason = Reason::NoPeer(inner.dst);
    if inner.protocol == PROTOCOL_ICMP {
        return Outcome::dropped(at.ns, reason);
    }
    let (namespace, error) = (at.ns.name.clone(), Some(Told::Net.about(packet)));
    Outcome::Dropped { namespace, reason, error, through: Some(at.link.name.clone()) }
}

/// Whether a device has a socket open at this address and port.
fn hears(link: &Link, address: IpAddr, port: u16) -> bool {
    match &link.kind {
        // A socket of the family of its own end.
        LinkKind::Vxlan(vxlan) => vxlan.port == port && vxlan.local.is_ipv6() == address.is_ipv6(),
        LinkKind::Udp(tunnel) => tunnel.port == port && address == tunnel.local,
        _ => false,
    }
}

/// Whether a device takes what came to this address and port.
fn takes(link: &Link, address: IpAddr, port: u16, inside: &Inside) -> bool {
    hears(link, address, port)
        && match (&link.kind, inside) {
            (LinkKind::Vxlan(vxlan), Inside::Vxlan { vni, .. }) => vxlan.vni == *vni,
            (LinkKind::Udp(_), Inside::Bare(_)) => true,
            _ => false,
        }
}
