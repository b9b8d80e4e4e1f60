//! The compiled form of intent for one node: what the datapath reads, immutable, swapped as a whole.
//!
//! A snapshot is compiled from intent and from the snapshot before it, so that handles stay the same, parts whose
//! effective content is unchanged are shared, and their generations do not move.

mod mappings;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;
use packet::{Mac, Vni, VtepAddr};

pub(crate) use mappings::MappingTable;
pub use mappings::Mappings;

use crate::intent::Name;
use crate::policy::{Group, Members};
use crate::route::RouteSet;

/// An interface of this node. Stable while the interface keeps its name, VPC, VF and MAC; from 1 on, and never
/// given to another interface in the lifetime of a chain of snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InterfaceId(pub u32);

/// A tunnel: one remote node, for one VPC. Stable while that node and VPC keep their names and the node has an
/// interface in the VPC; from 1 on, and never given to another pair in the lifetime of a chain of snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TunnelId(pub u32);

/// A VPC that this node takes part in. Stable while the VPC keeps its name and an interface here; a new VPC may get
/// the number of one that left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VpcIndex(pub u32);

/// A subnet of such a VPC. Stable in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SubnetIndex(pub u32);

/// Number of a virtual function of the node's NIC, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VfIndex(pub u16);

/// All that one node's datapath knows of intent.
#[derive(Debug)]
pub struct Snapshot {
    /// Moves with every snapshot whose content differs from the one before.
    pub epoch: u64,
    /// The node itself.
    pub node: Arc<Node>,
    /// The node's own interfaces.
    pub interfaces: HashMap<InterfaceId, Arc<Interface>>,
    /// Tunnels to the other nodes.
    pub tunnels: Arc<HashMap<TunnelId, Tunnel>>,
    /// By [`VpcIndex`]; a hole where one left.
    pub(crate) vpcs: Vec<Option<Arc<Vpc>>>,
    /// By [`SubnetIndex`]; a hole where one left.
    pub(crate) subnets: Vec<Option<Arc<Subnet>>>,
    pub(crate) by_vf: HashMap<VfIndex, InterfaceId>,
    pub(crate) by_vni: HashMap<Vni, VpcIndex>,
    /// The members of groups that rules name. There may be some that no rule names any more.
    pub(crate) members: HashMap<Name, Arc<Members>>,
    pub(crate) last: LastNumbers,
}

/// The last number of each kind that a chain of snapshots gave out, so that none is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastNumbers {
    pub(crate) interface: u32,
    pub(crate) tunnel: u32,
    pub(crate) generation: u32,
}

/// The node this snapshot is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The address its tunnels end at.
    pub vtep: VtepAddr,
    /// MAC of its uplink: the outer source.
    pub mac: Mac,
    /// Address and prefix length of the underlay network the uplink is in.
    pub underlay_prefix: ipnet::IpNet,
    /// Longest IP packet on the underlay, bytes.
    pub underlay_mtu: u16,
    /// Next hop for VTEPs outside the prefix.
    pub gateway: Option<IpAddr>,
    /// Static neighbours: next hop to MAC.
    pub neighbors: HashMap<IpAddr, Mac>,
}

/// A tenant network.
#[derive(Debug, Clone)]
pub struct Vpc {
    /// Its name.
    pub name: String,
    /// Its VNI.
    pub vni: Vni,
    /// Longest IP packet a VM may send, bytes.
    pub mtu: u16,
    /// DSCP of the outer header, 0..=63.
    pub dscp: u8,
    /// Overlay address to where it is; shared between snapshots while unchanged.
    pub mappings: Arc<Mappings>,
    /// This node's interfaces in the VPC, by MAC: the second half of choosing an interface from the wire.
    pub local_by_mac: HashMap<Mac, InterfaceId>,
    /// By the remote node's name.
    pub(crate) tunnels: HashMap<Name, TunnelId>,
}

/// One overlay address, or one interface reached by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mapping {
    /// Where the interface is.
    pub location: Location,
    /// Its MAC.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: SubnetIndex,
    /// VTEP of its node (this node's own for local ones).
    pub vtep: VtepAddr,
}

/// Whether an interface is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// Here.
    Local(InterfaceId),
    /// On another node.
    Remote(TunnelId),
}

/// A subnet.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// Its VPC.
    pub vpc: VpcIndex,
    /// IPv4 prefix, if any, and the gateway in it (its first host address).
    pub v4: Vec<(ipnet::Ipv4Net, Ipv4Addr)>,
    /// IPv6 prefixes and their gateways; `fe80::1` is a gateway as well.
    pub v6: Vec<(ipnet::Ipv6Net, Ipv6Addr)>,
    /// MAC of all its gateways.
    pub gateway_mac: Mac,
    /// DNS servers handed out.
    pub dns: Vec<IpAddr>,
    /// Its route table with the implied local routes.
    pub routes: Arc<RouteSet>,
    /// A generation: moves when `routes` becomes another set, be it one that was there before.
    pub routes_since: u32,
}

/// An interface of this node.
#[derive(Debug)]
pub struct Interface {
    /// Its handle.
    pub id: InterfaceId,
    /// Its name.
    pub name: String,
    /// The virtual function its VM has.
    pub vf: VfIndex,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, in the order of intent.
    pub addresses: Vec<IpAddr>,
    /// Its subnet.
    pub subnet: SubnetIndex,
    /// Its VPC.
    pub vpc: VpcIndex,
    /// Its security groups. Empty: nothing in, all out.
    pub groups: Vec<Arc<Group>>,
    /// Whether it may use only its own MAC and addresses.
    pub anti_spoof: bool,
    /// Whether it takes part at all.
    pub enabled: bool,
    /// Moves when anything above, or the content of one of its groups, changes.
    pub policy_generation: u32,
}

/// A tunnel's meaning: one remote node, one VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Name of the remote node.
    pub node: String,
    /// Its VTEP.
    pub vtep: VtepAddr,
    /// VNI of the VPC.
    pub vni: Vni,
    /// DSCP of the outer header.
    pub dscp: u8,
}

impl Snapshot {
    /// The last generation that was given out: whatever has none above it was the same already when this was the last.
    #[must_use]
    pub const fn last_generation(&self) -> u32 {
        self.last.generation
    }

    /// The interface behind a VF.
    #[must_use]
    #[inline]
    pub fn interface_of_vf(&self, vf: VfIndex) -> Option<&Arc<Interface>> {
        self.interface(*self.by_vf.get(&vf)?)
    }

    /// An interface of this node.
    #[must_use]
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Arc<Interface>> {
        self.interfaces.get(&id)
    }

    /// The VPC with a VNI.
    #[must_use]
    pub fn vpc_of_vni(&self, vni: Vni) -> Option<&Vpc> {
        self.vpc(*self.by_vni.get(&vni)?)
    }

    /// A VPC.
    #[must_use]
    #[inline]
    pub fn vpc(&self, index: VpcIndex) -> Option<&Vpc> {
        self.vpcs.get(index.0 as usize)?.as_deref()
    }

    /// The VPCs that have an interface on this node.
    pub fn vpcs(&self) -> impl Iterator<Item = (VpcIndex, &Vpc)> {
        (0..).map(VpcIndex).zip(&self.vpcs).filter_map(|(i, v)| Some((i, v.as_deref()?)))
    }

    /// All subnets of those VPCs.
    pub fn subnets(&self) -> impl Iterator<Item = (SubnetIndex, &Subnet)> {
        (0..).map(SubnetIndex).zip(&self.subnets).filter_map(|(i, s)| Some((i, s.as_deref()?)))
    }

    /// A subnet.
    #[must_use]
    #[inline]
    pub fn subnet(&self, index: SubnetIndex) -> Option<&Subnet> {
        self.subnets.get(index.0 as usize)?.as_deref()
    }

    /// A tunnel.
    #[must_use]
    pub fn tunnel(&self, id: TunnelId) -> Option<&Tunnel> {
        self.tunnels.get(&id)
    }
}
