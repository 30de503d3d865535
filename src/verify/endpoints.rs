//! The sockets that a run needs inside namespaces: ways to send, ports that answer, ports that are kept shut.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};

use super::checks::{Act, Check};
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;
use crate::packet::build::{Message, Probe};
use crate::packet::{Ip, Mark, UDP_HEADER};
use crate::plan::{Family, Namespace, Plan};
use crate::probe::capture::Capture;
use crate::probe::inject::{Door, Stack, Wire};
use crate::probe::together;

/// The longest datagram that is sent back, in bytes.
const DATAGRAM: usize = 2048;

/// All sockets of a run.
#[derive(Default)]
pub struct Endpoints {
    wires: BTreeMap<(String, String), Wire>,
    stacks: BTreeMap<(String, Door), Stack>,
    /// UDP ports that send back what they get.
    echoes: BTreeMap<(String, PortOf), UdpSocket>,
    /// Ports that are held and never read or listened on: a probe's own port, and a port that must be closed.
    held: BTreeMap<(String, PortOf), OwnedFd>,
}

/// A port of IPv6 if it says so, else of IPv4.
type PortOf = (bool, u16);

impl Endpoints {
    /// Opens what `checks` need.
    ///
    /// # Errors
    /// If a namespace or a socket cannot be opened.
    pub fn open(plan: &Plan, capture: &Capture, checks: &[Check]) -> Result<Endpoints> {
        let mut endpoints = Endpoints::default();
        for check in checks {
            let from = namespace(plan, &check.from)?;
            match &check.act {
                Act::Wire { interface, probe, .. } => {
                    endpoints.wire(plan, capture, from, interface)?;
                    if let Some(probe) = probe {
                        endpoints.ports(from, namespace(plan, &check.to)?, probe)?;
                    }
                }
                Act::Stack { probe, .. } => {
                    let door = Door::of(probe);
                    if let Entry::Vacant(free) = endpoints.stacks.entry((from.name.clone(), door)) {
                        free.insert(Stack::open(from, door)?);
                    }
                    endpoints.ports(from, namespace(plan, &check.to)?, probe)?;
                }
                Act::Refused { .. } | Act::Unasked { .. } => {}
            }
        }
        Ok(endpoints)
    }

    /// The way out of an interface, opened if it is not yet.
    ///
    /// # Errors
    /// If the live namespace has no such interface.
    pub fn wire(&mut self, plan: &Plan, capture: &Capture, ns: &Namespace, interface: &str) -> Result<&mut Wire> {
        match self.wires.entry((ns.name.clone(), interface.to_owned())) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(free) => {
                let position = plan.namespaces.iter().position(|known| known.name == ns.name);
                let index = position.and_then(|position| capture.index_of(position, interface));
                let missing = || Error::new(Kind::Check, format!("{} has no interface {interface}", ns.netns));
                Ok(free.insert(Wire::open(ns, interface, index.ok_or_else(missing)?)?))
            }
        }
    }

    fn ports(&mut self, from: &Namespace, to: &Namespace, probe: &Probe) -> Result<()> {
        let v6 = probe.is_v6();
        match probe.message {
            Message::Echo { .. } | Message::Init { .. } => Ok(()),
            Message::Udp { src, dst } => {
                if let Entry::Vacant(free) = self.echoes.entry((to.name.clone(), (v6, dst))) {
                    free.insert(inside(to, dst, || udp((v6, dst)))?);
                }
                self.hold(from, (v6, src), || udp((v6, src)).map(Into::into))
            }
            // Taken, and it does not listen: whoever connects to it gets a reset, and nobody else can take it.
            Message::Syn { dst, .. } => self.hold(to, (v6, dst), || bound(SockType::Stream, (v6, dst))),
        }
    }

    fn hold(&mut self, ns: &Namespace, port: PortOf, open: impl FnOnce() -> io::Result<OwnedFd> + Send) -> Result<()> {
        if let Entry::Vacant(free) = self.held.entry((ns.name.clone(), port)) {
            free.insert(inside(ns, port.1, open)?);
        }
        Ok(())
    }

    /// Sends a check's packets.
    ///
    /// # Errors
    /// What the kernel says, if it refuses them.
    pub fn send(&mut self, check: &Check) -> Result<()> {
        match &check.act {
            Act::Wire { interface, frames, .. } => {
                let wire = self.wires.get_mut(&(check.from.clone(), interface.clone()));
                let wire =
                    wire.ok_or_else(|| Error::new(Kind::Io, format!("no way out of {}/{interface}", check.from)))?;
                frames.iter().try_for_each(|frame| wire.send(frame))
            }
            Act::Stack { packet, probe } => self.by_stack(&check.from, packet, probe),
            Act::Refused { .. } | Act::Unasked { .. } => Ok(()),
        }
    }

    /// Sends a packet through a namespace's IP stack.
    ///
    /// # Errors
    /// What the kernel says, if it refuses it.
    pub fn by_stack(&mut self, from: &str, packet: &[u8], probe: &Probe) -> Result<()> {
        let (stack, dst) = (self.stacks.get_mut(&(from.to_owned(), Door::of(probe))), probe.dst);
        let stack = stack.ok_or_else(|| Error::new(Kind::Io, format!("no raw socket in {from}")))?;
        stack.send(packet, dst).map_err(|e| Error::io(format!("in {from}: the kernel refuses to send to {dst}"), e))
    }

    /// The sockets that may have something to send back.
    pub fn polled(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.echoes.values().map(AsFd::as_fd)
    }

    /// Sends back what has come to the UDP ports.
    ///
    /// # Errors
    /// If a port cannot be read. An answer that cannot be sent shows in the capture as missing.
    pub fn echo(&self) -> Result<()> {
        let mut buffer = [0; DATAGRAM];
        for ((name, (_, port)), socket) in &self.echoes {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, peer)) => self.answer(socket, buffer.get(..length).unwrap_or(&[]), peer),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error about an earlier answer.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(e) => return Err(Error::io(format!("in {name}: cannot read UDP port {port}"), e)),
                }
            }
        }
        Ok(())
    }

    fn answer(&self, socket: &UdpSocket, payload: &[u8], peer: SocketAddr) {
        // No route for the answer is a finding, and the comparison makes it: the answer was predicted and not seen.
        let _ = socket.send_to(payload, peer);
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        together::each(std::mem::take(&mut self.wires), drop);
    }
}

fn namespace<'a>(plan: &'a Plan, name: &str) -> Result<&'a Namespace> {
    plan.namespace(name).ok_or_else(|| Error::new(Kind::Check, format!("the plan has no namespace {name}")))
}

fn inside<T: Send>(ns: &Namespace, port: u16, open: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    let opened = netns::inside(netns::open(&ns.netns)?.file(), open)?;
    opened.map_err(|e| Error::io(format!("in {}: cannot take port {port} for a check", ns.netns), e))
}

fn udp(port: PortOf) -> io::Result<UdpSocket> {
    let socket = UdpSocket::from(bound(SockType::Datagram, port)?);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket that has a port at all addresses of one family.
fn bound(kind: SockType, (v6, port): PortOf) -> io::Result<OwnedFd> {
    let (domain, family) = if v6 { (AddressFamily::Inet6, Family::Inet6) } else { (AddressFamily::Inet, Family::Inet) };
    let fd = socket(domain, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if v6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(family.unspecified(), port)))?;
    Ok(fd)
}

/// What a kernel said to a datagram that is longer than its MTU and must not be fragmented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It refused, and told this MTU in bytes.
    TooLong(u32),
    /// It failed in another way.
    Otherwise(String),
    /// It sent it.
    Sent,
}

/// Sends a datagram with DF through the stack of `ns`; the IP packet is `length` bytes long.
///
/// # Errors
/// If the socket cannot be made.
pub fn too_long(ns: &Namespace, dst: IpAddr, length: u16, mark: Mark) -> Result<Refusal> {
    let mut payload = vec![0; usize::from(length.saturating_sub(Ip::header_of(&dst) + UDP_HEADER))];
    mark.fill(&mut payload);
    let work = || -> io::Result<Refusal> {
        let socket = UdpSocket::bind((Family::of(&dst).unspecified(), 0))?;
        let mtu = must_not_split(&socket, dst.is_ipv6())?;
        socket.connect((dst, 9))?;
        match socket.send(&payload) {
            Ok(_) => Ok(Refusal::Sent),
            Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => {
                let mtu: i32 = crate::probe::option(&socket, mtu.0, mtu.1, 0)?;
                Ok(Refusal::TooLong(u32::try_from(mtu).unwrap_or(0)))
            }
            Err(e) => Ok(Refusal::Otherwise(e.to_string())),
        }
    };
    let result = netns::inside(netns::open(&ns.netns)?.file(), work)?;
    Ok(result.unwrap_or_else(|e| Refusal::Otherwise(e.to_string())))
}

/// Forbids the kernel to fragment what a socket sends; gives level and name of the option that tells the MTU.
fn must_not_split(socket: &UdpSocket, v6: bool) -> io::Result<(libc::c_int, libc::c_int)> {
    let (level, discover, always, mtu) = match v6 {
        false => (libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO, libc::IP_MTU),
        true => (libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO, libc::IPV6_MTU),
    };
    crate::probe::set_option(socket, level, discover, &always)?;
    if v6 {
        // Discovery alone says "too big" only after having sent.
        crate::probe::set_option(socket, level, libc::IPV6_DONTFRAG, &1)?;
    }
    Ok((level, mtu))
}
