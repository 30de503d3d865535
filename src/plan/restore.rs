//! What iptables-restore and `ipset restore` read. PURE.
//!
//! Chains and rules are spelled and ordered as iptables-save prints them back (iptables 1.8, both backends), so that a
//! plan, a script and a dump can be held side by side; [`normalised`] takes away what a dump has beyond that.

use std::fmt::Write;

use super::netfilter::{IpSet, Match, Recent, Rule, Side, Table, Target, port_list};

/// Most members that a set may have, as Felix creates it.
const SET_CAPACITY: u32 = 1_048_576;

/// Input of iptables-restore (without `--noflush`) for these tables: what a table had before is gone.
pub fn iptables_restore(tables: &[Table]) -> String {
    tables.iter().map(table).collect()
}

/// One table: `*name`, its chains, its rules, `COMMIT`.
pub fn table(table: &Table) -> String {
    let mut text = format!("*{}\n", table.name.as_str());
    for chain in &table.chains {
        let policy = chain.policy.map_or("-".to_string(), |policy| policy.to_string());
        let _ = writeln!(text, ":{} {policy} [0:0]", chain.name);
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            let _ = writeln!(text, "{}", append(&chain.name, rule));
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// One rule as `-A chain …`: addresses, interfaces and protocol first, then comments, matches and the target.
pub fn append(chain: &str, rule: &Rule) -> String {
    let mut words = vec![format!("-A {chain}")];
    let mut basics: Vec<(u8, String)> = rule.matches.iter().filter_map(basic).collect();
    basics.sort();
    words.extend(basics.into_iter().map(|(_, text)| text));
    let mut extensions: Vec<String> = rule.matches.iter().filter_map(extension).collect();
    let comments = rule.comments.iter().map(|comment| format!("-m comment --comment {}", quoted(comment)));
    let before = if rule.comments_last { extensions.len() } else { 0 };
    extensions.splice(before..before, comments);
    words.extend(extensions);
    words.extend(rule.target.iter().map(target));
    words.join(" ")
}

/// Input of `ipset restore` for these sets. With `-exist` it can be given again.
pub fn ipset_restore(sets: &[IpSet]) -> String {
    let mut text = String::new();
    for set in sets {
        let _ = writeln!(text, "{}", create_set(set));
        for member in &set.members {
            let _ = writeln!(text, "add {} {}", set.name, super::prefix(member));
        }
    }
    text
}

/// The line of `ipset restore` that makes a set.
pub fn create_set(set: &IpSet) -> String {
    let family = set.family.word();
    format!("create {} {} family {family} hashsize 1024 maxelem {SET_CAPACITY}", set.name, set.kind)
}

/// A dump of iptables-save without its comment lines and with counters at zero, protocols spelled as
/// [`iptables_restore`] does: where /etc/protocols is installed, iptables-save prints `ipencap` for 4, and where it is not, `icmpv6` for 58.
pub fn normalised(dump: &str) -> String {
    let mut text = String::new();
    for line in dump.lines().filter(|line| !line.starts_with('#')) {
        let line = line.replace(" -p ipencap ", " -p 4 ").replace(" -p icmpv6 ", " -p ipv6-icmp ");
        let chain = line.starts_with(':').then(|| line.rsplit_once(" [")).flatten();
        let _ = match chain {
            Some((head, _)) => writeln!(text, "{head} [0:0]"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

/// A match that every rule can have without an extension, with its place among them.
fn basic(matching: &Match) -> Option<(u8, String)> {
    Some(match matching {
        Match::Source { net, invert } => (0, format!("{}-s {net}", not(*invert))),
        Match::Destination { net, invert } => (1, format!("{}-d {net}", not(*invert))),
        Match::InInterface { name } => (2, format!("-i {name}")),
        Match::NotInInterface { name } => (2, format!("! -i {name}")),
        Match::OutInterface { name } => (3, format!("-o {name}")),
        Match::NotOutInterface { name } => (3, format!("! -o {name}")),
        Match::Protocol { number } => (4, format!("-p {}", protocol(*number))),
        _ => return None,
    })
}

/// A match as iptables-save spells it; none of those that every rule can have without an extension.
pub(crate) fn extension(matching: &Match) -> Option<String> {
    Some(match matching {
        Match::Set { name, side, invert } => format!("-m set {}--match-set {name} {}", not(*invert), side.word()),
        Match::DestinationPorts { ports } => format!("-m multiport --dports {}", port_list(ports)),
        Match::CtState { states, invert } => {
            let list: Vec<&str> = states.iter().map(|state| state.word()).collect();
            format!("-m conntrack {}--ctstate {}", not(*invert), list.join(","))
        }
        Match::AddrTypeLocal { side, invert, limit_iface_out } => {
            let limit = if *limit_iface_out { " --limit-iface-out" } else { "" };
            format!("-m addrtype {}--{}-type LOCAL{limit}", not(*invert), side.word())
        }
        Match::Mark { value, mask, invert } => format!("-m mark {}--mark {value:#x}/{mask:#x}", not(*invert)),
        Match::RpFilterInvert => "-m rpfilter --invert".to_string(),
        Match::IcmpType { number } => format!("-m icmp --icmp-type {number}"),
        Match::Icmp6Type { number } => format!("-m icmp6 --icmpv6-type {number}"),
        Match::Transport { protocol: number, port: None } => format!("-m {}", protocol(*number)),
        Match::Transport { protocol: number, port: Some(port) } => format!("-m {} --dport {port}", protocol(*number)),
        Match::Random { parts } => {
            format!("-m statistic --mode random --probability {:.11}", f64::from(*parts) / f64::from(1u32 << 31))
        }
        Match::Recent { action, list, mask } => match action {
            Recent::Check { seconds } => {
                format!("-m recent --rcheck --seconds {seconds} --reap --name {list} --mask {mask} --rsource")
            }
            Recent::Set => format!("-m recent --set --name {list} --mask {mask} --rsource"),
        },
        Match::PhysdevIsIn { invert } => format!("-m physdev {}--physdev-is-in", not(*invert)),
        Match::SetOf { name, sides, invert } => {
            let sides: Vec<&str> = sides.iter().copied().map(Side::word).collect();
            format!("-m set {}--match-set {name} {}", not(*invert), sides.join(","))
        }
        Match::InInterface { .. }
        | Match::NotInInterface { .. }
        | Match::OutInterface { .. }
        | Match::NotOutInterface { .. }
        | Match::Protocol { .. }
        | Match::Source { .. }
        | Match::Destination { .. } => return None,
    })
}

/// A target as iptables-save spells it.
pub(crate) fn target(target: &Target) -> String {
    match target {
        Target::Accept => "-j ACCEPT".to_string(),
        Target::Drop => "-j DROP".to_string(),
        Target::Return => "-j RETURN".to_string(),
        Target::Jump { chain } => format!("-j {chain}"),
        Target::Goto { chain } => format!("-g {chain}"),
        // The tool stores and prints the bits that it clears: those of the mask and of the value.
        Target::SetMark { value, mask } => format!("-j MARK --set-xmark {value:#x}/{:#x}", mask | value),
        Target::Masquerade { random_fully: false } => "-j MASQUERADE".to_string(),
        Target::Masquerade { random_fully: true } => "-j MASQUERADE --random-fully".to_string(),
        Target::XorMark { value } => format!("-j MARK --set-xmark {value:#x}/0x0"),
        Target::Dnat { to } => format!("-j DNAT --to-destination {to}"),
        Target::Reject { v6: false } => "-j REJECT --reject-with icmp-port-unreachable".to_string(),
        Target::Reject { v6: true } => "-j REJECT --reject-with icmp6-port-unreachable".to_string(),
    }
}

/// The names that iptables-save prints without asking /etc/protocols, and the numbers of all others.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_string(),
        6 => "tcp".to_string(),
        17 => "udp".to_string(),
        58 => "ipv6-icmp".to_string(),
        132 => "sctp".to_string(),
        other => other.to_string(),
    }
}

/// iptables-save puts quotes around everything but letters, digits and a few signs.
fn quoted(comment: &str) -> String {
    format!("\"{}\"", comment.replace('\\', "\\\\").replace('"', "\\\""))
}

fn not(invert: bool) -> &'static str {
    if invert { "! " } else { "" }
}

#[cfg(test)]
mod tests {
    use super::super::netfilter::CtState;
    use super::*;
    use crate::plan::netfilter::{Chain, Policy, TableName};

    #[test]
    fn a_rule_is_spelled_as_iptables_save_does() {
        let rule = Rule {
            comments: vec!["cali:x".into(), "Say \"so\"".into()],
            matches: vec![
                Match::CtState { states: vec![CtState::Dnat], invert: true },
                Match::Protocol { number: 17 },
                Match::DestinationPorts { ports: vec![(53, 53), (1000, 2000)] },
                Match::Source { net: "10.0.0.0/8".parse().unwrap(), invert: true },
                Match::OutInterface { name: "tunl0".into() },
            ],
            target: Some(Target::SetMark { value: 0, mask: 0xf0000 }),
            comments_last: false,
        };
        assert_eq!(
            append("c", &rule),
            "-A c ! -s 10.0.0.0/8 -o tunl0 -p udp -m comment --comment \"cali:x\" -m comment --comment \"Say \\\"so\\\"\" \
             -m conntrack ! --ctstate DNAT -m multiport --dports 53,1000:2000 -j MARK --set-xmark 0x0/0xf0000"
        );
    }

    #[test]
    fn a_dump_becomes_what_was_restored() {
        let accept =
            Rule { matches: vec![Match::Protocol { number: 4 }], target: Some(Target::Accept), ..Rule::default() };
        let chains = vec![
            Chain { name: "INPUT".into(), policy: Some(Policy::Drop), rules: vec![accept] },
            Chain { name: "x".into(), policy: None, rules: vec![] },
        ];
        let table = Table { name: TableName::Filter, chains };
        let dump = "# Generated by iptables-save v1.8.9 (nf_tables)\n*filter\n:INPUT DROP [12:3456]\n:x - [0:0]\n\
                    -A INPUT -p ipencap -j ACCEPT\nCOMMIT\n# Completed\n";
        assert_eq!(normalised(dump), iptables_restore(&[table]));
    }
}
