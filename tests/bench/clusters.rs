//! minik itself, as a user runs it: the release binary, started anew for every command.

use std::fs::{read_dir, read_link, read_to_string};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use minik::cni;
use minik::kernel::gone::Sentinel;
use minik::kernel::{apply, features, host, process, remove, state};
use minik::plan::{Datapath, Plan};
use minik::topology::{self, Overrides, Source};

use crate::floor::kernel_kilobytes;
use crate::measure::{milliseconds, output, told};

/// The cluster that the benchmark builds; not the default one, which may be in use.
pub const CLUSTER: &str = "bench";

/// The program under test.
pub fn minik() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minik"));
    command.env("MINIK_CLUSTER", CLUSTER);
    command
}

/// A topology of that size: the built-in one where it has that size, else one of equal shape.
pub fn topology(nodes: usize, pods: usize) -> String {
    if (nodes, pods) == (2, 4) {
        return include_str!("../../topologies/calico-ipip.yaml").to_owned();
    }
    topology_of("calico-ipip", nodes, pods)
}

/// A topology of that mode and size, without anything that a mode of another kind would not take.
pub fn topology_of(mode: &str, nodes: usize, pods: usize) -> String {
    let pool = "    pool: { cidr: 10.100.0.0/16, blockSize: 26, natOutgoing: true }\n";
    let pool = if mode.starts_with("calico") { pool } else { "" };
    let node = |i: usize| {
        format!("  - {{ name: node-{}, address: 10.1.{}.{}, nic: ens33 }}\n", i + 1, 10 + i / 200, 9 + i % 200)
    };
    let nodes: String = (0..nodes).map(node).collect();
    format!(
        "apiVersion: minik.dev/v1
kind: Cluster
metadata: {{ name: {CLUSTER} }}
spec:
  segments:
  - {{ name: lan, subnet: 10.1.0.0/16, router: 10.1.0.2 }}
  nodes:
{nodes}  network:
    cni: {mode}
{pool}  serviceCIDR: 10.96.0.0/16
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: test }}
spec:
  replicas: {pods}
  selector: {{ matchLabels: {{ app: test }} }}
  template:
    metadata: {{ labels: {{ app: test }} }}
    spec:
      containers:
      - {{ name: pause, image: pause }}
"
    )
}

/// The plan of such a topology, as `up` would carry it out here.
pub fn plan(nodes: usize, pods: usize) -> Result<Plan> {
    let source = Source::new("bench.yaml", topology(nodes, pods));
    let overrides = Overrides { cluster_name: Some(CLUSTER.to_owned()), ..Default::default() };
    let cluster = topology::parse(&[source], &overrides).map_err(Error::other)?;
    let ipip = features::has_ipip().map_err(Error::other)?;
    cni::plan(&cluster, if ipip { Datapath::Kernel } else { Datapath::Userspace }).map_err(Error::other)
}

/// What one life of a cluster took.
pub struct Life {
    /// Milliseconds of the whole process `minik up`, until it had ended well.
    pub up: f64,
    /// Milliseconds of the whole process `minik down`, which returns when the kernel has freed everything.
    pub down: f64,
    /// Kilobytes of kernel memory.
    pub kernel: u64,
    /// Kilobytes of minik's own processes (PSS).
    pub agent: u64,
    /// Milliseconds of the first ping from the first pod to the last, started at once when `up` returned.
    pub first_ping: f64,
}

/// Builds a cluster from `file`, sends a packet through it, and removes it.
pub fn live(file: &Path) -> Result<Life> {
    let before = kernel_kilobytes()?;
    let cluster = Standing::up(file)?;
    let first_ping = ping(&plan_of_pods()?)?;
    let kernel = kernel_kilobytes()?.saturating_sub(before);
    let agent = own_kilobytes()?;
    let up = cluster.took;
    Ok(Life { up, down: cluster.down()?, kernel, agent, first_ping })
}

/// A cluster that stands, and that is removed at the latest when this is dropped.
pub struct Standing {
    /// Milliseconds of `minik up`.
    pub took: f64,
    removed: bool,
}

impl Standing {
    pub fn up(file: &Path) -> Result<Standing> {
        let mut standing = Standing { took: 0.0, removed: false };
        standing.took = milliseconds(minik().arg("up").arg(file))?;
        Ok(standing)
    }

    /// The same, and the milliseconds of its steps by their names, in order.
    pub fn up_by_steps(file: &Path) -> Result<(Standing, Vec<(String, f64)>)> {
        let mut standing = Standing { took: 0.0, removed: false };
        let (took, said) = told(minik().args(["up", "-v"]).arg(file))?;
        standing.took = took;
        let step = |line: &str| {
            let (name, took) = line.strip_suffix(" ms")?.rsplit_once(": ")?;
            Some((name.to_owned(), took.parse().ok()?))
        };
        Ok((standing, said.lines().filter_map(step).collect()))
    }

    /// Milliseconds of another command of minik's on this cluster.
    pub fn does(&self, words: &[&str]) -> Result<f64> {
        milliseconds(minik().args(words))
    }

    pub fn down(mut self) -> Result<f64> {
        let taken = milliseconds(minik().arg("down"))?;
        self.removed = true;
        Ok(taken)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = milliseconds(minik().arg("down"))
        {
            eprintln!("warning: the cluster {CLUSTER} may be left: {error}");
        }
    }
}

/// The named namespaces of the cluster's pods.
pub fn plan_of_pods() -> Result<Vec<String>> {
    let names = minik::kernel::netns::list(&format!("minik-{CLUSTER}-default-")).map_err(Error::other)?;
    if names.len() < 2 {
        return Err(Error::other(format!("cluster {CLUSTER} has only these pods: {names:?}")));
    }
    Ok(names)
}

/// The address of a pod, by its namespace.
pub fn address(netns: &str) -> Result<String> {
    let text = output(Command::new("ip").args(["-n", netns, "-4", "-o", "address", "show", "eth0"]))?;
    let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    let address = address.and_then(|word| word.split('/').next());
    address.map(str::to_owned).ok_or_else(|| Error::other(format!("{netns} has no address")))
}

/// Milliseconds of one ping, the program's start included. Fails if there is no answer within a second.
pub fn ping(pods: &[String]) -> Result<f64> {
    let to = address(&pods[pods.len() - 1])?;
    milliseconds(Command::new("ip").args(["netns", "exec", &pods[0], "ping", "-q", "-c1", "-W1", &to]))
}

/// What the processes of the cluster hold of memory that is theirs (PSS), in kB.
pub fn own_kilobytes() -> Result<u64> {
    let minik = Path::new(env!("CARGO_BIN_EXE_minik")).canonicalize()?;
    let mut sum = 0;
    for entry in read_dir("/proc")? {
        let dir: PathBuf = entry?.path();
        // Processes come and go, and most entries are none.
        let ours = || read_to_string(dir.join("cmdline")).is_ok_and(|words| words.split('\0').any(|w| w == CLUSTER));
        if !read_link(dir.join("exe")).is_ok_and(|exe| exe == minik) || !ours() {
            continue;
        }
        let Ok(text) = read_to_string(dir.join("smaps_rollup")) else { continue };
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        sum += pss.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    }
    match sum {
        0 => Err(Error::other("the cluster has no agent")),
        _ => Ok(sum),
    }
}

/// `kernel NODES PODS`: the kernel's part of `up` and `down` alone, in this process: prints `up_us down_us`.
pub fn kernel_part(nodes: usize, pods: usize) -> Result<()> {
    let plan = plan(nodes, pods)?;
    process::raise_file_limit().map_err(Error::other)?;
    let _lock = state::try_lock(CLUSTER).map_err(Error::other)?.ok_or_else(|| Error::other("the cluster is in use"))?;
    host::prepare().map_err(Error::other)?;
    let sentinel = Sentinel::place().map_err(Error::other)?;
    let start = Instant::now();
    let built = apply::build(&plan, || Ok(()));
    let up = start.elapsed();
    let start = Instant::now();
    remove::namespaces(CLUSTER).map_err(Error::other)?;
    sentinel.wait().map_err(Error::other)?;
    let down = start.elapsed();
    state::remove(CLUSTER).and_then(|()| host::release()).map_err(Error::other)?;
    built.map_err(Error::other)?;
    println!("{} {}", up.as_micros(), down.as_micros());
    Ok(())
}
