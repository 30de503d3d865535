//! The rules of a Service from 1.24 to 1.30.
//!
//! KUBE-SVC- shares packets among all endpoints, KUBE-SVL- among those of the node; KUBE-EXT- is for what comes to an
//! address or port outside, marks it where it must be and goes on to one of them; KUBE-FW- stands before it where source
//! ranges are given.

use super::{
    EXTERNAL_SERVICES, MARK_DROP, MARK_MASQ, NODE_PORTS, PROXY_FIREWALL, SERVICES, Tables, affinity_rules, balance,
    destination, endpoint_chain, endpoint_rules, from_pods, mark_cluster_ip, node_port,
};
use crate::plan::Family;
use crate::plan::netfilter::{Match, Rule, Side, Target as Action};
use crate::proxy::endpoints::Named;
use crate::proxy::names;
use crate::proxy::rules::{self, jump, local, rule, source};
use crate::proxy::view::{PortView, View};
use crate::proxy::{Reachable, Target};

/// The chains of a Service's port, and which way traffic takes.
struct Ways<'a> {
    port: &'a PortView<'a>,
    reach: Reachable<'a>,
    svc: String,
    svl: String,
    ext: String,
    fw: String,
    /// Whether there is an endpoint for traffic to the cluster's address.
    internal: bool,
    /// Whether there is one for traffic to an address outside.
    external: bool,
    /// Whether source ranges are looked at.
    firewall: bool,
}

impl<'a> Ways<'a> {
    fn new(view: &View, port: &'a PortView<'a>) -> Self {
        let reach = port.reachable(view);
        let hash = names::service(&port.name, port.protocol().lower());
        let chain = |prefix: &str| format!("KUBE-{prefix}-{hash}");
        // 1.24 has a chain of its own for "no endpoint of this node", so there is always one to go to.
        let old = view.config.minor == 24;
        let local = !reach.local.is_empty() || old;
        Ways {
            internal: reach.any && (!port.internal_local() || local),
            external: reach.any && (!port.external_local() || local),
            firewall: reach.any && !port.ingress.is_empty() && !port.source_ranges.is_empty(),
            svc: chain("SVC"),
            svl: chain("SVL"),
            ext: chain("EXT"),
            fw: chain("FW"),
            port,
            reach,
        }
    }

    /// Where traffic to the cluster's address goes.
    fn internal_chain(&self) -> &str {
        if self.port.internal_local() { &self.svl } else { &self.svc }
    }

    /// Where traffic to an address outside goes, after KUBE-EXT-.
    fn external_chain(&self) -> &str {
        if self.port.external_local() { &self.svl } else { &self.svc }
    }
}

/// All rules of a Service's port.
pub(super) fn service(view: &View, port: &PortView, tables: &mut Tables) {
    let ways = Ways::new(view, port);
    cluster_ip(view, &ways, tables);
    external_ips(view, &ways, tables);
    load_balancer(view, &ways, tables);
    node_ports(view, &ways, tables);
    if ways.internal {
        mark_cluster_ip(view, port, tables, ways.internal_chain());
    }
    if ways.reach.any && port.externally_accessible() {
        external(view, &ways, tables);
    }
    if ways.firewall {
        firewall(view, &ways, tables);
    }
    endpoints(view, &ways, tables);
}

/// What happens to packets for which there is no endpoint: refused if there is none at all, dropped if only this node has
/// none.
fn refusal(view: &View, ways: &Ways) -> (String, Action) {
    match ways.reach.any {
        true => (format!("{} has no local endpoints", ways.port.name), Action::Drop),
        false => (format!("{} has no endpoints", ways.port.name), Action::Reject { v6: view.family == Family::Inet6 }),
    }
}

fn cluster_ip(view: &View, ways: &Ways, tables: &mut Tables) {
    let (port, matches) = (ways.port, destination(ways.port, ways.port.cluster_ip));
    if ways.internal {
        tables.nat.add(SERVICES, rule(&format!("{} cluster IP", port.name), matches, jump(ways.internal_chain())));
    } else {
        let (comment, action) = refusal(view, ways);
        tables.filter.add(SERVICES, rule(&comment, matches, action));
    }
}

fn external_ips(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    for ip in &port.external_ips {
        if ways.reach.any {
            let comment = format!("{} external IP", port.name);
            tables.nat.add(SERVICES, rule(&comment, destination(port, *ip), jump(&ways.ext)));
        }
        if !ways.external {
            let (comment, action) = refusal(view, ways);
            tables.filter.add(EXTERNAL_SERVICES, rule(&comment, destination(port, *ip), action));
        }
    }
}

fn load_balancer(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    for ip in &port.ingress {
        if ways.reach.any {
            let comment = format!("{} loadbalancer IP", port.name);
            let next = if ways.firewall { &ways.fw } else { &ways.ext };
            tables.nat.add(SERVICES, rule(&comment, destination(port, *ip), jump(next)));
        }
        if ways.firewall && view.config.minor >= 25 {
            let comment = format!("{} traffic not accepted by {}", port.name, ways.fw);
            tables.filter.add(PROXY_FIREWALL, rule(&comment, destination(port, *ip), Action::Drop));
        }
    }
    if !ways.external {
        for ip in &port.ingress {
            let (comment, action) = refusal(view, ways);
            tables.filter.add(EXTERNAL_SERVICES, rule(&comment, destination(port, *ip), action));
        }
    }
}

fn node_ports(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    // 1.24 to 1.26 write none where no address of the node takes node ports.
    let nowhere = super::node_port_addresses(view).is_some_and(|addresses| addresses.is_empty());
    if let Some(number) = port.port.node_port.filter(|_| view.config.minor >= 27 || !nowhere) {
        if ways.reach.any {
            tables.nat.add(NODE_PORTS, rule(&port.name, node_port(port, number, None), jump(&ways.ext)));
        }
        if !ways.external {
            let (comment, action) = refusal(view, ways);
            let matches = node_port(port, number, Some(local(Side::Dst, false)));
            tables.filter.add(EXTERNAL_SERVICES, rule(&comment, matches, action));
        }
    }
    if let Some(number) = port.health_check() {
        let comment = format!("{} health check node port", port.name);
        tables.filter.add(NODE_PORTS, rule(&comment, rules::port(6, number).into(), Action::Accept));
    }
}

/// KUBE-EXT-: what comes from outside is masqueraded, or, if it must stay on the node, only what comes from the node.
fn external(view: &View, ways: &Ways, tables: &mut Tables) {
    let (port, chain, nat) = (ways.port, &ways.ext, &mut tables.nat);
    if port.external_local() {
        if let Some(pods) = from_pods(view, false) {
            let comment = format!("pod traffic for {} external destinations", port.name);
            nat.add(chain, rule(&comment, vec![pods], jump(&ways.svc)));
        }
        let own = || vec![local(Side::Src, false)];
        let comment = format!("masquerade LOCAL traffic for {} external destinations", port.name);
        nat.add(chain, rule(&comment, own(), jump(MARK_MASQ)));
        let comment = format!("route LOCAL traffic for {} external destinations", port.name);
        nat.add(chain, rule(&comment, own(), jump(&ways.svc)));
    } else {
        let comment = format!("masquerade traffic for {} external destinations", port.name);
        nat.add(chain, rule(&comment, Vec::new(), jump(MARK_MASQ)));
    }
    if ways.external {
        nat.add(chain, rule("", Vec::new(), jump(ways.external_chain())));
    }
}

/// KUBE-FW-: who may use the load balancer's addresses.
fn firewall(view: &View, ways: &Ways, tables: &mut Tables) {
    let (port, minor) = (ways.port, view.config.minor);
    let comment = format!("{} loadbalancer IP", port.name);
    for range in &port.source_ranges {
        let matches: Vec<Match> = source(*range, false).into_iter().collect();
        tables.nat.add(&ways.fw, rule(&comment, matches, jump(&ways.ext)));
    }
    if view.lets_node_in(port) {
        // The node's own packets to the address have it as their source, too.
        for ip in &port.ingress {
            let own = source((*ip).into(), false).into_iter().collect();
            tables.nat.add(&ways.fw, rule(&comment, own, jump(&ways.ext)));
        }
    }
    match minor {
        24 => tables.nat.add(&ways.fw, rule(&comment, Vec::new(), jump(MARK_DROP))),
        25 | 26 => {}
        _ => {
            let comment = format!("other traffic to {} will be dropped by KUBE-PROXY-FIREWALL", port.name);
            tables.nat.add(&ways.fw, Rule { comments: vec![comment], ..Rule::default() });
        }
    }
}

fn endpoints(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    let large = tables.large;
    let comment = |_: usize, target: &Target| match large {
        true => String::new(),
        false => format!("{} -> {}", port.name, target.to),
    };
    let seen = |target: &Target| comment(0, target);
    let all = Named::all(&ways.reach.all, |target| endpoint_chain(port, target));
    if !ways.reach.cluster.is_empty() {
        let targets = Named::among(&all, &ways.reach.cluster);
        affinity_rules(port, &targets, tables, &ways.svc, seen);
        balance(&targets, tables, &ways.svc, comment);
    }
    let local_in_use = port.internal_local() || (port.external_local() && port.externally_accessible());
    if local_in_use && !ways.reach.local.is_empty() {
        let targets = Named::among(&all, &ways.reach.local);
        affinity_rules(port, &targets, tables, &ways.svl, seen);
        balance(&targets, tables, &ways.svl, comment);
    } else if local_in_use && ways.reach.any && view.config.minor == 24 {
        let comment = format!("{} has no local endpoints", port.name);
        tables.nat.add(&ways.svl, rule(&comment, Vec::new(), jump(MARK_DROP)));
    }
    for target in &all {
        endpoint_rules(port, target, tables);
    }
}
