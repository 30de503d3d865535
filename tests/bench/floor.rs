//! The kernel's own floor: a network like minik's, made by the fewest and cheapest calls known, and nothing else: no
//! names, no rules, no checks, no state. What minik needs beyond it is minik's own cost.
//!
//! The order is what makes it cheap. A namespace is made by unshare, its rtnetlink socket is opened there and kept, so
//! nothing enters it again; a pod's one send makes the veth pair with its far end born in the node under a chosen name
//! and index, so no link is ever moved; settings that pods' far ends need are inherited from the node's defaults; a
//! node's one send at the end settles them all. On the way down everything is closed at once and nothing is deleted.
//!
//! It runs in a process and a user namespace of its own, whose limit on network namespaces tells exactly when the last
//! of them is freed.

use std::fs::{File, read_to_string, write};
use std::io::{Error, Result};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::rtnetlink::{Messages, Rtnetlink};

/// Index of the first link that is not `lo`, and of the first after that.
const FIRST: u32 = 2;
const SECOND: u32 = 3;
const GATEWAY: [u8; 4] = [169, 254, 1, 1];
const LAN: u8 = 16;
/// How long anything may take before it counts as broken.
const DEADLINE: Duration = Duration::from_secs(120);

struct Site {
    rtnetlink: Rtnetlink,
    netns: OwnedFd,
}

struct Network {
    switch: Site,
    nodes: Vec<Site>,
    /// By node.
    pods: Vec<Vec<Site>>,
}

/// `floor NODES PODS`: prints what it took: `up_us down_us kilobytes`.
pub fn run(nodes: usize, pods: usize) -> Result<()> {
    own_user_namespace()?;
    let per_node = pods.div_ceil(nodes);
    let counts: Vec<usize> = (0..nodes).map(|i| per_node.min(pods - (i * per_node).min(pods))).collect();
    let before = kernel_kilobytes()?;
    let start = Instant::now();
    // The thread goes from namespace to namespace and ends in the last; this one stays where it is.
    let network =
        std::thread::spawn(move || build(&counts)).join().map_err(|_| Error::other("the builder panicked"))??;
    let up = start.elapsed();
    let used = kernel_kilobytes()?.saturating_sub(before);
    packet_passes(&network)?;
    write("/proc/sys/user/max_net_namespaces", "1")?;
    let start = Instant::now();
    drop(network);
    wait_gone()?;
    println!("{} {} {used}", up.as_micros(), start.elapsed().as_micros());
    Ok(())
}

fn build(pods: &[usize]) -> Result<Network> {
    let nodes = pods.len();
    let mut network = Network { switch: site()?, nodes: Vec::new(), pods: Vec::new() };
    let mut messages = Messages::default();
    messages.bridge("br0", FIRST);
    network.switch.rtnetlink.send(messages)?;
    for (i, count) in pods.iter().enumerate() {
        let node = make_node(i, &network.switch)?;
        let pods: Result<Vec<Site>> = (0..*count).map(|j| make_pod(i, j, &node)).collect();
        network.pods.push(pods?);
        settle_node(i, *count, nodes, &node)?;
        network.nodes.push(node);
    }
    let mut messages = Messages::default();
    (0..nodes as u32).for_each(|i| messages.up(SECOND + i, Some(FIRST)));
    network.switch.rtnetlink.send(messages)?;
    Ok(network)
}

/// Makes a namespace and leaves the calling thread in it.
fn site() -> Result<Site> {
    // SAFETY: changes the calling thread's network namespace and nothing else.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(Error::last_os_error());
    }
    Ok(Site { rtnetlink: Rtnetlink::open()?, netns: File::open("/proc/thread-self/ns/net")?.into() })
}

fn make_node(i: usize, switch: &Site) -> Result<Site> {
    let node = site()?;
    write("/proc/sys/net/ipv4/ip_forward", "1")?;
    write("/proc/sys/net/ipv4/conf/default/proxy_arp", "1")?;
    let mut messages = Messages::default();
    messages.up(1, None);
    messages.veth("eth0", FIRST, &format!("p{i}"), SECOND + i as u32, &switch.netns);
    messages.address(FIRST, node_address(i), LAN);
    // A node answers ARP for 169.254.1.1 only if it has a route there.
    messages.route(([0; 4], 0), Some([10, 1, 255, 254]), FIRST);
    node.rtnetlink.send(messages)?;
    Ok(node)
}

fn make_pod(i: usize, j: usize, node: &Site) -> Result<Site> {
    let pod = site()?;
    let mut messages = Messages::default();
    messages.up(1, None);
    messages.veth("eth0", FIRST, &format!("cali{j}"), SECOND + j as u32, &node.netns);
    messages.address(FIRST, pod_address(i, j), 32);
    messages.route((GATEWAY, 32), None, FIRST);
    messages.route(([0; 4], 0), Some(GATEWAY), FIRST);
    pod.rtnetlink.send(messages)?;
    Ok(pod)
}

/// Everything in the node that could not be there before its pods, in sends that fit into a socket's buffer.
fn settle_node(i: usize, pods: usize, nodes: usize, node: &Site) -> Result<()> {
    let mut messages = Messages::default();
    for j in 0..pods {
        let index = SECOND + j as u32;
        messages.up(index, None);
        messages.no_proxy_delay(index);
        messages.route((pod_address(i, j), 32), None, index);
    }
    for other in (0..nodes).filter(|other| *other != i) {
        messages.route((block(other), 24), Some(node_address(other)), FIRST);
    }
    node.rtnetlink.send(messages)
}

fn node_address(i: usize) -> [u8; 4] {
    [10, 1, (i / 250) as u8, (i % 250 + 1) as u8]
}

fn block(i: usize) -> [u8; 4] {
    [10, 100 + (i / 256) as u8, (i % 256) as u8, 0]
}

/// Pod `j` of node `i`; a node has room for 254.
fn pod_address(i: usize, j: usize) -> [u8; 4] {
    let mut address = block(i);
    address[3] = (j + 1) as u8;
    address
}

/// Proves that the network is one: a datagram from the first node's first pod to the last node's first pod.
fn packet_passes(network: &Network) -> Result<()> {
    let last = network.pods.len() - 1;
    let (from, to) = (&network.pods[0][0], &network.pods[last][0]);
    let open = |site: &Site| -> Result<UdpSocket> {
        let fd = site.netns.as_raw_fd();
        std::thread::scope(|scope| {
            let opened = scope.spawn(move || {
                // SAFETY: moves this thread, which ends here, into an open namespace.
                if unsafe { libc::setns(fd, libc::CLONE_NEWNET) } < 0 {
                    return Err(Error::last_os_error());
                }
                UdpSocket::bind("0.0.0.0:7000")
            });
            opened.join().map_err(|_| Error::other("the thread panicked"))?
        })
    };
    let (sender, receiver) = (open(from)?, open(to)?);
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    sender.send_to(b"floor", (Ipv4Addr::from(pod_address(last, 0)), 7000))?;
    let mut buffer = [0u8; 16];
    let (size, origin) = receiver.recv_from(&mut buffer)?;
    if &buffer[..size] != b"floor" || origin.ip() != Ipv4Addr::from(pod_address(0, 0)) {
        return Err(Error::other(format!("a stray datagram came from {origin}")));
    }
    Ok(())
}

/// Makes this process, which must have one thread, root of a user namespace of its own.
fn own_user_namespace() -> Result<()> {
    // SAFETY: concerns this process's credentials only.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: as above.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } < 0 {
        return Err(Error::last_os_error());
    }
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Waits until the user namespace, whose limit is one network namespace, has room for one: it has none left.
fn wait_gone() -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        // SAFETY: changes the calling thread's network namespace and nothing else.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
            return Ok(());
        }
        let cause = Error::last_os_error();
        if cause.raw_os_error() != Some(libc::ENOSPC) {
            return Err(cause);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(Error::other("the namespaces are not freed within 120 s"))
}

/// What the kernel holds for its own objects, in kB.
pub fn kernel_kilobytes() -> Result<u64> {
    let text = read_to_string("/proc/meminfo")?;
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        number.ok_or_else(|| Error::other(format!("/proc/meminfo has no {key}")))
    };
    Ok(of("Slab:")? + of("Percpu:")?)
}
