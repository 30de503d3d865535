//! `minik status`: the agent, fallbacks in use, and what the live kernel differs in from the plan.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::json;

use super::args::Globals;
use super::session::{self, Session};
use super::{daemons, heal, print};
use crate::agent::Status;
use crate::error::Result;
use crate::kernel::{drift, features};
use crate::plan::facts::Drift;
use crate::plan::{Datapath, LinkKind, line, render};

/// Prints a cluster's status; the exit code is 1 if the agent is gone or the kernel differs from the plan.
///
/// # Errors
/// If there is no such cluster, or the kernel cannot be read.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let agent = session.agent()?;
    let mut drift = drift::of(&session.plan)?;
    drift.extend(daemons::lost(&session.plan, agent.as_ref()));
    let fallbacks = fallbacks(&session);
    let object = json!({
        "cluster": session.record.name,
        "mode": session.plan.mode,
        "datapath": session.record.datapath,
        "phase": session.record.phase,
        "created": session.record.created,
        "agent": agent,
        "fallbacks": fallbacks,
        "heal": session.record.heal,
        "drift": drift,
    });
    let text = match print::as_data(&object, globals.output)? {
        Some(text) => text,
        None => render(&session, agent.as_ref(), &fallbacks, &drift),
    };
    print::text(&text)?;
    let good = agent.is_some() && drift.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What is said where netem is replaced.
pub(super) const LINES: &str = "lines lose packets by rules of nftables and are slow by tbf, not by the kernel's netem";

/// What stands in for something that the kernel could do natively, and what is done without.
fn fallbacks(session: &Session) -> Vec<String> {
    let has_ipip = session.plan.nodes().flat_map(|ns| &ns.links).any(|link| link.kind == LinkKind::Ipip);
    let mut fallbacks = session.plan.differences(features::kernel());
    if has_ipip && session.plan.datapath == Datapath::Userspace {
        fallbacks.push("tunl0 is a TUN device served by the agent, not the kernel's ipip".to_owned());
    }
    if line::is_replaced_in(&session.plan) {
        fallbacks.push(LINES.to_owned());
    }
    fallbacks
}

fn render(session: &Session, agent: Option<&Status>, fallbacks: &[String], drift: &[Drift]) -> String {
    let mut text =
        format!("cluster:   {} ({}, {} datapath)\n", session.record.name, session.plan.mode, session.record.datapath);
    // Writing to a String cannot fail.
    let _ = match agent {
        Some(agent) => writeln!(
            text,
            "agent:     running, process {}, for {}, {}, {}",
            agent.pid,
            print::age(agent.uptime),
            render::count(agent.pods.len(), "pod"),
            render::count(agent.tunnels.len(), "tunnel")
        ),
        None => writeln!(text, "agent:     not running; bring it back with `minik agent restart`"),
    };
    for tunnel in agent.iter().flat_map(|agent| &agent.tunnels) {
        let counters: Vec<String> = tunnel.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "tunnel:    {} in {}: {}", tunnel.device, tunnel.netns, counters.join(", "));
    }
    for daemon in agent.iter().flat_map(|agent| &agent.daemons) {
        let _ = writeln!(text, "daemon:    {}", daemons::describe(daemon));
    }
    for fallback in fallbacks {
        let _ = writeln!(text, "fallback:  {fallback}");
    }
    let _ = writeln!(text, "healing:   {}", heal::describe(session));
    let _ = match drift.len() {
        0 => writeln!(text, "drift:     none: the kernel holds what the plan says"),
        count => writeln!(text, "drift:     {}", render::count(count, "difference")),
    };
    for difference in drift {
        let _ = writeln!(text, "  {difference}");
    }
    text
}
