//! EndpointSlices and Endpoints that are written by hand, checked; Endpoints become slices, as the mirroring controller
//! of Kubernetes makes them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;
use super::service::{Endpoint, EndpointPort, EndpointSlice, MANAGED_BY, SLICES_OF_ENDPOINTS};
use super::service_spec::{EndpointEntry, EndpointSliceObject, EndpointsObject, SlicePortEntry, SubsetAddress};
use super::services::{any_address, choice, port_number, protocol};
use super::source::Span;

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Most endpoints of a slice (pkg/apis/discovery/validation).
const ENDPOINTS_MAX: usize = 1000;

/// Most addresses of an endpoint.
const ADDRESSES_MAX: usize = 100;

/// An EndpointSlice; none if its addresses are names (`FQDN`), which no proxy uses, or it belongs to no Service.
pub(super) fn slice(
    object: &EndpointSliceObject,
    name: &Spanned<String>,
    namespace: &str,
) -> Checked<Option<EndpointSlice>> {
    let families = [("IPv4", Some(false)), ("IPv6", Some(true)), ("FQDN", None)];
    let v6 = choice("addressType", Some(&object.address_type), None, &families)?;
    if object.address_type.is_empty() {
        return Err(
            Complaint::at(object.address_type.span, "the `addressType` is empty").hint("write `addressType: IPv4`")
        );
    }
    let service = object.metadata.labels.get(SERVICE_NAME);
    let (Some(v6), Some(service)) = (v6, service) else { return Ok(None) };
    if object.endpoints.len() > ENDPOINTS_MAX {
        let message = format!("a slice has at most {ENDPOINTS_MAX} endpoints");
        return Err(Complaint::at(name.span, message).hint("spread them over several EndpointSlices"));
    }
    Ok(Some(EndpointSlice {
        namespace: namespace.to_owned(),
        name: name.value.clone(),
        service: service.value.clone(),
        v6,
        headless: object.metadata.labels.contains_key("service.kubernetes.io/headless"),
        managed_by: object.metadata.labels.get(MANAGED_BY).map(|name| name.value.clone()),
        ports: ports(&object.ports, None)?,
        endpoints: object.endpoints.iter().map(|entry| endpoint(entry, v6)).collect::<Checked<_>>()?,
    }))
}

/// The ports of a slice; of Endpoints if `all` says where they are, which then say every port's number.
fn ports(entries: &[SlicePortEntry], all: Option<Span>) -> Checked<Vec<EndpointPort>> {
    let mut seen = BTreeSet::new();
    let mut ports = Vec::new();
    let is_alone = entries.len() < 2;
    for entry in entries {
        let name = entry.name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        let protocol = protocol(entry.protocol.as_ref())?;
        if let Some(written) = entry.name.as_ref().filter(|name| !name.is_empty()) {
            rules::dns_label("a port", written, Some(written.span))?;
        }
        rules::app_protocol(entry.app_protocol.as_ref())?;
        // A port without a number means "any", which a proxy cannot use.
        let number = match (&entry.port, all) {
            (Some(number), _) => number,
            (None, None) => continue,
            (None, Some(place)) => {
                let place = entry.name.as_ref().map_or(place, |name| name.span);
                return Err(Complaint::at(place, "this port has no number").hint("add `port: 8080`"));
            }
        };
        if name.is_empty() && !is_alone && all.is_some() {
            return Err(Complaint::at(number.span, "this port has no name")
                .hint("the ports of Endpoints with several have names: add `name: http`"));
        }
        if !seen.insert((name.clone(), protocol)) {
            let message = match name.is_empty() {
                true => format!("two ports of {} have no name", protocol.name()),
                false => format!("the port {} is given twice", quote(&name)),
            };
            return Err(Complaint::at(number.span, message).hint("ports of a slice have names of their own"));
        }
        ports.push(EndpointPort { name, protocol, port: port_number(number)? });
    }
    Ok(ports)
}

fn endpoint(entry: &EndpointEntry, v6: bool) -> Checked<Endpoint> {
    let Some(first) = entry.addresses.first() else {
        return Err(
            Complaint::at(entry.addresses.span, "this endpoint has no address").hint("write `addresses: [10.244.1.2]`")
        );
    };
    if let Some(beyond) = entry.addresses.get(ADDRESSES_MAX) {
        return Err(Complaint::at(beyond.span, format!("an endpoint has at most {ADDRESSES_MAX} addresses"))
            .hint("only the first one counts: give every address an endpoint of its own"));
    }
    let pod = entry.target_ref.as_ref().filter(|target| target.kind.as_ref().is_some_and(|kind| kind.value == "Pod"));
    let node = entry.node_name.as_ref().or_else(|| entry.topology.get("kubernetes.io/hostname"));
    Ok(Endpoint {
        address: address(first, Some(v6))?,
        ready: entry.conditions.ready.unwrap_or(true),
        serving: entry.conditions.serving.unwrap_or(true),
        terminating: entry.conditions.terminating.unwrap_or(false),
        node: node.map(|node| node.value.clone()),
        hostname: hostname(entry.hostname.as_ref())?,
        pod: pod.and_then(|target| target.name.as_ref()).map(|name| name.value.clone()),
        zones: entry.hints.iter().flat_map(|hints| &hints.for_zones).map(|zone| zone.name.value.clone()).collect(),
    })
}

fn hostname(written: Option<&Spanned<String>>) -> Checked<Option<String>> {
    let Some(name) = written.filter(|name| !name.is_empty()) else { return Ok(None) };
    rules::dns_label("a host", name, Some(name.span)).map(|name| Some(name.to_owned()))
}

/// An endpoint's address: of the family asked for, and none that the kernel would not route to another host.
fn address(text: &Spanned<String>, v6: Option<bool>) -> Checked<IpAddr> {
    let ip = any_address(text)?;
    if v6.is_some_and(|v6| v6 != ip.is_ipv6()) {
        return Err(Complaint::at(text.span, format!("{ip} is not of the slice's `addressType`"))
            .hint("a slice has addresses of one family"));
    }
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        true => Err(Complaint::at(text.span, format!("{ip} cannot be an endpoint"))
            .hint("it must not be unspecified, loopback, link-local or multicast")),
        false => Ok(ip),
    }
}

/// The slices of Endpoints: one per subset and family that it has.
pub(super) fn mirrored(
    object: &EndpointsObject,
    name: &Spanned<String>,
    namespace: &str,
) -> Checked<Vec<EndpointSlice>> {
    let mut slices = Vec::new();
    for (index, subset) in object.subsets.iter().enumerate() {
        if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
            return Err(Complaint::at(subset.span, "this part of the Endpoints has no addresses")
                .hint("the API server says: must specify `addresses` or `notReadyAddresses`; without any, write `subsets: []`"));
        }
        let mut endpoints = Vec::new();
        for (list, ready) in [(&subset.addresses, true), (&subset.not_ready_addresses, false)] {
            for written in list {
                endpoints.push(mirrored_endpoint(written, ready)?);
            }
        }
        let ports = ports(&subset.ports, Some(name.span))?;
        for v6 in [false, true] {
            let of_family: Vec<Endpoint> = endpoints.iter().filter(|e| e.address.is_ipv6() == v6).cloned().collect();
            if !of_family.is_empty() {
                slices.push(EndpointSlice {
                    namespace: namespace.to_owned(),
                    name: format!("{}-{index}{}", name.value, if v6 { "-ipv6" } else { "" }),
                    service: name.value.clone(),
                    v6,
                    headless: false,
                    managed_by: Some(SLICES_OF_ENDPOINTS.to_owned()),
                    ports: ports.clone(),
                    endpoints: of_family,
                });
            }
        }
    }
    Ok(slices)
}

fn mirrored_endpoint(written: &SubsetAddress, ready: bool) -> Checked<Endpoint> {
    Ok(Endpoint {
        address: address(&written.ip, None)?,
        ready,
        serving: ready,
        terminating: false,
        node: written.node_name.as_ref().map(|node| node.value.clone()),
        hostname: hostname(written.hostname.as_ref())?,
        pod: None,
        zones: Vec::new(),
    })
}
