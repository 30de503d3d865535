//! One end of flannel's udp backend: the TUN device and the UDP socket of a node, and what passes between them. EFFECTS.
//!
//! The socket is an ordinary one, bound to the node's address: what it sends passes OUTPUT and POSTROUTING and has Don't
//! Fragment set (net.ipv4.ip_no_pmtu_disc is 0, so IP_PMTUDISC_WANT), and is cut only where the way is known to be
//! narrower. Offloads are not asked for: flanneld does not, so a capture of flannel0 shows what goes over the wire.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::Datagrams;
use super::bare::{self, Subnets};
use super::counters::{Cause, Counters};
use super::endpoint::{Buffers, CAREFUL, Gone, READS, ROUNDS};
use super::outbox::Place;
use super::packet::Ipv4;
use super::raw::{self, Inbox};
use super::segment;
use super::vnet::{self, Offload};
use crate::error::{Error, Kind, Result};
use crate::kernel::tun;

/// One end.
#[derive(Debug)]
pub(super) struct UdpEndpoint {
    device: File,
    socket: UdpSocket,
    subnets: Subnets,
    /// The device's address, from which the proxy speaks.
    address: Ipv4Addr,
    counters: Arc<Counters>,
    /// Packets that are still to be sent singly.
    careful: u32,
}

impl UdpEndpoint {
    /// Attaches to `device` in the calling thread's namespace and opens the socket there.
    pub(super) fn open(device: &str, how: &Datagrams, counters: Arc<Counters>) -> Result<UdpEndpoint> {
        let socket = open(how.local).map_err(|e| {
            let taken = e.kind() == io::ErrorKind::AddrInUse;
            let error = Error::new(Kind::Io, format!("cannot open UDP port {}", how.local)).because(e);
            if taken { error.hint("another program in the node's namespace has it") } else { error }
        })?;
        let device = File::from(OwnedFd::from(tun::attach_plain(device)?));
        let subnets = Subnets::new(how.subnets.clone());
        Ok(UdpEndpoint { device, socket, subnets, address: how.address, counters, careful: 0 })
    }

    /// The descriptors to wait on: of the device, and of the socket.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.device.as_fd(), self.socket.as_fd()]
    }

    /// Takes packets from the device to the wire.
    pub(super) fn transmit(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        let mut ended = Ok(());
        for _ in 0..READS {
            let Some(room) = buffers.outbox.room() else {
                self.send(buffers);
                continue;
            };
            match self.device.read(room).map(|length| buffers.outbox.take(length)) {
                Ok(Some(packet)) => buffers.read.push(packet),
                Ok(None) => self.counters.dropped(Cause::NotIpv4, 1),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    ended = if e.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(Gone(e)) };
                    break;
                }
            }
        }
        self.send(buffers);
        ended
    }

    /// Sends what was read.
    fn send(&mut self, buffers: &mut Buffers) {
        let mut read = std::mem::take(&mut buffers.read);
        for (offload, place) in read.drain(..) {
            if buffers.outbox.is_full() {
                self.flush(buffers);
            }
            if let Err(cause) = self.queue(buffers, offload, &place) {
                self.counters.dropped(cause, 1);
            }
        }
        buffers.read = read;
        self.flush(buffers);
        buffers.outbox.clear();
    }

    fn queue(&mut self, buffers: &mut Buffers, offload: Offload, place: &Place) -> Result<(), Cause> {
        let Offload::Packet(partial) = offload else {
            return Err(Cause::NotIpv4);
        };
        let packet = buffers.outbox.packet_mut(place);
        if partial.is_some_and(|partial| !segment::complete_checksum(packet, partial)) {
            return Err(Cause::NotIpv4);
        }
        let destination = Ipv4::parse(packet).ok_or(Cause::NotIpv4)?.destination;
        let Some(to) = self.subnets.find(destination) else {
            self.refuse(packet);
            return Err(Cause::NoRoute);
        };
        if !bare::lower_ttl(packet) {
            return Err(Cause::TtlOut);
        }
        buffers.outbox.push_bare(place, to);
        Ok(())
    }

    /// Tells the source of a packet that no node has its destination.
    fn refuse(&self, packet: &[u8]) {
        let mut message = [0u8; bare::MESSAGE_MAX];
        if let Some(length) = bare::net_unreachable(packet, self.address, &mut message) {
            // That the message itself is refused changes nothing for the packet, which is counted as dropped.
            let _ = self.write(&message[..length]);
        }
    }

    /// Sends what is queued; the room of the packets is kept.
    fn flush(&mut self, buffers: &mut Buffers) {
        let outbox = &buffers.outbox;
        let mut next = 0;
        while next < outbox.len() {
            let count = if self.careful > 0 { 1 } else { outbox.len() - next };
            let batch = (next..next + count).map(|index| (outbox.outer(index), outbox.destination(index)));
            match buffers.messages.send(&self.socket, batch) {
                Ok(sent) => {
                    let bytes: usize = (next..next + sent).map(|index| outbox.outer(index)[0].len()).sum();
                    self.counters.sent(sent as u64, bytes as u64);
                    self.careful = self.careful.saturating_sub(sent as u32);
                    next += sent;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let cause = self.cause(&e);
                    self.counters.dropped(cause, 1);
                    next += 1;
                }
            }
        }
        buffers.outbox.clear_messages();
    }

    fn cause(&mut self, error: &io::Error) -> Cause {
        match error.raw_os_error() {
            Some(libc::EPERM) => {
                self.careful = CAREFUL;
                Cause::Filtered
            }
            Some(libc::EMSGSIZE) => Cause::TooBig,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Cause::NoBuffer,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EINVAL | libc::EACCES) => {
                Cause::NoRoute
            }
            _ => Cause::Unsent,
        }
    }

    /// Takes packets from the wire to the device.
    pub(super) fn receive(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        for _ in 0..ROUNDS {
            let count = match buffers.inbox.receive(&self.socket) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // An error that waited on the socket (ICMP about an earlier datagram): it is gone once told.
                Err(_) => continue,
            };
            for index in 0..count {
                self.deliver(buffers.inbox.packet_mut(index))?;
            }
            if count < Inbox::SLOTS {
                break;
            }
        }
        Ok(())
    }

    /// Writes one packet to the device.
    fn deliver(&self, packet: &mut [u8]) -> Result<(), Gone> {
        if Ipv4::parse(packet).is_none() {
            self.counters.dropped(Cause::Malformed, 1);
            return Ok(());
        }
        if !bare::lower_ttl(packet) {
            self.counters.dropped(Cause::TtlIn, 1);
            return Ok(());
        }
        match self.write(packet) {
            Ok(()) => self.counters.received(1, packet.len() as u64),
            Err(e) => match e.raw_os_error() {
                Some(libc::EBADFD | libc::EFAULT | libc::ENODEV) => return Err(Gone(e)),
                Some(libc::EIO) => self.counters.dropped(Cause::DeviceDown, 1),
                _ => self.counters.dropped(Cause::Undelivered, 1),
            },
        }
        Ok(())
    }

    fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.device).write_vectored(&[IoSlice::new(&vnet::COMPLETE), IoSlice::new(packet)]).map(drop)
    }
}

fn open(local: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    socket.set_nonblocking(true)?;
    raw::enlarge(&socket)?;
    Ok(socket)
}
