//! What there is at a name (coredns plugin/kubernetes/{kubernetes,reverse,ns}.go).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::question::{Asked, Part, asked, dashed};
use super::records::{PortRecord, Records, ServiceRecords, Target};

/// Records, ready to be asked.
#[derive(Debug)]
pub struct Zone {
    records: Records,
    /// Unix time of the last change, which is the zone's serial number.
    serial: u32,
    namespaces: BTreeSet<String>,
    /// Services by namespace and name.
    services: BTreeMap<(String, String), usize>,
    /// Services by cluster address.
    addresses: BTreeMap<IpAddr, usize>,
    /// Services by endpoint, with the endpoint's name.
    endpoints: BTreeMap<IpAddr, Vec<(usize, String)>>,
}

/// One thing that is at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The name of exactly this thing.
    pub(super) key: String,
    /// What it is.
    pub(super) host: Host,
    /// Its port; none if it has none at all.
    pub(super) port: Option<u16>,
}

/// An address, or another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Zone {
    /// These records, last changed at `serial` (seconds of Unix time).
    pub fn new(records: Records, serial: u32) -> Zone {
        let (mut services, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        let mut endpoints: BTreeMap<IpAddr, Vec<(usize, String)>> = BTreeMap::new();
        for (index, service) in records.services.iter().enumerate() {
            services.insert((service.namespace.clone(), service.name.clone()), index);
            if let Target::At(ips) = &service.target {
                addresses.extend(ips.iter().map(|ip| (*ip, index)));
            }
            for (ip, hostname) in service.endpoints.iter().flat_map(|set| &set.at) {
                endpoints.entry(*ip).or_default().push((index, endpoint_name(ip, hostname.as_ref())));
            }
        }
        let namespaces = records.namespaces.iter().cloned().collect();
        Zone { records, serial, namespaces, services, addresses, endpoints }
    }

    /// The zone's name, without a dot at its end.
    pub fn domain(&self) -> &str {
        &self.records.domain
    }

    pub(super) fn ttl(&self) -> u32 {
        self.records.ttl
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// What is at a name, which ends in `zone` as it was written; none if there is no such name.
    pub(super) fn find(&self, name: &str, zone: &str) -> Option<Vec<Found>> {
        match asked(name, zone) {
            Asked::Nothing => Some(Vec::new()),
            Asked::Invalid => None,
            Asked::Namespace(namespace) => self.namespaces.contains(&namespace).then(Vec::new),
            Asked::Pod(pod, namespace) => {
                let address = dashed(&pod).filter(|_| self.namespaces.contains(&namespace))?;
                let key = format!("{pod}.{namespace}.pod.{zone}");
                Some(vec![Found { key, host: Host::Address(address), port: Some(0) }])
            }
            Asked::Service { namespace, service, part } => {
                let index = *self.services.get(&(namespace, service))?;
                let found = of_service(&self.records.services[index], &part, zone);
                (!found.is_empty()).then_some(found)
            }
        }
    }

    /// The names of an address: of the Service that has it, else of every endpoint that has it.
    pub(super) fn names_of(&self, ip: IpAddr) -> Vec<String> {
        let domain = self.domain();
        let name = |index: &usize| {
            let service = &self.records.services[*index];
            format!("{}.{}.svc.{domain}", service.name, service.namespace)
        };
        if let Some(index) = self.addresses.get(&ip) {
            return vec![name(index)];
        }
        let endpoints = self.endpoints.get(&ip).into_iter().flatten();
        let mut names: Vec<String> = Vec::new();
        for (index, endpoint) in endpoints {
            let full = format!("{endpoint}.{}", name(index));
            if !names.contains(&full) {
                names.push(full);
            }
        }
        names
    }

    /// The names and addresses of the server that has the address `own`: those of its Services, else that address itself.
    pub(super) fn servers(&self, own: Option<IpAddr>, zone: &str) -> Vec<(String, IpAddr)> {
        let behind = own.and_then(|own| self.endpoints.get(&own)).into_iter().flatten();
        let mut servers = Vec::new();
        for (index, endpoint) in behind {
            let service = &self.records.services[*index];
            let name = format!("{}.{}.svc.{zone}", service.name, service.namespace);
            match &service.target {
                Target::At(ips) => servers.extend(ips.iter().map(|ip| (name.clone(), *ip))),
                _ => servers.extend(own.map(|own| (format!("{endpoint}.{name}"), own))),
            }
        }
        if servers.is_empty() {
            servers.extend(own.map(|own| (format!("ns.dns.{zone}"), own)));
        }
        servers
    }
}

/// The host name that a pod has by itself, else its address with dashes.
fn endpoint_name(ip: &IpAddr, hostname: Option<&String>) -> String {
    hostname.cloned().unwrap_or_else(|| ip.to_string().replace(['.', ':'], "-"))
}

fn of_service(service: &ServiceRecords, part: &Part, zone: &str) -> Vec<Found> {
    let key = format!("{}.{}.svc.{zone}", service.name, service.namespace);
    if let Target::Alias(other) = &service.target {
        // A part of another host is not ours to answer; and an address is no name.
        let is_name = other.parse::<IpAddr>().is_err() && !matches!(part, Part::Endpoint(_));
        let alias = Found { key, host: Host::Name(other.clone()), port: Some(0) };
        return is_name.then_some(alias).into_iter().collect();
    }
    if let (Target::At(ips), Part::All | Part::Port(..)) = (&service.target, part) {
        let ports = wanted(&service.ports, part);
        let found = |port| ips.iter().map(move |ip| (Host::Address(*ip), port));
        return ports.into_iter().flat_map(found).map(|(host, port)| Found { key: key.clone(), host, port }).collect();
    }
    let mut found = Vec::new();
    for set in &service.endpoints {
        for (ip, hostname) in &set.at {
            let name = endpoint_name(ip, hostname.as_ref());
            if matches!(part, Part::Endpoint(wanted) if !name.eq_ignore_ascii_case(wanted)) {
                continue;
            }
            let each = |port| Found { key: format!("{name}.{key}"), host: Host::Address(*ip), port };
            found.extend(wanted(&set.ports, part).into_iter().map(each));
        }
    }
    found
}

/// The ports that are asked for. Who has none at all counts as one with neither name nor number.
fn wanted(ports: &[PortRecord], part: &Part) -> Vec<Option<u16>> {
    let fits = |name: &str, protocol: &str| match part {
        Part::Port(port, of) => {
            (port.is_empty() || port.eq_ignore_ascii_case(name)) && (of.is_empty() || of.eq_ignore_ascii_case(protocol))
        }
        _ => true,
    };
    if ports.is_empty() {
        return if fits("", "") { vec![None] } else { Vec::new() };
    }
    ports.iter().filter(|PortRecord(name, protocol, _)| fits(name, protocol)).map(|port| Some(port.2)).collect()
}
