//! kube-proxy's nftables mode as of 1.30: one table per family, in which a map leads from address, protocol and port to
//! the chain of a Service's port.
//!
//! What differs from the iptables mode is in the fact that node ports answer at the node's own address only, and never on
//! 127.0.0.1; that nothing is accepted or dropped for its state; and that ports which a cluster address does not have are
//! refused.

mod ruleset;

use std::net::IpAddr;

pub use ruleset::{Hook, NftChain, NftElement, NftMap, NftSet, Ruleset};

use super::names;
use super::view::{Family, PortView, View};
use super::{Reachable, Target};
use crate::topology::DetectLocal;

const MARK: &str = "mark-for-masquerade";
const SERVICE_IPS: &str = "service-ips";
const SERVICE_NODE_PORTS: &str = "service-nodeports";
const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
const FIREWALL_IPS: &str = "firewall-ips";
const CLUSTER_IPS: &str = "cluster-ips";
const NODE_PORT_IPS: &str = "nodeport-ips";
const REJECT: &str = "reject-chain";

/// Longest name of an object of nftables.
const NAME_MAX: usize = 256;

/// What is kept free of that for a prefix.
const PREFIX_MAX: usize = 16;

/// kube-proxy's table of one node and family.
pub fn ruleset(view: &View) -> Ruleset {
    let mut rules = Ruleset {
        family: if view.family == Family::V4 { "ip" } else { "ip6" },
        table: "kube-proxy",
        comment: "rules for kube-proxy",
        chains: base_chains(),
        sets: Vec::new(),
        maps: Vec::new(),
        open: 0,
    };
    jumps(&mut rules);
    objects(view, &mut rules);
    fixed(view, &mut rules);
    for port in &view.ports {
        rules.close();
        service(view, port, &mut rules);
    }
    rules
}

fn base_chains() -> Vec<NftChain> {
    let chains = [
        ("filter-prerouting", "filter", "prerouting", -110),
        ("filter-input", "filter", "input", -110),
        ("filter-forward", "filter", "forward", -110),
        ("filter-output", "filter", "output", -110),
        ("filter-output-post-dnat", "filter", "output", -90),
        ("nat-prerouting", "nat", "prerouting", -100),
        ("nat-output", "nat", "output", -100),
        ("nat-postrouting", "nat", "postrouting", 100),
    ];
    let chain = |(name, kind, hook, priority): (&str, &'static str, &'static str, i32)| NftChain {
        name: name.to_owned(),
        hook: Some(Hook { kind, hook, priority }),
        comment: None,
        rules: Vec::new(),
    };
    chains.into_iter().map(chain).collect()
}

fn jumps(rules: &mut Ruleset) {
    for (to, from, condition) in [
        ("nodeport-endpoints-check", "filter-input", "ct state new "),
        ("service-endpoints-check", "filter-input", "ct state new "),
        ("service-endpoints-check", "filter-forward", "ct state new "),
        ("service-endpoints-check", "filter-output", "ct state new "),
        ("firewall-check", "filter-prerouting", "ct state new "),
        ("firewall-check", "filter-output", "ct state new "),
        ("services", "nat-output", ""),
        ("services", "nat-prerouting", ""),
        ("masquerading", "nat-postrouting", ""),
        ("cluster-ips-check", "filter-forward", "ct state new "),
        ("cluster-ips-check", "filter-output-post-dnat", "ct state new "),
    ] {
        rules.chain(to);
        rules.chain(from).rules.push(format!("{condition}jump {to}"));
    }
}

/// The node's addresses that take node ports; none is every address. By default it is the node's own.
fn node_port_addresses(view: &View) -> Option<Vec<IpAddr>> {
    let addresses = match view.config.node_port_addresses.is_empty() {
        true => view.host.node_ips.iter().copied().filter(|ip| view.family.has(ip)).collect(),
        false => super::iptables::node_port_addresses(view)?,
    };
    Some(addresses.into_iter().filter(|ip| !ip.is_loopback()).collect())
}

fn objects(view: &View, rules: &mut Ruleset) {
    let address = if view.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
    let set = |name: &str, comment, elements| NftSet {
        name: name.to_owned(),
        kind: address,
        comment: Some(comment),
        timeout: None,
        elements,
    };
    rules.sets.push(set(CLUSTER_IPS, "Active ClusterIPs", Vec::new()));
    if let Some(addresses) = node_port_addresses(view) {
        let elements = addresses.iter().map(IpAddr::to_string).collect();
        rules.sets.push(set(NODE_PORT_IPS, "IPs that accept NodePort traffic", elements));
    }
    let (triple, pair) = (format!("{address} . inet_proto . inet_service"), "inet_proto . inet_service".to_owned());
    for (name, kind, comment) in [
        (NO_ENDPOINT_SERVICES, &triple, "vmap to drop or reject packets to services with no endpoints"),
        (NO_ENDPOINT_NODE_PORTS, &pair, "vmap to drop or reject packets to service nodeports with no endpoints"),
        (FIREWALL_IPS, &triple, "destinations that are subject to LoadBalancerSourceRanges"),
        (SERVICE_IPS, &triple, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        (SERVICE_NODE_PORTS, &pair, "NodePort traffic"),
    ] {
        rules.maps.push(NftMap { name, kind: kind.clone(), comment, elements: Vec::new() });
    }
}

/// The rules that do not depend on any Service.
fn fixed(view: &View, rules: &mut Ruleset) {
    let mark = format!("{:#010x}", 1u32 << view.config.masquerade_bit);
    let ip = rules.family;
    let lookup = |map: &str| format!("{ip} daddr . meta l4proto . th dport vmap @{map}");
    let all = node_port_addresses(view).is_none();
    let abroad = if view.family == Family::V4 { "ip daddr != 127.0.0.0/8" } else { "ip6 daddr != ::1" };
    let node_port = |local: &str, map: &str| match all {
        true => format!("{local}{abroad} meta l4proto . th dport vmap @{map}"),
        false => format!("{ip} daddr @{NODE_PORT_IPS} meta l4proto . th dport vmap @{map}"),
    };
    let mut add = |chain: &str, rule: String| rules.chain(chain).rules.push(rule);
    add(MARK, format!("mark set mark or {mark}"));
    add("masquerading", format!("mark and {mark} == 0 return"));
    add("masquerading", format!("mark set mark xor {mark}"));
    add("masquerading", "masquerade fully-random".to_owned());
    add(
        "cluster-ips-check",
        format!("{ip} daddr @{CLUSTER_IPS} reject comment \"Reject traffic to invalid ports of ClusterIPs\""),
    );
    add(REJECT, "reject".to_owned());
    add("service-endpoints-check", lookup(NO_ENDPOINT_SERVICES));
    add("nodeport-endpoints-check", node_port("", NO_ENDPOINT_NODE_PORTS));
    add("firewall-check", lookup(FIREWALL_IPS));
    add("services", lookup(SERVICE_IPS));
    add("services", node_port("fib daddr type local ", SERVICE_NODE_PORTS));
    rules.chain(REJECT).comment = Some("helper for @no-endpoint-services / @no-endpoint-nodeports");
}

/// A name that says what it is, made unique by a hash and cut to fit.
fn base(name: &str) -> String {
    let mut base = format!("{}-{name}", names::hash(name, 8));
    let longest = NAME_MAX - PREFIX_MAX;
    if base.len() > longest {
        // All of it is ASCII: names of Kubernetes' objects.
        base.truncate(longest - 3);
        base.push_str("...");
    }
    base
}

/// `namespace/service/protocol/port`.
fn plain_name(port: &PortView) -> String {
    format!("{}/{}/{}/{}", port.service.namespace, port.service.name, port.protocol().lower(), port.port.name)
}

/// The base of an endpoint's names.
fn endpoint_base(port: &PortView, target: &Target) -> String {
    let ip = target.to.ip().to_string().replace(':', ".");
    base(&format!("{}__{ip}/{}", plain_name(port), target.to.port()))
}

/// The condition for packets of this node's pods, or of anyone else; none if kube-proxy cannot tell.
fn from_pods(view: &View, ip: &str, invert: bool) -> Option<String> {
    let not = if invert { "!= " } else { "" };
    let prefix = |nets: &[ipnet::IpNet]| {
        let net = nets.iter().find(|net| view.family.has_net(net))?;
        Some(format!("{ip} saddr {not}{net}"))
    };
    match &view.config.detect_local {
        DetectLocal::ClusterCidr => prefix(&view.config.cluster_cidrs),
        DetectLocal::NodeCidr => prefix(&view.host.pod_cidrs),
        DetectLocal::BridgeInterface(name) => Some(format!("iif {not}{name}")),
        // As it is: nft refuses this, and with it the whole table.
        DetectLocal::InterfaceNamePrefix(name) => Some(format!("iif {not}{name}*")),
    }
}

/// A Service's port with its chains.
struct Ways<'a> {
    port: &'a PortView<'a>,
    reach: Reachable<'a>,
    base: String,
    internal: bool,
    external: bool,
}

impl Ways<'_> {
    fn chain(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.base)
    }

    fn policy_chain(&self, local: bool) -> String {
        self.chain(if local { "local" } else { "service" })
    }

    fn key(&self, ip: &IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol().lower(), self.port.port.port)
    }

    /// What happens where there is no endpoint.
    fn refusal(&self) -> String {
        if self.reach.any { "drop".to_owned() } else { format!("goto {REJECT}") }
    }
}

fn put(rules: &mut Ruleset, map: &str, key: String, comment: Option<&str>, verdict: String) {
    if let Some(map) = rules.maps.iter_mut().find(|known| known.name == map) {
        map.elements.push(NftElement { key, comment: comment.map(str::to_owned), verdict });
    }
}

/// All that a Service's port adds.
fn service(view: &View, port: &PortView, rules: &mut Ruleset) {
    let reach = port.reachable(view);
    let near = !reach.local.is_empty();
    let ways = Ways {
        internal: reach.any && (near || !port.internal_local()),
        external: reach.any && (near || !port.external_local()),
        base: base(&plain_name(port)),
        port,
        reach,
    };
    addresses(&ways, rules);
    node_port(&ways, rules);
    internal(view, &ways, rules);
    external(view, &ways, rules);
    firewall(view, &ways, rules);
    endpoints(&ways, rules);
}

fn addresses(ways: &Ways, rules: &mut Ruleset) {
    let (port, name) = (ways.port, Some(ways.port.name.as_str()));
    let ip = port.cluster_ip.to_string();
    if let Some(set) = rules.sets.iter_mut().find(|set| set.name == CLUSTER_IPS)
        // The ports of a Service come one after the other.
        && set.elements.last() != Some(&ip)
    {
        set.elements.push(ip);
    }
    let key = ways.key(&port.cluster_ip);
    match ways.internal {
        true => put(rules, SERVICE_IPS, key, None, format!("goto {}", ways.policy_chain(port.internal_local()))),
        false => put(rules, NO_ENDPOINT_SERVICES, key, name, ways.refusal()),
    }
    for ip in port.external_ips.iter().chain(&port.ingress) {
        if ways.reach.any {
            put(rules, SERVICE_IPS, ways.key(ip), None, format!("goto {}", ways.chain("external")));
        }
        if !ways.external {
            put(rules, NO_ENDPOINT_SERVICES, ways.key(ip), name, ways.refusal());
        }
    }
}

fn node_port(ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    let Some(number) = port.port.node_port else { return };
    let key = format!("{} . {number}", port.protocol().lower());
    if ways.reach.any {
        put(rules, SERVICE_NODE_PORTS, key.clone(), None, format!("goto {}", ways.chain("external")));
    }
    if !ways.external {
        put(rules, NO_ENDPOINT_NODE_PORTS, key, Some(&port.name), ways.refusal());
    }
}

/// Marks what goes to the cluster's address and does not come from a pod, or all of it.
fn internal(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let (port, ip) = (ways.port, rules.family);
    let others = match view.config.masquerade_all {
        true => Some(String::new()),
        false => from_pods(view, ip, true).map(|condition| format!("{condition} ")),
    };
    if let Some(condition) = others.filter(|_| ways.internal) {
        let (address, protocol, number) = (port.cluster_ip, port.protocol().lower(), port.port.port);
        let rule = format!("{ip} daddr {address} {protocol} dport {number} {condition}jump {MARK}");
        rules.chain(&ways.policy_chain(port.internal_local())).rules.push(rule);
    }
}

fn external(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let (port, ip) = (ways.port, rules.family);
    if !ways.reach.any || !port.externally_accessible() {
        return;
    }
    let service = ways.policy_chain(false);
    let chain = rules.chain(&ways.chain("external"));
    if port.external_local() {
        if let Some(pods) = from_pods(view, ip, false) {
            chain.rules.push(format!("{pods} goto {service} comment \"short-circuit pod traffic\""));
        }
        chain.rules.push(format!("fib saddr type local jump {MARK} comment \"masquerade local traffic\""));
        chain.rules.push(format!("fib saddr type local goto {service} comment \"short-circuit local traffic\""));
    } else {
        chain.rules.push(format!("jump {MARK}"));
    }
    if ways.external {
        chain.rules.push(format!("goto {}", ways.policy_chain(port.external_local())));
    }
}

/// Who may use the load balancer's addresses.
fn firewall(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let (port, ip) = (ways.port, rules.family);
    if port.ingress.is_empty() || port.source_ranges.is_empty() {
        return;
    }
    let mut sources: Vec<String> = port.source_ranges.iter().map(|range| range.to_string()).collect();
    if view.lets_node_in(port) {
        sources.extend(port.ingress.iter().map(IpAddr::to_string));
    }
    let chain = ways.chain("firewall");
    rules.chain(&chain).rules.push(format!("{ip} saddr != {{ {} }} drop", sources.join(" , ")));
    for address in &port.ingress {
        put(rules, FIREWALL_IPS, ways.key(address), Some(&port.name), format!("goto {chain}"));
    }
}

fn endpoints(ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    let ip = rules.family;
    if !ways.reach.cluster.is_empty() {
        balance(port, &ways.reach.cluster, &ways.policy_chain(false), rules);
    }
    let local_in_use = port.internal_local() || (port.external_local() && port.externally_accessible());
    if local_in_use && !ways.reach.local.is_empty() {
        balance(port, &ways.reach.local, &ways.policy_chain(true), rules);
    }
    for target in &ways.reach.all {
        let base = endpoint_base(port, target);
        let seconds = port.service.affinity;
        if seconds.is_some() {
            let kind = if target.to.is_ipv4() { "ipv4_addr" } else { "ipv6_addr" };
            let name = format!("affinity-{base}");
            rules.sets.push(NftSet { name, kind, comment: None, timeout: seconds, elements: Vec::new() });
        }
        let chain = &mut rules.chain(&format!("endpoint-{base}")).rules;
        chain.push(format!("{ip} saddr {} jump {MARK}", target.to.ip()));
        if seconds.is_some() {
            chain.push(format!("update @affinity-{base} {{ {ip} saddr }}"));
        }
        chain.push(format!("meta l4proto {} dnat to {}", port.protocol().lower(), target.to));
    }
}

/// Clients with an endpoint keep it; all others get one by chance.
fn balance(port: &PortView, targets: &[&Target], chain: &str, rules: &mut Ruleset) {
    let ip = rules.family;
    let chain = &mut rules.chain(chain).rules;
    let bases: Vec<String> = targets.iter().map(|target| endpoint_base(port, target)).collect();
    if port.service.affinity.is_some() {
        chain.extend(bases.iter().map(|base| format!("{ip} saddr @affinity-{base} goto endpoint-{base}")));
    }
    let ways: Vec<String> = bases.iter().enumerate().map(|(n, base)| format!("{n} : goto endpoint-{base}")).collect();
    chain.push(format!("numgen random mod {} vmap {{ {} }}", targets.len(), ways.join(" , ")));
}
