//! `bridge`: the plain bridge plugin of the CNI project with host-local, as in the CNI project's own example.
//!
//! Nothing but the plugins: no daemon, and no way to the pods of other nodes. What leaves the pods' subnet is masqueraded
//! (`ipMasq`), by a chain for each container. Source: containernetworking/cni, README.md; plugins v1.1.1 and v1.9.1,
//! plugins/main/bridge, plugins/ipam/host-local, pkg/ip/ipmasq_iptables_linux.go.

use ipnet::{Ipv4Net, Ipv6Net};

use super::bridge_plugin::{self, Conf};
use crate::error::Result;
use crate::plan::{Datapath, File, Namespace, Plan};
use crate::topology::{Cluster, Mode, Node};

/// `name` of the network.
const NETWORK: &str = "mynet";
/// The bridge, which is also the plugin's default.
const BRIDGE: &str = "cni0";
/// What the kernel gives a bridge and a veth; the plugin changes nothing without `mtu`.
const MTU: u32 = 1500;

/// The plan of a cluster whose nodes have these plugins and nothing else.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let mtu = cluster.network.mtu;
    let conf = |_: &Node| {
        Ok(Conf {
            name: NETWORK,
            bridge: BRIDGE,
            mtu: mtu.unwrap_or(MTU),
            hairpin_mode: false,
            promisc_mode: false,
            ip_masq: true,
            routes: vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
        })
    };
    let installed = |node: &Node, ns: &mut Namespace| {
        ns.files.extend(node.pod_cidr.map(|subnet| conflist(subnet, node.pod_cidr6, mtu)));
        Ok(())
    };
    let flavour = bridge_plugin::Flavour { mode: Mode::Bridge, conf: &conf, node: &installed };
    bridge_plugin::plan(cluster, datapath, &flavour)
}

/// What an administrator writes down for the container runtime.
fn conflist(subnet: Ipv4Net, second: Option<Ipv6Net>, mtu: Option<u32>) -> File {
    // `subnet` is the short form of one range; two ranges need the long one.
    let ranges = match second {
        None => format!("        \"subnet\": \"{subnet}\","),
        Some(second) => format!(
            "        \"ranges\": [\n          [{{ \"subnet\": \"{subnet}\" }}],\n          [{{ \"subnet\": \"{second}\" }}]\n        ],"
        ),
    };
    let default6 = if second.is_some() { ",\n          { \"dst\": \"::/0\" }" } else { "" };
    let mtu = mtu.map_or(String::new(), |mtu| format!("      \"mtu\": {mtu},\n"));
    let content = format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "{NETWORK}",
  "plugins": [
    {{
      "type": "bridge",
      "bridge": "{BRIDGE}",
{mtu}      "isGateway": true,
      "ipMasq": true,
      "ipam": {{
        "type": "host-local",
{ranges}
        "routes": [
          {{ "dst": "0.0.0.0/0" }}{default6}
        ]
      }}
    }},
    {{
      "type": "portmap",
      "capabilities": {{ "portMappings": true }}
    }}
  ]
}}
"#
    );
    File::new("/etc/cni/net.d/10-mynet.conflist", content)
}
