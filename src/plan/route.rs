//! Routes and neighbours of a namespace.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::Mac;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What it does with a packet.
    pub kind: RouteKind,
    /// Destination; a prefix length of 0 is the default route.
    pub dst: IpNet,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Outgoing link; none for a blackhole.
    pub dev: Option<String>,
    /// Who installed it.
    pub protocol: Protocol,
    /// How far its destination is.
    pub scope: Scope,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// The next hop is taken to be on the link, whatever the link's prefixes say.
    pub onlink: bool,
    /// Priority; lower wins, 0 is not printed.
    pub metric: u32,
    /// The routing table that it is in.
    #[serde(skip_serializing_if = "RouteTable::is_main")]
    pub table: RouteTable,
}

/// Number of a routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteTable(pub u32);

impl RouteTable {
    /// 254: `main`, where routes are unless somebody says otherwise.
    pub const MAIN: RouteTable = RouteTable(254);

    fn is_main(&self) -> bool {
        *self == RouteTable::MAIN
    }
}

/// A rule of policy routing: packets from a prefix are looked up in a table before `main`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRule {
    /// Priority; lower comes first. `ip rule add` without one takes the next below 32766.
    pub priority: u32,
    /// Source prefix.
    pub from: IpNet,
    /// The table.
    pub table: RouteTable,
}

/// As `ip rule` prints it behind the priority, and `ip rule add` reads it.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} lookup {}", super::prefix(&self.from), self.table.0)
    }
}

/// A permanent FDB entry of a VXLAN device (`bridge fdb … self permanent`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FdbEntry {
    /// The Ethernet address of the remote VTEP.
    pub mac: Mac,
    /// The VXLAN device.
    pub dev: String,
    /// Where frames for it go: destination of the outer header.
    pub dst: IpAddr,
}

/// As `bridge fdb show` prints it, without the device.
impl fmt::Display for FdbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dst {} self permanent", self.mac, self.dst)
    }
}

impl Route {
    /// `DST via VIA dev DEV`.
    pub fn via(dst: impl Into<IpNet>, via: impl Into<IpAddr>, dev: &str) -> Self {
        Route { via: Some(via.into()), scope: Scope::Global, ..Route::on_link(dst, dev) }
    }

    /// `default via VIA dev DEV`, of the next hop's family.
    pub fn default_via(via: impl Into<IpAddr>, dev: &str) -> Self {
        let via = via.into();
        Route::via(everything(&via), via, dev)
    }

    /// `DST dev DEV scope link`; IPv6's routes have no scope, and the kernel takes them for global ones.
    pub fn on_link(dst: impl Into<IpNet>, dev: &str) -> Self {
        let dst = dst.into();
        Route {
            kind: RouteKind::Unicast,
            dst,
            via: None,
            dev: Some(dev.to_string()),
            protocol: Protocol::Boot,
            scope: if dst.addr().is_ipv4() { Scope::Link } else { Scope::Global },
            src: None,
            onlink: false,
            metric: 0,
            table: RouteTable::MAIN,
        }
    }

    /// `blackhole DST`.
    pub fn blackhole(dst: impl Into<IpNet>) -> Self {
        Route { kind: RouteKind::Blackhole, dev: None, scope: Scope::Global, ..Route::on_link(dst, "") }
    }
}

/// The prefix of a default route in the family of `address`.
fn everything(address: &IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// As `ip route` prints it, and `ip route add` reads it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == RouteKind::Blackhole {
            f.write_str("blackhole ")?;
        }
        match self.dst.prefix_len() {
            0 => f.write_str("default")?,
            _ => f.write_str(&super::prefix(&self.dst))?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.table != RouteTable::MAIN {
            write!(f, " table {}", self.table.0)?;
        }
        if self.protocol != Protocol::Boot {
            write!(f, " proto {}", self.protocol)?;
        }
        match self.scope {
            // IPv6's routes have no scope.
            _ if self.dst.addr().is_ipv6() => {}
            Scope::Global => {}
            Scope::Link => f.write_str(" scope link")?,
            Scope::Host => f.write_str(" scope host")?,
        }
        if let Some(src) = self.src {
            write!(f, " src {src}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Drops it in silence.
    Blackhole,
}

/// Who installed a route; names and numbers as in iproute2's rt_protos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 2: the kernel, for a connected prefix.
    Kernel,
    /// 3: `boot`, what `ip route add` gives; `ip route` does not print it.
    Boot,
    /// 4: an administrator or network manager.
    Static,
    /// 12: BIRD.
    Bird,
    /// 17: kube-router (`routes.ZebraRouteOriginator`, 0x11); iproute2 prints the number.
    KubeRouter,
    /// 80: Felix (`netlink.RouteProtocol`, its device route protocol); iproute2 prints the number.
    Felix,
    /// Any other number, as read from a kernel; no plan of minik's has it.
    Other(u8),
}

impl Protocol {
    /// The number in the route message.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Kernel => 2,
            Protocol::Boot => 3,
            Protocol::Static => 4,
            Protocol::Bird => 12,
            Protocol::KubeRouter => 17,
            Protocol::Felix => 80,
            Protocol::Other(number) => number,
        }
    }

    /// The protocol of this number.
    pub fn from_number(number: u8) -> Self {
        use Protocol::{Bird, Boot, Felix, Kernel, KubeRouter, Static};
        let known = [Kernel, Boot, Static, Bird, KubeRouter, Felix];
        known.into_iter().find(|p| p.number() == number).unwrap_or(Protocol::Other(number))
    }
}

/// The word that `ip route` prints after `proto`: a number where rt_protos has no name for it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Kernel => f.write_str("kernel"),
            Protocol::Boot => f.write_str("boot"),
            Protocol::Static => f.write_str("static"),
            Protocol::Bird => f.write_str("bird"),
            Protocol::KubeRouter | Protocol::Felix | Protocol::Other(_) => write!(f, "{}", self.number()),
        }
    }
}

/// How far an address or a route's destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// 0: anywhere.
    Global,
    /// 253: on the link.
    Link,
    /// 254: this host.
    Host,
}

impl Scope {
    /// The number in the message.
    pub fn number(self) -> u8 {
        match self {
            Scope::Global => 0,
            Scope::Link => 253,
            Scope::Host => 254,
        }
    }
}

/// As `ip neighbour add` reads it, without `nud permanent`.
impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lladdr {} dev {}", self.address, self.mac, self.dev)
    }
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The link it is on.
    pub dev: String,
}
