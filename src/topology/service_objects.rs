//! Services, Endpoints and EndpointSlices of the input, each name given once.

use std::collections::{BTreeMap, HashSet};

use super::complaint::{Checked, Complaint};
use super::documents::Document;
use super::endpoint_slices;
use super::fields::Spanned;
use super::manifests::Metadata;
use super::memory::KeptService;
use super::service::{EndpointSlice, SLICES_OF_ENDPOINTS, SLICES_OF_SELECTOR, Service};
use super::service_ports;
use super::service_spec::ServiceObject;
use super::services;
use super::source::Span;
use super::workloads::identity;
use super::{KubeNamespace, pods};
use crate::parallel::in_parts_checked;

/// Services and the endpoints that are written by hand, in input order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceObjects {
    /// The Services.
    pub services: Vec<Service>,
    /// The endpoints.
    pub slices: Vec<EndpointSlice>,
}

/// Names that are taken, by kind and namespace.
type Seen<'d> = BTreeMap<(&'static str, &'d str, &'d str), Span>;

/// Resolves them; with `given`, the Services' prefix and what they had before, they get the
/// addresses and node ports that they lack. Without known `namespaces`
/// any will do.
pub(super) fn resolve(
    documents: &[Document],
    namespaces: &[KubeNamespace],
    given: Option<(service_ports::Ranges, &BTreeMap<String, KeptService>)>,
) -> Checked<ServiceObjects> {
    let mut seen = Seen::new();
    let mut objects = Vec::new();
    for document in documents {
        let Document::Service(object) = document else { continue };
        let place = object.spec.ports.first().map(|port| port.span).unwrap_or_default();
        let (name, namespace) = named("Service", &object.metadata, place, namespaces, &mut seen)?;
        objects.push((&**object, name, namespace));
    }
    let draft = |(object, name, namespace): &(&ServiceObject, &Spanned<String>, &str)| {
        services::service(object, name, namespace)
    };
    let mut drafts = in_parts_checked(&objects, |part| part.iter().map(draft).collect())?;
    if let Some((ranges, before)) = given {
        service_ports::allocate(&mut drafts, ranges, before)?;
    }
    let services: Vec<Service> = drafts.into_iter().map(|draft| draft.service).collect();
    let selected: HashSet<(&str, &str)> = services
        .iter()
        .filter(|service| !service.selector.is_empty())
        .map(|service| (service.namespace.as_str(), service.name.as_str()))
        .collect();
    let mut slices = Vec::new();
    for document in documents {
        match document {
            Document::Endpoints(object) => {
                let (name, namespace) = named("Endpoints", &object.metadata, Span::default(), namespaces, &mut seen)?;
                pods::check_labels(&object.metadata.labels)?;
                refuse_selected(selected.contains(&(namespace, name.as_str())), name)?;
                slices.extend(endpoint_slices::mirrored(object, name, namespace)?);
            }
            Document::EndpointSlice(object) => {
                let place = object.address_type.span;
                let (name, namespace) = named("EndpointSlice", &object.metadata, place, namespaces, &mut seen)?;
                pods::check_labels(&object.metadata.labels)?;
                let written = endpoint_slices::slice(object, name, namespace)?;
                slices.extend(written.filter(|slice| !is_written_over(slice, &selected)));
            }
            _ => {}
        }
    }
    Ok(ServiceObjects { services, slices })
}

fn named<'d>(
    kind: &'static str,
    metadata: &'d Metadata,
    place: Span,
    namespaces: &[KubeNamespace],
    seen: &mut Seen<'d>,
) -> Checked<(&'d Spanned<String>, &'d str)> {
    let (name, namespace) = identity(kind, metadata, place, namespaces)?;
    if let Some(first) = seen.insert((kind, namespace, name), name.span) {
        let message = format!("the {kind} `{}` is given twice in namespace `{namespace}`", name.value);
        return Err(Complaint::at(name.span, message)
            .and(Some(first), "first given here")
            .hint("give it another name"));
    }
    Ok((name, namespace))
}

/// Whether a slice is another's, who writes what he finds over it, or deletes it: the controller of Services with a
/// selector his own (endpointslice `syncService`), and the mirroring one all of his, which he makes of Endpoints alone
/// (pkg/controller/endpointslicemirroring, `syncEndpoints`). What `get endpointslices -o yaml` has written is of that sort.
fn is_written_over(slice: &EndpointSlice, selected: &HashSet<(&str, &str)>) -> bool {
    match slice.managed_by.as_deref() {
        Some(SLICES_OF_SELECTOR) => selected.contains(&(slice.namespace.as_str(), slice.service.as_str())),
        Some(SLICES_OF_ENDPOINTS) => true,
        _ => false,
    }
}

/// Endpoints of a Service with a selector: its controller would write others over them at once.
fn refuse_selected(selected: bool, name: &Spanned<String>) -> Checked<()> {
    match selected {
        true => Err(Complaint::at(
            name.span,
            format!("the Service `{}` has a selector, which makes its Endpoints", name.value),
        )
        .hint("remove the Service's `selector`, or these Endpoints")),
        false => Ok(()),
    }
}
