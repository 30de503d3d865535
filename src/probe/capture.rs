//! Everything that passes any interface of any namespace of a cluster, with the kernel's time stamps.
//!
//! One AF_PACKET socket per namespace hears all of its interfaces; all sockets are read from one poll loop. Read
//! through a ring of our own (see `ring`) and not through pnet's channel, which hides what matters here: interface,
//! direction and time.
//! Decoding is pnet's (see [`crate::packet::decode`]).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ring::{Ring, Slot};
use super::{socket, together};
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;
use crate::packet::decode::{self, LinkType, Tunnels};
use crate::packet::{Direction, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MARK, Frame};
use crate::plan::{LinkKind, Namespace};

/// Bytes kept of each frame: all headers, a quotation in an ICMP error, and the mark in the payload.
const SNAP_LENGTH: u32 = 256;
/// Blocks of the ring, of 128 frames each: for a namespace with many interfaces, and for a pod.
const BLOCKS: (u32, u32) = (16, 4);
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// Where and when a frame was seen, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Position of the namespace in the list that the capture was opened with.
    pub namespace: usize,
    /// Index of the interface in its namespace.
    pub interface: u32,
    /// Which way it went.
    pub direction: Direction,
    /// The kernel's time in nanoseconds since 1970.
    pub time: i64,
    /// The frame.
    pub frame: Frame,
}

/// An open capture on all interfaces of some namespaces.
#[derive(Debug)]
pub struct Capture {
    ears: Vec<Ear>,
    /// Which UDP ports carry packets, by the links that were meant to be there.
    tunnels: Tunnels,
}

#[derive(Debug)]
struct Ear {
    netns: String,
    socket: OwnedFd,
    ring: Ring,
    interfaces: BTreeMap<u32, String>,
}

impl Capture {
    /// Opens a capture on `namespaces`, all of which must exist in the kernel.
    ///
    /// # Errors
    /// If a namespace or a socket in it cannot be opened.
    pub fn open<'a>(namespaces: impl IntoIterator<Item = &'a Namespace>) -> Result<Capture> {
        let namespaces: Vec<&Namespace> = namespaces.into_iter().collect();
        let tunnels = tunnels(&namespaces);
        let ears = together::each(namespaces, |ns| Ear::open(&ns.netns)).into_iter().collect::<Result<_>>()?;
        Ok(Capture { ears, tunnels })
    }

    /// The name of an interface; none if it appeared after the capture was opened.
    pub fn interface(&self, namespace: usize, index: u32) -> Option<&str> {
        self.ears.get(namespace)?.interfaces.get(&index).map(String::as_str)
    }

    /// The index of an interface.
    pub fn index_of(&self, namespace: usize, name: &str) -> Option<u32> {
        self.ears.get(namespace)?.interfaces.iter().find(|(_, known)| *known == name).map(|(index, _)| *index)
    }

    /// The sockets, to be polled together with others.
    pub fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.ears.iter().map(|ear| &ear.socket)
    }

    /// Waits until a socket has something to read, or `deadline` has passed, which gives false.
    ///
    /// # Errors
    /// If poll(2) fails.
    pub fn wait(&self, deadline: Instant) -> Result<bool> {
        let mut polled: Vec<PollFd> = self.sockets().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        wait_for(&mut polled, deadline)
    }

    /// Takes everything that has been captured so far and gives it to `see`, without waiting.
    pub fn drain(&mut self, mut see: impl FnMut(Sighting)) {
        for (namespace, ear) in self.ears.iter_mut().enumerate() {
            while ear.ring.take(|slot| see(sighting(namespace, &slot, &self.tunnels))) {}
        }
    }

    /// Fails if the kernel had to leave out frames since the last call.
    ///
    /// # Errors
    /// Of kind [`Kind::Check`] if it did.
    pub fn complete(&self) -> Result<()> {
        for ear in &self.ears {
            let none = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
            let stats = socket::option(&ear.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, none)
                .map_err(|e| ear.cannot("read capture statistics", e))?;
            if stats.tp_drops > 0 {
                let text =
                    format!("the capture in {} lost {} of {} frames", ear.netns, stats.tp_drops, stats.tp_packets);
                return Err(Error::new(Kind::Check, text).hint("there is much other traffic; stop it and try again"));
            }
        }
        Ok(())
    }
}

/// Polls `fds` until one is ready or `deadline` has passed, which gives false.
///
/// # Errors
/// If poll(2) fails.
pub fn wait_for(fds: &mut [PollFd], deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a rest of less than a millisecond must not become a busy loop.
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(fds, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(e) => return Err(Error::io("cannot wait for packets", e)),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        together::each(std::mem::take(&mut self.ears), drop);
    }
}

impl Ear {
    fn open(netns: &str) -> Result<Ear> {
        let ns = netns::open(netns)?;
        let opened = netns::inside(ns.file(), || interfaces().and_then(listen))?;
        let (socket, ring, interfaces) =
            opened.map_err(|e: io::Error| Error::io(format!("in {netns}: cannot open a capture"), e))?;
        Ok(Ear { netns: netns.to_owned(), socket, ring, interfaces })
    }

    fn cannot(&self, doing: &str, error: io::Error) -> Error {
        Error::io(format!("in {}: cannot {doing}", self.netns), error)
    }
}

fn interfaces() -> io::Result<BTreeMap<u32, String>> {
    let list = nix::net::if_::if_nameindex()?;
    Ok(list.iter().map(|interface| (interface.index(), interface.name().to_string_lossy().into_owned())).collect())
}

/// The ports of the tunnels over UDP, beside those that VXLAN has by default.
fn tunnels(namespaces: &[&Namespace]) -> Tunnels {
    let mut tunnels = Tunnels::default();
    for link in namespaces.iter().flat_map(|ns| &ns.links) {
        let (ports, port) = match &link.kind {
            LinkKind::Vxlan(vxlan) => (&mut tunnels.vxlan, vxlan.port),
            LinkKind::Udp(tunnel) => (&mut tunnels.bare, tunnel.port),
            _ => continue,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    tunnels
}

fn sighting(namespace: usize, slot: &Slot, tunnels: &Tunnels) -> Sighting {
    let ethernet = matches!(slot.hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK);
    let link = if ethernet { LinkType::Ethernet } else { LinkType::RawIp };
    Sighting {
        namespace,
        interface: slot.interface,
        direction: if slot.outgoing { Direction::Out } else { Direction::In },
        time: slot.time,
        frame: decode::frame(link, slot.bytes, slot.length, slot.vlan, tunnels),
    }
}

/// A socket that hears IP of both families, ARP and minik's marks on all interfaces of this thread's namespace, both ways.
fn listen(interfaces: BTreeMap<u32, String>) -> io::Result<(OwnedFd, Ring, BTreeMap<u32, String>)> {
    // Protocol 0 hears nothing yet: filter and ring are in place before the bind below opens the door.
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
    socket::attach_filter(&fd, &mut filter())?;
    // A pod has two interfaces, a few at most with tunnels' own devices.
    let ring = Ring::new(&fd, if interfaces.len() > 3 { BLOCKS.0 } else { BLOCKS.1 })?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the pointer and the length describe `address`.
    let status = unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok((fd, ring, interfaces)) }
}

/// Only the protocols of [`listen`], by the protocol that the kernel knows the packet by, so that it holds on
/// devices without an Ethernet header too. Before Linux 6.8 it knows none, 0, of what a program sends as a whole frame
/// out of a macvlan device (no `parse_protocol` among `macvlan_hard_header_ops`): there the frame itself says it.
fn filter() -> [libc::sock_filter; 8] {
    let protocol = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    [
        socket::instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, protocol),
        socket::instruction(equal, 5, 0, u32::from(ETHERTYPE_IPV4)),
        socket::instruction(equal, 4, 0, 0),
        socket::instruction(equal, 3, 0, u32::from(ETHERTYPE_IPV6)),
        socket::instruction(equal, 2, 0, u32::from(ETHERTYPE_ARP)),
        socket::instruction(equal, 1, 0, u32::from(ETHERTYPE_MARK)),
        socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, SNAP_LENGTH),
    ]
}
