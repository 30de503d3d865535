//! The ipsets and iptables rules that Felix v3.18 programs on a node, with Kubernetes' defaults. PURE.
//!
//! Kubernetes' defaults are: rules inserted before those of others, `DefaultEndpointToHostAction: ACCEPT`, no policy,
//! no host endpoint. Sources: felix v3.18, rules/static.go, rules/endpoints.go,
//! rules/dispatch.go, rules/nat.go, iptables/rules.go.
//!
//! Every rule carries an id, a hash chained over the rules above it in its chain: change one, and all ids after it
//! change too. The ids come out as on a real node because [`text`] spells rules exactly as Felix does.

mod endpoints;
mod ipvs;
pub mod names;
mod static_chains;
pub mod text;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::plan::keeper::{Place, Rules};
use crate::plan::netfilter::{Chain, Policy, Rule, TableName};
use crate::plan::{Family, IpSet, Keeper, Keeps, Link, Member, Protocol, Table};
use crate::topology::{Cluster, IpPool, Node, Pod, ProxyMode};

/// Bits of a packet's mark that Felix uses.
mod mark {
    /// A policy or profile accepted the packet.
    pub(super) const ACCEPT: u32 = 0x1_0000;
    /// Scratch; in raw: the packet comes from a pod.
    pub(super) const SCRATCH0: u32 = 0x4_0000;
    /// Accept, pass and both scratch bits.
    pub(super) const ALL: u32 = 0xf_0000;
    /// All of them but accept.
    pub(super) const ALL_BUT_ACCEPT: u32 = 0xe_0000;
    /// Which endpoint a packet came from that IPVS sends on.
    pub(super) const ENDPOINT: u32 = 0xfff0_0000;
    /// Of those bits: from none of Calico's.
    pub(super) const NO_ENDPOINT: u32 = 0x10_0000;
}

/// What Felix knows of the node that it runs on.
pub(super) struct Local<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The node.
    pub node: &'a Node,
    /// Whose sets and rules these are.
    pub family: Family,
    /// Its pods.
    pub pods: &'a [&'a Pod],
    /// Whether a pool has IPIP.
    pub ipip: bool,
    /// The nodes that have a VXLAN device, itself included; none if no pool has VXLAN.
    pub vteps: Option<Vec<&'a Node>>,
    /// Its tunnel devices that have an address.
    pub tunnels: &'a [&'a str],
    /// Its links.
    pub links: &'a [Link],
}

/// The sets that exist without any policy: `masq-ipam-pools`, `all-ipam-pools` and `this-host` always,
/// `all-hosts-net` (every node) with IPIP, `all-vxlan-net` (the other nodes) with VXLAN.
pub(super) fn sets(local: &Local) -> Vec<IpSet> {
    let family = local.family;
    let pools = || local.cluster.network.pools.iter().filter(move |pool| pool.family() == family);
    let prefixes =
        |nat_only: bool| pools().filter(move |pool| pool.nat_outgoing || !nat_only).map(|pool| pool.cidr.trunc());
    let address = |node: &Node| node.address_in(family).map(IpNet::from);
    let set = |id: &str, kind: &str, members: BTreeSet<IpNet>| IpSet {
        name: names::set(id, family),
        kind: kind.to_string(),
        family,
        capacity: IpSet::CAPACITY,
        members: members.into_iter().map(Member::Net).collect(),
    };
    let mut sets = vec![
        set("all-ipam-pools", "hash:net", prefixes(false).collect()),
        set("masq-ipam-pools", "hash:net", prefixes(true).collect()),
        set("this-host", "hash:ip", this_host(local.links, family).collect()),
    ];
    if local.ipip {
        sets.push(set("all-hosts-net", "hash:net", local.cluster.nodes.iter().filter_map(address).collect()));
    }
    if let Some(vteps) = &local.vteps {
        let others = vteps.iter().filter(|node| node.name != local.node.name);
        sets.push(set("all-vxlan-net", "hash:net", others.filter_map(|node| address(node)).collect()));
    }
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    sets
}

/// Every address of the `local` table that is neither a pod's link's nor kube-ipvs0's (`InterfaceExclude`), without its prefix length: of 127.0.0.1/8 the
/// kernel's table holds 127.0.0.0/8 and 127.0.0.1 (felix: ifacemonitor, host_ip_mgr.go).
fn this_host(links: &[Link], family: Family) -> impl Iterator<Item = IpNet> {
    let loopback = match family {
        Family::Inet => vec![IpAddr::from([127, 0, 0, 0]), IpAddr::from([127, 0, 0, 1])],
        Family::Inet6 => vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
    };
    let own = links.iter().flat_map(|link| &link.addresses).map(|address| address.net.addr());
    loopback.into_iter().chain(own.filter(move |own| Family::of(own) == family)).map(IpNet::from)
}

/// The four tables.
pub(super) fn tables(local: &Local) -> Vec<Table> {
    let family = local.family;
    let of_family = |pool: &&IpPool| pool.family() == family;
    let facts = static_chains::Facts {
        family,
        ipip: local.ipip,
        vxlan: local.vteps.is_some(),
        tunnels: local.tunnels,
        nat_outgoing: local.cluster.network.pools.iter().filter(of_family).any(|pool| pool.nat_outgoing),
        random_fully: local.cluster.network.random_fully,
        ipvs: local.cluster.proxy.as_ref().is_some_and(|proxy| proxy.mode == ProxyMode::Ipvs),
    };
    let mut filter = static_chains::filter(&facts);
    filter.user.extend(endpoints::chains(local.pods));
    if facts.ipvs {
        filter.user.extend(ipvs::chains(&endpoints::interfaces(local.pods), family));
    }
    vec![
        static_chains::raw().table(TableName::Raw),
        static_chains::mangle(&facts).table(TableName::Mangle),
        static_chains::nat(&facts).table(TableName::Nat),
        filter.table(TableName::Filter),
    ]
}

/// Seconds between two looks at rules (`IptablesRefreshInterval`), unless a manifest says otherwise.
pub(super) const REFRESH: u32 = 90;
/// Seconds between two looks at routes and at what VXLAN devices know of each other (`RouteRefreshInterval`).
const ROUTE_REFRESH: u32 = 90;
/// Seconds between two looks at ipsets (`IpsetsRefreshInterval`; later versions have 90).
const SETS_REFRESH: u32 = 10;
/// Seconds between two looks at tunnel devices (ipip_mgr.go, vxlan_mgr.go: `KeepIPIPDeviceInSync`,
/// `KeepVXLANDeviceInSync`).
const DEVICE_REFRESH: u32 = 10;

/// Felix's timers on a node with these tunnel devices; `refresh` in seconds is the one of its rules. It listens to the
/// kernel's news of links as well, and looks at once at the routes and peers of those that went up (ifacemonitor,
/// routetable's `OnIfaceStateChanged`).
pub(super) fn keepers(refresh: u32, devices: &[&str]) -> Vec<Keeper> {
    let rules = Rules {
        prefixes: vec!["cali-".to_owned()],
        comment: Some("cali:".to_owned()),
        place: Place::Top,
        ..Rules::default()
    };
    let workloads = Keeps::Routes { protocol: Protocol::Boot, device: Some("cali".to_owned()), within: None };
    let mut keepers = vec![
        Keeper::new("felix", refresh, Keeps::Rules(rules)),
        Keeper::new("felix", ROUTE_REFRESH, workloads).and_on_link_up(),
        Keeper::new("felix", ROUTE_REFRESH, Keeps::routes(Protocol::Felix)).and_on_link_up(),
        Keeper::new("felix", SETS_REFRESH, Keeps::Sets { prefix: "cali".to_owned() }),
    ];
    for device in devices {
        let device = (*device).to_owned();
        keepers.push(Keeper::new("felix", DEVICE_REFRESH, Keeps::Device { name: device.clone() }));
        keepers.push(Keeper::new("felix", ROUTE_REFRESH, Keeps::Peers { device: device.clone() }).and_on_link_up());
        // Those through tunl0 are BIRD's, of another protocol.
        let routes = Keeps::Routes { protocol: Protocol::Boot, device: Some(device), within: None };
        keepers.push(Keeper::new("felix", ROUTE_REFRESH, routes).and_on_link_up());
    }
    keepers
}

/// A table under construction; its rules have no ids yet.
struct Draft {
    /// Built-in chains with what Felix inserts and what it appends, in the kernel's order.
    builtin: Vec<(&'static str, Vec<Rule>, Vec<Rule>)>,
    /// Felix's own chains.
    user: Vec<(String, Vec<Rule>)>,
}

impl Draft {
    /// The finished table: ids in place, user chains by name, as iptables-save lists them.
    fn table(mut self, name: TableName) -> Table {
        let mut chains = Vec::new();
        for (chain, inserts, appends) in self.builtin {
            let mut rules = text::with_ids(chain, inserts);
            rules.extend(text::with_ids(&format!("{chain}*appends*"), appends));
            chains.push(Chain { name: chain.to_string(), policy: Some(Policy::Accept), rules });
        }
        self.user.sort_by(|a, b| a.0.cmp(&b.0));
        for (chain, rules) in self.user {
            let rules = text::with_ids(&chain, rules);
            chains.push(Chain { name: chain, policy: None, rules });
        }
        Table { name, chains }
    }
}

#[cfg(test)]
mod tests;
