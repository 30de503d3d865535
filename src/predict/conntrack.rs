//! Connection tracking and address translation of one namespace.

use std::net::{IpAddr, SocketAddr};

use crate::packet::{Icmp, Ip, Packet, Transport};
use crate::plan::ipvs::Key;
use crate::plan::netfilter::{CtState, Side};

/// What identifies one direction of a connection. A port is none where the kernel has chosen it by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    protocol: u8,
    src: IpAddr,
    dst: IpAddr,
    src_port: Option<u16>,
    dst_port: Option<u16>,
}

impl Tuple {
    fn of(packet: &Packet) -> Option<Tuple> {
        let ip = packet.outer()?;
        let (src_port, dst_port) = ports(packet);
        Some(Tuple { protocol: ip.protocol, src: ip.src, dst: ip.dst, src_port, dst_port })
    }

    fn reversed(self) -> Tuple {
        Tuple {
            protocol: self.protocol,
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }
}

/// Ports of UDP, TCP and SCTP; an echo's identifier counts as both.
fn ports(packet: &Packet) -> (Option<u16>, Option<u16>) {
    match &packet.transport {
        _ if packet.layers.len() != 1 => (None, None),
        Transport::Icmp(Icmp::EchoRequest { id, .. } | Icmp::EchoReply { id, .. }) => (*id, *id),
        transport => transport.ports().unwrap_or_default(),
    }
}

#[derive(Debug)]
struct Connection {
    original: Tuple,
    reply: Tuple,
    /// Whether a packet was seen in the reply direction.
    answered: bool,
    /// Whether the nat table has been asked about its destination, and about its source.
    decided: [bool; 2],
    /// The virtual server of IPVS that sent it on. Connection tracking then knows its other end, and translates nothing.
    server: Option<Key>,
}

impl Connection {
    fn is_dnat(&self) -> bool {
        if self.server.is_some() {
            return false;
        }
        let original = self.original;
        // A port that is left to chance is a source's: an echo's identifier stands in both places.
        self.reply.src != original.dst || self.reply.src_port.is_some_and(|port| original.dst_port != Some(port))
    }

    fn is_snat(&self) -> bool {
        (self.reply.dst, self.reply.dst_port) != (self.original.src, self.original.src_port)
    }

    fn decided(&mut self, side: Side) -> &mut bool {
        let [destination, source] = &mut self.decided;
        match side {
            Side::Dst => destination,
            Side::Src => source,
        }
    }
}

/// What connection tracking has attached to a packet, for as long as it is in the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    connection: Option<usize>,
    /// Whether it goes against the direction of the first packet.
    pub reply: bool,
    /// The packet's state.
    pub state: CtState,
}

/// The connection table of one namespace.
#[derive(Debug, Default)]
pub struct Conntrack {
    connections: Vec<Connection>,
}

impl Conntrack {
    /// Finds or begins the packet's connection.
    pub fn track(&mut self, packet: &Packet) -> Tracked {
        if let Some(about) = error_about(packet) {
            // The error goes against the direction of the packet that it is about, which it quotes as that left here.
            let found = Tuple::of(about).and_then(|tuple| self.find(tuple.reversed()));
            let state = if found.is_some() { CtState::Related } else { CtState::Invalid };
            return Tracked { connection: found.map(|f| f.0), reply: found.is_some_and(|f| f.1), state };
        }
        let Some(tuple) = Tuple::of(packet) else {
            return Tracked { connection: None, reply: false, state: CtState::Invalid };
        };
        match self.find(tuple) {
            Some((index, reply)) => {
                let answered = self.connections.get_mut(index).is_some_and(|connection| {
                    connection.answered |= reply;
                    connection.answered
                });
                let state = if answered { CtState::Established } else { CtState::New };
                Tracked { connection: Some(index), reply, state }
            }
            None => {
                let reply = tuple.reversed();
                self.connections.push(Connection {
                    original: tuple,
                    reply,
                    answered: false,
                    decided: [false; 2],
                    server: None,
                });
                Tracked { connection: Some(self.connections.len() - 1), reply: false, state: CtState::New }
            }
        }
    }

    fn find(&self, tuple: Tuple) -> Option<(usize, bool)> {
        self.connections.iter().enumerate().find_map(|(index, connection)| {
            let original = (connection.original == tuple).then_some((index, false));
            original.or_else(|| (connection.reply == tuple).then_some((index, true)))
        })
    }

    fn of(&mut self, tracked: Tracked) -> Option<&mut Connection> {
        self.connections.get_mut(tracked.connection?)
    }

    /// Whether the nat table is still to be asked about a side of the packet's connection.
    pub fn undecided(&mut self, tracked: Tracked, side: Side) -> bool {
        let first = !tracked.reply && tracked.state == CtState::New;
        first && self.of(tracked).is_some_and(|connection| !*connection.decided(side))
    }

    /// Whether the destination of the packet's connection is translated.
    pub fn is_dnat(&self, tracked: Tracked) -> bool {
        tracked.connection.and_then(|index| self.connections.get(index)).is_some_and(Connection::is_dnat)
    }

    /// Notes that the nat table leaves a side of the connection as it is.
    pub fn leave(&mut self, tracked: Tracked, side: Side) {
        if let Some(connection) = self.of(tracked) {
            *connection.decided(side) = true;
        }
    }

    /// Gives the connection another source.
    pub fn masquerade(&mut self, tracked: Tracked, address: IpAddr, random_port: bool) {
        let Some(connection) = self.of(tracked) else { return };
        *connection.decided(Side::Src) = true;
        connection.reply.dst = address;
        if random_port && connection.reply.dst_port.is_some() {
            connection.reply.dst_port = None;
            // An echo's identifier is one number in both places.
            if connection.original.protocol == crate::packet::PROTOCOL_ICMP
                || connection.original.protocol == crate::packet::PROTOCOL_ICMPV6
            {
                connection.reply.src_port = None;
            }
        }
    }

    /// Gives the connection another destination.
    pub fn redirect(&mut self, tracked: Tracked, to: SocketAddr) {
        let Some(connection) = self.of(tracked) else { return };
        *connection.decided(Side::Dst) = true;
        connection.reply.src = to.ip();
        connection.reply.src_port = Some(to.port()).filter(|port| *port != 0).or(connection.reply.src_port);
    }

    /// Notes that IPVS sends the connection on (`ip_vs_update_conntrack`).
    pub fn balance(&mut self, tracked: Tracked, server: Key, to: SocketAddr) {
        let Some(connection) = self.of(tracked) else { return };
        connection.server = Some(server);
        (connection.reply.src, connection.reply.src_port) = (to.ip(), Some(to.port()));
    }

    /// The virtual server of IPVS that sent the packet's connection on.
    pub fn server(&self, tracked: Tracked) -> Option<Key> {
        self.connections.get(tracked.connection?)?.server
    }

    /// Translates a packet of a connection of IPVS, as IPVS does: where it goes, or where the answer comes from.
    pub fn translate_balanced(&self, tracked: Tracked, packet: &mut Packet) {
        let Some(connection) = tracked.connection.and_then(|index| self.connections.get(index)) else { return };
        let Connection { original, reply, .. } = connection;
        match tracked.reply {
            false => set_destination(packet, reply.src, reply.src_port),
            true => set_source(packet, original.dst, original.dst_port),
        }
    }

    /// Translates a side of a packet as its connection says: the destination before routing, the source behind it.
    pub fn translate(&self, tracked: Tracked, side: Side, packet: &mut Packet) {
        let Some(connection) = tracked.connection.and_then(|index| self.connections.get(index)) else { return };
        let Connection { original, reply, .. } = connection;
        match (side, tracked.reply) {
            (Side::Dst, false) if connection.is_dnat() => set_destination(packet, reply.src, reply.src_port),
            (Side::Dst, true) if connection.is_snat() => set_destination(packet, original.src, original.src_port),
            (Side::Src, false) if connection.is_snat() => set_source(packet, reply.dst, reply.dst_port),
            (Side::Src, true) if connection.is_dnat() => set_source(packet, original.dst, original.dst_port),
            _ => {}
        }
    }
}

/// The packet that an ICMP error is about.
fn error_about(packet: &Packet) -> Option<&Packet> {
    match &packet.transport {
        Transport::Icmp(icmp) if packet.layers.len() == 1 => icmp.about(),
        _ => None,
    }
}

fn set_source(packet: &mut Packet, address: IpAddr, port: Option<u16>) {
    if let Some(ip) = packet.layers.first_mut() {
        ip.src = address;
    }
    match &mut packet.transport {
        Transport::Icmp(Icmp::EchoRequest { id, .. } | Icmp::EchoReply { id, .. }) => *id = port,
        // What the error quotes is translated as well, so that its receiver knows the packet again.
        Transport::Icmp(icmp) => {
            if let Some(about) = icmp.about_mut() {
                set_destination(about, address, port);
            }
        }
        transport => transport.ports_mut().map(|(src, _)| *src = port).unwrap_or_default(),
    }
}

fn set_destination(packet: &mut Packet, address: IpAddr, port: Option<u16>) {
    let set = |ip: &mut Ip| ip.dst = address;
    packet.layers.first_mut().map(set).unwrap_or_default();
    match &mut packet.transport {
        Transport::Icmp(Icmp::EchoRequest { id, .. } | Icmp::EchoReply { id, .. }) => *id = port,
        Transport::Icmp(icmp) => {
            if let Some(about) = icmp.about_mut() {
                set_source(about, address, port);
            }
        }
        transport => transport.ports_mut().map(|(_, dst)| *dst = port).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(request: bool, src: [u8; 4], dst: [u8; 4], id: Option<u16>) -> Packet {
        let ip = Ip::new(src.into(), dst.into(), 1, 64, 84);
        let icmp = if request { Icmp::EchoRequest { id, seq: 1 } } else { Icmp::EchoReply { id, seq: 1 } };
        Packet { layers: vec![ip], transport: Transport::Icmp(icmp), mark: None }
    }

    const POD: [u8; 4] = [10, 100, 0, 2];
    const NODE: [u8; 4] = [10, 1, 10, 9];
    const OUTSIDE: [u8; 4] = [10, 1, 10, 8];

    /// A masqueraded echo: what is sent, and what its answer becomes.
    fn masqueraded(random_port: bool) -> (Packet, Packet, CtState) {
        let mut table = Conntrack::default();
        let mut request = echo(true, POD, OUTSIDE, Some(7));
        let tracked = table.track(&request);
        assert_eq!((tracked.state, table.undecided(tracked, Side::Src)), (CtState::New, true));
        table.masquerade(tracked, NODE.into(), random_port);
        assert!(!table.undecided(tracked, Side::Src));
        table.translate(tracked, Side::Src, &mut request);
        let Transport::Icmp(Icmp::EchoRequest { id, .. }) = request.transport else { panic!("no request") };
        let mut answer = echo(false, OUTSIDE, NODE, id);
        let tracked = table.track(&answer);
        table.translate(tracked, Side::Dst, &mut answer);
        (request, answer, tracked.state)
    }

    #[test]
    fn an_answer_gets_its_true_destination_back() {
        let (request, answer, state) = masqueraded(false);
        assert_eq!(request, echo(true, NODE, OUTSIDE, Some(7)));
        assert_eq!((answer, state), (echo(false, OUTSIDE, POD, Some(7)), CtState::Established));
    }

    #[test]
    fn a_port_by_chance_is_open_outside_and_known_inside() {
        let (request, answer, _) = masqueraded(true);
        assert_eq!(request, echo(true, NODE, OUTSIDE, None));
        assert_eq!(answer, echo(false, OUTSIDE, POD, Some(7)));
    }

    #[test]
    fn a_translated_destination_answers_as_who_was_asked() {
        const SERVICE: [u8; 4] = [10, 96, 0, 10];
        let datagram = |src: [u8; 4], dst: [u8; 4], ports: (u16, u16)| {
            let transport = Transport::Udp { src: Some(ports.0), dst: Some(ports.1) };
            let mut packet = Packet { transport, ..echo(true, src, dst, None) };
            packet.layers[0].protocol = 17;
            packet
        };
        let mut table = Conntrack::default();
        let mut request = datagram(POD, SERVICE, (4000, 53));
        let tracked = table.track(&request);
        assert!(table.undecided(tracked, Side::Dst) && !table.is_dnat(tracked));
        table.redirect(tracked, (OUTSIDE, 5353).into());
        table.translate(tracked, Side::Dst, &mut request);
        assert!(table.is_dnat(tracked));
        assert_eq!(request, datagram(POD, OUTSIDE, (4000, 5353)));
        let mut answer = datagram(OUTSIDE, POD, (5353, 4000));
        let tracked = table.track(&answer);
        assert_eq!(tracked.state, CtState::Established);
        table.translate(tracked, Side::Dst, &mut answer);
        table.translate(tracked, Side::Src, &mut answer);
        assert_eq!(answer, datagram(SERVICE, POD, (53, 4000)));
    }

    #[test]
    fn an_error_belongs_to_what_it_is_about() {
        let mut table = Conntrack::default();
        let request = echo(true, POD, OUTSIDE, Some(7));
        table.track(&request);
        let error = |about: Packet| {
            let icmp = Icmp::Unreachable { code: 4, mtu: 1400, about: Some(Box::new(about)) };
            Packet { transport: Transport::Icmp(icmp), ..echo(true, NODE, POD, None) }
        };
        assert_eq!(table.track(&error(request.clone())).state, CtState::Related);
        // Behind masquerade it quotes the translated packet.
        let mut table = Conntrack::default();
        let mut sent = request;
        let tracked = table.track(&sent);
        table.masquerade(tracked, NODE.into(), true);
        table.translate(tracked, Side::Src, &mut sent);
        let mut told = Packet { ..error(sent) };
        told.layers[0].dst = NODE.into();
        let tracked = table.track(&told);
        assert_eq!(tracked.state, CtState::Related);
        table.translate(tracked, Side::Dst, &mut told);
        table.translate(tracked, Side::Src, &mut told);
        assert_eq!(told.layers[0].src, IpAddr::from(NODE));
        assert_eq!(told.layers[0].dst, IpAddr::from(POD));
        assert_eq!(error_about(&told).unwrap().layers[0].src, IpAddr::from(POD));
        assert_eq!(table.track(&error(echo(true, POD, OUTSIDE, Some(8)))).state, CtState::Invalid);
    }
}
