//! How fast minik is, as ratios taken in one run on one machine: beside the kernel's own floor, and beside other ways
//! to build as much. `scripts/bench` runs it; nothing in the tests depends on it.
//!
//! Every figure is a median with its smallest and largest value. Absolute figures belong to the machine; hold minik to
//! the ratios.

#![allow(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]

mod floor;
mod measure;
mod rtnetlink;

use std::io::{Error, Result};
use std::process::{Command, ExitCode};

use measure::{Figures, Measure, output};

/// A network to be built: so many nodes, so many pods, and how often it is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: usize,
    pods: usize,
    times: usize,
}

const SIZES: &[Size] = &[
    Size { nodes: 2, pods: 4, times: 5 },
    Size { nodes: 2, pods: 100, times: 5 },
    Size { nodes: 50, pods: 1000, times: 3 },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["floor", nodes, pods] => numbers(nodes, pods).and_then(|(nodes, pods)| floor::run(nodes, pods)),
        _ => run(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn numbers(nodes: &str, pods: &str) -> Result<(usize, usize)> {
    let number = |text: &str| text.parse::<usize>().map_err(|e| Error::other(format!("{text}: {e}")));
    Ok((number(nodes)?, number(pods)?))
}

/// All sections, or those whose names begin with one of `wanted`.
fn run(_wanted: &[&str]) -> Result<()> {
    for size in SIZES {
        let floor = floor_figures(*size)?;
        let mut up = Measure::new(format!("up, {} nodes, {} pods", size.nodes, size.pods));
        up.row("floor", floor.up);
        up.print();
        let mut down = Measure::new(format!("down until gone, {} nodes, {} pods", size.nodes, size.pods));
        down.row("floor", floor.down);
        down.print();
        let mut memory = Measure::new(format!("kernel memory per pod, {} nodes, {} pods", size.nodes, size.pods));
        memory.row("floor", floor.memory);
        memory.print();
    }
    Ok(())
}

struct Floor {
    up: Figures,
    down: Figures,
    memory: Figures,
}

/// Runs the floor program in processes of its own.
fn floor_figures(size: Size) -> Result<Floor> {
    let (mut up, mut down, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.times {
        let text = output(Command::new(std::env::current_exe()?).args([
            "floor",
            &size.nodes.to_string(),
            &size.pods.to_string(),
        ]))?;
        let values: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [up_us, down_us, kilobytes] = values[..] else {
            return Err(Error::other(format!("the floor program said {text:?}")));
        };
        up.push(up_us / 1e3);
        down.push(down_us / 1e3);
        memory.push(kilobytes / size.pods as f64);
    }
    Ok(Floor { up: Figures::from(up, "ms"), down: Figures::from(down, "ms"), memory: Figures::from(memory, "kB") })
}
