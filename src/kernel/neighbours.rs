//! What namespaces have learned about their neighbours: how much of it the kernel keeps, and forgetting it.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;

use super::netlink::{Batch, Rtnetlink};
use super::{netns, sysctl};
use crate::error::Result;
use crate::plan::netfilter::Family;
use crate::plan::{Namespace, Sysctl};

/// What may have gone by itself.
const GONE: &[i32] = &[libc::ENOENT];

/// Where the kernel says how many neighbours it keeps of all namespaces together.
pub fn limit_key(family: Family) -> String {
    let family = if family == Family::Inet { "ipv4" } else { "ipv6" };
    format!("net.{family}.neigh.default.gc_thresh3")
}

/// How many neighbours the kernel keeps of all namespaces together; none if it does not say so here: a machine whose
/// network is itself a container's does not show the limit.
pub fn limit(family: Family) -> Option<usize> {
    sysctl::read(&Sysctl::new(limit_key(family), "")).ok()?.parse().ok()
}

/// Sockets in namespaces, to make them forget their neighbours.
#[derive(Debug)]
pub struct Memories {
    family: AddressFamily,
    sockets: Vec<(String, Rtnetlink)>,
}

impl Memories {
    /// Those of these namespaces and this family.
    ///
    /// # Errors
    /// If a namespace is not there, or the kernel refuses a socket.
    pub fn open(namespaces: &[&Namespace], family: Family) -> Result<Memories> {
        let family = if family == Family::Inet { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let opened = netns::tour(namespaces, |ns| &ns.netns, |ns| Ok((ns.name.clone(), Rtnetlink::open()?)))?;
        Ok(Memories { family, sockets: opened.into_iter().collect::<Result<_>>()? })
    }

    /// Makes namespaces forget what they learned, as the kernel does by itself when it comes to it; what was put there
    /// for good stays.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget(&mut self, which: impl Fn(&str) -> bool) -> Result<()> {
        let concerned = self.sockets.iter_mut().filter(|(name, _)| which(name));
        for (name, socket) in concerned {
            forget_in(socket, self.family).map_err(|e| e.within(&name))?;
        }
        Ok(())
    }
}

fn forget_in(socket: &mut Rtnetlink, family: AddressFamily) -> Result<()> {
    let mut request = NeighbourMessage::default();
    request.header.family = family;
    let mut batch = Batch::default();
    socket.dump(Message::GetNeighbour(request), |message| {
        let Message::NewNeighbour(known) = message else { return };
        // A dump may be of more families than were asked for.
        let learned = known.header.family == family
            && known.header.kind == RouteType::Unicast
            && !matches!(known.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
        let address = known.attributes.into_iter().find(|one| matches!(one, NeighbourAttribute::Destination(_)));
        if let (true, Some(address)) = (learned, address) {
            let mut message = NeighbourMessage::default();
            (message.header.family, message.header.ifindex) = (family, known.header.ifindex);
            message.attributes.push(address);
            batch.push_tolerant(Message::DelNeighbour(message), 0, "forget a neighbour", GONE);
        }
    })?;
    if batch.is_empty() { Ok(()) } else { socket.send(batch) }
}
