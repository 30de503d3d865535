use super::*;

fn pool(cidr: &str, block_size: u8) -> IpPool {
    IpPool { name: "pool".into(), cidr: cidr.parse().unwrap(), block_size, nat_outgoing: true, disabled: false }
}

fn pod(number: usize) -> Owner {
    Owner::Pod { namespace: "default".into(), name: format!("pod-{number}") }
}

#[test]
fn hash_of_the_empty_name_is_the_offset_basis() {
    assert_eq!(fnv1(b""), 2_166_136_261);
    assert_eq!(fnv1(b"a"), 0x050c_5d7e);
}

#[test]
fn nodes_get_the_published_blocks() {
    let cases = [
        ("node-1", "10.100.0.0/16", "10.100.84.128/26"),
        ("node-2", "10.100.0.0/16", "10.100.247.0/26"),
        ("node-3", "10.100.0.0/16", "10.100.139.64/26"),
        ("shen-k8s-node-1", "192.168.0.0/16", "192.168.231.64/26"),
        ("shen-k8s-node-2", "192.168.0.0/16", "192.168.233.128/26"),
    ];
    for (node, cidr, block) in cases {
        assert_eq!(walk(&pool(cidr, 26), node).next().unwrap().to_string(), block, "{node}");
    }
    assert_eq!([start_index("node-1", 1024), start_index("node-2", 1024), start_index("node-3", 1024)], [338, 988, 557]);
}
