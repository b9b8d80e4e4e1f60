//! Whether the objects fit together: names, references, addresses, the underlay.

mod addresses;
mod underlay;

pub(super) use addresses::Misplaced;
use hashbrown::HashMap;
use packet::Vni;
pub(super) use underlay::room;

use super::Source;
use super::draft::{Draft, Drafts, SecurityGroupDraft};
use super::name::Name;
use super::object::{
    InterfaceSpec, NodeSpec, Peer, RouteTableSpec, SecurityGroupSpec, Spec, SubnetSpec, Via,
    VpcSpec,
};
use super::reader::did_you_mean;
use super::report::{At, Position, Report};
use crate::vni;

/// What the checks found out about each VPC, in the order of the drafts.
pub(super) struct Settled {
    pub(super) vni: Option<Vni>,
    pub(super) mtu: u16,
}

/// Checks everything that takes more than one object to see, and settles what intent leaves open.
pub(super) fn check(drafts: &Drafts, sources: &[Source<'_>], report: &mut Report) -> Vec<Settled> {
    let mut checker = Checker { drafts, sources, report, comparisons_left: 100_000 };
    let names = checker.names();
    let links = checker.links(&names);
    checker.vnis();
    checker.vteps();
    checker.prefixes(&links);
    checker.interfaces(&links);
    let mtus = checker.mtus(&links);
    let vnis = checker.allocate();
    vnis.into_iter().zip(mtus).map(|(vni, mtu)| Settled { vni, mtu }).collect()
}

struct Checker<'c> {
    drafts: &'c Drafts,
    sources: &'c [Source<'c>],
    report: &'c mut Report,
    /// How many more names may be compared with misspelt ones: proposals must not make a large intent slow.
    comparisons_left: usize,
}

/// Where each name's draft is in its list.
type Index<'c> = HashMap<&'c str, usize>;

/// The names of all objects.
struct Names<'c> {
    nodes: Index<'c>,
    vpcs: Index<'c>,
    subnets: Index<'c>,
    interfaces: Index<'c>,
    security_groups: Index<'c>,
    route_tables: Index<'c>,
}

/// Which draft each draft refers to, as positions in their lists; `None` where that is not known.
struct Links {
    vpc_of_subnet: Vec<Option<usize>>,
    subnet_of_interface: Vec<Option<usize>>,
    node_of_interface: Vec<Option<usize>>,
}

impl Links {
    fn vpc_of_interface(&self, interface: usize) -> Option<usize> {
        let subnet = (*self.subnet_of_interface.get(interface)?)?;
        *self.vpc_of_subnet.get(subnet)?
    }
}

impl<'c> Checker<'c> {
    fn error<S: Spec>(
        &mut self,
        name: &Name,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let object = format!("{}/{name}", S::KIND);
        self.report.error(at, Some(object), message, Some(hint.into()));
    }

    /// A place for a message.
    fn place(&self, at: Position) -> String {
        let file = self.sources.get(at.source as usize).map_or("", |source| source.name);
        // What is in force already has no line.
        if at.line == 0 { file.to_owned() } else { format!("{file}:{}", at.line) }
    }

    fn names(&mut self) -> Names<'c> {
        let drafts = self.drafts;
        Names {
            nodes: self.index::<_, NodeSpec>(&drafts.nodes),
            vpcs: self.index::<_, VpcSpec>(&drafts.vpcs),
            subnets: self.index::<_, SubnetSpec>(&drafts.subnets),
            interfaces: self.index::<_, InterfaceSpec>(&drafts.interfaces),
            security_groups: self.index::<_, SecurityGroupSpec>(&drafts.security_groups),
            route_tables: self.index::<_, RouteTableSpec>(&drafts.route_tables),
        }
    }

    fn index<D, S: Spec>(&mut self, drafts: &'c [Draft<D>]) -> Index<'c> {
        let mut index = Index::with_capacity(drafts.len());
        for (position, draft) in drafts.iter().enumerate() {
            let name = &draft.name;
            if let Some(first) = index.get(name.value.as_str()).and_then(|first| drafts.get(*first))
            {
                let first = self.place(first.name.at);
                let message = format!("there is another {} `{}`", S::KIND, name.value);
                let hint = format!("names are unique in their kind; the first is at {first}");
                self.error::<S>(&name.value, name.at, message, hint);
            } else {
                index.insert(name.value.as_str(), position);
            }
        }
        index
    }

    /// Follows a reference from an object of kind `S` to one of kind `T`.
    fn follow<S: Spec, T: Spec>(
        &mut self,
        from: &Name,
        to: &Name,
        at: Position,
        index: &Index<'_>,
    ) -> Option<usize> {
        let found = index.get(to.as_str()).copied();
        if found.is_none() {
            let proposal = if index.len() <= self.comparisons_left {
                self.comparisons_left -= index.len();
                // In the order of names, so that the proposal does not depend on a hash.
                let mut known: Vec<&str> = index.keys().copied().collect();
                known.sort_unstable();
                did_you_mean(to, known)
            } else {
                None
            };
            let hint = proposal.unwrap_or_else(|| format!("add the {}, or name another", T::KIND));
            self.error::<S>(from, at, format!("{} `{to}` does not exist", T::KIND), hint);
        }
        found
    }

    fn follow_field<S: Spec, T: Spec>(
        &mut self,
        from: &Name,
        to: Option<&At<Name>>,
        index: &Index<'_>,
    ) -> Option<usize> {
        let to = to?;
        self.follow::<S, T>(from, &to.value, to.at, index)
    }

    /// Reports a reference that leaves the VPC.
    fn same_vpc<S: Spec, T: Spec>(
        &mut self,
        from: (&Name, Option<usize>),
        to: (&Name, Option<usize>),
        at: Position,
    ) {
        let vpc = |index: usize| self.drafts.vpcs.get(index).map(|vpc| &vpc.name.value);
        if let (Some(own), Some(other)) = (from.1, to.1)
            && own != other
            && let (Some(own), Some(other)) = (vpc(own), vpc(other))
        {
            let message = format!("{} `{}` is of VPC `{other}`, not of `{own}`", T::KIND, to.0);
            let hint = format!("name one of VPC `{own}`");
            self.error::<S>(from.0, at, message, hint);
        }
    }

    /// Follows all references.
    fn links(&mut self, names: &Names<'_>) -> Links {
        let drafts = self.drafts;
        let vpc_of_table: Vec<_> = drafts
            .route_tables
            .iter()
            .map(|table| {
                let vpc = table.spec.as_ref()?.vpc.as_ref();
                self.follow_field::<RouteTableSpec, VpcSpec>(&table.name.value, vpc, &names.vpcs)
            })
            .collect();
        let vpc_of_group: Vec<_> = drafts
            .security_groups
            .iter()
            .map(|group| {
                let vpc = group.spec.as_ref()?.vpc.as_ref();
                self.follow_field::<SecurityGroupSpec, VpcSpec>(&group.name.value, vpc, &names.vpcs)
            })
            .collect();
        let vpc_of_subnet: Vec<_> = drafts
            .subnets
            .iter()
            .map(|subnet| {
                let name = &subnet.name.value;
                let spec = subnet.spec.as_ref()?;
                let vpc =
                    self.follow_field::<SubnetSpec, VpcSpec>(name, spec.vpc.as_ref(), &names.vpcs);
                if let Some(table) = &spec.route_table
                    && let Some(found) = self.follow::<SubnetSpec, RouteTableSpec>(
                        name,
                        &table.value,
                        table.at,
                        &names.route_tables,
                    )
                {
                    let to = (&table.value, vpc_of_table.get(found).copied().flatten());
                    self.same_vpc::<SubnetSpec, RouteTableSpec>((name, vpc), to, table.at);
                }
                vpc
            })
            .collect();
        let mut links = Links {
            vpc_of_subnet,
            subnet_of_interface: Vec::with_capacity(drafts.interfaces.len()),
            node_of_interface: Vec::with_capacity(drafts.interfaces.len()),
        };
        for interface in &drafts.interfaces {
            let name = &interface.name.value;
            let Some(spec) = &interface.spec else {
                links.subnet_of_interface.push(None);
                links.node_of_interface.push(None);
                continue;
            };
            let subnet = self.follow_field::<InterfaceSpec, SubnetSpec>(
                name,
                spec.subnet.as_ref(),
                &names.subnets,
            );
            links.subnet_of_interface.push(subnet);
            let node = self.follow_field::<InterfaceSpec, NodeSpec>(
                name,
                spec.node.as_ref(),
                &names.nodes,
            );
            links.node_of_interface.push(node);
            let vpc = subnet.and_then(|subnet| links.vpc_of_subnet.get(subnet).copied().flatten());
            for group in &spec.security_groups {
                if let Some(found) = self.follow::<InterfaceSpec, SecurityGroupSpec>(
                    name,
                    &group.value,
                    group.at,
                    &names.security_groups,
                ) {
                    let to = (&group.value, vpc_of_group.get(found).copied().flatten());
                    self.same_vpc::<InterfaceSpec, SecurityGroupSpec>((name, vpc), to, group.at);
                }
            }
        }
        self.peers(names, &vpc_of_group);
        self.route_targets(names, &vpc_of_table, &links);
        links
    }

    /// Groups that rules name.
    fn peers(&mut self, names: &Names<'_>, vpc_of_group: &[Option<usize>]) {
        for (group, vpc) in self.drafts.security_groups.iter().zip(vpc_of_group) {
            let name = &group.name.value;
            let rules = group.spec.iter().flat_map(SecurityGroupDraft::rules);
            for peer in rules.filter_map(|rule| rule.peer.as_ref()) {
                if let Peer::SecurityGroup(to) = &peer.value
                    && let Some(found) = self.follow::<SecurityGroupSpec, SecurityGroupSpec>(
                        name,
                        to,
                        peer.at,
                        &names.security_groups,
                    )
                {
                    let to = (to, vpc_of_group.get(found).copied().flatten());
                    self.same_vpc::<SecurityGroupSpec, SecurityGroupSpec>(
                        (name, *vpc),
                        to,
                        peer.at,
                    );
                }
            }
        }
    }

    /// Interfaces that routes lead to.
    fn route_targets(&mut self, names: &Names<'_>, vpc_of_table: &[Option<usize>], links: &Links) {
        for (table, vpc) in self.drafts.route_tables.iter().zip(vpc_of_table) {
            let name = &table.name.value;
            let routes = table.spec.iter().flat_map(|spec| &spec.routes);
            for via in routes.filter_map(|route| route.via.as_ref()) {
                if let Via::Interface(to) = &via.value
                    && let Some(found) = self.follow::<RouteTableSpec, InterfaceSpec>(
                        name,
                        to,
                        via.at,
                        &names.interfaces,
                    )
                {
                    let to = (to, links.vpc_of_interface(found));
                    self.same_vpc::<RouteTableSpec, InterfaceSpec>((name, *vpc), to, via.at);
                }
            }
        }
    }

    /// No VNI twice.
    fn vnis(&mut self) {
        let mut seen: HashMap<Vni, Position> = HashMap::new();
        for vpc in &self.drafts.vpcs {
            let Some(vni) = vpc.spec.as_ref().and_then(|spec| spec.vni) else { continue };
            if let Some(first) = seen.get(&vni.value) {
                let hint = format!("give another; the first is at {}", self.place(*first));
                let message = format!("VNI {} is another VPC's", vni.value);
                self.error::<VpcSpec>(&vpc.name.value, vni.at, message, hint);
            } else {
                seen.insert(vni.value, vni.at);
            }
        }
    }

    /// The VNI of each VPC.
    fn allocate(&mut self) -> Vec<Option<Vni>> {
        let vpcs = &self.drafts.vpcs;
        let given = |index: usize| Some(vpcs.get(index)?.spec.as_ref()?.vni?.value);
        let mut vnis: Vec<Option<Vni>> = (0..vpcs.len()).map(given).collect();
        let mut without: Vec<usize> =
            (0..vpcs.len()).filter(|index| given(*index).is_none()).collect();
        let name = |index: usize| vpcs.get(index).map_or("", |vpc| vpc.name.value.as_str());
        without.sort_unstable_by_key(|index| name(*index));
        let names = without.iter().map(|index| name(*index));
        if let Some(allocated) = vni::allocate(vnis.iter().flatten().copied(), names) {
            for (index, vni) in without.into_iter().zip(allocated) {
                if let Some(place) = vnis.get_mut(index) {
                    *place = Some(vni);
                }
            }
        } else if let Some(vpc) = without.last().and_then(|index| vpcs.get(*index)) {
            let message = "no VNI is left for this VPC";
            self.error::<VpcSpec>(&vpc.name.value, vpc.name.at, message, "remove a VPC");
        }
        vnis
    }
}
