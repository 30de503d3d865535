//! IPVS, the kernel's load balancer: virtual servers and the real servers behind them, as ipvsadm prints them. PURE.
//!
//! Linux knows three ways to hand a packet on; kube-proxy uses address translation alone (ipvsadm's `-m`), so there is no
//! other here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// What a namespace has of IPVS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ipvs {
    /// How long connections are remembered; none leaves the kernel's own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// The virtual servers, each address, protocol and port once.
    pub servers: Vec<VirtualServer>,
}

/// How long IPVS remembers connections on which nothing passes, in seconds; 0 leaves what there is (`ipvsadm --set`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// Connections of TCP; the kernel's own choice is 900.
    pub tcp: u32,
    /// Connections of TCP after a FIN; 120.
    pub tcp_fin: u32,
    /// UDP; 300.
    pub udp: u32,
}

/// An address and port at which IPVS takes packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// Where.
    pub at: Key,
    /// Which real server a new connection gets: `rr`.
    pub scheduler: String,
    /// Whether the scheduler `mh` goes by the source's port, too (`-b mh-port`).
    #[serde(skip_serializing_if = "is_off")]
    pub by_source_port: bool,
    /// Seconds for which a client keeps its real server (`-p`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<u32>,
    /// The real servers.
    pub servers: Vec<RealServer>,
}

/// What tells virtual servers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// The address.
    pub address: IpAddr,
    /// Number of the protocol: 6, 17 or 132.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

/// Where packets are sent on to, by address translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RealServer {
    /// Address and port.
    pub to: SocketAddr,
    /// Its share beside others; with 0 it gets no new connection.
    pub weight: u32,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

impl Key {
    /// Whether connections have an end that is waited for when their real server goes: TCP's have.
    pub fn has_connections(self) -> bool {
        self.protocol == 6
    }
}

/// As ipvsadm spells it: `-t 10.96.0.10:53`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = match self.protocol {
            6 => "-t",
            17 => "-u",
            _ => "--sctp-service",
        };
        write!(f, "{option} {}", SocketAddr::new(self.address, self.port))
    }
}

impl VirtualServer {
    /// The server without its real servers, as `ipvsadm -Sn` prints it: `-A -t 10.96.0.10:53 -s rr -p 10800`.
    pub fn line(&self) -> String {
        let mut line = format!("-A {} -s {}", self.at, self.scheduler);
        if let Some(seconds) = self.persistence {
            line.push_str(&format!(" -p {seconds}"));
        }
        if self.by_source_port {
            line.push_str(" -b mh-port");
        }
        line
    }

    /// One of its real servers, as `ipvsadm -Sn` prints it: `-a -t 10.96.0.10:53 -r 10.244.0.2:53 -m -w 1`.
    pub fn server_line(&self, server: &RealServer) -> String {
        format!("-a {} -r {} -m -w {}", self.at, server.to, server.weight)
    }

    /// All of its lines.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.line()).chain(self.servers.iter().map(|server| self.server_line(server)))
    }

    /// Whether everything but the real servers is the same.
    pub fn is_like(&self, other: &VirtualServer) -> bool {
        self.at == other.at
            && self.scheduler == other.scheduler
            && self.persistence == other.persistence
            && self.by_source_port == other.by_source_port
    }
}

impl Ipvs {
    /// Input of `ipvsadm -R` that makes all of it.
    pub fn restore(&self) -> String {
        self.servers.iter().flat_map(VirtualServer::lines).map(|line| line + "\n").collect()
    }

    /// The virtual server that takes packets to this address and port.
    pub fn find(&self, at: Key) -> Option<&VirtualServer> {
        self.servers.iter().find(|server| server.at == at)
    }

    /// All virtual servers by where they are: for who asks for many.
    pub fn by_key(&self) -> BTreeMap<Key, &VirtualServer> {
        self.servers.iter().map(|server| (server.at, server)).collect()
    }
}

/// One of the facts of a namespace ([`super::facts`]): `ipvs -A -t 10.96.0.10:53 -s rr`.
pub fn fact(line: &str) -> String {
    format!("ipvs {line}")
}

/// The facts of a plan.
pub fn facts(ipvs: &Ipvs) -> impl Iterator<Item = String> {
    ipvs.servers.iter().flat_map(VirtualServer::lines).map(|line| fact(&line))
}

/// The facts of what a kernel has, held against a plan: a real server that is not planned and has the weight 0 waits for
/// its last connections to end, and is no difference.
pub fn live_facts<'l>(planned: &Ipvs, live: &'l Ipvs) -> impl Iterator<Item = String> + use<'l> {
    let wanted: std::collections::BTreeSet<(Key, SocketAddr)> =
        planned.servers.iter().flat_map(|server| server.servers.iter().map(|real| (server.at, real.to))).collect();
    live.servers.iter().flat_map(move |server| {
        let counts = |real: &&RealServer| real.weight > 0 || wanted.contains(&(server.at, real.to));
        let reals: Vec<String> =
            server.servers.iter().filter(counts).map(|real| fact(&server.server_line(real))).collect();
        std::iter::once(fact(&server.line())).chain(reals)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, protocol: u8, reals: &[(&str, u32)]) -> VirtualServer {
        let real = |(to, weight): &(&str, u32)| RealServer { to: to.parse().unwrap(), weight: *weight };
        VirtualServer {
            at: Key { address: address.parse().unwrap(), protocol, port: 53 },
            scheduler: "rr".to_owned(),
            by_source_port: false,
            persistence: None,
            servers: reals.iter().map(real).collect(),
        }
    }

    #[test]
    fn servers_are_spelled_as_ipvsadm_does() {
        let mut sticky = server("fd00::a", 17, &[("[fd00::1]:5353", 1)]);
        (sticky.persistence, sticky.by_source_port, sticky.scheduler) = (Some(10800), true, "mh".to_owned());
        let all = Ipvs { servers: vec![server("10.96.0.10", 6, &[("10.0.0.1:53", 1)]), sticky], timeouts: None };
        assert_eq!(
            all.restore(),
            "-A -t 10.96.0.10:53 -s rr\n-a -t 10.96.0.10:53 -r 10.0.0.1:53 -m -w 1\n\
             -A -u [fd00::a]:53 -s mh -p 10800 -b mh-port\n-a -u [fd00::a]:53 -r [fd00::1]:5353 -m -w 1\n"
        );
    }

    #[test]
    fn a_server_that_waits_for_its_end_is_no_difference() {
        let planned = Ipvs { servers: vec![server("10.96.0.10", 6, &[("10.0.0.1:53", 1)])], timeouts: None };
        let ends =
            Ipvs { servers: vec![server("10.96.0.10", 6, &[("10.0.0.1:53", 1), ("10.0.0.2:53", 0)])], timeouts: None };
        assert!(live_facts(&planned, &ends).eq(facts(&planned)));
        let quiet = Ipvs { servers: vec![server("10.96.0.10", 6, &[("10.0.0.1:53", 0)])], timeouts: None };
        assert!(!live_facts(&planned, &quiet).eq(facts(&planned)), "one that shall serve does not");
        let more =
            Ipvs { servers: vec![server("10.96.0.10", 6, &[("10.0.0.1:53", 1), ("10.0.0.2:53", 1)])], timeouts: None };
        assert_eq!(live_facts(&planned, &more).count(), 3);
    }
}
