//! Ports of SCTP: sockets of one association each (RFC 6458, 3), which neither the standard library nor tokio knows.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{self, Backlog, MsgFlags, SockFlag, SockaddrStorage};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::listen::{Identity, plain};
use super::orders::App;
use super::{apps, log};
use crate::kernel::{self, sctp};
use crate::plan::Family;

/// Longest message that is answered, in bytes.
const MESSAGE_MAX: usize = 2048;
/// Associations that wait to be accepted at most.
const BACKLOG: i32 = 128;

/// Listens in the calling thread's namespace; none if this kernel knows no SCTP.
///
/// # Errors
/// What the kernel says: the port is taken.
pub(super) fn open(at: (IpAddr, u16)) -> io::Result<Option<OwnedFd>> {
    let Some(made) = sctp::socket(Family::of(&at.0))? else { return Ok(None) };
    socket::bind(made.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(at)))?;
    socket::listen(&made, Backlog::new(BACKLOG)?)?;
    Ok(Some(made))
}

/// Who answers on a port.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    /// What each message is answered by.
    pub(super) app: Arc<App>,
    /// The pod.
    pub(super) identity: Arc<Identity>,
}

impl Answering {
    fn say(&self, what: &str, e: &io::Error) {
        log::line(format_args!("{}/{}: SCTP: {what}: {e}", self.identity.namespace, self.identity.pod));
    }
}

/// A socket to wait for. Must be called inside of a runtime.
///
/// # Errors
/// If the runtime cannot watch it.
pub(super) fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the socket is owned, and is not replaced or closed as long as it is watched.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Accepts associations and answers each message on them, until `end`'s sender is gone.
pub(super) async fn answer(listener: AsyncFd<OwnedFd>, who: Answering, end: watch::Receiver<()>) {
    loop {
        let accepted = match listener.readable().await {
            Ok(mut ready) => ready.try_io(|listener| accept(listener.get_ref())),
            Err(e) => return who.say("it listens no more", &e),
        };
        match accepted {
            // Nobody is there yet.
            Err(_) => {}
            Ok(Ok(socket)) => {
                let (who, mut end) = (who.clone(), end.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        // Nothing is ever sent: this ends when the sender is gone.
                        _ = end.changed() => {}
                        ended = converse(socket, &who) => if let Err(e) = ended { who.say("an association ends", &e) },
                    }
                });
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Ok(Err(e)) => {
                who.say("cannot accept", &e);
                tokio::time::sleep(super::listen::EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the descriptor is new and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Answers message by message. That the other side ends it at once, as verify does, is nothing to tell of.
async fn converse(socket: OwnedFd, who: &Answering) -> io::Result<()> {
    let peer = match socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(peer) => kernel::socket::address(&peer),
        // It is gone already.
        Err(_) => return Ok(()),
    };
    let Some(peer) = peer.map(plain) else { return Ok(()) };
    let socket = watched(socket)?;
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| answer_one(socket.get_ref(), who, peer)) {
            Err(_) | Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(()),
            Ok(Err(e)) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                return Ok(());
            }
            Ok(Err(e)) => return Err(e),
        }
    }
}

/// Answers one message; false if there is none any more. Not async, so that its buffer is no part of the task.
fn answer_one(socket: &OwnedFd, who: &Answering, peer: SocketAddr) -> io::Result<bool> {
    let mut buffer = [0u8; MESSAGE_MAX];
    let length = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    if length == 0 {
        return Ok(false);
    }
    let answer = apps::datagram(&who.app, &who.identity, peer, &buffer[..length]);
    socket::send(socket.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL)?;
    Ok(true)
}
