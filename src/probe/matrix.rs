//! Who reaches whom: an ICMP echo from every namespace of a list to every other one, with its round trip time.
//!
//! One thread and one raw socket in each namespace. Requests go out in small batches while few enough are under
//! way that no queue on the way (a device's 1,000 packets, a neighbour's waiting packets) can overflow; answers
//! are taken in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::{socket, together};
use crate::error::{Error, Result};
use crate::kernel::netns;
use crate::plan::Namespace;
use crate::plan::netfilter::Family;

/// Requests under way at a time.
const IN_FLIGHT: usize = 256;
/// Requests that one sender gives to the kernel in one call.
const BATCH: usize = 16;
/// Answers taken in one call.
const TAKEN: usize = 32;
/// Length of a request: ICMP header, and 8 bytes that say who asks whom.
const REQUEST: usize = 16;
/// Room for an answer with its IP header, in bytes.
const ANSWER: usize = 128;
/// `ICMP_FILTER` of linux/icmp.h, and the level of raw sockets' options.
const ICMP_FILTER: libc::c_int = 1;
const SOL_RAW: libc::c_int = 255;
/// `ICMP6_FILTER` of linux/icmpv6.h.
const ICMP6_FILTER: libc::c_int = 1;
/// Types of ICMPv6.
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// One end of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// The address at which it is asked, all of one family.
    pub address: IpAddr,
}

/// Who answered whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    size: usize,
    answers: Vec<Option<Duration>>,
}

impl Matrix {
    /// How long the answer to `from` took from `to`; none if there was none.
    pub fn rtt(&self, from: usize, to: usize) -> Option<Duration> {
        self.answers.get(from * self.size + to).copied().flatten()
    }

    /// How many pairs (a sender with itself left out) had an answer.
    pub fn answered(&self) -> usize {
        self.answers.iter().flatten().count()
    }

    /// How many pairs were asked.
    pub fn asked(&self) -> usize {
        self.size * self.size.saturating_sub(1)
    }
}

/// Asks all pairs. `patience` is how long to wait once no answer comes any more.
///
/// # Errors
/// If a socket cannot be opened or read. A request that cannot be sent counts as one without an answer.
pub fn matrix(ends: &[End], patience: Duration) -> Result<Matrix> {
    let sockets: Vec<OwnedFd> =
        together::each(ends, |end| open(end.namespace, Family::of(&end.address))).into_iter().collect::<Result<_>>()?;
    let mut run = Run::new(ends, &sockets, patience)?;
    run.all().map_err(|e| Error::io("cannot probe all pairs", e))?;
    Ok(Matrix { size: ends.len(), answers: run.answers })
}

/// What came of asking once.
#[derive(Debug)]
pub enum Reply {
    /// It answered after this time.
    Answered(Duration),
    /// The asking kernel refuses to send: no route, a rule.
    Refused(io::Error),
    /// Nothing came.
    Silence,
}

/// Asks `end.address` once from `end.namespace`.
///
/// # Errors
/// As [`matrix`].
pub fn ask(end: &End, patience: Duration) -> Result<Reply> {
    // Two ends with one address and one socket's namespace: the first asks, the second only lends its address.
    let sockets = [open(end.namespace, Family::of(&end.address))?];
    let ends = [*end, *end];
    let mut run = Run::new(&ends, &sockets, patience)?;
    let asked = run.send(0).and_then(|_| if run.in_flight > 0 { run.take_ready(patience) } else { Ok(false) });
    asked.map_err(|e| Error::io(format!("cannot probe {}", end.address), e))?;
    Ok(match (run.answers.get(1).copied().flatten(), run.refusal) {
        (Some(rtt), _) => Reply::Answered(rtt),
        (None, Some(error)) => Reply::Refused(error),
        (None, None) => Reply::Silence,
    })
}

/// A raw socket of ICMP, or ICMPv6, that takes echo replies alone.
pub(super) fn open(ns: &Namespace, family: Family) -> Result<OwnedFd> {
    let opened = netns::inside(netns::open(&ns.netns)?.file(), || {
        let (domain, protocol) = match family {
            Family::Inet => (libc::AF_INET, libc::IPPROTO_ICMP),
            Family::Inet6 => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        };
        let fd = socket::open(domain, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol)?;
        // A set bit keeps that type out.
        match family {
            Family::Inet => socket::set_option(&fd, SOL_RAW, ICMP_FILTER, &!1u32)?,
            Family::Inet6 => {
                let mut types = [!0u32; 8];
                types[usize::from(ECHO_REPLY_V6 / 32)] &= !(1 << (ECHO_REPLY_V6 % 32));
                socket::set_option(&fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &types)?;
            }
        }
        Ok(fd)
    })?;
    opened.map_err(|e: io::Error| Error::io(format!("in {}: cannot open a raw socket", ns.netns), e))
}

struct Run<'a> {
    ends: &'a [End<'a>],
    sockets: &'a [OwnedFd],
    poll: Epoll,
    patience: Duration,
    /// Tells this run's answers from those of others.
    id: u16,
    /// For each sender, the step to the next receiver; up to the number of ends less one.
    next: Vec<usize>,
    sent: Vec<Option<Instant>>,
    answers: Vec<Option<Duration>>,
    in_flight: usize,
    /// What the kernel said when it last refused to send.
    refusal: Option<io::Error>,
}

impl<'a> Run<'a> {
    fn new(ends: &'a [End<'a>], sockets: &'a [OwnedFd], patience: Duration) -> Result<Run<'a>> {
        let failed = |e| Error::io("cannot poll raw sockets", e);
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        for (index, socket) in sockets.iter().enumerate() {
            poll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(failed)?;
        }
        let cells = ends.len() * ends.len();
        let id = (std::process::id() ^ (std::process::id() >> 16)) as u16;
        let (sent, answers) = (vec![None; cells], vec![None; cells]);
        let (next, in_flight, refusal) = (vec![1; ends.len()], 0, None);
        Ok(Run { ends, sockets, poll, patience, id, next, sent, answers, in_flight, refusal })
    }

    fn all(&mut self) -> io::Result<()> {
        let mut open = self.ends.len() > 1;
        while open {
            open = false;
            for from in 0..self.ends.len() {
                while self.in_flight + BATCH > IN_FLIGHT {
                    if !self.take_ready(self.patience)? {
                        // What is under way is lost; it must not hold up the rest.
                        self.in_flight = 0;
                    }
                }
                open |= self.send(from)?;
            }
        }
        while self.in_flight > 0 && self.take_ready(self.patience)? {}
        Ok(())
    }

    /// Sends a sender's next requests; false if it has no more.
    fn send(&mut self, from: usize) -> io::Result<bool> {
        let count = self.ends.len();
        let first = self.next[from];
        let targets: Vec<usize> = (first..count.min(first + BATCH)).map(|step| (from + step) % count).collect();
        self.next[from] = first + targets.len();
        let mut requests: Vec<[u8; REQUEST]> = targets.iter().map(|to| self.request(from, *to)).collect();
        let mut addresses: Vec<SockaddrStorage> =
            targets.iter().map(|to| SocketAddr::new(self.ends[*to].address, 0).into()).collect();
        let mut parts: Vec<libc::iovec> = requests.iter_mut().map(|request| part(request)).collect();
        let mut messages: Vec<libc::mmsghdr> =
            addresses.iter_mut().zip(&mut parts).map(|(address, part)| message(Some(address), part)).collect();
        let now = Instant::now();
        let mut done = 0;
        while let Some(rest) = messages.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: every pointer in the messages is to a vector above that lives until after the call.
            let sent = unsafe {
                libc::sendmmsg(self.sockets[from].as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    for to in targets.iter().skip(done).take(sent) {
                        self.sent[from * count + to] = Some(now);
                    }
                    self.in_flight += sent;
                    done += sent;
                }
                // The kernel refuses this one (no route, a rule): it stays without an answer.
                Err(_) => {
                    self.refusal = Some(io::Error::last_os_error());
                    done += 1;
                }
            }
        }
        Ok(self.next[from] < count)
    }

    fn request(&self, from: usize, to: usize) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        let is_v6 = self.ends.get(to).is_some_and(|end| end.address.is_ipv6());
        bytes[0] = if is_v6 { ECHO_REQUEST_V6 } else { 8 };
        bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..12].copy_from_slice(&(from as u32).to_be_bytes());
        bytes[12..16].copy_from_slice(&(to as u32).to_be_bytes());
        // The kernel knows ICMPv6's, which has the source in it.
        if !is_v6 {
            let checksum = pnet::util::checksum(&bytes, 1);
            bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }

    /// Takes the answers that are there, waiting for the first one; false if none came in time.
    fn take_ready(&mut self, patience: Duration) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); TAKEN];
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = EpollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX);
            let ready = match self.poll.wait(&mut events, timeout) {
                Ok(0) => return Ok(false),
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            let before = self.in_flight;
            for event in events.iter().take(ready) {
                self.take(event.data() as usize)?;
            }
            // Answers to somebody else's pings do not count.
            if self.in_flight < before {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, at: usize) -> io::Result<()> {
        let mut buffers = [[0u8; ANSWER]; TAKEN];
        let mut parts: Vec<libc::iovec> = buffers.iter_mut().map(|buffer| part(buffer)).collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(|part| message(None, part)).collect();
        let Some(socket) = self.sockets.get(at) else { return Ok(()) };
        // SAFETY: every pointer in the messages is to a buffer above that lives until after the call.
        let taken = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                TAKEN as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let now = Instant::now();
        let Ok(taken) = usize::try_from(taken) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
        };
        let lengths: Vec<usize> = messages.iter().take(taken).map(|message| message.msg_len as usize).collect();
        for (buffer, length) in buffers.iter().zip(lengths) {
            if let Some((from, to)) = self.answered(buffer.get(..length).unwrap_or(buffer)) {
                self.note(from, to, now);
            }
        }
        Ok(())
    }

    /// Who asked whom, if this is an answer of this run.
    fn answered(&self, packet: &[u8]) -> Option<(usize, usize)> {
        let is_v6 = self.ends.first()?.address.is_ipv6();
        // Of IPv6 the header is not given.
        let header = if is_v6 { 0 } else { usize::from(packet.first()? & 0x0f) * 4 };
        let (icmp, _) = packet.get(header..)?.split_first_chunk::<REQUEST>()?;
        let [kind, _, _, _, i0, i1, _, _, f0, f1, f2, f3, t0, t1, t2, t3] = *icmp;
        let ours = kind == if is_v6 { ECHO_REPLY_V6 } else { 0 } && u16::from_be_bytes([i0, i1]) == self.id;
        let from = u32::from_be_bytes([f0, f1, f2, f3]) as usize;
        let to = u32::from_be_bytes([t0, t1, t2, t3]) as usize;
        (ours && from < self.ends.len() && to < self.ends.len()).then_some((from, to))
    }

    fn note(&mut self, from: usize, to: usize, now: Instant) {
        let cell = from * self.ends.len() + to;
        if let (Some(sent), None) = (self.sent[cell], self.answers[cell]) {
            self.answers[cell] = Some(now.duration_since(sent));
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }
}

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn message(address: Option<&mut SockaddrStorage>, part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    if let Some(address) = address {
        message.msg_hdr.msg_namelen = address.len();
        message.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
    }
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}
