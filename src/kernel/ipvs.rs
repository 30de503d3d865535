//! IPVS by its generic netlink: virtual servers and real servers are read and made without any tool, many in one send.
//!
//! What is there and right is not touched. A real server of TCP that is to go while it still has connections gets the
//! weight 0, so that it gets no more of them, and goes when they have ended; kube-proxy looks after that once a minute
//! (pkg/proxy/ipvs/graceful_termination.go), and here [`sweep`] does with each turn of the keeper, while the cluster heals.
//! One of UDP or SCTP goes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, Result as IoResult};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::protocols::NETLINK_GENERIC;

use super::raw_netlink::{ACK, DUMP, Raw, attribute, message, nested, text, value};
use crate::error::{Error, Result};
use crate::plan::Ipvs;
use crate::plan::ipvs::{Key, RealServer, Timeouts, VirtualServer};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_FAMILY_ID` (linux/genetlink.h).
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const FAMILY_ID: u16 = 1;
/// Bytes of a `genlmsghdr`.
const HEADER: usize = 4;
/// `IPVS_CMD_…` (linux/ip_vs.h).
const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DEST: u8 = 5;
const SET_DEST: u8 = 6;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;
/// `IPVS_CMD_ATTR_SERVICE`, `IPVS_CMD_ATTR_DEST`, `IPVS_CMD_ATTR_TIMEOUT_…`.
const SERVICE: u16 = 1;
const DEST: u16 = 2;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;
/// `IPVS_SVC_ATTR_…`.
const FAMILY: u16 = 1;
const PROTOCOL: u16 = 2;
const ADDRESS: u16 = 3;
const PORT: u16 = 4;
const SCHEDULER: u16 = 6;
const FLAGS: u16 = 7;
const TIMEOUT: u16 = 8;
const NETMASK: u16 = 9;
/// `IPVS_DEST_ATTR_…`.
const TO_ADDRESS: u16 = 1;
const TO_PORT: u16 = 2;
const METHOD: u16 = 3;
const WEIGHT: u16 = 4;
const UPPER: u16 = 5;
const LOWER: u16 = 6;
const ACTIVE: u16 = 7;
const INACTIVE: u16 = 8;
const TO_FAMILY: u16 = 11;
/// `IP_VS_SVC_F_PERSISTENT`, `IP_VS_SVC_F_SCHED_MH_PORT`.
const PERSISTENT: u32 = 1;
const BY_SOURCE_PORT: u32 = 0x10;
/// Most bytes in one send: a socket takes somewhat more than 200 kB.
const SEND_MAX: usize = 48 * 1024;

/// A socket to IPVS of the calling thread's namespace.
pub(super) struct Balancer {
    raw: Raw,
    id: u16,
}

/// A real server as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LiveServer {
    real: RealServer,
    /// Connections that it has, those that have ended and are still remembered included.
    connections: u32,
}

impl Balancer {
    /// Opens one. Asking for IPVS loads its module since Linux 5.16; before that somebody must have loaded it.
    pub(super) fn open() -> IoResult<Balancer> {
        let raw = Raw::open(NETLINK_GENERIC)?;
        let question = [general(GET_FAMILY), text(FAMILY_NAME, "IPVS")].concat();
        let answer = raw.ask(&message(CONTROL, ACK, 1, &question))?;
        let id = answer.first().and_then(|(_, body)| value(body.get(HEADER..)?, FAMILY_ID));
        let id = id.and_then(|id| id.try_into().ok()).map(u16::from_ne_bytes);
        Ok(Balancer { raw, id: id.ok_or_else(|| IoError::other("the kernel does not tell IPVS' number"))? })
    }

    fn order(&self, command: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        // An error comes back whether or not it is asked for.
        message(self.id, 0, 0, &[general(command), parts.concat()].concat())
    }

    /// Sends orders, and waits until the last of them is done.
    fn send(&self, orders: &[Vec<u8>]) -> IoResult<()> {
        let mut rest = orders;
        while !rest.is_empty() {
            let mut size = 0;
            let fit = |order: &&Vec<u8>| {
                size += order.len();
                size <= SEND_MAX
            };
            let count = rest.iter().take_while(fit).count().max(1);
            let (now, later) = rest.split_at(count);
            let mut bytes = now.concat();
            // The last one asks for an acknowledgement.
            let at = bytes.len() - now.last().map_or(0, Vec::len) + 6;
            let flags = u16::from_ne_bytes([bytes[at], bytes[at + 1]]) | ACK;
            bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
            self.raw.ask(&bytes)?;
            rest = later;
        }
        Ok(())
    }

    /// The virtual servers that there are, without their real ones.
    fn services(&self) -> IoResult<Vec<VirtualServer>> {
        let answer = self.raw.ask(&message(self.id, DUMP, 1, &general(GET_SERVICE)))?;
        Ok(answer.iter().filter_map(|(_, body)| virtual_server(value(body.get(HEADER..)?, SERVICE)?)).collect())
    }

    fn servers_of(&self, at: Key) -> IoResult<Vec<LiveServer>> {
        let question = [general(GET_DEST), nested(SERVICE, &key(at))].concat();
        let answer = self.raw.ask(&message(self.id, DUMP, 1, &question))?;
        let family = at.address.is_ipv6();
        Ok(answer.iter().filter_map(|(_, body)| live_server(value(body.get(HEADER..)?, DEST)?, family)).collect())
    }

    fn timeouts(&self) -> IoResult<Timeouts> {
        let answer = self.raw.ask(&message(self.id, ACK, 1, &general(GET_CONFIG)))?;
        let number = |kind: u16| answer.iter().find_map(|(_, body)| number(body.get(HEADER..)?, kind)).unwrap_or(0);
        Ok(Timeouts { tcp: number(TIMEOUT_TCP), tcp_fin: number(TIMEOUT_TCP_FIN), udp: number(TIMEOUT_UDP) })
    }

    fn new_service(&self, server: &VirtualServer, command: u8) -> Vec<u8> {
        self.order(command, &[nested(SERVICE, &service(server))])
    }

    fn server_order(&self, command: u8, at: Key, real: &RealServer) -> Vec<u8> {
        self.order(command, &[nested(SERVICE, &key(at)), nested(DEST, &dest(real))])
    }
}

/// A `genlmsghdr`: command, version 1.
fn general(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}

/// An address has room for IPv6.
fn union(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn family(address: IpAddr) -> u16 {
    (if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET }) as u16
}

fn key(at: Key) -> Vec<Vec<u8>> {
    vec![
        attribute(FAMILY, &family(at.address).to_ne_bytes()),
        attribute(PROTOCOL, &u16::from(at.protocol).to_ne_bytes()),
        attribute(ADDRESS, &union(at.address)),
        attribute(PORT, &at.port.to_be_bytes()),
    ]
}

fn service(server: &VirtualServer) -> Vec<Vec<u8>> {
    let persistent = if server.persistence.is_some() { PERSISTENT } else { 0 };
    let flags = persistent | if server.by_source_port { BY_SOURCE_PORT } else { 0 };
    // A struct ip_vs_flags is flags and mask. Clients are told apart by all bits of their address.
    let netmask = if server.at.address.is_ipv6() { 128u32.to_ne_bytes() } else { [0xff; 4] };
    let mut all = key(server.at);
    all.extend([
        text(SCHEDULER, &server.scheduler),
        attribute(FLAGS, &[flags.to_ne_bytes(), [0xff; 4]].concat()),
        attribute(TIMEOUT, &server.persistence.unwrap_or(0).to_ne_bytes()),
        attribute(NETMASK, &netmask),
    ]);
    all
}

fn dest(real: &RealServer) -> Vec<Vec<u8>> {
    vec![
        attribute(TO_FAMILY, &family(real.to.ip()).to_ne_bytes()),
        attribute(TO_ADDRESS, &union(real.to.ip())),
        attribute(TO_PORT, &real.to.port().to_be_bytes()),
        // `IP_VS_CONN_F_MASQ`.
        attribute(METHOD, &0u32.to_ne_bytes()),
        attribute(WEIGHT, &real.weight.to_ne_bytes()),
        attribute(UPPER, &0u32.to_ne_bytes()),
        attribute(LOWER, &0u32.to_ne_bytes()),
    ]
}

fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    value(bytes, kind)?.try_into().ok().map(u32::from_ne_bytes)
}

fn short(bytes: &[u8], kind: u16) -> Option<[u8; 2]> {
    value(bytes, kind)?.try_into().ok()
}

fn address(bytes: &[u8], is_v6: bool) -> Option<IpAddr> {
    match is_v6 {
        false => <[u8; 4]>::try_from(bytes.get(..4)?).ok().map(|octets| Ipv4Addr::from(octets).into()),
        true => <[u8; 16]>::try_from(bytes.get(..16)?).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

/// A virtual server; none for one by a mark, which is nobody's here.
fn virtual_server(bytes: &[u8]) -> Option<VirtualServer> {
    let is_v6 = i32::from(u16::from_ne_bytes(short(bytes, FAMILY)?)) == libc::AF_INET6;
    let protocol = u8::try_from(u16::from_ne_bytes(short(bytes, PROTOCOL)?)).ok()?;
    let port = u16::from_be_bytes(short(bytes, PORT)?);
    let at = Key { address: address(value(bytes, ADDRESS)?, is_v6)?, protocol, port };
    let flags = u32::from_ne_bytes(value(bytes, FLAGS)?.get(..4)?.try_into().ok()?);
    let scheduler = String::from_utf8_lossy(value(bytes, SCHEDULER)?).trim_end_matches('\0').to_owned();
    let persistence = (flags & PERSISTENT != 0).then(|| number(bytes, TIMEOUT)).flatten();
    let by_source_port = flags & BY_SOURCE_PORT != 0;
    Some(VirtualServer { at, scheduler, by_source_port, persistence, servers: Vec::new() })
}

fn live_server(bytes: &[u8], is_v6: bool) -> Option<LiveServer> {
    let port = u16::from_be_bytes(short(bytes, TO_PORT)?);
    let to = SocketAddr::new(address(value(bytes, TO_ADDRESS)?, is_v6)?, port);
    let connections = number(bytes, ACTIVE)?.saturating_add(number(bytes, INACTIVE)?);
    Some(LiveServer { real: RealServer { to, weight: number(bytes, WEIGHT)? }, connections })
}

/// Makes all of a plan in the calling thread's namespace, in which there is nothing of IPVS yet.
///
/// # Errors
/// If the kernel has no IPVS, or refuses something.
pub(super) fn make(wanted: &Ipvs) -> Result<()> {
    let make = || {
        let balancer = Balancer::open()?;
        let mut orders: Vec<Vec<u8>> = wanted.timeouts.iter().map(|one| timeouts(&balancer, *one)).collect();
        for server in &wanted.servers {
            orders.push(balancer.new_service(server, NEW_SERVICE));
            orders.extend(server.servers.iter().map(|real| balancer.server_order(NEW_DEST, server.at, real)));
        }
        balancer.send(&orders)
    };
    make().map_err(cannot)
}

fn cannot(e: IoError) -> Error {
    Error::io("the kernel does not make what IPVS shall have", e).hint("`minik doctor` says what of IPVS works here")
}

fn timeouts(balancer: &Balancer, Timeouts { tcp, tcp_fin, udp }: Timeouts) -> Vec<u8> {
    let all = [(TIMEOUT_TCP, tcp), (TIMEOUT_TCP_FIN, tcp_fin), (TIMEOUT_UDP, udp)];
    balancer.order(SET_CONFIG, &all.map(|(kind, seconds)| attribute(kind, &seconds.to_ne_bytes())))
}

/// Takes the calling thread's namespace from one plan to the other. Only servers that differ between the two are looked
/// at; with `all` everything is, and what is in neither plan goes.
///
/// # Errors
/// As [`make`].
pub(super) fn change(before: Option<&Ipvs>, after: Option<&Ipvs>, all: bool) -> Result<()> {
    if before == after && !all || before.is_none() && after.is_none() {
        return Ok(());
    }
    let nothing = Ipvs::default();
    reach(before.unwrap_or(&nothing), after.unwrap_or(&nothing), all).map_err(cannot)
}

fn reach(before: &Ipvs, after: &Ipvs, all: bool) -> IoResult<()> {
    let balancer = Balancer::open()?;
    let (old, new) = (before.by_key(), after.by_key());
    let live: BTreeMap<Key, VirtualServer> = balancer.services()?.into_iter().map(|one| (one.at, one)).collect();
    let mut orders = Vec::new();
    if let Some(wanted) = after.timeouts.filter(|_| all || before.timeouts != after.timeouts) {
        orders.push(timeouts(&balancer, wanted));
    }
    for server in after.servers.iter().filter(|server| all || old.get(&server.at) != Some(server)) {
        match live.get(&server.at) {
            None => orders.push(balancer.new_service(server, NEW_SERVICE)),
            Some(there) if !there.is_like(server) => orders.push(balancer.new_service(server, SET_SERVICE)),
            Some(_) => {}
        }
        let there = if live.contains_key(&server.at) { balancer.servers_of(server.at)? } else { Vec::new() };
        orders.extend(real_servers(&balancer, server, &there));
    }
    let gone = live.keys().filter(|at| !new.contains_key(at) && (all || old.contains_key(at)));
    orders.extend(gone.map(|at| balancer.order(DEL_SERVICE, &[nested(SERVICE, &key(*at))])));
    balancer.send(&orders)
}

/// What makes the real servers of a virtual server those of the plan.
fn real_servers(balancer: &Balancer, wanted: &VirtualServer, there: &[LiveServer]) -> Vec<Vec<u8>> {
    let mut orders = Vec::new();
    let known: BTreeMap<SocketAddr, &LiveServer> = there.iter().map(|one| (one.real.to, one)).collect();
    let stay: BTreeSet<SocketAddr> = wanted.servers.iter().map(|real| real.to).collect();
    for real in &wanted.servers {
        match known.get(&real.to) {
            None => orders.push(balancer.server_order(NEW_DEST, wanted.at, real)),
            Some(one) if one.real.weight == real.weight => {}
            // One that was about to go comes back.
            Some(_) => orders.push(balancer.server_order(SET_DEST, wanted.at, real)),
        }
    }
    for one in there.iter().filter(|one| !stay.contains(&one.real.to)) {
        let waits = wanted.at.has_connections() && one.connections > 0;
        match (waits, one.real.weight) {
            (true, 0) => {}
            (true, _) => {
                let quiet = RealServer { weight: 0, ..one.real };
                orders.push(balancer.server_order(SET_DEST, wanted.at, &quiet));
            }
            (false, _) => orders.push(balancer.server_order(DEL_DEST, wanted.at, &one.real)),
        }
    }
    orders
}

/// Takes away the real servers that are in no plan, get no connection any more, and have none left. What is there then,
/// but for timeouts.
///
/// # Errors
/// As [`make`].
pub(super) fn sweep(planned: &Ipvs) -> Result<Ipvs> {
    let sweep = || {
        let (balancer, wanted) = (Balancer::open()?, planned.by_key());
        let (mut servers, mut orders) = (balancer.services()?, Vec::new());
        for server in &mut servers {
            let at = server.at;
            let stays =
                |to: SocketAddr| wanted.get(&at).is_some_and(|one| one.servers.iter().any(|real| real.to == to));
            for one in balancer.servers_of(at)? {
                if at.has_connections() && one.real.weight == 0 && one.connections == 0 && !stays(one.real.to) {
                    orders.push(balancer.server_order(DEL_DEST, at, &one.real));
                } else {
                    server.servers.push(one.real);
                }
            }
        }
        balancer.send(&orders)?;
        Ok(Ipvs { timeouts: None, servers })
    };
    sweep().map_err(cannot)
}

/// What the calling thread's namespace has of IPVS; real servers in the order of their addresses.
///
/// # Errors
/// If the kernel does not tell.
pub(super) fn read() -> Result<Ipvs> {
    let read = || {
        let balancer = Balancer::open()?;
        let mut servers = balancer.services()?;
        for server in &mut servers {
            server.servers = balancer.servers_of(server.at)?.into_iter().map(|one| one.real).collect();
            server.servers.sort();
        }
        servers.sort_by_key(|server| server.at);
        Ok(Ipvs { timeouts: Some(balancer.timeouts()?), servers })
    };
    read().map_err(|e: IoError| Error::io("the kernel does not tell what IPVS has", e))
}

/// Whether this kernel can balance by this scheduler, and in IPv6 if that is asked, tried in the calling thread's
/// namespace.
pub(super) fn attempt(scheduler: &str, ipv6: bool) -> IoResult<()> {
    let balancer = Balancer::open()?;
    let address: IpAddr = match ipv6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        false => Ipv4Addr::new(192, 0, 2, 1).into(),
    };
    let at = Key { address, protocol: 6, port: 80 };
    let server = VirtualServer {
        at,
        scheduler: scheduler.to_owned(),
        by_source_port: false,
        persistence: None,
        servers: Vec::new(),
    };
    balancer.send(&[balancer.new_service(&server, NEW_SERVICE)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for address in ["10.96.0.10", "fd00::a"] {
            let at = Key { address: address.parse().unwrap(), protocol: 17, port: 53 };
            let server = VirtualServer {
                at,
                scheduler: "mh".to_owned(),
                by_source_port: true,
                persistence: Some(10800),
                servers: Vec::new(),
            };
            assert_eq!(virtual_server(&service(&server).concat()), Some(server));
            let real = RealServer { to: SocketAddr::new(at.address, 5353), weight: 7 };
            let counted = [dest(&real).concat(), attribute(ACTIVE, &2u32.to_ne_bytes())].concat();
            let counted = [counted, attribute(INACTIVE, &3u32.to_ne_bytes())].concat();
            assert_eq!(live_server(&counted, at.address.is_ipv6()), Some(LiveServer { real, connections: 5 }));
        }
    }

    #[test]
    fn only_what_differs_is_ordered_and_who_has_connections_is_waited_for() {
        let raw = Raw::open(NETLINK_GENERIC).unwrap();
        let balancer = Balancer { raw, id: 99 };
        let real = |port, weight| RealServer { to: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), weight };
        let there = |port, weight, connections| LiveServer { real: real(port, weight), connections };
        let wanted = |protocol| VirtualServer {
            at: Key { address: Ipv4Addr::LOCALHOST.into(), protocol, port: 80 },
            scheduler: "rr".to_owned(),
            by_source_port: false,
            persistence: None,
            servers: vec![real(1, 1), real(2, 1), real(3, 1)],
        };
        // There, about to go, not there; and three too many: busy, busy and quiet already, idle.
        let live = [there(1, 1, 5), there(2, 0, 5), there(4, 1, 5), there(5, 0, 5), there(6, 1, 0)];
        let commands = |protocol| {
            let orders = real_servers(&balancer, &wanted(protocol), &live);
            orders.iter().map(|order| order[16]).collect::<Vec<u8>>()
        };
        assert_eq!(commands(6), [SET_DEST, NEW_DEST, SET_DEST, DEL_DEST]);
        assert_eq!(commands(17), [SET_DEST, NEW_DEST, DEL_DEST, DEL_DEST, DEL_DEST]);
    }
}
