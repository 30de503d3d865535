//! A question, and what a name of the zone asks for (coredns plugin/kubernetes/parse.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A question of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name as it was written, without a dot at its end; the root is empty.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
}

/// Types of records, as far as they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// Mail servers, of which there are none.
    Mx,
    /// Name servers.
    Ns,
    /// A name for an address.
    Ptr,
    /// The zone's head.
    Soa,
    /// Ports.
    Srv,
    /// Text.
    Txt,
    /// A whole zone.
    Transfer,
    /// Anything else.
    Other,
}

/// What a name in the zone asks for, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// The zone itself, `svc` or `pod` below it: they are there and have no addresses.
    Nothing,
    /// No such name can be.
    Invalid,
    /// A namespace of services or pods.
    Namespace(String),
    /// A pod by its address with dashes, in a namespace.
    Pod(String, String),
    /// A Service or a part of it.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        service: String,
        /// Which part.
        part: Part,
    },
}

/// Which part of a Service is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    All,
    /// An endpoint by its name.
    Endpoint(String),
    /// A port by its name and protocol.
    Port(String, String),
}

impl Question {
    /// The end of the name that is `zone`, as it was written; none if the name is not in it.
    pub(super) fn zone_text(&self, zone: &str) -> Option<&str> {
        let at = self.name.len().checked_sub(zone.len())?;
        let end = self.name.get(at..)?;
        let whole = at == 0 || self.name.as_bytes().get(at - 1) == Some(&b'.');
        (whole && end.eq_ignore_ascii_case(zone)).then_some(end)
    }
}

/// What `name` asks for, which is in `zone`.
pub(super) fn asked(name: &str, zone: &str) -> Asked {
    let name = name.to_ascii_lowercase();
    let base = name.strip_suffix(&zone.to_ascii_lowercase()).unwrap_or_default().trim_end_matches('.');
    let labels: Vec<&str> = base.split('.').filter(|label| !label.is_empty()).collect();
    let bare = |label: &str| label.strip_prefix('_').unwrap_or(label).to_owned();
    match labels.as_slice() {
        [] | ["svc" | "pod"] => Asked::Nothing,
        [namespace, "svc" | "pod"] => Asked::Namespace((*namespace).to_owned()),
        [pod, namespace, "pod"] => Asked::Pod((*pod).to_owned(), (*namespace).to_owned()),
        // CoreDNS takes what stands before a pod's name for a part of it, and does not look at it.
        [_, pod, namespace, "pod"] | [_, _, pod, namespace, "pod"] => {
            Asked::Pod((*pod).to_owned(), (*namespace).to_owned())
        }
        [before @ .., service, namespace, "svc"] => {
            let part = match before {
                [] => Part::All,
                [endpoint] => Part::Endpoint((*endpoint).to_owned()),
                [port, protocol] => Part::Port(bare(port), bare(protocol)),
                _ => return Asked::Invalid,
            };
            Asked::Service { namespace: (*namespace).to_owned(), service: (*service).to_owned(), part }
        }
        _ => Asked::Invalid,
    }
}

/// The address in the name of a pod: `10-244-1-2`, `fd00--2`.
pub(super) fn dashed(name: &str) -> Option<IpAddr> {
    match name.matches('-').count() == 3 && !name.contains("--") {
        true => name.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        false => name.replace('-', ":").parse::<IpAddr>().ok(),
    }
}

/// The address that a reverse name stands for: `2.1.244.10.in-addr.arpa`.
pub(super) fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = digits.split('.').rev().collect();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    let is_digit = |digit: &&str| digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_hexdigit());
    if digits.len() != 32 || !digits.iter().all(is_digit) {
        return None;
    }
    u128::from_str_radix(&digits.concat(), 16).ok().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_coredns_does() {
        let ask = |name: &str| asked(name, "cluster.local");
        assert_eq!(ask("cluster.local"), Asked::Nothing);
        assert_eq!(ask("SVC.Cluster.Local"), Asked::Nothing);
        assert_eq!(ask("foo.cluster.local"), Asked::Invalid);
        assert_eq!(ask("a.b.c.web.default.svc.cluster.local"), Asked::Invalid);
        let service = |part| Asked::Service { namespace: "default".into(), service: "web".into(), part };
        assert_eq!(ask("Web.Default.svc.cluster.local"), service(Part::All));
        assert_eq!(ask("x.web.default.svc.cluster.local"), service(Part::Endpoint("x".into())));
        let port = Part::Port("http".into(), "tcp".into());
        assert_eq!(ask("_http._tcp.web.default.svc.cluster.local"), service(port));
    }

    #[test]
    fn addresses_are_read_from_names() {
        assert_eq!(dashed("10-244-1-2"), Some([10, 244, 1, 2].into()));
        assert_eq!(dashed("fd00--2"), "fd00::2".parse().ok());
        assert_eq!((dashed("10-244-1"), dashed("web"), dashed("1-2-3-400")), (None, None, None));
        assert_eq!(reversed("2.1.244.10.in-addr.arpa"), Some([10, 244, 1, 2].into()));
        assert_eq!(reversed("244.10.in-addr.arpa"), None);
        let v6 = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(reversed(&v6), "fd00::2".parse().ok());
        assert_eq!(reversed("cluster.local"), None);
    }

    #[test]
    fn a_zone_is_found_by_whole_labels_and_keeps_its_letters() {
        let zone_of = |name: &str| {
            let question = Question { name: name.into(), kind: Kind::A };
            question.zone_text("cluster.local").map(str::to_owned)
        };
        assert_eq!(zone_of("web.Cluster.LOCAL").as_deref(), Some("Cluster.LOCAL"));
        assert_eq!(zone_of("cluster.local").as_deref(), Some("cluster.local"));
        assert_eq!((zone_of("mycluster.local"), zone_of("local"), zone_of("ä.cluster.locäl")), (None, None, None));
    }
}
