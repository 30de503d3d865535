//! How fast minik is, as ratios taken in one run on one machine: beside the kernel's own floor, and beside other ways
//! to build as much. `scripts/bench` runs it; nothing in the tests depends on it.
//!
//! Every figure is a median with its smallest and largest value. Absolute figures belong to the machine; hold minik to
//! the ratios.

#![allow(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]

mod clusters;
mod floor;
mod growth;
mod measure;
mod peers;
mod plot;
mod rtnetlink;
mod sections;
mod services;
mod tunnel;

use std::io::{Error, Result};
use std::process::ExitCode;

const USAGE: &str = "usage: bench [up | memory | matrix | tunnel | growth | plot | services | quick] ...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        // What is measured in a process of its own starts this program again.
        ["floor", nodes, pods] => numbers(nodes, pods).and_then(|(nodes, pods)| floor::run(nodes, pods)),
        ["kernel", nodes, pods] => numbers(nodes, pods).and_then(|(nodes, pods)| clusters::kernel_part(nodes, pods)),
        _ => sections::run(&words),
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
    let number = |text: &str| text.parse::<usize>().map_err(|e| Error::other(format!("{text}: {e}; {USAGE}")));
    Ok((number(nodes)?, number(pods)?))
}
