//! Sockets of SCTP, which neither the standard library nor nix makes. Not every kernel has them.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::plan::Family;

/// A socket for associations, one each (RFC 6458, 3), in the calling thread's namespace, that does not block and is closed
/// on exec; none if this kernel knows no SCTP. The kernel loads its module, if it is one, as it does for whoever asks
/// first.
///
/// # Errors
/// What else socket(2) says.
pub fn socket(family: Family) -> io::Result<Option<OwnedFd>> {
    let domain = match family {
        Family::Inet => libc::AF_INET,
        Family::Inet6 => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers, and the descriptor that it gives is owned by nobody else.
    let made = unsafe {
        match libc::socket(domain, kind, libc::IPPROTO_SCTP) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    };
    match made {
        Ok(socket) => Ok(Some(socket)),
        Err(e) if is_unknown(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether an error says that the kernel knows no SCTP.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT))
}
