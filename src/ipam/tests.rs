use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;
use crate::plan::bits;

fn pool(cidr: &str, block_size: u8) -> IpPool {
    IpPool { block_size, nat_outgoing: true, ..IpPool::new("pool", cidr.parse::<IpNet>().unwrap()) }
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
    assert_eq!(
        [start_index("node-1", 1024), start_index("node-2", 1024), start_index("node-3", 1024)],
        [338, 988, 557]
    );
}

#[test]
fn blocks_of_ipv6_are_chosen_by_the_same_hash() {
    // 2^6 blocks: the numbers are below 2^64, so that of IPv4's pool of as many blocks.
    let small = walk(&pool("fd00:10:100::/116", 122), "node-1").next().unwrap();
    let same = walk(&pool("10.0.0.0/20", 26), "node-1").next().unwrap();
    assert_eq!(bits(small.network()) & 0xfff, bits(same.network()) & 0xfff);
    // 2^74 blocks: the second word counts too.
    let whole = pool("fd00:10:100::/48", 122);
    let first: Vec<IpNet> = ["node-1", "node-2"].map(|node| walk(&whole, node).next().unwrap()).to_vec();
    assert!(first[0] != first[1] && first.iter().all(|block| whole.cidr.contains(block) && block.trunc() == *block));
    assert!(first.iter().any(|block| bits(block.network()) >> 70 != bits(whole.cidr.network()) >> 70));
    let mut ipam = Ipam::new(&[pool("10.100.0.0/16", 26), IpPool { name: "six".into(), ..whole }], false);
    let six = |pool: &IpPool| pool.cidr.addr().is_ipv6();
    let given: Vec<IpAddr> = (0..3).map(|n| ipam.assign_from("node-1", pod(n), six).unwrap()).collect();
    assert_eq!(given[0], first[0].network());
    assert_eq!(bits(given[2]), bits(given[0]) + 2);
    let usage = ipam.pool_usage(&ipam.pools()[1]);
    assert_eq!((usage.total, usage.in_use, usage.percent(3), usage.percent(usage.free())), (1 << 80, 3, 0, 100));
    assert!(ipam.release(given[1]) && ipam.keep("node-1", &pod(9), given[1]));
}

fn assign(ipam: &mut Ipam, node: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| ipam.assign(node, pod(number)).unwrap().to_string()).collect()
}

#[test]
fn addresses_run_upwards_and_come_back_last() {
    let mut ipam = Ipam::new(&[pool("10.100.0.0/16", 30)], false);
    let first = assign(&mut ipam, "node-1", 4);
    let base: Ipv4Addr = first[0].parse().unwrap();
    let upwards: Vec<String> = (0..4).map(|n| Ipv4Addr::from(u32::from(base) + n).to_string()).collect();
    assert_eq!(first, upwards);
    assert!(ipam.release(first[2].parse().unwrap()) && ipam.release(first[0].parse().unwrap()));
    assert!(!ipam.release(first[0].parse().unwrap()), "nothing is released twice");
    assert_eq!(assign(&mut ipam, "node-1", 2), [first[2].clone(), first[0].clone()]);
}

#[test]
fn a_full_block_is_followed_by_the_next_free_one() {
    let mut ipam = Ipam::new(&[pool("10.100.0.0/16", 26)], false);
    let addresses = assign(&mut ipam, "node-1", 65);
    assert_eq!(addresses[0], "10.100.84.128");
    assert_eq!(addresses[63], "10.100.84.191");
    assert_eq!(addresses[64], "10.100.84.192");
    assert_eq!(
        ipam.blocks_of("node-1").map(|b| b.prefix.to_string()).collect::<Vec<_>>(),
        ["10.100.84.128/26", "10.100.84.192/26"]
    );
}

#[test]
fn the_walk_wraps_and_passes_over_taken_blocks() {
    let whole = pool("10.0.0.0/24", 26);
    let order: Vec<IpNet> = walk(&whole, "node-1").collect();
    assert_eq!(order.len(), 4);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 4);
    for pair in order.windows(2) {
        let next = (bits(pair[0].network()) + 64) & 0x0a00_00ff;
        assert_eq!(bits(pair[1].network()), next);
    }
    let mut ipam = Ipam::new(&[whole], false);
    ipam.claim("other", order[0]).unwrap();
    assert!(order[1].contains(&ipam.assign("node-1", pod(0)).unwrap()));
}

#[test]
fn without_a_free_block_addresses_are_borrowed_unless_affinity_is_strict() {
    for strict in [false, true] {
        let mut ipam = Ipam::new(&[pool("10.0.0.0/29", 30)], strict);
        assign(&mut ipam, "node-1", 1);
        assign(&mut ipam, "node-2", 4);
        let answer = ipam.assign("node-2", pod(9));
        if strict {
            let error = answer.unwrap_err().to_string();
            assert!(error.contains("pool pool (10.0.0.0/29)") && error.contains("strictAffinity: false"), "{error}");
            continue;
        }
        let borrowed: Vec<&Allocation> = ipam.allocations().filter(|used| used.borrowed).collect();
        assert_eq!(borrowed.len(), 1);
        assert_eq!((borrowed[0].address, borrowed[0].node.as_str()), (answer.unwrap(), "node-2"));
        assert!(ipam.blocks_of("node-1").next().unwrap().prefix.contains(&borrowed[0].address));
    }
}

#[test]
fn an_exhausted_pool_is_named_with_the_cure() {
    let mut ipam = Ipam::new(&[pool("10.0.0.0/30", 30)], false);
    assign(&mut ipam, "node-1", 4);
    let error = ipam.assign("node-2", pod(7)).unwrap_err().to_string();
    assert!(error.starts_with("no address for pod default/pod-7 on node-2: nothing is free in pool pool"), "{error}");
    assert!(error.contains("hint: enlarge the pool, or add one"), "{error}");
}

#[test]
fn pools_are_tried_in_order_and_disabled_ones_not_at_all() {
    let named = |name: &str, cidr: &str, disabled| IpPool { name: name.into(), disabled, ..pool(cidr, 31) };
    let pools =
        [named("off", "10.0.0.0/24", true), named("one", "10.1.0.0/31", false), named("two", "10.2.0.0/31", false)];
    let mut ipam = Ipam::new(&pools, false);
    assert_eq!(assign(&mut ipam, "node-1", 4), ["10.1.0.0", "10.1.0.1", "10.2.0.0", "10.2.0.1"]);
    let error = Ipam::new(&pools[..1], false).assign("node-1", pod(0)).unwrap_err().to_string();
    assert!(error.contains("no IP pool is enabled"), "{error}");
    let error = ipam.claim("node-1", "10.0.0.0/31".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("pool off, which is disabled"), "{error}");
}

#[test]
fn blocks_of_one_address_work_and_are_the_same_each_time() {
    let run = || assign(&mut Ipam::new(&[pool("10.0.0.0/24", 32)], false), "node-1", 256);
    assert_eq!(run(), run());
    assert_eq!(run().into_iter().collect::<BTreeSet<_>>().len(), 256);
}

#[test]
fn a_fixed_block_must_be_a_block_and_nobody_else_s() {
    let mut ipam = Ipam::new(&[pool("10.100.0.0/16", 26)], false);
    ipam.claim("node-1", "10.100.7.64/26".parse().unwrap()).unwrap();
    assert_eq!(assign(&mut ipam, "node-1", 1), ["10.100.7.64"]);
    for (block, words) in [
        ("10.100.7.64/26", "belongs to node node-1"),
        ("10.100.8.0/25", "is no block of any IP pool"),
        ("10.100.8.1/26", "is no block of any IP pool"),
        ("10.99.0.0/26", "is no block of any IP pool"),
    ] {
        let error = ipam.claim("node-2", block.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("hint: "), "{error}");
    }
}

#[test]
fn a_pool_smaller_than_a_block_has_none() {
    assert_eq!(walk(&pool("10.0.0.0/28", 26), "node-1").count(), 0);
    assert!(Ipam::new(&[pool("10.0.0.0/28", 26)], false).assign("node-1", pod(0)).is_err());
}

#[test]
fn usage_counts_as_calicoctl_does() {
    let whole = pool("10.100.0.0/16", 26);
    let mut ipam = Ipam::new(std::slice::from_ref(&whole), false);
    assign(&mut ipam, "node-1", 4);
    assign(&mut ipam, "node-2", 3);
    let all = ipam.pool_usage(&whole);
    assert_eq!((all.total, all.in_use, all.percent(all.in_use)), (65536, 7, 0));
    assert_eq!((all.free(), all.percent(all.free())), (65529, 100));
    // 2.5009 percent.
    assert_eq!((all.percent(1638), all.percent(1639)), (2, 3));
    let block = ipam.blocks().next().unwrap().usage();
    assert_eq!((block.total, block.in_use, block.percent(4), block.percent(60)), (64, 4, 6, 94));
}

/// A step of a random life: a node asks, or an address in use is given back.
#[derive(Debug, Clone)]
enum Step {
    Ask(u8),
    GiveBack(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => (0u8..4).prop_map(Step::Ask), 1 => any::<prop::sample::Index>().prop_map(Step::GiveBack)]
}

proptest! {
    #[test]
    fn no_address_is_handed_out_twice_or_from_outside(
        base in any::<u32>(), prefix in 22u8..=30, extra in 0u8..=4, strict in any::<bool>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let cidr = IpNet::from(Ipv4Net::new(base.into(), prefix).unwrap().trunc());
        let pools = [pool(&cidr.to_string(), (prefix + extra).min(32))];
        let mut ipam = Ipam::new(&pools, strict);
        let mut live: Vec<IpAddr> = Vec::new();
        for step in steps {
            match step {
                Step::Ask(node) => match ipam.assign(&format!("node-{node}"), pod(0)) {
                    Ok(address) => {
                        prop_assert!(cidr.contains(&address));
                        prop_assert!(!live.contains(&address), "{address} twice");
                        live.push(address);
                    }
                    Err(_) => prop_assert!(strict || live.len() == 1 << (32 - prefix), "refused with room left"),
                },
                Step::GiveBack(_) if live.is_empty() => {}
                Step::GiveBack(index) => prop_assert!(ipam.release(live.swap_remove(index.index(live.len())))),
            }
        }
        prop_assert_eq!(ipam.allocations().count(), live.len());
        prop_assert!(!strict || ipam.allocations().all(|used| !used.borrowed));
    }

    #[test]
    fn a_block_is_a_queue(gone in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let mut ipam = Ipam::new(&[pool("10.0.0.0/26", 26)], false);
        let mut live: Vec<IpAddr> = (0..64).map(|n| ipam.assign("node-1", pod(n)).unwrap()).collect();
        let released: Vec<IpAddr> = gone.iter().map(|index| live.remove(index.index(live.len()))).collect();
        released.iter().for_each(|address| assert!(ipam.release(*address)));
        let again: Vec<IpAddr> = released.iter().map(|_| ipam.assign("node-1", pod(0)).unwrap()).collect();
        prop_assert_eq!(released, again);
    }
}

#[test]
fn an_address_comes_only_from_pools_that_give_it() {
    let named = |name: &str, cidr: &str| IpPool { name: name.into(), ..pool(cidr, 31) };
    let mut ipam = Ipam::new(&[named("a", "10.0.0.0/30"), named("b", "10.1.0.0/31")], false);
    let mut from = |pool: &str, number| {
        let given = ipam.assign_from("n", pod(number), |one| one.name == pool);
        given.map(|address| address.to_string()).map_err(|e| e.to_string())
    };
    assert_eq!(from("b", 1).unwrap(), "10.1.0.0");
    assert!(from("a", 2).unwrap().starts_with("10.0.0."));
    assert_eq!(from("b", 3).unwrap(), "10.1.0.1");
    assert!(from("b", 4).unwrap_err().contains("nothing is free in pool b (10.1.0.0/31)"));
    assert!(from("c", 5).unwrap_err().contains("no IP pool is enabled for it"));
}
