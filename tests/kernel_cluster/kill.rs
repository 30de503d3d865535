//! kill -9 of everything at every moment; `down` makes it good.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::host::{dump, unchanged};
use crate::kernel::fields::{Route, differing_routes};
use crate::kernel::lab::Cluster;
use crate::kernel::{Outcome, contains, until};

/// How often `up` and `down` are killed, at moments spread over the time that they take; and how often where that is
/// much, in an emulated machine.
const MOMENTS: u32 = 20;
const SLOW_MOMENTS: u32 = 8;

/// Moments in `whole`, evenly spread and then shifted a little: the same in every run.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    let count = if crate::kernel::slowness() > 2 { SLOW_MOMENTS } else { MOMENTS };
    (0..count).map(move |i| {
        let jitter = i.wrapping_mul(2_654_435_761) % 1000;
        whole * (i * 1000 + jitter) / (count * 1000)
    })
}

/// Starts a command of minik, kills it after `moment`, and waits for it.
fn killed(cluster: &Cluster, arguments: &[&str], moment: Duration) -> Outcome {
    let mut command = cluster.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    // The moment itself is what is tested, so there is no condition to wait for.
    std::thread::sleep(moment);
    child.kill().map_err(|e| e.to_string())?;
    child.wait().map(drop).map_err(|e| e.to_string())
}

/// `down`, which may find that there is nothing to remove.
fn clean(cluster: &Cluster, moment: Duration) -> Outcome {
    let output = cluster.output(&["down"])?;
    match output.status.code() {
        Some(0 | 2) => Ok(()),
        _ => Err(format!("down after a kill at {moment:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// `up`.
pub fn up() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("killup");
    let began = Instant::now();
    cluster.minik(&["up", "calico-ipip"])?;
    let whole = began.elapsed();
    cluster.minik(&["down"])?;
    for moment in moments(whole) {
        killed(&cluster, &["up", "calico-ipip"], moment)?;
        clean(&cluster, moment)?;
        unchanged(&before).map_err(|e| format!("up killed at {moment:?} of {whole:?}: {e}"))?;
    }
    Ok(())
}

/// `down`.
pub fn down() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("killdown");
    cluster.minik(&["up", "calico-ipip"])?;
    let began = Instant::now();
    cluster.minik(&["down"])?;
    let whole = began.elapsed();
    for moment in moments(whole) {
        cluster.minik(&["up", "calico-ipip"])?;
        killed(&cluster, &["down"], moment)?;
        clean(&cluster, moment)?;
        unchanged(&before).map_err(|e| format!("down killed at {moment:?} of {whole:?}: {e}"))?;
    }
    Ok(())
}

/// The agent: the data plane stays, `status` says so, `agent restart` brings the rest back.
pub fn agent() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::up("killagent", "calico-ipip")?;
    let pods = cluster.pods()?;
    let routes = cluster.routes("node-1")?;
    let pid = cluster.agent()?;
    let agent = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(agent, nix::sys::signal::Signal::SIGKILL).map_err(|e| e.to_string())?;
    until("the agent to end", || !std::path::Path::new(&format!("/proc/{pid}")).exists())?;
    let beside = cluster.address(&pods.beside)?;
    contains(&cluster.exec(&pods.here, &format!("ping -n -c 1 -W 20 {beside}"))?, "ttl=63")?;
    let down = cluster.output(&["status"])?;
    if down.status.code() != Some(1) {
        return Err(format!("status without an agent: {}", down.status));
    }
    contains(&String::from_utf8_lossy(&down.stdout), "agent restart")?;
    same("ip route without an agent", &routes, &cluster.routes("node-1")?)?;
    cluster.minik(&["agent", "restart"])?;
    let there = cluster.address(&pods.there)?;
    contains(&cluster.exec(&pods.here, &format!("ping -n -c 1 -W 20 {there}"))?, "ttl=62")?;
    same("ip route with the agent back", &routes, &cluster.routes("node-1")?)?;
    cluster.minik(&["down"])?;
    unchanged(&before)
}

fn same(what: &str, before: &[Route], after: &[Route]) -> Outcome {
    if before == after { Ok(()) } else { Err(format!("{what} differs:\n{}", differing_routes(before, after))) }
}

/// SIGTERM ends the agent as it ends any process, though `up` holds that signal back.
pub fn terminate() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::up("term", "calico-ipip")?;
    let pid = cluster.agent()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)
        .map_err(|e| e.to_string())?;
    until("the agent to end", || !std::path::Path::new(&format!("/proc/{pid}")).exists())?;
    cluster.minik(&["agent", "restart"])?;
    cluster.minik(&["down"])?;
    unchanged(&before)
}
