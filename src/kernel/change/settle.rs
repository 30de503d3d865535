//! What is in a namespace that stays: settings, links that stay, addresses, neighbours, FDB entries, routes, policy rules.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use crate::error::{Error, Kind, Result};
use crate::kernel::maker::Site;
use crate::kernel::messages::{self, CREATE};
use crate::kernel::netlink::Batch;
use crate::kernel::netns::{self, Fresh};
use crate::kernel::read::{self, Live, LiveLink};
use crate::kernel::{devices, drift, features, qdisc, sysctl};
use crate::plan::{Link, Namespace, Route, Sysctl, facts, shell};

/// What shall go may have gone with something else.
const GONE: &[i32] = &[libc::ESRCH, libc::ENOENT, libc::EADDRNOTAVAIL, libc::ENODEV];

/// Changes the settings of a namespace and of its links that are `staying`; those that are given no more get back what they have
/// in a new namespace, or what a new link would get.
pub(super) fn settings(
    fresh: &Fresh,
    (before, after): (&Namespace, &Namespace),
    staying: &BTreeMap<String, u32>,
    all: bool,
) -> Result<()> {
    let mut wanted = differing(&before.sysctls, &after.sysctls, all);
    let lost: Vec<&Sysctl> = vanished(&before.sysctls, &after.sysctls);
    if !lost.is_empty() {
        let defaults = features::scratch(|| {
            lost.iter().map(|one| Ok(Sysctl::new(&one.key, sysctl::read(one)?))).collect::<Result<Vec<_>>>()
        })??;
        // Where the key belongs to a part that this kernel lacks, it was never set.
        wanted.splice(0..0, defaults);
    }
    let mut resets = Vec::new();
    for link in after.links.iter().filter(|link| staying.contains_key(&link.name)) {
        let Some(old) = before.link(&link.name).filter(|old| old.kind == link.kind) else { continue };
        let (old, new) = (shell::link_sysctls(old), shell::link_sysctls(link));
        wanted.extend(differing(&old, &new, all));
        resets.extend(vanished(&old, &new).into_iter().filter_map(|one| {
            let default = one.key.replacen(&format!(".{}.", link.name.replace('.', "/")), ".default.", 1);
            (default != one.key).then(|| (one.key.clone(), Sysctl::new(default, "")))
        }));
    }
    if wanted.is_empty() && resets.is_empty() {
        return Ok(());
    }
    netns::inside(&fresh.fd, || {
        for (key, default) in resets {
            sysctl::write(&Sysctl::new(key, sysctl::read(&default)?))?;
        }
        wanted.iter().filter(|one| !sysctl::is_of_absent_part(one)).try_for_each(sysctl::write)
    })?
}

fn differing(before: &[Sysctl], after: &[Sysctl], all: bool) -> Vec<Sysctl> {
    after.iter().filter(|one| all || !before.contains(one)).cloned().collect()
}

fn vanished<'p>(before: &'p [Sysctl], after: &[Sysctl]) -> Vec<&'p Sysctl> {
    before
        .iter()
        .filter(|one| !sysctl::is_of_absent_part(one) && !after.iter().any(|other| other.key == one.key))
        .collect()
}

/// Makes the difference between two plans of a namespace whose links are all there. `was` is what it held at first.
pub(super) fn reach(site: &mut Site<'_>, before: &Namespace, was: &Live, all: bool) -> Result<()> {
    let live = read::with(&mut site.fresh.rtnetlink)?;
    let missing = missing(site, before, was, &live, all);
    let mut batch = Batch::default();
    push_missing(&mut batch, site, &missing, &live)?;
    push_surplus(&mut batch, site, before, &live)?;
    if batch.is_empty() { Ok(()) } else { site.fresh.rtnetlink.send(batch) }
}

/// Looks whether all is there, and puts back what the kernel took away in passing.
///
/// # Errors
/// If something does not stay.
pub(super) fn again(site: &mut Site<'_>, before: &Namespace, was: &Live, all: bool) -> Result<()> {
    for last in [false, true] {
        let live = read::with(&mut site.fresh.rtnetlink)?;
        let missing = missing(site, before, was, &live, all);
        let Some(first) = missing.first() else { return Ok(()) };
        if last {
            return Err(Error::new(Kind::Netlink, format!("the kernel does not keep {first}")));
        }
        let mut batch = Batch::default();
        push_missing(&mut batch, site, &missing, &live)?;
        site.fresh.rtnetlink.send(batch)?;
    }
    Ok(())
}

/// The facts of the plan that are not live. Of those that both plans have, only what was live at first, unless `all` is
/// asked for.
fn missing(site: &Site<'_>, before: &Namespace, was: &Live, live: &Live, all: bool) -> BTreeSet<String> {
    let after = site.namespace;
    let live = drift::live_facts(after, live.clone());
    let mut missing: BTreeSet<String> = facts::facts(after).difference(&live).cloned().collect();
    if !all && !missing.is_empty() {
        let before_facts = facts::facts(before);
        let was = drift::live_facts(before, was.clone());
        missing.retain(|fact| !before_facts.contains(fact) || was.contains(fact));
    }
    // A daemon makes its routes in its own time.
    for route in after.routes.iter().filter(|route| after.is_daemons(route)) {
        missing.remove(&facts::route_fact(route));
    }
    missing
}

/// Adds what makes these facts of the site's plan true. Its links are there.
pub(in crate::kernel) fn push_missing(
    batch: &mut Batch,
    site: &Site<'_>,
    missing: &BTreeSet<String>,
    live: &Live,
) -> Result<()> {
    let ns = site.namespace;
    for link in &ns.links {
        let Some(there) = live.links.iter().find(|one| one.name == link.name) else { continue };
        if missing.contains(&facts::link_fact(link)) {
            push_altered(batch, site, link, there)?;
        }
        if let Some(wanted) = link.qdisc.as_ref().filter(|one| missing.contains(&facts::qdisc_fact(&link.name, one))) {
            if there.qdisc.is_some() {
                batch.push(
                    Message::DelQueueDiscipline(qdisc::none(there.index)),
                    0,
                    format!("clear the queue of {}", link.name),
                );
            }
            let message = Message::NewQueueDiscipline(qdisc::root(wanted, there.index));
            batch.push(message, CREATE, format!("set the queueing discipline {wanted} of {}", link.name));
        }
        for one in link.addresses.iter().filter(|one| missing.contains(&facts::address_fact(&link.name, one))) {
            let message = Message::NewAddress(messages::address(one, there.index));
            batch.push(message, CREATE, format!("add address {} to {}", one.net, link.name));
        }
    }
    for one in ns.neighbours.iter().filter(|one| missing.contains(&facts::neighbour_fact(one))) {
        let message = Message::NewNeighbour(messages::neighbour(one, site.index(&one.dev)?));
        batch.push(message, NLM_F_CREATE | NLM_F_REPLACE, format!("add neighbour {one}"));
    }
    for one in ns.fdb.iter().filter(|one| missing.contains(&facts::fdb_fact(one))) {
        let message = Message::NewNeighbour(messages::fdb(one, site.index(&one.dev)?));
        batch.push(message, NLM_F_CREATE | NLM_F_APPEND, format!("add FDB entry {one}"));
    }
    for one in ns.routes.iter().filter(|one| missing.contains(&facts::route_fact(one)) && !ns.is_daemons(one)) {
        let dev = one.dev.as_deref().map(|dev| site.index(dev)).transpose()?;
        let other = live.routes.iter().find(|other| same_key(one, other));
        let flags = match other {
            Some(other) if leads_to_itself(one) => {
                let dev = live.links.iter().find(|link| Some(&link.name) == other.dev.as_ref()).map(|link| link.index);
                let message = Message::DelRoute(messages::route(other, dev));
                batch.push_tolerant(message, 0, format!("remove route {other}"), GONE);
                CREATE
            }
            // Without a gap, where there is another way to the same destination.
            Some(_) => NLM_F_CREATE | NLM_F_REPLACE,
            None => CREATE,
        };
        batch.push(Message::NewRoute(messages::route(one, dev)), flags, format!("add route {one}"));
    }
    for one in ns.policy.iter().filter(|one| missing.contains(&facts::policy_fact(one))) {
        batch.push(Message::NewRule(messages::policy(one)), CREATE, format!("add policy rule {one}"));
    }
    Ok(())
}

/// Whether the next hop of an IPv6 route is in its own destination, as that of a VXLAN's peer is. The kernel looks up the
/// way to such a gateway also if it is `onlink`, and takes the route for a wrong one while another leads there.
fn leads_to_itself(route: &Route) -> bool {
    route.via.is_some_and(|via| via.is_ipv6() && route.dst.contains(&via))
}

/// Whether the kernel takes two routes for versions of one.
fn same_key(one: &Route, other: &Route) -> bool {
    one.dst == other.dst && one.table == other.table && one.metric == other.metric
}

/// Makes a link that is there what the plan says.
fn push_altered(batch: &mut Batch, site: &Site<'_>, link: &Link, there: &LiveLink) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = there.index;
    for (flag, wanted, is) in
        [(LinkFlags::Up, link.up, there.up), (LinkFlags::Promisc, link.promiscuous, there.promiscuous)]
    {
        if wanted != is {
            message.header.change_mask |= flag;
            message.header.flags.set(flag, wanted);
        }
    }
    message.attributes.extend(link.mtu.filter(|mtu| *mtu != there.mtu).map(LinkAttribute::Mtu));
    let mac = link.mac.filter(|mac| Some(*mac) != there.mac);
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    if link.master != there.master {
        let master = link.master.as_deref().map(|master| site.index(master)).transpose()?;
        message.attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
    }
    batch.push(Message::SetLink(message), 0, format!("set up link {}", link.name));
    if link.master.is_some() && (link.hairpin != there.hairpin || link.master != there.master) {
        let message = Message::NewLink(devices::hairpin(there.index, link.hairpin));
        batch.push(message, 0, format!("set hairpin mode of {}", link.name));
    }
    Ok(())
}

/// Takes away what the plan before had and the plan now has not.
fn push_surplus(batch: &mut Batch, site: &Site<'_>, before: &Namespace, live: &Live) -> Result<()> {
    let after = facts::facts(site.namespace);
    let surplus: BTreeSet<String> = facts::facts(before).difference(&after).cloned().collect();
    if surplus.is_empty() {
        return Ok(());
    }
    let index = |name: &str| live.links.iter().find(|link| link.name == name).map(|link| link.index);
    for one in live.policy.iter().filter(|one| surplus.contains(&facts::policy_fact(one))) {
        batch.push_tolerant(Message::DelRule(messages::policy(one)), 0, format!("remove policy rule {one}"), GONE);
    }
    let replaced = |route: &Route| site.namespace.routes.iter().any(|one| same_key(one, route));
    let stays = |route: &Route| site.namespace.is_daemons(route) || replaced(route);
    for one in live.routes.iter().filter(|one| surplus.contains(&facts::route_fact(one)) && !stays(one)) {
        let message = Message::DelRoute(messages::route(one, one.dev.as_deref().and_then(index)));
        batch.push_tolerant(message, 0, format!("remove route {one}"), GONE);
    }
    for one in live.fdb.iter().filter(|one| surplus.contains(&facts::fdb_fact(one))) {
        let Some(dev) = index(&one.dev) else { continue };
        batch.push_tolerant(Message::DelNeighbour(messages::fdb(one, dev)), 0, format!("remove FDB entry {one}"), GONE);
    }
    let still_there = |address| site.namespace.neighbours.iter().any(|other| other.address == address);
    for one in live.neighbours.iter().filter(|one| surplus.contains(&facts::neighbour_fact(one))) {
        let Some(dev) = index(&one.dev).filter(|_| !still_there(one.address)) else { continue };
        let message = Message::DelNeighbour(messages::neighbour(one, dev));
        batch.push_tolerant(message, 0, format!("remove neighbour {one}"), GONE);
    }
    for link in &live.links {
        for one in link.addresses.iter().filter(|one| surplus.contains(&facts::address_fact(&link.name, one))) {
            let message = Message::DelAddress(messages::address(one, link.index));
            batch.push_tolerant(message, 0, format!("remove address {} of {}", one.net, link.name), GONE);
        }
        let planned = site.namespace.link(&link.name).and_then(|link| link.qdisc.as_ref());
        if let Some(one) = &link.qdisc
            && planned.is_none()
            && surplus.contains(&facts::qdisc_fact(&link.name, one))
        {
            let message = Message::DelQueueDiscipline(qdisc::none(link.index));
            batch.push_tolerant(message, 0, format!("remove the queueing discipline of {}", link.name), GONE);
        }
    }
    Ok(())
}
