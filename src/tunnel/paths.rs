//! Where inner packets go: the outer addresses for each inner destination, asked from the namespace's own routing
//! and remembered until that changes. EFFECTS.
//!
//! A TUN does not tell through which next hop the kernel routed a packet, so the question is asked again: the
//! route to the inner destination through the device; its next hop is the outer destination (the inner
//! destination itself if there is none, as in Linux' `rt_nexthop`). Rules that look at the source, the mark,
//! TOS or the input device are not asked for; since the question is bound to the device, only two routes
//! through the tunnel that such rules tell apart can be confused.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Peer;
use super::counters::Cause;
use super::ipip::Path;
use crate::error::Result;
use crate::kernel::lookup::{Lookup, Watch};

/// Destinations remembered at most; then all are forgotten and asked again.
const REMEMBERED: usize = 8192;

/// How long an answer is good without news. Routes tell of their changes, but a path MTU expires in silence.
const TRUSTED: Duration = Duration::from_secs(5);

/// What is known of the way to one inner destination.
type Known = std::result::Result<Path, Cause>;

/// The ways out of one tunnel.
#[derive(Debug)]
pub struct Paths {
    device: u32,
    /// The only other end, if there is but one.
    peer: Option<Peer>,
    lookup: Lookup,
    watch: Watch,
    known: HashMap<Ipv4Addr, (Known, Instant)>,
    /// The last of them, since packets to one destination come in rows.
    last: Option<(Ipv4Addr, Path, Instant)>,
}

impl Paths {
    /// The ways through the device with this interface index, in the calling thread's namespace; all to `peer` if there
    /// is one.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open(device: u32, peer: Option<Peer>) -> Result<Paths> {
        let (watch, lookup) = (Watch::open()?, Lookup::open()?);
        Ok(Paths { device, peer, lookup, watch, known: HashMap::new(), last: None })
    }

    /// What to wait on for changes.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Forgets everything if there are news.
    pub fn hear(&mut self) {
        if self.watch.drain() {
            self.forget();
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.known.clear();
        self.last = None;
    }

    /// The way to an inner destination.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&mut self, destination: Ipv4Addr, now: Instant) -> Known {
        if let Some((to, path, since)) = self.last
            && to == destination
            && now.duration_since(since) < TRUSTED
        {
            return Ok(path);
        }
        let remembered = self.known.get(&destination).filter(|(_, since)| now.duration_since(*since) < TRUSTED);
        let (known, since) = match remembered.copied() {
            Some((Err(cause), since)) => {
                // Before a packet is dropped for what was so a moment ago, the news are heard.
                if self.watch.drain() {
                    self.forget();
                    (self.learn(destination, now), now)
                } else {
                    (Err(cause), since)
                }
            }
            Some(good) => good,
            None => (self.learn(destination, now), now),
        };
        self.last = known.ok().map(|path| (destination, path, since));
        known
    }

    fn learn(&mut self, destination: Ipv4Addr, now: Instant) -> Known {
        if self.known.len() >= REMEMBERED {
            self.forget();
        }
        let known = self.ask(destination);
        self.known.insert(destination, (known, now));
        known
    }

    fn ask(&mut self, destination: Ipv4Addr) -> Known {
        let no_route = |_| Cause::NoRoute;
        let next_hop = match self.peer {
            Some(peer) => peer.remote,
            None => {
                let inner = self.lookup.route(destination, Some(self.device)).map_err(no_route)?;
                inner.gateway.unwrap_or(destination)
            }
        };
        let outer = self.lookup.route(next_hop, None).map_err(no_route)?;
        if outer.device == self.device {
            return Err(Cause::Loop);
        }
        let device_mtu = self.lookup.link_mtu(outer.device).map_err(no_route)?;
        let source = self.peer.map(|peer| peer.local).or(outer.source).ok_or(Cause::NoRoute)?;
        let mtu = outer.mtu.map_or(device_mtu, |mtu| mtu.min(device_mtu));
        Ok(Path { source, destination: next_hop, mtu, device_mtu, pmtudisc: self.peer.is_some() })
    }
}
