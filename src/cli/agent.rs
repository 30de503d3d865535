//! `minik agent`: be the agent, or start it again.

use std::process::ExitCode;

use super::args::{AgentArgs, AgentCommand, Globals};
use super::{print, session};
use crate::agent::{self, Charge};
use crate::error::{Error, Kind, Result};
use crate::kernel::features;
use crate::kernel::state::{self, Phase, Record};

/// Runs `minik agent`.
///
/// # Errors
/// If there is no such cluster, or its agent cannot be started.
pub fn run(args: &AgentArgs, globals: &Globals) -> Result<ExitCode> {
    match args.command {
        AgentCommand::Serve => agent::serve(globals.cluster_name(), recall)?,
        AgentCommand::Restart => {
            let cluster = globals.cluster_name();
            features::require_root()?;
            if state::load(cluster)?.is_none() {
                return Err(session::missing(cluster)?);
            }
            let Some(_lock) = state::try_lock(cluster)? else {
                let busy = format!("another command is changing cluster {cluster}");
                return Err(Error::new(Kind::Conflict, busy).hint("try again when it has ended"));
            };
            agent::restart(cluster)?;
            print::note(&format!("the agent of cluster {cluster} serves"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the agent's timers go by; nothing while the cluster is being built or removed, or where it does not heal.
fn recall(cluster: &str) -> Result<Option<Charge>> {
    let heals = |record: &Record| record.phase == Phase::Ready && record.heal;
    let Some(record) = state::load(cluster)?.filter(heals) else { return Ok(None) };
    let speed = record.heal_speed;
    Ok(Some(Charge { plan: session::compute(record)?.plan, speed }))
}
