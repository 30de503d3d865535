//! One end of a tunnel, whatever its packets are wrapped in. EFFECTS.

use std::os::fd::BorrowedFd;

use super::endpoint::{Buffers, Endpoint, Gone};
use super::udp::UdpEndpoint;

/// One end of a tunnel, as a worker serves it.
#[derive(Debug)]
pub(super) enum End {
    /// IP in IP.
    Ipip(Endpoint),
    /// flannel's udp backend.
    Udp(UdpEndpoint),
}

impl End {
    /// The descriptors to wait on: of the device, of the socket, and of news about routes where those matter.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            End::Ipip(end) => end.descriptors().to_vec(),
            End::Udp(end) => end.descriptors().to_vec(),
        }
    }

    /// Takes notice of changed routes.
    pub(super) fn hear(&mut self) {
        match self {
            End::Ipip(end) => end.hear(),
            // The kernel routes what its socket sends.
            End::Udp(_) => {}
        }
    }

    /// Takes packets from the device to the wire.
    pub(super) fn transmit(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        match self {
            End::Ipip(end) => end.transmit(buffers),
            End::Udp(end) => end.transmit(buffers),
        }
    }

    /// Takes packets from the wire to the device.
    pub(super) fn receive(&mut self, buffers: &mut Buffers) -> Result<(), Gone> {
        match self {
            End::Ipip(end) => end.receive(buffers),
            End::Udp(end) => end.receive(buffers),
        }
    }
}
