//! `minik describe`: one thing with everything that belongs to it.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;

use super::args::{DescribeArgs, Globals, Output};
use super::get::Thing;
use super::images;
use super::print;
use super::session::{self, Session, pod_status};
use crate::agent::orders::{App, Port, Work};
use crate::agent::{State, Status};
use crate::cni;
use crate::error::{Error, Kind, Result};
use crate::ipam::Ipam;
use crate::plan::{Family, LinkKind, Namespace, facts};
use crate::topology::{Addressing, Container, IpPool, Node, Pod, Service, Workload, nearest};

/// Prints one thing, or all of a kind, in detail.
///
/// # Errors
/// If there is no such cluster or thing.
pub fn run(args: &DescribeArgs, globals: &Globals) -> Result<ExitCode> {
    if matches!(globals.output, Output::Json | Output::Yaml) {
        let hint = "`minik get KIND NAME -o json` prints objects";
        return Err(Error::new(Kind::Usage, "describe prints text for people only").hint(hint));
    }
    let (kind, name) = match args.kind.split_once('/') {
        Some((kind, name)) if args.name.is_none() => (kind, Some(name)),
        _ => (args.kind.as_str(), args.name.as_deref()),
    };
    let session = session::open(globals.cluster_name())?;
    let thing = Thing::parse(kind)?;
    let texts = describe(&session, thing, globals)?;
    let chosen: Vec<&str> =
        texts.iter().filter(|(own, _)| name.is_none_or(|name| name == own)).map(|(_, text)| text.as_str()).collect();
    if let Some(name) = name
        && chosen.is_empty()
    {
        let error = Error::new(Kind::Usage, format!("there is no {} `{name}`", thing.name()));
        return Err(match nearest(name, texts.iter().map(|(own, _)| own.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    if chosen.is_empty() {
        return print::note("No resources found").map(|()| ExitCode::SUCCESS);
    }
    print::text(&chosen.join("\n\n")).map(|()| ExitCode::SUCCESS)
}

/// Name and text of every thing of a kind.
fn describe(session: &Session, thing: Thing, globals: &Globals) -> Result<Vec<(String, String)>> {
    let here = |namespace: &str| globals.all_namespaces || namespace == globals.namespace;
    let cluster = &session.cluster;
    match thing {
        Thing::Nodes => {
            cluster.nodes.iter().map(|node| Ok((node.name.clone(), describe_node(session, node)?))).collect()
        }
        Thing::Pods => {
            let status = session.agent()?;
            let pods = cluster.pods.iter().filter(|pod| here(&pod.namespace));
            pods.map(|pod| Ok((pod.name.clone(), describe_pod(session, pod, status.as_ref())?))).collect()
        }
        Thing::Workloads(kind) => {
            let sets = super::get::workloads_of(session, kind).into_iter().filter(|set| here(&set.namespace));
            Ok(sets.map(|set| (set.name.clone(), describe_workload(session, &set))).collect())
        }
        Thing::Services => {
            let services = cluster.services.iter().filter(|service| here(&service.namespace));
            Ok(services.map(|service| (service.name.clone(), describe_service(session, service))).collect())
        }
        Thing::IpPools => {
            cluster.network.pools.iter().map(|pool| Ok((pool.name.clone(), describe_pool(session, pool)?))).collect()
        }
        Thing::Namespaces => {
            let pods = |name: &str| cluster.pods.iter().filter(|pod| pod.namespace == name).count();
            let one = |name: &str| format!("Name:    {name}\nStatus:  Active\nPods:    {}\n", pods(name));
            Ok(cluster.namespaces.iter().map(|ns| (ns.name.clone(), one(&ns.name))).collect())
        }
        Thing::Endpoints => {
            let rows = super::get::endpoints(session).rows.into_iter();
            let named = rows.filter_map(|row| Some((row.namespace?, row.name))).filter(|(own, _)| here(own));
            Ok(named.map(|(own, name)| (name.clone(), super::get::describe_endpoints(session, &own, &name))).collect())
        }
        Thing::EndpointSlices | Thing::Blocks | Thing::Routes | Thing::Links | Thing::Rules => {
            Err(Error::new(Kind::Usage, "these have no more detail than a list shows")
                .hint("use `minik get`, with -o wide or json"))
        }
    }
}

/// A line of the description; writing to a String cannot fail.
fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{:<17}{value}", format!("{key}:"));
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

fn describe_pod(session: &Session, pod: &Pod, status: Option<&Status>) -> Result<String> {
    let mut text = String::new();
    line(&mut text, "Name", &pod.name);
    line(&mut text, "Namespace", &pod.namespace);
    line(&mut text, "Service Account", &pod.service_account);
    line(&mut text, "Node", &pod.node);
    line(&mut text, "Labels", labels(&pod.labels));
    if let Some((kind, name)) = &pod.owner {
        line(&mut text, "Controlled By", format_args!("{}/{name}", kind.name()));
    }
    line(&mut text, "Status", super::get::pod_word(status, pod));
    if let Some(ns) = session.plan.namespace(&pod.key()) {
        describe_network(&mut text, session, ns)?;
    }
    text.push_str("Containers:\n");
    for container in &pod.containers {
        describe_container(&mut text, pod, container, status);
    }
    // Without an agent nobody answers; and it knows what its kernel has sockets for.
    if let Some(ports) = pod_status(status, pod).map(|own| &own.answers).filter(|ports| !ports.is_empty()) {
        line(&mut text, "Answers on", port_list(ports));
        text.push_str("  minik's agent answers there with the pod's name, so that curl and nc can be tried;\n");
        text.push_str("  on a real node nothing listens there and connections are refused\n");
    }
    Ok(text)
}

/// Who has which address of Calico's blocks; none in modes without.
fn ipam(session: &Session) -> Result<Option<Ipam>> {
    let has_blocks = session.cluster.network.mode.addressing() == Addressing::Pools;
    has_blocks.then(|| cni::ipam(&session.cluster)).transpose()
}

/// The addresses of a namespace, one of a family, IPv4's first.
fn addresses(ns: &Namespace) -> Vec<IpAddr> {
    Family::BOTH.into_iter().filter_map(|family| ns.address_in(family)).collect()
}

/// The same of a pod in one cell; empty where it has none.
fn address_list(session: &Session, pod: &Pod) -> String {
    let own = session.plan.namespace(&pod.key()).map(addresses).unwrap_or_default();
    own.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

/// Addresses as `kubectl describe pod` prints them, MAC, the other end on the node, blocks and routes of a pod.
fn describe_network(text: &mut String, session: &Session, ns: &Namespace) -> Result<()> {
    let ips = addresses(ns);
    line(text, "IP", ips.first().map_or_else(|| "<none>".to_owned(), IpAddr::to_string));
    text.push_str("IPs:\n");
    for ip in &ips {
        let _ = writeln!(text, "  {:<15}{ip}", "IP:");
    }
    line(text, "Netns", &ns.netns);
    for link in &ns.links {
        if let LinkKind::Veth { peer_namespace, peer } = &link.kind {
            let mac = link.mac.map_or_else(String::new, |mac| format!(", MAC {mac}"));
            let mtu = link.mtu.map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
            line(
                text,
                "Interface",
                format_args!("{}{mac}{mtu}; its other end is {peer} on {peer_namespace}", link.name),
            );
        }
    }
    let ipam = ipam(session)?;
    let blocks = || ipam.iter().flat_map(|ipam| ipam.blocks());
    for block in ips.iter().filter_map(|ip| blocks().find(|block| block.prefix.contains(ip))) {
        line(text, "Block", format_args!("{} of {}", block.prefix, block.node));
    }
    routes(text, ns);
    Ok(())
}

fn routes(text: &mut String, ns: &Namespace) {
    text.push_str("Routes:\n");
    for route in &ns.routes {
        let _ = writeln!(text, "  {route}");
    }
}

fn describe_container(text: &mut String, pod: &Pod, container: &Container, status: Option<&Status>) {
    let _ = writeln!(text, "  {}:", container.name);
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "    {:<13}{value}", format!("{key}:"));
    };
    line("Image", container.image.clone());
    if !container.command.is_empty() {
        line("Command", container.command.join(" "));
    }
    let runs = match images::work(container) {
        Work::Idle => "nothing".to_owned(),
        Work::App { app, ports } => format!("minik's {} on {}", app_name(&app), port_list(&ports)),
        Work::Program { argv } => format!("the host's {}", argv[0]),
    };
    line("Runs", runs);
    let known =
        pod_status(status, pod).and_then(|status| status.containers.iter().find(|own| own.name == container.name));
    line("State", known.map_or_else(|| "unknown (no agent)".to_owned(), |known| state(&known.state)));
    for (name, value) in &container.env {
        line("Environment", format!("{name}={value}"));
    }
    if let Some(remark) = images::remark(container) {
        line("Note", remark);
    }
}

fn state(state: &State) -> String {
    match state {
        State::Running => "Running".to_owned(),
        State::Program { pid } => format!("Running, process {pid}"),
        State::Failed { reason } => format!("Failed: {reason}"),
        State::Exited { code } => format!("Ended with exit code {code}; minik does not start it again"),
    }
}

fn app_name(app: &App) -> &'static str {
    match app {
        App::Nginx { .. } => "nginx",
        App::Hostname => "serve_hostname",
        App::Netexec => "netexec",
        App::Myapp { .. } => "myapp",
        App::Echoserver => "echoserver",
        App::Dns => "coredns",
        App::Answer => "answer",
    }
}

fn port_list(ports: &[Port]) -> String {
    ports.iter().map(Port::to_string).collect::<Vec<_>>().join(", ")
}

fn describe_node(session: &Session, node: &Node) -> Result<String> {
    let mut text = String::new();
    line(&mut text, "Name", &node.name);
    line(&mut text, "Labels", labels(&node.labels));
    text.push_str("Addresses:\n");
    for ip in Family::BOTH.into_iter().filter_map(|family| node.address_in(family)) {
        let _ = writeln!(text, "  {:<15}{ip}", "InternalIP:");
    }
    let _ = writeln!(text, "  {:<15}{}", "Hostname:", node.name);
    let cidrs: Vec<String> = pod_cidrs(session, node).iter().map(IpNet::to_string).collect();
    if let Some(first) = cidrs.first() {
        line(&mut text, "PodCIDR", first);
        line(&mut text, "PodCIDRs", cidrs.join(","));
    }
    line(&mut text, "Interface", format_args!("{} on segment {}", node.nic, node.segment));
    let ipam = ipam(session)?;
    for block in ipam.iter().flat_map(|ipam| ipam.blocks_of(&node.name)) {
        let usage = block.usage();
        line(&mut text, "Block", format_args!("{}, {} of {} in use", block.prefix, usage.in_use, usage.total));
    }
    if let Some(ns) = session.plan.namespace(&node.name) {
        line(&mut text, "Netns", &ns.netns);
        text.push_str("Links:\n");
        for link in &ns.links {
            let addresses: Vec<String> = link.addresses.iter().map(|address| address.net.to_string()).collect();
            let fact = facts::link_fact(link);
            let words = format!("{} {}", fact.strip_prefix("link ").unwrap_or(&fact), addresses.join(" "));
            let _ = writeln!(text, "  {}", words.trim_end());
        }
        routes(&mut text, ns);
    }
    text.push_str("Pods:\n");
    for pod in session.cluster.pods.iter().filter(|pod| pod.node == node.name) {
        let _ = writeln!(text, "{}", format!("  {}  {}", pod.key(), address_list(session, pod)).trim_end());
    }
    Ok(text)
}

/// `spec.podCIDRs` of a node, IPv4's first, where the mode's pods have their addresses of it.
pub(super) fn pod_cidrs(session: &Session, node: &Node) -> Vec<IpNet> {
    let is_used = session.cluster.network.mode.addressing().is_by_node();
    let families = Family::BOTH.into_iter().filter(|_| is_used);
    families.filter_map(|family| node.pod_cidr_in(family)).collect()
}

fn describe_workload(session: &Session, set: &Workload) -> String {
    let mut text = String::new();
    line(&mut text, "Name", &set.name);
    line(&mut text, "Namespace", &set.namespace);
    line(&mut text, "Kind", set.kind.name());
    line(&mut text, "Replicas", set.replicas);
    text.push_str("Pods:\n");
    for pod in super::get::pods_of(session, set) {
        let _ = writeln!(text, "  {}  {}  {}", pod.name, address_list(session, pod), pod.node);
    }
    text
}

fn describe_service(session: &Session, service: &Service) -> String {
    let lines = super::get::describe_service(session, service);
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or_default() + 3;
    lines.iter().map(|(key, value)| format!("{:<width$}{value}\n", format!("{key}:"))).collect()
}

fn describe_pool(session: &Session, pool: &IpPool) -> Result<String> {
    let mut text = String::new();
    line(&mut text, "Name", &pool.name);
    line(&mut text, "CIDR", pool.cidr);
    line(&mut text, "Block size", format_args!("/{}", pool.block_size));
    line(&mut text, "NAT outgoing", pool.nat_outgoing);
    line(&mut text, "Disabled", pool.disabled);
    text.push_str("Blocks:\n");
    let ipam = cni::ipam(&session.cluster)?;
    for block in ipam.blocks().filter(|block| block.pool == pool.name) {
        let usage = block.usage();
        let _ = writeln!(text, "  {}  {}  {} of {} in use", block.prefix, block.node, usage.in_use, usage.total);
    }
    Ok(text)
}
