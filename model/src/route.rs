//! Route tables, compiled: longest prefix match to a target.

use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::ranges::AddressMap;
use crate::snapshot::Mapping;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Into the VPC: to whatever interface has the destination address.
    Local,
    /// To this interface, addresses untouched.
    Interface(Mapping),
    /// Nowhere, on purpose.
    Blackhole,
}

/// The routes of a table with the VPC's implied local routes.
///
/// An implied route gives way to a route of the table for the same prefix.
#[derive(Debug)]
pub struct RouteSet {
    /// Moves when the content changes.
    pub generation: u32,
    /// Sorted by prefix, each prefix once.
    routes: Vec<(IpNet, RouteTarget)>,
    index: AddressMap<TargetId>,
    /// By [`TargetId`], each once; first, that there is none.
    targets: Vec<Option<RouteTarget>>,
}

/// A place in a set's targets. What the index holds for each range is small, and that there is no route takes no branch
/// of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TargetId(u32);

impl RouteSet {
    /// Compiles routes that [`RouteSet::effective`] returned.
    pub(crate) fn compile(routes: Vec<(IpNet, RouteTarget)>, generation: u32) -> Self {
        let mut targets = vec![None];
        let mut known: HashMap<RouteTarget, TargetId> = HashMap::new();
        let index = AddressMap::longest_prefix(routes.iter().map(|(prefix, target)| {
            let id = *known.entry(*target).or_insert_with(|| {
                targets.push(Some(*target));
                TargetId(targets.len() as u32 - 1)
            });
            (*prefix, id)
        }));
        Self { generation, routes, index, targets }
    }

    /// A table's routes and those that the VPC's CIDRs imply, in the one order that equal sets share.
    pub(crate) fn effective(
        table: impl IntoIterator<Item = (IpNet, RouteTarget)>,
        cidrs: &[IpNet],
    ) -> Vec<(IpNet, RouteTarget)> {
        let implied = cidrs.iter().map(|cidr| (*cidr, RouteTarget::Local));
        let mut routes: Vec<_> =
            table.into_iter().chain(implied).map(|(prefix, to)| (prefix.trunc(), to)).collect();
        // Stable: of equal prefixes the table's stays in front.
        routes.sort_by_key(|(prefix, _)| *prefix);
        routes.dedup_by_key(|(prefix, _)| *prefix);
        routes
    }

    /// The most specific route for a destination.
    #[must_use]
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<&RouteTarget> {
        let TargetId(id) = self.index.get(destination)?;
        self.targets.get(id as usize)?.as_ref()
    }

    /// All routes, sorted by prefix.
    #[must_use]
    pub fn routes(&self) -> &[(IpNet, RouteTarget)] {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(routes: &[(IpNet, RouteTarget)], destination: IpAddr) -> Option<RouteTarget> {
        routes
            .iter()
            .filter(|(prefix, _)| prefix.contains(&destination))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map(|(_, target)| *target)
    }

    /// Few distinct bits at both ends of the space, so that prefixes nest, touch and repeat.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..8, 0u32..8).prop_map(|(high, low)| IpAddr::V4((high << 29 | low).into())),
            any::<u32>().prop_map(|a| IpAddr::V4(a.into())),
            (0u128..8, 0u128..8).prop_map(|(high, low)| IpAddr::V6((high << 125 | low).into())),
            Just(IpAddr::V4(u32::MAX.into())),
            Just(IpAddr::V6(u128::MAX.into())),
        ]
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        (address(), prop_oneof![0u8..5, 28u8..33, 40u8..66, 120u8..129]).prop_map(
            |(address, length)| {
                let longest = if address.is_ipv4() { 32 } else { 128 };
                IpNet::new(address, length.min(longest)).expect("length fits").trunc()
            },
        )
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            table in prop::collection::vec((prefix(), any::<bool>()), 0..20),
            cidrs in prop::collection::vec(prefix(), 0..4),
            destinations in prop::collection::vec(address(), 1..40),
        ) {
            let table = table.into_iter()
                .map(|(p, local)| (p, if local { RouteTarget::Local } else { RouteTarget::Blackhole }));
            let routes = RouteSet::effective(table, &cidrs);
            let set = RouteSet::compile(routes.clone(), 1);
            for destination in destinations {
                prop_assert_eq!(set.lookup(destination).copied(), naive(&routes, destination));
            }
        }
    }

    #[test]
    fn a_route_of_the_table_wins_over_the_implied_one_of_the_same_prefix() {
        let cidr = "10.0.0.0/16".parse().expect("prefix");
        let set =
            RouteSet::compile(RouteSet::effective([(cidr, RouteTarget::Blackhole)], &[cidr]), 1);
        assert_eq!(set.lookup("10.0.3.4".parse().expect("address")), Some(&RouteTarget::Blackhole));
        assert_eq!(set.lookup("10.1.0.0".parse().expect("address")), None);
    }
}
