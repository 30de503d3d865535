//! Where IPv6 packets go by the plans of the built-in dual-stack topologies, and by such plans with one thing changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use minik::cni;
use minik::packet::build::{self, Message, Probe};
use minik::packet::{Icmp, Mark, Transport, decode};
use minik::plan::netfilter::{Family, Match, Policy, Rule, TableName, Target};
use minik::plan::{Datapath, Namespace, Plan, Role, Route};
use minik::predict::{self, End, Flow, Hop, Journey, Origin, Port, Purpose, Reason};
use minik::topology;

fn plan(builtin: &str) -> Plan {
    let builtin = topology::builtin::find(builtin).unwrap_or_else(|error| panic!("{error}"));
    let cluster = topology::parse(&[builtin.source()], &topology::Overrides::default());
    cni::plan(&cluster.unwrap_or_else(|error| panic!("{error}")), Datapath::Kernel).unwrap()
}

fn pod<'a>(plan: &'a Plan, node: &str) -> &'a Namespace {
    plan.pods().find(|pod| matches!(&pod.role, Role::Pod { node: on, .. } if on == node)).unwrap()
}

fn six(ns: &Namespace) -> IpAddr {
    ns.address_in(Family::Inet6).unwrap()
}

fn named<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Namespace {
    plan.namespaces.iter_mut().find(|ns| ns.name == name).unwrap()
}

struct Sent {
    dst: IpAddr,
    length: u16,
    hops: u8,
    message: Message,
}

fn ping(dst: IpAddr) -> Sent {
    Sent { dst, length: 104, hops: 64, message: Message::Echo { id: 7, seq: 1 } }
}

fn go(plan: &Plan, from: &str, sent: Sent) -> Journey {
    let Sent { dst, length, hops: ttl, message } = sent;
    let src = "::".parse().unwrap();
    let probe = Probe { src, dst, ttl, id: 7, dont_fragment: false, length, message, mark: Mark(1) };
    let packet = decode::ip(&build::ip(&probe).unwrap(), &decode::Tunnels::default()).unwrap();
    let flow = Flow { from: from.to_owned(), origin: Origin::Stack, packet, fragments: None, port: Port::Closed };
    predict::predict(plan, &flow).unwrap()
}

/// `node-1/ens33 118` for what leaves a node's NIC.
fn on_wires(hops: &[Hop]) -> Vec<String> {
    let wires = hops.iter().filter(|hop| hop.interface == "ens33" && hop.to_string().ends_with("out"));
    wires.map(|hop| format!("{}/{} {}", hop.namespace, hop.interface, hop.frame.length)).collect()
}

/// What an ICMP error says, and who says it.
fn told(journey: &Journey) -> (String, String) {
    let leg = journey.legs.iter().find(|leg| leg.purpose == Purpose::Error).unwrap();
    let packet = leg.hops.last().unwrap().frame.packet().unwrap();
    let Transport::Icmp(icmp) = &packet.transport else { panic!("no ICMP") };
    (icmp.words(true).to_string(), packet.outer().unwrap().src.to_string())
}

#[test]
fn without_a_tunnel_it_goes_as_it_is_and_every_node_takes_one_hop() {
    for builtin in ["calico-bgp-dualstack", "flannel-host-gw-dualstack"] {
        let plan = plan(builtin);
        let journey = go(&plan, &pod(&plan, "node-1").name, ping(six(pod(&plan, "node-2"))));
        assert!(journey.answered(), "{builtin}");
        assert_eq!(on_wires(&journey.legs[0].hops), ["node-1/ens33 118"], "{builtin}");
        let arrived = *journey.legs[0].hops.last().unwrap().frame.packet().unwrap().outer().unwrap();
        assert_eq!((arrived.ttl, arrived.src), (62, six(pod(&plan, "node-1"))), "{builtin}");
    }
}

#[test]
fn vxlan_puts_seventy_bytes_of_ipv6_around() {
    for (builtin, port) in [("calico-vxlan-dualstack", 4789), ("flannel-vxlan-dualstack", 8472)] {
        let plan = plan(builtin);
        let journey = go(&plan, &pod(&plan, "node-1").name, ping(six(pod(&plan, "node-2"))));
        assert!(journey.answered(), "{builtin}");
        assert_eq!(on_wires(&journey.legs[0].hops), ["node-1/ens33 188"], "{builtin}");
        let wire = journey.legs[0].hops.iter().find(|hop| hop.interface == "ens33").unwrap();
        let packet = wire.frame.packet().unwrap();
        let ends = packet.outer().map(|ip| (ip.src.to_string(), ip.dst.to_string())).unwrap();
        assert_eq!(ends, ("fd00:10:1:10::9".to_owned(), "fd00:10:1:10::10".to_owned()), "{builtin}");
        assert!(matches!(packet.transport, Transport::Tunnel { dst: Some(dst), .. } if dst == port), "{builtin}");
        assert!(packet.headers().all(|ip| ip.is_v6()), "{builtin}");
    }
}

#[test]
fn what_does_not_get_on_is_told_in_the_words_of_ipv6() {
    let plan = plan("calico-vxlan-dualstack");
    let (from, to) = (pod(&plan, "node-1").name.clone(), six(pod(&plan, "node-2")));
    let journey = go(&plan, &from, Sent { hops: 1, ..ping(to) });
    assert_eq!(told(&journey).0, format!("ICMP6, time exceeded in-transit for {to}"));
    assert!(matches!(journey.legs[0].end, End::Dropped { reason: Reason::TimeExceeded, .. }));
    let journey = go(&plan, &from, Sent { message: Message::Udp { src: 5, dst: 6 }, ..ping(to) });
    // It comes from where it was asked, not from the node.
    assert_eq!(
        told(&journey),
        (format!("ICMP6, destination unreachable, unreachable port, {to} udp port 6"), to.to_string())
    );
    let nowhere: IpAddr = "fd77::1".parse().unwrap();
    let mut plan = plan;
    named(&mut plan, "node-1").routes.retain(|route| route.dst.prefix_len() > 0);
    let journey = go(&plan, &from, ping(nowhere));
    assert_eq!(told(&journey).0, format!("ICMP6, destination unreachable, unreachable route {nowhere}"));
}

#[test]
fn nobody_on_the_way_splits_a_packet_and_its_sender_does() {
    let mut plan = plan("calico-bgp-dualstack");
    let (from, to) = (pod(&plan, "node-1").name.clone(), six(pod(&plan, "node-2")));
    // Longer than the sender's own link: two pieces leave it.
    let journey = go(&plan, &from, Sent { length: 1501, ..ping(to) });
    assert!(journey.answered());
    let first: Vec<String> =
        journey.legs[0].hops.iter().take(2).map(|hop| hop.frame.packet().unwrap().to_string()).collect();
    assert!(first[0].contains("frag (0|1448) ICMP6, echo request"), "{first:?}");
    assert!(first[1].ends_with("frag (1448|13)"), "{first:?}");
    // Longer than a link on the way: the node says so and drops it.
    let nic = named(&mut plan, "node-1").links.iter_mut().find(|link| link.name == "ens33").unwrap();
    nic.mtu = Some(1400);
    let journey = go(&plan, &from, Sent { length: 1500, ..ping(to) });
    assert_eq!(told(&journey).0, "ICMP6, packet too big, mtu 1400");
    let error = &journey.legs[1].hops.last().unwrap().frame;
    assert_eq!(error.packet().unwrap().outer().unwrap().length, 1280, "quoted as far as the smallest MTU lets it");
    let Transport::Icmp(Icmp::TooBig { mtu, .. }) = error.packet().unwrap().transport else { panic!("not that error") };
    assert_eq!(mtu, 1400);
}

#[test]
fn rules_of_one_family_leave_the_other_alone() {
    let mut plan = plan("calico-bgp-dualstack");
    let drop = |matches: Vec<Match>, target: Target| Rule { matches, target: Some(target), ..Rule::default() };
    let node = named(&mut plan, "node-1");
    node.table(TableName::Filter).chain("FORWARD").rules.insert(0, drop(Vec::new(), Target::Drop));
    let (from, to) = (pod(&plan, "node-1").name.clone(), six(pod(&plan, "node-2")));
    assert!(go(&plan, &from, ping(to)).answered());
    let refused = drop(vec![Match::Protocol { number: 58 }], Target::Reject { v6: true });
    named(&mut plan, "node-1").table_in(Family::Inet6, TableName::Filter).chain("FORWARD").rules.insert(0, refused);
    let journey = go(&plan, &from, ping(to));
    let End::Dropped { namespace, reason: Reason::Rejected(place) } = &journey.legs[0].end else { panic!("passed") };
    assert_eq!((namespace.as_str(), place.chain.as_str(), place.rule), ("node-1", "FORWARD", Some(1)));
    assert!(told(&journey).0.starts_with("ICMP6, destination unreachable, unreachable port"));
}

#[test]
fn a_question_that_rules_drop_has_no_answer() {
    let mut plan = plan("calico-bgp-dualstack");
    let from = pod(&plan, "node-1");
    let (from, own) = (from.name.clone(), six(from));
    let gateway: IpAddr = "fe80::ecee:eeff:feee:eeee".parse().unwrap();
    let asked = |plan: &Plan| predict::who_has(plan, &from, "eth0", own, gateway).unwrap();
    assert!(asked(&plan).answered());
    let solicitation = Rule {
        matches: vec![Match::Protocol { number: 58 }, Match::Icmp6Type { number: 135 }],
        target: Some(Target::Drop),
        ..Rule::default()
    };
    let node = named(&mut plan, "node-1");
    let chain = node.table_in(Family::Inet6, TableName::Filter).chain("INPUT");
    assert_eq!(chain.policy, Some(Policy::Accept));
    chain.rules.insert(0, solicitation);
    let journey = asked(&plan);
    assert!(
        matches!(&journey.legs[0].end, End::Dropped { namespace, reason: Reason::Rule(_) } if namespace == "node-1")
    );
    assert_eq!(journey.legs.len(), 1);
}

#[test]
fn what_a_vxlan_device_does_not_know_goes_nowhere() {
    let mut plan = plan("flannel-vxlan-dualstack");
    let (from, to) = (pod(&plan, "node-1").name.clone(), six(pod(&plan, "node-2")));
    let end = |plan: &Plan| match go(plan, &from, ping(to)).legs.remove(0).end {
        End::Dropped { namespace, reason } => (namespace, reason),
        End::Delivered { namespace } => panic!("delivered to {namespace}"),
    };
    let node = named(&mut plan, "node-1");
    let (fdb, neighbours) = (node.fdb.clone(), node.neighbours.clone());
    node.fdb.retain(|entry| entry.dst.is_ipv4());
    let (namespace, reason) = end(&plan);
    assert!(matches!(&reason, Reason::NoFdb { interface, .. } if interface == "flannel-v6.1"), "{namespace}: {reason}");
    let node = named(&mut plan, "node-1");
    node.fdb = fdb;
    node.neighbours.retain(|neighbour| neighbour.address.is_ipv4());
    let (_, reason) = end(&plan);
    assert!(reason.to_string().starts_with("nobody answers neighbour solicitations for fd00:10:244:"), "{reason}");
    let node = named(&mut plan, "node-1");
    node.neighbours = neighbours;
    let blocks: Vec<_> = node.routes.iter().filter(|route| route.dst.contains(&to)).map(|route| route.dst).collect();
    let longest = *blocks.iter().max_by_key(|block| block.prefix_len()).unwrap();
    node.routes.retain(|route| route.dst != longest);
    node.routes.push(Route::blackhole(longest));
    assert_eq!(end(&plan), ("node-1".to_owned(), Reason::Blackhole(longest)));
}

#[test]
fn pods_leave_the_cluster_with_their_nodes_address() {
    for builtin in ["calico-bgp-dualstack", "flannel-vxlan-dualstack"] {
        let plan = plan(builtin);
        let client = six(plan.namespaces.iter().find(|ns| ns.role == Role::Client).unwrap());
        let journey = go(&plan, &pod(&plan, "node-1").name, ping(client));
        assert!(journey.answered(), "{builtin}");
        let seen = *journey.legs[0].hops.last().unwrap().frame.packet().unwrap().outer().unwrap();
        assert_eq!(seen.src.to_string(), "fd00:10:1:10::9", "{builtin}");
        let back = *journey.legs[1].hops.last().unwrap().frame.packet().unwrap().outer().unwrap();
        assert_eq!((back.src, back.dst), (client, six(pod(&plan, "node-1"))), "{builtin}");
    }
}
