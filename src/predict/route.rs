//! A namespace's routing: longest prefix match, connected and local routes, and the choice of a source address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::plan::{Link, Namespace, PolicyRule, Route, RouteKind, RouteTable, Scope};

/// Priority of the kernel's own rule for `main`.
const MAIN_PRIORITY: u32 = 32766;

/// What routing says about a destination.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// It is an address of this namespace.
    Local,
    /// It goes out of a link.
    Via(Path<'a>),
    /// A blackhole route takes it.
    Blackhole(Ipv4Net),
    /// No route.
    Unreachable,
}

/// The way to a next hop.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// Outgoing link.
    pub link: &'a Link,
    /// Next hop; none if the destination itself is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Source address of packets that have none yet.
    pub source: Option<Ipv4Addr>,
}

struct Entry<'a> {
    /// What the plan says; none for the kernel's own route of an address.
    route: Option<&'a Route>,
    net: Ipv4Net,
    metric: u32,
    decision: Decision<'a>,
}

/// Looks `dst` up in the namespace's local table, those of policy rules for `src`, and main. A source that is not
/// chosen yet is none, or unspecified.
pub fn lookup(ns: &Namespace, dst: Ipv4Addr, src: Option<Ipv4Addr>) -> Decision<'_> {
    if is_local(ns, dst) {
        return Decision::Local;
    }
    found(ns, dst, src).map_or(Decision::Unreachable, |entry| entry.decision)
}

/// The route by which [`lookup`] decides, as `ip route` prints it.
pub fn named(ns: &Namespace, dst: Ipv4Addr, src: Option<Ipv4Addr>) -> String {
    if is_local(ns, dst) {
        return format!("local {dst}");
    }
    let Some(Entry { route, net, decision, .. }) = found(ns, dst, src) else { return format!("no route to {dst}") };
    match (route, decision) {
        (Some(route), _) => route.to_string(),
        (None, Decision::Via(Path { link, source: Some(own), .. })) => {
            format!("{net} dev {} proto kernel scope link src {own}", link.name)
        }
        (None, _) => net.to_string(),
    }
}

fn found(ns: &Namespace, dst: Ipv4Addr, src: Option<Ipv4Addr>) -> Option<Entry<'_>> {
    let tables = tables(ns, src.unwrap_or(Ipv4Addr::UNSPECIFIED));
    tables.into_iter().find_map(|table| best(ns, dst, table))
}

/// The tables that are asked for packets from `src`, in order of their rules' priorities.
fn tables(ns: &Namespace, src: Ipv4Addr) -> Vec<RouteTable> {
    let holds = |rule: &&PolicyRule| matches!(rule.from, IpNet::V4(net) if net.contains(&src));
    let mut rules: Vec<(u32, RouteTable)> =
        ns.policy.iter().filter(holds).map(|rule| (rule.priority, rule.table)).collect();
    rules.push((MAIN_PRIORITY, RouteTable::MAIN));
    rules.sort_by_key(|(priority, _)| *priority);
    rules.into_iter().map(|(_, table)| table).collect()
}

fn best(ns: &Namespace, dst: Ipv4Addr, table: RouteTable) -> Option<Entry<'_>> {
    let connected = connected(ns).filter(|entry| table == RouteTable::MAIN && entry.net.contains(&dst));
    // Of equal prefixes the lowest metric wins; min_by_key gives the first of equals, as the kernel does.
    let matching = routes(ns, dst, table).chain(connected);
    matching.min_by_key(|entry| (u8::MAX - entry.net.prefix_len(), entry.metric))
}

/// Whether `address` is one of the namespace's own (the `local` table).
pub fn is_local(ns: &Namespace, address: Ipv4Addr) -> bool {
    ns.links.iter().any(|link| is_local_on(link, address))
}

/// Whether `address` is local and assigned to this link.
pub fn is_local_on(link: &Link, address: Ipv4Addr) -> bool {
    link.up
        && ipv4(link).any(|(net, _)| {
            net.addr() == address || (link.kind == crate::plan::LinkKind::Loopback && net.contains(&address))
        })
}

fn ipv4(link: &Link) -> impl Iterator<Item = (Ipv4Net, Scope)> {
    link.addresses.iter().filter_map(|address| match address.net {
        IpNet::V4(net) => Some((net, address.scope)),
        IpNet::V6(_) => None,
    })
}

fn connected(ns: &Namespace) -> impl Iterator<Item = Entry<'_>> {
    ns.links.iter().filter(|link| link.up).flat_map(|link| {
        ipv4(link).filter(|(net, _)| net.prefix_len() < 32).map(move |(net, _)| Entry {
            route: None,
            net: net.trunc(),
            metric: 0,
            decision: Decision::Via(Path { link, gateway: None, source: Some(net.addr()) }),
        })
    })
}

/// The routes of a table for `dst`. What each would do is found out only for these: a node has as many links as routes.
fn routes(ns: &Namespace, dst: Ipv4Addr, table: RouteTable) -> impl Iterator<Item = Entry<'_>> {
    ns.routes.iter().filter(move |route| route.table == table).filter_map(move |route| {
        let IpNet::V4(net) = route.dst else { return None };
        if !net.contains(&dst) {
            return None;
        }
        let decision = match (route.kind, &route.dev) {
            (RouteKind::Blackhole, _) => Decision::Blackhole(net),
            (RouteKind::Unicast, dev) => {
                let gateway = route.via.and_then(as_ipv4);
                let link = match dev {
                    Some(name) => ns.link(name)?,
                    None => link_towards(ns, gateway?)?,
                };
                let source = route.src.and_then(as_ipv4).or_else(|| source(ns, link, gateway, route.scope));
                // A link that is down takes its routes with it.
                link.up.then_some(Decision::Via(Path { link, gateway, source }))?
            }
        };
        Some(Entry { route: Some(route), net, metric: route.metric, decision })
    })
}

fn link_towards(ns: &Namespace, gateway: Ipv4Addr) -> Option<&Link> {
    connected(ns).filter(|entry| entry.net.contains(&gateway)).find_map(|entry| match entry.decision {
        Decision::Via(path) => Some(path.link),
        _ => None,
    })
}

fn as_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The address that the kernel gives to packets out of `link` (`inet_select_addr`): one of the link's own, first
/// of all in the gateway's prefix; else the first of any link's, in the order in which the links were made.
pub fn source(ns: &Namespace, link: &Link, gateway: Option<Ipv4Addr>, scope: Scope) -> Option<Ipv4Addr> {
    let usable = |of: Scope| of.number() <= scope.number();
    let own = || ipv4(link).filter(move |(_, of)| usable(*of));
    let near = gateway.and_then(|gateway| own().find(|(net, _)| net.contains(&gateway)));
    let elsewhere = || {
        let links = ns.links.iter().filter(|other| other.up);
        links.flat_map(ipv4).find(|(_, of)| *of != Scope::Link && usable(*of))
    };
    near.or_else(|| own().next()).or_else(elsewhere).map(|(net, _)| net.addr())
}
