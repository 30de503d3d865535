//! The `Cluster` document as it is written: field names and types, nothing checked yet.
//!
//! The JSON Schema comes from these structs, so their doc comments are the reference of the input language.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::fields::{Ignored, Spanned};
use super::line::LinkEntry;
use super::options::{KubeRouterEntry, KubenetEntry};
use super::routers::RouterEntry;

/// A cluster: its underlay and how its pods are connected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterDocument {
    /// `minik.dev/v1`.
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: Ignored,
    /// `Cluster`.
    #[serde(rename = "kind")]
    pub(super) _kind: Ignored,
    /// The cluster's name.
    #[serde(default)]
    pub(super) metadata: ClusterMetadata,
    /// The cluster.
    pub(super) spec: ClusterSpec,
}

/// The cluster's name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterMetadata {
    /// Name of the cluster, part of every namespace's name; `minik` if not given.
    pub(super) name: Option<Spanned<String>>,
    #[serde(default, rename = "labels")]
    pub(super) _labels: Option<Ignored>,
    #[serde(default, rename = "annotations")]
    pub(super) _annotations: Option<Ignored>,
}

/// The cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterSpec {
    /// The Ethernet segments of the underlay, each with one switch and a router.
    pub(super) segments: Spanned<Vec<SegmentEntry>>,
    /// The routers between the segments; without them one router stands on all of them.
    pub(super) routers: Option<Vec<RouterEntry>>,
    /// The nodes.
    pub(super) nodes: Spanned<Vec<NodeEntry>>,
    /// Hosts outside of the cluster.
    #[serde(default)]
    pub(super) clients: Vec<ClientEntry>,
    /// How pods are connected.
    #[serde(default)]
    pub(super) network: NetworkEntry,
    /// Prefix of the services' addresses, `10.96.0.0/12` if not given; with IPv6 behind a comma:
    /// `10.96.0.0/12,fd00:10:96::/112`.
    #[serde(rename = "serviceCIDR")]
    pub(super) service_cidr: Option<Spanned<String>>,
    /// kube-proxy on the nodes; with Services and without this, 1.30 in iptables mode.
    pub(super) proxy: Option<ProxyEntry>,
    /// Which iptables the nodes have, for the rules of all programs on them: `nft` or `legacy`; the machine's own if not
    /// given.
    pub(super) iptables: Option<Spanned<String>>,
    /// The cluster's DNS: `true` as kubeadm installs it, or its options; `false` if not given.
    pub(super) dns: Option<Spanned<DnsEntry>>,
}

/// `true`, `false`, or options of the cluster's DNS.
#[derive(Debug)]
pub(super) enum DnsEntry {
    /// There is none.
    Off,
    /// There is one.
    On(DnsOptions),
}

/// Options of the cluster's DNS.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsOptions {
    /// The zone, `cluster.local` if not given.
    pub(super) cluster_domain: Option<Spanned<String>>,
    /// The Service's address, which pods ask; the tenth of `serviceCIDR` if not given.
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<Spanned<String>>,
    /// How many servers, 2 if not given.
    pub(super) replicas: Option<Spanned<u32>>,
    /// Seconds for which answers may be kept, 5 if not given.
    pub(super) ttl: Option<Spanned<u32>>,
}

impl<'de> Deserialize<'de> for DnsEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DnsEntry, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = DnsEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or options")
            }
            fn visit_bool<E>(self, on: bool) -> Result<DnsEntry, E> {
                Ok(if on { DnsEntry::On(DnsOptions::default()) } else { DnsEntry::Off })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DnsEntry, A::Error> {
                DnsOptions::deserialize(MapAccessDeserializer::new(map)).map(DnsEntry::On)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for DnsEntry {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DnsEntry".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let options = generator.subschema_for::<DnsOptions>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, options] })
    }
}

/// An Ethernet segment with one switch and a router.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SegmentEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Prefix of its hosts: `10.1.10.0/24`, and behind a comma that of IPv6: `10.1.10.0/24,fd00:10:1:10::/64`.
    pub(super) subnet: Spanned<String>,
    /// Address of its router, the hosts' default gateway, and behind a comma that of IPv6; if not given those of
    /// the first of the `routers` on it, or without `routers` the subnets' first addresses.
    pub(super) router: Option<Spanned<String>>,
    /// MTU of every NIC on it, 1500 if not given.
    pub(super) mtu: Option<Spanned<u32>>,
    /// Delay of each packet on each line of it, in each direction: `10ms`.
    pub(super) delay: Option<Spanned<String>>,
    /// Share of packets that are lost on each line of it, in each direction: `1%`.
    pub(super) loss: Option<Spanned<String>>,
    /// Bandwidth of each line of it, in each direction: `100mbit`.
    pub(super) rate: Option<Spanned<String>>,
}

/// A node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Its address on its segment, and behind a comma its IPv6 address: `10.1.10.9,fd00:10:1:10::9`.
    pub(super) address: Spanned<String>,
    /// Its segment; the one whose subnet has the address if not given.
    pub(super) segment: Option<Spanned<String>>,
    /// Name of its NIC, `ens33` if not given.
    pub(super) nic: Option<Spanned<String>>,
    /// Ethernet address of the NIC; made from its name if not given.
    pub(super) mac: Option<Spanned<String>>,
    /// What its line to the switch does.
    pub(super) link: Option<LinkEntry>,
    /// Labels for `nodeSelector`; `kubernetes.io/hostname` and `kubernetes.io/os` are added.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Spanned<String>>,
    /// A Calico block to fix for it, `10.100.84.128/26`, or one of each family with a comma between; chosen by Calico's
    /// algorithm if not given.
    pub(super) block: Option<Spanned<String>>,
    /// Its pods' prefix in modes without Calico's IPAM, and behind a comma that of IPv6; the next of `clusterCIDR` if
    /// not given.
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: Option<Spanned<String>>,
}

/// A host outside of the cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClientEntry {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// Its address on its segment, and behind a comma its IPv6 address.
    pub(super) address: Spanned<String>,
    /// Its segment; the one whose subnet has the address if not given.
    pub(super) segment: Option<Spanned<String>>,
    /// Name of its NIC, `ens33` if not given.
    pub(super) nic: Option<Spanned<String>>,
    /// Ethernet address of the NIC; made from its name if not given.
    pub(super) mac: Option<Spanned<String>>,
    /// What its line to the switch does.
    pub(super) link: Option<LinkEntry>,
    /// Routes beside the default route.
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}

/// A static route of a client or router, `ip route add TO via VIA`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteEntry {
    /// Destination prefix, of either family.
    pub(super) to: Spanned<String>,
    /// Next hop: the address of a node, client or router of the same segment.
    pub(super) via: Spanned<String>,
}

/// How pods are connected.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetworkEntry {
    /// The CNI mode: `calico-ipip`. Calico's pools decide if it is not given.
    pub(super) cni: Option<Spanned<String>>,
    /// The prefix of which each node has a `podCIDR`, `10.244.0.0/16` if not given, and behind a comma that of IPv6;
    /// Calico's IPAM has pools instead.
    #[serde(rename = "clusterCIDR")]
    pub(super) cluster_cidr: Option<Spanned<String>>,
    /// Prefix length of the nodes' `podCIDR`s (`--node-cidr-mask-size`), 24 if not given.
    #[serde(rename = "nodeCIDRMaskSize")]
    pub(super) node_cidr_mask_size: Option<Spanned<u32>>,
    /// The same for IPv6 (`--node-cidr-mask-size-ipv6`), 64 if not given.
    #[serde(rename = "nodeCIDRMaskSizeIPv6")]
    pub(super) node_cidr_mask_size6: Option<Spanned<u32>>,
    /// The IP pool that Calico's installer makes; also given as an `IPPool` object behind the cluster.
    pub(super) pool: Option<Spanned<PoolEntry>>,
    /// Several of them, in the order in which they are tried.
    pub(super) pools: Option<Spanned<Vec<Spanned<PoolEntry>>>>,
    /// Who programs the routes of Calico's BIRD: `minik` (not given) makes the same ones at once, `bird` runs the real
    /// BIRD (Debian's package bird2) on every node.
    pub(super) routing: Option<Spanned<String>>,
    /// Calico IPAM's `strictAffinity`: nodes take addresses from their own blocks only. `false` if not given.
    pub(super) strict_affinity: Option<bool>,
    /// MTU of the pods (Calico's `veth_mtu`, the bridge plugin's `mtu`); the mode's own choice if not given.
    pub(super) mtu: Option<Spanned<u32>>,
    /// Whether masquerade rules say `--random-fully`, which Felix and flannel add where iptables and kernel know it; if
    /// not given, Felix's do not, and flannel's do.
    pub(super) random_fully: Option<bool>,
    /// flannel's settings; also given as its ConfigMap `kube-flannel-cfg` behind the cluster.
    pub(super) flannel: Option<FlannelEntry>,
    /// Options of the mode `kubenet`.
    pub(super) kubenet: Option<Spanned<KubenetEntry>>,
    /// Options of the mode `kube-router`.
    pub(super) kube_router: Option<Spanned<KubeRouterEntry>>,
}

/// kube-proxy, with the options of its command line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProxyEntry {
    /// `iptables`, `ipvs`, `nftables`, or `none` for nodes without kube-proxy; `iptables` if not given.
    pub(super) mode: Option<Spanned<String>>,
    /// Version of Kubernetes, `"1.20"` to `"1.30"`; `"1.30"` if not given.
    pub(super) version: Option<Spanned<String>>,
    /// `--cluster-cidr`; the pods' prefix if not given, the empty text for none.
    #[serde(rename = "clusterCIDR")]
    pub(super) cluster_cidr: Option<Spanned<String>>,
    /// `ClusterCIDR`, `NodeCIDR`, `BridgeInterface` or `InterfaceNamePrefix`; `ClusterCIDR` if not given.
    pub(super) detect_local_mode: Option<Spanned<String>>,
    /// The bridge of `BridgeInterface`.
    pub(super) pod_bridge_interface: Option<Spanned<String>>,
    /// The beginning of the names of `InterfaceNamePrefix`.
    pub(super) pod_interface_name_prefix: Option<Spanned<String>>,
    /// Masquerade everything that goes to a Service; `false` if not given.
    pub(super) masquerade_all: Option<bool>,
    /// The bit of the mark for packets to masquerade; 14 if not given.
    pub(super) masquerade_bit: Option<Spanned<u32>>,
    /// Prefixes of the node addresses that take node ports; every address if not given.
    #[serde(default)]
    pub(super) node_port_addresses: Vec<Spanned<String>>,
    /// Whether node ports answer on 127.0.0.1, from 1.26 on; `true` if not given.
    pub(super) localhost_node_ports: Option<bool>,
    /// `--bind-address`.
    pub(super) bind_address: Option<Spanned<String>>,
    /// Whether masquerade rules say `--random-fully`, as with an iptables since 1.6.2; `true` if not given.
    pub(super) random_fully: Option<bool>,
    /// Options of the mode `ipvs`.
    pub(super) ipvs: Option<IpvsEntry>,
}

/// kube-proxy's options for its mode `ipvs`, called as in its KubeProxyConfiguration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IpvsEntry {
    /// Which endpoint a new connection gets: `rr` (each in turn; not given), `lc` (that with the fewest connections), `sh`
    /// (by the client's address) and others that the kernel has.
    pub(super) scheduler: Option<Spanned<String>>,
    /// Whether devices answer no ARP for addresses of Services (`arp_ignore`, `arp_announce`); `false` if not given.
    #[serde(rename = "strictARP")]
    pub(super) strict_arp: Option<bool>,
    /// How long an idle connection of TCP is remembered, as `900s`; the kernel's own choice if not given, or `0s`.
    pub(super) tcp_timeout: Option<Spanned<String>>,
    /// The same behind a FIN.
    pub(super) tcp_fin_timeout: Option<Spanned<String>>,
    /// The same for UDP.
    pub(super) udp_timeout: Option<Spanned<String>>,
}

/// flannel's settings, called as in its `net-conf.json` and its options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FlannelEntry {
    /// VXLAN's network identifier, 1 if not given; the device is `flannel.<vni>`.
    pub(super) vni: Option<Spanned<u32>>,
    /// UDP port between nodes; 8472 for vxlan and 8285 for udp if not given.
    pub(super) port: Option<Spanned<u32>>,
    /// MTU of the packets between nodes, in bytes; the NIC's if not given. Pods get 50 less with vxlan.
    pub(super) mtu: Option<Spanned<u32>>,
    /// Plain routes to the nodes of the same segment: makes `flannel-vxlan` `flannel-vxlan-directrouting`.
    pub(super) direct_routing: Option<Spanned<bool>>,
    /// flanneld's `--ip-masq`: what leaves the pods' prefix gets the node's address. `true` if not given.
    pub(super) ip_masq: Option<bool>,
}

/// An IP pool of Calico.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PoolEntry {
    /// Its name; `default-ipv4-ippool` for the first if not given, and `default-ipv6-ippool` for the first of IPv6.
    pub(super) name: Option<Spanned<String>>,
    /// Its prefix, of either family.
    pub(super) cidr: Spanned<String>,
    /// Prefix length of its blocks, 20 to 32, with IPv6 116 to 128; 26 if not given, with IPv6 122.
    pub(super) block_size: Option<Spanned<u32>>,
    /// Masquerade what leaves all pools; if not given `true` for IPv4 and `false` for IPv6, as for the pools that
    /// Calico's installer makes.
    pub(super) nat_outgoing: Option<bool>,
    /// Take no new addresses from it; `false` if not given.
    pub(super) disabled: Option<bool>,
    /// `Always`, `CrossSubnet` or `Never`; what `cni` says if neither mode is given. IPv6 has `Never` only.
    pub(super) ipip_mode: Option<Spanned<String>>,
    /// `Always`, `CrossSubnet` or `Never`; what `cni` says if neither mode is given.
    pub(super) vxlan_mode: Option<Spanned<String>>,
    /// Which nodes take addresses from it, as `rack == 'a'`; `all()` if not given.
    pub(super) node_selector: Option<Spanned<String>>,
}
