//! `minik apply`, `delete`, `scale`, `label` and `ready`: the objects of a live cluster, changed with kubectl's words.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use super::args::Globals;
use super::live::{self, Live};
use super::live_args::{ApplyArgs, DeleteArgs, LabelArgs, ReadyArgs, ScaleArgs, Which};
use super::{get, input, kinds, print, session};
use crate::error::{Error, Kind, Result};
use crate::topology::{self, Applied, Edit, Reference, Source};

/// Runs `minik apply`.
///
/// # Errors
/// If a manifest is wrong, or there is nothing in them, before anything is touched; if the cluster cannot be changed.
pub(super) fn apply(args: &ApplyArgs, globals: &Globals) -> Result<ExitCode> {
    let manifests = manifests(&args.file, args.recursive)?;
    let mut live = live::open(globals.cluster_name())?;
    let files = session::files(&live.session.record);
    let mut edits = live.session.record.edits.clone();
    let before = edits.len();
    let mut text = String::new();
    for manifest in manifests {
        for (object, outcome) in
            topology::applied(&mut live.session.reading, &files, &edits, &manifest, &globals.namespace)?
        {
            check_is_nobody_s(&live, &object, outcome)?;
            let word = match outcome {
                Applied::Created => "created",
                Applied::Configured => "configured",
                Applied::Unchanged => "unchanged",
            };
            text += &format!("{} {word}\n", kinds::resource(&object));
        }
        let namespace = globals.namespace.clone();
        edits.push(Edit::Apply { name: manifest.name, text: manifest.text, namespace });
    }
    if text.is_empty() {
        // What has no kind or no name is no object yet: whoever reads it says so.
        let record = live.edited(edits.split_off(before));
        live.next(record)?;
        return Err(Error::new(Kind::Usage, "no objects passed to apply").hint("there is no object in what was read"));
    }
    change(&mut live, edits.split_off(before), args.dry_run, text)
}

/// A pod that a controller made has no manifest that could be changed: what is written would be another pod beside it.
fn check_is_nobody_s(live: &Live, object: &Reference, outcome: Applied) -> Result<()> {
    let is_pod = object.kind == "Pod" && outcome == Applied::Created;
    let mut pods = live.session.cluster.pods.iter().filter(|_| is_pod);
    let made = pods.find(|pod| pod.namespace == object.namespace && pod.name == object.name);
    match made.and_then(|pod| pod.owner.as_ref()) {
        Some((kind, name)) => {
            let what = format!("{} is a pod of {} {name}", kinds::resource(object), kind.name());
            Err(Error::new(Kind::Usage, what)
                .hint("apply its controller; `label` and `ready` change a pod of a controller"))
        }
        None => Ok(()),
    }
}

/// The manifests behind every `-f`.
fn manifests(files: &[String], recursive: bool) -> Result<Vec<Source>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(input::read_all(file, recursive)?);
    }
    Ok(all)
}

/// The objects that words name, or those of a kind that are chosen otherwise.
fn chosen(live: &Live, words: &[String], which: &Which, globals: &Globals) -> Result<Vec<Reference>> {
    if which.selector.is_none() && !which.all {
        return kinds::references(words, &globals.namespace);
    }
    get::matching(&live.session, words, which.selector.as_deref(), globals)
}

/// Runs `minik delete`.
///
/// # Errors
/// If an object is not there, before anything is touched; if the cluster cannot be changed.
pub(super) fn delete(args: &DeleteArgs, globals: &Globals) -> Result<ExitCode> {
    if args.object.is_empty() && args.file.is_empty() {
        return Err(Error::new(Kind::Usage, "delete what?").hint("write KIND NAME, KIND/NAME, or -f FILE"));
    }
    let manifests = manifests(&args.file, args.recursive)?;
    let mut live = live::open(globals.cluster_name())?;
    let mut objects = chosen(&live, &args.object, &args.which, globals)?;
    for manifest in &manifests {
        objects.extend(topology::objects(manifest, &globals.namespace)?);
    }
    check_may_go(&objects)?;
    let present = present(&mut live, &objects)?;
    if let Some(absent) = objects.iter().find(|object| !present.contains(object)).filter(|_| !args.ignore_not_found) {
        return Err(not_found(absent));
    }
    objects.retain(|object| present.contains(object));
    if objects.is_empty() {
        return print::note("No resources found").map(|()| ExitCode::SUCCESS);
    }
    let text = objects.iter().map(|object| format!("{} deleted\n", kinds::resource_quoted(object))).collect();
    let edits = objects.into_iter().map(|object| Edit::Delete { object }).collect();
    change(&mut live, edits, args.dry_run, text)
}

/// Namespaces that the API server never deletes (apiserver pkg/admission/plugin/namespace/lifecycle).
fn check_may_go(objects: &[Reference]) -> Result<()> {
    let is_immortal = |name: &str| matches!(name, "default" | "kube-system" | "kube-public");
    match objects.iter().find(|object| object.kind == "Namespace" && is_immortal(&object.name)) {
        Some(object) => {
            let what = format!("namespaces \"{}\" is forbidden: this namespace may not be deleted", object.name);
            Err(Error::new(Kind::Usage, what).hint("delete what is in it instead"))
        }
        None => Ok(()),
    }
}

/// Those of the objects that there are.
fn present(live: &mut Live, objects: &[Reference]) -> Result<BTreeSet<Reference>> {
    let record = &live.session.record;
    let (files, edits) = (session::files(record), record.edits.clone());
    let mut present = topology::written(&mut live.session.reading, &files, &edits, objects)?;
    let is_node = |name: &str| live.session.cluster.nodes.iter().any(|node| node.name == name);
    let unwritten = objects.iter().filter(|object| match object.kind.as_str() {
        "Pod" => has_pod(live, object),
        "Node" => is_node(&object.name),
        _ => false,
    });
    present.extend(unwritten.cloned());
    Ok(present)
}

/// Runs `minik scale`.
///
/// # Errors
/// If there is no such controller; if the cluster cannot be changed.
pub(super) fn scale(args: &ScaleArgs, globals: &Globals) -> Result<ExitCode> {
    let objects = kinds::references(&args.object, &globals.namespace)?;
    let mut live = live::open(globals.cluster_name())?;
    let text = objects.iter().map(|object| format!("{} scaled\n", kinds::resource(object))).collect();
    let edits = objects.into_iter().map(|object| Edit::Scale { object, replicas: args.replicas }).collect();
    change(&mut live, edits, false, text)
}

/// Runs `minik label`.
///
/// # Errors
/// If there is no such object, or a label has a value already and `--overwrite` is not given.
pub(super) fn label(args: &LabelArgs, globals: &Globals) -> Result<ExitCode> {
    let is_label = |word: &&String| word.contains('=') || word.ends_with('-');
    let (labels, object): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_label);
    let labels = labels.into_iter().map(|word| parse_label(word)).collect::<Result<BTreeMap<_, _>>>()?;
    if labels.is_empty() || object.is_empty() {
        let error = Error::new(Kind::Usage, "an object and at least one label are needed");
        return Err(error.hint("as in `minik label pod two-containers tier=web old-`"));
    }
    let mut live = live::open(globals.cluster_name())?;
    let words: Vec<String> = object.into_iter().cloned().collect();
    let objects = chosen(&live, &words, &args.which, globals)?;
    let (mut text, mut edits) = (String::new(), Vec::new());
    for object in objects {
        let Some(present) = labels_of(&live, &object)? else { return Err(not_found(&object)) };
        let taken = labels.iter().find(|(key, value)| {
            value.is_some() && present.get(*key).is_some_and(|present| Some(present) != value.as_ref())
        });
        if let Some((key, _)) = taken.filter(|_| !args.overwrite) {
            let what = format!("{} has the label {key}={} already", kinds::resource(&object), present[key]);
            return Err(Error::new(Kind::Usage, what).hint("pass --overwrite to change it"));
        }
        let absent = labels.iter().filter(|(key, value)| value.is_none() && !present.contains_key(*key));
        absent.for_each(|(key, _)| text += &format!("label \"{key}\" not found.\n"));
        let is_new = labels.iter().any(|(key, value)| present.get(key) != value.as_ref());
        let word = match labels.values().all(Option::is_none) {
            _ if !is_new => "not labeled",
            true => "unlabeled",
            false => "labeled",
        };
        text += &format!("{} {word}\n", kinds::resource(&object));
        edits.extend(is_new.then(|| Edit::Label { object, labels: labels.clone() }));
    }
    match (text.is_empty(), edits.is_empty()) {
        (true, _) => print::note("No resources found").map(|()| ExitCode::SUCCESS),
        (false, true) => print::text(&text).map(|()| ExitCode::SUCCESS),
        (false, false) => change(&mut live, edits, false, text),
    }
}

/// Runs `minik ready`.
///
/// # Errors
/// If there is no such pod; if the cluster cannot be changed.
pub(super) fn ready(args: &ReadyArgs, globals: &Globals) -> Result<ExitCode> {
    let mut live = live::open(globals.cluster_name())?;
    let (mut edits, mut text) = (Vec::new(), String::new());
    for name in &args.pod {
        let name = name.strip_prefix("pod/").unwrap_or(name);
        let (namespace, name) = name.split_once('/').unwrap_or((&globals.namespace, name));
        let (kind, namespace, name) = ("Pod".to_owned(), namespace.to_owned(), name.to_owned());
        let object = Reference { kind, namespace, name };
        if !has_pod(&live, &object) {
            return Err(not_found(&object));
        }
        text += &format!("{} is {}ready\n", kinds::resource(&object), if args.not { "not " } else { "" });
        edits.push(Edit::Ready { object, ready: !args.not });
    }
    change(&mut live, edits, false, text)
}

/// Makes the edits and says what was done; with `dry_run` only looks whether they can be made.
fn change(live: &mut Live, edits: Vec<Edit>, dry_run: bool, text: String) -> Result<ExitCode> {
    let record = live.edited(edits);
    if dry_run {
        live.next(record)?;
        let text: String = text.lines().map(|line| format!("{line} (dry run)\n")).collect();
        return print::text(&text).map(|()| ExitCode::SUCCESS);
    }
    live.become_(record)?;
    print::text(&text).map(|()| ExitCode::SUCCESS)
}

fn has_pod(live: &Live, object: &Reference) -> bool {
    live.session.cluster.pods.iter().any(|pod| pod.namespace == object.namespace && pod.name == object.name)
}

/// The labels of an object; none if it is not there.
///
/// # Errors
/// Of [`Kind::Usage`] for kinds whose labels nobody looks at.
fn labels_of<'l>(live: &'l Live, object: &Reference) -> Result<Option<&'l BTreeMap<String, String>>> {
    let cluster = &live.session.cluster;
    let is = |namespace: &str, name: &str| object.namespace == namespace && object.name == name;
    Ok(match object.kind.as_str() {
        "Node" => cluster.nodes.iter().find(|node| node.name == object.name).map(|node| &node.labels),
        "Namespace" => cluster.namespaces.iter().find(|known| known.name == object.name).map(|known| &known.labels),
        "Pod" => cluster.pods.iter().find(|pod| is(&pod.namespace, &pod.name)).map(|pod| &pod.labels),
        "Service" => cluster.services.iter().find(|own| is(&own.namespace, &own.name)).map(|own| &own.labels),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            let mut sets = cluster.workloads.iter().filter(|set| set.kind.name() == object.kind);
            sets.find(|set| is(&set.namespace, &set.name)).map(|set| &set.labels)
        }
        kind => {
            let error = Error::new(Kind::Usage, format!("labels of objects of kind {kind} are not changed by `label`"));
            return Err(error.hint("write them into the manifest, and `minik apply` it"));
        }
    })
}

fn parse_label(word: &str) -> Result<(String, Option<String>)> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (word.trim_end_matches('-'), None),
    };
    topology::check_label(key, value.as_deref().unwrap_or_default())?;
    Ok((key.to_owned(), value))
}

fn not_found(object: &Reference) -> Error {
    Error::new(Kind::Usage, format!("{} not found", kinds::resource_quoted(object)))
        .hint(format!("`minik get {} -A` lists those that there are", kinds::plural(object)))
}
