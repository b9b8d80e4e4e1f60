//! The IPv6 header and the extension headers after it.

use zerocopy::FromBytes;

use super::{Extent, Ip, fragment};
use crate::wire::ipv6::{Extension, FragmentHeader, Ipv6, options_are_valid};
use crate::wire::protocol;
use crate::{Fragment, Tuple};

/// More extension headers than this make a packet malformed: no honest sender needs them, and walking costs time.
const EXTENSION_LIMIT: usize = 8;

/// Shortest authentication header (RFC 4302): without any integrity value.
const AUTHENTICATION_MIN: usize = 12;

/// Reads the headers at the start of `packet`; `None` when they are malformed.
pub(super) fn parse(packet: &[u8], extent: Extent) -> Option<Ip> {
    let (header, _) = Ipv6::ref_from_prefix(packet).ok()?;
    if header.version() != 6 {
        return None;
    }
    let claimed = usize::from(header.payload_length.get()).checked_add(Ipv6::LENGTH)?;
    let end = extent.end(claimed, packet.len())?;
    let chain = Chain::walk(packet.get(..end)?, header.next_header, claimed)?;
    Some(Ip {
        tuple: Tuple::v6(header.source, header.destination, chain.next_header, 0, 0),
        fragment: chain.fragment,
        transport: chain.offset,
        end,
        ttl: header.hop_limit,
        ecn: header.ecn(),
        plain: chain.offset == Ipv6::LENGTH,
        dont_fragment: false,
    })
}

/// Where a walk over extension headers stands.
struct Chain {
    next_header: u8,
    offset: usize,
    fragment: Fragment,
}

impl Chain {
    /// Walks from the fixed header to the transport header, or to the payload of a later fragment. `claimed` is where
    /// the packet says it ends, `packet` what is there of it.
    fn walk(packet: &[u8], next_header: u8, claimed: usize) -> Option<Self> {
        let mut chain = Self { next_header, offset: Ipv6::LENGTH, fragment: Fragment::None };
        let mut fragment_seen = false;
        for count in 0..=EXTENSION_LIMIT {
            let rest = packet.get(chain.offset..)?;
            let length = match chain.next_header {
                protocol::FRAGMENT => {
                    // A fragment of a fragment has no meaning (RFC 8200, section 4.1).
                    if fragment_seen {
                        return None;
                    }
                    fragment_seen = true;
                    chain.fragment(rest, claimed)?
                }
                protocol::HOP_BY_HOP if count > 0 => return None,
                protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => {
                    let length = chain.extension(rest, Extension::total_length)?;
                    if !options_are_valid(rest.get(size_of::<Extension>()..length)?) {
                        return None;
                    }
                    length
                }
                protocol::ROUTING | protocol::MOBILITY | protocol::HIP | protocol::SHIM6 => {
                    chain.extension(rest, Extension::total_length)?
                }
                protocol::AUTHENTICATION => {
                    let length = chain.extension(rest, Extension::authentication_length)?;
                    (length >= AUTHENTICATION_MIN).then_some(length)?
                }
                _ => return Some(chain),
            };
            if count == EXTENSION_LIMIT {
                return None;
            }
            chain.offset = chain.offset.checked_add(length)?;
            if let Fragment::Later(_) = chain.fragment {
                return Some(chain);
            }
        }
        None
    }

    fn extension(&mut self, rest: &[u8], length: fn(&Extension) -> usize) -> Option<usize> {
        let (header, _) = Extension::ref_from_prefix(rest).ok()?;
        let length = length(header);
        self.next_header = header.next_header;
        (length <= rest.len()).then_some(length)
    }

    fn fragment(&mut self, rest: &[u8], claimed: usize) -> Option<usize> {
        let (header, _) = FragmentHeader::ref_from_prefix(rest).ok()?;
        let payload = self.offset.checked_add(FragmentHeader::LENGTH)?;
        // The reassembled payload length counts the extension headers before this one (RFC 8200, section 4.5).
        let unfragmentable = self.offset.checked_sub(Ipv6::LENGTH)?;
        self.fragment = fragment(
            header.offset(),
            header.more_fragments(),
            header.identification.get(),
            claimed.checked_sub(payload)?,
            unfragmentable,
            header.next_header,
        )?;
        self.next_header = header.next_header;
        Some(FragmentHeader::LENGTH)
    }
}
