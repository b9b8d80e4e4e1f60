//! What the contract's words mean to a NIC: its keys as fields of patterns, what its actions do as operations. The build
//! script reads the contract's tables by it; a word of the one that the other does not have fails the build.

/// What a table looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Field {
    /// The entity that sent the packet: a VF or the wire.
    IngressPort,
    /// The zone that the dispatch table found.
    Zone,
    /// The tunnel that the connection chose.
    Tunnel,
    /// Source MAC of the (inner) frame; not asked of interfaces that may use any.
    SourceMac,
    /// Destination MAC of the (inner) frame.
    DestinationMac,
    /// The (inner) frame has no VLAN tag.
    NoVlan,
    /// The IP packet is not longer than the MTU.
    Length,
    /// IPv4: header without options.
    HeaderLength,
    /// The (inner) packet is not a fragment; IPv6: has no extension header at all.
    Whole,
    /// TCP without SYN, FIN and RST; nothing for UDP.
    NoTcpTransition,
    /// The device found the (inner) headers in order.
    Integrity,
    /// Source address of the (inner) packet.
    Source,
    /// Destination address of the (inner) packet.
    Destination,
    /// Transport protocol of the (inner) packet.
    Protocol,
    /// Source port of the (inner) packet.
    SourcePort,
    /// Destination port of the (inner) packet.
    DestinationPort,
    /// Outer destination: this node's VTEP.
    OuterDestination,
    /// Outer source: the VTEP this connection comes from.
    OuterSource,
    /// The outer header is not ECN-capable (RFC 6040: everything else is software's).
    OuterNotEct,
    /// The outer frame has no VLAN tag.
    OuterNoVlan,
    /// The outer packet is not a fragment.
    OuterWhole,
    /// The device found the outer headers in order.
    OuterIntegrity,
    /// The VXLAN header says that its VNI is valid.
    VniValid,
    /// The VNI.
    Vni,
}

/// How the contract writes a key: name, match kind, width in bits.
pub type Key = (&'static str, &'static str, u32);

impl Field {
    /// All fields.
    pub const ALL: &'static [Self] = &[
        Self::IngressPort,
        Self::Zone,
        Self::Tunnel,
        Self::SourceMac,
        Self::DestinationMac,
        Self::NoVlan,
        Self::Length,
        Self::HeaderLength,
        Self::Whole,
        Self::NoTcpTransition,
        Self::Integrity,
        Self::Source,
        Self::Destination,
        Self::Protocol,
        Self::SourcePort,
        Self::DestinationPort,
        Self::OuterDestination,
        Self::OuterSource,
        Self::OuterNotEct,
        Self::OuterNoVlan,
        Self::OuterWhole,
        Self::OuterIntegrity,
        Self::VniValid,
        Self::Vni,
    ];

    /// The contract's keys that the field is, one after the other.
    #[must_use]
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Self::IngressPort => &[("ingress_port", "exact", 16)],
            // One register holds both.
            Self::Zone => &[("zone.interface", "exact", 32), ("zone.from_network", "exact", 1)],
            Self::Tunnel => &[("tunnel", "exact", 32)],
            Self::SourceMac => &[("source_mac", "ternary", 48)],
            Self::DestinationMac => &[("destination_mac", "exact", 48)],
            Self::NoVlan => &[("no_vlan", "exact", 1)],
            Self::Length => &[("length", "ternary", 32)],
            Self::HeaderLength => &[("header_length", "exact", 1)],
            Self::Whole => &[("whole", "exact", 1)],
            Self::NoTcpTransition => &[("no_tcp_transition", "exact", 1)],
            Self::Integrity => &[("integrity", "exact", 1)],
            Self::Source => &[("tuple.source", "exact", 136)],
            Self::Destination => &[("tuple.destination", "exact", 136)],
            Self::Protocol => &[("tuple.protocol", "exact", 8)],
            Self::SourcePort => &[("tuple.source_port", "exact", 16)],
            Self::DestinationPort => &[("tuple.destination_port", "exact", 16)],
            Self::OuterDestination => &[("outer_destination", "exact", 136)],
            Self::OuterSource => &[("outer_source", "exact", 136)],
            Self::OuterNotEct => &[("outer_not_ect", "exact", 1)],
            Self::OuterNoVlan => &[("outer_no_vlan", "exact", 1)],
            Self::OuterWhole => &[("outer_whole", "exact", 1)],
            Self::OuterIntegrity => &[("outer_integrity", "exact", 1)],
            Self::VniValid => &[("vni_valid", "exact", 1)],
            Self::Vni => &[("vni", "exact", 24)],
        }
    }
}

/// What a table's rules do to a packet, or note about it. Where it goes on to, if not out of a port, is not among them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Remember the zone.
    SetZone,
    /// Count packets and bytes.
    Count,
    /// Write the source MAC address.
    SetSourceMac,
    /// Write the destination MAC address.
    SetDestinationMac,
    /// Remember the tunnel.
    SetTunnel,
    /// Take the outer headers off.
    Decapsulate,
    /// Put the outer headers on.
    Encapsulate,
    /// Send to a VF or the wire.
    Deliver,
}

/// What something that an action of the contract does means to a NIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// An operation.
    Does(Operation),
    /// The packet goes on to this table.
    Leads(&'static str),
    /// Nothing: the action is software's, and no rule has it.
    Software,
}

impl Meaning {
    /// The meaning of something that an action writes or calls, as the contract's schema has it.
    #[must_use]
    pub fn of(effect: &str) -> Option<Self> {
        Some(match effect {
            "metadata.zone" => Self::Does(Operation::SetZone),
            "flows.count()" => Self::Does(Operation::Count),
            "headers.ethernet.source" => Self::Does(Operation::SetSourceMac),
            "headers.ethernet.destination" => Self::Does(Operation::SetDestinationMac),
            "metadata.tunnel" => Self::Does(Operation::SetTunnel),
            "metadata.out_port" => Self::Does(Operation::Deliver),
            "metadata.rewrite = decapsulate" => Self::Does(Operation::Decapsulate),
            // The rewriting behind looks the tunnel up.
            "metadata.rewrite = encapsulate" => Self::Leads("tunnels"),
            "metadata.decided = false" => Self::Software,
            _ if effect.starts_with("headers.outer.") => Self::Does(Operation::Encapsulate),
            _ => return None,
        })
    }
}
