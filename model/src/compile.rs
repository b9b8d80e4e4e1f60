//! From intent to one node's snapshot.
//!
//! Numbers, generations and shared parts come from the snapshot before: what has the same effect keeps its number, its
//! generation and, where it is shared, its memory. A snapshot is compiled from all of intent (`full`), or from what a change
//! touched (`follow`); the two are the same, numbers included.

mod follow;
mod full;
mod rules;

use std::sync::Arc;

use hashbrown::HashMap;
use thiserror::Error;

use crate::intent::{self, Intent, Name, Patched};
use crate::policy::Group;
use crate::snapshot::{
    Interface, InterfaceId, LastNumbers, Node, Snapshot, Subnet, SubnetIndex, Vpc, VpcIndex,
};

/// Intent has no such node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("intent has no Node `{0}`; check the node's name in the daemon's configuration")]
pub struct UnknownNode(pub String);

impl Snapshot {
    /// Compiles what `node` has to know of `intent`.
    ///
    /// `previous` is the snapshot that the new one replaces: handles of what stays are kept, generations move only
    /// where the effect changes, and unchanged parts are shared. The epoch stays when nothing changed at all.
    ///
    /// # Errors
    /// When intent has no such node.
    pub fn compile(
        intent: &Intent,
        node: &str,
        previous: Option<&Self>,
    ) -> Result<Self, UnknownNode> {
        let node = intent.node(node).ok_or_else(|| UnknownNode(node.to_owned()))?;
        let snapshot = full::compile(intent, node, previous);
        Ok(with_epoch(snapshot, previous))
    }

    /// The snapshot that [`Snapshot::compile`] would make of an intent that was just changed, made from what the change
    /// touched; of everything where that does not do. `previous` is of the intent before the change.
    ///
    /// # Errors
    /// When intent has no such node.
    pub fn follow(
        intent: &Intent,
        patched: &Patched,
        node: &str,
        previous: &Self,
    ) -> Result<Self, UnknownNode> {
        if previous.node.name == node
            && let (Some(parts), Some(index)) = (patched.parts(), intent.index())
            && let Some(snapshot) = follow::compile(intent, index, parts, previous)
        {
            return Ok(with_epoch(snapshot, Some(previous)));
        }
        Self::compile(intent, node, Some(previous))
    }
}

fn with_epoch(mut snapshot: Snapshot, previous: Option<&Snapshot>) -> Snapshot {
    snapshot.epoch = match previous {
        None => 1,
        Some(old) if has_same_content(old, &snapshot) => old.epoch,
        Some(old) => old.epoch + 1,
    };
    snapshot
}

/// Whether nothing that a reader of the snapshots can see differs.
fn has_same_content(old: &Snapshot, new: &Snapshot) -> bool {
    let same_vpc = |a: &Arc<Vpc>, b: &Arc<Vpc>| {
        Arc::ptr_eq(a, b)
            || (a.name == b.name
                && (a.vni, a.mtu, a.dscp) == (b.vni, b.mtu, b.dscp)
                && Arc::ptr_eq(&a.mappings, &b.mappings)
                && a.local_by_mac == b.local_by_mac)
    };
    let same_subnet = |a: &Arc<Subnet>, b: &Arc<Subnet>| {
        Arc::ptr_eq(a, b)
            || (a.name == b.name
                && a.vpc == b.vpc
                && a.dns == b.dns
                && (&a.v4, &a.v6, a.gateway_mac) == (&b.v4, &b.v6, b.gateway_mac)
                && Arc::ptr_eq(&a.routes, &b.routes))
    };
    (Arc::ptr_eq(&old.node, &new.node) || old.node == new.node)
        && (Arc::ptr_eq(&old.tunnels, &new.tunnels) || old.tunnels == new.tunnels)
        && old.interfaces.len() == new.interfaces.len()
        && old
            .interfaces
            .iter()
            .all(|(id, a)| new.interface(*id).is_some_and(|b| Arc::ptr_eq(a, b)))
        && same_in_place(&old.vpcs, &new.vpcs, same_vpc)
        && same_in_place(&old.subnets, &new.subnets, same_subnet)
}

fn same_in_place<T>(a: &[Option<T>], b: &[Option<T>], same: impl Fn(&T, &T) -> bool) -> bool {
    (0..a.len().max(b.len())).all(|i| {
        match (a.get(i).and_then(Option::as_ref), b.get(i).and_then(Option::as_ref)) {
            (Some(a), Some(b)) => same(a, b),
            (None, None) => true,
            _ => false,
        }
    })
}

/// The next number of a row; a row of 2^32 numbers outlasts any chain of snapshots.
fn next(last: &mut u32) -> u32 {
    *last = last.wrapping_add(1).max(1);
    *last
}

/// A local interface's part of the snapshot: the old one where nothing changed, with the old one's generation where
/// everything is decided as before.
fn interface(
    object: &intent::Interface,
    id: InterfaceId,
    (vpc, subnet): (VpcIndex, SubnetIndex),
    group: impl Fn(&Name) -> Option<Arc<Group>>,
    old: Option<&Arc<Interface>>,
    last: &mut LastNumbers,
) -> Arc<Interface> {
    let spec = &object.spec;
    let mut names: Vec<&Name> = spec.security_groups.iter().collect();
    names.sort();
    let mut interface = Interface {
        id,
        name: object.name().to_string(),
        vf: spec.vf,
        mac: spec.mac,
        addresses: spec.addresses.clone(),
        subnet,
        vpc,
        groups: names.into_iter().filter_map(group).collect(),
        anti_spoof: spec.anti_spoof,
        enabled: spec.enabled,
        policy_generation: 0,
    };
    let same_groups =
        |old: &Interface| old.groups.iter().zip(&interface.groups).all(|(a, b)| Arc::ptr_eq(a, b));
    match old.filter(|old| decides_alike(old, &interface)) {
        Some(old) if same_groups(old) => Arc::clone(old),
        same => {
            interface.policy_generation =
                same.map_or_else(|| next(&mut last.generation), |old| old.policy_generation);
            Arc::new(interface)
        }
    }
}

/// The node's own part of the snapshot.
fn node(object: &intent::Node) -> Node {
    let spec = &object.spec;
    Node {
        name: object.name().to_string(),
        vtep: spec.vtep,
        mac: spec.mac,
        underlay_prefix: spec.underlay.prefix,
        underlay_mtu: spec.underlay.mtu,
        gateway: spec.underlay.gateway,
        neighbors: spec.underlay.neighbors.iter().map(|(ip, mac)| (*ip, *mac)).collect(),
    }
}

/// The effective routes of a VPC's subnets that have a table, or none. `mapping` says where an interface is.
fn routes(
    intent: &Intent,
    vpc: &str,
    table: Option<&str>,
    mapping: impl Fn(&Name) -> Option<crate::snapshot::Mapping>,
) -> Vec<(ipnet::IpNet, crate::route::RouteTarget)> {
    use crate::route::{RouteSet, RouteTarget};
    let routes = table.and_then(|name| intent.route_tables().get(name));
    let explicit = routes.into_iter().flat_map(|table| &table.spec.routes).filter_map(|route| {
        let target = match &route.via {
            intent::Via::Local {} => RouteTarget::Local,
            intent::Via::Blackhole {} => RouteTarget::Blackhole,
            intent::Via::Interface(name) => RouteTarget::Interface(mapping(name)?),
        };
        Some((route.destination, target))
    });
    let cidrs = intent.vpcs().get(vpc).map_or(&[][..], |vpc| &vpc.spec.cidrs[..]);
    RouteSet::effective(explicit, cidrs)
}

/// VFs to interfaces.
fn by_vf(
    interfaces: &HashMap<InterfaceId, Arc<Interface>>,
) -> HashMap<crate::snapshot::VfIndex, InterfaceId> {
    interfaces.values().map(|interface| (interface.vf, interface.id)).collect()
}

/// Whether two states of an interface decide every flow alike, as far as the interface and its groups go.
fn decides_alike(old: &Interface, new: &Interface) -> bool {
    let Interface {
        id,
        name,
        vf,
        mac,
        addresses,
        subnet,
        vpc,
        groups,
        anti_spoof,
        enabled,
        policy_generation: _,
    } = new;
    old.id == *id
        && old.name == *name
        && old.vf == *vf
        && old.mac == *mac
        && old.addresses == *addresses
        && old.subnet == *subnet
        && old.vpc == *vpc
        && old.anti_spoof == *anti_spoof
        && old.enabled == *enabled
        && old.groups.len() == groups.len()
        && old
            .groups
            .iter()
            .zip(groups)
            .all(|(old, new)| Arc::ptr_eq(old, new) || old.has_same_effect(new))
}
