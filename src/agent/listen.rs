//! The ports of the pods: sockets opened in the pods' namespaces, served by one runtime outside of them.
//!
//! A pod costs its sockets and a small task for each, no thread: datagrams are read into a buffer on the stack when
//! they are there, and a connection's memory goes with it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::association::{self, Answering};
use super::leased::Leased;
use super::names::{self, Server};
use super::orders::{App, Port, Transport};
use super::{apps, log};
use crate::error::{Error, Result};
use crate::plan::Family;

/// Largest datagram that is answered, in bytes.
const DATAGRAM_MAX: usize = 2048;

/// Connections that wait for the HTTP server at most, beyond each port's own backlog in the kernel.
const ARRIVALS_MAX: usize = 256;

/// For how long nothing is accepted after the process ran out of descriptors or memory.
pub(super) const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Who answers: the pod, as its apps present it.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its Kubernetes namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) pod: String,
    /// Name of its node.
    pub(super) node: String,
    /// What it answers if it is a DNS server.
    pub(super) server: Arc<Server>,
}

/// A socket that was opened in a pod's namespace.
#[derive(Debug)]
pub(super) enum Socket {
    /// Accepts connections.
    Tcp(TcpListener),
    /// Receives datagrams.
    Udp(UdpSocket),
    /// Accepts associations; none where the kernel knows no SCTP.
    Sctp(Option<OwnedFd>),
}

/// The address that stands for all of the calling thread's namespace: a socket of IPv6 takes IPv4's too; in a namespace
/// without IPv6 it is one of IPv4, as programs find it there.
pub(super) fn everywhere() -> IpAddr {
    let family = if has_ipv6() { Family::Inet6 } else { Family::Inet };
    family.unspecified()
}

/// Opens a port on all addresses of the calling thread's namespace.
pub(super) fn open(port: Port) -> io::Result<Socket> {
    let address = (everywhere(), port.number);
    match port.protocol {
        Transport::Tcp => {
            let socket = TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Tcp(socket))
        }
        Transport::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Udp(socket))
        }
        Transport::Sctp => association::open(address).map(Socket::Sctp),
    }
}

/// Whether IPv6 is on in the calling thread's namespace: `lo` has its address then. To look into /proc/sys/net would
/// cost more than both sockets where there are very many namespaces (see `kernel::procfs`).
fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Who asks, without the disguise that IPv4's addresses have at a socket of IPv6 (`::ffff:10.0.0.7`).
pub(super) fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Where the connections of all ports of all pods go in, to be served by one HTTP server.
pub(super) type Hall = mpsc::Sender<(Leased, Caller)>;

/// Starts the HTTP server of all ports. Must be called inside of a runtime.
pub(super) fn open_hall() -> Hall {
    let (hall, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let service = apps::router().into_make_service_with_connect_info::<Caller>();
    tokio::spawn(async move { axum::serve(Arrivals(arrivals), service).await });
    hall
}

/// Serves `app` on a socket until the runtime ends. Must be called inside of a runtime.
///
/// The port is closed when `lease` is finished, and connections to it end.
pub(super) fn serve(
    socket: Socket,
    app: &Arc<App>,
    identity: &Arc<Identity>,
    hall: &Hall,
    lease: &Lease,
) -> Result<()> {
    let cannot = |e| Error::io(format!("cannot serve pod {}/{}", identity.namespace, identity.pod), e);
    match socket {
        Socket::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(cannot)?;
            let port = listener.local_addr().map_err(cannot)?.port();
            if **app == App::Dns && port == names::PORT {
                lease.keep(tokio::spawn(names::answer_streams(listener, identity.server.clone())));
                return Ok(());
            }
            let whom = Caller { app: app.clone(), identity: identity.clone(), peer: ([0; 4], 0).into(), port };
            let work = answer_connections(listener, whom, hall.clone(), lease.end.subscribe());
            lease.keep(tokio::spawn(work));
        }
        Socket::Udp(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket).map_err(cannot)?;
            lease.keep(match **app {
                App::Dns => tokio::spawn(names::answer_datagrams(socket, identity.server.clone())),
                _ => tokio::spawn(answer_datagrams(socket, app.clone(), identity.clone())),
            });
        }
        Socket::Sctp(Some(socket)) => {
            let listener = association::watched(socket).map_err(cannot)?;
            let who = Answering { app: app.clone(), identity: identity.clone() };
            lease.keep(tokio::spawn(association::answer(listener, who, lease.end.subscribe())));
        }
        Socket::Sctp(None) => {
            let Identity { namespace, pod, .. } = &**identity;
            log::line(format_args!("{namespace}/{pod}: this kernel knows no SCTP, so nobody listens by it"));
        }
    }
    Ok(())
}

/// What serves the ports of a pod.
#[derive(Debug)]
pub(super) struct Lease {
    /// When this goes, connections end.
    end: watch::Sender<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Lease {
    /// A lease that runs.
    pub(super) fn new() -> Lease {
        Lease { end: watch::Sender::new(()), tasks: Mutex::default() }
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Closes the ports; when this returns, others can have them.
    pub(super) async fn finish(self) {
        let tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // Aborted is what it shall be.
            let _ = task.await;
        }
    }
}

/// Accepts on one port and passes the connections on. There are thousands of these tasks, so they do nothing else.
async fn answer_connections(listener: tokio::net::TcpListener, whom: Caller, hall: Hall, end: watch::Receiver<()>) {
    let identity = &whom.identity;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let caller = Caller { peer: plain(peer), ..whom.clone() };
                if hall.send((Leased::new(stream, end.clone()), caller)).await.is_err() {
                    return log::line(format_args!(
                        "{}/{}: the HTTP server has ended",
                        identity.namespace, identity.pod
                    ));
                }
            }
            // The client gave up before it was accepted: accept(2) reports that on the listener.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => {
                log::line(format_args!("{}/{}: cannot accept: {e}", identity.namespace, identity.pod));
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn answer_datagrams(socket: tokio::net::UdpSocket, app: Arc<App>, identity: Arc<Identity>) {
    loop {
        if let Err(e) = socket.readable().await {
            return log::line(format_args!("{}/{}: UDP ends: {e}", identity.namespace, identity.pod));
        }
        if let Err(e) = answer_one(&socket, &app, &identity)
            && e.kind() != io::ErrorKind::WouldBlock
        {
            // An earlier answer that could not be delivered (ECONNREFUSED, EHOSTUNREACH) is reported here.
            log::line(format_args!("{}/{}: UDP: {e}", identity.namespace, identity.pod));
        }
    }
}

/// Answers one datagram; not async, so that its buffer is no part of the task.
fn answer_one(socket: &tokio::net::UdpSocket, app: &App, identity: &Identity) -> io::Result<()> {
    let mut buffer = [0u8; DATAGRAM_MAX];
    let (length, peer) = socket.try_recv_from(&mut buffer)?;
    let answer = apps::datagram(app, identity, plain(peer), &buffer[..length]);
    socket.try_send_to(&answer, peer).map(|_| ())
}

/// Whom a request was made to, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The app.
    pub(super) app: Arc<App>,
    /// The pod.
    pub(super) identity: Arc<Identity>,
    /// Whose connection it is.
    pub(super) peer: SocketAddr,
    /// The port that was called.
    pub(super) port: u16,
}

/// The accepted connections of all ports.
struct Arrivals(mpsc::Receiver<(Leased, Caller)>);

impl axum::serve::Listener for Arrivals {
    type Io = Leased;
    type Addr = Caller;

    async fn accept(&mut self) -> (Leased, Caller) {
        match self.0.recv().await {
            Some(arrival) => arrival,
            // Every port is closed; nobody will come any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "connections of many ports arrive here"))
    }
}

impl Connected<IncomingStream<'_, Arrivals>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Arrivals>) -> Caller {
        stream.remote_addr().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn identity() -> Arc<Identity> {
        let server = Arc::new(Server::new(&names::Names::new(), None, String::new()));
        Arc::new(Identity { namespace: "default".into(), pod: "web-1".into(), node: "node-2".into(), server })
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("connects");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn an_app_answers_over_http_and_by_datagram() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let (hall, lease) = (open_hall(), Lease::new());
        let (tcp, udp) = (open(Port::tcp(0)).expect("opens"), open(Port::udp(0)).expect("opens"));
        let (Socket::Tcp(listener), Socket::Udp(socket)) = (&tcp, &udp) else { panic!("a socket of each kind") };
        let tcp_port = listener.local_addr().expect("an address").port();
        let udp_port = socket.local_addr().expect("an address").port();
        let app = Arc::new(App::Nginx { version: "1.14.2".into() });
        serve(tcp, &app, &identity(), &hall, &lease).expect("serves");
        serve(udp, &Arc::new(App::Answer), &identity(), &hall, &lease).expect("serves");

        let asking = tokio::task::spawn_blocking(move || ask(tcp_port, udp_port));
        runtime.block_on(asking).expect("answers");
    }

    #[test]
    fn with_its_lease_a_port_is_closed_and_its_connections_end() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let (hall, lease) = (open_hall(), Lease::new());
        let tcp = open(Port::tcp(0)).expect("opens");
        let Socket::Tcp(listener) = &tcp else { panic!("a TCP socket") };
        let address = listener.local_addr().map(|address| (Ipv4Addr::LOCALHOST, address.port())).expect("an address");
        serve(tcp, &Arc::new(App::Answer), &identity(), &hall, &lease).expect("serves");
        let asking = tokio::task::spawn_blocking(move || {
            // Answered once, so that the server has the connection; without `Connection: close` it stays open.
            let mut stream = std::net::TcpStream::connect(address).expect("connects");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
            assert!(stream.read(&mut [0u8; 4096]).expect("an answer") > 0);
            tokio::runtime::Handle::current().block_on(lease.finish());
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the end");
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while std::net::TcpStream::connect(address).is_ok() {
                assert!(std::time::Instant::now() < deadline, "the port is still open");
            }
        });
        runtime.block_on(asking).expect("ends");
    }

    fn ask(tcp_port: u16, udp_port: u16) {
        let answer = get((Ipv4Addr::LOCALHOST, tcp_port).into(), "/");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("server: nginx/1.14.2\r\n") && answer.contains("Welcome to nginx!"), "{answer}");
        assert!(get((Ipv4Addr::LOCALHOST, tcp_port).into(), "/x").starts_with("HTTP/1.1 404 Not Found\r\n"));

        let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        asker.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
        let mut buffer = [0u8; 100];
        // Twice, since a socket must go on after its first answer.
        for _ in 0..2 {
            asker.send_to(b"hi", (Ipv4Addr::LOCALHOST, udp_port)).expect("sent");
            let length = asker.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..length], b"web-1\n");
        }
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let Ok(Socket::Tcp(first)) = open(Port::tcp(0)) else { panic!("a port") };
        let taken = first.local_addr().expect("an address").port();
        assert_eq!(open(Port::tcp(taken)).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}
