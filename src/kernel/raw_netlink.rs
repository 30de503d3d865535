//! Netlink beyond rtnetlink: messages as bytes, for connection tracking, for the few requests by which netfilter and IPVS
//! are tried, and for the question whether anything changed.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};

/// `NLM_F_REQUEST`, `NLM_F_ACK` and `NLM_F_DUMP`, `NLM_F_CREATE` (linux/netlink.h).
pub(super) const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const CREATE: u16 = 0x400;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// How long an answer may take. The kernel gives it within the request; this is for a kernel that gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// A message of the kernel: its type, and what follows the header.
pub(super) type Message = (u16, Vec<u8>);

/// A socket in the calling thread's namespace.
pub(super) struct Raw(Socket);

impl Raw {
    /// Opens one for a protocol of netlink.
    pub(super) fn open(protocol: isize) -> Result<Raw> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Raw(socket))
    }

    /// Hears what the kernel tells to a group.
    pub(super) fn join(&mut self, group: u32) -> Result<()> {
        self.0.add_membership(group)
    }

    /// Sends messages and gives those of the answer, up to the first acknowledgement, error or end of a dump.
    pub(super) fn ask(&self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.0.send(bytes, 0)?;
        let mut answer = Vec::new();
        loop {
            for (kind, body) in self.receive(PATIENCE)? {
                match kind {
                    ERROR => {
                        let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                        return if code == 0 { Ok(answer) } else { Err(Error::from_raw_os_error(-code)) };
                    }
                    DONE => return Ok(answer),
                    _ => answer.push((kind, body)),
                }
            }
        }
    }

    /// The messages of one datagram, as soon as there is one.
    pub(super) fn receive(&self, patience: Duration) -> Result<Vec<Message>> {
        use std::os::fd::{AsRawFd, BorrowedFd};

        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0u8; 64 * 1024];
        // SAFETY: the socket lives as long as `self`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
                Ok(0) => return Err(Error::other("the kernel does not answer")),
                Ok(_) => {}
                Err(nix::Error::EINTR) => continue,
                Err(e) => return Err(e.into()),
            }
            let size = self.0.recv(&mut &mut buffer[..], 0)?;
            return Ok(messages(&buffer[..size]));
        }
    }
}

/// The messages of a datagram.
fn messages(mut rest: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(header) = rest.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = rest.get(HEADER..length) else { break };
        all.push((u16::from_ne_bytes([header[4], header[5]]), body.to_vec()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// A message of this type; the sequence number tells messages of one batch apart.
pub(super) fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds others.
pub(super) fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

/// An attribute that holds a text as C has it.
pub(super) fn text(kind: u16, words: &str) -> Vec<u8> {
    attribute(kind, format!("{words}\0").as_bytes())
}

/// A `nfgenmsg`: family, version 0, resource.
pub(super) fn general(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// The value of an attribute of this kind among those that `bytes` begins with.
pub(super) fn value(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = u16::from_ne_bytes([bytes[0], bytes[1]]) as usize;
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let found = bytes.get(4..length)?;
        if kind == wanted {
            return Some(found);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let body = [text(2, "IPVS"), attribute(1, &7u16.to_ne_bytes())].concat();
        assert_eq!(value(&body, 1), Some(&7u16.to_ne_bytes()[..]));
        assert_eq!(value(&body, 2), Some(&b"IPVS\0"[..]));
        assert_eq!(value(&body, 3), None);
        let two = [message(16, ACK, 1, &body), message(17, 0, 2, b"xyz")].concat();
        assert_eq!(messages(&two), [(16, body), (17, b"xyz".to_vec())]);
        assert_eq!(value(&[3, 0, 1, 0], 1), None);
        assert!(messages(&[0; 40]).is_empty());
    }
}
