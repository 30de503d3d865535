//! The tunnels that the agent carries: in place of devices that the kernel lacks, and of flanneld's own.

use std::net::SocketAddrV4;

use super::control::TunnelStatus;
use super::log;
use super::orders::{self, Tunnel};
use crate::error::Result;
use crate::kernel::netns;
use crate::tunnel::{Datagrams, Engine, Peer, Report, TunnelId};

/// Threads of the engine: a tunnel has two ends, and both may be busy at once.
const WORKERS: usize = 2;

/// The tunnels in service; dropping this leaves the devices without a carrier.
pub(super) struct Tunnels {
    engine: Option<Engine>,
    served: Vec<(Tunnel, TunnelId)>,
}

impl Tunnels {
    /// Attaches to every device in `orders`; when this returns, packets pass through all of them.
    pub(super) fn start(orders: &[Tunnel]) -> Result<Tunnels> {
        let mut tunnels = Tunnels { engine: None, served: Vec::new() };
        tunnels.follow(orders)?;
        Ok(tunnels)
    }

    /// Serves these from now on. What does not change is not disturbed; what changes, or has lost its device, is
    /// attached anew.
    pub(super) fn follow(&mut self, orders: &[Tunnel]) -> Result<()> {
        if orders.is_empty() {
            self.engine = None;
            self.served.clear();
            return Ok(());
        }
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => Engine::start(WORKERS, |line| log::line(line))?,
        };
        let engine = self.engine.insert(engine);
        let alive: Vec<TunnelId> = engine.counters().iter().filter(|tunnel| tunnel.serving).map(|t| t.id).collect();
        let (kept, ended): (Vec<_>, Vec<_>) =
            self.served.drain(..).partition(|(tunnel, id)| alive.contains(id) && orders.contains(tunnel));
        self.served = kept;
        // First all that ends: what comes may have the same device or port.
        for (_, id) in ended {
            engine.stop(id)?;
        }
        for tunnel in orders {
            if !self.served.iter().any(|(served, _)| served == tunnel) {
                let id = serve(engine, tunnel)?;
                self.served.push((tunnel.clone(), id));
            }
        }
        Ok(())
    }

    /// Their counters.
    pub(super) fn status(&self) -> Vec<TunnelStatus> {
        self.engine.iter().flat_map(Engine::counters).map(tunnel_status).collect()
    }
}

fn serve(engine: &Engine, tunnel: &Tunnel) -> Result<TunnelId> {
    let netns = netns::open(&tunnel.netns)?;
    match &tunnel.datagrams {
        Some(orders) => engine.serve_datagrams(&netns, &tunnel.device, &datagrams(orders)),
        None => engine.serve(&netns, &tunnel.device, tunnel.peer.map(|(local, remote)| Peer { local, remote })),
    }
}

fn datagrams(orders: &orders::Datagrams) -> Datagrams {
    let socket = |address| SocketAddrV4::new(address, orders.port);
    let subnets = orders.peers.iter().map(|(subnet, node)| (*subnet, socket(*node))).collect();
    Datagrams { local: socket(orders.local), address: orders.address, subnets }
}

fn tunnel_status(report: Report) -> TunnelStatus {
    let counters = &report.counters;
    let mut named = vec![
        ("sent packets".to_owned(), counters.sent.packets),
        ("sent bytes".to_owned(), counters.sent.bytes),
        ("received packets".to_owned(), counters.received.packets),
        ("received bytes".to_owned(), counters.received.bytes),
    ];
    named.extend(counters.dropped.iter().map(|(cause, count)| (format!("dropped: {cause:?}"), *count)));
    TunnelStatus { netns: report.netns, device: report.device, counters: named }
}
