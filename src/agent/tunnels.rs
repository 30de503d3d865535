//! The tunnels that the agent carries because the kernel lacks their devices.

use super::control::TunnelStatus;
use super::orders::Tunnel;
use crate::error::{Error, Kind, Result};

/// The tunnels in service.
#[derive(Debug, Default)]
pub(super) struct Tunnels {}

impl Tunnels {
    /// Attaches to every device in `orders`; each is a TUN device from then on.
    pub(super) fn start(orders: &[Tunnel]) -> Result<Tunnels> {
        match orders.first() {
            None => Ok(Tunnels {}),
            Some(tunnel) => {
                let missing = format!("cannot carry {} in {}: this minik has no tunnel engine", tunnel.device, tunnel.netns);
                Err(Error::new(Kind::Unsupported, missing))
            }
        }
    }

    /// Their counters.
    pub(super) fn status(&self) -> Vec<TunnelStatus> {
        Vec::new()
    }
}
