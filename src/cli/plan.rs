//! `minik plan`: what `up` would program, without doing it.

use std::process::ExitCode;

use super::args::{Globals, Output, PlanArgs, PlanForm};
use super::{input, print};
use crate::compose;
use crate::error::Result;
use crate::plan::{Datapath, render, shell};

/// Prints a topology's plan.
///
/// # Errors
/// If the topology is wrong.
pub fn run(args: &PlanArgs, globals: &Globals) -> Result<ExitCode> {
    let (_, cluster) = input::wanted(&args.wanted, globals)?;
    let plan = compose::plan(&cluster, args.datapath.fixed().unwrap_or(Datapath::Kernel))?;
    let text = match (args.form, globals.output) {
        (Some(PlanForm::Shell), _) => shell::script(&plan),
        (Some(PlanForm::Json), _) | (None, Output::Json) => print::to_json(&plan)?,
        (None, Output::Yaml) => print::to_yaml(&plan)?,
        (Some(PlanForm::Text), _) | (None, _) => render::text(&plan),
    };
    print::text(&text).map(|()| ExitCode::SUCCESS)
}
