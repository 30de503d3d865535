//! `minik verify`: the proof by real packets, of a cluster that stands or of one that is built for it.

use std::fs;
use std::process::ExitCode;

use serde_json::json;

use super::args::{DatapathChoice, Globals, Output, UpArgs, Wanted};
use super::check_args::VerifyArgs;
use super::up::{self, Interrupts};
use super::{down, name_checks, print, service_paths, session};
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, process, state};
use crate::plan::{Datapath, Plan};
use crate::topology::{self, Cluster, Mode, Overrides, Source, builtin, examples, nearest};
use crate::verify::{self, Options, Protocol, Report, Summary};

/// The exit codes of a run with failed, and of one with skipped checks.
const FAILED: u8 = 1;
const SKIPPED: u8 = 3;

/// What is said where Services by SCTP are tried on a kernel without it.
const UNSPOKEN: &str = "note: this kernel has no SCTP: a Service by it is tried by the first packet of an association, as \
                        far as the pod, whose host answers `protocol unreachable`; on a real node a program in the pod \
                        answers. Cure: load the module sctp, or use a kernel that has it";

/// Runs every check and prints the report.
///
/// # Errors
/// If there is no such cluster or mode, it cannot be built, or a check cannot be carried out.
pub fn run(args: &VerifyArgs, globals: &Globals) -> Result<ExitCode> {
    features::require_root()?;
    process::raise_file_limit()?;
    let reports = match &args.name {
        _ if args.all_modes => {
            Mode::ALL.iter().map(|mode| of_mode_or_skipped(*mode, globals)).collect::<Result<_>>()?
        }
        None => vec![of_cluster(globals.cluster_name())?],
        Some(name) if state::load(name)?.is_some() => vec![of_cluster(name)?],
        Some(name) => match Mode::ALL.iter().find(|mode| mode.name() == name) {
            Some(mode) => vec![of_mode(*mode, globals)?],
            None => return Err(unknown(name)?),
        },
    };
    if let Some(path) = &args.junit {
        let text = verify::junit(&reports)?;
        fs::write(path, text).map_err(|e| Error::io(format!("cannot write {}", path.display()), e))?;
    }
    print::text(&rendered(&reports, args.all_modes, globals.output)?)?;
    let total = total(&reports);
    if total == Summary::default() {
        print::note("note: there was nothing to check: this cluster has one node and no pods")?;
    }
    Ok(match (total.failed, total.skipped) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(SKIPPED),
        _ => ExitCode::from(FAILED),
    })
}

fn of_cluster(name: &str) -> Result<Report> {
    let session = session::open(name)?;
    tell_differences(&session.plan)?;
    let report = verify::run(&session.plan, &Options::default())?;
    with_services(report, &session.cluster, &session.plan)
}

/// Tries every way to a Service as well, and looks names up.
fn with_services(report: Report, cluster: &Cluster, plan: &Plan) -> Result<Report> {
    let paths = service_paths::of(cluster, plan);
    if paths.iter().any(|path| path.protocol == Protocol::Sctp) && !features::has_sctp()? {
        print::note(UNSPOKEN)?;
    }
    let report = report.and(verify::run_services(plan, &paths, &Options::default())?);
    let names = name_checks::of(cluster, plan);
    Ok(report.and(verify::run_names(plan, &names, &Options::default())?))
}

/// The cluster as far as [`source_of`] made its Services: those of DNS have the same shapes.
fn own(mut cluster: Cluster) -> Cluster {
    cluster.services.retain(|service| service.name.starts_with("verify-"));
    cluster
}

/// A mode's own topology with DNS and the Services of `verify-services`, where a kube-proxy can do its work.
fn source_of(mode: Mode) -> Result<Source> {
    let source = builtin::find(mode.name())?.source();
    let services = examples::find("verify-services").filter(|_| mode.has_services());
    Ok(match services {
        None => source,
        Some(services) => {
            let text = source.text.replacen("\nspec:\n", "\nspec:\n  dns: true\n", 1);
            Source::new(source.name, format!("{text}\n---\n{}", services.text))
        }
    })
}

/// What is verified is this kernel as it is; where it is otherwise than a real node's, that is said.
fn tell_differences(plan: &Plan) -> Result<()> {
    plan.differences(features::kernel()).iter().try_for_each(|text| print::note(&format!("note: {text}")))
}

/// Builds a mode's own topology, verifies it, and removes it, whatever came out. `-c` gives it a name.
fn of_mode(mode: Mode, globals: &Globals) -> Result<Report> {
    let source = source_of(mode)?;
    let name = globals.cluster.clone().unwrap_or_else(|| format!("verify-{}", std::process::id()));
    let overrides = Overrides { cluster_name: Some(name.clone()), ..Default::default() };
    let cluster = topology::parse(std::slice::from_ref(&source), &overrides)?;
    let args = UpArgs {
        wanted: Wanted { topology: mode.name().to_owned(), cni: None, proxy: None, iptables: None },
        datapath: DatapathChoice::Auto,
        dry_run: false,
        no_rollback: false,
        no_heal: false,
        heal_speed: 1,
        replace: false,
    };
    let interrupts = Interrupts::hold()?;
    let plan = up::whole(&cluster, source, &args, &interrupts, &mut up::Steps::untold())?;
    let report = tell_differences(&plan)
        .and_then(|()| verify::run(&plan, &Options::default()))
        .and_then(|report| with_services(report, &own(cluster), &plan));
    down::remove_all(&[name], true)?;
    interrupts.check()?;
    report
}

/// As [`of_mode`]; a mode that this machine cannot run is no failure among others, but one that was skipped.
fn of_mode_or_skipped(mode: Mode, globals: &Globals) -> Result<Report> {
    match of_mode(mode, globals) {
        Err(e) if e.kind() == Kind::Unsupported => {
            Ok(Report::skipped(mode.name(), Datapath::Kernel, e.to_string().replace('\n', "; ")))
        }
        report => report,
    }
}

fn unknown(name: &str) -> Result<Error> {
    let clusters = state::list()?;
    let known = || clusters.iter().map(String::as_str).chain(Mode::ALL.iter().map(|mode| mode.name()));
    let error = Error::new(Kind::Usage, format!("there is no cluster and no mode `{name}`"));
    Ok(match nearest(name, known()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("there are: {}", known().collect::<Vec<_>>().join(", "))),
    })
}

fn total(reports: &[Report]) -> Summary {
    reports.iter().fold(Summary::default(), |sum, Report { summary, .. }| Summary {
        passed: sum.passed + summary.passed,
        failed: sum.failed + summary.failed,
        skipped: sum.skipped + summary.skipped,
    })
}

/// One report as it is; those of all modes as a list with a summary.
fn rendered(reports: &[Report], all: bool, output: Output) -> Result<String> {
    let data = match reports {
        [report] if !all => print::as_data(report, output)?,
        reports => print::as_data(&json!({ "runs": reports, "summary": total(reports) }), output)?,
    };
    Ok(data.unwrap_or_else(|| reports.iter().map(Report::text).collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a topology is changed for it, which must have been of the form that is looked for.
    #[test]
    fn every_mode_with_services_is_verified_with_dns_and_services() {
        for mode in Mode::ALL {
            let source = source_of(*mode).unwrap_or_else(|e| panic!("{mode}: {e}"));
            let cluster = topology::parse(&[source], &Overrides::default()).unwrap_or_else(|e| panic!("{mode}: {e}"));
            assert_eq!(cluster.dns.is_some(), mode.has_services(), "{mode}");
            assert_eq!(own(cluster).services.is_empty(), !mode.has_services(), "{mode}");
        }
    }
}
