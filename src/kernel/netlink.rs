//! Many rtnetlink messages in few system calls, and every answer of the kernel accounted for.
//!
//! rtnetlink's builders make the messages; its asynchronous handle is not used for bulk work, because with a
//! full socket buffer it can lose requests without an error. Here a batch is sent in chunks that fit into the
//! socket's default buffer, only the last message of a chunk asks for an acknowledgement, and the kernel
//! handles a chunk in order: when that acknowledgement is in, every error before it is in as well.

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Error, Kind, Result};

/// Bytes and messages in one send: what the kernel takes at once with default buffers.
const CHUNK_BYTES: usize = 32 * 1024;
const CHUNK_MESSAGES: usize = 128;

/// Size of the receive buffer: the largest message of a dump.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Attribute of an error message that holds the kernel's own words (linux/netlink.h NLMSGERR_ATTR_MSG).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// An rtnetlink socket of one network namespace: that of the thread which opened it.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

/// Requests to be sent together. Each carries words that name it if it fails.
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Request>,
}

/// A request, words that name it if it fails, and the refusals that are as good as success.
type Request = (NetlinkMessage<RouteNetlinkMessage>, String, &'static [i32]);

impl Batch {
    /// Adds a request with the flags `extra` (`NLM_F_CREATE` …); `doing` completes "cannot …".
    pub fn push(&mut self, message: RouteNetlinkMessage, extra: u16, doing: impl Into<String>) {
        self.push_tolerant(message, extra, doing, &[]);
    }

    /// As [`push`](Batch::push); the kernel may refuse this one with one of these error numbers: what shall be removed
    /// may have gone with something else.
    pub fn push_tolerant(
        &mut self,
        message: RouteNetlinkMessage,
        extra: u16,
        doing: impl Into<String>,
        tolerated: &'static [i32],
    ) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | extra;
        self.requests.push((NetlinkMessage::new(header, NetlinkPayload::from(message)), doing.into(), tolerated));
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

impl Rtnetlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open() -> Result<Rtnetlink> {
        let open = || -> std::io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|e| Error::io("cannot open an rtnetlink socket", e))?;
        Ok(Rtnetlink { socket, sequence: 0 })
    }

    /// Sends a batch and waits until the kernel has done all of it.
    ///
    /// # Errors
    /// The first request that failed, with the kernel's own explanation. Requests after it in the same chunk
    /// have been carried out all the same: a batch is not a transaction.
    pub fn send(&mut self, batch: Batch) -> Result<()> {
        let mut requests = batch.requests;
        let mut start = 0;
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        while start < requests.len() {
            let mut end = start;
            bytes.clear();
            while end < requests.len() && end - start < CHUNK_MESSAGES {
                let message = &mut requests[end].0;
                self.sequence += 1;
                message.header.sequence_number = self.sequence;
                message.finalize();
                let padded = message.buffer_len().next_multiple_of(4);
                if end > start && bytes.len() + padded > CHUNK_BYTES {
                    self.sequence -= 1;
                    break;
                }
                let at = bytes.len();
                bytes.resize(at + padded, 0);
                message.serialize(&mut bytes[at..]);
                end += 1;
            }
            ask_ack(&mut bytes, &requests[end - 1].0);
            self.exchange(&bytes, &requests[start..end])?;
            start = end;
        }
        Ok(())
    }

    fn exchange(&mut self, bytes: &[u8], requests: &[Request]) -> Result<()> {
        self.socket.send(bytes, 0).map_err(|e| Error::io("cannot send to rtnetlink", e))?;
        let last = self.sequence;
        let first = last + 1 - requests.len() as u32;
        let mut failure: Option<Error> = None;
        self.receive(|message| {
            let number = message.header.sequence_number;
            let NetlinkPayload::Error(answer) = &message.payload else {
                return number == last;
            };
            let request = number.checked_sub(first).and_then(|i| requests.get(i as usize));
            if let (Some(code), Some((_, doing, tolerated))) = (answer.code, request)
                && failure.is_none()
                && !tolerated.contains(&-code.get())
            {
                failure = Some(refused(doing, code.get(), &answer.header));
            }
            number == last
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Asks for a dump and gives every message of the answer to `each`.
    ///
    /// # Errors
    /// If the kernel refuses the dump.
    pub fn dump(&mut self, request: RouteNetlinkMessage, mut each: impl FnMut(RouteNetlinkMessage)) -> Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.sequence += 1;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(|e| Error::io("cannot send to rtnetlink", e))?;
        let mut failure = None;
        self.receive(|message| match message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                each(inner);
                false
            }
            NetlinkPayload::Error(answer) => {
                failure = answer.code.map(|code| refused("read the kernel's tables", code.get(), &answer.header));
                true
            }
            NetlinkPayload::Done(_) => true,
            _ => false,
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Receives messages until `done` says that one was the last.
    fn receive(&mut self, mut done: impl FnMut(NetlinkMessage<RouteNetlinkMessage>) -> bool) -> Result<()> {
        let mut buffer = vec![0u8; RECEIVE_BYTES];
        loop {
            let size =
                self.socket.recv(&mut &mut buffer[..], 0).map_err(|e| Error::io("cannot receive from rtnetlink", e))?;
            let mut rest = &buffer[..size];
            while rest.len() >= 16 {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| Error::new(Kind::Netlink, "cannot read rtnetlink's answer").because(e))?;
                let step = (message.header.length as usize).next_multiple_of(4).min(rest.len());
                if done(message) {
                    return Ok(());
                }
                rest = &rest[step..];
            }
        }
    }
}

/// Makes the last message of a chunk ask for an acknowledgement.
fn ask_ack(bytes: &mut [u8], last: &NetlinkMessage<RouteNetlinkMessage>) {
    // The flags of a netlink header stand 6 bytes after its start, in the machine's byte order.
    let at = bytes.len() - last.buffer_len().next_multiple_of(4) + 6;
    let flags = last.header.flags | NLM_F_ACK;
    bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
}

/// The error of a request, with the kernel's extended explanation where it gave one.
fn refused(doing: &str, code: i32, header: &[u8]) -> Error {
    let cause = std::io::Error::from_raw_os_error(-code);
    let kind = if -code == libc::EPERM { Kind::Permission } else { Kind::Netlink };
    let error = Error::new(kind, format!("cannot {doing}"));
    match explanation(header) {
        Some(words) => error.because(Refusal { words, cause }),
        None => error.because(cause),
    }
}

/// The kernel's own words for why it refused a request, and the error number.
#[derive(Debug)]
struct Refusal {
    words: String,
    cause: std::io::Error,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.words.trim_end_matches('.'), self.cause)
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// The text attribute after the 16 bytes of the request's header that an error message repeats.
fn explanation(header: &[u8]) -> Option<String> {
    let mut rest = header.get(16..)?;
    while rest.len() >= 4 {
        let length = u16::from_ne_bytes([rest[0], rest[1]]) as usize;
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}
