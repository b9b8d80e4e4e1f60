//! The objects an operator writes, with all defaults filled in.
//!
//! They serialise to the shape they are written in, so that what a daemon shows can be applied again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use packet::{Mac, Vni, VtepAddr};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::name::Name;
use crate::snapshot::VfIndex;

/// The version that all objects are written in.
pub const API_VERSION: &str = "penstock.dev/v1alpha1";

/// MTU of an underlay that does not say otherwise, bytes.
pub const DEFAULT_UNDERLAY_MTU: u16 = 1500;

/// MAC of a subnet's gateways that does not say otherwise.
pub const DEFAULT_GATEWAY_MAC: Mac = Mac([0x02, 0x50, 0x4e, 0x53, 0x00, 0x01]);

/// The one uplink of a node.
pub const DEFAULT_UPLINK: &str = "uplink";

/// What kind of object a spec describes.
pub trait Spec: Serialize {
    /// The `kind` it is written with.
    const KIND: &'static str;
}

/// An object: who it is, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<S> {
    /// Its name and what its owner noted about it.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
}

impl<S> Object<S> {
    /// Its name, unique in its kind.
    pub const fn name(&self) -> &Name {
        &self.metadata.name
    }
}

impl<S: Spec> Serialize for Object<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut object = serializer.serialize_struct("Object", 4)?;
        object.serialize_field("apiVersion", API_VERSION)?;
        object.serialize_field("kind", S::KIND)?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &self.spec)?;
        object.end()
    }
}

/// Name and notes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: Name,
    /// For tools that select objects; without meaning here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For tools that note something; without meaning here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $spec:ident;)*) => {
        $(
            $(#[$doc])*
            pub type $kind = Object<$spec>;

            impl Spec for $spec {
                const KIND: &'static str = stringify!($kind);
            }
        )*
    };
}

kinds! {
    /// A DPU, or someone else's VTEP.
    Node = NodeSpec;
    /// A tenant network.
    Vpc = VpcSpec;
    /// A part of a VPC with gateways of its own.
    Subnet = SubnetSpec;
    /// A virtual function given to a VM.
    Interface = InterfaceSpec;
    /// Allow-lists that interfaces share.
    SecurityGroup = SecurityGroupSpec;
    /// Routes that subnets share.
    RouteTable = RouteTableSpec;
}

/// What is wanted of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// The address its tunnels end at.
    pub vtep: VtepAddr,
    /// MAC of its uplink.
    pub mac: Mac,
    /// The network its uplink is in.
    pub underlay: Underlay,
    /// Its uplinks: one, [`DEFAULT_UPLINK`].
    pub uplinks: Vec<String>,
}

/// The network a node's uplink is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Underlay {
    /// Its prefix; bits behind the prefix length may be those of the node's own address.
    pub prefix: IpNet,
    /// Longest IP packet on it, bytes.
    pub mtu: u16,
    /// Next hop for VTEPs outside the prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Static neighbours: next hop to MAC.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub neighbors: BTreeMap<IpAddr, Mac>,
}

/// What is wanted of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VpcSpec {
    /// Its VNI; allocated from its name where intent does not say.
    pub vni: Vni,
    /// Its prefixes; none overlaps another.
    pub cidrs: Vec<IpNet>,
    /// How its frames are wrapped.
    pub encap: Encap,
    /// Longest IP packet a VM may send, bytes.
    pub mtu: u16,
    /// DSCP of the outer header.
    pub dscp: Dscp,
}

/// What a VPC's object itself says of what is settled otherwise where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given {
    /// Its VNI.
    pub vni: Option<Vni>,
    /// Its MTU.
    pub mtu: Option<u16>,
}

/// An encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    /// VXLAN (RFC 7348).
    Vxlan,
}

/// A differentiated services code point (RFC 2474): 0..=63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Dscp(u8);

impl Dscp {
    /// The code point, or nothing above 63.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value < 64 { Some(Self(value)) } else { None }
    }

    /// The code point as a number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What is wanted of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetSpec {
    /// Its VPC.
    pub vpc: Name,
    /// Its prefixes, within the VPC's. The first host address of each is a gateway.
    pub cidrs: Vec<IpNet>,
    /// Its route table; without one only the VPC itself is reachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_table: Option<Name>,
    /// DNS servers handed out, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// MAC of its gateways.
    pub gateway_mac: Mac,
}

/// What is wanted of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceSpec {
    /// Its subnet.
    pub subnet: Name,
    /// The node it is on.
    pub node: Name,
    /// The virtual function it is.
    #[serde(serialize_with = "vf_number")]
    pub vf: VfIndex,
    /// Its MAC, unique in the VPC.
    pub mac: Mac,
    /// Its addresses, unique in the VPC.
    pub addresses: Vec<IpAddr>,
    /// Its security groups; they add up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<Name>,
    /// Whether it may use only its own MAC and addresses.
    pub anti_spoof: bool,
    /// Whether it takes part at all.
    pub enabled: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn vf_number<S: Serializer>(vf: &VfIndex, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(vf.0)
}

/// What is wanted of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupSpec {
    /// Its VPC.
    pub vpc: Name,
    /// What may come in. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// What may go out. Absent: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
}

/// Something that may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IngressRule {
    /// What.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Where from; absent: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Peer>,
}

/// Something that may go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EgressRule {
    /// What.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Where to; absent: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Peer>,
}

/// A protocol and what a rule says about its ports or types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "TrafficFields")]
pub enum Traffic {
    /// All protocols.
    Any,
    /// TCP, to these destination ports or all.
    Tcp(Option<PortRange>),
    /// UDP, to these destination ports or all.
    Udp(Option<PortRange>),
    /// ICMP, of this type or all.
    Icmp(Option<IcmpType>),
    /// ICMPv6, of this type or all.
    Icmpv6(Option<IcmpType>),
    /// Another protocol, by its IANA number.
    Protocol(u8),
}

/// An ICMP or ICMPv6 type, with one of its codes or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpType {
    /// The type.
    pub kind: u8,
    /// The code; absent: all.
    pub code: Option<u8>,
}

/// Destination ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Ports `first` to `last`; nothing when they are in the wrong order.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(&format_args!("{}-{}", self.first, self.last))
        }
    }
}

/// [`Traffic`] as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrafficFields {
    protocol: ProtocolField,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<PortRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ProtocolField {
    Name(&'static str),
    Number(u8),
}

impl From<Traffic> for TrafficFields {
    fn from(traffic: Traffic) -> Self {
        use ProtocolField::{Name, Number};
        let (protocol, ports, icmp) = match traffic {
            Traffic::Any => (Name("any"), None, None),
            Traffic::Tcp(ports) => (Name("tcp"), ports, None),
            Traffic::Udp(ports) => (Name("udp"), ports, None),
            Traffic::Icmp(icmp) => (Name("icmp"), None, icmp),
            Traffic::Icmpv6(icmp) => (Name("icmpv6"), None, icmp),
            Traffic::Protocol(number) => (Number(number), None, None),
        };
        Self {
            protocol,
            ports,
            icmp_type: icmp.map(|i| i.kind),
            icmp_code: icmp.and_then(|i| i.code),
        }
    }
}

/// The other end of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Peer {
    /// Addresses of a prefix.
    Cidr(IpNet),
    /// Addresses of a group's interfaces.
    SecurityGroup(Name),
}

/// What is wanted of a route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableSpec {
    /// Its VPC.
    pub vpc: Name,
    /// Its routes; each destination once.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// For packets to this prefix.
    pub destination: IpNet,
    /// What becomes of them.
    pub via: Via,
}

/// The target of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Via {
    /// Delivered within the VPC.
    Local {},
    /// Delivered to this interface, addresses untouched.
    Interface(Name),
    /// Dropped.
    Blackhole {},
}
