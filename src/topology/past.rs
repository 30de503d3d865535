//! What was done to a live cluster and cannot be said by an object of it.

use std::collections::{BTreeMap, BTreeSet};

use super::line::LineChange;

/// Labels that were changed; none was removed.
pub(super) type Changed = BTreeMap<String, Option<String>>;

/// What the edits say of pods that no document names, by namespace and name: those of controllers. Of namespaces that none
/// names, too, which are in none.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Pods that were deleted, with the labels that had been changed; names are used up where they are generated.
    pub(super) deleted: BTreeMap<(String, String), Changed>,
    /// Pods that are not ready.
    pub(super) unready: BTreeSet<(String, String)>,
    /// Lines that were changed, by host.
    pub(super) lines: BTreeMap<String, LineChange>,
    /// Labels that were changed.
    pub(super) labels: BTreeMap<(String, String), Changed>,
}

/// Labels as they are after a change.
pub(super) fn relabel(labels: &mut BTreeMap<String, String>, changed: &Changed) {
    for (key, value) in changed {
        match value {
            Some(value) => drop(labels.insert(key.clone(), value.clone())),
            None => drop(labels.remove(key)),
        }
    }
}
