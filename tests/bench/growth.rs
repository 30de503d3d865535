//! What a cluster costs as it grows, in three modes, beside the kernel's floor for as many namespaces and veth pairs.

use std::io::Result;
use std::path::Path;

use crate::clusters::{self, Standing};
use crate::floor::kernel_kilobytes;
use crate::measure::Figures;
use crate::plot::{Plot, Series};
use crate::sections::{self, Floor, Size};

/// The modes, and the one that each is switched to and back from.
const MODES: [(&str, &str); 3] =
    [("flannel-vxlan", "flannel-host-gw"), ("calico-bgp", "calico-ipip"), ("calico-ipip", "calico-bgp")];

/// From 100 pods on there are 20 on every node.
const SIZES: &[Size] = &[
    Size { nodes: 2, pods: 4, times: 5, slow_peers: false },
    Size { nodes: 2, pods: 10, times: 5, slow_peers: false },
    Size { nodes: 5, pods: 100, times: 5, slow_peers: false },
    Size { nodes: 50, pods: 1000, times: 3, slow_peers: false },
];

/// Where the picture goes.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/growth.svg");

/// One more pod, on a cluster that stands.
const ONE_MORE: &str = "apiVersion: v1
kind: Pod
metadata: { name: one-more }
spec:
  containers:
  - { name: pause, image: pause }
";

/// All of one size.
pub struct Row {
    size: Size,
    floor: Floor,
    modes: Vec<Grown>,
}

/// One mode at one size; times in milliseconds of whole processes, memory in kB.
struct Grown {
    mode: &'static str,
    up: Figures,
    down: Figures,
    one_more: Figures,
    switch: Figures,
    kernel: Figures,
    agent: Figures,
}

/// Measures all sizes, or with `quick` the first three.
pub fn measure(dir: &Path, quick: bool) -> Result<Vec<Row>> {
    let sizes = if quick { &SIZES[..3] } else { SIZES };
    sizes.iter().map(|size| row(*size, dir)).collect()
}

fn row(size: Size, dir: &Path) -> Result<Row> {
    // The floor before and after, so that what else the machine does in between shows in its spread.
    let before = sections::floor(size)?;
    let modes = MODES.iter().map(|(mode, other)| grown(size, mode, other, dir)).collect::<Result<_>>()?;
    let after = sections::floor(size)?;
    let floor = Floor {
        up: before.up.and(after.up),
        down: before.down.and(after.down),
        memory: before.memory.and(after.memory),
    };
    Ok(Row { size, floor, modes })
}

fn grown(size: Size, mode: &'static str, other: &str, dir: &Path) -> Result<Grown> {
    let file = dir.join("growth.yaml");
    std::fs::write(&file, clusters::topology_of(mode, size.nodes, size.pods))?;
    let pod = dir.join("one-more.yaml");
    std::fs::write(&pod, ONE_MORE)?;
    let pod = pod.to_string_lossy().into_owned();
    let [mut up, mut down, mut one_more, mut switch, mut kernel, mut agent] = [const { Vec::new() }; 6];
    for _ in 0..size.times {
        let empty = kernel_kilobytes()?;
        let cluster = Standing::up(&file)?;
        up.push(cluster.took);
        clusters::ping(&clusters::plan_of_pods()?)?;
        kernel.push(kernel_kilobytes()?.saturating_sub(empty) as f64 / size.pods as f64);
        agent.push(clusters::own_kilobytes()? as f64);
        one_more.push(cluster.does(&["apply", "-f", &pod])?);
        cluster.does(&["delete", "pod", "one-more"])?;
        switch.push(cluster.does(&["switch", other])?);
        clusters::ping(&clusters::plan_of_pods()?)?;
        down.push(cluster.down()?);
    }
    let [up, down, one_more, switch] = [up, down, one_more, switch].map(|values| Figures::from(values, "ms"));
    let [kernel, agent] = [kernel, agent].map(|values| Figures::from(values, "kB"));
    Ok(Grown { mode, up, down, one_more, switch, kernel, agent })
}

/// Prints a table for each quantity: sizes below each other, the floor and the modes beside each other.
pub fn print(rows: &[Row]) {
    type Of = fn(&Grown) -> &Figures;
    type OfFloor = fn(&Floor) -> &Figures;
    let quantities: [(&str, Of, Option<OfFloor>); 6] = [
        ("up, whole process", |one| &one.up, Some(|floor| &floor.up)),
        ("down until the kernel has freed all, whole process", |one| &one.down, Some(|floor| &floor.down)),
        ("apply of one more pod, whole process", |one| &one.one_more, None),
        ("switch to the mode's sister, whole process", |one| &one.switch, None),
        ("kernel memory per pod", |one| &one.kernel, Some(|floor| &floor.memory)),
        ("memory of minik's own processes", |one| &one.agent, None),
    ];
    for (title, of, floor) in quantities {
        println!("\n{title}");
        for row in rows {
            let base = floor.map(|of| of(&row.floor));
            let named = base.iter().map(|figures| ("floor", *figures));
            for (who, figures) in named.chain(row.modes.iter().map(|one| (one.mode, of(one)))) {
                let ratio = base.map_or(String::new(), |base| format!("{:>6.2}×", figures.median() / base.median()));
                let Size { nodes, pods, .. } = row.size;
                println!("  {pods:>4} pods on {nodes:>2} nodes  {who:<14} {ratio}   {}", figures.text());
            }
        }
    }
    if let [first, .., last] = rows {
        println!("\nup for each pod, {} pods against {}", last.size.pods, first.size.pods);
        for (few, many) in first.modes.iter().zip(&last.modes) {
            let each = |row: &Row, one: &Grown| one.up.median() / row.size.pods as f64;
            println!("  {:<14} {:.2} ms against {:.2} ms", many.mode, each(last, many), each(first, few));
        }
    }
}

/// Draws the picture that the README shows.
pub fn draw(rows: &[Row], machine: &str) -> Result<()> {
    let over_size = |of: &dyn Fn(&Row) -> &Figures| -> Vec<(f64, Figures)> {
        rows.iter().map(|row| (row.size.pods as f64, of(row).clone())).collect()
    };
    let mut up = Plot::new("minik up, and the kernel's floor", "pods", "milliseconds");
    let mut down = Plot::new("minik down, until all is freed", "pods", "milliseconds");
    let mut change = Plot::new("one more pod (solid), switch (dashed)", "pods", "milliseconds");
    up.add(Series::new("floor", over_size(&|row| &row.floor.up)));
    down.add(Series::new("floor", over_size(&|row| &row.floor.down)));
    for (at, (mode, _)) in MODES.iter().enumerate() {
        up.add(Series::new(mode, over_size(&|row| &row.modes[at].up)));
        down.add(Series::new(mode, over_size(&|row| &row.modes[at].down)));
        change.add(Series::new(mode, over_size(&|row| &row.modes[at].one_more)));
        change.add(Series::new(mode, over_size(&|row| &row.modes[at].switch)).dashed());
    }
    let how = format!("scripts/bench plot on {machine}");
    std::fs::write(PICTURE, crate::plot::svg(&[up, down, change], &how))?;
    println!("\nwritten: {PICTURE}");
    Ok(())
}
