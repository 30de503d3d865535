//! Rules on packets: what matches, and what comes of it.

use super::*;
use crate::packet::{Ip, Packet};
use crate::plan::netfilter::{IpSet, Member};
use crate::plan::{Address, LinkKind, Role, Scope};

fn link(name: &str, net: &str) -> Link {
    let address = |net: &str| Address { net: net.parse().unwrap(), broadcast: None, scope: Scope::Global };
    let addresses = if net.is_empty() { Vec::new() } else { vec![address(net)] };
    Link { addresses, ..Link::new(name, LinkKind::Bridge) }
}

fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    let policy = (name == "INPUT").then_some(Policy::Accept);
    Chain { name: name.into(), policy, rules }
}

fn rule(matches: Vec<Match>, target: Target) -> Rule {
    Rule { comments: vec!["cali:xyz".into(), "said".into()], matches, target: Some(target), ..Rule::default() }
}

fn namespace(chains: Vec<Chain>) -> Namespace {
    Namespace {
        links: vec![link("ens33", "10.1.10.9/24"), link("cali1", ""), link("tunl0", "10.100.0.1/32")],
        sets: vec![IpSet {
            name: "hosts".into(),
            kind: "hash:net".into(),
            family: crate::plan::Family::Inet,
            capacity: IpSet::CAPACITY,
            members: vec![Member::Net("10.1.10.0/28".parse().unwrap())],
        }],
        tables: vec![Table { name: TableName::Filter, chains }],
        ..Namespace::new("t", "node", "node", Role::Node)
    }
}

fn packet(protocol: u8, src: [u8; 4], dst: [u8; 4], port: u16) -> Packet {
    let ip = Ip::new(src.into(), dst.into(), protocol, 64, 84);
    let transport = if protocol == 17 { Transport::Udp { src: Some(1), dst: Some(port) } } else { Transport::Other };
    Packet { layers: vec![ip], transport, mark: None }
}

fn at<'a>(packet: &'a Packet, chances: &'a mut Chances) -> Inspected<'a> {
    let (incoming, outgoing, through_port, state, is_dnat, mark, met) = (None, None, false, None, false, 0, None);
    Inspected { packet, incoming, outgoing, through_port, state, is_dnat, server: None, mark, chances, met }
}

#[test]
fn chance_is_tried_in_all_ways_and_certainty_in_one() {
    let mut chances = Chances::default();
    let mut all = Vec::new();
    loop {
        // A service of three endpoints: 1/3, else 1/2, else the last one.
        let endpoint = [715_827_883, 1 << 30, 1 << 31].iter().position(|parts| chances.take(*parts));
        all.push(endpoint);
        match chances.next() {
            Some(next) => chances = next,
            None => break,
        }
    }
    assert_eq!(all, [Some(2), Some(1), Some(0)]);
}

/// What INPUT says of a packet from 10.1.10.10 to 10.1.10.9 that came in through ens33, and the mark after it.
fn input(chains: Vec<Chain>, protocol: u8) -> Result<(Verdict, u32)> {
    let ns = namespace(chains);
    let packet = packet(protocol, [10, 1, 10, 10], [10, 1, 10, 9], 4789);
    let incoming = ns.link("ens33");
    let mut chances = Chances::default();
    let mut at = Inspected { incoming, state: Some(CtState::New), mark: 0x2_0001, ..at(&packet, &mut chances) };
    let verdict = evaluate(&ns, TableName::Filter, "INPUT", &mut at)?;
    Ok((verdict, at.mark))
}

fn dropped_if(condition: Match, protocol: u8) -> bool {
    let rules = vec![rule(vec![condition], Target::Drop)];
    matches!(input(vec![chain("INPUT", rules)], protocol), Ok((Verdict::Drop(_), _)))
}

#[test]
fn each_match_tells_what_holds_from_what_does_not() {
    let net = |text: &str| text.parse().unwrap();
    let set = |side, invert| Match::Set { name: "hosts".into(), side, invert };
    let local = |side, invert| Match::AddrTypeLocal { side, invert, limit_iface_out: false };
    let cases = [
        (Match::InInterface { name: "ens33".into() }, true),
        (Match::InInterface { name: "ens+".into() }, true),
        (Match::InInterface { name: "cali+".into() }, false),
        (Match::OutInterface { name: "ens33".into() }, false),
        (Match::Protocol { number: 17 }, true),
        (Match::Protocol { number: 4 }, false),
        (Match::Source { net: net("10.1.10.8/30"), invert: false }, true),
        (Match::Source { net: net("10.1.10.8/30"), invert: true }, false),
        (Match::Destination { net: net("10.1.10.10/32"), invert: false }, false),
        (set(Side::Src, false), true),
        (set(Side::Src, true), false),
        (Match::DestinationPorts { ports: vec![(1, 2), (4780, 4790)] }, true),
        (Match::DestinationPorts { ports: vec![(4790, 4790)] }, false),
        (Match::CtState { states: vec![CtState::New], invert: false }, true),
        (Match::CtState { states: vec![CtState::Dnat], invert: true }, true),
        (Match::CtState { states: vec![CtState::Established], invert: false }, false),
        (local(Side::Dst, false), true),
        (local(Side::Src, false), false),
        (local(Side::Src, true), true),
        (Match::Mark { value: 0x2_0000, mask: 0x2_0000, invert: false }, true),
        (Match::Mark { value: 0, mask: 0x2_0000, invert: false }, false),
        (Match::Mark { value: 0, mask: 0x2_0000, invert: true }, true),
        (Match::RpFilterInvert, false),
    ];
    for (condition, holds) in cases {
        assert_eq!(dropped_if(condition.clone(), 17), holds, "{condition:?}");
    }
}

#[test]
fn chains_return_and_goto_as_iptables_does() {
    let drop_all = || rule(Vec::new(), Target::Drop);
    let jump = |chain: &str| rule(Vec::new(), Target::Jump { chain: chain.into() });
    let goto = |chain: &str| rule(Vec::new(), Target::Goto { chain: chain.into() });
    let back = || rule(Vec::new(), Target::Return);
    // A called chain that returns goes on behind the call.
    let called = vec![chain("INPUT", vec![jump("a"), drop_all()]), chain("a", vec![back(), drop_all()])];
    let Ok((Verdict::Drop(place), _)) = input(called, 17) else { panic!("not dropped") };
    assert_eq!(place.to_string(), "filter/INPUT rule 2 (said)");
    // After a goto the caller is not come back to, but its own caller is.
    let gone = vec![chain("INPUT", vec![jump("a")]), chain("a", vec![goto("b"), drop_all()]), chain("b", vec![back()])];
    assert_eq!(input(gone, 17).unwrap().0, Verdict::Pass);
    let marked = vec![chain("INPUT", vec![rule(Vec::new(), Target::SetMark { value: 0x1_0000, mask: 0xf_0000 })])];
    assert_eq!(input(marked, 17).unwrap(), (Verdict::Pass, 0x1_0001));
}

#[test]
fn what_the_plan_lacks_is_an_error_and_never_ignored() {
    let jump = |chain: &str| rule(Vec::new(), Target::Jump { chain: chain.into() });
    let set = Match::Set { name: "absent".into(), side: Side::Src, invert: false };
    assert!(input(vec![chain("INPUT", vec![rule(vec![set], Target::Drop)])], 17).is_err());
    assert!(input(vec![chain("INPUT", vec![jump("absent")])], 17).is_err());
    assert!(input(vec![chain("INPUT", vec![jump("a")]), chain("a", vec![jump("a")])], 17).is_err());
}

#[test]
fn limit_iface_out_asks_for_the_outgoing_link_s_own_addresses() {
    let condition = |invert| Match::AddrTypeLocal { side: Side::Src, invert, limit_iface_out: true };
    let rules = vec![rule(vec![condition(true)], Target::Masquerade { random_fully: false })];
    let ns = namespace(vec![chain("INPUT", rules)]);
    let verdict = |src: [u8; 4]| {
        let packet = packet(1, src, [10, 1, 10, 10], 0);
        let outgoing = ns.link("tunl0");
        let mut chances = Chances::default();
        let mut at = Inspected { outgoing, ..at(&packet, &mut chances) };
        evaluate(&ns, TableName::Filter, "INPUT", &mut at).unwrap()
    };
    assert_eq!(verdict([10, 100, 0, 1]), Verdict::Pass);
    assert_eq!(verdict([10, 1, 10, 9]), Verdict::Masquerade { random_fully: false });
}
