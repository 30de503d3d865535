//! Calico's IPAM: which block a node gets, and which address of it a pod. PURE.
//!
//! A pool is cut into blocks. A node claims a block by walking the pool from an index that depends on its name
//! alone, and hands out the block's addresses upwards; only when no block is left does it borrow addresses from
//! blocks of others (libcalico-go v3.18, lib/ipam/ipam.go, ipam_block.go, ipam_block_reader_writer.go).
//!
//! ```text
//!  pool 10.100.0.0/16 ── 1024 blocks of /26 ──▶ node-1: index 338 = 10.100.84.128/26 ──▶ .128 tunl0, .129, .130 …
//! ```

mod block;
mod cooked;
mod gorand;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, Kind, Result};
use crate::plan::nth;
use crate::topology::{IpPool, Memory};

pub use block::{Allocation, Block, Owner, Usage};

/// The address manager of one cluster.
#[derive(Debug, Clone)]
pub struct Ipam {
    pools: Vec<IpPool>,
    strict_affinity: bool,
    /// Every claimed block, by its prefix.
    blocks: BTreeMap<IpNet, Block>,
    /// The blocks of each node in the order in which it claimed them.
    affine: BTreeMap<String, Vec<IpNet>>,
}

impl Ipam {
    /// A manager of these pools, with nothing handed out. `strict_affinity` forbids borrowing.
    pub fn new(pools: &[IpPool], strict_affinity: bool) -> Self {
        Ipam { pools: pools.to_vec(), strict_affinity, blocks: BTreeMap::new(), affine: BTreeMap::new() }
    }

    /// Gives `node` the block that its user chose for it.
    ///
    /// # Errors
    /// `Topology` if the prefix is no block of an enabled pool, or is another node's.
    pub fn claim(&mut self, node: &str, block: IpNet) -> Result<()> {
        let fits = |pool: &&IpPool| {
            pool.cidr.contains(&block) && pool.block_size == block.prefix_len() && block.trunc() == block
        };
        let Some(pool) = self.pools.iter().find(fits) else {
            let pools: Vec<String> =
                self.pools.iter().map(|p| format!("{} ({}, blocks of /{})", p.name, p.cidr, p.block_size)).collect();
            return Err(Error::new(Kind::Topology, format!("node {node}: {block} is no block of any IP pool"))
                .hint(format!("take a prefix of one of these pools: {}", pools.join(", "))));
        };
        if pool.disabled {
            return Err(Error::new(
                Kind::Topology,
                format!("node {node}: {block} is in pool {}, which is disabled", pool.name),
            )
            .hint("choose a block of an enabled pool, or enable that one"));
        }
        if let Some(taken) = self.blocks.get(&block) {
            return Err(Error::new(
                Kind::Topology,
                format!("node {node}: block {block} belongs to node {}", taken.node),
            )
            .hint("give each node a block of its own"));
        }
        let pool = pool.name.clone();
        self.insert(Block::new(pool, node, block));
        Ok(())
    }

    /// Hands out an address on `node`: from its own blocks, else from a new one, else a borrowed one.
    ///
    /// # Errors
    /// `Topology` if no pool has room, naming the pools and what would make room.
    pub fn assign(&mut self, node: &str, owner: Owner) -> Result<IpAddr> {
        self.assign_from(node, owner, |pool| !pool.disabled)
    }

    /// As [`Self::assign`], from those pools only that `gives` picks: by encapsulation, selector or use.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub fn assign_from(&mut self, node: &str, owner: Owner, gives: impl Fn(&IpPool) -> bool) -> Result<IpAddr> {
        let pools: Vec<IpPool> = self.pools.iter().filter(|pool| gives(pool)).cloned().collect();
        let own = self.own_block(node, &pools);
        let prefix = own.or_else(|| self.claim_next(node, &pools)).or_else(|| self.lender(node, &pools));
        let block = prefix.and_then(|prefix| self.blocks.get_mut(&prefix)).filter(|block| block.has_room());
        match block.and_then(|block| block.take(node, owner.clone())) {
            Some(address) => Ok(address),
            None => Err(self.exhausted(node, &owner, &pools)),
        }
    }

    /// Gives back to a live cluster what it had: its blocks, and the queue of addresses that came back. What fits no
    /// pool any more is left out. Before any address is handed out, each that is [kept](Ipam::keep) must be taken.
    pub fn recall(&mut self, memory: &Memory) {
        for (block, node) in &memory.blocks {
            let known = self.blocks.get(block).is_some_and(|known| known.node == *node);
            if !known {
                // The pools have changed since; a block that is none of theirs is not claimed.
                let _ = self.claim(node, *block);
            }
        }
        self.requeue(&memory.released);
    }

    /// Puts those of `addresses` that nobody has at the end of their blocks' queues, as their release does.
    pub fn requeue(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if let Some(block) = self.blocks.values_mut().find(|block| block.prefix.contains(address)) {
                block.requeue(*address);
            }
        }
    }

    /// Hands out this very address, which `owner` had before; false if no claimed block has it free.
    pub fn keep(&mut self, node: &str, owner: &Owner, address: IpAddr) -> bool {
        let block = self.blocks.values_mut().find(|block| block.prefix.contains(&address));
        block.is_some_and(|block| block.take_this(node, owner.clone(), address))
    }

    /// Takes an address back; it goes to the end of its block's queue. False if it was not handed out.
    pub fn release(&mut self, address: IpAddr) -> bool {
        self.blocks
            .values_mut()
            .find(|block| block.prefix.contains(&address))
            .is_some_and(|block| block.release(address))
    }

    /// Every claimed block, by address.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values()
    }

    /// The blocks of one node in the order in which it claimed them.
    pub fn blocks_of<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Block> {
        self.affine.get(node).into_iter().flatten().filter_map(|prefix| self.blocks.get(prefix))
    }

    /// Every address in use, by address.
    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.blocks.values().flat_map(Block::allocations)
    }

    /// The pools, in the order in which they are tried.
    pub fn pools(&self) -> &[IpPool] {
        &self.pools
    }

    /// How full a pool is, as `calicoctl ipam show` counts it: of all its addresses, claimed or not.
    pub fn pool_usage(&self, pool: &IpPool) -> Usage {
        let blocks = self.blocks.values().filter(|block| block.pool == pool.name);
        let bits = pool.cidr.max_prefix_len() - pool.cidr.prefix_len();
        let total = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
        Usage { total, in_use: blocks.map(|b| b.usage().in_use).sum() }
    }

    fn insert(&mut self, block: Block) -> IpNet {
        let prefix = block.prefix;
        self.affine.entry(block.node.clone()).or_default().push(prefix);
        self.blocks.insert(prefix, block);
        prefix
    }

    /// The first block of `node` with room, in one of these pools.
    fn own_block(&self, node: &str, pools: &[IpPool]) -> Option<IpNet> {
        let usable = |block: &&Block| block.has_room() && pools.iter().any(|pool| pool.name == block.pool);
        self.blocks_of(node).find(usable).map(|block| block.prefix)
    }

    /// Claims the first block that is nobody's, walking each pool once round from the node's start.
    fn claim_next(&mut self, node: &str, pools: &[IpPool]) -> Option<IpNet> {
        let free = |pool: &IpPool| walk(pool, node).find(|prefix| !self.blocks.contains_key(prefix));
        let (pool, prefix) = pools.iter().find_map(|pool| Some((pool, free(pool)?)))?;
        Some(self.insert(Block::new(pool.name.clone(), node, prefix)))
    }

    /// A block of another node with room, in the same order.
    fn lender(&self, node: &str, pools: &[IpPool]) -> Option<IpNet> {
        if self.strict_affinity {
            return None;
        }
        let with_room = |prefix: &IpNet| self.blocks.get(prefix).is_some_and(Block::has_room);
        pools.iter().find_map(|pool| walk(pool, node).find(with_room))
    }

    fn exhausted(&self, node: &str, owner: &Owner, pools: &[IpPool]) -> Error {
        let pools: Vec<String> = pools.iter().map(|p| format!("{} ({})", p.name, p.cidr)).collect();
        if pools.is_empty() {
            return Error::new(
                Kind::Topology,
                format!("no address for {owner} on {node}: no IP pool is enabled for it"),
            )
            .hint("set `disabled: false` on a pool whose nodeSelector takes the node, or add one");
        }
        let full = format!("no address for {owner} on {node}: nothing is free in pool {}", pools.join(", "));
        let cure = if self.strict_affinity {
            "enlarge the pool, add one, make its blocks smaller, or allow borrowing with `strictAffinity: false`"
        } else {
            "enlarge the pool, or add one"
        };
        Error::new(Kind::Topology, full).hint(cure)
    }
}

/// The blocks of a pool in the order in which `node` tries them; none if the pool is smaller than one.
fn walk(pool: &IpPool, node: &str) -> impl Iterator<Item = IpNet> + use<> {
    let (cidr, size) = (pool.cidr.trunc(), pool.block_size);
    let count = size.checked_sub(cidr.prefix_len()).map_or(0, |bits| 1u128 << bits.min(127));
    let start = if count == 0 { 0 } else { start_index(node, count) };
    let width = cidr.max_prefix_len() - size;
    (0..count).filter_map(move |step| {
        let index = (start + step) % count;
        IpNet::new(nth(&cidr, index << width), size).ok()
    })
}

/// Where `node` starts in a pool of `count` blocks. Calico seeds with the time if a block is a single address;
/// minik keeps the name there too, because equal input must give an equal plan.
fn start_index(node: &str, count: u128) -> u128 {
    gorand::GoRand::new(fnv1(node.as_bytes())).below(count)
}

/// The 32-bit FNV-1 hash (multiply, then xor).
fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests;
