//! `minik apply`, `delete`, `scale`, `label` and `ready`: the objects of a live cluster, changed with kubectl's words.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::args::Globals;
use super::live::{self, Live};
use super::live_args::{ApplyArgs, DeleteArgs, LabelArgs, ReadyArgs, ScaleArgs};
use super::{input, kinds, print, session};
use crate::error::{Error, Kind, Result};
use crate::topology::{self, Applied, Edit, Reference};

/// Runs `minik apply`.
///
/// # Errors
/// If a manifest is wrong, before anything is touched; if the cluster cannot be changed.
pub(super) fn apply(args: &ApplyArgs, globals: &Globals) -> Result<ExitCode> {
    let manifests = args.file.iter().map(|file| input::read(file)).collect::<Result<Vec<_>>>()?;
    let mut live = live::open(globals.cluster_name())?;
    let files = session::files(&live.session.record);
    let mut edits = live.session.record.edits.clone();
    let before = edits.len();
    let mut text = String::new();
    for manifest in manifests {
        for (object, outcome) in
            topology::applied(&mut live.session.reading, &files, &edits, &manifest, &globals.namespace)?
        {
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
    change(&mut live, edits.split_off(before), args.dry_run, text)
}

/// Runs `minik delete`.
///
/// # Errors
/// If an object is not there, before anything is touched; if the cluster cannot be changed.
pub(super) fn delete(args: &DeleteArgs, globals: &Globals) -> Result<ExitCode> {
    let mut objects = kinds::references(&args.object, &globals.namespace)?;
    for file in &args.file {
        objects.extend(topology::objects(&input::read(file)?, &globals.namespace)?);
    }
    if objects.is_empty() {
        return Err(Error::new(Kind::Usage, "delete what?").hint("write KIND NAME, KIND/NAME, or -f FILE"));
    }
    let mut live = live::open(globals.cluster_name())?;
    let is_there = |object: &&Reference| object.kind != "Pod" || has_pod(&live, object);
    if let Some(absent) = objects.iter().find(|object| !is_there(object)) {
        return Err(not_found(absent));
    }
    let text = objects.iter().map(|object| format!("{} deleted\n", kinds::resource_quoted(object))).collect();
    let edits = objects.into_iter().map(|object| Edit::Delete { object }).collect();
    change(&mut live, edits, args.dry_run, text)
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
    let objects = kinds::references(&object.into_iter().cloned().collect::<Vec<_>>(), &globals.namespace)?;
    let labels = labels.into_iter().map(|word| parse_label(word)).collect::<Result<BTreeMap<_, _>>>()?;
    if labels.is_empty() || objects.is_empty() {
        let error = Error::new(Kind::Usage, "an object and at least one label are needed");
        return Err(error.hint("as in `minik label pod two-containers tier=web old-`"));
    }
    let mut live = live::open(globals.cluster_name())?;
    for object in &objects {
        let Some(present) = labels_of(&live, object) else { return Err(not_found(object)) };
        let taken = labels.iter().find(|(key, value)| {
            value.is_some() && present.get(*key).is_some_and(|present| Some(present) != value.as_ref())
        });
        if let Some((key, _)) = taken.filter(|_| !args.overwrite) {
            let what = format!("{} has the label {key}={} already", kinds::resource(object), present[key]);
            return Err(Error::new(Kind::Usage, what).hint("pass --overwrite to change it"));
        }
    }
    let text = objects.iter().map(|object| format!("{} labeled\n", kinds::resource(object))).collect();
    let edits = objects.into_iter().map(|object| Edit::Label { object, labels: labels.clone() }).collect();
    change(&mut live, edits, false, text)
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

/// The labels of a node, namespace or pod.
fn labels_of<'l>(live: &'l Live, object: &Reference) -> Option<&'l BTreeMap<String, String>> {
    let cluster = &live.session.cluster;
    match object.kind.as_str() {
        "Node" => cluster.nodes.iter().find(|node| node.name == object.name).map(|node| &node.labels),
        "Namespace" => cluster.namespaces.iter().find(|known| known.name == object.name).map(|known| &known.labels),
        _ => {
            let pod = cluster.pods.iter().find(|pod| pod.namespace == object.namespace && pod.name == object.name);
            pod.map(|pod| &pod.labels)
        }
    }
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
        .hint(format!("`minik get {}s -A` lists those that there are", object.kind.to_lowercase()))
}
