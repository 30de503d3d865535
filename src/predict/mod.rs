//! The virtual packet: where a packet must go, by the plan alone. PURE.
//!
//! [`predict`] walks one packet, and what answers it, through the plan's routes, neighbours, bridges, veth pairs,
//! tunnels and netfilter rules, and gives back every frame that must be seen, interface by interface, until it is
//! delivered or dropped, and where and why. It knows Linux and nothing of the mode that made the plan. What it
//! does not name must not be seen anywhere.

pub mod account;
pub mod align;

mod answer;
mod bridge;
mod conntrack;
mod ebtables;
mod event;
mod hooks;
mod ipvs;
mod neighbour;
mod netfilter;
mod nftables;
mod pieces;
mod route;
mod sets;
mod settings;
mod source;
mod told;
mod tunnel;
mod walk;
mod who_has;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use event::{Decided, Event};
pub use netfilter::{Met, Place};

use neighbour::Wiring;
use netfilter::Chances;

use crate::error::{Error, Kind, Result};
use crate::packet::{Direction, Frame, Packet};
use crate::plan::{Datapath, Kernel, LinkKind, Mac, Plan};

/// Ways that one packet may take by chance: as many as the largest service has endpoints.
const OUTCOMES_MAX: usize = 1024;

/// A packet and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The namespace's name inside the cluster.
    pub from: String,
    /// How it leaves.
    pub origin: Origin,
    /// The packet. An unspecified source is chosen as the kernel chooses it.
    pub packet: Packet,
    /// The sender splits it into fragments no longer than this, in bytes.
    pub fragments: Option<u16>,
    /// Whether somebody answers at the destination port of UDP, TCP or SCTP.
    pub port: Port,
}

/// How a packet leaves its first namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Through the IP stack, as a program's packet.
    Stack,
    /// As a frame put on an interface, past routes and rules.
    Wire {
        /// The interface.
        interface: String,
        /// The frame's destination.
        dst: Mac,
    },
}

/// What is at the destination port of a probe by UDP, TCP or SCTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// No port: the host does not speak the protocol, and says so.
    Unspoken,
    /// Nobody: UDP gets port unreachable, TCP a reset, SCTP an abort.
    Closed,
    /// Somebody who sends the datagram's payload back. A connection is accepted.
    Echo,
}

/// All that happens because of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// The packet's own way first, then those of what it causes.
    pub legs: Vec<Leg>,
}

/// The way of one packet from its sender to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// What it is.
    pub purpose: Purpose,
    /// Every frame that is seen, in the order of one packet's way; the fragments of one packet stand together at
    /// each interface.
    pub hops: Vec<Hop>,
    /// How it ends.
    pub end: End,
}

/// What a leg's packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// The packet that was asked about.
    Request,
    /// What the destination says to it.
    Answer,
    /// An ICMP error about it.
    Error,
}

/// A frame at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// Which way it passes.
    pub direction: Direction,
    /// The frame, with none in the fields that a kernel chooses freely.
    pub frame: Frame,
    /// When it is seen.
    pub turn: Turn,
}

/// When a predicted frame is seen, beside others of its leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// In its turn.
    InOrder,
    /// Some time: a copy for a promiscuous bridge and what comes of it, or of a broadcast for others than who answers.
    Aside,
    /// Some time or not at all: it depends on what the kernel remembers of earlier packets.
    Perhaps,
}

/// `node-1/tunl0 out`.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.namespace, self.interface, self.direction)
    }
}

/// How a leg ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A namespace took it.
    Delivered {
        /// Its name.
        namespace: String,
    },
    /// It is not sent on.
    Dropped {
        /// Where.
        namespace: String,
        /// Why.
        reason: Reason,
    },
}

/// Why a packet is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No route to its destination.
    NoRoute(IpAddr),
    /// A blackhole route.
    Blackhole(IpNet),
    /// A netfilter rule or policy.
    Rule(Place),
    /// A netfilter rule that tells its source so (`-j REJECT`: port unreachable).
    Rejected(Place),
    /// A rule of ebtables, on the way out of a bridge's port.
    Ebtables(String),
    /// Nobody on the link answers for the next hop.
    NoNeighbour {
        /// The next hop.
        address: IpAddr,
        /// The link.
        interface: String,
    },
    /// The interface is down.
    Down(String),
    /// Longer than the interface's MTU, and not to be fragmented.
    TooLong {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// Its time to live is over.
    TimeExceeded,
    /// The namespace does not forward.
    NotForwarding,
    /// The answer to its source would not go out where it came in (rp_filter).
    ReversePath(String),
    /// It comes from outside with an address of the namespace's as source (no accept_local).
    Martian(String),
    /// The frame is for another Ethernet address.
    NotForUs(Mac),
    /// No port of the bridge leads to the frame's Ethernet address.
    NoPort(Mac),
    /// A tunnel's route without a gateway: nobody to send to.
    NoGateway(String),
    /// No tunnel device that takes what a packet carries.
    NoTunnel,
    /// A VXLAN device's FDB does not know the frame's Ethernet address.
    NoFdb {
        /// The address.
        mac: Mac,
        /// The device.
        interface: String,
    },
    /// No node is known to flannel's daemon for the destination.
    NoPeer(IpAddr),
    /// No address to send from.
    NoSource(String),
    /// Sent out of a dummy device, behind which there is nothing.
    Nowhere(String),
    /// IPVS has no real server behind the virtual server that the packet is for.
    NoServer(SocketAddr),
    /// An answer from an address that was not asked.
    NotAsked(IpAddr),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoRoute(dst) => write!(f, "no route to {dst}"),
            Reason::Blackhole(net) => write!(f, "blackhole {net}"),
            Reason::Rule(place) => write!(f, "dropped by {place}"),
            Reason::Rejected(place) => write!(f, "rejected by {place}"),
            Reason::Ebtables(port) => write!(f, "dropped by ebtables on the way out of {port}"),
            Reason::NoNeighbour { address, interface } => {
                let question = if address.is_ipv6() { "neighbour solicitations" } else { "ARP" };
                write!(f, "nobody answers {question} for {address} on {interface}")
            }
            Reason::Down(interface) => write!(f, "{interface} is down"),
            Reason::TooLong { interface, mtu } => write!(f, "longer than the MTU {mtu} of {interface}"),
            Reason::TimeExceeded => f.write_str("time to live exceeded"),
            Reason::NotForwarding => f.write_str("does not forward"),
            Reason::ReversePath(interface) => write!(f, "reverse path filter on {interface}"),
            Reason::Martian(interface) => write!(f, "own address as source on {interface} (martian)"),
            Reason::NotForUs(mac) => write!(f, "frame is for {mac}"),
            Reason::NoPort(mac) => write!(f, "no port leads to {mac}"),
            Reason::NoGateway(interface) => write!(f, "route out of {interface} has no gateway"),
            Reason::NoTunnel => f.write_str("no tunnel device takes it"),
            Reason::NoFdb { mac, interface } => write!(f, "no FDB entry for {mac} on {interface}"),
            Reason::NoPeer(address) => write!(f, "no node is known for {address}"),
            Reason::NotAsked(from) => {
                write!(f, "an answer from {from}, which was not asked: nobody has translated it back")
            }
            Reason::Nowhere(interface) => write!(f, "sent out of {interface}, a dummy device"),
            Reason::NoServer(at) => write!(f, "IPVS has no real server for {at}"),
            Reason::NoSource(interface) => write!(f, "no source address for {interface}"),
        }
    }
}

impl Journey {
    /// All hops of all legs.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.legs.iter().flat_map(|leg| &leg.hops)
    }

    /// Whether the packet reached a namespace.
    pub fn delivered(&self) -> bool {
        matches!(self.legs.first(), Some(Leg { end: End::Delivered { .. }, .. }))
    }

    /// Whether the packet and its answer both arrive.
    pub fn answered(&self) -> bool {
        let arrives = |purpose| {
            let leg = self.legs.iter().find(|leg| leg.purpose == purpose);
            leg.is_some_and(|leg| matches!(leg.end, End::Delivered { .. }))
        };
        arrives(Purpose::Request) && arrives(Purpose::Answer)
    }
}

/// The plan as this kernel has it. Predictions for a live cluster begin with this.
///
/// Links are in the kernel's order: where the ipip module is loaded, a namespace is born with its tunnel device, before
/// all links of the plan; and the order decides about the source address of what a node sends out of a link without an
/// address. Settings that the kernel does not have are gone.
pub fn as_made(plan: &Plan, kernel: Kernel) -> Cow<'_, Plan> {
    let lacks_setting = plan.wants_bridge_netfilter() && !kernel.bridge_netfilter;
    if plan.datapath == Datapath::Userspace && !lacks_setting {
        return Cow::Borrowed(plan);
    }
    let mut made = plan.clone();
    for ns in &mut made.namespaces {
        if plan.datapath == Datapath::Kernel {
            ns.links.sort_by_key(|link| match link.kind {
                LinkKind::Loopback => 0,
                LinkKind::Ipip => 1,
                _ => 2,
            });
        }
        if lacks_setting {
            ns.sysctls.retain(|sysctl| !sysctl.key.starts_with("net.bridge."));
        }
    }
    Cow::Owned(made)
}

/// Where `flow` goes, and what it causes.
///
/// # Errors
/// If the plan names what it does not have, the packet would do what this walker has no model of, or rules leave its
/// way to chance: then [`outcomes`] has all ways.
pub fn predict(plan: &Plan, flow: &Flow) -> Result<Journey> {
    only(ways(&Wiring::new(plan), flow)?, flow)
}

/// All ways that `flow` may take where rules leave it to chance (`-m statistic --mode random`); at least one.
///
/// # Errors
/// As [`predict`], and if there are more than 1024 ways.
pub fn outcomes(plan: &Plan, flow: &Flow) -> Result<Vec<Journey>> {
    ways(&Wiring::new(plan), flow)
}

/// A plan through which very many packets are to go: what they all ask, as who has an address, is found out once.
#[derive(Debug)]
pub struct Network<'a>(Wiring<'a>);

impl<'a> Network<'a> {
    /// That of a plan.
    pub fn new(plan: &'a Plan) -> Network<'a> {
        Network(Wiring::indexed(plan))
    }

    /// As [`predict`].
    ///
    /// # Errors
    /// As [`predict`].
    pub fn predict(&self, flow: &Flow) -> Result<Journey> {
        only(ways(&self.0, flow)?, flow)
    }
}

/// The one way that there is.
fn only(mut all: Vec<Journey>, flow: &Flow) -> Result<Journey> {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => {
            let text = format!("a packet from {} goes one of {} ways, by chance", flow.from, all.len() + 1);
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}

fn ways(wiring: &Wiring, flow: &Flow) -> Result<Vec<Journey>> {
    let mut all = Vec::new();
    let mut chances = Some(Chances::default());
    while let Some(laid_down) = chances {
        let (journey, taken) = answer::journey(wiring, flow, laid_down)?;
        if !all.contains(&journey) {
            all.push(journey);
        }
        if all.len() > OUTCOMES_MAX {
            let text = format!("a packet from {} may go more than {OUTCOMES_MAX} ways", flow.from);
            return Err(Error::new(Kind::Unsupported, text));
        }
        chances = taken.next();
    }
    Ok(all)
}

/// Where `flow` goes, with the routes and rules that decide about its packet. Where rules leave the way to chance, it
/// is the way on which every one of them lets the packet go on.
///
/// # Errors
/// If the plan names what it does not have, or the packet would do what this walker has no model of.
pub fn explained(plan: &Plan, flow: &Flow) -> Result<(Journey, Vec<Event>)> {
    answer::explained(plan, flow)
}

/// Where the question who has `target`, sent to everybody out of `interface`, goes, and the answer to it: ARP for an
/// IPv4 address, neighbour discovery for an IPv6 address.
///
/// # Errors
/// If the plan has no such interface, lacks the other end of a link or an Ethernet address, or if the two addresses are
/// not of one family.
pub fn who_has(plan: &Plan, from: &str, interface: &str, sender: IpAddr, target: IpAddr) -> Result<Journey> {
    who_has::journey(plan, from, interface, sender, target)
}
