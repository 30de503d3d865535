//! `minik verify`: the proof by real packets.

use std::fs;
use std::process::ExitCode;

use super::args::{Globals, Output, VerifyArgs};
use super::{print, session};
use crate::error::{Error, Result};
use crate::kernel::{features, process};
use crate::verify::{self, Options};

/// The exit codes of a run with failed, and of one with skipped checks.
const FAILED: u8 = 1;
const SKIPPED: u8 = 3;

/// Runs every check on a live cluster and prints the report.
///
/// # Errors
/// If there is no such cluster, or a check cannot be carried out.
pub fn run(args: &VerifyArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(args.name.as_deref().unwrap_or(globals.cluster_name()))?;
    features::require_root()?;
    process::raise_file_limit()?;
    let report = verify::run(&session.plan, &Options::default())?;
    if let Some(path) = &args.junit {
        fs::write(path, report.junit()?).map_err(|e| Error::io(format!("cannot write {}", path.display()), e))?;
    }
    let text = match globals.output {
        Output::Json => report.json()? + "\n",
        Output::Yaml => print::to_yaml(&report)?,
        Output::Table | Output::Wide | Output::Name => report.text(),
    };
    print::text(&text)?;
    Ok(match (report.passed(), report.summary.skipped) {
        (false, _) => ExitCode::from(FAILED),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(SKIPPED),
    })
}
