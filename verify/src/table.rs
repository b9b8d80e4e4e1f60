//! The rules of a NIC, by group, and how those of a group lie to each other.
//!
//! Rules that look at the same bits lie in one bucket, as in tuple space search: within a bucket two rules have a packet in
//! common exactly where they ask for the same bits, and between two buckets where they agree about the bits that both look
//! at. So nobody compares each rule with each other one, and nothing is left out.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::{BuildHasher, Hasher};

use rte_flow::{Domain, Profile};

use crate::bits::{Cube, Row, WORDS};
use crate::dump::{Dump, Phase, Serves};
use crate::pattern::{self, Asked};
use crate::program::Program;
use crate::space::{Region, Space};
use crate::view::View;

/// A rule's place in the dump.
pub type RuleIndex = usize;

/// More rules of higher priority than these are not taken out of what a rule sees.
const HIGHER: usize = 1000;

/// A rule, as far as it is followed.
#[derive(Debug)]
pub struct Followed {
    /// What it asks.
    pub asked: Asked,
    /// What it does.
    pub program: Program,
    /// Its priority; 0 comes first.
    pub priority: u32,
    /// Rules of higher priority with which it has packets in common.
    pub higher: Vec<RuleIndex>,
    /// There are more of them than are kept.
    pub has_more_higher: bool,
}

/// All rules.
#[derive(Debug)]
pub struct Table {
    /// Those that are followed, by their place in the dump.
    pub rules: Vec<Option<Followed>>,
    /// The groups of the switch's own domain.
    pub groups: BTreeMap<u32, Group>,
    /// Why a rule is not followed.
    pub unfollowed: Vec<(RuleIndex, String)>,
}

/// A group's rules.
#[derive(Debug, Default)]
pub struct Group {
    buckets: Vec<Bucket>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Bucket {
    mask: Row,
    rules: Vec<RuleIndex>,
    /// What all of them ask.
    common: Cube,
    /// Rules by the hash of the bits under a mask.
    indices: RefCell<HashMap<Row, HashMap<u64, Vec<RuleIndex>>>>,
}

impl Table {
    /// The table of a dump.
    pub fn new(dump: &Dump, profile: &Profile) -> Self {
        let mut table = Self { rules: Vec::new(), groups: BTreeMap::new(), unfollowed: Vec::new() };
        for (index, dumped) in dump.rules.iter().enumerate() {
            let attributes = dumped.rule.attributes;
            let followed = if attributes.domain == Domain::Transfer {
                let asked = pattern::asked(&dumped.rule, profile, dump.node.uplink)
                    .map_err(|error| format!("the NIC could not have taken it: {error}"));
                let program = Program::new(&dumped.rule.actions, profile);
                asked.and_then(|asked| Ok((asked, program.map_err(|error| error.to_string())?)))
            } else {
                Err("it is no rule of the switch's own domain (transfer)".to_owned())
            };
            match followed {
                Ok((asked, program)) => {
                    if !asked.never {
                        table.groups.entry(attributes.group).or_default().add(index, &asked);
                    }
                    let priority = attributes.priority;
                    let (higher, has_more_higher) = (Vec::new(), false);
                    table.rules.push(Some(Followed {
                        asked,
                        program,
                        priority,
                        higher,
                        has_more_higher,
                    }));
                }
                Err(why) => {
                    table.unfollowed.push((index, why));
                    table.rules.push(None);
                }
            }
        }
        table
    }

    /// What a rule asks.
    fn asked(&self, rule: RuleIndex) -> Option<&Asked> {
        Some(&self.rules.get(rule)?.as_ref()?.asked)
    }

    /// Finds the rules of each group that have packets in common: those of equal priority are told to `report`, which says
    /// whether to go on; of others the lower one remembers the higher one. How many pairs there were.
    pub fn compare(
        &mut self,
        space: &Space,
        report: &mut dyn FnMut([RuleIndex; 2]) -> bool,
    ) -> usize {
        let (mut pairs, mut higher) = (0, Vec::new());
        for group in self.groups.values() {
            let goes_on = group.pairs(self, &mut |one, other| {
                pairs += 1;
                let priority = |rule: RuleIndex| {
                    self.rules.get(rule).and_then(Option::as_ref).map_or(0, |rule| rule.priority)
                };
                let (first, second) = (priority(one), priority(other));
                if first != second {
                    higher.push(if first < second { (other, one) } else { (one, other) });
                    return true;
                }
                !self.have_common(space, one, other) || report([one, other])
            });
            if !goes_on {
                break;
            }
        }
        for (lower, higher) in higher {
            if let Some(Some(rule)) = self.rules.get_mut(lower) {
                if rule.higher.len() < HIGHER {
                    rule.higher.push(higher);
                } else {
                    rule.has_more_higher = true;
                }
            }
        }
        pairs
    }

    /// Whether there are packets that two rules both ask for.
    fn have_common(&self, space: &Space, one: RuleIndex, other: RuleIndex) -> bool {
        let view = View::new();
        let meet = |region: Region, rule| Some(view.meet(space, &region, self.asked(rule)?)?.0);
        Region::new(space, Cube::ALL)
            .and_then(|all| meet(all, one))
            .and_then(|those| meet(those, other))
            .is_some_and(|both| both.has_some(space))
    }
}

/// Whether two rules may be there together for a moment: one of them is on its way.
pub fn is_in_transition(dump: &Dump, rules: [RuleIndex; 2]) -> bool {
    rules.iter().any(|rule| dump.rules.get(*rule).is_some_and(|rule| rule.phase == Phase::Moving))
}

/// The connection that a rule serves, where it is to stay.
pub fn connection(dump: &Dump, rule: RuleIndex) -> Option<&crate::dump::Connection> {
    match &dump.rules.get(rule)?.serves {
        Serves::Connection(connection) => Some(connection),
        _ => None,
    }
}

impl Group {
    fn add(&mut self, rule: RuleIndex, asked: &Asked) {
        let known = self.buckets.iter().position(|bucket| bucket.mask == asked.cube.mask);
        let at = known.unwrap_or_else(|| {
            self.buckets.push(Bucket {
                mask: asked.cube.mask,
                rules: Vec::new(),
                common: asked.cube.clone(),
                indices: RefCell::default(),
            });
            self.buckets.len() - 1
        });
        let bucket = &mut self.buckets[at];
        bucket.rules.push(rule);
        let common = &mut bucket.common;
        for word in 0..WORDS {
            common.mask[word] &= !(common.value[word] ^ asked.cube.value[word]);
            common.value[word] &= common.mask[word];
        }
    }

    /// All rules that may ask for some of the packets of which this is known, and others.
    pub fn candidates(&self, table: &Table, known: &Cube) -> Vec<RuleIndex> {
        let mut found = Vec::new();
        for bucket in &self.buckets {
            if bucket.common.meet(known).is_none() {
                continue;
            }
            let mut mask = bucket.mask;
            mask.iter_mut().zip(&known.mask).for_each(|(mask, known)| *mask &= known);
            bucket.with(table, &self.hasher, &mask, &known.value, |rules| found.extend(rules));
        }
        found
    }

    /// Calls `visit` with each pair of rules that agree about all bits that both look at, until it says no; whether it never
    /// did.
    fn pairs(&self, table: &Table, visit: &mut dyn FnMut(RuleIndex, RuleIndex) -> bool) -> bool {
        for (number, bucket) in self.buckets.iter().enumerate() {
            let mut seen: HashMap<u64, Vec<RuleIndex>> = HashMap::with_capacity(bucket.rules.len());
            for rule in &bucket.rules {
                let Some(asked) = table.asked(*rule) else { continue };
                let same =
                    seen.entry(hash(&self.hasher, &bucket.mask, &asked.cube.value)).or_default();
                for other in same.iter() {
                    let is_same = table.asked(*other).is_some_and(|o| o.cube == asked.cube);
                    if is_same && !visit(*other, *rule) {
                        return false;
                    }
                }
                same.push(*rule);
            }
            for other in self.buckets.iter().skip(number + 1) {
                if bucket.common.meet(&other.common).is_none() {
                    continue;
                }
                let (few, many) = if bucket.rules.len() < other.rules.len() {
                    (bucket, other)
                } else {
                    (other, bucket)
                };
                let mut mask = few.mask;
                mask.iter_mut().zip(&many.mask).for_each(|(mask, other)| *mask &= other);
                for rule in &few.rules {
                    let Some(asked) = table.asked(*rule) else { continue };
                    let mut goes_on = true;
                    many.with(table, &self.hasher, &mask, &asked.cube.value, |rules| {
                        goes_on = rules.iter().all(|other| {
                            let meets = table
                                .asked(*other)
                                .is_some_and(|other| other.cube.meet(&asked.cube).is_some());
                            !meets || visit(*rule, *other)
                        });
                    });
                    if !goes_on {
                        return false;
                    }
                }
            }
        }
        true
    }
}

impl Bucket {
    /// Calls `visit` with the rules that have these bits under the mask, and perhaps others.
    fn with(
        &self,
        table: &Table,
        hasher: &DefaultHashBuilder,
        mask: &Row,
        value: &Row,
        visit: impl FnOnce(&[RuleIndex]),
    ) {
        if mask.iter().all(|word| *word == 0) {
            return visit(&self.rules);
        }
        let mut indices = self.indices.borrow_mut();
        let index = indices.entry(*mask).or_insert_with(|| {
            let mut index: HashMap<u64, Vec<RuleIndex>> = HashMap::with_capacity(self.rules.len());
            for rule in &self.rules {
                if let Some(asked) = table.asked(*rule) {
                    index.entry(hash(hasher, mask, &asked.cube.value)).or_default().push(*rule);
                }
            }
            index
        });
        let found = index.get(&hash(hasher, mask, value)).cloned().unwrap_or_default();
        drop(indices);
        visit(&found);
    }
}

/// The hash of the bits under a mask.
fn hash(hasher: &DefaultHashBuilder, mask: &Row, value: &Row) -> u64 {
    let mut state = hasher.build_hasher();
    for (mask, value) in mask.iter().zip(value) {
        if *mask != 0 {
            state.write_u64(mask & value);
        }
    }
    state.finish()
}
