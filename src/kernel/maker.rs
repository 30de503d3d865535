//! Makes namespaces and their links, each from the socket of the namespace that it is in.
//!
//! For a whole cluster as for one more pod: what is there already is adopted, and the rest is made beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::messages::{self, CREATE};
use super::netlink::{Batch, Rtnetlink};
use super::netns::{self, Fresh};
use super::{devices, features, sysctl, tun};
use crate::error::{Error, Kind, Result};
use crate::plan::{Datapath, Link, LinkKind, Namespace, Plan, Sysctl, aside};

/// A namespace that exists, and the index of each of its links.
pub(super) struct Site<'p> {
    pub(super) namespace: &'p Namespace,
    pub(super) fresh: Fresh,
    indexes: BTreeMap<&'p str, u32>,
    /// The first index that is free.
    free_index: u32,
    /// The links that are made here or from elsewhere, and not there before.
    missing: BTreeSet<&'p str>,
    /// The links that were made with their other end, from there, and are not settled yet.
    far_ends: Vec<&'p Link>,
    /// Whether it was there before: its routes are then not this module's affair.
    adopted: bool,
    /// What defaults held before they were changed for the far ends' sake.
    defaults_before: Vec<Sysctl>,
}

impl Site<'_> {
    /// Index of one of its links.
    ///
    /// # Errors
    /// If it has none of that name.
    pub(super) fn index(&self, link: &str) -> Result<u32> {
        self.indexes.get(link).copied().ok_or_else(|| absent(link, &self.namespace.name))
    }
}

/// What makes the namespaces and links of a plan.
pub(super) struct Maker<'p> {
    plan: &'p Plan,
    pub(super) sites: Vec<Site<'p>>,
    /// Links that every new namespace has by itself (`lo`; `tunl0` where ipip is loaded) and their indexes.
    native: Option<BTreeMap<String, u32>>,
    /// Where in `sites` a namespace is.
    position: BTreeMap<&'p str, usize>,
    /// The links that were made, each as its namespace and its name.
    made: BTreeSet<(&'p str, &'p str)>,
    defaults: sysctl::FreshDefaults,
    places: netns::Places,
}

impl<'p> Maker<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Maker {
            plan,
            sites: Vec::with_capacity(plan.namespaces.len()),
            native: None,
            position: BTreeMap::new(),
            made: BTreeSet::new(),
            defaults: sysctl::FreshDefaults::default(),
            places: netns::Places::default(),
        }
    }

    /// Takes a namespace that is there. `live` are the links that it has and keeps, by name, with their indexes, and
    /// `free` the first index that no link has.
    pub(super) fn adopt(&mut self, namespace: &'p Namespace, fresh: Fresh, live: &BTreeMap<String, u32>, free: u32) {
        let mut free_index = free;
        let mut missing = BTreeSet::new();
        let mut number = |link: &'p Link| {
            let index = live.get(&link.name).copied().unwrap_or_else(|| {
                missing.insert(link.name.as_str());
                free_index += 1;
                free_index - 1
            });
            (link.name.as_str(), index)
        };
        let indexes = namespace.links.iter().map(&mut number).collect();
        self.position.insert(&namespace.name, self.sites.len());
        let (far_ends, defaults_before) = (Vec::new(), Vec::new());
        let site = Site { namespace, fresh, indexes, free_index, missing, far_ends, adopted: true, defaults_before };
        self.sites.push(site);
    }

    /// Makes the links that an adopted namespace lacks, but for those that come with their other end, and moves the
    /// calling thread there.
    pub(super) fn complete(&mut self, name: &str) -> Result<()> {
        let Some(at) = self.position.get(name).copied() else { return Ok(()) };
        let site = &self.sites[at];
        let namespace = site.namespace;
        let waits = |link: &&Link| {
            site.missing.contains(link.name.as_str())
                && !self.made.contains(&(namespace.name.as_str(), link.name.as_str()))
                && !self.born_later(link)
        };
        let own: Vec<&'p Link> = namespace.links.iter().filter(waits).collect();
        if own.is_empty() {
            return Ok(());
        }
        netns::enter(&site.fresh.fd)?;
        if own.iter().any(|link| link.kind.is_ipip()) && self.native.is_none() {
            self.native = Some(features::scratch(|| links_of(&mut Rtnetlink::open()?))??);
        }
        self.make_links(at, &own, Batch::default()).and_then(|batch| self.sites[at].fresh.rtnetlink.send(batch))?;
        own.iter().flat_map(|link| &link.sysctls).try_for_each(sysctl::write)
    }

    /// Makes a namespace with all that does not come from elsewhere, and moves the calling thread there. Gives the
    /// namespace's handle.
    pub(super) fn make(&mut self, namespace: &'p Namespace) -> Result<BorrowedFd<'_>> {
        let mut fresh = netns::create_and_enter(&namespace.netns, &mut self.places)?;
        if self.native.is_none() {
            self.native = Some(links_of(&mut fresh.rtnetlink)?);
        }
        self.defaults.apply(&namespace.sysctls)?;
        let (indexes, free_index) = self.number_links(namespace);
        let (far_ends, own): (Vec<&Link>, Vec<&Link>) = namespace.links.iter().partition(|l| self.born_later(l));
        let missing = namespace.links.iter().map(|link| link.name.as_str()).collect();
        let defaults_before = Vec::new();
        let site = Site { namespace, fresh, indexes, free_index, missing, far_ends, adopted: false, defaults_before };
        let at = self.sites.len();
        self.sites.push(site);
        let mut batch = self.make_links(at, &own, Batch::default())?;
        let site = &mut self.sites[at];
        if site.far_ends.is_empty() {
            push_routes(site, &mut batch)?;
        }
        site.fresh.rtnetlink.send(batch)?;
        let defaults = &self.defaults;
        own.iter().flat_map(|link| &link.sysctls).try_for_each(|one| defaults.write(one))?;
        site.defaults_before = defaults.exchange(&sysctl::shared_defaults(&site.far_ends))?;
        self.position.insert(&namespace.name, at);
        Ok(self.sites[at].fresh.fd.as_fd())
    }

    /// Settles the links that were made from elsewhere, and with them the routes of what was made.
    pub(super) fn finish(&mut self) -> Result<()> {
        for site in &mut self.sites {
            settle_far_ends(site).map_err(|e| e.within(&site.namespace.name))?;
        }
        Ok(())
    }

    /// Makes links from the calling thread's namespace, which is that of the site; what need not be sent at once is in
    /// the batch that it gives back.
    fn make_links(&mut self, at: usize, links: &[&'p Link], mut batch: Batch) -> Result<Batch> {
        for link in links {
            if self.is_tun(link) || matches!(link.kind, LinkKind::Macvlan { .. }) {
                // These are made at once; the links before them must not come after them, since the kernel takes the
                // first link's address as source toward links that have none.
                self.push_aside(link, &mut batch);
                self.sites[at].fresh.rtnetlink.send(std::mem::take(&mut batch))?;
            }
            self.push_own(at, link, &mut batch)?;
        }
        if links.iter().any(|link| self.stands_in(link)) {
            self.push_silence(at, &mut batch);
        }
        Ok(batch)
    }

    /// Whether a link comes into being with its other end, in a namespace that is not made yet.
    fn born_later(&self, link: &Link) -> bool {
        matches!(&link.kind, LinkKind::Veth { peer_namespace, .. } if !self.position.contains_key(peer_namespace.as_str()))
    }

    /// Whether it is a TUN, for the agent to serve.
    fn is_tun(&self, link: &Link) -> bool {
        matches!(link.kind, LinkKind::Udp(_)) || self.stands_in(link)
    }

    /// Whether a TUN stands in for a tunnel of the ipip module.
    fn stands_in(&self, link: &Link) -> bool {
        link.kind.is_ipip() && self.plan.datapath == Datapath::Userspace
    }

    fn push_own(&mut self, at: usize, link: &'p Link, batch: &mut Batch) -> Result<()> {
        let site = &self.sites[at];
        let mut index = site.index(&link.name)?;
        self.made.insert((&site.namespace.name, &link.name));
        match &link.kind {
            LinkKind::Loopback => {}
            LinkKind::Bridge => push_new(batch, devices::bridge(link, index), &link.name),
            LinkKind::Dummy => push_new(batch, devices::dummy(link, index), &link.name),
            LinkKind::Veth { peer_namespace, peer } => self.push_pair(link, (index, peer_namespace, peer), batch)?,
            LinkKind::Ipip | LinkKind::IpipPeer { .. } | LinkKind::Udp(_) => self.push_tunnel(link, index, batch)?,
            LinkKind::Vxlan(vxlan) => {
                if self.born_later_here(at, &vxlan.dev) {
                    return Err(absent(&vxlan.dev, "the namespace of its other end, which comes later,"));
                }
                push_new(batch, devices::vxlan(link, index, vxlan, site.index(&vxlan.dev)?), &link.name);
            }
            LinkKind::Macvlan { parent_namespace, parent } => {
                let there = self.position.get(parent_namespace.as_str()).copied();
                let there = there.ok_or_else(|| absent(parent, parent_namespace))?;
                let lower = self.sites[there].index(parent)?;
                let mut request = Batch::default();
                push_new(&mut request, devices::macvlan(link, lower, site.fresh.fd.as_raw_fd()), &link.name);
                self.sites[there].fresh.rtnetlink.send(request)?;
                let site = &mut self.sites[at];
                index = links_of(&mut site.fresh.rtnetlink)?
                    .remove(devices::NEW_BORN)
                    .ok_or_else(|| absent(devices::NEW_BORN, &site.namespace.name))?;
                site.indexes.insert(&link.name, index);
                let message = Message::SetLink(devices::rename(index, link.name.clone()));
                batch.push(message, 0, format!("name link {}", link.name));
            }
        }
        let site = &self.sites[at];
        let master = link.master.as_deref().map(|m| site.index(m)).transpose()?;
        messages::push_settled(batch, link, index, master);
        Ok(())
    }

    /// Whether a link of a site is one that is not there yet, since it comes with its other end.
    fn born_later_here(&self, at: usize, name: &str) -> bool {
        let site = &self.sites[at];
        let link = site.namespace.link(name).filter(|link| site.missing.contains(link.name.as_str()));
        link.is_some_and(|link| !self.made.contains(&(site.namespace.name.as_str(), link.name.as_str())))
    }

    /// A veth pair, whose other end is in a namespace that is there.
    fn push_pair(&mut self, link: &'p Link, near: (u32, &'p str, &'p str), batch: &mut Batch) -> Result<()> {
        let (index, peer_namespace, peer) = near;
        let at = self.position.get(peer_namespace).copied().ok_or_else(|| absent(peer, peer_namespace))?;
        let far = &mut self.sites[at];
        let far_link = far.namespace.link(peer).ok_or_else(|| absent(peer, peer_namespace))?;
        let pair = devices::veth(link, index, far_link, far.index(peer)?, far.fresh.fd.as_raw_fd());
        push_new(batch, pair, &link.name);
        self.made.insert((peer_namespace, peer));
        if far.adopted {
            far.far_ends.push(far_link);
        }
        Ok(())
    }

    /// tunl0: adopted where the kernel made it, else the ipip module's, else a TUN for the agent to serve.
    fn push_tunnel(&self, link: &Link, index: u32, batch: &mut Batch) -> Result<()> {
        if self.stands_in(link) {
            return tun::create(&link.name, index).map(drop);
        }
        match &link.kind {
            LinkKind::Udp(_) => return tun::create_plain(&link.name, index).map(drop),
            LinkKind::IpipPeer { local, remote } => {
                push_new(batch, devices::ipip_peer(link, index, *local, *remote), &link.name);
            }
            _ if self.is_native(&link.name).is_none() => push_new(batch, devices::ipip(link, index), &link.name),
            _ => {}
        }
        Ok(())
    }
}

/// What a TUN needs where the ipip module has a device of its name: see [`aside`].
impl<'p> Maker<'p> {
    /// Index of a link that every new namespace has by itself.
    fn is_native(&self, name: &str) -> Option<u32> {
        self.native.as_ref().and_then(|native| native.get(name)).copied()
    }

    fn push_aside(&self, tunnel: &Link, batch: &mut Batch) {
        if let Some(index) = self.is_native(&tunnel.name) {
            let message = devices::rename(index, aside::kernels(&tunnel.name));
            batch.push(Message::SetLink(message), 0, format!("rename the kernel's own {}", tunnel.name));
        }
    }

    fn push_silence(&mut self, at: usize, batch: &mut Batch) {
        if self.is_native(aside::MODULES_DEVICE).is_none() {
            return;
        }
        let site = &mut self.sites[at];
        for (number, address) in aside::addresses(site.namespace).into_iter().enumerate() {
            let name = aside::quiet(aside::MODULES_DEVICE, number);
            push_new(batch, devices::silent(&name, site.free_index, address), &name);
            site.free_index += 1;
        }
    }

    /// An index for every link: that of the kernel where it has the link by itself, else the next free one. And the
    /// first that is free after all.
    fn number_links(&self, namespace: &'p Namespace) -> (BTreeMap<&'p str, u32>, u32) {
        let mut next = self.native.iter().flat_map(BTreeMap::values).copied().max().unwrap_or(0) + 1;
        let number = |link: &'p Link| {
            let adopted = self.is_native(&link.name).filter(|_| !self.is_tun(link));
            let index = adopted.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            (link.name.as_str(), index)
        };
        let indexes = namespace.links.iter().map(number).collect();
        (indexes, next)
    }
}

/// Settles the links of `site` that were born from elsewhere, and with them its routes if it was made.
fn settle_far_ends(site: &mut Site<'_>) -> Result<()> {
    if site.far_ends.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    for link in &site.far_ends {
        let master = link.master.as_deref().map(|m| site.index(m)).transpose()?;
        messages::push_settled(&mut batch, link, site.index(&link.name)?, master);
    }
    if !site.adopted {
        push_routes(site, &mut batch)?;
    }
    site.fresh.rtnetlink.send(batch)?;
    let given = if site.adopted { Vec::new() } else { sysctl::shared_defaults(&site.far_ends) };
    let own = sysctl::remaining(&site.far_ends, &given);
    if own.is_empty() && site.defaults_before.is_empty() {
        return Ok(());
    }
    let write = || site.defaults_before.iter().chain(own).try_for_each(sysctl::write);
    netns::inside(site.fresh.fd.as_fd(), write)?
}

fn absent(link: &str, namespace: &str) -> Error {
    Error::new(Kind::Io, format!("the plan names link {link}, which {namespace} has not"))
}

fn push_new(batch: &mut Batch, message: LinkMessage, name: &str) {
    batch.push(Message::NewLink(message), CREATE, format!("make link {name}"));
}

fn push_routes(site: &Site<'_>, batch: &mut Batch) -> Result<()> {
    for one in &site.namespace.neighbours {
        let message = messages::neighbour(one, site.index(&one.dev)?);
        batch.push(Message::NewNeighbour(message), CREATE, format!("add neighbour {}", one.address));
    }
    for one in &site.namespace.fdb {
        let message = messages::fdb(one, site.index(&one.dev)?);
        // One address may be behind several nodes, so this is an addition, as `bridge fdb append` makes it.
        batch.push(Message::NewNeighbour(message), NLM_F_CREATE | NLM_F_APPEND, format!("add FDB entry {one}"));
    }
    for one in site.namespace.routes.iter().filter(|one| !site.namespace.is_daemons(one)) {
        let dev = one.dev.as_deref().map(|dev| site.index(dev)).transpose()?;
        batch.push(Message::NewRoute(messages::route(one, dev)), CREATE, format!("add route {one}"));
    }
    for one in &site.namespace.policy {
        batch.push(Message::NewRule(messages::policy(one)), CREATE, format!("add policy rule {one}"));
    }
    Ok(())
}

/// The links of a socket's namespace by name.
fn links_of(rtnetlink: &mut Rtnetlink) -> Result<BTreeMap<String, u32>> {
    let mut links = BTreeMap::new();
    rtnetlink.dump(Message::GetLink(LinkMessage::default()), |message| {
        if let Message::NewLink(link) = message {
            let name = link.attributes.into_iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            links.extend(name.map(|name| (name, link.header.index)));
        }
    })?;
    Ok(links)
}
