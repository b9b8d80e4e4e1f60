//! One group's rules, found by tuple space search: a hash table for each shape, best priority first.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::key::{KEY_BYTES, Matcher, Shape, Subject};
use super::rule::RuleId;

/// Which of the rules that admit a packet takes it: the smallest rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    /// The rule's priority, 0 first.
    pub priority: u32,
    /// Decides at equal priority (where the order is undefined for rules that overlap, and up to the card for rules
    /// with the same pattern).
    pub order: u64,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    /// Sorted, never empty.
    rules: Vec<(Rank, RuleId)>,
}

#[derive(Debug)]
struct ShapeTable {
    shape: Arc<Shape>,
    entries: HashTable<Entry>,
    /// How many rules there are of each priority.
    priorities: BTreeMap<u32, usize>,
    /// The first of them.
    best: u32,
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
    pub fn insert(&mut self, matcher: &Matcher, rank: Rank, rule: RuleId) {
        if matcher.never {
            return;
        }
        if !matcher.ranges.is_empty() {
            let at = self.ranged.partition_point(|other| other.rank < rank);
            self.ranged.insert(at, Ranged { rank, rule, matcher: matcher.clone() });
            return;
        }
        let found = self.shapes.iter().position(|table| same(&table.shape, &matcher.shape));
        let at = found.unwrap_or_else(|| {
            self.shapes.push(ShapeTable {
                shape: Arc::clone(&matcher.shape),
                entries: HashTable::new(),
                priorities: BTreeMap::new(),
                best: u32::MAX,
            });
            self.shapes.len() - 1
        });
        let Some(table) = self.shapes.get_mut(at) else { return };
        let hash = self.hasher.hash_one(&*matcher.key);
        let entry = table.entries.entry(hash, |entry| entry.key == matcher.key, |entry| entry.hash);
        let mut entry = entry.or_insert_with(|| Entry {
            hash,
            key: matcher.key.clone(),
            rules: Vec::with_capacity(1),
        });
        let rules = &mut entry.get_mut().rules;
        let place = rules.partition_point(|(other, _)| *other < rank);
        rules.insert(place, (rank, rule));
        *table.priorities.entry(rank.priority).or_default() += 1;
        if rank.priority < table.best {
            table.best = rank.priority;
            self.shapes.sort_by_key(|table| table.best);
        }
    }

    /// Takes out a rule that was added with the same arguments.
    pub fn remove(&mut self, matcher: &Matcher, rank: Rank, rule: RuleId) {
        if !matcher.ranges.is_empty() {
            self.ranged.retain(|other| other.rule != rule);
            return;
        }
        let Some(at) = self.shapes.iter().position(|table| same(&table.shape, &matcher.shape))
        else {
            return;
        };
        let Some(table) = self.shapes.get_mut(at) else { return };
        let hash = self.hasher.hash_one(&*matcher.key);
        let Ok(mut entry) = table.entries.find_entry(hash, |entry| entry.key == matcher.key) else {
            return;
        };
        let rules = &mut entry.get_mut().rules;
        let before = rules.len();
        rules.retain(|(_, other)| *other != rule);
        if rules.len() == before {
            return;
        }
        if rules.is_empty() {
            entry.remove();
        }
        if let Some(count) = table.priorities.get_mut(&rank.priority) {
            *count -= 1;
            if *count == 0 {
                table.priorities.remove(&rank.priority);
            }
        }
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
            .and_then(|table| {
                let hash = self.hasher.hash_one(&*matcher.key);
                table.entries.find(hash, |entry| entry.key == matcher.key)
            });
        let ranged = self
            .ranged
            .iter()
            .filter(|other| !matcher.ranges.is_empty() && other.matcher == *matcher)
            .map(|other| (other.rank, other.rule));
        exact.into_iter().flat_map(|entry| entry.rules.iter().copied()).chain(ranged)
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
            let hash = self.hasher.hash_one(key);
            let Some(entry) = table.entries.find(hash, |entry| *entry.key == *key) else {
                continue;
            };
            let mut rules = entry.rules.iter().copied();
            let hit = rules.find(|(rank, rule)| after < Some(*rank) && in_force(*rule));
            best = [best, hit].into_iter().flatten().min_by_key(|(rank, _)| *rank);
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
