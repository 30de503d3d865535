//! Questions to a namespace's routing, one at a time, and the news that an answer may have changed. EFFECTS.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Error, Result};

/// How long an answer may take, in seconds. The kernel answers within the request; this bounds a surprise.
const PATIENCE: i64 = 2;

/// The answer of the kernel's routing about one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The next hop, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The source that the kernel would choose.
    pub source: Option<Ipv4Addr>,
    /// Interface index of the device.
    pub device: u32,
    /// MTU of the route in bytes, if one is set or was discovered.
    pub mtu: Option<u32>,
}

/// A socket for questions to the routing of the namespace in which it was opened.
#[derive(Debug)]
pub struct Lookup {
    socket: Socket,
    sequence: u32,
}

impl Lookup {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open() -> Result<Lookup> {
        let open = || -> std::io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
            Ok(socket)
        };
        let socket = open().map_err(|e| Error::io("cannot open an rtnetlink socket", e))?;
        Ok(Lookup { socket, sequence: 0 })
    }

    /// How a packet to `destination` would go, through `device` only if that is given (an interface index). What
    /// else may decide in rules (source, mark, TOS, input device) is not part of the question.
    ///
    /// # Errors
    /// The kernel's own: ENETUNREACH without a route, EHOSTUNREACH, EACCES or EINVAL from a route that refuses.
    pub fn route(&mut self, destination: Ipv4Addr, device: Option<u32>) -> std::io::Result<Answer> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet;
        question.header.destination_prefix_length = 32;
        question.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
        question.attributes.extend(device.map(RouteAttribute::Oif));
        match self.ask(RouteNetlinkMessage::GetRoute(question))? {
            RouteNetlinkMessage::NewRoute(route) => Ok(read_route(&route)),
            other => Err(unexpected(&other)),
        }
    }

    /// MTU in bytes of the interface with this index.
    ///
    /// # Errors
    /// The kernel's own: ENODEV if there is none.
    pub fn link_mtu(&mut self, index: u32) -> std::io::Result<u32> {
        let link = self.link(index)?;
        let mtu = link.attributes.iter().find_map(|a| if let LinkAttribute::Mtu(mtu) = a { Some(*mtu) } else { None });
        mtu.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Whether the interface with this index is set up, but not in use by the kernel: without a carrier, or with one of
    /// which the kernel has not taken notice. Then it drops what is sent there.
    ///
    /// # Errors
    /// The kernel's own: ENODEV if there is none.
    pub fn link_is_idle(&mut self, index: u32) -> std::io::Result<bool> {
        let link = self.link(index)?;
        let in_use = link.attributes.contains(&LinkAttribute::OperState(State::Up));
        Ok(link.header.flags.contains(LinkFlags::Up) && !in_use)
    }

    fn link(&mut self, index: u32) -> std::io::Result<LinkMessage> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        match self.ask(RouteNetlinkMessage::GetLink(question))? {
            RouteNetlinkMessage::NewLink(link) => Ok(link),
            _ => Err(std::io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }

    fn ask(&mut self, question: RouteNetlinkMessage) -> std::io::Result<RouteNetlinkMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = vec![0u8; 16 * 1024];
        loop {
            let size = self.socket.recv(&mut &mut buffer[..], 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer[..size.min(buffer.len())])
                .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()))?;
            // An answer that came after its question had been given up.
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(inner) => Ok(inner),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                other => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{other:?}"))),
            };
        }
    }
}

fn read_route(route: &RouteMessage) -> Answer {
    let mut answer = Answer { gateway: None, source: None, device: 0, mtu: None };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => answer.gateway = Some(*gateway),
            RouteAttribute::PrefSource(RouteAddress::Inet(source)) => answer.source = Some(*source),
            RouteAttribute::Oif(index) => answer.device = *index,
            RouteAttribute::Metrics(metrics) => {
                answer.mtu = metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
            }
            _ => {}
        }
    }
    answer
}

fn unexpected(answer: &RouteNetlinkMessage) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("unexpected answer of rtnetlink: {answer:?}"))
}

/// Hears of every change to a namespace's IPv4 routes, rules, addresses, next hops and links.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Watch {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open() -> Result<Watch> {
        Watch::of(&[])
    }

    /// The same for IPv6 and for neighbours and FDBs as well.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open_wide() -> Result<Watch> {
        Watch::of(&[
            libc::RTNLGRP_NEIGH,
            libc::RTNLGRP_TC,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV6_ROUTE,
            libc::RTNLGRP_IPV6_RULE,
        ])
    }

    /// One that hears of links alone.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn links() -> Result<Watch> {
        Watch::groups(&[libc::RTNLGRP_LINK])
    }

    fn of(more: &[u32]) -> Result<Watch> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_NEXTHOP,
        ];
        Watch::groups(&[&groups[..], more].concat())
    }

    fn groups(groups: &[u32]) -> Result<Watch> {
        let open = || -> std::io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            groups.iter().try_for_each(|group| socket.add_membership(*group))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        open().map(|socket| Watch { socket }).map_err(|e| Error::io("cannot watch routes", e))
    }

    /// Takes all the news there are: whether there were any. Never blocks.
    pub fn drain(&self) -> bool {
        self.any(|_| true)
    }

    /// Takes all the news there are: whether some are of a link that is up. Never blocks.
    pub fn drain_to_up(&self) -> bool {
        self.any(is_of_link_up)
    }

    /// Takes all the news there are: whether any is such. News that were lost for want of space may have been.
    fn any(&self, is_such: fn(&[u8]) -> bool) -> bool {
        let mut news = false;
        let mut buffer = [0u8; 64];
        loop {
            // SAFETY: the buffer is valid for its length; longer messages are cut off, which is as good here.
            let size = unsafe {
                libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
            };
            if let Ok(size) = usize::try_from(size) {
                news |= is_such(&buffer[..size.min(buffer.len())]);
                continue;
            }
            match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // That something changed is known all the same.
                Some(libc::ENOBUFS) => news = true,
                _ => return news,
            }
        }
    }
}

/// Whether a message of rtnetlink begins as one of a link that is up: `nlmsghdr`, then `ifinfomsg` with its flags.
fn is_of_link_up(message: &[u8]) -> bool {
    let kind = message.get(4..6).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok()).map(u16::from_ne_bytes);
    let flags = message.get(24..28).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_ne_bytes);
    kind == Some(libc::RTM_NEWLINK) && flags.is_some_and(|flags| flags & libc::IFF_UP as u32 != 0)
}
