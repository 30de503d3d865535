//! Many packets: nothing is lost, nothing is changed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::kernel;
use super::lab::{Lab, Outcome, PATIENCE, POD_2, equal, until};

/// Bytes of a TCP test: as many as take a moment.
fn amount() -> usize {
    32 * 1024 * 1024 / kernel::slowness() as usize
}

pub fn burst_of_datagrams() -> Outcome {
    let lab = Lab::new(1)?;
    let receiver = lab.within("p2", || UdpSocket::bind((POD_2, 9000)))?;
    let sender = lab.within("p1", || UdpSocket::bind("0.0.0.0:0"))?;
    nix::sys::socket::setsockopt(&receiver, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20))
        .map_err(|e| e.to_string())?;
    receiver.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    for number in 0..10_000u32 {
        // 800 at once: the device's queue holds 1000, and only that could overflow.
        if number % 800 == 0 {
            let sent = || lab.engine.counters()[0].counters.sent.packets >= u64::from(number);
            until("the last burst to be on the wire", sent)?;
        }
        sender.send_to(&number.to_be_bytes(), (POD_2, 9000)).map_err(|e| e.to_string())?;
    }
    let mut buffer = [0u8; 64];
    for number in 0..10_000u32 {
        let size = receiver.recv(&mut buffer).map_err(|e| format!("datagram {number} is missing: {e}"))?;
        equal("datagram", &buffer[..size], &number.to_be_bytes())?;
    }
    Ok(())
}

/// Sends pseudo-random bytes from pod to pod and compares what arrives.
fn transfer(lab: &Lab, meanwhile: impl FnOnce() -> Outcome) -> Outcome {
    let listener = lab.within("p2", || TcpListener::bind((POD_2, 8000)))?;
    let to = SocketAddr::from(([10, 100, 247, 1], 8000));
    let client = lab.within("p1", || TcpStream::connect_timeout(&to, PATIENCE))?;
    let (mut server, _) = listener.accept().map_err(|e| e.to_string())?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    }
    let sent = noise();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| -> Outcome {
            let mut client = client;
            client.write_all(&sent).map_err(|e| format!("sending: {e}"))
        });
        let receiving = scope.spawn(|| {
            let mut received = Vec::with_capacity(sent.len());
            server.read_to_end(&mut received).map(|_| received).map_err(|e| format!("receiving: {e}"))
        });
        meanwhile()?;
        sending.join().map_err(|_| "the sender panicked")??;
        let received = receiving.join().map_err(|_| "the receiver panicked")??;
        if received == sent { Ok(()) } else { Err(format!("{} bytes arrived, or others", received.len())) }
    })
}

fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(amount()).collect()
}

pub fn tcp() -> Outcome {
    let lab = Lab::new(1)?;
    // No frame on the wire is longer than the segment allows, whatever the offloads make of it at the ends.
    lab.exec("n2", "iptables -t raw -A PREROUTING -p 4 -m length --length 1501:65535")?;
    // However slow the machine is, a sender hands down so many segments at once.
    lab.sysctl("p1", "net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_min_tso_segs=16")?;
    transfer(&lab, || Ok(()))?;
    equal("outer packets over 1500 bytes", &lab.packets("n2", "raw", "PREROUTING")?, &0)?;
    // Offloads at work: far fewer packets were read from the device than went out.
    let device = lab.exec("n1", "cat /sys/class/net/tunl0/statistics/tx_packets")?;
    let device: u64 = device.trim().parse().map_err(|_| format!("no number: {device}"))?;
    let wire = lab.engine.counters()[0].counters.sent.packets;
    if device * 4 < wire { Ok(()) } else { Err(format!("{device} packets at tunl0, {wire} on the wire")) }
}

pub fn tcp_with_two_workers() -> Outcome {
    transfer(&Lab::new(2)?, || Ok(()))
}

pub fn tcp_over_a_smaller_path() -> Outcome {
    let lab = Lab::new(1)?;
    for node in ["n1", "n2"] {
        lab.ip(node, "link set ens33 mtu 1400")?;
    }
    transfer(&lab, || Ok(()))
}

pub fn tcp_while_routes_change() -> Outcome {
    let lab = Lab::new(1)?;
    transfer(&lab, || {
        let mut changes = 0;
        let end = Instant::now() + Duration::from_secs(1);
        until("the end of the changes", || {
            changes += 1;
            let to = if changes % 2 == 0 { "10.1.10.10" } else { "10.1.10.99" };
            let changed = lab.ip("n1", &format!("route replace 10.100.247.0/26 via {to} dev tunl0 onlink"));
            changed.is_ok() && Instant::now() > end && changes % 2 == 0
        })
    })
}
