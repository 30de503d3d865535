//! The ports of the pods: sockets opened in the pods' namespaces, served by one runtime outside of them.
//!
//! A pod costs its sockets and a small task for each, no thread: datagrams are read into a buffer on the stack when
//! they are there, and a connection's memory goes with it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::TcpStream;

use super::orders::{App, Port, Transport};
use super::{apps, log};
use crate::error::{Error, Result};

/// Largest datagram that is answered, in bytes.
const DATAGRAM_MAX: usize = 2048;

/// For how long nothing is accepted after the process ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Who answers: the pod, as its apps present it.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its Kubernetes namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) pod: String,
    /// Name of its node.
    pub(super) node: String,
}

/// A socket that was opened in a pod's namespace.
#[derive(Debug)]
pub(super) enum Socket {
    /// Accepts connections.
    Tcp(TcpListener),
    /// Receives datagrams.
    Udp(UdpSocket),
}

/// Opens a port on all addresses of the calling thread's namespace.
pub(super) fn open(port: Port) -> io::Result<Socket> {
    let address = (Ipv4Addr::UNSPECIFIED, port.number);
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
    }
}

/// Serves `app` on a socket until the runtime ends. Must be called inside of a runtime.
pub(super) fn serve(socket: Socket, app: &Arc<App>, identity: &Arc<Identity>, router: &axum::Router) -> Result<()> {
    let cannot = |e| Error::io(format!("cannot serve pod {}/{}", identity.namespace, identity.pod), e);
    match socket {
        Socket::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(cannot)?;
            let door = Door { listener, app: app.clone(), identity: identity.clone() };
            let service = router.clone().into_make_service_with_connect_info::<Caller>();
            tokio::spawn(async move { axum::serve(door, service).await });
        }
        Socket::Udp(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket).map_err(cannot)?;
            tokio::spawn(answer_datagrams(socket, app.clone(), identity.clone()));
        }
    }
    Ok(())
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
    let answer = apps::datagram(app, identity, peer, &buffer[..length]);
    socket.try_send_to(&answer, peer).map(|_| ())
}

/// A TCP port of a pod.
struct Door {
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    identity: Arc<Identity>,
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
}

impl axum::serve::Listener for Door {
    type Io = TcpStream;
    type Addr = Caller;

    async fn accept(&mut self) -> (TcpStream, Caller) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, Caller { app: self.app.clone(), identity: self.identity.clone(), peer }),
                // The client gave up before it was accepted: accept(2) reports that on the listener.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(e) => {
                    log::line(format_args!("{}/{}: cannot accept: {e}", self.identity.namespace, self.identity.pod));
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        let peer = self.listener.local_addr()?;
        Ok(Caller { app: self.app.clone(), identity: self.identity.clone(), peer })
    }
}

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Caller {
        stream.remote_addr().clone()
    }
}
