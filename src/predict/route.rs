//! A namespace's routing: longest prefix match, connected and local routes, of both families.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{settings, source};
use crate::plan::{Link, LinkKind, Namespace, PolicyRule, Route, RouteKind, RouteTable};

/// Priority of the kernel's own rule for `main`.
const MAIN_PRIORITY: u32 = 32766;
/// Metrics that IPv6's routes have where nobody says one: an address's own prefix, and others (`IP6_RT_PRIO_ADDRCONF`,
/// `IP6_RT_PRIO_USER`).
const METRIC_V6: (u32, u32) = (256, 1024);

/// What routing says about a destination.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// It is an address of this namespace.
    Local,
    /// It goes out of a link.
    Via(Path<'a>),
    /// A blackhole route takes it.
    Blackhole(IpNet),
    /// No route.
    Unreachable,
}

/// The way to a next hop.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// Outgoing link.
    pub link: &'a Link,
    /// Next hop; none if the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Source address of packets that have none yet.
    pub source: Option<IpAddr>,
}

struct Entry<'a> {
    /// What the plan says; none for the kernel's own route of an address.
    route: Option<&'a Route>,
    net: IpNet,
    metric: u32,
    decision: Decision<'a>,
}

/// Looks `dst` up in the namespace's local table, those of policy rules for `src`, and main. A source that is not
/// chosen yet is none, or unspecified.
pub fn lookup(ns: &Namespace, dst: IpAddr, src: Option<IpAddr>) -> Decision<'_> {
    if is_local(ns, dst) {
        return Decision::Local;
    }
    found(ns, dst, src).map_or(Decision::Unreachable, |entry| entry.decision)
}

/// The route by which [`lookup`] decides, as `ip route` prints it.
pub fn named(ns: &Namespace, dst: IpAddr, src: Option<IpAddr>) -> String {
    if is_local(ns, dst) {
        return format!("local {dst}");
    }
    let Some(Entry { route, net, decision, .. }) = found(ns, dst, src) else { return format!("no route to {dst}") };
    match (route, decision) {
        (Some(route), _) => route.to_string(),
        (None, Decision::Via(Path { link, .. })) if net.addr().is_ipv6() => {
            format!("{net} dev {} proto kernel metric {}", link.name, METRIC_V6.0)
        }
        (None, Decision::Via(Path { link, source: Some(own), .. })) => {
            format!("{net} dev {} proto kernel scope link src {own}", link.name)
        }
        (None, _) => net.to_string(),
    }
}

fn found(ns: &Namespace, dst: IpAddr, src: Option<IpAddr>) -> Option<Entry<'_>> {
    tables(ns, dst, src).into_iter().find_map(|table| best(ns, dst, table))
}

/// The tables that are asked for packets from `src` of the family of `dst`, in order of their rules' priorities.
fn tables(ns: &Namespace, dst: IpAddr, src: Option<IpAddr>) -> Vec<RouteTable> {
    // A source that is not chosen is looked up as the family's unspecified address, which only a rule for all holds.
    let holds = |rule: &&PolicyRule| match src {
        Some(src) => rule.from.contains(&src),
        None => rule.from.addr().is_ipv6() == dst.is_ipv6() && rule.from.prefix_len() == 0,
    };
    let mut rules: Vec<(u32, RouteTable)> =
        ns.policy.iter().filter(holds).map(|rule| (rule.priority, rule.table)).collect();
    rules.push((MAIN_PRIORITY, RouteTable::MAIN));
    rules.sort_by_key(|(priority, _)| *priority);
    rules.into_iter().map(|(_, table)| table).collect()
}

fn best(ns: &Namespace, dst: IpAddr, table: RouteTable) -> Option<Entry<'_>> {
    let connected = connected(ns, dst).filter(|_| table == RouteTable::MAIN);
    // Of equal prefixes the lowest metric wins; min_by_key gives the first of equals, as the kernel does.
    let matching = routes(ns, dst, table).chain(connected);
    matching.min_by_key(|entry| (u8::MAX - entry.net.prefix_len(), entry.metric))
}

/// Whether `address` is one of the namespace's own (the `local` table).
pub fn is_local(ns: &Namespace, address: IpAddr) -> bool {
    ns.links.iter().any(|link| is_local_on(ns, link, address))
}

/// Whether `address` is local and assigned to this link.
pub fn is_local_on(ns: &Namespace, link: &Link, address: IpAddr) -> bool {
    let planned = || {
        link.addresses
            .iter()
            .any(|own| own.net.addr() == address || (link.kind == LinkKind::Loopback && own.net.contains(&address)))
    };
    let by_kernel = || match address {
        // `lo` has it as soon as it is up, without anybody's doing.
        IpAddr::V4(address) => link.kind == LinkKind::Loopback && address.is_loopback(),
        IpAddr::V6(address) => settings::own_v6(ns, link) == Some(address),
    };
    // The addresses of a device that was never up are local, too (`fib_add_ifaddr`): that is what a dummy is for.
    (link.up && (planned() || by_kernel())) || (link.kind == LinkKind::Dummy && planned())
}

/// The kernel's own routes for `dst`, of the links' prefixes.
fn connected(ns: &Namespace, dst: IpAddr) -> impl Iterator<Item = Entry<'_>> {
    ns.links.iter().filter(|link| link.up).flat_map(move |link| {
        let nets = link.addresses.iter().map(|address| address.net);
        nets.filter(move |net| net.prefix_len() < net.max_prefix_len() && net.contains(&dst)).map(move |net| {
            let is_v6 = dst.is_ipv6();
            let source = if is_v6 { source::v6(ns, link, dst) } else { Some(net.addr()) };
            let metric = if is_v6 { METRIC_V6.0 } else { 0 };
            Entry {
                route: None,
                net: net.trunc(),
                metric,
                decision: Decision::Via(Path { link, gateway: None, source }),
            }
        })
    })
}

/// The routes of a table for `dst`. What each would do is found out only for these: a node has as many links as routes.
fn routes(ns: &Namespace, dst: IpAddr, table: RouteTable) -> impl Iterator<Item = Entry<'_>> {
    let matching = ns.routes.iter().filter(move |route| route.table == table && route.dst.contains(&dst));
    matching.filter_map(move |route| {
        let decision = match (route.kind, &route.dev) {
            (RouteKind::Blackhole, _) => Decision::Blackhole(route.dst),
            (RouteKind::Unicast, dev) => {
                let gateway = route.via;
                let link = match dev {
                    Some(name) => ns.link(name)?,
                    None => link_towards(ns, gateway?)?,
                };
                let source = route.src.or_else(|| source::choose(ns, link, dst, gateway, route.scope));
                // A link that is down takes its routes with it.
                link.up.then_some(Decision::Via(Path { link, gateway, source }))?
            }
        };
        let metric = if dst.is_ipv6() && route.metric == 0 { METRIC_V6.1 } else { route.metric };
        Some(Entry { route: Some(route), net: route.dst, metric, decision })
    })
}

fn link_towards(ns: &Namespace, gateway: IpAddr) -> Option<&Link> {
    connected(ns, gateway).find_map(|entry| match entry.decision {
        Decision::Via(path) => Some(path.link),
        _ => None,
    })
}
