//! A block of addresses, and who has them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::plan::{bits, nth};

/// A block that a node has claimed.
#[derive(Debug, Clone)]
pub struct Block {
    /// Name of the pool that it is cut from.
    pub pool: String,
    /// The node that it belongs to.
    pub node: String,
    /// Its prefix.
    pub prefix: IpNet,
    /// Ordinals not in use: taken from the front, given back to the end.
    free: VecDeque<u32>,
    used: BTreeMap<u32, Allocation>,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// The node that uses it.
    pub node: String,
    /// What has it.
    pub owner: Owner,
    /// Whether the block belongs to another node.
    pub borrowed: bool,
}

/// How many addresses there are and how many are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All addresses.
    pub total: u128,
    /// Those in use.
    pub in_use: u128,
}

impl Usage {
    /// Those that are not in use.
    pub fn free(self) -> u128 {
        self.total - self.in_use
    }

    /// `number` of all addresses in percent, to the nearest integer, as `calicoctl ipam show` prints it.
    pub fn percent(self, number: u128) -> u128 {
        // So that two hundred times as many are still a number; of such a pool of IPv6 nobody uses a percent.
        let shift = if self.total >> 112 == 0 { 0 } else { 16 };
        let (number, total) = (number >> shift, self.total >> shift);
        (number * 200 + total) / (total * 2)
    }
}

/// What has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Owner {
    /// A node's tunnel device.
    Tunnel {
        /// The device.
        device: String,
    },
    /// A pod.
    Pod {
        /// Its Kubernetes namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Tunnel { device } => write!(f, "{device}"),
            Owner::Pod { namespace, name } => write!(f, "pod {namespace}/{name}"),
        }
    }
}

impl Block {
    pub(super) fn new(pool: String, node: &str, prefix: IpNet) -> Self {
        let size = 1u32 << (prefix.max_prefix_len() - prefix.prefix_len()).min(31);
        Block { pool, node: node.to_string(), prefix, free: (0..size).collect(), used: BTreeMap::new() }
    }

    /// How full it is; its first and last address are ordinary ones.
    pub fn usage(&self) -> Usage {
        Usage { total: (self.free.len() + self.used.len()) as u128, in_use: self.used.len() as u128 }
    }

    /// Those in use, by address.
    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.used.values()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn take(&mut self, node: &str, owner: Owner) -> Option<IpAddr> {
        let ordinal = self.free.pop_front()?;
        Some(self.give(ordinal, node, owner))
    }

    /// Takes a certain address out of the queue; false if it is in use.
    pub(super) fn take_this(&mut self, node: &str, owner: Owner, address: IpAddr) -> bool {
        let ordinal = self.ordinal(address);
        let Some(place) = self.free.iter().position(|free| *free == ordinal) else { return false };
        self.free.remove(place);
        self.give(ordinal, node, owner);
        true
    }

    /// Puts a free address at the end of the queue, as its release did.
    pub(super) fn requeue(&mut self, address: IpAddr) {
        let ordinal = self.ordinal(address);
        if let Some(place) = self.free.iter().position(|free| *free == ordinal) {
            self.free.remove(place);
            self.free.push_back(ordinal);
        }
    }

    /// Place of an address of the block.
    fn ordinal(&self, address: IpAddr) -> u32 {
        let distance = bits(address).wrapping_sub(bits(self.prefix.network()));
        u32::try_from(distance).unwrap_or(u32::MAX)
    }

    fn give(&mut self, ordinal: u32, node: &str, owner: Owner) -> IpAddr {
        let address = nth(&self.prefix, u128::from(ordinal));
        let borrowed = node != self.node;
        self.used.insert(ordinal, Allocation { address, node: node.to_string(), owner, borrowed });
        address
    }

    pub(super) fn release(&mut self, address: IpAddr) -> bool {
        let ordinal = self.ordinal(address);
        let had = self.used.remove(&ordinal).is_some();
        if had {
            self.free.push_back(ordinal);
        }
        had
    }
}
