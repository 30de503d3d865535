//! Who is on the other side of a link: veth peers, bridge ports, macvlan devices, and who answers for an address.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::route::{self, Decision};
use super::settings;
use crate::error::{Error, Kind, Result};
use crate::plan::{Link, LinkKind, Mac, Namespace, Plan};

/// A link with the namespace that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The namespace.
    pub ns: &'a Namespace,
    /// The link.
    pub link: &'a Link,
}

impl Place<'_> {
    /// Whether both are the same link.
    pub fn is(&self, other: &Place) -> bool {
        std::ptr::eq(self.link, other.link)
    }
}

/// The links of a plan as they hang together, with what was found out about them once: who has an address, and which
/// ports lead where, is the same for every packet.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// The plan.
    pub plan: &'a Plan,
    macvlans: Vec<Place<'a>>,
    /// Namespaces by name, if very many packets are to be predicted.
    places: Option<BTreeMap<&'a str, &'a Namespace>>,
    resolved: RefCell<HashMap<(Id, IpAddr), Option<Mac>>>,
    leading: RefCell<HashMap<(Id, Mac), bool>>,
}

/// A link of a plan that does not move: where it stands in memory.
type Id = usize;

fn id(at: Place) -> Id {
    std::ptr::from_ref(at.link).addr()
}

impl<'a> Wiring<'a> {
    /// The wiring of a plan.
    pub fn new(plan: &'a Plan) -> Self {
        let all = plan.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| Place { ns, link }));
        let macvlans = all.filter(|at| matches!(at.link.kind, LinkKind::Macvlan { .. })).collect();
        Wiring { plan, macvlans, places: None, resolved: RefCell::default(), leading: RefCell::default() }
    }

    /// The wiring of a plan through which very many packets are to go.
    pub fn indexed(plan: &'a Plan) -> Self {
        Wiring { places: Some(plan.places()), ..Wiring::new(plan) }
    }

    /// See [`Plan::namespace`].
    pub fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.plan.namespace(name),
        }
    }

    /// The other end of a veth.
    ///
    /// # Errors
    /// If the plan does not have it.
    pub fn peer(&self, at: Place) -> Result<Place<'a>> {
        match &at.link.kind {
            LinkKind::Veth { peer_namespace, peer } => self.place(peer_namespace, peer),
            _ => None,
        }
        .ok_or_else(|| missing("other end", at))
    }

    /// The lower device of a macvlan device.
    ///
    /// # Errors
    /// If the plan does not have it.
    pub fn parent(&self, at: Place) -> Result<Place<'a>> {
        match &at.link.kind {
            LinkKind::Macvlan { parent_namespace, parent } => self.place(parent_namespace, parent),
            _ => None,
        }
        .ok_or_else(|| missing("lower device", at))
    }

    fn place(&self, ns: &str, link: &str) -> Option<Place<'a>> {
        let ns = self.namespace(ns)?;
        Some(Place { ns, link: ns.link(link)? })
    }

    /// The macvlan devices on a lower device that are up.
    pub fn children(&self, at: Place<'a>) -> impl Iterator<Item = Place<'a>> {
        self.macvlans.iter().copied().filter(move |child| match &child.link.kind {
            LinkKind::Macvlan { parent_namespace, parent } => {
                child.link.up && *parent_namespace == at.ns.name && *parent == at.link.name
            }
            _ => false,
        })
    }

    /// The links with an IP stack behind them that hear a broadcast on the wire into `at`.
    ///
    /// # Errors
    /// If the plan lacks the other end of a link.
    pub fn listeners(&self, at: Place<'a>) -> Result<Vec<Place<'a>>> {
        if !at.link.up {
            return Ok(Vec::new());
        }
        let Some(bridge) = bridge(at) else {
            return Ok(std::iter::once(at).chain(self.children(at)).collect());
        };
        let mut found: Vec<Place> = Some(bridge).filter(|bridge| bridge.link.up).into_iter().collect();
        for port in ports(bridge).filter(|port| !port.is(&at)) {
            found.extend(self.listeners(self.peer(port)?)?);
        }
        Ok(found)
    }

    /// Whether a frame for `mac` must leave through this port of a bridge.
    ///
    /// # Errors
    /// If the plan lacks the other end of a link.
    pub fn leads_to(&self, port: Place<'a>, mac: Mac) -> Result<bool> {
        if let Some(leads) = self.leading.borrow().get(&(id(port), mac)) {
            return Ok(*leads);
        }
        let listeners = self.listeners(self.peer(port)?)?;
        let leads = listeners.iter().any(|listener| listener.link.mac == Some(mac));
        self.leading.borrow_mut().insert((id(port), mac), leads);
        Ok(leads)
    }

    /// The Ethernet address that a namespace uses for `address` on `at`; none if nobody answers.
    ///
    /// # Errors
    /// If the plan lacks the other end of a link, or an Ethernet address.
    pub fn resolve(&self, at: Place<'a>, address: IpAddr) -> Result<Option<Mac>> {
        if let Some(resolved) = self.resolved.borrow().get(&(id(at), address)) {
            return Ok(*resolved);
        }
        let resolved = self.ask_for(at, address)?;
        self.resolved.borrow_mut().insert((id(at), address), resolved);
        Ok(resolved)
    }

    fn ask_for(&self, at: Place<'a>, address: IpAddr) -> Result<Option<Mac>> {
        let known = at.ns.neighbours.iter().find(|n| n.dev == at.link.name && n.address == address);
        if let Some(neighbour) = known {
            return Ok(Some(neighbour.mac));
        }
        for listener in self.heard_by(at)? {
            if answers(listener, address, None) {
                return settings::mac(listener.ns, listener.link).map(Some);
            }
        }
        Ok(None)
    }

    fn heard_by(&self, at: Place<'a>) -> Result<Vec<Place<'a>>> {
        match at.link.kind {
            LinkKind::Veth { .. } => self.listeners(self.peer(at)?),
            LinkKind::Bridge => {
                let mut found = Vec::new();
                for port in ports(at) {
                    found.extend(self.listeners(self.peer(port)?)?);
                }
                Ok(found)
            }
            LinkKind::Macvlan { .. } => {
                let parent = self.parent(at)?;
                let mut found: Vec<Place> = self.children(parent).filter(|child| !child.is(&at)).collect();
                found.extend(self.heard_by(parent)?);
                Ok(found)
            }
            // No broadcast leaves a tunnel: there is no FDB entry for it.
            LinkKind::Loopback
            | LinkKind::Dummy
            | LinkKind::Ipip
            | LinkKind::IpipPeer { .. }
            | LinkKind::Vxlan(_)
            | LinkKind::Udp(_) => Ok(Vec::new()),
        }
    }
}

fn missing(what: &str, at: Place) -> Error {
    Error::new(Kind::Check, format!("the plan has no {what} of {}/{}", at.ns.name, at.link.name))
}

/// The bridge that a link is a port of.
pub fn bridge(at: Place) -> Option<Place> {
    let link = at.ns.link(at.link.master.as_deref()?)?;
    Some(Place { ns: at.ns, link })
}

/// The ports of a bridge that are up.
pub fn ports<'a>(bridge: Place<'a>) -> impl Iterator<Item = Place<'a>> {
    let Place { ns, link: bridge } = bridge;
    let is_port = |link: &&Link| link.up && link.master.as_deref() == Some(&bridge.name);
    ns.links.iter().filter(is_port).map(move |link| Place { ns, link })
}

/// Whether a namespace answers for `address` on a link. ARP: its own, or by proxy for what it would forward elsewhere
/// (`arp_process`). Neighbour discovery: that link's own alone (`ndisc_recv_ns`); what is proxied there has entries of its
/// own, which no plan has. `sender` is who asks, where that is known.
pub fn answers(at: Place, address: IpAddr, sender: Option<IpAddr>) -> bool {
    if address.is_ipv6() {
        return route::is_local_on(at.ns, at.link, address);
    }
    match route::lookup(at.ns, address, sender) {
        Decision::Local => !settings::ignores_others(at.ns, at.link) || route::is_local_on(at.ns, at.link, address),
        Decision::Via(path) => {
            settings::proxies_arp(at.ns, at.link)
                && settings::forwards(at.ns, at.link, false)
                && path.link.name != at.link.name
        }
        Decision::Blackhole(_) | Decision::Unreachable => false,
    }
}
