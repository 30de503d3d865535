//! `minik link`: what the lines between hosts and their switches do to packets.

use std::process::ExitCode;

use serde_json::json;

use super::args::Globals;
use super::live;
use super::live_args::{LinkArgs, LinkCommand, LinkSetArgs};
use super::print;
use super::session::{self, Session};
use crate::error::{Error, Kind, Result};
use crate::topology::{self, Edit, Line, Router, nearest};

/// Runs `minik link`.
///
/// # Errors
/// If there is no such host, or a value means nothing; if the kernel cannot do it, and then all is as it was.
pub(super) fn run(args: &LinkArgs, globals: &Globals) -> Result<ExitCode> {
    match &args.command {
        LinkCommand::Show { host } => show(&session::open(globals.cluster_name())?, host.as_deref(), globals),
        LinkCommand::Set(args) => set(args, globals),
        LinkCommand::Reset { hosts } => reset(hosts, globals),
    }
}

/// A host's line as it is now.
struct Row {
    host: String,
    segment: String,
    nic: String,
    line: Line,
    mtu: u32,
}

fn rows(session: &Session) -> Vec<Row> {
    let nodes = session.cluster.nodes.iter().map(|node| Row {
        host: node.name.clone(),
        segment: node.segment.clone(),
        nic: node.nic.clone(),
        line: node.line,
        mtu: node.mtu_now.unwrap_or(node.mtu),
    });
    let clients = session.cluster.clients.iter().map(|client| Row {
        host: client.name.clone(),
        segment: client.segment.clone(),
        nic: client.nic.clone(),
        line: client.line,
        mtu: client.mtu,
    });
    let ports = session.cluster.routers.iter().flat_map(Router::lines).map(|(host, port)| Row {
        host,
        segment: port.segment.clone(),
        nic: port.nic.clone(),
        line: port.line,
        mtu: port.mtu,
    });
    nodes.chain(clients).chain(ports).collect()
}

fn show(session: &Session, host: Option<&str>, globals: &Globals) -> Result<ExitCode> {
    let mut rows = rows(session);
    if let Some(host) = host {
        if !rows.iter().any(|row| row.host == host) {
            return Err(unknown(host, &rows));
        }
        rows.retain(|row| row.host == host);
    }
    let object: Vec<_> = rows
        .iter()
        .map(|row| {
            let Line { delay, loss, rate } = row.line;
            json!({ "host": row.host, "segment": row.segment, "nic": row.nic, "mtu": row.mtu,
                "delayMicroseconds": delay, "lossPercent": f64::from(loss) / 10_000.0, "rateBitsPerSecond": rate * 8 })
        })
        .collect();
    if let Some(text) = print::as_data(&object, globals.output)? {
        return print::text(&text).map(|()| ExitCode::SUCCESS);
    }
    let cells: Vec<[String; 5]> = rows
        .into_iter()
        .map(|row| [row.host, row.segment, row.nic, row.mtu.to_string(), row.line.to_string()])
        .collect();
    let mut lines = vec![vec!["HOST", "SEGMENT", "NIC", "MTU", "LINE"]];
    lines.extend(cells.iter().map(|row| row.iter().map(String::as_str).collect()));
    print::text(&print::columns(&lines, false)).map(|()| ExitCode::SUCCESS)
}

fn set(args: &LinkSetArgs, globals: &Globals) -> Result<ExitCode> {
    let LinkSetArgs { host, delay, loss, rate, mtu } = args;
    let change = topology::line_change(delay.as_deref(), loss.as_deref(), rate.as_deref(), *mtu)?;
    change_lines([Edit::Line { host: host.clone(), change: Some(change) }], globals)
}

fn reset(hosts: &[String], globals: &Globals) -> Result<ExitCode> {
    let all = || Ok(rows(&session::open(globals.cluster_name())?).into_iter().map(|row| row.host).collect());
    let hosts: Vec<String> = if hosts.is_empty() { all()? } else { hosts.to_vec() };
    change_lines(hosts.into_iter().map(|host| Edit::Line { host, change: None }), globals)
}

fn change_lines(edits: impl IntoIterator<Item = Edit>, globals: &Globals) -> Result<ExitCode> {
    let mut live = live::open(globals.cluster_name())?;
    let record = live.edited(edits);
    live.become_(record)?;
    show(&live.session, None, globals)
}

fn unknown(host: &str, rows: &[Row]) -> Error {
    let error = Error::new(Kind::Usage, format!("no node, client or router's interface is called `{host}`"));
    match nearest(host, rows.iter().map(|row| row.host.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`minik link show` lists them"),
    }
}
