//! What is measured, in which order, and beside what.

use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;

use crate::clusters::{self, CLUSTER, Life, Standing};
use crate::measure::{Figures, Measure, installed, milliseconds, output};
use crate::{USAGE, growth, peers, services, tunnel};

/// A network to be built: so many nodes, so many pods, and how often it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub nodes: usize,
    pub pods: usize,
    pub times: usize,
    /// Whether ways that take a process for each object are measured as well.
    pub slow_peers: bool,
}

const SIZES: &[Size] = &[
    Size { nodes: 2, pods: 4, times: 5, slow_peers: true },
    Size { nodes: 2, pods: 100, times: 5, slow_peers: true },
    Size { nodes: 50, pods: 1000, times: 3, slow_peers: false },
];

/// The sections that `wanted` names, or all.
pub fn run(wanted: &[&str]) -> Result<()> {
    const SECTIONS: [&str; 7] = ["up", "memory", "matrix", "tunnel", "growth", "plot", "services"];
    if let Some(unknown) = wanted.iter().find(|word| !SECTIONS.contains(word) && **word != "quick") {
        return Err(Error::other(format!("no section is called {unknown}; {USAGE}")));
    }
    let all = !wanted.iter().any(|word| SECTIONS.contains(word));
    let wants = |section: &str| all || wanted.contains(&section);
    let dir = tempfile::tempdir()?;
    println!("{}", machine()?);
    let sizes = if wanted.contains(&"quick") { &SIZES[..1] } else { SIZES };
    for size in sizes.iter().filter(|_| wants("up") || wants("memory")) {
        builds(*size, dir.path())?;
    }
    if wants("matrix") {
        matrix(dir.path())?;
    }
    if wants("tunnel") {
        through_tunnel(dir.path())?;
    }
    if wants("growth") || wants("plot") {
        let rows = growth::measure(dir.path(), wanted.contains(&"quick"))?;
        growth::print(&rows);
        // The picture in the repository changes only when somebody asks for it.
        if wanted.contains(&"plot") {
            growth::draw(&rows, &machine()?)?;
        }
    }
    if wants("services") {
        services::measure(dir.path(), wanted.contains(&"quick"))?;
    }
    Ok(())
}

/// The machine that the figures belong to.
fn machine() -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("?");
    let cpus = std::thread::available_parallelism()?;
    Ok(format!(
        "Linux {}, {cpus} CPUs, load {load} at the start; median (least–most), ratio to the first row",
        kernel.trim()
    ))
}

/// `up`, `down` and memory of one size, beside the floor and the peers.
fn builds(size: Size, dir: &Path) -> Result<()> {
    let Size { nodes, pods, times, .. } = size;
    let what = format!("{nodes} nodes, {pods} pods");
    let floor = floor(size)?;
    let kernel = again(size, "kernel")?;
    let file = dir.join("topology.yaml");
    std::fs::write(&file, clusters::topology(nodes, pods))?;
    let lives: Vec<Life> = (0..times).map(|_| clusters::live(&file)).collect::<Result<_>>()?;
    let of = |value: &dyn Fn(&Life) -> f64, unit| Figures::from(lives.iter().map(value).collect(), unit);
    let per_pod = |kilobytes: u64| kilobytes as f64 / pods as f64;

    let mut up = Measure::new(format!("up, {what}"));
    up.row("floor", floor.up);
    up.row("minik, kernel part with rules", column(&kernel, 0, "ms")?);
    up.row("minik up, whole process", of(&|life| life.up, "ms"));
    up.row("first ping after it, program and all", of(&|life| life.first_ping, "ms"));
    let mut down = Measure::new(format!("down until the kernel has freed all, {what}"));
    down.row("floor", floor.down);
    down.row("minik, kernel part", column(&kernel, 1, "ms")?);
    down.row("minik down, whole process", of(&|life| life.down, "ms"));
    if size.slow_peers {
        up.row("ip -batch (no rules)", Figures::of(times, "ms", || peers::batch(nodes, pods, dir))?);
        up.row("script of minik plan --as shell", Figures::of(times.min(3), "ms", || peers::script(nodes, pods, dir))?);
        mininet(&mut up, &mut down, nodes, pods)?;
    } else {
        up.remark("the script and mininet take a process for each object: 20 s and more, not measured at this size");
    }
    up.print();
    down.print();

    let mut memory = Measure::new(format!("memory per pod, {what}"));
    let floor_memory = floor.memory.median();
    memory.row("floor", floor.memory);
    memory.row("minik, kernel (rules, client, gateway included)", of(&|life| per_pod(life.kernel), "kB"));
    memory.row("minik's own processes", of(&|life| per_pod(life.agent), "kB"));
    let beyond = |life: &Life| per_pod(life.kernel + life.agent) - floor_memory;
    memory.row("minik beyond the floor, both together", of(&beyond, "kB"));
    memory.print();
    Ok(())
}

fn mininet(up: &mut Measure, down: &mut Measure, switches: usize, hosts: usize) -> Result<()> {
    if !peers::has_mininet() {
        up.remark("mininet or its brctl (bridge-utils) is not installed");
        return Ok(());
    }
    let lives: Vec<_> = (0..3).map(|_| peers::mininet(switches, hosts, false)).collect::<Result<_>>()?;
    let who = format!("mininet, {hosts} hosts, {switches} switches");
    up.row(who.clone(), Figures::from(lives.iter().map(|life| life.up).collect(), "ms"));
    down.row(who, Figures::from(lives.iter().map(|life| life.down).collect(), "ms"));
    Ok(())
}

/// What the kernel needs for a network of some size.
pub struct Floor {
    pub up: Figures,
    pub down: Figures,
    /// For each pod.
    pub memory: Figures,
}

/// Measures the floor of this size.
pub fn floor(size: Size) -> Result<Floor> {
    let rows = again(size, "floor")?;
    let kilobytes = rows.iter().filter_map(|row| row.get(2)).map(|us| us * 1e3 / size.pods as f64).collect();
    let (up, down) = (column(&rows, 0, "ms")?, column(&rows, 1, "ms")?);
    Ok(Floor { up, down, memory: Figures::from(kilobytes, "kB") })
}

/// Runs this program again in processes of their own with the word `what`, and reads the numbers that it says,
/// microseconds, as milliseconds.
fn again(size: Size, what: &str) -> Result<Vec<Vec<f64>>> {
    let one = |_| {
        let sizes = [size.nodes.to_string(), size.pods.to_string()];
        let text = output(Command::new(std::env::current_exe()?).arg(what).args(sizes))?;
        let numbers: std::result::Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        Ok(numbers.map_err(Error::other)?.into_iter().map(|us| us / 1e3).collect())
    };
    (0..size.times).map(one).collect()
}

fn column(rows: &[Vec<f64>], at: usize, unit: &'static str) -> Result<Figures> {
    let values: Option<Vec<f64>> = rows.iter().map(|row| row.get(at).copied()).collect();
    values.map(|values| Figures::from(values, unit)).ok_or_else(|| Error::other("a figure is missing"))
}

/// Every pod to every other, 50 pods on 2 nodes.
fn matrix(dir: &Path) -> Result<()> {
    let file = dir.join("matrix.yaml");
    std::fs::write(&file, clusters::topology(2, 50))?;
    let mut table = Measure::new("every pod to every other, 50 pods on 2 nodes (2450 pairs)");
    let mut cold = || {
        let cluster = Standing::up(&file)?;
        let taken = milliseconds(clusters::minik().args(["probe", "--matrix"]))?;
        cluster.down().map(|_| taken)
    };
    table.row("minik probe --matrix, cold", Figures::of(5, "ms", &mut cold)?);
    let cluster = Standing::up(&file)?;
    let mut warm = || milliseconds(clusters::minik().args(["probe", "--matrix"]));
    warm()?;
    table.row("minik probe --matrix, warm", Figures::of(5, "ms", &mut warm)?);
    if installed("fping") {
        let script = dir.join("fping.sh");
        std::fs::write(&script, fping()?)?;
        table.row(
            "fping in every pod at once, warm",
            Figures::of(3, "ms", || milliseconds(Command::new("sh").arg(&script)))?,
        );
    } else {
        table.remark("fping is not installed");
    }
    cluster.down()?;
    if peers::has_mininet() {
        let pings = Figures::of(3, "ms", || peers::mininet(2, 50, true).map(|life| life.ping_all))?;
        table.row("mininet pingAll, 50 hosts", pings);
    }
    table.print();
    Ok(())
}

/// A script that pings all pods from all pods at once.
fn fping() -> Result<String> {
    let pods = clusters::plan_of_pods()?;
    let addresses: Result<Vec<String>> = pods.iter().map(|pod| clusters::address(pod)).collect();
    let addresses = addresses?.join(" ");
    let one = |pod: &String| format!("ip netns exec {pod} fping -q -c1 -i1 -t2000 {addresses} 2>/dev/null &\n");
    Ok(pods.iter().map(one).collect::<String>() + "wait\n")
}

fn through_tunnel(dir: &Path) -> Result<()> {
    if !installed("iperf3") {
        println!("\n(the tunnel is not measured: iperf3 is not installed)");
        return Ok(());
    }
    let file = dir.join("tunnel.yaml");
    std::fs::write(&file, clusters::topology(2, 4))?;
    let cluster = Standing::up(&file)?;
    let plan = clusters::plan(2, 4)?;
    let paths = tunnel::measure(&plan)?;
    cluster.down()?;
    let (mut tcp, mut udp) = (
        Measure::new(format!(
            "pod to pod across nodes, one TCP connection (cluster {CLUSTER}, tunl0 by {})",
            plan.datapath
        )),
        Measure::new("pod to pod across nodes, UDP of 18 bytes, packets that arrive"),
    );
    for path in paths {
        tcp.row(path.name, path.tcp);
        udp.row(path.name, path.udp);
    }
    tcp.print();
    udp.print();
    Ok(())
}
