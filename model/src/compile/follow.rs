//! A snapshot from the one before and from what a change touched.
//!
//! The steps, and the order in which they give out numbers, are those of [`full`](super::full). What would make a VPC come to
//! this node or leave it is left to that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;

use super::rules::{self, Registry};
use super::{by_vf, interface, next, routes};
use crate::intent::{self, Index, Intent, Inventory, Name, Parts};
use crate::policy::Group;
use crate::route::{RouteSet, RouteTarget};
use crate::snapshot::{
    Interface, InterfaceId, LastNumbers, Location, Mapping, Mappings, Snapshot, Subnet,
    SubnetIndex, Tunnel, TunnelId, Vpc, VpcIndex,
};

/// Compiles what a change touched; nothing where that does not do. The epoch is yet to be given.
pub(super) fn compile(
    intent: &Intent,
    index: &Index,
    parts: &Parts,
    previous: &Snapshot,
) -> Option<Snapshot> {
    let inventory = intent.inventory();
    let node = inventory.nodes.place(&previous.node.name)?;
    let mut follower = Follower {
        intent,
        inventory,
        index,
        parts,
        previous,
        node,
        last: previous.last,
        moves: Vec::new(),
        ids: BTreeMap::new(),
        vpcs: BTreeMap::new(),
    };
    follower.find_moves()?;
    follower.number_interfaces();
    let tunnels = follower.number_tunnels();
    let (members, changed_members) = follower.members();
    let (interfaces, members) = follower.compile_interfaces(members, &changed_members);
    let subnets = follower.compile_subnets();
    let vpcs = follower.compile_vpcs();
    let by_vf = if follower.ids.is_empty() && !follower.moves.iter().any(Move::leaves) {
        previous.by_vf.clone()
    } else {
        by_vf(&interfaces)
    };
    Some(Snapshot {
        epoch: 0,
        node: Arc::clone(&previous.node),
        interfaces,
        tunnels,
        vpcs,
        subnets,
        by_vf,
        by_vni: previous.by_vni.clone(),
        members,
        last: follower.last,
    })
}

/// An interface of a VPC of this node, with what its names lead to.
#[derive(Clone, Copy)]
struct Located<'a> {
    object: &'a intent::Interface,
    vpc: VpcIndex,
    subnet: SubnetIndex,
    /// Places in the inventory.
    vpc_place: u32,
    node: u32,
    is_local: bool,
}

/// An interface that is another now, as far as VPCs of this node go.
struct Move<'a> {
    /// In the inventory.
    place: u32,
    before: Option<Located<'a>>,
    after: Option<Located<'a>>,
}

impl Move<'_> {
    /// Whether an interface of this node is none any more.
    fn leaves(&self) -> bool {
        self.before.is_some_and(|before| before.is_local)
    }
}

struct Follower<'a> {
    intent: &'a Intent,
    inventory: &'a Inventory,
    index: &'a Index,
    parts: &'a Parts,
    previous: &'a Snapshot,
    /// The node's place in the inventory.
    node: u32,
    last: LastNumbers,
    moves: Vec<Move<'a>>,
    /// Touched interfaces of this node as they are now, by name.
    ids: BTreeMap<&'a str, (InterfaceId, Located<'a>)>,
    /// VPCs with interfaces that were touched.
    vpcs: BTreeMap<VpcIndex, Vpc>,
}

impl<'a> Follower<'a> {
    /// Where an interface is; nothing where its VPC is none of this node's.
    fn locate(&self, object: &'a intent::Interface) -> Option<Located<'a>> {
        let subnet = self.inventory.subnets.get(&object.spec.subnet)?;
        let vpc_place = self.inventory.vpcs.place(&subnet.spec.vpc)?;
        let vpc = *self.previous.by_vni.get(&self.inventory.vpcs.at(vpc_place)?.spec.vni)?;
        let is_it = |(_, known): &(SubnetIndex, &Subnet)| known.name == subnet.name().as_str();
        let (subnet, _) = self.previous.subnets().find(is_it)?;
        let node = self.inventory.nodes.place(&object.spec.node)?;
        Some(Located { object, vpc, subnet, vpc_place, node, is_local: node == self.node })
    }

    fn find_moves(&mut self) -> Option<()> {
        for part in &self.parts.interfaces {
            let now = self.inventory.interfaces.at(part.place);
            let after = now.and_then(|object| self.locate(object));
            let is_local = |object: &intent::Interface| {
                object.spec.node.as_str() == self.previous.node.name.as_str()
            };
            // The first one of a VPC here.
            if now.is_some_and(is_local) && after.is_none() {
                return None;
            }
            let before = part.before.as_ref().and_then(|object| self.locate(object));
            if before.is_none() && after.is_none() {
                continue;
            }
            for located in before.iter().chain(&after) {
                // The last one of a VPC here.
                if !self.index.has_host(located.vpc_place, self.node) {
                    return None;
                }
                let vpc = self.previous.vpc(located.vpc)?;
                self.vpcs.entry(located.vpc).or_insert_with(|| vpc.clone());
            }
            self.moves.push(Move { place: part.place, before, after });
        }
        Some(())
    }

    /// An interface of this node, as it was.
    fn old_local(&self, name: &str) -> Option<&'a Arc<Interface>> {
        self.previous.interfaces.values().find(|interface| interface.name == name)
    }

    fn number_interfaces(&mut self) {
        let local = self.moves.iter().filter_map(|moved| moved.after).filter(|now| now.is_local);
        let by_name: BTreeMap<&str, Located<'a>> =
            local.map(|now| (now.object.name().as_str(), now)).collect();
        for (name, now) in by_name {
            let spec = &now.object.spec;
            let old = self
                .old_local(name)
                .filter(|old| (old.vpc, old.vf, old.mac) == (now.vpc, spec.vf, spec.mac));
            let id = old.map_or_else(|| InterfaceId(next(&mut self.last.interface)), |old| old.id);
            self.ids.insert(name, (id, now));
        }
    }

    fn number_tunnels(&mut self) -> Arc<HashMap<TunnelId, Tunnel>> {
        let located = self.moves.iter().flat_map(|moved| moved.before.iter().chain(&moved.after));
        let pairs: BTreeSet<(VpcIndex, &Name, u32, u32)> = located
            .filter(|located| !located.is_local)
            .filter_map(|located| {
                let node = self.inventory.nodes.at(located.node)?;
                Some((located.vpc, node.name(), located.vpc_place, located.node))
            })
            .collect();
        let mut tunnels = Arc::clone(&self.previous.tunnels);
        for (index, name, vpc_place, node) in pairs {
            let is_there = self.index.has_host(vpc_place, node);
            let Some(vpc) = self.vpcs.get_mut(&index) else { continue };
            match (vpc.tunnels.get(name).copied(), is_there) {
                (Some(_), true) | (None, false) => {}
                (Some(id), false) => {
                    vpc.tunnels.remove(name);
                    Arc::make_mut(&mut tunnels).remove(&id);
                }
                (None, true) => {
                    let Some(object) = self.inventory.nodes.at(node) else { continue };
                    let id = TunnelId(next(&mut self.last.tunnel));
                    vpc.tunnels.insert(name.clone(), id);
                    let tunnel = Tunnel {
                        node: name.to_string(),
                        vtep: object.spec.vtep,
                        vni: vpc.vni,
                        dscp: vpc.dscp,
                    };
                    Arc::make_mut(&mut tunnels).insert(id, tunnel);
                }
            }
        }
        tunnels
    }

    fn mapping(&self, located: &Located<'a>) -> Option<Mapping> {
        let (name, spec) = (located.object.name(), &located.object.spec);
        let location = if located.is_local {
            let touched = self.ids.get(name.as_str()).map(|(id, _)| *id);
            Location::Local(touched.or_else(|| Some(self.old_local(name)?.id))?)
        } else {
            let tunnels = match self.vpcs.get(&located.vpc) {
                Some(vpc) => &vpc.tunnels,
                None => &self.previous.vpc(located.vpc)?.tunnels,
            };
            Location::Remote(*tunnels.get(&spec.node)?)
        };
        let vtep = self.inventory.nodes.at(located.node)?.spec.vtep;
        Some(Mapping { location, mac: spec.mac, subnet: located.subnet, vtep })
    }

    /// The members of named groups, and the groups whose members are others now.
    fn members(&self) -> (Registry, Vec<&'a Name>) {
        let mut registry = self.previous.members.clone();
        let mut differences: HashMap<&'a Name, [Vec<IpAddr>; 2]> = HashMap::new();
        for moved in &self.moves {
            for (side, located) in [moved.before, moved.after].into_iter().enumerate() {
                let Some(Located { object, .. }) = located else { continue };
                for group in &object.spec.security_groups {
                    let addresses = &mut differences.entry(group).or_default()[side];
                    addresses.extend(&object.spec.addresses);
                }
            }
        }
        let mut changed = Vec::new();
        for (group, [mut gone, mut come]) in differences {
            gone.sort_unstable();
            come.sort_unstable();
            if gone == come {
                continue;
            }
            let Some(old) = registry.get_mut(group) else { continue };
            let mut addresses = old.addresses.clone();
            for address in gone {
                if let Ok(at) = addresses.binary_search(&address) {
                    addresses.remove(at);
                }
            }
            for address in come {
                if let Err(at) = addresses.binary_search(&address) {
                    addresses.insert(at, address);
                }
            }
            *old = rules::members(group, addresses, None);
            changed.push(group);
        }
        for part in &self.parts.security_groups {
            if let (Some(before), None) =
                (&part.before, self.inventory.security_groups.at(part.place))
            {
                registry.remove(before.name());
            }
        }
        (registry, changed)
    }

    /// Groups that have to be compiled anew where they are used.
    fn stale_groups(&self, changed_members: &[&Name]) -> HashSet<&'a str> {
        let groups = &self.inventory.security_groups;
        let touched = self.parts.security_groups.iter().filter_map(|part| groups.at(part.place));
        let naming = changed_members
            .iter()
            .filter_map(|name| groups.place(name))
            .flat_map(|place| self.index.naming(place))
            .filter_map(|place| groups.at(*place));
        touched.chain(naming).map(|group| group.name().as_str()).collect()
    }

    #[allow(clippy::type_complexity, reason = "both are parts of the snapshot")]
    fn compile_interfaces(
        &mut self,
        mut members: Registry,
        changed_members: &[&Name],
    ) -> (HashMap<InterfaceId, Arc<Interface>>, Registry) {
        let stale = self.stale_groups(changed_members);
        let mut affected = self.ids.clone();
        if !stale.is_empty() {
            for old in self.previous.interfaces.values() {
                let is_affected =
                    old.groups.iter().any(|group| stale.contains(group.name.as_str()));
                if !is_affected || affected.contains_key(old.name.as_str()) {
                    continue;
                }
                let object = self.inventory.interfaces.get(&old.name);
                if let Some(now) = object.and_then(|object| self.locate(object))
                    && now.is_local
                {
                    affected.insert(now.object.name(), (old.id, now));
                }
            }
        }
        let groups = self.compile_groups(&affected, &stale, &mut members);

        let mut interfaces = self.previous.interfaces.clone();
        for moved in self.moves.iter().filter(|moved| moved.leaves()) {
            let old = moved.before.and_then(|before| self.old_local(before.object.name()));
            if let Some(old) = old {
                interfaces.remove(&old.id);
            }
        }
        for (id, now) in affected.into_values() {
            let old = self.previous.interface(id);
            let group = |name: &Name| groups.get(name.as_str()).cloned();
            let place = (now.vpc, now.subnet);
            interfaces.insert(id, interface(now.object, id, place, group, old, &mut self.last));
        }
        (interfaces, members)
    }

    /// The groups of interfaces, by name.
    fn compile_groups(
        &self,
        interfaces: &BTreeMap<&'a str, (InterfaceId, Located<'a>)>,
        stale: &HashSet<&str>,
        members: &mut Registry,
    ) -> HashMap<&'a str, Arc<Group>> {
        let groups = &self.inventory.security_groups;
        let used: HashSet<&'a str> = interfaces
            .values()
            .flat_map(|(_, now)| &now.object.spec.security_groups)
            .map(Name::as_str)
            .collect();
        let mut old: HashMap<&str, &Arc<Group>> = HashMap::new();
        if !used.is_empty() {
            for group in self.previous.interfaces.values().flat_map(|old| &old.groups) {
                if used.contains(group.name.as_str()) {
                    old.insert(group.name.as_str(), group);
                }
            }
        }
        let mut compiled = HashMap::new();
        for name in used {
            let old = old.get(name).copied();
            let group = if let Some(old) = old.filter(|_| !stale.contains(name)) {
                Arc::clone(old)
            } else {
                let Some(object) = groups.get(name) else { continue };
                self.add_members(object, members);
                rules::group(object, members, old)
            };
            compiled.insert(name, group);
        }
        compiled
    }

    /// Makes sure that the members of the groups that a group names are known.
    fn add_members(&self, group: &intent::SecurityGroup, members: &mut Registry) {
        for name in rules::named(&group.spec) {
            if members.contains_key(name) {
                continue;
            }
            let having = self.inventory.security_groups.place(name);
            let interfaces = having.map(|group| self.index.having(group)).unwrap_or_default();
            let addresses = interfaces
                .iter()
                .filter_map(|place| self.inventory.interfaces.at(*place))
                .flat_map(|interface| interface.spec.addresses.iter().copied())
                .collect();
            members.insert(name.clone(), rules::members(name, addresses, None));
        }
    }

    fn compile_subnets(&mut self) -> Vec<Option<Arc<Subnet>>> {
        let mut subnets = self.previous.subnets.clone();
        let tables = &self.inventory.route_tables;
        let touched = self.parts.route_tables.iter().filter_map(|part| tables.at(part.place));
        let leading = self.moves.iter().flat_map(|moved| self.index.leading(moved.place));
        let leading = leading.filter_map(|place| tables.at(*place));
        let stale: HashSet<&str> =
            touched.chain(leading).map(|table| table.name().as_str()).collect();
        if stale.is_empty() {
            return subnets;
        }
        let mut effective: HashMap<(&str, &str), Vec<(IpNet, RouteTarget)>> = HashMap::new();
        let mut new_sets: Vec<Arc<RouteSet>> = Vec::new();
        let mut last = self.last.generation;
        for old in subnets.iter_mut().flatten() {
            let Some(object) = self.inventory.subnets.get(&old.name) else { continue };
            let Some(table) = object.spec.route_table.as_deref() else { continue };
            if !stale.contains(table) {
                continue;
            }
            let vpc = object.spec.vpc.as_str();
            let mapping =
                |name: &Name| self.mapping(&self.locate(self.inventory.interfaces.get(name)?)?);
            let content = effective
                .entry((vpc, table))
                .or_insert_with(|| routes(self.intent, vpc, Some(table), mapping));
            if old.routes.routes() == content {
                continue;
            }
            // Equal sets are one: a set's generation stands for its content.
            let known = self.previous.subnets().map(|(_, subnet)| &subnet.routes);
            let known = known.chain(&new_sets).find(|set| set.routes() == content).cloned();
            let routes = known.unwrap_or_else(|| {
                let set = Arc::new(RouteSet::compile(content.clone(), next(&mut last)));
                new_sets.push(Arc::clone(&set));
                set
            });
            let subnet = Arc::make_mut(old);
            subnet.routes = routes;
            subnet.routes_since = next(&mut last);
        }
        self.last.generation = last;
        subnets
    }

    fn compile_vpcs(&mut self) -> Vec<Option<Arc<Vpc>>> {
        let mut vpcs = self.previous.vpcs.clone();
        let now = |moved: &Move<'a>| moved.after.and_then(|after| self.mapping(&after));
        let mappings: Vec<Option<Mapping>> = self.moves.iter().map(now).collect();
        for (index, mut vpc) in std::mem::take(&mut self.vpcs) {
            let old = Arc::clone(&vpc.mappings);
            let mut by_address = old.by_address.clone();
            let mut addresses: Vec<IpAddr> = Vec::new();
            let mut place = None;
            for moved in &self.moves {
                let Some(before) = moved.before.filter(|before| before.vpc == index) else {
                    continue;
                };
                place = Some(before.vpc_place);
                let spec = &before.object.spec;
                for address in &spec.addresses {
                    by_address.remove(*address);
                    addresses.push(*address);
                }
                if before.is_local {
                    vpc.local_by_mac.remove(&spec.mac);
                }
            }
            for (moved, mapping) in self.moves.iter().zip(&mappings) {
                let (Some(after), Some(mapping)) =
                    (moved.after.filter(|after| after.vpc == index), mapping)
                else {
                    continue;
                };
                place = Some(after.vpc_place);
                let spec = &after.object.spec;
                for address in &spec.addresses {
                    by_address.insert(*address, *mapping);
                    addresses.push(*address);
                }
                if let Location::Local(id) = mapping.location {
                    vpc.local_by_mac.insert(spec.mac, id);
                }
            }
            let hosts = place.into_iter().flat_map(|vpc| self.index.hosts(vpc));
            let open = hosts.filter(|(node, presence)| *node != self.node && presence.is_open());
            let mut open_vteps: Vec<_> = open
                .filter_map(|(node, _)| Some(self.inventory.nodes.at(node)?.spec.vtep))
                .collect();
            open_vteps.sort_unstable();
            let is_same = |address: &IpAddr| by_address.get(*address) == old.lookup(*address);
            if old.open_vteps != open_vteps || !addresses.iter().all(is_same) {
                let generation = next(&mut self.last.generation);
                vpc.mappings = Arc::new(Mappings { generation, by_address, open_vteps });
            }
            if let Some(slot) = vpcs.get_mut(index.0 as usize) {
                *slot = Some(Arc::new(vpc));
            }
        }
        vpcs
    }
}
