//! The agent's orders for a cluster. PURE.

use std::net::IpAddr;

use crate::agent::orders::{
    App, ContainerOrders, Daemon, Datagrams, NodeOrders, Orders, PodOrders, Port, Transport, Tunnel, Work,
};
use crate::compose;
use crate::dns::Records;
use crate::kernel::{bird, state};
use crate::plan::{Bird, Datapath, Link, LinkKind, Namespace, Plan, Role};
use crate::topology::{Cluster, Pod};

use super::images;

/// Where minik answers for a pod in which nothing else does, so that every pod can be tried out with curl and nc.
const ANSWERS: [Port; 2] = [Port::tcp(80), Port::udp(9376)];

/// What the agent of this cluster has to do.
pub fn orders(cluster: &Cluster, plan: &Plan) -> Orders {
    let places = plan.places();
    let place = |pod: &Pod| places.get(pod.key().as_str()).copied();
    let pods = cluster.pods.iter().filter_map(|pod| Some(pod_orders(pod, &plan.cluster, place(pod)?)));
    let daemons = bird::of_plan(plan).map(|(ns, bird, files)| daemon(ns, bird, files)).collect();
    let pods: Vec<PodOrders> = pods.collect();
    let is_server = |container: &ContainerOrders| matches!(container.work, Work::App { app: App::Dns, .. });
    let serves = pods.iter().any(|pod| pod.containers.iter().any(is_server));
    let names = serves.then(|| Records::of(cluster, &compose::endpoints(cluster, plan)));
    let node = |ns: &Namespace| Some(NodeOrders { netns: ns.netns.clone(), health: ns.health.clone()? });
    let nodes = plan.nodes().filter_map(node).collect();
    Orders { cluster: plan.cluster.clone(), pods, tunnels: tunnels(plan), daemons, nodes, names }
}

fn pod_orders(pod: &Pod, cluster: &str, ns: &Namespace) -> PodOrders {
    let containers: Vec<ContainerOrders> = pod
        .containers
        .iter()
        .map(|container| ContainerOrders {
            name: container.name.clone(),
            work: images::work(container),
            env: container.env.clone(),
            log: log_path(cluster, pod, &container.name),
        })
        .collect();
    PodOrders {
        netns: ns.netns.clone(),
        hostname: ns.hostname.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        node: pod.node.clone(),
        address: ns.address(),
        // Whoever the namespace belongs to answers there already.
        answers: if ns.name == pod.key() { answers(pod, &containers) } else { Vec::new() },
        containers,
    }
}

/// The file of a container's output: no name of Kubernetes has an underscore.
pub fn log_path(cluster: &str, pod: &Pod, container: &str) -> std::path::PathBuf {
    state::dir(cluster).join("logs").join(format!("{}_{}_{container}.log", pod.namespace, pod.name))
}

/// minik answers by TCP if no app in the pod listens by TCP, and so for UDP; and by SCTP, which no app speaks, on the ports
/// that the pod declares. A program may listen anywhere, so minik keeps out of its pod.
fn answers(pod: &Pod, containers: &[ContainerOrders]) -> Vec<Port> {
    if containers.iter().any(|container| matches!(container.work, Work::Program { .. })) {
        return Vec::new();
    }
    let listens = |transport: Transport| {
        containers.iter().any(|container| match &container.work {
            Work::App { ports, .. } => ports.iter().any(|port| port.protocol == transport),
            _ => false,
        })
    };
    let declared = pod.containers.iter().flat_map(|container| &container.ports);
    let declared = declared.filter(|port| port.protocol == "SCTP").map(|port| Port::sctp(port.port));
    let mut ports: Vec<Port> = ANSWERS.into_iter().filter(|port| !listens(port.protocol)).chain(declared).collect();
    ports.sort();
    ports.dedup();
    ports
}

/// One of a node's BIRDs, in the foreground; `-R` keeps the routes of the one before it until its sessions are up again.
fn daemon(ns: &Namespace, bird: &Bird, files: bird::Files) -> Daemon {
    let words = [Bird::PROGRAM.to_owned(), "-f".into(), "-R".into(), "-c".into(), files.config.display().to_string()];
    let argv = words.into_iter().chain(["-s".into(), files.socket.display().to_string()]).collect();
    let (netns, hostname, name) = (ns.netns.clone(), ns.hostname.clone(), bird.name().to_owned());
    Daemon { name, netns, hostname, argv, config: (files.config, bird.config.clone()), log: files.log }
}

/// The tunnel devices that the agent carries: in place of the kernel, or of flanneld.
fn tunnels(plan: &Plan) -> Vec<Tunnel> {
    let nodes = plan.namespaces.iter().filter(|ns| ns.role == Role::Node);
    let devices = nodes.flat_map(|ns| ns.links.iter().map(move |link| (ns, link)));
    devices.filter_map(|(ns, link)| tunnel(plan.datapath, ns, link)).collect()
}

fn tunnel(datapath: Datapath, ns: &Namespace, link: &Link) -> Option<Tunnel> {
    let (peer, datagrams) = match (&link.kind, datapath) {
        (LinkKind::Udp(tunnel), _) => {
            // Without an address it would have nothing to complain from; no plan leaves it out.
            let first = link.addresses.first().map(|address| address.net.addr());
            let address = if let Some(IpAddr::V4(address)) = first { address } else { tunnel.local };
            let peers = tunnel.peers.clone();
            (None, Some(Datagrams { local: tunnel.local, port: tunnel.port, address, peers }))
        }
        (LinkKind::IpipPeer { local, remote }, Datapath::Userspace) => (Some((*local, *remote)), None),
        (kind, Datapath::Userspace) if kind.is_ipip() => (None, None),
        _ => return None,
    };
    Some(Tunnel { netns: ns.netns.clone(), device: link.name.clone(), peer, datagrams })
}
