//! How a change reaches the endpoints of Services without a lost connection: in the order of a real cluster. PURE.
//!
//! There, a pod that is deleted is an endpoint no more before it ends, and a pod that comes is none before it answers. So
//! rules change in up to three steps: nobody is sent to the pods that go; they go and the new ones come; somebody
//! is sent to the new ones. Where no Service concerns these pods, there is one step.

use std::collections::BTreeSet;

use super::session::{self, Session};
use crate::compose;
use crate::error::Result;
use crate::plan::Plan;
use crate::proxy::PodState;
use crate::topology::{Cluster, Pod};

/// What a cluster is between two plans.
pub(super) struct Stages {
    /// As before, with what goes about to end; none if that makes no difference.
    pub(super) withdrawn: Option<Plan>,
    /// As afterwards, with what is new not ready yet; none if that makes no difference.
    pub(super) unready: Option<Plan>,
}

/// The stages of a change. Where the pods' whole network changes with the mode there are none: nothing is kept up.
///
/// # Errors
/// As [`compose::plan`] and [`session::for_kernel`].
pub(super) fn between(before: &Session, next: &Session) -> Result<Stages> {
    if before.cluster.network.mode != next.cluster.network.mode {
        return Ok(Stages { withdrawn: None, unready: None });
    }
    let only = |one: &Cluster, other: &Cluster| -> BTreeSet<String> {
        let others: BTreeSet<String> = other.pods.iter().map(Pod::key).collect();
        let gone = one.pods.iter().filter(|pod| !others.contains(&pod.key()) && is_endpoint(one, pod));
        gone.map(Pod::key).collect()
    };
    let (leaving, coming) = (only(&before.cluster, &next.cluster), only(&next.cluster, &before.cluster));
    let plan = |session: &Session, concerned: &BTreeSet<String>, state: fn(&Pod) -> PodState| -> Result<Option<Plan>> {
        if concerned.is_empty() {
            return Ok(None);
        }
        let normal = |pod: &Pod| PodState { ready: pod.ready, terminating: false };
        let state = |pod: &Pod| if concerned.contains(&pod.key()) { state(pod) } else { normal(pod) };
        let plan = compose::plan_while(&session.cluster, session.record.datapath, state)?;
        let mut netem = session.record.netem;
        let plan = session::for_kernel(plan, &mut netem)?;
        Ok((plan != session.plan).then_some(plan))
    };
    Ok(Stages {
        withdrawn: plan(before, &leaving, |pod| PodState { ready: pod.ready, terminating: true })?,
        unready: plan(next, &coming, |_| PodState { ready: false, terminating: false })?,
    })
}

/// Whether some Service selects this pod.
fn is_endpoint(cluster: &Cluster, pod: &Pod) -> bool {
    cluster.proxy.is_some() && cluster.services.iter().any(|service| service.selects(pod))
}
