//! Traffic from nowhere: frames of many flows, built once and copied as fast as the port is polled; what is sent disappears.

use std::net::IpAddr;
use std::sync::Mutex;

use packet::checksum::Sum;
use packet::wire::ethernet::{Ethernet, IPV4, IPV6};
use packet::wire::ipv4::Ipv4;
use packet::wire::ipv6::Ipv6;
use packet::wire::protocol;
use packet::wire::udp::Udp;
use packet::{Frame, Network, Tuple, VxlanHeader, vxlan_source_port};
use zerocopy::IntoBytes;

use super::spec::GeneratorSpec;
use super::{Link, LinkError, Received, Sent};
use crate::batch::{Batch, MAX_FRAME};
use crate::lock;

/// The UDP port that all flows go to.
const DESTINATION_PORT: u16 = 9;
/// The source ports of flows are not below.
const LOWEST_SOURCE_PORT: u16 = 1024;
/// TTL and hop limit.
const TTL: u8 = 64;
/// Room before a frame for its tunnel.
const HEADROOM: usize = 128;

/// Bytes of a frame's headers, Ethernet to UDP, when it goes to or from such an address.
pub const fn header_length(address: IpAddr) -> usize {
    let network = if address.is_ipv4() { Ipv4::LENGTH } else { Ipv6::LENGTH };
    Ethernet::LENGTH + network + Udp::LENGTH
}

/// The frames of a generator, in the order in which they come. All that differs between them are the headers, which are kept
/// whole; the payload behind them is zeros.
pub struct Generator {
    /// The headers of all frames, one after the other, each `stride` bytes long.
    headers: Vec<u8>,
    stride: usize,
    /// The frames' lengths.
    lengths: Vec<u16>,
    /// Which frame comes next.
    next: Mutex<usize>,
}

impl Generator {
    /// Builds the frames.
    ///
    /// # Errors
    /// [`LinkError`] for a tunnel that no header can be made for.
    pub fn build(spec: &GeneratorSpec) -> Result<Self, LinkError> {
        let tunnel = spec.tunnel.as_ref().map(VxlanHeader::new).transpose();
        let tunnel = tunnel.map_err(|problem| LinkError::Tunnel(problem.to_string()))?;
        let stride = header_length(spec.source) + tunnel.as_ref().map_or(0, VxlanHeader::length);
        let mut random = Random(spec.seed);
        let flows = spec.flows as usize;
        let ports: Vec<u16> = (0..flows)
            .map(|_| {
                let range = u64::from(u16::MAX - LOWEST_SOURCE_PORT) + 1;
                LOWEST_SOURCE_PORT + random.below(range) as u16
            })
            .collect();
        let mut order: Vec<usize> = (0..flows).collect();
        for last in (1..flows).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        let mut headers = Vec::with_capacity(flows * stride);
        let mut lengths = Vec::with_capacity(flows);
        let mut buffer = vec![0; HEADROOM + MAX_FRAME];
        for flow in order {
            let size = spec.sizes.get(flow % spec.sizes.len().max(1)).copied().unwrap_or(0);
            let port = ports.get(flow).copied().unwrap_or(0);
            let Some(frame) = write_frame(&mut buffer, spec, tunnel.as_ref(), flow, port, size)
            else {
                return Err(LinkError::Tunnel("the frame and its tunnel are too long".to_owned()));
            };
            headers.extend_from_slice(frame.bytes().get(..stride).unwrap_or_default());
            lengths.push(frame.bytes().len() as u16);
        }
        Ok(Self { headers, stride, lengths, next: Mutex::new(0) })
    }
}

/// Writes the frame of `flow` with `size` bytes, and its tunnel in front of it; `None` when it does not fit.
fn write_frame<'a>(
    buffer: &'a mut [u8],
    spec: &GeneratorSpec,
    tunnel: Option<&VxlanHeader>,
    flow: usize,
    source_port: u16,
    size: u16,
) -> Option<Frame<'a>> {
    let end = HEADROOM + usize::from(size);
    buffer.get_mut(HEADROOM..end)?.fill(0);
    let source = address_after(spec.source, flow);
    let tuple = Tuple::new(source, spec.destination, protocol::UDP, source_port, DESTINATION_PORT);
    let after = |headers: usize| size.saturating_sub(headers as u16);
    let (ethertype, network) = match (source, spec.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4 {
                version_ihl: Ipv4::VERSION_IHL,
                traffic_class: 0,
                total_length: after(Ethernet::LENGTH).into(),
                identification: 0.into(),
                flags_offset: Ipv4::DONT_FRAGMENT.into(),
                ttl: TTL,
                protocol: protocol::UDP,
                checksum: 0.into(),
                source: source.octets(),
                destination: destination.octets(),
            };
            header.checksum = Sum::ZERO.bytes(header.as_bytes()).checksum().into();
            (IPV4, header.as_bytes().to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6 {
                version_class_label: Ipv6::version_class(0),
                payload_length: after(Ethernet::LENGTH + Ipv6::LENGTH).into(),
                next_header: protocol::UDP,
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
            };
            (IPV6, header.as_bytes().to_vec())
        }
        _ => return None,
    };
    let ethernet = Ethernet {
        destination: spec.destination_mac,
        source: spec.source_mac,
        ethertype: ethertype.into(),
    };
    let length = after(Ethernet::LENGTH + network.len());
    let mut udp = Udp {
        source_port: source_port.into(),
        destination_port: DESTINATION_PORT.into(),
        length: length.into(),
        checksum: 0.into(),
    };
    // The payload's zeros add nothing.
    let sum = Sum::ZERO.pseudo_header(&tuple, length.into()).bytes(udp.as_bytes());
    udp.checksum = sum.udp_checksum().into();
    let headers = [ethernet.as_bytes(), &network, udp.as_bytes()].concat();
    buffer.get_mut(HEADROOM..)?.get_mut(..headers.len())?.copy_from_slice(&headers);
    let mut frame = Frame::new(buffer, HEADROOM, end)?;
    if let Some(tunnel) = tunnel {
        let Ok(Network::Ip(inner)) = packet::parse(frame.bytes()).map(|parsed| parsed.network)
        else {
            return None;
        };
        tunnel.push(&mut frame, vxlan_source_port(&inner)).ok()?;
    }
    Some(frame)
}

/// The `count`-th address after `first`; after the last one comes the first of all.
fn address_after(first: IpAddr, count: usize) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4(first.to_bits().wrapping_add(count as u32).into()),
        IpAddr::V6(first) => IpAddr::V6(first.to_bits().wrapping_add(count as u128).into()),
    }
}

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small against 2^64.
    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}

impl Link for Generator {
    fn receive(&self, batch: &mut Batch) -> Received {
        let mut next = lock(&self.next);
        while let Some(room) = batch.next_room() {
            let at = *next * self.stride;
            let headers = self.headers.get(at..at + self.stride).unwrap_or_default();
            let length = usize::from(self.lengths.get(*next).copied().unwrap_or(0));
            let Some((to, payload)) = room.split_at_mut_checked(headers.len()) else { break };
            to.copy_from_slice(headers);
            payload.get_mut(..length.saturating_sub(headers.len())).unwrap_or_default().fill(0);
            batch.commit(length);
            *next += 1;
            if *next == self.lengths.len() {
                *next = 0;
            }
        }
        Received::default()
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        frames.iter().copied().collect()
    }

    fn is_up(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use packet::parse_vxlan;

    use super::*;
    use crate::batch::BURST;
    use crate::link::LinkSpec;

    fn generator(text: &str) -> Generator {
        let Ok(LinkSpec::Generator(spec)) = text.parse() else { panic!("{text}: no generator") };
        Generator::build(&spec).unwrap()
    }

    /// The next `count` frames.
    fn frames(generator: &Generator, count: usize) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        let mut frames = Vec::new();
        while frames.len() < count {
            batch.clear(BURST.min(count - frames.len()));
            assert_eq!(generator.receive(&mut batch), Received::default());
            frames.extend(batch.frames().iter().map(|slot| slot.bytes().to_vec()));
        }
        frames
    }

    fn tuple(frame: &[u8]) -> Tuple {
        match packet::parse(frame).map(|parsed| parsed.network) {
            Ok(Network::Ip(ip)) => ip.tuple,
            other => panic!("not IP: {other:?}"),
        }
    }

    /// Whether the UDP checksum of a frame without IP options is right.
    fn is_intact(frame: &[u8]) -> bool {
        let tuple = tuple(frame);
        let datagram = &frame[header_length(tuple.source()) - Udp::LENGTH..];
        Sum::ZERO.pseudo_header(&tuple, datagram.len() as u32).bytes(datagram).is_valid()
    }

    #[test]
    fn every_flow_comes_once_a_round() {
        let generator = generator("gen:[flows=100,size=[64,200]]");
        let round = frames(&generator, 100);
        let tuples: BTreeSet<_> = round.iter().map(|frame| tuple(frame).source()).collect();
        let expected: BTreeSet<IpAddr> = (1..=100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(tuples, expected);
        assert!(round.iter().all(|frame| is_intact(frame)));
        for frame in &round {
            let IpAddr::V4(source) = tuple(frame).source() else { panic!("not IPv4") };
            assert_eq!(frame.len(), if source.octets()[3] % 2 == 1 { 64 } else { 200 });
        }
        assert_eq!(frames(&generator, 100), round, "the next round is like the first");
    }

    #[test]
    fn the_seed_decides() {
        let [one, again, other] = ["7", "7", "8"]
            .map(|seed| frames(&generator(&format!("gen:[flows=50,seed={seed}]")), 50));
        assert_eq!(one, again);
        assert_ne!(one, other);
    }

    #[test]
    fn tunnels_of_both_families() {
        for (vteps, headers) in [("192.0.2.1 192.0.2.2", 50), ("2001:db8::1 2001:db8::2", 70)] {
            let (source, destination) = vteps.split_once(' ').unwrap();
            let generator = generator(&format!(
                "gen:[flows=3,size=100,source=2001:db8:1::,destination=2001:db8:2::,vni=77,source-vtep={source},\
                 destination-vtep={destination}]"
            ));
            for frame in frames(&generator, 3) {
                assert_eq!(frame.len(), 100 + headers);
                let outer = parse_vxlan(&frame).unwrap();
                let inner = &frame[outer.inner()];
                assert_eq!(tuple(inner).destination(), "2001:db8:2::".parse::<IpAddr>().unwrap());
                assert!(is_intact(inner));
            }
        }
    }
}
