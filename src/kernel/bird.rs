//! A running BIRD: where its files are, what it says on its control socket, and waiting for its routes.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lookup::Watch;
use super::{drift, netns, state};
use crate::error::{Error, Kind, Result};
use crate::plan::facts::Drift;
use crate::plan::{Bird, Family, Namespace, Plan, Route, facts};

/// How long BIRD may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest name of a file of a node's, so that a socket's path stays below the 108 bytes of sockaddr_un.
const NAME_MAX: usize = 24;

/// The files of one of a node's BIRDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Its configuration.
    pub config: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// What it says.
    pub log: PathBuf,
}

/// The files of the BIRD called `bird` of the `number`th namespace of a cluster, called `node`.
pub fn files(cluster: &str, bird: &str, number: usize, node: &str) -> Files {
    let name = if node.len() <= NAME_MAX { node.to_owned() } else { number.to_string() };
    let file = |extension: &str| state::dir(cluster).join(bird).join(format!("{name}.{extension}"));
    Files { config: file("conf"), socket: file("ctl"), log: file("log") }
}

/// Every BIRD of a plan with its namespace and files.
pub fn of_plan(plan: &Plan) -> impl Iterator<Item = (&Namespace, &Bird, Files)> {
    plan.namespaces.iter().enumerate().flat_map(move |(number, ns)| {
        let files = move |bird: &Bird| files(&plan.cluster, bird.name(), number, &ns.name);
        ns.birds.iter().map(move |bird| (ns, bird, files(bird)))
    })
}

/// A line of `birdc show protocols`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolLine {
    /// The protocol's name: `Mesh_10_1_10_10`.
    pub name: String,
    /// `up`, `start` or `down`.
    pub state: String,
    /// Since when: `23:30:04`, or a date.
    pub since: String,
    /// What it says of itself: `Established`, `Passive`, `Active        Socket: Connection refused`.
    pub info: String,
}

/// Asks a BIRD for its BGP sessions; none if there is no BIRD at this socket.
///
/// # Errors
/// If it answers what is no answer, or not at all.
pub fn sessions(files: &Files) -> Result<Option<Vec<ProtocolLine>>> {
    let cannot = |e: std::io::Error| Error::io(format!("cannot ask BIRD at {}", files.socket.display()), e);
    let mut stream = match UnixStream::connect(&files.socket) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        stream => stream.map_err(cannot)?,
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
    stream.write_all(b"show protocols\n").map_err(cannot)?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(cannot)?;
        // Four digits say of what kind a line is, a blank that it is of the kind before; `0000` is the end. The greeting
        // `0001` comes before it.
        match line.get(..4) {
            Some("0000") => return Ok(Some(lines)),
            Some(code) if code.starts_with(['8', '9']) => {
                return Err(Error::new(Kind::Tool, format!("BIRD at {} refused", files.socket.display())).because(line));
            }
            _ => lines.extend(protocol_line(&line)),
        }
    }
    Err(Error::new(Kind::Tool, format!("BIRD at {} ended before its answer did", files.socket.display())))
}

/// `1002-Mesh_10_1_10_10 BGP        ---        up     05:02:34      Established   `
fn protocol_line(line: &str) -> Option<ProtocolLine> {
    let line = line.strip_prefix("1002-").or_else(|| line.strip_prefix("1002 ")).or_else(|| line.strip_prefix(' '))?;
    let mut words = line.split_whitespace();
    let (name, kind, _table) = (words.next()?, words.next()?, words.next()?);
    let (state, since) = (words.next()?, words.next()?);
    let info = words.collect::<Vec<_>>().join(" ");
    (kind == "BGP").then(|| ProtocolLine {
        name: name.to_owned(),
        state: state.to_owned(),
        since: since.to_owned(),
        info,
    })
}

/// Waits until every BIRD of a plan has made the routes that the plan expects of it.
///
/// # Errors
/// `Check` with the routes that are missing after `deadline`; if a namespace cannot be read.
pub fn wait_for_routes(plan: &Plan, deadline: Instant) -> Result<()> {
    for (ns, bird, files) in of_plan(plan) {
        let handle = netns::open(&ns.netns)?;
        let watch = netns::inside(handle.file(), Watch::open_wide)??;
        loop {
            // Emptied before looking: what comes while we look wakes us again.
            watch.drain();
            let missing = missing(ns, bird)?;
            if missing.is_empty() {
                break;
            }
            if !wait(&watch, deadline)? {
                let error = Error::new(
                    Kind::Check,
                    format!("{} on {} has not made: {}", bird.name(), ns.name, missing.join("; ")),
                );
                return Err(error.hint(format!("see {}", files.log.display())));
            }
        }
    }
    Ok(())
}

/// The routes of one of a namespace's BIRDs that its kernel has not.
fn missing(ns: &Namespace, bird: &Bird) -> Result<Vec<String>> {
    let own = |route: &&Route| ns.is_daemons(route) && Family::of(&route.dst.addr()) == bird.family;
    let wanted: Vec<String> = ns.routes.iter().filter(own).map(facts::route_fact).collect();
    let lost = drift::of_routing(ns)?.into_iter().filter_map(|drift| match drift {
        Drift::Missing { fact, .. } => Some(fact),
        Drift::Extra { .. } => None,
    });
    Ok(lost.filter(|fact| wanted.contains(fact)).collect())
}

/// Waits for news; false if there are none until the deadline.
fn wait(watch: &Watch, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::io("cannot wait for routes", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_bgp_are_read_and_others_left_out() {
        let read = |line: &str| protocol_line(line).map(|line| (line.name, line.state, line.since, line.info));
        let words = |all: [&str; 4]| Some(all.map(str::to_owned).into());
        assert_eq!(
            read("1002-Mesh_1     BGP        ---        up     05:02:34      Established   "),
            words(["Mesh_1", "up", "05:02:34", "Established"])
        );
        assert_eq!(
            read(" Mesh_2     BGP        ---        start  05:02:34      Active        Socket: Connection refused"),
            words(["Mesh_2", "start", "05:02:34", "Active Socket: Connection refused"])
        );
        assert_eq!(read("2002-Name       Proto      Table      State  Since         Info"), None);
        assert_eq!(read("1002-kernel1    Kernel     master4    up     05:02:33      "), None);
        assert_eq!(read("0001 BIRD 2.0.12 ready."), None);
    }

    #[test]
    fn a_socket_s_path_is_never_too_long() {
        let long = files(&"c".repeat(63), "bird6", 9999, &"n".repeat(253)).socket;
        assert!(long.as_os_str().len() < 108, "{}", long.display());
    }
}
