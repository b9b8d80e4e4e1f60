//! The modify-header engine: new bits into header fields and registers, with the checksums that depend on them.

use packet::Frame;
use packet::checksum::Delta;
use rte_flow::{Color, ModifyOperation};

use super::headers::{Depth, Gre, Headers, Layer, Transport, Tunnel};
use super::subject::{Block, Subject};

/// A number inside a block: `bits` bits that end `shift` bits before the end of the block's `bytes` bytes from `offset` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The header or register. Only those that can be written: not origin, integrity and derived ones.
    pub block: Block,
    /// First byte in the block.
    pub offset: u8,
    /// How many bytes hold it, 1..=16.
    pub bytes: u8,
    /// How many low bits of these bytes lie below it.
    pub shift: u8,
}

/// Some bits of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bits {
    /// The whole field: alternatives of which the packet has at most one (TCP and UDP ports, TTL and hop limit).
    pub places: [Option<Place>; 2],
    /// How many of the field's lowest bits to skip.
    pub offset: u8,
    /// How many bits, 1..=128.
    pub width: u8,
}

impl Bits {
    fn mask(&self) -> u128 {
        u128::MAX.checked_shr(128_u32.saturating_sub(self.width.into())).unwrap_or(0)
    }

    fn shift(&self, place: &Place) -> u32 {
        u32::from(place.shift) + u32::from(self.offset)
    }
}

/// Where new bits come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// These, in the low bits of a number in network byte order: bytes, because rules keep it and it need not be aligned.
    Immediate([u8; 16]),
    /// Those of another field.
    Field(Bits),
}

/// One command of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// What to do with destination and source.
    pub operation: ModifyOperation,
    /// What changes.
    pub destination: Bits,
    /// By what.
    pub source: Source,
}

impl Rewrite {
    /// Runs the command. A field that the packet does not have is left alone, as is the destination of a copy from one.
    pub fn run(&self, subject: &mut Subject, frame: &mut Frame<'_>) {
        let source = match &self.source {
            Source::Immediate(number) => u128::from_be_bytes(*number),
            Source::Field(bits) => match read(bits, subject, frame.bytes()) {
                Some((place, number)) => number >> bits.shift(&place),
                None => return,
            },
        };
        let Some((place, old)) = read(&self.destination, subject, frame.bytes()) else { return };
        let (mask, shift) = (self.destination.mask(), self.destination.shift(&place));
        let before = (old >> shift) & mask;
        let after = match self.operation {
            ModifyOperation::Set => source,
            ModifyOperation::Add => before.wrapping_add(source),
            ModifyOperation::Sub => before.wrapping_sub(source),
        } & mask;
        let new = (old & !(mask << shift)) | (after << shift);
        write(&place, old, new, subject, frame);
    }
}

fn read(bits: &Bits, subject: &mut Subject, frame: &[u8]) -> Option<(Place, u128)> {
    bits.places.iter().flatten().find_map(|place| {
        let (offset, bytes) = (place.offset.into(), place.bytes.into());
        subject.number(frame, place.block, offset, bytes).map(|number| (*place, number))
    })
}

fn write(place: &Place, old: u128, new: u128, subject: &mut Subject, frame: &mut Frame<'_>) {
    let registers = &mut subject.registers;
    match place.block {
        Block::Mark => registers.mark = Some(new as u32),
        Block::Meta => registers.meta = Some(new as u32),
        // A number that is no colour is as bad as the worst.
        Block::Color => {
            registers.color = Some(Color::from_number(new as u32).unwrap_or(Color::Red));
        }
        Block::Tag(index) => {
            if let Some(tag) = registers.tags.get_mut(usize::from(index)) {
                *tag = new as u32;
            }
        }
        _ => {
            let (Some(depth), Some(at)) = (place.block.depth(), subject.offset(place.block)) else {
                return;
            };
            let (to, length) = (at + usize::from(place.offset), usize::from(place.bytes));
            if let Some(out) = frame.bytes_mut().get_mut(to..to + length) {
                let bytes = new.to_be_bytes();
                out.copy_from_slice(bytes.get(16 - length.min(16)..).unwrap_or_default());
                let frame = frame.bytes_mut();
                if let Some(layer) = subject.headers.layer(depth) {
                    let inside = fix_checksums(place, layer, (old, new), frame);
                    if depth == Depth::Inner {
                        fix_tunnel(&subject.headers, inside, frame);
                    }
                }
                subject.rewritten();
            }
        }
    }
}

/// Brings the IPv4 header's and the transport's checksum up to date by the difference (RFC 1624), so that one that was wrong
/// stays wrong. Without a transport header (fragments) only the former, as the card does not find the latter. Returns by how
/// much the headers' words changed together.
fn fix_checksums(
    place: &Place,
    layer: &Layer,
    (old, new): (u128, u128),
    frame: &mut [u8],
) -> Delta {
    // All headers begin at even offsets of what is summed, so a field that ends at an odd one ends inside a word.
    let odd = 8 * ((u32::from(place.offset) + u32::from(place.bytes)) % 2);
    let (old, new) = (old << odd, new << odd);
    let delta = (0..8).fold(Delta::NONE, |delta, word| {
        delta.u16((old >> (16 * word)) as u16, (new >> (16 * word)) as u16)
    });
    let (network, in_pseudo_header, in_transport) = match place.block {
        Block::Ipv4(_) => (true, place.offset >= 12, false),
        Block::Ipv6(_) => (false, place.offset >= 8, false),
        Block::Tcp(_)
        | Block::Udp(_)
        | Block::Icmp(_)
        | Block::Icmp6(_)
        | Block::Vxlan
        | Block::Geneve
        | Block::Gtp => (false, false, true),
        _ => (false, false, false),
    };
    let mut all = delta;
    if let (true, Some((_, at))) = (network, layer.network) {
        all = update(frame, at, 10, all, |sum| delta.apply(sum));
    }
    let Some((transport, at)) = layer.transport else { return all };
    // ICMP alone has no pseudo-header.
    if !in_transport && (!in_pseudo_header || transport == Transport::Icmp) {
        return all;
    }
    match transport {
        Transport::Tcp => update(frame, at, 16, all, |sum| delta.apply(sum)),
        Transport::Udp => update(frame, at, 6, all, |sum| delta.apply_udp(sum)),
        Transport::Icmp | Transport::Icmp6 => update(frame, at, 2, all, |sum| delta.apply(sum)),
        // Their checks do not cover the network header.
        Transport::Sctp | Transport::Esp => all,
    }
}

/// Brings a tunnel's own checksum up to date after a change of what it carries.
fn fix_tunnel(headers: &Headers, inside: Delta, frame: &mut [u8]) {
    if let Some(Tunnel::Gre(Gre { checksum: Some(at), .. })) = headers.tunnel {
        update(frame, at, 0, Delta::NONE, |sum| inside.apply(sum));
    }
    if let Some((Transport::Udp, at)) = headers.outer.and_then(|outer| outer.transport) {
        update(frame, at, 6, Delta::NONE, |sum| inside.apply_udp(sum));
    }
}

/// Changes a header's checksum; returns `all` with that change.
fn update(
    frame: &mut [u8],
    header: u16,
    within: usize,
    all: Delta,
    change: impl FnOnce(u16) -> u16,
) -> Delta {
    match frame.get_mut(usize::from(header) + within..).and_then(|rest| rest.first_chunk_mut::<2>())
    {
        Some(field) => {
            let old = u16::from_be_bytes(*field);
            let new = change(old);
            *field = new.to_be_bytes();
            all.u16(old, new)
        }
        None => all,
    }
}
