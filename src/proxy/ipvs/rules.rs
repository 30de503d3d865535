//! The rules of the ipvs mode: how many there are does not depend on how many Services there are.

use super::set_name;
use super::sets::{
    CLUSTER_IP, EXTERNAL_IP, EXTERNAL_IP_LOCAL, HEALTH_CHECK, IPVS_IPS, LOAD_BALANCER, LOAD_BALANCER_FW,
    LOAD_BALANCER_LOCAL, LOOP_BACK, NODE_PORT_LOCAL_SCTP, NODE_PORT_LOCAL_TCP, NODE_PORT_LOCAL_UDP, NODE_PORT_SCTP,
    NODE_PORT_TCP, NODE_PORT_UDP, SOURCE_CIDR, SOURCE_IP, Sort,
};
use crate::plan::Family;
use crate::plan::netfilter::{Chain, CtState, IpSet, Match, Rule, Side, TableName, Target as Action};
use crate::proxy::iptables::{MARK_DROP, MARK_MASQ, POSTROUTING, SERVICES, from_pods, head, masquerade};
use crate::proxy::overlay::{Jump, Overlay};
use crate::proxy::rules::{Chains, jump, local, rule, source, state};
use crate::proxy::view::View;
use crate::topology::ServiceProtocol;

const FORWARD: &str = "KUBE-FORWARD";
const NODE_PORT: &str = "KUBE-NODE-PORT";
const BALANCER: &str = "KUBE-LOAD-BALANCER";
/// In `nat`, up to 1.24.
const FIREWALL: &str = "KUBE-FIREWALL";
const PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const SOURCE_RANGES: &str = "KUBE-SOURCE-RANGES-FIREWALL";
const FILTER: &str = "KUBE-IPVS-FILTER";
const OUT_FILTER: &str = "KUBE-IPVS-OUT-FILTER";

const DST: &[Side] = &[Side::Dst];
const DST_DST: &[Side] = &[Side::Dst, Side::Dst];
const SRC_DST: &[Side] = &[Side::Src, Side::Dst];
const DST_DST_SRC: &[Side] = &[Side::Dst, Side::Dst, Side::Src];

/// The chains under construction.
struct Tables<'v> {
    view: &'v View<'v>,
    sets: &'v [IpSet],
    nat: Chains,
    filter: Chains,
}

/// kube-proxy's chains of one node and family, and the jumps to them.
pub(super) fn overlay(view: &View, sets: &[IpSet]) -> Overlay {
    let mut tables = Tables { view, sets, nat: Chains::default(), filter: Chains::default() };
    tables.declare();
    if view.config.minor >= 26 {
        let own = source(view.family.loopback(), false).into_iter().collect();
        tables.nat.add(SERVICES, rule("", own, Action::Return));
    }
    tables.of_sets();
    tables.cluster_ips();
    tables.external_ips();
    tables.nat.add(SERVICES, rule("", vec![local(Side::Dst, false)], jump(NODE_PORT)));
    tables.nat.add(BALANCER, rule("", Vec::new(), jump(MARK_MASQ)));
    match view.config.minor {
        ..=24 => tables.nat.add(FIREWALL, rule("", Vec::new(), jump(MARK_DROP))),
        _ => tables.filter.add(SOURCE_RANGES, rule("", Vec::new(), Action::Drop)),
    }
    if view.config.minor >= 29 {
        tables.kept_from_nodes();
    }
    for sort in [&CLUSTER_IP, &LOAD_BALANCER].into_iter().filter(|sort| tables.has_members(sort)).collect::<Vec<_>>() {
        let found = tables.in_set(sort, DST_DST);
        tables.nat.add(SERVICES, rule("", vec![found], Action::Accept));
    }
    tables.forward();
    tables.access();
    masquerade(&mut tables.nat, 1 << view.config.masquerade_bit, view.config.random_fully);
    let named = |name: TableName, chains: Chains| chains.into_chains().into_iter().map(move |chain| (name, chain));
    let chains: Vec<(TableName, Chain)> =
        named(TableName::Nat, tables.nat).chain(named(TableName::Filter, tables.filter)).collect();
    Overlay { chains, jumps: jumps(view.config.minor) }
}

/// The rules in built-in chains (`iptablesJumpChain`), each put to the head of its chain in this order.
fn jumps(minor: u8) -> Vec<Jump> {
    let to = |table, from: &str, chain: &str, comment: &str| head(table, from, rule(comment, Vec::new(), jump(chain)));
    let (nat, filter) = (TableName::Nat, TableName::Filter);
    let mut all = vec![
        to(nat, "OUTPUT", SERVICES, "kubernetes service portals"),
        to(nat, "PREROUTING", SERVICES, "kubernetes service portals"),
        to(nat, "POSTROUTING", POSTROUTING, "kubernetes postrouting rules"),
        to(filter, "FORWARD", FORWARD, "kubernetes forwarding rules"),
    ];
    if minor >= 21 {
        all.push(to(filter, "INPUT", NODE_PORT, "kubernetes health check rules"));
    }
    if minor >= 25 {
        all.push(to(filter, "INPUT", PROXY_FIREWALL, "kube-proxy firewall rules"));
        all.push(to(filter, "FORWARD", PROXY_FIREWALL, "kube-proxy firewall rules"));
    }
    if minor >= 26 {
        all.push(to(filter, "INPUT", FILTER, "kubernetes ipvs access filter"));
    }
    if minor >= 29 {
        all.push(to(filter, "OUTPUT", OUT_FILTER, "kubernetes ipvs access filter"));
    }
    all
}

impl Tables<'_> {
    /// All chains are there, also those without rules.
    fn declare(&mut self) {
        let minor = self.view.config.minor;
        [SERVICES, POSTROUTING, NODE_PORT, BALANCER, MARK_MASQ].iter().for_each(|chain| self.nat.declare(chain));
        self.filter.declare(FORWARD);
        if minor <= 24 {
            self.nat.declare(FIREWALL);
            self.nat.declare(MARK_DROP);
        }
        let newer = [(21, NODE_PORT), (25, PROXY_FIREWALL), (25, SOURCE_RANGES), (26, FILTER), (29, OUT_FILTER)];
        newer.iter().filter(|(since, _)| minor >= *since).for_each(|(_, chain)| self.filter.declare(chain));
    }

    /// Whether a set has a member: the rules about it are there only then. kube-proxy goes by what it put there: a range
    /// of everybody counts, though ipset does not take it.
    fn has_members(&self, sort: &Sort) -> bool {
        if sort.name == SOURCE_CIDR.name {
            return self.view.ports.iter().any(|port| !port.source_ranges.is_empty() && !port.ingress.is_empty());
        }
        let name = set_name(sort.name, self.view.family);
        self.sets.iter().any(|set| set.name == name && !set.members.is_empty())
    }

    fn in_set(&self, sort: &Sort, sides: &[Side]) -> Match {
        Match::SetOf { name: set_name(sort.name, self.view.family), sides: sides.to_vec(), invert: false }
    }

    /// One rule for each set that has members (`ipsetWithIptablesChain`).
    fn of_sets(&mut self) {
        let (nat, filter, minor) = (TableName::Nat, TableName::Filter, self.view.config.minor);
        let (tcp, udp, sctp) = (Some(ServiceProtocol::Tcp), Some(ServiceProtocol::Udp), Some(ServiceProtocol::Sctp));
        let masq = || jump(MARK_MASQ);
        let hairpin = Action::Masquerade { random_fully: false };
        let mut all = vec![
            (&LOOP_BACK, nat, POSTROUTING, hairpin, DST_DST_SRC, None),
            (&LOAD_BALANCER, nat, SERVICES, jump(BALANCER), DST_DST, None),
        ];
        if minor <= 24 {
            all.push((&LOAD_BALANCER_FW, nat, BALANCER, jump(FIREWALL), DST_DST, None));
            all.push((&SOURCE_CIDR, nat, FIREWALL, Action::Return, DST_DST_SRC, None));
            all.push((&SOURCE_IP, nat, FIREWALL, Action::Return, DST_DST_SRC, None));
        }
        all.extend([
            (&LOAD_BALANCER_LOCAL, nat, BALANCER, Action::Return, DST_DST, None),
            (&NODE_PORT_LOCAL_TCP, nat, NODE_PORT, Action::Return, DST, tcp),
            (&NODE_PORT_TCP, nat, NODE_PORT, masq(), DST, tcp),
            (&NODE_PORT_LOCAL_UDP, nat, NODE_PORT, Action::Return, DST, udp),
            (&NODE_PORT_UDP, nat, NODE_PORT, masq(), DST, udp),
        ]);
        let stays = (&NODE_PORT_LOCAL_SCTP, nat, NODE_PORT, Action::Return, DST_DST, sctp);
        let every = (&NODE_PORT_SCTP, nat, NODE_PORT, masq(), DST_DST, sctp);
        // 1.20 has these two the wrong way round.
        all.extend(if minor <= 20 { [every, stays] } else { [stays, every] });
        if minor >= 25 {
            all.push((&LOAD_BALANCER_FW, filter, PROXY_FIREWALL, jump(SOURCE_RANGES), DST_DST, None));
            all.push((&SOURCE_CIDR, filter, SOURCE_RANGES, Action::Return, DST_DST_SRC, None));
            all.push((&SOURCE_IP, filter, SOURCE_RANGES, Action::Return, DST_DST_SRC, None));
        }
        for (sort, table, chain, action, sides, protocol) in all {
            if !self.has_members(sort) {
                continue;
            }
            let protocol = protocol.map(|protocol| Match::Protocol { number: protocol.number() });
            let matches = protocol.into_iter().chain([self.in_set(sort, sides)]).collect();
            self.add(table, chain, rule(sort.comment, matches, action));
        }
    }

    fn add(&mut self, table: TableName, chain: &str, rule: Rule) {
        let chains = if table == TableName::Nat { &mut self.nat } else { &mut self.filter };
        chains.add(chain, rule);
    }

    /// Marks what goes to a cluster address and does not come from a pod, or all of it. If kube-proxy cannot tell, only
    /// what comes from such an address: the node itself takes one for its own.
    fn cluster_ips(&mut self) {
        if !self.has_members(&CLUSTER_IP) {
            return;
        }
        let others = from_pods(self.view, true);
        let matches = match (self.view.config.masquerade_all, others) {
            (true, _) => vec![self.in_set(&CLUSTER_IP, DST_DST)],
            (false, Some(others)) => vec![self.in_set(&CLUSTER_IP, DST_DST), others],
            (false, None) => vec![self.in_set(&CLUSTER_IP, SRC_DST)],
        };
        self.nat.add(SERVICES, rule(CLUSTER_IP.comment, matches, jump(MARK_MASQ)));
    }

    fn external_ips(&mut self) {
        for (sort, marked) in [(&EXTERNAL_IP, true), (&EXTERNAL_IP_LOCAL, false)] {
            if !self.has_members(sort) {
                continue;
            }
            let found = self.in_set(sort, DST_DST);
            if marked {
                self.nat.add(SERVICES, rule(sort.comment, vec![found.clone()], jump(MARK_MASQ)));
            }
            // Not what bridges forward, nor what the node sends to another host that has the address.
            let foreign = vec![found.clone(), Match::PhysdevIsIn { invert: true }, local(Side::Src, true)];
            self.nat.add(SERVICES, rule(sort.comment, foreign, Action::Accept));
            self.nat.add(SERVICES, rule(sort.comment, vec![found, local(Side::Dst, false)], Action::Accept));
        }
    }

    /// A node that no source range lets in is kept from the load balancer: what it sends there has that address itself.
    fn kept_from_nodes(&mut self) {
        let view = self.view;
        for port in view.ports.iter().filter(|port| !port.source_ranges.is_empty() && !view.lets_node_in(port)) {
            for ip in &port.ingress {
                let (protocol, number) = (port.protocol().number(), port.port.port);
                let own = source((*ip).into(), false);
                let balanced = Match::Ipvs { address: *ip, protocol, port: number };
                self.filter.add(OUT_FILTER, rule("", own.into_iter().chain([balanced]).collect(), Action::Drop));
            }
        }
    }

    fn forward(&mut self) {
        let (minor, mark) = (self.view.config.minor, 1u32 << self.view.config.masquerade_bit);
        let marked = Match::Mark { value: mark, mask: mark, invert: false };
        self.filter.add(FORWARD, rule("kubernetes forwarding rules", vec![marked], Action::Accept));
        let comments: &[&str] = match minor {
            ..=22 => &["conntrack pod source rule", "conntrack pod destination rule"],
            _ => &["conntrack rule"],
        };
        for comment in comments {
            let known = state(&[CtState::Related, CtState::Established], false);
            self.filter.add(FORWARD, rule(&format!("kubernetes forwarding {comment}"), vec![known], Action::Accept));
        }
    }

    /// Who may come to the host through the addresses of Services: to their ports alone.
    fn access(&mut self) {
        let minor = self.view.config.minor;
        if minor >= 21 {
            let checked = self.in_set(&HEALTH_CHECK, DST);
            self.filter.add(NODE_PORT, rule(HEALTH_CHECK.comment, vec![checked], Action::Accept));
        }
        if minor < 26 {
            return;
        }
        let open = [
            (&LOAD_BALANCER, DST_DST),
            (&CLUSTER_IP, DST_DST),
            (&EXTERNAL_IP, DST_DST),
            (&EXTERNAL_IP_LOCAL, DST_DST),
            (&HEALTH_CHECK, DST),
        ];
        // 1.26 and 1.27 forgot the third of them (kubernetes PR 121919, picked to 1.28).
        for (sort, sides) in open.into_iter().filter(|(sort, _)| minor >= 28 || sort.name != EXTERNAL_IP_LOCAL.name) {
            let found = self.in_set(sort, sides);
            self.filter.add(FILTER, rule("", vec![found], Action::Return));
        }
        let refused = vec![state(&[CtState::New], false), self.in_set(&IPVS_IPS, DST)];
        self.filter.add(FILTER, rule("", refused, Action::Reject { v6: self.view.family == Family::Inet6 }));
    }
}
