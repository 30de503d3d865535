//! The limit of a namespace for ICMP errors: net.ipv4.icmp_ratelimit and icmp_ratemask. EFFECTS.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::error::{Error, Result};

const RATELIMIT: &str = "/proc/sys/net/ipv4/icmp_ratelimit";
const RATEMASK: &str = "/proc/sys/net/ipv4/icmp_ratemask";

/// What both are in a new namespace.
const INITIAL_RATELIMIT: u64 = 1000;
const INITIAL_RATEMASK: u64 = 6168;

/// The bit of "destination unreachable" in the mask.
const UNREACHABLE: u64 = 1 << 3;

/// The settings of one namespace, open to be read at any time from any other.
#[derive(Debug)]
pub(super) struct RateLimit {
    ratelimit: File,
    ratemask: File,
}

impl RateLimit {
    /// Those of the calling thread's namespace.
    ///
    /// # Errors
    /// If /proc does not show them.
    pub(super) fn open() -> Result<RateLimit> {
        let open = |path| File::open(path).map_err(|e| Error::io(format!("cannot open {path}"), e));
        Ok(RateLimit { ratelimit: open(RATELIMIT)?, ratemask: open(RATEMASK)? })
    }

    /// The time between two errors "destination unreachable" to one destination; none if they are not limited.
    pub(super) fn unreachable(&self) -> Option<Duration> {
        let limited = read(&self.ratemask).unwrap_or(INITIAL_RATEMASK) & UNREACHABLE != 0;
        limited.then(|| Duration::from_millis(read(&self.ratelimit).unwrap_or(INITIAL_RATELIMIT)))
    }
}

/// A setting's number. It cannot be read once its namespace is gone, when nobody is left to be told anything.
fn read(file: &File) -> Option<u64> {
    let mut text = [0u8; 24];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
}
