//! The host is as it was: after a cluster, after a build that failed, for a user who may not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernel::lab::Cluster;
use crate::kernel::{MINIK, Outcome, contains, equal, shell};

/// The programs that a dump of the host takes.
pub const DUMP_NEEDS: &[&str] = &["ip", "nft", "ps", "find"];

/// Everything of the host that a cluster could have changed, as text.
pub fn dump() -> Result<String, String> {
    let commands = [
        "ip -d link show",
        "ip address show",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule show",
        "ip -6 rule show",
        "ip neigh show nud permanent",
        "nft list ruleset",
        "cat /proc/net/ip_tables_names 2>/dev/null || true",
        "ipset list -name",
        "sysctl -a 2>/dev/null | grep -E '^net\\.(ipv4|ipv6|bridge)\\.(conf|ip_forward|neigh|bridge)' | sort",
        "ls /run/netns 2>/dev/null || true",
        "cut -d' ' -f2,3 /proc/mounts | sort",
        "find /run /etc/netns /var/lib -xdev -maxdepth 2 2>/dev/null | grep -v -e /run/systemd -e /run/log | sort || true",
        // A process that was killed may be a zombie until init has time for it.
        "ps -eo stat=,args= | grep -v '^Z' | awk '{print $2,$3,$4,$5}' | grep -e minik -e iptables -e ipset \
         | grep -v -e kernel_ -e cargo -e rustc -e grep -e awk | sort || true",
    ];
    let mut text = String::new();
    for command in commands {
        // Lifetimes count down by themselves.
        let seen = shell(command)?;
        let steady: Vec<&str> = seen.lines().filter(|line| !line.contains("valid_lft")).collect();
        text += &format!("# {command}\n{}\n", steady.join("\n"));
    }
    Ok(text)
}

/// Fails unless the host is as `before` says.
pub fn unchanged(before: &str) -> Outcome {
    equal("the host", before, &dump()?)
}

/// `up`, a look around that leaves files and programs behind, and `down`.
pub fn nothing_left() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::up("left", "calico-ipip")?;
    let pod = cluster.pods()?.here;
    let netns = cluster.netns(&pod);
    let mut guest = Command::new("ip")
        .args(["netns", "exec", &netns, "sleep", "600"])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    cluster.exec("node-1", "ip link add left-over type bridge")?;
    let down = cluster.minik(&["down"]);
    let ended = guest.wait().map_err(|e| e.to_string())?;
    down?;
    if ended.success() {
        return Err("a program in a pod was not ended".to_owned());
    }
    unchanged(&before)?;
    let again = cluster.output(&["down"])?;
    if again.status.code() == Some(2) { Ok(()) } else { Err(format!("down without a cluster: {}", again.status)) }
}

/// On a machine without /run/netns, as one is on which `ip netns` was never used: made for the first cluster, it goes
/// with the last one.
pub fn fresh_machine() -> Outcome {
    let cluster = Cluster::named("fresh");
    let name = &cluster.name;
    let script = format!("mount -t tmpfs tmpfs /run && {MINIK} up -c {name} && {MINIK} down -c {name} && ls -A /run");
    let seen = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .output()
        .map_err(|e| e.to_string())?;
    let words = String::from_utf8_lossy(&seen.stderr).into_owned();
    if !seen.status.success() {
        return Err(format!("{}\n{words}", seen.status));
    }
    equal("/run", "", String::from_utf8_lossy(&seen.stdout).trim())
}

/// A link that leads nowhere: what a reboot leaves of a cluster, whose files were in memory.
pub fn left_by_a_reboot(cluster: &Cluster) -> Result<PathBuf, String> {
    let etc = Path::new("/etc/netns");
    std::fs::create_dir_all(etc).map_err(|e| e.to_string())?;
    let left = etc.join(cluster.netns("node-1"));
    let files = format!("/run/minik/{}/etc/node-1", cluster.name);
    std::os::unix::fs::symlink(files, &left).map_err(|e| e.to_string())?;
    Ok(left)
}

/// What a reboot leaves of a cluster goes with `down`.
pub fn reboot() -> Outcome {
    let cluster = Cluster::named("reboot");
    let was_there = Path::new("/etc/netns").exists();
    let left = left_by_a_reboot(&cluster)?;
    let down = cluster.minik(&["down"]);
    // It leads nowhere, so `exists` would not see it.
    let gone = std::fs::symlink_metadata(&left).is_err();
    if !gone {
        std::fs::remove_file(&left).map_err(|e| e.to_string())?;
    }
    if !was_there {
        // Another cluster may use it by now.
        let _ = std::fs::remove_dir("/etc/netns");
    }
    down?;
    if gone { Ok(()) } else { Err(format!("{} is still there", left.display())) }
}

/// A directory whose `iptables-restore` fails, to be put before the real one in PATH.
fn broken_tool() -> Result<tempfile::TempDir, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = dir.path().join("iptables-restore");
    std::fs::write(&path, "#!/bin/sh\ncat >/dev/null\necho 'out of order' >&2\nexit 3\n").map_err(|e| e.to_string())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    Ok(dir)
}

fn up_with_broken_tool(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let dir = broken_tool()?;
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = cluster.command(arguments).env("PATH", path).output().map_err(|e| e.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(1) {
        return Err(format!("a failed build has exit code 1: {}\n{words}", output.status));
    }
    contains(&words, "iptables-restore")?;
    contains(&words, "out of order")?;
    Ok(words)
}

/// A tool that fails in the middle of the build.
pub fn rollback() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("rollback");
    let words = up_with_broken_tool(&cluster, &["up", "calico-ipip"])?;
    contains(&words, "node-")?;
    unchanged(&before)
}

/// The same with `--no-rollback`.
pub fn no_rollback() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("keep");
    let words = up_with_broken_tool(&cluster, &["up", "calico-ipip", "--no-rollback"])?;
    contains(&words, "minik down")?;
    contains(&shell("ls /run/netns")?, &cluster.netns("node-1"))?;
    cluster.minik(&["down"])?;
    unchanged(&before)
}

/// Ctrl-C while `up` is at work.
pub fn interrupt() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("interrupt");
    // A tool that never ends by itself: the signal finds the build in its middle.
    let mut up = cluster.command(&["up", "calico-ipip"]).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let first = cluster.netns("switch");
    crate::kernel::until("the first namespace", || Path::new("/run/netns").join(&first).exists())?;
    let pid = nix::unistd::Pid::from_raw(up.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).map_err(|e| e.to_string())?;
    let status = up.wait().map_err(|e| e.to_string())?;
    match status.code() {
        // It was quicker than the signal: then it stands, whole.
        Some(0) => cluster.minik(&["down"]).map(drop)?,
        Some(1) => {}
        _ => return Err(format!("an interrupted up ends with 1, having cleaned up: {status}")),
    }
    unchanged(&before)
}

/// A user without privileges.
pub fn unprivileged() -> Outcome {
    // Without any cluster, "there is no cluster" would be the right word for everybody.
    let _cluster = Cluster::up("root", "calico-ipip")?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let copy = dir.path().join("minik");
    std::fs::copy(MINIK, &copy).map_err(|e| e.to_string())?;
    for path in [dir.path(), copy.as_path()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    }
    for command in ["up calico-ipip", "down", "verify", "exec node-1 -- true"] {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&copy)
            .args(command.split(' '))
            .output()
            .map_err(|e| e.to_string())?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(4) || words.lines().count() > 2 {
            return Err(format!("`minik {command}` of an ordinary user: {}\n{words}", output.status));
        }
        contains(&words, "root")?;
    }
    Ok(())
}
