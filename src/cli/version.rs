//! `minik version`.

use std::process::ExitCode;

use serde_json::json;

use super::args::Globals;
use super::print;
use crate::error::Result;
use crate::topology::Mode;

/// Prints minik's version, and with `-o json` or `yaml` also the modes that it knows.
///
/// # Errors
/// If it cannot be written.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let object = json!({ "version": version, "modes": Mode::ALL });
    let text = print::as_data(&object, globals.output)?.unwrap_or_else(|| format!("minik {version}\n"));
    print::text(&text).map(|()| ExitCode::SUCCESS)
}
