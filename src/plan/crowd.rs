//! How many neighbours (ARP entries) a plan's namespaces may come to keep at a time. PURE.
//!
//! Linux counts those of all namespaces together, and beyond `net.ipv4.neigh.default.gc_thresh3` (1024, if nobody raised
//! it) a packet for a new neighbour is thrown away (net/core/neighbour.c, `neigh_alloc`). Real nodes have a table each,
//! so that a large cluster meets here what it would not meet there.

use std::collections::BTreeMap;

use super::{LinkKind, Namespace, Plan};

/// Where a link ends: a namespace, and the link's name there.
type Port<'p> = (&'p str, &'p str);

/// The most entries that there can be: everybody on a segment knows everybody else. Permanent ones do not count.
pub fn neighbours_max(plan: &Plan) -> usize {
    let mut segments = Segments::of_plan(plan);
    let mut stations: BTreeMap<usize, usize> = BTreeMap::new();
    for (ns, link) in speakers(plan) {
        *stations.entry(segments.of((ns.name.as_str(), link.name.as_str()))).or_default() += 1;
    }
    stations.into_values().map(|count| count * (count - 1)).sum()
}

/// The segment on which a namespace speaks, by its number: that of the first link on which it does. Those who have the
/// same one may know each other.
pub fn segments(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut segments = Segments::of_plan(plan);
    let mut first = BTreeMap::new();
    for (ns, link) in speakers(plan) {
        first.entry(ns.name.as_str()).or_insert_with(|| segments.of((ns.name.as_str(), link.name.as_str())));
    }
    first
}

/// All links that send packets of their namespaces' own by ARP.
fn speakers(plan: &Plan) -> impl Iterator<Item = (&Namespace, &super::Link)> {
    let links = plan.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| (ns, link)));
    links.filter(|(ns, link)| speaks(ns, link))
}

/// Whether a link sends packets of its namespace's own by ARP: a bridge's ports and a switch's bridge do not.
fn speaks(ns: &Namespace, link: &super::Link) -> bool {
    match link.kind {
        LinkKind::Veth { .. } | LinkKind::Macvlan { .. } => link.master.is_none(),
        LinkKind::Bridge => ns.addresses().any(|(of, _)| of.name == link.name),
        _ => false,
    }
}

/// Ports that are on one segment, as a forest.
#[derive(Default)]
struct Segments<'p> {
    numbers: BTreeMap<Port<'p>, usize>,
    above: Vec<usize>,
}

impl<'p> Segments<'p> {
    fn of_plan(plan: &'p Plan) -> Segments<'p> {
        let mut segments = Segments::default();
        for ns in &plan.namespaces {
            for link in &ns.links {
                let port = (ns.name.as_str(), link.name.as_str());
                let other = match &link.kind {
                    LinkKind::Veth { peer_namespace, peer } => (peer_namespace.as_str(), peer.as_str()),
                    LinkKind::Macvlan { parent_namespace, parent } => (parent_namespace.as_str(), parent.as_str()),
                    _ => port,
                };
                segments.join(port, other);
                segments.join(port, link.master.as_deref().map_or(port, |master| (ns.name.as_str(), master)));
            }
        }
        segments
    }

    fn of(&mut self, port: Port<'p>) -> usize {
        let next = self.above.len();
        let mut at = *self.numbers.entry(port).or_insert(next);
        if at == next {
            self.above.push(next);
        }
        while self.above[at] != at {
            // Half of the way is saved for the next time.
            self.above[at] = self.above[self.above[at]];
            at = self.above[at];
        }
        at
    }

    fn join(&mut self, one: Port<'p>, other: Port<'p>) {
        let (one, other) = (self.of(one), self.of(other));
        self.above[one] = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Address, Datapath, Link, Role, Scope};

    fn host(name: &str, links: &[(&str, LinkKind, Option<&str>)]) -> Namespace {
        let mut ns = Namespace::new("c", name, name, Role::Client);
        ns.links.extend(
            links.iter().map(|(name, kind, master)| Link {
                master: master.map(str::to_owned),
                ..Link::new(name, kind.clone())
            }),
        );
        ns
    }

    fn veth(peer_namespace: &str, peer: &str) -> LinkKind {
        LinkKind::Veth { peer_namespace: peer_namespace.to_owned(), peer: peer.to_owned() }
    }

    #[test]
    fn everybody_on_a_segment_knows_everybody_else() {
        let ports = [
            ("br0", LinkKind::Bridge, None),
            ("a", veth("a", "eth0"), Some("br0")),
            ("b", veth("b", "eth0"), Some("br0")),
            ("c", veth("c", "eth0"), Some("br0")),
        ];
        let end = |name: &str| host(name, &[("eth0", veth("switch", name), None)]);
        let mut c = end("c");
        c.links.push(Link::new("cali0", veth("pod", "eth0")));
        let pod = host("pod", &[("eth0", veth("c", "cali0"), None)]);
        let namespaces = vec![host("switch", &ports), end("a"), end("b"), c, pod];
        let mut plan = Plan { cluster: "c".to_owned(), mode: "m".to_owned(), datapath: Datapath::Kernel, namespaces };
        // Three hosts at a switch, and a pod with its node.
        assert_eq!(neighbours_max(&plan), 3 * 2 + 2);
        // A bridge with an address is a fourth host.
        let net = "10.0.0.1/8".parse().expect("a prefix");
        plan.namespaces[0].links[1].addresses.push(Address { net, broadcast: None, scope: Scope::Global });
        assert_eq!(neighbours_max(&plan), 4 * 3 + 2);
    }
}
