//! Who reaches whom by the plan, for all pairs of very many pods. PURE.
//!
//! A packet's way between two nodes is made of three parts: out of the one pod by its node, between the nodes, and by
//! the other node into the other pod. Pods of one node are *alike* to everybody else if nothing outside of the node
//! and of themselves tells them apart: no namespace's description names the address of one of them, nor a prefix that
//! holds one and not the other. Then every namespace does with the one what it does with the other, and it is enough to
//! predict, for two sorts of pods on two nodes, the way between a first of each, that of every pod of the one sort to the
//! first of the other, and that of the first of the one to every pod of the other: where these are the same between the
//! nodes, and all are answered, the parts fit together for all. Whatever is not so is predicted pair by pair.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::flows;
use crate::error::{Error, Kind, Result};
use crate::packet::{Body, Frame, Inside, Packet, Transport};
use crate::plan::{Mac, Namespace, Plan, Role};
use crate::predict::{Hop, Journey, Network};

/// Ends up to which every pair is predicted by itself: that takes a moment, and proves the rest.
const FEW: usize = 40;

/// Who asks, and is asked at this address.
pub type End<'a> = (&'a Namespace, IpAddr);

/// For each end whether by the plan a ping to each end is answered, row by row; to itself it is.
///
/// # Errors
/// As [`predict`](crate::predict::predict).
pub fn all_pairs(plan: &Plan, ends: &[End]) -> Result<Vec<bool>> {
    let reach = Reach { network: Network::new(plan), ends };
    if ends.len() <= FEW {
        return reach.singly();
    }
    match reach.by_sorts(&sorts(plan, ends)?)? {
        Some(answered) => Ok(answered),
        None => reach.singly(),
    }
}

struct Reach<'a> {
    network: Network<'a>,
    ends: &'a [End<'a>],
}

/// Ends that are alike to everybody outside of their node, by their numbers.
#[derive(Debug, PartialEq, Eq)]
struct Sort<'a> {
    node: &'a str,
    ends: Vec<usize>,
}

impl Reach<'_> {
    fn way(&self, from: usize, to: usize) -> Result<Journey> {
        self.network.predict(&flows::ping(self.ends[from].0, self.ends[to].1)?)
    }

    fn is_answered(&self, from: usize, to: usize) -> Result<bool> {
        Ok(from == to || self.way(from, to)?.answered())
    }

    fn singly(&self) -> Result<Vec<bool>> {
        let count = self.ends.len();
        (0..count * count).map(|cell| self.is_answered(cell / count, cell % count)).collect()
    }

    /// None if pods of one sort turn out not to be alike.
    fn by_sorts(&self, sorts: &[Sort]) -> Result<Option<Vec<bool>>> {
        let count = self.ends.len();
        let mut answered = vec![false; count * count];
        for here in sorts {
            for there in sorts {
                // Two predictions for each pod, or one for each pair.
                let few = here.ends.len() * there.ends.len() <= here.ends.len() + there.ends.len() + 1;
                let fit = if few || here.node == there.node { None } else { self.fitting(here, there)? };
                for (a, from) in here.ends.iter().enumerate() {
                    for (b, to) in there.ends.iter().enumerate() {
                        let known = fit.as_ref().is_some_and(|(out, into)| out[a] && into[b]);
                        // The first ones are known already; the last ones show whether the others are like them.
                        let is_sample = known && a + 1 == here.ends.len() && b + 1 == there.ends.len();
                        let seen = if known && !is_sample { true } else { self.is_answered(*from, *to)? };
                        if is_sample && !seen {
                            return Ok(None);
                        }
                        answered[from * count + to] = seen;
                    }
                }
            }
        }
        Ok(Some(answered))
    }

    /// Which pods of the one sort reach the first of the other as the first does, and which of the other it reaches as it
    /// does the first; none if the two first do not reach each other.
    fn fitting(&self, here: &Sort, there: &Sort) -> Result<Option<(Vec<bool>, Vec<bool>)>> {
        let (Some(first), Some(other)) = (here.ends.first().copied(), there.ends.first().copied()) else {
            return Ok(None);
        };
        let model = self.way(first, other)?;
        if !model.answered() {
            return Ok(None);
        }
        let is_like = |way: Journey, one: usize, model_of: usize, node: &str| {
            way.answered() && self.outside(&way, one, model_of, node).eq(self.outside(&model, model_of, model_of, node))
        };
        let out = |from: &usize| Ok(*from == first || is_like(self.way(*from, other)?, *from, first, here.node));
        let into = |to: &usize| Ok(*to == other || is_like(self.way(first, *to)?, *to, other, there.node));
        Ok(Some((
            here.ends.iter().map(out).collect::<Result<_>>()?,
            there.ends.iter().map(into).collect::<Result<_>>()?,
        )))
    }

    /// The frames of a journey outside of a pod and its node, as they were if another one were in its place.
    fn outside<'j>(
        &self,
        journey: &'j Journey,
        pod: usize,
        in_place: usize,
        node: &str,
    ) -> impl Iterator<Item = Cow<'j, Hop>> {
        let (own, other) = (self.ends[pod], self.ends[in_place]);
        let hops = journey.hops().filter(move |hop| hop.namespace != own.0.name && hop.namespace != node);
        hops.map(move |hop| {
            if pod == in_place {
                return Cow::Borrowed(hop);
            }
            let mut hop = hop.clone();
            rename(&mut hop.frame, own, other);
            Cow::Owned(hop)
        })
    }
}

/// Puts the one end's addresses in the place of the other's.
fn rename(frame: &mut Frame, one: End, other: End) {
    if let Some(ethernet) = &mut frame.ethernet {
        for mac in [&mut ethernet.src, &mut ethernet.dst] {
            let at = one.0.links.iter().position(|link| link.mac == Some(*mac));
            *mac = at.and_then(|at| other.0.links.get(at)?.mac).unwrap_or(*mac);
        }
    }
    if let Body::Ip(packet) = &mut frame.body {
        rename_in(packet, one, other);
    }
}

fn rename_in(packet: &mut Packet, one: End, other: End) {
    for ip in &mut packet.layers {
        for address in [&mut ip.src, &mut ip.dst] {
            if *address == one.1 {
                *address = other.1;
            }
        }
    }
    if let Transport::Tunnel { inside, .. } = &mut packet.transport {
        match &mut **inside {
            Inside::Bare(packet) => rename_in(packet, one, other),
            Inside::Vxlan { frame, .. } => rename(frame, one, other),
        }
    }
}

/// Where something is named: up to three namespaces, by their numbers. That is enough to know whether one of them is
/// neither of two.
#[derive(Debug, Default)]
struct Namers {
    first: [usize; 3],
    count: usize,
}

impl Namers {
    fn add(&mut self, ns: usize) {
        if self.count < self.first.len() && !self.first[..self.count].contains(&ns) {
            self.first[self.count] = ns;
            self.count += 1;
        }
    }

    fn any_but(&self, ns: [Option<usize>; 2]) -> bool {
        self.first[..self.count].iter().any(|namer| !ns.contains(&Some(*namer)))
    }
}

/// What the namespaces' descriptions name.
#[derive(Debug, Default)]
struct Named {
    nets: HashMap<IpNet, Namers>,
    macs: HashMap<Mac, Namers>,
}

impl Named {
    /// Reads whole descriptions, so that nothing is left out that a namespace might go by: better a name too many.
    fn of(plan: &Plan) -> Result<Named> {
        let mut named = Named::default();
        for (number, ns) in plan.namespaces.iter().enumerate() {
            let text = serde_json::to_string(ns)
                .map_err(|e| Error::new(Kind::Check, format!("cannot describe {}", ns.name)).because(e))?;
            // Keys and words have other letters; every address is a value of its own.
            for word in text.split(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/' | '[' | ']'))) {
                named.read(word, number);
            }
        }
        Ok(named)
    }

    fn read(&mut self, word: &str, ns: usize) {
        let colons = word.bytes().filter(|byte| *byte == b':').count();
        if colons < 2 && !word.contains('.') {
            return;
        }
        let net = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
        let net = net.or_else(|_| word.parse::<SocketAddr>().map(|socket| IpNet::from(socket.ip())));
        match (net, word.parse::<Mac>()) {
            (Ok(net), _) => self.nets.entry(net.trunc()).or_default().add(ns),
            (_, Ok(mac)) => self.macs.entry(mac).or_default().add(ns),
            _ => {}
        }
        // A link's address is named with its prefix; the lowest one of a prefix is that of no link.
        if let Ok(net) = word.parse::<IpNet>()
            && (net.addr() != net.network() || net.prefix_len() + 1 >= net.max_prefix_len())
        {
            self.nets.entry(net.addr().into()).or_default().add(ns);
        }
    }
}

/// What tells pods of a node apart for everybody else: the prefixes that hold the address, and the pod itself if anybody
/// names its addresses.
type Marks<'a> = (&'a str, Vec<IpNet>, Option<&'a str>);

/// The ends by what sets them apart.
fn sorts<'a>(plan: &'a Plan, ends: &[End<'a>]) -> Result<Vec<Sort<'a>>> {
    let named = Named::of(plan)?;
    let numbers: HashMap<&str, usize> =
        plan.namespaces.iter().enumerate().map(|(number, ns)| (ns.name.as_str(), number)).collect();
    let mut wide: Vec<(&IpNet, &Namers)> =
        named.nets.iter().filter(|(net, _)| net.prefix_len() < net.max_prefix_len()).collect();
    wide.sort_by_key(|(net, _)| **net);
    let mut sorts: BTreeMap<Marks, Vec<usize>> = BTreeMap::new();
    for (number, (ns, address)) in ends.iter().enumerate() {
        let node = match &ns.role {
            Role::Pod { node, .. } => node.as_str(),
            _ => ns.name.as_str(),
        };
        let own = [numbers.get(ns.name.as_str()).copied(), numbers.get(node).copied()];
        let by_others = |namers: &Namers| namers.any_but(own);
        let holding = wide.iter().filter(|(net, namers)| net.contains(address) && by_others(namers));
        let nets = holding.map(|(net, _)| **net).collect();
        let macs = ns.links.iter().filter_map(|link| named.macs.get(link.mac.as_ref()?));
        let is_named = named.nets.get(&IpNet::from(*address)).into_iter().chain(macs).any(by_others);
        sorts.entry((node, nets, is_named.then_some(ns.name.as_str()))).or_default().push(number);
    }
    Ok(sorts.into_iter().map(|((node, ..), ends)| Sort { node, ends }).collect())
}

#[cfg(test)]
mod tests;
