//! A live cluster as a command sees it: its record, and the cluster and plan that are computed from it again.

use super::ages;
use crate::agent::{self, PodStatus, Status};
use crate::error::{Error, Kind, Result};
use crate::kernel::features;
use crate::kernel::state::{self, Phase, Record};
use crate::plan::{Plan, line};
use crate::topology::{Cluster, Overrides, Pod, Reading, Source, nearest};
use crate::{compose, topology};

/// An open cluster.
#[derive(Debug)]
pub struct Session {
    /// What is on record.
    pub record: Record,
    /// What was asked for.
    pub cluster: Cluster,
    /// What is programmed.
    pub plan: Plan,
    /// What was read for it.
    pub reading: Reading,
}

/// Opens the cluster of this name.
///
/// # Errors
/// Of [`Kind::Permission`] for an ordinary user, who cannot see clusters; of [`Kind::Usage`] if there is none of that
/// name, naming those that there are; if its record cannot be read.
pub fn open(name: &str) -> Result<Session> {
    features::require_root()?;
    let Some(record) = state::load(name)? else { return Err(missing(name)?) };
    if record.phase != Phase::Ready {
        super::print::note(&format!(
            "note: cluster {name} is not whole: its build or removal was not finished; `minik down -c {name}` removes it"
        ))?;
    }
    compute(record)
}

/// Cluster and plan of a record.
///
/// # Errors
/// If the record's sources are no topology for this version of minik.
pub fn compute(record: Record) -> Result<Session> {
    let whose = format!("cluster {}, made by minik {}", record.name, record.version);
    compute_again(record, Reading::default()).map_err(|e| e.within(whose))
}

/// The same with what was read for another record of the cluster, which has most of it.
///
/// # Errors
/// As [`compute`], without a word about the cluster: what is wrong is what was just asked for.
pub fn compute_again(mut record: Record, mut reading: Reading) -> Result<Session> {
    let mut netem = record.netem;
    let cluster = reading.parse(&files(&record), &overrides(&record))?;
    let plan = for_kernel(compose::plan(&cluster, record.datapath)?, &mut netem)?;
    record.netem = netem;
    Ok(Session { record, cluster, plan, reading })
}

/// The plan as this kernel can do it: without netem where it has none. Whether it has is asked once in a cluster's life.
///
/// # Errors
/// If a line needs what has no replacement, or the kernel cannot be asked.
pub fn for_kernel(plan: Plan, netem: &mut Option<bool>) -> Result<Plan> {
    if !line::is_in(&plan) {
        return Ok(plan);
    }
    let has = match *netem {
        Some(has) => has,
        None => features::has_netem()?,
    };
    *netem = Some(has);
    if has { Ok(plan) } else { line::without_netem(plan) }
}

/// The files of a record.
pub fn files(record: &Record) -> Vec<Source> {
    record.sources.iter().map(|source| Source::new(&source.name, &source.text)).collect()
}

/// What a record asks for.
///
/// # Errors
/// If the record's sources are no topology.
pub fn cluster(record: &Record) -> Result<Cluster> {
    topology::parse(&files(record), &overrides(record))
}

/// What a record says over its files.
fn overrides(record: &Record) -> Overrides {
    Overrides {
        cluster_name: Some(record.name.clone()),
        cni: record.cni.clone(),
        proxy: record.proxy.clone(),
        iptables: record.iptables.clone(),
        edits: record.edits.clone(),
        memory: record.memory.clone(),
    }
}

/// The error for a cluster that is not there.
pub fn missing(name: &str) -> Result<Error> {
    if state::dir(name).exists() {
        let error =
            Error::new(Kind::Io, format!("cluster `{name}` has no record: it was never built, or half removed"));
        return Ok(error.hint(format!("remove what is left of it with `minik down -c {name}`")));
    }
    let others = state::list()?;
    let hint = match (nearest(name, others.iter().map(String::as_str)), others.as_slice()) {
        (_, []) => "there is none at all; make one with `minik up calico-ipip`".to_owned(),
        (Some(near), _) => format!("did you mean `-c {near}`?"),
        (None, others) => format!("there are: {}; choose one with -c", others.join(", ")),
    };
    Ok(Error::new(Kind::Usage, format!("there is no cluster `{name}`")).hint(hint))
}

impl Session {
    /// How long ago the cluster was made, in seconds.
    pub fn age(&self) -> u64 {
        ages::now().saturating_sub(self.record.created)
    }

    /// How long ago an object of it was made, in seconds; `namespace` is empty for what is in none.
    pub fn age_of(&self, kind: &str, namespace: &str, name: &str) -> u64 {
        let born = self.record.born.get(&ages::key(kind, namespace, name)).copied();
        ages::now().saturating_sub(born.unwrap_or(self.record.created))
    }

    /// How the agent is; none if it is not there or does not answer, which a listing shows as unknown states.
    ///
    /// # Errors
    /// If stderr, which then says why, cannot be written.
    pub fn agent(&self) -> Result<Option<Status>> {
        match agent::status(&self.record.name) {
            Ok(status) => Ok(status),
            Err(e) => super::print::note(&format!("note: {e}")).map(|()| None),
        }
    }
}

/// A pod's part of an agent's status.
pub fn pod_status<'a>(status: Option<&'a Status>, pod: &Pod) -> Option<&'a PodStatus> {
    status?.pods.iter().find(|known| known.namespace == pod.namespace && known.name == pod.name)
}
