//! One group's rules, found by tuple space search: a hash table for each shape, best priority first.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::matcher::{KEY_BYTES, Matcher, Shape};
use super::rule::RuleId;
use super::subject::Subject;

/// Which of the rules that admit a packet takes it: the smallest rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    /// The rule's priority, 0 first.
    pub priority: u32,
    /// Decides at equal priority (where the order is undefined for rules that overlap, and up to the card for rules
    /// with the same pattern).
    pub order: u64,
}

/// Where a rule is in its table.
#[derive(Clone, Debug)]
pub enum Place {
    /// Among the rules of a shape, under the key in this slot.
    Exact(Arc<Shape>, u32),
    /// Among those with ranges.
    Ranged,
    /// Nowhere: no packet ever hits it.
    Nowhere,
}

/// The rules of one key, best first.
#[derive(Debug)]
struct Slot {
    first: (Rank, RuleId),
    /// All but the first. Few keys have such, but some have millions.
    #[expect(clippy::box_collection, reason = "it keeps every slot 24 bytes smaller")]
    others: Option<Box<BTreeMap<Rank, RuleId>>>,
}

impl Slot {
    fn insert(&mut self, rank: Rank, rule: RuleId) {
        let mut later = (rank, rule);
        if later.0 < self.first.0 {
            std::mem::swap(&mut later, &mut self.first);
        }
        self.others.get_or_insert_default().insert(later.0, later.1);
    }

    /// Takes a rule out, unless it is the last one; whether the slot is still needed.
    fn remove(&mut self, rank: Rank) -> bool {
        let Some(others) = &mut self.others else { return self.first.0 != rank };
        if self.first.0 == rank {
            if let Some(next) = others.pop_first() {
                self.first = next;
            }
        } else {
            others.remove(&rank);
        }
        if others.is_empty() {
            self.others = None;
        }
        true
    }

    /// The best rule that stands after a rank and is in force.
    fn best(
        &self,
        after: Option<Rank>,
        in_force: impl Fn(RuleId) -> bool,
    ) -> Option<(Rank, RuleId)> {
        let (rank, rule) = self.first;
        if after < Some(rank) && in_force(rule) {
            return Some(self.first);
        }
        self.after(after).find(|(_, rule)| in_force(*rule))
    }

    /// The rules that stand after a rank.
    fn after(&self, after: Option<Rank>) -> impl Iterator<Item = (Rank, RuleId)> {
        let first = Some(self.first).filter(|(rank, _)| after < Some(*rank));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let others =
            self.others.iter().flat_map(move |others| others.range((from, Bound::Unbounded)));
        first.into_iter().chain(others.map(|(rank, rule)| (*rank, *rule)))
    }
}

/// The rules of one shape. Keys and slots lie in rows of their own, so that a lookup touches little memory.
#[derive(Debug)]
struct ShapeTable {
    shape: Arc<Shape>,
    /// Slots by key.
    index: HashTable<u32>,
    /// The key of each slot, one behind the other, all of the shape's length.
    keys: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many rules there are of each priority.
    priorities: BTreeMap<u32, usize>,
    /// The first of them.
    best: u32,
}

impl ShapeTable {
    fn new(shape: Arc<Shape>) -> Self {
        Self {
            shape,
            index: HashTable::new(),
            keys: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            priorities: BTreeMap::new(),
            best: u32::MAX,
        }
    }

    fn find(&self, hasher: &DefaultHashBuilder, key: &[u8]) -> Option<&Slot> {
        let is_key = |slot: &u32| key_at(&self.keys, key.len(), *slot) == key;
        let slot = self.index.find(hasher.hash_one(key), is_key)?;
        self.slots.get(*slot as usize)
    }

    /// Adds a rule; which slot it is in.
    fn insert(&mut self, hasher: &DefaultHashBuilder, key: &[u8], rank: Rank, rule: RuleId) -> u32 {
        *self.priorities.entry(rank.priority).or_default() += 1;
        self.best = self.best.min(rank.priority);
        let keys = &self.keys;
        let hash_of = |slot: &u32| hasher.hash_one(key_at(keys, key.len(), *slot));
        let is_key = |slot: &u32| key_at(keys, key.len(), *slot) == key;
        let vacant = match self.index.entry(hasher.hash_one(key), is_key, hash_of) {
            Entry::Occupied(entry) => {
                let at = *entry.get();
                if let Some(slot) = self.slots.get_mut(at as usize) {
                    slot.insert(rank, rule);
                }
                return at;
            }
            Entry::Vacant(vacant) => vacant,
        };
        let slot = Slot { first: (rank, rule), others: None };
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        vacant.insert(at);
        if let Some(place) = self.slots.get_mut(at as usize) {
            *place = slot;
            let from = at as usize * key.len();
            if let Some(place) = self.keys.get_mut(from..from + key.len()) {
                place.copy_from_slice(key);
            }
        } else {
            self.slots.push(slot);
            self.keys.extend_from_slice(key);
        }
        at
    }

    /// Takes a rule out of a slot.
    fn remove(&mut self, hasher: &DefaultHashBuilder, at: u32, rank: Rank) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if !slot.remove(rank) {
            let key = key_at(&self.keys, self.shape.key_length(), at);
            if let Ok(entry) = self.index.find_entry(hasher.hash_one(key), |slot| *slot == at) {
                entry.remove();
                self.free.push(at);
            }
        }
        if let Some(count) = self.priorities.get_mut(&rank.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&rank.priority);
            }
        }
    }
}

/// A slot's key.
fn key_at(keys: &[u8], length: usize, slot: u32) -> &[u8] {
    let from = slot as usize * length;
    keys.get(from..from + length).unwrap_or_default()
}

#[derive(Debug)]
struct Ranged {
    rank: Rank,
    rule: RuleId,
    matcher: Matcher,
}

/// The rules of one group.
#[derive(Debug, Default)]
pub struct Table {
    /// Sorted by best priority.
    shapes: Vec<ShapeTable>,
    /// Rules with ranges, sorted by rank.
    ranged: Vec<Ranged>,
    hasher: DefaultHashBuilder,
}

impl Table {
    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty() && self.ranged.is_empty()
    }

    /// Adds a rule. One that can never be hit is not added at all.
    pub fn insert(&mut self, matcher: Matcher, rank: Rank, rule: RuleId) -> Place {
        if matcher.never {
            return Place::Nowhere;
        }
        if !matcher.ranges.is_empty() {
            let at = self.ranged.partition_point(|other| other.rank < rank);
            self.ranged.insert(at, Ranged { rank, rule, matcher });
            return Place::Ranged;
        }
        let at = self.shapes.iter().position(|table| same(&table.shape, &matcher.shape));
        let at = at.unwrap_or_else(|| {
            self.shapes.push(ShapeTable::new(matcher.shape));
            self.shapes.len() - 1
        });
        let Some(table) = self.shapes.get_mut(at) else { return Place::Nowhere };
        let best = table.best;
        let slot = table.insert(&self.hasher, &matcher.key, rank, rule);
        let place = Place::Exact(Arc::clone(&table.shape), slot);
        if table.best != best {
            self.shapes.sort_by_key(|table| table.best);
        }
        place
    }

    /// Takes out a rule that [`Self::insert`] put into that place, with that rank.
    pub fn remove(&mut self, place: &Place, rank: Rank) {
        let (shape, slot) = match place {
            Place::Exact(shape, slot) => (shape, *slot),
            Place::Ranged => {
                self.ranged.retain(|other| other.rank != rank);
                return;
            }
            Place::Nowhere => return,
        };
        let Some(at) = self.shapes.iter().position(|table| Arc::ptr_eq(&table.shape, shape)) else {
            return;
        };
        let Some(table) = self.shapes.get_mut(at) else { return };
        table.remove(&self.hasher, slot, rank);
        match table.priorities.keys().next() {
            None => {
                self.shapes.remove(at);
            }
            Some(best) if *best != table.best => {
                table.best = *best;
                self.shapes.sort_by_key(|table| table.best);
            }
            Some(_) => {}
        }
    }

    /// The rules with exactly this pattern, best first.
    pub fn same_pattern(&self, matcher: &Matcher) -> impl Iterator<Item = (Rank, RuleId)> {
        let exact = (matcher.ranges.is_empty() && !matcher.never)
            .then(|| self.shapes.iter().find(|table| same(&table.shape, &matcher.shape)))
            .flatten()
            .and_then(|table| table.find(&self.hasher, &matcher.key));
        let ranged = self
            .ranged
            .iter()
            .filter(|other| !matcher.ranges.is_empty() && other.matcher == *matcher)
            .map(|other| (other.rank, other.rule));
        exact.into_iter().flat_map(|slot| slot.after(None)).chain(ranged)
    }

    /// The rule that takes the packet: the best that admits it and stands after the rank `after`, of those that `in_force` says
    /// are in the hardware now.
    pub fn lookup(
        &self,
        subject: &mut Subject,
        frame: &[u8],
        after: Option<Rank>,
        in_force: impl Fn(RuleId) -> bool,
    ) -> Option<RuleId> {
        let mut best: Option<(Rank, RuleId)> = None;
        let mut buffer = [0; KEY_BYTES];
        for table in &self.shapes {
            if best.is_some_and(|(rank, _)| rank.priority < table.best) {
                break;
            }
            let Some(key) = table.shape.key(subject, frame, &mut buffer) else { continue };
            let Some(slot) = table.find(&self.hasher, key) else { continue };
            let Some(hit) = slot.best(after, &in_force) else { continue };
            if best.is_none_or(|(rank, _)| hit.0 < rank) {
                best = Some(hit);
            }
        }
        for ranged in &self.ranged {
            if best.is_some_and(|(rank, _)| rank < ranged.rank) {
                break;
            }
            if after < Some(ranged.rank)
                && in_force(ranged.rule)
                && ranged.matcher.admits(subject, frame)
            {
                best = Some((ranged.rank, ranged.rule));
                break;
            }
        }
        best.map(|(_, rule)| rule)
    }
}

fn same(one: &Arc<Shape>, other: &Arc<Shape>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
