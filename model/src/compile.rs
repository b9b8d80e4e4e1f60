//! From intent to one node's snapshot.
//!
//! Numbers, generations and shared parts come from the snapshot before: what has the same effect keeps its number, its
//! generation and, where it is shared, its memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use packet::{Mac, VtepAddr};
use thiserror::Error;

use crate::intent::{self, Intent, Name, Via};
use crate::policy::{self, Group, Members, Remote};
use crate::route::{RouteSet, RouteTarget};
use crate::snapshot::{
    Interface, InterfaceId, LastNumbers, Location, Mapping, Mappings, Node, Snapshot, Subnet,
    SubnetIndex, Tunnel, TunnelId, Vpc, VpcIndex,
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
        let mut compiler = Compiler::new(intent, node, previous);
        let mut snapshot = compiler.snapshot();
        snapshot.epoch = match previous {
            None => 1,
            Some(old) if has_same_content(old, &snapshot) => old.epoch,
            Some(old) => old.epoch + 1,
        };
        Ok(snapshot)
    }
}

/// Whether nothing that a reader of the snapshots can see differs.
fn has_same_content(old: &Snapshot, new: &Snapshot) -> bool {
    let same_vpc = |a: &Vpc, b: &Vpc| {
        a.name == b.name
            && (a.vni, a.mtu, a.dscp) == (b.vni, b.mtu, b.dscp)
            && Arc::ptr_eq(&a.mappings, &b.mappings)
            && a.local_by_mac == b.local_by_mac
    };
    let same_subnet = |a: &Subnet, b: &Subnet| {
        a.name == b.name
            && a.vpc == b.vpc
            && a.dns == b.dns
            && (&a.v4, &a.v6, a.gateway_mac) == (&b.v4, &b.v6, b.gateway_mac)
            && Arc::ptr_eq(&a.routes, &b.routes)
    };
    old.node == new.node
        && old.tunnels == new.tunnels
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
    /// All interfaces, anywhere, of these VPCs; by name.
    interfaces: Vec<Placed<'a>>,
    tunnels: HashMap<(VpcIndex, &'a str), TunnelId>,
    vteps: HashMap<&'a str, VtepAddr>,
    local_ids: HashMap<&'a str, InterfaceId>,
}

impl<'a> Compiler<'a> {
    fn new(intent: &'a Intent, node: &'a intent::Node, previous: Option<&'a Snapshot>) -> Self {
        let vpc_of_subnet: HashMap<&str, &str> = intent
            .subnets()
            .iter()
            .map(|subnet| (subnet.name().as_str(), subnet.spec.vpc.as_str()))
            .collect();
        let taking_part: HashSet<&str> = intent
            .interfaces()
            .iter()
            .filter(|interface| interface.spec.node == *node.name())
            .filter_map(|interface| vpc_of_subnet.get(interface.spec.subnet.as_str()).copied())
            .collect();

        let vpcs = intent.vpcs().iter().filter(|vpc| taking_part.contains(vpc.name().as_str()));
        let subnets =
            intent.subnets().iter().filter(|subnet| taking_part.contains(subnet.spec.vpc.as_str()));
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
        let interfaces = intent
            .interfaces()
            .iter()
            .filter_map(|object| {
                let subnet = object.spec.subnet.as_str();
                Some(Placed {
                    object,
                    vpc: VpcIndex(*vpc_numbers.get(*vpc_of_subnet.get(subnet)?)?),
                    subnet: SubnetIndex(*subnet_numbers.get(subnet)?),
                    is_local: object.spec.node == *node.name(),
                })
            })
            .collect();
        let vteps =
            intent.nodes().iter().map(|node| (node.name().as_str(), node.spec.vtep)).collect();

        let mut compiler = Self {
            intent,
            node,
            previous,
            last: previous.map_or_else(LastNumbers::default, |old| old.last),
            vpcs: in_place(vpcs, &vpc_numbers),
            vpc_numbers,
            subnets: in_place(subnets, &subnet_numbers),
            interfaces,
            tunnels: HashMap::new(),
            vteps,
            local_ids: HashMap::new(),
        };
        compiler.number_interfaces();
        compiler.number_tunnels();
        compiler
    }

    fn local(&self) -> impl Iterator<Item = &Placed<'a>> {
        self.interfaces.iter().filter(|placed| placed.is_local)
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
        for Placed { object, vpc, .. } in self.local() {
            let name = object.name().as_str();
            let vpc = self.vpc(*vpc).map_or("", |vpc| vpc.name().as_str());
            let id = old.get(&(name, vpc, object.spec.vf.0, object.spec.mac)).copied();
            ids.insert(name, id.unwrap_or_else(|| InterfaceId(next(&mut last))));
        }
        self.local_ids = ids;
        self.last.interface = last;
    }

    fn number_tunnels(&mut self) {
        // A VNI names a VPC, and the VPC's number stays as long as its name does.
        let old: HashMap<(VpcIndex, &str), TunnelId> = self
            .previous
            .into_iter()
            .flat_map(|old| old.tunnels.iter().map(move |tunnel| (old, tunnel)))
            .filter_map(|(old, (id, tunnel))| {
                let name = old.vpc_of_vni(tunnel.vni)?.name.as_str();
                Some(((VpcIndex(*self.vpc_numbers.get(name)?), tunnel.node.as_str()), *id))
            })
            .collect();
        let mut pairs: Vec<(VpcIndex, &str)> = self
            .interfaces
            .iter()
            .filter(|placed| !placed.is_local)
            .map(|placed| (placed.vpc, placed.object.spec.node.as_str()))
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        pairs.sort_unstable();
        for pair in pairs {
            let id = old.get(&pair).copied();
            self.tunnels.insert(pair, id.unwrap_or_else(|| TunnelId(next(&mut self.last.tunnel))));
        }
    }

    fn vpc(&self, index: VpcIndex) -> Option<&'a intent::Vpc> {
        *self.vpcs.get(index.0 as usize)?
    }

    fn mapping(&self, placed: &Placed<'a>) -> Option<Mapping> {
        let spec = &placed.object.spec;
        let location = if placed.is_local {
            Location::Local(*self.local_ids.get(placed.object.name().as_str())?)
        } else {
            Location::Remote(*self.tunnels.get(&(placed.vpc, spec.node.as_str()))?)
        };
        let vtep = *self.vteps.get(spec.node.as_str())?;
        Some(Mapping { location, mac: spec.mac, subnet: placed.subnet, vtep })
    }

    fn snapshot(&mut self) -> Snapshot {
        let interfaces = self.compile_interfaces();
        let subnets = self.compile_subnets();
        let vpcs = self.compile_vpcs(&subnets);
        Snapshot {
            epoch: 0,
            node: self.compile_node(),
            tunnels: self.compile_tunnels(),
            by_vf: interfaces.values().map(|interface| (interface.vf, interface.id)).collect(),
            by_vni: (0..)
                .zip(&vpcs)
                .filter_map(|(i, vpc)| Some((vpc.as_ref()?.vni, VpcIndex(i))))
                .collect(),
            interfaces,
            vpcs,
            subnets,
            last: self.last,
        }
    }

    fn compile_node(&self) -> Node {
        let spec = &self.node.spec;
        Node {
            name: self.node.name().to_string(),
            vtep: spec.vtep,
            mac: spec.mac,
            underlay_prefix: spec.underlay.prefix,
            underlay_mtu: spec.underlay.mtu,
            gateway: spec.underlay.gateway,
            neighbors: spec.underlay.neighbors.iter().map(|(ip, mac)| (*ip, *mac)).collect(),
        }
    }

    fn compile_tunnels(&self) -> HashMap<TunnelId, Tunnel> {
        self.tunnels
            .iter()
            .filter_map(|((vpc, node), id)| {
                let vpc = self.vpc(*vpc)?;
                let tunnel = Tunnel {
                    node: (*node).to_owned(),
                    vtep: *self.vteps.get(node)?,
                    vni: vpc.spec.vni,
                    dscp: vpc.spec.dscp.get(),
                };
                Some((*id, tunnel))
            })
            .collect()
    }

    fn compile_interfaces(&mut self) -> HashMap<InterfaceId, Arc<Interface>> {
        let groups = self.compile_groups();
        let mut last = self.last.generation;
        let mut interfaces = HashMap::new();
        for placed in self.local() {
            let (name, spec) = (placed.object.name(), &placed.object.spec);
            let Some(id) = self.local_ids.get(name.as_str()).copied() else { continue };
            let mut names: Vec<&Name> = spec.security_groups.iter().collect();
            names.sort();
            let mut interface = Interface {
                id,
                name: name.to_string(),
                vf: spec.vf,
                mac: spec.mac,
                addresses: spec.addresses.clone(),
                subnet: placed.subnet,
                vpc: placed.vpc,
                groups: names
                    .iter()
                    .filter_map(|name| groups.get(name.as_str()).cloned())
                    .collect(),
                anti_spoof: spec.anti_spoof,
                enabled: spec.enabled,
                policy_generation: 0,
            };
            let old = self.previous.and_then(|old| old.interface(id));
            let shared = match old.filter(|old| decides_alike(old, &interface)) {
                Some(old)
                    if old.groups.iter().zip(&interface.groups).all(|(a, b)| Arc::ptr_eq(a, b)) =>
                {
                    Arc::clone(old)
                }
                same => {
                    interface.policy_generation =
                        same.map_or_else(|| next(&mut last), |old| old.policy_generation);
                    Arc::new(interface)
                }
            };
            interfaces.insert(id, shared);
        }
        self.last.generation = last;
        interfaces
    }

    /// The groups that local interfaces have, by name.
    fn compile_groups(&self) -> HashMap<&'a str, Arc<Group>> {
        let used: HashSet<&str> = self
            .local()
            .flat_map(|placed| &placed.object.spec.security_groups)
            .map(Name::as_str)
            .collect();
        let specs: Vec<&intent::SecurityGroup> = self
            .intent
            .security_groups()
            .iter()
            .filter(|group| used.contains(group.name().as_str()))
            .collect();
        let members = self.members(&specs);
        let old: HashMap<&str, &Arc<Group>> = self
            .previous
            .into_iter()
            .flat_map(|old| old.interfaces.values())
            .flat_map(|interface| &interface.groups)
            .map(|group| (group.name.as_str(), group))
            .collect();

        specs
            .into_iter()
            .map(|group| {
                let name = group.name().as_str();
                let ingress: Option<Vec<_>> = group.spec.ingress.as_ref().map(|rules| {
                    rules.iter().map(|r| rule(r.traffic, r.from.as_ref(), &members)).collect()
                });
                let egress: Option<Vec<_>> = group.spec.egress.as_ref().map(|rules| {
                    rules.iter().map(|r| rule(r.traffic, r.to.as_ref(), &members)).collect()
                });
                let unchanged = old
                    .get(name)
                    .filter(|old| old.is_compiled_from(ingress.as_deref(), egress.as_deref()));
                let group = unchanged.map_or_else(
                    || Arc::new(Group::compile(name.to_owned(), ingress, egress)),
                    |old| Arc::clone(old),
                );
                (name, group)
            })
            .collect()
    }

    /// The addresses of all groups that rules of `groups` name.
    fn members(&self, groups: &[&'a intent::SecurityGroup]) -> HashMap<&'a str, Arc<Members>> {
        let peers = groups.iter().flat_map(|group| {
            let ingress = group.spec.ingress.iter().flatten().filter_map(|rule| rule.from.as_ref());
            let egress = group.spec.egress.iter().flatten().filter_map(|rule| rule.to.as_ref());
            ingress.chain(egress)
        });
        let mut addresses: HashMap<&str, Vec<IpAddr>> = peers
            .filter_map(|peer| match peer {
                intent::Peer::SecurityGroup(name) => Some((name.as_str(), Vec::new())),
                intent::Peer::Cidr(_) => None,
            })
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
            .map(|(group, mut addresses)| {
                addresses.sort_unstable();
                (group, Arc::new(Members { group: group.to_owned(), addresses }))
            })
            .collect()
    }

    fn compile_subnets(&mut self) -> Vec<Option<Subnet>> {
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
                Some(Subnet {
                    name: subnet.name().to_string(),
                    vpc,
                    v4,
                    v6,
                    gateway_mac: spec.gateway_mac,
                    dns: spec.dns.clone(),
                    routes: Arc::clone(routes),
                    routes_since: same.map_or_else(|| next(&mut last), |old| old.routes_since),
                })
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
        let tables: HashMap<&str, &intent::RouteTable> =
            self.intent.route_tables().iter().map(|table| (table.name().as_str(), table)).collect();
        let routes_of = |table: Option<&str>| {
            table.and_then(|name| tables.get(name)).map_or(&[][..], |table| &table.spec.routes[..])
        };
        let mut appliances: HashMap<&str, Option<Mapping>> = used
            .iter()
            .flat_map(|(_, table)| routes_of(*table))
            .filter_map(|route| match &route.via {
                Via::Interface(name) => Some((name.as_str(), None)),
                Via::Local {} | Via::Blackhole {} => None,
            })
            .collect();
        if !appliances.is_empty() {
            for placed in &self.interfaces {
                if let Some(mapping) = appliances.get_mut(placed.object.name().as_str()) {
                    *mapping = self.mapping(placed);
                }
            }
        }
        used.into_iter()
            .map(|(vpc, table)| {
                let explicit = routes_of(table).iter().filter_map(|route| {
                    let target = match &route.via {
                        Via::Local {} => RouteTarget::Local,
                        Via::Blackhole {} => RouteTarget::Blackhole,
                        Via::Interface(name) => {
                            RouteTarget::Interface((*appliances.get(name.as_str())?)?)
                        }
                    };
                    Some((route.destination, target))
                });
                let cidrs = self
                    .vpc_numbers
                    .get(vpc)
                    .and_then(|number| self.vpc(VpcIndex(*number)))
                    .map_or(&[][..], |vpc| &vpc.spec.cidrs[..]);
                ((vpc, table), RouteSet::effective(explicit, cidrs))
            })
            .collect()
    }

    fn compile_vpcs(&mut self, subnets: &[Option<Subnet>]) -> Vec<Option<Vpc>> {
        let mut drafts: Vec<Draft> = self.vpcs.iter().map(|_| Draft::default()).collect();
        for placed in &self.interfaces {
            if let Some(draft) = drafts.get_mut(placed.vpc.0 as usize) {
                draft.addresses += placed.object.spec.addresses.len();
            }
        }
        for draft in &mut drafts {
            draft.by_address.reserve(draft.addresses);
        }
        for placed in &self.interfaces {
            let (spec, Some(mapping)) = (&placed.object.spec, self.mapping(placed)) else {
                continue;
            };
            let Some(draft) = drafts.get_mut(placed.vpc.0 as usize) else { continue };
            draft.by_address.extend(spec.addresses.iter().map(|address| (*address, mapping)));
            match mapping.location {
                Location::Local(id) => {
                    draft.local_by_mac.insert(spec.mac, id);
                }
                Location::Remote(_) if !spec.anti_spoof => draft.open_vteps.push(mapping.vtep),
                Location::Remote(_) => {}
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
                Some(Vpc {
                    name: vpc.name().to_string(),
                    vni: vpc.spec.vni,
                    mtu: vpc.spec.mtu,
                    dscp: vpc.spec.dscp.get(),
                    mappings,
                    local_by_mac: draft.local_by_mac,
                })
            })
            .collect();
        self.last.generation = last;
        vpcs
    }
}

/// A VPC's mappings while they are collected.
#[derive(Default)]
struct Draft {
    /// How many there will be.
    addresses: usize,
    by_address: HashMap<IpAddr, Mapping>,
    open_vteps: Vec<VtepAddr>,
    local_by_mac: HashMap<Mac, InterfaceId>,
}

/// The next number of a row; a row of 2^32 numbers outlasts any chain of snapshots.
fn next(last: &mut u32) -> u32 {
    *last = last.wrapping_add(1).max(1);
    *last
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

/// What of a VPC's subnets goes into decisions.
type Surroundings<'a> =
    Vec<(SubnetIndex, &'a [(ipnet::Ipv4Net, Ipv4Addr)], &'a [(ipnet::Ipv6Net, Ipv6Addr)], Mac)>;

fn surroundings(subnets: &[Option<Subnet>]) -> HashMap<VpcIndex, Surroundings<'_>> {
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

/// A rule with its names resolved.
fn rule(
    traffic: intent::Traffic,
    peer: Option<&intent::Peer>,
    members: &HashMap<&str, Arc<Members>>,
) -> policy::Rule {
    let remote = match peer {
        None => Remote::Any,
        Some(intent::Peer::Cidr(prefix)) => Remote::Prefix(*prefix),
        Some(intent::Peer::SecurityGroup(name)) => {
            members.get(name.as_str()).map_or_else(
                // No members: matches nothing.
                || {
                    Remote::Members(Arc::new(Members {
                        group: name.to_string(),
                        addresses: Vec::new(),
                    }))
                },
                |members| Remote::Members(Arc::clone(members)),
            )
        }
    };
    policy::Rule { service: traffic.into(), remote }
}

impl From<intent::Traffic> for policy::Service {
    fn from(traffic: intent::Traffic) -> Self {
        use intent::Traffic;
        use policy::{ICMP, ICMPV6, TCP, UDP};
        let ports = |protocol, ports: Option<intent::PortRange>| match ports {
            Some(range) => Self::ports(protocol, range.first(), range.last()),
            None => Self::protocol(protocol),
        };
        let types = |protocol, icmp: Option<intent::IcmpType>| match icmp {
            Some(icmp) => Self::icmp(protocol, icmp.kind, icmp.code),
            None => Self::protocol(protocol),
        };
        match traffic {
            Traffic::Any => Self::ANY,
            Traffic::Tcp(range) => ports(TCP, range),
            Traffic::Udp(range) => ports(UDP, range),
            Traffic::Icmp(icmp) => types(ICMP, icmp),
            Traffic::Icmpv6(icmp) => types(ICMPV6, icmp),
            Traffic::Protocol(number) => Self::protocol(number),
        }
    }
}
