//! A manifest beside what a live cluster has: which objects are in it, and what applying it would do to each.

use std::collections::BTreeMap;

use super::edits::{self, Edit, Reference};
use super::source::Source;
use super::tree::{self, Node, Value};
use super::{Overrides, dns, documents};
use crate::error::Result;

/// What applying does to an object, in kubectl's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// It was otherwise.
    Configured,
    /// It was the same.
    Unchanged,
}

/// The objects of a manifest, in order. Those that name no namespace are in `namespace`.
///
/// # Errors
/// If it is no manifest.
pub fn objects(manifest: &Source, namespace: &str) -> Result<Vec<Reference>> {
    let sources = std::slice::from_ref(manifest);
    let mut trees = Vec::new();
    let read = documents::read_trees(sources, &mut trees).and_then(|()| documents::decode_all(trees.iter()));
    read.map_err(|complaint| complaint.into_error(sources, &trees))?;
    Ok(plain_objects(manifest, namespace)?.into_iter().map(|(object, _)| object).collect())
}

/// What applying a manifest would do to each of its objects, for a cluster of these files and earlier edits.
///
/// # Errors
/// If the manifest, or one of the files, cannot be read.
pub fn applied(
    files: &[Source],
    overrides: &Overrides,
    manifest: &Source,
    namespace: &str,
) -> Result<Vec<(Reference, Applied)>> {
    let with_place = |(object, plain)| (object, Some(plain));
    let mut known: BTreeMap<Reference, Option<Plain>> = of_dns(files)?.into_iter().map(with_place).collect();
    for file in files {
        known.extend(plain_objects(file, "default")?.into_iter().map(|(object, plain)| (object, Some(plain))));
    }
    for edit in &overrides.edits {
        match edit {
            Edit::Apply { name, text, namespace } => {
                let objects = plain_objects(&Source::new(name, text), namespace)?;
                known.extend(objects.into_iter().map(|(object, plain)| (object, Some(plain))));
            }
            Edit::Delete { object } => drop(known.remove(object)),
            // It is there, and no more what was written.
            Edit::Scale { object, .. } | Edit::Label { object, .. } => {
                known.entry(object.clone()).and_modify(|plain| *plain = None);
            }
            Edit::Line { .. } | Edit::Ready { .. } => {}
        }
    }
    let mut outcomes = Vec::new();
    for (object, plain) in plain_objects(manifest, namespace)? {
        let outcome = match known.get(&object) {
            None => Applied::Created,
            Some(Some(before)) if *before == plain => Applied::Unchanged,
            Some(_) => Applied::Configured,
        };
        outcomes.push((object, outcome));
    }
    Ok(outcomes)
}

/// A value without its place; a mapping's order does not matter.
#[derive(Debug, PartialEq)]
enum Plain {
    Leaf(Value),
    List(Vec<Plain>),
    Map(BTreeMap<String, Plain>),
}

fn plain(node: &Node) -> Plain {
    match &node.value {
        Value::List(items) => Plain::List(items.iter().map(plain).collect()),
        Value::Map(entries) => {
            Plain::Map(entries.iter().map(|(key, value)| (key.name.clone(), plain(value))).collect())
        }
        leaf => Plain::Leaf(leaf.clone()),
    }
}

fn plain_objects(source: &Source, namespace: &str) -> Result<Vec<(Reference, Plain)>> {
    let sources = std::slice::from_ref(source);
    let nodes = tree::read(source, 0).map_err(|complaint| complaint.into_error(sources, &[]))?;
    let mut objects = Vec::new();
    nodes.iter().for_each(|node| collect(node, namespace, &mut objects));
    Ok(objects)
}

/// The objects of the cluster's DNS, which stand in no file.
fn of_dns(files: &[Source]) -> Result<Vec<(Reference, Plain)>> {
    let mut trees = Vec::new();
    let found = documents::read_trees(files, &mut trees)
        .and_then(|()| documents::decode_all(trees.iter()))
        .and_then(documents::take_cluster)
        .and_then(|(cluster, _)| dns::trees(&cluster.spec));
    let own = found.map_err(|complaint| complaint.into_error(files, &trees))?;
    let mut objects = Vec::new();
    own.iter().for_each(|(_, node)| collect(node, "default", &mut objects));
    Ok(objects)
}

fn collect(node: &Node, namespace: &str, objects: &mut Vec<(Reference, Plain)>) {
    let text = |node: Option<&Node>| match node.map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    if text(node.get("kind")).as_deref() == Some("List") {
        if let Some(Value::List(items)) = node.get("items").map(|items| &items.value) {
            items.iter().for_each(|item| collect(item, namespace, objects));
        }
        return;
    }
    let metadata = node.get("metadata");
    let (Some(kind), Some(name)) = (text(node.get("kind")), text(metadata.and_then(|own| own.get("name")))) else {
        return;
    };
    let own = text(metadata.and_then(|own| own.get("namespace")));
    let object = match edits::is_namespaced(&kind) {
        true => Reference { kind, namespace: own.unwrap_or_else(|| namespace.to_owned()), name },
        false => Reference { kind, namespace: String::new(), name },
    };
    objects.push((object, plain(node)));
}
