//! What a tunnel has carried and what it has dropped, and why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Out: the inner packet is not IPv4, or cannot be read (kernel ipip: `tx_errors`).
    NotIpv4,
    /// Out: no route to the inner packet's next hop or through the device (`tx_carrier_errors`).
    NoRoute,
    /// Out: the way to the other end leads into the tunnel again (`collisions`).
    Loop,
    /// Out: larger than the way with Don't Fragment set; its source was told where ICMP allows it.
    TooBig,
    /// Out: netfilter dropped the outer packet in OUTPUT or POSTROUTING.
    Filtered,
    /// Out: the socket's buffer was full.
    NoBuffer,
    /// Out: the kernel refused the outer packet for another reason.
    Unsent,
    /// Out: the TTL came to its end in the program behind the device (flannel's udp backend).
    TtlOut,
    /// In: outer or inner packet cannot be read (`rx_errors`).
    Malformed,
    /// In: congestion marked on a packet that is not ECN capable (`rx_frame_errors`).
    Congestion,
    /// In: the device is down.
    DeviceDown,
    /// In: the kernel refused the inner packet.
    Undelivered,
    /// In: the TTL came to its end in the program behind the device (flannel's udp backend).
    TtlIn,
}

impl Cause {
    /// Whether it is about packets on their way out.
    pub fn is_outward(self) -> bool {
        !matches!(self, Cause::Malformed | Cause::Congestion | Cause::DeviceDown | Cause::Undelivered | Cause::TtlIn)
    }

    /// Every cause.
    pub const ALL: [Cause; 13] = [
        Cause::NotIpv4,
        Cause::NoRoute,
        Cause::Loop,
        Cause::TooBig,
        Cause::Filtered,
        Cause::NoBuffer,
        Cause::Unsent,
        Cause::TtlOut,
        Cause::Malformed,
        Cause::Congestion,
        Cause::DeviceDown,
        Cause::Undelivered,
        Cause::TtlIn,
    ];
}

/// Packets and bytes; bytes are those of inner packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets on the wire: segments, not what offloads made of them.
    pub packets: u64,
    /// Bytes of inner packets.
    pub bytes: u64,
}

/// The counters of one tunnel at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// From the device to the wire.
    pub sent: Traffic,
    /// From the wire to the device.
    pub received: Traffic,
    /// Packets dropped, by cause; only causes that occurred.
    pub dropped: BTreeMap<Cause, u64>,
}

/// Live counters: written by one worker, read by anyone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: [AtomicU64; 2],
    received: [AtomicU64; 2],
    dropped: [AtomicU64; Cause::ALL.len()],
}

impl Counters {
    pub(super) fn sent(&self, packets: u64, bytes: u64) {
        count(&self.sent, packets, bytes);
    }

    pub(super) fn received(&self, packets: u64, bytes: u64) {
        count(&self.received, packets, bytes);
    }

    pub(super) fn dropped(&self, cause: Cause, packets: u64) {
        self.dropped[cause as usize].fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let traffic = |pair: &[AtomicU64; 2]| Traffic { packets: read(&pair[0]), bytes: read(&pair[1]) };
        let dropped = Cause::ALL.into_iter().map(|cause| (cause, read(&self.dropped[cause as usize])));
        Snapshot {
            sent: traffic(&self.sent),
            received: traffic(&self.received),
            dropped: dropped.filter(|(_, packets)| *packets > 0).collect(),
        }
    }
}

fn count(pair: &[AtomicU64; 2], packets: u64, bytes: u64) {
    pair[0].fetch_add(packets, Ordering::Relaxed);
    pair[1].fetch_add(bytes, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_what_occurred() {
        let counters = Counters::default();
        counters.sent(2, 168);
        counters.dropped(Cause::Undelivered, 3);
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.sent, Traffic { packets: 2, bytes: 168 });
        assert_eq!(snapshot.dropped, BTreeMap::from([(Cause::Undelivered, 3)]));
        assert_eq!(Cause::ALL.map(|cause| cause as usize), std::array::from_fn(|i| i), "the table is complete");
    }
}
