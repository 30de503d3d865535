//! What the device looks like, and what becomes of it.

use minik::kernel::netns;
use minik::tunnel::Cause;

use super::lab::{Lab, Outcome, contains, equal, until};

pub fn looks_like_tunl0() -> Outcome {
    let lab = Lab::new(1)?;
    let link = lab.ip("n1", "-d link show tunl0")?;
    for part in ["77: tunl0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue ", " qlen 1000", "link/ipip "] {
        contains(&link, part)?;
    }
    contains(&lab.ip("n1", "route")?, "10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink")?;
    lab.ping("-c 5")?;
    // What it does not share with the kernel's own.
    contains(&link, "tun type tun ")?;
    // As the kernel's own tunnel counts: inner packets and their lengths.
    let counters = lab.exec("n1", "cat /proc/net/dev")?;
    let line = counters.lines().find(|line| line.trim_start().starts_with("tunl0:")).ok_or("no counters")?;
    let numbers: Vec<&str> = line.split_whitespace().collect();
    equal("received and sent", &[numbers[1], numbers[2], numbers[9], numbers[10]], &["420", "5", "420", "5"])
}

pub fn outlives_its_server() -> Outcome {
    let mut lab = Lab::new(1)?;
    lab.ping("-c 1")?;
    lab.restart_engine()?;
    // The kernel tells of a carrier that went or came a little later, within a second.
    let says = |words: &str| lab.ip("n1", "link show tunl0").is_ok_and(|link| link.contains(words));
    until("the carrier to be gone", || says("NO-CARRIER"))?;
    let route = || lab.ip("n1", "route").unwrap_or_default();
    until("its routes to be down", || route().contains("via 10.1.10.10 dev tunl0 proto bird onlink linkdown"))?;
    contains(&lab.ip("n1", "addr show tunl0")?, "inet 10.100.84.128/32")?;
    lab.serve()?;
    lab.ping("-c 1")?;
    until("the carrier to be back", || says("LOWER_UP> mtu 1480 qdisc noqueue state UP"))?;
    until("its routes to be up", || !route().contains("linkdown"))
}

pub fn down_and_deleted() -> Outcome {
    let lab = Lab::new(1)?;
    lab.ip("n2", "link set tunl0 down")?;
    lab.no_ping("-c 2 -W 0.2")?;
    lab.has_dropped(&[(Cause::DeviceDown, 2)])?;
    lab.ip("n2", "link set tunl0 up")?;
    lab.ip("n2", "route add 10.100.84.128/26 via 10.1.10.9 dev tunl0 onlink")?;
    lab.ping("-c 2")?;
    lab.ip("n2", "link del tunl0")?;
    until("the engine to notice", || !lab.engine.counters()[1].serving)?;
    equal("the other tunnel", &lab.engine.counters()[0].serving, &true)?;
    let ns = netns::open(&lab.ns("n2")).map_err(|e| e.to_string())?;
    match lab.engine.serve(&ns, "tunl0", None) {
        Ok(_) => Err("served a device that is not there".to_owned()),
        Err(e) => contains(&e.to_string(), "cannot find TUN device tunl0: No such device"),
    }
}
