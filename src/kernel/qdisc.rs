//! Queueing disciplines as rtnetlink messages, and back.
//!
//! Their options are structures of their own (linux/pkt_sched.h), which netlink-packet-route passes on as bytes.

use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::plan::{Netem, Qdisc};

const TCA_OPTIONS: u16 = 2;
/// `struct tc_htb_glob` inside, and its version.
const TCA_HTB_INIT: u16 = 2;
const HTB_VERSION: u32 = 3;
/// Divisor between a class's rate and its quantum; what tc sets.
const HTB_RATE_TO_QUANTUM: u32 = 10;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
/// Bytes of `struct tc_netem_qopt`, which stands before netem's attributes.
const NETEM_HEAD: usize = 24;
/// Packets that netem holds back at most; what tc sets.
const NETEM_LIMIT: u32 = 1000;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Bytes of `struct tc_tbf_qopt`.
const TBF_HEAD: usize = 36;
const LINKLAYER_ETHERNET: u8 = 1;
const MILLION: u64 = 1_000_000;

/// The request that puts `qdisc` at the root of the link with this index.
pub fn root(qdisc: &Qdisc, index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index as i32);
    message.header.parent = TcHandle::ROOT;
    let (kind, options) = match qdisc {
        Qdisc::Htb { default } => {
            message.header.handle = TcHandle { major: 1, minor: 0 };
            ("htb", htb(*default))
        }
        Qdisc::Netem(values) => ("netem", netem(values)),
        Qdisc::Tbf { rate } => ("tbf", tbf(*rate)),
    };
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
    message
}

/// The request that takes away what somebody put at the root of the link with this index.
pub fn none(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index as i32);
    message.header.parent = TcHandle::ROOT;
    message
}

fn htb(default: u32) -> Vec<u8> {
    let words = [HTB_VERSION, HTB_RATE_TO_QUANTUM, default, 0, 0];
    attribute(TCA_HTB_INIT, words.iter().flat_map(|word| word.to_ne_bytes()).collect())
}

fn netem(values: &Netem) -> Vec<u8> {
    // The share of packets as a fraction of 2^32.
    let loss = (u64::from(values.loss.min(MILLION as u32)) * u64::from(u32::MAX)).div_ceil(MILLION) as u32;
    let head = [0, NETEM_LIMIT, loss, 0, 0, 0u32];
    let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend(attribute(TCA_NETEM_LATENCY64, (i64::from(values.delay) * 1000).to_ne_bytes().to_vec()));
    if values.rate > 0 {
        let short = u32::try_from(values.rate).unwrap_or(u32::MAX);
        if short == u32::MAX {
            bytes.extend(attribute(TCA_NETEM_RATE64, values.rate.to_ne_bytes().to_vec()));
        }
        bytes.extend(attribute(TCA_NETEM_RATE, [short, 0, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect()));
    }
    bytes
}

/// `struct tc_tbf_qopt`: `struct tc_ratespec` twice, the limit, the bucket in ticks and the unused MTU; the kernel takes
/// the bucket's bytes from an attribute of its own.
fn tbf(rate: u64) -> Vec<u8> {
    let short = u32::try_from(rate).unwrap_or(u32::MAX);
    let mut options = vec![0; TBF_HEAD];
    options[1] = LINKLAYER_ETHERNET;
    options[8..12].copy_from_slice(&short.to_ne_bytes());
    options[24..28].copy_from_slice(&Qdisc::queue(rate).to_ne_bytes());
    let mut bytes = attribute(TCA_TBF_PARMS, options);
    if short == u32::MAX {
        bytes.extend(attribute(TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()));
    }
    bytes.extend(attribute(TCA_TBF_BURST, Qdisc::burst(rate).to_ne_bytes().to_vec()));
    bytes
}

fn attribute(kind: u16, value: Vec<u8>) -> Vec<u8> {
    let nla = DefaultNla::new(kind, value);
    let mut bytes = vec![0; nla.buffer_len()];
    nla.emit(&mut bytes);
    bytes
}

/// What somebody put at the root of a link, as read back: the link's index, and the discipline, or its name if it is
/// none that minik makes. None for what the kernel put there by itself, which has no handle.
pub fn read(message: &TcMessage) -> Option<(u32, Result<Qdisc, String>)> {
    if message.header.parent != TcHandle::ROOT || message.header.handle.major == 0 {
        return None;
    }
    let kind =
        message.attributes.iter().find_map(|a| if let TcAttribute::Kind(kind) = a { Some(kind) } else { None })?;
    let options = message.attributes.iter().find_map(|a| match a {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Other(nla) => Some(value_of(nla)),
            _ => None,
        }),
        _ => None,
    });
    let qdisc = match (kind.as_str(), options) {
        // Taken away from a TUN, which has none then as the real tunnel has none.
        ("noqueue", _) => return None,
        ("htb", Some(bytes)) => read_htb(&bytes),
        ("netem", Some(bytes)) => read_netem(&bytes),
        ("tbf", Some(bytes)) => read_tbf(&bytes),
        _ => None,
    };
    Some((message.header.index as u32, qdisc.ok_or_else(|| kind.clone())))
}

fn value_of(nla: &DefaultNla) -> Vec<u8> {
    use netlink_packet_core::Nla;
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    bytes
}

fn read_htb(bytes: &[u8]) -> Option<Qdisc> {
    let init = find(bytes, TCA_HTB_INIT)?;
    Some(Qdisc::Htb { default: word(init, 8)? })
}

fn read_netem(bytes: &[u8]) -> Option<Qdisc> {
    let attributes = bytes.get(NETEM_HEAD..)?;
    let loss = (u64::from(word(bytes, 8)?) * MILLION / u64::from(u32::MAX)) as u32;
    let delay = find(attributes, TCA_NETEM_LATENCY64)?;
    let delay = i64::from_ne_bytes(delay.get(..8)?.try_into().ok()?) / 1000;
    let long = find(attributes, TCA_NETEM_RATE64).and_then(|bytes| bytes.get(..8)?.try_into().ok());
    let rate = match long {
        Some(bytes) => u64::from_ne_bytes(bytes),
        None => find(attributes, TCA_NETEM_RATE).and_then(|bytes| word(bytes, 0)).map_or(0, u64::from),
    };
    Some(Qdisc::Netem(Netem { delay: u32::try_from(delay).ok()?, loss, rate }))
}

/// A bucket of another rate, or one with another queue, is none of ours.
fn read_tbf(bytes: &[u8]) -> Option<Qdisc> {
    let options = find(bytes, TCA_TBF_PARMS).filter(|options| options.len() >= TBF_HEAD)?;
    let long = find(bytes, TCA_TBF_RATE64).and_then(|bytes| bytes.get(..8)?.try_into().ok());
    let rate = match long {
        Some(bytes) => u64::from_ne_bytes(bytes),
        None => u64::from(word(options, 8)?),
    };
    (word(options, 24)? == Qdisc::queue(rate)).then_some(Qdisc::Tbf { rate })
}

/// The value of an attribute among others.
fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = u16::from_ne_bytes([bytes[0], bytes[1]]) as usize;
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel would send back what was asked for.
    fn again(qdisc: &Qdisc) -> Option<(u32, Result<Qdisc, String>)> {
        let asked = root(qdisc, 7);
        let mut answer = TcMessage::with_index(7);
        answer.header.parent = TcHandle::ROOT;
        answer.header.handle = TcHandle { major: 1, minor: 0 };
        answer.attributes = asked
            .attributes
            .into_iter()
            .map(|a| match a {
                TcAttribute::Other(nla) => TcAttribute::Options(vec![TcOption::Other(nla)]),
                a => a,
            })
            .collect();
        read(&answer)
    }

    #[test]
    fn what_is_asked_for_is_read_back() {
        let rates = [0, 1, 125_000, 40_000_000_000];
        let losses = [0, 1, 10_000, 333_333, 999_999, 1_000_000];
        let netems = rates.iter().flat_map(|rate| losses.map(|loss| Netem { delay: 20_500, loss, rate: *rate }));
        let all = netems.map(Qdisc::Netem).chain([Qdisc::Htb { default: 0x30 }]);
        let all = all.chain([1000, 125_000, 40_000_000_000].map(|rate| Qdisc::Tbf { rate }));
        for qdisc in all {
            assert_eq!(again(&qdisc), Some((7, Ok(qdisc.clone()))), "{qdisc}");
        }
    }

    #[test]
    fn what_is_cut_off_is_no_discipline_of_ours() {
        let full = netem(&Netem { delay: 1, loss: 1, rate: 1 });
        (0..NETEM_HEAD + 12).for_each(|length| assert_eq!(read_netem(&full[..length]), None, "{length}"));
        (0..full.len()).for_each(|length| {
            let _ = read_netem(&full[..length]);
        });
        let full = htb(1);
        (0..full.len()).for_each(|length| assert_eq!(read_htb(&full[..length]), None, "{length}"));
    }
}
