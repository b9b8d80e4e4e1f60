//! A frame of a set of packets: the nearest to an ordinary one that the set has.
//!
//! What the set leaves open is as an ordinary packet has it; lengths and checksums follow from the rest, unless the set asks
//! for others.

use packet::checksum::Sum;

use crate::bits::{
    BY_SOFTWARE, Cube, IPV4_CHECKSUM_OK, L3_LENGTH_OK, L4_CHECKSUM_OK, Layer4, NOTHING, PORT, Row,
    Span, Stack, TUNNEL_HEADER, TUNNEL_KIND, Tunnel, read, write,
};
use crate::report::Packet;
use crate::space::{EXTENSIONS, PROTOCOLS, Region, Space, choose};

/// A packet of a region, with where it comes in; `None` when it has none.
pub fn packet(space: &Space, region: &Region) -> Option<Packet> {
    let choice = choose(&region.choices(space), &wished())?;
    let known = region.cube.meet(&choice)?;
    let port = read(&known.value, PORT) as u16;
    let by_software = read(&known.value, BY_SOFTWARE) == 1;
    Some(Packet { port, by_software, frame: Builder { known }.stack(Stack::OUTER) })
}

/// What an ordinary packet is like.
fn wished() -> Row {
    let mut row = NOTHING;
    for stack in [Stack::OUTER, Stack::INNER] {
        write(&mut row, stack.has_ethernet(), 1);
        write(&mut row, stack.family(), 0b10);
        write(&mut row, stack.has_transport(), 1);
        write(&mut row, stack.transport_kind(), Layer4::Udp as u128);
        write(&mut row, stack.integrity(), 0xff);
        write(&mut row, stack.network(0, 1), 0x45);
        // IPv4's total length, and IPv6's payload length.
        write(&mut row, stack.network(2, 2), 100);
        write(&mut row, stack.network(4, 2), 60);
        write(&mut row, stack.transport(12, 1), 0x50);
    }
    row
}

struct Builder {
    known: Cube,
}

impl Builder {
    /// The number in a span, bits that are not known as in `default`.
    fn get(&self, span: Span, default: u128) -> u128 {
        let known = read(&self.known.mask, span);
        read(&self.known.value, span) | default & !known
    }

    fn is(&self, span: Span) -> bool {
        self.get(span, 0) == 1
    }

    /// Whether a check is asked to fail.
    fn fails(&self, stack: Stack, check: u128) -> bool {
        let span = stack.integrity().part(7 - check.trailing_zeros() as u16, 1);
        self.known.known(span) == Some(0)
    }

    /// The number in a span if all of it is known.
    fn fixed(&self, span: Span) -> Option<u16> {
        self.known.known(span).map(|number| number as u16)
    }

    fn stack(&self, stack: Stack) -> Vec<u8> {
        let mut frame = Vec::new();
        if stack == Stack::OUTER || self.is(stack.has_ethernet()) {
            self.link(stack, &mut frame);
        }
        if self.is(stack.is_arp()) {
            for (at, default) in [(0, 1), (2, 0x0800), (4, 0x0604), (6, 1)] {
                put(&mut frame, self.get(stack.network(at, 2), default), 2);
            }
            put(&mut frame, self.get(stack.network(8, 10), 0), 10);
            put(&mut frame, self.get(stack.network(18, 10), 0), 10);
        } else if self.is(stack.is_ip()) {
            if self.is(stack.is_v6()) {
                self.v6(stack, &mut frame);
            } else {
                self.v4(stack, &mut frame);
            }
        }
        frame
    }

    fn link(&self, stack: Stack, frame: &mut Vec<u8>) {
        put(frame, self.get(stack.destination_mac(), 0x0200_0000_0002), 6);
        put(frame, self.get(stack.source_mac(), 0x0200_0000_0001), 6);
        if self.is(stack.has_vlan()) {
            put(frame, if self.is(stack.has_more_vlan()) { 0x88a8 } else { 0x8100 }, 2);
            put(frame, self.get(stack.vlan(0), 1), 2);
            if self.is(stack.has_more_vlan()) {
                put(frame, 0x8100, 2);
                put(frame, self.get(stack.vlan(1), 2), 2);
            }
        }
        let ether_type = match (self.is(stack.is_ip()), self.is(stack.is_v6())) {
            (true, false) => 0x0800,
            (true, true) => 0x86dd,
            // For experiments (IEEE 802).
            (false, _) => 0x88b5,
        };
        put(frame, self.get(stack.ether_type(), ether_type), 2);
    }

    /// The transport's kind, where there is one.
    fn transport_kind(&self, stack: Stack) -> Option<Layer4> {
        let kind = self.get(stack.transport_kind(), Layer4::Udp as u128);
        let found = PROTOCOLS.iter().find(|(layer, _)| *layer as u128 == kind);
        found.map(|(layer, _)| *layer).filter(|_| self.is(stack.has_transport()))
    }

    /// The protocol number that a network header names where nothing asks for one.
    fn protocol(&self, stack: Stack) -> u128 {
        let kind = self.transport_kind(stack);
        let number = PROTOCOLS.iter().find(|(layer, _)| Some(*layer) == kind).map(|(_, n)| *n);
        let tunnel = match self.get(TUNNEL_KIND, 0) {
            kind if kind == Tunnel::Gre as u128 => 47,
            kind if kind == Tunnel::IpInIp as u128 => {
                if self.is(Stack::INNER.is_v6()) {
                    41
                } else {
                    4
                }
            }
            // For experiments (RFC 3692).
            _ => 253,
        };
        number.unwrap_or(if stack == Stack::OUTER { tunnel } else { 253 })
    }

    fn v4(&self, stack: Stack, frame: &mut Vec<u8>) {
        let start = frame.len();
        let first = self.get(stack.network(0, 1), 0x45);
        let protocol = self.get(stack.network(9, 1), self.protocol(stack));
        put(frame, first, 1);
        put(frame, self.get(stack.network(1, 1), 0), 1);
        put(frame, 0, 2);
        put(frame, self.get(stack.network(4, 2), 0), 2);
        let is_fragment = self.is(stack.is_fragment());
        put(frame, self.get(stack.network(6, 2), if is_fragment { 0x2000 } else { 0x4000 }), 2);
        put(frame, self.get(stack.network(8, 1), 64), 1);
        put(frame, protocol, 1);
        put(frame, 0, 2);
        let addresses = [
            self.get(stack.network(12, 4), 0xc000_0201),
            self.get(stack.network(16, 4), 0xc000_0202),
        ];
        for address in addresses {
            put(frame, address, 4);
        }
        let header = ((first & 0xf) as usize * 4).max(20);
        // No operation.
        frame.resize(start + header, 1);
        let pseudo = Sum::ZERO.u32(addresses[0] as u32).u32(addresses[1] as u32);
        let fixed = self.fixed(stack.network(2, 2));
        let claimed = fixed.filter(|_| !self.fails(stack, L3_LENGTH_OK));
        let room = claimed.map(|total| usize::from(total).saturating_sub(header));
        self.payload(stack, protocol, pseudo, room, frame);
        let mut total = (frame.len() - start) as u16;
        if self.fails(stack, L3_LENGTH_OK) {
            total += 64;
        }
        set(frame, start + 2, fixed.unwrap_or(total));
        let right = Sum::ZERO.bytes(&frame[start..start + header]).checksum();
        let wrong = self.fails(stack, IPV4_CHECKSUM_OK);
        let checksum = if wrong { right ^ 0x0101 } else { right };
        set(frame, start + 10, self.fixed(stack.network(10, 2)).unwrap_or(checksum));
    }

    fn v6(&self, stack: Stack, frame: &mut Vec<u8>) {
        let start = frame.len();
        let extensions = self.get(stack.extensions(), 0);
        let has = |bit: u16| extensions >> bit & 1 == 1;
        let transport = self.protocol(stack);
        let mut chain: Vec<u128> =
            EXTENSIONS.iter().filter(|(_, bit)| has(*bit)).map(|(number, _)| *number).collect();
        let default = chain.first().copied().unwrap_or(transport);
        let first = self.get(stack.network(6, 1), default);
        // The one that the fixed header names comes first; a fragment header or ESP ends what can be seen.
        chain.sort_by_key(|number| (*number != first, matches!(number, 44 | 50)));
        put(frame, self.get(stack.network(0, 4), 0x6000_0000), 4);
        put(frame, 0, 2);
        put(frame, first, 1);
        put(frame, self.get(stack.network(7, 1), 64), 1);
        let documentation = 0x2001_0db8_u128 << 96;
        let addresses = [
            self.get(stack.network(8, 16), documentation | 1),
            self.get(stack.network(24, 16), documentation | 2),
        ];
        let mut pseudo = Sum::ZERO;
        for address in addresses {
            put(frame, address, 16);
            pseudo = pseudo.bytes(&address.to_be_bytes());
        }
        let before = frame.len();
        let mut last = first;
        for (at, number) in chain.iter().enumerate() {
            let next = chain.get(at + 1).copied().unwrap_or(transport);
            last = next;
            match number {
                44 => {
                    put(frame, self.get(stack.fragment_header(0, 1), next), 1);
                    put(frame, self.get(stack.fragment_header(1, 1), 0), 1);
                    put(frame, self.get(stack.fragment_header(2, 2), 1), 2);
                    put(frame, self.get(stack.fragment_header(4, 4), 1), 4);
                }
                // The payload is its own.
                50 => last = 50,
                51 => {
                    put(frame, next, 1);
                    put(frame, 1, 1);
                    put(frame, 0, 10);
                }
                // Padding fills the option headers.
                _ => {
                    put(frame, next, 1);
                    put(frame, 0x0104_0000_0000, 7);
                }
            }
        }
        let fixed = self.fixed(stack.network(4, 2));
        let claimed = fixed.filter(|_| !self.fails(stack, L3_LENGTH_OK));
        let room = claimed.map(|length| usize::from(length).saturating_sub(frame.len() - before));
        self.payload(stack, last, pseudo, room, frame);
        let mut length = (frame.len() - before) as u16;
        if self.fails(stack, L3_LENGTH_OK) {
            length += 64;
        }
        set(frame, start + 4, fixed.unwrap_or(length));
    }

    /// What an IP header carries, `room` bytes long if it can be.
    fn payload(
        &self,
        stack: Stack,
        protocol: u128,
        pseudo: Sum,
        room: Option<usize>,
        frame: &mut Vec<u8>,
    ) {
        let start = frame.len();
        let tunnel = if stack == Stack::OUTER { self.tunnel() } else { None };
        let kind = self.transport_kind(stack);
        let is_short = kind.is_none() && PROTOCOLS.iter().any(|(_, number)| *number == protocol);
        let is_fragment = self.is(stack.is_fragment());
        let length = match kind {
            Some(Layer4::Tcp) => {
                for at in [0, 4, 8, 12, 16] {
                    let defaults = [(0, 0xc001_0050), (12, 0x5010_ffff)];
                    let default = defaults.iter().find(|(d, _)| *d == at).map_or(0, |(_, d)| *d);
                    put(frame, self.get(stack.transport(at, 4), default), 4);
                }
                let header = (self.get(stack.transport(12, 1).part(0, 4), 5) as usize * 4).max(20);
                frame.resize(start + header, 1);
                header
            }
            Some(Layer4::Udp) => {
                put(frame, self.get(stack.transport(0, 4), 0xc001_0035), 4);
                put(frame, 0, 4);
                8
            }
            Some(Layer4::Sctp) => {
                put(frame, self.get(stack.transport(0, 12), 0), 12);
                12
            }
            Some(_) => {
                put(frame, self.get(stack.transport(0, 8), 8 << 56), 8);
                8
            }
            None => 0,
        };
        let has_tunnel = tunnel.is_some();
        match tunnel {
            Some(tunnel) => frame.extend(tunnel),
            // The first part of a packet with room for its transport header.
            None if is_fragment => frame.resize(start + 24, 0),
            None if is_short => {}
            None => frame.resize(start + length + 8, 0),
        }
        if let Some(room) = room
            && frame.len() - start < room
        {
            frame.resize(start + room, 0);
        }
        self.checksum(stack, kind, protocol, pseudo, has_tunnel, start, frame);
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is where the checksum is")]
    fn checksum(
        &self,
        stack: Stack,
        kind: Option<Layer4>,
        protocol: u128,
        pseudo: Sum,
        has_tunnel: bool,
        start: usize,
        frame: &mut [u8],
    ) {
        let length = (frame.len() - start) as u16;
        let at = match kind {
            Some(Layer4::Tcp) => 16,
            Some(Layer4::Udp) => {
                let fixed = self.fixed(stack.transport(4, 2));
                set(frame, start + 4, fixed.unwrap_or(length));
                6
            }
            Some(Layer4::Icmp | Layer4::Icmp6) => 2,
            _ => return,
        };
        let fails = self.fails(stack, L4_CHECKSUM_OK);
        if let Some(fixed) = self.fixed(stack.transport(at, 2)) {
            return set(frame, start + usize::from(at), fixed);
        }
        set(frame, start + usize::from(at), 0);
        if has_tunnel && !fails {
            return;
        }
        let pseudo = if kind == Some(Layer4::Icmp) {
            Sum::ZERO
        } else {
            pseudo.u32(u32::from(length)).u16(protocol as u16)
        };
        let right = pseudo.bytes(&frame[start..]).checksum();
        // 0 would say that there is none.
        let right = if right == 0 && kind == Some(Layer4::Udp) { 0xffff } else { right };
        let wrong = if right == 0x0101 { 0x0202 } else { right ^ 0x0101 };
        set(frame, start + usize::from(at), if fails { wrong } else { right });
    }

    /// A tunnel's header and what is in it.
    fn tunnel(&self) -> Option<Vec<u8>> {
        let kind = self.get(TUNNEL_KIND, 0);
        let inner = self.stack(Stack::INNER);
        let has_ethernet = self.is(Stack::INNER.has_ethernet());
        let v6 = self.is(Stack::INNER.is_v6());
        let by_type: u128 = match (has_ethernet, v6) {
            (true, _) => 0x6558,
            (false, false) => 0x0800,
            (false, true) => 0x86dd,
        };
        let header = |default: u128| self.get(TUNNEL_HEADER, default);
        let mut bytes = Vec::new();
        if kind == Tunnel::Vxlan as u128 {
            put(&mut bytes, header(0x08 << 56 | 1 << 8), 8);
        } else if kind == Tunnel::VxlanGpe as u128 {
            let next = if has_ethernet { 3 } else { 1 + u128::from(v6) };
            put(&mut bytes, header(0x0c << 56 | next << 32 | 1 << 8), 8);
        } else if kind == Tunnel::Geneve as u128 {
            let first = header(by_type << 32 | 1 << 8);
            put(&mut bytes, first, 8);
            let words = (first >> 56) as usize & 0x3f;
            bytes.resize(8 + words * 4, 0);
        } else if kind == Tunnel::Gtp as u128 {
            put(&mut bytes, header(0x30ff << 48 | (inner.len() as u128) << 32), 8);
        } else if kind == Tunnel::Gre as u128 {
            put(&mut bytes, self.get(TUNNEL_HEADER.part(0, 32), by_type), 4);
        } else if kind != Tunnel::IpInIp as u128 {
            return None;
        }
        bytes.extend(inner);
        Some(bytes)
    }
}

/// The low `count` bytes of a number, the highest first.
fn put(frame: &mut Vec<u8>, number: u128, count: usize) {
    frame.extend(&number.to_be_bytes()[16 - count..]);
}

fn set(frame: &mut [u8], at: usize, number: u16) {
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&number.to_be_bytes());
    }
}
