//! Neighbours' answers to a check, told from those that others got at the same place. PURE.

use super::compare::{Seen, is_at};
use crate::predict::{Journey, Purpose};

/// The kernel, and another run, ask who has an address, too, and the answers look the same: this one repeats that one.
pub(super) fn is_again(before: &Seen, seen: &Seen) -> bool {
    seen.frame.is_of_neighbours()
        && (&before.namespace, &before.interface, before.direction, before.purpose)
            == (&seen.namespace, &seen.interface, seen.direction, seen.purpose)
}

/// Without the answers to others, which look like ours: of those at one place on the predicted way, the one that
/// comes in its turn counts. Answers beside that way stay: they are where nothing should be. `seen` is in order of time.
pub(super) fn without_others_answers(expected: &Journey, seen: Vec<Seen>) -> Vec<Seen> {
    let is_answer = |seen: &Seen| seen.frame.is_of_neighbours() && seen.purpose == Purpose::Answer;
    let asked = seen.iter().position(|seen| seen.purpose == Purpose::Request).unwrap_or_default();
    let mut ours = Vec::new();
    let mut from = asked;
    for hop in expected.legs.iter().filter(|leg| leg.purpose == Purpose::Answer).flat_map(|leg| &leg.hops) {
        let in_turn = (from..seen.len()).find(|&at| is_answer(&seen[at]) && is_at(hop, &seen[at]));
        let Some(at) = in_turn else { continue };
        ours.push(at);
        from = at + 1;
    }
    let is_anothers = |at: usize| {
        is_answer(&seen[at]) && !ours.contains(&at) && ours.iter().any(|&our| is_again(&seen[our], &seen[at]))
    };
    let keep: Vec<bool> = (0..seen.len()).map(|at| !is_anothers(at)).collect();
    seen.into_iter().zip(keep).filter_map(|(seen, keep)| keep.then_some(seen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Body;
    use crate::packet::{Arp, ArpOperation, Direction, Frame};
    use crate::plan::Mac;
    use crate::predict::{End, Hop, Leg, Turn};

    fn frame(operation: ArpOperation) -> Frame {
        let arp = Arp {
            operation,
            sender_mac: Mac([0; 6]),
            sender: [10, 0, 0, 1].into(),
            target_mac: Mac([0; 6]),
            target: [10, 0, 0, 2].into(),
            mark: None,
        };
        Frame { ethernet: None, body: Body::Arp(arp), length: 42 }
    }

    fn asked_and_answered() -> Journey {
        let leg = |purpose, operation: ArpOperation, places: [(&str, Direction); 2]| Leg {
            purpose,
            hops: places
                .map(|(interface, direction)| Hop {
                    namespace: "n".into(),
                    interface: interface.into(),
                    direction,
                    frame: frame(operation),
                    turn: Turn::InOrder,
                })
                .to_vec(),
            end: End::Delivered { namespace: "n".into() },
        };
        let there = [("eth0", Direction::Out), ("cali", Direction::In)];
        let back = [("cali", Direction::Out), ("eth0", Direction::In)];
        Journey {
            legs: vec![
                leg(Purpose::Request, ArpOperation::Request, there),
                leg(Purpose::Answer, ArpOperation::Reply, back),
            ],
        }
    }

    /// `?` is the question, `!` an answer; `>` at eth0, `<` at the cali interface.
    fn kept(sightings: &[&str]) -> Vec<i64> {
        let one = |(time, sighting): (usize, &&str)| {
            let answer = sighting.starts_with('!');
            let interface = if sighting.ends_with('>') { "eth0" } else { &sighting[1..] };
            let interface = if interface == "<" { "cali" } else { interface };
            Seen {
                namespace: "n".into(),
                interface: interface.into(),
                direction: if (interface == "eth0") == answer { Direction::In } else { Direction::Out },
                time: time as i64,
                purpose: if answer { Purpose::Answer } else { Purpose::Request },
                frame: frame(if answer { ArpOperation::Reply } else { ArpOperation::Request }),
            }
        };
        let seen = sightings.iter().enumerate().map(one).collect();
        without_others_answers(&asked_and_answered(), seen).iter().map(|seen| seen.time).collect()
    }

    #[test]
    fn an_answer_to_another_is_told_by_its_turn() {
        assert_eq!(kept(&["?>", "?<", "!<", "!>"]), [0, 1, 2, 3]);
        // Wholly before, wholly after, and under way while the question goes out.
        assert_eq!(kept(&["!<", "!>", "?>", "?<", "!<", "!>"]), [2, 3, 4, 5]);
        assert_eq!(kept(&["?>", "?<", "!<", "!>", "!<", "!>"]), [0, 1, 2, 3]);
        assert_eq!(kept(&["!<", "?>", "!>", "?<", "!<", "!>"]), [1, 3, 4, 5]);
        assert_eq!(kept(&["!<", "?>", "?<", "!>", "!<", "!>"]), [1, 2, 4, 5]);
    }

    #[test]
    fn an_answer_beside_the_way_stays() {
        assert_eq!(kept(&["?>", "?<", "!elsewhere", "!<", "!>"]), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&["?>", "?<", "!<"]), [0, 1, 2]);
    }
}
