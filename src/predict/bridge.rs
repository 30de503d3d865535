//! Through a bridge, with the iptables rules that br_netfilter shows bridged packets to.

use super::neighbour::{self, Place};
use super::route::Path;
use super::walk::{Carried, Outcome, Walker};
use super::{Reason, pieces, settings};
use crate::error::Result;
use crate::packet::{Direction, Ethernet};

impl<'a> Walker<'a> {
    /// Through a bridge, which has learned where everybody is. `ingress` is the port that the frame came in through;
    /// none if the bridge's own namespace sends it.
    pub(super) fn switch(
        &mut self,
        bridge: Place<'a>,
        ingress: Option<Place<'a>>,
        ethernet: Ethernet,
        mut carried: Carried,
    ) -> Result<Outcome> {
        if !bridge.link.up {
            return Ok(Outcome::dropped(bridge.ns, Reason::Down(bridge.link.name.clone())));
        }
        // What the namespace itself sends has been through its own hooks.
        let filtered = ingress.is_some() && settings::bridged_through_iptables(bridge.ns);
        if filtered && let Some(reason) = self.prerouting(bridge, &mut carried)? {
            return Ok(Outcome::dropped(bridge.ns, reason));
        }
        if bridge.link.mac == Some(ethernet.dst) {
            self.see(bridge, Direction::In, Some(ethernet), &carried)?;
            return if filtered { self.routed(bridge, carried) } else { self.receive(bridge, carried) };
        }
        if bridge.link.promiscuous && ingress.is_some() {
            self.see_aside(bridge, Direction::In, Some(ethernet), &carried)?;
        }
        let may_take = |port: &Place| !ingress.is_some_and(|ingress| ingress.is(port)) || port.link.hairpin;
        for port in neighbour::ports(bridge).filter(may_take) {
            if self.wiring.leads_to(port, ethernet.dst)? {
                return self.through_port(bridge, port, filtered, ethernet, carried);
            }
        }
        Ok(Outcome::dropped(bridge.ns, Reason::NoPort(ethernet.dst)))
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
            let reason = match self.forwarding(bridge, path, &mut carried)? {
                None => self.postrouting(bridge.ns, path, &mut carried)?,
                reason => reason,
            };
            if let Some(reason) = reason {
                return Ok(Outcome::dropped(bridge.ns, reason));
            }
        }
        if let Some(reason) = pieces::longer(port, &carried) {
            return Ok(Outcome::dropped(bridge.ns, reason));
        }
        self.see(port, Direction::Out, Some(ethernet), &carried)?;
        self.cross(port, ethernet, carried)
    }
}
