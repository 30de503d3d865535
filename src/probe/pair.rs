//! One question, one answer: does this namespace reach that address, and how fast.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, connect, getsockopt, sockopt};
use serde::Serialize;

use super::matrix::{self, End, Reply};
use crate::error::{Error, Result};
use crate::kernel::{netns, sctp};
use crate::plan::{Family, Namespace};

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// ICMP echo.
    Icmp,
    /// A TCP connection to a port.
    Tcp(u16),
    /// A UDP datagram to a port.
    Udp(u16),
    /// An SCTP association with a port.
    Sctp(u16),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// An echo, a connection or a datagram.
    Yes {
        /// Round trip time.
        #[serde(rename = "rttMilliseconds", serialize_with = "milliseconds")]
        rtt: Duration,
    },
    /// The host is there, and nobody listens on the port (reset, port unreachable).
    Closed {
        /// Round trip time.
        #[serde(rename = "rttMilliseconds", serialize_with = "milliseconds")]
        rtt: Duration,
    },
    /// The kernel or a router said that it cannot be.
    Refused {
        /// In its words.
        error: String,
    },
    /// Nothing in time.
    Silence,
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1000.0)
}

/// Asks once, from a program in `from`.
///
/// # Errors
/// If the namespace cannot be entered or a socket cannot be made, as one of SCTP where the kernel has none. No answer is
/// no error.
pub fn pair(from: &Namespace, to: IpAddr, question: Question, patience: Duration) -> Result<Answer> {
    let netns = netns::open(&from.netns)?;
    let failed = |e| Error::io(format!("in {}: cannot probe {to}", from.netns), e);
    match question {
        Question::Icmp => icmp(from, to, patience),
        Question::Tcp(port) => Ok(netns::inside(netns.file(), || tcp((to, port).into(), patience))?),
        Question::Sctp(port) => {
            netns::inside(netns.file(), || association((to, port).into(), patience))?.map_err(failed)
        }
        Question::Udp(port) => netns::inside(netns.file(), || udp((to, port).into(), patience))?.map_err(failed),
    }
}

/// A matrix with one sender: the receiver is only ever asked.
fn icmp(from: &Namespace, to: IpAddr, patience: Duration) -> Result<Answer> {
    let end = End { namespace: from, address: to };
    Ok(match matrix::ask(&end, patience)? {
        Reply::Answered(rtt) => Answer::Yes { rtt },
        Reply::Refused(error) => Answer::Refused { error: error.to_string() },
        Reply::Silence => Answer::Silence,
    })
}

fn tcp(to: SocketAddr, patience: Duration) -> Answer {
    let start = Instant::now();
    match TcpStream::connect_timeout(&to, patience) {
        Ok(_) => Answer::Yes { rtt: start.elapsed() },
        Err(e) => failure(&e, start),
    }
}

fn udp(to: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Family::of(&to.ip()).unspecified(), 0))?;
    socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
    let start = Instant::now();
    let asked = socket.connect(to).and_then(|()| socket.send(b"minik\n"));
    Ok(match asked.and_then(|_| socket.recv(&mut [0; 2048])) {
        Ok(_) => Answer::Yes { rtt: start.elapsed() },
        Err(e) => failure(&e, start),
    })
}

fn association(to: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let socket = sctp::socket(Family::of(&to.ip()))?.ok_or(io::ErrorKind::Unsupported)?;
    let start = Instant::now();
    let asked = match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Err(Errno::EINPROGRESS) => {
            let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout)? {
                0 => Err(io::ErrorKind::TimedOut.into()),
                _ => match getsockopt(&socket, sockopt::SocketError)? {
                    0 => Ok(()),
                    error => Err(io::Error::from_raw_os_error(error)),
                },
            }
        }
        other => other.map_err(io::Error::from),
    };
    Ok(match asked {
        Ok(()) => Answer::Yes { rtt: start.elapsed() },
        Err(e) => failure(&e, start),
    })
}

fn failure(error: &io::Error, start: Instant) -> Answer {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Answer::Closed { rtt: start.elapsed() },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Answer::Silence,
        _ => Answer::Refused { error: error.to_string() },
    }
}
