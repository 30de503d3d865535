//! Whether Calico's pools have room for a cluster's pods and tunnels, in each family: told here, at the pool's place, and
//! not when addresses are handed out.

use std::collections::BTreeMap;

use super::cluster_file::ClusterSpec;
use super::complaint::{Checked, Complaint};
use super::manifests::IpPoolObject;
use super::pools;
use super::schedule::Placed;
use super::source::Span;
use super::{Addressing, IpPool, Network, Node, PodNetwork};
use crate::plan::Family;

/// Whether the pools have room for the tunnels' addresses and an address per pod, and every pod's node is taken by one.
pub(super) fn check(
    network: &Network,
    spec: &ClusterSpec,
    objects: &[&IpPoolObject],
    nodes: &[Node],
    pods: &[Placed],
) -> Checked<()> {
    if network.mode.addressing() != Addressing::Pools {
        return Ok(());
    }
    let written = pools::entries(&spec.network).map(|pool| &pool.cidr);
    let cidrs: Vec<_> = written.chain(objects.iter().map(|pool| &pool.spec.cidr)).collect();
    let place = cidrs.first().map_or(spec.nodes.span, |cidr| cidr.span);
    if network.pools.iter().all(|pool| pool.disabled) {
        return Err(Complaint::at(place, "every pool is disabled").hint("pods need one that is not"));
    }
    // The others live in a namespace that has its address already.
    let pods: Vec<&Placed> = pods.iter().filter(|(pod, _)| pod.network == PodNetwork::Own).collect();
    for family in Family::BOTH {
        let pools: Vec<&IpPool> = network.pools.iter().filter(|pool| pool.family() == family).collect();
        // Pods go without IPv6 where no pool gives it to any.
        let have_it = family == Family::Inet || pools.iter().any(|pool| pool.is_for_pods());
        let of_family = cidrs.iter().find(|cidr| pools::is_v6(cidr) == (family == Family::Inet6));
        let place = of_family.map_or(place, |cidr| cidr.span);
        let asked = Asked { family, pools, nodes, pods: if have_it { &pods } else { &[] }, place };
        asked.check_selected()?;
        asked.check_addresses()?;
        if network.strict_affinity {
            asked.check_blocks()?;
        }
    }
    Ok(())
}

/// What is asked of the pools of one family.
struct Asked<'a> {
    family: Family,
    /// All of them, disabled ones too.
    pools: Vec<&'a IpPool>,
    nodes: &'a [Node],
    /// Those that take an address of the family.
    pods: &'a [&'a Placed],
    /// Where the first pool is written.
    place: Span,
}

impl Asked<'_> {
    /// How messages tell the family: IPv4 goes without saying.
    fn word(&self) -> &'static str {
        if self.family == Family::Inet6 { "IPv6 " } else { "" }
    }

    /// Every pod's node must be one that some pool gives addresses for pods to.
    fn check_selected(&self) -> Checked<()> {
        let without = |node: &&Node| !self.pools.iter().any(|pool| pool.gives_pods(node));
        let without: Vec<&Node> = self.nodes.iter().filter(without).collect();
        for (pod, span) in self.pods {
            if without.iter().any(|node| node.name == pod.node) {
                let (word, node, pod) = (self.word(), &pod.node, &pod.name);
                let what = format!("no pool gives {word}addresses to pods of node `{node}`, where pod `{pod}` runs");
                return Err(Complaint::at(*span, what).hint(
                    "a pool does if it is not disabled, its nodeSelector matches the node's labels, its assignmentMode \
                     is Automatic, and its allowedUses has Workload",
                ));
            }
        }
        Ok(())
    }

    /// There must be an address for each pod and each tunnel.
    fn check_addresses(&self) -> Checked<()> {
        let room = self.sum(|pool| pool.cidr.max_prefix_len() - pool.cidr.prefix_len());
        let tunnels: u128 = self.nodes.iter().map(|node| self.tunnels_of(node)).sum();
        let needed = self.pods.len() as u128 + tunnels;
        if room >= needed {
            return Ok(());
        }
        let (word, pods) = (self.word(), self.pods.len());
        let message = format!(
            "the {word}pools have {room} addresses, but {needed} are needed: {pods} for pods and {tunnels} for the \
             nodes' tunnels"
        );
        Err(Complaint::at(self.place, message).hint("make the pool larger, or add another one"))
    }

    /// Where no node borrows from another's block, there must be blocks for each.
    fn check_blocks(&self) -> Checked<()> {
        let bits = |pool: &&IpPool| pool.cidr.max_prefix_len() - pool.block_size;
        let largest = self.pools.iter().filter(|pool| !pool.disabled).map(bits).max().unwrap_or(0);
        let have = self.sum(|pool| pool.block_size - pool.cidr.prefix_len());
        let mut addresses: BTreeMap<&str, u128> =
            self.nodes.iter().map(|node| (node.name.as_str(), self.tunnels_of(node))).collect();
        for (pod, _) in self.pods {
            *addresses.entry(&pod.node).or_default() += 1;
        }
        let wanted: u128 = addresses.values().map(|count| count.div_ceil(1 << largest)).sum();
        if have >= wanted {
            return Ok(());
        }
        let message = format!(
            "the {}pools have too few blocks: {have}, but {wanted} are needed, as strictAffinity lets no node borrow",
            self.word()
        );
        Err(Complaint::at(self.place, message)
            .hint("make the pool larger, or its blocks smaller by a larger `blockSize`, or drop strictAffinity"))
    }

    /// The sum of two to the power of this, for each pool in use.
    fn sum(&self, bits: impl Fn(&IpPool) -> u8) -> u128 {
        let in_use = self.pools.iter().filter(|pool| !pool.disabled);
        let numbers = in_use.map(|pool| 1u128.checked_shl(bits(pool).into()).unwrap_or(u128::MAX));
        numbers.fold(0, u128::saturating_add)
    }

    /// How many tunnel addresses a node takes.
    fn tunnels_of(&self, node: &Node) -> u128 {
        let has = |on: fn(&IpPool) -> bool| self.pools.iter().any(|pool| on(pool) && pool.gives_tunnels(node));
        u128::from(has(|pool| pool.ipip.is_on())) + u128::from(has(|pool| pool.vxlan.is_on()))
    }
}
