//! How the packet of a check is sent, and what the plan says of it. PURE.

use std::net::IpAddr;

use super::checks::{Act, List, SENTINEL};
use crate::error::{Error, Kind, Result};
use crate::packet::build::{self, Message, Probe};
use crate::packet::{Body, Ip, Mark, decode};
use crate::plan::netfilter::Family;
use crate::plan::{Link, LinkKind, Namespace, Role};
use crate::predict::{self, Flow, Origin, Port};

/// What a default ping's IP packet carries, in bytes.
const PING: u16 = 64;
/// Length of a TCP SYN that carries a mark, in bytes, without the IP header.
const SYN: u16 = 28;
/// TTL of probes, the default of Linux.
const TTL: u8 = 64;
/// First port of probes; below the range of ports that the kernel gives out.
const FIRST_PORT: u16 = 20_000;
const PORTS_PER_RUN: u16 = 512;

impl<'a> List<'a> {
    pub(super) fn number(&self) -> Result<u16> {
        let number = u16::try_from(self.checks.len()).ok().filter(|number| number & SENTINEL as u16 == 0);
        number.ok_or_else(|| Error::new(Kind::Unsupported, "the cluster is too large for one run of checks"))
    }

    pub(super) fn mark(&self) -> Result<Mark> {
        Ok(Mark(u32::from(self.seed) << 16 | u32::from(self.number()?)))
    }

    /// A port of this run's own, which its packets have as source (odd) and destination (even).
    fn port(&self, odd: u16) -> Result<u16> {
        let runs = (32_000 - FIRST_PORT) / PORTS_PER_RUN;
        let base = FIRST_PORT + self.seed % runs * PORTS_PER_RUN;
        Ok(base + self.number()? * 2 % PORTS_PER_RUN + odd)
    }

    fn probe(&self, dst: IpAddr, length: u16, message: Message) -> Result<Probe> {
        let id = self.id()?.max(1);
        let src = Family::of(&dst).unspecified();
        Ok(Probe { src, dst, ttl: TTL, id, dont_fragment: false, length, message, mark: self.mark()? })
    }

    /// Differs between checks, and between runs: two pings that are masqueraded to one address must not have one id.
    fn id(&self) -> Result<u16> {
        Ok(self.seed.wrapping_mul(251).wrapping_add(self.number()?))
    }

    pub(super) fn echo(&self, dst: IpAddr, length: u16) -> Result<Probe> {
        let id = self.id()?;
        self.probe(dst, length, Message::Echo { id, seq: 1 })
    }

    /// The destination of a packet of the family whose turn it is. A sender without IPv6 is not asked for it; one without
    /// any address must find that nothing leaves it.
    pub(super) fn between(&self, from: &Namespace, to: &Namespace) -> Option<IpAddr> {
        let speaks = self.family == Family::Inet || from.address_in(Family::Inet6).is_some();
        to.address_in(self.family).filter(|_| speaks)
    }

    /// A ping of the default length.
    pub(super) fn default_ping(&self, dst: IpAddr) -> Result<Probe> {
        self.echo(dst, Ip::header_of(&dst) + PING)
    }

    /// A default ping: out of a pod's interface as a frame, from everybody else through the IP stack.
    pub(super) fn ping(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let probe = self.default_ping(dst)?;
        match from.role {
            Role::Pod { .. } => self.wire(name, from, to, probe, None),
            _ => self.stack(name, from, to, probe),
        }
    }

    /// A ping that the first router on its way, if there is one, must not send on.
    pub(super) fn expiring(&mut self, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let probe = Probe { ttl: 1, ..self.default_ping(dst)? };
        let name = if self.family == Family::Inet { "ttl-1/icmp" } else { "hop-limit-1/icmp" };
        self.wire(name, from, to, probe, None)
    }

    pub(super) fn udp(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let probe =
            self.probe(dst, Ip::header_of(&dst) + PING, Message::Udp { src: self.port(1)?, dst: self.port(0)? })?;
        self.wire(name, from, to, probe, None)
    }

    pub(super) fn udp_by_stack(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        let probe =
            self.probe(dst, Ip::header_of(&dst) + PING, Message::Udp { src: self.port(1)?, dst: self.port(0)? })?;
        self.stack(name, from, to, probe)
    }

    pub(super) fn tcp(&mut self, name: &str, from: &'a Namespace, to: &Namespace) -> Result<()> {
        let Some(dst) = self.between(from, to) else { return Ok(()) };
        // What answers acknowledge (this number and 1, or 9 with the data) must not be what they say to another check.
        let seq = self.mark()?.0.rotate_left(4);
        let message = Message::Syn { src: self.port(1)?, dst: self.port(0)?, seq };
        let probe = self.probe(dst, Ip::header_of(&dst) + SYN, message)?;
        self.wire(name, from, to, probe, None)
    }

    pub(super) fn first_hop(&self, from: &'a Namespace, probe: Probe) -> Result<Option<FirstHop<'a>>> {
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
    pub(super) fn wire(
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
        let pieces = fragments.map_or_else(|| vec![bytes.clone()], |mtu| build::fragments(&bytes, mtu, probe.id));
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

    pub(super) fn stack(&mut self, name: &str, from: &'a Namespace, to: &Namespace, probe: Probe) -> Result<()> {
        let expected = predict::predict(self.plan, &flow(from, Origin::Stack, probe, None)?)?;
        let act = Act::Stack { packet: build::ip(&probe)?, probe };
        self.push(name, from, &to.name, act, expected)
    }
}

/// A ping of the default length by a namespace's stack to an address.
pub(super) fn ping(from: &Namespace, dst: IpAddr) -> Result<Flow> {
    let (src, length) = (Family::of(&dst).unspecified(), Ip::header_of(&dst) + PING);
    let message = Message::Echo { id: 1, seq: 1 };
    let probe = Probe { src, dst, ttl: TTL, id: 1, dont_fragment: false, length, message, mark: Mark(0) };
    flow(from, Origin::Stack, probe, None)
}

/// How a packet leaves its sender.
pub(super) struct FirstHop<'a> {
    pub link: &'a Link,
    ethernet: crate::packet::Ethernet,
    src: IpAddr,
}

pub(super) fn flow(from: &Namespace, origin: Origin, probe: Probe, fragments: Option<u16>) -> Result<Flow> {
    // What is predicted is what is sent: the packet is read from the very bytes.
    let packet = decode::ip(&build::ip(&probe)?, &decode::Tunnels::default());
    let mut packet =
        packet.ok_or_else(|| Error::new(Kind::Check, format!("a probe of {} bytes has no header", probe.length)))?;
    // The kernel makes flow labels of its own for what its sockets send (`net.ipv6.auto_flowlabels`).
    if origin == Origin::Stack {
        packet.layers.iter_mut().for_each(|ip| ip.label = None);
    }
    let port = match probe.message {
        Message::Udp { .. } => Port::Echo,
        Message::Echo { .. } | Message::Syn { .. } | Message::Init { .. } => Port::Closed,
    };
    Ok(Flow { from: from.name.clone(), origin, packet, fragments, port })
}
