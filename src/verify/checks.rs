//! Which checks a plan gives rise to, each with the journey that the plan predicts. PURE.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::flows::flow;
use crate::error::Result;
use crate::packet::build::{self, Probe};
use crate::packet::{Icmp, Mark, Packet, Transport};
use crate::plan::netfilter::Family;
use crate::plan::{Link, LinkKind, Namespace, Plan, Role};
use crate::predict::{self, End, Journey, Origin, Purpose, Reason};

/// Nodes up to which every ordered pair of them is checked; above, each node and the next one.
const NODES_ALL_PAIRS: usize = 6;
/// Links of one way, each narrower than the one before, that are looked for.
const NARROWER_MAX: usize = 8;
/// Places where a broadcast may be seen, for one from each pod; beyond, one from each node.
const FLOOD_MAX: usize = 64;

/// One check: what is sent, and what must be seen.
#[derive(Debug, Clone)]
pub struct Check {
    /// What it is about and how: `pod-to-pod-cross-node/icmp`.
    pub name: String,
    /// The sender's name inside the cluster.
    pub from: String,
    /// The receiver's name inside the cluster.
    pub to: String,
    /// `arp`, `icmp`, `udp` or `tcp`; in IPv6 `nd`, `icmp6`, `udp6` or `tcp6`.
    pub protocol: &'static str,
    /// By what its packets are known.
    pub mark: Mark,
    /// What is done.
    pub act: Act,
    /// What must be seen; without legs nothing at all.
    pub expected: Journey,
}

/// What a check does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Puts frames on an interface.
    Wire {
        /// The interface.
        interface: String,
        /// The frames in order.
        frames: Vec<Vec<u8>>,
        /// The packet in them; none where it is asked who has an address.
        probe: Option<Probe>,
    },
    /// Sends a packet through the sender's IP stack.
    Stack {
        /// The packet.
        packet: Vec<u8>,
        /// Its description.
        probe: Probe,
    },
    /// Asks the sender's own kernel to send with DF what is longer than its MTU: it must refuse.
    Refused {
        /// Where to.
        dst: IpAddr,
        /// Length of the IP packet in bytes.
        length: u16,
        /// The MTU that the kernel must tell, in bytes.
        mtu: u32,
    },
    /// Nothing: what came of it would depend on more than the plan.
    Unasked {
        /// On what.
        reason: &'static str,
    },
}

/// The checks of a plan. `seed` tells the packets of this run from those of others.
///
/// # Errors
/// If the plan names what it does not have, or makes a packet do what [`predict`] has no model of.
pub fn checks(plan: &Plan, seed: u16) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for family in Family::BOTH {
        let mut list = List { plan, seed, family, checks, flooded: BTreeSet::new() };
        list.of_family()?;
        checks = list.checks;
    }
    Ok(checks)
}

fn pods_on<'a>(plan: &'a Plan, node: &Namespace) -> Vec<&'a Namespace> {
    plan.pods().filter(|pod| matches!(&pod.role, Role::Pod { node: on, .. } if *on == node.name)).collect()
}

fn first<'a>(pods: &[Vec<&'a Namespace>], node: usize) -> Option<&'a Namespace> {
    pods.get(node)?.first().copied()
}

fn node_pairs(count: usize) -> Vec<(usize, usize)> {
    if count > NODES_ALL_PAIRS {
        return (0..count).map(|a| (a, (a + 1) % count)).collect();
    }
    (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
}

pub(super) struct List<'a> {
    pub plan: &'a Plan,
    pub seed: u16,
    /// Whose addresses have their turn.
    pub family: Family,
    pub checks: Vec<Check>,
    /// Nodes with a pod whose broadcast is checked although many hear it.
    flooded: BTreeSet<&'a str>,
}

impl<'a> List<'a> {
    /// All checks in one family; none if nobody has an address of it.
    fn of_family(&mut self) -> Result<()> {
        let plan = self.plan;
        let pods: Vec<Vec<&Namespace>> = plan.nodes().map(|node| pods_on(plan, node)).collect();
        let nodes: Vec<&Namespace> = plan.nodes().collect();
        for pod in plan.pods() {
            self.who_has(pod)?;
        }
        for on_node in &pods {
            self.same_node(on_node)?;
            if let Some(pod) = on_node.first() {
                self.hairpin(pod)?;
            }
        }
        for (a, b) in node_pairs(nodes.len()) {
            let (Some(from), Some(to)) = (first(&pods, a), first(&pods, b)) else { continue };
            self.all_protocols("pod-to-pod-cross-node", from, to)?;
            self.largest(from, to)?;
        }
        self.pods_and_nodes(&nodes, &pods)?;
        for client in plan.namespaces.iter().filter(|ns| ns.role == Role::Client) {
            for pod in pods.iter().filter_map(|on_node| on_node.first()) {
                self.all_protocols("pod-to-client", pod, client)?;
                self.ping("client-to-pod/icmp", client, pod)?;
                self.udp_by_stack("client-to-pod/udp", client, pod)?;
                self.too_long_for_the_pod(client, pod)?;
            }
        }
        for (a, pod) in pods.iter().enumerate() {
            if let (Some(pod), Some(to)) =
                (pod.first(), first(&pods, (a + 1) % nodes.len()).filter(|_| nodes.len() > 1))
            {
                self.expiring(pod, to)?;
            }
        }
        Ok(())
    }

    pub(super) fn push(&mut self, name: &str, from: &Namespace, to: &str, act: Act, expected: Journey) -> Result<()> {
        let is_v6 = self.family == Family::Inet6;
        let protocol = match (&act, name.rsplit_once('/').map(|(_, last)| last), is_v6) {
            (Act::Wire { probe: None, .. }, _, false) => "arp",
            (Act::Wire { probe: None, .. }, _, true) => "nd",
            (_, Some("udp" | "too-long"), false) => "udp",
            (_, Some("udp" | "too-long"), true) => "udp6",
            (_, Some("tcp"), false) => "tcp",
            (_, Some("tcp"), true) => "tcp6",
            (_, _, false) => "icmp",
            (_, _, true) => "icmp6",
        };
        let mark = self.mark()?;
        // What is one check in both families is told apart by the protocol at its end.
        let name = match act {
            Act::Wire { probe: Some(_), .. } | Act::Stack { .. } | Act::Refused { .. } if is_v6 => format!("{name}6"),
            _ => name.to_owned(),
        };
        let (from, to) = (from.name.clone(), to.to_owned());
        self.checks.push(Check { name, from, to, protocol, mark, act, expected });
        Ok(())
    }

    /// The gateway and the link of a pod's default route.
    fn gateway<'n>(&self, pod: &'n Namespace) -> Option<(IpAddr, &'n Link)> {
        let is_default = |dst: IpAddr| Family::of(&dst) == self.family;
        let mut routes = pod.routes.iter().filter(|route| route.dst.prefix_len() == 0 && is_default(route.dst.addr()));
        let route = routes.next()?;
        Some((route.via?, pod.link(route.dev.as_deref()?)?))
    }

    /// The pod's gateway answers who asks for it: in Calico, 169.254.1.1 is ee:ee:ee:ee:ee:ee.
    fn who_has(&mut self, pod: &'a Namespace) -> Result<()> {
        let Some((gateway, link)) = self.gateway(pod) else { return Ok(()) };
        let (Some(mac), Some(own)) = (link.mac, pod.address_in(self.family)) else { return Ok(()) };
        let expected = predict::who_has(self.plan, &pod.name, &link.name, own, gateway)?;
        // A broadcast is seen by everybody on the segment; what all pods send is seen as often as there are pairs.
        if expected.hops().count() > FLOOD_MAX
            && let Role::Pod { node, .. } = &pod.role
            && !self.flooded.insert(node)
        {
            return Ok(());
        }
        let (frame, protocol) = match (own, gateway) {
            (IpAddr::V4(own), IpAddr::V4(gateway)) => (build::arp_request(mac, own, gateway, self.mark()?)?, "arp"),
            (IpAddr::V6(own), IpAddr::V6(gateway)) => {
                (build::neighbour_solicitation(mac, own, gateway, self.mark()?), "nd")
            }
            _ => return Ok(()),
        };
        let act = Act::Wire { interface: link.name.clone(), frames: vec![frame], probe: None };
        self.push(&format!("gateway-{gateway}/{protocol}"), pod, &gateway.to_string(), act, expected)
    }

    /// A ring: each pod sends to the next, so that each is sender and receiver once.
    fn same_node(&mut self, pods: &[&'a Namespace]) -> Result<()> {
        for (from, to) in pods.iter().zip(pods.iter().cycle().skip(1)).filter(|_| pods.len() > 1) {
            self.ping("pod-to-pod-same-node/icmp", from, to)?;
        }
        let [from, to, ..] = pods else { return Ok(()) };
        self.udp("pod-to-pod-same-node/udp", from, to)?;
        self.tcp("pod-to-pod-same-node/tcp", from, to)
    }

    /// A bridge port in hairpin mode gives a frame back to whom it came from: the way of a pod to itself by a service.
    /// The packet seems to come from the pod's gateway, as a masqueraded one does.
    fn hairpin(&mut self, pod: &'a Namespace) -> Result<()> {
        let behind = |link: &&Link| match &link.kind {
            LinkKind::Veth { peer_namespace, peer } => {
                let port = self.plan.namespace(peer_namespace).and_then(|ns| ns.link(peer));
                port.is_some_and(|port| port.hairpin && port.master.is_some())
            }
            _ => false,
        };
        let link = pod.links.iter().find(behind);
        let (Some(link), Some((src, _)), Some(dst)) = (link, self.gateway(pod), pod.address_in(self.family)) else {
            return Ok(());
        };
        let Some(mac) = link.mac else { return Ok(()) };
        let probe = Probe { src, ..self.default_ping(dst)? };
        let origin = Origin::Wire { interface: link.name.clone(), dst: mac };
        let expected = predict::predict(self.plan, &flow(pod, origin, probe, None)?)?;
        let frames = vec![build::ethernet(mac, mac, &build::ip(&probe)?)];
        let act = Act::Wire { interface: link.name.clone(), frames, probe: Some(probe) };
        self.push("hairpin/icmp", pod, &pod.name, act, expected)
    }

    fn all_protocols(&mut self, name: &str, from: &'a Namespace, to: &'a Namespace) -> Result<()> {
        self.ping(&format!("{name}/icmp"), from, to)?;
        self.udp(&format!("{name}/udp"), from, to)?;
        self.tcp(&format!("{name}/tcp"), from, to)
    }

    fn pods_and_nodes(&mut self, nodes: &[&'a Namespace], pods: &[Vec<&'a Namespace>]) -> Result<()> {
        let count = nodes.len();
        for (a, node) in nodes.iter().enumerate() {
            let Some(pod) = first(pods, a) else { continue };
            self.ping("pod-to-own-node/icmp", pod, node)?;
            self.ping("node-to-own-pod/icmp", node, pod)?;
        }
        for (a, b) in node_pairs(count) {
            if let (Some(from), Some(to)) = (nodes.get(a), nodes.get(b)) {
                self.ping("node-to-other-node/icmp", from, to)?;
            }
            let (Some(pod), Some(node)) = (first(pods, a), nodes.get(b)) else { continue };
            self.ping("pod-to-other-node/icmp", pod, node)?;
            self.ping("node-to-other-node-pod/icmp", node, pod)?;
        }
        Ok(())
    }

    /// The largest packet goes whole; one byte more goes in two fragments, and not at all if it must not. Of IPv6 nothing
    /// is sent that is longer than the way lets pass: its sender would be told, and would split its answers to others by
    /// that for minutes. IPv4's answers ask the link alone (`IP_PMTUDISC_DONT` of the kernel's ICMP socket).
    fn largest(&mut self, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let whole = self.default_ping(dst)?;
        let Some(link) = self.first_hop(from, whole)?.map(|first| first.link) else { return Ok(()) };
        let Some(mtu) = link.mtu.and_then(|mtu| u16::try_from(mtu).ok()).filter(|mtu| *mtu < u16::MAX) else {
            return Ok(());
        };
        let path = if self.family == Family::Inet { mtu } else { self.narrowest(from, dst, mtu)? };
        // IPv6 has no bit for it: nobody on the way splits a packet.
        let df = if self.family == Family::Inet { "-df" } else { "" };
        let largest = Probe { dont_fragment: true, ..self.echo(dst, path)? };
        self.wire(&format!("largest-packet-{path}{df}/icmp"), from, to, largest, None)?;
        let longer = self.echo(dst, mtu + 1)?;
        self.wire(&format!("one-byte-more-{}-fragments/icmp", mtu + 1), from, to, longer, Some(path))?;
        // The way back may be narrower, and nobody there join the fragments.
        let is_told = |check: &Check| told_mtu(&check.expected).is_some();
        if self.family == Family::Inet6 && self.checks.last().is_some_and(is_told) {
            self.checks.pop();
        }
        if let [.., largest, longer] = self.checks.as_mut_slice()
            && self.family == Family::Inet
            && (is_stopped_between(self.plan, &largest.expected) || is_split_again(&longer.expected))
        {
            (longer.act, longer.expected) = (Act::Unasked { reason: NARROW }, Journey { legs: Vec::new() });
        }
        let act = Act::Refused { dst, length: mtu + 1, mtu: u32::from(mtu) };
        self.push(&format!("one-byte-more-{}-df/too-long", mtu + 1), from, &to.name, act, Journey { legs: Vec::new() })
    }

    /// The longest packet that arrives whole, in bytes: no longer than `mtu`, and than what an ICMP error about a longer
    /// one would tell.
    fn narrowest(&self, from: &'a Namespace, dst: IpAddr, mtu: u16) -> Result<u16> {
        let mut path = mtu;
        for _ in 0..NARROWER_MAX {
            let probe = Probe { dont_fragment: true, ..self.echo(dst, path)? };
            let journey = predict::predict(self.plan, &flow(from, Origin::Stack, probe, None)?)?;
            match told_mtu(&journey).and_then(|told| u16::try_from(told).ok()).filter(|told| *told < path) {
                Some(told) => path = told,
                None => break,
            }
        }
        Ok(path)
    }

    /// From a link with a larger MTU: the node must answer "fragmentation needed", or "packet too big", with the pod's MTU.
    fn too_long_for_the_pod(&mut self, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let whole = self.default_ping(dst)?;
        let there = self.first_hop(from, whole)?.and_then(|first| first.link.mtu);
        let here = to.links.iter().find(|link| link.kind != LinkKind::Loopback).and_then(|link| link.mtu);
        let length = here.and_then(|mtu| u16::try_from(mtu + 1).ok());
        let (Some(there), Some(length)) = (there, length) else { return Ok(()) };
        if u32::from(length) > there {
            return Ok(());
        }
        let probe = Probe { dont_fragment: true, ..self.echo(dst, length)? };
        let df = if self.family == Family::Inet { "-df" } else { "" };
        self.stack(&format!("client-to-pod-{length}{df}/icmp"), from, to, probe)
    }
}

/// Why fragments that do not fit through the way are not asked about.
const NARROW: &str = "the way is narrower than its ends: whoever was told so splits by it for minutes";

/// Whether it is neither a pod nor a node for which a packet, or the answer to it, is too long.
fn is_stopped_between(plan: &Plan, journey: &Journey) -> bool {
    let between = |ns: &Namespace| matches!(ns.role, Role::Switch { .. } | Role::Router);
    journey.legs.iter().any(|leg| match &leg.end {
        End::Dropped { namespace, reason: Reason::TooLong { .. } } => plan.namespace(namespace).is_some_and(between),
        End::Dropped { .. } | End::Delivered { .. } => false,
    })
}

/// Whether a tunnel's packets around fragments are split themselves.
fn is_split_again(journey: &Journey) -> bool {
    let is_split = |packet: &Packet| packet.outer().is_some_and(|ip| ip.more_fragments);
    let packets = journey.hops().filter_map(|hop| hop.frame.packet());
    packets.into_iter().any(|packet| is_split(packet) && packet.headers().count() > 1)
}

/// The MTU that an ICMP error tells who sent a packet that is too long for the way.
fn told_mtu(journey: &Journey) -> Option<u32> {
    let error = journey.legs.iter().rfind(|leg| leg.purpose == Purpose::Error)?;
    match &error.hops.last()?.frame.packet()?.innermost().transport {
        Transport::Icmp(Icmp::TooBig { mtu, .. }) => Some(*mtu),
        Transport::Icmp(Icmp::Unreachable { mtu, .. }) => Some(u32::from(*mtu)).filter(|mtu| *mtu > 0),
        _ => None,
    }
}

/// The bit of a mark's number that makes it a sentinel: a packet that follows a check's own packet on the same way,
/// and by its arrival tells that nothing of the check is still under way.
pub const SENTINEL: u32 = 0x8000;
