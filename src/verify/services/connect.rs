//! Connections and datagrams, begun in the namespace of the calling thread. Nobody waits here: many are under way at a
//! time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sockopt};

use super::association::{self, Begun};
use super::{Protocol, ServicePath};
use crate::error::{Error, Result};
use crate::kernel;
use crate::packet::{
    INIT_CHUNK, Init, Ip, Mark, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, Packet, SCTP_HEADER, TcpFlags, Transport,
};

/// With which packets leave Linux (`net.ipv4.ip_default_ttl`).
pub(super) const TTL: u8 = 64;

/// What came of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A connection or association, or a datagram in return.
    Yes,
    /// A reset, an abort, or an ICMP error.
    Refused,
    /// Nothing in time.
    Silent,
    /// Nobody has waited for it.
    Unknown {
        /// Whether one like it was refused.
        closed: bool,
    },
}

impl Answer {
    /// Whether it is to be taken that nobody is behind the port.
    pub(super) fn is_closed(self) -> bool {
        matches!(self, Answer::Refused | Answer::Unknown { closed: true })
    }
}

/// By what a first packet is known, whatever becomes of its addresses and ports.
#[derive(Debug, Clone, Copy)]
enum Token {
    /// A SYN by its sequence number; none if it never left.
    Sequence(Option<u32>),
    /// A datagram by the mark in it.
    Mark(Mark),
    /// An INIT by what is known of it.
    Init(Init),
}

/// One connection that was tried.
#[derive(Debug)]
pub(super) struct Try {
    /// Its own address and port, as its program has them.
    own: SocketAddr,
    token: Token,
    /// What came of it.
    pub(super) answer: Answer,
    /// When it began.
    pub(super) begun: Instant,
    /// The socket of a datagram: what answers it later finds somebody there, and causes no ICMP error.
    _open: Option<OwnedFd>,
}

impl Try {
    /// The first packet of this connection as its program sent it, if `packet` is that one, seen as it left the sender:
    /// a node translates addresses before that.
    pub(super) fn first(&self, path: &ServicePath, packet: &Packet) -> Option<Packet> {
        let is_first = match (&packet.transport, self.token) {
            (Transport::Tcp { seq, flags, .. }, Token::Sequence(own)) => {
                flags.0 & super::sight::SYN_ACK == TcpFlags::SYN && seq.is_some() && *seq == own
            }
            (Transport::Udp { .. }, Token::Mark(own)) => packet.mark == Some(own),
            (Transport::Sctp(seen), Token::Init(own)) => association::is_same(&own, seen),
            _ => false,
        };
        if !is_first || packet.layers.len() != 1 {
            return None;
        }
        let mut first = packet.clone();
        let header = first.layers.first_mut()?;
        (header.src, header.dst) = (self.own.ip(), path.address);
        // What a node sends by IPVS has passed it as a router before it is seen.
        header.ttl = TTL;
        let (src, dst) = first.transport.ports_mut()?;
        (*src, *dst) = (Some(self.own.port()), Some(path.port));
        Some(first)
    }

    /// The first packet of this connection as its program sent it, where it was not seen: refused before it left.
    pub(super) fn unseen(&self, path: &ServicePath) -> Packet {
        let (src, dst) = (Some(self.own.port()), Some(path.port));
        // A SYN of Linux has 20 bytes of options; a datagram of ours is a mark.
        let (protocol, carried, transport) = match self.token {
            Token::Mark(_) => (PROTOCOL_UDP, 8 + Mark::LENGTH as u16, Transport::Udp { src, dst }),
            Token::Sequence(seq) => {
                (PROTOCOL_TCP, 40, Transport::Tcp { src, dst, flags: TcpFlags(TcpFlags::SYN), seq, ack: 0 })
            }
            Token::Init(init) => (PROTOCOL_SCTP, SCTP_HEADER + INIT_CHUNK, association::unseen(self.own, path, init)),
        };
        let length = Ip::header_of(&path.address) + carried;
        let header = Ip::new(self.own.ip(), path.address, protocol, TTL, length);
        let header = Ip { dont_fragment: path.address.is_ipv4(), ..header };
        let mark = if let Token::Mark(mark) = self.token { Some(mark) } else { None };
        Packet { layers: vec![header], transport, mark }
    }

    pub(super) fn words(&self) -> &'static str {
        match self.answer {
            Answer::Yes => "it was answered",
            Answer::Refused => "it was refused",
            Answer::Silent => "nobody answered",
            Answer::Unknown { .. } => "no answer was waited for",
        }
    }
}

static DATAGRAMS: AtomicU32 = AtomicU32::new(0);

/// One that is under way.
#[derive(Debug)]
pub(super) struct Pending {
    socket: OwnedFd,
    sort: Sort,
    answer: Option<Answer>,
    begun: Instant,
}

/// How one is waited for.
#[derive(Debug)]
enum Sort {
    Connection,
    Datagram(Mark),
    /// Its own end and its INIT; whether a socket of its own hears of the answer.
    Association(SocketAddr, Init, bool),
}

/// Asks once, without waiting for an answer; by SCTP through the kernel's sockets if it `speaks` that.
///
/// # Errors
/// If no socket can be made. No answer is no error.
pub(super) fn begin(path: &ServicePath, speaks: bool) -> Result<Pending> {
    let begun = match path.protocol {
        Protocol::Udp => datagram(path),
        Protocol::Tcp => connection(path),
        Protocol::Sctp => {
            let begun = Instant::now();
            association::begin(path, speaks).map(|Begun { socket, own, init, answer }| Pending {
                socket,
                sort: Sort::Association(own, init, speaks),
                answer,
                begun,
            })
        }
    };
    begun.map_err(|e| cannot(path, e))
}

fn cannot(path: &ServicePath, e: io::Error) -> Error {
    Error::io(format!("{}: cannot ask {}", path.from, SocketAddr::new(path.address, path.port)), e)
}

/// A socket of the path's family that does not block, bound to a port of its own.
fn bound(path: &ServicePath, kind: SockType) -> io::Result<OwnedFd> {
    let (family, any): (AddressFamily, IpAddr) = match path.address {
        IpAddr::V4(_) => (AddressFamily::Inet, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (AddressFamily::Inet6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = socket::socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, 0)))?;
    Ok(socket)
}

fn connection(path: &ServicePath) -> io::Result<Pending> {
    let (socket, begun) = (bound(path, SockType::Stream)?, Instant::now());
    let to = SockaddrStorage::from(SocketAddr::new(path.address, path.port));
    let answer = match socket::connect(socket.as_raw_fd(), &to) {
        Ok(()) => Some(Answer::Yes),
        Err(Errno::EINPROGRESS) => None,
        Err(_) => Some(Answer::Refused),
    };
    Ok(Pending { socket, sort: Sort::Connection, answer, begun })
}

fn datagram(path: &ServicePath) -> io::Result<Pending> {
    let (socket, begun) = (bound(path, SockType::Datagram)?, Instant::now());
    let mark = super::mark(DATAGRAMS.fetch_add(1, Ordering::Relaxed));
    let to = SockaddrStorage::from(SocketAddr::new(path.address, path.port));
    let sent = socket::connect(socket.as_raw_fd(), &to)
        .and_then(|()| socket::send(socket.as_raw_fd(), &mark.bytes(), MsgFlags::empty()));
    let answer = sent.err().map(|_| Answer::Refused);
    Ok(Pending { socket, sort: Sort::Datagram(mark), answer, begun })
}

impl Pending {
    /// Whether it has no answer yet.
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    /// What to wait for; none if it has its answer, or no socket of its own hears of it.
    pub(super) fn polled(&self) -> Option<PollFd<'_>> {
        let events = match self.sort {
            Sort::Datagram(_) => PollFlags::POLLIN,
            Sort::Connection | Sort::Association(_, _, true) => PollFlags::POLLOUT,
            Sort::Association(_, _, false) => return None,
        };
        self.answer.is_none().then(|| PollFd::new(self.socket.as_fd(), events))
    }

    /// Takes in what has come of it.
    ///
    /// # Errors
    /// If the socket does not say.
    pub(super) fn look(&mut self, path: &ServicePath) -> Result<()> {
        self.answer = match self.sort {
            Sort::Datagram(_) => match socket::recv(self.socket.as_raw_fd(), &mut [0; 2048], MsgFlags::empty()) {
                Ok(_) => Some(Answer::Yes),
                Err(Errno::EAGAIN) => None,
                Err(_) => Some(Answer::Refused),
            },
            Sort::Connection | Sort::Association(..) => {
                let error = socket::getsockopt(&self.socket, sockopt::SocketError);
                match error.map_err(|e| cannot(path, e.into()))? {
                    0 => Some(Answer::Yes),
                    _ => Some(Answer::Refused),
                }
            }
        };
        Ok(())
    }

    /// Takes in what has come back to where it was asked. Of an association that is told by a packet alone, and a
    /// socket of SCTP hears of no ICMP error until it has asked again and again (`sctp_err_lookup`: `sk_err_soft`).
    pub(super) fn hear(&mut self, packet: &Packet) {
        if let Sort::Association(_, init, _) = &self.sort
            && self.answer.is_none()
            && association::refuses(init, packet)
        {
            self.answer = Some(Answer::Refused);
        }
    }

    /// What came of it; `otherwise` if nothing did.
    ///
    /// # Errors
    /// If the socket does not say.
    pub(super) fn end(self, path: &ServicePath, otherwise: Answer) -> Result<Try> {
        let answer = self.answer.unwrap_or(otherwise);
        let Pending { socket, sort, begun, .. } = self;
        let own = || {
            let own = socket::getsockname::<SockaddrStorage>(socket.as_raw_fd()).map_err(io::Error::from);
            own.and_then(|own| kernel::socket::address(&own).ok_or(io::ErrorKind::InvalidData.into()))
                .map_err(|e| cannot(path, e))
        };
        let (own, token) = match sort {
            Sort::Association(own, init, _) => (own, Token::Init(init)),
            Sort::Datagram(mark) => (own()?, Token::Mark(mark)),
            Sort::Connection => (own()?, Token::Sequence(sequence(&socket).map_err(|e| cannot(path, e))?)),
        };
        let _open = matches!(token, Token::Mark(_)).then_some(socket);
        Ok(Try { own, token, answer, begun, _open })
    }
}

/// The sequence number with which a connection began on which nothing was sent yet; none if it never began. Whoever may
/// take connections along to another machine may ask for it (`TCP_REPAIR`, linux/tcp.h).
fn sequence(own: &OwnedFd) -> io::Result<Option<u32>> {
    const REPAIR: i32 = 19;
    const REPAIR_QUEUE: i32 = 20;
    const QUEUE_SEQ: i32 = 21;
    const SEND_QUEUE: i32 = 2;
    /// Ends it without a probe of the window.
    const OFF_NO_PROBE: i32 = -1;
    let set = |option: i32, value: i32| {
        let size = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the value lives through the call, and its size is given.
        let set =
            unsafe { libc::setsockopt(own.as_raw_fd(), libc::IPPROTO_TCP, option, (&raw const value).cast(), size) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    set(REPAIR, 1)?;
    set(REPAIR_QUEUE, SEND_QUEUE)?;
    let (mut next, mut size) = (0u32, size_of::<u32>() as libc::socklen_t);
    let (place, length) = ((&raw mut next).cast(), &raw mut size);
    // SAFETY: both live through the call, and the size is that of the place.
    let got = unsafe { libc::getsockopt(own.as_raw_fd(), libc::IPPROTO_TCP, QUEUE_SEQ, place, length) };
    let got = if got == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    set(REPAIR, OFF_NO_PROBE)?;
    // The SYN has taken one number.
    got.map(|()| (next != 0).then(|| next.wrapping_sub(1)))
}
