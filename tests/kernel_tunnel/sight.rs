//! Packets as they are seen at an interface, and in words without what is random.

use std::ffi::CString;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket that hears every IPv4 packet at `device`, from its IP header on.
pub fn capture(device: &str) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Those of one protocol are heard on their way in only.
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let name = CString::new(device)?;
    // SAFETY: the name ends with a zero, the address is plain data and as long as is said; the descriptor is owned
    // from here on.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, kind, i32::from(protocol));
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        // Room for the longest burst.
        let room: libc::c_int = 16 << 20;
        let int = size_of::<libc::c_int>() as libc::socklen_t;
        if libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const room).cast(), int) < 0 {
            return Err(io::Error::last_os_error());
        }
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        if libc::bind(fd, (&raw const address).cast(), size) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// The next packet that was heard, and whether it went in or out.
pub fn next(socket: &OwnedFd) -> io::Result<Option<(&'static str, Vec<u8>)>> {
    let mut buffer = vec![0u8; 1 << 16];
    // SAFETY: buffer and address are as long as is said.
    let (length, address) = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let length = libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut address).cast(),
            &raw mut size,
        );
        (length, address)
    };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // A device that is set down says so once.
            Some(libc::EAGAIN | libc::ENETDOWN) => Ok(None),
            _ => Err(error),
        };
    };
    if u16::from_be(address.sll_protocol) != libc::ETH_P_IP as u16 {
        return next(socket);
    }
    buffer.truncate(length);
    let direction = if address.sll_pkttype == 4 { "out" } else { "in" };
    Ok(Some((direction, buffer)))
}

/// A packet in words: everything but identifications, and checksums that are right.
pub fn describe(bytes: &[u8]) -> String {
    let length = usize::from(bytes.first().map_or(0, |first| first & 15)) * 4;
    if bytes.len() < 20 || bytes[0] >> 4 != 4 || length < 20 || length > bytes.len() {
        return format!("{} bytes that are no IPv4: {:02x?}", bytes.len(), &bytes[..bytes.len().min(32)]);
    }
    let (header, payload) = bytes.split_at(length);
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let address = |at: usize| header[at..at + 4].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let mut text = format!(
        "{} > {} tos {:#x} len {} ({} there) frag {:#x} ttl {} proto {}",
        address(12),
        address(16),
        header[1],
        field(2),
        bytes.len(),
        field(6),
        header[8],
        header[9]
    );
    if length > 20 {
        let _ = write!(text, " options {:02x?}", &header[20..]);
    }
    // Where it is not 0 on purpose it is random, and so may be 0 as well.
    if field(4) == 0 && field(6) & 0x4000 != 0 {
        text += " id 0";
    }
    if checksum(header) != 0 {
        text += " BAD CHECKSUM";
    }
    let later = field(6) & 0x1fff != 0;
    match header[9] {
        4 if !later => text += &format!(" {{ {} }}", describe(payload)),
        1 if !later => text += &format!(" {}", icmp(payload)),
        _ => text += &format!(" {}", digest(payload)),
    }
    text
}

fn icmp(message: &[u8]) -> String {
    if message.len() < 8 {
        return digest(message);
    }
    let (header, rest) = message.split_at(8);
    let about_a_packet = matches!(header[0], 3 | 4 | 5 | 11 | 12);
    let rest = if about_a_packet { format!("about [ {} ]", describe(rest)) } else { digest(rest) };
    format!("icmp {}/{} {:02x?} {rest}", header[0], header[1], &header[4..])
}

/// Length and a hash (FNV-1a) of bytes.
fn digest(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{} bytes #{:x}", bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The Internet checksum (RFC 1071); 0 of bytes that hold a right one.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
