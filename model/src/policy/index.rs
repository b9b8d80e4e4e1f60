//! The index over a list of rules.
//!
//! It answers two questions: which rules name the remote address, and which name the service? Each by cutting its key
//! space into ranges whose keys have the same rules; the first rule of both answers is the one that allows the flow.

use hashbrown::HashMap;
use ipnet::IpNet;

use super::rule_sets::{NumberSet, RuleSets, SetId, SetWriter};
use super::{FlowProperties, Remote, Rule, Service};
use crate::ranges::{AddressMap, AddressRange, Range, RangeMap, Ranges, Space};

/// Rules of one direction, indexed by remote address and service.
#[derive(Debug)]
pub(super) struct RuleIndex {
    rules: Vec<Rule>,
    sets: RuleSets,
    by_remote: AddressMap<SetId>,
    by_service: RangeMap<u32, SetId>,
}

impl RuleIndex {
    pub(super) fn compile(rules: Vec<Rule>) -> Self {
        let mut sets = SetWriter::new(rules.len());
        let by_remote = {
            let remotes = Distinct::of(rules.iter().map(|rule| &rule.remote));
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            let mut add = |range: AddressRange, item: u32| match range {
                AddressRange::V4(range) => v4.push((range, item)),
                AddressRange::V6(range) => v6.push((range, item)),
            };
            for (remote, item) in remotes.items.iter().zip(0..) {
                match remote {
                    Remote::Any => {
                        add(AddressRange::V4(Range::ALL), item);
                        add(AddressRange::V6(Range::ALL), item);
                    }
                    Remote::Prefix(prefix) => add((*prefix).into(), item),
                    Remote::Members(members) => members
                        .addresses
                        .iter()
                        .for_each(|address| add(IpNet::from(*address).into(), item)),
                }
            }
            AddressMap {
                v4: classify(&v4, &remotes.rules, &mut sets),
                v6: classify(&v6, &remotes.rules, &mut sets),
            }
        };
        let by_service = {
            let services = Distinct::of(rules.iter().map(|rule| rule.service));
            let ranges: Vec<_> =
                services.items.iter().zip(0..).map(|(service, item)| (service.0, item)).collect();
            classify(&ranges, &services.rules, &mut sets)
        };
        Self { rules, sets: sets.finish(), by_remote, by_service }
    }

    /// The rules, in the order of intent.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The place of the first rule that allows a flow.
    #[inline]
    pub(super) fn first_match(&self, flow: &FlowProperties) -> Option<usize> {
        let remote = self.by_remote.get(flow.remote)?;
        let service = self.by_service.get(Service::key_of(flow))?;
        self.sets.first_in_both(remote, service).map(|rule| rule as usize)
    }
}

/// Things that several rules may name, and for each the rules that do.
struct Distinct<T> {
    items: Vec<T>,
    rules: Vec<Vec<u32>>,
}

impl<T: Copy + Eq + std::hash::Hash> Distinct<T> {
    fn of(named: impl Iterator<Item = T>) -> Self {
        let mut known: HashMap<T, usize> = HashMap::new();
        let mut distinct = Self { items: Vec::new(), rules: Vec::new() };
        for (item, rule) in named.zip(0..) {
            let index = *known.entry(item).or_insert(distinct.items.len());
            if let Some(rules) = distinct.rules.get_mut(index) {
                rules.push(rule);
            } else {
                distinct.items.push(item);
                distinct.rules.push(vec![rule]);
            }
        }
        distinct
    }
}

/// Cuts a key space so that all keys of a piece are in the same items' ranges, and gives each piece the set of those
/// items' rules.
fn classify<K: Space>(
    ranges: &[(Range<K>, u32)],
    rules_of: &[Vec<u32>],
    sets: &mut SetWriter,
) -> RangeMap<K, SetId> {
    let mut edges: Vec<(K, u32, bool)> = Vec::with_capacity(ranges.len() * 2);
    for (range, item) in ranges {
        edges.push((range.first, *item, true));
        if let Some(behind) = range.last.next() {
            edges.push((behind, *item, false));
        }
    }
    edges.sort_unstable_by_key(|(key, ..)| *key);

    // How many ranges of each item are open; an item's ranges may overlap.
    let mut open: Vec<u32> = vec![0; rules_of.len()];
    let mut open_items = NumberSet::new(rules_of.len());
    let mut known: HashMap<Box<[u64]>, SetId> = HashMap::new();
    let mut words = Vec::new();
    let mut map = Ranges::new(sets.add(std::iter::empty()));
    for edges in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, item, opens) in edges {
            let count = &mut open[*item as usize];
            if *opens {
                *count += 1;
            } else {
                *count -= 1;
            }
            if *count > 0 {
                open_items.insert(*item);
            } else {
                open_items.remove(*item);
            }
        }
        words.clear();
        open_items.write(&mut words);
        let set = *known.entry_ref(&words[..]).or_insert_with(|| {
            sets.add(open_items.numbers().flat_map(|item| &rules_of[item as usize]).copied())
        });
        map.push(edges[0].0, set);
    }
    map.index()
}
