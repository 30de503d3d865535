//! Work that mostly waits, done for many things at a time.
//!
//! Giving a packet socket its ring, and closing one, each wait for an RCU grace period (some 10 ms), asleep. Waiting
//! for one costs as much as waiting for all of them together.

use std::thread::{self, ScopedJoinHandle};

/// Threads at a time.
const THREADS_MAX: usize = 64;

/// Does `work` with every item, each on a thread of its own, and gives the results in the items' order.
pub fn each<T: Send, R: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut items = items.into_iter().peekable();
    let mut results = Vec::new();
    while items.peek().is_some() {
        let some: Vec<T> = items.by_ref().take(THREADS_MAX).collect();
        results.extend(thread::scope(|scope| {
            let work = &work;
            let threads: Vec<ScopedJoinHandle<R>> =
                some.into_iter().map(|item| scope.spawn(move || work(item))).collect();
            threads.into_iter().map(joined).collect::<Vec<R>>()
        }));
    }
    results
}

fn joined<R>(thread: ScopedJoinHandle<R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
