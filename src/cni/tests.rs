use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::*;
use crate::names;
use crate::plan::{Namespace, Route};
use crate::topology::{IpPool, Node, Overrides, Pod, PodNetwork, Segment, Selector, builtin, parse};

/// The built-in cluster with the pods of the article, whose names and veths are published together.
pub(super) fn article() -> Cluster {
    let source = builtin::find("calico-ipip").unwrap().source();
    let mut cluster = parse(&[source], &Overrides::default()).unwrap();
    let pods = [("kx4hp", "node-1"), ("jr2w9", "node-2"), ("xkhlz", "node-2")];
    for (pod, (suffix, node)) in cluster.pods.iter_mut().zip(pods) {
        (pod.name, pod.node) = (format!("test-7999578869-{suffix}"), node.into());
    }
    cluster
}

fn planned(cluster: &Cluster) -> Plan {
    plan(cluster, Datapath::Kernel).unwrap()
}

fn routes(ns: &Namespace) -> Vec<String> {
    ns.routes.iter().map(Route::to_string).collect()
}

#[test]
fn br_netfilter_is_needed_by_those_who_switch_it_on() {
    for mode in Mode::ALL {
        let cluster = parse(&[builtin::find(mode.name()).unwrap().source()], &Overrides::default()).unwrap();
        assert_eq!(needs(*mode).contains(&Need::BridgeNetfilter), planned(&cluster).wants_bridge_netfilter(), "{mode}");
    }
}

#[test]
fn a_node_routes_as_the_document_shows() {
    let plan = planned(&article());
    assert_eq!(
        routes(plan.namespace("node-2").unwrap()),
        [
            "default via 10.1.10.2 dev ens33",
            "10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink",
            "blackhole 10.100.247.0/26 proto bird",
            "10.100.247.1 dev cali813929a4a7b scope link",
            "10.100.247.2 dev calieb588c579e3 scope link",
            "10.100.247.3 dev cali84261f2dfa9 scope link",
        ]
    );
    let tunnel = plan.namespace("node-2").unwrap().link("tunl0").unwrap();
    assert_eq!((tunnel.addresses[0].net.to_string().as_str(), tunnel.mtu), ("10.100.247.0/32", Some(1480)));
}

#[test]
fn a_pod_reaches_everything_through_169_254_1_1() {
    let plan = planned(&article());
    let pod = plan.namespace("default/test-7999578869-kx4hp").unwrap();
    assert_eq!(routes(pod), ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"]);
    let eth0 = pod.link("eth0").unwrap();
    assert_eq!(eth0.mtu, Some(1480));
    assert_eq!(eth0.addresses[0].net.to_string(), "10.100.84.129/32");
    assert_eq!(eth0.addresses[0].broadcast, Some(Ipv4Addr::new(10, 100, 84, 129)));
}

#[test]
fn the_file_s_mtu_holds_for_pods_and_tunnel() {
    let mut cluster = article();
    cluster.network.mtu = Some(1440);
    let plan = planned(&cluster);
    for link in plan.namespaces.iter().flat_map(|ns| &ns.links) {
        if link.name == "tunl0" || link.name.starts_with("cali") {
            assert_eq!(link.mtu, Some(1440), "{}", link.name);
        }
    }
}

/// Every veth names an end that names it back, and every master, route device and set that is referred to exists.
fn assert_consistent(plan: &Plan) {
    for ns in &plan.namespaces {
        let names: BTreeSet<&str> = ns.links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names.len(), ns.links.len(), "{}: two links of one name", ns.name);
        for link in &ns.links {
            assert!(link.name.len() <= names::INTERFACE_NAME_MAX, "{}", link.name);
            assert!(link.master.iter().all(|master| names.contains(master.as_str())));
            if let crate::plan::LinkKind::Veth { peer_namespace, peer } = &link.kind {
                let far = plan.namespace(peer_namespace).and_then(|ns| ns.link(peer));
                let back = crate::plan::LinkKind::Veth { peer_namespace: ns.name.clone(), peer: link.name.clone() };
                assert_eq!(far.map(|link| &link.kind), Some(&back), "{} {}", ns.name, link.name);
            }
        }
        assert!(ns.routes.iter().all(|route| route.dev.iter().all(|dev| names.contains(dev.as_str()))));
    }
}

fn two_segments() -> Cluster {
    let mut cluster = article();
    cluster.segments.push(Segment {
        name: "dmz".into(),
        subnet: "10.2.0.0/24".parse().unwrap(),
        mtu: 1400,
        router: Ipv4Addr::new(10, 2, 0, 1),
        subnet6: None,
        router6: None,
        line: Default::default(),
    });
    let mut port = cluster.routers[0].ports[0].clone();
    (port.segment, port.nic, port.mtu) = ("dmz".into(), "eth1".into(), 1400);
    port.addresses = vec!["10.2.0.1/24".parse().unwrap()];
    cluster.routers[0].ports.push(port);
    let far = cluster.nodes.last_mut().unwrap();
    (far.segment, far.address, far.mtu) = ("dmz".into(), Ipv4Addr::new(10, 2, 0, 10), 1400);
    cluster
}

#[test]
fn one_router_stands_on_every_segment_and_mtus_follow_the_segment() {
    let plan = planned(&two_segments());
    assert_consistent(&plan);
    let gateway = plan.namespace("gateway").unwrap();
    let addresses: Vec<String> = gateway.addresses().map(|(link, a)| format!("{} {}", link.name, a.net)).collect();
    assert_eq!(addresses, ["eth0 10.1.10.2/24", "eth1 10.2.0.1/24"]);
    assert_eq!(plan.namespace("node-1").unwrap().link("tunl0").unwrap().mtu, Some(1480));
    assert_eq!(plan.namespace("node-2").unwrap().link("tunl0").unwrap().mtu, Some(1380));
}

#[test]
fn plans_are_consistent_also_with_long_and_awkward_names() {
    let mut cluster = article();
    assert_consistent(&planned(&cluster));
    for (number, name) in
        ["br0", "worker.eu-west.example.com", "worker.eu-west.example.org", "lo"].into_iter().enumerate()
    {
        let address = Ipv4Addr::new(10, 1, 10, 20 + number as u8);
        let node = Node { name: name.into(), address, ..cluster.nodes[0].clone() };
        cluster.nodes.push(node);
    }
    assert_consistent(&planned(&cluster));
}

#[test]
fn a_borrowed_address_is_a_host_route_everywhere_else() {
    let mut cluster = article();
    cluster.network.pools[0] =
        IpPool { cidr: "10.100.0.0/28".parse().unwrap(), block_size: 29, ..cluster.network.pools[0].clone() };
    let pod = cluster.pods[0].clone();
    cluster.pods = (0..9).map(|n| Pod { name: format!("p{n}"), node: "node-1".into(), ..pod.clone() }).collect();
    let used = ipam(&cluster).unwrap();
    let borrowed: Vec<String> = used.allocations().filter(|a| a.borrowed).map(|a| a.address.to_string()).collect();
    assert_eq!(borrowed.len(), 2);
    let plan = planned(&cluster);
    for address in borrowed {
        let owner = routes(plan.namespace("node-2").unwrap());
        assert!(owner.contains(&format!("{address} via 10.1.10.9 dev tunl0 proto bird onlink")), "{owner:?}");
        let borrower = routes(plan.namespace("node-1").unwrap());
        assert!(borrower.iter().any(|route| route.starts_with(&format!("{address} dev cali"))), "{borrower:?}");
    }
}

#[test]
fn blocks_of_one_address_have_no_blackhole() {
    let mut cluster = article();
    cluster.network.pools[0].block_size = 32;
    let plan = planned(&cluster);
    let node = routes(plan.namespace("node-1").unwrap());
    assert!(node.iter().all(|route| !route.starts_with("blackhole")), "{node:?}");
    assert_eq!(node.iter().filter(|route| route.contains("dev tunl0")).count(), 4, "three pods and a tunnel: {node:?}");
}

#[test]
fn a_pod_on_no_node_is_refused() {
    let mut cluster = article();
    cluster.pods[0].node = "nowhere".into();
    let error = plan(&cluster, Datapath::Kernel).unwrap_err().to_string();
    assert!(error.contains("there is no node nowhere"), "{error}");
}

#[test]
fn a_pod_with_host_network_lives_in_its_node() {
    let mut cluster = article();
    cluster.pods[0].network = PodNetwork::Host;
    let (guest, plan) = (cluster.pods[0].key(), planned(&cluster));
    assert_eq!(plan.pods().count(), cluster.pods.len() - 1);
    let home = plan.namespace(&guest).unwrap();
    assert_eq!((home.name.as_str(), home.guests.as_slice()), ("node-1", [guest].as_slice()));
    assert_eq!(home.address(), Some(Ipv4Addr::new(10, 1, 10, 9)));
}

/// The side whose peer's address is the larger text waits: "10.1.10.9" comes after "10.1.10.10".
#[test]
fn of_two_nodes_one_waits_for_the_other() {
    let cluster = article();
    let passive = |node: usize| bgp_sessions(&cluster, &cluster.nodes[node], Family::Inet).unwrap()[0].passive;
    assert_eq!((passive(0), passive(1)), (false, true));
    let mut vxlan = cluster.clone();
    (vxlan.network.pools[0].ipip, vxlan.network.pools[0].vxlan) = Mode::CalicoVxlan.encapsulation();
    assert!(bgp_sessions(&vxlan, &vxlan.nodes[0], Family::Inet).is_none());
}

#[test]
fn each_pool_s_encapsulation_is_its_own() {
    use crate::topology::EncapsulationMode::{Always, Never};
    let mut cluster = article();
    let one = cluster.network.pools[0].clone();
    let selecting = |name: &str| Selector::parse(&format!("kubernetes.io/hostname == '{name}'")).unwrap();
    cluster.network.pools = vec![
        IpPool { node_selector: selecting("node-1"), ..one.clone() },
        IpPool {
            name: "vxlan".into(),
            cidr: "10.200.0.0/16".parse().unwrap(),
            node_selector: selecting("node-2"),
            ipip: Never,
            vxlan: Always,
            ..one
        },
    ];
    let plan = planned(&cluster);
    assert_consistent(&plan);
    let (first, second) = (plan.namespace("node-1").unwrap(), plan.namespace("node-2").unwrap());
    // Felix makes tunl0 also where no pool gives it an address, and vxlan.calico not.
    let addresses = |ns: &Namespace, link: &str| ns.link(link).map(|link| link.addresses.len());
    assert_eq!((addresses(first, "tunl0"), addresses(second, "tunl0")), (Some(1), Some(0)));
    assert_eq!((addresses(first, "vxlan.calico"), addresses(second, "vxlan.calico")), (None, Some(1)));
    // Without a device of its own node-1 cannot reach the VXLAN pool's block; the other way goes through tunl0.
    assert!(routes(first).iter().all(|route| !route.starts_with("10.200.")), "{:?}", routes(first));
    assert!(routes(second).contains(&"10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink".to_string()));
    // Pods have the smallest MTU that any encapsulation of the cluster leaves.
    assert!(plan.pods().all(|pod| pod.link("eth0").unwrap().mtu == Some(1450)));
}
