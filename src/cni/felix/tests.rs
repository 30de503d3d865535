use std::collections::BTreeMap;

use super::*;
use crate::cni;
use crate::plan::{Datapath, Namespace};

/// Ids of a chain's rules on a node of the document's cluster.
fn ids(node: &Namespace, table: TableName, chain: &str) -> Vec<String> {
    let table = node.tables.iter().find(|t| t.name == table).unwrap();
    let chain = table.chains.iter().find(|c| c.name == chain).unwrap_or_else(|| panic!("no chain {chain}"));
    chain.rules.iter().map(|rule| rule.comments[0].trim_start_matches("cali:").to_string()).collect()
}

fn node_1(random_fully: bool) -> Namespace {
    let mut cluster = cni::tests::article();
    cluster.network.random_fully = random_fully;
    cni::plan(&cluster, Datapath::Kernel).unwrap().namespace("node-1").unwrap().clone()
}

#[test]
fn every_static_rule_has_the_published_id() {
    use TableName::{Filter, Mangle, Nat, Raw};
    let node = node_1(false);
    let published: &[(TableName, &str, &[&str])] = &[
        (Filter, "INPUT", &["Cz_u1IQiXIMmKD4c"]),
        (Filter, "FORWARD", &["wUHhoiAYhphO9Mso", "S93hcgKJrXEqnTfs", "mp77cMpurHhyjLrM"]),
        (Filter, "OUTPUT", &["tVnHkvAo15HuiPy0"]),
        (Nat, "PREROUTING", &["6gwbT8clXdHdC1b1"]),
        (Nat, "OUTPUT", &["tVnHkvAo15HuiPy0"]),
        (Nat, "POSTROUTING", &["O3lYWMrLQYEMJtB5"]),
        (Mangle, "PREROUTING", &["6gwbT8clXdHdC1b1"]),
        (Mangle, "POSTROUTING", &["O3lYWMrLQYEMJtB5"]),
        (Raw, "PREROUTING", &["6gwbT8clXdHdC1b1"]),
        (Raw, "OUTPUT", &["tVnHkvAo15HuiPy0"]),
        (
            Filter,
            "cali-FORWARD",
            &[
                "vjrMJCRpqwy5oRoX",
                "A_sPAO0mcxbT9mOV",
                "8ZoYfO5HKXWbB3pk",
                "jdEuaPBe14V2hutn",
                "12bc6HljsMKsmfr-",
                "NOSxoaGx8OIstr1z",
            ],
        ),
        (
            Filter,
            "cali-INPUT",
            &[
                "PajejrV4aFdkZojI",
                "_wjq-Yrma8Ly1Svo",
                "8TZGxLWh_Eiz66wc",
                "6McIeIDvPdL6PE1T",
                "YGPbrUms7NId8xVa",
                "2gmY7Bg2i0i84Wk_",
                "q-Vz2ZT9iGE331LL",
            ],
        ),
        (Filter, "cali-wl-to-host", &["Ee9Sbo10IpVujdIY", "nSZbcOoG1xPONxb8"]),
        (
            Filter,
            "cali-OUTPUT",
            &[
                "Mq1_rAdXXH3YkrzW",
                "69FkRTJDvD5Vu6Vl",
                "AnEsmO6bDZbQntWW",
                "9e9Uf3GU5tX--Lxy",
                "0f3LDz_VKuHFaA2K",
                "OgU2f8BVEAZ_fwkq",
            ],
        ),
        (Nat, "cali-PREROUTING", &["r6XmIziWUJsdOK6Z"]),
        (Nat, "cali-OUTPUT", &["GBTAv2p5CwevEyJm"]),
        (Nat, "cali-POSTROUTING", &["Z-c7XtVd2Bq7s_hA", "nYKhEzDlr11Jccal", "JHlpT-eSqR1TvyYm"]),
        (Nat, "cali-nat-outgoing", &["Dw4T8UWPnCLxRJiI"]),
        (Mangle, "cali-PREROUTING", &["6BJqBjBC7crtA-7-", "KX7AGNd6rMcDUai6", "wNH7KsA3ILKJBsY9", "Cg96MgVuoPm7UMRo"]),
        (Mangle, "cali-POSTROUTING", &["NX-7roTexQ3fGRfU", "nnqPh8lh2VOogSzX", "nquN8Jw8Tz72pcBW", "jWrgvDQ0xEZHmta3"]),
        (
            Raw,
            "cali-PREROUTING",
            &["XFX5xbM8B9qR10JG", "EWMPb0zVROM-woQp", "V6ooGP15glg7wm91", "RMTzKqp0j735XfY4", "T8-Zfumo2dKygI73"],
        ),
        (Raw, "cali-OUTPUT", &["njdnLwYeGqBJyMxW", "rz86uTUcEZAfFsh7", "pN0F5zD0b8yf9W1Z"]),
        (Filter, "cali-pri-kns.default", &["7Fnh7Pv3_98FtLW7", "ZbV6bJXWSRefjK0u"]),
    ];
    for (table, chain, expected) in published {
        assert_eq!(ids(&node, *table, chain), *expected, "{} {chain}", table.as_str());
    }
}

#[test]
fn random_fully_changes_the_masquerade_ids() {
    let node = node_1(true);
    assert_eq!(ids(&node, TableName::Nat, "cali-POSTROUTING")[2], "SXWvdsbh4Mw7wOln");
    assert_eq!(ids(&node, TableName::Nat, "cali-nat-outgoing"), ["flqWnvo8yq4ULQLa"]);
}

#[test]
fn only_chains_that_something_calls_exist() {
    use crate::plan::netfilter::Target;
    for table in node_1(false).tables {
        let mut called: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
            if let Some(Target::Jump { chain } | Target::Goto { chain }) = &rule.target {
                *called.entry(chain).or_default() += 1;
            }
        }
        let user: Vec<&str> = table.chains.iter().filter(|c| c.policy.is_none()).map(|c| c.name.as_str()).collect();
        assert_eq!(called.keys().copied().collect::<Vec<_>>(), user, "{}", table.name.as_str());
    }
}

/// The last id of a chain made of these rules.
fn last_id(chain: &str, rules: Vec<Rule>) -> String {
    let last = text::with_ids(chain, rules).pop().unwrap();
    last.comments[0].trim_start_matches("cali:").to_string()
}

/// Rules of other versions and settings, of which ids are published too: the text is hashed rightly, not by chance.
#[test]
fn rules_that_minik_does_not_program_would_have_the_published_ids_too() {
    use super::static_chains::{Facts, filter, jump, marked, nat, noted, raw, rule};
    use crate::plan::netfilter::Target;
    let facts = |tunnel, random_fully| Facts {
        family: Family::Inet,
        ipip: tunnel == ["tunl0"],
        vxlan: tunnel == ["vxlan.calico"],
        tunnels: tunnel,
        nat_outgoing: true,
        random_fully,
        ipvs: false,
    };
    let rules = |draft: Draft, chain: &str| draft.user.into_iter().find(|(name, _)| name == chain).unwrap().1;

    let mut to_host = rules(filter(&facts(&["tunl0"], false)), "cali-wl-to-host");
    to_host[1].target = Some(Target::Return);
    assert_eq!(last_id("cali-wl-to-host", to_host), "sO1YJiY1b553biDi", "DefaultEndpointToHostAction: RETURN");

    let vxlan = rules(nat(&facts(&["vxlan.calico"], true)), "cali-POSTROUTING");
    assert_eq!(last_id("cali-POSTROUTING", vxlan), "e9dnSgSVNmIcpVhP", "VXLAN, --random-fully");

    let mut output = rules(filter(&facts(&["tunl0"], false)), "cali-OUTPUT");
    output[4].matches.clear();
    assert_eq!(last_id("cali-OUTPUT", output.clone()), "tvSSMDBWrme3CUqM", "up to 3.17, last rule");
    output.pop();
    assert_eq!(last_id("cali-OUTPUT", output), "OB2pzPrvQn6PC89t", "up to 3.17, no --ctstate");

    let mut forward = rules(filter(&facts(&["tunl0"], false)), "cali-FORWARD");
    forward[5] = noted("Policy explicitly accepted packet.", [marked(mark::ACCEPT)], Target::Accept);
    assert_eq!(last_id("cali-FORWARD", forward), "MH9kMp5aNICL-Olv", "up to 3.15");

    let mut prerouting = rules(raw(), "cali-PREROUTING");
    prerouting.truncate(2);
    prerouting.push(rule([marked(mark::SCRATCH0)], jump("cali-rpf-skip")));
    assert_eq!(last_id("cali-PREROUTING", prerouting), "PWuxTAIaFCtsg5Qa", "from 3.23 on");
}

/// A later version says "IPv4 VXLAN"; of its rules ids are published (confidential-containers/cloud-api-adaptor, issue
/// 244: `vxlanMode: Always`, no IPIP). Each id covers the whole chain above it.
#[test]
fn vxlan_rules_have_the_published_ids_but_for_the_wording() {
    use super::static_chains::{Facts, filter};
    let facts = Facts {
        family: Family::Inet,
        ipip: false,
        vxlan: true,
        tunnels: &["vxlan.calico"],
        nat_outgoing: true,
        random_fully: true,
        ipvs: false,
    };
    let reworded = |chain: &str, count: usize| -> Vec<Rule> {
        let rules = filter(&facts).user.into_iter().find(|(name, _)| name == chain).unwrap().1;
        let reword = |mut rule: Rule| {
            rule.comments.iter_mut().for_each(|comment| *comment = comment.replace(" VXLAN", " IPv4 VXLAN"));
            rule
        };
        rules.into_iter().take(count).map(reword).collect()
    };
    assert_eq!(last_id("cali-INPUT", reworded("cali-INPUT", 1)), "MYAij0dXtIVCOZ-i");
    assert_eq!(last_id("cali-INPUT", reworded("cali-INPUT", 2)), "c3JpWekSTKWcdGH0");
    assert_eq!(last_id("cali-OUTPUT", reworded("cali-OUTPUT", 3)), "gPT-T3DOftxv-f7s");
}

#[test]
fn interfaces_are_dispatched_by_the_first_character_that_differs() {
    use crate::plan::netfilter::{Match, Target};
    let cluster = cni::tests::article();
    // Veths: cali14de3927136, cali813929a4a7b, cali84261f2dfa9, calieb588c579e3, of which two begin with `cali8`.
    let pods: Vec<&Pod> = cluster.pods.iter().collect();
    let chains: BTreeMap<String, Vec<Rule>> = endpoints::chains(&pods).into_iter().collect();
    let shape = |chain: &str| -> Vec<String> {
        let words = |rule: &Rule| match (&rule.matches[..], &rule.target) {
            ([Match::InInterface { name }], Some(Target::Goto { chain })) => format!("{name} {chain}"),
            ([], Some(Target::Drop)) => "drop".to_string(),
            other => panic!("{other:?}"),
        };
        chains[chain].iter().map(words).collect()
    };
    assert_eq!(
        shape("cali-from-wl-dispatch"),
        [
            "cali14de3927136 cali-fw-cali14de3927136",
            "cali8+ cali-from-wl-dispatch-8",
            "calieb588c579e3 cali-fw-calieb588c579e3",
            "drop"
        ]
    );
    assert_eq!(
        shape("cali-from-wl-dispatch-8"),
        ["cali813929a4a7b cali-fw-cali813929a4a7b", "cali84261f2dfa9 cali-fw-cali84261f2dfa9", "drop"]
    );
    let one: BTreeMap<String, Vec<Rule>> = endpoints::chains(&pods[..1]).into_iter().collect();
    assert_eq!(one["cali-from-wl-dispatch"].len(), 2);
    let none: BTreeMap<String, Vec<Rule>> = endpoints::chains(&[]).into_iter().collect();
    assert_eq!(none["cali-to-wl-dispatch"].len(), 1);
}

/// A node of v3.17 with IPIP whose kube-proxy works by IPVS, with five pods (`iptables -L -n -v` of a worker, published).
#[test]
fn ipvs_brings_the_published_rules() {
    use super::static_chains::{Facts, filter};
    let facts = Facts {
        family: Family::Inet,
        ipip: true,
        vxlan: false,
        tunnels: &["tunl0"],
        nat_outgoing: true,
        random_fully: false,
        ipvs: true,
    };
    let interfaces = ["cali27d5a8fe8ae", "cali2aef8851418", "cali7aefa6d70b6", "cali9819c942018", "calia839c1cc9c9"];
    let mut chains: BTreeMap<String, Vec<Rule>> = filter(&facts).user.into_iter().collect();
    chains.extend(ipvs::chains(&interfaces.map(str::to_owned).into(), Family::Inet));
    // Before v3.18.
    chains.get_mut("cali-OUTPUT").unwrap().iter_mut().for_each(|rule| {
        rule.matches.retain(|one| !matches!(one, crate::plan::netfilter::Match::CtState { .. }));
    });
    for (chain, expected) in [
        (
            "cali-INPUT",
            "PajejrV4aFdkZojI _wjq-Yrma8Ly1Svo ss8lEMQsXi-s6qYT PgIW-V0nEjwPhF_8 QMJlDwlS0OjHyfMN nDRe73txrna-aZjG \
             iX2AYvqGXaVqwkro bhpnxD5IRtBP8KW0 H5_bccAbHV0sooVy inBL01YlfurT0dbI",
        ),
        (
            "cali-OUTPUT",
            "Mq1_rAdXXH3YkrzW 5Z67OUUpTOM7Xa1a M2Wf0OehNdig8MHR AJBkLho_0Qd8LNr3 iz2RWXlXJDUfsLpe hXojbnLundZDgZyw \
             wankpMDC2Cy1KfBv",
        ),
        ("cali-forward-check", "Pbldlb4FaULvpdD8 ZD-6UxuUtGW-xtzg CbPfUajQ2bFVnDq4 jmhU0ODogX-Zfe5g"),
        (
            "cali-forward-endpoint-mark",
            "O0SmFDrnm7KggWqW aFl0WFKRxDqj8oA6 AZKVrO3i_8cLai5f 96HaP1sFtb-NYoYA VxO6hyNWz62YEtul",
        ),
        (
            "cali-from-endpoint-mark",
            "yrNYN7JSyKTMrK2e Mof1pl96ntHWNQs1 P5K9PLTqVKy5i_1_ fQ0ik3KiJzTh9I70 gitZnAAukiLAmCUI tej56hiPcjcRGpe6",
        ),
        (
            "cali-set-endpoint-mark",
            "tz9NBFniulUgGBjW IIdcC1Nc8DMJPOmV HhHRDuuRHawybzO0 s0llq7oHvWXgtWHF WvxmRu87ZdkMFZfN 5mtFm2IJrCxBoUiE",
        ),
        ("cali-set-endpoint-mark-2", "1Ezy3UuQellelUY6 JdjymFzDaTn6R8OT"),
        ("cali-sm-cali27d5a8fe8ae", "5YcUdcJi9FRaL31s"),
        ("cali-sm-cali2aef8851418", "wNB3cxkn8Zy4hVaZ"),
        ("cali-sm-cali7aefa6d70b6", "iCSqkzn6SmXohZ0r"),
        ("cali-sm-cali9819c942018", "7ewcJAgujCj_O-At"),
        ("cali-sm-calia839c1cc9c9", "gDdTkl18TQmHodkw"),
    ] {
        let rules = text::with_ids(chain, chains[chain].clone());
        let ids: Vec<&str> = rules.iter().map(|rule| rule.comments[0].trim_start_matches("cali:")).collect();
        assert_eq!(ids.join(" "), expected, "{chain}");
    }
}
