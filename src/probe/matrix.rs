//! Who reaches whom: an ICMP echo from every namespace of a list to every other one, with its round trip time.
//!
//! One raw socket in each namespace, and one thread, or a few where there are very many. Requests go out in small
//! batches while few enough are under way that no queue on the way (a device's 1,000 packets, a neighbour's waiting
//! packets) can overflow; answers are taken in between. Where all ends together would have to know more neighbours than
//! the kernel keeps, they ask in [waves](super::waves), and forget between them whom they have come to know.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::socket;
use super::waves::{Wave, waves};
use crate::error::{Error, Result};
use crate::kernel::neighbours::{self, Memories};
use crate::kernel::netns;
use crate::plan::netfilter::Family;
use crate::plan::{Namespace, Plan};

/// Requests under way at a time, of all threads together.
const IN_FLIGHT: usize = 256;
/// Ends from which on more than one thread asks, and the most threads that do.
const MANY: usize = 200;
const ASKERS: usize = 4;
/// Neighbours that Linux keeps of all namespaces together if nobody says otherwise (`gc_thresh3`).
const NEIGHBOURS_DEFAULT: usize = 1024;
/// The longest wait for an answer before the next wave.
const BETWEEN_WAVES: Duration = Duration::from_millis(200);
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

/// Asks all pairs of ends in `plan`'s namespaces. `patience` is how long to wait once no answer comes any more.
///
/// # Errors
/// If a socket cannot be opened or read. A request that cannot be sent counts as one without an answer.
pub fn matrix(plan: &Plan, ends: &[End], patience: Duration) -> Result<Matrix> {
    let family = ends.first().map_or(Family::Inet, |end| Family::of(&end.address));
    let sockets = netns::tour(ends, |end| &end.namespace.netns, |end| opened_here(end.namespace, family))?;
    let sockets: Vec<OwnedFd> = sockets.into_iter().collect::<Result<_>>()?;
    let limit = neighbours::limit(family).unwrap_or(NEIGHBOURS_DEFAULT);
    let waves = waves(plan, ends, limit / 4 * 3);
    let all: Vec<&Namespace> = if waves.len() > 1 { plan.namespaces.iter().collect() } else { Vec::new() };
    let mut memories = Memories::open(&all, family)?;
    memories.forget(|_| true)?;
    let askers = if ends.len() < MANY { 1 } else { thread::available_parallelism().map_or(1, usize::from).min(ASKERS) };
    let mut runs =
        (0..askers).map(|at| Run::new(ends, &sockets, (at, askers), patience)).collect::<Result<Vec<_>>>()?;
    for (number, wave) in waves.iter().enumerate() {
        // What comes later than that is taken in the next one.
        let end = if number + 1 == waves.len() { patience } else { patience.min(BETWEEN_WAVES) };
        let asked: io::Result<()> = thread::scope(|scope| {
            let threads: Vec<_> = runs.iter_mut().map(|run| scope.spawn(move || run.wave(wave, end))).collect();
            threads.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        asked.map_err(|e| Error::io("cannot probe all pairs", e))?;
        let pods: BTreeSet<&str> = wave.askers().map(|(from, _)| ends[from].namespace.name.as_str()).collect();
        let quiet: BTreeSet<&str> = ends.iter().map(|end| end.namespace.name.as_str()).collect();
        memories.forget(|name| pods.contains(name) || !quiet.contains(name))?;
    }
    let rows = (0..ends.len()).map(|from| runs[from % askers].row(from));
    Ok(Matrix { size: ends.len(), answers: rows.flatten().copied().collect() })
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
    let mut run = Run::new(&ends, &sockets, (0, 1), patience)?;
    let asked = run.send(0, &[1]).and_then(|()| if run.in_flight > 0 { run.take_ready(patience) } else { Ok(false) });
    asked.map_err(|e| Error::io(format!("cannot probe {}", end.address), e))?;
    Ok(match (run.answers.get(1).copied().flatten(), run.refusal) {
        (Some(rtt), _) => Reply::Answered(rtt),
        (None, Some(error)) => Reply::Refused(error),
        (None, None) => Reply::Silence,
    })
}

/// A raw socket of ICMP, or ICMPv6, that takes echo replies alone.
pub(super) fn open(ns: &Namespace, family: Family) -> Result<OwnedFd> {
    netns::inside(netns::open(&ns.netns)?.file(), || opened_here(ns, family))?
}

/// Such a socket in the calling thread's namespace, which is that of `ns`.
fn opened_here(ns: &Namespace, family: Family) -> Result<OwnedFd> {
    let open = || {
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
    };
    open().map_err(|e: io::Error| Error::io(format!("in {}: cannot open a raw socket", ns.netns), e))
}

/// One thread's part: every so many-th end asks by it.
struct Run<'a> {
    ends: &'a [End<'a>],
    sockets: &'a [OwnedFd],
    poll: Epoll,
    patience: Duration,
    /// Tells this run's answers from those of others.
    id: u16,
    /// Which of how many threads this is.
    share: (usize, usize),
    /// Row by row, for its own ends.
    sent: Vec<Option<Instant>>,
    answers: Vec<Option<Duration>>,
    in_flight: usize,
    /// What the kernel said when it last refused to send.
    refusal: Option<io::Error>,
}

impl<'a> Run<'a> {
    fn new(ends: &'a [End<'a>], sockets: &'a [OwnedFd], share: (usize, usize), patience: Duration) -> Result<Run<'a>> {
        let failed = |e| Error::io("cannot poll raw sockets", e);
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let (at, askers) = share;
        for (index, socket) in sockets.iter().enumerate().filter(|(index, _)| index % askers == at) {
            poll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(failed)?;
        }
        let cells = ends.len().div_ceil(askers) * ends.len();
        let id = (std::process::id() ^ (std::process::id() >> 16)) as u16;
        let (sent, answers) = (vec![None; cells], vec![None; cells]);
        let (in_flight, refusal) = (0, None);
        Ok(Run { ends, sockets, poll, patience, id, share, sent, answers, in_flight, refusal })
    }

    /// Where the pair stands in `sent` and `answers`.
    fn cell(&self, from: usize, to: usize) -> usize {
        from / self.share.1 * self.ends.len() + to
    }

    /// The answers to one end.
    fn row(&self, from: usize) -> &[Option<Duration>] {
        self.answers.get(self.cell(from, 0)..self.cell(from, self.ends.len())).unwrap_or_default()
    }

    /// Asks what is to be asked in a wave, and waits for answers no longer than `end` after the last one.
    fn wave(&mut self, wave: &Wave, end: Duration) -> io::Result<()> {
        let (at, askers) = self.share;
        let asks = wave.askers().filter(|(from, _)| from % askers == at);
        // Each begins with another one, so that no one is asked by all at once.
        let mut asks: Vec<(usize, &[usize], usize)> =
            asks.enumerate().map(|(number, (from, whom))| (from, whom, number * askers + at)).collect();
        let mut targets = Vec::with_capacity(BATCH);
        let mut begun = 0;
        while !asks.is_empty() {
            for (from, whom, turn) in &asks {
                while self.in_flight + BATCH > IN_FLIGHT / askers {
                    if !self.take_ready(self.patience)? {
                        // What is under way is lost; it must not hold up the rest.
                        self.in_flight = 0;
                    }
                }
                targets.clear();
                let steps = begun..whom.len().min(begun + BATCH);
                targets.extend(steps.map(|step| whom[(turn + step) % whom.len()]).filter(|to| to != from));
                self.send(*from, &targets)?;
            }
            begun += BATCH;
            asks.retain(|(_, whom, _)| begun < whom.len());
        }
        while self.in_flight > 0 && self.take_ready(end)? {}
        self.in_flight = 0;
        Ok(())
    }

    /// Sends a sender's requests to these.
    fn send(&mut self, from: usize, targets: &[usize]) -> io::Result<()> {
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
                        let cell = self.cell(from, *to);
                        self.sent[cell] = Some(now);
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
        Ok(())
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
        let cell = self.cell(from, to);
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
