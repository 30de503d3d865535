//! Namespaces, pods and controllers: their names, their templates, and how many pods each asks for.

use std::collections::BTreeMap;

use super::complaint::{Checked, Complaint, quote};
use super::documents::Document;
use super::fields::Spanned;
use super::manifests::{Metadata, NamespaceObject};
use super::past::{Past, relabel};
use super::pod_dns;
use super::pod_spec::{Selector, Template};
use super::pods::{self, Chosen, PodTemplate};
use super::rules;
use super::source::Span;
use super::{KubeNamespace, WorkloadKind};

/// Most pods of a cluster. The kernel's limits on devices and minik's own measurements end below it.
pub(super) const PODS_MAX: usize = 10_000;

/// A pod or a controller, ready to be turned into pods.
#[derive(Debug)]
pub(super) struct Order {
    /// The controller's kind; none is a pod as such.
    pub(super) kind: Option<WorkloadKind>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) name_span: Span,
    /// How many pods; a DaemonSet has one per node instead.
    pub(super) replicas: u32,
    /// The controller's own labels, or the pod's.
    pub(super) labels: BTreeMap<String, String>,
    /// Which pods are the controller's; none for a pod as such.
    pub(super) selector: Option<Chosen>,
    pub(super) template: PodTemplate,
}

/// The namespaces: `default` and `kube-system`, then those of the input. Each has the label that the API
/// server gives it since Kubernetes 1.21. Labels of those that no document has were changed by commands alone.
pub(super) fn namespaces(documents: &[Document], past: &Past) -> Checked<Vec<KubeNamespace>> {
    let mut namespaces = vec![namespace("default", BTreeMap::new()), namespace("kube-system", BTreeMap::new())];
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for document in documents {
        let Document::Namespace(object) = document else { continue };
        let (name, span, labels) = namespace_object(object)?;
        if let Some(first) = places.insert(name.clone(), span) {
            return Err(Complaint::at(span, format!("the namespace `{name}` is given twice"))
                .and(Some(first), "first given here")
                .hint("keep one of them"));
        }
        let new = namespace(&name, labels);
        match namespaces.iter_mut().find(|existing| existing.name == name) {
            Some(existing) => *existing = new,
            None => namespaces.push(new),
        }
    }
    for namespace in &mut namespaces {
        let changed = past.labels.get(&(String::new(), namespace.name.clone()));
        changed.into_iter().for_each(|changed| relabel(&mut namespace.labels, changed));
    }
    Ok(namespaces)
}

fn namespace(name: &str, mut labels: BTreeMap<String, String>) -> KubeNamespace {
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    KubeNamespace { name: name.to_owned(), labels }
}

fn namespace_object(object: &NamespaceObject) -> Checked<(String, Span, BTreeMap<String, String>)> {
    let metadata = &object.metadata;
    let Some(name) = &metadata.name else {
        return Err(Complaint::anywhere("a Namespace has no name").hint("add `metadata: {name: …}`"));
    };
    rules::dns_label("a namespace", name, Some(name.span))?;
    if let Some(inside) = &metadata.namespace {
        return Err(Complaint::at(inside.span, "a namespace is in no namespace").hint("remove this line"));
    }
    pods::refuse_address_annotations(&metadata.annotations)?;
    Ok((name.value.clone(), name.span, pods::labels(&metadata.labels)?))
}

/// Pods and controllers in document order.
pub(super) fn orders(documents: &[Document], namespaces: &[KubeNamespace]) -> Checked<Vec<Order>> {
    let mut seen: BTreeMap<(Option<WorkloadKind>, String, String), Span> = BTreeMap::new();
    let mut orders = Vec::new();
    let mut total = 0usize;
    for document in documents {
        let Some(order) = order(document, namespaces)? else { continue };
        let key = (order.kind, order.namespace.clone(), order.name.clone());
        if let Some(first) = seen.insert(key, order.name_span) {
            let what = order.kind.map_or("Pod", WorkloadKind::name);
            let message = format!("the {what} `{}` is given twice in namespace `{}`", order.name, order.namespace);
            return Err(Complaint::at(order.name_span, message)
                .and(Some(first), "first given here")
                .hint("give it another name"));
        }
        total = total.saturating_add(order.replicas as usize);
        if total > PODS_MAX {
            return Err(Complaint::at(order.name_span, format!("more than {PODS_MAX} pods are asked for up to here"))
                .hint("ask for fewer replicas"));
        }
        orders.push(order);
    }
    Ok(orders)
}

fn order(document: &Document, namespaces: &[KubeNamespace]) -> Checked<Option<Order>> {
    let (kind, metadata) = match document {
        Document::Cluster(_)
        | Document::Namespace(_)
        | Document::IpPool(_)
        | Document::ConfigMap(_)
        | Document::Service(_)
        | Document::Endpoints(_)
        | Document::EndpointSlice(_) => return Ok(None),
        Document::Pod(object) => (None, &object.metadata),
        Document::Deployment(object) => (Some(WorkloadKind::Deployment), &object.metadata),
        Document::ReplicaSet(object) => (Some(WorkloadKind::ReplicaSet), &object.metadata),
        Document::DaemonSet(object) => (Some(WorkloadKind::DaemonSet), &object.metadata),
        Document::StatefulSet(object) => (Some(WorkloadKind::StatefulSet), &object.metadata),
    };
    let (replicas, (template, selector)) = match document {
        Document::Pod(object) => (1, (pods::template(&object.metadata, &object.spec)?, None)),
        Document::Deployment(object) => {
            let spec = &object.spec;
            (replicas(&spec.replicas)?, controlled("Deployment", &spec.selector, &spec.template)?)
        }
        Document::ReplicaSet(object) => {
            let spec = &object.spec;
            (replicas(&spec.replicas)?, controlled("ReplicaSet", &spec.selector, &spec.template)?)
        }
        Document::StatefulSet(object) => {
            let spec = &object.spec;
            let (mut template, selector) = controlled("StatefulSet", &spec.selector, &spec.template)?;
            template.subdomain = pod_dns::label("a Service", spec.service_name.as_ref())?;
            (replicas(&spec.replicas)?, (template, selector))
        }
        Document::DaemonSet(object) => (0, controlled("DaemonSet", &object.spec.selector, &object.spec.template)?),
        _ => return Ok(None),
    };
    let what = kind.map_or("Pod", WorkloadKind::name);
    let (name, namespace) = identity(what, metadata, template.span, namespaces)?;
    let labels = pods::labels(&metadata.labels)?;
    let (namespace, name, name_span) = (namespace.to_owned(), name.value.clone(), name.span);
    Ok(Some(Order { kind, namespace, name, name_span, replicas, labels, selector, template }))
}

/// An object's name and namespace, both checked; with no namespaces known, any will do.
pub(super) fn identity<'m>(
    what: &str,
    metadata: &'m Metadata,
    place: Span,
    known: &[KubeNamespace],
) -> Checked<(&'m Spanned<String>, &'m str)> {
    let Some(name) = &metadata.name else {
        return Err(Complaint::at(place, format!("this {what} has no name")).hint("add `metadata: {name: …}`"));
    };
    if !rules::is_dns_subdomain(name) {
        let article = if what.starts_with('E') { "an" } else { "a" };
        rules::dns_subdomain(&format!("{article} {what}"), name)?;
    }
    let Some(namespace) = metadata.namespace.as_ref().filter(|namespace| !namespace.is_empty()) else {
        return Ok((name, "default"));
    };
    if !known.is_empty() && !known.iter().any(|existing| existing.name == namespace.value) {
        let names: Vec<&str> = known.iter().map(|existing| existing.name.as_str()).collect();
        let complaint = Complaint::at(namespace.span, format!("namespaces {} not found", quote(namespace)));
        return Err(match super::complaint::nearest(namespace, names.iter().copied()) {
            Some(near) => complaint.hint(format!("did you mean `{near}`? Else add a document of kind Namespace")),
            None => complaint.hint("add `{apiVersion: v1, kind: Namespace, metadata: {name: …}}` as a document"),
        });
    }
    Ok((name, &namespace.value))
}

fn controlled(kind: &str, selector: &Spanned<Selector>, template: &Template) -> Checked<(PodTemplate, Option<Chosen>)> {
    let resolved = pods::template(&template.metadata, &template.spec)?;
    pods::check_selector(kind, selector, &resolved.labels)?;
    let policy = template.spec.restart_policy.as_ref().filter(|policy| !matches!(policy.as_str(), "" | "Always"));
    if let Some(policy) = policy {
        return Err(Complaint::at(
            policy.span,
            format!("a {kind} has no pods with the restart policy {}", quote(policy)),
        )
        .hint("the only supported value is `Always`: write that, or remove the line"));
    }
    if let Some(deadline) = &template.spec.active_deadline_seconds {
        return Err(Complaint::at(deadline.span, format!("a {kind} has no pods that end at a deadline"))
            .hint("the API server says: activeDeadlineSeconds is not supported there; remove the line"));
    }
    Ok((resolved, Some(Chosen::of(selector))))
}

fn replicas(written: &Option<Spanned<i64>>) -> Checked<u32> {
    let Some(number) = written else { return Ok(1) };
    let fits = u32::try_from(number.value).ok().filter(|count| *count as usize <= PODS_MAX);
    fits.ok_or_else(|| {
        Complaint::at(number.span, format!("{} is no number of replicas", number.value))
            .hint(format!("write a number from 0 to {PODS_MAX}"))
    })
}
