//! A manifest beside what a live cluster has: which objects are in it, and what applying it would do to each.

use std::collections::{BTreeMap, BTreeSet};

use super::complaint::Checked;
use super::edits::{self, Edit, Reference};
use super::source::Source;
use super::tree::{Node, Value};
use super::{Reading, dns, documents};
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
    let mut objects = Vec::new();
    trees.iter().for_each(|(_, node)| collect(node, namespace, &mut |object, _| objects.push(object)));
    Ok(objects)
}

/// What applying a manifest would do to each of its objects, for a cluster of these files and earlier edits. What is
/// read here needs not be read again.
///
/// # Errors
/// If the manifest, or one of the files, cannot be read.
pub fn applied(
    reading: &mut Reading,
    files: &[Source],
    edits: &[Edit],
    manifest: &Source,
    namespace: &str,
) -> Result<Vec<(Reference, Applied)>> {
    let own = reading.read(files, edits, Some(manifest)).and_then(|()| of_dns(files.len(), reading.trees()));
    let own = own.map_err(|complaint| complaint.into_error(reading.sources(), reading.trees()))?;
    let of = |source: usize| reading.trees().iter().filter(move |(of, _)| *of as usize == source).map(|(_, node)| node);
    let mut objects = Vec::new();
    for node in of(reading.sources().len() - 1) {
        collect(node, namespace, &mut |object, node| objects.push((object, node)));
    }
    // The cluster may have very many others, about which nobody asks.
    let asked: BTreeSet<&Reference> = objects.iter().map(|(object, _)| object).collect();
    let mut known = known(reading.trees(), &own, files.len(), edits, &asked);
    let mut outcomes = Vec::new();
    for (object, node) in objects {
        let outcome = match known.insert(object.clone(), Some(node)) {
            None => Applied::Created,
            Some(Some(before)) if same(before, node) => Applied::Unchanged,
            Some(_) => Applied::Configured,
        };
        outcomes.push((object, outcome));
    }
    Ok(outcomes)
}

/// Which of these objects are written in a cluster of these files and edits: all that are there but nodes and the pods
/// of controllers.
///
/// # Errors
/// If one of the files cannot be read.
pub fn written(
    reading: &mut Reading,
    files: &[Source],
    edits: &[Edit],
    objects: &[Reference],
) -> Result<BTreeSet<Reference>> {
    let own = reading.read(files, edits, None).and_then(|()| of_dns(files.len(), reading.trees()));
    let own = own.map_err(|complaint| complaint.into_error(reading.sources(), reading.trees()))?;
    Ok(known(reading.trees(), &own, files.len(), edits, &objects.iter().collect()).into_keys().collect())
}

/// The objects asked for that there are after all edits, each as it was written last; none if a command changed it since.
fn known<'t>(
    trees: &'t [(u32, Node)],
    own: &'t [(u32, Node)],
    files: usize,
    edits: &[Edit],
    asked: &BTreeSet<&Reference>,
) -> BTreeMap<Reference, Option<&'t Node>> {
    let of = |source: usize| trees.iter().filter(move |(of, _)| *of as usize == source).map(|(_, node)| node);
    let mut known: BTreeMap<Reference, Option<&Node>> = BTreeMap::new();
    own.iter().for_each(|(_, node)| learn(node, "default", asked, &mut known));
    (0..files).flat_map(of).for_each(|node| learn(node, "default", asked, &mut known));
    let mut source = files;
    for edit in edits {
        match edit {
            Edit::Apply { namespace, .. } => {
                of(source).for_each(|node| learn(node, namespace, asked, &mut known));
                source += 1;
            }
            Edit::Delete { object } => {
                known.remove(object);
                edits::endpoints_of(object).map(|endpoints| known.remove(&endpoints));
                if object.kind == "Namespace" {
                    known.retain(|other, _| other.namespace != object.name);
                }
                if dns::is_api_server_s(object) && asked.contains(object) {
                    let again = BTreeSet::from([object]);
                    own.iter().for_each(|(_, node)| learn(node, "default", &again, &mut known));
                }
            }
            // It is there, and no more what was written.
            Edit::Scale { object, .. } | Edit::Label { object, .. } => {
                known.entry(object.clone()).and_modify(|node| *node = None);
            }
            Edit::Line { .. } | Edit::Ready { .. } => {}
        }
    }
    known
}

/// Notes the objects of a document that are asked for.
fn learn<'t>(
    node: &'t Node,
    namespace: &str,
    asked: &BTreeSet<&Reference>,
    known: &mut BTreeMap<Reference, Option<&'t Node>>,
) {
    collect(node, namespace, &mut |object, node| {
        if asked.contains(&object) {
            known.insert(object, Some(node));
        }
    });
}

/// Whether two values are equal, wherever they are written; a mapping's order does not matter.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(entries), Value::Map(others)) => {
            let equal = |key: &str, value: &Node| other.get(key).is_some_and(|other| same(value, other));
            entries.len() == others.len() && entries.iter().all(|(key, value)| equal(&key.name, value))
        }
        (one, other) => one == other,
    }
}

/// The objects of the cluster's DNS, which stand in no file.
fn of_dns(files: usize, trees: &[(u32, Node)]) -> Checked<Vec<(u32, Node)>> {
    let has_cluster = |node: &Node| match node.get("kind").map(|kind| &kind.value) {
        Some(Value::Text(kind)) => kind == "Cluster" || kind == "List",
        _ => false,
    };
    let concerned = trees.iter().filter(|(source, node)| (*source as usize) < files && has_cluster(node));
    let (cluster, _) = documents::take_cluster(documents::decode_all(concerned)?)?;
    dns::trees(&cluster.spec)
}

/// Passes on the objects of a document: itself, or those of a list.
fn collect<'t>(node: &'t Node, namespace: &str, take: &mut impl FnMut(Reference, &'t Node)) {
    let text = |node: Option<&Node>| match node.map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    if text(node.get("kind")).as_deref() == Some("List") {
        if let Some(Value::List(items)) = node.get("items").map(|items| &items.value) {
            items.iter().for_each(|item| collect(item, namespace, take));
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
    take(object, node);
}
