//! The agent's own process: waits for orders, serves them, answers questions, ends cleanly.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::unistd::{dup, dup2_stdin, setsid};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::control::{self, ContainerStatus, PodStatus, Request, State, Status};
use super::launch::Answer;
use super::listen::{self, Identity, Socket};
use super::orders::{App, Orders, PodOrders, Port, Work};
use super::program::{self, Nursery, Program};
use super::tunnels::Tunnels;
use super::{log, orders_path, socket_path};
use crate::error::{Error, Kind, Result};
use crate::kernel::{netns, process, state};

/// Longest request on the control socket in bytes.
const REQUEST_MAX: u64 = 4096;

/// How long a client of the control socket may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// Is the agent of `cluster` until it is told to stop. The standard input is the socket to whoever started it.
///
/// # Errors
/// If another agent of this cluster runs, or the orders cannot be served.
pub fn serve(cluster: &str) -> Result<()> {
    // `up` holds SIGTERM and others back, and its children inherit that: neither we nor the pods' programs shall.
    SigSet::empty().thread_set_mask().map_err(|e| Error::io("cannot let signals through", e))?;
    let launcher = take_launcher()?;
    let Some(_lock) = control::take_lock(cluster)? else {
        return Err(Error::new(Kind::Conflict, format!("cluster {cluster} has an agent already")));
    };
    // Ctrl-C in the terminal of `up` is not for us. This fails only for the leader of a process group, who got no
    // such signal in the first place.
    let _ = setsid();
    process::raise_file_limit()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::io("cannot make the agent's runtime", e))?;
    let mut line = String::new();
    let read = BufReader::new(&launcher).read_line(&mut line);
    if read.map_err(|e| Error::io("cannot read the agent's orders", e))? == 0 {
        log::line("no orders: whoever started this agent is gone");
        return Ok(());
    }
    let outcome = take_up(cluster, &line, &runtime);
    let answer = match &outcome {
        Ok(_) => Answer::Ready,
        Err(e) => Answer::Failed(e.to_string()),
    };
    tell(&launcher, &answer)?;
    drop(launcher);
    let agent = outcome?;
    let reason = runtime.block_on(agent.run())?;
    log::line(format_args!("ends: {reason}"));
    let path = socket_path(cluster);
    fs::remove_file(&path).map_err(|e| Error::io(format!("cannot remove {}", path.display()), e))
}

/// Takes the socket that stands in for the standard input, and puts /dev/null there.
fn take_launcher() -> Result<UnixStream> {
    let cannot = |e: nix::Error| Error::io("cannot take the socket of whoever started this agent", e);
    let socket = dup(std::io::stdin()).map_err(cannot)?;
    let null = File::open("/dev/null").map_err(|e| Error::io("cannot open /dev/null", e))?;
    dup2_stdin(&null).map_err(cannot)?;
    let stream = UnixStream::from(socket);
    let known = stream.peer_addr().map_err(|e| {
        Error::new(Kind::Usage, "`agent serve` is for minik itself")
            .because(e)
            .hint("to start an agent: `minik agent restart`")
    });
    known.map(|_| stream)
}

fn tell(mut launcher: &UnixStream, answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(|e| Error::new(Kind::Io, "cannot write an answer").because(e))?;
    line.push(b'\n');
    match launcher.write_all(&line) {
        // `up` was killed in the meantime; the cluster stands all the same, and `down` will find us.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        told => told.map_err(|e| Error::io("cannot answer whoever started this agent", e)),
    }
}

/// Keeps the orders and does what they say; when this returns, everything is served.
fn take_up(cluster: &str, line: &str, runtime: &Runtime) -> Result<Agent> {
    let orders: Orders =
        serde_json::from_str(line).map_err(|e| Error::new(Kind::Io, "cannot read the agent's orders").because(e))?;
    state::write_whole(&orders_path(cluster), line.as_bytes())?;
    let _inside = runtime.enter();
    let control = bind_control(cluster)?;
    let tunnels = Tunnels::start(&orders.tunnels)?;
    let mut pods = open_pods(&orders.pods)?;
    let (nursery, children) = start_programs(&orders.pods, &mut pods, runtime)?;
    log::line(format_args!("serves {} pods and {} tunnels", pods.len(), orders.tunnels.len()));
    let pods = Arc::new(Mutex::new(pods));
    for (place, child) in children {
        tokio::spawn(watch(place, child, pods.clone()));
    }
    Ok(Agent { started: Instant::now(), control, pods, tunnels, _nursery: nursery })
}

fn bind_control(cluster: &str) -> Result<UnixListener> {
    let path = socket_path(cluster);
    let cannot = |e| Error::io(format!("cannot listen on {}", path.display()), e);
    // The socket of an agent that was killed; we hold the lock, so it is nobody's.
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(cannot(e)),
        _ => {}
    }
    // The directory is closed to others (0700), so that the moment before the mode is set harms nobody.
    let listener = UnixListener::bind(&path).map_err(cannot)?;
    let closed = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(&path, closed).map_err(cannot)?;
    Ok(listener)
}

/// What one container or answer of a pod opened: the sockets, or why one of them could not be opened.
type Opened = std::result::Result<Vec<Socket>, String>;

/// The ports of a pod's built-in apps by container, then those on which minik answers for it.
fn wanted(pod: &PodOrders) -> Vec<(Option<&App>, &[Port])> {
    let containers = pod.containers.iter().map(|container| match &container.work {
        Work::App { app, ports } => (Some(app), ports.as_slice()),
        Work::Idle | Work::Program { .. } => (None, [].as_slice()),
    });
    containers.chain([(Some(&App::Answer), pod.answers.as_slice())]).collect()
}

/// Opens every port of every pod, in its namespace, and serves it in this thread's runtime.
fn open_pods(pods: &[PodOrders]) -> Result<Vec<PodStatus>> {
    let open = |port: &Port| listen::open(*port).map_err(|e| format!("cannot listen on {port}: {e}"));
    let open_pod = |pod: &PodOrders| -> Vec<Opened> {
        wanted(pod).into_iter().map(|(_, ports)| ports.iter().map(open).collect()).collect()
    };
    let opened = netns::tour(pods, |pod| &pod.netns, open_pod)?;
    let hall = listen::open_hall();
    let mut apps_in_use: Vec<Arc<App>> = Vec::new();
    let mut statuses = Vec::with_capacity(pods.len());
    for (pod, mut opened) in pods.iter().zip(opened) {
        let identity =
            Arc::new(Identity { namespace: pod.namespace.clone(), pod: pod.name.clone(), node: pod.node.clone() });
        let mut states = Vec::new();
        for ((app, _), sockets) in wanted(pod).into_iter().zip(opened.drain(..)) {
            states.push(match (app, sockets) {
                (None, _) => State::Running,
                (Some(app), Ok(sockets)) => {
                    let app = shared(&mut apps_in_use, app);
                    sockets.into_iter().try_for_each(|socket| listen::serve(socket, &app, &identity, &hall))?;
                    State::Running
                }
                (Some(_), Err(reason)) => State::Failed { reason },
            });
        }
        statuses.push(pod_status(pod, states)?);
    }
    Ok(statuses)
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

/// A container: index of its pod, then its own.
type ContainerAt = (usize, usize);

/// What keeps the programs alive, and each program with its container.
type Started = (Option<Nursery>, Vec<(ContainerAt, Child)>);

/// Starts the programs of all containers; one that cannot be started is a failed container, and its log says why.
fn start_programs(pods: &[PodOrders], statuses: &mut [PodStatus], runtime: &Runtime) -> Result<Started> {
    let mut places = Vec::new();
    let mut programs = Vec::new();
    for (p, pod) in pods.iter().enumerate() {
        for (c, container) in pod.containers.iter().enumerate() {
            let Work::Program { argv } = &container.work else { continue };
            let (netns, hostname) = (pod.netns.clone(), pod.hostname.clone());
            let (argv, env, log) = (argv.clone(), container.env.clone(), container.log.clone());
            places.push((p, c));
            programs.push(Program { netns, hostname, argv, env, log });
        }
    }
    if programs.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (nursery, started) = program::start(programs, runtime.handle().clone())?;
    let mut children = Vec::new();
    for ((p, c), child) in places.into_iter().zip(started) {
        statuses[p].containers[c].state = match child {
            Ok(child) => {
                let pid = child.id().unwrap_or_default();
                children.push(((p, c), child));
                State::Program { pid }
            }
            Err(e) => {
                program::note(&pods[p].containers[c].log, &e)?;
                State::Failed { reason: e.to_string() }
            }
        };
    }
    Ok((Some(nursery), children))
}

/// Waits for a program's end and notes it.
async fn watch((p, c): ContainerAt, child: Child, pods: Arc<Mutex<Vec<PodStatus>>>) {
    let ended = program::end_of(child).await;
    let mut pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
    pods[p].containers[c].state = match ended {
        Ok(code) => State::Exited { code },
        Err(e) => State::Failed { reason: format!("cannot wait for its program: {e}") },
    };
}

/// A running agent.
struct Agent {
    started: Instant,
    control: UnixListener,
    pods: Arc<Mutex<Vec<PodStatus>>>,
    tunnels: Tunnels,
    /// Lives as long as the programs may.
    _nursery: Option<Nursery>,
}

impl Agent {
    /// Answers questions until it is told to stop, by request or by signal; says which.
    async fn run(&self) -> Result<String> {
        let cannot = |e| Error::io("cannot wait for signals", e);
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        loop {
            let stream = tokio::select! {
                accepted = self.control.accept() => accepted.map_err(|e| Error::io("cannot accept on the control socket", e))?.0,
                _ = terminate.recv() => break self.end("SIGTERM"),
                _ = interrupt.recv() => break self.end("SIGINT"),
            };
            // One at a time: an answer takes microseconds, and a client that says nothing is given up quickly.
            match tokio::time::timeout(CLIENT_PATIENCE, self.converse(stream)).await {
                Ok(Ok(Request::Stop)) => break self.end("asked to stop"),
                Ok(Ok(Request::Status)) => {}
                Ok(Err(e)) => log::line(format_args!("control: {e}")),
                Err(_) => log::line("control: a client said nothing"),
            }
        }
    }

    /// Kills the programs.
    fn end(&self, reason: &str) -> Result<String> {
        for container in self.pods().iter().flat_map(|pod| &pod.containers) {
            if let State::Program { pid } = container.state {
                program::kill(pid);
            }
        }
        Ok(reason.to_owned())
    }

    fn pods(&self) -> std::sync::MutexGuard<'_, Vec<PodStatus>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one request and answers it.
    async fn converse(&self, stream: tokio::net::UnixStream) -> Result<Request> {
        let cannot = |e| Error::io("cannot speak with a client", e);
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        tokio::io::BufReader::new(read.take(REQUEST_MAX)).read_line(&mut line).await.map_err(cannot)?;
        let request: Request = serde_json::from_str(&line).map_err(|e| cannot(e.into()))?;
        let mut answer = match request {
            Request::Stop => b"{}".to_vec(),
            Request::Status => serde_json::to_vec(&self.status()).map_err(|e| cannot(e.into()))?,
        };
        answer.push(b'\n');
        write.write_all(&answer).await.map_err(cannot)?;
        Ok(request)
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            pods: self.pods().clone(),
            tunnels: self.tunnels.status(),
        }
    }
}
