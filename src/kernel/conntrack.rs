//! Connection tracking of the calling thread's namespace: entries are found and removed, as `conntrack -D` does, by
//! netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::raw_netlink::{ACK, DUMP, Raw, attribute, general, message, value};
use crate::error::{Error, Result};
use crate::plan::forwarding::Entries;

/// `NFNL_SUBSYS_CTNETLINK`; `IPCTNL_MSG_CT_GET`, `IPCTNL_MSG_CT_DELETE` (linux/netfilter/nfnetlink_conntrack.h).
const CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const IP: u16 = 1;
const PROTOCOL: u16 = 2;
/// `CTA_IP_V4_SRC` and so on, for sources and destinations.
const SOURCE: [u16; 2] = [1, 3];
const DESTINATION: [u16; 2] = [2, 4];
/// `CTA_PROTO_NUM`, `CTA_PROTO_DST_PORT`.
const NUMBER: u16 = 1;
const PORT: u16 = 3;
/// Length of `nfgenmsg`.
const GENERAL: usize = 4;

/// Removes the entries that any of these describes, and gives how many there were. The packets after that are new to
/// the rules.
///
/// # Errors
/// If the table cannot be read or changed.
pub fn forget(entries: &[Entries]) -> Result<usize> {
    if entries.is_empty() {
        return Ok(0);
    }
    let raw = Raw::open(NETLINK_NETFILTER).map_err(|e| Error::io("cannot reach connection tracking", e))?;
    let mut count = 0;
    for (family, v6) in [(libc::AF_INET, false), (libc::AF_INET6, true)] {
        let of_family = |one: &&Entries| {
            let ip = one.destination.or(one.translated);
            ip.is_none_or(|ip| ip.is_ipv6() == v6)
        };
        let wanted: Vec<&Entries> = entries.iter().filter(of_family).collect();
        if !wanted.is_empty() {
            let removed = remove(&raw, family as u8, &wanted);
            count += removed.map_err(|e| Error::io("cannot forget connections", e))?;
        }
    }
    Ok(count)
}

fn remove(raw: &Raw, family: u8, wanted: &[&Entries]) -> io::Result<usize> {
    let general = general(family, 0);
    let all = raw.ask(&message(CTNETLINK << 8 | GET, DUMP, 1, &general))?;
    let mut count = 0;
    for (_, body) in &all {
        let Some(found) = body.get(GENERAL..).filter(|found| wanted.iter().any(|one| fits(found, one))) else {
            continue;
        };
        let part = |kind: u16, nested: u16| value(found, kind).map(|bytes| attribute(kind | nested, bytes));
        let body = [Some(general.clone()), part(ORIGINAL, 0x8000), part(ID, 0), part(ZONE, 0)];
        match raw.ask(&message(
            CTNETLINK << 8 | DELETE,
            ACK,
            1,
            &body.into_iter().flatten().flatten().collect::<Vec<_>>(),
        )) {
            Ok(_) => count += 1,
            // It has ended by itself.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// Whether an entry's attributes are such as are described.
fn fits(found: &[u8], wanted: &Entries) -> bool {
    let (Some(original), Some(reply)) = (value(found, ORIGINAL), value(found, REPLY)) else { return false };
    let translated = |to: IpAddr| address(reply, SOURCE) == Some(to) && address(original, DESTINATION) != Some(to);
    protocol(original, NUMBER) == Some(&[wanted.protocol][..])
        && wanted.destination.is_none_or(|to| address(original, DESTINATION) == Some(to))
        && wanted.port.is_none_or(|port| protocol(original, PORT) == Some(&port.to_be_bytes()[..]))
        && wanted.translated.is_none_or(translated)
}

fn protocol(tuple: &[u8], kind: u16) -> Option<&[u8]> {
    value(value(tuple, PROTOCOL)?, kind)
}

/// An address of a tuple, by its kinds for IPv4 and IPv6.
fn address(tuple: &[u8], [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    let part = value(tuple, IP)?;
    let four = value(part, v4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(|b| Ipv4Addr::from(b).into());
    four.or_else(|| {
        value(part, v6).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(|b| Ipv6Addr::from(b).into())
    })
}

#[cfg(test)]
mod tests {
    use super::super::raw_netlink::nested;
    use super::*;

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4], port: u16) -> Vec<u8> {
        let ip = nested(IP, &[attribute(SOURCE[0], &from), attribute(DESTINATION[0], &to)]);
        nested(kind, &[ip, nested(PROTOCOL, &[attribute(NUMBER, &[17]), attribute(PORT, &port.to_be_bytes())])])
    }

    #[test]
    fn an_entry_is_known_by_its_two_directions() {
        let (client, service, pod) = ([10, 1, 10, 8], [10, 96, 0, 10], [10, 244, 0, 2]);
        let entry = [tuple(ORIGINAL, client, service, 53), tuple(REPLY, pod, client, 4711)].concat();
        let (service, pod) = (IpAddr::from(service), IpAddr::from(pod));
        let any = Entries { protocol: 17, destination: None, port: None, translated: None };
        let wanted = Entries { destination: Some(service), port: Some(53), translated: Some(pod), ..any };
        assert!(fits(&entry, &any) && fits(&entry, &wanted));
        assert!(!fits(&entry, &Entries { protocol: 6, ..wanted }));
        assert!(!fits(&entry, &Entries { destination: Some(pod), ..wanted }));
        assert!(!fits(&entry, &Entries { port: Some(54), ..wanted }));
        assert!(!fits(&entry, &Entries { translated: Some(service), ..wanted }));
        assert!(!fits(&[], &any));
    }

    #[test]
    fn what_is_not_translated_has_no_other_destination() {
        let (client, pod) = ([10, 1, 10, 8], [10, 244, 0, 2]);
        let entry = [tuple(ORIGINAL, client, pod, 53), tuple(REPLY, pod, client, 4711)].concat();
        let any = Entries { protocol: 17, destination: None, port: None, translated: Some(IpAddr::from(pod)) };
        assert!(!fits(&entry, &any));
    }
}
