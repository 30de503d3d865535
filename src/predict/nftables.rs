//! Tables of nftables, evaluated on a packet value: every statement that a plan can hold.

use std::net::IpAddr;

use super::netfilter::{Chances, Inspected, Met, Place, Verdict, destination_port};
use super::route;
use crate::error::{Error, Kind, Result};
use crate::plan::Namespace;
use crate::plan::netfilter::{CtState, Family, Side};
use crate::plan::nft::{self, ChainType, NftChain, NftKey, NftRule, NftTable, Statement};

/// Chains that may call each other, as the kernel allows (`NFT_JUMP_STACK_SIZE`).
const DEPTH_MAX: usize = 16;

/// How a chain was left.
enum Left {
    /// Decided for the base chain.
    With(Verdict),
    /// Undecided: the caller goes on.
    Open,
}

/// Evaluates the base chains of one type at a hook whose priority is in `priorities`, in their order, until one decides.
///
/// # Errors
/// If a rule names what the table does not have, or chains call each other in a circle.
pub fn evaluate(
    ns: &Namespace,
    kind: ChainType,
    hook: &str,
    priorities: std::ops::RangeInclusive<i32>,
    packet: &mut Inspected,
) -> Result<Verdict> {
    if ns.nft.is_empty() {
        return Ok(Verdict::Pass);
    }
    let Some(ip) = packet.packet.outer() else { return Ok(Verdict::Pass) };
    let family = if ip.dst.is_ipv6() { Family::Inet6 } else { Family::Inet };
    let tables = ns.nft.iter().filter(|table| table.family == family);
    let hooked =
        tables.flat_map(|table| table.chains.iter().filter_map(move |chain| Some((table, chain, chain.hook?))));
    let mut chains: Vec<_> = hooked
        .filter(|(_, _, at)| at.kind == kind && at.hook.eq_ignore_ascii_case(hook) && priorities.contains(&at.priority))
        .collect();
    chains.sort_by_key(|(_, _, at)| at.priority);
    for (table, chain, _) in chains {
        match (Walk { ns, table }).chain(chain, packet, DEPTH_MAX)? {
            Left::Open | Left::With(Verdict::Pass) => {}
            Left::With(verdict) => return Ok(verdict),
        }
    }
    Ok(Verdict::Pass)
}

struct Walk<'a> {
    ns: &'a Namespace,
    table: &'a NftTable,
}

/// What a rule's statements come to.
enum Step {
    /// A condition does not hold: the next rule.
    Next,
    /// The chain is left.
    Leave(Left),
}

impl Walk<'_> {
    fn chain(&self, chain: &NftChain, packet: &mut Inspected, depth: usize) -> Result<Left> {
        for index in 0..chain.rules.len() {
            if let Step::Leave(left) = self.rule(chain, index, packet, depth)? {
                return Ok(left);
            }
        }
        Ok(Left::Open)
    }

    fn rule(&self, chain: &NftChain, index: usize, packet: &mut Inspected, depth: usize) -> Result<Step> {
        let Some(rule) = chain.rules.get(index) else { return Ok(Step::Next) };
        for statement in &rule.statements {
            let decided = match statement {
                Statement::SetBits { bits } => self.mark(chain, index, packet.mark | bits, packet),
                Statement::FlipBits { bits } => self.mark(chain, index, packet.mark ^ bits, packet),
                // Predictions are about the first packet that anybody sends.
                Statement::Remember { .. } => continue,
                Statement::Verdict(verdict) => match self.follow(verdict, chain, index, packet, depth)? {
                    Some(left) => return Ok(Step::Leave(left)),
                    None => continue,
                },
                Statement::Lookup { map, by_address } => {
                    let Some(verdict) = self.look_up(map, *by_address, packet)? else { return Ok(Step::Next) };
                    match self.follow(&verdict, chain, index, packet, depth)? {
                        Some(left) => return Ok(Step::Leave(left)),
                        None => continue,
                    }
                }
                Statement::Spread { chains } => {
                    return Ok(Step::Leave(self.call(chosen(chains, packet), packet, depth)?));
                }
                Statement::Dnat { to } => Some(Verdict::Dnat { to: *to }),
                Statement::Masquerade => Some(Verdict::Masquerade { random_fully: true }),
                Statement::Reject => Some(Verdict::Reject(self.place(chain, index))),
                condition if self.holds(condition, packet)? => continue,
                _ => return Ok(Step::Next),
            };
            if let Some(verdict) = decided {
                self.note(chain, index, packet);
                return Ok(Step::Leave(Left::With(verdict)));
            }
        }
        Ok(Step::Next)
    }

    /// Does what a verdict says; none if the rule goes on behind it.
    fn follow(
        &self,
        verdict: &nft::Verdict,
        chain: &NftChain,
        index: usize,
        packet: &mut Inspected,
        depth: usize,
    ) -> Result<Option<Left>> {
        Ok(match verdict {
            nft::Verdict::Jump { chain } => match self.call(chain, packet, depth)? {
                Left::Open => None,
                left => Some(left),
            },
            nft::Verdict::Goto { chain } => Some(self.call(chain, packet, depth)?),
            nft::Verdict::Return => {
                self.note(chain, index, packet);
                Some(Left::Open)
            }
            nft::Verdict::Drop => {
                self.note(chain, index, packet);
                Some(Left::With(Verdict::Drop(self.place(chain, index))))
            }
        })
    }

    fn call(&self, name: &str, packet: &mut Inspected, depth: usize) -> Result<Left> {
        let chain =
            self.table.chain(name).ok_or_else(|| self.wrong(format!("leads to chain {name}, which does not exist")))?;
        let depth = depth.checked_sub(1).ok_or_else(|| self.wrong(format!("chain {name} calls itself")))?;
        self.chain(chain, packet, depth)
    }

    /// What a map says of a packet.
    fn look_up(&self, map: &str, by_address: Option<Family>, packet: &Inspected) -> Result<Option<nft::Verdict>> {
        let known = self.table.maps.iter().find(|known| known.name == map);
        let known = known.ok_or_else(|| self.wrong(format!("asks map {map}, which does not exist")))?;
        let (Some(ip), Some(port)) = (packet.packet.outer(), destination_port(packet.packet)) else { return Ok(None) };
        let address = by_address.map(|_| ip.dst);
        let key = NftKey { address, protocol: ip.protocol, port };
        Ok(known.elements.iter().find(|element| element.key == key).map(|element| element.verdict.clone()))
    }

    fn holds(&self, condition: &Statement, packet: &Inspected) -> Result<bool> {
        let Some(ip) = packet.packet.outer() else { return Ok(false) };
        let side = |side: &Side| match side {
            Side::Src => ip.src,
            Side::Dst => ip.dst,
        };
        Ok(match condition {
            Statement::IsNew => packet.state == Some(CtState::New),
            Statement::Local { side: which } => route::is_local(self.ns, side(which)),
            Statement::Address { side: which, nets, invert } => {
                let address = side(which);
                nets.iter().any(|net| net.contains(&address)) != *invert
            }
            Statement::Member { side: which, set, .. } => self.member(set, side(which))?,
            Statement::Port { protocol, port } => {
                ip.protocol == *protocol && destination_port(packet.packet) == Some(*port)
            }
            Statement::Protocol { number } => ip.protocol == *number,
            Statement::Incoming { name, invert } => packet.incoming.is_some_and(|link| link.name == *name) != *invert,
            Statement::Unmarked { mask } => packet.mark & mask == 0,
            other => return Err(self.wrong(format!("has {other:?} where a condition is asked for"))),
        })
    }

    fn member(&self, set: &str, address: IpAddr) -> Result<bool> {
        let known = self.table.sets.iter().find(|known| known.name == set);
        let known = known.ok_or_else(|| self.wrong(format!("matches set {set}, which does not exist")))?;
        Ok(known.elements.contains(&address))
    }

    /// Changes the packet's mark; nothing is decided by that.
    fn mark(&self, chain: &NftChain, index: usize, mark: u32, packet: &mut Inspected) -> Option<Verdict> {
        if packet.mark != mark {
            self.note(chain, index, packet);
        }
        packet.mark = mark;
        None
    }

    fn note(&self, chain: &NftChain, index: usize, packet: &mut Inspected) {
        let (Some(met), Some(rule)) = (&mut packet.met, chain.rules.get(index)) else { return };
        let does = rule.statements.last().map(|last| rule.spelled(last)).unwrap_or_default();
        met.push(Met { place: self.place(chain, index), does, rule: Some(format!("{} {rule}", chain.name)) });
    }

    fn place(&self, chain: &NftChain, index: usize) -> Place {
        let comment = |rule: &NftRule| rule.comment.clone();
        Place {
            table: nft::text::place(self.table),
            chain: chain.name.clone(),
            rule: Some(index + 1),
            comments: chain.rules.get(index).and_then(comment).into_iter().collect(),
        }
    }

    fn wrong(&self, what: String) -> Error {
        Error::new(Kind::Check, format!("in {}: table {} {what}", self.ns.name, nft::text::place(self.table)))
    }
}

/// One of these chains by chance, each as likely as the others: the first, or one of the rest.
fn chosen<'c>(chains: &'c [String], packet: &mut Inspected) -> &'c str {
    let mut left = u32::try_from(chains.len()).unwrap_or(u32::MAX);
    for chain in chains {
        if left <= 1 || packet.chances.take(Chances::CERTAIN / left) {
            return chain;
        }
        left -= 1;
    }
    ""
}
