//! kube-proxy's ipvs mode, from Kubernetes 1.20 to 1.30.
//!
//! Services are virtual servers of the kernel's load balancer ([`servers`]). It takes only packets that are for the host
//! itself, so every address of a Service is put on a dummy device that is never up, `kube-ipvs0`. What must be masqueraded
//! or refused is decided by a fixed number of rules (`rules`), which ask sets for addresses and ports
//! ([`sets`]). In the order of the real program: device, sets, servers, addresses, rules.
//!
//! What a real kube-proxy 1.20.2 sets up is recorded, and compared (tests/kube_proxy_ipvs.rs); `up` says of all later ones
//! that they were not ([`crate::plan::Health::RECORDED_IPVS`]).
//!
//! What differs between versions is asked for where it differs, as `minor`. Read were the sources of 1.20.2, those of 1.23
//! and of 1.26's development in part, and those of a version after 1.30. Known from changes to it: 1.22
//! no servers on 127.0.0.1 any more (kubernetes PR 101023), 1.26 the access filter (108460) and the early way out for
//! loopback (112950), 1.27 addresses of the node's own devices kept off the dummy (issue 117613); by the dates of changes
//! 1.21 the set of health checks (97824), 1.25 the firewall in `filter` (110628), 1.29 the filter at OUTPUT (119791). By
//! the nearest source and not certain to the minor version: 1.24 the fall back to endpoints elsewhere (97081), 1.27 the
//! scheduler's flags.
//!
//! Source: kubernetes pkg/proxy/ipvs/{proxier,ipset,netlink_linux,graceful_termination}.go.

mod rules;
mod servers;
mod sets;

use std::net::IpAddr;

pub use servers::{addresses, servers};
pub use sets::sets;

use super::iptables::{FIREWALL, MARK_DROP};
use super::kubelet;
use super::overlay::Overlay;
use super::view::View;
use crate::plan::ipvs::Timeouts;
use crate::plan::keeper::{Place, Rules};
use crate::plan::netfilter::IpSet;
use crate::plan::{Address, Family, Ipvs, Keeper, Keeps, Link, LinkKind, Namespace, Scope, Sysctl};
use crate::topology::{IpvsOptions, ProxyConfig};

/// The device that has the addresses of all Services.
pub const DEVICE: &str = "kube-ipvs0";

/// Seconds after which kube-proxy makes anew what it finds missing (`syncPeriod`).
const SYNC_PERIOD: u32 = 30;

/// Puts one family's part into a node.
pub fn add(view: &View, ns: &mut Namespace) {
    let family = view.family;
    if ns.link(DEVICE).is_none() {
        ns.links.push(Link { up: false, ..Link::new(DEVICE, LinkKind::Dummy) });
    }
    if let Some(device) = ns.links.iter_mut().find(|link| link.name == DEVICE) {
        let bound = |ip: IpAddr| Address { net: ip.into(), broadcast: None, scope: Scope::Global };
        device.addresses.extend(addresses(view).into_iter().map(bound));
    }
    let sets = sets(view);
    overlay(view, &sets).onto(ns, family);
    ns.sets.extend(sets);
    let ipvs = ns.ipvs.get_or_insert_with(|| Ipvs { timeouts: timeouts(view.config), servers: Vec::new() });
    ipvs.servers.extend(servers(view));
}

/// The chains and jumps of one family; which rules there are depends on which of its sets have members.
pub fn overlay(view: &View, sets: &[IpSet]) -> Overlay {
    rules::overlay(view, sets)
}

fn timeouts(config: &ProxyConfig) -> Option<Timeouts> {
    let IpvsOptions { tcp_timeout: tcp, tcp_fin_timeout: tcp_fin, udp_timeout: udp, .. } = config.ipvs;
    Some(Timeouts { tcp, tcp_fin, udp }).filter(|timeouts| *timeouts != Timeouts::default())
}

/// What kube-proxy sets when it starts.
pub fn sysctls(config: &ProxyConfig) -> Vec<Sysctl> {
    let minor = config.minor;
    let mut all: Vec<(&str, &str)> = Vec::new();
    if minor <= 21 {
        all.push(("net.ipv4.conf.all.route_localnet", "1"));
    }
    all.push(("net.ipv4.vs.conntrack", "1"));
    if minor <= 21 {
        // Later versions leave it alone where the kernel is one from 5.9 on.
        all.push(("net.ipv4.vs.conn_reuse_mode", "0"));
    }
    all.extend([("net.ipv4.vs.expire_nodest_conn", "1"), ("net.ipv4.vs.expire_quiescent_template", "1")]);
    all.push(("net.ipv4.ip_forward", "1"));
    if config.ipvs.strict_arp {
        all.extend([("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")]);
    }
    all.into_iter().map(|(key, value)| Sysctl::new(key, value)).collect()
}

/// Every `syncPeriod` kube-proxy goes through all that it made: this mode has no canary.
pub fn keepers() -> [Keeper; 4] {
    // What is in KUBE-MARK-DROP and the filter's KUBE-FIREWALL is kubelet's, that of nat is not; host ports are those of
    // kubelet or a plugin.
    let firewall = format!("filter/{FIREWALL}");
    let others = [kubelet::CANARY, MARK_DROP, firewall.as_str(), "KUBE-HOSTPORT", "KUBE-HP-"];
    let rules = Rules {
        prefixes: vec!["KUBE-".to_owned()],
        except: others.map(str::to_owned).to_vec(),
        place: Place::First,
        ..Rules::default()
    };
    [
        Keeper::new("kube-proxy", SYNC_PERIOD, Keeps::Device { name: DEVICE.to_owned() }),
        Keeper::new("kube-proxy", SYNC_PERIOD, Keeps::Sets { prefix: "KUBE-".to_owned() }),
        Keeper::new("kube-proxy", SYNC_PERIOD, Keeps::Servers),
        Keeper::new("kube-proxy", SYNC_PERIOD, Keeps::Rules(rules)),
    ]
}

/// The name of a chain or set in a family's own words: sets of IPv6 are called otherwise, and cut to what ipset takes.
fn set_name(name: &str, family: Family) -> String {
    /// `IPSET_MAXNAMELEN` without its end.
    const LENGTH: usize = 31;
    match family {
        Family::Inet => name.to_owned(),
        Family::Inet6 => name.replacen("KUBE-", "KUBE-6-", 1).chars().take(LENGTH).collect(),
    }
}
