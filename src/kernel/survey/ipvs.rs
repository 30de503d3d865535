//! IPVS: a virtual server with the scheduler `rr` is really made.

use super::Outcome;
use super::catalogue::Ip;
use crate::kernel::ipvs;

/// Makes a virtual server in the calling thread's namespace. Asking for the family loads the module since Linux 5.16;
/// before that somebody must have loaded it.
pub(super) fn attempt(ip: Ip) -> Outcome {
    ipvs::attempt("rr", ip == Ip::V6).map(|()| String::new()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => "this kernel does not know it".to_owned(),
        Some(libc::EAFNOSUPPORT) => "this kernel's IPVS does not know IPv6".to_owned(),
        _ => error.to_string(),
    })
}
