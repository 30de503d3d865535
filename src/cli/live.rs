//! Changing a live cluster: the one way in which `apply`, `delete`, `scale`, `label`, `switch` and `link` work.
//!
//! Each of them makes a new record out of the old one. Cluster and plan are computed from it as from any record; what
//! differs between the two plans is changed in the kernel, the agent follows, and then the new record is written. If a
//! step fails the cluster is changed back.

use std::mem::ManuallyDrop;

use super::stages::{self, Stages};
use super::{ages, orders, print, session};
use crate::error::{Error, Kind, Result};
use crate::kernel::state::{self, Lock, Phase, Record};
use crate::kernel::{change, features, heap, process, restore};
use crate::topology::Edit;
use crate::{agent, cni};

use session::Session;

/// A live cluster that only this process changes.
pub(super) struct Live {
    /// The cluster as it is. A command ends after its change, and need not take a large plan apart before.
    pub(super) session: ManuallyDrop<Session>,
    _lock: Lock,
}

/// Opens a cluster for a change.
///
/// # Errors
/// As [`session::open`]; of [`Kind::Conflict`] if another minik is at work on it, or it was never finished.
pub(super) fn open(cluster: &str) -> Result<Live> {
    features::require_root()?;
    process::raise_file_limit()?;
    heap::use_large_pages();
    let stamp = state::stamp(cluster)?;
    let Some(record) = state::load(cluster)? else { return Err(session::missing(cluster)?) };
    if record.phase != Phase::Ready {
        let error = Error::new(Kind::Conflict, format!("cluster `{cluster}` is not whole, so it cannot be changed"));
        return Err(error.hint(format!("remove it with `minik down -c {cluster}`")));
    }
    let lock = state::lock(cluster)?;
    // Only now is it worth computing its plan: it may have been changed while we waited.
    let session = match state::stamp(cluster)? == stamp {
        true => session::compute(record)?,
        false => session::open(cluster)?,
    };
    if let Some(attempt) = state::attempt(cluster)? {
        print::note(&format!("note: a change of cluster {cluster} did not come to its end; it is taken back first"))?;
        change::recover(&session::compute(attempt)?.plan, &session.plan)?;
        agent::follow(&orders::orders(&session.cluster, &session.plan))?;
        written_again(&session.record)?;
    }
    Ok(Live { session: ManuallyDrop::new(session), _lock: lock })
}

/// Goes from one plan to the other by the stages between them.
fn pass(stages: &Stages, before: &Session, next: &Session) -> Result<()> {
    let mut at = &before.plan;
    for plan in [&stages.withdrawn, &stages.unready].into_iter().flatten() {
        change::change(at, plan)?;
        at = plan;
    }
    if stages.unready.is_some() {
        // The new pods answer before anybody is sent to them.
        agent::follow(&orders::orders(&next.cluster, at))?;
    }
    change::change(at, &next.plan)
}

impl Live {
    /// The record with these edits made as well.
    pub(super) fn edited(&self, edits: impl IntoIterator<Item = Edit>) -> Record {
        let mut record = self.session.record.clone();
        record.edits.extend(edits);
        record
    }

    /// The edits that a changed record has beyond this one.
    fn added<'r>(&self, record: &'r Record) -> &'r [Edit] {
        record.edits.get(self.session.record.edits.len()..).unwrap_or_default()
    }

    /// Makes the cluster what `record` says, and nothing where it fails. Gives back how it was.
    ///
    /// # Errors
    /// If the record is wrong, before anything is touched; if the kernel or the agent refuse, and then all is as it was
    /// before, unless the error says otherwise.
    pub(super) fn become_(&mut self, record: Record) -> Result<ManuallyDrop<Session>> {
        let mut next = self.next(record)?;
        let (born, before) = (&self.session.record.born, &self.session.cluster);
        next.record.born = ages::after(born, before, &next.cluster, self.added(&next.record), ages::now());
        restore::require_tools(&next.plan)?;
        features::require_parts(&next.plan)?;
        let before = &self.session;
        let stages = ManuallyDrop::new(stages::between(before, &next)?);
        state::try_out(&next.record)?;
        if let Err(error) = pass(&stages, before, &next) {
            // It was taken back, if it could be; only then is nothing left to do for the next change.
            let mut passed =
                [Some(&next.plan), stages.unready.as_ref(), stages.withdrawn.as_ref()].into_iter().flatten();
            let back = passed.try_for_each(|plan| change::recover(plan, &before.plan));
            return Err(with_way_back(error, back.and_then(|()| self.as_before())));
        }
        if let Err(error) = agent::follow(&orders::orders(&next.cluster, &next.plan)) {
            return Err(self.change_back(&next, error));
        }
        if let Err(error) = state::succeed(&next.record.name) {
            return Err(self.change_back(&next, error));
        }
        Ok(std::mem::replace(&mut self.session, ManuallyDrop::new(next)))
    }

    /// Cluster and plan of a changed record, with the memory of what there is now.
    ///
    /// # Errors
    /// If the record is wrong.
    pub(super) fn next(&mut self, mut record: Record) -> Result<Session> {
        let mut memory = cni::memory(&self.session.cluster, &self.session.plan)?;
        // A pod that is made again under its name, a StatefulSet's, is another one.
        for edit in self.added(&record) {
            if let Edit::Delete { object } = edit
                && object.kind == "Pod"
            {
                memory.forget(&format!("{}/{}", object.namespace, object.name));
            }
        }
        record.memory = memory;
        session::compute_again(record, std::mem::take(&mut self.session.reading))
    }

    fn change_back(&self, failed: &Session, error: Error) -> Error {
        let back = change::recover(&failed.plan, &self.session.plan).and_then(|()| self.as_before());
        with_way_back(error, back)
    }

    /// Agent and record follow the kernel, which is as before again.
    fn as_before(&self) -> Result<()> {
        let before = &self.session;
        agent::follow(&orders::orders(&before.cluster, &before.plan))?;
        written_again(&before.record)
    }
}

/// Keeps the record of a cluster that is as it says again. It is another file now: its namespaces may be others.
fn written_again(record: &Record) -> Result<()> {
    state::store(record).and_then(|()| state::give_up(&record.name))
}

/// Why a change failed. Where the way back failed too, that is what its reader must know: the step that failed may have
/// said of itself that nothing has changed.
fn with_way_back(error: Error, back: Result<()>) -> Error {
    match back {
        Ok(()) => error,
        Err(second) => error.hint(format!(
            "changing back failed as well: {second}\nsee `minik status`; the next command that changes the cluster tries \
             it again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_way_back_is_told_and_a_good_one_changes_nothing() {
        let failed = || Error::new(Kind::Netlink, "cannot add it").hint("nothing has changed");
        assert_eq!(with_way_back(failed(), Ok(())).to_string(), failed().to_string());
        let told = with_way_back(failed(), Err(Error::new(Kind::Tool, "ipset failed"))).to_string();
        assert!(told.contains("changing back failed as well: ipset failed"), "{told}");
        assert!(!told.contains("nothing has changed"), "{told}");
    }
}
