//! Tables of nftables as `nft list` prints them (nft 1.0), which `nft -f` reads as well. PURE.

use std::fmt::{self, Display, Formatter, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{ChainType, Hook, NftChain, NftElement, NftKey, NftMap, NftRule, NftSet, NftTable, Statement, Verdict};
use crate::plan::netfilter::Side;
use crate::plan::{Family, bits};

/// Most elements of a set that rules fill, as nft makes it.
const DYNAMIC_SIZE: u32 = 65535;

/// Input of `nft -f` that makes these tables anew, in one transaction.
pub fn script(tables: &[NftTable]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_script(tables, &mut text);
    text
}

/// The same, written piece by piece: it may be long, and nft reads while we write.
///
/// # Errors
/// Those of `out`.
pub fn write_script(tables: &[NftTable], out: &mut impl Write) -> fmt::Result {
    for table in tables {
        // The first line is for a table that is not there, which cannot be deleted.
        let place = place(table);
        write!(out, "add table {place}\ndelete table {place}\n")?;
    }
    tables.iter().try_for_each(|table| write_listing(table, out))
}

/// `ip kube-proxy`: how commands name a table.
pub fn place(table: &NftTable) -> String {
    format!("{} {}", word(table.family), table.name)
}

/// A table as `nft list table` prints it, but for elements, which stand in lines of their own and in the table's order.
pub fn listing(table: &NftTable) -> String {
    let mut text = String::new();
    let _ = write_listing(table, &mut text);
    text
}

fn write_listing(table: &NftTable, out: &mut impl Write) -> fmt::Result {
    write!(out, "table {} {{\n\tcomment \"{}\"\n", place(table), table.comment)?;
    let sets = table.sets.iter().map(|set| set_block(set, table.family));
    let blocks = sets.chain(table.maps.iter().map(map_block)).chain(table.chains.iter().map(chain_block));
    for (index, block) in blocks.enumerate() {
        let blank = if index > 0 { "\n" } else { "" };
        write!(out, "{blank}{block}")?;
    }
    out.write_str("}\n")
}

fn set_block(set: &NftSet, family: Family) -> String {
    block("set", &set.name, set_body(set, family), &set.elements)
}

/// The lines of a set's block but for its elements.
pub(super) fn set_body(set: &NftSet, family: Family) -> Vec<String> {
    let mut lines = vec![format!("type {}", address_type(family))];
    if let Some(seconds) = set.timeout {
        lines.extend([format!("size {DYNAMIC_SIZE}"), "flags dynamic,timeout".to_owned()]);
        lines.push(format!("timeout {}", duration(seconds)));
    }
    lines.extend(set.comment.iter().map(|comment| format!("comment \"{comment}\"")));
    lines
}

fn map_block(map: &NftMap) -> String {
    block("map", &map.name, map_body(map), &map.elements)
}

/// The lines of a map's block but for its elements.
pub(super) fn map_body(map: &NftMap) -> Vec<String> {
    let address = map.by_address.map(|family| format!("{} . ", address_type(family))).unwrap_or_default();
    vec![format!("type {address}inet_proto . inet_service : verdict"), format!("comment \"{}\"", map.comment)]
}

fn block(what: &str, name: &str, mut lines: Vec<String>, elements: &[impl Display]) -> String {
    if !elements.is_empty() {
        let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
        lines.push(format!("elements = {{ {} }}", elements.join(",\n\t\t\t     ")));
    }
    let body: String = lines.iter().map(|line| format!("\t\t{line}\n")).collect();
    format!("\t{what} {name} {{\n{body}\t}}\n")
}

fn chain_block(chain: &NftChain) -> String {
    let mut text = format!("\tchain {} {{\n", chain.name);
    for line in chain_body(chain) {
        let _ = writeln!(text, "\t\t{line}");
    }
    chain.rules.iter().for_each(|rule| text.push_str(&format!("\t\t{rule}\n")));
    text.push_str("\t}\n");
    text
}

/// The lines of a chain's block but for its rules.
pub(super) fn chain_body(chain: &NftChain) -> Vec<String> {
    let hook = chain.hook.map(|hook| format!("{hook}; policy accept;"));
    chain.comment.iter().map(|comment| format!("comment \"{comment}\"")).chain(hook).collect()
}

/// The type of addresses.
pub(super) fn address_type(family: Family) -> &'static str {
    match family {
        Family::Inet => "ipv4_addr",
        Family::Inet6 => "ipv6_addr",
    }
}

/// `1h30m1s`.
fn duration(seconds: u32) -> String {
    let parts = [(seconds / 86400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

/// Priorities that nft knows by a name print as that, at their own hooks and within 10 of them.
impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        };
        let named = match self.hook {
            "prerouting" => Some(("dstnat", -100)),
            "postrouting" => Some(("srcnat", 100)),
            _ => None,
        };
        let names = [Some(("raw", -300)), Some(("mangle", -150)), named, Some(("filter", 0))];
        let near = names.into_iter().flatten().find(|(_, priority)| (self.priority - priority).abs() <= 10);
        write!(f, "type {kind} hook {} priority ", self.hook)?;
        match near {
            None => write!(f, "{}", self.priority),
            Some((name, priority)) => match self.priority - priority {
                0 => f.write_str(name),
                more @ 1.. => write!(f, "{name} + {more}"),
                less => write!(f, "{name} - {}", -less),
            },
        }
    }
}

/// `10.96.0.10 . udp . 53`.
impl Display for NftKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} . ")?;
        }
        write!(f, "{} . {}", protocol(self.protocol), self.port)
    }
}

impl Display for NftElement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        write!(f, " : {}", self.verdict)
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Jump { chain } => write!(f, "jump {chain}"),
            Verdict::Goto { chain } => write!(f, "goto {chain}"),
            Verdict::Return => f.write_str("return"),
            Verdict::Drop => f.write_str("drop"),
        }
    }
}

impl Display for NftRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.statements.iter().map(|one| self.spelled(one)).collect();
        f.write_str(&words.join(" "))?;
        self.comment.as_ref().map_or(Ok(()), |comment| write!(f, " comment \"{comment}\""))
    }
}

impl NftRule {
    /// A statement as nft prints it in this rule.
    pub fn spelled(&self, statement: &Statement) -> String {
        let address = |side: &Side, ip: &str| match side {
            Side::Src => format!("{ip} saddr"),
            Side::Dst => format!("{ip} daddr"),
        };
        let not = |invert: bool| if invert { "!= " } else { "" };
        match statement {
            Statement::IsNew => "ct state new".to_owned(),
            Statement::Local { side: Side::Src } => "fib saddr type local".to_owned(),
            Statement::Local { side: Side::Dst } => "fib daddr type local".to_owned(),
            Statement::Address { side, nets, invert } => {
                format!("{} {}{}", address(side, header(nets)), not(*invert), set_of(nets))
            }
            Statement::Member { side, set, family } => format!("{} @{set}", address(side, word(*family))),
            Statement::Port { protocol: number, port } => format!("{} dport {port}", protocol(*number)),
            Statement::Protocol { number } => format!("meta l4proto {}", protocol(*number)),
            Statement::Incoming { name, invert } => format!("iif {}\"{name}\"", not(*invert)),
            Statement::Unmarked { mask } => format!("meta mark & {mask:#010x} == 0x00000000"),
            Statement::SetBits { bits } => format!("meta mark set meta mark | {bits:#010x}"),
            Statement::FlipBits { bits } => format!("meta mark set meta mark ^ {bits:#010x}"),
            Statement::Lookup { map, by_address: None } => format!("meta l4proto . th dport vmap @{map}"),
            Statement::Lookup { map, by_address: Some(family) } => {
                format!("{} daddr . meta l4proto . th dport vmap @{map}", word(*family))
            }
            Statement::Spread { chains } => {
                let ways: Vec<String> =
                    chains.iter().enumerate().map(|(n, chain)| format!("{n} : goto {chain}")).collect();
                format!("numgen random mod {} vmap {{ {} }}", chains.len(), ways.join(", "))
            }
            Statement::Remember { set, family } => format!("update @{set} {{ {} saddr }}", word(*family)),
            Statement::Dnat { to } => format!("dnat to {to}"),
            Statement::Masquerade => "masquerade fully-random".to_owned(),
            Statement::Reject => "reject".to_owned(),
            Statement::Verdict(verdict) => verdict.to_string(),
        }
    }
}

/// The header that has addresses of this family.
pub(super) fn word(family: Family) -> &'static str {
    match family {
        Family::Inet => "ip",
        Family::Inet6 => "ip6",
    }
}

fn header(nets: &[IpNet]) -> &'static str {
    if nets.iter().any(|net| net.addr().is_ipv6()) { "ip6" } else { "ip" }
}

/// One prefix as it is; of several, nft sorts them and joins those that touch, unless all are single addresses. Those that
/// are one in the end stay apart here: nft takes a set of one for that one, and the listing would not be kube-proxy's.
fn set_of(nets: &[IpNet]) -> String {
    if let [net] = nets {
        return crate::plan::prefix(net);
    }
    let mut sorted: Vec<IpNet> = nets.iter().map(IpNet::trunc).collect();
    sorted.sort();
    sorted.dedup();
    if sorted.iter().any(|net| net.prefix_len() < net.max_prefix_len()) {
        let ranges = joined(&sorted);
        let words: Vec<String> = match ranges.as_slice() {
            [_] => sorted.iter().map(crate::plan::prefix).collect(),
            several => several.iter().map(|(first, last)| range(*first, *last)).collect(),
        };
        return format!("{{ {} }}", words.join(", "));
    }
    format!("{{ {} }}", sorted.iter().map(|net| net.addr().to_string()).collect::<Vec<_>>().join(", "))
}

/// The one prefix or range that a set's elements make together, if they do: `0.0.0.0/0, 10.0.0.1` is `0.0.0.0/0`.
pub(super) fn one_of_all(elements: &str) -> Option<String> {
    let net = |word: &str| {
        let word = word.trim();
        word.parse::<IpNet>().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from))
    };
    let mut nets = elements.split(',').map(net).collect::<Option<Vec<IpNet>>>()?;
    nets.sort();
    match joined(&nets).as_slice() {
        [(first, last)] => Some(range(*first, *last)),
        _ => None,
    }
}

/// First and last addresses of sorted prefixes; what overlaps or touches is one range.
fn joined(sorted: &[IpNet]) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::new();
    for net in sorted {
        let (first, last) = (net.network(), net.broadcast());
        match ranges.last_mut() {
            Some((_, end)) if bits(first) <= bits(*end).saturating_add(1) => *end = last.max(*end),
            _ => ranges.push((first, last)),
        }
    }
    ranges
}

/// A range as a prefix if it is one.
fn range(first: IpAddr, last: IpAddr) -> String {
    let bits = if first.is_ipv6() { 128 } else { 32 };
    let fits =
        |length: &u8| IpNet::new(first, *length).is_ok_and(|net| net.network() == first && net.broadcast() == last);
    match (0..=bits).find(fits).and_then(|length| IpNet::new(first, length).ok()) {
        Some(net) => crate::plan::prefix(&net),
        None => format!("{first}-{last}"),
    }
}

/// The protocols of Services by name, all others by number.
pub(super) fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
