//! From one namespace's link to the next namespace's: neighbours, veth pairs, macvlan devices, and what is seen there.

use super::neighbour::{self, Place};
use super::route::Path;
use super::told::Told;
use super::walk::{Carried, Outcome, Walker};
use super::{Hop, Reason, Turn, pieces, settings};
use crate::error::Result;
use crate::packet::{Body, Direction, ETHERNET_HEADER, Ethernet, Frame};
use crate::plan::{LinkKind, Mac, Namespace};

impl<'a> Walker<'a> {
    /// Sends a packet to a next hop, as long as the link's MTU allows, in fragments if it must.
    pub(super) fn transmit(&mut self, ns: &'a Namespace, path: Path<'a>, mut carried: Carried) -> Result<Outcome> {
        let link = path.link;
        if !link.up {
            return Ok(Outcome::dropped(ns, Reason::Down(link.name.clone())));
        }
        if let Some(reason) = pieces::fit(Place { ns, link }, &mut carried)? {
            return Ok(Outcome::dropped(ns, reason));
        }
        let at = Place { ns, link };
        match &link.kind {
            LinkKind::Ipip | LinkKind::IpipPeer { .. } => self.send_ipip(ns, path, carried),
            LinkKind::Udp(tunnel) => self.send_udp(at, tunnel, carried),
            LinkKind::Loopback => {
                self.see(at, Direction::Out, Some(loopback()), &carried)?;
                self.see(at, Direction::In, Some(loopback()), &carried)?;
                self.receive(at, carried)
            }
            // Nothing is behind it.
            LinkKind::Dummy => Ok(Outcome::dropped(ns, Reason::Nowhere(link.name.clone()))),
            LinkKind::Veth { .. } | LinkKind::Bridge | LinkKind::Macvlan { .. } | LinkKind::Vxlan(_) => {
                let address = match path.gateway {
                    Some(gateway) => gateway,
                    None => carried.outer()?.dst,
                };
                let Some(dst) = self.wiring.resolve(at, address)? else {
                    let reason = Reason::NoNeighbour { address, interface: link.name.clone() };
                    return Ok(Outcome::refused(ns, reason, Told::Host, carried.packet));
                };
                let ethernet = Ethernet { src: settings::mac(ns, link)?, dst, vlan: None };
                match &link.kind {
                    LinkKind::Vxlan(vxlan) => self.send_vxlan(at, vxlan, ethernet, carried),
                    _ => self.put(at, ethernet, carried),
                }
            }
        }
    }

    /// Into a namespace from the program behind its TUN device.
    pub(super) fn put_by_program(&mut self, at: Place<'a>, carried: Carried) -> Result<Outcome> {
        self.see(at, Direction::In, None, &carried)?;
        self.receive(at, carried)
    }

    /// Puts frames on an interface.
    pub(super) fn put(&mut self, at: Place<'a>, ethernet: Ethernet, carried: Carried) -> Result<Outcome> {
        self.see(at, Direction::Out, Some(ethernet), &carried)?;
        match at.link.kind {
            LinkKind::Bridge => self.switch(at, None, ethernet, carried),
            LinkKind::Macvlan { .. } => self.past_siblings(at, ethernet, carried),
            _ => self.cross(at, ethernet, carried),
        }
    }

    /// Out of a macvlan device in bridge mode: to another one of the same lower device, which that device receives for
    /// its own listeners first (`macvlan_queue_xmit`); to others out of the lower device.
    fn past_siblings(&mut self, at: Place<'a>, ethernet: Ethernet, carried: Carried) -> Result<Outcome> {
        let parent = self.wiring.parent(at)?;
        let sibling = self.wiring.children(parent).find(|child| !child.is(&at) && child.link.mac == Some(ethernet.dst));
        if !parent.link.up {
            return Ok(Outcome::dropped(parent.ns, Reason::Down(parent.link.name.clone())));
        }
        let Some(sibling) = sibling else { return self.put(parent, ethernet, carried) };
        // `macvlan_queue_xmit` gives it to the lower device, "for its network taps".
        self.see(parent, Direction::In, Some(ethernet), &carried)?;
        self.enter_macvlan(sibling, ethernet, carried)
    }

    fn enter_macvlan(&mut self, at: Place<'a>, ethernet: Ethernet, mut carried: Carried) -> Result<Outcome> {
        self.see(at, Direction::In, Some(ethernet), &carried)?;
        carried.cross();
        self.receive(at, carried)
    }

    /// Through a veth pair.
    pub(super) fn cross(&mut self, from: Place<'a>, ethernet: Ethernet, mut carried: Carried) -> Result<Outcome> {
        let at = self.wiring.peer(from)?;
        if !at.link.up || !from.link.up {
            return Ok(Outcome::dropped(at.ns, Reason::Down(at.link.name.clone())));
        }
        if let Some(reason) = pieces::longer(at, &carried) {
            return Ok(Outcome::dropped(at.ns, reason));
        }
        self.see(at, Direction::In, Some(ethernet), &carried)?;
        carried.cross();
        if let Some(bridge) = neighbour::bridge(at) {
            return self.switch(bridge, Some(at), ethernet, carried);
        }
        if ethernet.dst == settings::mac(at.ns, at.link)? {
            return self.receive(at, carried);
        }
        let child = self.wiring.children(at).find(|child| child.link.mac == Some(ethernet.dst));
        match child {
            Some(child) => self.enter_macvlan(child, ethernet, carried),
            None => Ok(Outcome::dropped(at.ns, Reason::NotForUs(ethernet.dst))),
        }
    }

    /// Does something of which frames are seen in another turn.
    pub(super) fn in_turn<T>(&mut self, turn: Turn, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.turn;
        self.turn = before.max(turn);
        let result = work(self);
        self.turn = before;
        result
    }

    /// Notes the frames that are seen at an interface.
    pub(super) fn see(
        &mut self,
        at: Place,
        direction: Direction,
        ethernet: Option<Ethernet>,
        carried: &Carried,
    ) -> Result<()> {
        self.step()?;
        for packet in pieces::pieces(carried) {
            let length = packet.outer().map_or(0, |ip| usize::from(ip.length));
            let header = if ethernet.is_some() { ETHERNET_HEADER } else { 0 };
            self.hops.push(Hop {
                namespace: at.ns.name.clone(),
                interface: at.link.name.clone(),
                direction,
                frame: Frame { ethernet, body: Body::Ip(packet), length: length + header },
                turn: self.turn,
            });
        }
        Ok(())
    }
}

/// The frame of a packet to oneself: `lo` has an Ethernet header of zeroes.
fn loopback() -> Ethernet {
    Ethernet { src: Mac([0; 6]), dst: Mac([0; 6]), vlan: None }
}
