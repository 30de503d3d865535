//! Routers of the underlay: where they stand.
//!
//! Without `routers` in the file one router stands on all segments. Which ways they know: [`super::ways`].

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_file::{ClusterSpec, RouteEntry, SegmentEntry};
use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::line::LinkEntry;
use super::rules;
use super::underlay::{self, Hosts, Nic};
use super::{Line, Segment, StaticRoute, dual_stack};
use crate::plan::{Family, Mac};

/// The router of a cluster whose file names none.
pub(super) const GATEWAY: &str = "gateway";

/// A router of the underlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Its NICs, at most one on a segment.
    pub ports: Vec<RouterPort>,
    /// Its routes to what is on none of its segments.
    pub routes: Vec<StaticRoute>,
}

/// A router's NIC on a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouterPort {
    /// Name of the segment.
    pub segment: String,
    /// Name of the NIC.
    pub nic: String,
    /// Its addresses with their prefix lengths, one of a family.
    pub addresses: Vec<IpNet>,
    /// The NIC's Ethernet address, if the file fixes it.
    pub mac: Option<Mac>,
    /// What its line to the switch does.
    pub line: Line,
    /// MTU in bytes of its NIC.
    pub mtu: u32,
}

/// A router as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouterEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Its NICs, at most one on a segment.
    pub(super) interfaces: Spanned<Vec<InterfaceEntry>>,
    /// Static routes; those of its own segments it has by itself, and ways to others are found where no static route
    /// covers them.
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}

/// A router's NIC.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InterfaceEntry {
    /// The segment that it is on.
    pub(super) segment: Spanned<String>,
    /// Its address there.
    pub(super) address: Spanned<String>,
    /// Name of the NIC; `eth0` for the first, and so on, if not given.
    pub(super) nic: Option<Spanned<String>>,
    /// Ethernet address of the NIC; made from its name if not given.
    pub(super) mac: Option<Spanned<String>>,
    /// What its line to the switch does, where it differs from the segment's.
    pub(super) link: Option<LinkEntry>,
}

impl Router {
    /// The NIC by which it sends to `to`, and the next hop, none if `to` is on the NIC's segment; none without a way.
    pub fn way(&self, to: IpAddr) -> Option<(&RouterPort, Option<IpAddr>)> {
        self.looked_up(to).map(|(port, route)| (port, route.map(|number| self.routes[number].via)))
    }

    /// The same with the route's number: the longest prefix counts, that of a segment first.
    pub(super) fn looked_up(&self, to: IpAddr) -> Option<(&RouterPort, Option<usize>)> {
        let covers = |net: IpNet| net.contains(&to);
        let own = self.ports.iter().filter_map(|port| {
            let net = port.addresses.iter().find(|net| covers(net.trunc()))?;
            Some((net.prefix_len(), port, None))
        });
        let further = self.routes.iter().enumerate().filter_map(|(number, route)| {
            let port = self.port_to(route.via).filter(|_| covers(route.to))?;
            Some((route.to.prefix_len(), port, Some(number)))
        });
        // Of equal lengths the last one counts.
        let longest = further.chain(own).max_by_key(|(length, ..)| *length);
        longest.map(|(_, port, route)| (port, route))
    }

    /// The NIC on whose segment an address is.
    pub(super) fn port_to(&self, neighbour: IpAddr) -> Option<&RouterPort> {
        self.ports.iter().find(|port| port.addresses.iter().any(|net| net.trunc().contains(&neighbour)))
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.ports.iter().flat_map(|port| &port.addresses).any(|net| net.addr() == address)
    }

    pub(super) fn port_on(&self, segment: &str) -> Option<&RouterPort> {
        self.ports.iter().find(|port| port.segment == segment)
    }

    /// What `minik link` calls a port's line, for each port.
    pub fn lines(&self) -> impl Iterator<Item = (String, &RouterPort)> {
        self.ports.iter().map(|port| (line_name(&self.name, &port.segment), port))
    }

    pub(super) fn lines_mut(&mut self) -> impl Iterator<Item = (String, &mut RouterPort)> {
        let name = &self.name;
        self.ports.iter_mut().map(move |port| (line_name(name, &port.segment), port))
    }
}

fn line_name(router: &str, segment: &str) -> String {
    format!("{router}/{segment}")
}

/// What `minik link` calls the lines of all routers.
pub(super) fn line_names(spec: &ClusterSpec) -> Vec<String> {
    match &spec.routers {
        None => spec.segments.iter().map(|segment| line_name(GATEWAY, &segment.name)).collect(),
        Some(routers) => {
            let of = |router: &RouterEntry| {
                let name = router.name.value.clone();
                router.interfaces.value.iter().map(move |port| line_name(&name, &port.segment)).collect::<Vec<_>>()
            };
            routers.iter().flat_map(of).collect()
        }
    }
}

/// The prefixes of a segment.
pub(super) fn subnets(segment: &Segment) -> impl Iterator<Item = IpNet> {
    Family::BOTH.into_iter().filter_map(|family| segment.subnet_in(family))
}

/// The routers of a Cluster document, without their routes. A segment whose file names no router gets the first that
/// stands on it.
pub(super) fn resolve(spec: &ClusterSpec, segments: &mut [Segment], hosts: &mut Hosts) -> Checked<Vec<Router>> {
    let Some(entries) = &spec.routers else { return Ok(vec![alone(segments)]) };
    let routers: Vec<Router> =
        entries.iter().map(|entry| router(entry, segments, hosts)).collect::<Checked<Vec<_>>>()?;
    for (segment, entry) in segments.iter_mut().zip(spec.segments.iter()) {
        choose_gateway(segment, entry, &routers)?;
    }
    Ok(routers)
}

/// Gives a segment the first of its routers, or checks that the one which the file names stands on it.
fn choose_gateway(segment: &mut Segment, entry: &SegmentEntry, routers: &[Router]) -> Checked<()> {
    let ports: Vec<&RouterPort> = routers.iter().filter_map(|router| router.port_on(&segment.name)).collect();
    let addresses: Vec<IpAddr> = ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr).collect();
    if ports.is_empty() {
        return Err(Complaint::at(entry.name.span, format!("no router stands on segment `{}`", segment.name))
            .hint(format!("give one of the `routers` an interface there: {{segment: {}, address: …}}", segment.name)));
    }
    let first = |family: Family| addresses.iter().copied().find(|address| Family::of(address) == family);
    let (place, written) = match &entry.router {
        Some(text) => (text.span, Some(dual_stack::addresses(text)?)),
        None => (entry.name.span, None),
    };
    let (four, six) = written.unzip();
    for (family, written) in [(Family::Inet, four.map(IpAddr::from)), (Family::Inet6, six.flatten().map(IpAddr::from))]
    {
        let chosen = match (written.or(first(family)), segment.subnet_in(family)) {
            (_, None) => None,
            (Some(chosen), Some(_)) if addresses.contains(&chosen) => Some(chosen),
            (Some(chosen), Some(_)) => {
                let known: Vec<String> = addresses.iter().map(|address| format!("`{address}`")).collect();
                let message = format!("no router has the address {chosen} on segment `{}`", segment.name);
                return Err(Complaint::at(place, message).hint(format!(
                    "the hosts' default gateway is one of the segment's routers: {}",
                    known.join(", ")
                )));
            }
            (None, Some(subnet)) => {
                let message = format!("no router has an address of {subnet} on segment `{}`", segment.name);
                return Err(Complaint::at(place, message).hint(
                    "give one of its routers' interfaces there such an address: `address: 10.1.10.2,fd00:10:1:10::2`",
                ));
            }
        };
        match chosen {
            Some(IpAddr::V4(chosen)) => segment.router = chosen,
            Some(IpAddr::V6(chosen)) => segment.router6 = Some(chosen),
            None => {}
        }
    }
    Ok(())
}

/// The one router of all segments. What is said of a segment's lines happens between its hosts' NICs and the switch, so
/// that its own lines do nothing.
fn alone(segments: &[Segment]) -> Router {
    let port = |(number, segment): (usize, &Segment)| RouterPort {
        segment: segment.name.clone(),
        nic: format!("eth{number}"),
        addresses: Family::BOTH
            .into_iter()
            .filter_map(|family| IpNet::new(segment.router_in(family)?, segment.subnet_in(family)?.prefix_len()).ok())
            .collect(),
        mac: None,
        line: Line::default(),
        mtu: segment.mtu,
    };
    Router { name: GATEWAY.to_owned(), ports: segments.iter().enumerate().map(port).collect(), routes: Vec::new() }
}

fn router(entry: &RouterEntry, segments: &[Segment], hosts: &mut Hosts) -> Checked<Router> {
    let name = hosts.name("a router", &entry.name)?;
    let mut ports: Vec<RouterPort> = Vec::new();
    for (number, written) in entry.interfaces.iter().enumerate() {
        if let Some(first) = ports.iter().position(|port| port.segment == *written.segment) {
            let message = format!("router `{name}` has two interfaces on segment {}", quote(&written.segment));
            return Err(Complaint::at(written.segment.span, message)
                .and(Some(entry.interfaces[first].segment.span), "the first is here")
                .hint("a router has one interface on a segment: remove one, or name another segment"));
        }
        let what = Nic {
            what: "router",
            name: &entry.name,
            address: &written.address,
            segment: Some(&written.segment),
            mac: written.mac.as_ref(),
            link: written.link.as_ref(),
        };
        let attached = underlay::attach(&what, segments, hosts)?;
        let nic = match &written.nic {
            None => format!("eth{number}"),
            given => rules::nic_name(given.as_ref())?,
        };
        if ports.iter().any(|port| port.nic == nic) {
            let place = written.nic.as_ref().map_or(written.segment.span, |nic| nic.span);
            return Err(Complaint::at(place, format!("router `{name}` has two NICs of the name `{nic}`"))
                .hint("leave `nic` out, and they are called eth0, eth1, …"));
        }
        let addresses = attached.addresses(segments);
        ports.push(RouterPort {
            segment: attached.segment,
            nic,
            addresses,
            mac: attached.mac,
            line: attached.line,
            mtu: attached.mtu,
        });
    }
    if ports.is_empty() {
        return Err(Complaint::at(entry.interfaces.span, format!("router `{name}` is on no segment"))
            .hint("give it interfaces: `- {segment: lan, address: 10.1.10.2}`"));
    }
    Ok(Router { name, ports, routes: Vec::new() })
}
