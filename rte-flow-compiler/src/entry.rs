//! A rule before it is written in `rte_flow`: the table it goes into and the values of that table's fields.

use model::decision::Zone;
use model::snapshot::TunnelId;
use packet::{Family, Mac, Tuple, Vni, VtepAddr};

use crate::layout::Table;

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
            Self::Encapsulation { .. } => Table::Encapsulation,
        }
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
