//! The few calls on raw sockets for which neither pnet nor nix has a door.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};

/// Opens a socket in the calling thread's namespace; it is closed on exec.
///
/// # Errors
/// What socket(2) says.
pub fn open(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers, and the descriptor that it gives is owned by nobody else.
    unsafe {
        match libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Sets a socket option from a value of the type that the option takes.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_option<T: Copy>(socket: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as socklen_t,
        )
    };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a socket option into a value of the type that the option has.
///
/// # Errors
/// What getsockopt(2) says.
pub fn option<T: Copy>(socket: impl AsFd, level: c_int, name: c_int, mut value: T) -> io::Result<T> {
    let mut length = size_of::<T>() as socklen_t;
    // SAFETY: the pointer and the length describe `value`; the kernel writes no more than the length.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(&mut value).cast::<c_void>(),
            &mut length,
        )
    };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// One instruction of a classic BPF program (`man 7 socket`, SO_ATTACH_FILTER).
pub fn instruction(code: u32, jump_true: u8, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

/// Lets only those packets into the socket that `program` returns a length for, cut to that length.
///
/// # Errors
/// What setsockopt(2) says.
pub fn attach_filter(socket: impl AsFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
