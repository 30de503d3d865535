//! Targets: the words by which a command line names a namespace of the cluster. PURE.

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};
use crate::plan::{Namespace, Plan};
use crate::topology::{Cluster, Pod, WorkloadKind, nearest};

/// The namespace that `target` names: a node, client or router; a pod as `name` (in `namespace`, or the only one of that
/// name), `ns/name` or `pod/name`; `deploy/name` for a controller's first pod; or an IP address.
///
/// # Errors
/// Of [`Kind::Usage`] if nothing or more than one thing has that name.
pub fn resolve<'a>(cluster: &Cluster, plan: &'a Plan, namespace: &str, target: &str) -> Result<&'a Namespace> {
    if let Ok(address) = target.parse::<IpAddr>() {
        let has = |ns: &&Namespace| ns.addresses().any(|(_, own)| own.net.addr() == address);
        return plan
            .namespaces
            .iter()
            .find(has)
            .ok_or_else(|| nobody(format!("nothing in cluster {} has the address {address}", plan.cluster)));
    }
    if let Some(ns) = plan.namespace(target) {
        return Ok(ns);
    }
    let pod = match target.split_once('/') {
        None => pod(cluster, namespace, target)?,
        Some((kind, name)) => match workload_kind(kind) {
            Some(kind) => first_pod(cluster, namespace, kind, name)?,
            None if matches!(kind, "pod" | "pods" | "po") => pod(cluster, namespace, name)?,
            None if matches!(kind, "node" | "nodes" | "no") => {
                let node = plan.nodes().find(|ns| ns.name == name);
                return node.ok_or_else(|| unknown(plan, target));
            }
            None => return Err(unknown(plan, target)),
        },
    };
    let found = pod.and_then(|pod| plan.namespace(&pod.key()));
    found.ok_or_else(|| unknown(plan, target))
}

/// The pod of this name in `namespace`, or the only one of this name anywhere; none if there is none.
///
/// # Errors
/// If other namespaces have several pods of this name.
pub fn pod<'a>(cluster: &'a Cluster, namespace: &str, name: &str) -> Result<Option<&'a Pod>> {
    let named: Vec<&Pod> = cluster.pods.iter().filter(|pod| pod.name == name).collect();
    if let Some(pod) = named.iter().find(|pod| pod.namespace == namespace) {
        return Ok(Some(pod));
    }
    match named.as_slice() {
        [] => Ok(None),
        [pod] => Ok(Some(pod)),
        several => {
            let keys: Vec<String> = several.iter().map(|pod| pod.key()).collect();
            Err(nobody(format!("several pods are called `{name}`")).hint(format!("choose one of {}", keys.join(", "))))
        }
    }
}

fn first_pod<'a>(cluster: &'a Cluster, namespace: &str, kind: WorkloadKind, name: &str) -> Result<Option<&'a Pod>> {
    let owned =
        |pod: &&Pod| pod.namespace == namespace && pod.owner.as_ref().is_some_and(|(k, n)| *k == kind && n == name);
    let pod = cluster.pods.iter().find(owned);
    let is_there = cluster.workloads.iter().any(|w| w.kind == kind && w.namespace == namespace && w.name == name);
    match (pod, is_there) {
        (None, true) => Err(nobody(format!("{} {namespace}/{name} has no pods", kind.name()))),
        (None, false) => Err(nobody(format!("there is no {} {namespace}/{name}", kind.name()))),
        (pod, _) => Ok(pod),
    }
}

/// The kind of controller that a word means: `deploy`, `deployment`, `deployments`, …
pub fn workload_kind(word: &str) -> Option<WorkloadKind> {
    match word.to_ascii_lowercase().trim_end_matches(".apps") {
        "deployment" | "deployments" | "deploy" => Some(WorkloadKind::Deployment),
        "replicaset" | "replicasets" | "rs" => Some(WorkloadKind::ReplicaSet),
        "daemonset" | "daemonsets" | "ds" => Some(WorkloadKind::DaemonSet),
        "statefulset" | "statefulsets" | "sts" => Some(WorkloadKind::StatefulSet),
        _ => None,
    }
}

fn nobody(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

fn unknown(plan: &Plan, target: &str) -> Error {
    let names = plan
        .namespaces
        .iter()
        .flat_map(|ns| [Some(ns.name.as_str()), ns.name.split_once('/').map(|(_, pod)| pod)])
        .flatten();
    let error = nobody(format!("nothing in cluster {} is called `{target}`", plan.cluster));
    match nearest(target, names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`minik get nodes` and `minik get pods -A` list what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;
    use crate::plan::Datapath;
    use crate::topology::{Overrides, builtin, parse};

    fn built() -> (Cluster, Plan) {
        let source = builtin::find("calico-ipip").expect("built in").source();
        let cluster = parse(&[source], &Overrides::default()).expect("parses");
        let plan = compose::plan(&cluster, Datapath::Kernel).expect("plans");
        (cluster, plan)
    }

    #[test]
    fn every_way_to_name_something_works() {
        let (cluster, plan) = built();
        let first = &cluster.pods[0];
        let address = plan.namespace(&first.key()).and_then(Namespace::address).expect("an address");
        let cases = [
            ("node-1".to_owned(), "node-1".to_owned()),
            ("node/node-2".into(), "node-2".into()),
            ("client".into(), "client".into()),
            (first.name.clone(), first.key()),
            (first.key(), first.key()),
            (format!("pod/{}", first.name), first.key()),
            ("deploy/test".into(), first.key()),
            ("10.1.10.9".into(), "node-1".into()),
            (address.to_string(), first.key()),
        ];
        for (target, name) in cases {
            assert_eq!(resolve(&cluster, &plan, "default", &target).expect(&target).name, name);
        }
        // A unique name is found from another namespace as well.
        assert_eq!(resolve(&cluster, &plan, "kube-system", &first.name).expect("found").name, first.key());
    }

    #[test]
    fn what_is_not_there_is_a_usage_error_with_a_suggestion() {
        let (cluster, plan) = built();
        let cases = [
            ("node-3", Some("did you mean `node-1`?")),
            ("10.1.10.99", None),
            ("deploy/nothing", None),
            ("two-container", Some("did you mean `two-containers`?")),
            ("zzzzzzzzzzzzz", Some("`minik get nodes` and `minik get pods -A` list what there is")),
        ];
        for (target, hint) in cases {
            let error = resolve(&cluster, &plan, "default", target).expect_err(target);
            assert_eq!(error.kind(), Kind::Usage, "{target}");
            assert_eq!(error.hint_text(), hint, "{target}");
        }
    }

    #[test]
    fn a_name_in_two_namespaces_is_refused_unless_one_is_chosen() {
        let (mut cluster, _) = built();
        let mut twin = cluster.pods[0].clone();
        twin.namespace = "other".into();
        cluster.pods.push(twin);
        let name = cluster.pods[0].name.clone();
        assert!(pod(&cluster, "default", &name).is_ok_and(|found| found.is_some()));
        assert!(pod(&cluster, "third", &name).is_err());
    }
}
