//! Nodes, pods, namespaces and controllers, as kubectl lists them.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::agent::{PodStatus, State, Status};
use crate::cli::describe::pod_cidrs;
use crate::cli::print::{Listing, Row, age, column, wide};
use crate::cli::session::{Session, pod_status};
use crate::error::Result;
use crate::plan::{Family, Namespace};
use crate::topology::{Pod, Workload, WorkloadKind};

/// What kubectl prints for a cell that has no value.
pub(super) const NONE: &str = "<none>";

pub(super) fn nodes(session: &Session) -> Listing {
    let version = format!("minik-{}", session.record.version);
    let rows = session.cluster.nodes.iter().map(|node| {
        let ip = node.address.to_string();
        let ips = Family::BOTH.into_iter().filter_map(|family| node.address_in(family));
        let mut addresses: Vec<Value> = ips.map(|ip| json!({ "type": "InternalIP", "address": ip })).collect();
        addresses.push(json!({ "type": "Hostname", "address": node.name }));
        let cidrs = pod_cidrs(session, node);
        Row {
            namespace: None,
            name: node.name.clone(),
            cells: vec![
                node.name.clone(),
                "Ready".into(),
                NONE.into(),
                age(session.age_of("Node", "", &node.name)),
                version.clone(),
                ip.clone(),
                NONE.into(),
            ],
            object: json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": node.name, "labels": node.labels },
                "spec": { "podCIDR": cidrs.first(), "podCIDRs": cidrs },
                "status": {
                    "addresses": addresses,
                    "conditions": [{ "type": "Ready", "status": "True" }],
                },
            }),
        }
    });
    let columns = [column("NAME"), column("STATUS"), column("ROLES"), column("AGE"), column("VERSION")];
    let columns = columns.into_iter().chain([wide("INTERNAL-IP"), wide("EXTERNAL-IP")]).collect();
    Listing { kind: "node", columns, rows: rows.collect(), like_calicoctl: false }
}

/// STATUS of a pod, and how many of its containers are ready.
pub(in crate::cli) fn pod_state(status: Option<&PodStatus>, pod: &Pod) -> (String, usize) {
    let Some(status) = status else { return ("Unknown".into(), 0) };
    let ready = status.containers.iter().filter(|c| matches!(c.state, State::Running | State::Program { .. })).count();
    let worst = status.containers.iter().map(|container| state_word(&container.state)).max_by_key(|word| match *word {
        "Running" => 0,
        "Completed" if ready == 0 => 1,
        "Completed" => 0,
        _ => 2,
    });
    debug_assert!(ready <= pod.containers.len());
    (worst.unwrap_or("Running").to_owned(), if pod.ready { ready } else { 0 })
}

/// A container's state in kubectl's words. minik does not start an ended program again, so there is no
/// `CrashLoopBackOff`.
pub(in crate::cli) fn state_word(state: &State) -> &'static str {
    match state {
        State::Running | State::Program { .. } => "Running",
        State::Exited { code: 0 } => "Completed",
        State::Exited { .. } => "Error",
        State::Failed { .. } => "RunContainerError",
    }
}

pub(super) fn pods(session: &Session) -> Result<Listing> {
    let status = session.agent()?;
    let rows = session.cluster.pods.iter().map(|pod| pod_row(session, pod, status.as_ref())).collect();
    let columns = [column("NAME"), column("READY"), column("STATUS"), column("RESTARTS"), column("AGE")];
    let more = [wide("IP"), wide("NODE"), wide("NOMINATED NODE"), wide("READINESS GATES")];
    Ok(Listing { kind: "pod", columns: columns.into_iter().chain(more).collect(), rows, like_calicoctl: false })
}

fn pod_row(session: &Session, pod: &Pod, status: Option<&Status>) -> Row {
    let (word, ready) = pod_state(pod_status(status, pod), pod);
    let ip = session
        .plan
        .namespace(&pod.key())
        .and_then(Namespace::address)
        .map_or_else(|| NONE.to_owned(), |ip| ip.to_string());
    let ready = format!("{ready}/{}", pod.containers.len());
    let age = age(session.age_of("Pod", &pod.namespace, &pod.name));
    let cells = [&pod.name, &ready, &word, "0", &age, &ip, &pod.node, NONE, NONE];
    Row {
        namespace: Some(pod.namespace.clone()),
        name: pod.name.clone(),
        cells: cells.iter().map(|cell| cell.to_string()).collect(),
        object: pod_object(session, pod, status, &word, &ip),
    }
}

fn pod_object(session: &Session, pod: &Pod, status: Option<&Status>, word: &str, ip: &str) -> Value {
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|container| {
            let ports: Vec<Value> = container
                .ports
                .iter()
                .map(|port| {
                    let (host_port, host_ip) = (port.host_port, port.host_ip);
                    json!({ "name": port.name, "containerPort": port.port, "protocol": port.protocol, "hostPort": host_port, "hostIP": host_ip })
                })
                .collect();
            let env: Vec<Value> = container.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "name": container.name, "image": container.image, "command": container.command, "ports": ports, "env": env })
        })
        .collect();
    let owner = pod.owner.as_ref().map(|(kind, name)| json!([{ "kind": kind, "name": name }]));
    let states = pod_status(status, pod).map(|status| json!(status.containers));
    let node = session.cluster.nodes.iter().find(|node| node.name == pod.node);
    let own = session.plan.namespace(&pod.key());
    let objects = |address: &dyn Fn(Family) -> Option<IpAddr>| -> Vec<Value> {
        Family::BOTH.into_iter().filter_map(address).map(|ip| json!({ "ip": ip })).collect()
    };
    let ips = objects(&|family| own?.address_in(family));
    let host_ips = objects(&|family| node?.address_in(family));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": pod.name, "namespace": pod.namespace, "labels": pod.labels, "ownerReferences": owner },
        "spec": { "nodeName": pod.node, "serviceAccountName": pod.service_account, "containers": containers },
        "status": {
            "phase": word,
            "podIP": ip,
            "podIPs": ips,
            "hostIP": node.map(|node| node.address),
            "hostIPs": host_ips,
            "conditions": [{ "type": "Ready", "status": if pod.ready { "True" } else { "False" } }],
            "containerStatuses": states,
        },
    })
}

pub(super) fn namespaces(session: &Session) -> Listing {
    let rows = session.cluster.namespaces.iter().map(|ns| Row {
        namespace: None,
        name: ns.name.clone(),
        cells: vec![ns.name.clone(), "Active".into(), age(session.age_of("Namespace", "", &ns.name))],
        object: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": ns.name, "labels": ns.labels },
            "status": { "phase": "Active" },
        }),
    });
    let columns = vec![column("NAME"), column("STATUS"), column("AGE")];
    Listing { kind: "namespace", columns, rows: rows.collect(), like_calicoctl: false }
}

/// The pods of a controller.
pub(in crate::cli) fn pods_of<'a>(session: &'a Session, workload: &Workload) -> Vec<&'a Pod> {
    let owned = |pod: &&Pod| {
        pod.namespace == workload.namespace
            && pod.owner.as_ref().is_some_and(|(kind, name)| *kind == workload.kind && *name == workload.name)
    };
    let pods: Vec<&Pod> = session.cluster.pods.iter().filter(owned).collect();
    if !pods.is_empty() || workload.kind != WorkloadKind::ReplicaSet {
        return pods;
    }
    // The ReplicaSet of a Deployment: the pods are the Deployment's, and bear its name.
    let prefix = format!("{}-", workload.name);
    let named =
        |pod: &&Pod| pod.owner.is_some() && pod.namespace == workload.namespace && pod.name.starts_with(&prefix);
    session.cluster.pods.iter().filter(named).collect()
}

/// The controllers of a kind, with the ReplicaSets that stand between Deployments and their pods.
pub(in crate::cli) fn workloads_of(session: &Session, kind: WorkloadKind) -> Vec<Workload> {
    let all = &session.cluster.workloads;
    let mut sets: Vec<Workload> = all.iter().filter(|w| w.kind == kind).cloned().collect();
    if kind == WorkloadKind::ReplicaSet {
        sets.extend(all.iter().filter_map(|w| replica_set_of(session, w)));
    }
    sets
}

pub(super) fn workloads(session: &Session, kind: WorkloadKind) -> Result<Listing> {
    let status = session.agent()?;
    let mut sets = workloads_of(session, kind);
    sets.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let rows = sets.iter().map(|set| workload_row(session, set, status.as_ref())).collect();
    let columns: &[&str] = match kind {
        WorkloadKind::Deployment => &["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
        WorkloadKind::ReplicaSet => &["NAME", "DESIRED", "CURRENT", "READY", "AGE"],
        WorkloadKind::DaemonSet => {
            &["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", "AGE"]
        }
        WorkloadKind::StatefulSet => &["NAME", "READY", "AGE"],
    };
    let columns = columns.iter().map(|name| column(name)).chain([wide("CONTAINERS"), wide("IMAGES")]).collect();
    let kind = match kind {
        WorkloadKind::Deployment => "deployment.apps",
        WorkloadKind::ReplicaSet => "replicaset.apps",
        WorkloadKind::DaemonSet => "daemonset.apps",
        WorkloadKind::StatefulSet => "statefulset.apps",
    };
    Ok(Listing { kind, columns, rows, like_calicoctl: false })
}

/// The ReplicaSet that stands between a Deployment and its pods: their names without the last part.
fn replica_set_of(session: &Session, deployment: &Workload) -> Option<Workload> {
    if deployment.kind != WorkloadKind::Deployment {
        return None;
    }
    let pod = *pods_of(session, deployment).first()?;
    let (name, _) = pod.name.rsplit_once('-')?;
    let (name, labels) = (name.to_owned(), pod.labels.clone());
    Some(Workload { kind: WorkloadKind::ReplicaSet, name, labels, ..deployment.clone() })
}

/// The age of a controller in seconds; that of the ReplicaSet of a Deployment is its oldest pod's.
fn workload_age(session: &Session, set: &Workload, pods: &[&Pod]) -> u64 {
    let own = |kind: WorkloadKind| session.age_of(kind.name(), &set.namespace, &set.name);
    match set.kind {
        WorkloadKind::ReplicaSet => {
            let ages = pods.iter().map(|pod| session.age_of("Pod", &pod.namespace, &pod.name));
            ages.max().unwrap_or_else(|| own(set.kind))
        }
        kind => own(kind),
    }
}

fn workload_row(session: &Session, set: &Workload, status: Option<&Status>) -> Row {
    let pods = pods_of(session, set);
    let is_ready = |pod: &&&Pod| pod_state(pod_status(status, pod), pod).1 == pod.containers.len();
    let ready = pods.iter().filter(is_ready).count().to_string();
    let (want, have) = (set.replicas.to_string(), pods.len().to_string());
    let age = age(workload_age(session, set, &pods));
    let name = set.name.clone();
    let of = format!("{ready}/{want}");
    let mut cells = match set.kind {
        WorkloadKind::Deployment => vec![name, of, have, ready.clone(), age],
        WorkloadKind::ReplicaSet => vec![name, want, have, ready.clone(), age],
        WorkloadKind::DaemonSet => vec![name, want, have.clone(), ready.clone(), have, ready.clone(), NONE.into(), age],
        WorkloadKind::StatefulSet => vec![name, of, age],
    };
    let containers = pods.first().map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let list =
        |each: fn(&crate::topology::Container) -> &str| containers.iter().map(each).collect::<Vec<_>>().join(",");
    cells.extend([list(|c| &c.name), list(|c| &c.image)]);
    Row {
        namespace: Some(set.namespace.clone()),
        name: set.name.clone(),
        cells,
        object: json!({
            "apiVersion": "apps/v1",
            "kind": set.kind,
            "metadata": { "name": set.name, "namespace": set.namespace, "labels": set.labels },
            "spec": { "replicas": set.replicas },
            "status": { "replicas": pods.len(), "readyReplicas": ready.parse::<u32>().unwrap_or_default() },
        }),
    }
}
