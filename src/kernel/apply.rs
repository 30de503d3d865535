//! Builds all namespaces of a plan, in the order that costs the kernel least.
//!
//! What costs is not the number of objects but certain calls: moving a link to another namespace and deleting
//! one each wait for an RCU barrier (15 ms), so neither is ever done. A veth pair is made from the socket of
//! the namespace that comes later in the plan (the pod), with its far end born in the earlier one (the node)
//! under a name and an index chosen here. So a namespace takes one send, and those in which far ends were
//! born take one more at the end. Netfilter is loaded meanwhile, on other threads, one restore per namespace.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::messages::{self, CREATE};
use super::netlink::{Batch, Rtnetlink};
use super::netns::{self, Fresh};
use super::{devices, etc, files, restore, sysctl, tun};
use crate::error::{Error, Kind, Result};
use crate::plan::{Datapath, Link, LinkKind, Namespace, Plan, Sysctl, aside};

/// Most restores at a time: each sleeps most of its time, waiting for RCU, so more of them than there are CPUs.
const LOADERS_MAX: usize = 16;

/// Makes everything in `plan`. Nothing of it may exist. `meanwhile` runs as soon as every namespace, link and
/// route is there, while netfilter is still being loaded, which takes longest: iptables-restore waits for an RCU
/// grace period after each table.
///
/// # Errors
/// The first thing that failed, named with its namespace. What had been made by then remains; the caller
/// removes it.
pub fn build(plan: &Plan, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let workers = plan.nodes().count().clamp(1, LOADERS_MAX);
    let (send, receive) = channel();
    let queue = Mutex::new(receive);
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| Builder::new(plan, send).run());
        let files = scope.spawn(|| etc::write(plan).and_then(|()| files::write(plan)));
        let loaders: Vec<_> = (0..workers).map(|_| scope.spawn(|| load_tables(&queue))).collect();
        let built = joined(builder.join()).and(joined(files.join())).and_then(|()| meanwhile());
        loaders.into_iter().map(|loader| joined(loader.join())).fold(built, Result::and)
    })
}

fn joined(result: std::thread::Result<Result<()>>) -> Result<()> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A namespace whose sets and tables wait to be loaded.
type Load<'p> = (&'p Namespace, OwnedFd);

fn load_tables(queue: &Mutex<Receiver<Load<'_>>>) -> Result<()> {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((namespace, fd)) = next else { return Ok(()) };
        restore::load(namespace, &fd).map_err(|e| e.within(&namespace.name))?;
    }
}

/// A namespace that exists, and the index of each of its links.
struct Site<'p> {
    namespace: &'p Namespace,
    fresh: Fresh,
    indexes: BTreeMap<&'p str, u32>,
    /// The links that are born with their other end, in a namespace that comes later.
    far_ends: Vec<&'p Link>,
    /// What defaults held before they were changed for the far ends' sake.
    defaults_before: Vec<Sysctl>,
}

impl Site<'_> {
    fn index(&self, link: &str) -> Result<u32> {
        self.indexes.get(link).copied().ok_or_else(|| absent(link, &self.namespace.name))
    }
}

struct Builder<'p> {
    plan: &'p Plan,
    sites: Vec<Site<'p>>,
    /// Links that every new namespace has by itself (`lo`; `tunl0` where ipip is loaded) and their indexes.
    native: BTreeMap<String, u32>,
    /// Where in `sites` a namespace is.
    position: BTreeMap<&'p str, usize>,
    defaults: sysctl::FreshDefaults,
    tables: Sender<Load<'p>>,
}

impl<'p> Builder<'p> {
    fn new(plan: &'p Plan, tables: Sender<Load<'p>>) -> Self {
        let sites = Vec::with_capacity(plan.namespaces.len());
        let (native, position) = (BTreeMap::new(), BTreeMap::new());
        Builder { plan, sites, native, position, defaults: sysctl::FreshDefaults::default(), tables }
    }

    /// Runs on a thread of its own, which it moves from namespace to namespace.
    fn run(mut self) -> Result<()> {
        for namespace in &self.plan.namespaces {
            self.make(namespace).map_err(|e| e.within(&namespace.name))?;
        }
        for site in &mut self.sites {
            settle_far_ends(site).map_err(|e| e.within(&site.namespace.name))?;
        }
        Ok(())
    }

    fn make(&mut self, namespace: &'p Namespace) -> Result<()> {
        let mut fresh = netns::create_and_enter(&namespace.netns)?;
        if self.sites.is_empty() {
            self.native = links_of(&mut fresh.rtnetlink)?;
        }
        self.defaults.apply(&namespace.sysctls)?;
        if restore::has_any(namespace) {
            let fd = fresh.fd.try_clone().map_err(|e| Error::io("cannot keep a namespace open", e))?;
            // A closed queue means that a loader failed, and that its error is reported.
            let _ = self.tables.send((namespace, fd));
        }
        let (indexes, free_index) = self.number_links(namespace);
        let (far_ends, own): (Vec<&Link>, Vec<&Link>) = namespace.links.iter().partition(|l| self.born_later(l));
        let mut site = Site { namespace, fresh, indexes, far_ends, defaults_before: Vec::new() };
        let mut batch = Batch::default();
        for link in &own {
            if self.is_tun(link) || matches!(link.kind, LinkKind::Macvlan { .. }) {
                // These are made at once; the links before them must not come after them, since the kernel takes the
                // first link's address as source toward links that have none.
                self.push_aside(link, &mut batch);
                site.fresh.rtnetlink.send(std::mem::take(&mut batch))?;
            }
            self.push_own(&site, link, &mut batch)?;
        }
        self.push_silence(&site, free_index, &mut batch);
        if site.far_ends.is_empty() {
            push_routes(&site, &mut batch)?;
        }
        site.fresh.rtnetlink.send(batch)?;
        own.iter().flat_map(|link| &link.sysctls).try_for_each(sysctl::write)?;
        site.defaults_before = sysctl::exchange(&sysctl::shared_defaults(&site.far_ends))?;
        self.position.insert(&namespace.name, self.sites.len());
        self.sites.push(site);
        Ok(())
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

    fn push_own(&mut self, site: &Site<'p>, link: &Link, batch: &mut Batch) -> Result<()> {
        let index = site.index(&link.name)?;
        match &link.kind {
            LinkKind::Loopback => {}
            LinkKind::Bridge => push_new(batch, devices::bridge(link, index), &link.name),
            LinkKind::Veth { peer_namespace, peer } => {
                let far = &self.sites[self.position[peer_namespace.as_str()]];
                let far_link = far.namespace.link(peer).ok_or_else(|| absent(peer, peer_namespace))?;
                let pair = devices::veth(link, index, far_link, far.index(peer)?, far.fresh.fd.as_raw_fd());
                push_new(batch, pair, &link.name);
            }
            LinkKind::Ipip | LinkKind::IpipPeer { .. } | LinkKind::Udp(_) => self.push_tunnel(link, index, batch)?,
            LinkKind::Vxlan(vxlan) => {
                if site.far_ends.iter().any(|far| far.name == vxlan.dev) {
                    return Err(absent(&vxlan.dev, "the namespace of its other end, which comes later,"));
                }
                push_new(batch, devices::vxlan(link, index, vxlan, site.index(&vxlan.dev)?), &link.name);
            }
            LinkKind::Macvlan { parent_namespace, parent } => {
                let at =
                    self.position.get(parent_namespace.as_str()).ok_or_else(|| absent(parent, parent_namespace))?;
                let lower = &mut self.sites[*at];
                let message = devices::macvlan(link, index, lower.index(parent)?, site.fresh.fd.as_raw_fd());
                let mut there = Batch::default();
                push_new(&mut there, message, &link.name);
                lower.fresh.rtnetlink.send(there)?;
            }
        }
        let master = link.master.as_deref().map(|m| site.index(m)).transpose()?;
        messages::push_settled(batch, link, index, master);
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
            _ if !self.native.contains_key(&link.name) => push_new(batch, devices::ipip(link, index), &link.name),
            _ => {}
        }
        Ok(())
    }
}

/// What a TUN needs where the ipip module has a device of its name: see [`aside`].
impl<'p> Builder<'p> {
    fn push_aside(&self, tunnel: &Link, batch: &mut Batch) {
        if let Some(index) = self.native.get(&tunnel.name) {
            let message = devices::rename(*index, aside::kernels(&tunnel.name));
            batch.push(Message::SetLink(message), 0, format!("rename the kernel's own {}", tunnel.name));
        }
    }

    fn push_silence(&self, site: &Site<'p>, free_index: u32, batch: &mut Batch) {
        let in_the_way = self.native.contains_key(aside::MODULES_DEVICE);
        if !in_the_way || !site.namespace.links.iter().any(|link| self.stands_in(link)) {
            return;
        }
        for (number, address) in aside::addresses(site.namespace).into_iter().enumerate() {
            let name = aside::quiet(aside::MODULES_DEVICE, number);
            push_new(batch, devices::silent(&name, free_index + number as u32, address), &name);
        }
    }

    /// An index for every link: that of the kernel where it has the link by itself, else the next free one. And the
    /// first that is free after all.
    fn number_links(&self, namespace: &'p Namespace) -> (BTreeMap<&'p str, u32>, u32) {
        let mut next = self.native.values().copied().max().unwrap_or(0) + 1;
        let number = |link: &'p Link| {
            let adopted = self.native.get(&link.name).copied().filter(|_| !self.is_tun(link));
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

/// Settles the links of `site` that were born from elsewhere, and with them its routes.
fn settle_far_ends(site: &mut Site<'_>) -> Result<()> {
    if site.far_ends.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    for link in &site.far_ends {
        let master = link.master.as_deref().map(|m| site.index(m)).transpose()?;
        messages::push_settled(&mut batch, link, site.index(&link.name)?, master);
    }
    push_routes(site, &mut batch)?;
    site.fresh.rtnetlink.send(batch)?;
    let given = sysctl::shared_defaults(&site.far_ends);
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
