//! `minik up`: from a topology to a cluster through which packets pass.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::args::{DatapathChoice, Globals, UpArgs};
use super::{ages, down, input, orders, session, status};
use crate::agent;
use crate::cni;
use crate::compose;
use crate::error::{Error, Kind, Result};
use crate::kernel::state::{self, Phase, Record, SourceText};
use crate::kernel::{apply, bird, features, host, neighbours, netns, process, restore};
use crate::names;
use crate::plan::netfilter::Family;
use crate::plan::{Datapath, LinkKind, Plan, crowd, line, render};
use crate::topology::{Cluster, Memory, Source};

/// How long BIRD may take for its sessions and routes: Calico has it wait two seconds before it connects, and five
/// before it tries again.
const BIRD_DEADLINE: Duration = Duration::from_secs(60);

/// Runs `minik up`.
///
/// # Errors
/// For bad input, before anything is touched; if a cluster of that name exists; if the kernel refuses a part,
/// and then all of it is removed again, unless `--no-rollback`.
pub fn run(args: &UpArgs, globals: &Globals) -> Result<ExitCode> {
    let began = Instant::now();
    let (source, cluster) = input::wanted(&args.wanted, globals)?;
    if args.dry_run {
        let plan = compose::plan(&cluster, args.datapath.fixed().unwrap_or(Datapath::Kernel))?;
        return super::print::text(&render::text(&plan)).map(|()| ExitCode::SUCCESS);
    }
    features::require_root()?;
    let interrupts = Interrupts::hold()?;
    let mut steps = Steps { told: globals.verbose > 0, since: began };
    // The process ends now, and need not take a large cluster and its plan apart before.
    let cluster = ManuallyDrop::new(cluster);
    let plan = ManuallyDrop::new(whole(&cluster, source, args, &interrupts, &mut steps)?);
    report(&plan, began.elapsed()).map(|()| ExitCode::SUCCESS)
}

/// Builds a cluster, or leaves nothing of it.
///
/// # Errors
/// As [`run`].
pub(super) fn whole(
    cluster: &Cluster,
    source: Source,
    args: &UpArgs,
    interrupts: &Interrupts,
    steps: &mut Steps,
) -> Result<Plan> {
    let plan = compose::plan(cluster, choose_datapath(args.datapath, cluster)?)?;
    let mut netem = None;
    let plan = session::for_kernel(plan, &mut netem)?;
    restore::require_tools(&plan)?;
    features::require_parts(&plan)?;
    let _lock = claim(&plan, args)?;
    let record = record(&plan, args, source, netem)?;
    steps.done("plan")?;
    let built = build(cluster, &plan, &record, steps).and_then(|()| interrupts.check());
    if let Err(error) = built {
        return Err(undo(error, &plan.cluster, args.no_rollback));
    }
    state::store(&Record { phase: Phase::Ready, ..record })?;
    Ok(plan)
}

/// Ctrl-C must not leave half a cluster: while this lives, signals that would end the process wait until we look.
pub(super) struct Interrupts(SignalFd);

impl Interrupts {
    /// Holds signals back, on this thread and those that it starts, to the process's end.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn hold() -> Result<Interrupts> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .map(Interrupts)
            .map_err(|e| Error::io("cannot hold signals back", e))
    }

    /// # Errors
    /// If one of the signals came in the meantime.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.read_signal().map_err(|e| Error::io("cannot look for signals", e))? {
            Some(signal) => Err(Error::new(Kind::Check, format!("interrupted by signal {}", signal.ssi_signo))),
            None => Ok(()),
        }
    }
}

/// Who shall carry tunnelled packets: what the user says, else the kernel if it can.
///
/// # Errors
/// If the user wants the kernel's device and it has none.
pub(super) fn choose_datapath(wanted: DatapathChoice, cluster: &Cluster) -> Result<Datapath> {
    if !cni::has_ipip(cluster) {
        return Ok(Datapath::Kernel);
    }
    match wanted.fixed() {
        Some(Datapath::Userspace) => Ok(Datapath::Userspace),
        Some(Datapath::Kernel) if !features::has_ipip()? => {
            let error = Error::new(Kind::Unsupported, "this kernel has no ipip");
            Err(error.hint("load the module ipip, or leave --datapath out: minik's agent then serves tunl0"))
        }
        Some(Datapath::Kernel) => Ok(Datapath::Kernel),
        None if features::has_ipip()? => Ok(Datapath::Kernel),
        None => Ok(Datapath::Userspace),
    }
}

/// Takes the cluster's name for us: locked, and nothing there that bears it.
fn claim(plan: &Plan, args: &UpArgs) -> Result<state::Lock> {
    let cluster = &plan.cluster;
    let busy = || Error::new(Kind::Conflict, format!("another minik is building or removing cluster `{cluster}`"));
    if args.replace && down::is_there(cluster)? {
        down::remove(cluster)?;
    }
    if let Some(found) = state::load(cluster)? {
        return Err(exists(cluster, found.phase));
    }
    let is_new = !state::dir(cluster).exists();
    let lock = state::try_lock(cluster)?.ok_or_else(busy)?;
    // Somebody may have been quicker between our look and our lock.
    if let Some(found) = state::load(cluster)? {
        return Err(exists(cluster, found.phase));
    }
    check_names_free(plan).inspect_err(|_| {
        // A directory that was there is how `down` finds the agent. In ours is only the lock; if it cannot be removed,
        // the error that follows matters more.
        if is_new {
            let _ = state::remove(cluster);
            let _ = host::release();
        }
    })?;
    Ok(lock)
}

fn exists(cluster: &str, phase: Phase) -> Error {
    let state = match phase {
        Phase::Ready => "exists already",
        Phase::Building => "is there half built (its `up` was killed, or is at work)",
        Phase::Removing => "is there half removed (its `down` was killed, or is at work)",
    };
    Error::new(Kind::Conflict, format!("cluster `{cluster}` {state}"))
        .hint(format!("remove it with `minik down -c {cluster}`, or pass --replace"))
}

/// Refuses names that are taken, and those by which one cluster's namespaces would read as another's.
fn check_names_free(plan: &Plan) -> Result<()> {
    let taken = netns::list(&names::netns_prefix(&plan.cluster))?;
    if let Some(name) = taken.first() {
        let what =
            format!("network namespace {name} is there, and its name says that it belongs to `{}`", plan.cluster);
        return Err(Error::new(Kind::Conflict, what)
            .hint(format!("remove it with `minik down -c {}`, or choose another name with -c", plan.cluster)));
    }
    let longer = state::list()?.into_iter().filter(|other| other.starts_with(&format!("{}-", plan.cluster)));
    for other in longer {
        let prefix = names::netns_prefix(&other);
        if let Some(ns) = plan.namespaces.iter().find(|ns| ns.netns.starts_with(&prefix)) {
            let what = format!("namespace {} would read as one of cluster `{other}`, which exists", ns.netns);
            return Err(
                Error::new(Kind::Conflict, what).hint(format!("rename {}, or choose another cluster name", ns.name))
            );
        }
    }
    Ok(())
}

fn record(plan: &Plan, args: &UpArgs, source: Source, netem: Option<bool>) -> Result<Record> {
    let created = ages::now();
    let record = Record {
        name: plan.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phase: Phase::Building,
        sources: vec![SourceText { name: source.name, text: source.text }],
        cni: args.wanted.cni.clone(),
        proxy: args.wanted.proxy.clone(),
        iptables: args.wanted.iptables.clone(),
        datapath: plan.datapath,
        netem,
        created,
        born: BTreeMap::new(),
        heal: !args.no_heal,
        heal_speed: args.heal_speed,
        edits: Vec::new(),
        memory: Memory::default(),
    };
    state::store(&record)?;
    Ok(record)
}

/// Tells, if the user wants to know, how long each step took.
pub(super) struct Steps {
    told: bool,
    since: Instant,
}

impl Steps {
    /// Steps of which nothing is said.
    pub(super) fn untold() -> Steps {
        Steps { told: false, since: Instant::now() }
    }

    /// The step of this name has ended, and the next one begins.
    fn done(&mut self, step: &str) -> Result<()> {
        let took = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        if !self.told {
            return Ok(());
        }
        super::print::note(&format!("{step}: {:.1} ms", took.as_secs_f64() * 1000.0))
    }
}

/// The kernel's part and the agent's, the agent loading while the kernel works.
fn build(cluster: &Cluster, plan: &Plan, record: &Record, steps: &mut Steps) -> Result<()> {
    process::raise_file_limit()?;
    host::prepare()?;
    let agent = agent::spawn(&record.name)?;
    steps.done("starting the agent")?;
    apply::build(plan, || {
        steps.done("namespaces, links and routes")?;
        agent.serve(&orders::orders(cluster, plan))?;
        steps.done("waiting for the agent to serve")
    })?;
    steps.done("waiting for the rules")?;
    if bird::of_plan(plan).next().is_none() {
        return Ok(());
    }
    bird::wait_for_routes(plan, Instant::now() + BIRD_DEADLINE)?;
    steps.done("waiting for BIRD's routes")
}

/// Removes what a failed build left, unless the user wants to look at it.
fn undo(error: Error, cluster: &str, keep: bool) -> Error {
    if keep {
        let hint = format!("what was built is still there; remove it with `minik down -c {cluster}`");
        return error.hint(hint);
    }
    match down::remove_locked(cluster) {
        Ok(()) => error,
        Err(left) => error.hint(format!("rolling back failed as well: {left}; try `minik down -c {cluster}`")),
    }
}

/// What there is to say where a cluster may need more neighbours than the kernel keeps of all namespaces together.
fn crowd_note(plan: &Plan) -> String {
    let most = crowd::neighbours_max(plan);
    match neighbours::limit(Family::Inet).filter(|limit| *limit < most) {
        None => String::new(),
        Some(limit) => format!(
            "note: this kernel keeps {limit} neighbours (ARP entries) of all namespaces together, and this cluster may \
             come to {most}: when very many pods speak at once, packets are lost; to let it keep more: sysctl -w \
             {}={}\n",
            neighbours::limit_key(Family::Inet),
            most.next_power_of_two()
        ),
    }
}

/// Says on stderr what stands, what is a replacement, and what to do next.
fn report(plan: &Plan, took: Duration) -> Result<()> {
    let name = &plan.cluster;
    let mut text = format!(
        "cluster {name}: {} with {} and {} is up in {:.0} ms\n",
        plan.mode,
        render::count(plan.nodes().count(), "node"),
        render::count(plan.pods().count(), "pod"),
        took.as_secs_f64() * 1000.0
    );
    let tunnels = plan.nodes().flat_map(|node| &node.links).find(|link| link.kind == LinkKind::Ipip);
    if let (Some(link), Datapath::Userspace) = (tunnels, plan.datapath) {
        text += &format!("{}: no kernel ipip in use; a TUN device of that name, served by minik's agent\n", link.name);
    }
    for difference in plan.differences(features::kernel()) {
        text += &format!("note: {difference}\n");
    }
    text += &crowd_note(plan);
    if line::is_replaced_in(plan) {
        text += &format!("{}\n", status::LINES);
    }
    if bird::of_plan(plan).next().is_some() {
        text += "a real BIRD makes the nodes' routes: see `minik bgp status`\n";
    }
    if std::io::stderr().is_terminal() {
        let flag = if name == "minik" { String::new() } else { format!(" -c {name}") };
        text += &format!("next: minik{flag} get pods -o wide | minik{flag} verify | minik{flag} down\n");
    }
    super::print::note(text.trim_end())
}
