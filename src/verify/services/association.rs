//! Associations of SCTP, begun in the namespace of the calling thread: by a socket, or, where the kernel has none for
//! SCTP, by their first packet alone, which is all that it needs to be sent to an endpoint and seen there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage};

use super::ServicePath;
use super::connect::{Answer, TTL};
use crate::kernel::{self, sctp};
use crate::packet::build::{self, Message, Probe};
use crate::packet::{Chunk, Init, Ip, Mark, Packet, Sctp, Transport};
use crate::plan::Family;
use crate::probe::{open_socket, set_option};

/// `SCTP_INITMSG` and what it takes (linux/sctp.h); 0 leaves the kernel's own.
const SCTP_INITMSG: libc::c_int = 2;

#[repr(C)]
#[derive(Clone, Copy)]
struct InitMessage {
    outbound: u16,
    inbound: u16,
    attempts: u16,
    milliseconds: u16,
}

/// Streams and window of an INIT of ours, as Linux offers them (net/sctp/socket.c, `sctp_init_sock`).
const OUTBOUND: u16 = 10;
const WINDOW: u32 = 106_496;

/// One that is under way.
pub(super) struct Begun {
    /// The association's socket; of one that is only a packet, that which keeps its port.
    pub(super) socket: OwnedFd,
    /// Its own end.
    pub(super) own: SocketAddr,
    /// What is known of its INIT.
    pub(super) init: Init,
    /// What is known already.
    pub(super) answer: Option<Answer>,
}

static BEGUN: AtomicU32 = AtomicU32::new(0);

/// Asks once, without waiting for an answer; by the kernel's own SCTP if it `speaks` it. How many inbound streams are
/// offered tells one INIT from others: nobody on the way changes it, and what is not needed is not used.
pub(super) fn begin(path: &ServicePath, speaks: bool) -> io::Result<Begun> {
    let number = BEGUN.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id());
    let inbound = u16::try_from(number % u32::from(u16::MAX)).unwrap_or_default() + 1;
    let (family, any): (AddressFamily, IpAddr) = match path.address {
        IpAddr::V4(_) => (AddressFamily::Inet, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (AddressFamily::Inet6, Ipv6Addr::UNSPECIFIED.into()),
    };
    // The way there says the source address, and nobody else gets the port as long as this is open.
    let kept = socket::socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let init = Init { inbound: Some(inbound), ..Init::default() };
    if socket::connect(kept.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(path.address, path.port))).is_err() {
        return Ok(Begun { socket: kept, own: SocketAddr::new(any, 0), init, answer: Some(Answer::Refused) });
    }
    let own = kernel::socket::address(&socket::getsockname(kept.as_raw_fd())?).ok_or(io::ErrorKind::InvalidData)?;
    match speaks {
        true => by_socket(path, own, init),
        false => by_hand(path, family, kept, own, init),
    }
}

/// As programs do it, with one address: an INIT says all that it has, and those of a node are not for everybody.
fn by_socket(path: &ServicePath, own: SocketAddr, init: Init) -> io::Result<Begun> {
    let socket = sctp::socket(Family::of(&path.address))?.ok_or(io::ErrorKind::Unsupported)?;
    let inbound = init.inbound.unwrap_or_default();
    let offer = InitMessage { outbound: 0, inbound, attempts: 0, milliseconds: 0 };
    set_option(&socket, libc::IPPROTO_SCTP, SCTP_INITMSG, &offer)?;
    // It ends by an ABORT when it is closed: no goodbye of one is under way when the next begins.
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(own.ip(), 0)))?;
    let own = kernel::socket::address(&socket::getsockname(socket.as_raw_fd())?).ok_or(io::ErrorKind::InvalidData)?;
    let to = SockaddrStorage::from(SocketAddr::new(path.address, path.port));
    let answer = match socket::connect(socket.as_raw_fd(), &to) {
        Ok(()) => Some(Answer::Yes),
        Err(Errno::EINPROGRESS) => None,
        Err(_) => Some(Answer::Refused),
    };
    Ok(Begun { socket, own, init, answer })
}

/// The first packet alone, through the namespace's own OUTPUT.
fn by_hand(path: &ServicePath, family: AddressFamily, kept: OwnedFd, own: SocketAddr, init: Init) -> io::Result<Begun> {
    let tag = super::mark(u32::from(init.inbound.unwrap_or_default())).0;
    let (window, outbound, tsn) = (Some(WINDOW), Some(OUTBOUND), Some(tag));
    let init = Init { tag: Some(tag.max(1)), window, outbound, tsn, ..init };
    let message = Message::Init { src: own.port(), dst: path.port, init };
    let probe = Probe {
        src: own.ip(),
        dst: path.address,
        ttl: TTL,
        id: 0,
        dont_fragment: path.address.is_ipv4(),
        length: Ip::header_of(&path.address) + message.header(),
        message,
        mark: Mark(0),
    };
    let bytes = build::ip(&probe).map_err(io::Error::other)?;
    let door = open_socket(family as libc::c_int, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    let to = SockaddrStorage::from(SocketAddr::new(path.address, 0));
    let answer = match socket::sendto(door.as_raw_fd(), &bytes, &to, MsgFlags::empty()) {
        // A rule of OUTPUT: whether it says more than this is heard, or not.
        Ok(_) | Err(Errno::EPERM) => None,
        Err(_) => Some(Answer::Refused),
    };
    Ok(Begun { socket: kept, own, init, answer })
}

/// Whether this is the INIT of which `own` is known.
pub(super) fn is_same(own: &Init, seen: &Sctp) -> bool {
    let Some(Chunk::Init(init)) = seen.chunk else { return false };
    let other_tag = own.tag.zip(init.tag).is_some_and(|(own, seen)| own != seen);
    own.inbound.is_some() && own.inbound == init.inbound && !other_tag
}

/// The INIT that nobody saw, as it was sent.
pub(super) fn unseen(own: SocketAddr, path: &ServicePath, init: Init) -> Transport {
    let (src, dst, chunk) = (Some(own.port()), Some(path.port), Some(Chunk::Init(init)));
    Transport::Sctp(Sctp { src, dst, tag: Some(0), chunk, sound: None })
}

/// Whether a packet says to the sender of this INIT that nobody takes it: an ABORT, or an ICMP error about it.
pub(super) fn refuses(init: &Init, packet: &Packet) -> bool {
    match &packet.innermost().transport {
        Transport::Sctp(Sctp { tag, chunk: Some(Chunk::Abort), .. }) => tag.is_some() && *tag == init.tag,
        Transport::Icmp(icmp) => matches!(
            icmp.about().map(|about| &about.innermost().transport),
            Some(Transport::Sctp(about)) if is_same(init, about)
        ),
        _ => false,
    }
}
