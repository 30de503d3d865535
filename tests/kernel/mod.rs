//! What all tests against a real kernel share: skipping what this machine cannot do, unless that is forbidden, the data
//! path to test, clusters of their own, and foreign tools as judges.

// Each test binary uses what it needs of this.
#![allow(dead_code)]
#![allow(clippy::disallowed_methods, reason = "tests start what they check")]

pub mod broken;
pub mod by_hand;
pub mod fields;
pub mod lab;
pub mod objects;
pub mod tcpdump;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use minik::kernel::features;
use minik::plan::{Datapath, Plan};
use minik::topology::{Overrides, Source};

/// What a test gives back: nothing, or why it failed.
pub type Outcome = Result<(), String>;

/// A test: its name, the programs it needs, and itself.
pub type Test = (&'static str, &'static [&'static str], fn() -> Outcome);

/// The program under test.
pub const MINIK: &str = env!("CARGO_BIN_EXE_minik");

/// How long to wait for what must come. It takes no longer than a moment, but for an emulated machine with much else to
/// do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs these tests, at most so many at a time; each of them needs the programs `always`.
pub fn run(tests: &[Test], always: &[&str], at_most: Option<usize>) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.into_iter().chain(at_most).min();
    let of = |&(name, needs, test): &Test| {
        trial(name, not_root().or_else(|| lacking(always.iter().chain(needs))), move || test().map_err(Failed::from))
    };
    libtest_mimic::run(&arguments, tests.iter().map(of).collect()).exit()
}

/// A test that can run if nothing is `missing` on this machine. Else it is counted as ignored, with the reason in its
/// name; or, if [`all_required`], as failed.
pub fn trial(
    name: impl Into<String>,
    missing: Option<String>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let name = name.into();
    match missing {
        None => Trial::test(name, test),
        Some(reason) if all_required() => {
            Trial::test(name, move || Err(format!("MINIK_REQUIRE is set, and there is {reason}").into()))
        }
        Some(reason) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
    }
}

/// Whether MINIK_REQUIRE says that this machine has everything, as that of scripts/vm-test has.
pub fn all_required() -> bool {
    std::env::var_os("MINIK_REQUIRE").is_some_and(|value| !value.is_empty() && value != "programs")
}

/// What a test of namespaces lacks in any case.
pub fn not_root() -> Option<String> {
    (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned())
}

/// The first of these programs that is not here. With `MINIK_REQUIRE=programs`, as scripts/test sets it when it has
/// installed what tests need, that is no reason to skip a test: it runs, and fails for it.
pub fn lacking<'a>(programs: impl IntoIterator<Item = &'a &'a str>) -> Option<String> {
    let programs_required = std::env::var_os("MINIK_REQUIRE").is_some_and(|value| value == "programs");
    let missing = programs.into_iter().find(|program| !installed(program))?;
    (!programs_required).then(|| format!("no {missing}"))
}

/// Whether a program is on PATH or in a system directory.
pub fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
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

/// The plan of a topology for a cluster of this name.
pub fn planned(source: Source, name: &str) -> Result<Plan, String> {
    let overrides = Overrides { cluster_name: Some(name.to_owned()), ..Overrides::default() };
    let cluster = minik::topology::parse(&[source], &overrides).map_err(words)?;
    minik::cni::plan(&cluster, datapath()).map_err(words)
}

/// A built-in topology.
pub fn builtin(mode: &str) -> Result<Source, String> {
    minik::topology::builtin::find(mode).map(|found| found.source()).map_err(words)
}

/// A topology of Calico's with a real BIRD on every node.
pub fn with_bird(text: &str) -> String {
    if text.contains("\n  network:\n") {
        text.replace("\n  network:\n", "\n  network:\n    routing: bird\n")
    } else {
        text.replacen("\n  serviceCIDR:", "\n  network: {routing: bird}\n  serviceCIDR:", 1)
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

/// Waits until `done`, or fails with what it waited for.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            return Err(format!("waited {PATIENCE:?} in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// An error as text.
pub fn words(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// What a program printed if it succeeded; else all that it said, after `what` it was.
pub fn checked(what: &str, output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{what}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Runs a shell command; its stdout if it succeeds.
pub fn shell(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|e| format!("cannot run sh: {e}"))?;
    checked(command, &output)
}

/// Fails unless `text` contains `part`.
pub fn contains(text: &str, part: &str) -> Outcome {
    if text.contains(part) { Ok(()) } else { Err(format!("expected to see\n  {part}\nin\n{text}")) }
}

/// Fails unless both are equal, showing the lines that differ.
pub fn equal(what: &str, expected: &str, seen: &str) -> Outcome {
    if expected == seen {
        return Ok(());
    }
    let lost = expected.lines().filter(|line| !seen.lines().any(|l| l == *line)).map(|line| format!("- {line}"));
    let new = seen.lines().filter(|line| !expected.lines().any(|l| l == *line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = lost.chain(new).collect();
    Err(format!("{what} differs:\n{}", if lines.is_empty() { "only the order".to_owned() } else { lines.join("\n") }))
}

/// Fails unless both values are equal.
pub fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, expected: &T, seen: &T) -> Outcome {
    if expected == seen { Ok(()) } else { Err(format!("{what}: expected\n{expected:?}\nand see\n{seen:?}")) }
}
