//! Reading what an argument for a topology or manifest names: a built-in one, a file, or the standard input.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::args::{Globals, Wanted};
use crate::error::{Error, Kind, Result};
use crate::topology::{self, Cluster, Overrides, SOURCE_BYTES_MAX, Source, builtin, examples};

/// The text behind such an argument: `-` is the standard input, a built-in's name the built-in, everything
/// else a file. A file of a built-in's name needs a path: `./calico-ipip`.
///
/// # Errors
/// `Usage` if there is neither a built-in nor a file of that name; otherwise if the file cannot be read, is
/// not text, or has no end.
pub fn read(argument: &str) -> Result<Source> {
    if argument == "-" {
        let bytes = bounded(io::stdin()).map_err(|e| Error::io("cannot read the standard input", e))?;
        return Source::from_bytes("<stdin>", small_enough("<stdin>", bytes)?);
    }
    if let Some(example) = examples::find(argument) {
        return Ok(example.source());
    }
    let builtin = builtin::find(argument);
    if let Ok(builtin) = builtin {
        return Ok(builtin.source());
    }
    match File::open(argument).and_then(bounded) {
        Ok(bytes) => Source::from_bytes(argument, small_enough(argument, bytes)?),
        Err(e) if e.kind() == ErrorKind::NotFound && !looks_like_path(argument) => builtin.map(|b| b.source()),
        Err(e) => Err(Error::new(Kind::Usage, format!("cannot read {argument}")).because(e)),
    }
}

/// The manifests behind an argument of `-f`: that of [`read`], or every one of a directory in the order of their names;
/// `recursive` is whether its directories count, too.
///
/// # Errors
/// As [`read`]; `Usage` if a directory has no manifest.
pub fn read_all(argument: &str, recursive: bool) -> Result<Vec<Source>> {
    if !Path::new(argument).is_dir() {
        return Ok(vec![read(argument)?]);
    }
    let mut found = Vec::new();
    manifests_in(Path::new(argument), recursive, &mut found)?;
    if found.is_empty() {
        let error = Error::new(Kind::Usage, format!("there is no manifest in the directory {argument}"));
        return Err(
            error.hint("files count whose names end with .json, .yaml or .yml; those of its directories with -R")
        );
    }
    let path = |path: &PathBuf| format!("{}", path.display());
    found.iter().map(|file| read_file(&path(file))).collect()
}

fn manifests_in(directory: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let cannot = |e| Error::new(Kind::Usage, format!("cannot read {}", directory.display())).because(e);
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(cannot)?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match path.is_dir() {
            true if recursive => manifests_in(&path, recursive, found)?,
            false if matches!(extension, Some("json" | "yaml" | "yml")) => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

fn read_file(path: &str) -> Result<Source> {
    let bytes = File::open(path).and_then(bounded);
    let bytes = bytes.map_err(|e| Error::new(Kind::Usage, format!("cannot read {path}")).because(e))?;
    Source::from_bytes(path, small_enough(path, bytes)?)
}

/// The cluster that the arguments of `up` and `plan` ask for, and the text that it is from.
///
/// # Errors
/// As [`read`]; if the topology is wrong.
pub fn wanted(wanted: &Wanted, globals: &Globals) -> Result<(Source, Cluster)> {
    let source = read(&wanted.topology)?;
    let overrides = Overrides {
        cluster_name: globals.cluster.clone(),
        cni: wanted.cni.clone(),
        proxy: wanted.proxy.clone(),
        iptables: wanted.iptables.clone(),
        ..Overrides::default()
    };
    let cluster = topology::parse(std::slice::from_ref(&source), &overrides)?;
    Ok((source, cluster))
}

/// What there is, up to one byte more than a topology may have: /dev/zero has no end.
fn bounded(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn small_enough(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() <= SOURCE_BYTES_MAX {
        return Ok(bytes);
    }
    let what = format!("{name} is no topology: it is longer than {} MiB", SOURCE_BYTES_MAX >> 20);
    Err(Error::new(Kind::Topology, what).hint("`minik show calico-ipip` prints an example"))
}

/// Whether the user means a file and no built-in, so that the error is about files.
fn looks_like_path(argument: &str) -> bool {
    argument.contains('/') || Path::new(argument).extension().is_some()
}
