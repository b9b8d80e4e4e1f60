//! Whole messages that the datapath itself sends: a payload, wrapped into valid headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use packet::checksum::Sum;
use packet::wire::arp::Arp;
use packet::wire::ethernet::{self, Ethernet};
use packet::wire::ipv4::Ipv4;
use packet::wire::ipv6::Ipv6;
use packet::wire::protocol;
use packet::wire::udp::Udp;
use packet::{Frame, IpPacket, Mac, NoRoom, Tuple};
use zerocopy::IntoBytes;
use zerocopy::big_endian::U16;

/// The IP addresses of a message, source first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// The headers below the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Envelope {
    pub source_mac: Mac,
    pub destination_mac: Mac,
    pub addresses: Addresses,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl Envelope {
    /// Bytes before the transport header.
    pub const fn length(&self) -> usize {
        Ethernet::LENGTH
            + match self.addresses {
                Addresses::V4(..) => Ipv4::LENGTH,
                Addresses::V6(..) => Ipv6::LENGTH,
            }
    }

    /// Makes of `frame` an ICMP or ICMPv6 message with what `write` puts down, at most `limit` bytes: type, code, a
    /// zero checksum, and the rest.
    pub fn icmp(
        &self,
        frame: &mut Frame,
        limit: usize,
        write: impl FnOnce(&mut Writer) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        fill(frame, self.length(), limit, write)?;
        self.seal_icmp(frame);
        Ok(())
    }

    /// Makes of `frame` a UDP datagram with what `write` puts down as data, at most `limit` bytes.
    pub fn udp(
        &self,
        frame: &mut Frame,
        (source_port, destination_port): (u16, u16),
        limit: usize,
        write: impl FnOnce(&mut Writer) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        fill(frame, self.length() + Udp::LENGTH, limit, write)?;
        let length = frame.bytes().len().saturating_sub(self.length());
        let header = Udp {
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            length: U16::new(length as u16),
            checksum: U16::ZERO,
        };
        put(frame, self.length(), header.as_bytes());
        let sum = self.transport_sum(frame, protocol::UDP).udp_checksum();
        put(frame, self.length() + 6, &sum.to_be_bytes());
        self.write_headers(frame, protocol::UDP);
        Ok(())
    }

    /// Makes of `frame`, which holds an ICMP or ICMPv6 message with a zero checksum and nothing else, a whole message.
    pub fn wrap_icmp(&self, frame: &mut Frame) -> Result<(), NoRoom> {
        frame.prepend(self.length())?;
        self.seal_icmp(frame);
        Ok(())
    }

    fn seal_icmp(&self, frame: &mut Frame) {
        let (sum, protocol) = match self.addresses {
            Addresses::V4(..) => {
                let message = frame.bytes().get(self.length()..).unwrap_or_default();
                (Sum::ZERO.bytes(message), protocol::ICMP)
            }
            Addresses::V6(..) => (self.transport_sum(frame, protocol::ICMPV6), protocol::ICMPV6),
        };
        put(frame, self.length() + 2, &sum.checksum().to_be_bytes());
        self.write_headers(frame, protocol);
    }

    fn transport_sum(&self, frame: &Frame, protocol: u8) -> Sum {
        let (source, destination) = match self.addresses {
            Addresses::V4(source, destination) => (IpAddr::V4(source), IpAddr::V4(destination)),
            Addresses::V6(source, destination) => (IpAddr::V6(source), IpAddr::V6(destination)),
        };
        let payload = frame.bytes().get(self.length()..).unwrap_or_default();
        Sum::ZERO
            .pseudo_header(&Tuple::new(source, destination, protocol, 0, 0), payload.len() as u32)
            .bytes(payload)
    }

    /// Ethernet and IP header; the frame's length says how much they carry.
    fn write_headers(&self, frame: &mut Frame, protocol: u8) {
        let length = frame.bytes().len();
        match self.addresses {
            Addresses::V4(source, destination) => {
                self.write_ethernet(frame, ethernet::IPV4);
                let mut header = Ipv4 {
                    version_ihl: Ipv4::VERSION_IHL,
                    traffic_class: 0,
                    total_length: U16::new(length.saturating_sub(Ethernet::LENGTH) as u16),
                    identification: U16::ZERO,
                    flags_offset: U16::new(Ipv4::DONT_FRAGMENT),
                    ttl: self.hop_limit,
                    protocol,
                    checksum: U16::ZERO,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                header.checksum = U16::new(Sum::ZERO.bytes(header.as_bytes()).checksum());
                put(frame, Ethernet::LENGTH, header.as_bytes());
            }
            Addresses::V6(source, destination) => {
                self.write_ethernet(frame, ethernet::IPV6);
                let header = Ipv6 {
                    version_class_label: Ipv6::version_class(0),
                    payload_length: U16::new(length.saturating_sub(self.length()) as u16),
                    next_header: protocol,
                    hop_limit: self.hop_limit,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                put(frame, Ethernet::LENGTH, header.as_bytes());
            }
        }
    }

    fn write_ethernet(&self, frame: &mut Frame, ethertype: u16) {
        write_ethernet(frame, self.source_mac, self.destination_mac, ethertype);
    }
}

/// Makes of `frame` an Ethernet frame with an ARP message.
pub(super) fn arp(
    frame: &mut Frame,
    source: Mac,
    destination: Mac,
    message: &Arp,
) -> Result<(), NoRoom> {
    frame.resize(Ethernet::LENGTH + Arp::LENGTH)?;
    write_ethernet(frame, source, destination, ethernet::ARP);
    put(frame, Ethernet::LENGTH, message.as_bytes());
    Ok(())
}

/// The transport header and payload of an unfragmented ICMP, ICMPv6 or UDP packet in `frame`, when its checksum is
/// right. UDP over IPv4 may go without one; the datagram ends where its own length says.
pub(super) fn verified<'a>(frame: &'a [u8], packet: &IpPacket) -> Option<&'a [u8]> {
    let payload = frame.get(usize::from(packet.transport_offset)..usize::from(packet.end))?;
    let pseudo = |length: usize| Sum::ZERO.pseudo_header(&packet.tuple, length as u32);
    match packet.tuple.protocol() {
        protocol::UDP => {
            let (header, _) = <Udp as zerocopy::FromBytes>::ref_from_prefix(payload).ok()?;
            let datagram = payload.get(..usize::from(header.length.get()))?;
            let unchecked = header.checksum == U16::ZERO && packet.tuple.source().is_ipv4();
            (unchecked || pseudo(datagram.len()).bytes(datagram).is_valid()).then_some(datagram)
        }
        protocol::ICMP => Sum::ZERO.bytes(payload).is_valid().then_some(payload),
        _ => pseudo(payload.len()).bytes(payload).is_valid().then_some(payload),
    }
}

/// Writes from the front of a byte range; what does not fit is refused as a whole.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    written: usize,
}

impl Writer<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.written.saturating_add(bytes.len());
        let room = self.room();
        self.bytes
            .get_mut(self.written..end)
            .ok_or(NoRoom { needed: bytes.len().saturating_sub(room) })?
            .copy_from_slice(bytes);
        self.written = end;
        Ok(())
    }

    /// Puts zeros until `length` bytes are written in all.
    pub fn pad_to(&mut self, length: usize) -> Result<(), NoRoom> {
        if let Some(missing) = length.checked_sub(self.written) {
            let room = self.room();
            self.bytes
                .get_mut(self.written..length)
                .ok_or(NoRoom { needed: missing.saturating_sub(room) })?
                .fill(0);
            self.written = length;
        }
        Ok(())
    }

    /// Bytes written so far.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// Bytes that still fit.
    pub const fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }

    /// Overwrites what was written before, from `at` on.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = at
            .checked_add(bytes.len())
            .filter(|end| *end <= self.written)
            .and_then(|end| self.bytes.get_mut(at..end))
        {
            place.copy_from_slice(bytes);
        }
    }
}

/// Lets `write` put at most `limit` bytes at offset `at` of `frame`, which then ends after them.
fn fill(
    frame: &mut Frame,
    at: usize,
    limit: usize,
    write: impl FnOnce(&mut Writer) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    let wanted = at.saturating_add(limit);
    frame.resize(wanted).or_else(|short| frame.resize(wanted.saturating_sub(short.needed)))?;
    let bytes = frame.bytes_mut().get_mut(at..).ok_or(NoRoom { needed: at })?;
    let mut writer = Writer { bytes, written: 0 };
    write(&mut writer)?;
    let length = at.saturating_add(writer.written);
    frame.resize(length)
}

fn write_ethernet(frame: &mut Frame, source: Mac, destination: Mac, ethertype: u16) {
    let header = Ethernet { destination, source, ethertype: U16::new(ethertype) };
    put(frame, 0, header.as_bytes());
}

/// Writes inside the frame; the callers have made it long enough.
fn put(frame: &mut Frame, at: usize, bytes: &[u8]) {
    let place: Range<usize> = at..at.saturating_add(bytes.len());
    if let Some(place) = frame.bytes_mut().get_mut(place) {
        place.copy_from_slice(bytes);
    }
}
