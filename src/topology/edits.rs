//! Changes to the objects of a live cluster, made after its files: `apply`, `delete`, `scale`, `label`, `ready`.
//!
//! A cluster's record holds its files as they were read and these edits in the order in which they were made; the
//! objects that count are what comes out when all of them are read again.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::cluster_file::ClusterDocument;
use super::complaint::{Checked, Complaint, quote};
use super::dns;
use super::documents::{self, Document};
use super::fields::Spanned;
use super::line::LineChange;
use super::manifests::Metadata;
use super::past::Past;
use super::pod_spec::Selector;
use super::pods::Chosen;
use super::routers;
use super::source::Span;
use super::tree::Node;

/// The namespace of objects that name none.
const DEFAULT: &str = "default";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "edit")]
pub enum Edit {
    /// Objects of a manifest: new ones are added, known ones replaced.
    Apply {
        /// The manifest's name, for messages.
        name: String,
        /// Its text.
        text: String,
        /// Where objects go that name no namespace.
        namespace: String,
    },
    /// An object goes.
    Delete {
        /// Which one.
        object: Reference,
    },
    /// A controller's number of pods.
    Scale {
        /// Which one.
        object: Reference,
        /// How many from now on.
        replicas: u32,
    },
    /// What the line between a host and its switch does.
    Line {
        /// The node or client, or a router and its segment: `gateway/lan`.
        host: String,
        /// What changes; none is back to what the files say.
        change: Option<LineChange>,
    },
    /// A pod's condition `Ready`, as its readiness probe would set it.
    Ready {
        /// The pod.
        object: Reference,
        /// Whether it is.
        ready: bool,
    },
    /// Labels of an object; none removes one.
    Label {
        /// Which one.
        object: Reference,
        /// The labels.
        labels: BTreeMap<String, Option<String>>,
    },
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// Its kind as manifests spell it: `Deployment`; `Node` is an entry of the Cluster document.
    pub kind: String,
    /// Its Kubernetes namespace; empty for kinds that are in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reference { kind, namespace, name } = self;
        match namespace.as_str() {
            "" => write!(f, "{kind} {name}"),
            _ => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// What the edits leave: the Cluster document, the objects, and what cannot be said by an object.
pub(super) struct Edited {
    pub(super) cluster: ClusterDocument,
    pub(super) objects: Vec<Document>,
    pub(super) past: Past,
}

/// Reads the documents of the files, and makes the edits one after the other. `trees` are those of the files, then
/// those of each applied manifest; a tree's source says which.
pub(super) fn make(trees: &[(u32, Node)], files: usize, edits: &[Edit]) -> Checked<Edited> {
    let of_files = trees.iter().filter(|(source, _)| (*source as usize) < files);
    let (cluster, given) = documents::take_cluster(documents::decode_all(of_files)?)?;
    let objects = with_dns(&cluster, given)?;
    let mut edited = Edited { cluster, objects, past: Past::default() };
    let mut source = files;
    for edit in edits {
        match edit {
            Edit::Apply { namespace, .. } => {
                let own = trees.iter().filter(|(of, _)| *of as usize == source);
                edited.apply(documents::decode_all(own)?, namespace)?;
                source += 1;
            }
            Edit::Delete { object } => edited.delete(object)?,
            Edit::Scale { object, replicas } => edited.scale(object, *replicas)?,
            Edit::Label { object, labels } => edited.label(object, labels),
            Edit::Ready { object, ready } => edited.ready(object, *ready),
            Edit::Line { host, change } => edited.line(host, *change)?,
        }
    }
    Ok(edited)
}

/// The objects of the cluster's DNS, and then those of the files, which stand instead of those of the same name.
fn with_dns(cluster: &ClusterDocument, given: Vec<Document>) -> Checked<Vec<Document>> {
    let own = dns::objects(&cluster.spec)?;
    if own.is_empty() {
        return Ok(given);
    }
    let known = |object: &Reference| given.iter().any(|document| object.names(document));
    let (kind, namespace, name) = ("Service".to_owned(), DEFAULT.to_owned(), dns::API_SERVER.to_owned());
    let api = Reference { kind, namespace, name };
    let own_kubernetes = known(&api);
    let is_new = |object: &Document| {
        let endpoints = own_kubernetes && matches!(object, Document::Endpoints(_));
        !endpoints && reference(object).is_none_or(|own| !known(&own))
    };
    let mut objects: Vec<Document> = own.into_iter().filter(is_new).collect();
    objects.extend(given);
    Ok(objects)
}

impl Reference {
    /// Whether this is the [`reference`] of a document, of which there may be very many.
    fn names(&self, document: &Document) -> bool {
        let Some((kind, metadata)) = named(document) else { return false };
        let given = metadata.namespace.as_ref().map_or("", |namespace| namespace.value.as_str());
        let namespace = match (is_namespaced(kind), given) {
            (false, _) => "",
            (true, "") => DEFAULT,
            (true, given) => given,
        };
        self.kind == kind
            && metadata.name.as_ref().is_some_and(|name| name.value == self.name)
            && self.namespace == namespace
    }
}

impl Edited {
    /// Makes the objects of a manifest, or replaces those of their names.
    fn apply(&mut self, documents: Vec<Document>, namespace: &str) -> Checked<()> {
        // Many are found by an index, which costs as much as looking for a few.
        let many = documents.len() > 8;
        let mut index = HashMap::new();
        for (at, object) in self.objects.iter().enumerate().filter(|_| many) {
            reference(object).map(|object| index.entry(object).or_insert(at));
        }
        for mut document in documents {
            place(&mut document, namespace)?;
            let new = reference(&document);
            let known = match (&new, many) {
                (None, _) => None,
                (Some(new), true) => index.get(new).copied(),
                (Some(new), false) => self.objects.iter().position(|other| new.names(other)),
            };
            match known {
                Some(at) => {
                    check_selector(&self.objects[at], &document)?;
                    self.objects[at] = document;
                }
                None => {
                    new.filter(|_| many).map(|new| index.insert(new, self.objects.len()));
                    self.objects.push(document);
                }
            }
        }
        Ok(())
    }

    fn ready(&mut self, object: &Reference, ready: bool) {
        let id = (object.namespace.clone(), object.name.clone());
        match ready {
            true => drop(self.past.unready.remove(&id)),
            false => drop(self.past.unready.insert(id)),
        }
    }

    fn delete(&mut self, object: &Reference) -> Checked<()> {
        // A pod that is made again under its name begins anew.
        let id = (object.namespace.clone(), object.name.clone());
        self.past.unready.remove(&id);
        if object.kind == "Node" {
            let nodes = &mut self.cluster.spec.nodes;
            if nodes.value.len() == 1 && nodes.value[0].name.value == object.name {
                return Err(Complaint::anywhere(format!("{} is the cluster's last node", object.name))
                    .hint("`minik down` removes the whole cluster"));
            }
            nodes.value.retain(|node| node.name.value != object.name);
            return Ok(());
        }
        let before = self.objects.len();
        self.objects.retain(|other| !object.names(other));
        if self.objects.len() == before {
            match object.kind.as_str() {
                "Pod" => {
                    let labels = self.past.labels.remove(&id).unwrap_or_default();
                    self.past.deleted.insert(id, labels);
                }
                // They went with their Service, a moment before.
                "Endpoints" => {}
                _ => return Err(not_found(object)),
            }
        }
        if let Some(endpoints) = endpoints_of(object) {
            self.objects.retain(|other| !endpoints.names(other));
        }
        if object.kind == "Namespace" {
            self.objects.retain(|other| reference(other).is_none_or(|other| other.namespace != object.name));
        }
        if dns::is_api_server_s(object) {
            let own = dns::objects(&self.cluster.spec)?.into_iter();
            let own = own.filter(|new| reference(new).is_some_and(|new| dns::is_api_server_s(&new)));
            let absent = own.filter(|new| !reference(new).is_some_and(|new| self.objects.iter().any(|o| new.names(o))));
            let absent: Vec<Document> = absent.collect();
            self.objects.splice(0..0, absent);
        }
        Ok(())
    }

    fn scale(&mut self, object: &Reference, replicas: u32) -> Checked<()> {
        let found = self.objects.iter_mut().find(|other| object.names(other));
        let written = match found {
            Some(Document::Deployment(it)) => &mut it.spec.replicas,
            Some(Document::ReplicaSet(it)) => &mut it.spec.replicas,
            Some(Document::StatefulSet(it)) => &mut it.spec.replicas,
            Some(_) => return Err(Complaint::anywhere(format!("{object} has no number of replicas"))),
            None => return Err(not_found(object)),
        };
        let span = written.as_ref().map_or_else(Span::default, |replicas| replicas.span);
        *written = Some(Spanned { value: i64::from(replicas), span });
        Ok(())
    }

    fn line(&mut self, host: &str, change: Option<LineChange>) -> Checked<()> {
        let spec = &self.cluster.spec;
        let hosts = spec.nodes.iter().map(|node| &*node.name).chain(spec.clients.iter().map(|client| &*client.name));
        let ports = routers::line_names(spec);
        let names: Vec<&str> = hosts.chain(&ports).map(String::as_str).collect();
        if !names.contains(&host) {
            return Err(Complaint::usage(format!("no node, client or router's interface is called {}", quote(host)))
                .hint(super::rules::one_of(host, &names)));
        }
        let before = self.past.lines.remove(host).unwrap_or_default();
        self.past.lines.extend(change.map(|change| (host.to_owned(), before.then(change))));
        Ok(())
    }

    fn label(&mut self, object: &Reference, labels: &BTreeMap<String, Option<String>>) {
        let change = |own: &mut BTreeMap<String, Spanned<String>>| {
            for (key, value) in labels {
                match value {
                    Some(value) => {
                        own.insert(key.clone(), Spanned { value: value.clone(), span: Span::default() });
                    }
                    None => drop(own.remove(key)),
                }
            }
        };
        if object.kind == "Node" {
            let nodes = self.cluster.spec.nodes.value.iter_mut();
            nodes.filter(|node| node.name.value == object.name).for_each(|node| change(&mut node.labels));
            return;
        }
        let found = self.objects.iter_mut().find(|other| object.names(other));
        match found.and_then(metadata_mut) {
            Some(metadata) => change(&mut metadata.labels),
            None => {
                let of_pod = self.past.labels.entry((object.namespace.clone(), object.name.clone())).or_default();
                of_pod.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
    }
}

/// Puts an applied object that names no namespace into one.
fn place(document: &mut Document, namespace: &str) -> Checked<()> {
    if let Document::Cluster(cluster) = document {
        let place = cluster.metadata.name.as_ref().map_or(cluster.spec.nodes.span, |name| name.span);
        return Err(Complaint::at(place, "a document of kind `Cluster` cannot be applied to a live cluster")
            .hint("build it anew with `minik up FILE --replace`; `minik switch` changes its mode"));
    }
    let placed = reference(document).is_some_and(|object| object.namespace == DEFAULT);
    if let Some(metadata) = metadata_mut(document).filter(|own| placed && own.namespace.is_none()) {
        let span = metadata.name.as_ref().map_or_else(Span::default, |name| name.span);
        metadata.namespace = Some(Spanned { value: namespace.to_owned(), span });
    }
    Ok(())
}

/// The Endpoints of a Service, whoever wrote them: their controller deletes them with it (pkg/controller/endpoint,
/// `syncService`).
pub(super) fn endpoints_of(object: &Reference) -> Option<Reference> {
    let is_service = object.kind == "Service";
    is_service.then(|| Reference { kind: "Endpoints".to_owned(), ..object.clone() })
}

/// A controller's selector is what it was made with (kubernetes pkg/apis/apps/validation, `ValidateImmutableField`).
fn check_selector(before: &Document, now: &Document) -> Checked<()> {
    let (Some(old), Some(new)) = (selector(before), selector(now)) else { return Ok(()) };
    if Chosen::of(old).is_same(&Chosen::of(new)) {
        return Ok(());
    }
    let what = reference(now).map_or_else(String::new, |object| object.to_string());
    Err(Complaint::at(new.span, format!("the selector of {what} cannot change"))
        .hint("the API server says: field is immutable; delete the object first, or write the selector that it has"))
}

fn selector(document: &Document) -> Option<&Spanned<Selector>> {
    match document {
        Document::Deployment(it) => Some(&it.spec.selector),
        Document::ReplicaSet(it) => Some(&it.spec.selector),
        Document::DaemonSet(it) => Some(&it.spec.selector),
        Document::StatefulSet(it) => Some(&it.spec.selector),
        _ => None,
    }
}

fn not_found(object: &Reference) -> Box<Complaint> {
    Complaint::anywhere(format!("there is no {} {}", object.kind, quote(&object.name))).hint(format!(
        "`minik get {}s -A` lists those that there are",
        object.kind.to_lowercase().trim_end_matches('s')
    ))
}

/// The kind, namespace and name of an object; none if it has no name, which is an error later.
pub(super) fn reference(document: &Document) -> Option<Reference> {
    let (kind, metadata) = named(document)?;
    let name = metadata.name.as_ref()?.value.clone();
    let given = metadata.namespace.as_ref().map(|namespace| namespace.value.clone());
    let namespace = match is_namespaced(kind) {
        false => String::new(),
        true => given.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| DEFAULT.to_owned()),
    };
    Some(Reference { kind: kind.to_owned(), namespace, name })
}

/// Whether objects of a kind are in a Kubernetes namespace.
pub(super) fn is_namespaced(kind: &str) -> bool {
    !matches!(kind, "Node" | "Namespace" | "IPPool" | "Cluster")
}

fn named(document: &Document) -> Option<(&'static str, &Metadata)> {
    Some(match document {
        Document::Cluster(_) => return None,
        Document::Namespace(it) => ("Namespace", &it.metadata),
        Document::Pod(it) => ("Pod", &it.metadata),
        Document::Deployment(it) => ("Deployment", &it.metadata),
        Document::ReplicaSet(it) => ("ReplicaSet", &it.metadata),
        Document::DaemonSet(it) => ("DaemonSet", &it.metadata),
        Document::StatefulSet(it) => ("StatefulSet", &it.metadata),
        Document::IpPool(it) => ("IPPool", &it.metadata),
        Document::Service(it) => ("Service", &it.metadata),
        Document::Endpoints(it) => ("Endpoints", &it.metadata),
        Document::EndpointSlice(it) => ("EndpointSlice", &it.metadata),
        Document::ConfigMap(it) => ("ConfigMap", &it.metadata),
    })
}

fn metadata_mut(document: &mut Document) -> Option<&mut Metadata> {
    Some(match document {
        Document::Cluster(_) => return None,
        Document::Namespace(it) => &mut it.metadata,
        Document::Pod(it) => &mut it.metadata,
        Document::Deployment(it) => &mut it.metadata,
        Document::ReplicaSet(it) => &mut it.metadata,
        Document::DaemonSet(it) => &mut it.metadata,
        Document::StatefulSet(it) => &mut it.metadata,
        Document::IpPool(it) => &mut it.metadata,
        Document::Service(it) => &mut it.metadata,
        Document::Endpoints(it) => &mut it.metadata,
        Document::EndpointSlice(it) => &mut it.metadata,
        Document::ConfigMap(it) => &mut it.metadata,
    })
}
