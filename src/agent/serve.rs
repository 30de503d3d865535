//! The agent's own process: waits for orders, serves them, follows new ones, answers questions, ends cleanly.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::unistd::{dup, dup2_stdin, setsid};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::account::Account;
use super::control::{self, Request, Status};
use super::daemons::Daemons;
use super::heal::{Healer, Recall};
use super::health::Health;
use super::household::Household;
use super::launch::Answer;
use super::orders::Orders;
use super::tunnels::Tunnels;
use super::{log, orders_path, socket_path};
use crate::error::{Error, Kind, Result};
use crate::kernel::{process, state};

/// Longest request on the control socket in bytes.
const REQUEST_MAX: u64 = 4096;

/// How long a client of the control socket may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// Is the agent of `cluster` until it is told to stop. The standard input is the socket to whoever started it; `recall`
/// computes what the daemons' timers go by.
///
/// # Errors
/// If another agent of this cluster runs, or the orders cannot be served.
pub fn serve(cluster: &str, recall: Recall) -> Result<()> {
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
    let outcome = take_up(cluster, recall, &line, &runtime);
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
fn take_up(cluster: &str, recall: Recall, line: &str, runtime: &Runtime) -> Result<Agent> {
    let orders: Orders =
        serde_json::from_str(line).map_err(|e| Error::new(Kind::Io, "cannot read the agent's orders").because(e))?;
    state::write_whole(&orders_path(cluster), line.as_bytes())?;
    let _inside = runtime.enter();
    let control = bind_control(cluster)?;
    let tunnels = Tunnels::start(&orders.tunnels)?;
    let mut health = Health::new();
    runtime.block_on(health.follow(&orders.nodes))?;
    let mut household = Household::new(cluster, runtime.handle().clone());
    runtime.block_on(household.follow(orders.pods, orders.names))?;
    let account = Account::default();
    let mut daemons = Daemons::new(cluster, runtime.handle().clone(), account.clone());
    daemons.follow(&orders.daemons)?;
    let healer = Healer::start(cluster, recall, account.clone())?;
    let started = Instant::now();
    let cluster = cluster.to_owned();
    let agent = Agent { cluster, started, control, health, household, tunnels, daemons, account, _healer: healer };
    log::line(format_args!("serves {} pods and {} tunnels", agent.household.count(), orders.tunnels.len()));
    Ok(agent)
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

/// Reads one request; the answer goes to the other half.
async fn listen_to(stream: tokio::net::UnixStream) -> Result<(Request, OwnedWriteHalf)> {
    let cannot = |e| Error::io("cannot speak with a client", e);
    let (read, write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(REQUEST_MAX)).read_line(&mut line).await.map_err(cannot)?;
    serde_json::from_str(&line).map(|request| (request, write)).map_err(|e| cannot(e.into()))
}

/// A running agent.
struct Agent {
    cluster: String,
    started: Instant,
    control: UnixListener,
    health: Health,
    household: Household,
    tunnels: Tunnels,
    daemons: Daemons,
    account: Account,
    _healer: Healer,
}

impl Agent {
    /// Answers questions until it is told to stop, by request or by signal; says which.
    async fn run(mut self) -> Result<String> {
        let cannot = |e| Error::io("cannot wait for signals", e);
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        loop {
            let stream = tokio::select! {
                accepted = self.control.accept() => accepted.map_err(|e| Error::io("cannot accept on the control socket", e))?.0,
                () = self.daemons.turn() => continue,
                _ = terminate.recv() => break self.end("SIGTERM"),
                _ = interrupt.recv() => break self.end("SIGINT"),
            };
            // One at a time: an answer takes microseconds, and a client that says nothing is given up quickly.
            match tokio::time::timeout(CLIENT_PATIENCE, listen_to(stream)).await {
                Ok(Ok((request, answer_to))) => match self.answer(request, answer_to).await {
                    Ok(()) if request == Request::Stop => break self.end("asked to stop"),
                    Ok(()) => {}
                    Err(e) => log::line(format_args!("control: {e}")),
                },
                Ok(Err(e)) => log::line(format_args!("control: {e}")),
                Err(_) => log::line("control: a client said nothing"),
            }
        }
    }

    /// Kills the programs and daemons.
    fn end(&self, reason: &str) -> Result<String> {
        self.household.kill_programs();
        self.daemons.kill()?;
        Ok(reason.to_owned())
    }

    /// Does what the orders say that were written since.
    async fn reload(&mut self) -> Result<()> {
        let path = orders_path(&self.cluster);
        let text = fs::read(&path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
        let orders: Orders = serde_json::from_slice(&text)
            .map_err(|e| Error::new(Kind::Io, "cannot read the agent's orders").because(e))?;
        self.tunnels.follow(&orders.tunnels)?;
        self.health.follow(&orders.nodes).await?;
        self.household.follow(orders.pods, orders.names).await?;
        self.daemons.follow(&orders.daemons)?;
        log::line(format_args!("now serves {} pods and {} tunnels", self.household.count(), orders.tunnels.len()));
        Ok(())
    }

    /// Does what a request asks, and says what came of it.
    async fn answer(&mut self, request: Request, mut to: OwnedWriteHalf) -> Result<()> {
        let cannot = |e| Error::io("cannot speak with a client", e);
        let mut answer = match request {
            Request::Stop => b"{}".to_vec(),
            Request::Status => serde_json::to_vec(&self.status()).map_err(|e| cannot(e.into()))?,
            Request::Reload => {
                let answer = self.reload().await.map_or_else(|e| Answer::Failed(e.to_string()), |()| Answer::Ready);
                serde_json::to_vec(&answer).map_err(|e| cannot(e.into()))?
            }
        };
        answer.push(b'\n');
        to.write_all(&answer).await.map_err(cannot)
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            pods: self.household.status(),
            tunnels: self.tunnels.status(),
            daemons: self.daemons.status(),
            healed: self.account.last(),
        }
    }
}
