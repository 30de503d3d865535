//! `minik switch`: another CNI mode for a live cluster, its pods kept.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::Globals;
use super::live;
use super::live_args::SwitchArgs;
use super::print;
use super::session::{self, Session};
use super::up;
use crate::error::Result;
use crate::kernel::state::Record;
use crate::plan::{Namespace, Plan};
use crate::probe::steady::{Loss, Steady};

/// How long the ping may wait for its first answer, and for one after the change.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `minik switch`.
///
/// # Errors
/// If the mode is unknown or cannot be; if the kernel refuses, and then all is as it was.
pub(super) fn run(args: &SwitchArgs, globals: &Globals) -> Result<ExitCode> {
    let mut live = live::open(globals.cluster_name())?;
    let record = switched(&live.session, args)?;
    let from = live.session.plan.mode.clone();
    let ping = Ping::start(&live.session)?;
    let began = Instant::now();
    let before = live.become_(record)?;
    let took = began.elapsed();
    let lost = ping.map(|ping| ping.finish(&live.session.plan)).transpose()?;
    let kept = kept(&before.plan, &live.session.plan);
    let pods = live.session.plan.pods().count();
    let mode = &live.session.plan.mode;
    let object = json!({ "from": from, "to": mode, "milliseconds": took.as_secs_f64() * 1000.0,
        "pods": pods, "podsWithTheirAddress": kept, "ping": lost });
    let text = match print::as_data(&object, globals.output)? {
        Some(text) => text,
        None => describe(&from, mode, took, kept, pods, lost.as_ref()),
    };
    print::text(&text).map(|()| ExitCode::SUCCESS)
}

/// The record with another mode, and who then carries tunnels' packets.
fn switched(session: &Session, args: &SwitchArgs) -> Result<Record> {
    let mut record = session.record.clone();
    record.cni = Some(args.mode.clone());
    record.datapath = up::choose_datapath(args.datapath, &session::cluster(&record)?)?;
    Ok(record)
}

/// A ping between two pods of different nodes while the mode changes.
struct Ping {
    steady: Steady,
    from: String,
    to: String,
}

/// What the ping found.
#[derive(serde::Serialize)]
struct Lost {
    from: String,
    to: String,
    #[serde(flatten)]
    loss: Loss,
}

impl Ping {
    /// Between the first pod and the first one of another node; none where there are no two of them that can speak.
    fn start(session: &Session) -> Result<Option<Ping>> {
        let node = |ns: &Namespace| session.cluster.pods.iter().find(|pod| pod.key() == ns.name).map(|pod| &pod.node);
        let mut pods = session.plan.pods().filter(|ns| ns.address().is_some());
        let Some(from) = pods.next() else { return Ok(None) };
        let Some(to) = pods.find(|ns| node(ns) != node(from)) else { return Ok(None) };
        let Some(address) = to.address() else { return Ok(None) };
        Ok(match Steady::start(from, address, PATIENCE) {
            Ok(steady) => Some(Ping { steady, from: from.name.clone(), to: to.name.clone() }),
            Err(error) => {
                print::note(&format!("note: no ping goes along: {error}"))?;
                None
            }
        })
    }

    fn finish(self, plan: &Plan) -> Result<Lost> {
        if let Some(address) = plan.namespace(&self.to).and_then(Namespace::address) {
            self.steady.follow(address);
        }
        Ok(Lost { from: self.from, to: self.to, loss: self.steady.finish()? })
    }
}

/// How many pods have the address that they had.
fn kept(before: &Plan, after: &Plan) -> usize {
    let same = |ns: &&Namespace| before.namespace(&ns.name).is_some_and(|old| old.address() == ns.address());
    after.pods().filter(same).count()
}

fn describe(from: &str, to: &str, took: Duration, kept: usize, pods: usize, lost: Option<&Lost>) -> String {
    let mut text = format!("switched from {from} to {to} in {:.0} ms\n", took.as_secs_f64() * 1000.0);
    text += &match kept == pods {
        true => format!("all {pods} pods kept their addresses\n"),
        false => format!("{kept} of {pods} pods kept their addresses\n"),
    };
    if let Some(Lost { from, to, loss }) = lost {
        let gap = loss.longest_gap as f64 / 1000.0;
        let Loss { sent, lost, .. } = loss;
        text += &format!("ping {from} -> {to} meanwhile: {sent} sent, {lost} lost, longest gap {gap:.0} ms\n");
    }
    text
}
