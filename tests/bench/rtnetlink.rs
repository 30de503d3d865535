//! The least that rtnetlink needs: messages as bytes in one buffer, one send, one wait for the last answer.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_FD};
use libc::{IFLA_NUM_RX_QUEUES, IFLA_NUM_TX_QUEUES};

/// linux/veth.h
const VETH_INFO_PEER: u16 = 1;
/// linux/neighbour.h
const NDTA_NAME: u16 = 1;
const NDTA_PARMS: u16 = 6;
const NDTPA_IFINDEX: u16 = 1;
const NDTPA_PROXY_DELAY: u16 = 13;

const MAKE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// Messages to be sent together.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where the message begins that is being written.
    start: usize,
    count: u32,
}

/// Where a nested attribute or a message begins, so that its length can be filled in at its end.
struct Open(usize);

impl Messages {
    fn begin(&mut self, kind: u16, flags: u16) {
        self.start = self.bytes.len();
        self.count += 1;
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
    }

    fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn nest(&mut self, kind: u16) -> Open {
        let at = self.bytes.len();
        self.attribute(kind, &[]);
        Open(at)
    }

    fn close(&mut self, open: Open) {
        let length = (self.bytes.len() - open.0) as u16;
        self.bytes[open.0..open.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn ifinfo(&mut self, index: u32, up: bool) {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        for word in [0, index, flags, flags] {
            self.bytes.extend_from_slice(&word.to_ne_bytes());
        }
    }

    /// The attributes of one end of a veth pair: its name and one queue each way.
    fn veth_end(&mut self, name: &str) {
        self.attribute(IFLA_IFNAME, format!("{name}\0").as_bytes());
        self.number(IFLA_NUM_TX_QUEUES, 1);
        self.number(IFLA_NUM_RX_QUEUES, 1);
    }

    /// A veth pair: an end that is up here, the other born in the namespace `netns`.
    pub fn veth(&mut self, name: &str, index: u32, peer: &str, peer_index: u32, netns: &OwnedFd) {
        self.begin(libc::RTM_NEWLINK, MAKE);
        self.ifinfo(index, true);
        self.veth_end(name);
        let info = self.nest(IFLA_LINKINFO);
        self.attribute(IFLA_INFO_KIND, b"veth");
        let data = self.nest(IFLA_INFO_DATA);
        let far = self.nest(VETH_INFO_PEER);
        self.ifinfo(peer_index, false);
        self.veth_end(peer);
        self.number(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
        self.close(far);
        self.close(data);
        self.close(info);
        self.end();
    }

    pub fn bridge(&mut self, name: &str, index: u32) {
        self.begin(libc::RTM_NEWLINK, MAKE);
        self.ifinfo(index, true);
        self.attribute(IFLA_IFNAME, format!("{name}\0").as_bytes());
        let info = self.nest(IFLA_LINKINFO);
        self.attribute(IFLA_INFO_KIND, b"bridge");
        self.close(info);
        self.end();
    }

    /// Sets a link up, and makes it a port of `master`.
    pub fn up(&mut self, index: u32, master: Option<u32>) {
        self.begin(libc::RTM_NEWLINK, libc::NLM_F_REQUEST as u16);
        self.ifinfo(index, true);
        if let Some(master) = master {
            self.number(IFLA_MASTER, master);
        }
        self.end();
    }

    pub fn address(&mut self, index: u32, address: [u8; 4], prefix: u8) {
        self.begin(libc::RTM_NEWADDR, MAKE);
        self.bytes.extend_from_slice(&[libc::AF_INET as u8, prefix, 0, 0]);
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self.attribute(libc::IFA_LOCAL, &address);
        self.attribute(libc::IFA_ADDRESS, &address);
        self.end();
    }

    /// A route of the main table, through a gateway if there is one.
    pub fn route(&mut self, to: ([u8; 4], u8), via: Option<[u8; 4]>, index: u32) {
        let scope = if via.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        self.begin(libc::RTM_NEWROUTE, MAKE);
        let table = libc::RT_TABLE_MAIN;
        self.bytes.extend_from_slice(&[
            libc::AF_INET as u8,
            to.1,
            0,
            0,
            table,
            libc::RTPROT_BOOT,
            scope,
            libc::RTN_UNICAST,
        ]);
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        if to.1 > 0 {
            self.attribute(libc::RTA_DST, &to.0);
        }
        if let Some(via) = via {
            self.attribute(libc::RTA_GATEWAY, &via);
        }
        self.number(libc::RTA_OIF, index);
        self.end();
    }

    /// `net.ipv4.neigh.<link>.proxy_delay` = 0: proxy ARP answers at once.
    pub fn no_proxy_delay(&mut self, index: u32) {
        self.begin(libc::RTM_SETNEIGHTBL, (libc::NLM_F_REQUEST | libc::NLM_F_REPLACE) as u16);
        self.bytes.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
        self.attribute(NDTA_NAME, b"arp_cache\0");
        let parameters = self.nest(NDTA_PARMS);
        self.number(NDTPA_IFINDEX, index);
        self.attribute(NDTPA_PROXY_DELAY, &0u64.to_ne_bytes());
        self.close(parameters);
        self.end();
    }
}

/// An rtnetlink socket of the namespace in which it was opened.
pub struct Rtnetlink(OwnedFd);

impl Rtnetlink {
    pub fn open() -> Result<Rtnetlink> {
        // SAFETY: makes a descriptor that nobody else has.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Rtnetlink(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends all messages at once and waits until the kernel has handled the last; the first error is given back.
    pub fn send(&self, mut messages: Messages) -> Result<()> {
        let flags = messages.start + 6;
        let with_ack = u16::from_ne_bytes([messages.bytes[flags], messages.bytes[flags + 1]]) | libc::NLM_F_ACK as u16;
        messages.bytes[flags..flags + 2].copy_from_slice(&with_ack.to_ne_bytes());
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is as long as said.
        if unsafe { libc::send(fd, messages.bytes.as_ptr().cast(), messages.bytes.len(), 0) } < 0 {
            return Err(Error::last_os_error());
        }
        let mut answer = [0u8; 8192];
        loop {
            // SAFETY: as above.
            let size = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0) };
            let mut rest = &answer[..usize::try_from(size).map_err(|_| Error::last_os_error())?];
            while rest.len() >= 20 {
                let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
                let (length, sequence, code) = (word(0) as usize, word(8), word(16) as i32);
                if code != 0 {
                    return Err(Error::other(format!("message {sequence}: {}", Error::from_raw_os_error(-code))));
                }
                if sequence == messages.count {
                    return Ok(());
                }
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}
