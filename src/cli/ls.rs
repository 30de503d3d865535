//! `minik ls`: the clusters on this machine.

use std::process::ExitCode;

use serde_json::json;

use super::args::{Globals, Output};
use super::print::{self, Listing, Row, column};
use super::session::{self, Session};
use crate::agent;
use crate::error::Result;
use crate::kernel::state::{self, Phase};

/// Lists the clusters; one whose record is missing or broken is listed as such.
///
/// # Errors
/// If the records cannot be listed.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let names = state::list()?;
    if names.is_empty() && !matches!(globals.output, Output::Json | Output::Yaml) {
        return print::note("no clusters; make one with `minik up calico-ipip`").map(|()| ExitCode::SUCCESS);
    }
    let rows = names.iter().map(|name| row(name)).collect();
    let columns = ["NAME", "STATE", "MODE", "DATAPATH", "NODES", "PODS", "AGENT", "AGE"].map(column).to_vec();
    let listing = Listing { kind: "cluster", columns, rows, like_calicoctl: false };
    print::text(&listing.render(globals.output, false, false)?).map(|()| ExitCode::SUCCESS)
}

fn row(name: &str) -> Row {
    let session = match state::load(name).and_then(|record| record.map(session::compute).transpose()) {
        Ok(Some(session)) => session,
        Ok(None) => return broken(name, "its record is missing"),
        Err(e) => return broken(name, &e.to_string()),
    };
    let Session { record, cluster, plan, .. } = &session;
    let state = match record.phase {
        Phase::Building => "building",
        Phase::Ready => "ready",
        Phase::Removing => "removing",
    };
    let agent = match agent::status(name) {
        Ok(Some(_)) => "running",
        Ok(None) => "none",
        Err(_) => "hangs",
    };
    let (nodes, pods) = (cluster.nodes.len(), cluster.pods.len());
    let (datapath, age) = (record.datapath.to_string(), print::age(session.age()));
    let (nodes_text, pods_text) = (nodes.to_string(), pods.to_string());
    let cells = [name, state, &plan.mode, &datapath, &nodes_text, &pods_text, agent, &age];
    Row {
        namespace: None,
        name: name.to_owned(),
        cells: cells.iter().map(|cell| cell.to_string()).collect(),
        object: json!({
            "name": name,
            "state": state,
            "mode": plan.mode,
            "datapath": record.datapath,
            "nodes": nodes,
            "pods": pods,
            "agent": agent,
            "created": record.created,
            "version": record.version,
        }),
    }
}

/// The row of a cluster of which only a directory is known; `minik down` removes it.
fn broken(name: &str, why: &str) -> Row {
    let dash = || "-".to_owned();
    Row {
        namespace: None,
        name: name.to_owned(),
        cells: vec![name.to_owned(), "broken".into(), dash(), dash(), dash(), dash(), dash(), dash()],
        object: json!({ "name": name, "state": "broken", "reason": why }),
    }
}
