//! Frames to send through rules: a header for each item of a pattern.

use rte_flow::ItemKind;

/// A header by its item: the EtherType, IP protocol and UDP port that lead to it, and its bytes, none of whose fields is 0.
struct Header {
    kind: ItemKind,
    ether_type: u16,
    protocol: u8,
    port: u16,
    bytes: &'static [u8],
}

const fn header(
    kind: ItemKind,
    (ether_type, protocol, port): (u16, u8, u16),
    bytes: &'static [u8],
) -> Header {
    Header { kind, ether_type, protocol, port, bytes }
}

const HEADERS: &[Header] = &[
    header(ItemKind::Eth, (0x6558, 0, 0), &[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0xff, 0xff]),
    header(ItemKind::Vlan, (0x8100, 0, 0), &[0x20, 5, 0xff, 0xff]),
    header(
        ItemKind::ArpEthIpv4,
        (0x0806, 0, 0),
        &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 8, 10, 0, 0, 8, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9],
    ),
    // Its "don't fragment" makes the fragment field something else than 0.
    header(
        ItemKind::Ipv4,
        (0x0800, 4, 0),
        &[0x45, 4, 0, 0, 0, 7, 0x40, 0, 64, 0xff, 1, 1, 10, 0, 0, 8, 10, 0, 0, 9],
    ),
    header(
        ItemKind::Ipv6,
        (0x86dd, 41, 0),
        &[
            0x60, 0x10, 0, 5, 0, 0, 0xff, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8,
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
        ],
    ),
    header(ItemKind::Ipv6FragExt, (0, 44, 0), &[59, 1, 0, 9, 0, 0, 0, 7]),
    header(
        ItemKind::Tcp,
        (0, 6, 0),
        &[4, 1, 4, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0x50, 0x10, 1, 0, 1, 1, 0, 1],
    ),
    header(ItemKind::Udp, (0, 17, 0), &[0xc0, 1, 4, 2, 0, 0, 1, 1]),
    header(ItemKind::Sctp, (0, 132, 0), &[4, 1, 4, 2, 0, 0, 0, 3, 1, 1, 1, 1]),
    header(ItemKind::Icmp, (0, 1, 0), &[3, 1, 1, 1, 0, 5, 0, 6]),
    header(ItemKind::Icmp6, (0, 58, 0), &[3, 1, 1, 1, 0, 0, 0, 6]),
    header(ItemKind::Esp, (0, 50, 0), &[0, 0, 0, 5, 0, 0, 0, 6]),
    header(ItemKind::Vxlan, (0, 0, 4789), &[0x08, 1, 1, 1, 0, 0, 5, 1]),
    header(ItemKind::VxlanGpe, (0, 0, 4790), &[0x0c, 1, 1, 3, 0, 0, 5, 1]),
    // With two options of one word each.
    header(
        ItemKind::Geneve,
        (0, 0, 6081),
        &[
            4, 0x40, 0x65, 0x58, 0, 0, 5, 1, 0, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0, 2, 1, 1, 0, 0,
            0, 1,
        ],
    ),
    // With checksum, key and sequence number.
    header(ItemKind::Gre, (0, 47, 0), &[0xb0, 0, 0x65, 0x58, 1, 1, 1, 1, 0, 0, 0, 5, 0, 0, 0, 6]),
    header(ItemKind::Nvgre, (0, 47, 0), &[0x20, 0, 0x65, 0x58, 0, 0, 5, 1]),
    header(ItemKind::Gtp, (0, 0, 2152), &[0x30, 0xff, 0, 8, 0, 0, 0, 5]),
];

fn of(kind: ItemKind) -> Option<&'static Header> {
    HEADERS.iter().find(|header| header.kind == kind)
}

/// A frame whose headers are those of these items; `None` for items that no header stands for.
pub fn frame(kinds: &[ItemKind]) -> Option<Vec<u8>> {
    /// What follows the last header: it belongs to no protocol.
    const PAYLOAD: [u8; 64] = [0xff; 64];
    let mut frame = PAYLOAD.to_vec();
    let mut next: Option<&Header> = None;
    for kind in kinds.iter().rev() {
        // Items about what another header carries.
        if matches!(kind, ItemKind::GreKey | ItemKind::GreOption | ItemKind::GeneveOpt) {
            continue;
        }
        let header = of(*kind)?;
        let mut bytes = header.bytes.to_vec();
        let length = (bytes.len() + frame.len()) as u16;
        let mut put = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        match kind {
            ItemKind::Ipv4 => put(2, &length.to_be_bytes()),
            ItemKind::Ipv6 => put(4, &(length - 40).to_be_bytes()),
            ItemKind::Udp => put(4, &length.to_be_bytes()),
            _ => {}
        }
        if let Some(next) = next {
            match kind {
                ItemKind::Eth => put(12, &next.ether_type.to_be_bytes()),
                ItemKind::Vlan => put(2, &next.ether_type.to_be_bytes()),
                ItemKind::Ipv4 => put(9, &[next.protocol]),
                ItemKind::Ipv6 => put(6, &[next.protocol]),
                ItemKind::Ipv6FragExt => put(0, &[next.protocol]),
                ItemKind::Udp => put(2, &next.port.to_be_bytes()),
                _ => {}
            }
        }
        bytes.extend(frame);
        frame = bytes;
        next = Some(header);
    }
    Some(frame)
}

/// A frame in which an item, behind those before it, has no field that is 0.
pub fn frame_with(before: &[ItemKind], kind: ItemKind) -> Option<Vec<u8>> {
    let more: &[ItemKind] = match kind {
        ItemKind::Eth => &[ItemKind::Vlan, ItemKind::Vlan, ItemKind::Ipv4],
        ItemKind::Vlan => &[ItemKind::Vlan, ItemKind::Ipv4],
        ItemKind::Ipv6 => &[ItemKind::Ipv6FragExt],
        _ => &[],
    };
    frame(&[before, &[kind], more].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_their_items_say() {
        use packet::{Network, parse};
        let frame = frame(&[ItemKind::Eth, ItemKind::Ipv6, ItemKind::Udp]);
        let frame = frame.expect("all have headers");
        let parsed = parse(&frame).expect("a frame");
        assert!(matches!(parsed.network, Network::Ip(_)), "{parsed:?}");
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        assert_eq!(frame[20], 17);
        assert_eq!(super::frame(&[ItemKind::Eth, ItemKind::Meta]), None);
    }
}
