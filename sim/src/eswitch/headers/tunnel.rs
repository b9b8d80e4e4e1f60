//! The header of a tunnel, and where the packet inside begins.

use packet::wire::{ethernet, vxlan};

use super::super::bytes;
use super::layer::{Layer, Transport};

/// A tunnel's header. Offsets count from the frame's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// VXLAN (RFC 7348).
    Vxlan(u16),
    /// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe).
    VxlanGpe(u16),
    /// GENEVE (RFC 8926).
    Geneve {
        /// Where it begins.
        at: u16,
        /// Where its options end.
        end: u16,
    },
    /// GRE (RFC 2784 and 2890).
    Gre(Gre),
    /// GTP (3GPP TS 29.281).
    Gtp(u16),
    /// None: IP directly in IP (RFC 2003 and 2473).
    IpInIp,
}

/// A GRE header: where it and its optional fields begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gre {
    /// The first word.
    pub at: u16,
    /// Checksum and what is reserved behind it.
    pub checksum: Option<u16>,
    /// Key.
    pub key: Option<u16>,
    /// Sequence number.
    pub sequence: Option<u16>,
    /// Whether it is NVGRE's (RFC 7637): a key, nothing else, and Ethernet inside.
    pub is_nvgre: bool,
}

/// Where the packet inside begins, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carried {
    /// With an Ethernet header.
    Ethernet(usize),
    /// With an IP header of this `EtherType`.
    Ip(u16, usize),
}

/// The UDP port of VXLAN-GPE.
const VXLAN_GPE_PORT: u16 = 4790;
/// The UDP port of GENEVE.
const GENEVE_PORT: u16 = 6081;
/// The UDP port of GTP's user plane.
const GTP_PORT: u16 = 2152;
/// The protocol number of GRE.
const GRE: u8 = 47;
/// The protocol numbers of IPv4 and IPv6 inside IP.
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
/// The `EtherType` of "transparent Ethernet bridging": Ethernet inside a tunnel.
const BRIDGED: u16 = 0x6558;

/// The tunnel that an outer stack leads to.
pub(super) fn find(frame: &[u8], outer: &Layer) -> Option<(Tunnel, Option<Carried>)> {
    let inside = |ether_type, at: u16| {
        Some((Tunnel::IpInIp, Some(Carried::Ip(ether_type, usize::from(at)))))
    };
    match (outer.transport, outer.carried) {
        (Some((Transport::Udp, udp)), _) => {
            let udp = usize::from(udp);
            let place = u16::try_from(udp + 8).ok()?;
            let at = udp + 8;
            let header = || frame.get(at..at + 8);
            match bytes::u16(frame, udp + 2)? {
                vxlan::PORT => {
                    header().map(|_| (Tunnel::Vxlan(place), Some(Carried::Ethernet(at + 8))))
                }
                VXLAN_GPE_PORT => {
                    header().map(|header| (Tunnel::VxlanGpe(place), vxlan_gpe(header, at + 8)))
                }
                GENEVE_PORT => geneve(header()?, place),
                GTP_PORT => header().map(|_| (Tunnel::Gtp(place), gtp(frame, at))),
                _ => None,
            }
        }
        (None, Some((GRE, at))) => gre(frame, at),
        (None, Some((IPV4_IN_IP, at))) => inside(ethernet::IPV4, at),
        (None, Some((IPV6_IN_IP, at))) => inside(ethernet::IPV6, at),
        _ => None,
    }
}

fn by_type(ether_type: u16, at: usize) -> Option<Carried> {
    match ether_type {
        BRIDGED => Some(Carried::Ethernet(at)),
        ethernet::IPV4 | ethernet::IPV6 => Some(Carried::Ip(ether_type, at)),
        _ => None,
    }
}

fn vxlan_gpe(header: &[u8], at: usize) -> Option<Carried> {
    /// The flag that says that the protocol is given.
    const PROTOCOL: u8 = 0x04;
    let (flags, protocol) = (header.first()?, header.get(3)?);
    if flags & PROTOCOL == 0 {
        return Some(Carried::Ethernet(at));
    }
    match protocol {
        1 => Some(Carried::Ip(ethernet::IPV4, at)),
        2 => Some(Carried::Ip(ethernet::IPV6, at)),
        3 => Some(Carried::Ethernet(at)),
        _ => None,
    }
}

fn geneve(header: &[u8], at: u16) -> Option<(Tunnel, Option<Carried>)> {
    let first = header.first()?;
    if first >> 6 != 0 {
        return None;
    }
    let end = at.checked_add(8 + u16::from(first & 0x3f) * 4)?;
    Some((Tunnel::Geneve { at, end }, by_type(bytes::u16(header, 2)?, end.into())))
}

/// Where an option of GENEVE begins, whole: the first of its type and, where it is given, class.
pub fn geneve_option(
    frame: &[u8],
    tunnel: Option<Tunnel>,
    class: Option<u16>,
    kind: u8,
) -> Option<usize> {
    let Some(Tunnel::Geneve { at, end }) = tunnel else { return None };
    let (at, end) = (usize::from(at), usize::from(end));
    let options = frame.get(..end)?;
    let mut place = at + 8;
    while let Some([high, low, found, length]) =
        options.get(place..).and_then(|rest| rest.first_chunk())
    {
        let next = place + 4 + usize::from(length & 0x1f) * 4;
        let is_class = class.is_none_or(|class| u16::from_be_bytes([*high, *low]) == class);
        if is_class && *found == kind {
            return (next <= end).then_some(place);
        }
        place = next;
    }
    None
}

fn gre(frame: &[u8], place: u16) -> Option<(Tunnel, Option<Carried>)> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    let at = usize::from(place);
    let (flags, ether_type) = (bytes::u16(frame, at)?, bytes::u16(frame, at + 2)?);
    let mut next = at + 4;
    let mut field = |flag: u16| {
        if flags & flag == 0 {
            return None;
        }
        let field = next;
        next += 4;
        u16::try_from(field).ok().filter(|_| frame.len() >= next)
    };
    let (checksum, key, sequence) = (field(CHECKSUM), field(KEY), field(SEQUENCE));
    let is_nvgre = flags & (CHECKSUM | ROUTING | KEY | SEQUENCE | VERSION) == KEY
        && key.is_some()
        && ether_type == BRIDGED;
    let gre = Gre { at: place, checksum, key, sequence, is_nvgre };
    // Source routes, and PPTP's version, are not followed.
    let carried = (flags & (ROUTING | VERSION) == 0).then(|| by_type(ether_type, next)).flatten();
    Some((Tunnel::Gre(gre), carried))
}

/// The most extension headers of GTP the parser walks.
const GTP_EXTENSIONS_WALKED: usize = 4;

fn gtp(frame: &[u8], at: usize) -> Option<Carried> {
    /// Version 1, protocol type GTP.
    const VERSION_1: u8 = 0x30;
    /// Extension header, sequence number, N-PDU number: any of them makes the header longer.
    const LONGER: u8 = 0x07;
    const EXTENSION: u8 = 0x04;
    /// The message that carries a user's packet.
    const USER_PACKET: u8 = 255;
    let (flags, message) = (*frame.get(at)?, *frame.get(at + 1)?);
    if flags & 0xf0 != VERSION_1 || message != USER_PACKET {
        return None;
    }
    let mut place = at + 8;
    if flags & LONGER != 0 {
        let mut next = if flags & EXTENSION != 0 { *frame.get(at + 11)? } else { 0 };
        place += 4;
        for _ in 0..GTP_EXTENSIONS_WALKED {
            if next == 0 {
                break;
            }
            let units = usize::from(*frame.get(place)?).max(1);
            place += units * 4;
            next = *frame.get(place - 1)?;
        }
        if next != 0 {
            return None;
        }
    }
    match frame.get(place)? >> 4 {
        4 => Some(Carried::Ip(ethernet::IPV4, place)),
        6 => Some(Carried::Ip(ethernet::IPV6, place)),
        _ => None,
    }
}
