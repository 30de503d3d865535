//! `minik topologies`, `minik show`, `minik schema`: the input language and its examples.

use std::process::ExitCode;

use serde_json::json;

use super::args::{Globals, ShowArgs, TopologiesArgs};
use super::print::{self, Listing, Row, column};
use crate::error::Result;
use crate::topology::{self, builtin, examples};

/// Lists the built-in topologies, or the manifests.
///
/// # Errors
/// If the list cannot be written.
pub fn list(args: &TopologiesArgs, globals: &Globals) -> Result<ExitCode> {
    if args.manifests {
        let rows = examples::ALL.iter().map(|example| Row {
            namespace: None,
            name: example.name.to_owned(),
            cells: vec![example.name.to_owned(), example.description.to_owned()],
            object: json!({ "name": example.name, "file": example.file, "description": example.description }),
        });
        let columns = vec![column("NAME"), column("DESCRIPTION")];
        let listing = Listing { kind: "manifest", columns, rows: rows.collect(), like_calicoctl: false };
        return print::text(&listing.render(globals.output, false, false)?).map(|()| ExitCode::SUCCESS);
    }
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

/// Prints the file of a built-in topology or manifest.
///
/// # Errors
/// If there is none of that name.
pub fn show(args: &ShowArgs) -> Result<ExitCode> {
    let text = match examples::find(&args.name) {
        Some(example) => example.text,
        None => builtin::find(&args.name)?.text,
    };
    print::text(text).map(|()| ExitCode::SUCCESS)
}

/// Prints the JSON Schema of topology files.
///
/// # Errors
/// If it cannot be written.
pub fn schema() -> Result<ExitCode> {
    print::text(&print::to_json(&topology::schema())?).map(|()| ExitCode::SUCCESS)
}
