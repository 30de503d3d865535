//! What kube-proxy's table has whatever Services there are: base chains, sets, maps and the rules that look things up.

use std::net::IpAddr;

use super::ruleset::{Ruleset, rule};
use super::*;
use crate::plan::nft::{ChainType, Hook, NftChain, NftMap, NftTable};

/// The base chains, without rules.
pub(super) fn base_chains() -> Vec<NftChain> {
    let chains = [
        ("filter-prerouting", ChainType::Filter, "prerouting", -110),
        ("filter-input", ChainType::Filter, "input", -110),
        ("filter-forward", ChainType::Filter, "forward", -110),
        ("filter-output", ChainType::Filter, "output", -110),
        ("filter-output-post-dnat", ChainType::Filter, "output", -90),
        ("nat-prerouting", ChainType::Nat, "prerouting", -100),
        ("nat-output", ChainType::Nat, "output", -100),
        ("nat-postrouting", ChainType::Nat, "postrouting", 100),
    ];
    let chain = |(name, kind, hook, priority): (&str, ChainType, &'static str, i32)| NftChain {
        name: name.to_owned(),
        hook: Some(Hook { kind, hook, priority }),
        comment: None,
        rules: Vec::new(),
    };
    chains.into_iter().map(chain).collect()
}

/// What leads from base chains to others.
pub(super) fn jumps(rules: &mut Ruleset) {
    for (to, from, only_new) in [
        ("nodeport-endpoints-check", "filter-input", true),
        ("service-endpoints-check", "filter-input", true),
        ("service-endpoints-check", "filter-forward", true),
        ("service-endpoints-check", "filter-output", true),
        ("firewall-check", "filter-prerouting", true),
        ("firewall-check", "filter-output", true),
        ("services", "nat-output", false),
        ("services", "nat-prerouting", false),
        ("masquerading", "nat-postrouting", false),
        ("cluster-ips-check", "filter-forward", true),
        ("cluster-ips-check", "filter-output-post-dnat", true),
    ] {
        rules.chain(to);
        let statements = only_new.then_some(Statement::IsNew).into_iter().chain([jump(to)]).collect();
        rules.chain(from).rules.push(rule(statements, None));
    }
}

/// The node's addresses that take node ports; none is every address. If none is given for the family, it is the node's
/// own, as far as an interface has it (pkg/proxy/util/nodeport_addresses.go).
fn node_port_addresses(view: &View) -> Option<Vec<IpAddr>> {
    let given = view.config.node_port_addresses.iter().any(|net| view.family.has_net(net));
    let addresses = match given {
        true => crate::proxy::iptables::node_port_addresses(view)?,
        false => [view.node_ip()].into_iter().filter(|ip| view.host.addresses.contains(ip)).collect(),
    };
    Some(addresses.into_iter().filter(|ip| !ip.is_loopback()).collect())
}

/// Sets and maps, without what Services put into them.
pub(super) fn objects(view: &View, table: &mut NftTable) {
    let set = |name: &str, comment: &str, elements| NftSet {
        name: name.to_owned(),
        comment: Some(comment.to_owned()),
        timeout: None,
        elements,
    };
    table.sets.push(set(CLUSTER_IPS, "Active ClusterIPs", Vec::new()));
    if let Some(addresses) = node_port_addresses(view) {
        table.sets.push(set(NODE_PORT_IPS, "IPs that accept NodePort traffic", addresses));
    }
    let triple = Some(view.family);
    for (name, by_address, comment) in [
        (NO_ENDPOINT_SERVICES, triple, "vmap to drop or reject packets to services with no endpoints"),
        (NO_ENDPOINT_NODE_PORTS, None, "vmap to drop or reject packets to service nodeports with no endpoints"),
        (FIREWALL_IPS, triple, "destinations that are subject to LoadBalancerSourceRanges"),
        (SERVICE_IPS, triple, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        (SERVICE_NODE_PORTS, None, "NodePort traffic"),
    ] {
        let (name, comment) = (name.to_owned(), comment.to_owned());
        table.maps.push(NftMap { name, comment, by_address, elements: Vec::new() });
    }
}

/// The rules that do not depend on any Service.
pub(super) fn fixed(view: &View, rules: &mut Ruleset) {
    let mark = 1u32 << view.config.masquerade_bit;
    let family = view.family;
    let lookup = |map: &str, by_address| Statement::Lookup { map: map.to_owned(), by_address };
    let all = node_port_addresses(view).is_none();
    let node_port = |local: Option<Statement>, map: &str| -> Vec<Statement> {
        let loopback = view.family.loopback();
        let own = match all {
            true => Statement::Address { side: Side::Dst, nets: vec![loopback], invert: true },
            false => Statement::Member { side: Side::Dst, family, set: NODE_PORT_IPS.to_owned() },
        };
        local.filter(|_| all).into_iter().chain([own, lookup(map, None)]).collect()
    };
    let mut add = |chain: &str, statements: Vec<Statement>, comment: Option<&str>| {
        rules.chain(chain).rules.push(rule(statements, comment));
    };
    add(MARK, vec![Statement::SetBits { bits: mark }], None);
    add("masquerading", vec![Statement::Unmarked { mask: mark }, Statement::Verdict(Verdict::Return)], None);
    add("masquerading", vec![Statement::FlipBits { bits: mark }], None);
    add("masquerading", vec![Statement::Masquerade], None);
    let cluster_ips = Statement::Member { side: Side::Dst, family, set: CLUSTER_IPS.to_owned() };
    let comment = "Reject traffic to invalid ports of ClusterIPs";
    add("cluster-ips-check", vec![cluster_ips, Statement::Reject], Some(comment));
    add(REJECT, vec![Statement::Reject], None);
    add("service-endpoints-check", vec![lookup(NO_ENDPOINT_SERVICES, Some(family))], None);
    add("nodeport-endpoints-check", node_port(None, NO_ENDPOINT_NODE_PORTS), None);
    add("firewall-check", vec![lookup(FIREWALL_IPS, Some(family))], None);
    add("services", vec![lookup(SERVICE_IPS, Some(family))], None);
    let local = Statement::Local { side: Side::Dst };
    add("services", node_port(Some(local), SERVICE_NODE_PORTS), None);
    rules.chain(REJECT).comment = Some("helper for @no-endpoint-services / @no-endpoint-nodeports".to_owned());
}
