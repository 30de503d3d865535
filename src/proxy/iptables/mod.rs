//! kube-proxy's iptables mode, from Kubernetes 1.20 to 1.30.
//!
//! What differs between versions is asked for where it differs, as `minor`. Two shapes of the rules of a Service are files
//! of their own: `classic` is that of 1.20 to 1.23 (`KUBE-XLB-`, marks before the Service's chain), `modern` that of
//! 1.24 to 1.30 (`KUBE-EXT-`, `KUBE-SVL-`).
//!
//! | since | what is different |
//! |---|---|
//! | 1.21 | filter `KUBE-NODEPORTS`, which accepts health check ports; external addresses without the physdev and addrtype pair, pods reach them unmasqueraded; the node's address is the one to bind to, until 1.27; endpoints that are not ready make a cluster large |
//! | 1.22 | marks of the cluster's address, external addresses and node ports in the Service's own chain; `internalTrafficPolicy: Local` takes other nodes' endpoints away |
//! | 1.23 | one conntrack rule in `KUBE-FORWARD` for two; no node ports, but all else, where no address takes them; health checks at `--nodeport-addresses` |
//! | 1.24 | `KUBE-EXT-` and `KUBE-SVL-` for `KUBE-XLB-`; `KUBE-FW-` only with source ranges; comments `S -> EP`; no bound sockets; `topology-aware-hints`; `BridgeInterface`, `InterfaceNamePrefix` |
//! | 1.25 | `KUBE-PROXY-FIREWALL`; drops in filter for `KUBE-MARK-DROP` |
//! | 1.26 | `--iptables-localhost-nodeports`, never for IPv6; endpoints about to end, where no other is |
//! | 1.27 | `KUBE-FIREWALL` is kube-proxy's too; the last comment of `KUBE-FW-`; node port rules though no address takes them; `topology-mode` |
//! | 1.28 | the node's address is the Node object's again |
//! | 1.29 | `externalTrafficPolicy` of external addresses alone |
//! | 1.30 | `ipMode: Proxy` |
//!
//! Sources: pkg/proxy/iptables/proxier.go, pkg/proxy/{topology,service,serviceport}.go and pkg/features/kube_features.go of
//! each version, as vendored by openshift/sdn (1.21 c4cad7601, 1.22 13c5e8831, 1.23 f97544320, 1.24 b5350c6ed,
//! 1.25 d66255379, 1.26 bdb787f3d, 1.27 b9b363903, 1.28 612c2bb66, 1.29 a26313153, 1.30.3 70cefcddc). What the real program
//! wrote is recorded, and compared, for 1.20 and 1.30 ([`crate::plan::Health::RECORDED`]); `up` says so of the others.

mod classic;
mod modern;

use super::endpoints::Named;
use super::names;
use super::overlay::{Jump, Overlay, Place};
use super::rules::{Chains, jump, local, rule, share, source, state, to};
use super::view::{PortView, View};
use super::{Target, rules};
use crate::parallel::in_parts;
use crate::plan::keeper::{self, Rules};
use crate::plan::netfilter::{Chain, CtState, Match, Recent, Rule, Side, TableName, Target as Action};
use crate::plan::{Family, Keeper, Keeps};
use crate::topology::DetectLocal;

pub(super) const SERVICES: &str = "KUBE-SERVICES";
const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
const NODE_PORTS: &str = "KUBE-NODEPORTS";
pub(super) const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
pub(super) const MARK_DROP: &str = "KUBE-MARK-DROP";
const FORWARD: &str = "KUBE-FORWARD";
const PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
pub(super) const FIREWALL: &str = "KUBE-FIREWALL";

/// An empty chain that only a flush takes away.
const CANARY: &str = "KUBE-PROXY-CANARY";

/// Every `syncPeriod` kube-proxy looks for its canary in `mangle` alone; if that is gone, it makes all its rules anew
/// (`ipt.Monitor`). A rule that somebody deleted beside it comes back with the full sync of each hour.
pub fn keepers(minor: u8) -> [Keeper; 2] {
    // Until 1.27 the firewall is kubelet's, and what is in KUBE-MARK-DROP always was; host ports are those of kubelet or of
    // a plugin.
    let firewall = (minor < 27).then_some(FIREWALL);
    let others = [super::kubelet::CANARY, MARK_DROP, "KUBE-HOSTPORT", "KUBE-HP-"].into_iter().chain(firewall);
    let rules = Rules {
        prefixes: vec!["KUBE-".to_owned()],
        except: others.map(str::to_owned).collect(),
        place: keeper::Place::First,
        ..Rules::default()
    };
    let canary = Rules { canary: Some(CANARY.to_owned()), ..rules.clone() };
    [Keeper::new("kube-proxy", 30, Keeps::Rules(canary)), Keeper::new("kube-proxy", 3600, Keeps::Rules(rules))]
}

/// kube-proxy's chains of one node and family, and the jumps to them.
pub fn overlay(view: &View) -> Overlay {
    let mut tables = Tables::new(view);
    fixed(view, &mut tables);
    tables.nat.share();
    tables.filter.share();
    for part in in_parts(&view.ports, |ports| services(view, ports, tables.part())) {
        tables.nat.join(part.nat);
        tables.filter.join(part.filter);
    }
    last_rule(view, &mut tables);
    let canary = (CANARY, [TableName::Mangle, TableName::Nat, TableName::Filter]);
    let mut chains: Vec<(TableName, Chain)> = Vec::new();
    tables.nat.declare(canary.0);
    tables.filter.declare(canary.0);
    chains.push((TableName::Mangle, Chain { name: canary.0.to_owned(), policy: None, rules: Vec::new() }));
    chains.extend(tables.nat.into_chains().into_iter().map(|chain| (TableName::Nat, chain)));
    chains.extend(tables.filter.into_chains().into_iter().map(|chain| (TableName::Filter, chain)));
    Overlay { chains, jumps: jumps(view) }
}

/// The rules of some ports of Services.
fn services(view: &View, ports: &[PortView], mut tables: Tables) -> Tables {
    for port in ports {
        tables.nat.next();
        tables.filter.next();
        match view.config.minor {
            ..=23 => classic::service(view, port, &mut tables),
            _ => modern::service(view, port, &mut tables),
        }
    }
    tables.nat.sort();
    tables.filter.sort();
    tables
}

/// The chains under construction, and what is the same for all Services.
struct Tables {
    filter: Chains,
    nat: Chains,
    /// Whether Services have so many endpoints that comments are left away.
    large: bool,
}

impl Tables {
    fn new(view: &View) -> Self {
        let endpoints: usize = view.ports.iter().map(|port| port.counted).sum();
        Tables {
            filter: Chains::default(),
            nat: Chains::default(),
            large: endpoints > view.config.large_cluster_endpoints,
        }
    }

    fn part(&self) -> Self {
        Tables { filter: self.filter.part(), nat: self.nat.part(), large: self.large }
    }

    /// A comment of a Service's own chains, which large clusters do without.
    fn comment(&self, text: String) -> String {
        if self.large { String::new() } else { text }
    }
}

/// The rules in built-in chains, each put to the head of its chain in this order.
fn jumps(view: &View) -> Vec<Jump> {
    let minor = view.config.minor;
    let new = || vec![state(&[CtState::New], false)];
    let external = "kubernetes externally-visible service portals";
    let (portals, firewall) = ("kubernetes service portals", "kubernetes load balancer firewall");
    let filter = |from: &str, matches: Vec<Match>, comment: &str, chain: &str| {
        // Conditions stand before the comment here, other than everywhere else.
        head(
            TableName::Filter,
            from,
            Rule { comments_last: !comment.is_empty(), ..rule(comment, matches, jump(chain)) },
        )
    };
    let nat =
        |from: &str, comment: &str, chain: &str| head(TableName::Nat, from, rule(comment, Vec::new(), jump(chain)));
    let mut all = vec![
        filter("INPUT", new(), external, EXTERNAL_SERVICES),
        filter("FORWARD", new(), external, EXTERNAL_SERVICES),
    ];
    if minor >= 21 {
        all.push(filter("INPUT", Vec::new(), "kubernetes health check service ports", NODE_PORTS));
    }
    all.push(filter("FORWARD", new(), portals, SERVICES));
    all.push(filter("OUTPUT", new(), portals, SERVICES));
    all.push(filter("FORWARD", Vec::new(), "kubernetes forwarding rules", FORWARD));
    if minor >= 25 {
        all.extend(["INPUT", "OUTPUT", "FORWARD"].map(|from| filter(from, new(), firewall, PROXY_FIREWALL)));
    }
    all.extend(["OUTPUT", "PREROUTING"].map(|from| nat(from, portals, SERVICES)));
    all.push(nat("POSTROUTING", "kubernetes postrouting rules", POSTROUTING));
    if minor >= 27 {
        all.extend(["INPUT", "OUTPUT"].map(|from| filter(from, Vec::new(), "", FIREWALL)));
    }
    all
}

pub(super) fn head(table: TableName, from: &str, rule: Rule) -> Jump {
    Jump { table, from: from.to_owned(), rule, place: Place::Head }
}

/// The rules that do not depend on any Service.
fn fixed(view: &View, tables: &mut Tables) {
    let (minor, mark) = (view.config.minor, 1u32 << view.config.masquerade_bit);
    let Tables { filter, nat, .. } = tables;
    [SERVICES, EXTERNAL_SERVICES, FORWARD].iter().for_each(|chain| filter.declare(chain));
    [SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ].iter().for_each(|chain| nat.declare(chain));
    if minor >= 21 {
        filter.declare(NODE_PORTS);
    }
    if minor >= 25 {
        filter.declare(PROXY_FIREWALL);
    } else {
        nat.declare(MARK_DROP);
    }
    masquerade(nat, mark, view.config.random_fully);
    let marked = Match::Mark { value: mark, mask: mark, invert: false };
    let known = || vec![state(&[CtState::Related, CtState::Established], false)];
    filter.add(FORWARD, rule("", vec![state(&[CtState::Invalid], false)], Action::Drop));
    filter.add(FORWARD, rule("kubernetes forwarding rules", vec![marked], Action::Accept));
    let comments: &[&str] = match minor {
        ..=22 => &["conntrack pod source rule", "conntrack pod destination rule"],
        _ => &["conntrack rule"],
    };
    for comment in comments {
        filter.add(FORWARD, rule(&format!("kubernetes forwarding {comment}"), known(), Action::Accept));
    }
    if minor >= 27 {
        filter.declare(FIREWALL);
        if localhost_node_ports(view) && view.family == Family::Inet {
            filter.add(FIREWALL, localnet());
        }
    }
}

/// KUBE-POSTROUTING and KUBE-MARK-MASQ, which kubelet makes too, up to 1.27.
pub(super) fn masquerade(nat: &mut Chains, mark: u32, random_fully: bool) {
    let unmarked = Match::Mark { value: mark, mask: mark, invert: true };
    nat.add(POSTROUTING, rule("", vec![unmarked], Action::Return));
    nat.add(POSTROUTING, rule("", Vec::new(), Action::XorMark { value: mark }));
    let action = Action::Masquerade { random_fully };
    nat.add(POSTROUTING, rule("kubernetes service traffic requiring SNAT", Vec::new(), action));
    nat.add(MARK_MASQ, rule("", Vec::new(), Action::SetMark { value: mark, mask: mark }));
}

/// Keeps others from reaching what listens on 127.0.0.1, which `route_localnet` would let them.
pub(super) fn localnet() -> Rule {
    let net = Family::Inet.loopback();
    let states = [CtState::Related, CtState::Established, CtState::Dnat];
    let matches =
        vec![Match::Destination { net, invert: false }, Match::Source { net, invert: true }, state(&states, true)];
    rule("block incoming localnet connections", matches, Action::Drop)
}

/// Whether node ports answer on 127.0.0.1: always before 1.26; else if it is wanted, and its addresses take node ports.
fn localhost_node_ports(view: &View) -> bool {
    let start = view.family.loopback().addr();
    let mut nets = view.config.node_port_addresses.iter().filter(|net| view.family.has_net(net)).peekable();
    let open = nets.peek().is_none() || nets.any(|net| net.addr().is_loopback() || net.contains(&start));
    match view.config.minor {
        ..=25 => true,
        _ => view.config.localhost_node_ports && view.family == Family::Inet && open,
    }
}

/// The node's addresses that take node ports; none is every address.
pub(super) fn node_port_addresses(view: &View) -> Option<Vec<std::net::IpAddr>> {
    let nets: Vec<_> = view.config.node_port_addresses.iter().filter(|net| view.family.has_net(net)).collect();
    if nets.iter().any(|net| net.prefix_len() == 0) || nets.is_empty() {
        return None;
    }
    let mut matching: Vec<_> = view.host.addresses.iter().copied().filter(|ip| view.family.has(ip)).collect();
    matching.retain(|ip| nets.iter().any(|net| net.contains(ip)));
    matching.sort();
    matching.dedup();
    Some(matching)
}

/// The last rule of KUBE-SERVICES: what is for the node itself may be for a node port.
fn last_rule(view: &View, tables: &mut Tables) {
    let comment = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
    match node_port_addresses(view) {
        None => {
            let mut matches = vec![local(Side::Dst, false)];
            let excluded = view.family == Family::Inet6 || !localhost_node_ports(view);
            if view.config.minor >= 26 && excluded {
                matches.push(Match::Destination { net: view.family.loopback(), invert: true });
            }
            tables.nat.add(SERVICES, rule(comment, matches, jump(NODE_PORTS)));
        }
        Some(addresses) => {
            for ip in addresses {
                // Without node ports on 127.0.0.1 the loopback addresses are not among them.
                if view.config.minor >= 26 && ip.is_loopback() && !localhost_node_ports(view) {
                    continue;
                }
                tables.nat.add(SERVICES, rule(comment, vec![to(ip)], jump(NODE_PORTS)));
            }
        }
    }
}

/// The match for packets of this node's pods (`!invert`) or of anyone else; none if kube-proxy cannot tell.
pub(super) fn from_pods(view: &View, invert: bool) -> Option<Match> {
    let prefix = |nets: &[ipnet::IpNet]| {
        let net = nets.iter().copied().find(|net| view.family.has_net(net))?;
        Some(Match::Source { net, invert })
    };
    let interface = |name: String| match invert {
        false => Match::InInterface { name },
        true => Match::NotInInterface { name },
    };
    match &view.config.detect_local {
        DetectLocal::ClusterCidr => prefix(&view.config.cluster_cidrs),
        DetectLocal::NodeCidr => prefix(&view.host.pod_cidrs),
        DetectLocal::BridgeInterface(name) => Some(interface(name.clone())),
        DetectLocal::InterfaceNamePrefix(name) => Some(interface(format!("{name}+"))),
    }
}

/// What a packet to a Service has: this address, and the protocol and number of the port.
fn destination(port: &PortView, ip: std::net::IpAddr) -> Vec<Match> {
    let mut matches = vec![to(ip)];
    matches.extend(rules::port(port.protocol().number(), port.port.port));
    matches
}

/// Marks what goes to the cluster's address and does not come from a pod, or all of it.
fn mark_cluster_ip(view: &View, port: &PortView, tables: &mut Tables, chain: &str) {
    let mut matches = destination(port, port.cluster_ip);
    if !view.config.masquerade_all {
        let Some(others) = from_pods(view, true) else { return };
        matches.push(others);
    }
    tables.nat.add(chain, rule(&format!("{} cluster IP", port.name), matches, jump(MARK_MASQ)));
}

/// The chain of an endpoint.
fn endpoint_chain(port: &PortView, target: &Target) -> String {
    format!("KUBE-SEP-{}", names::endpoint(&port.name, port.protocol().lower(), &target.to.to_string()))
}

/// The rules that keep clients at the endpoints that they have.
fn affinity_rules(
    port: &PortView,
    targets: &[&Named],
    tables: &mut Tables,
    chain: &str,
    comment: impl Fn(&Target) -> String,
) {
    let Some(seconds) = port.service.affinity else { return };
    for Named { target, name } in targets {
        let comment = comment(target);
        let seen = recent(Recent::Check { seconds }, name, target);
        tables.nat.add(chain, rule(&comment, vec![seen], jump(name)));
    }
}

fn recent(action: Recent, list: &str, target: &Target) -> Match {
    let mask = match target.to.is_ipv6() {
        true => std::net::IpAddr::from([0xffffu16; 8]),
        false => std::net::IpAddr::from([255u8; 4]),
    };
    Match::Recent { action, list: list.to_owned(), mask }
}

/// An endpoint's chain: a packet of the endpoint itself is marked, then all go to it.
fn endpoint_rules(port: &PortView, Named { target, name: chain }: &Named, tables: &mut Tables) {
    let comment = tables.comment(port.name.clone());
    let own = source(target.to.ip().into(), false).into_iter().collect();
    tables.nat.add(chain, rule(&comment, own, jump(MARK_MASQ)));
    let protocol = port.protocol().number();
    let mut matches = vec![Match::Protocol { number: protocol }];
    matches.extend(port.service.affinity.map(|_| recent(Recent::Set, chain, target)));
    matches.push(Match::Transport { protocol, port: None });
    tables.nat.add(chain, rule(&comment, matches, Action::Dnat { to: target.to }));
}

/// The rules that share a chain's packets among endpoints; `comment` is told each rule's number and endpoint.
fn balance(targets: &[&Named], tables: &mut Tables, chain: &str, comment: impl Fn(usize, &Target) -> String) {
    for (index, Named { target, name }) in targets.iter().enumerate() {
        let comment = comment(index, target);
        let chance = share(index, targets.len()).into_iter().collect();
        tables.nat.add(chain, rule(&comment, chance, jump(name)));
    }
}

/// A rule for a node's port; `before` stands before the port, as in KUBE-EXTERNAL-SERVICES.
fn node_port(port: &PortView, number: u16, before: Option<Match>) -> Vec<Match> {
    before.into_iter().chain(rules::port(port.protocol().number(), number)).collect()
}
