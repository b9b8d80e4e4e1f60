//! Who has what, and who names whom: kept while intent changes, so that a change is checked against what it touches.
//!
//! Only what a change of interfaces, security groups and route tables needs: nodes, VPCs and subnets are what everything
//! else stands on; a change of theirs is checked against everything.

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};
use packet::Mac;

use super::address::PrefixSet;
use super::check::{Misplaced, room};
use super::object::{InterfaceSpec, Peer, SecurityGroupSpec, SubnetSpec, Via};
use super::objects::Inventory;
use crate::snapshot::VfIndex;

/// Places of objects in the lists of an [`Inventory`].
type Place = u32;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// By node.
    vfs: HashSet<(Place, VfIndex)>,
    /// By VPC.
    macs: HashSet<(Place, Mac)>,
    /// By VPC.
    addresses: HashSet<(Place, IpAddr)>,
    /// By VPC: the nodes that have an interface of it.
    hosts: HashMap<Place, HashMap<Place, Presence>>,
    /// By group: the interfaces that have it.
    having: HashMap<Place, Vec<Place>>,
    /// By group: the groups whose rules name it.
    naming: HashMap<Place, Vec<Place>>,
    /// By interface: the tables with a route to it.
    leading: HashMap<Place, Vec<Place>>,
}

/// The interfaces that a node has of a VPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    interfaces: u32,
    /// So many of them may send for any address.
    open: u32,
}

/// Which nodes had interfaces of which VPCs before a change, as far as that may be otherwise now.
pub(super) type HostsBefore = HashMap<(Place, Place), bool>;

/// What an interface leads to.
struct Placement<'a> {
    vpc: Place,
    node: Place,
    subnet: &'a SubnetSpec,
    groups: Vec<Place>,
}

impl Index {
    /// The index of an intent in which everything fits.
    pub(super) fn new(inventory: &Inventory) -> Self {
        let count = inventory.interfaces.len();
        let mut index = Self {
            vfs: HashSet::with_capacity(count),
            macs: HashSet::with_capacity(count),
            addresses: HashSet::with_capacity(count),
            ..Self::default()
        };
        for (place, _) in inventory.security_groups.placed() {
            index.name_groups(inventory, place);
        }
        for (place, interface) in inventory.interfaces.placed() {
            if let Some(placement) = placement(inventory, &interface.spec) {
                index.claim(place, &interface.spec, &placement);
            }
        }
        for (place, _) in inventory.route_tables.placed() {
            index.lead(inventory, place);
        }
        index
    }

    /// Adds an interface; nothing where it does not fit, and nothing of it is added then.
    pub(super) fn attach_interface(
        &mut self,
        inventory: &Inventory,
        place: Place,
        before: &mut HostsBefore,
    ) -> Option<()> {
        let spec = &inventory.interfaces.at(place)?.spec;
        let placement = placement(inventory, spec)?;
        let Placement { vpc, node, subnet, .. } = placement;
        let cidrs: PrefixSet = subnet.cidrs.iter().copied().collect();
        let is_placed = |address: &IpAddr| Misplaced::of(*address, &cidrs).is_none();
        let is_repeated = |(index, address): (usize, &IpAddr)| {
            spec.addresses.iter().take(index).any(|earlier| earlier == address)
        };
        let fits = spec.mac != subnet.gateway_mac
            && spec.addresses.iter().all(is_placed)
            && !spec.addresses.iter().enumerate().any(is_repeated)
            && !self.vfs.contains(&(node, spec.vf))
            && !self.macs.contains(&(vpc, spec.mac))
            && !spec.addresses.iter().any(|address| self.addresses.contains(&(vpc, *address)));
        if !fits {
            return None;
        }
        self.note_host(vpc, node, before);
        self.claim(place, spec, &placement);
        Some(())
    }

    /// Takes an interface out that is in.
    pub(super) fn detach_interface(
        &mut self,
        inventory: &Inventory,
        place: Place,
        before: &mut HostsBefore,
    ) {
        let Some(object) = inventory.interfaces.at(place) else { return };
        let spec = &object.spec;
        let Some(Placement { vpc, node, groups, .. }) = placement(inventory, spec) else { return };
        self.note_host(vpc, node, before);
        self.vfs.remove(&(node, spec.vf));
        self.macs.remove(&(vpc, spec.mac));
        for address in &spec.addresses {
            self.addresses.remove(&(vpc, *address));
        }
        if let Some(hosts) = self.hosts.get_mut(&vpc)
            && let Some(presence) = hosts.get_mut(&node)
        {
            presence.interfaces = presence.interfaces.saturating_sub(1);
            presence.open = presence.open.saturating_sub(u32::from(!spec.anti_spoof));
            if presence.interfaces == 0 {
                hosts.remove(&node);
            }
        }
        for group in groups {
            forget(&mut self.having, group, place);
        }
    }

    /// Adds a group, all of whose peers are there; nothing where it does not fit.
    pub(super) fn attach_group(&mut self, inventory: &Inventory, place: Place) -> Option<()> {
        let spec = &inventory.security_groups.at(place)?.spec;
        inventory.vpcs.place(&spec.vpc)?;
        let mut peers = peers(spec).map(|name| inventory.security_groups.get(name));
        if !peers.all(|peer| peer.is_some_and(|peer| peer.spec.vpc == spec.vpc)) {
            return None;
        }
        self.name_groups(inventory, place);
        Some(())
    }

    /// Takes a group out that is in.
    pub(super) fn detach_group(&mut self, inventory: &Inventory, place: Place) {
        for group in named_groups(inventory, place) {
            forget(&mut self.naming, group, place);
        }
    }

    /// Adds a route table, all of whose interfaces are there; nothing where it does not fit.
    pub(super) fn attach_table(&mut self, inventory: &Inventory, place: Place) -> Option<()> {
        let spec = &inventory.route_tables.at(place)?.spec;
        inventory.vpcs.place(&spec.vpc)?;
        let is_there = |name: &str| {
            let interface = inventory.interfaces.get(name)?;
            let subnet = inventory.subnets.get(&interface.spec.subnet)?;
            (subnet.spec.vpc == spec.vpc).then_some(())
        };
        let mut targets = spec.routes.iter().filter_map(|route| match &route.via {
            Via::Interface(name) => Some(is_there(name)),
            Via::Local {} | Via::Blackhole {} => None,
        });
        if !targets.all(|target| target.is_some()) {
            return None;
        }
        self.lead(inventory, place);
        Some(())
    }

    /// Takes a route table out that is in.
    pub(super) fn detach_table(&mut self, inventory: &Inventory, place: Place) {
        for interface in targets(inventory, place) {
            forget(&mut self.leading, interface, place);
        }
    }

    /// Whether nothing names a group.
    pub(super) fn is_group_free(&self, group: Place) -> bool {
        !self.having.contains_key(&group) && !self.naming.contains_key(&group)
    }

    /// The nodes that have interfaces of a VPC.
    pub(crate) fn hosts(&self, vpc: Place) -> impl Iterator<Item = (Place, Presence)> {
        self.hosts.get(&vpc).into_iter().flatten().map(|(node, presence)| (*node, *presence))
    }

    /// Whether a node has an interface of a VPC.
    pub(crate) fn has_host(&self, vpc: Place, node: Place) -> bool {
        self.hosts.get(&vpc).is_some_and(|hosts| hosts.contains_key(&node))
    }

    /// The interfaces that have a group.
    pub(crate) fn having(&self, group: Place) -> &[Place] {
        self.having.get(&group).map(Vec::as_slice).unwrap_or_default()
    }

    /// The groups whose rules name a group.
    pub(crate) fn naming(&self, group: Place) -> &[Place] {
        self.naming.get(&group).map(Vec::as_slice).unwrap_or_default()
    }

    /// The tables with a route to an interface.
    pub(crate) fn leading(&self, interface: Place) -> &[Place] {
        self.leading.get(&interface).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the MTUs of VPCs, and the families of their nodes' VTEPs, are as they were although some nodes have their
    /// first interface of them now, or have none any more. `given` are the VPCs that say their MTU.
    pub(super) fn keeps_mtus(
        &self,
        inventory: &Inventory,
        before: &HostsBefore,
        is_given: impl Fn(&str) -> bool,
    ) -> bool {
        let mut moved: HashMap<Place, Vec<(Place, bool)>> = HashMap::new();
        for ((vpc, node), was_there) in before {
            if self.has_host(*vpc, *node) != *was_there {
                moved.entry(*vpc).or_default().push((*node, *was_there));
            }
        }
        let facts = |node: Place| {
            let spec = &inventory.nodes.at(node)?.spec;
            Some((spec.vtep.ip().is_ipv4(), room(spec)))
        };
        let anywhere = || inventory.nodes.placed().filter_map(|(node, _)| facts(node)).map(|f| f.1);
        moved.iter().all(|(vpc, nodes)| {
            let (mut v4, mut v6, mut now) = (false, false, None::<u16>);
            let mut was = None::<u16>;
            let moved: HashMap<Place, bool> = nodes.iter().copied().collect();
            let gone = nodes.iter().filter(|(_, was_there)| *was_there).map(|(node, _)| *node);
            for (node, is_here) in
                self.hosts(*vpc).map(|(node, _)| (node, true)).chain(gone.map(|node| (node, false)))
            {
                let Some((is_v4, room)) = facts(node) else { return false };
                if is_here {
                    v4 |= is_v4;
                    v6 |= !is_v4;
                    now = Some(now.map_or(room, |least| least.min(room)));
                }
                if moved.get(&node).is_none_or(|was_there| *was_there) {
                    was = Some(was.map_or(room, |least| least.min(room)));
                }
            }
            let Some(vpc) = inventory.vpcs.at(*vpc) else { return false };
            let now = now.or_else(|| anywhere().min());
            let mtu_stays = if is_given(vpc.name()) {
                now.is_some_and(|room| vpc.spec.mtu <= room)
            } else {
                now == was.or_else(|| anywhere().min())
            };
            mtu_stays && !(v4 && v6)
        })
    }

    fn note_host(&self, vpc: Place, node: Place, before: &mut HostsBefore) {
        before.entry((vpc, node)).or_insert_with(|| self.has_host(vpc, node));
    }

    fn claim(&mut self, place: Place, spec: &InterfaceSpec, placement: &Placement<'_>) {
        let Placement { vpc, node, groups, .. } = placement;
        self.vfs.insert((*node, spec.vf));
        self.macs.insert((*vpc, spec.mac));
        self.addresses.extend(spec.addresses.iter().map(|address| (*vpc, *address)));
        let presence = self.hosts.entry(*vpc).or_default().entry(*node).or_default();
        presence.interfaces += 1;
        presence.open += u32::from(!spec.anti_spoof);
        for group in groups {
            self.having.entry(*group).or_default().push(place);
        }
    }

    fn name_groups(&mut self, inventory: &Inventory, place: Place) {
        for group in named_groups(inventory, place) {
            self.naming.entry(group).or_default().push(place);
        }
    }

    fn lead(&mut self, inventory: &Inventory, place: Place) {
        for interface in targets(inventory, place) {
            self.leading.entry(interface).or_default().push(place);
        }
    }
}

impl Presence {
    /// Whether an interface there may send for any address.
    pub(crate) const fn is_open(self) -> bool {
        self.open > 0
    }
}

/// Where an interface's names lead; nothing where one leads nowhere, or out of the VPC.
fn placement<'a>(inventory: &'a Inventory, spec: &InterfaceSpec) -> Option<Placement<'a>> {
    let subnet = &inventory.subnets.get(&spec.subnet)?.spec;
    let vpc = inventory.vpcs.place(&subnet.vpc)?;
    let node = inventory.nodes.place(&spec.node)?;
    let group = |name: &super::Name| {
        let place = inventory.security_groups.place(name)?;
        (inventory.security_groups.at(place)?.spec.vpc == subnet.vpc).then_some(place)
    };
    let groups = spec.security_groups.iter().map(group).collect::<Option<_>>()?;
    Some(Placement { vpc, node, subnet, groups })
}

/// The groups that a group's rules name.
fn peers(spec: &SecurityGroupSpec) -> impl Iterator<Item = &str> {
    let ingress = spec.ingress.iter().flatten().filter_map(|rule| rule.from.as_ref());
    let egress = spec.egress.iter().flatten().filter_map(|rule| rule.to.as_ref());
    ingress.chain(egress).filter_map(|peer| match peer {
        Peer::SecurityGroup(name) => Some(name.as_str()),
        Peer::Cidr(_) => None,
    })
}

fn named_groups(inventory: &Inventory, place: Place) -> HashSet<Place> {
    let spec = inventory.security_groups.at(place).map(|group| &group.spec);
    let names = spec.into_iter().flat_map(peers);
    names.filter_map(|name| inventory.security_groups.place(name)).collect()
}

/// The interfaces that a table's routes lead to.
fn targets(inventory: &Inventory, place: Place) -> HashSet<Place> {
    let routes = inventory.route_tables.at(place).map(|table| &table.spec.routes[..]);
    let names = routes.into_iter().flatten().filter_map(|route| match &route.via {
        Via::Interface(name) => Some(name),
        Via::Local {} | Via::Blackhole {} => None,
    });
    names.filter_map(|name| inventory.interfaces.place(name)).collect()
}

/// Takes one of a list out; empty lists are not kept.
fn forget(lists: &mut HashMap<Place, Vec<Place>>, of: Place, place: Place) {
    if let Some(list) = lists.get_mut(&of) {
        if let Some(at) = list.iter().position(|other| *other == place) {
            list.swap_remove(at);
        }
        if list.is_empty() {
            lists.remove(&of);
        }
    }
}
