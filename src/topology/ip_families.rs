//! `ipFamilies` and `ipFamilyPolicy` of Services: which families of addresses a Service has (kubernetes
//! pkg/registry/core/service/storage/alloc.go, `initIPFamilyFields`).

use super::complaint::{Checked, Complaint};
use super::service::{Service, ServiceKind};
use super::service_spec::ServiceSpec;
use super::services::choice;
use super::source::Span;
use crate::plan::Family;

/// `ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Single,
    Prefer,
    Require,
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Policy::Single => "SingleStack",
            Policy::Prefer => "PreferDualStack",
            Policy::Require => "RequireDualStack",
        }
    }
}

/// What a Service says of families, with the places.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    families: Vec<(Family, Span)>,
    policy: Option<(Policy, Span)>,
}

/// The families of a Service, and its `ipFamilyPolicy`, which an ExternalName has not.
pub(super) type Resolved = (Vec<Family>, Option<&'static str>);

/// Reads what is written.
pub(super) fn written(spec: &ServiceSpec) -> Checked<Wanted> {
    const FAMILIES: &[(&str, Family)] = &[("IPv4", Family::Inet), ("IPv6", Family::Inet6)];
    const POLICIES: &[(&str, Policy)] =
        &[("SingleStack", Policy::Single), ("PreferDualStack", Policy::Prefer), ("RequireDualStack", Policy::Require)];
    let family = |text| Ok((choice("family of addresses", Some(text), Family::Inet, FAMILIES)?, text.span));
    let families = spec.ip_families.iter().map(family).collect::<Checked<Vec<_>>>()?;
    let policy = match &spec.ip_family_policy {
        Some(text) if !text.is_empty() => {
            Some((choice("ipFamilyPolicy", Some(text), Policy::Single, POLICIES)?, text.span))
        }
        _ => None,
    };
    Ok(Wanted { families, policy })
}

/// The families of a Service, its first one first, and its policy. `dual` is whether the cluster's services have IPv6; `place` is where
/// the Service's addresses are written, else where it is.
pub(super) fn resolve(wanted: &Wanted, service: &Service, dual: bool, place: Span) -> Checked<Resolved> {
    if service.kind == ServiceKind::ExternalName {
        let given = wanted.families.first().map(|(_, span)| *span).or(wanted.policy.map(|(_, span)| span));
        return match given {
            Some(span) => Err(Complaint::at(span, "an ExternalName Service has no families of addresses")
                .hint("remove `ipFamilies` and `ipFamilyPolicy`")),
            None => Ok((Vec::new(), None)),
        };
    }
    check(wanted, service, dual, place)?;
    let mut families: Vec<Family> = wanted.families.iter().map(|(family, _)| *family).collect();
    families.extend(service.cluster_ips.iter().map(Family::of).filter(|_| wanted.families.is_empty()));
    let without_pods = service.headless() && service.selector.is_empty();
    let inferred = match families.len() {
        2 => Policy::Require,
        _ if without_pods && dual => Policy::Require,
        _ => Policy::Single,
    };
    let (policy, span) = wanted.policy.unwrap_or((inferred, place));
    if families.is_empty() {
        families.push(Family::Inet);
    }
    let other = if families[0] == Family::Inet { Family::Inet6 } else { Family::Inet };
    let families = match policy {
        Policy::Single if families.len() > 1 => {
            return Err(Complaint::at(span, "a SingleStack Service cannot have two families of addresses")
                .hint("the API server says: must be RequireDualStack or PreferDualStack when multiple are specified"));
        }
        Policy::Require if !dual => {
            return Err(Complaint::at(span, "this cluster is not configured for dual-stack services")
                .hint("write `serviceCIDR: 10.96.0.0/12,fd00:10:96::/112`, or remove this line"));
        }
        Policy::Prefer | Policy::Require if dual && families.len() == 1 => vec![families[0], other],
        _ => families,
    };
    Ok((families, Some(policy.name())))
}

/// Each family once, configured, and that of the address at the same place.
fn check(wanted: &Wanted, service: &Service, dual: bool, place: Span) -> Checked<()> {
    for (index, (family, span)) in wanted.families.iter().enumerate() {
        if *family == Family::Inet6 && !dual {
            return Err(Complaint::at(*span, "this Service asks for IPv6, which is not configured on this cluster")
                .hint("write `serviceCIDR: 10.96.0.0/12,fd00:10:96::/112`, or remove this line"));
        }
        if wanted.families[..index].iter().any(|(earlier, _)| earlier == family) || index > 1 {
            return Err(Complaint::at(*span, "a family of addresses is given twice").hint("write each of them once"));
        }
        if service.cluster_ips.get(index).is_some_and(|ip| Family::of(ip) != *family) {
            return Err(Complaint::at(*span, "the address at this place is of the other family")
                .and(Some(place), "the addresses are here")
                .hint("write `clusterIPs` and `ipFamilies` in the same order"));
        }
    }
    match service.cluster_ips.iter().find(|ip| ip.is_ipv6() && !dual) {
        Some(ip) => Err(Complaint::at(place, format!("{ip} is IPv6, which is not configured on this cluster"))
            .hint("services have IPv4 addresses of `serviceCIDR`; give it an IPv6 prefix behind a comma for more")),
        None => Ok(()),
    }
}
