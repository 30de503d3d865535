//! `minik get`: lists with the columns that kubectl and calicoctl print.

mod calico;
mod described;
mod kube;
mod labels;
mod planned;
mod services;

use std::process::ExitCode;

use labels::Requirements;

use super::args::{GetArgs, Globals, Output};
use super::print::{self, Listing, Row};
use super::session::{self, Session};
use super::target::workload_kind;
use crate::error::{Error, Kind, Result};
use crate::topology::{Addressing, Reference, Workload, WorkloadKind, nearest};

pub(super) use described::{endpoints as describe_endpoints, service as describe_service};
pub(super) use kube::{pods_of, workloads_of};
pub(super) use services::endpoints;

/// STATUS of a pod.
pub(super) fn pod_word(status: Option<&crate::agent::Status>, pod: &crate::topology::Pod) -> String {
    kube::pod_state(session::pod_status(status, pod), pod).0
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
    /// Kubernetes namespaces.
    Namespaces,
    /// Controllers of a kind.
    Workloads(WorkloadKind),
    /// Services.
    Services,
    /// Endpoints, one object for each Service.
    Endpoints,
    /// EndpointSlices.
    EndpointSlices,
    /// Calico's pools.
    IpPools,
    /// Calico's blocks.
    Blocks,
    /// Routes of the plan.
    Routes,
    /// Links of the plan.
    Links,
    /// Netfilter rules of the plan.
    Rules,
}

/// The words for each thing: plural, singular, short.
const WORDS: &[(&str, Thing)] = &[
    ("nodes", Thing::Nodes),
    ("node", Thing::Nodes),
    ("no", Thing::Nodes),
    ("pods", Thing::Pods),
    ("pod", Thing::Pods),
    ("po", Thing::Pods),
    ("namespaces", Thing::Namespaces),
    ("namespace", Thing::Namespaces),
    ("ns", Thing::Namespaces),
    ("services", Thing::Services),
    ("service", Thing::Services),
    ("svc", Thing::Services),
    ("endpoints", Thing::Endpoints),
    ("ep", Thing::Endpoints),
    ("endpointslices", Thing::EndpointSlices),
    ("endpointslice", Thing::EndpointSlices),
    ("ippools", Thing::IpPools),
    ("ippool", Thing::IpPools),
    ("ipp", Thing::IpPools),
    ("blocks", Thing::Blocks),
    ("block", Thing::Blocks),
    ("routes", Thing::Routes),
    ("route", Thing::Routes),
    ("links", Thing::Links),
    ("link", Thing::Links),
    ("rules", Thing::Rules),
    ("rule", Thing::Rules),
];

impl Thing {
    /// The thing that a word means.
    ///
    /// # Errors
    /// Of [`Kind::Usage`] if there is none, with the nearest word.
    pub(super) fn parse(word: &str) -> Result<Thing> {
        let lower = word.to_ascii_lowercase();
        if let Some((_, thing)) = WORDS.iter().find(|(known, _)| *known == lower) {
            return Ok(*thing);
        }
        if let Some(kind) = workload_kind(&lower) {
            return Ok(Thing::Workloads(kind));
        }
        let controllers = ["deployments", "replicasets", "daemonsets", "statefulsets"];
        let words = WORDS.iter().map(|(known, _)| *known).chain(controllers);
        let error = Error::new(Kind::Usage, format!("minik does not know the kind `{word}`"));
        Err(match nearest(&lower, words) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("see `minik get --help` for the kinds"),
        })
    }

    /// The word for one of them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Thing::Workloads(WorkloadKind::Deployment) => "deployment",
            Thing::Workloads(WorkloadKind::ReplicaSet) => "replicaset",
            Thing::Workloads(WorkloadKind::DaemonSet) => "daemonset",
            Thing::Workloads(WorkloadKind::StatefulSet) => "statefulset",
            Thing::Nodes => "node",
            Thing::Pods => "pod",
            Thing::Namespaces => "namespace",
            Thing::Services => "service",
            Thing::Endpoints => "endpoints",
            Thing::EndpointSlices => "endpointslice",
            Thing::IpPools => "ippool",
            Thing::Blocks => "block",
            Thing::Routes => "route",
            Thing::Links => "link",
            Thing::Rules => "rule",
        }
    }

    /// Whether things of this kind are in a Kubernetes namespace.
    fn is_namespaced(self) -> bool {
        matches!(self, Thing::Pods | Thing::Workloads(_) | Thing::Services | Thing::Endpoints | Thing::EndpointSlices)
    }

    /// Whether NAME is a target that has such things, and not one of them.
    fn is_of_a_target(self) -> bool {
        matches!(self, Thing::Routes | Thing::Links | Thing::Rules)
    }
}

/// Things of one kind that were asked for.
struct Asked {
    thing: Thing,
    /// Their names; all of them if there are none.
    names: Vec<String>,
}

/// What the words of a command line ask for: `KINDS [NAME…]`, or `KIND/NAME…`.
fn asked(words: &[String]) -> Result<Vec<Asked>> {
    let mut all: Vec<Asked> = Vec::new();
    if words.iter().any(|word| word.contains('/')) {
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                let error = Error::new(Kind::Usage, format!("`{word}` is not KIND/NAME, as the others are"));
                return Err(error.hint("write `KIND NAME…`, or KIND/NAME for each"));
            };
            let (thing, name) = (Thing::parse(kind)?, name.to_owned());
            match all.last_mut().filter(|last| last.thing == thing && !thing.is_of_a_target()) {
                Some(last) => last.names.push(name),
                None => all.push(Asked { thing, names: vec![name] }),
            }
        }
        return Ok(all);
    }
    let (kinds, names) = words.split_first().map_or(("", words), |(kinds, names)| (kinds.as_str(), names));
    for word in kinds.split(',').flat_map(|word| if word == "all" { ALL } else { word }.split(',')) {
        let thing = Thing::parse(word)?;
        match names {
            [_, _, ..] if thing.is_of_a_target() => {
                all.extend(names.iter().map(|name| Asked { thing, names: vec![name.clone()] }));
            }
            names => all.push(Asked { thing, names: names.to_vec() }),
        }
    }
    Ok(all)
}

/// What `minik get all` means, in kubectl's order.
const ALL: &str = "pods,services,daemonsets,deployments,replicasets,statefulsets";

/// Runs `minik get`.
///
/// # Errors
/// If there is no such cluster, or nothing of the name that was asked for.
pub fn run(args: &GetArgs, globals: &Globals) -> Result<ExitCode> {
    let asked = asked(&args.words)?;
    let things: Vec<Thing> = asked.iter().map(|asked| asked.thing).collect();
    let requirements = args.selector.as_deref().map(Requirements::parse).transpose()?;
    let session = session::open(globals.cluster_name())?;
    let mut listings = Vec::new();
    for Asked { thing, names } in &asked {
        let mut listing = list(*thing, &session, globals, names.first().map(String::as_str))?;
        select(&mut listing, *thing, globals, names)?;
        listing.rows.retain(|row| requirements.as_ref().is_none_or(|asked| asked.hold_for(&row.object)));
        if args.show_labels {
            listing.show_labels();
        }
        listings.push(listing);
    }
    if let ([Thing::Blocks], Output::Table) = (things.as_slice(), globals.output) {
        let name = asked[0].names.first().map(String::as_str);
        return print::text(&calico::show_blocks(&session, name)?).map(|()| ExitCode::SUCCESS);
    }
    let one = asked.iter().map(|asked| asked.names.len()).sum::<usize>() == 1;
    print_all(&mut listings, &things, args, globals, one)?;
    Ok(ExitCode::SUCCESS)
}

/// The objects of these kinds (`svc`, `deploy,svc`, `all`) that are in the namespace and have the labels, if those are
/// given. The ReplicaSet of a Deployment is not among them: it has no manifest, and comes and goes with the Deployment.
///
/// # Errors
/// If a word is no kind of object, or the selector is none.
pub(super) fn matching(
    session: &Session,
    words: &[String],
    selector: Option<&str>,
    globals: &Globals,
) -> Result<Vec<Reference>> {
    let requirements = selector.map(Requirements::parse).transpose()?;
    let mut found = Vec::new();
    for Asked { thing, names } in asked(words)? {
        if let Some(name) = names.first() {
            let error = Error::new(Kind::Usage, format!("`{name}` is a name, and names are not chosen from by labels"));
            return Err(error.hint("write the kind alone: `pods -l app=web`"));
        }
        let mut listing = list(thing, session, globals, None)?;
        select(&mut listing, thing, globals, &[])?;
        listing.rows.retain(|row| requirements.as_ref().is_none_or(|asked| asked.hold_for(&row.object)));
        let kind = super::kinds::parse(thing.name())?;
        let made = |name: &str| {
            let own = |set: &Workload| set.kind == WorkloadKind::ReplicaSet && set.name == name;
            thing == Thing::Workloads(WorkloadKind::ReplicaSet) && !session.cluster.workloads.iter().any(own)
        };
        let rows = listing.rows.into_iter().filter(|row| !made(&row.name));
        found.extend(rows.map(|row| Reference {
            kind: kind.name.to_owned(),
            namespace: row.namespace.unwrap_or_default(),
            name: row.name,
        }));
    }
    Ok(found)
}

/// Prints lists one below the other; as data they are one.
fn print_all(listings: &mut [Listing], things: &[Thing], args: &GetArgs, globals: &Globals, one: bool) -> Result<()> {
    let is_data = matches!(globals.output, Output::Json | Output::Yaml);
    let is_namespaced = things.iter().all(|thing| thing.is_namespaced());
    if is_data {
        let mut whole = listings[0].clone();
        whole.rows.extend(listings[1..].iter().flat_map(|listing| listing.rows.iter().cloned()));
        return print::text(&whole.render(globals.output, false, one)?);
    }
    if listings.iter().all(|listing| listing.rows.is_empty()) {
        return print::note(&if is_namespaced && !globals.all_namespaces {
            format!("No resources found in {} namespace.", globals.namespace)
        } else {
            "No resources found".to_owned()
        });
    }
    let has_headers = matches!(globals.output, Output::Table | Output::Wide);
    let mut texts = Vec::new();
    for (listing, thing) in listings.iter_mut().zip(things).filter(|(listing, _)| !listing.rows.is_empty()) {
        if has_headers && things.len() > 1 {
            listing.name_kinds();
        }
        let text = listing.render(globals.output, thing.is_namespaced() && globals.all_namespaces, one)?;
        let skip = if args.no_headers && has_headers { text.find('\n').map_or(0, |end| end + 1) } else { 0 };
        texts.push(text[skip..].to_owned());
    }
    print::text(&texts.join(if has_headers { "\n" } else { "" }))
}

fn list(thing: Thing, session: &Session, globals: &Globals, name: Option<&str>) -> Result<Listing> {
    match thing {
        // With Calico's own IPAM, the wide list is calicoctl's.
        Thing::Nodes
            if globals.output == Output::Wide && session.cluster.network.mode.addressing() == Addressing::Pools =>
        {
            Ok(calico::nodes(session, kube::nodes(session)))
        }
        Thing::Nodes => Ok(kube::nodes(session)),
        Thing::Pods => kube::pods(session),
        Thing::Namespaces => Ok(kube::namespaces(session)),
        Thing::Workloads(kind) => kube::workloads(session, kind),
        Thing::Services => Ok(services::services(session, globals.output == Output::Wide)),
        Thing::Endpoints => Ok(services::endpoints(session)),
        Thing::EndpointSlices => Ok(services::slices(session)),
        Thing::IpPools => Ok(calico::pools(session)),
        Thing::Blocks => calico::blocks(session),
        Thing::Routes => planned::routes(session, globals, name),
        Thing::Links => planned::links(session, globals, name),
        Thing::Rules => planned::rules(session, globals, name),
    }
}

/// Leaves the rows that were asked for.
fn select(listing: &mut Listing, thing: Thing, globals: &Globals, names: &[String]) -> Result<()> {
    if thing.is_namespaced() && !globals.all_namespaces {
        listing.rows.retain(|row| row.namespace.as_deref() == Some(globals.namespace.as_str()));
    }
    if names.is_empty() || thing.is_of_a_target() {
        return Ok(());
    }
    let known: Vec<String> = listing.rows.iter().map(|row| row.name.clone()).collect();
    listing.rows.retain(|row| names.contains(&row.name));
    let place = |row: &Row| names.iter().position(|name| *name == row.name);
    listing.rows.sort_by_key(place);
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let place = if thing.is_namespaced() && !globals.all_namespaces {
            format!(" in namespace {}", globals.namespace)
        } else {
            String::new()
        };
        let error = Error::new(Kind::Usage, format!("there is no {} `{name}`{place}", listing.kind));
        return Err(match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    Ok(())
}
