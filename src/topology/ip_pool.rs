//! Calico's IP pools, resolved (libcalico-go v3.18, lib/apis/v3/ippool.go).

use std::fmt;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{Mode, Node, Selector};
use crate::plan::Family;

/// A Calico IPPool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpPool {
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub cidr: IpNet,
    /// Prefix length of its blocks, 20 to 32, IPv6's 116 to 128.
    pub block_size: u8,
    /// `natOutgoing`: masquerade what leaves all pools.
    pub nat_outgoing: bool,
    /// `disabled`: no new addresses from it.
    pub disabled: bool,
    /// `ipipMode`.
    pub ipip: EncapsulationMode,
    /// `vxlanMode`.
    pub vxlan: EncapsulationMode,
    /// `nodeSelector`: the nodes that take addresses from it.
    pub node_selector: Selector,
    /// `assignmentMode: Automatic`; a `Manual` pool gives addresses only to who asks for one of them.
    pub automatic: bool,
    /// `allowedUses` has `Workload`: pods take addresses from it.
    pub for_pods: bool,
    /// `allowedUses` has `Tunnel`: tunnel devices take addresses from it.
    pub for_tunnels: bool,
}

impl IpPool {
    /// A pool as the API server makes it of a name and a prefix alone.
    pub fn new(name: impl Into<String>, cidr: impl Into<IpNet>) -> Self {
        let cidr = cidr.into();
        IpPool {
            name: name.into(),
            cidr,
            block_size: if cidr.addr().is_ipv4() { 26 } else { 122 },
            nat_outgoing: false,
            disabled: false,
            ipip: EncapsulationMode::Never,
            vxlan: EncapsulationMode::Never,
            node_selector: Selector::all(),
            automatic: true,
            for_pods: true,
            for_tunnels: true,
        }
    }

    /// Whose addresses it has.
    pub fn family(&self) -> Family {
        Family::of(&self.cidr.addr())
    }

    /// The mode whose way packets to its addresses go.
    pub fn mode(&self) -> Mode {
        Mode::of_encapsulation(self.ipip, self.vxlan)
    }

    /// Whether this node takes addresses from it.
    pub fn selects(&self, node: &Node) -> bool {
        !self.disabled && self.node_selector.matches(&node.labels)
    }

    /// Whether pods of some nodes take addresses from it.
    pub fn is_for_pods(&self) -> bool {
        self.for_pods && self.automatic && !self.disabled
    }

    /// Whether pods of this node take addresses from it.
    pub fn gives_pods(&self, node: &Node) -> bool {
        self.is_for_pods() && self.selects(node)
    }

    /// Whether tunnel devices of this node take addresses from it, if it is of their encapsulation.
    pub fn gives_tunnels(&self, node: &Node) -> bool {
        self.for_tunnels && self.automatic && self.selects(node)
    }
}

impl Mode {
    /// `ipipMode` and `vxlanMode` of a pool in this mode.
    pub fn encapsulation(self) -> (EncapsulationMode, EncapsulationMode) {
        use EncapsulationMode::{Always, CrossSubnet, Never};
        match self {
            Mode::CalicoIpip => (Always, Never),
            Mode::CalicoIpipCrossSubnet => (CrossSubnet, Never),
            Mode::CalicoVxlan => (Never, Always),
            Mode::CalicoVxlanCrossSubnet => (Never, CrossSubnet),
            _ => (Never, Never),
        }
    }

    /// The mode of Calico's that a pool of these modes has; no pool has both.
    pub fn of_encapsulation(ipip: EncapsulationMode, vxlan: EncapsulationMode) -> Mode {
        use EncapsulationMode::{Always, CrossSubnet, Never};
        match (ipip, vxlan) {
            (Never, Never) => Mode::CalicoBgp,
            (Always, _) => Mode::CalicoIpip,
            (CrossSubnet, _) => Mode::CalicoIpipCrossSubnet,
            (Never, Always) => Mode::CalicoVxlan,
            (Never, CrossSubnet) => Mode::CalicoVxlanCrossSubnet,
        }
    }
}

/// Who programs the routes that BIRD programs in a cluster of Calico's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// minik, at once, as the real one would.
    Minik,
    /// A real BIRD on every node.
    Bird,
}

/// `ipipMode` or `vxlanMode` of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EncapsulationMode {
    /// Not at all.
    Never,
    /// Only between nodes of different subnets.
    CrossSubnet,
    /// Between all nodes.
    Always,
}

impl EncapsulationMode {
    /// Every one of them, in the order in which errors list them.
    pub const ALL: [EncapsulationMode; 3] =
        [EncapsulationMode::Always, EncapsulationMode::CrossSubnet, EncapsulationMode::Never];

    /// Calico's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EncapsulationMode::Never => "Never",
            EncapsulationMode::CrossSubnet => "CrossSubnet",
            EncapsulationMode::Always => "Always",
        }
    }

    /// Whether anything is encapsulated.
    pub fn is_on(self) -> bool {
        self != EncapsulationMode::Never
    }
}

impl fmt::Display for EncapsulationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EncapsulationMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
