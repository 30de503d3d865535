//! The cluster's DNS servers: the sockets of port 53 of their pods, and the pages beside.
//!
//! All servers of a cluster look at one zone, which is replaced when the cluster changes; their sockets stay.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::log;
use crate::dns::{Handled, Records, Transport, Zone, respond};

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// Largest question in a datagram, in bytes.
const QUESTION_MAX: usize = 4096;

/// For how long a stream may be silent, as CoreDNS' server has it.
const IDLE: Duration = Duration::from_secs(10);

/// Streams of one server at a time; further ones wait in the kernel.
const STREAMS_MAX: usize = 128;

/// For how long nothing is accepted after the process ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// What all servers of a cluster know.
#[derive(Debug, Clone)]
pub(super) struct Names(Arc<RwLock<Arc<Zone>>>);

impl Names {
    /// Those of a cluster that nobody has told anything about.
    pub(super) fn new() -> Names {
        Names(Arc::new(RwLock::new(Arc::new(Zone::new(Records::default(), 0)))))
    }

    /// From now on every server answers from these records.
    pub(super) fn replace(&self, records: Records) {
        // A clock before 1970 or after 2106 gives a serial number that is as good as any.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Zone::new(records, now));
    }

    fn zone(&self) -> Arc<Zone> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server: what it knows, its own address, and what it has answered.
#[derive(Debug)]
pub(super) struct Server {
    names: Names,
    /// Its pod's address.
    own: Option<IpAddr>,
    /// `namespace/name` of its pod, for messages.
    pod: String,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(Transport, &'static str), u64>,
    responses: BTreeMap<&'static str, u64>,
}

impl Server {
    /// The server in a pod.
    pub(super) fn new(names: &Names, own: Option<IpAddr>, pod: String) -> Server {
        Server { names: names.clone(), own, pod, counts: Mutex::default() }
    }

    fn answer(&self, transport: Transport, question: &[u8]) -> Option<Vec<u8>> {
        let Handled { message, kind, rcode } = respond(&self.names.zone(), self.own, transport, question)?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((transport, kind)).or_default() += 1;
        *counts.responses.entry(rcode.name()).or_default() += 1;
        Some(message)
    }

    /// A page of one of the ports beside: health, readiness, metrics as the plugins of these names have them.
    pub(super) fn page(&self, port: u16, path: &str) -> Option<String> {
        match (port, path) {
            (8080, "/health") | (8181, "/ready") => Some("OK".to_owned()),
            (9153, "/metrics") => Some(self.metrics()),
            _ => None,
        }
    }

    /// Two of CoreDNS' metrics, in the text format of Prometheus.
    fn metrics(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP coredns_dns_requests_total Counter of DNS requests made per zone, protocol and family.\n\
             # TYPE coredns_dns_requests_total counter\n",
        );
        // Writing to a String cannot fail.
        for ((transport, kind), count) in &counts.requests {
            let proto = match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            };
            let _ = writeln!(
                text,
                "coredns_dns_requests_total{{family=\"1\",proto=\"{proto}\",server=\"dns://:53\",type=\"{kind}\",view=\"\",zone=\".\"}} {count}"
            );
        }
        text.push_str(
            "# HELP coredns_dns_responses_total Counter of response status codes.\n\
             # TYPE coredns_dns_responses_total counter\n",
        );
        for (rcode, count) in &counts.responses {
            let _ = writeln!(
                text,
                "coredns_dns_responses_total{{rcode=\"{rcode}\",server=\"dns://:53\",view=\"\",zone=\".\"}} {count}"
            );
        }
        text
    }
}

/// Answers datagrams until the socket fails.
pub(super) async fn answer_datagrams(socket: UdpSocket, server: Arc<Server>) {
    loop {
        if let Err(e) = socket.readable().await {
            return log::line(format_args!("{}: DNS by UDP ends: {e}", server.pod));
        }
        if let Err(e) = answer_one(&socket, &server)
            && e.kind() != io::ErrorKind::WouldBlock
        {
            // An earlier answer that could not be delivered (ECONNREFUSED, EHOSTUNREACH) is reported here.
            log::line(format_args!("{}: DNS by UDP: {e}", server.pod));
        }
    }
}

/// Answers one datagram; not async, so that its buffer is no part of the task.
fn answer_one(socket: &UdpSocket, server: &Server) -> io::Result<()> {
    let mut buffer = [0u8; QUESTION_MAX];
    let (length, peer) = socket.try_recv_from(&mut buffer)?;
    match server.answer(Transport::Udp, &buffer[..length]) {
        Some(answer) => socket.try_send_to(&answer, peer).map(|_| ()),
        None => Ok(()),
    }
}

/// Accepts streams until the server's lease is over, and answers each.
pub(super) async fn answer_streams(listener: TcpListener, server: Arc<Server>) {
    let room = Arc::new(Semaphore::new(STREAMS_MAX));
    // The streams end with this set, so with the pod.
    let mut streams = tokio::task::JoinSet::new();
    loop {
        // Nobody closes the semaphore.
        let Ok(place) = room.clone().acquire_owned().await else { return };
        while streams.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let server = server.clone();
                streams.spawn(async move {
                    converse(stream, peer, &server).await;
                    drop(place);
                });
            }
            // The client gave up before it was accepted: accept(2) reports that on the listener.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => {
                log::line(format_args!("{}: DNS by TCP: cannot accept: {e}", server.pod));
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Answers the questions of one stream, each with its length before it, until its end or silence.
async fn converse(mut stream: TcpStream, peer: SocketAddr, server: &Server) {
    loop {
        match tokio::time::timeout(IDLE, exchange(&mut stream, server)).await {
            Ok(Ok(())) => {}
            // Silence, and the ends of a stream that are usual.
            Err(_) => return,
            Ok(Err(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                ) =>
            {
                return;
            }
            Ok(Err(e)) => return log::line(format_args!("{}: DNS by TCP with {peer}: {e}", server.pod)),
        }
    }
}

async fn exchange(stream: &mut TcpStream, server: &Server) -> io::Result<()> {
    let length = stream.read_u16().await?;
    let mut question = vec![0; usize::from(length)];
    stream.read_exact(&mut question).await?;
    let Some(answer) = server.answer(Transport::Tcp, &question) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    // An answer is cut to what its length can say.
    let length = u16::try_from(answer.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(answer);
    stream.write_all(&message).await
}
