//! Large pages for the memory of a command that computes a cluster twice.
//!
//! A change of a cluster of 5,000 Services fills 90 MB, once. By pages of 4 KiB the kernel is asked for 23,000 of them, and
//! that takes a sixth of the change's time. Nothing but this time depends on what is said here: all of it is advice.

/// Bytes by which a heap grows at once: nearly all of the 64 MiB that glibc maps for a thread's.
const GROWTH: usize = 60 << 20;

/// More than is left of a heap at a command's begin, so that it has to grow.
const BLOCK: usize = 4 << 20;

/// Asks for large pages for what this process will allocate first, in this thread and in one that works beside it: glibc
/// hands the heap of a thread that has ended to the next one.
#[cfg(target_env = "gnu")]
pub fn use_large_pages() {
    let settings =
        [(libc::M_TOP_PAD, GROWTH), (libc::M_TRIM_THRESHOLD, 4 * GROWTH), (libc::M_MMAP_THRESHOLD, GROWTH / 2)];
    for (setting, bytes) in settings {
        // SAFETY: sets a number of the allocator; one that it does not take stays as it is.
        unsafe { libc::mallopt(setting, bytes as libc::c_int) };
    }
    advise();
    // A thread that cannot be had, or fails, leaves all as it was.
    let _ = std::thread::Builder::new().spawn(advise).map(std::thread::JoinHandle::join);
}

/// Other C libraries have other heaps.
#[cfg(not(target_env = "gnu"))]
pub fn use_large_pages() {}

/// Has the calling thread's heap grow, and large pages given to what it grew by.
#[cfg(target_env = "gnu")]
fn advise() {
    let block: Vec<u8> = Vec::with_capacity(BLOCK);
    let page = 4096;
    let start = block.as_ptr() as usize / page * page;
    // SAFETY: the advice changes no byte of what is mapped there, whosever it is; what is not mapped is an error that
    // changes nothing.
    unsafe { libc::madvise(start as *mut libc::c_void, GROWTH, libc::MADV_HUGEPAGE) };
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_next_lies_where_large_pages_are_wanted() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            eprintln!("skipped: this kernel has no transparent large pages");
            return;
        }
        use_large_pages();
        let block: Vec<u8> = Vec::with_capacity(BLOCK / 2);
        let address = block.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let holds = |line: &str| {
            let (first, last) = line.split_whitespace().next()?.split_once('-')?;
            let [first, last] = [first, last].map(|end| usize::from_str_radix(end, 16));
            Some((first.ok()?..last.ok()?).contains(&address))
        };
        let own = maps.lines().skip_while(|line| holds(line) != Some(true));
        let flags = own.skip(1).find(|line| line.starts_with("VmFlags:")).expect("a mapping that holds it");
        assert!(flags.contains(" hg"), "{flags}");
    }
}
