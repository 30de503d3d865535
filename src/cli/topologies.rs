//! `minik topologies`, `minik show`, `minik schema`: the input language and its examples.

use std::process::ExitCode;

use serde_json::json;

use super::args::{Globals, ShowArgs};
use super::print::{self, Listing, Row, column};
use crate::error::Result;
use crate::topology::{self, builtin};

/// Lists the built-in topologies.
///
/// # Errors
/// If the list cannot be written.
pub fn list(globals: &Globals) -> Result<ExitCode> {
    let rows = builtin::ALL.iter().map(|builtin| Row {
        namespace: None,
        name: builtin.name.to_owned(),
        cells: vec![builtin.name.to_owned(), builtin.mode.to_string(), builtin.description.to_owned()],
        object: json!({ "name": builtin.name, "mode": builtin.mode, "description": builtin.description }),
    });
    let columns = vec![column("NAME"), column("MODE"), column("DESCRIPTION")];
    let listing = Listing { kind: "topology", columns, rows: rows.collect(), like_calicoctl: false };
    print::text(&listing.render(globals.output, false, false)?).map(|()| ExitCode::SUCCESS)
}

/// Prints the file of a built-in topology.
///
/// # Errors
/// If there is none of that name.
pub fn show(args: &ShowArgs) -> Result<ExitCode> {
    print::text(builtin::find(&args.name)?.text).map(|()| ExitCode::SUCCESS)
}

/// Prints the JSON Schema of topology files.
///
/// # Errors
/// If it cannot be written.
pub fn schema() -> Result<ExitCode> {
    print::text(&print::to_json(&topology::schema())?).map(|()| ExitCode::SUCCESS)
}
