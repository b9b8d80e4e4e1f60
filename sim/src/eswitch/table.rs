//! One group's rules, found by tuple space search: a hash table for each shape, best priority first.

use std::collections::BTreeMap;
use std::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::arena::Arena;
use super::matcher::{Key, Matcher, Shape};
use super::mix::hash;
use super::rule::{Rule, RuleId};
use super::subject::Subject;
use super::time::Time;

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
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Among the rules of the shape with this number, under the key in this slot.
    Exact {
        /// See [`ShapeTable::number`].
        shape: u32,
        /// The slot.
        slot: u32,
    },
    /// Among those with ranges.
    Ranged,
    /// Nowhere: no packet ever hits it.
    Nowhere,
}

/// The rule that a lookup found.
#[derive(Clone, Copy)]
pub struct Hit<'r> {
    rank: Rank,
    /// Its handle.
    pub id: RuleId,
    /// The rule.
    pub rule: &'r Rule,
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
    #[inline]
    fn best<'r>(
        &self,
        after: Option<Rank>,
        in_force: impl Fn(RuleId) -> Option<&'r Rule>,
    ) -> Option<Hit<'r>> {
        let hit = |(rank, id)| in_force(id).map(|rule| Hit { rank, id, rule });
        let first = Some(self.first).filter(|(rank, _)| after < Some(*rank));
        first
            .and_then(hit)
            .or_else(|| self.others.as_ref().and_then(|_| self.after(after).find_map(hit)))
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
    /// Its name in the group; no other has had it.
    number: u32,
    shape: Shape,
    /// Slots by key.
    index: HashTable<u32>,
    /// The key of each slot, one behind the other, all of the shape's length.
    keys: Vec<u64>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many rules there are of each priority.
    priorities: BTreeMap<u32, usize>,
    /// The first of them.
    best: u32,
}

impl ShapeTable {
    fn new(number: u32, shape: Shape) -> Self {
        Self {
            number,
            shape,
            index: HashTable::new(),
            keys: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            priorities: BTreeMap::new(),
            best: u32::MAX,
        }
    }

    #[inline]
    fn find(&self, key: &[u64]) -> Option<&Slot> {
        // Tables that only send packets on have one key.
        if let [only] = self.slots.as_slice() {
            return Some(only).filter(|_| self.free.is_empty() && is_key_at(&self.keys, 0, key));
        }
        let is_key = |slot: &u32| is_key_at(&self.keys, *slot, key);
        let slot = self.index.find(hash(key), is_key)?;
        self.slots.get(*slot as usize)
    }

    /// Adds a rule; which slot it is in.
    fn insert(&mut self, key: &[u64], rank: Rank, rule: RuleId) -> u32 {
        *self.priorities.entry(rank.priority).or_default() += 1;
        self.best = self.best.min(rank.priority);
        let keys = &self.keys;
        let hash_of = |slot: &u32| hash(key_at(keys, key.len(), *slot));
        let is_key = |slot: &u32| is_key_at(keys, *slot, key);
        let vacant = match self.index.entry(hash(key), is_key, hash_of) {
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
    fn remove(&mut self, at: u32, rank: Rank) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if !slot.remove(rank) {
            let key = key_at(&self.keys, self.shape.key_length(), at);
            if let Ok(entry) = self.index.find_entry(hash(key), |slot| *slot == at) {
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
#[inline]
fn key_at(keys: &[u64], length: usize, slot: u32) -> &[u64] {
    let from = slot as usize * length;
    keys.get(from..from + length).unwrap_or_default()
}

/// Whether a slot's key is this one.
#[inline]
fn is_key_at(keys: &[u64], slot: u32, key: &[u64]) -> bool {
    let words = key_at(keys, key.len(), slot).iter().zip(key);
    words.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
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
    /// How many there have been.
    numbers: u32,
    /// Rules with ranges, sorted by rank.
    ranged: Vec<Ranged>,
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
        let at = self.shapes.iter().position(|table| table.shape == matcher.shape);
        let at = at.unwrap_or_else(|| {
            self.shapes.push(ShapeTable::new(self.numbers, matcher.shape));
            self.numbers = self.numbers.wrapping_add(1);
            self.shapes.len() - 1
        });
        let Some(table) = self.shapes.get_mut(at) else { return Place::Nowhere };
        let best = table.best;
        let slot = table.insert(&matcher.key, rank, rule);
        let place = Place::Exact { shape: table.number, slot };
        if table.best != best {
            self.shapes.sort_by_key(|table| table.best);
        }
        place
    }

    /// Takes out a rule that [`Self::insert`] put into that place, with that rank.
    pub fn remove(&mut self, place: Place, rank: Rank) {
        let (shape, slot) = match place {
            Place::Exact { shape, slot } => (shape, slot),
            Place::Ranged => {
                self.ranged.retain(|other| other.rank != rank);
                return;
            }
            Place::Nowhere => return,
        };
        let Some(at) = self.shapes.iter().position(|table| table.number == shape) else { return };
        let Some(table) = self.shapes.get_mut(at) else { return };
        table.remove(slot, rank);
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
            .then(|| self.shapes.iter().find(|table| table.shape == matcher.shape))
            .flatten()
            .and_then(|table| table.find(&matcher.key));
        let ranged = self
            .ranged
            .iter()
            .filter(|other| !matcher.ranges.is_empty() && other.matcher == *matcher)
            .map(|other| (other.rank, other.rule));
        exact.into_iter().flat_map(|slot| slot.after(None)).chain(ranged)
    }

    /// The rule that takes the packet: the best that admits it and stands after the rank `after`, of those of the rules that are in
    /// the hardware now. `key` is room to work in.
    #[inline]
    pub fn lookup<'r>(
        &self,
        subject: &mut Subject,
        frame: &[u8],
        after: Option<Rank>,
        key: &mut Key,
        (rules, now): (&'r Arena<Rule>, Time),
    ) -> Option<Hit<'r>> {
        let in_force = |rule| rules.get(rule).filter(|rule| rule.in_force(now));
        let ([shape], []) = (self.shapes.as_slice(), self.ranged.as_slice()) else {
            return self.lookup_in_all(subject, frame, after, key, in_force);
        };
        shape.find(shape.shape.key(subject, frame, key)?)?.best(after, in_force)
    }

    #[inline(never)]
    fn lookup_in_all<'r>(
        &self,
        subject: &mut Subject,
        frame: &[u8],
        after: Option<Rank>,
        key: &mut Key,
        in_force: impl Fn(RuleId) -> Option<&'r Rule>,
    ) -> Option<Hit<'r>> {
        let mut best: Option<Hit<'r>> = None;
        for table in &self.shapes {
            if best.is_some_and(|best| best.rank.priority < table.best) {
                break;
            }
            let Some(key) = table.shape.key(subject, frame, key) else { continue };
            let Some(slot) = table.find(key) else { continue };
            let Some(hit) = slot.best(after, &in_force) else { continue };
            if best.is_none_or(|best| hit.rank < best.rank) {
                best = Some(hit);
            }
        }
        for ranged in &self.ranged {
            if best.is_some_and(|best| best.rank < ranged.rank) {
                break;
            }
            if after < Some(ranged.rank)
                && let Some(rule) = in_force(ranged.rule)
                && ranged.matcher.admits(subject, frame)
            {
                best = Some(Hit { rank: ranged.rank, id: ranged.rule, rule });
                break;
            }
        }
        best
    }
}
