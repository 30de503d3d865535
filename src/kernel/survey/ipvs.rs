//! IPVS by its generic netlink: a virtual server with the scheduler `rr` is really made.

use std::io::{Error, Result};
use std::net::Ipv4Addr;

use netlink_sys::protocols::NETLINK_GENERIC;

use super::Outcome;
use crate::kernel::raw_netlink::{ACK, Raw, attribute, message, nested, text, value};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_FAMILY_ID` (linux/genetlink.h).
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const FAMILY_ID: u16 = 1;
/// `IPVS_CMD_NEW_SERVICE`, `IPVS_CMD_ATTR_SERVICE` (linux/ip_vs.h).
const NEW_SERVICE: u8 = 1;
const SERVICE: u16 = 1;
const HEADER: usize = 4;

/// Makes a virtual server in the calling thread's namespace. Asking for the family loads the module since Linux 5.16;
/// before that somebody must have loaded it.
pub(super) fn attempt() -> Outcome {
    try_server().map(|()| String::new()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => "this kernel does not know it".to_owned(),
        _ => error.to_string(),
    })
}

fn try_server() -> Result<()> {
    let raw = Raw::open(NETLINK_GENERIC)?;
    let question = [general(GET_FAMILY), text(FAMILY_NAME, "IPVS")].concat();
    let answer = raw.ask(&message(CONTROL, ACK, 1, &question))?;
    let id = answer.first().and_then(|(_, body)| value(body.get(HEADER..)?, FAMILY_ID));
    let id = id.and_then(|id| id.try_into().ok()).map(u16::from_ne_bytes);
    let id = id.ok_or_else(|| Error::other("the kernel does not tell IPVS' number"))?;
    // IPVS_SVC_ATTR_…: a struct ip_vs_flags is flags and mask, an address has room for IPv6.
    let mut address = [0; 16];
    address[..4].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 1).octets());
    let server = [
        attribute(1, &(libc::AF_INET as u16).to_ne_bytes()),
        attribute(2, &(libc::IPPROTO_TCP as u16).to_ne_bytes()),
        attribute(3, &address),
        attribute(4, &80u16.to_be_bytes()),
        text(6, "rr"),
        attribute(7, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        attribute(8, &0u32.to_ne_bytes()),
        attribute(9, &[0xff; 4]),
    ];
    raw.ask(&message(id, ACK, 2, &[general(NEW_SERVICE), nested(SERVICE, &server)].concat())).map(drop)
}

/// A `genlmsghdr`: command, version 1.
fn general(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}
