//! Frames that several rooms' tests need.

use packet::checksum::Sum;
use packet::wire::protocol;
use packet::{Mac, Tuple};

/// UDP 10.0.0.`source`:12345 to 10.0.0.2:53 with the payload "ping", all checksums right.
pub fn udp_frame(source: u8) -> Vec<u8> {
    let (from, to) = ([10, 0, 0, source], [10, 0, 0, 2]);
    let mut frame = [Mac([2, 0, 0, 0, 0, 2]).0, Mac([2, 0, 0, 0, 0, 1]).0].concat();
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, protocol::UDP, 0, 0]);
    frame.extend(from.into_iter().chain(to));
    let sum = Sum::ZERO.bytes(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0x30, 0x39, 0, 53, 0, 12, 0, 0]);
    frame.extend(b"ping");
    let tuple = Tuple::v4(from, to, protocol::UDP, 12345, 53);
    let sum = Sum::ZERO.pseudo_header(&tuple, 12).bytes(&frame[34..]).udp_checksum();
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    frame
}
