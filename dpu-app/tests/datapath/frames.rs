//! Frames as VMs send them.

use std::net::Ipv4Addr;

use packet::Mac;
use packet::checksum::Sum;
use packet::wire::protocol;

/// The MAC that ends in this byte.
pub fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

/// An IPv4 packet in the making.
#[derive(Clone)]
pub struct Ip {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub source_mac: Mac,
    /// Whatever the VM thinks right: it is ignored.
    pub destination_mac: Mac,
    pub ecn: u8,
    pub dont_fragment: bool,
    /// Identification, offset in bytes, more to come.
    pub fragment: (u16, u16, bool),
}

/// From and to 10.1.x.y; the MAC follows from the source as intent has it.
pub fn ip(source: [u8; 2], destination: [u8; 2]) -> Ip {
    let source_mac = mac(match source {
        [1, 10] => 0x0a,
        [1, 20] => 0x0b,
        [2, 10] => 0x0c,
        [2, 80] => 0x80,
        [1, 40] => 0x40,
        [1, 30] => 0xf1,
        [2, 30] => 0xf2,
        [1, 50] => 0x0f,
        [1, 33] => 0x33,
        other => panic!("no interface has {other:?}"),
    });
    Ip {
        source: Ipv4Addr::new(10, 1, source[0], source[1]),
        destination: Ipv4Addr::new(10, 1, destination[0], destination[1]),
        source_mac,
        destination_mac: mac(0xee),
        ecn: 0,
        dont_fragment: true,
        fragment: (0, 0, false),
    }
}

impl Ip {
    /// The frame with this payload.
    pub fn carry(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (identification, offset, more) = self.fragment;
        let whole = self.dont_fragment && offset == 0 && !more;
        let flags = (offset / 8) | (u16::from(more) << 13) | (u16::from(whole) << 14);
        let mut header = [0; 20];
        header[0] = 0x45;
        header[1] = self.ecn;
        header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[6..8].copy_from_slice(&flags.to_be_bytes());
        header[8] = 64;
        header[9] = protocol;
        header[12..16].copy_from_slice(&self.source.octets());
        header[16..20].copy_from_slice(&self.destination.octets());
        let sum = Sum::ZERO.bytes(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&self.destination_mac.0[..], &self.source_mac.0, &[8, 0], &header, payload].concat()
    }

    /// A TCP segment; flags by their first letters.
    pub fn tcp(&self, ports: (u16, u16), flags: &str) -> Vec<u8> {
        let bits = flags.chars().fold(0, |bits, flag| {
            bits | match flag {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                'P' => 8,
                'A' => 16,
                other => panic!("flag {other}"),
            }
        });
        let mut segment = [0; 24];
        segment[0..2].copy_from_slice(&ports.0.to_be_bytes());
        segment[2..4].copy_from_slice(&ports.1.to_be_bytes());
        segment[12] = 0x50;
        segment[13] = bits;
        let sum = Sum::ZERO.bytes(&self.source.octets()).bytes(&self.destination.octets());
        let sum =
            sum.u16(protocol::TCP.into()).u32(segment.len() as u32).bytes(&segment).checksum();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.carry(protocol::TCP, &segment)
    }

    /// A UDP datagram with this many bytes of data.
    pub fn udp(&self, ports: (u16, u16), data: usize) -> Vec<u8> {
        self.carry(protocol::UDP, &datagram(ports, data))
    }

    /// An echo message.
    pub fn echo(&self, kind: u8, identifier: u16) -> Vec<u8> {
        let [high, low] = identifier.to_be_bytes();
        let mut message = [kind, 0, 0, 0, high, low, 0, 1];
        let sum = Sum::ZERO.bytes(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.carry(protocol::ICMP, &message)
    }

    /// An ICMP error that quotes the IP packet in `frame`.
    pub fn error(&self, kind: u8, frame: &[u8]) -> Vec<u8> {
        let quote = &frame[14..frame.len().min(14 + 28)];
        self.carry(protocol::ICMP, &[&[kind, 3, 0, 0, 0, 0, 0, 0], quote].concat())
    }
}

/// A UDP header with its data.
pub fn datagram(ports: (u16, u16), data: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8 + data];
    bytes[0..2].copy_from_slice(&ports.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
    bytes[4..6].copy_from_slice(&(8 + data as u16).to_be_bytes());
    bytes
}
