//! The files that nodes have of their own: kept under /run/minik/`<cluster>`/files/`<namespace>`, and shown at their
//! paths to programs that minik runs there.
//!
//! A node's `/run/flannel` is a mount in the program's own mount namespace, over the machine's directory of that name.
//! Where the machine has none, nothing can be mounted there and nothing may be made there either; then the directory
//! above (`/run`) is covered with an empty one, in which everything that the machine has is mounted again, one by one,
//! and what the node has beside it. Of all this the machine sees nothing.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::{memory, state};
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{File, Namespace, Plan, facts};

/// Where the files of a namespace are kept; their paths continue from there.
pub fn directory(cluster: &str, netns: &str) -> PathBuf {
    let what = netns.strip_prefix(&names::netns_prefix(cluster)).unwrap_or(netns);
    all(cluster).join(what)
}

/// The directory of all these files of a cluster.
pub(super) fn all(cluster: &str) -> PathBuf {
    state::dir(cluster).join("files")
}

/// Writes the files of every namespace in the plan.
///
/// # Errors
/// If one cannot be written, or its path is none that a node can have as its own.
pub fn write(plan: &Plan) -> Result<()> {
    if plan.namespaces.iter().any(|namespace| !namespace.files.is_empty()) {
        memory::make(&all(&plan.cluster))?;
    }
    for namespace in &plan.namespaces {
        let root = directory(&plan.cluster, &namespace.netns);
        namespace.files.iter().try_for_each(|file| write_one(&root, file).map_err(|e| e.within(&namespace.name)))?;
    }
    Ok(())
}

/// Writes one file below `root`, with the directories on its way.
///
/// # Errors
/// As [`write()`].
pub fn write_one(root: &Path, file: &File) -> Result<()> {
    if file.place().is_none() {
        let what = format!("{} cannot be a file of a node", file.path);
        return Err(Error::new(Kind::Usage, what).hint("it must be below /run, /etc, /var/lib or the like"));
    }
    let path = kept(root, file);
    let cannot = |e| Error::io(format!("cannot write {}", path.display()), e);
    let parent = path.parent().unwrap_or(root);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(cannot)?;
    let mut options = OpenOptions::new();
    let mut open = options.write(true).create(true).truncate(true).mode(file.mode).open(&path).map_err(cannot)?;
    open.write_all(file.content.as_bytes()).map_err(cannot)?;
    // The mode given above is cut by the umask, and is none for a file that was there.
    open.set_permissions(fs::Permissions::from_mode(file.mode)).map_err(cannot)
}

/// Removes one file below `root`, and the directories on its way that are empty then.
///
/// # Errors
/// If it is there and cannot be removed.
pub fn remove_one(root: &Path, file: &File) -> Result<()> {
    let path = kept(root, file);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(format!("cannot remove {}", path.display()), e));
        }
        _ => {}
    }
    let above = path.ancestors().skip(1).take_while(|above| above.starts_with(root));
    // The first that is not empty ends it.
    for above in above {
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
    Ok(())
}

/// Removes all files of a namespace.
///
/// # Errors
/// If there are some and they cannot be removed.
pub fn remove_all(cluster: &str, netns: &str) -> Result<()> {
    let root = directory(cluster, netns);
    match fs::remove_dir_all(&root) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", root.display()), e))
        }
        _ => Ok(()),
    }
}

/// The facts of the planned files of a namespace as they are now; one that is not there has none.
///
/// # Errors
/// If one is there and cannot be read.
pub fn facts(cluster: &str, namespace: &Namespace) -> Result<BTreeSet<String>> {
    let root = directory(cluster, &namespace.netns);
    let mut facts = BTreeSet::new();
    for file in &namespace.files {
        let path = kept(&root, file);
        let cannot = |e| Error::io(format!("cannot read {}", path.display()), e);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            bytes => bytes.map_err(cannot)?,
        };
        let mode = fs::metadata(&path).map_err(cannot)?.permissions().mode() & 0o7777;
        let content = String::from_utf8_lossy(&bytes).into_owned();
        facts.insert(facts::file_fact(&File { path: file.path.clone(), mode, content }));
    }
    Ok(facts)
}

fn kept(root: &Path, file: &File) -> PathBuf {
    root.join(file.path.trim_start_matches('/'))
}

/// Shows what is kept below `root` at its place, to the calling thread, which has a mount namespace of its own.
///
/// # Errors
/// If the kernel refuses a mount, or the machine has not even the directory above.
pub fn show(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    for name in children(root)? {
        // What a node has of its own is one step further down: see `File::place`.
        if name == "var" {
            for below in children(&root.join("var"))? {
                show_in(&Path::new("/var").join(&below), &root.join("var").join(&below))?;
            }
        } else {
            show_in(&Path::new("/").join(&name), &root.join(&name))?;
        }
    }
    Ok(())
}

/// Mounts everything in `own` over what has its name in `system`.
fn show_in(system: &Path, own: &Path) -> Result<()> {
    let names = children(own)?;
    if names.iter().any(|name| !system.join(name).exists()) {
        cover(system, own)?;
    }
    names.iter().try_for_each(|name| bind(&own.join(name), &system.join(name)))
}

/// Covers a directory of the machine with one that has the same in it, and an empty place for all that is in `own`.
fn cover(system: &Path, own: &Path) -> Result<()> {
    let failed = |what: &str, e: std::io::Error| Error::io(format!("cannot {what} {}", system.display()), e);
    let below = open(system, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| failed("open", e.into()))?;
    // The directory as it is now can be reached by this name after it is covered.
    let before = PathBuf::from(format!("/proc/thread-self/fd/{}", below.as_raw_fd()));
    let mode = fs::metadata(system).map_err(|e| failed("look at", e))?.permissions().mode() & 0o7777;
    // `own` may be in what is about to be covered.
    let mine = children(own)?.into_iter().map(|name| (own.join(&name).is_dir(), name)).collect::<Vec<_>>();
    let options = format!("mode={mode:o}");
    mount(Some("minik"), system, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| failed("cover", e.into()))?;
    let theirs = fs::read_dir(&before).map_err(|e| failed("read", e))?;
    for entry in theirs {
        let entry = entry.map_err(|e| failed("read", e))?;
        let (from, to) = (entry.path(), system.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| failed("read", e))?;
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(|e| failed("read a link in", e))?;
            symlink(target, &to).map_err(|e| failed("fill", e))?;
            continue;
        }
        make_place(&to, kind.is_dir()).map_err(|e| failed("fill", e))?;
        match bind(&from, &to) {
            // It went away since it was read.
            Err(e) if e.errno() == Some(libc::ENOENT) => {}
            bound => bound?,
        }
    }
    for (is_directory, name) in mine {
        let place = system.join(name);
        if !place.exists() {
            make_place(&place, is_directory).map_err(|e| failed("fill", e))?;
        }
    }
    Ok(())
}

/// An empty file or directory for something to be mounted over.
fn make_place(path: &Path, is_directory: bool) -> std::io::Result<()> {
    if is_directory { fs::create_dir(path) } else { fs::write(path, "") }
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(|e| {
        Error::new(Kind::Io, format!("cannot mount {} over {}", from.display(), to.display()))
            .because(std::io::Error::from(e))
    })
}

fn children(directory: &Path) -> Result<Vec<std::ffi::OsString>> {
    let cannot = |e| Error::io(format!("cannot read {}", directory.display()), e);
    let entries = fs::read_dir(directory).map_err(cannot)?;
    entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(cannot)).collect()
}
