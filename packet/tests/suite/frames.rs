//! Frames for tests, written byte by byte: independent of the views that the crate offers.

use packet::{Mac, TcpFlags};

pub const DESTINATION_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub const SOURCE_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const SOURCE6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const DESTINATION6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// RFC 1071, the slow way.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&DESTINATION_MAC.0[..], &SOURCE_MAC.0, &ethertype.to_be_bytes(), payload].concat()
}

pub fn with_vlan(frame: &[u8], ethertype: u16) -> Vec<u8> {
    [&frame[..12], &ethertype.to_be_bytes(), &[0, 5], &frame[12..]].concat()
}

pub struct Ip4 {
    pub traffic_class: u8,
    pub total_length: Option<u16>,
    pub identification: u16,
    pub flags_offset: u16,
    pub ttl: u8,
    pub protocol: Option<u8>,
    pub options: Vec<u8>,
}

impl Default for Ip4 {
    fn default() -> Self {
        Self {
            traffic_class: 0,
            total_length: None,
            identification: 0,
            flags_offset: 0,
            ttl: 64,
            protocol: None,
            options: Vec::new(),
        }
    }
}

impl Ip4 {
    /// From 10.0.0.1 to 10.0.0.2; UDP unless said otherwise.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let total = self.total_length.unwrap_or((header_length + payload.len()) as u16);
        let mut header = vec![0x40 | (header_length / 4) as u8, self.traffic_class];
        header.extend(total.to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(self.flags_offset.to_be_bytes());
        header.extend([self.ttl, self.protocol.unwrap_or(17), 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        header.extend(&self.options);
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        header.extend(payload);
        header
    }

    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(0x0800, &self.packet(payload))
    }
}

pub struct Ip6 {
    pub traffic_class: u8,
    pub next_header: u8,
}

impl Default for Ip6 {
    fn default() -> Self {
        Self { traffic_class: 0, next_header: 17 }
    }
}

impl Ip6 {
    /// From `fd00::1` to `fd00::2`.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60 | (self.traffic_class >> 4), self.traffic_class << 4, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([self.next_header, 64]);
        packet.extend(SOURCE6);
        packet.extend(DESTINATION6);
        packet.extend(payload);
        packet
    }

    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(0x86dd, &self.packet(payload))
    }
}

/// A well-formed extension header of 8 bytes (authentication: 16).
pub fn extension(header: u8, next: u8) -> Vec<u8> {
    match header {
        51 => [&[next, 2][..], &[0; 14]].concat(),
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

pub fn fragment_header(next: u8, offset: u16, more: bool, identification: u32) -> [u8; 8] {
    let [o0, o1] = (offset | u16::from(more)).to_be_bytes();
    let [i0, i1, i2, i3] = identification.to_be_bytes();
    [next, 0, o0, o1, i0, i1, i2, i3]
}

pub fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let header = [source, destination, length, 0];
    [&header.map(u16::to_be_bytes).concat()[..], data].concat()
}

pub fn tcp(source: u16, destination: u16, flags: TcpFlags, data: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags.bits(), 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(data);
    segment
}

pub fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}
