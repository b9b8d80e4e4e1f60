//! Security groups, compiled: does any rule allow this flow?
//!
//! Each direction of a group is an index over two questions: which rules name the remote address, and which rules name
//! the service (protocol with port, or with ICMP type and code)? Both questions are answered by cutting the key space
//! into ranges whose keys have the same rules; a flow is allowed when the two answers have a rule in common.

mod allowed;

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;

pub use allowed::{Allowed, AllowedService};

use crate::ranges::{AddressMap, AddressRange, Range, RangeMap, Space};

/// IANA protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// IANA protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// IANA protocol number of UDP.
pub(crate) const UDP: u8 = 17;
/// IANA protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;

/// The properties of a new flow that security group rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowProperties {
    /// The other end: source for ingress, destination for egress.
    pub remote: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port of TCP and UDP, host byte order; 0 otherwise.
    pub destination_port: u16,
    /// ICMP or ICMPv6 type and code.
    pub icmp: Option<(u8, u8)>,
}

/// A security group: allow-lists for both directions, indexed for lookup.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Without a list in intent, an empty one: nothing may come in.
    ingress: RuleIndex,
    /// Without a list in intent, `None`: everything may go out.
    egress: Option<RuleIndex>,
}

impl Group {
    /// Compiles a group. `None` for a list that intent does not have.
    pub(crate) fn compile(
        name: String,
        ingress: Option<Vec<Rule>>,
        egress: Option<Vec<Rule>>,
    ) -> Self {
        Self {
            name,
            ingress: RuleIndex::compile(ingress.unwrap_or_default()),
            egress: egress.map(RuleIndex::compile),
        }
    }

    /// Whether the group allows a new flow towards its member.
    #[must_use]
    pub fn allows_ingress(&self, flow: &FlowProperties) -> bool {
        self.ingress.first_match(flow).is_some()
    }

    /// Whether the group allows its member to start a flow.
    #[must_use]
    pub fn allows_egress(&self, flow: &FlowProperties) -> bool {
        self.egress.as_ref().is_none_or(|rules| rules.first_match(flow).is_some())
    }

    /// Position, in intent's `ingress` list, of the first rule that allows the flow.
    #[must_use]
    pub fn explain_ingress(&self, flow: &FlowProperties) -> Option<usize> {
        self.ingress.first_match(flow)
    }

    /// Position, in intent's `egress` list, of the first rule that allows the flow; `None` also when the group has
    /// no such list and allows everything.
    #[must_use]
    pub fn explain_egress(&self, flow: &FlowProperties) -> Option<usize> {
        self.egress.as_ref()?.first_match(flow)
    }

    /// Whether the group was compiled from exactly these lists.
    pub(crate) fn is_compiled_from(
        &self,
        ingress: Option<&[Rule]>,
        egress: Option<&[Rule]>,
    ) -> bool {
        self.ingress.rules == ingress.unwrap_or_default()
            && self.egress.as_ref().map(|index| &index.rules[..]) == egress
    }

    /// Whether both groups have the same name and the same rules, in any order.
    pub(crate) fn has_same_effect(&self, other: &Self) -> bool {
        let same = |a: &RuleIndex, b: &RuleIndex| {
            a.rules == b.rules || canonical(&a.rules) == canonical(&b.rules)
        };
        self.name == other.name
            && same(&self.ingress, &other.ingress)
            && match (&self.egress, &other.egress) {
                (Some(a), Some(b)) => same(a, b),
                (None, None) => true,
                _ => false,
            }
    }
}

fn canonical(rules: &[Rule]) -> Vec<&Rule> {
    let mut rules: Vec<_> = rules.iter().collect();
    rules.sort();
    rules.dedup();
    rules
}

/// A rule with all names resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) service: Service,
    pub(crate) remote: Remote,
}

/// Protocols with their ports or ICMP types, as a range of service keys.
///
/// A service key is the protocol number in the bits from 17 on, and below them the destination port, or ICMP type and
/// code as one 16-bit number. Bit 16 is set for an ICMP flow whose type is not known, which only a rule without
/// a type matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Service(Range<u32>);

impl Service {
    const TYPE_UNKNOWN: u32 = 1 << 16;

    /// Everything.
    pub(crate) const ANY: Self = Self(Range::ALL);

    const fn key(protocol: u8, below: u32) -> u32 {
        (protocol as u32) << 17 | below
    }

    /// One protocol, whatever its ports or types.
    pub(crate) const fn protocol(number: u8) -> Self {
        Self(Range { first: Self::key(number, 0), last: Self::key(number, 0x1_ffff) })
    }

    /// Destination ports of TCP or UDP, both ends included.
    pub(crate) const fn ports(protocol: u8, first: u16, last: u16) -> Self {
        Self(Range {
            first: Self::key(protocol, first as u32),
            last: Self::key(protocol, last as u32),
        })
    }

    /// An ICMP or ICMPv6 type, with one code or all.
    pub(crate) const fn icmp(protocol: u8, kind: u8, code: Option<u8>) -> Self {
        let (first, last) = match code {
            Some(code) => (code, code),
            None => (0, u8::MAX),
        };
        Self(Range {
            first: Self::key(protocol, (kind as u32) << 8 | first as u32),
            last: Self::key(protocol, (kind as u32) << 8 | last as u32),
        })
    }

    fn key_of(flow: &FlowProperties) -> u32 {
        let below = match (flow.protocol, flow.icmp) {
            (TCP | UDP, _) => flow.destination_port.into(),
            (ICMP | ICMPV6, Some((kind, code))) => u32::from(kind) << 8 | u32::from(code),
            (ICMP | ICMPV6, None) => Self::TYPE_UNKNOWN,
            _ => 0,
        };
        Self::key(flow.protocol, below)
    }
}

/// What a rule says about the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Remote {
    /// Anywhere.
    Any,
    /// An address of this prefix.
    Prefix(IpNet),
    /// An address of an interface of a group.
    Members(Arc<Members>),
}

/// The addresses of a group's interfaces. Many rules share one: comparing and hashing avoid walking it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) group: String,
    /// Sorted, each once.
    pub(crate) addresses: Vec<IpAddr>,
}

impl std::hash::Hash for Members {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.group.hash(state);
        self.addresses.len().hash(state);
    }
}

impl Ord for Members {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if std::ptr::eq(self, other) {
            return std::cmp::Ordering::Equal;
        }
        (&self.group, &self.addresses).cmp(&(&other.group, &other.addresses))
    }
}

impl PartialOrd for Members {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Rules of one direction, indexed by remote address and service.
#[derive(Debug)]
struct RuleIndex {
    rules: Vec<Rule>,
    sets: RuleSets,
    by_remote: AddressMap<SetId>,
    by_service: RangeMap<u32, SetId>,
}

impl RuleIndex {
    fn compile(rules: Vec<Rule>) -> Self {
        let mut sets = RuleSets::new(rules.len());
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
        sets.forget_contents();
        Self { rules, sets, by_remote, by_service }
    }

    fn first_match(&self, flow: &FlowProperties) -> Option<usize> {
        let remote = self.by_remote.get(flow.remote)?;
        let service = self.by_service.get(Service::key_of(flow))?;
        self.sets.first_in_both(*remote, *service).map(|rule| rule as usize)
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
    sets: &mut RuleSets,
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
    let mut open_items = BitSet::new(rules_of.len());
    let mut known: HashMap<Box<[u64]>, SetId> = HashMap::new();
    let mut map = RangeMap::new(sets.intern(Vec::new()));
    for edges in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, item, opens) in edges {
            let count = &mut open[*item as usize];
            if *opens {
                *count += 1;
            } else {
                *count -= 1;
            }
            open_items.set(*item, *count > 0);
        }
        let set = *known.entry_ref(&open_items.words[..]).or_insert_with(|| {
            sets.intern(
                open_items.ones().flat_map(|item| &rules_of[item as usize]).copied().collect(),
            )
        });
        map.push(edges[0].0, set);
    }
    map
}

/// A set of small numbers, one bit each.
struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    fn new(numbers: usize) -> Self {
        Self { words: vec![0; numbers.div_ceil(64)] }
    }

    fn set(&mut self, number: u32, present: bool) {
        let (word, bit) = (&mut self.words[number as usize / 64], 1 << (number % 64));
        if present {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    fn ones(&self) -> impl Iterator<Item = u32> {
        self.words.iter().zip((0..).step_by(64)).flat_map(|(word, base)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(base + bit)
            })
        })
    }
}

/// A set in a [`RuleSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SetId(u32);

/// Sets of rules, equal ones once. Small sets are lists, others bits, so that a group whose rules hardly overlap
/// stays small however many it has.
#[derive(Debug)]
struct RuleSets {
    /// 64-bit words that a bit set has.
    stride: usize,
    /// Where each set is.
    sets: Vec<RuleSet>,
    lists: Vec<u32>,
    bits: Vec<u64>,
    known: HashMap<Vec<u32>, SetId>,
}

#[derive(Clone, Copy, Debug)]
enum RuleSet {
    /// Ascending rule numbers, `lists[start..end]`.
    List { start: usize, end: usize },
    /// `bits[start..start + stride]`.
    Bits { start: usize },
}

impl RuleSets {
    fn new(rules: usize) -> Self {
        let stride = rules.div_ceil(64);
        Self {
            stride,
            sets: Vec::new(),
            lists: Vec::new(),
            bits: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn intern(&mut self, mut rules: Vec<u32>) -> SetId {
        rules.sort_unstable();
        if let Some(id) = self.known.get(&rules) {
            return *id;
        }
        let id = SetId(self.sets.len() as u32);
        // A list where it takes no more memory than bits.
        self.sets.push(if rules.len() <= self.stride * 2 {
            let start = self.lists.len();
            self.lists.extend_from_slice(&rules);
            RuleSet::List { start, end: self.lists.len() }
        } else {
            let start = self.bits.len();
            self.bits.resize(start + self.stride, 0);
            for rule in &rules {
                self.bits[start + *rule as usize / 64] |= 1 << (rule % 64);
            }
            RuleSet::Bits { start }
        });
        self.known.insert(rules, id);
        id
    }

    /// Frees what only [`RuleSets::intern`] needs.
    fn forget_contents(&mut self) {
        self.known = HashMap::new();
        self.sets.shrink_to_fit();
        self.lists.shrink_to_fit();
        self.bits.shrink_to_fit();
    }

    fn list(&self, start: usize, end: usize) -> &[u32] {
        self.lists.get(start..end).unwrap_or_default()
    }

    fn words(&self, start: usize) -> &[u64] {
        self.bits.get(start..).and_then(|rest| rest.get(..self.stride)).unwrap_or_default()
    }

    fn contains(&self, set: RuleSet, rule: u32) -> bool {
        match set {
            RuleSet::List { start, end } => self.list(start, end).binary_search(&rule).is_ok(),
            RuleSet::Bits { start } => self
                .words(start)
                .get(rule as usize / 64)
                .is_some_and(|word| word & (1 << (rule % 64)) != 0),
        }
    }

    /// The first rule that is in both sets.
    fn first_in_both(&self, a: SetId, b: SetId) -> Option<u32> {
        match (*self.sets.get(a.0 as usize)?, *self.sets.get(b.0 as usize)?) {
            (RuleSet::Bits { start: a }, RuleSet::Bits { start: b }) => self
                .words(a)
                .iter()
                .zip(self.words(b))
                .zip((0..).step_by(64))
                .map(|((a, b), base)| (a & b, base))
                .find(|(common, _)| *common != 0)
                .map(|(common, base): (u64, u32)| base + common.trailing_zeros()),
            (RuleSet::List { start, end }, other) | (other, RuleSet::List { start, end }) => {
                self.list(start, end).iter().copied().find(|rule| self.contains(other, *rule))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Service {
        /// What the rule's text says, without keys.
        fn matches(self, flow: &FlowProperties) -> bool {
            let key = Self::key_of(flow);
            self.0.first <= key && key <= self.0.last
        }
    }

    fn naive(rules: &[Rule], flow: &FlowProperties) -> Option<usize> {
        rules.iter().position(|rule| {
            rule.service.matches(flow)
                && match &rule.remote {
                    Remote::Any => true,
                    Remote::Prefix(prefix) => prefix.contains(&flow.remote),
                    Remote::Members(members) => members.addresses.contains(&flow.remote),
                }
        })
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..4, 0u32..8).prop_map(|(high, low)| IpAddr::V4((high << 30 | low).into())),
            (0u128..4, 0u128..8).prop_map(|(high, low)| IpAddr::V6((high << 126 | low).into())),
            Just(IpAddr::V4(u32::MAX.into())),
            Just(IpAddr::V6(u128::MAX.into())),
        ]
    }

    fn remote() -> impl Strategy<Value = Remote> {
        prop_oneof![
            Just(Remote::Any),
            (address(), prop_oneof![0u8..5, 28u8..33, 120u8..129]).prop_map(|(address, length)| {
                let longest = if address.is_ipv4() { 32 } else { 128 };
                let prefix = IpNet::new(address, length.min(longest)).expect("length fits");
                Remote::Prefix(prefix.trunc())
            }),
            prop::collection::btree_set(address(), 0..5).prop_map(|addresses| {
                let addresses = addresses.into_iter().collect();
                Remote::Members(Arc::new(Members { group: "peers".into(), addresses }))
            }),
        ]
    }

    fn service() -> impl Strategy<Value = Service> {
        let port = || prop_oneof![0u16..5, Just(u16::MAX)];
        prop_oneof![
            Just(Service::ANY),
            prop::sample::select(vec![0, 1, 6, 17, 58, 255]).prop_map(Service::protocol),
            (prop::bool::ANY, port(), port()).prop_map(|(tcp, a, b)| {
                Service::ports(if tcp { TCP } else { UDP }, a.min(b), a.max(b))
            }),
            (prop::bool::ANY, 0u8..3, prop::option::of(0u8..3)).prop_map(|(v4, kind, code)| {
                Service::icmp(if v4 { ICMP } else { ICMPV6 }, kind, code)
            }),
        ]
    }

    fn flow() -> impl Strategy<Value = FlowProperties> {
        let protocol = prop::sample::select(vec![0u8, 1, 6, 17, 58, 255]);
        let port = prop_oneof![0u16..5, Just(u16::MAX)];
        let icmp = prop::option::of((0u8..3, 0u8..3));
        (address(), protocol, port, icmp).prop_map(|(remote, protocol, port, icmp)| {
            FlowProperties { remote, protocol, destination_port: port, icmp }
        })
    }

    fn rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
        let rule = (service(), remote()).prop_map(|(service, remote)| Rule { service, remote });
        prop::collection::vec(rule, 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn allows_what_one_rule_after_the_other_allows(
            ingress in prop_oneof![rules(6), rules(150)],
            flows in prop::collection::vec(flow(), 1..60),
        ) {
            let group = Group::compile("g".into(), Some(ingress.clone()), None);
            for flow in flows {
                prop_assert_eq!(group.explain_ingress(&flow), naive(&ingress, &flow));
                prop_assert_eq!(group.allows_ingress(&flow), naive(&ingress, &flow).is_some());
                prop_assert!(group.allows_egress(&flow));
            }
        }
    }

    fn tcp(port: u16) -> FlowProperties {
        let remote = IpAddr::from([10, 0, 0, 1]);
        FlowProperties { remote, protocol: TCP, destination_port: port, icmp: None }
    }

    #[test]
    fn absent_and_empty_lists_differ_for_egress_only() {
        let absent = Group::compile("g".into(), None, None);
        assert!(!absent.allows_ingress(&tcp(1)) && absent.allows_egress(&tcp(1)));
        let empty = Group::compile("g".into(), Some(vec![]), Some(vec![]));
        assert!(!empty.allows_ingress(&tcp(1)) && !empty.allows_egress(&tcp(1)));
    }

    #[test]
    fn a_service_key_tells_protocols_ports_and_types_apart() {
        assert!(Service::ports(TCP, 80, 90).matches(&tcp(90)));
        assert!(!Service::ports(TCP, 80, 90).matches(&tcp(91)));
        assert!(!Service::ports(UDP, 80, 90).matches(&tcp(85)));
        let echo = FlowProperties { protocol: ICMP, icmp: Some((8, 0)), ..tcp(0) };
        assert!(Service::icmp(ICMP, 8, None).matches(&echo));
        assert!(!Service::icmp(ICMP, 8, Some(1)).matches(&echo));
        assert!(!Service::icmp(ICMPV6, 8, None).matches(&echo));
        assert!(Service::protocol(ICMP).matches(&FlowProperties { icmp: None, ..echo }));
        assert!(!Service::icmp(ICMP, 0, None).matches(&FlowProperties { icmp: None, ..echo }));
    }

    #[test]
    fn order_of_rules_is_no_effect() {
        let rule = |port| Rule { service: Service::ports(TCP, port, port), remote: Remote::Any };
        let group = |rules: Vec<Rule>| Group::compile("g".into(), Some(rules), None);
        let one = group(vec![rule(1), rule(2)]);
        assert!(one.has_same_effect(&group(vec![rule(2), rule(1), rule(2)])));
        assert!(!one.has_same_effect(&group(vec![rule(2), rule(3)])));
        assert!(one.is_compiled_from(Some(&[rule(1), rule(2)]), None));
        assert!(!one.is_compiled_from(Some(&[rule(2), rule(1)]), None));
    }

    #[test]
    fn large_groups_compile_at_once() {
        let rules: Vec<Rule> = (0..1000u32)
            .map(|n| Rule {
                service: Service::ports(TCP, n as u16, (n * 7 % 60000 + 1000) as u16),
                remote: Remote::Members(Arc::new(Members {
                    group: n.to_string(),
                    addresses: (0..100).map(|i| IpAddr::V4((n * 64 + i * 977).into())).collect(),
                })),
            })
            .collect();
        let start = std::time::Instant::now();
        let group = Group::compile("g".into(), Some(rules), None);
        assert!(start.elapsed().as_secs() < 5, "took {:?}", start.elapsed());
        let flow = FlowProperties { remote: IpAddr::V4(128.into()), ..tcp(1000) };
        assert_eq!(group.explain_ingress(&flow), Some(2));
    }
}
