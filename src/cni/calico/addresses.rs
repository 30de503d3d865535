//! Who has which address in a cluster of Calico's: blocks, the nodes' tunnel devices, pods.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use super::{Tunnel, tunnels};
use crate::error::{Error, Kind, Result};
use crate::ipam::{Ipam, Owner};
use crate::plan::Family;
use crate::topology::{Cluster, IpPool, Node, Pod};

/// The addresses after every node and then every pod got its own.
pub(super) struct Addresses {
    pub(super) ipam: Ipam,
    /// By [`tunnel_key`].
    tunnels: BTreeMap<String, IpAddr>,
    /// By pod (`namespace/name`), IPv4's first.
    pods: BTreeMap<String, Vec<IpAddr>>,
}

impl Addresses {
    /// The address of a node's device of a tunnel; none if no pool of its encapsulation selects the node.
    pub(super) fn tunnel(&self, node: &Node, tunnel: &Tunnel) -> Option<IpAddr> {
        self.tunnels.get(&tunnel_key(&node.name, tunnel.device)).copied()
    }

    /// The addresses of a pod, one of a family, IPv4's first.
    pub(super) fn pod(&self, pod: &Pod) -> &[IpAddr] {
        self.pods.get(&pod.key()).map_or(&[], Vec::as_slice)
    }
}

/// By what a cluster's memory knows a node's tunnel device: `node-1/tunl0`.
pub(in crate::cni) fn tunnel_key(node: &str, device: &str) -> String {
    format!("{node}/{device}")
}

/// Somebody who needs an address.
struct Asker<'a> {
    /// By what the memory knows it.
    key: String,
    node: &'a Node,
    /// Of which family.
    family: Family,
    /// What it is to the IPAM.
    owner: Owner,
    /// The tunnel, if it is a device of one; else it is a pod.
    tunnel: Option<&'static Tunnel>,
}

impl Asker<'_> {
    /// Whether it takes addresses from this pool. A tunnel does from pools of its own encapsulation (node v3.18,
    /// pkg/allocateip).
    fn takes_from(&self, pool: &IpPool) -> bool {
        match self.tunnel {
            Some(tunnel) => (tunnel.serves)(pool) && pool.gives_tunnels(self.node),
            None => pool.family() == self.family && pool.gives_pods(self.node),
        }
    }
}

/// Hands out addresses in the order in which a cluster comes to life: blocks fixed by hand, then each node's tunnels
/// (calico-node starts before any pod), then the pods. Who had one keeps it.
pub(super) fn assign(cluster: &Cluster) -> Result<Addresses> {
    let mut ipam = Ipam::new(&cluster.network.pools, cluster.network.strict_affinity);
    for node in &cluster.nodes {
        for block in node.blocks() {
            ipam.claim(&node.name, block)?;
        }
    }
    let memory = &cluster.memory;
    ipam.recall(memory);
    let devices = devices(cluster);
    let families: Vec<Family> =
        Family::BOTH.into_iter().filter(|family| *family == Family::Inet || has(cluster, *family)).collect();
    let pods = families.iter().map(|family| pods(cluster, *family)).collect::<Result<Vec<_>>>()?;
    let mut tunnels = keep(&mut ipam, &devices, |asker| memory.tunnels.get(&asker.key).copied());
    let had = |asker: &Asker| memory.pods.get(&asker.key).and_then(|kept| kept.address_in(asker.family));
    let mut given: Vec<_> = pods.iter().map(|askers| keep(&mut ipam, askers, had)).collect();
    ipam.requeue(&memory.addresses());
    assign_others(&mut ipam, devices, &mut tunnels)?;
    let mut addresses: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (askers, given) in pods.into_iter().zip(&mut given) {
        assign_others(&mut ipam, askers, given)?;
        for (key, address) in given {
            addresses.entry(key.clone()).or_default().push(*address);
        }
    }
    Ok(Addresses { ipam, tunnels, pods: addresses })
}

/// Whether any pool has addresses of this family for pods.
fn has(cluster: &Cluster, family: Family) -> bool {
    cluster.network.pools.iter().any(|pool| pool.family() == family && pool.is_for_pods())
}

fn devices(cluster: &Cluster) -> Vec<Asker<'_>> {
    let mut all = Vec::new();
    for (node, tunnel) in cluster.nodes.iter().flat_map(|node| tunnels(cluster).map(move |tunnel| (node, tunnel))) {
        let owner = Owner::Tunnel { device: tunnel.device.to_string() };
        let (key, family) = (tunnel_key(&node.name, tunnel.device), tunnel.family);
        all.push(Asker { key, node, family, owner, tunnel: Some(tunnel) });
    }
    all.retain(|asker| cluster.network.pools.iter().any(|pool| asker.takes_from(pool)));
    all
}

fn pods(cluster: &Cluster, family: Family) -> Result<Vec<Asker<'_>>> {
    let by_name: BTreeMap<&str, &Node> = cluster.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let asker = |pod: &Pod| {
        let nowhere = || Error::new(Kind::Topology, format!("pod {}: there is no node {}", pod.key(), pod.node));
        let node = by_name.get(pod.node.as_str()).copied().ok_or_else(nowhere)?;
        let owner = Owner::Pod { namespace: pod.namespace.clone(), name: pod.name.clone() };
        Ok(Asker { key: pod.key(), node, family, owner, tunnel: None })
    };
    cluster.pods.iter().map(asker).collect()
}

/// The addresses of those that had one and still can have it. A pod stays where it is whatever becomes of its pool; a
/// tunnel's address must be of a pool that the tunnel serves.
fn keep(ipam: &mut Ipam, askers: &[Asker], had: impl Fn(&Asker) -> Option<IpAddr>) -> BTreeMap<String, IpAddr> {
    let fits = |ipam: &Ipam, asker: &Asker, address: IpAddr| {
        let pool = ipam.pools().iter().find(|pool| pool.cidr.contains(&address));
        asker.tunnel.is_none() || pool.is_some_and(|pool| asker.takes_from(pool))
    };
    let mut kept = BTreeMap::new();
    for asker in askers {
        let Some(address) = had(asker) else { continue };
        if fits(ipam, asker, address) && ipam.keep(&asker.node.name, &asker.owner, address) {
            kept.insert(asker.key.clone(), address);
        }
    }
    kept
}

fn assign_others(ipam: &mut Ipam, askers: Vec<Asker>, given: &mut BTreeMap<String, IpAddr>) -> Result<()> {
    for asker in askers {
        if let Entry::Vacant(place) = given.entry(asker.key.clone()) {
            let gives = |pool: &IpPool| asker.takes_from(pool);
            place.insert(ipam.assign_from(&asker.node.name, asker.owner.clone(), gives)?);
        }
    }
    Ok(())
}
