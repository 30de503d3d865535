//! SCTP (RFC 9260), as far as an association's beginning goes: its first packet, and what is said to that.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use crc::{CRC_32_ISCSI, Crc};

use super::icmp::Open;

/// Length of SCTP's common header, in bytes.
pub const SCTP_HEADER: u16 = 12;
/// Length of an INIT or INIT ACK chunk without parameters, in bytes.
pub const INIT_CHUNK: u16 = 20;
/// Length of a chunk that is nothing but its head, such as an ABORT without causes, in bytes.
pub const CHUNK_HEADER: u16 = 4;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;

/// An SCTP packet, as its common header and its first chunk say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sctp {
    /// Source port; none in a prediction if the kernel chooses it.
    pub src: Option<u16>,
    /// Destination port.
    pub dst: Option<u16>,
    /// Verification tag: the receiver's, 0 as long as the sender knows none.
    pub tag: Option<u32>,
    /// Its first chunk; none if the packet ends before.
    pub chunk: Option<Chunk>,
    /// Whether its CRC32c is that of its bytes; none where that is not known: left to a device to fill in, as a kernel's
    /// own packets are on a veth, or not all of the packet was seen.
    pub sound: Option<bool>,
}

/// A chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// INIT: somebody wants an association.
    Init(Init),
    /// INIT ACK: somebody else agrees.
    InitAck(Init),
    /// ABORT: nobody listens, or the association ends at once.
    Abort,
    /// Another one, by its type.
    Other(u8),
}

/// What both sides of an association begin with. All of it is none in a prediction if the kernel chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Init {
    /// Initiate tag: the verification tag of all that is sent back.
    pub tag: Option<u32>,
    /// Advertised receiver window in bytes.
    pub window: Option<u32>,
    /// Number of outbound streams.
    pub outbound: Option<u16>,
    /// Number of inbound streams at most.
    pub inbound: Option<u16>,
    /// Number of the first DATA chunk.
    pub tsn: Option<u32>,
}

impl Init {
    /// The bytes of an INIT chunk, at the beginning of `bytes`; what is open is 0. What of `bytes` is beyond it becomes a
    /// parameter that nobody knows and everybody passes by (RFC 9260, 3.2.1).
    pub(super) fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let length = u16::try_from(bytes.len()).ok()?;
        let (chunk, parameter) = bytes.split_first_chunk_mut::<{ INIT_CHUNK as usize }>()?;
        chunk[0] = INIT;
        chunk[2..4].copy_from_slice(&length.to_be_bytes());
        chunk[4..8].copy_from_slice(&self.tag.unwrap_or_default().to_be_bytes());
        chunk[8..12].copy_from_slice(&self.window.unwrap_or_default().to_be_bytes());
        chunk[12..14].copy_from_slice(&self.outbound.unwrap_or_default().to_be_bytes());
        chunk[14..16].copy_from_slice(&self.inbound.unwrap_or_default().to_be_bytes());
        chunk[16..20].copy_from_slice(&self.tsn.unwrap_or_default().to_be_bytes());
        if let Some(head) = parameter.first_chunk_mut::<4>() {
            let [high, low] = (length - INIT_CHUNK).to_be_bytes();
            *head = [0xbf, 0xff, high, low];
        }
        Some(())
    }
}

/// Writes the common header of an SCTP packet around the chunks that are in `bytes`, with their CRC32c, in which, unlike
/// in other transports' checksums, no address is.
pub(super) fn seal(bytes: &mut [u8], src: u16, dst: u16, tag: u32) -> Option<()> {
    let header = bytes.first_chunk_mut::<{ SCTP_HEADER as usize }>()?;
    header[0..2].copy_from_slice(&src.to_be_bytes());
    header[2..4].copy_from_slice(&dst.to_be_bytes());
    header[4..8].copy_from_slice(&tag.to_be_bytes());
    let sum = checksum(bytes)?;
    bytes.get_mut(8..12)?.copy_from_slice(&sum);
    Some(())
}

/// The CRC32c of an SCTP packet as it stands in it: lowest byte first (RFC 9260, appendix A).
fn checksum(bytes: &[u8]) -> Option<[u8; 4]> {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    let (before, [_, _, _, _, chunks @ ..]) = bytes.split_first_chunk::<8>()? else { return None };
    let mut digest = CRC.digest();
    digest.update(before);
    digest.update(&[0; 4]);
    digest.update(chunks);
    Some(digest.finalize().to_le_bytes())
}

/// Decodes an SCTP packet, of which `whole` says whether all its bytes are here; none if it ends before its ports do.
pub(super) fn decode(bytes: &[u8], whole: bool) -> Option<Sctp> {
    let ([s0, s1, d0, d1, t0, t1, t2, t3, sum @ ..], chunks) = bytes.split_first_chunk::<{ SCTP_HEADER as usize }>()?;
    let is_right = checksum(bytes).is_some_and(|right| right == *sum);
    // A kernel that leaves it to the device writes 0.
    let sound = (whole && (is_right || *sum != [0; 4])).then_some(is_right);
    let (src, dst) = (Some(u16::from_be_bytes([*s0, *s1])), Some(u16::from_be_bytes([*d0, *d1])));
    Some(Sctp { src, dst, tag: Some(u32::from_be_bytes([*t0, *t1, *t2, *t3])), chunk: chunk(chunks), sound })
}

fn chunk(bytes: &[u8]) -> Option<Chunk> {
    let [kind, _, _, _, body @ ..] = bytes else { return None };
    Some(match kind {
        &INIT => Chunk::Init(init(body)?),
        &INIT_ACK => Chunk::InitAck(init(body)?),
        &ABORT => Chunk::Abort,
        other => Chunk::Other(*other),
    })
}

fn init(body: &[u8]) -> Option<Init> {
    let [t0, t1, t2, t3, w0, w1, w2, w3, o0, o1, i0, i1, n0, n1, n2, n3] = *body.first_chunk::<16>()?;
    let long = |bytes: [u8; 4]| Some(u32::from_be_bytes(bytes));
    let short = |bytes: [u8; 2]| Some(u16::from_be_bytes(bytes));
    Some(Init {
        tag: long([t0, t1, t2, t3]),
        window: long([w0, w1, w2, w3]),
        outbound: short([o0, o1]),
        inbound: short([i0, i1]),
        tsn: long([n0, n1, n2, n3]),
    })
}

/// What `tcpdump -n` prints behind the addresses, as far as the first chunk.
impl Display for Sctp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.chunk {
            Some(chunk) => write!(f, "sctp (1) {chunk}"),
            None => f.write_str("sctp [|sctp]"),
        }
    }
}

impl Chunk {
    /// What tcpdump calls it.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Chunk::Init(_) => "INIT",
            Chunk::InitAck(_) => "INIT ACK",
            Chunk::Abort => "ABORT",
            Chunk::Other(0) => "DATA",
            Chunk::Other(3) => "SACK",
            Chunk::Other(4) => "HB REQ",
            Chunk::Other(5) => "HB ACK",
            Chunk::Other(7) => "SHUTDOWN",
            Chunk::Other(8) => "SHUTDOWN ACK",
            Chunk::Other(9) => "OP ERR",
            Chunk::Other(10) => "COOKIE ECHO",
            Chunk::Other(11) => "COOKIE ACK",
            Chunk::Other(14) => "SHUTDOWN COMPLETE",
            Chunk::Other(kind) => return Cow::Owned(format!("Unknown chunk type: 0x{kind:x}")),
        })
    }
}

impl Display for Chunk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Chunk::Init(init) | Chunk::InitAck(init) => write!(f, "[{}] {init}", self.name()),
            Chunk::Abort | Chunk::Other(_) => write!(f, "[{}]", self.name()),
        }
    }
}

impl Display for Init {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Init { tag, window, outbound, inbound, tsn } = *self;
        write!(f, "[init tag: {}] [rwnd: {}] ", Open(tag), Open(window))?;
        write!(f, "[OS: {}] [MIS: {}] [init TSN: {}]", Open(outbound), Open(inbound), Open(tsn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The INIT that another implementation of CRC32c sealed (bit by bit, in Python).
    const SEALED: [u8; 32] = [
        0x13, 0x88, 0, 0x50, 0, 0, 0, 0, 0x88, 0xbc, 0x0f, 0xfa, 1, 0, 0, 20, 0xde, 0xad, 0xbe, 0xef, 0, 1, 0xa0, 0, 0,
        10, 0x12, 0x67, 0, 0, 0, 7,
    ];
    const OURS: Init =
        Init { tag: Some(0xdead_beef), window: Some(106_496), outbound: Some(10), inbound: Some(4711), tsn: Some(7) };

    #[test]
    fn an_init_is_sealed_as_others_seal_it() {
        let mut bytes = [0; 32];
        OURS.write(&mut bytes[12..]).expect("room");
        seal(&mut bytes, 5000, 80, 0).expect("room");
        assert_eq!(bytes, SEALED);
        let packet = decode(&bytes, true).expect("a packet");
        let chunk = Some(Chunk::Init(OURS));
        assert_eq!(packet, Sctp { src: Some(5000), dst: Some(80), tag: Some(0), chunk, sound: Some(true) });
    }

    #[test]
    fn a_checksum_is_right_or_wrong_or_left_to_the_device() {
        let sound = |bytes: &[u8], whole| decode(bytes, whole).expect("a packet").sound;
        let (mut wrong, mut left) = (SEALED, SEALED);
        wrong[2] = 1;
        left[8..12].fill(0);
        assert_eq!(sound(&wrong, true), Some(false), "another port, and the sum as before");
        assert_eq!((sound(&left, true), sound(&wrong, false)), (None, None));
    }

    #[test]
    fn packets_print_as_tcpdump_prints_them() {
        let of = |bytes: &[u8]| decode(bytes, true).map(|packet| packet.to_string());
        let init = "sctp (1) [INIT] [init tag: 3735928559] [rwnd: 106496] [OS: 10] [MIS: 4711] [init TSN: 7]";
        assert_eq!(of(&SEALED).as_deref(), Some(init));
        let with = |chunk: &[u8]| of(&[&SEALED[..12], chunk].concat());
        assert_eq!(with(&[6, 0, 0, 4]).as_deref(), Some("sctp (1) [ABORT]"));
        assert_eq!(with(&[11, 0, 0, 4]).as_deref(), Some("sctp (1) [COOKIE ACK]"));
        assert_eq!(with(&[64, 0, 0, 4]).as_deref(), Some("sctp (1) [Unknown chunk type: 0x40]"));
        assert_eq!(with(&SEALED[12..16]).as_deref(), Some("sctp [|sctp]"));
        assert_eq!(of(&SEALED[..11]), None);
        let open = Chunk::InitAck(Init::default()).to_string();
        assert_eq!(open, "[INIT ACK] [init tag: *] [rwnd: *] [OS: *] [MIS: *] [init TSN: *]");
    }
}
