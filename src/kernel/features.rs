//! What this kernel and this caller can do, found out by trying.

#![expect(clippy::disallowed_methods, reason = "tries the kernel in a scratch namespace, on a thread that ends there")]

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::sched::{CloneFlags, unshare};

use super::messages::CREATE;
use super::netlink::{Batch, Rtnetlink};
use super::survey::{self, Device};
use super::{devices, ipvs, sctp};
use crate::error::{Error, Kind, Result};
use crate::plan::netfilter::Match;
use crate::plan::{Family, Kernel, Link, LinkKind, Plan, Qdisc, line};

/// Refuses a caller who may not make or enter network namespaces, nor see whether there are clusters.
///
/// # Errors
/// `Permission`, with what to do.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Permission, "minik needs root for this: its clusters are network namespaces")
        .hint("try it with sudo"))
}

/// Whether the kernel has IP in IP devices, loading its module if need be.
///
/// # Errors
/// If a scratch namespace cannot be made.
pub fn has_ipip() -> Result<bool> {
    scratch(|| {
        let mut rtnetlink = Rtnetlink::open()?;
        let mut batch = Batch::default();
        let probe = Link::new("minik-probe", LinkKind::Ipip);
        batch.push(Message::NewLink(devices::ipip(&probe, 0)), CREATE, "make an ipip device");
        // A module that was just loaded has made tunl0, and refuses a second device without a remote end
        // (EEXIST); a kernel without ipip says EOPNOTSUPP.
        match rtnetlink.send(batch) {
            Ok(()) => Ok(true),
            Err(error) => Ok(error.errno() == Some(libc::EEXIST)),
        }
    })?
}

/// Whether the kernel has netem, loading its module if need be.
///
/// # Errors
/// If a scratch namespace cannot be made.
pub fn has_netem() -> Result<bool> {
    scratch(|| Ok(survey::makes(&mut Rtnetlink::open()?, Device::Netem)))?
}

/// Whether programs can speak SCTP here: whether the kernel makes a socket for it, loading its module if need be.
///
/// # Errors
/// If it makes no socket for another reason than that it knows no SCTP.
pub fn has_sctp() -> Result<bool> {
    let socket = sctp::socket(Family::Inet).map_err(|e| Error::io("cannot open a socket of SCTP", e))?;
    Ok(socket.is_some())
}

/// What this kernel does to packets where kernels differ. Cheap enough to ask anew each time; nothing is loaded.
pub fn kernel() -> Kernel {
    Kernel { bridge_netfilter: survey::has_br_netfilter() }
}

/// What a plan may need of the kernel that is not always there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A scheduler of IPVS, and whether for IPv6.
    Ipvs(String, bool),
    /// `-m ipvs`.
    IpvsMatch,
    Dummy,
    Vxlan,
    Macvlan,
    Netem,
    Htb,
    Tbf,
}

impl Part {
    /// The kernel module that has it.
    fn module(&self) -> &'static str {
        match self {
            Part::Ipvs(..) => "ip_vs",
            Part::IpvsMatch => "xt_ipvs",
            Part::Dummy => "dummy",
            Part::Vxlan => "vxlan",
            Part::Macvlan => "macvlan",
            Part::Netem => "sch_netem",
            Part::Htb => "sch_htb",
            Part::Tbf => "sch_tbf",
        }
    }

    /// What there is to do where it is not there.
    fn cure(&self) -> String {
        let module = self.module();
        match self {
            Part::Ipvs(scheduler, ipv6) => {
                let option = if *ipv6 { ", with CONFIG_IP_VS_IPV6" } else { "" };
                format!(
                    "load the modules {module} and {module}_{scheduler}, or use a kernel that has them{option}; or take \
                     another proxy mode, as `--proxy iptables` does"
                )
            }
            Part::IpvsMatch => format!(
                "load the module {module}, or use a kernel that has it; or take a kube-proxy before 1.29, which has no such \
                 rule, or another proxy mode"
            ),
            _ => format!("load the module {module}, or use a kernel that has it"),
        }
    }

    fn is_there(&self, rtnetlink: &mut Rtnetlink) -> bool {
        match self {
            Part::Ipvs(scheduler, ipv6) => ipvs::attempt(scheduler, *ipv6).is_ok(),
            Part::IpvsMatch => survey::matches_ipvs().is_ok(),
            Part::Dummy => survey::makes(rtnetlink, Device::Dummy),
            Part::Vxlan => survey::makes(rtnetlink, Device::Vxlan),
            Part::Macvlan => survey::makes(rtnetlink, Device::Macvlan),
            Part::Netem => survey::makes(rtnetlink, Device::Netem),
            Part::Htb => survey::makes(rtnetlink, Device::Htb),
            Part::Tbf => survey::makes(rtnetlink, Device::Tbf),
        }
    }
}

/// Refuses a plan with devices or queueing disciplines that this kernel does not know, before anything is touched.
///
/// # Errors
/// `Unsupported`, with a link that needs it and the module that has it.
pub fn require_parts(plan: &Plan) -> Result<()> {
    let mut wanted: BTreeMap<Part, String> = BTreeMap::new();
    for (ns, link) in plan.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| (ns, link))) {
        let device = match &link.kind {
            LinkKind::Vxlan(_) => Some((Part::Vxlan, "is a VXLAN device".to_owned())),
            LinkKind::Dummy => Some((Part::Dummy, "is a dummy device".to_owned())),
            LinkKind::Macvlan { .. } => Some((Part::Macvlan, "is a macvlan device".to_owned())),
            _ => None,
        };
        let queue = link.qdisc.as_ref().map(|qdisc| match qdisc {
            Qdisc::Htb { .. } => (Part::Htb, format!("has the queueing discipline {qdisc}")),
            Qdisc::Netem(_) => (Part::Netem, format!("has the queueing discipline {qdisc}")),
            Qdisc::Tbf { .. } => (Part::Tbf, format!("has the queueing discipline {qdisc}")),
        });
        for (part, words) in device.into_iter().chain(queue) {
            wanted.entry(part).or_insert_with(|| format!("{} of {} {words}", link.name, ns.name));
        }
    }
    balancing(plan, &mut wanted);
    if let Some(ns) = plan.namespaces.iter().find(|ns| line::loses(ns)) {
        require_egress(&ns.name)?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let lacking = scratch(|| {
        let mut rtnetlink = Rtnetlink::open()?;
        Ok(wanted.iter().find(|(part, _)| !part.is_there(&mut rtnetlink)))
    })??;
    match lacking {
        None => Ok(()),
        Some((part, words)) => {
            Err(Error::new(Kind::Unsupported, format!("this kernel cannot do it: {words}")).hint(part.cure()))
        }
    }
}

/// What a plan needs of IPVS.
fn balancing(plan: &Plan, wanted: &mut BTreeMap<Part, String>) {
    for (ns, ipvs) in plan.namespaces.iter().filter_map(|ns| Some((ns, ns.ipvs.as_ref()?))) {
        let first = |ipv6: bool| ipvs.servers.iter().find(|server| server.at.address.is_ipv6() == ipv6);
        let scheduler = ipvs.servers.first().map_or("rr", |server| server.scheduler.as_str()).to_owned();
        if first(true).is_some() {
            let words = format!("{} has virtual servers of IPVS with IPv6 and the scheduler {scheduler}", ns.name);
            wanted.entry(Part::Ipvs(scheduler.clone(), true)).or_insert(words);
        }
        let words = format!("{} has virtual servers of IPVS with the scheduler {scheduler}", ns.name);
        wanted.entry(Part::Ipvs(scheduler, false)).or_insert(words);
        let rules = ns.tables.iter().chain(&ns.tables6).flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        if rules.flat_map(|rule| &rule.matches).any(|one| matches!(one, Match::Ipvs { .. })) {
            let words = format!("{} has a rule that asks what IPVS does with a packet (-m ipvs)", ns.name);
            wanted.entry(Part::IpvsMatch).or_insert(words);
        }
    }
}

/// Without netem, lines lose packets by rules at a hook that not every kernel has.
fn require_egress(namespace: &str) -> Result<()> {
    scratch(survey::drops_at_egress)?.map(drop).map_err(|words| {
        let what = format!("this kernel cannot do it: the line of {namespace} loses packets");
        Error::new(Kind::Unsupported, what).because(words).hint(
            "load the module sch_netem, or use a kernel that has it, or one from 5.16 on with CONFIG_NETFILTER_EGRESS",
        )
    })
}

/// Runs `work` in a namespace that is made for it and gone after it.
///
/// # Errors
/// If the namespace cannot be made.
///
/// # Panics
/// If `work` panics.
pub fn scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| unshare(CloneFlags::CLONE_NEWNET).map(|()| work()));
        match thread.join() {
            Ok(result) => {
                result.map_err(|e| Error::new(Kind::Permission, "cannot make a scratch network namespace").because(e))
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
