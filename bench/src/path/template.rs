//! Frames that differ in one port only: made once, then cheap to make by the million.

use miette::{Result, miette};

use super::addresses::{Host, SERVICE, VNI, VTEP, VTEP_MAC, vtep, vtep_mac};

/// Bytes of the headers around a tunnelled frame.
const TUNNEL: usize = 50;

/// The family of the inner packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

/// What the inner packets carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A datagram; the whole inner frame has at least this many bytes.
    Udp { frame: usize },
    /// A segment with these flags, as letters.
    Tcp { flags: &'static str },
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the one who began, whose port varies, to the service.
    Forward,
    /// Back.
    Reverse,
}

/// A frame in which one port can be set.
pub struct Template {
    bytes: Vec<u8>,
    /// Where the port stands that varies.
    port: usize,
    checksum: usize,
}

impl Template {
    /// The frame from one host to another, as the sender's VM sends it.
    pub fn plain(
        from: Host,
        to: Host,
        family: Family,
        payload: Payload,
        direction: Direction,
    ) -> Result<Self> {
        let text = inner(from, to, family, payload, direction);
        Self::new(&text, 0, family, payload, direction)
    }

    /// The same frame as it comes out of the tunnel from the sender's node.
    pub fn tunnelled(
        from: Host,
        to: Host,
        family: Family,
        payload: Payload,
        direction: Direction,
    ) -> Result<Self> {
        let text = format!(
            "eth(dst={VTEP_MAC}, src={})/ipv4(src={}, dst={VTEP}, df)/udp(sport=50000, dport=4789, checksum=0)/vxlan(vni={VNI})/{}",
            vtep_mac(from.node()),
            vtep(from.node()),
            inner(from, to, family, payload, direction)
        );
        Self::new(&text, TUNNEL, family, payload, direction)
    }

    fn new(
        text: &str,
        inner: usize,
        family: Family,
        payload: Payload,
        direction: Direction,
    ) -> Result<Self> {
        let bytes = testbed::notation::packet(text).map_err(|error| miette!("{text}: {error}"))?;
        let transport = inner
            + match family {
                Family::V4 => 14 + 20,
                Family::V6 => 14 + 40,
            };
        let port = match direction {
            Direction::Forward => transport,
            Direction::Reverse => transport + 2,
        };
        let checksum = match payload {
            Payload::Udp { .. } => transport + 6,
            Payload::Tcp { .. } => transport + 16,
        };
        Ok(Self { bytes, port, checksum })
    }

    /// The frame with a port (RFC 1624 for the checksum).
    pub fn with_port(&mut self, port: u16) -> &[u8] {
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (old, checksum) = (word(&self.bytes, self.port), word(&self.bytes, self.checksum));
        let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(port);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        let checksum = match !(sum as u16) {
            // Of UDP's, 0 says that there is none.
            0 => 0xffff,
            checksum => checksum,
        };
        self.bytes[self.port..self.port + 2].copy_from_slice(&port.to_be_bytes());
        self.bytes[self.checksum..self.checksum + 2].copy_from_slice(&checksum.to_be_bytes());
        &self.bytes
    }
}

fn inner(from: Host, to: Host, family: Family, payload: Payload, direction: Direction) -> String {
    let ip = match family {
        Family::V4 => format!("ipv4(src={}, dst={}, df)", from.ipv4(), to.ipv4()),
        Family::V6 => format!("ipv6(src={}, dst={})", from.ipv6(), to.ipv6()),
    };
    let ports = match direction {
        Direction::Forward => format!("sport=1, dport={SERVICE}"),
        Direction::Reverse => format!("sport={SERVICE}, dport=1"),
    };
    let headers = match family {
        Family::V4 => 14 + 20,
        Family::V6 => 14 + 40,
    };
    let payload = match payload {
        Payload::Udp { frame } => {
            format!("udp({ports})/zeros({})", frame.saturating_sub(headers + 8))
        }
        Payload::Tcp { flags } => format!("tcp({ports}, flags={flags})"),
    };
    format!("eth(dst={}, src={})/{ip}/{payload}", to.mac(), from.mac())
}

#[cfg(test)]
mod tests {
    use super::super::addresses::LOCAL;
    use super::*;

    #[test]
    fn a_frame_with_another_port_is_the_frame_of_that_port() {
        let far = Host::far(200);
        for family in [Family::V4, Family::V6] {
            for payload in [Payload::Udp { frame: 60 }, Payload::Tcp { flags: "SA" }] {
                for port in [1, 80, 1024, 65535] {
                    let direction = Direction::Forward;
                    let mut template =
                        Template::plain(LOCAL[0], far, family, payload, direction).unwrap();
                    let text = inner(LOCAL[0], far, family, payload, direction);
                    let text = text.replace("sport=1,", &format!("sport={port},"));
                    // From port to port, as it is used.
                    template.with_port(4711);
                    assert_eq!(template.with_port(port), testbed::notation::packet(&text).unwrap());
                    let direction = Direction::Reverse;
                    let mut template =
                        Template::tunnelled(far, LOCAL[0], family, payload, direction).unwrap();
                    let text = inner(far, LOCAL[0], family, payload, direction);
                    let text = text.replace("dport=1", &format!("dport={port}"));
                    assert_eq!(
                        &template.with_port(port)[TUNNEL..],
                        testbed::notation::packet(&text).unwrap()
                    );
                }
            }
        }
    }
}
