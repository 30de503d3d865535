//! kube-proxy's nftables mode as of 1.30: one table per family, in which a map leads from address, protocol and port to
//! the chain of a Service's port.
//!
//! What differs from the iptables mode is in the fact that node ports answer at the node's own address only, and never on
//! 127.0.0.1; that nothing is accepted or dropped for its state; and that ports which a cluster address does not have are
//! refused.

mod frame;
mod ruleset;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use ruleset::{Ruleset, rule, to};

use super::endpoints::Named;
use super::names;
use super::view::{PortView, View};
use super::{Reachable, Target};
use crate::parallel::in_parts;
use crate::plan::netfilter::Side;
use crate::plan::nft::{NftKey, NftSet, NftTable, Statement, Verdict};
use crate::plan::{Keeper, Keeps};
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

/// Name of kube-proxy's tables.
const TABLE: &str = "kube-proxy";

/// It looks at nothing in between: when an hour has passed since the last change, it makes all of its tables anew
/// (kubernetes 1.30, pkg/proxy/nftables/proxier.go, `NewBoundedFrequencyRunner`).
pub fn keeper() -> Keeper {
    Keeper::new("kube-proxy", 3600, Keeps::Nftables { table: TABLE.to_owned() })
}

/// kube-proxy's table of one node and family.
pub fn table(view: &View) -> NftTable {
    let mut rules = Ruleset::new(NftTable {
        family: view.family,
        name: TABLE.to_owned(),
        comment: "rules for kube-proxy".to_owned(),
        sets: Vec::new(),
        maps: Vec::new(),
        chains: frame::base_chains(),
    });
    frame::jumps(&mut rules);
    frame::objects(view, &mut rules.table);
    frame::fixed(view, &mut rules);
    for part in in_parts(&view.ports, |ports| services(view, ports, rules.part())) {
        rules.join(part);
    }
    // Every port of a Service has put its address there, one after the other.
    for set in rules.table.sets.iter_mut().filter(|set| set.name == CLUSTER_IPS) {
        set.elements.dedup();
    }
    // The same address may be a Service's in two ways.
    for map in &mut rules.table.maps {
        let mut known = BTreeSet::new();
        map.elements.retain(|element| known.insert((element.key, element.verdict.clone())));
    }
    rules.table
}

/// What some ports of Services add.
fn services(view: &View, ports: &[PortView], mut rules: Ruleset) -> Ruleset {
    for port in ports {
        rules.close();
        service(view, port, &mut rules);
    }
    rules
}

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump { chain: chain.to_owned() })
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(to(chain))
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
fn from_pods(view: &View, invert: bool) -> Option<Statement> {
    let prefix = |nets: &[IpNet]| {
        let net = nets.iter().copied().find(|net| view.family.has_net(net))?;
        Some(Statement::Address { side: Side::Src, nets: vec![net], invert })
    };
    match &view.config.detect_local {
        DetectLocal::ClusterCidr => prefix(&view.config.cluster_cidrs),
        DetectLocal::NodeCidr => prefix(&view.host.pod_cidrs),
        DetectLocal::BridgeInterface(name) => Some(Statement::Incoming { name: name.clone(), invert }),
        // As it is: nft refuses this, and with it the whole table.
        DetectLocal::InterfaceNamePrefix(name) => Some(Statement::Incoming { name: format!("{name}*"), invert }),
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

    fn key(&self, ip: &IpAddr) -> NftKey {
        NftKey { address: Some(*ip), protocol: self.port.protocol().number(), port: self.port.port.port }
    }

    /// What happens where there is no endpoint.
    fn refusal(&self) -> Verdict {
        if self.reach.any { Verdict::Drop } else { to(REJECT) }
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
    endpoints(view, &ways, rules);
}

fn addresses(ways: &Ways, rules: &mut Ruleset) {
    let (port, name) = (ways.port, Some(ways.port.name.as_str()));
    let ip = port.cluster_ip;
    if let Some(set) = rules.table.sets.iter_mut().find(|set| set.name == CLUSTER_IPS) {
        set.elements.push(ip);
    }
    let key = ways.key(&ip);
    match ways.internal {
        true => rules.put(SERVICE_IPS, key, None, to(&ways.policy_chain(port.internal_local()))),
        false => rules.put(NO_ENDPOINT_SERVICES, key, name, ways.refusal()),
    }
    for ip in port.external_ips.iter().chain(&port.ingress) {
        if ways.reach.any {
            rules.put(SERVICE_IPS, ways.key(ip), None, to(&ways.chain("external")));
        }
        if !ways.external {
            rules.put(NO_ENDPOINT_SERVICES, ways.key(ip), name, ways.refusal());
        }
    }
}

fn node_port(ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    let Some(number) = port.port.node_port else { return };
    let key = NftKey { address: None, protocol: port.protocol().number(), port: number };
    if ways.reach.any {
        rules.put(SERVICE_NODE_PORTS, key, None, to(&ways.chain("external")));
    }
    if !ways.external {
        rules.put(NO_ENDPOINT_NODE_PORTS, key, Some(&port.name), ways.refusal());
    }
}

/// Marks what goes to the cluster's address and does not come from a pod, or all of it.
fn internal(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    let others = match view.config.masquerade_all {
        true => Some(None),
        false => from_pods(view, true).map(Some),
    };
    if let Some(condition) = others.filter(|_| ways.internal) {
        let nets = vec![port.cluster_ip.into()];
        let mut statements = vec![
            Statement::Address { side: Side::Dst, nets, invert: false },
            Statement::Port { protocol: port.protocol().number(), port: port.port.port },
        ];
        statements.extend(condition.into_iter().chain([jump(MARK)]));
        rules.chain(&ways.policy_chain(port.internal_local())).rules.push(rule(statements, None));
    }
}

fn external(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    if !ways.reach.any || !port.externally_accessible() {
        return;
    }
    let service = ways.policy_chain(false);
    let chain = rules.chain(&ways.chain("external"));
    if port.external_local() {
        if let Some(pods) = from_pods(view, false) {
            chain.rules.push(rule(vec![pods, goto(&service)], Some("short-circuit pod traffic")));
        }
        let own = || Statement::Local { side: Side::Src };
        chain.rules.push(rule(vec![own(), jump(MARK)], Some("masquerade local traffic")));
        chain.rules.push(rule(vec![own(), goto(&service)], Some("short-circuit local traffic")));
    } else {
        chain.rules.push(rule(vec![jump(MARK)], None));
    }
    if ways.external {
        chain.rules.push(rule(vec![goto(&ways.policy_chain(port.external_local()))], None));
    }
}

/// Who may use the load balancer's addresses.
fn firewall(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let port = ways.port;
    if port.ingress.is_empty() || port.source_ranges.is_empty() {
        return;
    }
    let mut nets = port.source_ranges.clone();
    if view.lets_node_in(port) {
        nets.extend(port.ingress.iter().copied().map(IpNet::from));
    }
    let chain = ways.chain("firewall");
    let abroad = Statement::Address { side: Side::Src, nets, invert: true };
    rules.chain(&chain).rules.push(rule(vec![abroad, Statement::Verdict(Verdict::Drop)], None));
    for address in &port.ingress {
        rules.put(FIREWALL_IPS, ways.key(address), Some(&port.name), to(&chain));
    }
}

fn endpoints(view: &View, ways: &Ways, rules: &mut Ruleset) {
    let (port, family) = (ways.port, view.family);
    let all = Named::all(&ways.reach.all, |target| endpoint_base(port, target));
    if !ways.reach.cluster.is_empty() {
        balance(view, port, &Named::among(&all, &ways.reach.cluster), &ways.policy_chain(false), rules);
    }
    let local_in_use = port.internal_local() || (port.external_local() && port.externally_accessible());
    if local_in_use && !ways.reach.local.is_empty() {
        balance(view, port, &Named::among(&all, &ways.reach.local), &ways.policy_chain(true), rules);
    }
    for Named { target, name: base } in &all {
        let timeout = port.service.affinity;
        let set = format!("affinity-{base}");
        if timeout.is_some() {
            let name = set.clone();
            rules.table.sets.push(NftSet { name, comment: None, timeout, elements: Vec::new() });
        }
        let chain = &mut rules.chain(&format!("endpoint-{base}")).rules;
        let own = Statement::Address { side: Side::Src, nets: vec![target.to.ip().into()], invert: false };
        chain.push(rule(vec![own, jump(MARK)], None));
        if timeout.is_some() {
            chain.push(rule(vec![Statement::Remember { family, set }], None));
        }
        let protocol = Statement::Protocol { number: port.protocol().number() };
        chain.push(rule(vec![protocol, Statement::Dnat { to: target.to }], None));
    }
}

/// Clients with an endpoint keep it; all others get one by chance.
fn balance(view: &View, port: &PortView, targets: &[&Named], chain: &str, rules: &mut Ruleset) {
    let chain = &mut rules.chain(chain).rules;
    let bases = || targets.iter().map(|target| target.name.as_str());
    if port.service.affinity.is_some() {
        let known = |base: &str| {
            let set = format!("affinity-{base}");
            let seen = Statement::Member { side: Side::Src, family: view.family, set };
            rule(vec![seen, goto(&format!("endpoint-{base}"))], None)
        };
        chain.extend(bases().map(known));
    }
    let chains = bases().map(|base| format!("endpoint-{base}")).collect();
    chain.push(rule(vec![Statement::Spread { chains }], None));
}
