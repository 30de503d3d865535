//! Netfilter by its own netlink: a table is made, a packet is traced through it, its connection is read.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::Outcome;
use super::catalogue::Netfilter;
use super::devices;
use crate::kernel::netlink::Rtnetlink;
use crate::kernel::raw_netlink::{ACK, CREATE, DUMP, Raw, attribute, general, message, nested, text};

/// `NFNL_SUBSYS_NFTABLES`, `NFNL_SUBSYS_CTNETLINK`, `NFNLGRP_NFTRACE` (linux/netfilter/nfnetlink.h).
const NFTABLES: u16 = 10;
const CTNETLINK: u16 = 1;
const TRACE_GROUP: u32 = 9;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH: [u16; 2] = [0x10, 0x11];
/// `NFT_MSG_…` (linux/netfilter/nf_tables.h).
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const TRACE: u16 = 17;
/// `IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink_conntrack.h).
const GET_CONNECTIONS: u16 = 1;
/// `NFT_META_NFTRACE`, `NFT_CT_STATE`, `NFT_REG_1`.
const KEY_TRACE: u32 = 12;
const KEY_STATE: u32 = 0;
const REGISTER: u32 = 1;
const NAME: &str = "minik-probe";

/// How long a trace may take to come. The kernel writes it while the packet is being sent.
const PATIENCE: Duration = Duration::from_millis(500);

/// Tries a part of netfilter. The calling thread is in a scratch namespace.
pub(super) fn attempt(part: Netfilter) -> Outcome {
    let tried = match part {
        Netfilter::Tables => table(),
        Netfilter::Trace => trace(),
        Netfilter::Conntrack => connections(),
    };
    tried.map(|()| String::new()).map_err(|error| match error.raw_os_error() {
        // nfnetlink's words for a subsystem that it has not.
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT) => format!("this kernel does not know it ({error})"),
        _ => error.to_string(),
    })
}

fn table() -> Result<()> {
    transaction(&Raw::open(NETLINK_NETFILTER)?, &[(NEW_TABLE, text(1, NAME))])
}

/// A packet of ours goes through a rule that has it traced, and the trace comes.
fn trace() -> Result<()> {
    let mut raw = Raw::open(NETLINK_NETFILTER)?;
    // The two expressions of `meta nftrace set 1`.
    let one = nested(2, &[attribute(1, &1u32.to_ne_bytes())]);
    let load = expression("immediate", &[number(1, REGISTER), one]);
    let set = expression("meta", &[number(2, KEY_TRACE), number(3, REGISTER)]);
    chain_with(&raw, &[load, set])?;
    raw.join(TRACE_GROUP)?;
    send_a_packet()?;
    let told = raw.receive(PATIENCE).map_err(|_| Error::other("a packet with nftrace set leaves no trace"))?;
    match told.iter().any(|(kind, _)| *kind == NFTABLES << 8 | TRACE) {
        true => Ok(()),
        false => Err(Error::other("a packet with nftrace set leaves no trace")),
    }
}

/// A packet of ours goes through a rule that looks at its connection, and that is in the table.
fn connections() -> Result<()> {
    let raw = Raw::open(NETLINK_NETFILTER)?;
    chain_with(&raw, &[expression("ct", &[number(1, REGISTER), number(2, KEY_STATE)])])?;
    send_a_packet()?;
    let request = message(CTNETLINK << 8 | GET_CONNECTIONS, DUMP, 1, &general(libc::AF_INET as u8, 0));
    // What answers carry as type is IPCTNL_MSG_CT_NEW, 0.
    let seen = raw.ask(&request)?.iter().filter(|(kind, _)| *kind == CTNETLINK << 8).count();
    if seen > 0 { Ok(()) } else { Err(Error::other("a connection is not in the table")) }
}

/// `add table ip T; add chain ip T T { type filter hook output priority 0; }; add rule ip T T …`.
fn chain_with(raw: &Raw, expressions: &[Vec<u8>]) -> Result<()> {
    const OUTPUT: u32 = 3;
    let hook = nested(4, &[number(1, OUTPUT), number(2, 0)]);
    let chain = [text(1, NAME), text(3, NAME), hook, text(7, "filter")].concat();
    let rule = [text(1, NAME), text(2, NAME), nested(4, expressions)].concat();
    transaction(raw, &[(NEW_TABLE, text(1, NAME)), (NEW_CHAIN, chain), (NEW_RULE, rule)])
}

/// Sends a batch of nf_tables, which happens as a whole or not at all.
fn transaction(raw: &Raw, parts: &[(u16, Vec<u8>)]) -> Result<()> {
    let mark = |kind: u16, sequence: u32| message(kind, 0, sequence, &general(0, NFTABLES));
    let mut bytes = mark(BATCH[0], 0);
    let count = parts.len() as u32;
    for (number, (kind, body)) in (1..).zip(parts) {
        let flags = if number == count { CREATE | ACK } else { CREATE };
        let body = [general(libc::AF_INET as u8, 0), body.clone()].concat();
        bytes.extend(message(NFTABLES << 8 | kind, flags, number, &body));
    }
    bytes.extend(mark(BATCH[1], count + 1));
    raw.ask(&bytes).map(drop)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)])
}

/// From this namespace to itself.
fn send_a_packet() -> Result<()> {
    let up = Rtnetlink::open().and_then(|mut rtnetlink| devices::loopback_up(&mut rtnetlink));
    up.map_err(|error| Error::other(error.to_string()))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.send_to(b"minik", socket.local_addr()?).map(drop)
}
