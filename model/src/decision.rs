//! What policy says about a flow: the vocabulary the datapath decides in, and the compiler and the contract read.
//!
//! `decide` itself lives in the DPU application. Here are only the words: keys, steps, outputs, reasons.

use arrayvec::ArrayVec;
use packet::{Mac, Tuple};

use crate::snapshot::{InterfaceId, TunnelId};

/// Where a packet meets the pipeline, seen from its interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The interface's VM sent it.
    FromVm,
    /// It came out of a tunnel, addressed to the interface.
    FromNetwork,
}

/// A conntrack zone: an interface and the side from which a packet reaches it. 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(u32);

impl Zone {
    /// The zone of packets that meet `interface` from `side`.
    #[must_use]
    pub const fn new(interface: InterfaceId, side: Side) -> Self {
        Self(interface.0 << 1 | matches!(side, Side::FromNetwork) as u32)
    }

    /// The interface.
    #[must_use]
    pub const fn interface(self) -> InterfaceId {
        InterfaceId(self.0 >> 1)
    }

    /// The side.
    #[must_use]
    pub const fn side(self) -> Side {
        if self.0 & 1 == 1 { Side::FromNetwork } else { Side::FromVm }
    }

    /// The zone as a number that fits a 32-bit hardware register; never 0 for interface ids from 1 on.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/{:?}", self.interface(), self.side())
    }
}

/// How one direction of a connection is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Where its packets come from.
    pub zone: Zone,
    /// Their addresses and ports, before any step.
    pub tuple: Tuple,
}

/// One change to a packet's headers. Address and port translation, hop limits, meters and mirrors join here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Writes both Ethernet addresses.
    SetMacs {
        /// New source.
        source: Mac,
        /// New destination.
        destination: Mac,
    },
}

/// Where a packet goes, by handle: what the handle means is looked up when the packet is sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Output {
    /// To an interface of this node.
    Local(InterfaceId),
    /// Into a tunnel.
    Tunnel(TunnelId),
}

/// What happens to the packets of one direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Header changes, in order.
    pub steps: ArrayVec<Step, 3>,
    /// Where they go.
    pub output: Output,
    /// The longest IP packet, in bytes, that may take this path (`u16::MAX`: no limit).
    pub mtu: u16,
}

/// What is decided for one direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its packets are forwarded.
    Forward(Path),
    /// Its packets are dropped.
    Drop(DropReason),
}

/// What is decided for a connection: its two directions, each with a verdict of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// For packets with the key that was decided.
    pub forward: Path,
    /// The key of answers, computed after all steps of the forward direction.
    pub reverse_key: Key,
    /// For the answers.
    pub reverse: Verdict,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was dropped: each drop has exactly one reason. Names are fixed; new ones may be added.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The fixed name, as metrics, events and captures show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// A header is cut short, contradicts itself, or has a wrong IPv4 header checksum.
    Malformed = "malformed",
    /// Neither IPv4, IPv6 nor ARP, or VLAN-tagged.
    UnsupportedEtherType = "unsupported_ethertype",
    /// From the wire, but not a tunnel packet for this node's VTEP.
    NotOurVtep = "not_our_vtep",
    /// A tunnel packet with a VNI that no VPC of this node has.
    UnknownVni = "unknown_vni",
    /// A tunnel packet whose inner destination is no interface of this node.
    UnknownDestination = "unknown_destination",
    /// A tunnel packet from a VTEP that may not send for the inner source address.
    OverlaySourceMismatch = "overlay_source_mismatch",
    /// A VM sent a packet with a MAC or IP source that is not its own.
    SpoofedSource = "spoofed_source",
    /// Broadcast or multicast that no responder answers.
    Broadcast = "broadcast",
    /// The sender's security groups do not allow it.
    SecurityGroupEgress = "security_group_egress",
    /// The receiver's security groups do not allow it.
    SecurityGroupIngress = "security_group_ingress",
    /// A subnet's access list denies it.
    NetworkAcl = "network_acl",
    /// No route for the destination.
    NoRoute = "no_route",
    /// The route says to drop it.
    BlackholeRoute = "blackhole_route",
    /// Inside the VPC, but no interface has the destination address.
    NoMapping = "no_mapping",
    /// The underlay next hop's MAC address is not known (yet).
    UnresolvedNeighbor = "unresolved_neighbor",
    /// TCP in mid-stream that belongs to no connection.
    TcpNotSyn = "tcp_not_syn",
    /// A later fragment whose first fragment was not seen.
    FragmentWithoutFirst = "fragment_without_first",
    /// An ICMP error that quotes no known connection.
    RelatedUnknown = "related_unknown",
    /// TTL or hop limit used up.
    TtlExpired = "ttl_expired",
    /// Longer than the VPC's MTU.
    TooBig = "too_big",
    /// The interface is disabled.
    InterfaceDown = "interface_down",
    /// The interface has as many connections as it may have, or the table is full.
    InterfaceQuota = "interface_quota",
    /// Over a rate limit.
    RateLimited = "rate_limited",
    /// Congestion marked in the outer header of a packet that does not support ECN (RFC 6040).
    EcnNotCapable = "ecn_not_capable",
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
