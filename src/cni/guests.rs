//! Pods without a network namespace of their own: a mode connects the others, and these live in a namespace that is
//! there for somebody else.

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::topology::{Cluster, Pod, PodNetwork};

/// Whether a pod has a namespace of its own.
fn has_own(pod: &Pod) -> bool {
    matches!(pod.network, PodNetwork::Own | PodNetwork::None)
}

/// The cluster as a CNI mode sees it: without the pods that no plugin is called for.
pub(super) fn without(cluster: &Cluster) -> Cow<'_, Cluster> {
    if cluster.pods.iter().all(has_own) {
        return Cow::Borrowed(cluster);
    }
    let mut seen = cluster.clone();
    seen.pods.retain(has_own);
    Cow::Owned(seen)
}

/// Gives every other pod its place: its node's namespace, or that of the pod which it joins.
pub(super) fn house(cluster: &Cluster, plan: &mut Plan) -> Result<()> {
    for pod in cluster.pods.iter().filter(|pod| !has_own(pod)) {
        let host = match &pod.network {
            PodNetwork::Pod(name) => format!("{}/{name}", pod.namespace),
            _ => pod.node.clone(),
        };
        // A pod may join one that lives in its node's namespace itself.
        let host = plan.namespaces.iter_mut().find(|ns| ns.name == host || ns.guests.contains(&host));
        let nowhere = || Error::new(Kind::Topology, format!("pod {} has no namespace to live in", pod.key()));
        host.ok_or_else(nowhere)?.guests.push(pod.key());
    }
    Ok(())
}
