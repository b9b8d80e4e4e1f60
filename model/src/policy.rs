//! Security groups, compiled: does any rule allow this flow?
//!
//! Each direction of a group is an index over two questions: which rules name the remote address, and which rules name
//! the service (protocol with port, or with ICMP type and code)? Both questions are answered by cutting the key space
//! into ranges whose keys have the same rules; a flow is allowed when the two answers have a rule in common.

mod allowed;
mod index;
mod rule_sets;

use std::net::IpAddr;
use std::sync::Arc;

pub use allowed::{Allowed, AllowedService};
use index::RuleIndex;
use ipnet::IpNet;

use crate::ranges::Range;

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
        self.ingress.rules() == ingress.unwrap_or_default()
            && self.egress.as_ref().map(RuleIndex::rules) == egress
    }

    /// Whether both groups have the same name and the same rules, in any order.
    pub(crate) fn has_same_effect(&self, other: &Self) -> bool {
        let same = |a: &RuleIndex, b: &RuleIndex| {
            a.rules() == b.rules() || canonical(a.rules()) == canonical(b.rules())
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
