//! How often a tunnel complains. PURE.

use std::cell::Cell;
use std::time::Instant;

/// How often a tunnel that is down says so: Linux' limit for such messages, one a second after the first six
/// (net.ipv4.icmp_ratelimit as it is at first; XRLIM_BURST_FACTOR in net/ipv4/icmp.c).
#[derive(Debug)]
pub(super) struct Complaints {
    left: Cell<u32>,
    since: Cell<Instant>,
}

impl Complaints {
    const BURST: u32 = 6;

    /// None have been made.
    pub(super) fn new(now: Instant) -> Complaints {
        Complaints { left: Cell::new(Complaints::BURST), since: Cell::new(now) }
    }

    /// Whether one may be made now; if so, it counts.
    pub(super) fn allowed(&self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.since.get()).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(Complaints::BURST);
            self.left.set(self.left.get().saturating_add(more).min(Complaints::BURST));
            self.since.set(now);
        }
        let allowed = self.left.get() > 0;
        self.left.set(self.left.get().saturating_sub(1));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn six_at_once_then_one_a_second() {
        let start = Instant::now();
        let complaints = Complaints::new(start);
        let made = |after: u64| (0..20).filter(|_| complaints.allowed(start + Duration::from_millis(after))).count();
        assert_eq!([made(0), made(900), made(1100), made(1200), made(60_000)], [6, 0, 1, 0, 6]);
    }
}
