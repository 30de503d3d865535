//! From a cluster to its plan: one file per CNI mode. PURE.
//!
//! A mode is a function from [`Cluster`] to [`Plan`]. What modes share is in modules of its own: the `underlay`,
//! the Calico family (`calico`), the rules of Felix ([`felix`]). To add a mode: a variant of
//! [`Mode`], a file of the mode's name here, and a line in [`needs`], [`plan`] and [`ipam`].

mod bird;
mod bridge;
mod bridge_plugin;
mod calico;
mod calico_bgp;
mod calico_ipip;
mod calico_ipip_crosssubnet;
mod calico_vxlan;
mod calico_vxlan_crosssubnet;
mod canal;
mod docker;
pub mod felix;
mod flannel;
mod flannel_host_gw;
mod flannel_udp;
mod flannel_vxlan;
mod guests;
mod host_local;
mod kube_router;
mod kubenet;
mod macvlan;
mod underlay;

use crate::error::{Error, Kind, Result};
use crate::ipam::{Ipam, Owner};
use crate::plan::{Datapath, Family, Plan};
use crate::topology::{Addressing, Cluster, Kept, KeptService, Memory, Mode, Node};

/// What a mode needs from the kernel and its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// veth pairs.
    Veth,
    /// Bridges, for the underlay's switches.
    Bridge,
    /// br_netfilter, for bridges that pods are on; packets pass without it as well, but not as on a real node.
    BridgeNetfilter,
    /// iptables-restore with the matches that Felix uses.
    Iptables,
    /// ipset.
    Ipset,
    /// IP in IP devices; the agent's TUN engine can stand in.
    Ipip,
    /// VXLAN devices.
    Vxlan,
    /// TUN devices, whose packets the agent carries.
    Tun,
    /// macvlan devices.
    Macvlan,
    /// ebtables, with rules about IPv4 addresses.
    Ebtables,
    /// The queueing discipline htb.
    Htb,
}

/// What `mode` needs from the kernel and its tools.
pub fn needs(mode: Mode) -> &'static [Need] {
    match mode {
        Mode::CalicoBgp => &[Need::Veth, Need::Bridge, Need::Iptables, Need::Ipset],
        Mode::CalicoIpip | Mode::CalicoIpipCrossSubnet => {
            &[Need::Veth, Need::Bridge, Need::Iptables, Need::Ipset, Need::Ipip]
        }
        Mode::CalicoVxlan | Mode::CalicoVxlanCrossSubnet => {
            &[Need::Veth, Need::Bridge, Need::Iptables, Need::Ipset, Need::Vxlan]
        }
        Mode::FlannelVxlan | Mode::FlannelVxlanDirectRouting => {
            &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables, Need::Vxlan]
        }
        Mode::FlannelHostGw => &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables],
        Mode::FlannelUdp => &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables, Need::Tun],
        Mode::Canal => &[Need::Veth, Need::Bridge, Need::Iptables, Need::Ipset, Need::Vxlan],
        Mode::Kubenet => &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables, Need::Ebtables, Need::Htb],
        Mode::KubeRouter => &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables, Need::Ipset, Need::Ipip],
        Mode::Bridge | Mode::Docker => &[Need::Veth, Need::Bridge, Need::BridgeNetfilter, Need::Iptables],
        Mode::Macvlan => &[Need::Veth, Need::Bridge, Need::Macvlan],
    }
}

/// Whether a cluster has devices of the ipip module.
pub fn has_ipip(cluster: &Cluster) -> bool {
    match cluster.network.mode.addressing() {
        Addressing::Pools => calico::has_ipip(cluster),
        Addressing::PodCidr | Addressing::Segment | Addressing::Own => {
            needs(cluster.network.mode).contains(&Need::Ipip)
        }
    }
}

/// The plan of a cluster, made by its CNI mode.
///
/// # Errors
/// `Topology` if addresses do not suffice, or a fixed block is none of a pool's.
pub fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let mut plan = of_mode(&guests::without(cluster), datapath)?;
    guests::house(cluster, &mut plan)?;
    Ok(plan)
}

fn of_mode(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    match cluster.network.mode {
        Mode::CalicoBgp
        | Mode::CalicoIpip
        | Mode::CalicoIpipCrossSubnet
        | Mode::CalicoVxlan
        | Mode::CalicoVxlanCrossSubnet => calico::plan(cluster, datapath),
        Mode::FlannelVxlan => flannel::plan(cluster, datapath, &flannel_vxlan::VXLAN),
        Mode::FlannelVxlanDirectRouting => flannel::plan(cluster, datapath, &flannel_vxlan::DIRECT_ROUTING),
        Mode::FlannelHostGw => flannel::plan(cluster, datapath, &flannel_host_gw::HOST_GW),
        Mode::FlannelUdp => flannel::plan(cluster, datapath, &flannel_udp::UDP),
        Mode::Canal => canal::plan(cluster, datapath),
        Mode::Kubenet => kubenet::plan(cluster, datapath),
        Mode::KubeRouter => kube_router::plan(cluster, datapath),
        Mode::Bridge => bridge::plan(cluster, datapath),
        Mode::Macvlan => macvlan::plan(cluster, datapath),
        Mode::Docker => docker::plan(cluster, datapath),
    }
}

/// The addresses of a cluster of Calico's: its pools' blocks, whose they are, and what is in use.
///
/// # Errors
/// As [`plan`]; `Usage` in a mode without Calico's IPAM.
pub fn ipam(cluster: &Cluster) -> Result<Ipam> {
    let cluster = &*guests::without(cluster);
    match cluster.network.mode {
        mode if mode.addressing() == Addressing::Pools => calico::ipam(cluster),
        mode => Err(Error::new(
            Kind::Usage,
            format!("the mode {mode} has no IP pools: its pods have addresses of the nodes' podCIDR"),
        )),
    }
}

/// A node's BGP session with another one.
#[derive(Debug, Clone)]
pub struct BgpSession<'c> {
    /// The other node.
    pub peer: &'c Node,
    /// Whether this side waits for the other to connect.
    pub passive: bool,
}

/// The BGP sessions of a node in one family; none if no BIRD runs in a cluster of this kind.
pub fn bgp_sessions<'c>(cluster: &'c Cluster, node: &Node, family: Family) -> Option<Vec<BgpSession<'c>>> {
    let has_bird = cluster.network.mode.addressing() == Addressing::Pools && bird::is_used(cluster);
    has_bird.then(|| bird::mesh(cluster, node, family))
}

/// What a cluster has handed out, by its plan: the next plan keeps it.
///
/// # Errors
/// As [`plan`].
pub fn memory(cluster: &Cluster, plan: &Plan) -> Result<Memory> {
    let services = cluster.services.iter().map(|service| (service.key(), KeptService::of(service))).collect();
    let mut memory = Memory { services, ..Memory::default() };
    let places = plan.places();
    for pod in &cluster.pods {
        let key = pod.key();
        let own = places.get(key.as_str()).filter(|ns| ns.name == key);
        let (address, address6) = (own.and_then(|ns| ns.address()), own.and_then(|ns| ns.address6()));
        memory.pods.insert(key.clone(), Kept { node: pod.node.clone(), address, address6 });
        if let Some(address) = address.filter(|_| cluster.network.mode.addressing().is_by_node()) {
            // Pods are in creation order, and those that had an address before come first.
            let known = cluster.memory.pods.contains_key(&key);
            if !known || !cluster.memory.last_reserved.contains_key(&pod.node) {
                memory.last_reserved.insert(pod.node.clone(), address);
                memory.last_reserved6.extend(address6.map(|address| (pod.node.clone(), address)));
            }
        }
    }
    if cluster.network.mode.addressing() == Addressing::Pools {
        let ipam = ipam(cluster)?;
        let blocks = cluster.nodes.iter().flat_map(|node| ipam.blocks_of(&node.name));
        memory.blocks = blocks.map(|block| (block.prefix, block.node.clone())).collect();
        let device = |owner: &Owner| match owner {
            Owner::Tunnel { device } => Some(device.clone()),
            Owner::Pod { .. } => None,
        };
        let tunnels = ipam.allocations().filter_map(|used| Some((&used.node, device(&used.owner)?, used.address)));
        memory.tunnels = tunnels.map(|(node, device, address)| (calico::tunnel_key(node, &device), address)).collect();
    }
    Ok(memory.after(&cluster.memory))
}

#[cfg(test)]
mod tests;
