//! The kernel's tunnel and ours: the same packets into both, and all that is seen anywhere compared.
//!
//! Every flow runs in two networks that differ in `tunl0` alone. Seen are the packets at both pods, both `tunl0` and
//! both `ens33`, in each direction, but for what is random (identifications, and what is computed over them), and the
//! counters of both `tunl0`: of what went out, those of packets that really did (a TUN counts what it hands to the
//! agent, and the agent counts what it could not send). Needs a kernel with ipip.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use minik::plan::Datapath;

use super::lab::{Lab, Outcome, PATIENCE, POD_1, POD_2, equal};
use super::sight;

/// Something that is done to a network.
pub enum Step {
    /// Packets from pod 1, one after the other. What comes of one is waited for before the next is sent.
    Each(Vec<Vec<u8>>),
    /// Packets from pod 1, all at once.
    Burst(Vec<Vec<u8>>),
    /// Payloads of protocol 4 from node 1, past its tunl0.
    FromNode(Vec<Vec<u8>>),
    /// A command line in a namespace.
    Run(&'static str, &'static str),
    /// At least so long, for what takes its time (an ARP request is given up after 3 s).
    Wait(Duration),
}

/// A place to look at.
const PLACES: [(&str, &str); 6] =
    [("p1", "eth0"), ("n1", "tunl0"), ("n1", "ens33"), ("n2", "ens33"), ("n2", "tunl0"), ("p2", "eth0")];

/// Nothing new for so long means that there will be nothing; and not at so many looks, between which all others had
/// their turn: an emulated machine may stand still for longer than that.
const QUIET: Duration = Duration::from_millis(200);
const LOOKS: u32 = 25;

/// Fails unless `steps` lead to the same in both networks.
pub fn same(steps: &[Step]) -> Outcome {
    same_but(&[], steps)
}

/// The same, but for lines that contain one of `except`.
pub fn same_but(except: &[&str], steps: &[Step]) -> Outcome {
    let (mut kernel, mut ours) = watch_both(steps)?;
    for lines in [&mut kernel, &mut ours] {
        lines.retain(|line| !except.iter().any(|part| line.contains(part)));
    }
    if kernel == ours {
        return Ok(());
    }
    Err(difference(&kernel, &ours))
}

/// What was seen in both networks: the kernel's and ours. Most of it is waiting, so it is done at once.
pub fn watch_both(steps: &[Step]) -> Result<(Vec<String>, Vec<String>), String> {
    std::thread::scope(|scope| {
        let kernel = scope.spawn(|| watch(Datapath::Kernel, steps));
        let ours = watch(Datapath::Userspace, steps)?;
        Ok((kernel.join().map_err(|_| "the kernel's lane panicked")??, ours))
    })
}

/// In how many lines of both all of these words are.
pub fn count(seen: &(Vec<String>, Vec<String>), words: &[&str]) -> (usize, usize) {
    let count = |lines: &[String]| lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
    (count(&seen.0), count(&seen.1))
}

/// What was seen in a network, line by line.
fn watch(datapath: Datapath, steps: &[Step]) -> Result<Vec<String>, String> {
    let lab = Lab::twin(datapath)?;
    // Every ICMP error is sent, and none takes from what others may send later: there is no limit by the sender's
    // namespace (a limit of 0 would take that all the same), nor by the machine.
    for ns in ["p1", "p2", "n1", "n2"] {
        lab.sysctl(ns, "net.ipv4.icmp_ratemask=0")?;
    }
    // Neighbours are known, and what is seen does not depend on who was quicker to ask.
    lab.ping("-c 1")?;
    let before = counters(&lab)?;
    let mut seen = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        run(&lab, number, step, &mut seen)?;
    }
    let unsent = lab.dropped().iter().filter(|(cause, _)| cause.is_outward()).map(|(_, count)| count).sum::<u64>();
    for ((node, name, before), (_, _, after)) in before.into_iter().zip(counters(&lab)?) {
        // Only pod 1, on node 1, is a source of packets that cannot go.
        let unsent = if (node, name) == ("n1", "tx_packets") { unsent } else { 0 };
        seen.push(format!("{node}/tunl0 {name}: {}", after - before - unsent));
    }
    Ok(seen)
}

fn run(lab: &Lab, number: usize, step: &Step, seen: &mut Vec<String>) -> Outcome {
    let places = Captures::open(lab)?;
    match step {
        Step::Run(ns, command) => {
            lab.exec(ns, command)?;
        }
        Step::Wait(time) => places.wait(*time, &format!("step {number}"), seen)?,
        Step::Burst(packets) => {
            let socket = raw(lab, "p1", libc::IPPROTO_RAW)?;
            packets.iter().try_for_each(|packet| send(lab, &socket, packet, POD_2))?;
            places.wait(Duration::ZERO, &format!("step {number}"), seen)?;
        }
        Step::Each(packets) => {
            let socket = raw(lab, "p1", libc::IPPROTO_RAW)?;
            for (packet, bytes) in packets.iter().enumerate() {
                send(lab, &socket, bytes, POD_2)?;
                places.wait(Duration::ZERO, &format!("step {number} packet {packet}"), seen)?;
            }
        }
        Step::FromNode(payloads) => {
            let socket = raw(lab, "n1", 4)?;
            for (packet, bytes) in payloads.iter().enumerate() {
                send(lab, &socket, bytes, "10.1.10.10")?;
                places.wait(Duration::ZERO, &format!("step {number} packet {packet}"), seen)?;
            }
        }
    }
    Ok(())
}

fn raw(lab: &Lab, ns: &str, protocol: libc::c_int) -> Result<OwnedFd, String> {
    lab.within(ns, || {
        // SAFETY: no memory is involved; the descriptor is owned from here on.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
    })
}

fn send(lab: &Lab, socket: &OwnedFd, packet: &[u8], to: &str) -> Outcome {
    let to: Ipv4Addr = to.parse().map_err(|_| format!("no address: {to}"))?;
    lab.send(socket, packet, SocketAddr::from((to, 0)))
}

/// Packets and bytes in and out of both tunl0.
fn counters(lab: &Lab) -> Result<Vec<(&'static str, &'static str, u64)>, String> {
    let mut all = Vec::new();
    let names = ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"];
    let files = names.map(|name| format!("/sys/class/net/tunl0/statistics/{name}")).join(" ");
    for node in ["n1", "n2"] {
        let text = lab.exec(node, &format!("cat {files}"))?;
        equal("numbers", &text.lines().count(), &names.len())?;
        for (name, number) in names.into_iter().zip(text.lines()) {
            all.push((node, name, number.parse().map_err(|_| format!("no number: {number}"))?));
        }
    }
    Ok(all)
}

/// Sockets that hear every IPv4 packet at every place.
struct Captures {
    sockets: Vec<(String, OwnedFd)>,
}

impl Captures {
    fn open(lab: &Lab) -> Result<Captures, String> {
        let open = |(ns, device): &(&str, &str)| {
            let socket = lab.within(ns, || sight::capture(device))?;
            Ok((format!("{ns}/{device}"), socket))
        };
        Ok(Captures { sockets: PLACES.iter().map(open).collect::<Result<_, String>>()? })
    }

    /// Waits for `time`, and until nothing new is seen. Adds what was, sorted: who was quicker is no difference.
    fn wait(&self, time: Duration, when: &str, seen: &mut Vec<String>) -> Outcome {
        let start = Instant::now();
        let mut lines = Vec::new();
        let (mut last, mut looks) = (start, 0);
        while start.elapsed() < time || last.elapsed() < QUIET || looks < LOOKS {
            if start.elapsed() > time + PATIENCE {
                return Err(format!("{when}: packets without end"));
            }
            let before = lines.len();
            for (place, socket) in &self.sockets {
                while let Some((direction, packet)) = sight::next(socket).map_err(|e| e.to_string())? {
                    lines.push(format!("{when}: {place} {direction} {}", sight::describe(&packet)));
                }
            }
            looks += 1;
            if lines.len() > before {
                (last, looks) = (Instant::now(), 0);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        lines.sort();
        seen.append(&mut lines);
        Ok(())
    }
}

fn difference(kernel: &[String], ours: &[String]) -> String {
    let count = |lines: &[String], line: &String| lines.iter().filter(|other| *other == line).count();
    let surplus = |of: &[String], over: &[String]| -> Vec<String> {
        let mut lines: Vec<String> = of.iter().filter(|line| count(of, line) > count(over, line)).cloned().collect();
        lines.dedup();
        lines
    };
    let mut text = String::from("the data paths differ\n");
    for (who, lines) in [("kernel", surplus(kernel, ours)), ("ours", surplus(ours, kernel))] {
        for line in lines.iter().take(40) {
            text += &format!("  only {who}: {line}\n");
        }
    }
    text
}

/// An IPv4 packet from pod 1 to pod 2.
#[derive(Clone, Copy)]
pub struct Packet {
    pub tos: u8,
    pub id: u16,
    /// Flags and offset, as in the header.
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub to: &'static str,
}

pub const DF: u16 = 0x4000;
pub const MORE: u16 = 0x2000;

impl Default for Packet {
    fn default() -> Packet {
        Packet { tos: 0, id: 0x1234, fragment: 0, ttl: 64, protocol: 1, to: POD_2 }
    }
}

impl Packet {
    /// With this payload.
    pub fn around(self, payload: &[u8]) -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv4Addr>().map_or([0; 4], |address| address.octets());
        let mut bytes = vec![0x45, self.tos];
        bytes.extend((20 + payload.len() as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(address(POD_1));
        bytes.extend(address(self.to));
        let sum = sight::checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// An echo request of `total` bytes with its header.
    pub fn echo(self, total: usize) -> Vec<u8> {
        self.around(&echo(total - 20))
    }

    /// A datagram to a port.
    pub fn udp(self, port: u16, payload: usize) -> Vec<u8> {
        let mut datagram = vec![0x30, 0x39];
        datagram.extend(port.to_be_bytes());
        datagram.extend((8 + payload as u16).to_be_bytes());
        // No checksum.
        datagram.extend([0, 0]);
        datagram.extend((0..payload).map(|i| i as u8));
        Packet { protocol: 17, ..self }.around(&datagram)
    }
}

/// An ICMP echo request of so many bytes.
pub fn echo(length: usize) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x77, 0x77, 0, 1];
    message.extend((8..length).map(|i| i as u8));
    let sum = sight::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}
