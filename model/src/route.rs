//! Route tables, compiled: longest prefix match to a target.

use std::net::IpAddr;

use crate::snapshot::Mapping;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Into the VPC: to whatever interface has the destination address.
    Local,
    /// To this interface, addresses untouched.
    Interface(Mapping),
    /// Nowhere, on purpose.
    Blackhole,
}

/// The routes of a table with the VPC's implied local routes.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteSet {
    /// Moves when the content changes.
    pub generation: u32,
    pub(crate) routes: Vec<(ipnet::IpNet, RouteTarget)>,
}

impl RouteSet {
    /// The most specific route for a destination.
    #[must_use]
    pub fn lookup(&self, destination: IpAddr) -> Option<RouteTarget> {
        self.routes
            .iter()
            .filter(|(prefix, _)| prefix.contains(&destination))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map(|(_, target)| *target)
    }
}
