//! What tools print, as fields: iproute2's JSON, rules of iptables-save, lines of tcpdump. Their words, their order and
//! what they leave out differ between versions; what they mean does not.

// Each test binary uses what it needs of this.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

/// A route by its parts: `type`, `dst`, `via`, `dev`, `proto`, `scope`, `src`, `metric`; what is usual is left out, so
/// that it makes no difference whether a tool prints it. Flags are parts without a value, but for those of a device
/// that has no carrier, which is not the route's.
pub type Route = BTreeMap<String, String>;

/// What a part has where it is not said.
const USUAL: &[(&str, &str)] = &[("type", "unicast"), ("proto", "boot"), ("scope", "global"), ("metric", "0")];
const CARRIER: &[&str] = &["linkdown", "dead"];

fn route(parts: impl IntoIterator<Item = (String, String)>) -> Route {
    let named = |(key, value): (String, String)| match (key.as_str(), value.as_str()) {
        // Where /etc/iproute2/rt_protos is missing or old.
        ("proto", "12") => (key, "bird".to_owned()),
        _ => (key, value),
    };
    let usual = |(key, value): &(String, String)| !USUAL.contains(&(key.as_str(), value.as_str()));
    parts.into_iter().map(named).filter(usual).filter(|(key, _)| !CARRIER.contains(&key.as_str())).collect()
}

/// The routes of `ip -j route`, in its order.
pub fn routes(json: &str) -> Result<Vec<Route>, String> {
    let list: Vec<Value> = serde_json::from_str(json).map_err(|e| format!("{e} in {json}"))?;
    let keys = [
        ("type", "type"),
        ("dst", "dst"),
        ("gateway", "via"),
        ("dev", "dev"),
        ("protocol", "proto"),
        ("scope", "scope"),
        ("prefsrc", "src"),
        ("metric", "metric"),
    ];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |object: &Value| {
        let parts = keys.iter().filter(|(theirs, _)| !object[theirs].is_null());
        let parts = parts.map(|(theirs, ours)| ((*ours).to_owned(), text(&object[theirs])));
        let flags = object["flags"].as_array().into_iter().flatten().map(|flag| (text(flag), String::new()));
        route(parts.chain(flags))
    };
    Ok(list.iter().map(one).collect())
}

/// A route as a document prints it: `10.0.0.0/8 via 10.1.0.1 dev tunl0 proto bird onlink`.
pub fn documented_route(line: &str) -> Route {
    let mut words = line.split_whitespace().peekable();
    let mut parts = Vec::new();
    if let Some(kind) = words.next_if(|word| ["blackhole", "unreachable", "local", "broadcast"].contains(word)) {
        parts.push(("type".to_owned(), kind.to_owned()));
    }
    parts.extend(words.next().map(|dst| ("dst".to_owned(), dst.to_owned())));
    while let Some(word) = words.next() {
        let has_value = ["via", "dev", "proto", "scope", "src", "metric"].contains(&word);
        let value = if has_value { words.next().unwrap_or_default() } else { "" };
        parts.push((word.to_owned(), value.to_owned()));
    }
    route(parts)
}

/// Routes that are in one list only, a line each; empty if both hold the same.
pub fn differing_routes(expected: &[Route], seen: &[Route]) -> String {
    let of = |sign: char, from: &[Route], other: &[Route]| -> String {
        let only = from.iter().filter(|route| !other.contains(route));
        only.map(|route| format!("{sign} {route:?}\n")).collect()
    };
    of('-', expected, seen) + &of('+', seen, expected)
}

/// A link with its addresses, from `ip -j address show dev DEV` or `ip -j link show`.
pub struct Link(Value);

/// The links of `ip -j address` or `ip -j link`.
pub fn links(json: &str) -> Result<Vec<Link>, String> {
    let list: Vec<Value> = serde_json::from_str(json).map_err(|e| format!("{e} in {json}"))?;
    // `dev` lets iproute2 5.x print empty objects for what it passes over.
    Ok(list.into_iter().filter(|object| object["ifname"].is_string()).map(Link).collect())
}

impl Link {
    /// Fails unless its fields are these: `("mtu", "1480")`.
    pub fn expect(&self, fields: &[(&str, &str)]) -> Result<(), String> {
        for (key, expected) in fields {
            let seen = self.field(key);
            if seen != *expected {
                return Err(format!("{key} is {seen}, expected {expected}, in {}", self.0));
            }
        }
        Ok(())
    }

    /// A field as text.
    pub fn field(&self, key: &str) -> String {
        let value = &self.0[key];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Its flags.
    pub fn flags(&self) -> BTreeSet<&str> {
        self.0["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Its addresses of a family (`inet`, `inet6`): with prefix, broadcast address and scope.
    pub fn addresses(&self, family: &str) -> Vec<(String, Option<&str>, &str)> {
        let all = self.0["addr_info"].as_array().into_iter().flatten().filter(|one| one["family"] == family);
        let address = |one: &'_ Value| format!("{}/{}", one["local"].as_str().unwrap_or_default(), one["prefixlen"]);
        all.map(|one| (address(one), one["broadcast"].as_str(), one["scope"].as_str().unwrap_or_default())).collect()
    }
}

/// Chains by table and name, each with its policy (`-` for a chain of one's own) and its rules in order.
pub type Rules = BTreeMap<(String, String), (String, Vec<Rule>)>;

/// A rule by its parts, each an option with its words and a `!` before it, in no order: between parts there is none.
pub type Rule = BTreeSet<Vec<String>>;

/// The rules of `iptables-save`, or of an input for `iptables-restore`.
pub fn rules(text: &str) -> Result<Rules, String> {
    let mut all = Rules::new();
    let mut table = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            all.insert((table.clone(), name), (words.next().unwrap_or("-").to_owned(), Vec::new()));
        } else if line != "COMMIT" {
            let words = split(line)?;
            let [append, chain, rest @ ..] = &words[..] else { return Err(format!("what is {line}?")) };
            let place = all.get_mut(&(table.clone(), chain.clone())).filter(|_| append == "-A" || append == "--append");
            place.ok_or(format!("no chain for {line}"))?.1.push(rule(rest));
        }
    }
    Ok(all)
}

fn rule(words: &[String]) -> Rule {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut inverted = false;
    for word in words {
        let is_option = word.starts_with('-') && word.len() > 1 && !word[1..].starts_with(|c: char| c.is_ascii_digit());
        if word == "!" {
            inverted = true;
        } else if is_option {
            let mut part: Vec<String> = inverted.then(|| "!".to_owned()).into_iter().collect();
            part.push(option(word).to_owned());
            parts.push(part);
            inverted = false;
        } else if let Some(part) = parts.last_mut() {
            part.push(if part.last().is_some_and(|option| option == "-p") { protocol(word) } else { word.clone() });
        }
    }
    parts.into_iter().collect()
}

/// One of the names that an option has.
fn option(word: &str) -> &str {
    match word {
        "--jump" => "-j",
        "--goto" => "-g",
        "--protocol" | "--proto" => "-p",
        "--match" => "-m",
        "--source" | "--src" => "-s",
        "--destination" | "--dst" => "-d",
        "--in-interface" => "-i",
        "--out-interface" => "-o",
        "--destination-ports" => "--dports",
        "--source-ports" => "--sports",
        other => other,
    }
}

/// A protocol's number, since versions of iptables-save differ in whom they give a name, and which.
fn protocol(word: &str) -> String {
    let known = [("icmp", 1), ("ipencap", 4), ("ipip", 4), ("tcp", 6), ("udp", 17), ("ipv6-icmp", 58), ("icmpv6", 58)];
    let more = [("sctp", 132), ("gre", 47)];
    let number = known.iter().chain(&more).find(|(name, _)| *name == word).map(|(_, number)| number.to_string());
    number.unwrap_or_else(|| word.to_owned())
}

/// The words of a rule; quotes hold words together, a backslash takes the meaning from what follows.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if quoted { Err(format!("a quote is not closed: {line}")) } else { Ok(words) }
}

/// Chains and rules that differ, a line each; empty if both are the same, order of rules included.
pub fn differing_rules(expected: &Rules, seen: &Rules) -> String {
    let mut text = String::new();
    for key in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (expected.get(key), seen.get(key));
        if one != other {
            text += &format!("{key:?}:\n- {one:?}\n+ {other:?}\n");
        }
    }
    text
}

/// A packet as a line of `tcpdump -ne` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Length of the frame; none where the link has no header of its own and tcpdump prints none.
    pub length: Option<u32>,
    /// Source and destination, of the outer packet first.
    pub hops: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// What is in the inner packet, as `ICMP echo request`.
    pub what: String,
}

/// The packets of tcpdump's lines; lines without addresses are left out.
pub fn seen(text: &str) -> Vec<Seen> {
    text.lines().filter_map(seen_in).collect()
}

fn seen_in(line: &str) -> Option<Seen> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |word: &str| word.trim_end_matches(':').parse::<Ipv4Addr>().ok();
    let mut hops = Vec::new();
    let mut end = 0;
    for (at, three) in words.windows(3).enumerate() {
        if let (Some(from), ">", Some(to)) = (address(three[0]), three[1], address(three[2])) {
            hops.push((from, to));
            end = at + 3;
        }
    }
    let ethernet = words[..end].iter().position(|word| *word == "length");
    let length = ethernet.and_then(|at| words.get(at + 1)?.trim_end_matches([':', ',']).parse().ok());
    let what = words[end..].join(" ");
    let what = what.split(',').next().unwrap_or_default().to_owned();
    (!hops.is_empty()).then_some(Seen { length, hops, what })
}
