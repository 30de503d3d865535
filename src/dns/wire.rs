//! The server: a message in, a message out. The wire format is simple-dns'; what stands in the header, EDNS and
//! truncation are as in coredns core/dnsserver/server.go and request/request.go.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, CNAME, NS, OPT, PTR, RData, SOA, SRV, TXT};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

use super::answer::{Data, Rcode, Record, Reply, shuffle};
use super::question::{Kind, Question};
use super::zone::Zone;

/// Bytes that every resolver takes by UDP.
const DATAGRAM: usize = 512;

/// Options of EDNS that CoreDNS sends back as they came: NSID, EXPIRE, COOKIE, keepalive, padding.
const ECHOED: [u16; 5] = [3, 9, 10, 11, 12];

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// An answer, and what there is to count about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// The message to send.
    pub message: Vec<u8>,
    /// Type of the question, as metrics spell it; `other` if it is none of the usual ones.
    pub kind: &'static str,
    /// How it went.
    pub rcode: Rcode,
}

/// Answers a message for the server whose own address is `own`; none if no answer is due.
pub fn respond(zone: &Zone, own: Option<IpAddr>, transport: Transport, message: &[u8]) -> Option<Handled> {
    // A header has 12 bytes; the first bit of the third says that this is an answer itself.
    if message.len() < 12 || message[2] & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([message[0], message[1]]);
    let bare = |rcode: Rcode| {
        let mut packet = Packet::new_reply(id);
        *packet.rcode_mut() = code(rcode);
        Some(Handled { message: packet.build_bytes_vec().ok()?, kind: "other", rcode })
    };
    let Ok(query) = Packet::parse(message) else { return bare(Rcode::FormErr) };
    let [question] = query.questions.as_slice() else { return bare(Rcode::FormErr) };
    let asked = Question { name: text(&question.qname), kind: kind(question.qtype) };
    let mut reply = if query.opcode() != OPCODE::StandardQuery {
        Reply::bare(Rcode::NotImp)
    } else if query.opt().is_some_and(|opt| opt.version != 0) {
        Reply::bare(Rcode::BadVers)
    } else if question.qclass != QCLASS::CLASS(CLASS::IN) {
        Reply::bare(Rcode::Refused)
    } else {
        zone.answer(&asked, own)
    };
    shuffle(&mut reply.answers, id);
    shuffle(&mut reply.additional, id);
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => query.opt().map_or(DATAGRAM, |opt| usize::from(opt.udp_packet_size).max(DATAGRAM)),
    };
    match fitting(&query, &reply, limit) {
        Ok(message) => Some(Handled { message, kind: label(asked.kind), rcode: reply.rcode }),
        // A name that the format cannot hold, as one of an ExternalName with a label of more than 63 bytes.
        Err(_) => bare(Rcode::ServFail),
    }
}

/// The message with as many records as fit; names are written in short only if it would be too long otherwise.
fn fitting(query: &Packet, reply: &Reply, limit: usize) -> simple_dns::Result<Vec<u8>> {
    let records = reply.answers.len() + reply.authority.len() + reply.additional.len();
    let whole = packet(query, reply, records)?;
    let plain = whole.build_bytes_vec()?;
    if plain.len() <= limit {
        return Ok(plain);
    }
    let short = whole.build_bytes_vec_compressed()?;
    if short.len() <= limit {
        return Ok(short);
    }
    let (mut best, mut least, mut most) = (packet(query, reply, 0)?.build_bytes_vec_compressed()?, 0, records);
    while most - least > 1 {
        let middle = least.midpoint(most);
        let tried = packet(query, reply, middle)?.build_bytes_vec_compressed()?;
        match tried.len() <= limit {
            true => (best, least) = (tried, middle),
            false => most = middle,
        }
    }
    Ok(best)
}

/// The message with the first `keep` records.
fn packet<'a>(query: &Packet<'a>, reply: &'a Reply, keep: usize) -> simple_dns::Result<Packet<'a>> {
    let mut packet = Packet::new_reply(query.id());
    *packet.opcode_mut() = query.opcode();
    *packet.rcode_mut() = code(reply.rcode);
    for flag in [PacketFlag::RECURSION_DESIRED, PacketFlag::CHECKING_DISABLED] {
        if query.has_flags(flag) {
            packet.set_flags(flag);
        }
    }
    if reply.authoritative {
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    }
    let records = reply.answers.iter().chain(&reply.authority).chain(&reply.additional).count();
    if keep < records {
        packet.set_flags(PacketFlag::TRUNCATION);
    }
    *packet.opt_mut() = query.opt().map(|opt| OPT {
        opt_codes: opt.opt_codes.iter().filter(|option| ECHOED.contains(&option.code)).cloned().collect(),
        udp_packet_size: opt.udp_packet_size,
        version: 0,
    });
    packet.questions = query.questions.clone();
    let mut left = keep;
    let mut some = |records: &'a [Record]| -> simple_dns::Result<Vec<ResourceRecord<'a>>> {
        let taken = records.len().min(left);
        left -= taken;
        records[..taken].iter().map(written).collect()
    };
    packet.answers = some(&reply.answers)?;
    packet.name_servers = some(&reply.authority)?;
    packet.additional_records = some(&reply.additional)?;
    Ok(packet)
}

fn written(record: &Record) -> simple_dns::Result<ResourceRecord<'_>> {
    let data = match &record.data {
        Data::A(ip) => RData::A(A { address: ip.to_bits() }),
        Data::Aaaa(ip) => RData::AAAA(AAAA { address: ip.to_bits() }),
        Data::Cname(name) => RData::CNAME(CNAME(Name::new(name)?)),
        Data::Ptr(name) => RData::PTR(PTR(Name::new(name)?)),
        Data::Ns(name) => RData::NS(NS(Name::new(name)?)),
        Data::Srv { weight, port, target } => {
            RData::SRV(SRV { priority: 0, weight: *weight, port: *port, target: Name::new(target)? })
        }
        Data::Txt(text) => RData::TXT(TXT::new().with_string(text)?),
        Data::Soa { server, mailbox, serial, minimum } => RData::SOA(SOA {
            mname: Name::new(server)?,
            rname: Name::new(mailbox)?,
            serial: *serial,
            refresh: 7200,
            retry: 1800,
            expire: 86400,
            minimum: *minimum,
        }),
    };
    Ok(ResourceRecord::new(Name::new(&record.name)?, CLASS::IN, record.ttl, data))
}

/// A name as text. Bytes that are in no name of a cluster are written as dig does, so that they fit nothing.
fn text(name: &Name) -> String {
    let label = |bytes: &[u8]| -> String {
        let one = |byte: &u8| match byte {
            b'.' | b'\\' => format!("\\{}", char::from(*byte)),
            0x21..=0x7e => char::from(*byte).to_string(),
            _ => format!("\\{byte:03}"),
        };
        bytes.iter().map(one).collect()
    };
    name.as_bytes().map(label).collect::<Vec<String>>().join(".")
}

fn kind(qtype: QTYPE) -> Kind {
    match qtype {
        QTYPE::TYPE(TYPE::A) => Kind::A,
        QTYPE::TYPE(TYPE::AAAA) => Kind::Aaaa,
        QTYPE::TYPE(TYPE::CNAME) => Kind::Cname,
        QTYPE::TYPE(TYPE::MX) => Kind::Mx,
        QTYPE::TYPE(TYPE::NS) => Kind::Ns,
        QTYPE::TYPE(TYPE::PTR) => Kind::Ptr,
        QTYPE::TYPE(TYPE::SOA) => Kind::Soa,
        QTYPE::TYPE(TYPE::SRV) => Kind::Srv,
        QTYPE::TYPE(TYPE::TXT) => Kind::Txt,
        QTYPE::AXFR | QTYPE::IXFR => Kind::Transfer,
        _ => Kind::Other,
    }
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::A => "A",
        Kind::Aaaa => "AAAA",
        Kind::Cname => "CNAME",
        Kind::Mx => "MX",
        Kind::Ns => "NS",
        Kind::Ptr => "PTR",
        Kind::Soa => "SOA",
        Kind::Srv => "SRV",
        Kind::Txt => "TXT",
        Kind::Transfer | Kind::Other => "other",
    }
}

fn code(rcode: Rcode) -> RCODE {
    match rcode {
        Rcode::NoError => RCODE::NoError,
        Rcode::FormErr => RCODE::FormatError,
        Rcode::ServFail => RCODE::ServerFailure,
        Rcode::NxDomain => RCODE::NameError,
        Rcode::NotImp => RCODE::NotImplemented,
        Rcode::Refused => RCODE::Refused,
        Rcode::BadVers => RCODE::BADVERS,
    }
}
