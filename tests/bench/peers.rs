//! Other ways to build as much: the plan as a shell script, `ip -batch`, and Mininet.

use std::fmt::Write;
use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;

use minik::plan::shell;

use crate::clusters;
use crate::measure::{installed, milliseconds, output};

/// The script of `minik plan --as shell`, run by sh: milliseconds up.
pub fn script(nodes: usize, pods: usize, dir: &Path) -> Result<f64> {
    let path = dir.join("plan.sh");
    let text = shell::script(&clusters::plan(nodes, pods)?);
    std::fs::write(&path, with_tun(&text)?)?;
    let up = milliseconds(Command::new("sh").arg(&path));
    milliseconds(Command::new("sh").arg(&path).arg("down"))?;
    up
}

/// The script with a TUN device for tunl0 where the kernel has no ipip: that one line of it cannot work there.
fn with_tun(text: &str) -> Result<String> {
    if minik::kernel::features::has_ipip().map_err(Error::other)? {
        return Ok(text.to_owned());
    }
    let line = |line: &str| match line.split_once(" link add tunl0 type ipip") {
        Some((ip, _)) => format!("{ip} tuntap add dev tunl0 mode tun\n"),
        None => format!("{line}\n"),
    };
    Ok(text.lines().map(line).collect())
}

/// The floor's network (no rules, no sets) by `ip -batch`, one process for a namespace and one more for each node's
/// sysctls: milliseconds up.
pub fn batch(nodes: usize, pods: usize, dir: &Path) -> Result<f64> {
    let path = dir.join("batch.sh");
    std::fs::write(&path, batch_script(nodes, pods).map_err(Error::other)?)?;
    let up = milliseconds(Command::new("sh").arg(&path));
    let down = "for ns in $(ip netns list | grep -o '^bench-batch-[a-z0-9-]*'); do ip netns del $ns; done";
    milliseconds(Command::new("sh").args(["-c", down]))?;
    up
}

fn batch_script(nodes: usize, pods: usize) -> std::result::Result<String, std::fmt::Error> {
    let per_node = pods.div_ceil(nodes);
    let mut all = String::from("netns add bench-batch-switch\n");
    let mut switch = String::from("link add br0 type bridge\nlink set br0 up\n");
    let mut rest = String::new();
    for i in 0..nodes {
        let node = format!("bench-batch-n{i}");
        writeln!(all, "netns add {node}")?;
        writeln!(switch, "link add p{i} type veth peer name eth0 netns {node}\nlink set p{i} master br0 up")?;
        let mut own = format!("link set lo up\naddress add 10.1.{}.{}/16 dev eth0\n", i / 250, i % 250 + 1);
        own += "link set eth0 up\nroute add default via 10.1.255.254\n";
        for j in 0..per_node.min(pods - (i * per_node).min(pods)) {
            let pod = format!("bench-batch-p{i}-{j}");
            let address = format!("10.100.{i}.{}", j + 1);
            writeln!(all, "netns add {pod}")?;
            writeln!(own, "link add cali{j} type veth peer name eth0 netns {pod}\nlink set cali{j} up")?;
            writeln!(own, "route add {address}/32 dev cali{j}")?;
            writeln!(rest, "ip -n {pod} -batch - <<'END'\nlink set lo up\naddress add {address}/32 dev eth0")?;
            writeln!(rest, "link set eth0 up\nroute add 169.254.1.1 dev eth0\nroute add default via 169.254.1.1\nEND")?;
        }
        for other in (0..nodes).filter(|other| *other != i) {
            writeln!(own, "route add 10.100.{other}.0/24 via 10.1.{}.{}", other / 250, other % 250 + 1)?;
        }
        let sysctls = "net.ipv4.ip_forward=1 net.ipv4.conf.default.proxy_arp=1";
        let before = format!("ip netns exec {node} sysctl -qw {sysctls}\nip -n {node} -batch - <<'END'\n{own}END\n");
        rest.insert_str(0, &before);
    }
    Ok(format!("set -e\nip -batch - <<'END'\n{all}END\nip -n bench-batch-switch -batch - <<'END'\n{switch}END\n{rest}"))
}

/// Whether Mininet is there, and the program by which it makes bridges.
pub fn has_mininet() -> bool {
    installed("mn") && installed("brctl")
}

/// What Mininet takes, in milliseconds.
pub struct Mininet {
    pub up: f64,
    pub down: f64,
    /// `pingAll`, if it was asked for.
    pub ping_all: f64,
}

/// Mininet with so many hosts on so many switches in a row, in a network namespace of its own, so that its bridges
/// are not the machine's.
pub fn mininet(switches: usize, hosts: usize, ping_all: bool) -> Result<Mininet> {
    let per_switch = hosts.div_ceil(switches);
    let program = format!(
        "import time
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import LinearTopo
from mininet.log import setLogLevel
setLogLevel('critical')
a = time.time()
net = Mininet(topo=LinearTopo(k={switches}, n={per_switch}), switch=LinuxBridge, controller=None)
net.start()
b = time.time()
if {ping}:
    assert net.pingAll() == 0
c = time.time()
net.stop()
d = time.time()
print((b - a) * 1e3, (d - c) * 1e3, (c - b) * 1e3)
",
        ping = if ping_all { "True" } else { "False" }
    );
    let text = output(Command::new("unshare").args(["--net", "/usr/bin/python3", "-c", &program]))?;
    let values: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match values[..] {
        [up, down, ping_all] => Ok(Mininet { up, down, ping_all }),
        _ => Err(Error::other(format!("mininet said {text:?}"))),
    }
}
