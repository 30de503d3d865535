//! TUN devices served in userspace: `tunl0` where the kernel has no ipip, IP in IP on the wire; and `flannel0` of
//! flannel's udp backend, which a program serves on real nodes too (`udp`, `bare`).
//!
//! An [`Engine`] is a few threads that serve any number of devices in any namespaces. What a pod sends through
//! `tunl0` is read from the device, gets an outer header toward the next hop of its route, and leaves through a
//! raw socket of that node; what arrives for the node with protocol 4 comes from that socket and is written to the
//! device. So the inner packet passes FORWARD with `tunl0`, and the outer one OUTPUT and POSTROUTING, or
//! PREROUTING and INPUT, as with the kernel's own tunnel, and a rule that drops it there really stops it.
//!
//! ```text
//!   cali… ─▶ tunl0 ─▶ endpoint::transmit: outbox, segment, ipip, paths ─▶ raw socket ─▶ ens33
//!   cali… ◀─ tunl0 ◀─ endpoint::receive:  coalesce, ipip               ◀─ raw socket ◀─ ens33
//! ```
//!
//! Where it differs from the kernel's tunnel, and the test of tests/kernel_tunnel that holds it to that:
//! - the mark of a packet does not survive the tunnel: a TUN does not hand it out (`both_but_for_marks`);
//! - the next hop is asked from the routing a second time, without mark, source and input device, so that two routes
//!   through the tunnel which only such rules tell apart are confused (see `paths`; `both_but_for_rules`);
//! - drops are in the tunnel's own [`Snapshot`] and not in the device's error counters, and the device's counters of
//!   what went out contain them (`both_but_for_counters`);
//! - what is wrapped in IP and no IPv4 itself is dropped before the device and not behind it, so its counters and its
//!   captures do not have it (`both_but_for_what_is_no_ipv4`);
//! - a large TCP packet that does not fit is answered with ICMP at once, where the kernel cuts it first and
//!   answers only once the sender repeats a single segment (`both_but_for_large_tcp`);
//! - "port unreachable", the answer to packets for a device that is down, is limited as the namespace says
//!   (`both_complaints`), but does not count in what the whole machine may send (net.ipv4.icmp_msgs_per_sec; to meet
//!   that limit is a matter of time, so no test does);
//! - congestion that the outer header tells is written into a copy of the inner packet; the kernel writes it into the
//!   very bytes that a capture of the wire may still be about to read (`both_ecn_and_dscp`);
//! - the device says POINTOPOINT, and `tun` in `ip -d link`; where the ipip module is loaded, two devices of that stand
//!   beside it (see [`crate::plan::aside`]; `both_but_for_looks`).
//!
//! In all else the tests `both_…` there find no difference, packet by packet, at the pods, at `tunl0` and on the wire.
//! They need a kernel with ipip; `scripts/vm-test` has one.
//!
//! Files without an EFFECTS mark are pure and tested byte by byte.

mod bare;
mod checksum;
mod coalesce;
mod complaints;
mod counters;
mod end;
mod endpoint;
mod icmp;
mod ipip;
mod outbox;
mod packet;
mod paths;
mod ratelimit;
mod raw;
mod segment;
mod udp;
mod vnet;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ipnet::Ipv4Net;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Kind, Result};
use crate::kernel::netns::{self, Netns};

use counters::Counters;
pub use counters::{Cause, Snapshot, Traffic};
use end::End;
use endpoint::Endpoint;
use udp::UdpEndpoint;
use worker::{Command, Worker};

/// Takes lines for the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A tunnel of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelId(u64);

/// The two ends of a tunnel that leads to one other end, as `ip tunnel add … local … remote …` makes it (pmtudisc).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Source of the outer header.
    pub local: Ipv4Addr,
    /// Destination of the outer header.
    pub remote: Ipv4Addr,
}

/// How flannel's udp backend carries packets: bare, in datagrams between the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagrams {
    /// The node's address and port, for the socket.
    pub local: SocketAddrV4,
    /// The device's address: source of what the backend itself has to say.
    pub address: Ipv4Addr,
    /// Subnets of other nodes, which do not overlap, with those nodes' sockets.
    pub subnets: Vec<(Ipv4Net, SocketAddrV4)>,
}

/// A tunnel's counters, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The tunnel.
    pub id: TunnelId,
    /// Name of its namespace under /run/netns.
    pub netns: String,
    /// Its device.
    pub device: String,
    /// Whether it is being served: false once the device is gone.
    pub serving: bool,
    /// What it has done.
    pub counters: Snapshot,
}

/// What is known of a tunnel outside its worker.
#[derive(Debug)]
struct Tunnel {
    netns: String,
    device: String,
    worker: usize,
    serving: AtomicBool,
    counters: Arc<Counters>,
}

impl Tunnel {
    fn ended(&self) {
        self.serving.store(false, Ordering::Relaxed);
    }
}

/// Threads that serve tunnels. Dropping it ends them; the devices stay, without a carrier.
pub struct Engine {
    workers: Vec<Handle>,
    tunnels: Mutex<Tunnels>,
}

#[derive(Default)]
struct Tunnels {
    last: u64,
    known: BTreeMap<TunnelId, Arc<Tunnel>>,
}

/// A worker from outside.
struct Handle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts `workers` threads (at least one), among which the tunnels are divided. `log` gets a line when a
    /// tunnel ends on its own.
    ///
    /// # Errors
    /// If the system gives no thread or descriptor.
    pub fn start(workers: usize, log: impl Fn(&str) + Send + Sync + 'static) -> Result<Engine> {
        let log: Log = Arc::new(log);
        let start = |number| Handle::start(number, Arc::clone(&log));
        let workers = (0..workers.max(1)).map(start).collect::<io::Result<Vec<Handle>>>();
        let workers = workers.map_err(|e| Error::io("cannot start the tunnel engine", e))?;
        Ok(Engine { workers, tunnels: Mutex::default() })
    }

    /// Serves `device`, a TUN device made by [`crate::kernel::tun::create`] in `netns`. Without a peer it stands for
    /// `tunl0`, where the next hop of each packet's route is the other end. When this returns, packets flow.
    ///
    /// # Errors
    /// If there is no such device, it is served already, or the kernel refuses a socket.
    pub fn serve(&self, netns: &Netns, device: &str, peer: Option<Peer>) -> Result<TunnelId> {
        self.serve_end(netns, device, |counters| Endpoint::open(device, peer, counters).map(End::Ipip))
    }

    /// Serves `device`, a TUN device made by [`crate::kernel::tun::create_plain`] in `netns`, as flanneld does with its
    /// udp backend. When this returns, packets flow.
    ///
    /// # Errors
    /// As [`Engine::serve`]; and if the socket's port is taken.
    pub fn serve_datagrams(&self, netns: &Netns, device: &str, how: &Datagrams) -> Result<TunnelId> {
        self.serve_end(netns, device, |counters| UdpEndpoint::open(device, how, counters).map(End::Udp))
    }

    fn serve_end(
        &self,
        netns: &Netns,
        device: &str,
        open: impl FnOnce(Arc<Counters>) -> Result<End> + Send,
    ) -> Result<TunnelId> {
        let name = netns.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |e: Error| e.within(format!("cannot serve {device} in {name}"));
        let counters = Arc::new(Counters::default());
        let opened = Arc::clone(&counters);
        let endpoint =
            netns::inside(netns.file().as_fd(), || open(opened)).and_then(|opened| opened).map_err(failed)?;
        let (id, tunnel) = self.register(name.clone(), device.to_owned(), counters);
        let served = self.workers[tunnel.worker]
            .ask(|answer| Command::Serve(id, tunnel, Box::new(endpoint), answer))
            .map_err(failed);
        if served.is_err() {
            self.lock().known.remove(&id);
        }
        served.map(|()| id)
    }

    /// Serves a tunnel no more. Its counters are forgotten.
    ///
    /// # Errors
    /// If there is no such tunnel.
    pub fn stop(&self, id: TunnelId) -> Result<()> {
        let tunnel = self.lock().known.remove(&id);
        let tunnel = tunnel.ok_or_else(|| Error::new(Kind::Usage, format!("there is no tunnel {}", id.0)))?;
        self.workers[tunnel.worker].ask(|answer| Command::Stop(id, answer))
    }

    /// The counters of every tunnel, in the order of serving.
    pub fn counters(&self) -> Vec<Report> {
        let tunnels = self.lock();
        let report = |(id, tunnel): (&TunnelId, &Arc<Tunnel>)| Report {
            id: *id,
            netns: tunnel.netns.clone(),
            device: tunnel.device.clone(),
            serving: tunnel.serving.load(Ordering::Relaxed),
            counters: tunnel.counters.snapshot(),
        };
        tunnels.known.iter().map(report).collect()
    }

    /// Gives the tunnel a number, and to the worker with the fewest.
    fn register(&self, netns: String, device: String, counters: Arc<Counters>) -> (TunnelId, Arc<Tunnel>) {
        let mut tunnels = self.lock();
        let load = |worker: &usize| tunnels.known.values().filter(|tunnel| tunnel.worker == *worker).count();
        let worker = (0..self.workers.len()).min_by_key(load).unwrap_or(0);
        let tunnel = Arc::new(Tunnel { netns, device, worker, serving: AtomicBool::new(true), counters });
        tunnels.last += 1;
        let id = TunnelId(tunnels.last);
        tunnels.known.insert(id, Arc::clone(&tunnel));
        (id, tunnel)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tunnels> {
        // Nothing that is done under the lock can leave the map half changed.
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.end();
        }
    }
}

impl Handle {
    fn start(number: usize, log: Log) -> io::Result<Handle> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (commands, received) = channel();
        let wakened = Arc::clone(&wake);
        // The worker holds raw pointers between calls only, but is made in its thread all the same.
        let (ready, started) = sync_channel(1);
        let run = move || match Worker::new(wakened, received, log) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                worker.run();
            }
            Err(e) => {
                let _ = ready.send(Err(e));
            }
        };
        let thread = std::thread::Builder::new().name(format!("minik-tunnel-{number}")).spawn(run)?;
        started.recv().map_err(|_| io::Error::other("the thread ended"))??;
        Ok(Handle { commands, wake, thread: Some(thread) })
    }

    /// Gives a command and waits until it has been carried out.
    fn ask(&self, command: impl FnOnce(SyncSender<io::Result<()>>) -> Command) -> Result<()> {
        let dead = || Error::new(Kind::Io, "the tunnel's worker has ended");
        let (answer, answered) = sync_channel(1);
        self.commands.send(command(answer)).map_err(|_| dead())?;
        self.wake.write(1).map_err(|e| Error::io("cannot wake the tunnel's worker", e))?;
        let done = answered.recv().map_err(|_| dead())?;
        done.map_err(|e| Error::io("cannot wait on the device", e))
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A worker that has ended already needs neither; one that panicked has said so on standard error.
        let _ = self.commands.send(Command::End);
        let _ = self.wake.write(1);
        let _ = thread.join();
    }
}
