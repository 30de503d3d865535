//! Which checks a plan gives rise to, each with the journey that the plan predicts. PURE.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::{Error, Kind, Result};
use crate::packet::build::{self, Message, Probe};
use crate::packet::{Body, IP_HEADER, Mark, decode};
use crate::plan::{Link, LinkKind, Namespace, Plan, Role};
use crate::predict::{self, Flow, Journey, Origin, Port};

/// Length of a default ping's IP packet in bytes.
const PING: u16 = 84;
/// Length of a TCP SYN that carries a mark, in bytes.
const SYN: u16 = 48;
/// TTL of probes, the default of Linux.
const TTL: u8 = 64;
/// Nodes up to which every ordered pair of them is checked; above, each node and the next one.
const NODES_ALL_PAIRS: usize = 6;
/// Places where a broadcast may be seen, for one from each pod; beyond, one from each node.
const FLOOD_MAX: usize = 64;
/// First port of probes; below the range of ports that the kernel gives out.
const FIRST_PORT: u16 = 20_000;
const PORTS_PER_RUN: u16 = 512;

/// One check: what is sent, and what must be seen.
#[derive(Debug, Clone)]
pub struct Check {
    /// What it is about and how: `pod-to-pod-cross-node/icmp`.
    pub name: String,
    /// The sender's name inside the cluster.
    pub from: String,
    /// The receiver's name inside the cluster.
    pub to: String,
    /// `arp`, `icmp`, `udp` or `tcp`.
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
        /// The packet in them; none for ARP.
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
        dst: Ipv4Addr,
        /// Length of the IP packet in bytes.
        length: u16,
        /// The MTU that the kernel must tell, in bytes.
        mtu: u32,
    },
}

/// The checks of a plan. `seed` tells the packets of this run from those of others.
///
/// # Errors
/// If the plan names what it does not have, or makes a packet do what [`predict`] has no model of.
pub fn checks(plan: &Plan, seed: u16) -> Result<Vec<Check>> {
    let mut list = List { plan, seed, checks: Vec::new(), flooded: BTreeSet::new() };
    let pods: Vec<Vec<&Namespace>> = plan.nodes().map(|node| pods_on(plan, node)).collect();
    let nodes: Vec<&Namespace> = plan.nodes().collect();
    for pod in plan.pods() {
        list.arp(pod)?;
    }
    for on_node in &pods {
        list.same_node(on_node)?;
        if let Some(pod) = on_node.first() {
            list.hairpin(pod)?;
        }
    }
    for (a, b) in node_pairs(nodes.len()) {
        let (Some(from), Some(to)) = (first(&pods, a), first(&pods, b)) else { continue };
        list.all_protocols("pod-to-pod-cross-node", from, to)?;
        list.largest(from, to)?;
    }
    list.pods_and_nodes(&nodes, &pods)?;
    for client in plan.namespaces.iter().filter(|ns| ns.role == Role::Client) {
        for pod in pods.iter().filter_map(|on_node| on_node.first()) {
            list.all_protocols("pod-to-client", pod, client)?;
            list.ping("client-to-pod/icmp", client, pod)?;
            list.udp_by_stack("client-to-pod/udp", client, pod)?;
            list.too_long_for_the_pod(client, pod)?;
        }
    }
    Ok(list.checks)
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

struct List<'a> {
    plan: &'a Plan,
    seed: u16,
    checks: Vec<Check>,
    /// Nodes with a pod whose broadcast is checked although many hear it.
    flooded: BTreeSet<&'a str>,
}

impl<'a> List<'a> {
    fn number(&self) -> Result<u16> {
        let number = u16::try_from(self.checks.len()).ok().filter(|number| number & SENTINEL as u16 == 0);
        number.ok_or_else(|| Error::new(Kind::Unsupported, "the cluster is too large for one run of checks"))
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark(u32::from(self.seed) << 16 | u32::from(self.number()?)))
    }

    /// A port of this run's own, which its packets have as source (odd) and destination (even).
    fn port(&self, odd: u16) -> Result<u16> {
        let runs = (32_000 - FIRST_PORT) / PORTS_PER_RUN;
        let base = FIRST_PORT + self.seed % runs * PORTS_PER_RUN;
        Ok(base + self.number()? * 2 % PORTS_PER_RUN + odd)
    }

    fn probe(&self, dst: Ipv4Addr, length: u16, message: Message) -> Result<Probe> {
        let id = self.id()?.max(1);
        let src = Ipv4Addr::UNSPECIFIED;
        Ok(Probe { src, dst, ttl: TTL, id, dont_fragment: false, length, message, mark: self.mark()? })
    }

    /// Differs between checks, and between runs: two pings that are masqueraded to one address must not have one id.
    fn id(&self) -> Result<u16> {
        Ok(self.seed.wrapping_mul(251).wrapping_add(self.number()?))
    }

    fn echo(&self, dst: Ipv4Addr, length: u16) -> Result<Probe> {
        let id = self.id()?;
        self.probe(dst, length, Message::Echo { id, seq: 1 })
    }

    fn push(&mut self, name: &str, from: &Namespace, to: &str, act: Act, expected: Journey) -> Result<()> {
        let protocol = match (&act, name.rsplit_once('/').map(|(_, last)| last)) {
            (Act::Wire { probe: None, .. }, _) => "arp",
            (_, Some("udp" | "too-long")) => "udp",
            (_, Some("tcp")) => "tcp",
            _ => "icmp",
        };
        let mark = self.mark()?;
        let (name, from, to) = (name.to_owned(), from.name.clone(), to.to_owned());
        self.checks.push(Check { name, from, to, protocol, mark, act, expected });
        Ok(())
    }

    /// The pod's gateway answers ARP: in Calico, 169.254.1.1 is ee:ee:ee:ee:ee:ee.
    fn arp(&mut self, pod: &'a Namespace) -> Result<()> {
        let default = pod.routes.iter().find(|route| route.dst.prefix_len() == 0);
        let Some((IpAddr::V4(gateway), link)) =
            default.and_then(|route| Some((route.via?, pod.link(route.dev.as_deref()?)?)))
        else {
            return Ok(());
        };
        let (Some(mac), Some(own)) = (link.mac, pod.address()) else { return Ok(()) };
        let expected = predict::arp(self.plan, &pod.name, &link.name, own, gateway)?;
        // A broadcast is seen by everybody on the segment; what all pods send is seen as often as there are pairs.
        if expected.hops().count() > FLOOD_MAX
            && let Role::Pod { node, .. } = &pod.role
            && !self.flooded.insert(node)
        {
            return Ok(());
        }
        let frames = vec![build::arp_request(mac, own, gateway, self.mark()?)?];
        let act = Act::Wire { interface: link.name.clone(), frames, probe: None };
        self.push(&format!("gateway-{gateway}/arp"), pod, &gateway.to_string(), act, expected)
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
        let gateway = pod.routes.iter().find(|route| route.dst.prefix_len() == 0).and_then(|route| route.via);
        let link = pod.links.iter().find(behind);
        let (Some(link), Some(IpAddr::V4(src)), Some(dst)) = (link, gateway, pod.address()) else { return Ok(()) };
        let Some(mac) = link.mac else { return Ok(()) };
        let probe = Probe { src, ..self.echo(dst, PING)? };
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

    /// A default ping: out of a pod's interface as a frame, from everybody else through the IP stack.
    fn ping(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        let probe = self.echo(dst, PING)?;
        match from.role {
            Role::Pod { .. } => self.wire(name, from, to, probe, None),
            _ => self.stack(name, from, to, probe),
        }
    }

    fn udp(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        let probe = self.probe(dst, PING, Message::Udp { src: self.port(1)?, dst: self.port(0)? })?;
        self.wire(name, from, to, probe, None)
    }

    fn udp_by_stack(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        let probe = self.probe(dst, PING, Message::Udp { src: self.port(1)?, dst: self.port(0)? })?;
        self.stack(name, from, to, probe)
    }

    fn tcp(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        // What answers acknowledge (this number and 1, or 9 with the data) must not be what they say to another check.
        let seq = self.mark()?.0.rotate_left(4);
        let message = Message::Syn { src: self.port(1)?, dst: self.port(0)?, seq };
        let probe = self.probe(dst, SYN, message)?;
        self.wire(name, from, to, probe, None)
    }

    /// The largest packet goes whole; one byte more goes in two fragments, and not at all if it must not.
    fn largest(&mut self, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        let whole = self.echo(dst, PING)?;
        let Some(link) = self.first_hop(from, whole)?.map(|first| first.link) else { return Ok(()) };
        let Some(mtu) = link.mtu.and_then(|mtu| u16::try_from(mtu).ok()).filter(|mtu| *mtu < u16::MAX) else {
            return Ok(());
        };
        let largest = Probe { dont_fragment: true, ..self.echo(dst, mtu)? };
        self.wire(&format!("largest-packet-{mtu}-df/icmp"), from, to, largest, None)?;
        let longer = self.echo(dst, mtu + 1)?;
        self.wire(&format!("one-byte-more-{}-fragments/icmp", mtu + 1), from, to, longer, Some(mtu))?;
        let act = Act::Refused { dst, length: mtu + 1, mtu: u32::from(mtu) };
        self.push(&format!("one-byte-more-{}-df/too-long", mtu + 1), from, &to.name, act, Journey { legs: Vec::new() })
    }

    /// From a link with a larger MTU: the node must answer "fragmentation needed" with the pod's MTU.
    fn too_long_for_the_pod(&mut self, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = to.address() else { return Ok(()) };
        let whole = self.echo(dst, PING)?;
        let there = self.first_hop(from, whole)?.and_then(|first| first.link.mtu);
        let here = to.links.iter().find(|link| link.kind != LinkKind::Loopback).and_then(|link| link.mtu);
        let length = here.and_then(|mtu| u16::try_from(mtu + 1).ok());
        let (Some(there), Some(length)) = (there, length) else { return Ok(()) };
        if u32::from(length) > there {
            return Ok(());
        }
        let probe = Probe { dont_fragment: true, ..self.echo(dst, length)? };
        self.stack(&format!("client-to-pod-{length}-df/icmp"), from, to, probe)
    }

    fn first_hop(&self, from: &'a Namespace, probe: Probe) -> Result<Option<FirstHop<'a>>> {
        let journey = predict::predict(self.plan, &flow(from, Origin::Stack, probe, None)?)?;
        let Some(hop) = journey.hops().next() else { return Ok(None) };
        let (Some(link), Some(ethernet)) = (from.link(&hop.interface), hop.frame.ethernet) else { return Ok(None) };
        // On lo is only what the stack says to itself: nobody answered ARP.
        if link.kind == LinkKind::Loopback {
            return Ok(None);
        }
        let Body::Ip(packet) = &hop.frame.body else { return Ok(None) };
        Ok(packet.outer().map(|ip| FirstHop { link, ethernet, src: ip.src }))
    }

    /// Sends what the pod's stack would send, but as a frame.
    fn wire(
        &mut self,
        name: &str,
        from: &'a Namespace,
        to: &Namespace,
        probe: Probe,
        fragments: Option<u16>,
    ) -> Result<()> {
        let Some(first) = self.first_hop(from, probe)? else {
            // Nothing that could be put on a link: the sender's own stack must find that there is no way.
            return self.stack(name, from, to, probe);
        };
        let probe = Probe { src: first.src, ..probe };
        let bytes = build::ip(&probe)?;
        let pieces = fragments.map_or_else(|| vec![bytes.clone()], |mtu| build::fragments(&bytes, mtu));
        let framed = |piece: &Vec<u8>| build::ethernet(first.ethernet.src, first.ethernet.dst, piece);
        let origin = Origin::Wire { interface: first.link.name.clone(), dst: first.ethernet.dst };
        let expected = predict::predict(self.plan, &flow(from, origin, probe, fragments)?)?;
        let act = Act::Wire {
            interface: first.link.name.clone(),
            frames: pieces.iter().map(framed).collect(),
            probe: Some(probe),
        };
        self.push(name, from, &to.name, act, expected)
    }

    fn stack(&mut self, name: &str, from: &'a Namespace, to: &Namespace, probe: Probe) -> Result<()> {
        let expected = predict::predict(self.plan, &flow(from, Origin::Stack, probe, None)?)?;
        let act = Act::Stack { packet: build::ip(&probe)?, probe };
        self.push(name, from, &to.name, act, expected)
    }
}

/// Whether by the plan a ping from a namespace to an address is answered.
///
/// # Errors
/// As [`checks`].
pub fn is_answered(plan: &Plan, from: &Namespace, dst: Ipv4Addr) -> Result<bool> {
    let src = Ipv4Addr::UNSPECIFIED;
    let message = Message::Echo { id: 1, seq: 1 };
    let probe = Probe { src, dst, ttl: TTL, id: 1, dont_fragment: false, length: PING, message, mark: Mark(0) };
    Ok(predict::predict(plan, &flow(from, Origin::Stack, probe, None)?)?.answered())
}

/// How a packet leaves its sender.
struct FirstHop<'a> {
    link: &'a Link,
    ethernet: crate::packet::Ethernet,
    src: Ipv4Addr,
}

fn flow(from: &Namespace, origin: Origin, probe: Probe, fragments: Option<u16>) -> Result<Flow> {
    // What is predicted is what is sent: the packet is read from the very bytes.
    let packet = decode::ip(&build::ip(&probe)?, &decode::Tunnels::default());
    let packet =
        packet.ok_or_else(|| Error::new(Kind::Check, format!("a probe of {} bytes has no header", IP_HEADER)))?;
    let port = match probe.message {
        Message::Udp { .. } => Port::Echo,
        Message::Echo { .. } | Message::Syn { .. } => Port::Closed,
    };
    Ok(Flow { from: from.name.clone(), origin, packet, fragments, port })
}

/// The bit of a mark's number that makes it a sentinel: a packet that follows a check's own packet on the same way,
/// and by its arrival tells that nothing of the check is still under way.
pub const SENTINEL: u32 = 0x8000;
