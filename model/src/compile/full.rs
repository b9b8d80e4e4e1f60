//! A snapshot from all of intent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use packet::{Mac, VtepAddr};

use super::rules::{self, Registry};
use super::{by_vf, interface, next, node, routes};
use crate::intent::{self, Intent, Inventory, Name};
use crate::policy::Group;
use crate::route::{RouteSet, RouteTarget};
use crate::snapshot::{
    Interface, InterfaceId, LastNumbers, Location, Mapping, MappingTable, Mappings, Snapshot,
    Subnet, SubnetIndex, Tunnel, TunnelId, Vpc, VpcIndex,
};

/// Compiles everything; the epoch is yet to be given.
pub(super) fn compile(
    intent: &Intent,
    node: &intent::Node,
    previous: Option<&Snapshot>,
) -> Snapshot {
    Compiler::new(intent, node, previous).snapshot()
}

/// Gives each name the number it had, and new names the lowest free ones in their order.
fn numbers<'a>(
    names: impl Iterator<Item = &'a Name> + Clone,
    old: impl Iterator<Item = (u32, &'a str)>,
) -> HashMap<&'a str, u32> {
    let old: HashMap<&str, u32> = old.map(|(number, name)| (name, number)).collect();
    let mut numbers: HashMap<&str, u32> =
        names.clone().filter_map(|name| Some((name.as_str(), *old.get(name.as_str())?))).collect();
    let taken: HashSet<u32> = numbers.values().copied().collect();
    let mut free = (0..).filter(|number| !taken.contains(number));
    for name in names {
        if !numbers.contains_key(name.as_str())
            && let Some(number) = free.next()
        {
            numbers.insert(name.as_str(), number);
        }
    }
    numbers
}

/// An interface of intent, with what its names lead to.
#[derive(Clone, Copy)]
struct Placed<'a> {
    object: &'a intent::Interface,
    vpc: VpcIndex,
    subnet: SubnetIndex,
    /// Place of its node in the inventory.
    node: u32,
    /// Whether it is on the node itself.
    is_local: bool,
}

/// What intent and the previous snapshot say, arranged for look-ups.
struct Compiler<'a> {
    intent: &'a Intent,
    node: &'a intent::Node,
    previous: Option<&'a Snapshot>,
    last: LastNumbers,
    /// VPCs of this node by number.
    vpcs: Vec<Option<&'a intent::Vpc>>,
    vpc_numbers: HashMap<&'a str, u32>,
    /// Their subnets by number.
    subnets: Vec<Option<&'a intent::Subnet>>,
    /// The node's own interfaces, by name.
    local: Vec<Placed<'a>>,
    /// All interfaces, anywhere, of these VPCs; in no order.
    interfaces: Vec<Placed<'a>>,
    /// By VPC and place of the node.
    tunnels: HashMap<(VpcIndex, u32), TunnelId>,
    /// By place of the node.
    vteps: Vec<Option<VtepAddr>>,
    local_ids: HashMap<&'a str, InterfaceId>,
}

impl<'a> Compiler<'a> {
    fn new(intent: &'a Intent, node: &'a intent::Node, previous: Option<&'a Snapshot>) -> Self {
        let inventory = intent.inventory();
        let taking_part: HashSet<&str> = inventory
            .interfaces
            .iter()
            .filter(|interface| interface.spec.node == *node.name())
            .filter_map(|interface| inventory.subnets.get(&interface.spec.subnet))
            .map(|subnet| subnet.spec.vpc.as_str())
            .collect();

        let by_name = inventory.vpcs.sorted();
        let vpcs = by_name.iter().copied().filter(|vpc| taking_part.contains(vpc.name().as_str()));
        let by_name = inventory.subnets.sorted();
        let subnets =
            by_name.iter().copied().filter(|subnet| taking_part.contains(subnet.spec.vpc.as_str()));
        let old_vpcs = previous.into_iter().flat_map(Snapshot::vpcs);
        let old_subnets = previous.into_iter().flat_map(Snapshot::subnets);
        let vpc_numbers = numbers(
            vpcs.clone().map(intent::Object::name),
            old_vpcs.map(|(index, vpc)| (index.0, vpc.name.as_str())),
        );
        let subnet_numbers = numbers(
            subnets.clone().map(intent::Object::name),
            old_subnets.map(|(index, subnet)| (index.0, subnet.name.as_str())),
        );
        let interfaces = placed(inventory, node, &vpc_numbers, &subnet_numbers);
        let mut local: Vec<Placed<'a>> =
            interfaces.iter().filter(|placed| placed.is_local).copied().collect();
        local.sort_unstable_by(|a, b| a.object.name().cmp(b.object.name()));
        let mut vteps = vec![None; inventory.nodes.places()];
        for (place, node) in inventory.nodes.placed() {
            if let Some(vtep) = vteps.get_mut(place as usize) {
                *vtep = Some(node.spec.vtep);
            }
        }

        let mut compiler = Self {
            intent,
            node,
            previous,
            last: previous.map_or_else(LastNumbers::default, |old| old.last),
            vpcs: in_place(vpcs, &vpc_numbers),
            vpc_numbers,
            subnets: in_place(subnets, &subnet_numbers),
            local,
            interfaces,
            tunnels: HashMap::new(),
            vteps,
            local_ids: HashMap::new(),
        };
        compiler.number_interfaces();
        compiler.number_tunnels();
        compiler
    }

    fn number_interfaces(&mut self) {
        let old: HashMap<(&str, &str, u16, Mac), InterfaceId> = self
            .previous
            .into_iter()
            .flat_map(|old| old.interfaces.values().map(move |interface| (old, interface)))
            .filter_map(|(old, i)| {
                Some(((i.name.as_str(), old.vpc(i.vpc)?.name.as_str(), i.vf.0, i.mac), i.id))
            })
            .collect();
        let mut ids = HashMap::new();
        let mut last = self.last.interface;
        for Placed { object, vpc, .. } in &self.local {
            let name = object.name().as_str();
            let vpc = self.vpc(*vpc).map_or("", |vpc| vpc.name().as_str());
            let id = old.get(&(name, vpc, object.spec.vf.0, object.spec.mac)).copied();
            ids.insert(name, id.unwrap_or_else(|| InterfaceId(next(&mut last))));
        }
        self.local_ids = ids;
        self.last.interface = last;
    }

    fn number_tunnels(&mut self) {
        let mut pairs: Vec<(VpcIndex, u32)> = self
            .interfaces
            .iter()
            .filter(|placed| !placed.is_local)
            .map(|placed| (placed.vpc, placed.node))
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        pairs.sort_unstable_by_key(|(vpc, node)| (*vpc, self.node_name(*node)));
        for (index, node) in pairs {
            let name = self.node_name(node);
            let old = || {
                // The VPC's number stays as long as its name does.
                let old = self.previous?.vpc(index)?;
                let is_it = old.name == self.vpc(index)?.name().as_str();
                old.tunnels.get(name?.as_str()).copied().filter(|_| is_it)
            };
            let id = old().unwrap_or_else(|| TunnelId(next(&mut self.last.tunnel)));
            self.tunnels.insert((index, node), id);
        }
    }

    fn node_name(&self, place: u32) -> Option<&'a Name> {
        self.intent.inventory().nodes.at(place).map(intent::Object::name)
    }

    fn vpc(&self, index: VpcIndex) -> Option<&'a intent::Vpc> {
        *self.vpcs.get(index.0 as usize)?
    }

    fn mapping(&self, placed: &Placed<'a>) -> Option<Mapping> {
        let spec = &placed.object.spec;
        let location = if placed.is_local {
            Location::Local(*self.local_ids.get(placed.object.name().as_str())?)
        } else {
            Location::Remote(*self.tunnels.get(&(placed.vpc, placed.node))?)
        };
        let vtep = (*self.vteps.get(placed.node as usize)?)?;
        Some(Mapping { location, mac: spec.mac, subnet: placed.subnet, vtep })
    }

    fn snapshot(mut self) -> Snapshot {
        let members = self.members();
        let interfaces = self.compile_interfaces(&members);
        let subnets = self.compile_subnets();
        let vpcs = self.compile_vpcs(&subnets);
        Snapshot {
            epoch: 0,
            node: Arc::new(node(self.node)),
            tunnels: Arc::new(self.compile_tunnels()),
            by_vf: by_vf(&interfaces),
            by_vni: (0..)
                .zip(&vpcs)
                .filter_map(|(i, vpc)| Some((vpc.as_ref()?.vni, VpcIndex(i))))
                .collect(),
            interfaces,
            vpcs,
            subnets,
            members,
            last: self.last,
        }
    }

    fn compile_tunnels(&self) -> HashMap<TunnelId, Tunnel> {
        self.tunnels
            .iter()
            .filter_map(|((vpc, node), id)| {
                let vpc = self.vpc(*vpc)?;
                let tunnel = Tunnel {
                    node: self.node_name(*node)?.to_string(),
                    vtep: (*self.vteps.get(*node as usize)?)?,
                    vni: vpc.spec.vni,
                    dscp: vpc.spec.dscp.get(),
                };
                Some((*id, tunnel))
            })
            .collect()
    }

    fn compile_interfaces(&mut self, members: &Registry) -> HashMap<InterfaceId, Arc<Interface>> {
        let groups = self.compile_groups(members);
        let mut last = self.last;
        let mut interfaces = HashMap::new();
        for placed in &self.local {
            let Some(id) = self.local_ids.get(placed.object.name().as_str()).copied() else {
                continue;
            };
            let old = self.previous.and_then(|old| old.interface(id));
            let group = |name: &Name| groups.get(name.as_str()).cloned();
            let place = (placed.vpc, placed.subnet);
            interfaces.insert(id, interface(placed.object, id, place, group, old, &mut last));
        }
        self.last = last;
        interfaces
    }

    /// The groups that local interfaces have.
    fn used_groups(&self) -> impl Iterator<Item = &'a intent::SecurityGroup> {
        let used: HashSet<&str> = self
            .local
            .iter()
            .flat_map(|placed| &placed.object.spec.security_groups)
            .map(Name::as_str)
            .collect();
        used.into_iter().filter_map(|name| self.intent.security_groups().get(name))
    }

    fn compile_groups(&self, members: &Registry) -> HashMap<&'a str, Arc<Group>> {
        let old: HashMap<&str, &Arc<Group>> = self
            .previous
            .into_iter()
            .flat_map(|old| old.interfaces.values())
            .flat_map(|interface| &interface.groups)
            .map(|group| (group.name.as_str(), group))
            .collect();
        self.used_groups()
            .map(|object| {
                let name = object.name().as_str();
                (name, rules::group(object, members, old.get(name).copied()))
            })
            .collect()
    }

    /// The addresses of all groups that rules of used groups name.
    fn members(&self) -> Registry {
        let mut addresses: HashMap<&str, Vec<IpAddr>> = self
            .used_groups()
            .flat_map(|group| rules::named(&group.spec))
            .map(|name| (name.as_str(), Vec::new()))
            .collect();
        if !addresses.is_empty() {
            for Placed { object, .. } in &self.interfaces {
                for group in &object.spec.security_groups {
                    if let Some(addresses) = addresses.get_mut(group.as_str()) {
                        addresses.extend(&object.spec.addresses);
                    }
                }
            }
        }
        addresses
            .into_iter()
            .filter_map(|(group, addresses)| {
                let name = self.intent.security_groups().get(group)?.name().clone();
                let old = self.previous.and_then(|old| old.members.get(group));
                Some((name, rules::members(group, addresses, old)))
            })
            .collect()
    }

    fn compile_subnets(&mut self) -> Vec<Option<Arc<Subnet>>> {
        let sets = self.route_sets();
        // Equal sets are one, within this snapshot and with the one before: a set's generation stands for its content.
        let mut known: HashMap<&[(IpNet, RouteTarget)], Arc<RouteSet>> = HashMap::new();
        for (_, subnet) in self.previous.into_iter().flat_map(Snapshot::subnets) {
            known.insert(subnet.routes.routes(), Arc::clone(&subnet.routes));
        }
        let mut last = self.last.generation;
        let subnets = (0..)
            .map(SubnetIndex)
            .zip(&self.subnets)
            .map(|(index, subnet)| {
                let subnet = (*subnet)?;
                let spec = &subnet.spec;
                let key = (spec.vpc.as_str(), spec.route_table.as_deref());
                let effective = sets.get(&key).map_or(&[][..], |routes| &routes[..]);
                let routes = known.entry(effective).or_insert_with(|| {
                    Arc::new(RouteSet::compile(effective.to_vec(), next(&mut last)))
                });
                let vpc = VpcIndex(*self.vpc_numbers.get(spec.vpc.as_str())?);
                let (v4, v6) = gateways(&spec.cidrs);
                let same = self.previous.and_then(|old| old.subnet(index)).filter(|old| {
                    old.name == subnet.name().as_str() && Arc::ptr_eq(&old.routes, routes)
                });
                Some(Arc::new(Subnet {
                    name: subnet.name().to_string(),
                    vpc,
                    v4,
                    v6,
                    gateway_mac: spec.gateway_mac,
                    dns: spec.dns.clone(),
                    routes: Arc::clone(routes),
                    routes_since: same.map_or_else(|| next(&mut last), |old| old.routes_since),
                }))
            })
            .collect();
        self.last.generation = last;
        subnets
    }

    /// The effective routes of each pair of VPC and table that a subnet has.
    #[allow(clippy::type_complexity, reason = "one use, and the parts are plain")]
    fn route_sets(&self) -> HashMap<(&'a str, Option<&'a str>), Vec<(IpNet, RouteTarget)>> {
        let used: HashSet<(&str, Option<&str>)> = self
            .subnets
            .iter()
            .flatten()
            .map(|subnet| (subnet.spec.vpc.as_str(), subnet.spec.route_table.as_deref()))
            .collect();
        let mapping = |name: &Name| {
            let inventory = self.intent.inventory();
            let object = inventory.interfaces.get(name)?;
            self.mapping(&Placed {
                object,
                vpc: VpcIndex(*self.vpc_numbers.get(vpc_of(inventory, object)?)?),
                subnet: self.subnet_index(&object.spec.subnet)?,
                node: inventory.nodes.place(&object.spec.node)?,
                is_local: object.spec.node == *self.node.name(),
            })
        };
        used.into_iter()
            .map(|(vpc, table)| ((vpc, table), routes(self.intent, vpc, table, mapping)))
            .collect()
    }

    fn subnet_index(&self, name: &str) -> Option<SubnetIndex> {
        let mut subnets = self.subnets.iter();
        let is_it = |subnet: &intent::Subnet| subnet.name().as_str() == name;
        Some(SubnetIndex(subnets.position(|subnet| subnet.is_some_and(is_it))? as u32))
    }

    fn compile_vpcs(&mut self, subnets: &[Option<Arc<Subnet>>]) -> Vec<Option<Arc<Vpc>>> {
        let mut addresses = vec![0; self.vpcs.len()];
        for placed in &self.interfaces {
            if let Some(count) = addresses.get_mut(placed.vpc.0 as usize) {
                *count += placed.object.spec.addresses.len();
            }
        }
        let mut drafts: Vec<Draft> = addresses.into_iter().map(Draft::new).collect();
        for placed in &self.interfaces {
            let (spec, Some(mapping)) = (&placed.object.spec, self.mapping(placed)) else {
                continue;
            };
            let Some(draft) = drafts.get_mut(placed.vpc.0 as usize) else { continue };
            for address in &spec.addresses {
                draft.by_address.insert(*address, mapping);
            }
            match mapping.location {
                Location::Local(id) => {
                    draft.local_by_mac.insert(spec.mac, id);
                }
                Location::Remote(_) if !spec.anti_spoof => draft.open_vteps.push(mapping.vtep),
                Location::Remote(_) => {}
            }
        }
        for ((vpc, node), id) in &self.tunnels {
            let name = self.node_name(*node);
            if let (Some(draft), Some(name)) = (drafts.get_mut(vpc.0 as usize), name) {
                draft.tunnels.insert(name.clone(), *id);
            }
        }
        let old_surroundings = self.previous.map(|old| surroundings(&old.subnets));
        let new_surroundings = surroundings(subnets);
        let mut last = self.last.generation;
        let vpcs = (0..)
            .map(VpcIndex)
            .zip(&self.vpcs)
            .zip(drafts)
            .map(|((index, vpc), mut draft)| {
                let vpc = (*vpc)?;
                draft.open_vteps.sort_unstable();
                draft.open_vteps.dedup();
                let unchanged = self.previous.and_then(|old| old.vpc(index)).filter(|old| {
                    old.name == vpc.name().as_str()
                        && old.mtu == vpc.spec.mtu
                        && old.mappings.open_vteps == draft.open_vteps
                        && old.mappings.by_address == draft.by_address
                        && old_surroundings.as_ref().and_then(|old| old.get(&index))
                            == new_surroundings.get(&index)
                });
                let mappings = unchanged.map_or_else(
                    || {
                        Arc::new(Mappings {
                            generation: next(&mut last),
                            by_address: draft.by_address,
                            open_vteps: draft.open_vteps,
                        })
                    },
                    |old| Arc::clone(&old.mappings),
                );
                Some(Arc::new(Vpc {
                    name: vpc.name().to_string(),
                    vni: vpc.spec.vni,
                    mtu: vpc.spec.mtu,
                    dscp: vpc.spec.dscp.get(),
                    mappings,
                    local_by_mac: draft.local_by_mac,
                    tunnels: draft.tunnels,
                }))
            })
            .collect();
        self.last.generation = last;
        vpcs
    }
}

/// The interfaces, anywhere, of VPCs that have a number.
fn placed<'a>(
    inventory: &'a Inventory,
    node: &intent::Node,
    vpc_numbers: &HashMap<&str, u32>,
    subnet_numbers: &HashMap<&str, u32>,
) -> Vec<Placed<'a>> {
    let mut numbers = vec![None; inventory.subnets.places()];
    for (place, subnet) in inventory.subnets.placed() {
        let vpc = vpc_numbers.get(subnet.spec.vpc.as_str());
        let subnet = subnet_numbers.get(subnet.name().as_str());
        if let (Some(vpc), Some(subnet), Some(slot)) =
            (vpc, subnet, numbers.get_mut(place as usize))
        {
            *slot = Some((VpcIndex(*vpc), SubnetIndex(*subnet)));
        }
    }
    let own = inventory.nodes.place(node.name());
    inventory
        .interfaces
        .iter()
        .filter_map(|object| {
            let subnet = inventory.subnets.place(&object.spec.subnet)?;
            let (vpc, subnet) = (*numbers.get(subnet as usize)?)?;
            let node = inventory.nodes.place(&object.spec.node)?;
            Some(Placed { object, vpc, subnet, node, is_local: Some(node) == own })
        })
        .collect()
}

fn vpc_of<'a>(inventory: &'a Inventory, interface: &intent::Interface) -> Option<&'a str> {
    Some(inventory.subnets.get(&interface.spec.subnet)?.spec.vpc.as_str())
}

/// A VPC's mappings while they are collected.
struct Draft {
    by_address: MappingTable,
    open_vteps: Vec<VtepAddr>,
    local_by_mac: HashMap<Mac, InterfaceId>,
    tunnels: HashMap<Name, TunnelId>,
}

impl Draft {
    /// With room for so many addresses.
    fn new(addresses: usize) -> Self {
        Self {
            by_address: MappingTable::new(addresses),
            open_vteps: Vec::new(),
            local_by_mac: HashMap::new(),
            tunnels: HashMap::new(),
        }
    }
}

fn in_place<'a, S>(
    objects: impl Iterator<Item = &'a intent::Object<S>>,
    numbers: &HashMap<&str, u32>,
) -> Vec<Option<&'a intent::Object<S>>> {
    let length = numbers.values().max().map_or(0, |highest| *highest as usize + 1);
    let mut places = vec![None; length];
    for object in objects {
        if let Some(place) =
            numbers.get(object.name().as_str()).and_then(|number| places.get_mut(*number as usize))
        {
            *place = Some(object);
        }
    }
    places
}

/// What of a VPC's subnets goes into decisions.
type Surroundings<'a> =
    Vec<(SubnetIndex, &'a [(ipnet::Ipv4Net, Ipv4Addr)], &'a [(ipnet::Ipv6Net, Ipv6Addr)], Mac)>;

fn surroundings(subnets: &[Option<Arc<Subnet>>]) -> HashMap<VpcIndex, Surroundings<'_>> {
    let mut of_vpc: HashMap<VpcIndex, Surroundings<'_>> = HashMap::new();
    for (index, subnet) in (0..).map(SubnetIndex).zip(subnets) {
        if let Some(subnet) = subnet {
            let facts = (index, &subnet.v4[..], &subnet.v6[..], subnet.gateway_mac);
            of_vpc.entry(subnet.vpc).or_default().push(facts);
        }
    }
    of_vpc
}

/// Prefixes by family, each with its first host address.
#[allow(clippy::type_complexity, reason = "the shape of the snapshot's subnet")]
fn gateways(cidrs: &[IpNet]) -> (Vec<(ipnet::Ipv4Net, Ipv4Addr)>, Vec<(ipnet::Ipv6Net, Ipv6Addr)>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for cidr in cidrs {
        match (cidr, intent::gateway_of(*cidr)) {
            (IpNet::V4(cidr), IpAddr::V4(gateway)) => v4.push((*cidr, gateway)),
            (IpNet::V6(cidr), IpAddr::V6(gateway)) => v6.push((*cidr, gateway)),
            _ => {}
        }
    }
    (v4, v6)
}
