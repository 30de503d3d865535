//! Tables of nftables as facts that can be compared: what a plan says against what `nft list` prints. PURE.

use std::collections::BTreeSet;

use super::{NftTable, text};

/// What the listings of tables say, one fact for each chain, set, map, rule and element. Elements that rules put into sets
/// come and go, and are not among them.
pub fn of_listing(listing: &str) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    let mut place = "";
    let mut lines = listing.lines();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.trim_end_matches(" {").trim_start().splitn(2, ' ').collect();
        match words.as_slice() {
            ["table", name] => place = name,
            [kind @ ("set" | "map" | "chain"), name] if line.ends_with('{') => {
                let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "\t}").map(str::trim).collect();
                match *kind {
                    "chain" => chain(&mut facts, place, name, &body),
                    kind => set(&mut facts, place, kind, name, &body),
                }
            }
            _ => {}
        }
    }
    facts
}

/// The facts of these tables.
pub fn of_tables(tables: &[NftTable]) -> BTreeSet<String> {
    tables.iter().flat_map(|table| of_listing(&text::listing(table))).collect()
}

/// The chains, sets and maps of a table that facts are about.
pub fn objects<'f>(table: &NftTable, facts: &'f BTreeSet<String>) -> BTreeSet<&'f str> {
    let prefix = format!("nft {}: ", text::place(table));
    let object = |fact: &'f String| {
        let fact = match fact.strip_prefix("rule ") {
            Some(rule) => rule.split_once(": ")?.1,
            None => fact,
        };
        let (what, _) = fact.strip_prefix(&prefix)?.split_once(": ")?;
        what.rsplit_once(' ').map(|(_, name)| name)
    };
    facts.iter().filter_map(object).collect()
}

fn chain(facts: &mut BTreeSet<String>, place: &str, name: &str, body: &[&str]) {
    let is_head = |line: &&&str| line.starts_with("type ") && line.contains(" hook ") || line.starts_with("comment ");
    let head: Vec<String> = body.iter().filter(is_head).map(|line| numbered_priority(line)).collect();
    facts.insert(format!("nft {place}: chain {name}: {}", head.join(" ")).trim_end().to_owned());
    for (index, rule) in body.iter().filter(|line| !is_head(line)).enumerate() {
        let rule = without_braces(&named_protocol(rule, "meta l4proto "));
        facts.insert(format!("rule {}: nft {place}: chain {name}: {rule}", index + 1));
    }
}

fn set(facts: &mut BTreeSet<String>, place: &str, kind: &str, name: &str, body: &[&str]) {
    let (head, elements) =
        body.split_at(body.iter().position(|line| line.starts_with("elements")).unwrap_or(body.len()));
    facts.insert(format!("nft {place}: {kind} {name}: {}", head.join("; ")));
    if head.iter().any(|line| line.contains("dynamic")) {
        return;
    }
    let elements = elements.join(" ");
    let elements = elements.trim_start_matches("elements = {").trim_end_matches('}');
    // No comment of kube-proxy's has a comma in it.
    for element in elements.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let parts: Vec<String> = element.split(" . ").map(|part| named_protocol(part, "")).collect();
        facts.insert(format!("nft {place}: element of {name}: {}", parts.join(" . ")));
    }
}

/// A set whose elements are one prefix together as that prefix: nft's listing has it in braces, and drops them when it
/// reads that back.
fn without_braces(rule: &str) -> String {
    let one = rule.split_once("addr != { ").and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(" }")?;
        Some(format!("{before}addr != {}{after}", text::one_of_all(inside)?))
    });
    one.unwrap_or_else(|| rule.to_owned())
}

/// The priority as a number: from which hooks on it prints as a name depends on nft's version.
fn numbered_priority(line: &str) -> String {
    let Some((before, rest)) = line.split_once(" priority ") else { return line.to_owned() };
    let (priority, after) = rest.split_once(';').unwrap_or((rest, ""));
    let mut words = priority.split(' ');
    let named = [("raw", -300), ("mangle", -150), ("dstnat", -100), ("filter", 0), ("security", 50), ("srcnat", 100)];
    let base = words.next().and_then(|word| {
        let known = named.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
        known.or_else(|| word.parse::<i32>().ok())
    });
    let more = match (words.next(), words.next().map(str::parse::<i32>)) {
        (Some("+"), Some(Ok(more))) => more,
        (Some("-"), Some(Ok(less))) => -less,
        _ => 0,
    };
    base.map_or_else(|| line.to_owned(), |base| format!("{before} priority {};{after}", base + more))
}

/// Numbers of protocols as names: nft prints numbers where /etc/protocols is not installed.
fn named_protocol(text: &str, before: &str) -> String {
    for number in [6, 17, 132] {
        let numbered = format!("{before}{number}");
        if let Some(rest) = text.strip_prefix(&numbered).filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
            return format!("{before}{}{rest}", text::protocol(number));
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table ip t {\n\tcomment \"x\"\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1,\n\t\t\t     10.0.0.2 }\n\t}\n\n\
        \tset seen {\n\t\ttype ipv4_addr\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 3h\n\t\telements = { 10.0.0.9 expires 2h }\n\t}\n\n\
        \tmap m {\n\t\ttype ipv4_addr . inet_proto . inet_service : verdict\n\t\telements = { 10.0.0.1 . 6 . 80 comment \"a/b\" : goto c }\n\t}\n\n\
        \tchain c {\n\t\ttype filter hook prerouting priority dstnat - 10; policy accept;\n\t\tct state new jump d\n\t\tmeta l4proto 17 dnat to 10.0.0.3:53\n\t}\n}\n";

    #[test]
    fn a_listing_is_taken_apart() {
        let facts = of_listing(LISTING);
        let expected = [
            "nft ip t: chain c: type filter hook prerouting priority -110; policy accept;",
            "nft ip t: element of m: 10.0.0.1 . tcp . 80 comment \"a/b\" : goto c",
            "nft ip t: element of s: 10.0.0.1",
            "nft ip t: element of s: 10.0.0.2",
            "nft ip t: map m: type ipv4_addr . inet_proto . inet_service : verdict",
            "nft ip t: set s: type ipv4_addr",
            "nft ip t: set seen: type ipv4_addr; size 65535; flags dynamic,timeout; timeout 3h",
            "rule 1: nft ip t: chain c: ct state new jump d",
            "rule 2: nft ip t: chain c: meta l4proto udp dnat to 10.0.0.3:53",
        ];
        assert_eq!(facts.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_set_of_one_prefix_is_that_prefix() {
        for set in ["{ 0.0.0.0/0 }", "{ 0.0.0.0/0, 10.0.0.1 }", "{ 0.0.0.0/1, 128.0.0.0/1 }"] {
            assert_eq!(without_braces(&format!("ip saddr != {set} drop")), "ip saddr != 0.0.0.0/0 drop");
        }
        for rule in ["ip saddr != { 10.0.0.0/8, 11.0.0.1 } drop", "update @s { ip saddr }", "ip saddr 10.0.0.1 drop"] {
            assert_eq!(without_braces(rule), rule);
        }
    }

    #[test]
    fn what_facts_are_about_is_found_again() {
        let table = NftTable {
            family: crate::plan::Family::Inet,
            name: "t".into(),
            comment: "x".into(),
            sets: Vec::new(),
            maps: Vec::new(),
            chains: Vec::new(),
        };
        assert_eq!(objects(&table, &of_listing(LISTING)), BTreeSet::from(["c", "m", "s", "seen"]));
        assert!(objects(&NftTable { name: "u".into(), ..table }, &of_listing(LISTING)).is_empty());
    }
}
