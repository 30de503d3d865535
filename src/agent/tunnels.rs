//! The tunnels that the agent carries because the kernel lacks their devices.

use super::control::TunnelStatus;
use super::log;
use super::orders::Tunnel;
use crate::error::Result;
use crate::kernel::netns;
use crate::tunnel::{Engine, Peer, Report};

/// Threads of the engine: a tunnel has two ends, and both may be busy at once.
const WORKERS: usize = 2;

/// The tunnels in service; dropping this leaves the devices without a carrier.
pub(super) struct Tunnels {
    engine: Option<Engine>,
    orders: Vec<Tunnel>,
}

impl Tunnels {
    /// Attaches to every device in `orders`; when this returns, packets pass through all of them.
    pub(super) fn start(orders: &[Tunnel]) -> Result<Tunnels> {
        if orders.is_empty() {
            return Ok(Tunnels { engine: None, orders: Vec::new() });
        }
        let engine = Engine::start(WORKERS.min(orders.len()), |line| log::line(line))?;
        for tunnel in orders {
            let peer = tunnel.peer.map(|(local, remote)| Peer { local, remote });
            engine.serve(&netns::open(&tunnel.netns)?, &tunnel.device, peer)?;
        }
        Ok(Tunnels { engine: Some(engine), orders: orders.to_vec() })
    }

    /// Serves these from now on. Where nothing changes, nothing is disturbed.
    pub(super) fn follow(&mut self, orders: &[Tunnel]) -> Result<()> {
        if self.orders == orders {
            return Ok(());
        }
        // Two engines cannot carry one device.
        self.engine = None;
        *self = Tunnels::start(orders)?;
        Ok(())
    }

    /// Their counters.
    pub(super) fn status(&self) -> Vec<TunnelStatus> {
        self.engine.iter().flat_map(Engine::counters).map(tunnel_status).collect()
    }
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
