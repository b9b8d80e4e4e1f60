//! A change of some objects of an intent, at the price of what it touches.
//!
//! Interfaces, security groups and route tables are checked against the index ([`Index`]) only. Where that cannot tell that
//! everything fits, and for all other kinds, everything is checked anew: so every error is found, and told as if the whole
//! intent had been read. Either way the whole change is made, or nothing.

use hashbrown::HashSet;

use super::change::{Change, change};
use super::check::check;
use super::draft::{
    Draft, Drafts, InterfaceDraft, NodeDraft, RouteTableDraft, SecurityGroupDraft, SubnetDraft,
    VpcDraft,
};
use super::index::{HostsBefore, Index};
use super::object::{
    InterfaceSpec, NodeSpec, Object, RouteTableSpec, SecurityGroupSpec, Spec, SubnetSpec, VpcSpec,
};
use super::objects::{Inventory, ObjectName, Objects};
use super::report::{Position, Report};
use super::{Intent, Source, read};
use crate::diagnostic::Diagnostics;

/// What a change of some objects asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patch<'a> {
    /// Objects that are added, or take the place of those of their kind and name.
    pub sources: &'a [Source<'a>],
    /// Objects that are removed.
    pub removed: &'a [ObjectName],
}

/// A change that was made to an intent.
#[derive(Debug)]
pub struct Patched {
    changes: Vec<Change>,
    before: Before,
}

/// What there was before.
#[derive(Debug)]
enum Before {
    /// Of what was touched.
    Parts(Parts),
    /// All of it.
    Whole(Box<Intent>),
}

/// What was touched, by kind.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) security_groups: Vec<Part<SecurityGroupSpec>>,
    pub(crate) interfaces: Vec<Part<InterfaceSpec>>,
    pub(crate) route_tables: Vec<Part<RouteTableSpec>>,
}

/// A place of the inventory that has another object now, or none any more.
#[derive(Debug)]
pub(crate) struct Part<S> {
    pub(crate) place: u32,
    pub(crate) before: Option<Object<S>>,
}

/// So many of each kind of the parts are in the index.
#[derive(Default)]
struct Attached {
    security_groups: usize,
    interfaces: usize,
    route_tables: usize,
}

impl Patched {
    /// What became of which object.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether it was checked against what it touches only.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        matches!(self.before, Before::Parts(_))
    }

    /// What was touched, where that is known.
    pub(crate) const fn parts(&self) -> Option<&Parts> {
        match &self.before {
            Before::Parts(parts) => Some(parts),
            Before::Whole(_) => None,
        }
    }
}

impl Intent {
    /// Prepares for changes; otherwise the first one does it. Takes about as long as checking everything.
    pub fn prepare(&mut self) {
        if self.index.is_none() {
            self.index = Some(Box::new(Index::new(&self.inventory)));
        }
    }

    /// Makes a change, if the intent is without errors then.
    ///
    /// # Errors
    /// All errors there would be; nothing is changed.
    pub fn patch(&mut self, patch: &Patch<'_>) -> Result<Patched, Diagnostics> {
        let (drafts, report) = read(patch.sources);
        if report.is_empty()
            && !drafts.have_foundations()
            && let Some(parts) = self.patch_parts(drafts, patch.removed)
        {
            let changes = self.changes_of(&parts);
            return Ok(Patched { changes, before: Before::Parts(parts) });
        }
        let new = self.patch_whole(patch)?;
        let changes = new.changes_since(self);
        let before = Before::Whole(Box::new(std::mem::replace(self, new)));
        Ok(Patched { changes, before })
    }

    /// Takes back the last change that was made.
    pub fn revert(&mut self, patched: Patched) {
        match patched.before {
            Before::Whole(before) => *self = *before,
            Before::Parts(parts) => {
                let attached = Attached {
                    security_groups: parts.security_groups.len(),
                    interfaces: parts.interfaces.len(),
                    route_tables: parts.route_tables.len(),
                };
                let Some(mut index) = self.index.take() else { return };
                restore(&mut self.inventory, &mut index, parts, &attached);
                self.index = Some(index);
            }
        }
    }

    /// Makes a change of parts that the index knows to fit; nothing when it does not.
    fn patch_parts(&mut self, drafts: Drafts, removed: &[ObjectName]) -> Option<Parts> {
        let mut gone = [const { Vec::new() }; 3];
        for object in removed {
            let (list, place) = match &object.kind[..] {
                SecurityGroupSpec::KIND => (0, self.inventory.security_groups.place(&object.name)),
                InterfaceSpec::KIND => (1, self.inventory.interfaces.place(&object.name)),
                RouteTableSpec::KIND => (2, self.inventory.route_tables.place(&object.name)),
                _ => return None,
            };
            gone[list].push(place?);
        }
        let [groups_gone, interfaces_gone, tables_gone] = gone;
        let inventory = &self.inventory;
        let (groups, tables) = (&inventory.security_groups, &inventory.route_tables);
        let groups =
            Wanted::new(groups, drafts.security_groups, SecurityGroupDraft::finish, groups_gone)?;
        let interfaces = Wanted::new(
            &inventory.interfaces,
            drafts.interfaces,
            InterfaceDraft::finish,
            interfaces_gone,
        )?;
        let tables =
            Wanted::new(tables, drafts.route_tables, RouteTableDraft::finish, tables_gone)?;
        // Others stand on the VPC of a group or a table.
        let keeps_vpc = |new: &Object<SecurityGroupSpec>| {
            inventory.security_groups.get(new.name()).is_none_or(|it| it.spec.vpc == new.spec.vpc)
        };
        let table_keeps_vpc = |new: &Object<RouteTableSpec>| {
            inventory.route_tables.get(new.name()).is_none_or(|it| it.spec.vpc == new.spec.vpc)
        };
        let is_used = |table: &u32| {
            let name = inventory.route_tables.at(*table).map(Object::name);
            inventory.subnets.iter().any(|subnet| subnet.spec.route_table.as_ref() == name)
        };
        if !groups.given.iter().all(keeps_vpc)
            || !tables.given.iter().all(table_keeps_vpc)
            || tables.removed.iter().any(is_used)
        {
            return None;
        }

        self.prepare();
        let mut index = self.index.take()?;
        let inventory = &mut self.inventory;
        let mut before = HostsBefore::new();
        for place in tables.touched(&inventory.route_tables) {
            index.detach_table(inventory, place);
        }
        for place in interfaces.touched(&inventory.interfaces) {
            index.detach_interface(inventory, place, &mut before);
        }
        for place in groups.touched(&inventory.security_groups) {
            index.detach_group(inventory, place);
        }
        let parts = Parts {
            security_groups: groups.put_into(&mut inventory.security_groups),
            interfaces: interfaces.put_into(&mut inventory.interfaces),
            route_tables: tables.put_into(&mut inventory.route_tables),
        };
        let mut attached = Attached::default();
        let is_given = |vpc: &str| self.given.get(vpc).is_some_and(|given| given.mtu.is_some());
        let fits = attach(inventory, &mut index, &parts, &mut attached, &mut before).is_some()
            && nothing_dangles(inventory, &index, &parts)
            && index.keeps_mtus(inventory, &before, is_given);
        let parts = if fits {
            Some(parts)
        } else {
            restore(inventory, &mut index, parts, &attached);
            None
        };
        self.index = Some(index);
        parts
    }

    /// The intent after a change, with everything checked.
    fn patch_whole(&self, patch: &Patch<'_>) -> Result<Self, Diagnostics> {
        let (given, mut report) = read(patch.sources);
        let mut sources = patch.sources.to_vec();
        sources.push(Source { name: "removal", bytes: b"" });
        sources.push(Source { name: "intent in force", bytes: b"" });
        let nowhere = |source: usize| Position { source: source as u32, line: 0, column: 0 };
        let (removal, in_force) = (nowhere(sources.len() - 2), nowhere(sources.len() - 1));
        let removed = self.removed(patch.removed, &given, removal, &mut report);
        let mut drafts = self.drafts(&given, &removed, in_force);
        drafts.append(given);
        let settled = check(&drafts, &sources, &mut report);
        Self::accept(drafts, settled, report, &sources)
    }

    /// The objects that are to be removed, by kind and name, with an error for each that cannot be.
    fn removed<'r>(
        &self,
        removed: &'r [ObjectName],
        given: &Drafts,
        at: Position,
        report: &mut Report,
    ) -> HashSet<(&'r str, &'r str)> {
        let inventory = &self.inventory;
        let mut names = HashSet::new();
        for object in removed {
            let (kind, name) = (&object.kind[..], &object.name[..]);
            let (is_there, is_given) = match kind {
                NodeSpec::KIND => (inventory.nodes.get(name).is_some(), has(&given.nodes, name)),
                VpcSpec::KIND => (inventory.vpcs.get(name).is_some(), has(&given.vpcs, name)),
                SubnetSpec::KIND => {
                    (inventory.subnets.get(name).is_some(), has(&given.subnets, name))
                }
                InterfaceSpec::KIND => {
                    (inventory.interfaces.get(name).is_some(), has(&given.interfaces, name))
                }
                SecurityGroupSpec::KIND => (
                    inventory.security_groups.get(name).is_some(),
                    has(&given.security_groups, name),
                ),
                RouteTableSpec::KIND => {
                    (inventory.route_tables.get(name).is_some(), has(&given.route_tables, name))
                }
                _ => (false, false),
            };
            let (message, hint) = if !is_there {
                ("there is no such object to remove", "`penstock get KIND` shows those there are")
            } else if is_given {
                ("it is given and removed at once", "do one of them")
            } else if !names.insert((kind, name)) {
                ("it is removed twice", "leave one of them out")
            } else {
                continue;
            };
            report.error(at, Some(object.to_string()), message, Some(hint.to_owned()));
        }
        names
    }

    /// All objects but those that are given or removed, to be checked anew.
    fn drafts(&self, given: &Drafts, removed: &HashSet<(&str, &str)>, at: Position) -> Drafts {
        let inventory = &self.inventory;
        Drafts {
            nodes: kept(&inventory.nodes, &given.nodes, removed, at, |it| {
                NodeDraft::of(&it.spec, at)
            }),
            vpcs: kept(&inventory.vpcs, &given.vpcs, removed, at, |it| {
                VpcDraft::of(&it.spec, self.given(it.name()), at)
            }),
            subnets: kept(&inventory.subnets, &given.subnets, removed, at, |it| {
                SubnetDraft::of(&it.spec, at)
            }),
            interfaces: kept(&inventory.interfaces, &given.interfaces, removed, at, |it| {
                InterfaceDraft::of(&it.spec, at)
            }),
            security_groups: kept(
                &inventory.security_groups,
                &given.security_groups,
                removed,
                at,
                |it| SecurityGroupDraft::of(&it.spec, at),
            ),
            route_tables: kept(&inventory.route_tables, &given.route_tables, removed, at, |it| {
                RouteTableDraft::of(&it.spec, at)
            }),
        }
    }

    fn changes_of(&self, parts: &Parts) -> Vec<Change> {
        let inventory = &self.inventory;
        let mut changes = Vec::new();
        parts.interfaces.iter().for_each(|part| changes.extend(part.change(&inventory.interfaces)));
        for part in &parts.security_groups {
            changes.extend(part.change(&inventory.security_groups));
        }
        for part in &parts.route_tables {
            changes.extend(part.change(&inventory.route_tables));
        }
        changes.sort_by(|a, b| {
            let kinds = [InterfaceSpec::KIND, SecurityGroupSpec::KIND, RouteTableSpec::KIND];
            let place = |change: &Change| kinds.iter().position(|kind| *kind == change.kind);
            (place(a), &a.name).cmp(&(place(b), &b.name))
        });
        changes
    }
}

impl<S: Spec + PartialEq> Part<S> {
    fn change(&self, objects: &Objects<S>) -> Option<Change> {
        change(self.before.as_ref(), objects.at(self.place))
    }
}

fn has<D>(drafts: &[Draft<D>], name: &str) -> bool {
    drafts.iter().any(|draft| draft.name.value.as_str() == name)
}

/// The objects of a kind that are neither given nor removed.
fn kept<S: Spec, D>(
    objects: &Objects<S>,
    given: &[Draft<D>],
    removed: &HashSet<(&str, &str)>,
    at: Position,
    draft: impl Fn(&Object<S>) -> D,
) -> Vec<Draft<D>> {
    let given: HashSet<&str> = given.iter().map(|draft| draft.name.value.as_str()).collect();
    let is_kept = |name: &str| !given.contains(name) && !removed.contains(&(S::KIND, name));
    let kept = objects.iter().filter(|object| is_kept(object.name()));
    kept.map(|object| Draft::of(object, at, draft(object))).collect()
}

/// What is wanted of the objects of a kind.
struct Wanted<S> {
    /// Those that differ from what is there.
    given: Vec<Object<S>>,
    /// Places.
    removed: Vec<u32>,
}

impl<S: Spec + PartialEq> Wanted<S> {
    /// Nothing where an object is not whole, or is named twice.
    fn new<D>(
        objects: &Objects<S>,
        drafts: Vec<Draft<D>>,
        finish: impl Fn(D) -> Option<S>,
        removed: Vec<u32>,
    ) -> Option<Self> {
        let mut places: HashSet<u32> = removed.iter().copied().collect();
        let mut names = HashSet::new();
        let mut given = Vec::with_capacity(drafts.len());
        if places.len() < removed.len() {
            return None;
        }
        for draft in drafts {
            let object = draft.finish(&finish)?;
            let place = objects.place(object.name());
            let is_first = place.is_none_or(|place| places.insert(place));
            if !is_first || !names.insert(object.name().clone()) {
                return None;
            }
            if place.and_then(|place| objects.at(place)) != Some(&object) {
                given.push(object);
            }
        }
        Some(Self { given, removed })
    }

    /// Places whose object becomes another, or goes.
    fn touched(&self, objects: &Objects<S>) -> Vec<u32> {
        let replaced = self.given.iter().filter_map(|object| objects.place(object.name()));
        replaced.chain(self.removed.iter().copied()).collect()
    }

    /// New ones first: none takes the place of one that goes.
    fn put_into(self, objects: &mut Objects<S>) -> Vec<Part<S>> {
        let mut parts = Vec::with_capacity(self.given.len() + self.removed.len());
        for object in self.given {
            let (place, before) = objects.insert(object);
            parts.push(Part { place, before });
        }
        for place in self.removed {
            let before = objects.remove(place);
            parts.push(Part { place, before });
        }
        parts
    }
}

/// Puts into the index what is new in the inventory; stops at the first that does not fit.
fn attach(
    inventory: &Inventory,
    index: &mut Index,
    parts: &Parts,
    attached: &mut Attached,
    before: &mut HostsBefore,
) -> Option<()> {
    for part in &parts.security_groups {
        if inventory.security_groups.at(part.place).is_some() {
            index.attach_group(inventory, part.place)?;
        }
        attached.security_groups += 1;
    }
    for part in &parts.interfaces {
        if inventory.interfaces.at(part.place).is_some() {
            index.attach_interface(inventory, part.place, before)?;
        }
        attached.interfaces += 1;
    }
    for part in &parts.route_tables {
        if inventory.route_tables.at(part.place).is_some() {
            index.attach_table(inventory, part.place)?;
        }
        attached.route_tables += 1;
    }
    Some(())
}

/// Whether nothing that was not touched names something that is gone, or has moved to another VPC.
fn nothing_dangles(inventory: &Inventory, index: &Index, parts: &Parts) -> bool {
    let vpc_of = |interface: &Object<InterfaceSpec>| {
        inventory.subnets.get(&interface.spec.subnet).map(|subnet| &subnet.spec.vpc)
    };
    let group_is_right = |part: &Part<SecurityGroupSpec>| {
        inventory.security_groups.at(part.place).is_some() || index.is_group_free(part.place)
    };
    let interface_is_right = |part: &Part<InterfaceSpec>| {
        let vpc = inventory.interfaces.at(part.place).and_then(vpc_of);
        let mut tables =
            index.leading(part.place).iter().map(|table| inventory.route_tables.at(*table));
        tables.all(|table| table.is_some_and(|table| Some(&table.spec.vpc) == vpc))
    };
    parts.security_groups.iter().all(group_is_right)
        && parts.interfaces.iter().all(interface_is_right)
}

/// Puts back what was there before, of which so much is in the index.
fn restore(inventory: &mut Inventory, index: &mut Index, parts: Parts, attached: &Attached) {
    let mut before = HostsBefore::new();
    for part in parts.route_tables.iter().take(attached.route_tables) {
        index.detach_table(inventory, part.place);
    }
    for part in parts.interfaces.iter().take(attached.interfaces) {
        index.detach_interface(inventory, part.place, &mut before);
    }
    for part in parts.security_groups.iter().take(attached.security_groups) {
        index.detach_group(inventory, part.place);
    }
    let groups = put_back(&mut inventory.security_groups, parts.security_groups);
    let interfaces = put_back(&mut inventory.interfaces, parts.interfaces);
    let tables = put_back(&mut inventory.route_tables, parts.route_tables);
    // They all fitted before.
    for place in groups {
        let _ = index.attach_group(inventory, place);
    }
    for place in interfaces {
        let _ = index.attach_interface(inventory, place, &mut before);
    }
    for place in tables {
        let _ = index.attach_table(inventory, place);
    }
}

/// Puts objects back to their places; the places of those that are there then.
fn put_back<S>(objects: &mut Objects<S>, parts: Vec<Part<S>>) -> Vec<u32> {
    let mut places = Vec::with_capacity(parts.len());
    for Part { place, before } in parts {
        match before {
            None => drop(objects.remove(place)),
            Some(object) => {
                if objects.at(place).is_some() {
                    objects.insert(object);
                } else {
                    objects.put_back(place, object);
                }
                places.push(place);
            }
        }
    }
    places
}
