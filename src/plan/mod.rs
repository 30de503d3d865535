//! The plan: what must exist in every namespace of a cluster, as a plain value. PURE.
//!
//! A plan knows namespaces, links, addresses, routes, neighbours, sets and netfilter rules, and nothing of
//! Kubernetes. Its vectors are in the order in which things are made and printed; equal input makes an
//! equal plan, byte for byte.

mod address;
pub mod aside;
pub mod backend;
pub mod crowd;
mod daemon;
pub mod difference;
pub mod ebtables;
mod etc;
pub mod facts;
mod family;
mod file;
pub mod forwarding;
mod health;
mod ipset;
pub mod ipvs;
pub mod keeper;
mod kernel;
pub mod line;
mod link;
pub mod netfilter;
pub mod nft;
mod pairs;
pub mod render;
pub mod restore;
mod route;
pub mod shell;

pub use address::{Address, Mac, bits, nth};
pub use backend::Backend;
pub use daemon::Bird;
pub use etc::{Resolver, etc_files};
pub use family::Family;
pub use file::File;
pub use forwarding::Forwarding;
pub use health::{Health, HealthCheck};
pub use ipset::Member;
pub use ipvs::Ipvs;
pub use keeper::{Keeper, Keeps};
pub use kernel::Kernel;
pub use link::{Ipv4Conf, Link, LinkKind, Netem, Qdisc, UdpTunnel, Vxlan};
pub use netfilter::{IpSet, Table};
pub use route::{FdbEntry, Neighbour, PolicyRule, Protocol, Route, RouteKind, RouteTable, Scope};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything that one cluster puts into the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The cluster's name, the `<cluster>` of `minik-<cluster>-<what>`.
    pub cluster: String,
    /// The CNI mode that made the plan, as the command line spells it.
    pub mode: String,
    /// Who carries the packets of tunnel devices that a kernel may lack.
    pub datapath: Datapath,
    /// Every namespace: switches, routers, clients, nodes, then pods, each group in input order.
    pub namespaces: Vec<Namespace>,
}

/// Who carries the packets of a tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// The kernel's own device (`ipip`).
    Kernel,
    /// A TUN device of the same name, served by minik's agent.
    Userspace,
}

impl std::fmt::Display for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Datapath::Kernel => "kernel",
            Datapath::Userspace => "userspace",
        })
    }
}

/// One network namespace and all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its name inside the cluster: `node-1`, `client`, `gateway`, `switch`, `default/test-xyz`.
    pub name: String,
    /// Its name under /run/netns: `minik-<cluster>-<what>`.
    pub netns: String,
    /// What a program run in it sees as its host name.
    pub hostname: String,
    /// The domain of its host name, for its hosts file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where its programs look names up; none is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// What it stands for.
    pub role: Role,
    /// Pods (`namespace/name`) that live here beside its owner: those with `hostNetwork`, and those that joined a pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
    /// Namespace-wide sysctls, set before any link is made.
    pub sysctls: Vec<Sysctl>,
    /// Links in the order in which they are made; `lo` is first. Both ends of a veth pair are listed, each in
    /// its own namespace. Links appear after those they refer to (a bridge before its ports).
    pub links: Vec<Link>,
    /// Permanent neighbours (ARP and ND entries).
    pub neighbours: Vec<Neighbour>,
    /// Permanent entries of the FDBs of VXLAN devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fdb: Vec<FdbEntry>,
    /// Routes in the order in which they can be added.
    pub routes: Vec<Route>,
    /// Rules of policy routing, beside the kernel's own three.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyRule>,
    /// ipsets, made before the rules that name them.
    pub sets: Vec<IpSet>,
    /// Whose tables its iptables uses.
    #[serde(skip_serializing_if = "Backend::is_machine")]
    pub backend: Backend,
    /// Netfilter tables as iptables has them.
    pub tables: Vec<Table>,
    /// Netfilter tables as ip6tables has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables6: Vec<Table>,
    /// Tables of nftables beside those of iptables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nft: Vec<nft::NftTable>,
    /// Virtual servers of IPVS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipvs: Option<Ipvs>,
    /// Chains of the table `filter` of ebtables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ebtables: Vec<ebtables::EbChain>,
    /// The BIRDs that run in it, one of a family, and make the routes of their protocol.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub birds: Vec<Bird>,
    /// The timers of the daemons that look after it on a real node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keepers: Vec<Keeper>,
    /// Files of daemons and plugins that its programs see at their paths, in the order in which they are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// What it forwards whose connections must be forgotten when that changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forwarding>,
    /// The HTTP servers of its kube-proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What a namespace stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Role {
    /// The Ethernet switch of an underlay segment: a bridge and its ports.
    Switch {
        /// The segment's name.
        segment: String,
    },
    /// A router of the underlay (a segment's gateway).
    Router,
    /// A host outside of the cluster.
    Client,
    /// A Kubernetes node.
    Node,
    /// A pod.
    Pod {
        /// Name of the node it runs on.
        node: String,
        /// Its Kubernetes namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
}

/// One sysctl as `sysctl` names it: `net.ipv4.ip_forward` = `1`. Interface names stand as they are, and dots
/// inside one are written as `/`, as sysctl(8) has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Sysctl {
    /// A sysctl from its key and value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Sysctl { key: key.into(), value: value.into() }
    }

    /// The directory under /proc/sys of the part of the kernel that has this key, if a kernel may lack that part:
    /// where IPv6 or br_netfilter is not there, it need not be switched off. What it means that br_netfilter cannot be
    /// switched on either is in [`Kernel`].
    pub fn optional_part(&self) -> Option<&'static str> {
        let parts = [("net.ipv6.", "/proc/sys/net/ipv6"), ("net.bridge.", "/proc/sys/net/bridge")];
        parts.into_iter().find(|(prefix, _)| self.key.starts_with(prefix)).map(|(_, directory)| directory)
    }

    /// The file under /proc/sys that holds it.
    pub fn path(&self) -> String {
        let swapped: String = self
            .key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect();
        format!("/proc/sys/{swapped}")
    }
}

impl Plan {
    /// The namespace of this name, if there is one; for a pod without a namespace of its own, the one it lives in.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|ns| ns.name == name || ns.guests.iter().any(|guest| guest == name))
    }

    /// Every namespace by its name and by those of its guests: for who asks for many, as [`Plan::namespace`] does for
    /// one.
    pub fn places(&self) -> BTreeMap<&str, &Namespace> {
        let guests = self.namespaces.iter().flat_map(|ns| ns.guests.iter().map(move |guest| (guest.as_str(), ns)));
        let named = self.namespaces.iter().map(|ns| (ns.name.as_str(), ns));
        guests.chain(named).collect()
    }

    /// The namespaces of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().filter(|ns| ns.role == Role::Node)
    }

    /// The namespaces of the pods.
    pub fn pods(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().filter(|ns| matches!(ns.role, Role::Pod { .. }))
    }
}

/// A prefix as the tools print it: a single address without its length.
pub fn prefix(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

impl Namespace {
    /// A namespace with `lo` and nothing else; `name` is its name inside the cluster.
    pub fn new(cluster: &str, name: &str, hostname: &str, role: Role) -> Self {
        Namespace {
            name: name.to_string(),
            netns: crate::names::netns(cluster, name),
            hostname: hostname.to_string(),
            domain: None,
            resolver: None,
            role,
            guests: Vec::new(),
            sysctls: Vec::new(),
            links: vec![Link::new("lo", LinkKind::Loopback)],
            neighbours: Vec::new(),
            fdb: Vec::new(),
            routes: Vec::new(),
            policy: Vec::new(),
            sets: Vec::new(),
            backend: Backend::Machine,
            tables: Vec::new(),
            tables6: Vec::new(),
            nft: Vec::new(),
            ipvs: None,
            ebtables: Vec::new(),
            birds: Vec::new(),
            keepers: Vec::new(),
            files: Vec::new(),
            forwards: Vec::new(),
            health: None,
        }
    }

    /// The link of this name, if there is one.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The iptables table of this name; one that is not there yet is made, in the order in which packets meet them.
    pub fn table(&mut self, name: netfilter::TableName) -> &mut Table {
        self.table_in(Family::Inet, name)
    }

    /// The table of this name of iptables or of ip6tables, as [`table`](Self::table) gives that of iptables.
    pub fn table_in(&mut self, family: Family, name: netfilter::TableName) -> &mut Table {
        let tables = match family {
            Family::Inet => &mut self.tables,
            Family::Inet6 => &mut self.tables6,
        };
        let at = tables.partition_point(|table| table.name < name);
        if tables.get(at).is_none_or(|table| table.name != name) {
            tables.insert(at, Table::new(name));
        }
        &mut tables[at]
    }

    /// The first IPv4 address at which others can reach it; a node's tunnel has one too, which is not meant.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let usable = self.addresses().filter(|(link, _)| link.kind.is_met());
        usable.map(|(_, address)| address.net).find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// The first IPv6 address at which others can reach it, as [`address`](Self::address) is the first of IPv4; a link-local
    /// one is not meant.
    pub fn address6(&self) -> Option<Ipv6Addr> {
        let usable = self.addresses().filter(|(link, _)| link.kind.is_met());
        usable.map(|(_, address)| address.net).find_map(|net| match net {
            IpNet::V6(net) => Some(net.addr()).filter(|own| !own.is_unicast_link_local()),
            IpNet::V4(_) => None,
        })
    }

    /// [`address`](Self::address) or [`address6`](Self::address6).
    pub fn address_in(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Inet => self.address().map(IpAddr::V4),
            Family::Inet6 => self.address6().map(IpAddr::V6),
        }
    }

    /// All of this namespace's addresses with the link that has them, in order.
    pub fn addresses(&self) -> impl Iterator<Item = (&Link, &Address)> {
        self.links.iter().flat_map(|link| link.addresses.iter().map(move |address| (link, address)))
    }
}
