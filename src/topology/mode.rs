//! The CNI modes, and what of them the input has to know.

use serde::{Deserialize, Serialize};

/// The CNI modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Calico without encapsulation: BIRD's routes go through the nodes' NICs.
    #[serde(rename = "calico-bgp")]
    CalicoBgp,
    /// Calico with `ipipMode: Always`.
    #[serde(rename = "calico-ipip")]
    CalicoIpip,
    /// Calico with `ipipMode: CrossSubnet`: bare inside a subnet, IP in IP across.
    #[serde(rename = "calico-ipip-crosssubnet")]
    CalicoIpipCrossSubnet,
    /// Calico with `vxlanMode: Always`, without BIRD.
    #[serde(rename = "calico-vxlan")]
    CalicoVxlan,
    /// Calico with `vxlanMode: CrossSubnet`.
    #[serde(rename = "calico-vxlan-crosssubnet")]
    CalicoVxlanCrossSubnet,
    /// flannel's `vxlan` backend.
    #[serde(rename = "flannel-vxlan")]
    FlannelVxlan,
    /// flannel's `vxlan` backend with `DirectRouting`.
    #[serde(rename = "flannel-vxlan-directrouting")]
    FlannelVxlanDirectRouting,
    /// flannel's `host-gw` backend.
    #[serde(rename = "flannel-host-gw")]
    FlannelHostGw,
    /// flannel's `udp` backend.
    #[serde(rename = "flannel-udp")]
    FlannelUdp,
    /// Calico's pods and rules over flannel's vxlan.
    #[serde(rename = "canal")]
    Canal,
    /// kubelet's own network plugin, gone with Kubernetes 1.24.
    #[serde(rename = "kubenet")]
    Kubenet,
    /// kube-router's routing.
    #[serde(rename = "kube-router")]
    KubeRouter,
    /// The plain bridge plugin of the CNI project with host-local.
    #[serde(rename = "bridge")]
    Bridge,
    /// The macvlan plugin: pods on the node's NIC.
    #[serde(rename = "macvlan")]
    Macvlan,
    /// Docker's own four network modes on one node.
    #[serde(rename = "docker")]
    Docker,
}

/// Who programs ports of nodes that lead to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPorts {
    /// Nobody.
    None,
    /// The CNI plugin portmap, in the network of this name.
    Portmap(&'static str),
    /// kubelet.
    Kubelet,
    /// The mode itself.
    Own,
}

/// Where a mode's pods get their addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Calico's IPAM: blocks of IP pools.
    Pools,
    /// The node's `podCIDR`, by the host-local plugin.
    PodCidr,
    /// Their node's segment: the node's `podCIDR` is a part of its subnet, given away by the host-local plugin.
    Segment,
    /// A prefix of the mode's own.
    Own,
}

impl Addressing {
    /// Whether host-local gives addresses out of the node's `podCIDR`.
    pub fn is_by_node(self) -> bool {
        matches!(self, Addressing::PodCidr | Addressing::Segment)
    }
}

impl Mode {
    /// Every mode that this minik can build, in the order in which they are listed.
    pub const ALL: &'static [Mode] = &[
        Mode::CalicoBgp,
        Mode::CalicoIpip,
        Mode::CalicoIpipCrossSubnet,
        Mode::CalicoVxlan,
        Mode::CalicoVxlanCrossSubnet,
        Mode::FlannelVxlan,
        Mode::FlannelVxlanDirectRouting,
        Mode::FlannelHostGw,
        Mode::FlannelUdp,
        Mode::Canal,
        Mode::Kubenet,
        Mode::KubeRouter,
        Mode::Bridge,
        Mode::Macvlan,
        Mode::Docker,
    ];

    /// The mode's one name: command line, file in src/cni/, golden files, built-in topology.
    pub fn name(self) -> &'static str {
        match self {
            Mode::CalicoBgp => "calico-bgp",
            Mode::CalicoIpip => "calico-ipip",
            Mode::CalicoIpipCrossSubnet => "calico-ipip-crosssubnet",
            Mode::CalicoVxlan => "calico-vxlan",
            Mode::CalicoVxlanCrossSubnet => "calico-vxlan-crosssubnet",
            Mode::FlannelVxlan => "flannel-vxlan",
            Mode::FlannelVxlanDirectRouting => "flannel-vxlan-directrouting",
            Mode::FlannelHostGw => "flannel-host-gw",
            Mode::FlannelUdp => "flannel-udp",
            Mode::Canal => "canal",
            Mode::Kubenet => "kubenet",
            Mode::KubeRouter => "kube-router",
            Mode::Bridge => "bridge",
            Mode::Macvlan => "macvlan",
            Mode::Docker => "docker",
        }
    }

    /// Where its pods get their addresses from.
    pub fn addressing(self) -> Addressing {
        match self {
            Mode::CalicoBgp
            | Mode::CalicoIpip
            | Mode::CalicoIpipCrossSubnet
            | Mode::CalicoVxlan
            | Mode::CalicoVxlanCrossSubnet => Addressing::Pools,
            Mode::FlannelVxlan
            | Mode::FlannelVxlanDirectRouting
            | Mode::FlannelHostGw
            | Mode::FlannelUdp
            | Mode::Canal
            | Mode::Kubenet
            | Mode::KubeRouter
            | Mode::Bridge => Addressing::PodCidr,
            Mode::Macvlan => Addressing::Segment,
            Mode::Docker => Addressing::Own,
        }
    }

    /// Whether what pods send passes their node, so that a kube-proxy there can do its work.
    pub fn has_services(self) -> bool {
        match self {
            // A macvlan speaks past its node; Docker knows no Services.
            Mode::Macvlan | Mode::Docker => false,
            Mode::CalicoBgp
            | Mode::CalicoIpip
            | Mode::CalicoIpipCrossSubnet
            | Mode::CalicoVxlan
            | Mode::CalicoVxlanCrossSubnet
            | Mode::Canal
            | Mode::FlannelVxlan
            | Mode::FlannelVxlanDirectRouting
            | Mode::FlannelHostGw
            | Mode::FlannelUdp
            | Mode::Kubenet
            | Mode::KubeRouter
            | Mode::Bridge => true,
        }
    }

    /// Why no IPv6 is built in this mode; none where it is.
    pub fn without_ipv6(self) -> Option<&'static str> {
        match self {
            Mode::CalicoBgp
            | Mode::CalicoIpip
            | Mode::CalicoIpipCrossSubnet
            | Mode::CalicoVxlan
            | Mode::CalicoVxlanCrossSubnet
            | Mode::FlannelVxlan
            | Mode::FlannelVxlanDirectRouting
            | Mode::FlannelHostGw
            | Mode::Bridge => None,
            Mode::FlannelUdp => Some("flannel's udp backend carries IPv4 only"),
            Mode::Canal => Some("Canal's manifest configures IPv4 only"),
            Mode::Kubenet => Some("kubenet's dual stack is not in this version of minik"),
            Mode::KubeRouter => Some("kube-router's dual stack is not in this version of minik"),
            Mode::Macvlan => Some("macvlan with two ranges is not in this version of minik"),
            Mode::Docker => Some("Docker's bridge has IPv4 only, unless its daemon is told otherwise"),
        }
    }

    /// Who programs `hostPort`s, and as which CNI network: in the configurations that these projects install, the plugin
    /// portmap follows.
    pub fn host_ports(self) -> HostPorts {
        match self {
            Mode::CalicoBgp
            | Mode::CalicoIpip
            | Mode::CalicoIpipCrossSubnet
            | Mode::CalicoVxlan
            | Mode::CalicoVxlanCrossSubnet
            | Mode::Canal => HostPorts::Portmap("k8s-pod-network"),
            Mode::FlannelVxlan | Mode::FlannelVxlanDirectRouting | Mode::FlannelHostGw | Mode::FlannelUdp => {
                HostPorts::Portmap("cbr0")
            }
            Mode::Kubenet => HostPorts::Kubelet,
            Mode::Docker => HostPorts::Own,
            Mode::KubeRouter | Mode::Bridge => HostPorts::Portmap("mynet"),
            Mode::Macvlan => HostPorts::None,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
