//! Frames for tests.

use std::net::IpAddr;
use std::sync::Arc;

use model::intent::{Intent, Source};
use model::snapshot::{Interface, Snapshot};
use packet::{Frame, Mac, Network, Parsed, parse};

use super::compose::{Addresses, Envelope};

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

/// The intent in `test_intent.yaml`, as node `dpu1` sees it: VPC `red`, subnets `front` (both families) and `back`
/// (IPv4), interfaces `a`, `c` and `router` (which may spoof) here, `b` on another node.
pub fn snapshot() -> Snapshot {
    let source = Source { name: "test_intent.yaml", bytes: include_bytes!("test_intent.yaml") };
    let intent = Intent::parse(&[source]).unwrap_or_else(|errors| panic!("{errors:?}"));
    Snapshot::compile(&intent, "dpu1", None).unwrap()
}

/// An interface of [`snapshot`].
pub fn interface(snapshot: &Snapshot, name: &str) -> Arc<Interface> {
    snapshot.interfaces.values().find(|interface| interface.name == name).unwrap().clone()
}

/// An envelope from `mac` to everybody, as VMs send them.
pub fn envelope(mac: Mac, source: &str, destination: &str, hop_limit: u8) -> Envelope {
    let addresses = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Addresses::V4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Addresses::V6(source, destination),
        _ => panic!("two families"),
    };
    Envelope { source_mac: mac, destination_mac: Mac::BROADCAST, addresses, hop_limit }
}

/// A UDP frame.
pub fn udp(envelope: &Envelope, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    written(|frame| envelope.udp(frame, ports, data.len(), |writer| writer.put(data)).unwrap())
}

/// An ICMP or ICMPv6 frame; `message` has a zero checksum.
pub fn icmp(envelope: &Envelope, message: &[u8]) -> Vec<u8> {
    written(|frame| envelope.icmp(frame, message.len(), |writer| writer.put(message)).unwrap())
}
