//! Two nodes with a pod each on an Ethernet segment, made with `ip` alone, and `tunl0` in both nodes.
//!
//! ```text
//!   p1 10.100.84.130 ── cali1 n1 ens33 10.1.10.9 ──┐
//!                                                  br0 (sw)
//!   p2 10.100.247.1  ── cali2 n2 ens33 10.1.10.10 ─┘
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use minik::kernel::{netns, tun};
use minik::plan::{Datapath, aside};
use minik::tunnel::{Cause, Engine};

pub use crate::kernel::{Outcome, PATIENCE, checked, contains, until};

pub const POD_1: &str = "10.100.84.130";
pub const POD_2: &str = "10.100.247.1";

/// The pods' nodes: number of the node, its address, its pod's address, and the other side of both.
const SIDES: [(&str, &str, &str, &str, &str); 2] = [
    ("1", "10.1.10.9", POD_1, "10.1.10.10", "10.100.247.0/26"),
    ("2", "10.1.10.10", POD_2, "10.1.10.9", "10.100.84.128/26"),
];

/// The namespaces of one test. Dropping it removes them.
pub struct Lab {
    prefix: String,
    datapath: Datapath,
    tunnel_first: bool,
    pub engine: Engine,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Builds it with our tunnel; when this returns, pod reaches pod.
    pub fn new(workers: usize) -> Result<Lab, String> {
        Lab::with(Datapath::Userspace, false, workers)
    }

    /// Builds it with the kernel's tunnel or ours, made before all other links as the kernel's is: their order decides
    /// about the source address of what a node says to its pods.
    pub fn twin(datapath: Datapath) -> Result<Lab, String> {
        Lab::with(datapath, true, 1)
    }

    fn with(datapath: Datapath, tunnel_first: bool, workers: usize) -> Result<Lab, String> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("minik-t{}-{number}-", std::process::id());
        let engine = Engine::start(workers, |line| eprintln!("{line}")).map_err(|e| e.to_string())?;
        let lab = Lab { prefix, datapath, tunnel_first, engine };
        lab.build()?;
        if datapath == Datapath::Userspace {
            lab.serve()?;
        }
        Ok(lab)
    }

    /// Serves tunl0 of both nodes.
    pub fn serve(&self) -> Outcome {
        for (n, ..) in SIDES {
            let ns = netns::open(&self.ns(&format!("n{n}"))).map_err(|e| e.to_string())?;
            self.engine.serve(&ns, "tunl0", None).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Ends the engine and starts another, which serves nothing yet.
    pub fn restart_engine(&mut self) -> Outcome {
        self.engine = Engine::start(1, |line| eprintln!("{line}")).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Pings pod 2 from pod 1 as often as `-c` says; every packet must be answered. By a ping for each, since one that
    /// has had an answer waits two round trips for the next and no longer.
    pub fn ping(&self, arguments: &str) -> Outcome {
        let words: Vec<&str> = arguments.split(' ').collect();
        let at = words.iter().position(|word| *word == "-c").ok_or("no -c")?;
        let count: u32 = words.get(at + 1).and_then(|count| count.parse().ok()).ok_or("no count")?;
        let others = words.iter().enumerate().filter(|(i, _)| *i != at && *i != at + 1).map(|(_, word)| *word);
        let others: String = others.map(|word| format!("{word} ")).collect();
        (0..count).try_for_each(|_| {
            let said = self.exec("p1", &format!("ping -n -c 1 -W 20 {others}{POD_2}"))?;
            contains(&said, " 0% packet loss")
        })
    }

    /// Pings pod 2 from pod 1; no packet may be answered, nor anything be said about it.
    pub fn no_ping(&self, arguments: &str) -> Outcome {
        let output = self.try_exec("p1", &format!("ping -n -i 0.01 {arguments} {POD_2}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        contains(&said, " 0 received, 100% packet loss")
    }

    /// Waits until both tunnels have dropped exactly this.
    pub fn has_dropped(&self, wanted: &[(Cause, u64)]) -> Outcome {
        until("the drops to be counted", || sum(&self.dropped()) >= sum(wanted))?;
        equal("dropped", self.dropped().as_slice(), wanted)
    }

    /// What both tunnels have dropped, by cause.
    pub fn dropped(&self) -> Vec<(Cause, u64)> {
        let mut dropped = BTreeMap::<Cause, u64>::new();
        for (cause, count) in self.engine.counters().into_iter().flat_map(|report| report.counters.dropped) {
            *dropped.entry(cause).or_default() += count;
        }
        dropped.into_iter().collect()
    }

    /// Something opened inside a namespace.
    pub fn within<T: Send>(&self, ns: &str, open: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T, String> {
        let ns = netns::open(&self.ns(ns)).map_err(|e| e.to_string())?;
        netns::inside(ns.file().as_fd(), open).map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    /// A raw socket for protocol 4 in a namespace, beside the engine's.
    pub fn raw_ipip(&self, ns: &str) -> Result<OwnedFd, String> {
        self.within(ns, || {
            // SAFETY: no memory is involved; the descriptor is owned from here on.
            let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 4) };
            if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
        })
    }

    /// Sends one packet on it.
    pub fn send(&self, socket: &OwnedFd, packet: &[u8], to: SocketAddr) -> Outcome {
        use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
        let sent = sendto(socket.as_raw_fd(), packet, &SockaddrStorage::from(to), MsgFlags::empty());
        sent.map(drop).map_err(|e| e.to_string())
    }

    /// Name of a namespace under /run/netns.
    pub fn ns(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// By as few programs as it takes: to start one is what costs under emulation.
    fn build(&self) -> Outcome {
        let all = ["sw", "n1", "n2", "p1", "p2"];
        batch(&[], &all.map(|ns| format!("netns add {}", self.ns(ns))))?;
        self.batch("sw", &["link set lo up", "link add br0 type bridge", "link set br0 up"].map(str::to_owned))?;
        SIDES.iter().try_for_each(|side| self.build_side(side))
    }

    fn build_side(&self, &(n, address, pod, other, block): &(&str, &str, &str, &str, &str)) -> Outcome {
        let (node, pod_ns) = (format!("n{n}"), format!("p{n}"));
        if self.tunnel_first {
            self.tunl0(&node)?;
        }
        let port = format!("link add port{n} type veth peer name ens33 netns {}", self.ns(&node));
        self.batch("sw", &[port, format!("link set port{n} master br0 up")])?;
        let commands = [
            "link set lo up".to_owned(),
            format!("link add cali{n} type veth peer name eth0 netns {}", self.ns(&pod_ns)),
            "link set ens33 up".to_owned(),
            format!("link set cali{n} mtu 1480 up"),
            format!("addr add {address}/24 dev ens33"),
            "route add default via 10.1.10.2".to_owned(),
            format!("route add {pod} dev cali{n} scope link"),
        ];
        self.batch(&node, &commands)?;
        let settings = [
            "net.ipv4.ip_forward=1".to_owned(),
            format!("net.ipv4.conf.cali{n}.proxy_arp=1"),
            format!("net.ipv4.neigh.cali{n}.proxy_delay=0"),
        ];
        self.sysctl(&node, &settings.join(" "))?;
        let commands = [
            "link set lo up".to_owned(),
            "link set eth0 mtu 1480 up".to_owned(),
            format!("addr add {pod}/32 dev eth0"),
            "route add 169.254.1.1 dev eth0 scope link".to_owned(),
            "route add default via 169.254.1.1 dev eth0".to_owned(),
        ];
        self.batch(&pod_ns, &commands)?;
        if !self.tunnel_first {
            self.tunl0(&node)?;
        }
        let tunnel_address = if n == "1" { "10.100.84.128/32" } else { "10.100.247.0/32" };
        let commands = [
            format!("addr add {tunnel_address} dev tunl0"),
            "link set tunl0 mtu 1480 up".to_owned(),
            format!("route add {block} via {other} dev tunl0 proto bird onlink"),
        ];
        self.batch(&node, &commands)
    }

    /// Makes the TUN device, with an index of our choice. Where the ipip module is loaded, its own device makes room.
    pub fn tunl0(&self, node: &str) -> Outcome {
        if self.datapath == Datapath::Kernel {
            // There already, where the module is loaded.
            return self.ip(node, "link show dev tunl0").map(drop);
        }
        if self.ip(node, "link show dev tunl0").is_ok() {
            let address = SIDES.iter().find(|side| node.ends_with(side.0)).map(|side| side.1).ok_or("no such node")?;
            let quiet = aside::quiet("tunl0", 0);
            let commands = [
                format!("link set dev tunl0 name {}", aside::kernels("tunl0")),
                format!("link add {quiet} type ipip mode mplsip local {address}"),
                format!("link set dev {quiet} up"),
            ];
            self.batch(node, &commands)?;
        }
        let ns = netns::open(&self.ns(node)).map_err(|e| e.to_string())?;
        let made = netns::inside(ns.file().as_fd(), || tun::create("tunl0", 77));
        let index = made.and_then(|made| made).map_err(|e| e.to_string())?;
        if index == 77 { Ok(()) } else { Err(format!("asked for index 77, got {index}")) }
    }

    /// The same as [`Lab::ip`], of many commands at once.
    fn batch(&self, ns: &str, commands: &[String]) -> Outcome {
        batch(&["-n", &self.ns(ns)], commands)
    }

    /// `ip -n NS COMMAND`.
    pub fn ip(&self, ns: &str, command: &str) -> Result<String, String> {
        let ns = self.ns(ns);
        let mut words = vec!["-n", &ns];
        words.extend(command.split(' '));
        run("ip", &words)
    }

    pub fn sysctl(&self, ns: &str, setting: &str) -> Result<String, String> {
        self.exec(ns, &format!("sysctl -qw {setting}"))
    }

    /// A command in a namespace, which must succeed.
    pub fn exec(&self, ns: &str, command: &str) -> Result<String, String> {
        let output = self.try_exec(ns, command)?;
        checked(command, &output)
    }

    /// A command in a namespace, whatever comes of it.
    pub fn try_exec(&self, ns: &str, command: &str) -> Result<Output, String> {
        self.command(ns, command).output().map_err(|e| format!("{command}: {e}"))
    }

    /// A command in a namespace, started.
    pub fn spawn(&self, ns: &str, command: &str) -> Result<Running, String> {
        let mut child = self.command(ns, command);
        child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().map_err(|e| format!("{command}: {e}"))?;
        Ok(Running { child: Some(child), command: command.to_owned() })
    }

    fn command(&self, ns: &str, command: &str) -> Command {
        let ns = self.ns(ns);
        let mut words = command.split(' ').map(|word| word.replace('~', " "));
        let mut child = Command::new("ip");
        child.args(["netns", "exec", &ns]).args(&mut words);
        child
    }

    /// A capture that ends after `count` packets, once it listens.
    pub fn capture(&self, ns: &str, device: &str, count: u32, filter: &str) -> Result<Running, String> {
        let filter = filter.replace(' ', "~");
        let mut running =
            self.spawn(ns, &format!("timeout 60 tcpdump -nvvei {device} --immediate-mode -c {count} {filter}"))?;
        running.wait_for("listening on")?;
        Ok(running)
    }

    /// Packets counted by the only rule of a chain.
    pub fn packets(&self, ns: &str, table: &str, chain: &str) -> Result<u64, String> {
        let rules = self.exec(ns, &format!("iptables -t {table} -nvxL {chain}"))?;
        let rule = rules.lines().nth(2).ok_or("no rule")?;
        rule.split_whitespace().next().and_then(|n| n.parse().ok()).ok_or_else(|| format!("no count in {rule}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What is left to do if one is missing already is done all the same.
        let commands = ["p1", "p2", "n1", "n2", "sw"].map(|ns| format!("netns del {}", self.ns(ns)));
        let _ = batch(&["-force"], &commands);
    }
}

/// A started program; ended when dropped.
pub struct Running {
    child: Option<Child>,
    command: String,
}

impl Running {
    /// Waits until it says `words` on a line of its stderr.
    fn wait_for(&mut self, words: &str) -> Result<(), String> {
        let child = self.child.as_mut().ok_or("it has ended")?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            if lines.read_line(&mut line).map_err(|e| e.to_string())? == 0 {
                return Err(format!("{} ended before it said `{words}`", self.command));
            }
        }
        child.stderr = Some(lines.into_inner());
        Ok(())
    }

    /// Waits for its end and gives what it printed.
    pub fn output(mut self) -> Result<String, String> {
        let child = self.child.take().ok_or("waited twice")?;
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        checked(&self.command, &output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(words).output().map_err(|e| format!("{program}: {e}"))?;
    checked(&format!("{program} {}", words.join(" ")), &output)
}

/// `ip` with these options, fed with commands, which all must succeed.
fn batch(options: &[&str], commands: &[String]) -> Outcome {
    let failed = |e: std::io::Error| format!("ip -batch: {e}");
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ip.spawn().map_err(failed)?;
    let text = commands.join("\n") + "\n";
    // Far less than a pipe holds; dropped here, which is the end of the input.
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes()).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    checked(&text, &output).map(drop)
}

fn sum(dropped: &[(Cause, u64)]) -> u64 {
    dropped.iter().map(|(_, count)| count).sum()
}

/// Fails unless two values are equal.
pub fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, is: &T, wanted: &T) -> Outcome {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?} instead of {wanted:?}")) }
}
