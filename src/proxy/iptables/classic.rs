//! The rules of a Service from 1.20 to 1.23.
//!
//! KUBE-SVC- shares packets among all endpoints. With `externalTrafficPolicy: Local`, what comes to an address outside
//! passes KUBE-XLB- with the endpoints of the node. KUBE-FW- stands before every load balancer address. What must be
//! masqueraded is marked on the way there, and from 1.22 on in the Service's own chain.

use super::{
    EXTERNAL_SERVICES, MARK_DROP, MARK_MASQ, NODE_PORTS, SERVICES, Tables, affinity_rules, balance, destination,
    endpoint_chain, endpoint_rules, from_pods, mark_cluster_ip, node_port,
};
use crate::plan::Family;
use crate::plan::netfilter::{Match, Side, Target as Action};
use crate::proxy::endpoints::Named;
use crate::proxy::names;
use crate::proxy::rules::{self, jump, local, rule, source};
use crate::proxy::view::{PortView, View};
use crate::proxy::{Target, iptables};

/// A Service's port with its chains.
struct Ways<'a> {
    port: &'a PortView<'a>,
    /// The endpoints in use.
    targets: Vec<&'a Target>,
    svc: String,
    xlb: String,
    fw: String,
    /// Whether what comes from outside stays on the node.
    local: bool,
}

/// All rules of a Service's port.
pub(super) fn service(view: &View, port: &PortView, tables: &mut Tables) {
    let hash = names::service(&port.name, port.protocol().lower());
    let external = matches!(
        port.service.kind,
        crate::topology::ServiceKind::NodePort | crate::topology::ServiceKind::LoadBalancer
    );
    let local = port.external_local() && external;
    // 1.22 and 1.23 take endpoints of other nodes away where traffic inside must stay on the node.
    let near_only = view.config.minor >= 22 && port.internal_local() && !local;
    let ways = Ways {
        port,
        targets: port.endpoints.iter().filter(|target| target.local || !near_only).collect(),
        svc: format!("KUBE-SVC-{hash}"),
        xlb: format!("KUBE-XLB-{hash}"),
        fw: format!("KUBE-FW-{hash}"),
        local,
    };
    let some = !ways.targets.is_empty();
    if some {
        tables.nat.declare(&ways.svc);
    }
    if local {
        tables.nat.declare(&ways.xlb);
    }
    cluster_ip(view, &ways, tables);
    external_ips(view, &ways, tables);
    load_balancer(view, &ways, tables);
    // Up to 1.22 the loop over Services goes on with the next one where no address of the node takes node ports.
    let nowhere = iptables::node_port_addresses(view).is_some_and(|addresses| addresses.is_empty());
    if port.port.node_port.is_some() && nowhere && view.config.minor <= 22 {
        return;
    }
    node_ports(view, &ways, tables, nowhere);
    if let Some(number) = port.health_check().filter(|_| view.config.minor >= 21) {
        let comment = format!("{} health check node port", port.name);
        tables.filter.add(NODE_PORTS, rule(&comment, rules::port(6, number).into(), Action::Accept));
    }
    if some {
        endpoints(view, &ways, tables);
    }
}

/// What nobody is behind is refused.
fn refuse(view: &View, ways: &Ways, matches: Vec<Match>, chain: &str, tables: &mut Tables) {
    let action = Action::Reject { v6: view.family == Family::Inet6 };
    tables.filter.add(chain, rule(&format!("{} has no endpoints", ways.port.name), matches, action));
}

fn cluster_ip(view: &View, ways: &Ways, tables: &mut Tables) {
    let (port, matches) = (ways.port, destination(ways.port, ways.port.cluster_ip));
    if ways.targets.is_empty() {
        return refuse(view, ways, matches, SERVICES, tables);
    }
    let marking = if view.config.minor >= 22 { &ways.svc } else { SERVICES };
    mark_cluster_ip(view, port, tables, marking);
    tables.nat.add(SERVICES, rule(&format!("{} cluster IP", port.name), matches, jump(&ways.svc)));
}

fn external_ips(view: &View, ways: &Ways, tables: &mut Tables) {
    let (port, minor) = (ways.port, view.config.minor);
    let next = if ways.local { &ways.xlb } else { &ways.svc };
    let comment = format!("{} external IP", port.name);
    for ip in &port.external_ips {
        let matches = destination(port, *ip);
        if ways.targets.is_empty() {
            refuse(view, ways, matches, EXTERNAL_SERVICES, tables);
            continue;
        }
        if !ways.local {
            // From 1.21 on, pods reach it unmasqueraded.
            let others = if minor >= 21 { from_pods(view, true) } else { None };
            let marked = matches.iter().cloned().chain(others).collect();
            let marking = if minor >= 22 { &ways.svc } else { SERVICES };
            tables.nat.add(marking, rule(&comment, marked, jump(MARK_MASQ)));
        }
        if minor >= 21 {
            tables.nat.add(SERVICES, rule(&comment, matches, jump(next)));
            continue;
        }
        // Not what bridges forward, nor what the node sends to another host that has the address.
        let foreign = [Match::PhysdevIsIn { invert: true }, local(Side::Src, true)];
        tables.nat.add(SERVICES, rule(&comment, matches.iter().cloned().chain(foreign).collect(), jump(next)));
        let own = matches.into_iter().chain([local(Side::Dst, false)]).collect();
        tables.nat.add(SERVICES, rule(&comment, own, jump(next)));
    }
}

fn load_balancer(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    let comment = format!("{} loadbalancer IP", port.name);
    let next = if ways.local { &ways.xlb } else { &ways.svc };
    for ip in &port.ingress {
        let matches = destination(port, *ip);
        if ways.targets.is_empty() {
            refuse(view, ways, matches, EXTERNAL_SERVICES, tables);
            continue;
        }
        tables.nat.add(SERVICES, rule(&comment, matches, jump(&ways.fw)));
        // All of this is appended once more for every address.
        let nat = &mut tables.nat;
        if !ways.local {
            nat.add(&ways.fw, rule(&comment, Vec::new(), jump(MARK_MASQ)));
        }
        if port.source_ranges.is_empty() {
            nat.add(&ways.fw, rule(&comment, Vec::new(), jump(next)));
        }
        for range in &port.source_ranges {
            nat.add(&ways.fw, rule(&comment, source(*range, false).into_iter().collect(), jump(next)));
        }
        if !port.source_ranges.is_empty() && view.lets_node_in(port) {
            nat.add(&ways.fw, rule(&comment, source((*ip).into(), false).into_iter().collect(), jump(next)));
        }
        nat.add(&ways.fw, rule(&comment, Vec::new(), jump(MARK_DROP)));
    }
}

fn node_ports(view: &View, ways: &Ways, tables: &mut Tables, nowhere: bool) {
    let port = ways.port;
    let Some(number) = port.port.node_port.filter(|_| !nowhere) else { return };
    let matches = node_port(port, number, None);
    if ways.targets.is_empty() {
        let matches = node_port(port, number, Some(local(Side::Dst, false)));
        return refuse(view, ways, matches, EXTERNAL_SERVICES, tables);
    }
    let nat = &mut tables.nat;
    if ways.local {
        let own = source(view.family.loopback(), false).into_iter().chain(matches.iter().cloned()).collect();
        nat.add(NODE_PORTS, rule(&port.name, own, jump(MARK_MASQ)));
        nat.add(NODE_PORTS, rule(&port.name, matches, jump(&ways.xlb)));
    } else {
        let marking = if view.config.minor >= 22 { &ways.svc } else { NODE_PORTS };
        nat.add(marking, rule(&port.name, matches.clone(), jump(MARK_MASQ)));
        nat.add(NODE_PORTS, rule(&port.name, matches, jump(&ways.svc)));
    }
}

fn endpoints(view: &View, ways: &Ways, tables: &mut Tables) {
    let port = ways.port;
    let comment = tables.comment(port.name.clone());
    let all = Named::all(&ways.targets, |target| endpoint_chain(port, target));
    let targets: Vec<&Named> = all.iter().collect();
    affinity_rules(port, &targets, tables, &ways.svc, |_| comment.clone());
    balance(&targets, tables, &ways.svc, |_, _| comment.clone());
    for target in &all {
        endpoint_rules(port, target, tables);
    }
    if ways.local {
        stay_here(view, ways, &targets, tables);
    }
}

/// KUBE-XLB-: pods and the node itself are served by every endpoint, all others by the node's own.
fn stay_here(view: &View, ways: &Ways, targets: &[&Named], tables: &mut Tables) {
    let (port, chain) = (ways.port, &ways.xlb);
    if let Some(pods) = from_pods(view, false) {
        let comment = "Redirect pods trying to reach external loadbalancer VIP to clusterIP";
        tables.nat.add(chain, rule(comment, vec![pods], jump(&ways.svc)));
    }
    let own = || vec![local(Side::Src, false)];
    let comment = format!("masquerade LOCAL traffic for {} LB IP", port.name);
    tables.nat.add(chain, rule(&comment, own(), jump(MARK_MASQ)));
    let comment = format!("route LOCAL traffic for {} LB IP to service chain", port.name);
    tables.nat.add(chain, rule(&comment, own(), jump(&ways.svc)));
    let here: Vec<&Named> = targets.iter().copied().filter(|named| named.target.local).collect();
    if here.is_empty() {
        let comment = format!("{} has no local endpoints", port.name);
        tables.nat.add(chain, rule(&comment, Vec::new(), jump(MARK_DROP)));
        return;
    }
    affinity_rules(port, &here, tables, chain, |_| port.name.clone());
    balance(&here, tables, chain, |index, _| format!("Balancing rule {index} for {}", port.name));
}
