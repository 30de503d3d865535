//! The pods that the agent stands for: their open ports and their programs, started and ended as the orders say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::Child;
use tokio::runtime::Handle;

use super::control::{ContainerStatus, PodStatus, State};
use super::listen::{self, Hall, Identity, Lease, Socket};
use super::names::{Names, Server};
use super::orders::{App, PodOrders, Port, Transport, Work};
use super::program::{self, Nursery, Program};
use crate::dns::Records;
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;

/// How each pod is, by its key: programs end at any time and are noted here.
type States = Arc<Mutex<BTreeMap<String, PodStatus>>>;

/// What one container or answer of a pod opened: the sockets, or why one of them could not be opened.
type Opened = std::result::Result<Vec<Socket>, String>;

/// A container: its pod's key, and its place in the pod.
type ContainerAt = (String, usize);

/// All pods.
pub(super) struct Household {
    /// The cluster's name.
    cluster: String,
    runtime: Handle,
    /// The pods in the order of the orders, each with what keeps its ports open.
    residents: Vec<(PodOrders, Lease)>,
    states: States,
    hall: Option<Hall>,
    /// What DNS servers among the pods know.
    names: Names,
    /// Lives as long as the programs may.
    nursery: Option<Nursery>,
}

impl Household {
    /// That of a cluster, without anybody in it.
    pub(super) fn new(cluster: &str, runtime: Handle) -> Household {
        let cluster = cluster.to_owned();
        let (residents, states, names) = (Vec::new(), States::default(), Names::new());
        Household { cluster, runtime, residents, states, hall: None, names, nursery: None }
    }

    /// How many pods there are.
    pub(super) fn count(&self) -> usize {
        self.residents.len()
    }

    /// How the pods are, in order.
    pub(super) fn status(&self) -> Vec<PodStatus> {
        let states = lock(&self.states);
        self.residents.iter().filter_map(|(pod, _)| states.get(&key(pod)).cloned()).collect()
    }

    /// Serves these pods from now on; those with the same orders as before are not disturbed, and DNS servers among them
    /// answer from other `names`.
    ///
    /// # Errors
    /// If a pod's namespace is not there, or one of minik's own ports is taken.
    pub(super) async fn follow(&mut self, orders: Vec<PodOrders>, names: Option<Records>) -> Result<()> {
        self.names.replace(names.unwrap_or_default());
        let mut before: BTreeMap<String, (PodOrders, Lease)> =
            std::mem::take(&mut self.residents).into_iter().map(|(pod, lease)| (key(&pod), (pod, lease))).collect();
        let mut new = Vec::new();
        for pod in orders {
            match before.remove(&key(&pod)) {
                Some((known, lease)) if known == pod => self.residents.push((known, lease)),
                changed => {
                    if let Some((known, lease)) = changed {
                        self.end(&known, lease).await;
                    }
                    new.push(pod.clone());
                    self.residents.push((pod, Lease::new()));
                }
            }
        }
        for (gone, lease) in before.into_values() {
            self.end(&gone, lease).await;
        }
        self.open(&new)?;
        self.start_programs(&new)
    }

    /// Kills the programs of all pods.
    pub(super) fn kill_programs(&self) {
        lock(&self.states).values().for_each(kill_programs);
    }

    async fn end(&self, pod: &PodOrders, lease: Lease) {
        lock(&self.states).remove(&key(pod)).iter().for_each(kill_programs);
        lease.finish().await;
    }

    /// Opens every port of these pods, in their namespaces, and serves it in this thread's runtime.
    fn open(&mut self, pods: &[PodOrders]) -> Result<()> {
        let open = |port: &Port| listen::open(*port).map_err(|e| format!("cannot listen on {port}: {e}"));
        let open_pod = |pod: &PodOrders| -> Vec<Opened> {
            wanted(pod).into_iter().map(|(_, ports)| ports.iter().map(open).collect()).collect()
        };
        let opened = netns::tour(pods, |pod| &pod.netns, open_pod)?;
        let hall = self.hall.get_or_insert_with(listen::open_hall);
        let leases: BTreeMap<String, &Lease> = self.residents.iter().map(|(pod, lease)| (key(pod), lease)).collect();
        let mut apps_in_use: Vec<Arc<App>> = Vec::new();
        for (pod, mut opened) in pods.iter().zip(opened) {
            let Some(lease) = leases.get(&key(pod)) else { continue };
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            let server = Arc::new(Server::new(&self.names, pod.address.map(Into::into), key(pod)));
            let identity = Arc::new(Identity { namespace, pod: name, node: pod.node.clone(), server });
            let mut states = Vec::new();
            // Where the kernel knows no SCTP.
            let deaf = opened.iter().flatten().flatten().any(|socket| matches!(socket, Socket::Sctp(None)));
            for ((app, _), sockets) in wanted(pod).into_iter().zip(opened.drain(..)) {
                states.push(match (app, sockets) {
                    (None, _) => State::Running,
                    (Some(app), Ok(sockets)) => {
                        let app = shared(&mut apps_in_use, app);
                        sockets.into_iter().try_for_each(|one| listen::serve(one, &app, &identity, hall, lease))?;
                        State::Running
                    }
                    (Some(_), Err(reason)) => State::Failed { reason },
                });
            }
            let mut status = pod_status(pod, states)?;
            status.answers.retain(|port| port.protocol != Transport::Sctp || !deaf);
            lock(&self.states).insert(key(pod), status);
        }
        Ok(())
    }

    /// Starts the programs of all containers; one that cannot be started is a failed container, and its log says why.
    fn start_programs(&mut self, pods: &[PodOrders]) -> Result<()> {
        let mut places: Vec<(ContainerAt, &std::path::Path)> = Vec::new();
        let mut programs = Vec::new();
        for pod in pods {
            for (c, container) in pod.containers.iter().enumerate() {
                let Work::Program { argv } = &container.work else { continue };
                let (cluster, netns, hostname) = (self.cluster.clone(), pod.netns.clone(), pod.hostname.clone());
                let (argv, env, log) = (argv.clone(), container.env.clone(), container.log.clone());
                places.push(((key(pod), c), &container.log));
                programs.push(Program { cluster, netns, hostname, argv, env, log });
            }
        }
        if programs.is_empty() {
            return Ok(());
        }
        let nursery = match self.nursery.take() {
            Some(nursery) => nursery,
            None => Nursery::open(self.runtime.clone())?,
        };
        let started = self.nursery.insert(nursery).start(programs)?;
        for ((place, log), child) in places.into_iter().zip(started) {
            match child {
                Ok(child) => {
                    set_state(&self.states, &place, State::Program { pid: child.id().unwrap_or_default() });
                    tokio::spawn(watch(place, child, self.states.clone()));
                }
                Err(e) => {
                    program::note(log, &e)?;
                    set_state(&self.states, &place, State::Failed { reason: e.to_string() });
                }
            }
        }
        Ok(())
    }
}

fn key(pod: &PodOrders) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn lock(states: &States) -> MutexGuard<'_, BTreeMap<String, PodStatus>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes how a container is, if its pod is still there.
fn set_state(states: &States, (pod, container): &ContainerAt, state: State) {
    if let Some(known) = lock(states).get_mut(pod).and_then(|pod| pod.containers.get_mut(*container)) {
        known.state = state;
    }
}

fn kill_programs(pod: &PodStatus) {
    for container in &pod.containers {
        if let State::Program { pid } = container.state {
            program::kill(pid);
        }
    }
}

/// Waits for a program's end and notes it, unless another one runs in its place by now.
async fn watch(place: ContainerAt, child: Child, states: States) {
    let pid = child.id();
    let ended = match program::end_of(child).await {
        Ok(end) => State::Exited { code: end.code() },
        Err(e) => State::Failed { reason: format!("cannot wait for its program: {e}") },
    };
    let now = lock(&states).get(&place.0).and_then(|pod| Some(pod.containers.get(place.1)?.state.clone()));
    if matches!(now, Some(State::Program { pid: running }) if Some(running) == pid) {
        set_state(&states, &place, ended);
    }
}

/// The ports of a pod's built-in apps by container, then those on which minik answers for it.
fn wanted(pod: &PodOrders) -> Vec<(Option<&App>, &[Port])> {
    let containers = pod.containers.iter().map(|container| match &container.work {
        Work::App { app, ports } => (Some(app), ports.as_slice()),
        Work::Idle | Work::Program { .. } => (None, [].as_slice()),
    });
    containers.chain([(Some(&App::Answer), pod.answers.as_slice())]).collect()
}

/// One copy of each app for all pods.
fn shared(in_use: &mut Vec<Arc<App>>, app: &App) -> Arc<App> {
    if let Some(known) = in_use.iter().find(|known| ***known == *app) {
        return known.clone();
    }
    let fresh = Arc::new(app.clone());
    in_use.push(fresh.clone());
    fresh
}

/// A pod's status from the state of each container and, last, of minik's own answers.
fn pod_status(pod: &PodOrders, mut states: Vec<State>) -> Result<PodStatus> {
    // Nothing else listens in a pod that was just made, so a port that is taken there is our own mistake.
    if let Some(State::Failed { reason }) = states.pop() {
        return Err(Error::new(Kind::Io, format!("pod {}/{}: {reason}", pod.namespace, pod.name)));
    }
    let containers = pod.containers.iter().zip(states).map(|(container, state)| {
        let ports = match (&container.work, &state) {
            (Work::App { ports, .. }, State::Running) => ports.clone(),
            _ => Vec::new(),
        };
        ContainerStatus { name: container.name.clone(), state, ports }
    });
    Ok(PodStatus {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        containers: containers.collect(),
        answers: pod.answers.clone(),
    })
}
