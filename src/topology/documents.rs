//! From sources to typed documents: which kind each is, what this version knows, exactly one `Cluster`.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::cluster_file::ClusterDocument;
use super::complaint::{Checked, Complaint, nearest, quote};
use super::decode::decode;
use super::manifests::{
    ConfigMapObject, DaemonSetObject, DeploymentObject, IpPoolObject, NamespaceObject, PodObject, ReplicaSetObject,
    StatefulSetObject,
};
use super::service_spec::{EndpointSliceObject, EndpointsObject, ServiceObject};
use super::source::{Source, Span};
use super::tree::{Node, Value};
use super::yaml;
use crate::parallel::in_parts_checked;

/// A document of the input, typed.
#[derive(Debug)]
pub(super) enum Document {
    Cluster(Box<ClusterDocument>),
    Namespace(Box<NamespaceObject>),
    Pod(Box<PodObject>),
    Deployment(Box<DeploymentObject>),
    ReplicaSet(Box<ReplicaSetObject>),
    DaemonSet(Box<DaemonSetObject>),
    StatefulSet(Box<StatefulSetObject>),
    IpPool(Box<IpPoolObject>),
    Service(Box<ServiceObject>),
    Endpoints(Box<EndpointsObject>),
    EndpointSlice(Box<EndpointSliceObject>),
    ConfigMap(Box<ConfigMapObject>),
}

/// A kind of document that this version reads.
pub(super) struct DocumentKind {
    /// `kind`.
    pub(super) name: &'static str,
    /// The accepted values of `apiVersion`.
    pub(super) versions: &'static [&'static str],
    /// Reads one.
    decode: fn(&Node, u32) -> Checked<Document>,
    /// Its JSON Schema.
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Every kind, in the order of the reference.
pub(super) const KINDS: &[DocumentKind] = &[
    DocumentKind {
        name: "Cluster",
        versions: &["minik.dev/v1"],
        decode: |node, source| decode(node, source).map(Document::Cluster),
        schema: schema_of::<ClusterDocument>,
    },
    DocumentKind {
        name: "Namespace",
        versions: &["v1"],
        decode: |node, source| decode(node, source).map(Document::Namespace),
        schema: schema_of::<NamespaceObject>,
    },
    DocumentKind {
        name: "Pod",
        versions: &["v1"],
        decode: |node, source| decode(node, source).map(Document::Pod),
        schema: schema_of::<PodObject>,
    },
    DocumentKind {
        name: "Deployment",
        versions: &["apps/v1"],
        decode: |node, source| decode(node, source).map(Document::Deployment),
        schema: schema_of::<DeploymentObject>,
    },
    DocumentKind {
        name: "ReplicaSet",
        versions: &["apps/v1"],
        decode: |node, source| decode(node, source).map(Document::ReplicaSet),
        schema: schema_of::<ReplicaSetObject>,
    },
    DocumentKind {
        name: "DaemonSet",
        versions: &["apps/v1"],
        decode: |node, source| decode(node, source).map(Document::DaemonSet),
        schema: schema_of::<DaemonSetObject>,
    },
    DocumentKind {
        name: "StatefulSet",
        versions: &["apps/v1"],
        decode: |node, source| decode(node, source).map(Document::StatefulSet),
        schema: schema_of::<StatefulSetObject>,
    },
    DocumentKind {
        name: "IPPool",
        versions: &["projectcalico.org/v3", "crd.projectcalico.org/v1"],
        decode: |node, source| decode(node, source).map(Document::IpPool),
        schema: schema_of::<IpPoolObject>,
    },
    DocumentKind {
        name: "Service",
        versions: &["v1"],
        decode: |node, source| decode(node, source).map(Document::Service),
        schema: schema_of::<ServiceObject>,
    },
    DocumentKind {
        name: "Endpoints",
        versions: &["v1"],
        decode: |node, source| decode(node, source).map(Document::Endpoints),
        schema: schema_of::<EndpointsObject>,
    },
    DocumentKind {
        name: "EndpointSlice",
        versions: &["discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"],
        decode: |node, source| decode(node, source).map(Document::EndpointSlice),
        schema: schema_of::<EndpointSliceObject>,
    },
    DocumentKind {
        name: "ConfigMap",
        versions: &["v1"],
        decode: |node, source| decode(node, source).map(Document::ConfigMap),
        schema: schema_of::<ConfigMapObject>,
    },
];

/// Kinds of the domain that this version does not read yet.
const NOT_YET: &[&str] = &[
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "FelixConfiguration",
    "BGPConfiguration",
    "BGPPeer",
    "Ingress",
    "Job",
    "CronJob",
];

/// The trees of every document of every source, with the source's index; for excerpts and paths of errors,
/// the trees read so far stay in `trees` also on failure.
pub(super) fn read_trees(sources: &[Source], trees: &mut Vec<(u32, Node)>) -> Checked<()> {
    sources.iter().enumerate().try_for_each(|(index, source)| read_trees_of(source, index, trees))
}

/// The trees of one of several sources.
pub(super) fn read_trees_of(source: &Source, index: usize, trees: &mut Vec<(u32, Node)>) -> Checked<()> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let nodes = yaml::read(source, index)?.into_iter();
    trees.extend(nodes.map(|mut node| {
        untype_list(&mut node);
        (index, node)
    }));
    Ok(())
}

/// Makes a list of one kind, as the API server gives it (`kind: ServiceList`), a `List`: its items need not say what
/// they are.
fn untype_list(node: &mut Node) {
    let Some(Value::Text(kind)) = node.get("kind").map(|kind| &kind.value) else { return };
    let Some(known) = kind.strip_suffix("List").and_then(|of| KINDS.iter().find(|known| known.name == of)) else {
        return;
    };
    let version = match node.get("apiVersion").map(|version| &version.value) {
        Some(Value::Text(version)) if known.versions.contains(&version.as_str()) => version.clone(),
        _ => return,
    };
    if let Some(Value::List(items)) = node.get_mut("items").map(|items| &mut items.value) {
        for item in items {
            item.add_text("apiVersion", &version);
            item.add_text("kind", known.name);
        }
    }
    for (field, value) in [("kind", "List"), ("apiVersion", "v1")] {
        if let Some(field) = node.get_mut(field) {
            field.value = Value::Text(value.to_owned());
        }
    }
}

/// The documents of every source, lists (`kind: List`) opened.
pub(super) fn decode_all<'t>(trees: impl Iterator<Item = &'t (u32, Node)>) -> Checked<Vec<Document>> {
    let mut objects = Vec::new();
    let opened = trees.into_iter().try_for_each(|(source, node)| open(node, *source, &mut objects));
    let documents = in_parts_checked(&objects, |part| part.iter().map(Object::decode).collect())?;
    opened.map(|()| documents)
}

/// A document before it is decoded.
struct Object<'t> {
    source: u32,
    node: &'t Node,
    kind: &'t str,
    span: Span,
}

/// Finds the objects of a document: itself, or those of a list.
fn open<'t>(node: &'t Node, source: u32, objects: &mut Vec<Object<'t>>) -> Checked<()> {
    let (kind, span) = text_field(node, source, "kind")?;
    if kind != "List" {
        objects.push(Object { source, node, kind, span });
        return Ok(());
    }
    check_version(node, source, kind, &["v1"])?;
    match node.get("items").map(|items| (items, &items.value)) {
        Some((_, Value::List(items))) => items.iter().try_for_each(|item| open(item, source, objects)),
        Some((_, Value::Null)) | None => Ok(()),
        Some((items, _)) => {
            Err(Complaint::at(items.span(source), "the items of a List are a list").hint("begin every item with `- `"))
        }
    }
}

impl Object<'_> {
    fn decode(&self) -> Checked<Document> {
        let Object { source, node, kind, span } = *self;
        let known = KINDS.iter().find(|known| known.name == kind).ok_or_else(|| unknown_kind(kind, span))?;
        check_version(node, source, kind, known.versions)?;
        (known.decode)(node, source)
    }
}

fn check_version(node: &Node, source: u32, kind: &str, accepted: &[&str]) -> Checked<()> {
    let (version, span) = text_field(node, source, "apiVersion")?;
    if accepted.contains(&version) {
        return Ok(());
    }
    let right = accepted.join("` or `");
    Err(Complaint::at(span, format!("{kind} of the API version {} is not known", quote(version)))
        .hint(format!("write `apiVersion: {right}`")))
}

/// `kind` or `apiVersion` of a document.
fn text_field<'t>(node: &'t Node, source: u32, field: &'static str) -> Checked<(&'t str, Span)> {
    let whole = node.span(source);
    if !matches!(node.value, Value::Map(_)) {
        return Err(Complaint::at(whole, "this document is not a mapping")
            .hint("a document begins with `apiVersion:` and `kind:`"));
    }
    match node.get(field) {
        Some(Node { value: Value::Text(text), .. }) => {
            Ok((text, node.get(field).map_or(whole, |value| value.span(source))))
        }
        Some(value) => Err(Complaint::at(value.span(source), format!("`{field}` is not text"))
            .hint(format!("every document says its `{field}`"))),
        None => Err(Complaint::at_whole(whole, format!("the field `{field}` is missing"))
            .hint(format!("every document says its `apiVersion` and `kind`; add `{field}:`"))),
    }
}

fn unknown_kind(kind: &str, span: Span) -> Box<Complaint> {
    if NOT_YET.contains(&kind) {
        return Complaint::at(span, format!("kind `{kind}` is not in this version of minik"))
            .hint("remove the document, or keep it in a file of its own");
    }
    let names = || KINDS.iter().map(|known| known.name);
    let complaint = Complaint::at(span, format!("unknown kind {}", quote(kind)));
    match nearest(kind, names().chain(NOT_YET.iter().copied())) {
        Some(name) => complaint.hint(format!("did you mean `{name}`?")),
        None => complaint.hint(format!("minik reads {}", names().collect::<Vec<_>>().join(", "))),
    }
}

/// Takes the one Cluster out of the documents.
pub(super) fn take_cluster(documents: Vec<Document>) -> Checked<(ClusterDocument, Vec<Document>)> {
    let mut cluster: Option<Box<ClusterDocument>> = None;
    let mut objects = Vec::with_capacity(documents.len());
    for document in documents {
        match (document, &cluster) {
            (Document::Cluster(second), Some(first)) => return Err(two_clusters(first, &second)),
            (Document::Cluster(first), None) => cluster = Some(first),
            (object, _) => objects.push(object),
        }
    }
    match cluster {
        Some(cluster) => Ok((*cluster, objects)),
        None => Err(Complaint::anywhere("no document of kind `Cluster`")
            .hint("one document says what the nodes are; `minik show calico-ipip` prints an example")),
    }
}

fn two_clusters(first: &ClusterDocument, second: &ClusterDocument) -> Box<Complaint> {
    let place = |cluster: &ClusterDocument| match &cluster.metadata.name {
        Some(name) => name.span,
        None => cluster.spec.nodes.span,
    };
    Complaint::at(place(second), "there are two documents of kind `Cluster`")
        .and(Some(place(first)), "the first one")
        .hint("keep one; run a second cluster by a second `minik up -c NAME`")
}
