//! How things are printed: errors, tables as kubectl has them, JSON and YAML.

use std::io::Write;

use crate::error::{Error, Result};

/// Prints an error on stderr.
pub fn error(error: &Error) {
    let red = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {error}");
}

/// Prints data on stdout.
///
/// # Errors
/// If stdout cannot be written.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|e| Error::io("cannot write the output", e))
}

/// Prints a line for the user on stderr.
///
/// # Errors
/// If stderr cannot be written.
pub fn note(line: &str) -> Result<()> {
    writeln!(anstream::stderr(), "{line}").map_err(|e| Error::io("cannot write to stderr", e))
}
