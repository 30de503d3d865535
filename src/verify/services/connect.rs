//! One connection, or one datagram, from the namespace of the calling thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

use super::{Protocol, ServicePath};
use crate::error::{Error, Result};
use crate::packet::{Mark, Packet, Transport};
use crate::probe::capture;

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
    /// Its own port.
    port: u16,
    /// The mark of its datagram.
    mark: Option<Mark>,
    /// What came of it.
    pub(super) answer: Answer,
}

impl Try {
    /// Whether `packet`, just as it left its sender, is the first one of this connection.
    pub(super) fn is_first(&self, path: &ServicePath, packet: &Packet) -> bool {
        let to = packet.outer().is_some_and(|ip| ip.dst == path.address);
        let port = match packet.transport {
            Transport::Tcp { src, dst, flags, .. } if flags.0 & super::SYN_ACK == crate::packet::TcpFlags::SYN => {
                src == Some(self.port) && dst == Some(path.port)
            }
            Transport::Udp { src, dst } => src == Some(self.port) && dst == Some(path.port) && packet.mark == self.mark,
            _ => false,
        };
        to && port
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
    let port = socket::getsockname::<SockaddrIn>(own.as_raw_fd())?.port();
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
    Ok(Try { port, mark: None, answer })
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
    Ok(Try { port: own.local_addr()?.port(), mark: Some(mark), answer })
}
