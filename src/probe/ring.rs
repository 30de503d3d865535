//! A packet socket's receive ring (`TPACKET_V2`, packet_mmap in the kernel's documentation).
//!
//! A ring and not recvmsg(2), because the kernel copies a frame into it at the moment it passes. A plain packet
//! socket queues a reference to the frame's own bytes, and who handles it next may write into them: the later
//! fragments of a forwarded datagram would be read with the TTL that they get two hops further on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::socket;

/// Bytes of a slot: the kernel's headers, and what the socket's filter lets through of the frame.
const SLOT: usize = 512;
/// Bytes of what the kernel allocates at once.
const BLOCK: usize = 64 << 10;

/// The receive ring of a packet socket, mapped into this process.
#[derive(Debug)]
pub struct Ring {
    memory: NonNull<u8>,
    length: usize,
    next: usize,
}

// SAFETY: the memory is the ring's own, and nothing but the ring's methods, which take `&mut self`, reads it.
unsafe impl Send for Ring {}

/// A frame in the ring, as it passed.
pub struct Slot<'a> {
    /// Its beginning.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub length: usize,
    /// Index of the interface.
    pub interface: u32,
    /// Whether it was leaving.
    pub outgoing: bool,
    /// The interface's hardware type (ARPHRD_…).
    pub hardware: u16,
    /// The kernel's time in nanoseconds since 1970.
    pub time: i64,
    /// A VLAN tag that was taken off.
    pub vlan: Option<u16>,
}

impl Ring {
    /// Gives `socket` a ring of `blocks` blocks of 128 frames.
    ///
    /// # Errors
    /// What setsockopt(2) or mmap(2) say.
    pub fn new(socket: impl AsFd, blocks: u32) -> io::Result<Ring> {
        let length = BLOCK * blocks as usize;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: (length / SLOT) as u32,
        };
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, socket.as_fd().as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Ring { memory, length, next: 0 })
    }

    /// Gives the next frame to `see`; false if there is none at the moment.
    pub fn take(&mut self, see: impl FnOnce(Slot)) -> bool {
        // SAFETY: `next` is always the number of a slot inside the mapping, and slots are aligned for the header.
        let slot = unsafe { self.memory.add(self.next * SLOT) };
        // SAFETY: the status is the header's first field, and the kernel writes it while we read it, hence atomic.
        let status = unsafe { AtomicU32::from_ptr(slot.as_ptr().cast()) };
        let flags = status.load(Ordering::Acquire);
        if flags & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: with TP_STATUS_USER the slot is ours until the status is written below; the kernel has put both
        // headers where they are read, and all of the slot lies inside the mapping.
        let (header, address, all) = unsafe {
            let address = slot.add(libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>());
            (
                slot.cast::<libc::tpacket2_hdr>().read(),
                address.cast::<libc::sockaddr_ll>().read_unaligned(),
                std::slice::from_raw_parts(slot.as_ptr(), SLOT),
            )
        };
        let begin = usize::from(header.tp_mac);
        let end = begin.saturating_add(header.tp_snaplen as usize).min(SLOT);
        see(Slot {
            bytes: all.get(begin..end).unwrap_or(&[]),
            length: header.tp_len as usize,
            interface: u32::try_from(address.sll_ifindex).unwrap_or(0),
            outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
            hardware: address.sll_hatype,
            time: i64::from(header.tp_sec) * 1_000_000_000 + i64::from(header.tp_nsec),
            vlan: (flags & libc::TP_STATUS_VLAN_VALID != 0).then_some(header.tp_vlan_tci & 0x0fff),
        });
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % (self.length / SLOT);
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this mapping, made in `new`; no slice into it outlives `take`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length) };
    }
}
