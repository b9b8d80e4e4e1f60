//! EVENTS: what happened, one JSON object a line.

use std::fmt::Display;
use std::net::IpAddr;

use dpu_app::datapath::effects::RemovalReason;
use dpu_app::datapath::{Port, Time};
use model::decision::DropReason;
use packet::Tuple;
use packet::wire::protocol;
use serde::{Serialize, Serializer};

/// Something that happened at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Virtual time, nanoseconds from the first packet.
    #[serde(rename = "time_ns", serialize_with = "nanoseconds")]
    pub time: Time,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A packet was dropped.
    Drop {
        /// Where it came from.
        #[serde(serialize_with = "text")]
        port: Port,
        /// Its place in IN.
        packet: usize,
        /// Why.
        #[serde(serialize_with = "text")]
        reason: DropReason,
    },
    /// A packet was sent on.
    Forward {
        /// Where it came from.
        #[serde(serialize_with = "text")]
        port: Port,
        /// Its place in IN.
        packet: usize,
        /// Where it left.
        #[serde(serialize_with = "text")]
        out: Port,
        /// Who carried it.
        path: Carrier,
    },
    /// A packet was answered: ARP, DHCP, too big, ...
    Reply {
        /// Where it came from, and the answer went.
        #[serde(serialize_with = "text")]
        port: Port,
        /// Its place in IN.
        packet: usize,
    },
    /// A connection was recorded.
    FlowCreated(Flow),
    /// The NIC carries a connection, as far as it is to be carried.
    FlowOffloaded(Flow),
    /// The NIC does not carry a connection, or not all of it.
    FlowNotOffloaded {
        /// Which.
        #[serde(flatten)]
        flow: Flow,
        /// Why.
        reason: &'static str,
    },
    /// A connection left.
    FlowRemoved {
        /// Which.
        #[serde(flatten)]
        flow: Flow,
        /// Why.
        #[serde(serialize_with = "text")]
        reason: RemovalReason,
    },
}

/// Who carried a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// The NIC.
    Hardware,
    /// The datapath.
    Software,
}

/// A connection, as its initiator sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Name of the interface at which it was first seen.
    pub interface: String,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the protocol's number.
    pub protocol: String,
    /// Who started it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// Its port; an echo's identifier; 0 where there are no ports.
    pub source_port: u16,
    /// The other side's port.
    pub destination_port: u16,
}

impl Flow {
    /// The connection that `tuple`, sent by its initiator, began at `interface`.
    #[must_use]
    pub fn new(interface: &str, tuple: &Tuple) -> Self {
        let (protocol, source_port, destination_port) = match tuple.protocol() {
            protocol::TCP => ("tcp".to_owned(), tuple.source_port(), tuple.destination_port()),
            protocol::UDP => ("udp".to_owned(), tuple.source_port(), tuple.destination_port()),
            // The tuple's second port is the message type.
            protocol::ICMP => ("icmp".to_owned(), tuple.source_port(), 0),
            protocol::ICMPV6 => ("icmpv6".to_owned(), tuple.source_port(), 0),
            other => (other.to_string(), 0, 0),
        };
        Self {
            interface: interface.to_owned(),
            protocol,
            source: tuple.source(),
            destination: tuple.destination(),
            source_port,
            destination_port,
        }
    }
}

/// The lines of an EVENTS file.
///
/// # Panics
/// Never: every event has a JSON form, and memory takes every byte.
#[must_use]
pub fn lines(events: &[Event]) -> Vec<u8> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event).expect("an event has a JSON form");
        text.push(b'\n');
    }
    text
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn nanoseconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.0)
}

fn text<S: Serializer>(name: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

#[cfg(test)]
mod tests {
    use model::snapshot::VfIndex;

    use super::*;

    fn line(kind: EventKind) -> String {
        String::from_utf8(lines(&[Event { time: Time(1_500), kind }])).unwrap()
    }

    #[test]
    fn keys_stand_in_the_documented_order() {
        let port = Port::Vf(VfIndex(0));
        assert_eq!(
            line(EventKind::Drop { port, packet: 3, reason: DropReason::NoRoute }),
            "{\"time_ns\":1500,\"event\":\"drop\",\"port\":\"vf0\",\"packet\":3,\"reason\":\"no_route\"}\n"
        );
        assert_eq!(
            line(EventKind::Forward {
                port,
                packet: 3,
                out: Port::Uplink,
                path: Carrier::Software
            }),
            "{\"time_ns\":1500,\"event\":\"forward\",\"port\":\"vf0\",\"packet\":3,\"out\":\"uplink\",\
             \"path\":\"software\"}\n"
        );
        assert_eq!(
            line(EventKind::Reply { port, packet: 3 }),
            "{\"time_ns\":1500,\"event\":\"reply\",\"port\":\"vf0\",\"packet\":3}\n"
        );
    }

    #[test]
    fn flows_show_what_their_initiator_sent() {
        let ip = |text: &str| text.parse().unwrap();
        let echo = Tuple::new(ip("fd00::1"), ip("fd00::2"), 58, 77, 128);
        assert_eq!(
            line(EventKind::FlowCreated(Flow::new("web", &echo))),
            "{\"time_ns\":1500,\"event\":\"flow_created\",\"interface\":\"web\",\"protocol\":\"icmpv6\",\
             \"source\":\"fd00::1\",\"destination\":\"fd00::2\",\"sourcePort\":77,\"destinationPort\":0}\n"
        );
        let gre = Tuple::new(ip("10.0.0.1"), ip("10.0.0.2"), 47, 0, 0);
        let kind = EventKind::FlowRemoved {
            flow: Flow::new("web", &gre),
            reason: RemovalReason::InterfaceRemoved,
        };
        assert_eq!(
            line(kind),
            "{\"time_ns\":1500,\"event\":\"flow_removed\",\"interface\":\"web\",\"protocol\":\"47\",\
             \"source\":\"10.0.0.1\",\"destination\":\"10.0.0.2\",\"sourcePort\":0,\"destinationPort\":0,\
             \"reason\":\"interface_removed\"}\n"
        );
    }
}
