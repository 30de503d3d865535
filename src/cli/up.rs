//! `minik up`.

use std::process::ExitCode;

use super::args::{UpArgs, Globals};
use crate::error::{Error, Kind, Result};

/// Runs `minik up`.
///
/// # Errors
/// Always: the kernel's part of this command is on another branch, whose file replaces this one.
pub fn run(_args: &UpArgs, _globals: &Globals) -> Result<ExitCode> {
    Err(Error::new(Kind::Unsupported, "this build of minik has no `up`"))
}
