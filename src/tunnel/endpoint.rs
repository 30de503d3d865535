//! One end of a tunnel: the device and the raw socket of one namespace, and what passes between them. EFFECTS.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::Peer;
use super::coalesce::{self, Coalescer, Group};
use super::complaints::Complaints;
use super::counters::{Cause, Counters};
use super::icmp;
use super::ipip::{self, Fate, Outer, Path, Refused};
use super::outbox::{MESSAGES, Outbox, Place};
use super::packet::Ipv4;
use super::paths::Paths;
use super::ratelimit::RateLimit;
use super::raw::{Inbox, Messages, RawSocket};
use super::segment::{self, Super};
use super::vnet::{self, Offload};
use crate::error::Result;
use crate::kernel::tun;

/// Packets read from the device in one turn, so that no tunnel keeps another waiting for long.
pub(super) const READS: usize = 64;

/// Rounds of receiving in one turn.
pub(super) const ROUNDS: usize = 2;

/// After the firewall dropped a packet, so many are sent singly: a refused packet within a batch would pass the
/// firewall a second time, to learn the reason, and be counted twice there.
pub(super) const CAREFUL: u32 = 256;

/// TTL of the ICMP messages that a tunnel sends (net.ipv4.ip_default_ttl as it is at first).
const ICMP_TTL: u8 = 64;

/// The buffers of a worker, which all its tunnels use in turn.
pub(super) struct Buffers {
    pub(super) outbox: Outbox,
    /// What was read into the outbox and is to be sent.
    pub(super) read: Vec<(Offload, Place)>,
    pub(super) messages: Messages,
    pub(super) inbox: Inbox,
    /// For each packet of the inbox, where the inner packet is.
    inner: Vec<Place>,
    coalescer: Coalescer,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers {
            outbox: Outbox::new(),
            read: Vec::with_capacity(READS),
            messages: Messages::new(MESSAGES),
            inbox: Inbox::new(),
            inner: vec![0..0; Inbox::SLOTS],
            coalescer: Coalescer::new(Inbox::SLOTS),
        }
    }
}

/// The device is no more, or no more this process's: why.
#[derive(Debug)]
pub(super) struct Gone(pub(super) io::Error);

/// One end of a tunnel.
#[derive(Debug)]
pub(super) struct Endpoint {
    device: File,
    raw: RawSocket,
    paths: Paths,
    counters: Arc<Counters>,
    /// Identification of the next outer packet.
    id: u16,
    /// Packets that are still to be sent singly.
    careful: u32,
    complaints: Complaints,
    limit: RateLimit,
}

impl Endpoint {
    /// Attaches to `device` in the calling thread's namespace, for packets from and to `peer` alone if there is one.
    pub(super) fn open(device: &str, peer: Option<Peer>, counters: Arc<Counters>) -> Result<Endpoint> {
        let raw = RawSocket::open(peer)?;
        let tun = tun::attach(device)?;
        let paths = Paths::open(tun.index, peer)?;
        let device = File::from(OwnedFd::from(tun));
        let (complaints, limit) = (Complaints::default(), RateLimit::open()?);
        Ok(Endpoint { device, raw, paths, counters, id: 1, careful: 0, complaints, limit })
    }

    /// The descriptors to wait on: of the device, of the raw socket, and of news about routes.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.device.as_fd(), self.raw.as_fd(), self.paths.watch().as_fd()]
    }

    /// Takes notice of changed routes.
    pub(super) fn hear(&mut self) {
        self.paths.hear();
    }

    /// Takes packets from the device to the wire.
    pub(super) fn transmit(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        for _ in 0..READS {
            let Some(room) = buffers.outbox.room() else {
                self.send(buffers);
                continue;
            };
            match self.device.read(room).map(|length| buffers.outbox.take(length)) {
                Ok(Some(packet)) => buffers.read.push(packet),
                Ok(None) => self.counters.dropped(Cause::NotIpv4, 1),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.send(buffers);
                    return Err(Gone(e));
                }
            }
        }
        self.send(buffers);
        Ok(())
    }

    /// Sends what was read. The news about routes are heard in between: what is sent by a pod after a route has changed
    /// goes the new way.
    fn send(&mut self, buffers: &mut Buffers) {
        let now = Instant::now();
        self.hear();
        let mut read = std::mem::take(&mut buffers.read);
        read.drain(..).for_each(|(offload, place)| self.queue(buffers, offload, &place, now));
        buffers.read = read;
        self.flush(buffers, now);
        buffers.outbox.clear();
    }

    fn queue(&mut self, buffers: &mut Buffers, offload: Offload, place: &Place, now: Instant) {
        let queued = match offload {
            Offload::Packet(partial) => {
                let packet = buffers.outbox.packet_mut(place);
                if partial.is_none_or(|partial| segment::complete_checksum(packet, partial)) {
                    self.queue_whole(buffers, place, now)
                } else {
                    Err(Cause::NotIpv4)
                }
            }
            Offload::Tcp4 { size } => self.queue_cut(buffers, place, size, now),
            Offload::Unknown(_) => Err(Cause::NotIpv4),
        };
        if let Err(cause) = queued {
            self.counters.dropped(cause, 1);
        }
    }

    fn queue_whole(&mut self, buffers: &mut Buffers, place: &Place, now: Instant) -> Result<(), Cause> {
        let packet = buffers.outbox.packet(place);
        let inner = Ipv4::parse(packet).ok_or(Cause::NotIpv4)?;
        let path = self.paths.find(inner.destination, now)?;
        match ipip::encapsulate(&inner, packet.len(), &path) {
            Fate::Whole(outer) => {
                if buffers.outbox.is_full() {
                    self.flush(buffers, now);
                }
                buffers.outbox.push_whole(place, outer, &path, self.next_id());
                Ok(())
            }
            Fate::InFragments(outer) => {
                self.flush(buffers, now);
                self.send_in_fragments([buffers.outbox.packet(place), &[]], outer, &path);
                Ok(())
            }
            Fate::TooBig { mtu } => self.refuse([packet, &[]], mtu),
            Fate::Oversize => Err(Cause::TooBig),
        }
    }

    fn queue_cut(&mut self, buffers: &mut Buffers, place: &Place, size: u16, now: Instant) -> Result<(), Cause> {
        let packet = buffers.outbox.packet(place);
        let cut = Super::parse(packet, size).ok_or(Cause::NotIpv4)?;
        let path = self.paths.find(cut.ip().destination, now)?;
        let (outer, in_fragments) = match ipip::encapsulate(cut.ip(), cut.longest(), &path) {
            Fate::Whole(outer) => (outer, false),
            Fate::InFragments(outer) => (outer, true),
            Fate::TooBig { mtu } => return self.refuse([packet, &[]], mtu),
            Fate::Oversize => return Err(Cause::TooBig),
        };
        for index in 0..cut.count() {
            if in_fragments || buffers.outbox.is_full() {
                self.flush(buffers, now);
            }
            buffers.outbox.push_segment(place, &cut, index, outer, &path, self.next_id());
            if in_fragments {
                self.send_in_fragments(buffers.outbox.inner(0), outer, &path);
                buffers.outbox.clear_messages();
            }
        }
        Ok(())
    }

    /// Sends what is queued; the room of the packets is kept.
    fn flush(&mut self, buffers: &mut Buffers, now: Instant) {
        let outbox = &buffers.outbox;
        let mut next = 0;
        while next < outbox.len() {
            let count = if self.careful > 0 { 1 } else { outbox.len() - next };
            let batch = (next..next + count).map(|index| (outbox.outer(index), outbox.destination(index)));
            match buffers.messages.send(&self.raw, batch) {
                Ok(sent) => {
                    let bytes: usize = (next..next + sent).map(|index| outbox.inner_length(index)).sum();
                    self.counters.sent(sent as u64, bytes as u64);
                    self.careful = self.careful.saturating_sub(sent as u32);
                    next += sent;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.not_sent(outbox, next, &e, now);
                    next += 1;
                }
            }
        }
        buffers.outbox.clear_messages();
    }

    /// A message was refused. If it has become too long since its path was looked up, it is decided anew.
    fn not_sent(&mut self, outbox: &Outbox, index: usize, error: &io::Error, now: Instant) {
        if error.raw_os_error() != Some(libc::EMSGSIZE) {
            let cause = self.cause(error);
            self.counters.dropped(cause, 1);
            return;
        }
        self.paths.forget();
        let parts = outbox.inner(index);
        if let Err(cause) = self.decide_anew(parts, outbox.inner_length(index), now) {
            self.counters.dropped(cause, 1);
        }
    }

    fn decide_anew(&mut self, inner: [&[u8]; 2], length: usize, now: Instant) -> Result<(), Cause> {
        let mut header = [0u8; super::packet::HEADER_MAX];
        let known = inner[0].len().min(header.len());
        header[..known].copy_from_slice(&inner[0][..known]);
        // Only the header is looked at; its length field speaks of more than these bytes.
        super::packet::put16(&mut header, 2, known as u16);
        let ip = Ipv4::parse(&header[..known]).ok_or(Cause::NotIpv4)?;
        let path = self.paths.find(ip.destination, now)?;
        match ipip::encapsulate(&ip, length, &path) {
            Fate::TooBig { mtu } => self.refuse(inner, mtu),
            Fate::InFragments(outer) => {
                self.send_in_fragments(inner, outer, &path);
                Ok(())
            }
            Fate::Whole(_) | Fate::Oversize => Err(Cause::TooBig),
        }
    }

    fn send_in_fragments(&mut self, inner: [&[u8]; 2], outer: Outer, path: &Path) {
        match self.raw.send_in_fragments(inner, outer, path) {
            Ok(()) => self.counters.sent(1, (inner[0].len() + inner[1].len()) as u64),
            Err(e) => {
                let cause = self.cause(&e);
                self.counters.dropped(cause, 1);
            }
        }
    }

    /// Tells the source of a packet that it was too big, where ICMP has it told.
    fn refuse(&self, inner: [&[u8]; 2], mtu: u16) -> Result<(), Cause> {
        let mut quoted = [0u8; icmp::MESSAGE_MAX];
        let head = inner[0].len().min(quoted.len());
        let body = inner[1].len().min(quoted.len() - head);
        quoted[..head].copy_from_slice(&inner[0][..head]);
        quoted[head..head + body].copy_from_slice(&inner[1][..body]);
        let mut message = [0u8; icmp::MESSAGE_MAX];
        let length = icmp::fragmentation_needed(&quoted[..head + body], mtu, ICMP_TTL, &mut message);
        if let (Some(length), Some(source)) = (length, quoted.get(12..16)) {
            let source = std::net::Ipv4Addr::new(source[0], source[1], source[2], source[3]);
            // That the message itself is refused (a firewall, no route back) changes nothing for the packet.
            let _ = self.raw.send([&message[..length], &[]], source);
        }
        Err(Cause::TooBig)
    }

    fn cause(&mut self, error: &io::Error) -> Cause {
        match error.raw_os_error() {
            Some(libc::EPERM) => {
                self.careful = CAREFUL;
                Cause::Filtered
            }
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Cause::NoBuffer,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EINVAL | libc::EACCES) => {
                self.paths.forget();
                Cause::NoRoute
            }
            _ => Cause::Unsent,
        }
    }

    fn next_id(&mut self) -> u16 {
        // The kernel would replace identification 0 by one of its own.
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.id
    }

    /// Takes packets from the wire to the device.
    pub(super) fn receive(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        for _ in 0..ROUNDS {
            let count = match buffers.inbox.receive(&self.raw) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // An error that waited on the socket (ICMP about an earlier packet): it is gone once told.
                Err(_) => continue,
            };
            buffers.coalescer.clear();
            for index in 0..count {
                self.unwrap(buffers, index);
            }
            for index in 0..buffers.coalescer.groups().len() {
                let group = buffers.coalescer.groups()[index];
                self.deliver(buffers, &group)?;
            }
            if count < Inbox::SLOTS {
                break;
            }
        }
        Ok(())
    }

    fn unwrap(&self, buffers: &mut Buffers, index: usize) {
        let Buffers { inbox, inner, coalescer, .. } = buffers;
        match ipip::decapsulate(inbox.packet_mut(index)) {
            Ok(place) => {
                inner[index] = place;
                coalescer.push(index as u16, |i| &inbox.packet(usize::from(i))[inner[usize::from(i)].clone()]);
            }
            Err(Refused::Malformed) => self.counters.dropped(Cause::Malformed, 1),
            Err(Refused::Congestion) => self.counters.dropped(Cause::Congestion, 1),
        }
    }

    /// Writes one packet, or several joined, to the device.
    fn deliver(&mut self, buffers: &mut Buffers, group: &Group) -> Result<(), Gone> {
        let Buffers { inbox, inner, coalescer, .. } = buffers;
        let first = usize::from(group.first);
        let place = inner[first].clone();
        let mut total = place.len();
        let mut push = false;
        for follower in coalescer.followers(group).map(usize::from) {
            let packet = &inbox.packet(follower)[inner[follower].clone()];
            total += packet.len() - coalesce::headers(packet);
            push |= coalesce::has_push(packet);
        }
        let (header, headers) = if group.count > 1 {
            coalesce::join(&mut inbox.packet_mut(first)[place.clone()], total, push)
        } else {
            (vnet::COMPLETE, 0)
        };
        let mut parts = [IoSlice::new(&[]); Inbox::SLOTS + 1];
        parts[0] = IoSlice::new(&header);
        parts[1] = IoSlice::new(&inbox.packet(first)[place]);
        for (part, follower) in parts[2..].iter_mut().zip(coalescer.followers(group).map(usize::from)) {
            *part = IoSlice::new(&inbox.packet(follower)[inner[follower].clone()][headers..]);
        }
        let written = (&self.device).write_vectored(&parts[..1 + usize::from(group.count)]);
        if written.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EIO)) {
            for index in std::iter::once(first).chain(coalescer.followers(group).map(usize::from)) {
                self.turn_away(inbox.packet(index));
            }
        }
        let bytes = total + headers * usize::from(group.count - 1);
        self.delivered(written, u64::from(group.count), bytes as u64)
    }

    /// Tells the other end that this one is down, as often as is allowed.
    fn turn_away(&mut self, outer: &[u8]) {
        let Some(Ipv4 { source, .. }) = Ipv4::parse(outer) else {
            return;
        };
        let limit = self.limit.unreachable();
        if limit.is_some_and(|every| !self.complaints.allowed(source, every, Instant::now())) {
            return;
        }
        let mut message = [0u8; icmp::MESSAGE_MAX];
        if let Some(length) = icmp::port_unreachable(outer, ICMP_TTL, &mut message) {
            // That the message itself is refused changes nothing for the packet.
            let _ = self.raw.send([&message[..length], &[]], source);
        }
    }

    fn delivered(&self, written: io::Result<usize>, packets: u64, bytes: u64) -> Result<(), Gone> {
        match written {
            Ok(_) => self.counters.received(packets, bytes),
            Err(e) => match e.raw_os_error() {
                Some(libc::EBADFD | libc::EFAULT | libc::ENODEV) => return Err(Gone(e)),
                Some(libc::EIO) => self.counters.dropped(Cause::DeviceDown, packets),
                _ => self.counters.dropped(Cause::Undelivered, packets),
            },
        }
        Ok(())
    }
}
