//! Where a prediction and what was seen part.

use super::*;
use crate::predict::End;

fn frame(ttl: u8, offset: u16) -> Frame {
    let ip = Ip { id: Some(1), offset, ..Ip::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, ttl, 84) };
    let icmp = Transport::Icmp(Icmp::EchoRequest { id: Some(1), seq: 1 });
    let body = Body::Ip(Packet { layers: vec![ip], transport: icmp, mark: None });
    Frame { ethernet: None, body, length: 84 }
}

fn journey(names: &[&str]) -> Journey {
    let hop = |name: &&str| Hop {
        namespace: "n".into(),
        interface: name.to_string(),
        direction: Direction::In,
        frame: frame(64, 0),
        turn: if name.starts_with('+') { Turn::Aside } else { Turn::InOrder },
    };
    let end = End::Delivered { namespace: "n".into() };
    Journey { legs: vec![Leg { purpose: Purpose::Request, hops: names.iter().map(hop).collect(), end }] }
}

fn seen(names: &[&str]) -> Vec<Seen> {
    let one = |(time, name): (usize, &&str)| Seen {
        namespace: "n".into(),
        interface: name.to_string(),
        direction: Direction::In,
        time: time as i64,
        purpose: Purpose::Request,
        frame: frame(64, 0),
    };
    names.iter().enumerate().map(one).collect()
}

fn text(expected: &[&str], found: &[&str]) -> String {
    compare(&journey(expected), &seen(found)).map(|d| d.to_string()).unwrap_or_default()
}

#[test]
fn the_first_divergence_is_named() {
    assert_eq!(text(&["a", "b"], &["a", "b"]), "");
    assert_eq!(text(&["a", "b"], &["a"]), "n/b in: the request not seen; last seen n/a in");
    assert_eq!(text(&["a", "b"], &[]), "n/a in: the request not seen; never sent");
    assert!(
        text(&["a", "b"], &["a", "x"])
            .starts_with("n/b in: the request not seen; last seen n/a in; seen instead n/x in")
    );
    assert!(text(&["a", "b"], &["a", "x", "b"]).starts_with("n/x in: seen where nothing should be"));
    assert!(text(&["a", "b"], &["a", "b", "x"]).starts_with("n/x in: seen where nothing should be"));
    assert!(text(&["a", "b"], &["a", "b", "b"]).starts_with("n/b in: seen where nothing should be"));
    assert!(text(&["a", "b"], &["b", "a"]).starts_with("n/b in: seen where nothing should be"));
    assert!(text(&[], &["a"]).starts_with("n/a in: seen where nothing should be"));
}

#[test]
fn a_copy_may_be_seen_at_any_time_but_must_be_seen() {
    for order in [["a", "+", "b"], ["+", "a", "b"], ["a", "b", "+"]] {
        assert_eq!(text(&["a", "+", "b"], &order), "");
    }
    assert_eq!(text(&["a", "+", "b"], &["a", "b"]), "n/+ in: the request not seen; never sent");
    assert!(text(&["a", "+", "b"], &["a", "b", "+", "+"]).starts_with("n/+ in: seen where nothing should be"));
    assert!(text(&["a", "+", "b"], &["a", "+"]).starts_with("n/b in: the request not seen; last seen n/a in"));
}

#[test]
fn a_field_is_named_with_both_values() {
    let mut found = seen(&["a", "b"]);
    found[1].frame = frame(61, 0);
    let divergence = compare(&journey(&["a", "b"]), &found).unwrap();
    assert_eq!(divergence.to_string(), "n/b in: TTL 61 seen, 64 expected");
    found[1].frame = Frame { length: 85, ..frame(64, 0) };
    assert_eq!(compare(&journey(&["a", "b"]), &found).unwrap().to_string(), "n/b in: length 85 seen, 84 expected");
}

#[test]
fn an_error_that_the_kernel_limits_may_be_absent_but_not_wrong() {
    let error = |code| {
        let mut expected = journey(&["a", "b"]);
        let mut leg = expected.legs[0].clone();
        leg.purpose = Purpose::Error;
        for hop in &mut leg.hops {
            if let Body::Ip(packet) = &mut hop.frame.body {
                packet.transport = Transport::Icmp(Icmp::Unreachable { code, mtu: 0, about: None });
            }
        }
        expected.legs.push(leg);
        expected
    };
    assert_eq!(compare(&error(0), &seen(&["a", "b"])), None);
    assert!(compare(&error(FRAGMENTATION_NEEDED), &seen(&["a", "b"])).is_some());
    let mut found = seen(&["a", "b", "a"]);
    found[2].purpose = Purpose::Error;
    assert!(compare(&error(0), &found).is_some());
}

#[test]
fn an_answer_or_a_fragment_that_nobody_predicted_is_extra() {
    let mut found = seen(&["a", "b", "b"]);
    found[2].purpose = Purpose::Error;
    assert!(matches!(compare(&journey(&["a", "b"]), &found), Some(Divergence::Extra { .. })));
    let mut found = seen(&["a", "b", "b"]);
    found[2].frame = frame(64, 1456);
    assert!(matches!(compare(&journey(&["a", "b"]), &found), Some(Divergence::Extra { .. })));
}
