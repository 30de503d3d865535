//! Clusters to break by hand, and what `verify` must then say.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use minik::kernel::{apply, host, netns, remove, state};
use minik::plan::{Datapath, LinkKind, Namespace, Plan, Role};
use minik::topology::{self, Cluster, Overrides};
use minik::tunnel::Engine;
use minik::verify::{self, CheckReport, Options, Report};
use minik::{cni, error};

static LABS: AtomicU32 = AtomicU32::new(0);

/// A cluster under a name of its own, with its tunnels served. Removed when dropped.
pub struct Lab {
    /// What it was built from.
    pub plan: Plan,
    engine: Option<Engine>,
    _lock: state::Lock,
}

/// The cluster of a built-in topology.
pub fn parsed(builtin: &str) -> Result<Cluster, error::Error> {
    topology::parse(&[topology::builtin::find(builtin)?.source()], &Overrides::default())
}

impl Lab {
    /// The cluster of a built-in topology.
    pub fn up(builtin: &str) -> Result<Lab, error::Error> {
        Lab::of(parsed(builtin)?)
    }

    /// A cluster.
    pub fn of(mut cluster: Cluster) -> Result<Lab, error::Error> {
        cluster.name = format!("tverify{}x{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let plan = cni::plan(&cluster, super::datapath())?;
        let taken = || error::Error::new(error::Kind::Conflict, format!("cluster {} is in use", plan.cluster));
        let lock = state::try_lock(&plan.cluster)?.ok_or_else(taken)?;
        host::prepare()?;
        let mut lab = Lab { plan, engine: None, _lock: lock };
        apply::build(&lab.plan, || Ok(()))?;
        if lab.plan.datapath == Datapath::Kernel {
            return Ok(lab);
        }
        let engine = Engine::start(1, |line| eprintln!("tunnel: {line}"))?;
        for node in lab.plan.nodes() {
            for tunnel in node.links.iter().filter(|link| link.kind == LinkKind::Ipip) {
                engine.serve(&netns::open(&node.netns)?, &tunnel.name, None)?;
            }
        }
        lab.engine = Some(engine);
        Ok(lab)
    }

    /// Runs all checks.
    pub fn verify(&self) -> Result<Report, error::Error> {
        verify::run(&self.plan, &Options { patience: super::patience(Duration::from_millis(300)), seed: None })
    }

    /// Puts names in: `{a}` and `{b}` are the first two pods of the first node, `{c}` and `{d}` those of the second,
    /// `{cali-a}` the node's end of a pod's link.
    pub fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let on = |node: &Namespace| -> Vec<&Namespace> {
            let name = &node.name;
            self.plan.pods().filter(|pod| matches!(&pod.role, Role::Pod { node, .. } if node == name)).take(2).collect()
        };
        for (letter, pod) in ["a", "b", "c", "d"].iter().zip(self.plan.nodes().flat_map(on)) {
            text = text.replace(&format!("{{{letter}}}"), &pod.name);
            if let Some(LinkKind::Veth { peer, .. }) = pod.link("eth0").map(|link| &link.kind) {
                text = text.replace(&format!("{{cali-{letter}}}"), peer);
            }
        }
        text
    }

    /// Runs a command line in a namespace of the plan.
    pub fn run(&self, ns: &str, line: &str) -> Result<(), Failed> {
        let (ns, line) = (&self.named(ns), &self.named(line));
        let netns = &self.plan.namespace(ns).ok_or_else(|| format!("no namespace {ns}"))?.netns;
        let shell = Command::new("ip").args(["netns", "exec", netns, "sh", "-c", line]).output()?;
        if shell.status.success() {
            return Ok(());
        }
        Err(format!("in {ns}: {line}: {}", String::from_utf8_lossy(&shell.stderr)).into())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.engine = None;
        let name = &self.plan.cluster;
        let removed = remove::namespaces(name).and_then(|()| state::remove(name)).and_then(|()| host::release());
        if let Err(error) = removed {
            eprintln!("cannot remove {name}: {error}");
        }
    }
}

/// Something broken by hand, and what must come of it.
pub struct Twin {
    /// What is broken.
    pub name: &'static str,
    /// Namespace and command line that break it.
    pub breaks: &'static [(&'static str, &'static str)],
    /// A check that must fail.
    pub check: &'static str,
    /// What its reason must begin with: the place.
    pub place: &'static str,
    /// What its reason must hold: field, cause or cure.
    pub says: &'static str,
    /// A check that must go on to pass, so that the fault is told from its surroundings.
    pub spares: &'static str,
}

/// Breaks it in a cluster of this built-in topology; fails if `verify` does not say so.
pub fn caught(builtin: &str, twin: &Twin) -> Result<(), Failed> {
    let lab = Lab::up(builtin).map_err(|e| e.to_string())?;
    for (ns, line) in twin.breaks {
        lab.run(ns, line)?;
    }
    let report = lab.verify().map_err(|e| e.to_string())?;
    let wrong = |what: String| Failed::from(format!("{what}\n{}", report.text()));
    let failed: Vec<&CheckReport> =
        report.checks.iter().filter(|check| check.name == twin.check && check.result == "fail").collect();
    if failed.is_empty() {
        return Err(wrong(format!("no check {} failed", twin.check)));
    }
    let (place, says) = (lab.named(twin.place), lab.named(twin.says));
    let named = |check: &&&CheckReport| {
        let reason = check.reason.as_deref().unwrap_or_default();
        reason.starts_with(&place) && reason.contains(&says)
    };
    if !failed.iter().any(|check| named(&check)) {
        return Err(wrong(format!("no {} names `{}` with `{}`", twin.check, place, says)));
    }
    let (spared, node) = twin.spares.split_once('@').unwrap_or((twin.spares, ""));
    let passes = |check: &CheckReport| {
        let on_node = node.is_empty() || check.expected.path.iter().any(|step| step.namespace == node);
        check.name == spared && check.result == "pass" && on_node
    };
    if !report.checks.iter().any(passes) {
        return Err(wrong(format!("no {} passes", twin.spares)));
    }
    Ok(())
}
