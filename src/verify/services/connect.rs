//! One connection, or one datagram, from the namespace of the calling thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

use super::{Protocol, ServicePath};
use crate::error::{Error, Result};
use crate::packet::{Ip, Mark, PROTOCOL_TCP, PROTOCOL_UDP, Packet, TcpFlags, Transport};
use crate::probe::capture;

/// With which packets leave Linux (`net.ipv4.ip_default_ttl`).
const TTL: u8 = 64;

/// What came of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A connection, or a datagram in return.
    Yes,
    /// A reset, or an ICMP error.
    Refused,
    /// Nothing in time.
    Silent,
}

/// One connection that was tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    /// Its own address and port, as its program has them.
    own: SocketAddrV4,
    /// The sequence number of its SYN.
    sequence: Option<u32>,
    /// The mark of its datagram.
    mark: Option<Mark>,
    /// What came of it.
    pub(super) answer: Answer,
}

impl Try {
    /// The first packet of this connection as its program sent it, if `packet` is that one, seen as it left the sender:
    /// a node translates addresses before that.
    pub(super) fn first(&self, path: &ServicePath, packet: &Packet) -> Option<Packet> {
        let is_first = match packet.transport {
            Transport::Tcp { seq, flags, .. } => {
                flags.0 & super::sight::SYN_ACK == TcpFlags::SYN && seq.is_some() && seq == self.sequence
            }
            Transport::Udp { .. } => packet.mark.is_some() && packet.mark == self.mark,
            _ => false,
        };
        if !is_first || packet.layers.len() != 1 {
            return None;
        }
        let mut first = packet.clone();
        let header = first.layers.first_mut()?;
        (header.src, header.dst) = ((*self.own.ip()).into(), path.address.into());
        let (Transport::Tcp { src, dst, .. } | Transport::Udp { src, dst }) = &mut first.transport else { return None };
        (*src, *dst) = (Some(self.own.port()), Some(path.port));
        Some(first)
    }

    /// The first packet of this connection as its program sent it, where it was not seen: refused before it left.
    pub(super) fn unseen(&self, path: &ServicePath) -> Packet {
        // A SYN of Linux has 20 bytes of options; a datagram of ours is a mark.
        let (protocol, length) = match path.protocol {
            Protocol::Tcp => (PROTOCOL_TCP, 60),
            Protocol::Udp => (PROTOCOL_UDP, 28 + Mark::LENGTH as u16),
        };
        let (src, dst) = ((*self.own.ip()).into(), path.address.into());
        let header = Ip { dont_fragment: true, ..Ip::new(src, dst, protocol, TTL, length) };
        let (src, dst) = (Some(self.own.port()), Some(path.port));
        let transport = match path.protocol {
            Protocol::Tcp => Transport::Tcp { src, dst, flags: TcpFlags(TcpFlags::SYN), seq: self.sequence, ack: 0 },
            Protocol::Udp => Transport::Udp { src, dst },
        };
        Packet { layers: vec![header], transport, mark: self.mark }
    }

    pub(super) fn words(&self) -> &'static str {
        match self.answer {
            Answer::Yes => "it was answered",
            Answer::Refused => "it was refused",
            Answer::Silent => "nobody answered",
        }
    }
}

static DATAGRAMS: AtomicU32 = AtomicU32::new(0);

/// Asks once.
///
/// # Errors
/// If no socket can be made. No answer is no error.
pub(super) fn ask(path: &ServicePath, patience: Duration) -> Result<Try> {
    let asked = match path.protocol {
        Protocol::Tcp => tcp(path, patience),
        Protocol::Udp => udp(path, patience),
    };
    asked.map_err(|e| Error::io(format!("{}: cannot ask {}:{}", path.from, path.address, path.port), e))
}

fn tcp(path: &ServicePath, patience: Duration) -> io::Result<Try> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let own = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    socket::bind(own.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 0))?;
    let to = SockaddrIn::from(SocketAddrV4::new(path.address, path.port));
    let answer = match socket::connect(own.as_raw_fd(), &to) {
        Ok(()) => Answer::Yes,
        Err(Errno::EINPROGRESS) => {
            let mut polled = [PollFd::new(own.as_fd(), PollFlags::POLLOUT)];
            let came = capture::wait_for(&mut polled, Instant::now() + patience).map_err(io::Error::other)?;
            match (came, socket::getsockopt(&own, sockopt::SocketError)?) {
                (false, _) => Answer::Silent,
                (true, 0) => Answer::Yes,
                (true, _) => Answer::Refused,
            }
        }
        Err(_) => Answer::Refused,
    };
    let at: SocketAddrV4 = socket::getsockname::<SockaddrIn>(own.as_raw_fd())?.into();
    Ok(Try { own: at, sequence: sequence(&own)?, mark: None, answer })
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

fn udp(path: &ServicePath, patience: Duration) -> io::Result<Try> {
    let own = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    own.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
    let mark = super::mark(DATAGRAMS.fetch_add(1, Ordering::Relaxed));
    let asked = own.connect((path.address, path.port)).and_then(|()| own.send(&mark.bytes()));
    let answer = match asked.and_then(|_| own.recv(&mut [0; 2048])) {
        Ok(_) => Answer::Yes,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Answer::Silent,
        Err(_) => Answer::Refused,
    };
    let at = match own.local_addr()? {
        SocketAddr::V4(at) => at,
        SocketAddr::V6(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Try { own: at, sequence: None, mark: Some(mark), answer })
}
