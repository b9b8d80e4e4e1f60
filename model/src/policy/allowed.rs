//! What a group allows, rule by rule, as intent has it: for those who show it or judge it, not for lookup.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Group, Remote, Rule, Service, TCP, UDP};
use crate::ranges::Range;

/// A rule of a group, with all names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Addresses of the other end; `None` for any.
    pub remotes: Option<Vec<IpNet>>,
    /// Which protocols, ports and types.
    pub service: AllowedService,
}

/// What of a flow a rule asks for besides the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedService {
    /// Nothing.
    Any,
    /// This IP protocol.
    Protocol(u8),
    /// TCP or UDP, to one of these ports (host byte order).
    Ports(u8, RangeInclusive<u16>),
    /// ICMP or ICMPv6 of this type, and of this code if one is given.
    Icmp(u8, u8, Option<u8>),
}

impl Group {
    /// What may come in to its members; in the order of intent.
    pub fn ingress_rules(&self) -> impl Iterator<Item = Allowed> {
        self.ingress.rules().iter().map(Allowed::from)
    }

    /// What its members may send; `None` when that is everything.
    #[must_use]
    pub fn egress_rules(&self) -> Option<impl Iterator<Item = Allowed>> {
        Some(self.egress.as_ref()?.rules().iter().map(Allowed::from))
    }
}

impl From<&Rule> for Allowed {
    fn from(rule: &Rule) -> Self {
        let remotes = match &rule.remote {
            Remote::Any => None,
            Remote::Prefix(prefix) => Some(vec![*prefix]),
            Remote::Members(members) => {
                Some(members.addresses.iter().map(|address: &IpAddr| (*address).into()).collect())
            }
        };
        Self { remotes, service: rule.service.into() }
    }
}

impl From<Service> for AllowedService {
    fn from(service: Service) -> Self {
        let Range { first, last } = service.0;
        let protocol = (first >> 17) as u8;
        if service == Service::ANY {
            Self::Any
        } else if service == Service::protocol(protocol) {
            Self::Protocol(protocol)
        } else if protocol == TCP || protocol == UDP {
            Self::Ports(protocol, first as u16..=last as u16)
        } else {
            let [kind, code] = (first as u16).to_be_bytes();
            Self::Icmp(protocol, kind, (first == last).then_some(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ICMP, ICMPV6};

    #[test]
    fn services_are_as_they_were_asked_for() {
        for (service, allowed) in [
            (Service::ANY, AllowedService::Any),
            (Service::protocol(47), AllowedService::Protocol(47)),
            (Service::protocol(TCP), AllowedService::Protocol(TCP)),
            (Service::ports(TCP, 80, 80), AllowedService::Ports(TCP, 80..=80)),
            (Service::ports(UDP, 0, 65535), AllowedService::Ports(UDP, 0..=65535)),
            (Service::icmp(ICMP, 8, None), AllowedService::Icmp(ICMP, 8, None)),
            (Service::icmp(ICMPV6, 1, Some(4)), AllowedService::Icmp(ICMPV6, 1, Some(4))),
        ] {
            assert_eq!(AllowedService::from(service), allowed);
        }
    }
}
