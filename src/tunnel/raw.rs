//! The raw socket of a node for protocol 4: what is sent on it passes OUTPUT and POSTROUTING, what comes from it
//! has passed PREROUTING and INPUT. EFFECTS.
//!
//! Packets go out with the header that the tunnel wrote (IP_HDRINCL). Linux takes no such packet that is longer
//! than the device's MTU; for those few the kernel is given the payload and the header's fields instead, so
//! that netfilter sees the packet whole and the kernel cuts it, as with its own tunnel.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, bind, connect, sendmsg, setsockopt, sockopt};

use super::Peer;
use super::ipip::{Outer, Path};
use super::packet::protocol;
use crate::error::{Error, Kind, Result};

/// Bytes that may wait to be received or sent, as the kernel accounts them (about 768 for a small packet). A
/// limit, not an allocation.
const BUFFER: usize = 16 * 1024 * 1024;

/// A raw socket for IP in IP.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RawSocket {
    /// Opens it in the calling thread's namespace. With a peer it gets what comes from there to the local address and
    /// nothing else, so that several tunnels of a namespace do not read each other's packets.
    ///
    /// # Errors
    /// If the kernel refuses, which it does without CAP_NET_RAW and CAP_NET_ADMIN.
    pub fn open(peer: Option<Peer>) -> Result<RawSocket> {
        RawSocket::try_open(peer).map_err(|e| {
            let kind = if e.raw_os_error() == Some(libc::EPERM) { Kind::Permission } else { Kind::Io };
            Error::new(kind, "cannot open a raw socket for protocol 4").because(e)
        })
    }

    fn try_open(peer: Option<Peer>) -> io::Result<RawSocket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // nix has no name for protocol 4.
        // SAFETY: no memory is involved; a descriptor that was given is owned from here on.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_INET, kind, libc::c_int::from(protocol::IPIP));
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let raw = RawSocket { fd };
        enlarge(&raw.fd)?;
        raw.option(libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        raw.option(libc::IP_HDRINCL, 1)?;
        if let Some(Peer { local, remote }) = peer {
            let end = |address| SockaddrIn::from(SocketAddrV4::new(address, 0));
            bind(raw.fd.as_raw_fd(), &end(local))?;
            connect(raw.fd.as_raw_fd(), &end(remote))?;
        }
        Ok(raw)
    }

    /// Sends one packet with the header that it has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, parts: [&[u8]; 2], destination: Ipv4Addr) -> io::Result<()> {
        let parts = parts.map(IoSlice::new);
        let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
        sendmsg(self.fd.as_raw_fd(), &parts, &[], MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }

    /// Sends `inner` behind an outer header of the kernel's making, in as many fragments as it takes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send_in_fragments(&self, inner: [&[u8]; 2], outer: Outer, path: &Path) -> io::Result<()> {
        self.option(libc::IP_HDRINCL, 0)?;
        let sent = self.send_payload(inner, outer, path);
        self.option(libc::IP_HDRINCL, 1)?;
        sent
    }

    fn send_payload(&self, inner: [&[u8]; 2], outer: Outer, path: &Path) -> io::Result<()> {
        self.option(libc::IP_TTL, libc::c_int::from(outer.ttl))?;
        self.option(libc::IP_TOS, libc::c_int::from(outer.tos))?;
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(path.source.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(SocketAddrV4::new(path.destination, 0));
        let control = [ControlMessage::Ipv4PacketInfo(&source)];
        sendmsg(self.fd.as_raw_fd(), &inner.map(IoSlice::new), &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }

    fn option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the kernel reads one int.
        let result = unsafe {
            let value: *const libc::c_int = &value;
            libc::setsockopt(self.fd.as_raw_fd(), libc::IPPROTO_IP, name, value.cast(), size)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Gives a tunnel's socket the room that many packets at once take.
///
/// # Errors
/// The kernel's.
pub fn enlarge(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(socket, sockopt::SndBufForce, &BUFFER)?;
    Ok(())
}

/// Places for many messages of one or two pieces each, for one system call. Allocated once.
pub struct Messages {
    vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_in>,
    headers: Vec<libc::mmsghdr>,
}

impl Messages {
    /// Room for `count` messages.
    pub fn new(count: usize) -> Messages {
        Messages {
            vectors: Vec::with_capacity(2 * count),
            addresses: Vec::with_capacity(count),
            headers: Vec::with_capacity(count),
        }
    }

    /// Sends messages, each in two pieces, the second of which may be empty. Gives the number of messages sent,
    /// which is smaller than all of them if a later one was refused.
    ///
    /// # Errors
    /// The kernel's, if the first message was refused.
    pub fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        messages: impl Iterator<Item = ([&'a [u8]; 2], SocketAddrV4)>,
    ) -> io::Result<usize> {
        self.clear();
        for (parts, destination) in messages {
            self.vectors.extend(parts.map(|part| vector(part.as_ptr().cast_mut(), part.len())));
            self.addresses.push(address(destination));
        }
        self.build_headers();
        // SAFETY: every pointer in the headers leads into `vectors`, `addresses` or one of the pieces, all of
        // which live until the call returns; the kernel only reads them.
        let sent = unsafe {
            let count = self.headers.len() as libc::c_uint;
            libc::sendmmsg(socket.as_fd().as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        self.clear();
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn build_headers(&mut self) {
        for (vectors, address) in self.vectors.chunks_exact_mut(2).zip(&mut self.addresses) {
            // SAFETY: an mmsghdr is plain data, valid when all bytes are zero.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            let address: *mut libc::sockaddr_in = address;
            header.msg_hdr.msg_name = address.cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_iovlen = if vectors[1].iov_len == 0 { 1 } else { 2 };
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            self.headers.push(header);
        }
    }

    /// No pointer outlives the call it was made for.
    fn clear(&mut self) {
        self.headers.clear();
        self.vectors.clear();
        self.addresses.clear();
    }
}

/// Buffers for many packets received by one system call. Only pages that were written to take memory, so room
/// for the longest packet costs nothing until one comes.
pub struct Inbox {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// From one buffer to the next: the longest packet, and as much more as keeps the beginnings of buffers from
/// falling together in the processor's cache.
const STRIDE: usize = 65_536 + 1_600;

impl Inbox {
    /// Packets that one call receives at most.
    pub const SLOTS: usize = 64;

    /// Allocates the buffers.
    pub fn new() -> Inbox {
        let slots = Inbox::SLOTS;
        Inbox {
            bytes: vec![0; slots * STRIDE],
            lengths: Vec::with_capacity(slots),
            vectors: Vec::with_capacity(slots),
            headers: Vec::with_capacity(slots),
        }
    }

    /// Receives what is there, without waiting. Gives the number of packets.
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` if there is nothing.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.vectors.extend(self.bytes.chunks_exact_mut(STRIDE).map(|slot| vector(slot.as_mut_ptr(), slot.len())));
        for vector in &mut self.vectors {
            // SAFETY: an mmsghdr is plain data, valid when all bytes are zero.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        // SAFETY: every pointer in the headers leads into `vectors`, and from there into a slot of `bytes` that
        // nothing else borrows; each vector has its slot's length.
        let received = unsafe {
            let count = self.headers.len() as libc::c_uint;
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(socket.as_fd().as_raw_fd(), headers, count, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let result = usize::try_from(received).map_err(|_| io::Error::last_os_error());
        let count = *result.as_ref().unwrap_or(&0);
        self.lengths.clear();
        self.lengths.extend(self.headers[..count].iter().map(|header| (header.msg_len as usize).min(STRIDE)));
        self.headers.clear();
        self.vectors.clear();
        result
    }

    /// The packet in slot `index` of the last call.
    pub fn packet(&self, index: usize) -> &[u8] {
        let start = index * STRIDE;
        &self.bytes[start..start + self.lengths[index]]
    }

    /// The same, to be changed.
    pub fn packet_mut(&mut self, index: usize) -> &mut [u8] {
        let start = index * STRIDE;
        &mut self.bytes[start..start + self.lengths[index]]
    }
}

fn vector(start: *mut u8, length: usize) -> libc::iovec {
    libc::iovec { iov_base: start.cast(), iov_len: length }
}

fn address(destination: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: destination.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(destination.ip().octets()) },
        sin_zero: [0; 8],
    }
}
