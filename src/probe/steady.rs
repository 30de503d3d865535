//! A ping that goes on while something is changed, and what it lost.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::matrix;
use crate::error::{Error, Kind, Result};
use crate::plan::Namespace;
use crate::plan::netfilter::Family;

/// Between two requests.
const INTERVAL: Duration = Duration::from_millis(2);

/// Bytes of a request: header, and an eight-byte number of its own.
const REQUEST: usize = 16;

/// A ping that runs on a thread of its own.
pub struct Steady {
    target: Arc<AtomicU32>,
    ending: Arc<AtomicBool>,
    runner: JoinHandle<Result<Loss>>,
}

/// What was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Requests that were sent, or that the kernel refused to send.
    pub sent: u64,
    /// Those without an answer.
    pub lost: u64,
    /// The longest time between two answers, in microseconds.
    #[serde(rename = "longestGapMicroseconds")]
    pub longest_gap: u64,
}

impl Steady {
    /// Begins to ping `to` from a namespace, and returns with the first answer.
    ///
    /// # Errors
    /// If a socket cannot be opened, or no answer comes within `patience`.
    pub fn start(from: &Namespace, to: Ipv4Addr, patience: Duration) -> Result<Steady> {
        let socket = matrix::open(from, Family::Inet)?;
        let (target, ending) = (Arc::new(AtomicU32::new(to.into())), Arc::new(AtomicBool::new(false)));
        let (first, answered) = mpsc::channel();
        let runner = {
            let (target, ending) = (target.clone(), ending.clone());
            std::thread::spawn(move || Runner::new(socket, first)?.run(&target, &ending, patience))
        };
        let steady = Steady { target, ending, runner };
        match answered.recv_timeout(patience) {
            Ok(()) => Ok(steady),
            Err(_) => {
                steady.finish()?;
                Err(Error::new(Kind::Check, format!("{to} does not answer {} within {patience:?}", from.name)))
            }
        }
    }

    /// Pings another address from now on: whom is meant has moved.
    pub fn follow(&self, to: Ipv4Addr) {
        self.target.store(to.into(), Ordering::Relaxed);
    }

    /// Ends it when it has an answer to a request that was sent from now on, or its patience is over.
    ///
    /// # Errors
    /// If the socket failed.
    pub fn finish(self) -> Result<Loss> {
        self.ending.store(true, Ordering::Relaxed);
        self.runner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Runner {
    socket: UdpSocket,
    id: u16,
    loss: Loss,
    answered: u64,
    last_answer: Instant,
    first: Option<mpsc::Sender<()>>,
}

impl Runner {
    fn new(socket: OwnedFd, first: mpsc::Sender<()>) -> Result<Runner> {
        // The calls of the standard library are those of any datagram socket, a raw one too.
        let socket = UdpSocket::from(socket);
        let wait = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(INTERVAL)));
        wait.map_err(|e| Error::io("cannot wait on a raw socket", e))?;
        let id = std::process::id() as u16;
        Ok(Runner { socket, id, loss: Loss::default(), answered: 0, last_answer: Instant::now(), first: Some(first) })
    }

    fn run(mut self, target: &AtomicU32, ending: &AtomicBool, patience: Duration) -> Result<Loss> {
        let mut asked = Instant::now();
        let mut end: Option<(u64, Instant)> = None;
        self.ask(target);
        loop {
            let newest = self.answer()?;
            if asked.elapsed() >= INTERVAL {
                asked = Instant::now();
                self.ask(target);
            }
            if ending.load(Ordering::Relaxed) && end.is_none() {
                end = Some((self.loss.sent, Instant::now()));
            }
            let Some((last, since)) = end else { continue };
            if newest.is_some_and(|number| number >= last) || since.elapsed() > patience {
                break;
            }
        }
        // Those still under way are not lost.
        self.loss.lost = end.map_or(self.loss.sent, |(last, _)| last).saturating_sub(self.answered);
        self.loss.longest_gap = self.loss.longest_gap.max(self.last_answer.elapsed().as_micros() as u64);
        Ok(self.loss)
    }

    /// Sends the next request. A refusal (no route, the device is gone) is a request without an answer.
    fn ask(&mut self, target: &AtomicU32) {
        let mut bytes = [0u8; REQUEST];
        bytes[0] = 8;
        bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.loss.sent.to_be_bytes());
        let checksum = pnet::util::checksum(&bytes, 1);
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        let to = SocketAddrV4::new(target.load(Ordering::Relaxed).into(), 0);
        let _ = self.socket.send_to(&bytes, to);
        self.loss.sent += 1;
    }

    /// Waits a little for an answer, and gives the number of the request that it is to.
    fn answer(&mut self) -> Result<Option<u64>> {
        let mut buffer = [0u8; 256];
        let length = match self.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            // What an earlier request met on its way (host unreachable) is reported here.
            Err(e) if matches!(e.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                return Ok(None);
            }
            Err(e) => return Err(Error::io("cannot read a raw socket", e)),
        };
        let Some(number) = number(buffer.get(..length).unwrap_or_default(), self.id) else { return Ok(None) };
        let gap = self.last_answer.elapsed().as_micros() as u64;
        if self.answered > 0 {
            self.loss.longest_gap = self.loss.longest_gap.max(gap);
        }
        self.last_answer = Instant::now();
        self.answered += 1;
        if let Some(first) = self.first.take() {
            // Whoever waited may have lost patience.
            let _ = first.send(());
        }
        Ok(Some(number))
    }
}

/// The number in an echo reply with this id.
fn number(packet: &[u8], id: u16) -> Option<u64> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (icmp, _) = packet.get(header..)?.split_first_chunk::<REQUEST>()?;
    let [kind, _, _, _, i0, i1, _, _, number @ ..] = *icmp;
    (kind == 0 && u16::from_be_bytes([i0, i1]) == id).then(|| u64::from_be_bytes(number))
}
