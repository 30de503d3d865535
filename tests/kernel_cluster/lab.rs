//! A cluster for a test, and running programs in it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::fields::{self, Link, Route};

/// What a test gives back: nothing, or why it failed.
pub type Outcome = Result<(), String>;

/// The program under test.
pub const MINIK: &str = env!("CARGO_BIN_EXE_minik");

/// The built-in topology's pods by what they are for: two on each node.
pub struct Pods {
    /// A pod on node-1.
    pub here: String,
    /// Another pod on node-1.
    pub beside: String,
    /// A pod on node-2.
    pub there: String,
}

/// A cluster that is removed when the test ends, however it ends.
pub struct Cluster {
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// Builds the built-in calico-ipip cluster under a name of this test process.
    pub fn up(tag: &str) -> Result<Cluster, String> {
        let cluster = Cluster::named(tag);
        cluster.minik(&["up", "calico-ipip"])?;
        Ok(cluster)
    }

    /// A name, and nothing under it yet.
    pub fn named(tag: &str) -> Cluster {
        Cluster { name: format!("k{}{tag}", std::process::id()) }
    }

    /// Runs minik on this cluster; its stdout if it succeeds.
    pub fn minik(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.minik_output(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!(
            "minik {}: {}\n{text}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Runs minik on this cluster and gives all that came of it.
    pub fn minik_output(&self, arguments: &[&str]) -> Result<Output, String> {
        self.command(arguments).output().map_err(|e| format!("cannot run minik: {e}"))
    }

    /// minik with arguments and this cluster's name, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MINIK);
        // What a test breaks shall stay broken; tests/kernel_heal.rs is about the rest.
        command.args(["-c", &self.name]).args(arguments).env("MINIK_NO_HEAL", "true");
        command
    }

    /// Name under /run/netns of one of its namespaces.
    pub fn netns(&self, what: &str) -> String {
        minik::names::netns(&self.name, what)
    }

    /// Runs a shell command in one of its namespaces by `ip netns exec`.
    pub fn exec(&self, what: &str, command: &str) -> Result<String, String> {
        shell(&format!("ip netns exec {} {command}", self.netns(what)))
    }

    /// The routes in one of its namespaces, as `ip` prints them.
    pub fn routes(&self, what: &str) -> Result<Vec<Route>, String> {
        fields::routes(&self.exec(what, "ip -j route")?)
    }

    /// A link in one of its namespaces, with its addresses.
    pub fn link(&self, what: &str, device: &str) -> Result<Link, String> {
        let links = fields::links(&self.exec(what, &format!("ip -j address show dev {device}"))?)?;
        links.into_iter().next().ok_or_else(|| format!("no {device} in {what}"))
    }

    /// The plan that it was built from.
    pub fn plan(&self) -> Result<minik::plan::Plan, String> {
        let overrides = minik::topology::Overrides { cluster_name: Some(self.name.clone()), ..Default::default() };
        let source = minik::topology::builtin::find("calico-ipip").map_err(|e| e.to_string())?.source();
        let cluster = minik::topology::parse(&[source], &overrides).map_err(|e| e.to_string())?;
        let record = minik::kernel::state::load(&self.name).map_err(|e| e.to_string())?;
        let datapath = record.map_or_else(crate::kernel::datapath, |record| record.datapath);
        minik::cni::plan(&cluster, datapath).map_err(|e| e.to_string())
    }

    /// Its pods by place.
    pub fn pods(&self) -> Result<Pods, String> {
        let plan = self.plan()?;
        let on = |wanted: &str| -> Vec<String> {
            let here = |role: &minik::plan::Role| matches!(role, minik::plan::Role::Pod { node, .. } if node == wanted);
            plan.namespaces.iter().filter(|ns| here(&ns.role)).map(|ns| ns.name.clone()).collect()
        };
        let (first, second) = (on("node-1"), on("node-2"));
        match first.as_slice() {
            [here, beside, ..] => Ok(Pods {
                here: here.clone(),
                beside: beside.clone(),
                there: second.first().cloned().ok_or("no pod on node-2")?,
            }),
            _ => Err(format!("too few pods: {first:?} {second:?}")),
        }
    }

    /// The address of a pod.
    pub fn address(&self, pod: &str) -> Result<String, String> {
        let plan = self.plan()?;
        let namespace = plan.namespace(pod).ok_or("no such pod")?;
        let address = namespace.link("eth0").and_then(|link| link.addresses.first()).ok_or("no address")?;
        Ok(address.net.addr().to_string())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if minik::kernel::state::dir(&self.name).exists() {
            let _ = self.minik(&["down"]);
        }
    }
}

/// Runs a shell command; its stdout if it succeeds.
pub fn shell(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|e| format!("cannot run sh: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Whether a program is on PATH or in a system directory.
pub fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}

/// Fails unless `text` contains `part`.
pub fn contains(text: &str, part: &str) -> Outcome {
    if text.contains(part) { Ok(()) } else { Err(format!("expected to see\n  {part}\nin\n{text}")) }
}

/// Fails unless both are equal, showing the lines that differ.
pub fn equal(what: &str, expected: &str, seen: &str) -> Outcome {
    if expected == seen {
        return Ok(());
    }
    let lost = expected.lines().filter(|line| !seen.lines().any(|l| l == *line)).map(|line| format!("- {line}"));
    let new = seen.lines().filter(|line| !expected.lines().any(|l| l == *line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = lost.chain(new).collect();
    Err(format!("{what} differs:\n{}", if lines.is_empty() { "only the order".to_owned() } else { lines.join("\n") }))
}

/// Waits until `done`, or fails with what it waited for.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    // It takes no longer than a moment, but for an emulated machine with much else to do.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        if Instant::now() > deadline {
            return Err(format!("waited 60 s in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
