//! Frames for tests.

use packet::{Frame, Network, Parsed, parse};

const HEADROOM: usize = 128;
const BUFFER: usize = 2304;

/// Runs `change` on a frame with these bytes in a buffer as the ports have them; what it returns, and the bytes after.
pub fn with_frame<R>(bytes: &[u8], change: impl FnOnce(&mut Frame) -> R) -> (R, Vec<u8>) {
    let mut buffer = [0xaa; BUFFER];
    let end = HEADROOM + bytes.len();
    buffer[HEADROOM..end].copy_from_slice(bytes);
    let mut frame = Frame::new(&mut buffer, HEADROOM, end).unwrap();
    let result = change(&mut frame);
    (result, frame.bytes().to_vec())
}

/// A frame that is written from nothing.
pub fn written<R>(write: impl FnOnce(&mut Frame) -> R) -> Vec<u8> {
    with_frame(&[], write).1
}

/// The parsed frame; panics when it is none.
pub fn parsed(bytes: &[u8]) -> Parsed {
    parse(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

/// The IP packet of a frame, whose transport checksum must be right, and its transport header and payload.
pub fn ip(bytes: &[u8]) -> (packet::IpPacket, &[u8]) {
    let Network::Ip(packet) = parsed(bytes).network else { panic!("not IP: {bytes:02x?}") };
    assert_eq!(usize::from(packet.end), bytes.len(), "padding");
    let payload = super::compose::verified(bytes, &packet).expect("transport checksum");
    (packet, payload)
}
