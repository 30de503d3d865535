//! One flow's account: what a packet passes, carries and meets in a plan, in the words that a comparison of plans needs.

use std::net::IpAddr;

use serde::Serialize;

use super::{Decided, End, Flow, Hop, Leg, Origin, Port, Turn, explained, outcomes};
use crate::error::{Error, Kind, Result};
use crate::packet::build::{self, Message, Probe};
use crate::packet::decode::{self, Tunnels};
use crate::packet::{
    Body, Direction, ETHERNET_HEADER, Frame, ICMP_HEADER, Inside, Ip, Mark, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_IPIP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, Packet, SCTP_HEADER, TCP_HEADER, Transport, UDP_HEADER,
    VXLAN_HEADER,
};
use crate::plan::{Family, Link, LinkKind, Namespace, Plan, Role};

/// What a default ping's IP packet carries, and here a UDP datagram's, in bytes.
const PING: u16 = 64;
/// Length of a SYN with the options that Linux sends, in bytes, without the IP header.
const SYN: u16 = 40;
/// TTL of what Linux sends.
const TTL: u8 = 64;

/// What is asked of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The sender's name inside the cluster.
    pub from: &'a str,
    /// Where to.
    pub to: IpAddr,
    /// What is said. At a port of UDP, TCP or SCTP somebody listens.
    pub message: Message,
}

/// What a packet passes, carries and meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The interfaces, in order.
    pub interfaces: Vec<Passed>,
    /// Where the packet is longest, that is, with the most headers around it, and if that is in many places where it
    /// first leaves a node: `node-1/ens33 out`.
    pub wire_at: Option<String>,
    /// What `tcpdump -ne` prints there.
    pub wire: Option<String>,
    /// The headers there, outermost first.
    pub headers: Vec<Header>,
    /// MTU of the sender's interface, in bytes.
    pub mtu: Option<u32>,
    /// The longest IP packet with "don't fragment" that arrives, in bytes; none if none does.
    pub largest: Option<u16>,
    /// How it ends: `delivered to default/web`, `dropped in node-1: …`.
    pub end: String,
    /// Source address as the receiver sees it; none if the packet does not arrive.
    pub source_seen: Option<IpAddr>,
    /// Destination address as the receiver sees it.
    pub destination_seen: Option<IpAddr>,
    /// Time to live on arrival.
    pub ttl_on_arrival: Option<u8>,
    /// Whether an answer comes back to the sender.
    pub answered: bool,
    /// In how many ways the packet may go where rules leave it to chance; this is one of them.
    pub ways: usize,
    /// The routes that decide, in order.
    pub routes: Vec<Said>,
    /// The netfilter rules that decide about the packet or change it, in order.
    pub rules: Vec<Said>,
}

/// An interface that is passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Passed {
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// Which way.
    pub direction: Direction,
    /// Length of the frame in bytes.
    pub length: usize,
    /// What the interface is for: pods' ends of different modes have different names.
    #[serde(skip)]
    sort: Sort,
}

/// What an interface is for in its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Loopback,
    Bridge,
    Tunnel,
    ToPod,
    Other,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its length in bytes.
    pub length: usize,
    /// What protocol it is of: `Ethernet`, `IP`, `IPv6`, `UDP`, `VXLAN`, `ICMP`, `ICMPv6`, `TCP`, `SCTP`; `data` is the rest.
    pub protocol: &'static str,
    /// What it says.
    pub text: String,
}

/// A route or rule in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// The rule's table and chain: `filter/FORWARD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The route as `ip route` prints it; the rule in short.
    pub text: String,
    /// The whole rule, as iptables-save prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Passed {
    /// How well it goes together with one of another plan.
    pub fn likeness(&self, other: &Passed) -> u32 {
        let place = |passed: &Passed| (passed.namespace.clone(), passed.direction, passed.sort);
        match (place(self) == place(other), self.interface == other.interface) {
            (true, true) => 3,
            (true, false) => 2,
            (false, _) => 0,
        }
    }
}

impl Header {
    /// How well it goes together with one of another plan.
    pub fn likeness(&self, other: &Header) -> u32 {
        match (self == other, self.protocol == other.protocol) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 0,
        }
    }
}

impl Said {
    /// More than many shared words weigh.
    const EQUAL: u32 = 100;

    /// How well it goes together with one of another plan.
    pub fn likeness(&self, other: &Said) -> u32 {
        let place = |said: &Said| (said.namespace.clone(), said.chain.clone());
        if place(self) != place(other) {
            return 0;
        }
        let shared = self.text.split(' ').filter(|word| other.text.split(' ').any(|theirs| theirs == *word)).count();
        let equal = if self == other { Self::EQUAL } else { 0 };
        1 + equal + u32::try_from(shared).unwrap_or(Self::EQUAL).min(Self::EQUAL)
    }
}

/// The account of one packet.
///
/// # Errors
/// As [`super::predict`], and if the plan does not know the sender.
pub fn account(plan: &Plan, question: Question) -> Result<Account> {
    let carried = match question.message {
        Message::Syn { .. } => SYN,
        Message::Init { .. } => question.message.header(),
        Message::Echo { .. } | Message::Udp { .. } => PING,
    };
    let length = Ip::header_of(&question.to) + carried;
    let asked = flow(question, length, false)?;
    let (journey, events) = explained(plan, &asked)?;
    let ways = outcomes(plan, &asked)?.len();
    let request = journey.legs.first().ok_or_else(|| Error::new(Kind::Check, "a packet without a way"))?;
    let in_order = || request.hops.iter().filter(|hop| hop.turn == Turn::InOrder);
    let longest = in_order().rev().max_by_key(|hop| (hop.frame.length, is_on_the_wire(plan, hop)));
    let arrived = arrival(request);
    let (mut routes, mut rules) = (Vec::new(), Vec::new());
    for event in events {
        let namespace = event.namespace;
        match event.decided {
            Decided::Route(text) => routes.push(Said { namespace, chain: None, text, rule: None }),
            Decided::Server { server, real } => {
                let text = format!("ipvs {server} sends it on: {real}");
                rules.push(Said { namespace, chain: Some("ipvs".to_owned()), text, rule: Some(server) });
            }
            Decided::Rule(met) => {
                let chain = Some(format!("{}/{}", met.place.table, met.place.chain));
                rules.push(Said { namespace, chain, text: format!("{} {}", met.place, met.does), rule: met.rule });
            }
        }
    }
    Ok(Account {
        interfaces: in_order().map(|hop| passed(plan, hop)).collect(),
        wire_at: longest.map(Hop::to_string),
        wire: longest.map(|hop| hop.frame.to_string()),
        headers: longest.map(|hop| frame_headers(&hop.frame)).unwrap_or_default(),
        mtu: plan.namespace(question.from).and_then(|ns| sender_mtu(ns, Family::of(&question.to))),
        largest: largest(plan, question, length)?,
        end: ending(request),
        source_seen: arrived.map(|ip| ip.src),
        destination_seen: arrived.map(|ip| ip.dst),
        ttl_on_arrival: arrived.map(|ip| ip.ttl),
        answered: journey.answered(),
        ways,
        routes,
        rules,
    })
}

fn flow(question: Question, length: u16, dont_fragment: bool) -> Result<Flow> {
    let Question { from, to, message } = question;
    let src = Family::of(&to).unspecified();
    let probe = Probe { src, dst: to, ttl: TTL, id: 0, dont_fragment, length, message, mark: Mark(0) };
    let bytes = build::ip(&probe)?;
    let packet = decode::ip(&bytes, &Tunnels::default());
    let mut packet = packet.ok_or_else(|| Error::new(Kind::Check, "a packet of our own is not understood"))?;
    // IPv6 has no bit for it.
    packet.layers.iter_mut().for_each(|ip| ip.dont_fragment = dont_fragment);
    Ok(Flow { from: from.to_owned(), origin: Origin::Stack, packet, fragments: None, port: Port::Echo })
}

/// The longest packet that arrives without being split. What arrives at some length arrives at every shorter one.
fn largest(plan: &Plan, question: Question, least: u16) -> Result<Option<u16>> {
    let arrives = |length: u16| Ok::<bool, Error>(explained(plan, &flow(question, length, true)?)?.0.delivered());
    if !arrives(least)? {
        return Ok(None);
    }
    let (mut good, mut beyond) = (u32::from(least), u32::from(u16::MAX) + 1);
    while good + 1 < beyond {
        let middle = (good + beyond) / 2;
        match u16::try_from(middle) {
            Ok(length) if arrives(length)? => good = middle,
            _ => beyond = middle,
        }
    }
    Ok(u16::try_from(good).ok())
}

/// The header that the receiver reads.
fn arrival(request: &Leg) -> Option<Ip> {
    let End::Delivered { namespace } = &request.end else { return None };
    let last = request.hops.iter().rfind(|hop| hop.turn == Turn::InOrder && hop.namespace == *namespace)?;
    last.frame.packet()?.inner().copied()
}

fn ending(leg: &Leg) -> String {
    match &leg.end {
        End::Delivered { namespace } => format!("delivered to {namespace}"),
        End::Dropped { namespace, reason } => format!("dropped in {namespace}: {reason}"),
    }
}

/// The MTU of the interface that has the sender's address of this family.
fn sender_mtu(ns: &Namespace, family: Family) -> Option<u32> {
    let own = ns.address_in(family)?;
    let (link, _) = ns.addresses().find(|(_, address)| address.net.addr() == own)?;
    Some(super::settings::mtu(link))
}

/// Whether a frame leaves a node for another machine.
fn is_on_the_wire(plan: &Plan, hop: &Hop) -> bool {
    let Some(ns) = plan.namespace(&hop.namespace).filter(|ns| ns.role == Role::Node) else { return false };
    hop.direction == Direction::Out && ns.link(&hop.interface).is_some_and(|link| sort(plan, link) == Sort::Other)
}

fn passed(plan: &Plan, hop: &Hop) -> Passed {
    let link = plan.namespace(&hop.namespace).and_then(|ns| ns.link(&hop.interface));
    Passed {
        namespace: hop.namespace.clone(),
        interface: hop.interface.clone(),
        direction: hop.direction,
        length: hop.frame.length,
        sort: link.map_or(Sort::Other, |link| sort(plan, link)),
    }
}

fn sort(plan: &Plan, link: &Link) -> Sort {
    match &link.kind {
        LinkKind::Loopback => Sort::Loopback,
        LinkKind::Bridge => Sort::Bridge,
        kind if kind.is_tunnel() => Sort::Tunnel,
        LinkKind::Veth { peer_namespace, .. } => match plan.namespace(peer_namespace).map(|ns| &ns.role) {
            Some(Role::Pod { .. }) => Sort::ToPod,
            _ => Sort::Other,
        },
        _ => Sort::Other,
    }
}

fn frame_headers(frame: &Frame) -> Vec<Header> {
    let mut all = Vec::new();
    if let Some(ethernet) = &frame.ethernet {
        let text = format!("{} > {}", ethernet.src, ethernet.dst);
        all.push(Header { length: ETHERNET_HEADER, protocol: "Ethernet", text });
    }
    if let Body::Ip(packet) = &frame.body {
        all.extend(packet_headers(packet));
    }
    all
}

fn packet_headers(packet: &Packet) -> Vec<Header> {
    let mut all: Vec<Header> = packet.layers.iter().map(ip_header).collect();
    let header = |length: u16, protocol, text| Header { length: usize::from(length), protocol, text };
    let port = |port: Option<u16>| port.map_or("*".to_owned(), |port| port.to_string());
    let own = match &packet.transport {
        Transport::Icmp(icmp) => {
            let text = icmp.words(packet.is_v6()).to_string();
            let (name, prefix) = if packet.is_v6() { ("ICMPv6", "ICMP6, ") } else { ("ICMP", "ICMP ") };
            header(ICMP_HEADER, name, text.strip_prefix(prefix).unwrap_or(&text).to_owned())
        }
        Transport::Udp { src, dst } | Transport::Tunnel { src, dst, .. } => {
            header(UDP_HEADER, "UDP", format!("{} > {}", port(*src), port(*dst)))
        }
        Transport::Tcp { src, dst, flags, .. } => {
            header(TCP_HEADER, "TCP", format!("{} > {}, flags [{flags}]", port(*src), port(*dst)))
        }
        Transport::Sctp(sctp) => {
            let chunk = sctp.chunk.map_or("no chunk".into(), |chunk| chunk.name());
            header(SCTP_HEADER, "SCTP", format!("{} > {}, {chunk}", port(sctp.src), port(sctp.dst)))
        }
        Transport::Fragment | Transport::Other | Transport::Truncated => header(0, "data", String::new()),
    };
    let length = own.length;
    if length > 0 {
        all.push(own);
    }
    match &packet.transport {
        Transport::Tunnel { inside, .. } => match &**inside {
            Inside::Vxlan { vni, frame } => {
                all.push(header(VXLAN_HEADER, "VXLAN", format!("vni {vni}")));
                all.extend(frame_headers(frame));
            }
            Inside::Bare(packet) => all.extend(packet_headers(packet)),
        },
        _ => {
            let whole = packet.layers.last().map_or(0, Ip::payload);
            let text = match &packet.transport {
                Transport::Tcp { .. } => "options",
                Transport::Sctp(_) => "chunks",
                _ => "payload",
            };
            let text = text.to_owned();
            all.push(Header { length: usize::from(whole).saturating_sub(length), protocol: "data", text });
        }
    }
    all
}

fn ip_header(ip: &Ip) -> Header {
    let Ip { src, dst, ttl, .. } = ip;
    let carries = match ip.protocol {
        // The next line says it.
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 | PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP => String::new(),
        PROTOCOL_IPIP => ", IPIP".to_owned(),
        other => format!(", proto {other}"),
    };
    let (protocol, life) = if ip.is_v6() { ("IPv6", "hlim") } else { ("IP", "ttl") };
    Header { length: usize::from(ip.header()), protocol, text: format!("{src} > {dst}, {life} {ttl}{carries}") }
}
