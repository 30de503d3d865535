//! What was put back lately, and by whom: written by the timers and by whoever stands for runit, read by `watch`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::control::Healed;
use super::log;

/// How many of the last entries are kept.
const KEPT: usize = 256;

/// The account; all clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Account(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    written: u64,
    last: VecDeque<Healed>,
}

impl Account {
    /// Writes down, and into the agent's log, that a daemon put something back in this moment. `lost` is when it was
    /// lost, in milliseconds since 1970, where that is known.
    pub(super) fn write(&self, daemon: &str, namespace: &str, what: String, lost: Option<u64>) {
        log::line(format_args!("{daemon} on {namespace} put back: {what}"));
        let mut entries = self.lock();
        entries.written += 1;
        let (daemon, namespace) = (daemon.to_owned(), namespace.to_owned());
        let entry = Healed { number: entries.written, at: milliseconds(), daemon, namespace, what, lost };
        entries.last.push_back(entry);
        let surplus = entries.last.len().saturating_sub(KEPT);
        entries.last.drain(..surplus);
    }

    /// The last entries, oldest first.
    pub(super) fn last(&self) -> Vec<Healed> {
        self.lock().last.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nobody panics while holding it, and an entry is whole or not there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time in milliseconds since 1970.
pub fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_are_kept_and_their_numbers_go_on() {
        let account = Account::default();
        for number in 0..KEPT + 3 {
            account.clone().write("bird", "node-1", format!("route {number}"), None);
        }
        let last = account.last();
        assert_eq!(last.len(), KEPT);
        assert_eq!((last[0].number, last[0].what.as_str()), (4, "route 3"));
        assert_eq!(last[KEPT - 1].number, KEPT as u64 + 3);
    }
}
