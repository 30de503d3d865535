//! A rule as Felix spells it, and the id that is a hash of that.
//!
//! Only hashed, never fed to a tool: what iptables-restore gets is `plan::restore`'s business.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha224};

use crate::plan::netfilter::{Match, Rule, Target, port_list};
use crate::plan::restore;

/// Length of an id in characters.
const ID_LENGTH: usize = 16;

/// Puts its id (`cali:` and 16 characters) before the comments of every rule of a chain. Each hash covers the one
/// before it; the first covers the chain's name.
pub fn with_ids(chain: &str, rules: Vec<Rule>) -> Vec<Rule> {
    let mut hash = Sha224::digest(chain);
    // A cluster of a thousand pods has thirty thousand rules: one text and one id for all of them.
    let mut text = String::with_capacity(256);
    let mut id = [0; ID_LENGTH];
    let mut number = |mut rule: Rule| {
        text.clear();
        write_long_text(&mut text, chain, &rule);
        hash = Sha224::new().chain_update(hash).chain_update(&text).finalize();
        // 12 bytes make 16 characters.
        let written = URL_SAFE_NO_PAD.encode_slice(&hash[..ID_LENGTH / 4 * 3], &mut id);
        debug_assert_eq!(written, Ok(ID_LENGTH));
        let mut comments = Vec::with_capacity(rule.comments.len() + 1);
        comments.push(["cali:", &String::from_utf8_lossy(&id)].concat());
        comments.append(&mut rule.comments);
        Rule { comments, ..rule }
    };
    rules.into_iter().map(&mut number).collect()
}

/// The text that Felix hashes: `-A <chain> HASH`, extra comments, matches, action, each after one space.
pub fn long_text(chain: &str, rule: &Rule) -> String {
    let mut text = String::new();
    write_long_text(&mut text, chain, rule);
    text
}

fn write_long_text(text: &mut String, chain: &str, rule: &Rule) {
    // Writing to a string cannot fail.
    let _ = write!(text, "-A {chain} HASH");
    for comment in &rule.comments {
        let _ = write!(text, " -m comment --comment \"{}\"", clean(comment));
    }
    let tunnelled = rule.matches.iter().any(|one| *one == super::static_chains::vxlan()[1]);
    for one in &rule.matches {
        text.push(' ');
        match one {
            // By number only where VXLAN is meant.
            Match::Protocol { number: 6 } => text.push_str("-p tcp"),
            Match::Protocol { number: 17 } if !tunnelled => text.push_str("-p udp"),
            one => text.push_str(&matching(one)),
        }
    }
    if let Some(target) = &rule.target {
        text.push(' ');
        text.push_str(&action(target));
    }
}

/// Felix keeps 256 characters of a comment and replaces what a shell might trip over.
fn clean(comment: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_ @%+=:,./-".contains(c);
    comment.chars().map(|c| if plain(c) { c } else { '_' }).take(256).collect()
}

fn matching(matching: &Match) -> String {
    match matching {
        Match::InInterface { name } => format!("--in-interface {name}"),
        Match::OutInterface { name } => format!("--out-interface {name}"),
        Match::Protocol { number } => format!("-p {number}"),
        Match::Source { net, invert } => format!("{}--source {net}", not(*invert)),
        Match::Destination { net, invert } => format!("{}--destination {net}", not(*invert)),
        Match::Set { name, side, invert } => format!("-m set {}--match-set {name} {}", not(*invert), side.word()),
        Match::DestinationPorts { ports } => format!("-m multiport --destination-ports {}", port_list(ports)),
        Match::CtState { states, invert } => {
            let list: Vec<&str> = states.iter().map(|state| state.word()).collect();
            format!("-m conntrack {}--ctstate {}", not(*invert), list.join(","))
        }
        Match::AddrTypeLocal { side, invert, limit_iface_out } => {
            let limit = if *limit_iface_out { " --limit-iface-out" } else { "" };
            format!("-m addrtype {}--{}-type LOCAL{limit}", not(*invert), side.word())
        }
        Match::Mark { value, mask, invert } => format!("-m mark {}--mark {}/{mask:#x}", not(*invert), bits(*value)),
        Match::RpFilterInvert => "-m rpfilter --invert".to_string(),
        // Felix writes no other; it would write them as everybody does.
        Match::NotOutInterface { name } => format!("! --out-interface {name}"),
        Match::NotInInterface { name } => format!("! --in-interface {name}"),
        other => restore::extension(other).unwrap_or_default(),
    }
}

fn action(target: &Target) -> String {
    match target {
        Target::Accept => "--jump ACCEPT".to_string(),
        Target::Drop => "--jump DROP".to_string(),
        Target::Return => "--jump RETURN".to_string(),
        Target::Jump { chain } => format!("--jump {chain}"),
        Target::Goto { chain } => format!("--goto {chain}"),
        Target::SetMark { value, mask } => format!("--jump MARK --set-mark {}/{mask:#x}", bits(*value)),
        Target::Masquerade { random_fully: false } => "--jump MASQUERADE".to_string(),
        Target::Masquerade { random_fully: true } => "--jump MASQUERADE --random-fully".to_string(),
        other => restore::target(other),
    }
}

fn not(invert: bool) -> &'static str {
    if invert { "! " } else { "" }
}

/// Felix writes no `0x` before a zero.
fn bits(value: u32) -> String {
    if value == 0 { "0".to_string() } else { format!("{value:#x}") }
}
