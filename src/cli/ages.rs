//! When objects of a live cluster were made: the column AGE. A cluster's record says when the cluster was made, and of the
//! objects that came later, when each of them did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::topology::{Cluster, Edit};

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The word for an object in the record: `Service default/web`, `Node /node-1`.
pub(super) fn key(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

/// Kind, namespace and name of everything that has an age.
fn objects(cluster: &Cluster) -> BTreeSet<(&str, &str, &str)> {
    let nodes = cluster.nodes.iter().map(|node| ("Node", "", node.name.as_str()));
    let namespaces = cluster.namespaces.iter().map(|own| ("Namespace", "", own.name.as_str()));
    let workloads = cluster.workloads.iter().map(|own| (own.kind.name(), own.namespace.as_str(), own.name.as_str()));
    let pods = cluster.pods.iter().map(|pod| ("Pod", pod.namespace.as_str(), pod.name.as_str()));
    let services = cluster.services.iter().map(|own| ("Service", own.namespace.as_str(), own.name.as_str()));
    nodes.chain(namespaces).chain(workloads).chain(pods).chain(services).collect()
}

/// When each object was made that came after the cluster: `born` as it was, without those that went, and with those that
/// came with this change, which is at `time`, in seconds since 1970. What `edits`, those of this change, delete and is there
/// all the same was made again.
pub(super) fn after(
    born: &BTreeMap<String, u64>,
    before: &Cluster,
    next: &Cluster,
    edits: &[Edit],
    time: u64,
) -> BTreeMap<String, u64> {
    let (mut old, new) = (objects(before), objects(next));
    for edit in edits {
        if let Edit::Delete { object } = edit {
            old.remove(&(&object.kind, &object.namespace, &object.name));
        }
    }
    let mut born = born.clone();
    for (kind, namespace, name) in old.difference(&new) {
        born.remove(&key(kind, namespace, name));
    }
    born.extend(new.difference(&old).map(|(kind, namespace, name)| (key(kind, namespace, name), time)));
    born
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::topology::{self, Overrides, Reference, builtin};

    fn with(edits: &[Edit]) -> Result<Cluster> {
        let overrides = Overrides { edits: edits.to_vec(), ..Overrides::default() };
        topology::parse(&[builtin::find("calico-ipip")?.source()], &overrides)
    }

    #[test]
    fn what_comes_later_is_younger_and_what_goes_is_forgotten() -> Result<()> {
        let object = Reference { kind: "Deployment".into(), namespace: "default".into(), name: "test".into() };
        let more = Edit::Scale { object, replicas: 4 };
        let (first, second) = (with(&[])?, with(std::slice::from_ref(&more))?);
        let born = after(&BTreeMap::new(), &first, &second, &[], 7);
        assert_eq!(born.len(), 1, "one pod more: {born:?}");
        assert!(born.iter().all(|(key, time)| key.starts_with("Pod default/test-") && *time == 7), "{born:?}");
        assert_eq!(after(&born, &second, &second, &[], 9), born, "who stays keeps its age");
        assert_eq!(after(&born, &second, &first, &[], 9), BTreeMap::new());
        let object = Reference { kind: "Pod".into(), namespace: "default".into(), name: "two-containers".into() };
        let again = after(&born, &second, &second, &[Edit::Delete { object }], 9);
        assert_eq!((again.len(), again["Pod default/two-containers"]), (2, 9), "deleted, and there all the same");
        Ok(())
    }
}
