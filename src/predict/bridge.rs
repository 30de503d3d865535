//! Through a bridge, with the iptables rules that br_netfilter shows bridged packets to.

use super::neighbour::{self, Place};
use super::route::{self, Decision, Path};
use super::walk::{Carried, Outcome, Walker};
use super::{Reason, Turn, ebtables, pieces, settings};
use crate::error::Result;
use crate::packet::{Direction, Ethernet};
use crate::plan::Mac;

impl<'a> Walker<'a> {
    /// Through a bridge, which has learned where everybody is. `ingress` is the port that the frame came in through;
    /// none if the bridge's own namespace sends it.
    pub(super) fn switch(
        &mut self,
        bridge: Place<'a>,
        ingress: Option<Place<'a>>,
        mut ethernet: Ethernet,
        mut carried: Carried,
    ) -> Result<Outcome> {
        if !bridge.link.up {
            return Ok(Outcome::dropped(bridge.ns, Reason::Down(bridge.link.name.clone())));
        }
        // What the namespace itself sends has been through its own hooks.
        let filtered = ingress.is_some() && settings::bridged_through_iptables(bridge.ns, carried.packet.is_v6());
        let to_bridge = bridge.link.mac == Some(ethernet.dst);
        if filtered {
            let dst = carried.outer()?.dst;
            carried.through_port = true;
            if let Some(stop) = self.prerouting(bridge, &mut carried)? {
                return Ok(Outcome::stopped(bridge.ns, stop, carried));
            }
            if carried.outer()?.dst != dst {
                match self.bridge_translated(bridge, &carried)? {
                    Ok(mac) => ethernet.dst = mac,
                    Err(reason) => return Ok(Outcome::dropped(bridge.ns, reason)),
                }
            }
        }
        // Connection tracking has joined fragments. How long they were is remembered on the way to another port, and
        // forgotten on the way up.
        let mut joined = Carried { joined: filtered && !carried.splits.is_empty(), ..carried.clone() };
        if filtered {
            joined.splits.clear();
        }
        if bridge.link.mac == Some(ethernet.dst) {
            self.see(bridge, Direction::In, Some(ethernet), &joined)?;
            return if filtered { self.routed(bridge, joined) } else { self.receive(bridge, joined) };
        }
        if bridge.link.promiscuous && ingress.is_some() {
            self.in_turn(Turn::Aside, |walker| walker.copied(bridge, to_bridge, ethernet, joined))?;
        }
        if to_bridge {
            // Where the neighbour is not known to be reachable, the bridge's own output is what finds its address
            // (`br_nf_pre_routing_finish_bridge`).
            let by_bridge = Ethernet { src: settings::mac(bridge.ns, bridge.link)?, ..ethernet };
            self.in_turn(Turn::Perhaps, |walker| walker.see(bridge, Direction::Out, Some(by_bridge), &carried))?;
        }
        let may_take = |port: &Place| !ingress.is_some_and(|ingress| ingress.is(port)) || port.link.hairpin;
        for port in neighbour::ports(bridge).filter(may_take) {
            if self.wiring.leads_to(port, ethernet.dst)? {
                let hook = if ingress.is_some() { "FORWARD" } else { "OUTPUT" };
                if ebtables::drops(bridge.ns, hook, port.link, ethernet, &carried.packet)? {
                    return Ok(Outcome::dropped(bridge.ns, Reason::Ebtables(port.link.name.clone())));
                }
                return self.through_port(bridge, port, filtered, ethernet, carried);
            }
        }
        Ok(Outcome::dropped(bridge.ns, Reason::NoPort(ethernet.dst)))
    }

    /// A promiscuous bridge takes a copy of what passes it. One of a frame that was for itself, and is for somebody
    /// else after translation, goes on in its namespace like any packet, without its connection
    /// (`br_nf_local_in`); others are nobody's business there.
    fn copied(&mut self, bridge: Place<'a>, to_bridge: bool, ethernet: Ethernet, mut copy: Carried) -> Result<()> {
        self.see(bridge, Direction::In, Some(ethernet), &copy)?;
        if to_bridge {
            copy.tracked = None;
            self.routed(bridge, copy)?;
        }
        Ok(())
    }

    /// The Ethernet address that a bridged packet with a translated destination is for
    /// (`br_nf_pre_routing_finish`): its next hop, if that is on the bridge, and then it goes on without being routed;
    /// else the bridge itself.
    fn bridge_translated(&self, bridge: Place<'a>, carried: &Carried) -> Result<std::result::Result<Mac, Reason>> {
        let ip = carried.outer()?;
        match route::lookup(bridge.ns, ip.dst, Some(ip.src)) {
            Decision::Via(path) if path.link.name == bridge.link.name => {
                let address = path.gateway.unwrap_or(ip.dst);
                let interface = bridge.link.name.clone();
                Ok(self.wiring.resolve(bridge, address)?.ok_or(Reason::NoNeighbour { address, interface }))
            }
            Decision::Unreachable => Ok(Err(Reason::NoRoute(ip.dst))),
            _ => settings::mac(bridge.ns, bridge.link).map(Ok),
        }
    }

    fn through_port(
        &mut self,
        bridge: Place<'a>,
        port: Place<'a>,
        filtered: bool,
        ethernet: Ethernet,
        mut carried: Carried,
    ) -> Result<Outcome> {
        if filtered {
            let path = Path { link: bridge.link, gateway: None, source: None };
            let stop = match self.forwarding(bridge, path, &mut carried)? {
                None => self.postrouting(bridge.ns, path, &mut carried)?,
                stop => stop,
            };
            if let Some(stop) = stop {
                return Ok(Outcome::stopped(bridge.ns, stop, carried));
            }
        }
        if let Some(reason) = pieces::longer(port, &carried) {
            return Ok(Outcome::dropped(bridge.ns, reason));
        }
        self.see(port, Direction::Out, Some(ethernet), &carried)?;
        self.cross(port, ethernet, carried)
    }
}
