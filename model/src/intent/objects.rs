//! The objects of a kind.

use std::fmt;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::object::Object;

/// The objects of a kind, found by name. Each has a place, a small number that it keeps as long as it is there, also when
/// it becomes another under the same name.
#[derive(Clone)]
pub struct Objects<S> {
    places: Vec<Option<Object<S>>>,
    /// Places without an object.
    free: Vec<u32>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<S> Objects<S> {
    /// Objects of which no two have the same name, each at its place in the list.
    pub(super) fn new(list: Vec<Object<S>>) -> Self {
        let mut objects = Self {
            places: list.into_iter().map(Some).collect(),
            free: Vec::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        };
        let Self { places, by_name, hasher, .. } = &mut objects;
        by_name.reserve(places.len(), |_| 0);
        for (place, object) in (0..).zip(&*places) {
            let Some(object) = object else { continue };
            by_name.insert_unique(hasher.hash_one(object.name().as_str()), place, |place| {
                hash_at(places, hasher, *place)
            });
        }
        objects
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Object<S>> {
        self.places.iter().flatten()
    }

    /// All of them with their places.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u32, &Object<S>)> {
        (0..).zip(&self.places).filter_map(|(place, object)| Some((place, object.as_ref()?)))
    }

    /// All of them by name.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Object<S>> {
        let mut objects: Vec<_> = self.iter().collect();
        objects.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        objects
    }

    /// The one of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Object<S>> {
        self.at(self.place(name)?)
    }

    /// The place of the one of a name.
    pub(crate) fn place(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is_it = |place: &u32| self.at(*place).is_some_and(|it| it.name().as_str() == name);
        self.by_name.find(hash, is_it).copied()
    }

    /// The one at a place.
    pub(crate) fn at(&self, place: u32) -> Option<&Object<S>> {
        self.places.get(place as usize)?.as_ref()
    }

    /// No place is at or behind this one.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Puts an object in, where one of its name was or at a free place; with the one that it replaces.
    pub(super) fn insert(&mut self, object: Object<S>) -> (u32, Option<Object<S>>) {
        if let Some(place) = self.place(object.name()) {
            let slot = self.places.get_mut(place as usize);
            return (place, slot.and_then(|slot| slot.replace(object)));
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.fill(place, object);
        (place, None)
    }

    /// Puts an object back to the place that it was taken from.
    pub(super) fn put_back(&mut self, place: u32, object: Object<S>) {
        self.free.retain(|free| *free != place);
        self.fill(place, object);
    }

    fn fill(&mut self, place: u32, object: Object<S>) {
        let Self { places, by_name, hasher, .. } = self;
        let hash = hasher.hash_one(object.name().as_str());
        if let Some(slot) = places.get_mut(place as usize) {
            *slot = Some(object);
        }
        by_name.insert_unique(hash, place, |place| hash_at(places, hasher, *place));
    }

    /// Takes the object of a place out.
    pub(super) fn remove(&mut self, place: u32) -> Option<Object<S>> {
        let object = self.places.get_mut(place as usize)?.take()?;
        let hash = self.hasher.hash_one(object.name().as_str());
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.free.push(place);
        Some(object)
    }
}

fn hash_at<S>(places: &[Option<Object<S>>], hasher: &DefaultHashBuilder, place: u32) -> u64 {
    let name = places.get(place as usize).and_then(Option::as_ref).map_or("", |it| it.name());
    hasher.hash_one(name)
}

impl<S> Default for Objects<S> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<'a, S> IntoIterator for &'a Objects<S> {
    type Item = &'a Object<S>;
    type IntoIter = std::iter::Flatten<std::slice::Iter<'a, Option<Object<S>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.places.iter().flatten()
    }
}

/// Whether both have the same objects, wherever each has its place.
impl<S: PartialEq> PartialEq for Objects<S> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|it| other.get(it.name()) == Some(it))
    }
}

impl<S: Eq> Eq for Objects<S> {}

impl<S: fmt::Debug> fmt::Debug for Objects<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sorted()).finish()
    }
}

/// All kinds of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) nodes: Objects<super::NodeSpec>,
    pub(crate) vpcs: Objects<super::VpcSpec>,
    pub(crate) subnets: Objects<super::SubnetSpec>,
    pub(crate) interfaces: Objects<super::InterfaceSpec>,
    pub(crate) security_groups: Objects<super::SecurityGroupSpec>,
    pub(crate) route_tables: Objects<super::RouteTableSpec>,
}

/// Which object is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
