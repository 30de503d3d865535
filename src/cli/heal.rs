//! `minik heal`: whether the daemons' timers put back what is lost.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::json;

use super::args::Globals;
use super::live_args::{HealArgs, HealState};
use super::session::{self, Session};
use super::{live, orders, print};
use crate::agent;
use crate::error::Result;
use crate::kernel::state::{self, Record};
use crate::plan::Bird;

/// Runs `minik heal`.
///
/// # Errors
/// If there is no such cluster, or its record cannot be written.
pub(super) fn run(args: &HealArgs, globals: &Globals) -> Result<ExitCode> {
    let session = match args.state {
        None => session::open(globals.cluster_name())?,
        Some(wanted) => {
            let mut live = live::open(globals.cluster_name())?;
            let record = Record { heal: wanted == HealState::On, ..live.session.record.clone() };
            // The timers see that the record is another one; daemons that have ended are started again when they are told.
            state::store(&record)?;
            agent::follow(&orders::orders(&live.session.cluster, &live.session.plan))?;
            live.session.record = record;
            std::mem::ManuallyDrop::into_inner(live.session)
        }
    };
    let object = json!({ "heal": session.record.heal, "daemons": daemons(&session) });
    let text = match print::as_data(&object, globals.output)? {
        Some(text) => text,
        None => format!("{}\n", describe(&session)),
    };
    print::text(&text).map(|()| ExitCode::SUCCESS)
}

/// Whether daemons heal, and which.
pub(super) fn describe(session: &Session) -> String {
    let daemons = daemons(session);
    match (session.record.heal, daemons.is_empty()) {
        (_, true) => "no daemon of this mode looks again at what it made".to_owned(),
        (true, _) => format!("on: {}", daemons.join(", ")),
        (false, _) => "off: what is lost stays lost (`minik heal on`)".to_owned(),
    }
}

/// The daemons that look again at what they made, with their periods in seconds: `flanneld every 5 and 10 s`; and who
/// looks after those that run as they are.
fn daemons(session: &Session) -> Vec<String> {
    let keepers = || session.plan.namespaces.iter().flat_map(|ns| &ns.keepers);
    let mut names: Vec<&str> = Vec::new();
    for keeper in keepers() {
        if !names.contains(&keeper.daemon.as_str()) {
            names.push(&keeper.daemon);
        }
    }
    let periods = |name: &str| {
        let mut all: Vec<u32> = keepers().filter(|one| one.daemon == name).map(|one| one.every / 1000).collect();
        all.sort_unstable();
        all.dedup();
        all.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
    };
    let timers = names.iter().map(|name| format!("{name} every {} s", periods(name)));
    let birds: BTreeSet<&str> = session.plan.namespaces.iter().flat_map(|ns| &ns.birds).map(Bird::name).collect();
    timers.chain(birds.into_iter().map(|name| format!("runsv, for {name}, at once"))).collect()
}
