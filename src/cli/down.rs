//! `minik down`.

use std::process::ExitCode;

use super::args::{DownArgs, Globals};
use crate::error::{Error, Kind, Result};

/// Runs `minik down`.
///
/// # Errors
/// Always: the kernel's part of this command is on another branch, whose file replaces this one.
pub fn run(_args: &DownArgs, _globals: &Globals) -> Result<ExitCode> {
    Err(Error::new(Kind::Unsupported, "this build of minik has no `down`"))
}
