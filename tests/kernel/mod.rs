//! What all tests against a real kernel share: skipping what this machine cannot do, unless that is forbidden, and the
//! data path to test.

// Each test binary uses what it needs of this.
#![allow(dead_code)]

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use minik::kernel::features;
use minik::plan::Datapath;

/// A test that can run if nothing is `missing` on this machine. Else it is counted as ignored, with the reason in its
/// name; or, if MINIK_REQUIRE is set because this machine is supposed to have everything, as failed.
pub fn trial(
    name: impl Into<String>,
    missing: Option<String>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let name = name.into();
    let required = std::env::var_os("MINIK_REQUIRE").is_some_and(|value| !value.is_empty());
    match missing {
        None => Trial::test(name, test),
        Some(reason) if required => {
            Trial::test(name, move || Err(format!("MINIK_REQUIRE is set, and there is {reason}").into()))
        }
        Some(reason) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
    }
}

/// What a test of namespaces lacks in any case.
pub fn not_root() -> Option<String> {
    (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned())
}

/// Who carries tunnelled packets: what MINIK_DATAPATH says, as for `minik up`; else the kernel if it can.
///
/// Asking the kernel loads its ipip module, which puts a tunl0 into every namespace, the machine's own included. Tests
/// that compare the machine before and after call this first.
pub fn datapath() -> Datapath {
    let has_ipip = features::has_ipip().unwrap_or(false);
    match std::env::var("MINIK_DATAPATH").as_deref() {
        Ok("kernel") => Datapath::Kernel,
        Ok("userspace") => Datapath::Userspace,
        _ if has_ipip => Datapath::Kernel,
        _ => Datapath::Userspace,
    }
}

/// How many times slower this machine is than an ordinary one, from 1 to 8: by the time that it takes to start a
/// program, at the best of five times. That is 1 ms, and 7 ms and more where a processor is emulated.
pub fn slowness() -> u32 {
    static MEASURED: OnceLock<u32> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        let start = |_| {
            let start = Instant::now();
            let started = Command::new("true").status();
            started.is_ok_and(|status| status.success()).then(|| start.elapsed())
        };
        let best = (0..5).filter_map(start).min().unwrap_or_default();
        (best.as_micros() / 1500).clamp(1, 8) as u32
    })
}

/// A time to wait on an ordinary machine, in proportion to this one.
pub fn patience(ordinary: Duration) -> Duration {
    ordinary * slowness()
}
