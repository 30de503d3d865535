//! SCTP, tried by a socket of it.

use super::Outcome;
use crate::kernel::sctp;
use crate::plan::Family;

/// Makes one, in the calling thread's namespace.
pub(super) fn attempt() -> Outcome {
    match sctp::socket(Family::Inet) {
        Ok(Some(_)) => Ok(String::new()),
        Ok(None) => Err("this kernel does not know it".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
