//! `minik logs`: what a container's program wrote.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::AsFd;

use super::args::Globals;
use super::inside_args::LogsArgs;
use super::session::{self, Session};
use super::{orders, print, target};
use crate::error::{Error, Kind, Result};
use crate::topology::{Container, Pod};

/// Prints a container's log.
///
/// # Errors
/// If there is no such pod or container.
pub fn run(args: &LogsArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let pod = find_pod(&session, globals, &args.pod)?;
    let container = find_container(pod, args.container.as_deref())?;
    let path = orders::log_path(&session.record.name, pod, &container.name);
    let Some(mut file) = open(&path)? else {
        print::note(&format!(
            "container {} of pod {} has no program that could write anything",
            container.name, pod.name
        ))?;
        return Ok(ExitCode::SUCCESS);
    };
    // The watch is set before the file is read, so that nothing written in between is missed.
    let watch = args.follow.then(|| watch(&path)).transpose()?;
    let mut text = rest(&mut file, &path)?;
    if let Some(lines) = args.tail {
        text.drain(..start_of_last(&text, lines));
    }
    print::text(&String::from_utf8_lossy(&text))?;
    if let Some(watch) = watch {
        follow(&watch, &mut file, &path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn find_pod<'a>(session: &'a Session, globals: &Globals, name: &str) -> Result<&'a Pod> {
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, name)?;
    let pod = session.cluster.pods.iter().find(|pod| pod.key() == ns.name);
    pod.ok_or_else(|| Error::new(Kind::Usage, format!("{} is no pod, and only pods have logs", ns.name)))
}

fn find_container<'a>(pod: &'a Pod, name: Option<&str>) -> Result<&'a Container> {
    let found = match name {
        None => pod.containers.first(),
        Some(name) => pod.containers.iter().find(|container| container.name == name),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let missing = format!("pod {} has no container `{}`", pod.name, name.unwrap_or_default());
        Error::new(Kind::Usage, missing).hint(format!("it has: {}", names.join(", ")))
    })
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some).map_err(|e| Error::io(format!("cannot open {}", path.display()), e)),
    }
}

fn rest(file: &mut File, path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
    Ok(text)
}

/// Where the last `lines` lines of a text begin.
fn start_of_last(text: &[u8], lines: usize) -> usize {
    let end = text.len() - usize::from(text.ends_with(b"\n"));
    let mut ends = text[..end].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => text.len(),
        lines => ends.nth(lines - 1).unwrap_or(0),
    }
}

fn watch(path: &Path) -> Result<Inotify> {
    let cannot = |e: nix::Error| Error::io(format!("cannot watch {}", path.display()), e);
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(cannot)?;
    let flags = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ATTRIB;
    inotify.add_watch(path, flags).map_err(cannot)?;
    Ok(inotify)
}

/// Prints what is appended until the file is removed, which `minik down` does, or nobody reads any more.
fn follow(watch: &Inotify, file: &mut File, path: &Path) -> Result<()> {
    let cannot = |e: nix::Error| Error::io(format!("cannot watch {}", path.display()), e);
    while path.exists() {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(e) => return Err(cannot(e)),
        }
        match watch.read_events() {
            Ok(_) | Err(nix::Error::EAGAIN) => {}
            Err(e) => return Err(cannot(e)),
        }
        restart_if_truncated(file, path)?;
        if !print::offer(&String::from_utf8_lossy(&rest(file, path)?))? {
            break;
        }
    }
    Ok(())
}

/// Begins again at the start of a file that became shorter than what was read of it.
fn restart_if_truncated(file: &mut File, path: &Path) -> Result<()> {
    let cannot = |e| Error::io(format!("cannot read {}", path.display()), e);
    let at = file.stream_position().map_err(cannot)?;
    if file.metadata().map_err(cannot)?.len() < at {
        file.seek(SeekFrom::Start(0)).map_err(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::start_of_last;

    #[test]
    fn the_last_lines_are_found() {
        let cases: [(&[u8], usize, &[u8]); 7] = [
            (b"a\nb\nc\n", 1, b"c\n"),
            (b"a\nb\nc", 1, b"c"),
            (b"a\nb\nc\n", 2, b"b\nc\n"),
            (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
            (b"a\nb\nc\n", 0, b""),
            (b"", 3, b""),
            (b"\n\n", 1, b"\n"),
        ];
        for (text, lines, last) in cases {
            assert_eq!(&text[start_of_last(text, lines)..], last, "{text:?} {lines}");
        }
    }
}
