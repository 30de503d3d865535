//! How often a tunnel complains to a sender. PURE.
//!
//! As Linux limits such messages: six at once to each, then one every net.ipv4.icmp_ratelimit milliseconds
//! (`inet_peer_xrlim_allow`, XRLIM_BURST_FACTOR and `inet_getpeer` in net/ipv4/inetpeer.c, Linux 6.1).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Complaints that a sender gets at once.
const BURST: u32 = 6;

/// What a sender that was not heard of before has saved.
const NEW: Duration = Duration::from_secs(60);

/// Senders remembered at most; then all are forgotten.
const REMEMBERED: usize = 1024;

/// What each sender may still be told.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    senders: HashMap<Ipv4Addr, Saved>,
}

/// The time without complaints that a sender has saved, and up to when that was counted.
#[derive(Debug)]
struct Saved {
    time: Duration,
    until: Instant,
}

impl Complaints {
    /// Whether a complaint may be sent now; if so, it counts. One costs `every`, which may be nothing.
    pub(super) fn allowed(&mut self, sender: Ipv4Addr, every: Duration, now: Instant) -> bool {
        if self.senders.len() >= REMEMBERED && !self.senders.contains_key(&sender) {
            self.senders.clear();
        }
        let most = every.saturating_mul(BURST);
        let saved = self.senders.entry(sender).or_insert(Saved { time: NEW, until: now });
        let time = saved.time.saturating_add(now.saturating_duration_since(saved.until)).min(most);
        let rest = time.checked_sub(every);
        *saved = Saved { time: rest.unwrap_or(time), until: now };
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 1, 10, 9);

    #[test]
    fn six_at_once_then_one_a_second_to_each() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut made = |sender, after: u64| {
            (0..20).filter(|_| complaints.allowed(sender, SECOND, start + Duration::from_millis(after))).count()
        };
        assert_eq!([0, 900, 1100, 1200, 60_000].map(|after| made(SENDER, after)), [6, 0, 1, 0, 6]);
        assert_eq!(made(Ipv4Addr::new(10, 1, 10, 11), 60_000), 6, "another sender");
    }

    #[test]
    fn no_limit() {
        let mut complaints = Complaints::default();
        assert!((0..100).all(|_| complaints.allowed(SENDER, Duration::ZERO, Instant::now())));
    }

    #[test]
    fn senders_are_forgotten() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        for number in 0..3000u32 {
            assert!(complaints.allowed(Ipv4Addr::from(number), SECOND, now));
        }
        assert!(complaints.senders.len() <= REMEMBERED);
    }
}
