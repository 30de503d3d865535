//! What a cluster leaves on the host beside its namespaces: its record, its lock and the files of its agent,
//! all under /run/minik/`<cluster>`.
//!
//! The record is written before the first namespace is made and removed after the last one is gone, so that a
//! build that was killed can be found and removed without its input file. It holds the input itself: cluster
//! and plan are computed from it again, which is quick, and always the same.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{etc, files, memory};
use crate::error::{Error, Kind, Result};
use crate::plan::Datapath;
use crate::topology::{Edit, Memory};

/// The directory of all records.
pub const ROOT: &str = "/run/minik";

/// The files of a record: as the cluster is, as it was before its last change, and what it is being made, while a change
/// is under way; a change that was killed is found by that.
const RECORD: &str = "state.json";
const BEFORE: &str = "before.json";
const ATTEMPT: &str = "attempt.json";

/// An input file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    /// File name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// How far a cluster's build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `up` is at work, or was killed.
    Building,
    /// Every packet path is in place.
    Ready,
    /// `down` is at work, or was killed.
    Removing,
}

/// The record of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The cluster's name.
    pub name: String,
    /// Version of the minik that made it.
    pub version: String,
    /// How far it has come.
    pub phase: Phase,
    /// The input files, whole.
    pub sources: Vec<SourceText>,
    /// `--cni` of the command line.
    pub cni: Option<String>,
    /// `--proxy` of the command line.
    #[serde(default)]
    pub proxy: Option<String>,
    /// `--iptables` of the command line.
    #[serde(default)]
    pub iptables: Option<String>,
    /// Who carries the tunnels' packets.
    pub datapath: Datapath,
    /// Whether the kernel has netem; none as long as no line needed it.
    #[serde(default)]
    pub netem: Option<bool>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When objects were made that came later, by kind, namespace and name (`Service default/web`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub born: BTreeMap<String, u64>,
    /// Whether the agent puts back what the daemons of a real node would.
    #[serde(default = "yes")]
    pub heal: bool,
    /// How many times faster than real daemons it does so: for tests.
    #[serde(default = "once")]
    pub heal_speed: u32,
    /// What was changed since it was made, in order.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// What it had handed out before the last change.
    #[serde(default)]
    pub memory: Memory,
}

fn yes() -> bool {
    true
}

fn once() -> u32 {
    1
}

/// The directory of a cluster's files.
pub fn dir(cluster: &str) -> PathBuf {
    PathBuf::from(ROOT).join(cluster)
}

/// The names of all clusters that have a directory, sorted, broken ones included.
///
/// # Errors
/// If the directory of records is there and cannot be read.
pub fn list() -> Result<Vec<String>> {
    let entries = match fs::read_dir(ROOT) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| unreadable(ROOT, e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| unreadable(ROOT, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

fn unreadable(path: &str, e: std::io::Error) -> Error {
    let denied = e.kind() == ErrorKind::PermissionDenied;
    let error = Error::new(if denied { Kind::Permission } else { Kind::Io }, format!("cannot read {path}")).because(e);
    if denied { error.hint("minik's clusters belong to root; try it with sudo") } else { error }
}

/// The record of a cluster; none if there is no cluster of that name, or its record was never finished.
///
/// # Errors
/// If the record cannot be read or is not one.
pub fn load(cluster: &str) -> Result<Option<Record>> {
    read(cluster, RECORD)
}

/// The record of a cluster before its last change; none if it was never changed.
///
/// # Errors
/// If the record cannot be read or is not one.
pub fn before(cluster: &str) -> Result<Option<Record>> {
    read(cluster, BEFORE)
}

/// The record that a cluster was being given by a change which did not come to its end; none if there is no such change.
///
/// # Errors
/// If the record cannot be read or is not one.
pub fn attempt(cluster: &str) -> Result<Option<Record>> {
    read(cluster, ATTEMPT)
}

fn read(cluster: &str, file: &str) -> Result<Option<Record>> {
    let path = dir(cluster).join(file);
    let text = match fs::read(&path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        text => text.map_err(|e| unreadable(&path.display().to_string(), e))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        Error::new(Kind::Io, format!("{} is not a cluster's record", path.display()))
            .because(e)
            .hint(format!("remove what is left of it with `minik down -c {cluster}`"))
    })
}

/// A file's identity and age.
pub type Stamp = (u64, i64, i64);

/// That of a cluster's record, which is another one for each record that is written; none if there is no record.
///
/// # Errors
/// If the file cannot be looked at.
pub fn stamp(cluster: &str) -> Result<Option<Stamp>> {
    let path = dir(cluster).join(RECORD);
    match path.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("cannot look at {}", path.display()), e)),
        Ok(file) => Ok(Some((file.ino(), file.mtime(), file.mtime_nsec()))),
    }
}

/// Writes a cluster's record, whole or not at all.
///
/// # Errors
/// If a file cannot be written.
pub fn store(record: &Record) -> Result<()> {
    write(record, RECORD)
}

/// Writes what a cluster is about to be made, for [`attempt`], until one of [`succeed`] and [`give_up`].
///
/// # Errors
/// If a file cannot be written.
pub fn try_out(record: &Record) -> Result<()> {
    write(record, ATTEMPT)
}

/// What a change was to make of a cluster has become its record; the one before is kept for [`before`].
///
/// # Errors
/// If a file cannot be renamed; the record is then the one before, and the attempt is still there.
pub fn succeed(cluster: &str) -> Result<()> {
    let dir = dir(cluster);
    let (record, kept) = (dir.join(RECORD), dir.join("before.new"));
    // One that was killed here has left it.
    gone(&kept)?;
    let cannot = |e| Error::io(format!("cannot keep the record of cluster {cluster}"), e);
    fs::hard_link(&record, &kept).and_then(|()| fs::rename(&kept, dir.join(BEFORE))).map_err(cannot)?;
    fs::rename(dir.join(ATTEMPT), &record).map_err(cannot)
}

/// A change was taken back, or there was none.
///
/// # Errors
/// If a file cannot be removed.
pub fn give_up(cluster: &str) -> Result<()> {
    gone(&dir(cluster).join(ATTEMPT))
}

fn gone(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(format!("cannot remove {}", path.display()), e)),
        _ => Ok(()),
    }
}

fn write(record: &Record, file: &str) -> Result<()> {
    let path = dir(&record.name).join(file);
    let text = serde_json::to_string(record)
        .map_err(|e| Error::new(Kind::Io, "cannot write a cluster's record").because(e))?;
    write_whole(&path, text.as_bytes())
}

/// Writes `bytes` to a file beside `path` and renames it, so that a reader sees the old or the new file.
///
/// # Errors
/// If the directory cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|e| Error::io(format!("cannot write {}", path.display()), e))
}

/// The right to change one cluster, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// Nobody heals in the meantime.
    _healing: Option<File>,
}

/// The right to heal one cluster, which nobody has while a [`Lock`] is held.
#[derive(Debug)]
pub struct Healing {
    file: File,
}

/// How long a command waits for another one that is at work on its cluster.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How long a command waits until a healing that has begun is done.
const HEALING_PATIENCE: Duration = Duration::from_secs(5);

fn healing_path(cluster: &str) -> PathBuf {
    dir(cluster).join("healing")
}

/// Takes the right to heal a cluster; none if a command is changing it, or it is gone.
///
/// # Errors
/// If the lock file cannot be made.
pub fn try_lock_healing(cluster: &str) -> Result<Option<Healing>> {
    let path = healing_path(cluster);
    let cannot = |e: std::io::Error| unreadable(&path.display().to_string(), e);
    let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(cannot)?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Healing { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}

/// Waits until nobody heals. An agent that hangs in the middle of it (stopped by a signal, say) is not waited for longer:
/// it changes nothing either.
fn end_of_healing(cluster: &str) -> Result<Option<File>> {
    let deadline = Instant::now() + HEALING_PATIENCE;
    loop {
        match try_lock_healing(cluster)? {
            Some(healing) => return Ok(Some(healing.file)),
            None if Instant::now() > deadline => return Ok(None),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Takes the right to change a cluster as soon as no other process has it.
///
/// # Errors
/// `Conflict` if another minik is still at work on it after half a minute; as [`try_lock`].
pub fn lock(cluster: &str) -> Result<Lock> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = try_lock(cluster)? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            let what = format!("another minik has been at work on cluster `{cluster}` for {LOCK_PATIENCE:?}");
            return Err(Error::new(Kind::Conflict, what).hint("end it, then try again"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes the right to change a cluster, making its directory if there is none; none if another process has it.
///
/// # Errors
/// If the directory or the lock file cannot be made, for want of privilege for instance.
pub fn try_lock(cluster: &str) -> Result<Option<Lock>> {
    let dir = dir(cluster);
    let path = dir.join("lock");
    let cannot = |e: std::io::Error| unreadable(&path.display().to_string(), e);
    loop {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(cannot)?;
        let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            // `down` removed the directory between our two steps.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            file => file.map_err(cannot)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
        // A `down` that held the lock may have removed the file that we opened: then it guards nothing.
        let ours = file.metadata().map_err(cannot)?;
        if fs::metadata(&path).is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev()) {
            return Ok(Some(Lock { _file: file, _healing: end_of_healing(cluster)? }));
        }
    }
}

/// Removes a cluster's directory. The caller holds its lock, which ends with the file.
///
/// # Errors
/// If a file in it cannot be removed.
pub fn remove(cluster: &str) -> Result<()> {
    let dir = dir(cluster);
    memory::release(&etc::directory(cluster)).and_then(|()| memory::release(&files::all(cluster)))?;
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(format!("cannot remove {}", dir.display()), e)),
        _ => Ok(()),
    }
}
