//! ICMP errors belong to the connection of the packet they quote.

use model::decision::{Key, Zone};
use packet::wire::icmp::Echo;
use packet::{IpPacket, parse_quoted};

/// The key under which the connection is found that an ICMP error is about: the error travels as an answer to the
/// quoted packet would. `None` when it quotes nothing usable, or a packet that its receiver did not send.
pub(crate) fn key(zone: Zone, packet: &IpPacket, frame: &[u8]) -> Option<Key> {
    let start = usize::from(packet.transport_offset).checked_add(Echo::LENGTH)?;
    let quoted = parse_quoted(frame.get(start..usize::from(packet.end))?)?;
    (quoted.tuple.source() == packet.tuple.destination())
        .then(|| Key { zone, tuple: quoted.tuple.reversed() })
}
