//! How things are printed: errors, tables as kubectl has them, JSON and YAML.

use std::io::Write;

use crate::error::Error;

/// Prints an error on stderr.
pub fn error(error: &Error) {
    let red = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {error}");
}
