//! From the first divergence to its likely cause and its cure: what the live kernel holds at that place, against
//! the plan.

use std::collections::BTreeMap;

use super::checks::Check;
use super::compare::Divergence;
use crate::kernel::drift;
use crate::packet::{Body, Direction};
use crate::plan::{Datapath, LinkKind, Namespace, Plan};
use crate::predict::{Hop, Purpose};

/// Differences between plan and kernel that are named at most for one divergence.
const NAMED_MAX: usize = 3;

/// What the kernel holds, read once for each namespace that is asked about.
#[derive(Debug, Default)]
pub struct Live {
    drift: BTreeMap<String, Vec<String>>,
}

impl Live {
    /// What differs from the plan in a namespace. What cannot be read is said in place of it.
    fn drift(&mut self, ns: &Namespace) -> &[String] {
        self.drift.entry(ns.name.clone()).or_insert_with(|| match drift::of_routing(ns) {
            Ok(drift) => drift.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("cannot read {}: {error}", ns.netns)],
        })
    }
}

/// The divergence, the likely cause and the cure, in one paragraph.
pub fn explain(plan: &Plan, check: &Check, divergence: &Divergence, live: &mut Live) -> String {
    let mut text = divergence.to_string();
    let places = suspects(plan, check, divergence);
    let mut drift: Vec<String> = places.iter().flat_map(|ns| live.drift(ns).to_vec()).take(NAMED_MAX).collect();
    if drift.is_empty() {
        // Nothing wrong at the place itself: whoever is on the way may have kept it from going on.
        let way = on_the_way(plan, check);
        drift = way.iter().flat_map(|ns| live.drift(ns).to_vec()).take(NAMED_MAX).collect();
    }
    if !drift.is_empty() {
        let cure = "put it as planned by hand, or build the cluster anew: `minik up TOPOLOGY --replace`";
        text.push_str(&format!("\ncause: {}\ncure: {cure}", drift.join("; ")));
    } else if let Some(hint) = hint(plan, check, divergence) {
        let hint = if is_v6(check) { in_words_of_v6(&hint) } else { hint };
        text.push_str(&format!("\nlook at: {hint}"));
    }
    text
}

/// Whether a check is of IPv6.
fn is_v6(check: &Check) -> bool {
    check.protocol == "nd" || check.protocol.ends_with('6')
}

/// A hint with the names that tools and sysctls have for IPv6.
fn in_words_of_v6(hint: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("`iptables", "`ip6tables"),
        ("`ip route", "`ip -6 route"),
        ("`ip neigh", "`ip -6 neigh"),
        ("net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"),
    ];
    NAMES.iter().fold(hint.to_owned(), |hint, (four, six)| hint.replace(four, six))
}

/// The namespaces that may be at fault, the most likely one first.
fn suspects<'a>(plan: &'a Plan, check: &Check, divergence: &Divergence) -> Vec<&'a Namespace> {
    let names: Vec<&str> = match divergence {
        Divergence::Missing { hop, after, purpose, .. } => match (after, purpose) {
            (Some(after), _) => vec![&after.namespace, &hop.namespace],
            // Nothing of the answer: whoever should have sent it did not, or never had the whole request.
            (None, _) => vec![&hop.namespace, &check.from],
        },
        Divergence::Field { hop, .. } => {
            let before = check.expected.hops().take_while(|other| *other != &**hop).last();
            vec![before.map_or(hop.namespace.as_str(), |before| before.namespace.as_str()), &hop.namespace]
        }
        Divergence::Extra { seen } => vec![&seen.namespace],
    };
    let mut found: Vec<&Namespace> = Vec::new();
    for ns in names.iter().filter_map(|name| plan.namespace(name)) {
        if !found.iter().any(|known| known.name == ns.name) {
            found.push(ns);
        }
    }
    found
}

fn on_the_way<'a>(plan: &'a Plan, check: &Check) -> Vec<&'a Namespace> {
    let passes = |ns: &&Namespace| check.expected.hops().any(|hop| hop.namespace == ns.name);
    plan.namespaces.iter().filter(passes).collect()
}

/// What a person would look at, where routes and links are as planned: rules, sysctls, the tunnel's process.
fn hint(plan: &Plan, check: &Check, divergence: &Divergence) -> Option<String> {
    match divergence {
        Divergence::Missing { hop, after, purpose, .. } => {
            let Some(after) = after else { return Some(nothing_sent(check, hop, *purpose)) };
            let ns = plan.namespace(&after.namespace)?;
            Some(format!("{}: {}", after.namespace, between(plan, ns, after, hop)))
        }
        Divergence::Field { hop, field, .. } => Some(format!("{}: {}", hop.namespace, field_hint(field))),
        Divergence::Extra { seen } => Some(format!(
            "{}: a bridge that floods, `tc filter`, or a TEE rule (`tc filter show dev {}`, `iptables -t mangle -S`)",
            seen.namespace, seen.interface
        )),
    }
}

fn nothing_sent(check: &Check, hop: &Hop, purpose: Purpose) -> String {
    match purpose {
        Purpose::Request => format!("{}: is {} up, is it there?", check.from, hop.interface),
        Purpose::Answer if check.protocol == "arp" => format!(
            "{}: the address must be its own, or `sysctl net.ipv4.conf.{}.proxy_arp` 1, with a route to the address elsewhere",
            hop.namespace, hop.interface
        ),
        Purpose::Answer if check.protocol == "nd" => format!(
            "{}: the address must be {}'s own (`ip -6 address`), and INPUT and OUTPUT must pass neighbour discovery (`ip6tables -vS`)",
            hop.namespace, hop.interface
        ),
        Purpose::Answer | Purpose::Error => {
            format!("{}: INPUT and OUTPUT (`iptables -S`), `sysctl net.ipv4.icmp_echo_ignore_all`", hop.namespace)
        }
    }
}

/// What stands between the last frame that was seen and the first one that was not.
fn between(plan: &Plan, ns: &Namespace, after: &Hop, hop: &Hop) -> String {
    let tunnel = |name: &str| ns.link(name).map(|link| &link.kind).filter(|kind| kind.is_tunnel());
    if after.namespace != hop.namespace {
        return format!("is the other end of {} up?", after.interface);
    }
    if let (true, Some(kind)) = (encapsulated(after), tunnel(&hop.interface)) {
        let what = what(kind);
        return format!(
            "INPUT drops {what} (`iptables -vS INPUT`, `iptables -vS cali-INPUT`), a node is missing in the set (`ipset list`), or {} is down{}",
            hop.interface,
            serving(plan, kind)
        );
    }
    if let (Direction::Out, Some(kind)) = (after.direction, tunnel(&after.interface)) {
        let entries = match kind {
            LinkKind::Vxlan(_) => format!("no FDB entry for it (`bridge fdb show dev {}`)", after.interface),
            _ => "no neighbour for the gateway".to_owned(),
        };
        return format!("OUTPUT drops {} (`iptables -vS OUTPUT`), or {entries}{}", what(kind), serving(plan, kind));
    }
    if let (Direction::Out, Some(kind)) = (hop.direction, tunnel(&hop.interface))
        && !serving(plan, kind).is_empty()
    {
        return format!("{} takes nothing while nobody serves it{}", hop.interface, serving(plan, kind));
    }
    let bridge = |name: &str| ns.link(name).and_then(|link| link.master.clone());
    match (bridge(&after.interface), bridge(&hop.interface)) {
        (Some(from), Some(to)) if from == to => format!(
            "not passed on by the bridge {to}: FORWARD by br_netfilter (`iptables -vS FORWARD`), `bridge fdb show br {to}`, hairpin (`bridge -d link show`)"
        ),
        _ => format!(
            "dropped between {} and {}: FORWARD (`iptables -vS FORWARD`), raw PREROUTING's rpfilter, `ip route get`, `ip neigh`",
            after.interface, hop.interface
        ),
    }
}

/// Whether a frame carries a packet in a packet.
fn encapsulated(hop: &Hop) -> bool {
    matches!(&hop.frame.body, Body::Ip(packet) if packet.headers().count() > 1)
}

/// What a tunnel device sends and takes.
fn what(kind: &LinkKind) -> String {
    match kind {
        LinkKind::Vxlan(vxlan) => format!("UDP to port {}", vxlan.port),
        LinkKind::Udp(tunnel) => format!("UDP to port {}", tunnel.port),
        _ => "IP in IP".to_owned(),
    }
}

/// Who else may be at fault where the agent carries a tunnel's packets.
fn serving(plan: &Plan, kind: &LinkKind) -> &'static str {
    let by_agent = matches!(kind, LinkKind::Udp(_)) || kind.is_ipip() && plan.datapath == Datapath::Userspace;
    if by_agent { "; does the agent run (`minik status`, `minik agent restart`)?" } else { "" }
}

fn field_hint(field: &str) -> &'static str {
    match field.trim_start_matches("outer ").trim_start_matches("inner ") {
        "TTL" => "a TTL target (`iptables -t mangle -S`), or one router more or less on the way",
        "hop limit" => "an HL target (`iptables -t mangle -S`), or one router more or less on the way",
        "source" => "masquerade (`iptables -t nat -vS`, `ipset list`), or another source address (`ip route get`)",
        "destination" => "a DNAT rule (`iptables -t nat -vS`), or another gateway (`ip route`)",
        "DF" => "`ip -d link`: pmtudisc of the tunnel",
        "destination MAC" | "source MAC" => "`ip neigh` and `ip link`: another Ethernet address",
        "VNI" => "another network's identifier (`ip -d link`)",
        "length" | "IP length" | "MF" | "fragment offset" | "next-hop MTU" => "MTU (`ip link`, `ip route show cache`)",
        _ => "rules that change packets (`iptables -t mangle -S`)",
    }
}
