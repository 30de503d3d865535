//! The proof: real packets are sent, seen on every interface of every namespace, and held against the path that the
//! plan predicts.
//!
//! ```text
//!  plan ──▶ checks: flows and their predicted journeys            (pure)
//!             │ inject
//!             ▼
//!  kernel ──▶ capture ──▶ compare, frame by frame ──▶ report     first divergence: place, field, cause, cure
//! ```
//!
//! Nothing here knows a mode: which checks there are, and what they expect, follows from the plan.

mod cause;
mod checks;
mod compare;
mod endpoints;
mod flows;
mod identify;
mod names;
mod order;
mod others;
pub mod reach;
mod report;
mod run;
mod services;

use std::time::Duration;

pub use checks::{Act, Check, checks};
pub use compare::{Divergence, Seen, compare};
pub use names::{Found, NameCheck, run as run_names};
pub use report::{CheckReport, Report, Summary, Verdict, junit};
pub use services::{Protocol, ServicePath, run as run_services};

use crate::error::Result;
use crate::plan::Plan;

/// How to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an expected frame may take. Only a failing check waits that long.
    pub patience: Duration,
    /// Distinguishes the packets of one run from those of another; none takes a number from the clock.
    pub seed: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Options { patience: Duration::from_secs(1), seed: None }
    }
}

/// Runs all checks of `plan` on the live cluster.
///
/// # Errors
/// If a check cannot be carried out: a namespace is missing, or the capture lost frames. A check that does not
/// hold is no error but a [`Verdict::Fail`] in the report.
pub fn run(plan: &Plan, options: &Options) -> Result<Report> {
    run::run(plan, options)
}
