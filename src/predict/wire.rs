//! From one namespace's link to the next namespace's: neighbours, veth pairs, bridges, tunnels and fragments.

use super::neighbour::{self, Place};
use super::route::{self, Decision, Path};
use super::walk::{Carried, Outcome, Split, Walker};
use super::{Hop, Reason, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{
    Body, Direction, ETHERNET_HEADER, Ethernet, Frame, IP_HEADER, Ip, PROTOCOL_IPIP, Packet, Transport,
};
use crate::plan::{Datapath, LinkKind, Mac, Namespace};

/// What a veth or a bridge port lets through beyond its MTU: the Ethernet header and a VLAN tag, in bytes
/// (`is_skb_forwardable`).
const BEYOND_MTU: u32 = 18;

impl<'a> Walker<'a> {
    /// Sends a packet to a next hop, as long as the link's MTU allows, in fragments if it must.
    pub(super) fn transmit(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let link = path.link;
        if !link.up {
            return Ok(Outcome::dropped(ns, Reason::Down(link.name.clone())));
        }
        if let Some(reason) = fit(&mut carried, &link.name, settings::mtu(link))? {
            return Ok(Outcome::dropped(ns, reason));
        }
        match &link.kind {
            LinkKind::Ipip => self.encapsulate(ns, path, carried),
            LinkKind::IpipPeer { .. } | LinkKind::Vxlan(_) | LinkKind::Udp(_) | LinkKind::Macvlan { .. } => {
                Err(Error::new(Kind::Unsupported, format!("cannot predict what passes {}/{} yet", ns.name, link.name)))
            }
            LinkKind::Loopback => {
                let at = Place { ns, link };
                self.see(at, Direction::Out, Some(loopback()), &carried)?;
                self.see(at, Direction::In, Some(loopback()), &carried)?;
                carried.tracked = None;
                self.receive(at, carried)
            }
            LinkKind::Veth { .. } | LinkKind::Bridge => {
                let at = Place { ns, link };
                let address = match path.gateway {
                    Some(gateway) => gateway,
                    None => carried.outer()?.dst,
                };
                let Some(dst) = neighbour::resolve(self.plan, at, address)? else {
                    let reason = Reason::NoNeighbour { address, interface: link.name.clone() };
                    return Ok(Outcome::dropped(ns, reason));
                };
                let ethernet = Ethernet { src: settings::mac(ns, link)?, dst, vlan: None };
                self.put(at, ethernet, carried)
            }
        }
    }

    /// Puts frames on an interface.
    pub(super) fn put(&mut self, at: Place<'a>, ethernet: Ethernet, carried: Carried) -> Result<Outcome> {
        self.see(at, Direction::Out, Some(ethernet), &carried)?;
        match at.link.kind {
            LinkKind::Bridge => self.switch(at, &at.link.name, None, ethernet, carried),
            _ => self.cross(at, ethernet, carried),
        }
    }

    /// Through a veth pair.
    fn cross(&mut self, from: Place<'a>, ethernet: Ethernet, mut carried: Carried) -> Result<Outcome> {
        let at = neighbour::peer(self.plan, from)?;
        if !at.link.up || !from.link.up {
            return Ok(Outcome::dropped(at.ns, Reason::Down(at.link.name.clone())));
        }
        if let Some(reason) = longer(at, &carried) {
            return Ok(Outcome::dropped(at.ns, reason));
        }
        self.see(at, Direction::In, Some(ethernet), &carried)?;
        // Another namespace: neither mark nor connection goes along.
        (carried.mark, carried.tracked) = (0, None);
        match at.link.master.as_deref() {
            Some(bridge) => self.switch(at, bridge, Some(&at.link.name), ethernet, carried),
            None if ethernet.dst != settings::mac(at.ns, at.link)? => {
                Ok(Outcome::dropped(at.ns, Reason::NotForUs(ethernet.dst)))
            }
            None => self.receive(at, carried),
        }
    }

    /// Through a bridge, which has learned where everybody is.
    fn switch(
        &mut self,
        at: Place<'a>,
        bridge: &str,
        ingress: Option<&str>,
        ethernet: Ethernet,
        carried: Carried,
    ) -> Result<Outcome> {
        if let Some(device) = at.ns.link(bridge).filter(|device| device.mac == Some(ethernet.dst)) {
            let at = Place { ns: at.ns, link: device };
            self.see(at, Direction::In, Some(ethernet), &carried)?;
            return self.receive(at, carried);
        }
        for port in neighbour::ports(at.ns, bridge).filter(|port| Some(port.link.name.as_str()) != ingress) {
            if self.leads_to(port, ethernet.dst)? {
                if let Some(reason) = longer(port, &carried) {
                    return Ok(Outcome::dropped(at.ns, reason));
                }
                self.see(port, Direction::Out, Some(ethernet), &carried)?;
                return self.cross(port, ethernet, carried);
            }
        }
        Ok(Outcome::dropped(at.ns, Reason::NoPort(ethernet.dst)))
    }

    fn leads_to(&self, port: Place<'a>, mac: Mac) -> Result<bool> {
        let listeners = neighbour::listeners(self.plan, neighbour::peer(self.plan, port)?)?;
        Ok(listeners.iter().any(|listener| listener.link.mac == Some(mac)))
    }

    /// Into an IPIP tunnel: a new header around, to the route's gateway, TTL and DF copied from inside
    /// (`ip_tunnel_xmit` with ttl inherit, nopmtudisc), and out again through the namespace's own output.
    fn encapsulate(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let at = Place { ns, link: path.link };
        let Some(gateway) = path.gateway else {
            return Ok(Outcome::dropped(ns, Reason::NoGateway(path.link.name.clone())));
        };
        self.see(at, Direction::Out, None, &carried)?;
        let inner = *carried.outer()?;
        let outer_path = match route::lookup(ns, gateway) {
            Decision::Via(outer) if outer.link.name != path.link.name => outer,
            _ => return Ok(Outcome::dropped(ns, Reason::NoRoute(gateway))),
        };
        let Some(src) = outer_path.source else {
            return Ok(Outcome::dropped(ns, Reason::NoSource(outer_path.link.name.clone())));
        };
        let header = Ip {
            src,
            dst: gateway,
            protocol: PROTOCOL_IPIP,
            ttl: inner.ttl,
            id: None,
            dont_fragment: inner.dont_fragment,
            more_fragments: false,
            offset: 0,
            length: inner.length.saturating_add(IP_HEADER),
        };
        carried.packet.layers.insert(0, header);
        carried.tracked = None;
        self.through_tunnel(&mut carried);
        self.output(ns, outer_path, carried)
    }

    /// Out of an IPIP tunnel, in the namespace that the outer header is for.
    pub(super) fn decapsulate(&mut self, ns: &'a Namespace, mut carried: Carried) -> Result<Outcome> {
        let tunnel = ns.links.iter().find(|link| link.up && link.kind == LinkKind::Ipip);
        let (Some(link), true) = (tunnel, carried.packet.layers.len() > 1) else {
            return Ok(Outcome::dropped(ns, Reason::NoTunnel));
        };
        carried.packet.layers.remove(0);
        carried.tracked = None;
        self.through_tunnel(&mut carried);
        let at = Place { ns, link };
        self.see(at, Direction::In, None, &carried)?;
        self.receive(at, carried)
    }

    /// A packet keeps its mark in the kernel's tunnel; through a TUN device it goes without.
    fn through_tunnel(&self, carried: &mut Carried) {
        if self.plan.datapath == Datapath::Userspace {
            carried.mark = 0;
        }
    }

    /// Notes the frames that are seen at an interface.
    fn see(&mut self, at: Place, direction: Direction, ethernet: Option<Ethernet>, carried: &Carried) -> Result<()> {
        self.step()?;
        for packet in pieces(carried) {
            let length = packet.outer().map_or(0, |ip| usize::from(ip.length));
            let header = if ethernet.is_some() { ETHERNET_HEADER } else { 0 };
            self.hops.push(Hop {
                namespace: at.ns.name.clone(),
                interface: at.link.name.clone(),
                direction,
                frame: Frame { ethernet, body: Body::Ip(packet), length: length + header },
            });
        }
        Ok(())
    }
}

/// The frame of a packet to oneself: `lo` has an Ethernet header of zeroes.
fn loopback() -> Ethernet {
    Ethernet { src: Mac([0; 6]), dst: Mac([0; 6]), vlan: None }
}

/// Splits what is too long for the link, or says why it must not be.
fn fit(carried: &mut Carried, interface: &str, mtu: u32) -> Result<Option<Reason>> {
    let longest = longest(carried);
    if u32::from(longest) <= mtu {
        return Ok(None);
    }
    let outermost = carried.packet.layers.len().saturating_sub(1);
    match carried.split {
        _ if carried.outer()?.dont_fragment => {
            return Ok(Some(Reason::TooLong { interface: interface.to_owned(), mtu }));
        }
        Some(split) if split.level != outermost => {
            let text = format!("cannot predict fragments of fragments, which the MTU {mtu} of {interface} makes");
            return Err(Error::new(Kind::Unsupported, text));
        }
        _ => {}
    }
    let limit = u16::try_from(mtu).unwrap_or(u16::MAX);
    carried.split = Some(Split { level: outermost, limit });
    Ok(None)
}

/// Why a veth's end or a bridge port does not take the longest of the frames.
fn longer(at: Place, carried: &Carried) -> Option<Reason> {
    let mtu = settings::mtu(at.link);
    let length = u32::from(longest(carried)) + ETHERNET_HEADER as u32;
    (length > mtu + BEYOND_MTU).then(|| Reason::TooLong { interface: at.link.name.clone(), mtu })
}

fn longest(carried: &Carried) -> u16 {
    pieces(carried).iter().filter_map(|packet| packet.outer()).map(|ip| ip.length).max().unwrap_or(0)
}

/// The packets that a datagram travels as.
fn pieces(carried: &Carried) -> Vec<Packet> {
    let packet = &carried.packet;
    let Some(split) = carried.split else { return vec![packet.clone()] };
    let Some(depth) = packet.layers.len().checked_sub(1 + split.level) else { return vec![packet.clone()] };
    let Some(header) = packet.layers.get(depth) else { return vec![packet.clone()] };
    let room = (split.limit.saturating_sub(IP_HEADER) / 8 * 8).max(8);
    let total = header.length.saturating_sub(IP_HEADER);
    if header.length <= split.limit {
        return vec![packet.clone()];
    }
    (0..total.div_ceil(room)).map(|index| piece(packet, depth, index * room, room, total)).collect()
}

fn piece(packet: &Packet, depth: usize, offset: u16, room: u16, total: u16) -> Packet {
    let carried = room.min(total - offset);
    let mut piece = packet.clone();
    if offset > 0 {
        piece.transport = Transport::Fragment;
        piece.layers.truncate(depth + 1);
    }
    for (index, ip) in piece.layers.iter_mut().enumerate().take(depth + 1) {
        ip.length = IP_HEADER * (depth - index + 1) as u16 + carried;
        if index == depth {
            ip.offset = offset;
            ip.more_fragments = offset + carried < total;
        }
    }
    piece
}
