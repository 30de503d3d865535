//! Reading what a topology argument names: a built-in topology, a file, or the standard input.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::topology::{Source, builtin};

/// The text behind a topology argument: `-` is the standard input, a built-in's name the built-in, everything
/// else a file. A file of a built-in's name needs a path: `./calico-ipip`.
///
/// # Errors
/// `Usage` if there is neither a built-in nor a file of that name; otherwise if the file cannot be read or is
/// not text.
pub fn read(argument: &str) -> Result<Source> {
    if argument == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|e| Error::io("cannot read the standard input", e))?;
        return Source::from_bytes("<stdin>", bytes);
    }
    let builtin = builtin::find(argument);
    if let Ok(builtin) = builtin {
        return Ok(builtin.source());
    }
    match fs::read(argument) {
        Ok(bytes) => Source::from_bytes(argument, bytes),
        Err(e) if e.kind() == ErrorKind::NotFound && !looks_like_path(argument) => builtin.map(|b| b.source()),
        Err(e) => Err(Error::new(Kind::Usage, format!("cannot read {argument}")).because(e)),
    }
}

/// Whether the user means a file and no built-in, so that the error is about files.
fn looks_like_path(argument: &str) -> bool {
    argument.contains('/') || Path::new(argument).extension().is_some()
}
