//! Lines that lose packets or are slow, on a kernel without netem. PURE.
//!
//! Loss becomes a rule of nftables where packets leave the link (netdev, hook egress), and a rate a token bucket
//! (`tbf`). Nothing stands in for a delay. What the rule drops is told to a program that sends on the host itself
//! (ENOBUFS, where it asks for errors); netem keeps that from it.

use std::fmt::Write as _;

use super::{Link, Namespace, Netem, Plan, Qdisc};
use crate::error::{Error, Kind, Result};

/// Whether a plan has a line that does something.
pub fn is_in(plan: &Plan) -> bool {
    plan.namespaces.iter().flat_map(|ns| &ns.links).any(|link| matches!(link.qdisc, Some(Qdisc::Netem(_))))
}

/// Whether something stands in for netem in a plan.
pub fn is_replaced_in(plan: &Plan) -> bool {
    let replaced = |link: &Link| link.loss > 0 || matches!(link.qdisc, Some(Qdisc::Tbf { .. }));
    plan.namespaces.iter().flat_map(|ns| &ns.links).any(replaced)
}

/// The same plan without netem.
///
/// # Errors
/// `Unsupported` if a line has a delay.
pub fn without_netem(mut plan: Plan) -> Result<Plan> {
    for ns in &mut plan.namespaces {
        for link in &mut ns.links {
            if matches!(link.qdisc, Some(Qdisc::Netem(_))) && !replace(link) {
                let what = format!("this kernel has no netem, so {} of {} cannot delay packets", link.name, ns.name);
                return Err(Error::new(Kind::Unsupported, what).hint(
                    "load the module sch_netem, or leave the delay out: loss and rate have a replacement, a delay has none",
                ));
            }
        }
    }
    Ok(plan)
}

/// Replaces a link's netem; false if it has none, or one with a delay, and then nothing changes.
pub(super) fn replace(link: &mut Link) -> bool {
    let Some(Qdisc::Netem(Netem { delay: 0, loss, rate })) = link.qdisc else { return false };
    (link.loss, link.qdisc) = (loss, (rate > 0).then_some(Qdisc::Tbf { rate }));
    true
}

/// Whether links of a namespace lose packets by rules.
pub fn loses(ns: &Namespace) -> bool {
    ns.links.iter().any(|link| link.loss > 0)
}

/// What `nft -f` makes the rules of a namespace of, whatever there was of them.
pub fn nft(ns: &Namespace) -> String {
    let text = "table netdev minik\ndelete table netdev minik\n".to_owned();
    if loses(ns) { text + &table(ns.links.iter().filter(|link| link.loss > 0)) } else { text }
}

/// What `nft -f` adds the rules of these links of.
pub(super) fn table<'l>(links: impl IntoIterator<Item = &'l Link>) -> String {
    let mut text = "table netdev minik {\n".to_owned();
    for link in links {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  chain {} {{\n    type filter hook egress device \"{}\" priority 0; policy accept;\n    {}\n  }}",
            chain(link),
            link.name,
            rule(link)
        );
    }
    text + "}\n"
}

/// nft takes letters, digits and some marks for a name; any other mark is written by its number.
fn chain(link: &Link) -> String {
    let mut name = "out_".to_owned();
    for mark in link.name.chars() {
        let _ = match mark {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => write!(name, "{mark}"),
            _ => write!(name, "/{:x}", u32::from(mark)),
        };
    }
    name
}

/// nft compares with no number that a remainder cannot be.
fn rule(link: &Link) -> String {
    match link.loss {
        ..ALL => format!("numgen random mod {ALL} < {} drop", link.loss),
        ALL.. => "drop".to_owned(),
    }
}

/// A loss of everything.
const ALL: u32 = 1_000_000;

/// The rules of a namespace as facts: `nft netdev minik out_ens33: numgen random mod 1000000 < 10000 drop`.
pub fn facts(ns: &Namespace) -> impl Iterator<Item = String> {
    let losing = ns.links.iter().filter(|link| link.loss > 0);
    losing.map(|link| format!("nft netdev minik {}: {}", chain(link), rule(link)))
}

/// The same of what `nft list ruleset netdev` prints.
pub fn facts_of(listing: &str) -> Vec<String> {
    let (mut table, mut chain) = (String::new(), String::new());
    let mut facts = Vec::new();
    for line in listing.lines().map(str::trim) {
        let opened = |word: &str| line.strip_prefix(word).and_then(|rest| rest.strip_suffix(" {"));
        if let Some(name) = opened("table ") {
            table = name.to_owned();
        } else if let Some(name) = opened("chain ") {
            chain = name.to_owned();
        } else if !line.is_empty() && line != "}" && !line.starts_with("type ") {
            facts.push(format!("nft {table} {chain}: {line}"));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Datapath, LinkKind, Role};

    fn plan(delay: u32, loss: u32, rate: u64) -> Plan {
        let mut ns = Namespace::new("c", "node-1", "node-1", Role::Node);
        let qdisc = Some(Qdisc::Netem(Netem { delay, loss, rate }));
        ns.links.push(Link { qdisc, ..Link::new("ens33", LinkKind::Bridge) });
        Plan { cluster: "c".into(), mode: "m".into(), datapath: Datapath::Kernel, namespaces: vec![ns] }
    }

    #[test]
    fn loss_and_rate_have_a_replacement_and_a_delay_has_none() {
        let plan = |delay, loss, rate| without_netem(plan(delay, loss, rate));
        let both = plan(0, 200_000, 125_000).expect("is replaced");
        let link = both.namespaces[0].link("ens33").expect("is there");
        assert_eq!((link.loss, &link.qdisc), (200_000, &Some(Qdisc::Tbf { rate: 125_000 })));
        assert!(is_replaced_in(&both) && !is_in(&both) && nft(&both.namespaces[0]).contains("< 200000 drop"));
        assert_eq!(
            plan(0, 1, 0).expect("is replaced").namespaces[0].link("ens33").and_then(|link| link.qdisc.clone()),
            None
        );
        let error = plan(1, 1, 1).expect_err("has a delay");
        assert!(error.kind() == Kind::Unsupported && error.to_string().contains("ens33 of node-1"), "{error}");
    }

    #[test]
    fn a_loss_of_everything_is_a_rule_without_chance() {
        let ns = without_netem(plan(0, 1_000_000, 0)).expect("is replaced").namespaces.remove(0);
        assert_eq!(facts(&ns).collect::<Vec<_>>(), ["nft netdev minik out_ens33: drop"]);
        assert!(nft(&ns).contains("policy accept;\n    drop\n"));
    }

    #[test]
    fn what_nft_prints_is_read_as_what_it_was_given() {
        let plan = without_netem(plan(0, 10_000, 0)).expect("is replaced");
        let ns = &plan.namespaces[0];
        let printed = "table netdev minik {\n\tchain out_ens33 {\n\t\ttype filter hook egress device \"ens33\" \
                       priority filter; policy accept;\n\t\tnumgen random mod 1000000 < 10000 drop\n\t}\n}\n";
        assert_eq!(facts_of(printed), facts(ns).collect::<Vec<_>>());
        assert!(facts_of("").is_empty());
    }
}
