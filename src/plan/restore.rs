//! What iptables-restore and `ipset restore` read. PURE.
//!
//! Chains and rules are spelled and ordered as iptables-save prints them back (iptables 1.8, both backends), so that a
//! plan, a script and a dump can be held side by side; [`normalised`] takes away what a dump has beyond that.

use std::fmt::{self, Write};

use super::netfilter::{Chain, IpSet, Match, Recent, Rule, Side, Table, Target, port_list};

/// Input of iptables-restore (without `--noflush`) for these tables: what a table had before is gone.
pub fn iptables_restore(tables: &[Table]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_iptables_restore(tables, &mut text);
    text
}

/// The same, written piece by piece: it may be long, and the tool reads while we write.
///
/// # Errors
/// Those of `out`.
pub fn write_iptables_restore(tables: &[Table], out: &mut impl Write) -> fmt::Result {
    tables.iter().try_for_each(|table| write_table(table, out))
}

/// One table: `*name`, its chains, its rules, `COMMIT`.
pub fn table(table: &Table) -> String {
    let mut text = String::new();
    let _ = write_table(table, &mut text);
    text
}

fn write_table(table: &Table, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "*{}", table.name.as_str())?;
    for chain in &table.chains {
        write_chain(chain, out)?;
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            write_rule("-A", &chain.name, rule, out)?;
            out.write_char('\n')?;
        }
    }
    out.write_str("COMMIT\n")
}

/// The line that declares a chain.
pub(super) fn write_chain(chain: &Chain, out: &mut impl Write) -> fmt::Result {
    match chain.policy {
        Some(policy) => writeln!(out, ":{} {policy} [0:0]", chain.name),
        None => writeln!(out, ":{} - [0:0]", chain.name),
    }
}

/// One rule as `-A chain …`: addresses, interfaces and protocol first, then comments, matches and the target.
pub fn append(chain: &str, rule: &Rule) -> String {
    let mut text = String::new();
    let _ = write_rule("-A", chain, rule, &mut text);
    text
}

/// The same with another command than `-A`.
pub(super) fn write_rule(command: &str, chain: &str, rule: &Rule, out: &mut impl Write) -> fmt::Result {
    write!(out, "{command} {chain}")?;
    let place = |matching: &&Match| basic_place(matching);
    let mut basics: Vec<&Match> = Vec::new();
    basics.extend(rule.matches.iter().filter(|one| place(one).is_some()));
    basics.sort_by_key(place);
    for matching in basics {
        out.write_char(' ')?;
        write_basic(matching, out)?;
    }
    let comments = |out: &mut _| rule.comments.iter().try_for_each(|comment| write_comment(comment, out));
    if !rule.comments_last {
        comments(out)?;
    }
    for matching in rule.matches.iter().filter(|one| place(one).is_none()) {
        out.write_char(' ')?;
        write_extension(matching, out)?;
    }
    if rule.comments_last {
        comments(out)?;
    }
    match &rule.target {
        Some(target) => {
            out.write_char(' ')?;
            write_target(target, out)
        }
        None => Ok(()),
    }
}

/// Input of `ipset restore` for these sets. With `-exist` it can be given again.
pub fn ipset_restore(sets: &[IpSet]) -> String {
    let mut text = String::new();
    for set in sets {
        let _ = writeln!(text, "{}", create_set(set));
        for member in &set.members {
            let _ = writeln!(text, "add {} {member}", set.name);
        }
    }
    text
}

/// The line of `ipset restore` that makes a set.
pub fn create_set(set: &IpSet) -> String {
    let (name, kind) = (&set.name, &set.kind);
    if set.is_of_ports() {
        return format!("create {name} {kind} range 0-65535");
    }
    format!("create {name} {kind} family {} hashsize 1024 maxelem {}", set.family.word(), set.capacity)
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

/// The place, among its like, of a match that every rule can have without an extension; none of any other.
fn basic_place(matching: &Match) -> Option<u8> {
    Some(match matching {
        Match::Source { .. } => 0,
        Match::Destination { .. } => 1,
        Match::InInterface { .. } | Match::NotInInterface { .. } => 2,
        Match::OutInterface { .. } | Match::NotOutInterface { .. } => 3,
        Match::Protocol { .. } => 4,
        _ => return None,
    })
}

/// A match with a [`basic_place`]; nothing of any other.
fn write_basic(matching: &Match, out: &mut impl Write) -> fmt::Result {
    match matching {
        Match::Source { net, invert } => write!(out, "{}-s {net}", not(*invert)),
        Match::Destination { net, invert } => write!(out, "{}-d {net}", not(*invert)),
        Match::InInterface { name } => write!(out, "-i {name}"),
        Match::NotInInterface { name } => write!(out, "! -i {name}"),
        Match::OutInterface { name } => write!(out, "-o {name}"),
        Match::NotOutInterface { name } => write!(out, "! -o {name}"),
        Match::Protocol { number } => write!(out, "-p {}", Protocol(*number)),
        _ => Ok(()),
    }
}

/// A match as iptables-save spells it; none of those that every rule can have without an extension.
pub(crate) fn extension(matching: &Match) -> Option<String> {
    let mut text = String::new();
    let _ = write_extension(matching, &mut text);
    Some(text).filter(|text| !text.is_empty())
}

fn write_extension(matching: &Match, out: &mut impl Write) -> fmt::Result {
    match matching {
        Match::Set { name, side, invert } => {
            write!(out, "-m set {}--match-set {name} {}", not(*invert), side.word())
        }
        Match::DestinationPorts { ports } => write!(out, "-m multiport --dports {}", port_list(ports)),
        Match::CtState { states, invert } => {
            let list: Vec<&str> = states.iter().map(|state| state.word()).collect();
            write!(out, "-m conntrack {}--ctstate {}", not(*invert), list.join(","))
        }
        Match::AddrTypeLocal { side, invert, limit_iface_out } => {
            let limit = if *limit_iface_out { " --limit-iface-out" } else { "" };
            write!(out, "-m addrtype {}--{}-type LOCAL{limit}", not(*invert), side.word())
        }
        Match::Mark { value, mask, invert } => write!(out, "-m mark {}--mark {value:#x}/{mask:#x}", not(*invert)),
        Match::RpFilterInvert => out.write_str("-m rpfilter --invert"),
        Match::IcmpType { number } => write!(out, "-m icmp --icmp-type {number}"),
        Match::Icmp6Type { number } => write!(out, "-m icmp6 --icmpv6-type {number}"),
        Match::Transport { protocol: number, port: None } => write!(out, "-m {}", Protocol(*number)),
        Match::Transport { protocol: number, port: Some(port) } => {
            write!(out, "-m {} --dport {port}", Protocol(*number))
        }
        Match::Random { parts } => {
            let chance = f64::from(*parts) / f64::from(1u32 << 31);
            write!(out, "-m statistic --mode random --probability {chance:.11}")
        }
        Match::Recent { action: Recent::Check { seconds }, list, mask } => {
            write!(out, "-m recent --rcheck --seconds {seconds} --reap --name {list} --mask {mask} --rsource")
        }
        Match::Recent { action: Recent::Set, list, mask } => {
            write!(out, "-m recent --set --name {list} --mask {mask} --rsource")
        }
        Match::Ipvs { address, protocol, port } => {
            write!(out, "-m ipvs --vproto {protocol} --vaddr {address} --vport {port}")
        }
        Match::PhysdevIsIn { invert } => write!(out, "-m physdev {}--physdev-is-in", not(*invert)),
        Match::SetOf { name, sides, invert } => {
            let sides: Vec<&str> = sides.iter().copied().map(Side::word).collect();
            write!(out, "-m set {}--match-set {name} {}", not(*invert), sides.join(","))
        }
        Match::InInterface { .. }
        | Match::NotInInterface { .. }
        | Match::OutInterface { .. }
        | Match::NotOutInterface { .. }
        | Match::Protocol { .. }
        | Match::Source { .. }
        | Match::Destination { .. } => Ok(()),
    }
}

/// A target as iptables-save spells it.
pub(crate) fn target(target: &Target) -> String {
    let mut text = String::new();
    let _ = write_target(target, &mut text);
    text
}

fn write_target(target: &Target, out: &mut impl Write) -> fmt::Result {
    match target {
        Target::Accept => out.write_str("-j ACCEPT"),
        Target::Drop => out.write_str("-j DROP"),
        Target::Return => out.write_str("-j RETURN"),
        Target::Jump { chain } => write!(out, "-j {chain}"),
        Target::Goto { chain } => write!(out, "-g {chain}"),
        // The tool stores and prints the bits that it clears: those of the mask and of the value.
        Target::SetMark { value, mask } => write!(out, "-j MARK --set-xmark {value:#x}/{:#x}", mask | value),
        Target::Masquerade { random_fully: false } => out.write_str("-j MASQUERADE"),
        Target::Masquerade { random_fully: true } => out.write_str("-j MASQUERADE --random-fully"),
        Target::XorMark { value } => write!(out, "-j MARK --set-xmark {value:#x}/0x0"),
        Target::Dnat { to } => write!(out, "-j DNAT --to-destination {to}"),
        Target::Reject { v6: false } => out.write_str("-j REJECT --reject-with icmp-port-unreachable"),
        Target::Reject { v6: true } => out.write_str("-j REJECT --reject-with icmp6-port-unreachable"),
    }
}

/// A protocol by the names that iptables-save prints without asking /etc/protocols, and by the numbers of all others.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("ipv6-icmp"),
            132 => f.write_str("sctp"),
            other => write!(f, "{other}"),
        }
    }
}

/// iptables-save puts quotes around everything but letters, digits and a few signs, and a backslash before either sort of
/// quote inside (`xtables_save_string`).
fn write_comment(comment: &str, out: &mut impl Write) -> fmt::Result {
    out.write_str(" -m comment --comment \"")?;
    // Pieces that end with a sign that needs a backslash, and the rest.
    for piece in comment.split_inclusive(['\\', '"', '\'']) {
        match piece.strip_suffix(['\\', '"', '\'']) {
            Some(plain) => write!(out, "{plain}\\{}", &piece[plain.len()..])?,
            None => out.write_str(piece)?,
        }
    }
    out.write_char('"')
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
            comments: vec!["cali:x".into(), "Say \"so\", 'so'".into()],
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
            "-A c ! -s 10.0.0.0/8 -o tunl0 -p udp -m comment --comment \"cali:x\" -m comment --comment \"Say \\\"so\\\", \\'so\\'\" \
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
