//! Where the two data paths differ, as the documentation of `minik::tunnel` has it: each difference is there, and is what
//! is said of it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use minik::plan::Datapath;
use minik::tunnel::Cause;

use super::both::{Packet, Step, count, watch_both};
use super::lab::{Lab, Outcome, PATIENCE, POD_2, contains, equal, until};
use super::sight;

fn echo() -> Vec<u8> {
    Packet::default().echo(84)
}

/// Fails unless that many lines have these words: of the kernel's data path, and of ours.
fn lines(seen: &(Vec<String>, Vec<String>), words: &[&str], wanted: (usize, usize)) -> Outcome {
    equal(&format!("lines with {words:?} (kernel, ours)"), &count(seen, words), &wanted)
}

/// The kernel's tunnel keeps a packet's mark, a TUN cannot.
pub fn marks() -> Outcome {
    let seen = watch_both(&[
        Step::Run("n1", "iptables -t mangle -A FORWARD -o tunl0 -j MARK --set-mark 0x10"),
        Step::Run("n1", "iptables -t mangle -A OUTPUT -p 4 -m mark --mark 0x10 -j TTL --ttl-set 33"),
        Step::Each(vec![echo()]),
    ])?;
    lines(&seen, &["n1/ens33 out", " ttl 33 proto 4"], (1, 0))?;
    lines(&seen, &["n1/ens33 out", " ttl 63 proto 4"], (0, 1))
}

/// Two routes through the tunnel that only a rule about the source tells apart.
pub fn rules() -> Outcome {
    let seen = watch_both(&[
        Step::Run("n1", "ip neigh replace 10.1.10.98 lladdr 02:00:00:00:00:98 dev ens33 nud permanent"),
        Step::Run("n1", "ip route add 10.100.247.0/26 via 10.1.10.98 dev tunl0 onlink table 7"),
        Step::Run("n1", "ip rule add from 10.100.84.130 lookup 7"),
        Step::Each(vec![echo()]),
    ])?;
    lines(&seen, &["n1/ens33 out", "10.1.10.9 > 10.1.10.98 "], (1, 0))?;
    lines(&seen, &["n1/ens33 out", "10.1.10.9 > 10.1.10.10 "], (0, 1))
}

/// What could not be sent: among the device's errors or in the tunnel's own counters.
pub fn counters() -> Outcome {
    for (datapath, wanted) in [(Datapath::Kernel, [1, 84, 3]), (Datapath::Userspace, [4, 336, 0])] {
        let lab = Lab::twin(datapath)?;
        lab.ping("-c 1")?;
        lab.ip("n1", "route del default")?;
        lab.ip("n1", "route replace 10.100.247.0/26 via 172.31.0.1 dev tunl0 onlink")?;
        lab.no_ping("-c 3 -W 0.2")?;
        let files =
            ["tx_packets", "tx_bytes", "tx_errors"].map(|name| format!("/sys/class/net/tunl0/statistics/{name}"));
        let numbers = || -> Vec<u64> {
            let said = lab.exec("n1", &format!("cat {}", files.join(" "))).unwrap_or_default();
            said.split_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        until("all packets to be counted", || numbers().iter().sum::<u64>() >= wanted.iter().sum())?;
        equal(&format!("packets, bytes and errors of the {datapath} data path"), numbers().as_slice(), &wanted)?;
        if datapath == Datapath::Userspace {
            lab.has_dropped(&[(Cause::NoRoute, 3)])?;
        }
    }
    Ok(())
}

/// Something in protocol 4 that is no IPv4: behind the device, or before it.
pub fn no_ipv4() -> Outcome {
    let seen = watch_both(&[Step::FromNode(vec![vec![0x60; 40]])])?;
    lines(&seen, &["n2/tunl0 rx_packets: 1"], (1, 0))?;
    lines(&seen, &["n2/tunl0 rx_packets: 0"], (0, 1))?;
    // Nobody is told, nor is anything handed on.
    lines(&seen, &["n2/ens33 out"], (0, 0))?;
    lines(&seen, &["p2/eth0"], (0, 0))
}

/// A large TCP packet that does not fit: ours says so at once, the kernel only when a single segment is repeated.
pub fn large_tcp() -> Outcome {
    for datapath in [Datapath::Kernel, Datapath::Userspace] {
        let sent = sent_until_told(datapath)?;
        let (first, last) = (sent.first().copied().unwrap_or(0), sent.last().copied().unwrap_or(0));
        let sound = match datapath {
            Datapath::Kernel => first > 1480 && last <= 1480,
            Datapath::Userspace => sent.len() == 1 && first > 1480,
        };
        if !sound {
            return Err(format!("{datapath} data path: bytes of what was sent before ICMP came: {sent:?}"));
        }
    }
    Ok(())
}

/// Lengths of the packets that a pod sends, of those that are too long, before it is told that they are.
fn sent_until_told(datapath: Datapath) -> Result<Vec<usize>, String> {
    let lab = Lab::twin(datapath)?;
    // All segments of a write in one packet, on a slow machine as well.
    lab.sysctl("p1", "net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_min_tso_segs=8")?;
    let listener = lab.within("p2", || TcpListener::bind((POD_2, 8000)))?;
    let to = SocketAddr::from(([10, 100, 247, 1], 8000));
    let mut client = lab.within("p1", || TcpStream::connect_timeout(&to, PATIENCE))?;
    client.set_nodelay(true).map_err(|e| e.to_string())?;
    let _server = listener.accept().map_err(|e| e.to_string())?;
    for node in ["n1", "n2"] {
        lab.ip(node, "link set ens33 mtu 1400")?;
    }
    let socket = lab.within("p1", || sight::capture("eth0"))?;
    // Five segments, which the first window has room for.
    client.write_all(&[7; 5 * 1428]).map_err(|e| e.to_string())?;
    let (end, mut sent) = (Instant::now() + PATIENCE, Vec::new());
    while Instant::now() < end {
        match sight::next(&socket).map_err(|e| e.to_string())? {
            Some(("out", packet)) if packet.len() > 1380 => sent.push(packet.len()),
            Some(("in", packet)) if sight::describe(&packet).contains("icmp 3/4") => return Ok(sent),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(format!("{datapath} data path: nobody was told within {PATIENCE:?}; sent were {sent:?}"))
}

/// What `ip -d link` says.
pub fn looks() -> Outcome {
    let kernel = Lab::twin(Datapath::Kernel)?.ip("n1", "-d link show tunl0")?;
    contains(&kernel, ": <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue ")?;
    contains(&kernel, "ipip any remote any local any ")?;
    let ours = Lab::twin(Datapath::Userspace)?;
    let link = ours.ip("n1", "-d link show tunl0")?;
    contains(&link, ": <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue ")?;
    contains(&link, "tun type tun ")?;
    // What makes room for it: the module's own device, down, and one that keeps the module silent.
    contains(&ours.ip("n1", "link show tunl0-kernel")?, " state DOWN ")?;
    equal("addresses", &ours.ip("n1", "addr show tunl0-quiet")?.contains("inet "), &false)
}
