//! From a question to the records of its answer (coredns plugin/kubernetes/handler.go, plugin/backend_lookup.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::question::{Kind, Question, reversed};
use super::zone::{Found, Host, Zone};

/// The reverse zones that the server has beside its own.
const REVERSE: [&str; 2] = ["in-addr.arpa", "ip6.arpa"];

/// The version of the specification, and for how many seconds it may be kept.
const VERSION: (&str, u32) = ("1.1.0", 28_800);

/// How many names lead to one another at most.
const ALIASES_MAX: usize = 7;

/// The sections of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it went.
    pub rcode: Rcode,
    /// Whether the server speaks for the zone.
    pub authoritative: bool,
    /// What was asked for.
    pub answers: Vec<Record>,
    /// The zone's head, if there is nothing to answer with.
    pub authority: Vec<Record>,
    /// Addresses of names in the answer.
    pub additional: Vec<Record>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rcode {
    /// The name is there, whether or not it has what was asked for.
    NoError,
    /// The message cannot be understood.
    FormErr,
    /// Nobody could be asked.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// This is no question.
    NotImp,
    /// The server will not say.
    Refused,
    /// The version of EDNS is not known.
    BadVers,
}

impl Rcode {
    /// As dig prints it.
    pub fn name(self) -> &'static str {
        match self {
            Rcode::NoError => "NOERROR",
            Rcode::FormErr => "FORMERR",
            Rcode::ServFail => "SERVFAIL",
            Rcode::NxDomain => "NXDOMAIN",
            Rcode::NotImp => "NOTIMP",
            Rcode::Refused => "REFUSED",
            Rcode::BadVers => "BADVERS",
        }
    }
}

/// A record; names have no dot at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// An address' name.
    Ptr(String),
    /// A name server.
    Ns(String),
    /// A port of a host.
    Srv {
        /// Share of the clients.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
    /// Text.
    Txt(String),
    /// The zone's head.
    Soa {
        /// Its first server.
        server: String,
        /// Whom to write to.
        mailbox: String,
        /// When it was changed last.
        serial: u32,
        /// Seconds for which it may be kept that a name is not there.
        minimum: u32,
    },
}

/// As dig prints it, without the columns.
impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. {} IN ", self.name, self.ttl)?;
        match &self.data {
            Data::A(ip) => write!(f, "A {ip}"),
            Data::Aaaa(ip) => write!(f, "AAAA {ip}"),
            Data::Cname(name) => write!(f, "CNAME {name}."),
            Data::Ptr(name) => write!(f, "PTR {name}."),
            Data::Ns(name) => write!(f, "NS {name}."),
            Data::Srv { weight, port, target } => write!(f, "SRV 0 {weight} {port} {target}."),
            Data::Txt(text) => write!(f, "TXT \"{text}\""),
            Data::Soa { server, mailbox, serial, minimum } => {
                write!(f, "SOA {server}. {mailbox}. {serial} 7200 1800 86400 {minimum}")
            }
        }
    }
}

impl Reply {
    /// A reply without records.
    pub fn bare(rcode: Rcode) -> Reply {
        Reply { rcode, authoritative: false, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }
}

/// What there is for a question: answers and their additional records; none if there is no such name.
type Sections = Option<(Vec<Record>, Vec<Record>)>;

impl Zone {
    /// The answer of the server whose own address is `own`.
    pub fn answer(&self, question: &Question, own: Option<IpAddr>) -> Reply {
        let zones = [self.domain()].into_iter().chain(REVERSE);
        let Some(zone) = zones.into_iter().find_map(|zone| question.zone_text(zone)) else {
            // Any other zone is for the servers of the node, of which there are none.
            return Reply::bare(Rcode::ServFail);
        };
        let found = match question.kind {
            Kind::Transfer => return Reply::bare(Rcode::Refused),
            Kind::A | Kind::Aaaa => {
                self.addresses(&question.name, zone, question.kind, own, &[]).map(|answers| (answers, Vec::new()))
            }
            Kind::Srv => self.srv(question, zone, own),
            Kind::Ptr => self.ptr(question, zone).map(|answers| (answers, Vec::new())),
            Kind::Cname => self.cname(question, zone, own),
            Kind::Txt => Some((self.txt(question, zone), Vec::new())),
            Kind::Soa => {
                let head = question.name.len() == zone.len();
                Some((head.then(|| self.head(zone)).into_iter().collect(), Vec::new()))
            }
            Kind::Ns if question.name.len() == zone.len() => Some(self.name_servers(zone, own)),
            Kind::Ns | Kind::Mx | Kind::Other => {
                self.services(&question.name, zone, Kind::A, own).map(|_| (Vec::new(), Vec::new()))
            }
        };
        match found {
            None if !zone.eq_ignore_ascii_case(self.domain()) => {
                // `fallthrough in-addr.arpa ip6.arpa`: the node's servers might know more, but there are none.
                Reply::bare(Rcode::ServFail)
            }
            None => self.nothing(Rcode::NxDomain, zone),
            Some((answers, _)) if answers.is_empty() => self.nothing(Rcode::NoError, zone),
            Some((answers, additional)) => {
                Reply { rcode: Rcode::NoError, authoritative: true, answers, authority: Vec::new(), additional }
            }
        }
    }

    fn nothing(&self, rcode: Rcode, zone: &str) -> Reply {
        let authority = vec![self.head(zone)];
        Reply { authoritative: true, authority, ..Reply::bare(rcode) }
    }

    fn record(&self, name: &str, data: Data) -> Record {
        Record { name: name.to_owned(), ttl: self.ttl(), data }
    }

    fn head(&self, zone: &str) -> Record {
        let (server, mailbox) = (format!("ns.dns.{zone}"), format!("hostmaster.{zone}"));
        let data = Data::Soa { server, mailbox, serial: self.serial(), minimum: self.ttl() };
        Record { name: zone.to_owned(), ttl: self.ttl().min(300), data }
    }

    /// What is at a name; the server's own name has its addresses.
    fn services(&self, name: &str, zone: &str, kind: Kind, own: Option<IpAddr>) -> Option<Vec<Found>> {
        let is_server =
            name.len() == zone.len() + 7 && name.get(..7).is_some_and(|n| n.eq_ignore_ascii_case("ns.dns."));
        if !is_server {
            return self.find(name, zone);
        }
        let fits = |ip: &IpAddr| (kind == Kind::A && ip.is_ipv4()) || (kind == Kind::Aaaa && ip.is_ipv6());
        let servers = self.servers(own, zone).into_iter().filter(|(_, ip)| fits(ip));
        Some(servers.map(|(_, ip)| Found { key: name.to_owned(), host: Host::Address(ip), port: Some(0) }).collect())
    }

    /// Addresses of one family, by way of other names; `before` are the names on the way so far.
    fn addresses(
        &self,
        name: &str,
        zone: &str,
        kind: Kind,
        own: Option<IpAddr>,
        before: &[Record],
    ) -> Option<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        for found in self.services(name, zone, kind, own)? {
            match found.host {
                Host::Address(ip) => {
                    let data = match ip {
                        IpAddr::V4(ip) if kind == Kind::A => Data::A(ip),
                        IpAddr::V6(ip) if kind == Kind::Aaaa => Data::Aaaa(ip),
                        _ => continue,
                    };
                    let record = self.record(name, data);
                    if !records.contains(&record) {
                        records.push(record);
                    }
                }
                Host::Name(other) => records.extend(self.alias(name, &other, zone, kind, own, before)),
            }
        }
        Some(records)
    }

    /// A name that stands for another, and what that one has. Beyond the zone nobody can be asked; the name is answered
    /// alone.
    fn alias(
        &self,
        name: &str,
        other: &str,
        zone: &str,
        kind: Kind,
        own: Option<IpAddr>,
        before: &[Record],
    ) -> Vec<Record> {
        let inside = Question { name: other.to_owned(), kind };
        let record = self.record(name, Data::Cname(other.to_owned()));
        let same = |known: &Record| known.name.eq_ignore_ascii_case(&record.name) && known.data == record.data;
        if inside.zone_text(name).is_some() || before.len() > ALIASES_MAX || before.iter().any(same) {
            return Vec::new();
        }
        if inside.zone_text(zone).is_none() {
            return vec![record];
        }
        let so_far: Vec<Record> = before.iter().cloned().chain([record.clone()]).collect();
        let next = self.addresses(other, inside.zone_text(zone).unwrap_or(zone), kind, own, &so_far);
        match next.filter(|next| !next.is_empty()) {
            Some(next) => [record].into_iter().chain(next).collect(),
            None => Vec::new(),
        }
    }

    fn srv(&self, question: &Question, zone: &str, own: Option<IpAddr>) -> Sections {
        let found = self.services(&question.name, zone, Kind::Srv, own)?;
        let found: Vec<Found> = found.into_iter().filter(|found| matches!(found.host, Host::Address(_))).collect();
        let share = u16::try_from(100 / found.len().max(1)).unwrap_or(u16::MAX).max(1);
        let (mut answers, mut additional): (Vec<Record>, Vec<Record>) = (Vec::new(), Vec::new());
        for Found { key, host, port } in found {
            let (Host::Address(ip), Some(port)) = (host, port) else { continue };
            let record = self.record(&question.name, Data::Srv { weight: share, port, target: key.clone() });
            if !answers.contains(&record) {
                answers.push(record);
            }
            let address = match ip {
                IpAddr::V4(ip) => self.record(&key, Data::A(ip)),
                IpAddr::V6(ip) => self.record(&key, Data::Aaaa(ip)),
            };
            if !additional.contains(&address) {
                additional.push(address);
            }
        }
        Some((answers, additional))
    }

    fn ptr(&self, question: &Question, zone: &str) -> Option<Vec<Record>> {
        let Some(ip) = reversed(&question.name) else {
            return self.find(&question.name, zone).map(|_| Vec::new());
        };
        let names = self.names_of(ip).into_iter();
        let records: Vec<Record> = names.map(|name| self.record(&question.name, Data::Ptr(name))).collect();
        (!records.is_empty()).then_some(records)
    }

    fn cname(&self, question: &Question, zone: &str, own: Option<IpAddr>) -> Sections {
        let first = self.services(&question.name, zone, Kind::Cname, own)?.into_iter().next();
        let record = first.and_then(|found| match found.host {
            Host::Name(other) => Some(self.record(&question.name, Data::Cname(other))),
            Host::Address(_) => None,
        });
        Some((record.into_iter().collect(), Vec::new()))
    }

    /// The one text there is; as CoreDNS, this does not look whether a name without text is there at all.
    fn txt(&self, question: &Question, zone: &str) -> Vec<Record> {
        let label = question.name.strip_suffix(zone).unwrap_or_default();
        let asked = label.eq_ignore_ascii_case("dns-version.");
        let (text, ttl) = VERSION;
        let record = Record { name: question.name.clone(), ttl, data: Data::Txt(text.to_owned()) };
        asked.then_some(record).into_iter().collect()
    }

    fn name_servers(&self, zone: &str, own: Option<IpAddr>) -> (Vec<Record>, Vec<Record>) {
        let (mut answers, mut additional) = (Vec::new(), Vec::new());
        for (name, ip) in self.servers(own, zone) {
            let record = self.record(zone, Data::Ns(name.clone()));
            if !answers.contains(&record) {
                answers.push(record);
            }
            additional.push(match ip {
                IpAddr::V4(ip) => self.record(&name, Data::A(ip)),
                IpAddr::V6(ip) => self.record(&name, Data::Aaaa(ip)),
            });
        }
        (answers, additional)
    }
}

/// Addresses in another order each time, as the plugin `loadbalance` does it: `chance` differs from question to question.
pub(super) fn shuffle(records: &mut [Record], chance: u16) {
    let is_address = |record: &Record| matches!(record.data, Data::A(_) | Data::Aaaa(_));
    let from = records.iter().position(is_address).unwrap_or(records.len());
    let addresses = records[from..].iter().take_while(|record| is_address(record)).count();
    let addresses = &mut records[from..from + addresses];
    let mut state = u64::from(chance) ^ 0x9e37_79b9_7f4a_7c15;
    for last in (1..addresses.len()).rev() {
        // The step of splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = usize::try_from((mixed ^ (mixed >> 31)) % (last as u64 + 1)).unwrap_or(0);
        addresses.swap(last, other);
    }
}
