//! Whether anything may have changed in a namespace since it was last looked at, told by the kernel itself: a daemon's
//! timer that runs off where nothing has happened costs a few system calls, and no tool is started.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::lookup::Watch;
use super::netns;
use super::raw_netlink::{ACK, DUMP, Raw, attribute, general, message, value};
use crate::error::{Error, Result};
use crate::plan::Keeps;

/// `NFNL_SUBSYS_NFTABLES`, `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`, `NFTA_GEN_ID` (linux/netfilter/nf_tables.h).
const NFTABLES: u16 = 10;
const NEW_GENERATION: u16 = 15;
const GET_GENERATION: u16 = 16;
const GENERATION_ID: u16 = 1;
/// `NFNL_SUBSYS_IPSET`, `IPSET_CMD_LIST`, `IPSET_ATTR_PROTOCOL`, `IPSET_PROTOCOL_MIN` (linux/netfilter/ipset/ip_set.h).
const IPSET: u16 = 6;
const LIST: u16 = 7;
const PROTOCOL: u16 = 1;
const OLDEST: u8 = 6;

/// Names of the tables that a namespace has of the older x_tables, which count no generations.
const LEGACY: [&str; 2] = ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"];

/// What the kernel tells about a namespace.
pub struct Glance {
    routing: Watch,
    /// How often there were news of routing.
    news: u64,
    netfilter: Raw,
    legacy: Vec<File>,
}

impl Glance {
    /// One into the namespace of this name under /run/netns.
    ///
    /// # Errors
    /// If the namespace is not there, or the kernel refuses a socket.
    pub fn into(namespace: &str) -> Result<Glance> {
        netns::inside(netns::open(namespace)?.file(), || {
            let netfilter = Raw::open(NETLINK_NETFILTER).map_err(|e| Error::io("cannot open a netfilter socket", e))?;
            // Where the kernel or a module has no x_tables there is no file, and nobody can have such tables.
            let legacy = LEGACY.iter().filter_map(|path| File::open(path).ok()).collect();
            Ok(Glance { routing: Watch::open_wide()?, news: 0, netfilter, legacy })
        })?
    }

    /// A number that is another one if anything of what a daemon looks after may have changed since it was given last;
    /// none if the kernel does not tell.
    pub fn mark(&mut self, keeps: &Keeps) -> Option<u64> {
        match keeps {
            Keeps::Routes { .. } | Keeps::Device { .. } | Keeps::Peers { .. } => {
                self.news += u64::from(self.routing.drain());
                Some(self.news)
            }
            Keeps::Rules(_) | Keeps::Nftables { .. } => self.generation(),
            Keeps::Sets { .. } => self.sets(),
            // Nothing is told about IPVS.
            Keeps::Servers => None,
        }
    }

    /// The number of changes to nf_tables; none if there are rules of x_tables.
    fn generation(&self) -> Option<u64> {
        let has_none = |file: &File| file.read_at(&mut [0], 0).is_ok_and(|size| size == 0);
        if !self.legacy.iter().all(has_none) {
            return None;
        }
        let question = message(NFTABLES << 8 | GET_GENERATION, ACK, 1, &general(0, 0));
        // A kernel without nf_tables does not tell.
        let answer = self.netfilter.ask(&question).ok()?;
        let (_, body) = answer.iter().find(|(kind, _)| *kind == NFTABLES << 8 | NEW_GENERATION)?;
        let id = value(body.get(4..)?, GENERATION_ID)?;
        Some(u32::from_be_bytes(id.try_into().ok()?).into())
    }

    /// A hash of all ipsets.
    fn sets(&self) -> Option<u64> {
        let body = [general(libc::AF_INET as u8, 0), attribute(PROTOCOL, &[OLDEST])].concat();
        let answer = self.netfilter.ask(&message(IPSET << 8 | LIST, DUMP, 1, &body)).ok()?;
        let mut hasher = DefaultHasher::new();
        answer.hash(&mut hasher);
        Some(hasher.finish())
    }
}
