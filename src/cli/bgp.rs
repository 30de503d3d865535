//! `minik bgp status`: the nodes' BGP sessions, as `calicoctl node status` prints them on each (calicoctl v3.18,
//! commands/node/status.go).

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::args::Globals;
use super::print;
use super::session::{self, Session};
use super::target;
use crate::agent;
use crate::cni::{self, BgpSession};
use crate::error::{Error, Kind, Result};
use crate::kernel::{bird, netns};
use crate::plan::{Family, Namespace, Role};
use crate::probe::pair::{self, Answer, Question};
use crate::topology::{Addressing, Mode, Node};

/// The arguments of `bgp`.
#[derive(Debug, Args)]
pub struct BgpArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BgpCommand,
}

/// The commands of `bgp`.
#[derive(Debug, Subcommand)]
pub enum BgpCommand {
    /// The sessions of a node, or of all, as `calicoctl node status` prints them.
    Status {
        /// The node; all of them without it.
        #[arg(value_name = "NODE")]
        node: Option<String>,
    },
}

/// BGP's TCP port.
const PORT: u16 = 179;
/// How long a session's TCP connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where calicoctl's table breaks a cell, in characters.
const CELL_MAX: usize = 30;
/// From this age on BIRD prints a date instead of a time, in seconds.
const SHORT_TIME: u64 = 20 * 3600;

/// A session as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    peer_address: String,
    peer_type: &'static str,
    state: String,
    since: String,
    info: String,
}

/// Runs `minik bgp`.
///
/// # Errors
/// If there is no such cluster or node, or its mode has nothing to do with BGP.
pub fn run(args: &BgpArgs, globals: &Globals) -> Result<ExitCode> {
    let BgpCommand::Status { node } = &args.command;
    let session = session::open(globals.cluster_name())?;
    let mode = session.cluster.network.mode;
    if mode.addressing() != Addressing::Pools && mode != Mode::Canal {
        let what = format!("the mode {mode} has no Calico, whose BGP sessions could be shown");
        return Err(Error::new(Kind::Usage, what).hint("calico-bgp and calico-ipip have BGP"));
    }
    let nodes = chosen(&session, globals, node.as_deref())?;
    let mut seen = Vec::new();
    for ns in &nodes {
        seen.push((ns.name.as_str(), of_node(&session, ns, Family::Inet)?, of_node(&session, ns, Family::Inet6)?));
    }
    let object: Vec<_> = seen
        .iter()
        .map(|(node, four, six)| json!({ "node": node, "running": four.is_some(), "ipv4": four, "ipv6": six }))
        .collect();
    let text = match print::as_data(&object, globals.output)? {
        Some(data) => data,
        None => {
            let several = nodes.len() > 1;
            let both = |four: &Option<Vec<Seen>>, six: &Option<Vec<Seen>>| Some([four.clone()?, six.clone()?]);
            seen.iter().map(|(node, four, six)| report(node, both(four, six).as_ref(), several)).collect()
        }
    };
    print::text(&text)?;
    let is_real = nodes.iter().any(|ns| !ns.birds.is_empty());
    let has_bgp = seen.iter().any(|(_, sessions, _)| sessions.is_some());
    if has_bgp && !is_real {
        print::note(
            "note: minik programs BIRD's routes itself; a session is up here if TCP passes to the peer's port 179. \
             `network: {routing: bird}` runs the real BIRD",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen<'s>(session: &'s Session, globals: &Globals, name: Option<&str>) -> Result<Vec<&'s Namespace>> {
    let Some(name) = name else { return Ok(session.plan.nodes().collect()) };
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, name)?;
    if ns.role == Role::Node { Ok(vec![ns]) } else { Err(Error::new(Kind::Usage, format!("{name} is no node"))) }
}

/// The sessions of a node in one family; none if no BGP daemon runs, or is meant to run, there.
fn of_node(session: &Session, ns: &Namespace, family: Family) -> Result<Option<Vec<Seen>>> {
    let find = |name: &str| session.cluster.nodes.iter().find(|node| node.name == name);
    let Some(node) = find(&ns.name) else { return Ok(None) };
    let Some(sessions) = cni::bgp_sessions(&session.cluster, node, family) else { return Ok(None) };
    let mut real = bird::of_plan(&session.plan).filter(|(own, ..)| own.name == ns.name).peekable();
    if real.peek().is_some() {
        let Some((.., files)) = real.find(|(_, bird, _)| bird.family == family) else { return Ok(Some(Vec::new())) };
        let lines = bird::sessions(&files)?;
        return Ok(lines.map(|lines| lines.into_iter().map(|line| live(line, family)).collect()));
    }
    sessions.iter().map(|one| probed(session, node, one, family)).collect::<Result<_>>().map(Some)
}

/// What BIRD says: its protocol `Mesh_10_1_10_10` is the session with 10.1.10.10, and `Mesh_fd00_10_1_10__10` that with
/// fd00:10:1:10::10.
fn live(line: bird::ProtocolLine, family: Family) -> Seen {
    let separator = if family == Family::Inet6 { ":" } else { "." };
    let address = line.name.strip_prefix("Mesh_").unwrap_or(&line.name).replace('_', separator);
    let bird::ProtocolLine { state, since, info, .. } = line;
    Seen { peer_address: address, peer_type: "node-to-node mesh", state, since, info }
}

/// Without a BIRD: whether the side that would connect can. A listener stands in for the other side's BIRD meanwhile, so
/// that a refusal is a firewall's.
fn probed(session: &Session, node: &Node, one: &BgpSession, family: Family) -> Result<Seen> {
    let address = |node: &Node| {
        let own = node.address_in(family);
        own.ok_or_else(|| Error::new(Kind::Io, format!("{} has no address of this family", node.name)))
    };
    let (from, to) = if one.passive { (one.peer, node) } else { (node, one.peer) };
    let place = |node: &Node| {
        let ns = session.plan.namespace(&node.name);
        ns.ok_or_else(|| Error::new(Kind::Io, format!("{} has no namespace in the plan", node.name)))
    };
    let peer = netns::open(&place(to)?.netns)?;
    let there = address(to)?;
    let _listener = match netns::inside(peer.file(), || TcpListener::bind((there, PORT)))? {
        // Somebody's own daemon: it answers for itself.
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => None,
        listener => Some(listener.map_err(|e| Error::io(format!("cannot listen on {} port {PORT}", to.name), e))?),
    };
    let (state, info) = match pair::pair(place(from)?, there, Question::Tcp(PORT), PATIENCE)? {
        Answer::Yes { .. } => ("up", "Established".to_owned()),
        _ if one.passive => ("start", "Passive".to_owned()),
        Answer::Closed { .. } => ("start", "Active Socket: Connection refused".to_owned()),
        Answer::Refused { error } => {
            ("start", format!("Active Socket: {}", error.split(" (").next().unwrap_or(&error)))
        }
        Answer::Silence => ("start", "Connect".to_owned()),
    };
    Ok(Seen {
        peer_address: address(one.peer)?.to_string(),
        peer_type: "node-to-node mesh",
        state: state.to_owned(),
        since: since(session.record.created, session.age()),
        info,
    })
}

/// A node's part of the output.
fn report(node: &str, sessions: Option<&[Vec<Seen>; 2]>, several: bool) -> String {
    let mut text = if several { format!("{node}:\n") } else { String::new() };
    text += "Calico process is running.\n\n";
    let Some(sessions) = sessions else {
        return text + "None of the BGP backend processes (BIRD or GoBGP) are running.\n\n";
    };
    let [four, six] = sessions;
    text += &family_report("IPv4", four);
    text += "\n";
    text += &family_report("IPv6", six);
    text + "\n"
}

fn family_report(family: &str, sessions: &[Seen]) -> String {
    let mut text = format!("{family} BGP status\n");
    if sessions.is_empty() {
        text += &format!("No {family} peers found.\n");
    } else {
        let row = |seen: &Seen| {
            [&seen.peer_address, seen.peer_type, &seen.state, &seen.since, &seen.info].map(str::to_owned).to_vec()
        };
        let rows: Vec<Vec<String>> = sessions.iter().flat_map(|seen| broken(&row(seen))).collect();
        text += &print::boxed(&["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"], &rows);
    }
    text
}

/// A row whose long cells go on in rows below it.
fn broken(cells: &[String]) -> Vec<Vec<String>> {
    let columns: Vec<Vec<String>> = cells.iter().map(|cell| wrapped(cell)).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or_default();
    (0..height)
        .map(|line| columns.iter().map(|column| column.get(line).cloned().unwrap_or_default()).collect())
        .collect()
}

/// A text in lines of at most [`CELL_MAX`] characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last] = word.to_owned();
        } else if lines[last].chars().count() + 1 + word.chars().count() <= CELL_MAX {
            lines[last] += &format!(" {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A moment as BIRD prints it: the time if it is less than 20 hours ago, else the date. calico-node's container knows no
/// time zone but UTC.
fn since(seconds: u64, age: u64) -> String {
    let moment = agent::utc(seconds);
    let (date, time) = moment.split_once('T').unwrap_or_default();
    if age < SHORT_TIME { time.trim_end_matches('Z') } else { date }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(address: &str, state: &str, info: &str) -> Seen {
        Seen {
            peer_address: address.to_owned(),
            peer_type: "node-to-node mesh",
            state: state.to_owned(),
            since: "23:30:04".to_owned(),
            info: info.to_owned(),
        }
    }

    #[test]
    fn the_table_is_calicoctls() {
        let text = report("node-1", Some(&[vec![seen("10.1.10.10", "up", "Established")], vec![]]), false);
        let expected = "\
Calico process is running.

IPv4 BGP status
+--------------+-------------------+-------+----------+-------------+
| PEER ADDRESS |     PEER TYPE     | STATE |  SINCE   |    INFO     |
+--------------+-------------------+-------+----------+-------------+
| 10.1.10.10   | node-to-node mesh | up    | 23:30:04 | Established |
+--------------+-------------------+-------+----------+-------------+

IPv6 BGP status
No IPv6 peers found.

";
        assert_eq!(text, expected);
        assert!(report("n", None, false).contains("None of the BGP backend processes (BIRD or GoBGP) are running."));
        assert!(
            report("n", Some(&[vec![], vec![]]), true)
                .starts_with("n:\nCalico process is running.\n\nIPv4 BGP status\nNo IPv4")
        );
    }

    #[test]
    fn long_cells_go_on_below() {
        let refused = seen("10.1.10.10", "start", "Active Socket: Connection refused");
        let text = report("n", Some(&[vec![refused], vec![]]), false);
        assert!(text.contains("| 23:30:04 | Active Socket: Connection |\n|              |                   |       |          | refused                   |\n"), "{text}");
    }

    #[test]
    fn moments_are_birds() {
        assert_eq!(since(1_616_110_204, 60), "23:30:04");
        let dates = [0, 951_782_400, 951_868_800, 1_616_110_204, 4_107_542_400].map(|at| since(at, SHORT_TIME));
        assert_eq!(dates, ["1970-01-01", "2000-02-29", "2000-03-01", "2021-03-18", "2100-03-01"]);
    }
}
