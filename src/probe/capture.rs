//! Everything that passes any interface of any namespace of a cluster, with the kernel's time stamps.
//!
//! One AF_PACKET socket per namespace hears all of its interfaces; all sockets are read from one poll loop. Read
//! directly and not through pnet's channel, which hides what matters here: interface, direction and time.
//! Decoding is pnet's (see [`crate::packet::decode`]).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::socket;
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;
use crate::packet::decode::{self, LinkType};
use crate::packet::{Direction, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_MARK, Frame};
use crate::plan::Namespace;

/// Bytes kept of each frame: all headers, a quotation in an ICMP error, and the mark in the payload.
const SNAP_LENGTH: u32 = 256;
/// Receive buffer of each socket, in bytes.
const RECEIVE_BUFFER: libc::c_int = 16 << 20;
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
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Ear {
    netns: String,
    socket: OwnedFd,
    interfaces: BTreeMap<u32, String>,
}

impl Capture {
    /// Opens a capture on `namespaces`, all of which must exist in the kernel.
    ///
    /// # Errors
    /// If a namespace or a socket in it cannot be opened.
    pub fn open<'a>(namespaces: impl IntoIterator<Item = &'a Namespace>) -> Result<Capture> {
        let ears = namespaces.into_iter().map(|ns| Ear::open(&ns.netns)).collect::<Result<_>>()?;
        Ok(Capture { ears, buffer: vec![0; SNAP_LENGTH as usize] })
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
    ///
    /// # Errors
    /// If a socket cannot be read.
    pub fn drain(&mut self, mut see: impl FnMut(Sighting)) -> Result<()> {
        for (namespace, ear) in self.ears.iter().enumerate() {
            while let Some(raw) = receive(&ear.socket, &mut self.buffer).map_err(|e| ear.cannot("read a capture", e))? {
                let link = if matches!(raw.hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK) {
                    LinkType::Ethernet
                } else {
                    LinkType::RawIp
                };
                let bytes = self.buffer.get(..raw.captured).unwrap_or(&self.buffer);
                see(Sighting {
                    namespace,
                    interface: raw.interface,
                    direction: if raw.outgoing { Direction::Out } else { Direction::In },
                    time: raw.time,
                    frame: decode::frame(link, bytes, raw.length, raw.vlan),
                });
            }
        }
        Ok(())
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

impl Ear {
    fn open(netns: &str) -> Result<Ear> {
        let ns = netns::open(netns)?;
        let opened = netns::inside(ns.file(), || Ok((listen()?, interfaces()?)))?;
        let (socket, interfaces) =
            opened.map_err(|e: io::Error| Error::io(format!("in {netns}: cannot open a capture"), e))?;
        Ok(Ear { netns: netns.to_owned(), socket, interfaces })
    }

    fn cannot(&self, doing: &str, error: io::Error) -> Error {
        Error::io(format!("in {}: cannot {doing}", self.netns), error)
    }
}

fn interfaces() -> io::Result<BTreeMap<u32, String>> {
    let list = nix::net::if_::if_nameindex()?;
    Ok(list.iter().map(|interface| (interface.index(), interface.name().to_string_lossy().into_owned())).collect())
}

/// A socket that hears IPv4, ARP and minik's marks on all interfaces of this thread's namespace, both ways.
fn listen() -> io::Result<OwnedFd> {
    // Protocol 0 hears nothing yet: options and filter are in place before the bind below opens the door.
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
    socket::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
    socket::set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    socket::set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    socket::attach_filter(&fd, &mut filter())?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the pointer and the length describe `address`.
    let status = unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Only the protocols of [`listen`], by the protocol that the kernel knows the packet by, so that it holds on
/// devices without an Ethernet header too.
fn filter() -> [libc::sock_filter; 6] {
    let protocol = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    [
        socket::instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, protocol),
        socket::instruction(equal, 3, 0, u32::from(ETHERTYPE_IPV4)),
        socket::instruction(equal, 2, 0, u32::from(ETHERTYPE_ARP)),
        socket::instruction(equal, 1, 0, u32::from(ETHERTYPE_MARK)),
        socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, SNAP_LENGTH),
    ]
}

struct Raw {
    interface: u32,
    hardware: u16,
    outgoing: bool,
    time: i64,
    captured: usize,
    length: usize,
    vlan: Option<u16>,
}

/// Reads one frame; none if there is none at the moment.
fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Raw>> {
    // SAFETY: all-zero bytes are valid for both structs.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut control = [0u64; 32];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = std::ptr::from_mut(&mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `message` is to a live buffer of the length that stands beside it.
    let read = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, 0) };
    let Ok(captured) = usize::try_from(read) else {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(None),
            Some(libc::EINTR) => receive(fd, buffer),
            // An interface went down: the socket says so once and goes on.
            Some(libc::ENETDOWN) => receive(fd, buffer),
            _ => Err(error),
        };
    };
    let mut raw = Raw {
        interface: u32::try_from(address.sll_ifindex).unwrap_or(0),
        hardware: address.sll_hatype,
        outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
        time: 0,
        captured,
        length: captured,
        vlan: None,
    };
    read_control(&message, &mut raw);
    Ok(Some(raw))
}

/// Takes the time stamp, the length on the wire and the VLAN tag out of the control messages.
fn read_control(message: &libc::msghdr, raw: &mut Raw) {
    // SAFETY: `message` was filled by recvmsg(2), and CMSG_* walk inside its control buffer; the structs are read
    // unaligned, from messages whose level and type say that they hold them.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(next).cast());
                    raw.time = time.tv_sec * 1_000_000_000 + time.tv_nsec;
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let aux: libc::tpacket_auxdata = std::ptr::read_unaligned(libc::CMSG_DATA(next).cast());
                    raw.length = aux.tp_len as usize;
                    raw.vlan = (aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(aux.tp_vlan_tci & 0x0fff);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
}
