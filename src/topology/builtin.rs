//! The topologies that are part of the binary: the files of topologies/, one of each mode's name, and variants. The
//! manifests beside them are in [`examples`].

use super::complaint::{nearest, quote};
use super::{Mode, Source, examples};
use crate::error::{Error, Kind, Result};

/// A topology that is part of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name on the command line: its mode's, or its mode's with what is special about it.
    pub name: &'static str,
    /// One line on what it is.
    pub description: &'static str,
    /// Its text, as `minik show` prints it.
    pub text: &'static str,
    /// The mode that it shows.
    pub mode: Mode,
}

/// Every built-in topology, in the order in which they are listed.
pub const ALL: &[Builtin] = &[
    Builtin {
        name: "calico-bgp",
        description: "Calico without encapsulation: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-bgp.yaml"),
        mode: Mode::CalicoBgp,
    },
    Builtin {
        name: "calico-ipip",
        description: "Calico, IP in IP between nodes: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-ipip.yaml"),
        mode: Mode::CalicoIpip,
    },
    Builtin {
        name: "calico-ipip-crosssubnet",
        description: "Calico, IP in IP across subnets only: 3 nodes on 2 segments, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-ipip-crosssubnet.yaml"),
        mode: Mode::CalicoIpipCrossSubnet,
    },
    Builtin {
        name: "calico-vxlan",
        description: "Calico, VXLAN between nodes, no BGP: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-vxlan.yaml"),
        mode: Mode::CalicoVxlan,
    },
    Builtin {
        name: "calico-vxlan-crosssubnet",
        description: "Calico, VXLAN across subnets only: 3 nodes on 2 segments, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-vxlan-crosssubnet.yaml"),
        mode: Mode::CalicoVxlanCrossSubnet,
    },
    Builtin {
        name: "flannel-vxlan",
        description: "flannel, VXLAN between nodes: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/flannel-vxlan.yaml"),
        mode: Mode::FlannelVxlan,
    },
    Builtin {
        name: "flannel-vxlan-directrouting",
        description: "flannel, plain routes inside a segment and VXLAN across: 3 nodes on 2 segments, 4 pods",
        text: include_str!("../../topologies/flannel-vxlan-directrouting.yaml"),
        mode: Mode::FlannelVxlanDirectRouting,
    },
    Builtin {
        name: "flannel-host-gw",
        description: "flannel, plain routes between nodes: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/flannel-host-gw.yaml"),
        mode: Mode::FlannelHostGw,
    },
    Builtin {
        name: "flannel-udp",
        description: "flannel, a TUN and UDP between nodes: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/flannel-udp.yaml"),
        mode: Mode::FlannelUdp,
    },
    Builtin {
        name: "canal",
        description: "Calico's pods and rules over flannel's vxlan: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/canal.yaml"),
        mode: Mode::Canal,
    },
    Builtin {
        name: "kubenet",
        description: "kubelet's own plugin: cbr0 and routes between the nodes: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/kubenet.yaml"),
        mode: Mode::Kubenet,
    },
    Builtin {
        name: "kube-router",
        description: "kube-router, routes inside a subnet, IP in IP across: 3 nodes on 2 subnets, 5 pods, a client",
        text: include_str!("../../topologies/kube-router.yaml"),
        mode: Mode::KubeRouter,
    },
    Builtin {
        name: "bridge",
        description: "the plain bridge plugin with host-local and ipMasq: 1 node, 3 pods, an outside client",
        text: include_str!("../../topologies/bridge.yaml"),
        mode: Mode::Bridge,
    },
    Builtin {
        name: "macvlan",
        description: "pods on the machines' own Ethernet: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/macvlan.yaml"),
        mode: Mode::Macvlan,
    },
    Builtin {
        name: "docker",
        description: "Docker's four network modes: 1 machine, 5 containers, an outside client",
        text: include_str!("../../topologies/docker.yaml"),
        mode: Mode::Docker,
    },
    Builtin {
        name: "calico-bgp-dualstack",
        description: "calico-bgp with IPv4 and IPv6: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-bgp-dualstack.yaml"),
        mode: Mode::CalicoBgp,
    },
    Builtin {
        name: "calico-vxlan-dualstack",
        description: "calico-vxlan with IPv4 and IPv6: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/calico-vxlan-dualstack.yaml"),
        mode: Mode::CalicoVxlan,
    },
    Builtin {
        name: "flannel-vxlan-dualstack",
        description: "flannel-vxlan with IPv4 and IPv6: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/flannel-vxlan-dualstack.yaml"),
        mode: Mode::FlannelVxlan,
    },
    Builtin {
        name: "flannel-host-gw-dualstack",
        description: "flannel-host-gw with IPv4 and IPv6: 2 nodes, 4 pods, an outside client",
        text: include_str!("../../topologies/flannel-host-gw-dualstack.yaml"),
        mode: Mode::FlannelHostGw,
    },
    Builtin {
        name: "bridge-dualstack",
        description: "bridge with IPv4 and IPv6: 1 node, 3 pods, an outside client",
        text: include_str!("../../topologies/bridge-dualstack.yaml"),
        mode: Mode::Bridge,
    },
    Builtin {
        name: "two-routers",
        description: "two racks and a core behind two routers, Calico: 3 nodes on 3 segments, 4 pods, an outside client",
        text: include_str!("../../topologies/two-routers.yaml"),
        mode: Mode::CalicoIpipCrossSubnet,
    },
];

impl Builtin {
    /// Its text as a source, called `calico-ipip.yaml` in errors.
    pub fn source(&self) -> Source {
        Source::new(format!("{}.yaml", self.name), self.text)
    }
}

/// The built-in topology of a name.
///
/// # Errors
/// Of `Kind::Usage` if there is none, with the nearest name.
pub fn find(name: &str) -> Result<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|builtin| builtin.name).collect();
        let error = Error::new(Kind::Usage, format!("there is no built-in topology {}", quote(name)));
        let manifests = examples::ALL.iter().map(|example| example.name);
        match nearest(name, names.iter().copied().chain(manifests)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("choose one of {}, or give a file's path", names.join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Overrides, parse};

    #[test]
    fn every_mode_has_a_topology_of_its_name() {
        let names: Vec<&str> = ALL.iter().map(|builtin| builtin.name).collect();
        let modes: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).collect();
        assert_eq!(names[..modes.len()], modes);
        for builtin in ALL {
            let cluster = parse(&[builtin.source()], &Overrides::default()).unwrap();
            assert_eq!(cluster.network.mode, builtin.mode);
        }
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        let error = find("calico-ipi").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.hint_text(), Some("did you mean `calico-ipip`?"));
    }
}
