//! What was seen, in the order in which it passed. PURE.

use super::compare::{Seen, is_at};
use crate::predict::Journey;

/// By the kernel's time. A frame that one device hands to another in the same moment keeps its time stamp (a macvlan's
/// lower device and the macvlan itself, `macvlan_handle_frame` in drivers/net/macvlan.c), and the captures of two
/// namespaces are read one after the other: of frames of one time, the one that should come first does.
pub(super) fn in_order_of_time(expected: &Journey, mut seen: Vec<Seen>) -> Vec<Seen> {
    let turn = |seen: &Seen| {
        let leg = expected.legs.iter().find(|leg| leg.purpose == seen.purpose)?;
        leg.hops.iter().position(|hop| is_at(hop, seen))
    };
    seen.sort_by_key(|seen| (seen.time, turn(seen)));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Body, Direction, Frame};
    use crate::predict::{End, Hop, Leg, Purpose, Turn};

    fn frame() -> Frame {
        Frame { ethernet: None, body: Body::Malformed, length: 0 }
    }

    fn way(interfaces: &[&str]) -> Journey {
        let hop = |interface: &&str| Hop {
            namespace: "n".into(),
            interface: (*interface).to_owned(),
            direction: Direction::In,
            frame: frame(),
            turn: Turn::InOrder,
        };
        let hops = interfaces.iter().map(hop).collect();
        let end = End::Delivered { namespace: "n".into() };
        Journey { legs: vec![Leg { purpose: Purpose::Request, hops, end }] }
    }

    fn ordered(found: &[(&str, i64)]) -> String {
        let one = |&(interface, time): &(&str, i64)| Seen {
            namespace: "n".into(),
            interface: interface.to_owned(),
            direction: Direction::In,
            time,
            purpose: Purpose::Request,
            frame: frame(),
        };
        let seen = in_order_of_time(&way(&["a", "b"]), found.iter().map(one).collect());
        seen.iter().map(|seen| seen.interface.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn of_frames_of_one_time_the_predicted_first_one_is_first_and_of_others_the_earlier() {
        assert_eq!(ordered(&[("b", 7), ("a", 7)]), "a b");
        assert_eq!(ordered(&[("b", 6), ("a", 7)]), "b a");
        assert_eq!(ordered(&[("a", 8), ("x", 7), ("b", 8)]), "x a b");
    }
}
