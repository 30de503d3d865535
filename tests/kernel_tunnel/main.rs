//! The userspace tunnel between two nodes, judged by ping, tcpdump and iptables. Needs root and /dev/net/tun;
//! without them every test is counted as ignored, with the reason in its name.

mod lab;

use std::time::Duration;

use lab::{Lab, Outcome, POD_1, POD_2, contains, until};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // The tests capture and count packets: one after another.
    arguments.test_threads = Some(1);
    let missing = missing();
    let tests: [(&str, fn() -> Outcome); 1] = [("ping_of_every_size", ping_of_every_size)];
    let trials = tests.into_iter().map(|(name, test)| match &missing {
        None => Trial::test(name, move || test().map_err(Failed::from)),
        Some(reason) => Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// What this machine lacks for these tests.
fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root");
    }
    (!std::path::Path::new("/dev/net/tun").exists()).then_some("no /dev/net/tun")
}

fn ping(lab: &Lab, arguments: &str) -> Result<String, String> {
    lab.exec("p1", &format!("ping -n -i 0.01 -W 2 {arguments} {POD_2}"))
}

fn ping_of_every_size() -> Outcome {
    let lab = Lab::new(1)?;
    for size in [56, 1, 1000, 1451, 1452] {
        contains(&ping(&lab, &format!("-M do -c 3 -s {size}"))?, " 0% packet loss")?;
    }
    contains(&ping(&lab, "-c 3 -s 1453")?, " 0% packet loss")?;
    contains(&ping(&lab, "-c 3 -s 60000")?, " 0% packet loss")?;
    let _ = POD_1;
    let _ = until("", Duration::ZERO, || true);
    Ok(())
}
