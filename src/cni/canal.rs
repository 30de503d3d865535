//! `canal`: Calico's pods and rules over flannel's network.
//!
//! flanneld makes flannel.1, the routes to the other nodes and the masquerading; the calico plugin connects the pods by
//! veths of its own, without a bridge, with addresses that host-local gives out of the node's podCIDR; Felix has its
//! rules, and neither pools nor tunnels nor BIRD. Source: calico v3.18, manifests/canal.yaml.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::calico::{host_end, pod_at};
use super::host_local::HostLocal;
use super::{felix, flannel, flannel_vxlan, underlay};
use crate::error::{Error, Kind, Result};
use crate::plan::netfilter::TableName;
use crate::plan::{Datapath, Family, File, Namespace, Plan, Role, Route};
use crate::topology::{Cluster, Mode, Node, Pod};

/// `name` of the network.
const NETWORK: &str = "k8s-pod-network";
/// A pod's interface (`CNI_IFNAME`).
const POD_NIC: &str = "eth0";

/// The plan of a cluster with canal.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let mut namespaces = underlay::namespaces(cluster)?;
    let mut pods = BTreeMap::new();
    for node in &cluster.nodes {
        namespaces.push(node_namespace(cluster, node, &mut pods)?);
    }
    for pod in &cluster.pods {
        let own = pods.remove(&pod.key());
        namespaces.push(
            own.ok_or_else(|| Error::new(Kind::Topology, format!("pod {}: there is no node {}", pod.key(), pod.node)))?,
        );
    }
    Ok(Plan { cluster: cluster.name.clone(), mode: Mode::Canal.name().to_string(), datapath, namespaces })
}

fn node_namespace(cluster: &Cluster, node: &Node, added: &mut BTreeMap<String, Namespace>) -> Result<Namespace> {
    let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
    ns.sysctls = underlay::node_sysctls();
    flannel::flanneld(cluster, &flannel_vxlan::VXLAN, node, &mut ns)?;
    // Canal installs a configuration of its own in place of flannel's.
    ns.files.retain(|file| !file.path.starts_with("/etc/cni/"));
    let mtu = flannel::pod_mtu(cluster, &flannel_vxlan::VXLAN, node)?;
    ns.files.push(conflist(mtu));
    let pods: Vec<&Pod> = cluster.pods.iter().filter(|pod| pod.node == node.name).collect();
    if let Some(subnet) = node.pod_cidr {
        let mut pool = HostLocal::new(NETWORK, subnet)?;
        for pod in &pods {
            let address = pool.allocate(cluster, pod, POD_NIC)?.addr();
            ns.links.push(host_end(pod, mtu, false));
            ns.routes.push(Route::on_link(IpNet::from(address), &felix::names::veth(pod)));
            added.insert(pod.key(), pod_at(cluster, pod, &[address], mtu));
        }
        ns.files.extend(pool.files());
    }
    ns.routes.sort_by_key(|route| (route.dst.addr(), route.dst.prefix_len()));
    add_felix(cluster, node, &pods, &mut ns);
    // FELIX_IPTABLESREFRESHINTERVAL of the manifest. flanneld's own timers are there already.
    ns.keepers.extend(felix::keepers(60, &[]));
    Ok(ns)
}

/// Felix's rules come before flannel's: Felix inserts, and flanneld appends. Without a pool nothing is masqueraded by
/// Felix.
fn add_felix(cluster: &Cluster, node: &Node, pods: &[&Pod], ns: &mut Namespace) {
    let mut without_pools = cluster.clone();
    without_pools.network.pools.clear();
    let cluster = &without_pools;
    let family = Family::Inet;
    let local = felix::Local { cluster, node, family, pods, ipip: false, vteps: None, tunnels: &[], links: &ns.links };
    let (sets, tables) = (felix::sets(&local), felix::tables(&local));
    let flannels = std::mem::replace(&mut ns.tables, tables);
    ns.sets = sets;
    for table in flannels {
        let name: TableName = table.name;
        for chain in table.chains {
            ns.table(name).chain(&chain.name).rules.extend(chain.rules);
        }
    }
}

/// `cni_network_config` of the manifest, with its variables filled in.
fn conflist(mtu: u32) -> File {
    let content = format!(
        r#"{{
  "name": "{NETWORK}",
  "cniVersion": "0.3.1",
  "plugins": [
    {{
      "type": "calico",
      "log_level": "info",
      "datastore_type": "kubernetes",
      "mtu": {mtu},
      "ipam": {{
        "type": "host-local",
        "subnet": "usePodCidr"
      }},
      "policy": {{
        "type": "k8s"
      }},
      "kubernetes": {{
        "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"
      }}
    }},
    {{
      "type": "portmap",
      "snat": true,
      "capabilities": {{"portMappings": true}}
    }}
  ]
}}
"#
    );
    File::new("/etc/cni/net.d/10-canal.conflist", content)
}
