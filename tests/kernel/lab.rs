//! A cluster for a test, made by the program as a user runs it, and running programs in it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use minik::kernel::state;
use minik::plan::{Plan, Role};
use minik::topology::{Overrides, Source};
use serde_json::Value;

use super::fields::{self, Link, Route};
use super::{MINIK, checked, words};

/// A cluster that is removed when the test ends, however it ends.
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Whether it comes with healing, as for users.
    heals: bool,
}

/// The built-in topology's pods by what they are for: two on each node.
pub struct Pods {
    /// A pod on node-1.
    pub here: String,
    /// Another pod on node-1.
    pub beside: String,
    /// A pod on node-2.
    pub there: String,
}

impl Cluster {
    /// A name of this test process, and nothing under it yet. What a test breaks in it stays broken.
    pub fn named(tag: &str) -> Cluster {
        Cluster::called(format!("k{}{tag}", std::process::id()))
    }

    /// Nothing under this name yet.
    pub fn called(name: String) -> Cluster {
        Cluster { name, heals: false }
    }

    /// The same with the daemons' timers, as for users.
    pub fn healing(mut self) -> Cluster {
        self.heals = true;
        self
    }

    /// A built-in topology's cluster.
    pub fn up(tag: &str, mode: &str) -> Result<Cluster, String> {
        let cluster = Cluster::named(tag);
        cluster.minik(&["up", mode])?;
        Ok(cluster)
    }

    /// The cluster of a topology's text.
    pub fn up_text(tag: &str, text: &str) -> Result<Cluster, String> {
        let cluster = Cluster::named(tag);
        checked("minik up -", &cluster.fed(&["up", "-"], text)?)?;
        Ok(cluster)
    }

    /// minik with arguments and this cluster's name, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MINIK);
        command.args(["-c", &self.name]).args(arguments).env_remove("MINIK_HEAL_SPEED");
        match self.heals {
            true => command.env_remove("MINIK_NO_HEAL"),
            false => command.env("MINIK_NO_HEAL", "true"),
        };
        command
    }

    /// Runs minik on this cluster and gives all that came of it.
    pub fn output(&self, arguments: &[&str]) -> Result<Output, String> {
        self.command(arguments).stdin(Stdio::null()).output().map_err(|e| format!("cannot run minik: {e}"))
    }

    /// The same with something on its stdin.
    pub fn fed(&self, arguments: &[&str], input: &str) -> Result<Output, String> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("cannot run minik: {e}"))?;
        // One that does not read it closes it, and says why.
        let _ = child.stdin.take().ok_or("no stdin")?.write_all(input.as_bytes());
        child.wait_with_output().map_err(words)
    }

    /// Runs minik on this cluster; its stdout if it succeeds.
    pub fn minik(&self, arguments: &[&str]) -> Result<String, String> {
        checked(&format!("minik {}", arguments.join(" ")), &self.output(arguments)?)
    }

    /// Runs a command that must fail with this exit code; what it says on stderr.
    pub fn refused(&self, arguments: &[&str], code: i32) -> Result<String, String> {
        let output = self.output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(found) if found == code => Ok(said),
            _ => Err(format!("minik {}: {}, not {code}\n{said}", arguments.join(" "), output.status)),
        }
    }

    /// What `status` prints, whatever it thinks of it.
    pub fn status(&self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.output(&["status"])?.stdout).into_owned())
    }

    /// The same as JSON.
    pub fn status_json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.output(&["status", "-o", "json"])?.stdout)
            .map_err(|e| format!("minik status: {e}"))
    }

    /// The process of its agent.
    pub fn agent(&self) -> Result<i32, String> {
        let status = self.status_json()?;
        let pid = status["agent"]["pid"].as_i64().ok_or_else(|| format!("no pid in {status}"))?;
        i32::try_from(pid).map_err(words)
    }

    /// The exit code of `verify`, and every check as JSON.
    pub fn verify(&self) -> Result<(Option<i32>, Vec<Value>), String> {
        let output = self.output(&["verify", "-o", "json"])?;
        let report: Result<Value, _> = serde_json::from_slice(&output.stdout);
        let report = report.map_err(|e| format!("verify: {e}: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((output.status.code(), report["checks"].as_array().cloned().unwrap_or_default()))
    }

    /// Name under /run/netns of one of its namespaces.
    pub fn netns(&self, what: &str) -> String {
        minik::names::netns(&self.name, what)
    }

    /// Runs a shell command in one of its namespaces by `ip netns exec`; its stdout if every part of it succeeds.
    pub fn exec(&self, what: &str, line: &str) -> Result<String, String> {
        let output = Command::new("ip").args(["netns", "exec", &self.netns(what), "sh", "-ec", line]).output();
        checked(&format!("in {what}: {line}"), &output.map_err(|e| format!("cannot run ip: {e}"))?)
    }

    /// What a tool prints as JSON in one of its namespaces.
    pub fn json(&self, what: &str, line: &str) -> Result<Value, String> {
        serde_json::from_str(&self.exec(what, line)?).map_err(|e| format!("{line}: {e}"))
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

    /// The plan that it was built from, without what was changed since.
    pub fn plan(&self) -> Result<Plan, String> {
        let record = state::load(&self.name).map_err(words)?.ok_or_else(|| format!("no cluster {}", self.name))?;
        let sources: Vec<Source> = record.sources.iter().map(|one| Source::new(&one.name, &one.text)).collect();
        let (cluster_name, cni, proxy) = (Some(record.name), record.cni, record.proxy);
        let overrides = Overrides { cluster_name, cni, proxy, ..Overrides::default() };
        let cluster = minik::topology::parse(&sources, &overrides).map_err(words)?;
        minik::compose::plan(&cluster, record.datapath).map_err(words)
    }

    /// Its pods by place.
    pub fn pods(&self) -> Result<Pods, String> {
        let plan = self.plan()?;
        let on = |wanted: &str| -> Vec<String> {
            let here = |role: &Role| matches!(role, Role::Pod { node, .. } if node == wanted);
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

    /// The first pod on a node with its address.
    pub fn pod_on(&self, wanted: &str) -> Result<(String, String), String> {
        let plan = self.plan()?;
        let on_node = |role: &Role| matches!(role, Role::Pod { node, .. } if node == wanted);
        let pod = plan.namespaces.iter().find(|ns| on_node(&ns.role)).ok_or("no pod there")?;
        Ok((pod.name.clone(), pod.address().ok_or("no address")?.to_string()))
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
        if state::dir(&self.name).exists()
            && let Err(error) = self.minik(&["down"])
        {
            eprintln!("cannot remove {}: {error}", self.name);
        }
    }
}

/// A field of a check, as text.
pub fn of<'a>(check: &'a Value, field: &str) -> &'a str {
    check[field].as_str().unwrap_or_default()
}
