//! The IPv4 header with its options.

use zerocopy::{FromBytes, IntoBytes};

use super::{Extent, Ip, fragment};
use crate::Tuple;
use crate::checksum::Sum;
use crate::wire::ipv4::{Ipv4, options_are_valid};

/// Reads the header at the start of `packet`; `None` when it is malformed.
#[inline(always)]
pub(super) fn parse(packet: &[u8], extent: Extent) -> Option<Ip> {
    let (header, _) = Ipv4::ref_from_prefix(packet).ok()?;
    let header_length = header.header_length();
    let total = usize::from(header.total_length.get());
    if header.version() != 4 || header_length < Ipv4::LENGTH || total < header_length {
        return None;
    }
    let end = extent.end(total, packet.len())?;
    let options = packet.get(Ipv4::LENGTH..header_length)?;
    // Nearly every header has its fixed part only, whose length the compiler knows.
    let mut sum = Sum::ZERO.bytes(header.as_bytes());
    let plain = options.is_empty();
    if !plain {
        sum = sum.bytes(options);
        if !options_are_valid(options) {
            return None;
        }
    }
    if extent == Extent::Whole && !sum.is_valid() {
        return None;
    }
    Some(Ip {
        tuple: Tuple::v4(header.source, header.destination, header.protocol, 0, 0),
        fragment: fragment(
            header.fragment_offset(),
            header.more_fragments(),
            u32::from(header.identification.get()),
            total.checked_sub(header_length)?,
            header_length,
            header.protocol,
        )?,
        transport: header_length,
        end,
        ttl: header.ttl,
        ecn: header.ecn(),
        plain,
        dont_fragment: header.dont_fragment(),
    })
}
