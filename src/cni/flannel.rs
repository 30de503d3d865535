//! What the modes of flannel share: flanneld's order of work, its rules and files, and the CNI plugins behind it.
//!
//! flanneld knows one lease per node: its podCIDR, its address, and for vxlan its VTEP's Ethernet address. A [`Backend`]
//! says what device a node has and what is programmed for the lease of another node; masquerading, forwarding and
//! `subnet.env` are the same for all. Pods are connected by the `bridge` plugin, to which the `flannel` plugin delegates
//! with what it reads in `subnet.env`. Sources: flannel v0.28.9 (pkg/backend, pkg/trafficmngr/iptables/iptables.go,
//! pkg/subnet/subnetfile_unix.go, Documentation/kube-flannel.yml), cni-plugin v1.9.1-flannel1 (flannel.go).

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bridge_plugin::{self, Conf};
use super::host_local;
use crate::error::{Error, Kind, Result};
use crate::plan::keeper::Rules;
use crate::plan::netfilter::{Match, Rule, TableName, Target};
use crate::plan::{Address, Datapath, Family, File, Keeper, Keeps, Namespace, Plan, Scope, Table};
use crate::topology::{Cluster, Flannel, Mode, Node};

/// `name` in the CNI configuration of flannel's manifest, which is older than the bridge's name.
const NETWORK: &str = "cbr0";
/// The bridge, where the configuration names none.
const BRIDGE: &str = "cni0";
/// The mark of packets that kube-proxy will masquerade.
const KUBE_PROXY_MARK: u32 = 0x4000;

/// What makes one backend differ from another.
pub(super) struct Backend {
    /// The mode.
    pub mode: Mode,
    /// Bytes that it adds to each packet.
    pub overhead: u32,
    /// Makes what the node has without any other: its device.
    pub register: fn(&Local, Family, &mut Namespace) -> Result<()>,
    /// Programs the lease of another node, of one family.
    pub add_lease: fn(&Local, &Lease, &mut Namespace) -> Result<()>,
}

/// The node on which flanneld runs.
pub(super) struct Local<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The node.
    pub node: &'a Node,
    /// Its podCIDR.
    pub subnet: Ipv4Net,
    /// Its podCIDR of IPv6, if flannel has `EnableIPv6`.
    pub subnet6: Option<Ipv6Net>,
    /// MTU in bytes of its pods, and of the backend's device.
    pub mtu: u32,
}

/// What flanneld knows of another node.
pub(super) struct Lease<'a> {
    /// The node, whose address of this family is the lease's public IP.
    pub node: &'a Node,
    /// Its podCIDR, of either family.
    pub subnet: IpNet,
}

impl Local<'_> {
    /// The address of the backend's device: the podCIDR's own. It is a /32, so that no broadcast route comes of it, and
    /// serves as source for what the node itself sends to pods elsewhere.
    pub(super) fn device_address(&self, family: Family) -> Option<Address> {
        let net = IpNet::from(self.subnet_in(family)?.network());
        Some(Address { net, broadcast: None, scope: Scope::Global })
    }

    /// Its podCIDR of this family.
    pub(super) fn subnet_in(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::Inet => Some(self.subnet.into()),
            Family::Inet6 => self.subnet6.map(IpNet::from),
        }
    }
}

impl Lease<'_> {
    /// Its family.
    pub(super) fn family(&self) -> Family {
        Family::of(&self.subnet.addr())
    }

    /// The node's address.
    pub(super) fn public_ip(&self) -> Result<IpAddr> {
        self.node.address_in(self.family()).ok_or_else(|| {
            Error::new(
                Kind::Topology,
                format!("node {} has a podCIDR {} and no address of its family", self.node.name, self.subnet),
            )
        })
    }
}

/// The plan of a cluster with this backend.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath, backend: &Backend) -> Result<Plan> {
    let flavour = bridge_plugin::Flavour {
        mode: backend.mode,
        conf: &|node| Ok(delegate(&local(cluster, backend, node)?)),
        node: &|node, ns| flanneld(cluster, backend, node, ns),
    };
    let mut plan = bridge_plugin::plan(cluster, datapath, &flavour)?;
    for node in &cluster.nodes {
        let local = local(cluster, backend, node)?;
        let containers = cluster.pods.iter().filter(|pod| pod.node == node.name);
        let rendered = containers.map(|pod| rendered_conf(&local, &host_local::container_id(cluster, pod)));
        if let Some(ns) = plan.namespaces.iter_mut().find(|ns| ns.name == node.name) {
            ns.files.extend(rendered);
        }
    }
    Ok(plan)
}

/// All that flanneld does on a node: the backend's device, the other nodes' leases, rules, `subnet.env`; and the
/// configuration that its manifest installs for the CNI plugins.
///
/// # Errors
/// `Topology` if a node has no podCIDR, or the backend cannot reach another node.
pub(super) fn flanneld(cluster: &Cluster, backend: &Backend, node: &Node, ns: &mut Namespace) -> Result<()> {
    let local = local(cluster, backend, node)?;
    for family in Family::BOTH {
        let (Some(network), Some(pods)) = (network(cluster, family), local.subnet_in(family)) else { continue };
        (backend.register)(&local, family, ns)?;
        for other in cluster.nodes.iter().filter(|other| other.name != node.name) {
            let subnet = other.pod_cidr_in(family).ok_or_else(|| no_subnet(other))?;
            (backend.add_lease)(&local, &Lease { node: other, subnet }, ns)?;
        }
        if cluster.network.flannel.ip_masq {
            masquerade(cluster, network, pods, ns.table_in(family, TableName::Nat));
        }
        forward(network, ns.table_in(family, TableName::Filter));
    }
    // `--iptables-resync=5` of kube-flannel.yml.
    let rules = Rules {
        prefixes: vec!["FLANNEL-".to_owned()],
        comment: Some("flanneld".to_owned()),
        together: true,
        ..Rules::default()
    };
    ns.keepers.push(Keeper::new("flanneld", 5, Keeps::Rules(rules)));
    ns.files.push(subnet_env(&local));
    ns.files.push(File::new("/etc/cni/net.d/10-flannel.conflist", conflist(&cluster.network.flannel)));
    Ok(())
}

/// `Network`, or `IPv6Network`.
fn network(cluster: &Cluster, family: Family) -> Option<IpNet> {
    match family {
        Family::Inet => Some(cluster.network.flannel.network.into()),
        Family::Inet6 => cluster.network.flannel.network6.map(IpNet::from),
    }
}

fn no_subnet(node: &Node) -> Error {
    let message = format!("node {:?} pod cidr not assigned", node.name);
    Error::new(Kind::Topology, message).hint("write `podCIDR:` at the node, or make `clusterCIDR` larger")
}

/// MTU in bytes of a node's pods with this backend.
///
/// # Errors
/// `Topology` if the node has no podCIDR.
pub(super) fn pod_mtu(cluster: &Cluster, backend: &Backend, node: &Node) -> Result<u32> {
    Ok(local(cluster, backend, node)?.mtu)
}

/// The MTU is what the node's NIC (or the file) has, less the encapsulation.
fn local<'a>(cluster: &'a Cluster, backend: &Backend, node: &'a Node) -> Result<Local<'a>> {
    let nic = node.mtu;
    let outer = cluster.network.flannel.mtu.unwrap_or(nic);
    let subnet = node.pod_cidr.ok_or_else(|| no_subnet(node))?;
    let subnet6 = cluster.network.flannel.network6.and(node.pod_cidr6);
    Ok(Local { cluster, node, subnet, subnet6, mtu: outer.saturating_sub(backend.overhead) })
}

/// What the flannel plugin asks the bridge plugin for.
fn delegate(local: &Local) -> Conf {
    let flannel = &local.cluster.network.flannel;
    Conf {
        name: NETWORK,
        bridge: BRIDGE,
        mtu: flannel.pod_mtu.unwrap_or(local.mtu),
        hairpin_mode: flannel.hairpin,
        promisc_mode: false,
        ip_masq: !flannel.ip_masq,
        routes: routes(flannel),
    }
}

/// The default routes that `isDefaultGateway` gives, and the routes that the plugin asks for.
fn routes(flannel: &Flannel) -> Vec<IpNet> {
    let four = flannel.default_gateway.then(|| Ipv4Net::default().into());
    let mut routes: Vec<IpNet> = four.into_iter().chain([flannel.network.into()]).collect();
    if let Some(network) = flannel.network6 {
        routes.extend(flannel.default_gateway.then(|| IpNet::from(Ipv6Net::default())));
        routes.push(network.into());
    }
    routes
}

/// flanneld's rules in a nat table: of all pods' prefix `cluster`, of which `pods` are the node's own.
fn masquerade(whole: &Cluster, cluster: IpNet, pods: IpNet, nat: &mut Table) {
    let flannel = &whole.network.flannel;
    let multicast = bridge_plugin::multicast(Family::of(&cluster.addr()));
    let from = |net, invert| Match::Source { net, invert };
    let to = |net, invert| Match::Destination { net, invert };
    let rule = |matches: &[Match], target| commented("flanneld masq", matches, target);
    let masquerade = || Target::Masquerade { random_fully: flannel.random_fully };
    let marked = Match::Mark { value: KUBE_PROXY_MARK, mask: KUBE_PROXY_MARK, invert: false };
    let jump = Target::Jump { chain: "FLANNEL-POSTRTG".to_string() };
    nat.chain("POSTROUTING").rules.push(rule(&[], jump));
    nat.chain("FLANNEL-POSTRTG").rules = vec![
        Rule { comments_last: true, ..rule(&[marked], Target::Return) },
        rule(&[from(pods, false), to(cluster, false)], Target::Return),
        rule(&[from(cluster, false), to(pods, false)], Target::Return),
        rule(&[from(cluster, true), to(pods, false)], Target::Return),
        rule(&[from(cluster, false), to(multicast, true)], masquerade()),
        rule(&[from(cluster, true), to(cluster, false)], masquerade()),
    ];
}

/// flanneld's rules in a filter table: pods' packets are forwarded whatever the policy of FORWARD says.
fn forward(network: IpNet, filter: &mut Table) {
    let rule = |matches: &[Match], target| commented("flanneld forward", matches, target);
    filter.chain("FORWARD").rules.push(rule(&[], Target::Jump { chain: "FLANNEL-FWD".to_string() }));
    filter.chain("FLANNEL-FWD").rules = vec![
        rule(&[Match::Source { net: network, invert: false }], Target::Accept),
        rule(&[Match::Destination { net: network, invert: false }], Target::Accept),
    ];
}

fn commented(comment: &str, matches: &[Match], target: Target) -> Rule {
    Rule { comments: vec![comment.to_string()], matches: matches.to_vec(), target: Some(target), ..Rule::default() }
}

/// What flanneld tells the plugin, once it runs.
fn subnet_env(local: &Local) -> File {
    let flannel = &local.cluster.network.flannel;
    let six = flannel.network6.zip(local.subnet6).map_or_else(String::new, |(network, subnet)| {
        let gateway = host_local::gateway(subnet.into());
        format!("FLANNEL_IPV6_NETWORK={network}\nFLANNEL_IPV6_SUBNET={gateway}\n")
    });
    let content = format!(
        "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}\n{six}FLANNEL_MTU={}\nFLANNEL_IPMASQ={}\n",
        flannel.network,
        host_local::gateway(local.subnet.into()),
        local.mtu,
        flannel.ip_masq
    );
    File::new("/run/flannel/subnet.env", content)
}

/// The configuration that the plugin renders for one container and keeps for DEL: JSON with its keys sorted.
fn rendered_conf(local: &Local, container: &str) -> File {
    let (conf, flannel) = (delegate(local), &local.cluster.network.flannel);
    let listed =
        |one: &dyn Fn(Family) -> Option<String>| Family::BOTH.into_iter().filter_map(one).collect::<Vec<_>>().join(",");
    let ranges = listed(&|family| Some(format!(r#"[{{"subnet":"{}"}}]"#, local.subnet_in(family)?)));
    let routes = listed(&|family| Some(format!(r#"{{"dst":"{}"}}"#, network(local.cluster, family)?)));
    let content = format!(
        r#"{{"cniVersion":"0.3.1","hairpinMode":{},"ipMasq":{},"ipam":{{"ranges":[{ranges}],"routes":[{routes}],"type":"host-local"}},"isDefaultGateway":{},"isGateway":true,"mtu":{},"name":"{}","type":"bridge"}}"#,
        conf.hairpin_mode, conf.ip_masq, flannel.default_gateway, conf.mtu, conf.name
    );
    File { mode: 0o600, ..File::new(format!("/var/lib/cni/flannel/{container}"), content) }
}

/// `cni-conf.json`: the ConfigMap's, else the manifest's.
fn conflist(flannel: &Flannel) -> String {
    if let Some(text) = &flannel.conflist {
        return text.clone();
    }
    let mtu = flannel.pod_mtu.map_or_else(String::new, |mtu| format!(",\n        \"mtu\": {mtu}"));
    MANIFEST.replace("@mtu", &mtu)
}

/// `cni-conf.json` of the manifest.
const MANIFEST: &str = r#"{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true@mtu
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"#;
