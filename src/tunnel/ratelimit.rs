//! The limit of a namespace for ICMP errors, net.ipv4.icmp_ratelimit. EFFECTS.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::error::{Error, Result};

const PATH: &str = "/proc/sys/net/ipv4/icmp_ratelimit";

/// What it is in a new namespace.
const INITIAL: Duration = Duration::from_secs(1);

/// The setting of one namespace, open to be read at any time from any other.
#[derive(Debug)]
pub(super) struct RateLimit(File);

impl RateLimit {
    /// That of the calling thread's namespace.
    ///
    /// # Errors
    /// If /proc does not show it.
    pub(super) fn open() -> Result<RateLimit> {
        File::open(PATH).map(RateLimit).map_err(|e| Error::io(format!("cannot open {PATH}"), e))
    }

    /// The time between two errors to the same destination. 0 means no limit.
    pub(super) fn get(&self) -> Duration {
        let mut text = [0u8; 24];
        let length = self.0.read_at(&mut text, 0).unwrap_or(0);
        let number = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse::<u64>().ok());
        // It cannot be read once its namespace is gone, when nobody is left to be told anything.
        number.map_or(INITIAL, Duration::from_millis)
    }
}
