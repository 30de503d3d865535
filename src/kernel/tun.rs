//! A TUN device that stands in for the kernel's `tunl0` where there is no ipip module. EFFECTS, in the calling
//! thread's network namespace.
//!
//! The device is persistent: it, its addresses and its routes stay when the process that serves it dies. It
//! then loses its carrier (`NO-CARRIER`, routes marked `linkdown` but in place) and drops what is sent to it,
//! until a process attaches again. It looks like `tunl0` in name, index, link type (`link/ipip`), queue length,
//! queueing discipline and flags, but for POINTOPOINT, which a TUN always has, and `ip -d link`, which says tun.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::lookup::Lookup;
use super::netlink::{Batch, Rtnetlink};
use crate::error::{Error, Kind, Result};
use crate::names::INTERFACE_NAME_MAX;

/// The device that hands out TUN devices.
const DEVICE: &str = "/dev/net/tun";

/// `ARPHRD_TUNNEL`, the link type of `tunl0` (linux/if_arp.h).
const ARPHRD_TUNNEL: libc::c_int = 768;

/// Packets that wait for the reader at most, and what `ip link` shows as `qlen`; also that of the real one.
const QUEUE_LENGTH: libc::c_int = 1000;

/// A layer 3 device without packet information but with an offload header. Must be the same at each attaching.
const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// How long a device may be busy before another process must be serving it, and how often that is looked at.
const BUSY_DEADLINE: Duration = Duration::from_secs(1);
const BUSY_STEP: Duration = Duration::from_millis(1);

/// How long to wait until a device with a carrier is one that carries.
const CARRIER_DEADLINE: Duration = Duration::from_secs(2);

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_index, libc::TUNSETIFINDEX, libc::c_uint);
    nix::ioctl_write_int_bad!(set_link_type, libc::TUNSETLINK);
    nix::ioctl_write_int_bad!(set_persistent, libc::TUNSETPERSIST);
    nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);
    nix::ioctl_readwrite_bad!(get_index, libc::SIOCGIFINDEX, libc::ifreq);
    nix::ioctl_readwrite_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_queue_length, libc::SIOCSIFTXQLEN, libc::ifreq);
}

/// An attached TUN device: packets are read from it and written to it, each behind an offload header.
#[derive(Debug)]
pub struct Tun {
    file: File,
    /// The device's interface index.
    pub index: u32,
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Tun> for OwnedFd {
    fn from(tun: Tun) -> OwnedFd {
        tun.file.into()
    }
}

/// Makes the device `name`, down, without address, and gives its interface index. `index` chooses that, or
/// leaves the choice to the kernel if it is 0. An existing TUN device of that name is adopted.
///
/// # Errors
/// If this machine has no TUN, the caller may not use it, the index is taken, or `name` is another device.
pub fn create(name: &str, index: u32) -> Result<u32> {
    let tun = create_persistent(name, index)?;
    // SAFETY: takes an int by value.
    unsafe { ioctl::set_link_type(tun.file.as_raw_fd(), ARPHRD_TUNNEL) }
        .map_err(|e| failed("set the link type of", name, e))?;
    settle(name)?;
    without_queue(name, tun.index)?;
    Ok(tun.index)
}

/// Makes a device as [`create`] does, but one that looks like any TUN: flannel's flannel0.
///
/// # Errors
/// As [`create`].
pub fn create_plain(name: &str, index: u32) -> Result<u32> {
    create_persistent(name, index).map(|tun| tun.index)
}

fn create_persistent(name: &str, index: u32) -> Result<Tun> {
    let file = open()?;
    if index != 0 {
        // SAFETY: the ioctl reads one unsigned int.
        unsafe { ioctl::set_index(file.as_raw_fd(), &index) }.map_err(|e| failed("choose the index of", name, e))?;
    }
    let tun = attach_file(file, name)?;
    // SAFETY: takes an int by value.
    unsafe { ioctl::set_persistent(tun.file.as_raw_fd(), 1) }.map_err(|e| failed("keep", name, e))?;
    Ok(tun)
}

/// Attaches to the device `name`: it has a carrier as long as the result lives. Reads do not block, and give
/// whole TCP packets of up to 64 KiB and unfinished checksums.
///
/// # Errors
/// If there is no such TUN device, or another process serves it.
pub fn attach(name: &str) -> Result<Tun> {
    attach_for(name, libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO_ECN)
}

/// Attaches as [`attach`] does; but reads give every packet as it goes over the wire, no longer than the device's MTU
/// and complete.
///
/// # Errors
/// As [`attach`].
pub fn attach_plain(name: &str) -> Result<Tun> {
    attach_for(name, 0)
}

fn attach_for(name: &str, offload: libc::c_uint) -> Result<Tun> {
    // TUNSETIFF would make a device where there is none.
    request(name).and_then(|mut request| index_of(name, &mut request))?;
    let tun = attach_free(name)?;
    // SAFETY: takes an int by value.
    unsafe { ioctl::set_offload(tun.file.as_raw_fd(), offload as libc::c_int) }
        .map_err(|e| failed("set the offloads of", name, e))?;
    await_carrier(name, tun.index)?;
    Ok(tun)
}

/// Waits until the kernel has taken notice that a device which is up has its carrier: that is another thread's work in
/// it (net/core/link_watch.c), and until then it drops what is sent to the device.
fn await_carrier(name: &str, index: u32) -> Result<()> {
    let mut lookup = Lookup::open()?;
    let deadline = Instant::now() + CARRIER_DEADLINE;
    let mut is_idle =
        || lookup.link_is_idle(index).map_err(|e| Error::io(format!("cannot read the state of {name}"), e));
    // A thread that is later still has other troubles; what is sent goes once it comes.
    while is_idle()? && Instant::now() < deadline {
        std::thread::sleep(BUSY_STEP);
    }
    Ok(())
}

/// Attaches as soon as nobody else is attached. Whoever made the device has closed it, but a program that was being
/// started meanwhile holds a copy of every descriptor until it runs.
fn attach_free(name: &str) -> Result<Tun> {
    let deadline = Instant::now() + BUSY_DEADLINE;
    loop {
        match attach_file(open()?, name) {
            Err(e) if e.errno() == Some(libc::EBUSY) && Instant::now() < deadline => std::thread::sleep(BUSY_STEP),
            attached => return attached,
        }
    }
}

fn open() -> Result<File> {
    let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE);
    open.map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            Error::new(Kind::Unsupported, format!("cannot open {DEVICE}"))
                .because(e)
                .hint("this kernel has no TUN devices; try `modprobe tun`")
        }
        Some(libc::EACCES | libc::EPERM) => {
            Error::new(Kind::Permission, format!("cannot open {DEVICE}")).because(e).hint("run as root")
        }
        _ => Error::io(format!("cannot open {DEVICE}"), e),
    })
}

fn attach_file(file: File, name: &str) -> Result<Tun> {
    let mut wanted = request(name)?;
    wanted.ifr_ifru.ifru_flags = FLAGS as libc::c_short;
    // SAFETY: the ioctl reads an ifreq.
    unsafe { ioctl::set_interface(file.as_raw_fd(), &wanted) }.map_err(|e| {
        let error = failed("attach to", name, e);
        match e {
            nix::Error::EBUSY => error.hint("another process serves it, or the index is taken"),
            nix::Error::EINVAL => error.hint("a device of that name exists and is no TUN of minik's kind"),
            _ => error,
        }
    })?;
    let index = index_of(name, &mut wanted)?;
    Ok(Tun { file, index })
}

/// Queue length 1000 and no MULTICAST, as the real device has it.
fn settle(name: &str) -> Result<()> {
    let socket = control(name)?;
    let fd = socket.as_raw_fd();
    let mut wanted = request(name)?;
    wanted.ifr_ifru.ifru_metric = QUEUE_LENGTH;
    // SAFETY: these ioctls read, and the second writes, the ifreq; the union's flags are set by the second.
    unsafe {
        ioctl::set_queue_length(fd, &wanted).map_err(|e| failed("set the queue length of", name, e))?;
        ioctl::get_flags(fd, &mut wanted).map_err(|e| failed("read the flags of", name, e))?;
        wanted.ifr_ifru.ifru_flags &= !(libc::IFF_MULTICAST as libc::c_short);
        ioctl::set_flags(fd, &wanted).map_err(|e| failed("set the flags of", name, e))?;
    }
    Ok(())
}

/// Replaces the queueing discipline by none at all (`qdisc noqueue`), which tunnels have.
fn without_queue(name: &str, index: u32) -> Result<()> {
    let mut message = TcMessage::with_index(index as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("noqueue".to_owned()));
    let mut batch = Batch::default();
    let doing = format!("remove the queue of {name}");
    batch.push(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE, doing);
    Rtnetlink::open()?.send(batch)
}

fn index_of(name: &str, wanted: &mut libc::ifreq) -> Result<u32> {
    let socket = control(name)?;
    // SAFETY: the ioctl reads the name in the ifreq and writes the index into it.
    unsafe {
        ioctl::get_index(socket.as_raw_fd(), wanted).map_err(|e| failed("find", name, e))?;
        Ok(wanted.ifr_ifru.ifru_ifindex as u32)
    }
}

/// Any socket of this namespace, for ioctls on interfaces.
fn control(name: &str) -> Result<std::net::UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map(std::net::UdpSocket::from)
        .map_err(|e| failed("open a socket for", name, e))
}

/// An ifreq about `name`.
fn request(name: &str) -> Result<libc::ifreq> {
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX {
        return Err(Error::new(Kind::Usage, format!("`{name}` cannot be the name of an interface")));
    }
    // SAFETY: an ifreq is plain data, valid when all bytes are zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn failed(doing: &str, name: &str, error: nix::Error) -> Error {
    let kind = if error == nix::Error::EPERM { Kind::Permission } else { Kind::Io };
    Error::new(kind, format!("cannot {doing} TUN device {name}")).because(std::io::Error::from(error))
}
