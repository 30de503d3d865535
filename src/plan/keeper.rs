//! What the daemons of a real node look after again and again, and how often: a plan says it, the agent does it.
//!
//! Each daemon knows only what it made. So a route that nobody checks stays lost, and a chain of kube-proxy's is none of
//! flanneld's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ipnet::IpNet;
use serde::Serialize;

use super::netfilter::{Chain, Rule, Table, TableName, Target};
use super::{Namespace, Protocol, facts, ipvs, nft, restore};

/// One of a daemon's timers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keeper {
    /// The daemon's name: `flanneld`, `felix`.
    pub daemon: String,
    /// Its period in milliseconds.
    pub every: u32,
    /// What it then looks at, and makes again if it is gone.
    pub keeps: Keeps,
    /// Whether it looks as well when it hears that a link of the namespace went up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_link_up: bool,
}

/// What a daemon looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "sort")]
pub enum Keeps {
    /// Routes that it installed.
    Routes {
        /// Their protocol.
        protocol: Protocol,
        /// Beginning of their device's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// A prefix that all of them are in.
        #[serde(skip_serializing_if = "Option::is_none")]
        within: Option<IpNet>,
    },
    /// A device: that it is there and up, its MTU, its addresses.
    Device {
        /// Its name.
        name: String,
    },
    /// Permanent neighbours and FDB entries of a device.
    Peers {
        /// The device.
        device: String,
    },
    /// ipsets and their members.
    Sets {
        /// Beginning of their names.
        prefix: String,
    },
    /// Virtual servers of IPVS and their real servers; those that are to go go when their connections have ended.
    Servers,
    /// Chains of iptables, and the rules that lead to them.
    Rules(Rules),
    /// Tables of nftables, all that is in them.
    Nftables {
        /// Their name, in either family.
        table: String,
    },
}

/// The part of iptables that a daemon looks after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Beginnings of the names of its chains.
    pub prefixes: Vec<String>,
    /// Beginnings of names that are others' all the same, in every table or in one: `KUBE-HP-`, `filter/KUBE-FIREWALL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// How the comments of its rules begin, wherever they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where in chains of others its rules are.
    pub place: Place,
    /// Whether all of a table's rules are made anew when one is missing.
    pub together: bool,
    /// An empty chain in `mangle` that it looks for in place of everything: if somebody flushed the tables, it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

/// Where a daemon puts a rule into a chain that is not its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At the end (`-A`).
    #[default]
    Last,
    /// As the first (`-I`), whatever comes before it later.
    First,
    /// As the first, and so it shall stay.
    Top,
}

/// What a repair of rules gives to the restore tool, and what it puts back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// Input of `iptables-restore --noflush`; empty if nothing is amiss.
    pub input: String,
    /// What was amiss, in words.
    pub lost: Vec<String>,
}

impl Keeper {
    /// A timer of this daemon with a period in seconds.
    pub fn new(daemon: &str, seconds: u32, keeps: Keeps) -> Keeper {
        Keeper { daemon: daemon.to_owned(), every: seconds * 1000, keeps, on_link_up: false }
    }

    /// The same of a daemon that looks at once when a link goes up, too.
    pub fn and_on_link_up(self) -> Keeper {
        Keeper { on_link_up: true, ..self }
    }
}

impl Keeps {
    /// The routes of a protocol.
    pub fn routes(protocol: Protocol) -> Keeps {
        Keeps::Routes { protocol, device: None, within: None }
    }

    /// The facts of a namespace that are looked after, as [`facts`] words them; rules are looked at as a whole instead.
    pub fn facts(&self, ns: &Namespace) -> BTreeSet<String> {
        match self {
            Keeps::Routes { protocol, device, within } => {
                let by = |name: &Option<String>, prefix: &String| name.as_ref().is_some_and(|n| n.starts_with(prefix));
                let own = ns.routes.iter().filter(|route| {
                    route.protocol == *protocol
                        && device.as_ref().is_none_or(|prefix| by(&route.dev, prefix))
                        && within.as_ref().is_none_or(|net| net.contains(&route.dst))
                });
                own.map(facts::route_fact).collect()
            }
            Keeps::Device { name } => {
                let link = ns.link(name).into_iter();
                link.flat_map(|link| {
                    let addresses = link.addresses.iter().map(|address| facts::address_fact(name, address));
                    addresses.chain([facts::link_fact(link)]).collect::<Vec<_>>()
                })
                .collect()
            }
            Keeps::Peers { device } => {
                let neighbours = ns.neighbours.iter().filter(|one| one.dev == *device).map(facts::neighbour_fact);
                neighbours.chain(ns.fdb.iter().filter(|one| one.dev == *device).map(facts::fdb_fact)).collect()
            }
            Keeps::Sets { prefix } => {
                let own: Vec<_> = ns.sets.iter().filter(|set| set.name.starts_with(prefix)).cloned().collect();
                facts::set_facts(&restore::ipset_restore(&own))
            }
            Keeps::Nftables { table } => {
                let own: Vec<_> = ns.nft.iter().filter(|one| one.name == *table).cloned().collect();
                nft::facts::of_tables(&own)
            }
            Keeps::Servers => ns.ipvs.iter().flat_map(ipvs::facts).collect(),
            Keeps::Rules(_) => BTreeSet::new(),
        }
    }
}

/// The chains of a dump by table and name, with their rules.
type Dump<'d> = BTreeMap<(&'d str, &'d str), Vec<&'d str>>;

fn parse(dump: &str) -> Dump<'_> {
    let (mut table, mut chains) = ("", Dump::new());
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rest) = line.strip_prefix(':') {
            chains.entry((table, rest.split(' ').next().unwrap_or_default())).or_default();
        } else if let Some(rest) = line.strip_prefix("-A ") {
            chains.entry((table, rest.split(' ').next().unwrap_or_default())).or_default().push(line);
        }
    }
    chains
}

impl Rules {
    /// The table that tells alone whether there is anything to repair, if one does: its canary's.
    pub fn telltale(&self) -> Option<TableName> {
        self.canary.as_ref().map(|_| TableName::Mangle)
    }

    /// What leads from a dump of a kernel's rules ([`restore::normalised`]) back to what this daemon has made of the plan.
    /// Of a daemon with a canary the dump of its [`telltale`](Self::telltale) is enough as long as the canary lives.
    pub fn repair(&self, planned: &[Table], dump: &str) -> Repair {
        let live = parse(dump);
        let canary_lives = |canary: &String| live.contains_key(&("mangle", canary.as_str()));
        if self.canary.as_ref().is_some_and(canary_lives) {
            return Repair::default();
        }
        let mut repair = Repair::default();
        planned.iter().for_each(|table| self.repair_table(table, &live, &mut repair));
        repair
    }

    fn repair_table(&self, table: &Table, live: &Dump, repair: &mut Repair) {
        let name = table.name.as_str();
        let (own, others): (Vec<&Chain>, Vec<&Chain>) = table.chains.iter().partition(|c| self.is_own(name, &c.name));
        let mut spoiled = Vec::new();
        let before = repair.lost.len();
        for chain in &own {
            let wanted: Vec<String> = chain.rules.iter().map(|rule| restore::append(&chain.name, rule)).collect();
            let Some(there) = live.get(&(name, chain.name.as_str())) else {
                repair.lost.push(format!("chain {} of {name}", chain.name));
                spoiled.push(*chain);
                continue;
            };
            if wanted.iter().eq(there.iter()) {
                continue;
            }
            let lost: Vec<&String> = wanted.iter().filter(|line| !there.contains(&line.as_str())).collect();
            repair.lost.extend(lost.iter().map(|line| format!("{name}: {line}")));
            if lost.is_empty() {
                repair.lost.push(format!("the order in chain {} of {name}", chain.name));
            }
            spoiled.push(*chain);
        }
        let mut jumps: Vec<String> = others.iter().flat_map(|chain| self.jumps(name, chain, live, repair)).collect();
        if repair.lost.len() == before {
            return;
        }
        if self.together {
            spoiled = own;
            jumps = others.iter().flat_map(|chain| self.anew(name, chain, live)).collect();
        }
        let text = &mut repair.input;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "*{name}");
        spoiled.iter().for_each(|chain| text.push_str(&format!(":{} - [0:0]\n", chain.name)));
        for chain in spoiled {
            chain.rules.iter().for_each(|rule| text.push_str(&format!("{}\n", restore::append(&chain.name, rule))));
        }
        jumps.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str("COMMIT\n");
    }

    fn is_own(&self, table: &str, chain: &str) -> bool {
        let others = |except: &String| match except.split_once('/') {
            Some((other, prefix)) => other == table && chain.starts_with(prefix),
            None => chain.starts_with(except.as_str()),
        };
        self.prefixes.iter().any(|prefix| chain.starts_with(prefix.as_str())) && !self.except.iter().any(others)
    }

    fn is_own_rule(&self, table: &str, rule: &Rule) -> bool {
        let leads = match &rule.target {
            Some(Target::Jump { chain } | Target::Goto { chain }) => self.is_own(table, chain),
            _ => false,
        };
        let begins = |prefix: &String| rule.comments.iter().any(|comment| comment.starts_with(prefix.as_str()));
        leads || self.comment.as_ref().is_some_and(begins)
    }

    /// Its rules in somebody else's chain: those at its head, and those behind others.
    fn own_rules(&self, table: &str, chain: &Chain) -> (Vec<String>, Vec<String>) {
        let head = chain.rules.iter().take_while(|rule| self.is_own_rule(table, rule)).count();
        let lines = |rules: &[Rule]| -> Vec<String> {
            let own = rules.iter().filter(|rule| self.is_own_rule(table, rule));
            own.map(|rule| restore::append(&chain.name, rule)).collect()
        };
        (lines(&chain.rules[..head]), lines(&chain.rules[head..]))
    }

    /// What puts back its rules in somebody else's chain.
    fn jumps(&self, table: &str, chain: &Chain, live: &Dump, repair: &mut Repair) -> Vec<String> {
        let (head, rest) = self.own_rules(table, chain);
        let none = Vec::new();
        let there = live.get(&(table, chain.name.as_str())).unwrap_or(&none);
        let lost: Vec<&String> = head.iter().chain(&rest).filter(|line| !there.contains(&line.as_str())).collect();
        repair.lost.extend(lost.iter().map(|line| format!("{table}: {line}")));
        let on_top = head.iter().eq(there.iter().take(head.len()));
        match self.place {
            Place::Top if !lost.is_empty() || !on_top => {
                if lost.is_empty() {
                    repair.lost.push(format!("the first place in chain {} of {table}", chain.name));
                }
                self.anew(table, chain, live)
            }
            Place::Top => Vec::new(),
            Place::First => lost.iter().rev().map(|line| inserted(&chain.name, line)).collect(),
            Place::Last => lost.into_iter().cloned().collect(),
        }
    }

    /// What takes its rules out of somebody else's chain and puts them back in their places.
    fn anew(&self, table: &str, chain: &Chain, live: &Dump) -> Vec<String> {
        let (head, rest) = self.own_rules(table, chain);
        let there = live.get(&(table, chain.name.as_str())).into_iter().flatten();
        let own = there.filter(|line| head.iter().chain(&rest).any(|own| own == *line));
        let mut lines: Vec<String> = own.map(|line| line.replacen("-A ", "-D ", 1)).collect();
        match self.place {
            Place::Last => lines.extend(head),
            Place::First | Place::Top => lines.extend(head.iter().rev().map(|line| inserted(&chain.name, line))),
        }
        lines.extend(rest);
        lines
    }
}

/// `-A chain …` as the first rule of the chain.
fn inserted(chain: &str, line: &str) -> String {
    line.replacen(&format!("-A {chain}"), &format!("-I {chain} 1"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::netfilter::{Policy, TableName};

    fn table() -> Table {
        let jump = |to: &str| Rule { target: Some(Target::Jump { chain: to.into() }), ..Rule::default() };
        let chain = |name: &str, policy, to: &[&str]| Chain {
            name: name.into(),
            policy,
            rules: to.iter().map(|to| jump(to)).collect(),
        };
        let chains = vec![
            chain("FORWARD", Some(Policy::Accept), &["cali-F", "KUBE-F", "FLANNEL-F"]),
            chain("FLANNEL-F", None, &["ACCEPT1"]),
            chain("KUBE-CANARY", None, &[]),
            chain("KUBE-F", None, &["x"]),
            chain("cali-F", None, &["y", "z"]),
        ];
        Table { name: TableName::Mangle, chains }
    }

    fn rules(prefix: &str, place: Place) -> Rules {
        Rules { prefixes: vec![prefix.into()], place, ..Rules::default() }
    }

    fn dump_without(line: &str) -> String {
        restore::iptables_restore(&[table()]).replace(&format!("{line}\n"), "")
    }

    #[test]
    fn a_name_can_be_others_in_one_table_alone() {
        let dump = "*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
        let lost = |except: &str| {
            let rules = Rules { except: vec![except.into()], ..rules("KUBE-", Place::First) };
            rules.repair(&[table()], dump).lost
        };
        assert_eq!(lost("KUBE-F"), ["chain KUBE-CANARY of mangle"]);
        assert_eq!(lost("mangle/KUBE-F"), lost("KUBE-F"));
        assert_eq!(lost("filter/KUBE-F").len(), 3);
    }

    #[test]
    fn each_daemon_repairs_its_own() {
        let dump = dump_without("-A FORWARD -j KUBE-F");
        assert_eq!(rules("FLANNEL-", Place::Last).repair(&[table()], &dump), Repair::default());
        assert_eq!(rules("cali-", Place::Top).repair(&[table()], &dump), Repair::default());
        let repair = rules("KUBE-", Place::First).repair(&[table()], &dump);
        assert_eq!(repair.input, "*mangle\n-I FORWARD 1 -j KUBE-F\nCOMMIT\n");
        assert_eq!(repair.lost, ["mangle: -A FORWARD -j KUBE-F"]);
    }

    #[test]
    fn flanneld_makes_all_of_a_table_anew() {
        let flannel = Rules { together: true, ..rules("FLANNEL-", Place::Last) };
        let repair = flannel.repair(&[table()], &dump_without("-A FLANNEL-F -j ACCEPT1"));
        let anew = "*mangle\n:FLANNEL-F - [0:0]\n-A FLANNEL-F -j ACCEPT1\n-D FORWARD -j FLANNEL-F\n-A FORWARD -j FLANNEL-F\nCOMMIT\n";
        assert_eq!(repair.input, anew);
    }

    #[test]
    fn felix_wants_the_first_place_back() {
        let whole = restore::iptables_restore(&[table()]);
        let dump = whole.replace("-A FORWARD -j cali-F", "-A FORWARD -j other\n-A FORWARD -j cali-F");
        let repair = rules("cali-", Place::Top).repair(&[table()], &dump);
        assert_eq!(repair.input, "*mangle\n-D FORWARD -j cali-F\n-I FORWARD 1 -j cali-F\nCOMMIT\n");
    }

    #[test]
    fn with_a_canary_nothing_else_is_looked_at() {
        let proxy = Rules { canary: Some("KUBE-CANARY".into()), ..rules("KUBE-", Place::First) };
        let dump = dump_without("-A KUBE-F -j x");
        assert_eq!(proxy.repair(&[table()], &dump), Repair::default());
        let repair = proxy.repair(&[table()], &dump.replace(":KUBE-CANARY - [0:0]\n", ""));
        assert_eq!(repair.input, "*mangle\n:KUBE-CANARY - [0:0]\n:KUBE-F - [0:0]\n-A KUBE-F -j x\nCOMMIT\n");
    }
}
