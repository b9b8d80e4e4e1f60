//! The UDP source port of an encapsulated packet, by which the underlay spreads flows over its paths.
//!
//! This is the function that BlueField cards and their kin apply when they encapsulate, and that DPDK 24.03 and later
//! offer as `rte_flow_calc_encap_hash`: a flow keeps its path when it moves into hardware. A CRC-16 with generator
//! 0x100b (most significant bit first, no initial value, no final inversion) runs over 37 bytes: destination and source
//! address (16 bytes each; IPv4 in the last 4 of them after zeros), protocol, destination port, source port. Its 16 bits
//! are then forced into the dynamic ports from 0xc000 on.

use crate::parse::parse_here;
use crate::wire::protocol;
use crate::{Fragment, IpPacket, Network, Transport, Tuple};

const POLYNOMIAL: u16 = 0x100b;
const DYNAMIC_PORTS: u16 = 0xc000;

/// What each value of a byte at some place of the input adds to the CRC. The CRC is linear: all bytes' parts can be
/// looked up independently and combined by XOR, and zero bytes add nothing.
type Parts = [u16; 256];

struct Tables {
    destination: [Parts; 16],
    source: [Parts; 16],
    protocol: Parts,
    destination_port: [Parts; 2],
    source_port: [Parts; 2],
}

static TABLES: Tables = Tables {
    destination: parts::<16>(37),
    source: parts::<16>(21),
    protocol: parts::<1>(5)[0],
    destination_port: parts::<2>(4),
    source_port: parts::<2>(2),
};

/// Tables for `N` consecutive bytes of which the first has `shift` bytes from itself to the end of the input.
const fn parts<const N: usize>(shift: usize) -> [Parts; N] {
    let mut tables = [[0; 256]; N];
    let mut place = 0;
    while place < N {
        let mut value = 0;
        while value < 256 {
            // All 8 * shift steps, the byte entering at the top.
            let mut crc = (value as u16) << 8;
            let mut bit = 0;
            while bit < 8 * (shift - place) {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
                bit += 1;
            }
            tables[place][value] = crc;
            value += 1;
        }
        place += 1;
    }
    tables
}

/// The part of the bytes of a field; of an address shorter than 16 bytes, the last tables are the right ones.
fn part(tables: &[Parts], bytes: &[u8]) -> u16 {
    tables
        .iter()
        .rev()
        .zip(bytes.iter().rev())
        .fold(0, |crc, (table, byte)| crc ^ table[usize::from(*byte)])
}

/// The UDP source port, 49152..=65535, under which `inner` is encapsulated.
///
/// Only unfragmented TCP and UDP packets count with their ports; for all else the ports are 0. So all fragments of a
/// packet take one path, as do a ping's requests.
#[must_use]
#[inline]
pub fn vxlan_source_port(inner: &IpPacket) -> u16 {
    source_port(
        &inner.tuple,
        matches!(
            (inner.transport, inner.fragment),
            (Transport::Tcp(_) | Transport::Udp, Fragment::None)
        ),
    )
}

/// The same for the whole packets of a tuple.
#[must_use]
pub fn outer_source_port(tuple: &Tuple) -> u16 {
    source_port(tuple, matches!(tuple.protocol(), protocol::TCP | protocol::UDP))
}

fn source_port(tuple: &Tuple, with_ports: bool) -> u16 {
    let (source, destination) = tuple.address_bytes();
    let mut crc = part(&TABLES.destination, destination)
        ^ part(&TABLES.source, source)
        ^ TABLES.protocol[usize::from(tuple.protocol())];
    if with_ports {
        crc ^= part(&TABLES.destination_port, &tuple.destination_port().to_be_bytes())
            ^ part(&TABLES.source_port, &tuple.source_port().to_be_bytes());
    }
    DYNAMIC_PORTS | crc
}

/// [`vxlan_source_port`] of a frame; `None` when it is no IP packet that [`parse`](crate::parse()) takes.
#[must_use]
pub fn vxlan_source_port_of(frame: &[u8]) -> Option<u16> {
    match parse_here(frame).map(|parsed| parsed.network) {
        Ok(Network::Ip(inner)) => Some(vxlan_source_port(&inner)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Ecn, Family};

    /// Bit by bit over the 37 bytes in order.
    fn bitwise(input: &[u8]) -> u16 {
        let mut crc = 0_u16;
        for byte in input {
            for bit in (0..8).rev() {
                let carry = (crc >> 15) ^ u16::from(byte >> bit & 1);
                crc = (crc << 1) ^ (carry * 0x100b);
            }
        }
        crc
    }

    fn input(tuple: &Tuple, ports: bool) -> Vec<u8> {
        let (source, destination) = tuple.address_bytes();
        let zeros = vec![0; 16 - source.len()];
        let mut bytes = [&zeros, destination, &zeros, source, &[tuple.protocol()]].concat();
        for port in [tuple.destination_port(), tuple.source_port()] {
            bytes.extend(if ports { port.to_be_bytes() } else { [0, 0] });
        }
        bytes
    }

    fn packet(tuple: Tuple, transport: Transport, fragment: Fragment) -> IpPacket {
        IpPacket {
            tuple,
            transport,
            fragment,
            network_offset: 14,
            transport_offset: 34,
            end: 60,
            ttl: 64,
            ecn: Ecn::NotEct,
            plain: true,
            dont_fragment: false,
        }
    }

    /// Single bytes against the first, second and last entries of the table that the card's driver publishes.
    #[test]
    fn known_table_entries() {
        let last = &TABLES.source_port[1];
        for (byte, expected) in
            [(1, 0x100b), (2, 0x2016), (16, 0x10bb), (128, 0x85d8), (255, 0x0690)]
        {
            assert_eq!(last[byte], expected, "{byte}");
        }
    }

    #[test]
    fn known_packets() {
        let v4 = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6, 40_000, 443);
        let v6 = Tuple::v6([0x20; 16], [0xfd; 16], 17, 5353, 53);
        for tuple in [v4, v6] {
            let port = vxlan_source_port(&packet(tuple, Transport::Udp, Fragment::None));
            assert_eq!(port, 0xc000 | bitwise(&input(&tuple, true)));
        }
    }

    proptest! {
        #[test]
        fn same_as_bit_by_bit(
            source: [u8; 16], destination: [u8; 16], protocol: u8, ports: (u16, u16), v6: bool,
        ) {
            let (s4, d4) = (source.first_chunk().unwrap(), destination.first_chunk().unwrap());
            let tuple = if v6 {
                Tuple::v6(source, destination, protocol, ports.0, ports.1)
            } else {
                Tuple::v4(*s4, *d4, protocol, ports.0, ports.1)
            };
            prop_assert_eq!(tuple.family() == Family::V6, v6);
            let port = vxlan_source_port(&packet(tuple, Transport::Udp, Fragment::None));
            prop_assert_eq!(port, 0xc000 | bitwise(&input(&tuple, true)));
            let with_ports = matches!(tuple.protocol(), 6 | 17);
            prop_assert_eq!(
                outer_source_port(&tuple),
                0xc000 | bitwise(&input(&tuple, with_ports))
            );
            prop_assert!(port >= 49_152);
            for (transport, fragment) in [
                (Transport::Udp, Fragment::First(1)),
                (Transport::LaterFragment, Fragment::Later(1)),
                (Transport::Other, Fragment::None),
                (Transport::Icmp { kind: 8, code: 0 }, Fragment::None),
                (Transport::IcmpError { kind: 3, code: 0 }, Fragment::None),
            ] {
                let port = vxlan_source_port(&packet(tuple, transport, fragment));
                prop_assert_eq!(port, 0xc000 | bitwise(&input(&tuple, false)));
            }
        }
    }
}
