//! Packets of our own making, out of an interface or through a namespace's IP stack.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use pnet::datalink::{self, Channel, ChannelType, DataLinkSender, NetworkInterface};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::transport::{TransportChannelType, TransportSender, transport_channel};

use super::socket;
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;
use crate::packet::build::Probe;
use crate::packet::{IPV6_HEADER, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::plan::Namespace;

/// A way out of one interface for whole frames. What is sent here does not pass the namespace's own routes and
/// rules; the answers do reach its stack.
pub struct Wire {
    netns: String,
    interface: String,
    sender: Box<dyn DataLinkSender>,
}

impl Wire {
    /// Opens the interface with this name and index in a namespace.
    ///
    /// # Errors
    /// If the namespace or the channel cannot be opened.
    pub fn open(ns: &Namespace, interface: &str, index: u32) -> Result<Wire> {
        let failed = |e: std::io::Error| Error::io(format!("in {}: cannot open {interface} for sending", ns.netns), e);
        let sender = netns::inside(netns::open(&ns.netns)?.file(), || channel(interface, index))?.map_err(failed)?;
        Ok(Wire { netns: ns.netns.clone(), interface: interface.to_owned(), sender })
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// If the kernel refuses it: the interface is down, or the frame is longer than its MTU allows.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let doing =
            || format!("in {}: cannot send a frame of {} bytes out of {}", self.netns, frame.len(), self.interface);
        match self.sender.send_to(frame, None) {
            Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(Error::io(doing(), e)),
            None => Err(Error::new(Kind::Io, doing())),
        }
    }
}

fn channel(interface: &str, index: u32) -> std::io::Result<Box<dyn DataLinkSender>> {
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    // pnet's channel always listens too; nobody reads it here, so nothing is to be queued for it.
    socket::attach_filter(&fd, &mut [socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0)])?;
    let interface = NetworkInterface {
        name: interface.to_owned(),
        description: String::new(),
        index,
        mac: None,
        ips: Vec::new(),
        flags: 0,
    };
    let config = datalink::Config {
        channel_type: ChannelType::Layer2,
        promiscuous: false,
        socket_fd: Some(fd.into_raw_fd()),
        ..datalink::Config::default()
    };
    match datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, _) => Ok(sender),
        _ => Err(std::io::Error::from(std::io::ErrorKind::Unsupported)),
    }
}

/// What a raw socket is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// IPv4 with the header of the sender's making.
    V4,
    /// One protocol over IPv6. The kernel writes the header: of what comes with one it chooses no source.
    V6 {
        /// Its number.
        protocol: u8,
    },
}

impl Door {
    /// The one for a probe.
    pub fn of(probe: &Probe) -> Door {
        if probe.is_v6() { Door::V6 { protocol: probe.protocol() } } else { Door::V4 }
    }
}

/// A way into a namespace's own IP output: packets take its routes, its OUTPUT rules and its neighbours, as those
/// of its own programs do.
pub struct Stack {
    netns: String,
    sender: Sender,
}

enum Sender {
    V4(TransportSender),
    V6(OwnedFd),
}

impl Stack {
    /// Opens a raw socket in a namespace.
    ///
    /// # Errors
    /// If the namespace or the socket cannot be opened.
    pub fn open(ns: &Namespace, door: Door) -> Result<Stack> {
        let failed = |e: std::io::Error| Error::io(format!("in {}: cannot open a raw socket", ns.netns), e);
        let open = || match door {
            Door::V4 => raw_sender().map(Sender::V4),
            Door::V6 { protocol } => raw_sender_v6(protocol).map(Sender::V6),
        };
        let sender = netns::inside(netns::open(&ns.netns)?.file(), open)?.map_err(failed)?;
        Ok(Stack { netns: ns.netns.clone(), sender })
    }

    /// Sends an IP packet with its header. An unspecified source is filled in by the kernel; of an IPv6 header it takes
    /// the hop limit alone.
    ///
    /// # Errors
    /// If the kernel refuses it: no route, a rule of OUTPUT, or longer than the MTU with DF.
    pub fn send(&mut self, packet: &[u8], dst: IpAddr) -> std::io::Result<()> {
        let wrong = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        match &mut self.sender {
            Sender::V4(sender) => {
                let packet = Ipv4Packet::new(packet).ok_or_else(wrong)?;
                sender.send_to(packet, dst).map(|_| ())
            }
            Sender::V6(socket) => {
                let (header, message) = packet.split_at_checked(usize::from(IPV6_HEADER)).ok_or_else(wrong)?;
                let hops = libc::c_int::from(*header.get(7).ok_or_else(wrong)?);
                socket::set_option(&*socket, libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS, &hops)?;
                // A raw socket has no ports.
                let to = SockaddrStorage::from(SocketAddr::new(dst, 0));
                Ok(sendto(socket.as_raw_fd(), message, &to, MsgFlags::empty()).map(|_| ())?)
            }
        }
    }

    /// The namespace's name under /run/netns.
    pub fn netns(&self) -> &str {
        &self.netns
    }
}

fn raw_sender() -> std::io::Result<TransportSender> {
    let kind = TransportChannelType::Layer3(IpNextHeaderProtocol(libc::IPPROTO_RAW as u8));
    let (sender, _) = transport_channel(0, kind)?;
    // Probes measure the interface's MTU, not what the kernel remembers of an earlier ICMP error.
    // SAFETY: the descriptor is open as long as `sender` is.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(sender.socket.fd.as_raw_fd()) };
    socket::set_option(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE)?;
    Ok(sender)
}

fn raw_sender_v6(protocol: u8) -> std::io::Result<OwnedFd> {
    let fd = socket::open(libc::AF_INET6, libc::SOCK_RAW, protocol.into())?;
    // What comes in for the protocol is nobody's business here.
    socket::attach_filter(&fd, &mut [socket::instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0)])?;
    socket::set_option(&fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE)?;
    // Where the checksum is, which has the source in it. That of ICMPv6 the kernel knows.
    let checksum: Option<libc::c_int> = match protocol {
        PROTOCOL_UDP => Some(6),
        PROTOCOL_TCP => Some(16),
        _ => None,
    };
    if let Some(at) = checksum {
        socket::set_option(&fd, libc::SOL_IPV6, libc::IPV6_CHECKSUM, &at)?;
    }
    Ok(fd)
}
