//! Sets of addresses that rules ask for membership.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Family;

/// An ipset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpSet {
    /// Its name, at most 31 bytes.
    pub name: String,
    /// Its type, `hash:net` for example.
    pub kind: String,
    /// Whose addresses it holds.
    #[serde(skip_serializing_if = "Family::is_inet")]
    pub family: Family,
    /// Most members that it may have, where it has room for any (hash sets): `maxelem`.
    #[serde(skip_serializing_if = "is_usual")]
    pub capacity: u32,
    /// Its members, sorted.
    pub members: Vec<Member>,
}

/// A member of a set, of the sort that the set's type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// `hash:ip`, `hash:net`.
    Net(IpNet),
    /// `bitmap:port`.
    Port(u16),
    /// `hash:ip,port`, `hash:ip,port,ip` and `hash:ip,port,net`.
    Endpoint {
        /// The address.
        address: IpAddr,
        /// Number of the protocol.
        protocol: u8,
        /// The port.
        port: u16,
        /// The third field, if the type has one.
        third: Option<IpNet>,
    },
}

impl IpSet {
    /// `maxelem` as Felix and others give it.
    pub const CAPACITY: u32 = 1_048_576;

    /// Whether its members are ports alone, which a bitmap has of every family.
    pub fn is_of_ports(&self) -> bool {
        self.kind == "bitmap:port"
    }
}

fn is_usual(capacity: &u32) -> bool {
    *capacity == IpSet::CAPACITY
}

impl From<IpNet> for Member {
    fn from(net: IpNet) -> Member {
        Member::Net(net)
    }
}

impl Member {
    /// `10.96.0.10,udp:53` of a `hash:ip,port`.
    pub fn endpoint(address: IpAddr, protocol: u8, port: u16) -> Member {
        Member::Endpoint { address, protocol, port, third: None }
    }
}

/// As `ipset save` prints it: `10.96.0.10,udp:53,10.244.0.0/16`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Net(net) => f.write_str(&super::prefix(net)),
            Member::Port(port) => write!(f, "{port}"),
            Member::Endpoint { address, protocol, port, third } => {
                match protocol {
                    6 => write!(f, "{address},tcp:{port}")?,
                    17 => write!(f, "{address},udp:{port}")?,
                    132 => write!(f, "{address},sctp:{port}")?,
                    other => write!(f, "{address},{other}:{port}")?,
                }
                third.iter().try_for_each(|net| write!(f, ",{}", super::prefix(net)))
            }
        }
    }
}

/// A prefix with its length, everything else as it is printed.
impl Serialize for Member {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Member::Net(net) => net.serialize(serializer),
            Member::Port(port) => port.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_printed_as_ipset_prints_them() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let third = |text: &str| Member::Endpoint {
            address: address("10.96.0.10"),
            protocol: 6,
            port: 80,
            third: Some(net(text)),
        };
        for (member, text) in [
            (Member::Net(net("10.0.0.1/32")), "10.0.0.1"),
            (Member::Port(30080), "30080"),
            (Member::endpoint(address("10.96.0.10"), 17, 53), "10.96.0.10,udp:53"),
            (Member::endpoint(address("fd00::a"), 132, 53), "fd00::a,sctp:53"),
            (third("10.96.0.10/32"), "10.96.0.10,tcp:80,10.96.0.10"),
            (third("203.0.113.0/25"), "10.96.0.10,tcp:80,203.0.113.0/25"),
        ] {
            assert_eq!(member.to_string(), text);
        }
    }
}
