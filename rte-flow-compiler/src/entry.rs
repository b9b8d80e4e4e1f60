//! A rule before it is written in `rte_flow`: the table it goes into and the values of that table's fields.

use std::net::IpAddr;

use model::decision::Zone;
use model::snapshot::TunnelId;
use packet::{Family, Mac, Tuple, Vni, VtepAddr};

use crate::layout::{Field, Table, Verb};

/// An ethdev port number, as items and actions name ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EthdevPort(pub u16);

/// The transport protocols whose connections are offloaded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The transport of an IP protocol number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

/// Both Ethernet addresses a connection's packets leave with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Macs {
    /// Source.
    pub source: Mac,
    /// Destination.
    pub destination: Mac,
}

/// Where a connection's packets go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Destination {
    /// The VF behind a representor.
    Port(EthdevPort),
    /// Into a tunnel.
    Tunnel(TunnelId),
}

/// One rule's content.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// Frames of one family from one interface.
    VmDispatch {
        /// Representor of the interface's VF.
        port: EthdevPort,
        /// The interface's MAC, unless it may use any.
        source_mac: Option<Mac>,
        /// The family.
        family: Family,
        /// Longest IP packet, bytes.
        mtu: u16,
        /// The zone they are in.
        zone: Zone,
    },
    /// Tunnel packets for one interface.
    TunnelDispatch {
        /// The uplink.
        port: EthdevPort,
        /// This node's VTEP.
        vtep: VtepAddr,
        /// VNI of the interface's VPC.
        vni: Vni,
        /// The interface's MAC.
        destination_mac: Mac,
        /// The zone they are in.
        zone: Zone,
    },
    /// Plain packets of one family and transport from VMs.
    VmChecks {
        /// The family.
        family: Family,
        /// The transport.
        transport: Transport,
    },
    /// Plain packets of one family and transport in tunnel packets.
    TunnelChecks {
        /// Family of the underlay.
        outer: Family,
        /// Family of the inner packet.
        family: Family,
        /// Transport of the inner packet.
        transport: Transport,
    },
    /// A connection's direction that starts at a VM.
    VmConnection {
        /// The zone its packets are in.
        zone: Zone,
        /// Addresses and ports.
        tuple: Tuple,
        /// The transport, as the tuple has it.
        transport: Transport,
        /// The MACs its packets leave with.
        macs: Macs,
        /// Where they go.
        destination: Destination,
    },
    /// A connection's direction that comes out of a tunnel.
    TunnelConnection {
        /// The zone its packets are in.
        zone: Zone,
        /// The VTEP they come from.
        outer_source: VtepAddr,
        /// Addresses and ports of the inner packet.
        tuple: Tuple,
        /// The transport, as the tuple has it.
        transport: Transport,
        /// Representor of the VF they go to.
        port: EthdevPort,
    },
    /// A tunnel's meaning.
    Encapsulation {
        /// The tunnel.
        tunnel: TunnelId,
        /// Outer Ethernet to VXLAN, as it goes on the wire but for lengths, IPv4 checksum and UDP source port.
        header: Vec<u8>,
        /// The uplink.
        port: EthdevPort,
    },
}

/// What an entry asks of a field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Value {
    /// That what the field says holds.
    Holds,
    /// This port.
    Port(EthdevPort),
    /// This zone.
    Zone(Zone),
    /// This tunnel.
    Tunnel(TunnelId),
    /// This MAC.
    Mac(Mac),
    /// This address.
    Address(IpAddr),
    /// This transport.
    Transport(Transport),
    /// This TCP or UDP port.
    TransportPort(u16),
    /// At most so many bytes of IP packet.
    AtMost(u16),
    /// This VNI.
    Vni(Vni),
}

/// The headers that rules look through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Layers {
    /// Family of the tunnel's headers; none for packets without a tunnel, or where nobody looks at headers.
    pub outer: Option<Family>,
    /// Whether the (inner) Ethernet header is among them.
    pub link: bool,
    /// Family of the (inner) packet, where it counts.
    pub family: Option<Family>,
    /// Transport of the (inner) packet, where it counts.
    pub transport: Option<Transport>,
}

const fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

impl Entry {
    /// The table it goes into.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self {
            Self::VmDispatch { .. } => Table::VmDispatch,
            Self::TunnelDispatch { .. } => Table::TunnelDispatch,
            Self::VmChecks { .. } => Table::VmChecks,
            Self::TunnelChecks { .. } => Table::TunnelChecks,
            Self::VmConnection { .. } => Table::VmConnections,
            Self::TunnelConnection { .. } => Table::TunnelConnections,
            Self::Encapsulation { .. } => Table::Tunnels,
        }
    }

    /// Its table's action that it has.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::VmDispatch { .. } | Self::TunnelDispatch { .. } => Verb::CheckedFor,
            Self::VmChecks { .. } | Self::TunnelChecks { .. } => Verb::GoOn,
            Self::VmConnection { destination: Destination::Port(_), .. } => Verb::Deliver,
            Self::VmConnection { destination: Destination::Tunnel(_), .. } => Verb::ToTunnel,
            Self::TunnelConnection { .. } => Verb::DecapsulateAndDeliver,
            Self::Encapsulation { header, .. } => match header.get(12..14) {
                Some([0x86, 0xdd]) => Verb::EncapsulateIpv6,
                _ => Verb::EncapsulateIpv4,
            },
        }
    }

    /// The headers that its rule looks through.
    #[must_use]
    pub const fn layers(&self) -> Layers {
        let (outer, family, transport) = match self {
            Self::VmDispatch { family, .. } => (None, Some(*family), None),
            Self::TunnelDispatch { vtep, .. } => (Some(family_of(vtep.ip())), None, None),
            Self::VmChecks { family, transport } => (None, Some(*family), Some(*transport)),
            Self::TunnelChecks { outer, family, transport } => {
                (Some(*outer), Some(*family), Some(*transport))
            }
            Self::VmConnection { tuple, transport, .. } => {
                (None, Some(tuple.family()), Some(*transport))
            }
            Self::TunnelConnection { outer_source, tuple, transport, .. } => {
                (Some(family_of(outer_source.ip())), Some(tuple.family()), Some(*transport))
            }
            Self::Encapsulation { .. } => (None, None, None),
        };
        Layers { outer, link: !matches!(self, Self::Encapsulation { .. }), family, transport }
    }

    /// What it asks of a field of its table; nothing of the source MAC of an interface that may use any.
    ///
    /// A field that it has no value for is not asked: which fields a table has and which values its entries carry is held
    /// together by a test over all tables.
    #[must_use]
    pub fn value(&self, field: Field) -> Option<Value> {
        Some(match (field, self) {
            (
                Field::IngressPort,
                Self::VmDispatch { port, .. } | Self::TunnelDispatch { port, .. },
            ) => Value::Port(*port),
            (
                Field::Zone,
                Self::VmConnection { zone, .. } | Self::TunnelConnection { zone, .. },
            ) => Value::Zone(*zone),
            (Field::Tunnel, Self::Encapsulation { tunnel, .. }) => Value::Tunnel(*tunnel),
            (Field::SourceMac, Self::VmDispatch { source_mac, .. }) => Value::Mac((*source_mac)?),
            (Field::DestinationMac, Self::TunnelDispatch { destination_mac, .. }) => {
                Value::Mac(*destination_mac)
            }
            (Field::Length, Self::VmDispatch { mtu, .. }) => Value::AtMost(*mtu),
            (Field::OuterDestination, Self::TunnelDispatch { vtep, .. }) => {
                Value::Address(vtep.ip())
            }
            (Field::OuterSource, Self::TunnelConnection { outer_source, .. }) => {
                Value::Address(outer_source.ip())
            }
            (Field::Vni, Self::TunnelDispatch { vni, .. }) => Value::Vni(*vni),
            (
                Field::Whole,
                Self::VmChecks { transport, .. } | Self::TunnelChecks { transport, .. },
            ) => Value::Transport(*transport),
            (
                Field::NoVlan
                | Field::HeaderLength
                | Field::NoTcpTransition
                | Field::Integrity
                | Field::OuterNotEct
                | Field::OuterNoVlan
                | Field::OuterWhole
                | Field::OuterIntegrity
                | Field::VniValid,
                _,
            ) => Value::Holds,
            (
                field,
                Self::VmConnection { tuple, transport, .. }
                | Self::TunnelConnection { tuple, transport, .. },
            ) => match field {
                Field::Source => Value::Address(tuple.source()),
                Field::Destination => Value::Address(tuple.destination()),
                Field::Protocol => Value::Transport(*transport),
                Field::SourcePort => Value::TransportPort(tuple.source_port()),
                Field::DestinationPort => Value::TransportPort(tuple.destination_port()),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// How many bytes of each packet that a rule of this entry sees are headers of a tunnel.
    #[must_use]
    pub const fn outer_bytes(&self) -> u64 {
        /// Ethernet, UDP and VXLAN.
        const FIXED: u64 = 14 + 8 + 8;
        match self {
            Self::TunnelConnection { outer_source, .. } if outer_source.ip().is_ipv4() => {
                FIXED + 20
            }
            Self::TunnelConnection { .. } => FIXED + 40,
            _ => 0,
        }
    }
}
