//! The ipsets of the ipvs mode. All of them are there, also those without members.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::servers::{addresses, node_addresses};
use super::set_name;
use crate::plan::netfilter::IpSet;
use crate::plan::{Family, Member};
use crate::proxy::view::{PortView, View};
use crate::topology::ServiceProtocol;

/// Most members of a set, as `pkg/proxy/ipvs/ipset` makes it.
const CAPACITY: u32 = 65536;

/// A sort of set: its name, its type, and the comment of the rules that ask for it.
pub(super) struct Sort {
    pub name: &'static str,
    pub kind: &'static str,
    pub comment: &'static str,
}

macro_rules! sorts {
    ($($constant:ident = $name:literal, $kind:literal, $comment:literal;)*) => {
        $(pub(super) const $constant: Sort = Sort { name: $name, kind: $kind, comment: $comment };)*
    };
}

sorts! {
    LOOP_BACK = "KUBE-LOOP-BACK", "hash:ip,port,ip", "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose";
    CLUSTER_IP = "KUBE-CLUSTER-IP", "hash:ip,port", "Kubernetes service cluster ip + port for masquerade purpose";
    EXTERNAL_IP = "KUBE-EXTERNAL-IP", "hash:ip,port", "Kubernetes service external ip + port for masquerade and filter purpose";
    EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL", "hash:ip,port", "Kubernetes service external ip + port with externalTrafficPolicy=local";
    LOAD_BALANCER = "KUBE-LOAD-BALANCER", "hash:ip,port", "Kubernetes service lb portal";
    LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW", "hash:ip,port", "Kubernetes service load balancer ip + port for load balancer with sourceRange";
    LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL", "hash:ip,port", "Kubernetes service load balancer ip + port with externalTrafficPolicy=local";
    SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP", "hash:ip,port,ip", "Kubernetes service load balancer ip + port + source IP for packet filter purpose";
    SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR", "hash:ip,port,net", "Kubernetes service load balancer ip + port + source cidr for packet filter purpose";
    NODE_PORT_TCP = "KUBE-NODE-PORT-TCP", "bitmap:port", "Kubernetes nodeport TCP port for masquerade purpose";
    NODE_PORT_LOCAL_TCP = "KUBE-NODE-PORT-LOCAL-TCP", "bitmap:port", "Kubernetes nodeport TCP port with externalTrafficPolicy=local";
    NODE_PORT_UDP = "KUBE-NODE-PORT-UDP", "bitmap:port", "Kubernetes nodeport UDP port for masquerade purpose";
    NODE_PORT_LOCAL_UDP = "KUBE-NODE-PORT-LOCAL-UDP", "bitmap:port", "Kubernetes nodeport UDP port with externalTrafficPolicy=local";
    NODE_PORT_SCTP = "KUBE-NODE-PORT-SCTP-HASH", "hash:ip,port", "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'";
    NODE_PORT_LOCAL_SCTP = "KUBE-NODE-PORT-LOCAL-SCTP-HASH", "hash:ip,port", "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'";
    HEALTH_CHECK = "KUBE-HEALTH-CHECK-NODE-PORT", "bitmap:port", "Kubernetes health check node port";
    IPVS_IPS = "KUBE-IPVS-IPS", "hash:ip", "Addresses on the ipvs interface";
}

/// The sorts that a version has, in the order in which it lists them (`ipsetInfo`).
fn all(minor: u8) -> Vec<&'static Sort> {
    let mut all = vec![
        &LOOP_BACK,
        &CLUSTER_IP,
        &EXTERNAL_IP,
        &EXTERNAL_IP_LOCAL,
        &LOAD_BALANCER,
        &LOAD_BALANCER_FW,
        &LOAD_BALANCER_LOCAL,
        &SOURCE_IP,
        &SOURCE_CIDR,
        &NODE_PORT_TCP,
        &NODE_PORT_LOCAL_TCP,
        &NODE_PORT_UDP,
        &NODE_PORT_LOCAL_UDP,
        &NODE_PORT_SCTP,
        &NODE_PORT_LOCAL_SCTP,
    ];
    if minor >= 21 {
        all.push(&HEALTH_CHECK);
    }
    if minor >= 26 {
        all.push(&IPVS_IPS);
    }
    all
}

/// All sets of one node and family, with their members.
pub fn sets(view: &View) -> Vec<IpSet> {
    let nodes = node_addresses(view);
    all(view.config.minor).into_iter().map(|sort| set(view, sort, &nodes)).collect()
}

fn set(view: &View, sort: &Sort, nodes: &[IpAddr]) -> IpSet {
    let mut members: BTreeSet<Member> = BTreeSet::new();
    match sort.name {
        name if name == IPVS_IPS.name => {
            members.extend(addresses(view).into_iter().map(|ip| Member::Net(ip.into())));
        }
        _ => view.ports.iter().for_each(|port| members.extend(of_port(view, port, sort, nodes))),
    }
    IpSet {
        name: set_name(sort.name, view.family),
        kind: sort.kind.to_owned(),
        // A bitmap of ports has no family.
        family: if sort.kind == "bitmap:port" { Family::Inet } else { view.family },
        capacity: CAPACITY,
        members: members.into_iter().collect(),
    }
}

/// What a Service's port puts into a set.
fn of_port(view: &View, port: &PortView, sort: &Sort, nodes: &[IpAddr]) -> Vec<Member> {
    let (protocol, number) = (port.protocol().number(), port.port.port);
    let at = |ip: &IpAddr| Member::endpoint(*ip, protocol, number);
    let all_at = |ips: &[IpAddr], wanted: bool| ips.iter().filter(|_| wanted).map(at).collect::<Vec<_>>();
    let local = port.external_local();
    let ranged = !port.source_ranges.is_empty();
    match sort.name {
        name if name == LOOP_BACK.name => {
            let own = port.endpoints.iter().filter(|target| target.local).map(|target| target.to);
            own.map(|to| third(to.ip(), protocol, to.port(), to.ip().into())).collect()
        }
        name if name == CLUSTER_IP.name => vec![at(&port.cluster_ip)],
        name if name == EXTERNAL_IP.name => all_at(&port.external_ips, !local),
        name if name == EXTERNAL_IP_LOCAL.name => all_at(&port.external_ips, local),
        name if name == LOAD_BALANCER.name => all_at(&port.ingress, true),
        name if name == LOAD_BALANCER_LOCAL.name => all_at(&port.ingress, local),
        name if name == LOAD_BALANCER_FW.name => all_at(&port.ingress, ranged),
        name if name == SOURCE_IP.name => {
            let ips = port.ingress.iter().filter(|_| ranged && view.lets_node_in(port));
            ips.map(|ip| third(*ip, protocol, number, (*ip).into())).collect()
        }
        name if name == SOURCE_CIDR.name => {
            // ipset takes no prefix of every address: kube-proxy then says so in its log, and goes on without.
            let ranges = || port.source_ranges.iter().filter(|range| range.prefix_len() > 0);
            port.ingress.iter().flat_map(|ip| ranges().map(|range| third(*ip, protocol, number, *range))).collect()
        }
        name if name == HEALTH_CHECK.name => {
            // kube-proxy is done with a Service whose node port no address takes before it comes to this.
            let wanted = port.port.node_port.is_none() || !nodes.is_empty();
            port.health_check().filter(|_| wanted).map(Member::Port).into_iter().collect()
        }
        name => node_port(port, name, nodes),
    }
}

fn third(address: IpAddr, protocol: u8, port: u16, net: ipnet::IpNet) -> Member {
    Member::Endpoint { address, protocol, port, third: Some(net) }
}

/// What a Service's node port puts into one of the sets of node ports.
fn node_port(port: &PortView, set: &str, nodes: &[IpAddr]) -> Vec<Member> {
    let Some(number) = port.port.node_port else { return Vec::new() };
    let (every, local) = match port.protocol() {
        ServiceProtocol::Tcp => (&NODE_PORT_TCP, &NODE_PORT_LOCAL_TCP),
        ServiceProtocol::Udp => (&NODE_PORT_UDP, &NODE_PORT_LOCAL_UDP),
        ServiceProtocol::Sctp => (&NODE_PORT_SCTP, &NODE_PORT_LOCAL_SCTP),
    };
    let wanted = set == every.name || (set == local.name && port.external_local());
    if !wanted || nodes.is_empty() {
        return Vec::new();
    }
    match port.protocol() {
        ServiceProtocol::Sctp => {
            nodes.iter().map(|ip| Member::endpoint(*ip, port.protocol().number(), number)).collect()
        }
        _ => vec![Member::Port(number)],
    }
}
