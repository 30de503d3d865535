//! The cluster of the document as a value, for tests.

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn node(name: &str, last: u8) -> Node {
    Node {
        name: name.into(),
        address: Ipv4Addr::new(10, 1, 10, last),
        segment: "lan".into(),
        nic: "ens33".into(),
        mac: None,
        labels: labels(&[("kubernetes.io/hostname", name)]),
        block: None,
    }
}

fn net(a: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from(a), length)
}

fn pod(name: &str, node: &str, owner: Option<(WorkloadKind, String)>) -> Pod {
    let container = |name: &str| Container {
        name: name.into(),
        image: "busybox".into(),
        command: Vec::new(),
        ports: Vec::new(),
        env: Vec::new(),
    };
    let containers = match owner {
        Some(_) => vec![container("busybox")],
        None => vec![container("container-1"), container("container-2")],
    };
    let labels = labels(&[("app", "test")]);
    Pod {
        namespace: "default".into(),
        name: name.into(),
        node: node.into(),
        labels,
        service_account: "default".into(),
        owner,
        containers,
    }
}

/// Two nodes, an outside client, three pods of a Deployment and one of two containers.
pub fn calico_ipip() -> Cluster {
    let owner = || Some((WorkloadKind::Deployment, "test".to_string()));
    Cluster {
        name: "minik".into(),
        segments: vec![Segment {
            name: "lan".into(),
            subnet: net([10, 1, 10, 0], 24),
            mtu: 1500,
            router: Ipv4Addr::new(10, 1, 10, 2),
        }],
        nodes: vec![node("node-1", 9), node("node-2", 10)],
        clients: vec![Client {
            name: "client".into(),
            address: Ipv4Addr::new(10, 1, 10, 8),
            segment: "lan".into(),
            nic: "ens33".into(),
            mac: None,
            routes: vec![
                ClientRoute { to: net([10, 100, 84, 128], 26), via: Ipv4Addr::new(10, 1, 10, 9) },
                ClientRoute { to: net([10, 100, 247, 0], 26), via: Ipv4Addr::new(10, 1, 10, 10) },
            ],
        }],
        network: Network {
            mode: Mode::CalicoIpip,
            pools: vec![IpPool {
                name: "default-ipv4-ippool".into(),
                cidr: net([10, 100, 0, 0], 16),
                block_size: 26,
                nat_outgoing: true,
                disabled: false,
            }],
            strict_affinity: false,
            mtu: None,
            random_fully: false,
        },
        service_cidr: net([10, 96, 0, 0], 12),
        namespaces: ["default", "kube-system"]
            .map(|name| KubeNamespace { name: name.into(), labels: labels(&[("kubernetes.io/metadata.name", name)]) })
            .into(),
        workloads: vec![Workload {
            kind: WorkloadKind::Deployment,
            namespace: "default".into(),
            name: "test".into(),
            replicas: 3,
        }],
        pods: vec![
            pod("test-7999578869-kx4hp", "node-1", owner()),
            pod("test-7999578869-jr2w9", "node-2", owner()),
            pod("test-7999578869-xkhlz", "node-2", owner()),
            pod("two-containers", "node-1", None),
        ],
    }
}
