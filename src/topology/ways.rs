//! The routes of the underlay's routers, and whether every segment is reached.
//!
//! Where a file has `routers`, each has the routes of its own segments by itself, the static ones that the file gives it,
//! and for every other segment the one that a routing protocol would find: the fewest routers on the way, the first in
//! the file of several as near. A static route that covers a segment stands in place of that.

use std::net::IpAddr;

use ipnet::IpNet;

use super::cluster_file::{ClusterSpec, RouteEntry};
use super::complaint::{Checked, Complaint};
use super::routers::{RouterEntry, subnets};
use super::source::Span;
use super::underlay::{self, Hosts};
use super::{Router, RouterPort, Segment, StaticRoute};

/// Gives the routers their routes, when all hosts are known, and follows every way from router to router.
pub(super) fn give_routes(
    spec: &ClusterSpec,
    segments: &[Segment],
    routers: &mut [Router],
    hosts: &Hosts,
) -> Checked<()> {
    let Some(entries) = &spec.routers else { return Ok(()) };
    for (entry, router) in entries.iter().zip(routers.iter_mut()) {
        for written in &entry.routes {
            let route = static_route(written, router, hosts, &entry.routes)?;
            router.routes.push(route);
        }
    }
    let found: Vec<Vec<StaticRoute>> = found_routes(segments, routers);
    for (router, found) in routers.iter_mut().zip(found) {
        router.routes.extend(found);
    }
    Ways { spec, entries, segments, routers }.check()
}

/// A static route, checked by itself.
fn static_route(written: &RouteEntry, router: &Router, hosts: &Hosts, all: &[RouteEntry]) -> Checked<StaticRoute> {
    let route = underlay::route(written)?;
    if let Some(first) = router.routes.iter().position(|other| other.to == route.to) {
        return Err(Complaint::at(written.to.span, format!("the route to {} is given twice", route.to))
            .and(Some(all[first].to.span), "first given here")
            .hint("keep one of them"));
    }
    let is_own = |port: &&RouterPort| port.addresses.iter().any(|net| net.trunc() == route.to);
    if let Some(port) = router.ports.iter().find(is_own) {
        let message =
            format!("router `{}` is itself on segment `{}`, which is {}", router.name, port.segment, route.to);
        return Err(
            Complaint::at(written.to.span, message).hint("leave the route out: its own segments it reaches by itself")
        );
    }
    let via = route.via;
    if router.port_to(via).is_none() || router.has(via) || !hosts.is_somebodys(route.via) {
        let message = format!("the next hop {via} is no other host on a segment of router `{}`", router.name);
        return Err(Complaint::at(written.via.span, message)
            .hint("a next hop is the address of a router, node or client on one of the router's segments"));
    }
    Ok(route)
}

/// For each router a route to every segment that it is not on and for which it has no static one: to the neighbour from
/// which the fewest routers are on the way.
fn found_routes(segments: &[Segment], routers: &[Router]) -> Vec<Vec<StaticRoute>> {
    let mut found: Vec<Vec<StaticRoute>> = vec![Vec::new(); routers.len()];
    for segment in segments {
        let distances = distances(segment, routers);
        for ((router, distance), routes) in routers.iter().zip(&distances).zip(&mut found) {
            let Some(distance) = distance.filter(|distance| *distance > 0) else { continue };
            let nearer = |port: &&RouterPort| {
                let neighbours = routers.iter().zip(&distances);
                neighbours
                    .filter(|(_, other)| **other == Some(distance - 1))
                    .find_map(|(other, _)| other.port_on(&port.segment))
            };
            let Some(next) = router.ports.iter().find_map(|port| nearer(&port)) else { continue };
            for to in subnets(segment).filter(|to| !router.routes.iter().any(|route| route.to.contains(to))) {
                let family = |net: &&IpNet| net.addr().is_ipv4() == to.addr().is_ipv4();
                let via = next.addresses.iter().find(family).map(IpNet::addr);
                routes.extend(via.map(|via| StaticRoute { to, via }));
            }
        }
    }
    found
}

/// How many other routers are between each router and a segment; none if there is no way.
fn distances(segment: &Segment, routers: &[Router]) -> Vec<Option<u32>> {
    let mut distances: Vec<Option<u32>> =
        routers.iter().map(|router| router.port_on(&segment.name).map(|_| 0)).collect();
    let mut reached: Vec<usize> = (0..routers.len()).filter(|index| distances[*index].is_some()).collect();
    let mut at = 0;
    while let Some(&near) = reached.get(at) {
        at += 1;
        let next = distances[near].map(|distance| distance + 1);
        for (index, router) in routers.iter().enumerate() {
            let neighbours = router.ports.iter().any(|port| routers[near].port_on(&port.segment).is_some());
            if neighbours && distances[index].is_none() {
                distances[index] = next;
                reached.push(index);
            }
        }
    }
    distances
}

/// What is followed from router to router.
struct Ways<'a> {
    spec: &'a ClusterSpec,
    entries: &'a [RouterEntry],
    segments: &'a [Segment],
    routers: &'a [Router],
}

impl Ways<'_> {
    /// Whether every router reaches every address of every segment.
    fn check(&self) -> Checked<()> {
        for (number, segment) in self.segments.iter().enumerate() {
            for to in subnets(segment).flat_map(|net| self.samples(net)) {
                for start in 0..self.routers.len() {
                    self.follow(start, number, to)?;
                }
            }
        }
        Ok(())
    }

    /// Addresses of a segment such that any other is treated as one of them: its first one, the ends of every static
    /// route to a part of it, and what is next to those.
    fn samples(&self, net: IpNet) -> Vec<IpAddr> {
        let parts = self.routers.iter().flat_map(|router| &router.routes).map(|route| route.to);
        let parts = parts.filter(|part| net.contains(part) && *part != net);
        let mut all = vec![net.network()];
        for part in parts {
            all.extend([part.network(), part.broadcast()]);
            all.extend([before(part.network()), after(part.broadcast())].into_iter().flatten());
        }
        all.retain(|address| net.contains(address));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn follow(&self, start: usize, segment: usize, to: IpAddr) -> Checked<()> {
        let name = &self.segments[segment].name;
        let mut passed: Vec<(usize, usize)> = Vec::new();
        let mut at = start;
        loop {
            let router = &self.routers[at];
            let Some((_, route)) = router.looked_up(to) else { return Err(self.no_way(at, segment)) };
            let Some(route) = route else { return Ok(()) };
            passed.push((at, route));
            let via = router.routes[route].via;
            let Some(next) = self.routers.iter().position(|other| other.has(via)) else {
                let message = format!("packets to segment `{name}` would go to {via}, which is no router");
                return Err(Complaint::at(self.place(&[(at, route)], segment), message)
                    .hint("let the route go to another router, or leave it out: ways between segments are found"));
            };
            if let Some(first) = passed.iter().position(|(index, _)| *index == next) {
                return Err(self.circle(&passed[first..], segment, to));
            }
            at = next;
        }
    }

    fn circle(&self, passed: &[(usize, usize)], segment: usize, to: IpAddr) -> Box<Complaint> {
        let mut names: Vec<&str> = passed.iter().map(|(index, _)| self.routers[*index].name.as_str()).collect();
        names.extend(names.first().copied());
        let name = &self.segments[segment].name;
        let message = format!("packets to {to} of segment `{name}` would go round in a circle: {}", names.join(" > "));
        Complaint::at(self.place(passed, segment), message)
            .hint("leave the static route out: ways between segments are found, and those have no circles")
    }

    /// Where the first static one of these routes is written.
    fn place(&self, passed: &[(usize, usize)], segment: usize) -> Span {
        let written = |(router, route): &(usize, usize)| self.entries.get(*router)?.routes.get(*route);
        let place = passed.iter().find_map(written).map(|route| route.via.span);
        place.unwrap_or(self.spec.segments[segment].name.span)
    }

    fn no_way(&self, router: usize, segment: usize) -> Box<Complaint> {
        let (router, name) = (&self.routers[router], &self.segments[segment].name);
        let from = router.ports.first().map_or("", |port| port.segment.as_str());
        let other = self.spec.segments.iter().find(|entry| *entry.name == *from).map(|entry| entry.name.span);
        Complaint::at(
            self.spec.segments[segment].name.span,
            format!("no router leads from segment `{from}` to segment `{name}`"),
        )
        .and(other, "from here")
        .hint("let one router have an interface on both, or two routers meet on a segment between them")
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|number| IpAddr::V6(number.into())),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|number| IpAddr::V6(number.into())),
    }
}
