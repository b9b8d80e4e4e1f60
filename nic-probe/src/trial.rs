//! Rules on trial: what the NIC says to one.

use rte_flow::{
    Action, ActionKind, Attributes, Domain, FlowError, IndirectHandle, Item, ItemKind, Rule,
};

use crate::nic::Nic;
use crate::rules::{Interface, Made};

/// The group in which rules are tried that need none in particular: nobody jumps there, so no packet comes.
pub const SCRATCH: u32 = 40;
/// Where tried rules jump to.
pub const ELSEWHERE: u32 = 41;

/// What may have to stand before an item, or in the pattern of a rule with an action: the first that serves is taken.
pub const PREFIXES: &[&[ItemKind]] = {
    use ItemKind::{Eth, Geneve, Gre, Ipv4, Ipv6, Nvgre, Tcp, Udp, Vlan, Vxlan};
    &[
        &[Eth],
        &[],
        &[Eth, Vlan, Ipv4],
        &[Eth, Ipv4],
        &[Eth, Ipv6],
        &[Eth, Ipv4, Udp],
        &[Eth, Ipv4, Tcp],
        &[Eth, Ipv6, Tcp],
        &[Eth, Vlan, Ipv4, Tcp],
        &[Eth, Ipv4, Gre],
        &[Eth, Ipv4, Nvgre],
        &[Eth, Ipv4, Udp, Geneve],
        &[Eth, Ipv4, Udp, Vxlan],
        &[Eth, Ipv4, Udp, Vxlan, Eth, Ipv4, Tcp],
        &[Eth, Vlan, Ipv4, Udp, Vxlan, Eth, Vlan, Ipv4, Tcp],
        &[Eth, Vlan, Ipv4, Nvgre, Eth, Vlan, Ipv4, Tcp],
        &[Eth, Ipv4, Udp, Vxlan, Eth, Ipv6, Tcp],
        &[Eth, Ipv4, Nvgre, Eth, Ipv6, Tcp],
    ]
};

/// Items of these kinds that only ask for their header.
pub fn bare(kinds: &[ItemKind]) -> Vec<Item> {
    kinds.iter().map(|kind| Item::asking(*kind, &[])).collect()
}

/// All domains, in the order in which profiles name them.
pub const DOMAINS: [Domain; 3] = [Domain::Ingress, Domain::Egress, Domain::Transfer];

/// Where rules are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which domain.
    pub domain: Domain,
    /// In which group.
    pub group: u32,
}

impl Place {
    /// In the first group, which may be a root table with limits of its own.
    pub const fn first(domain: Domain) -> Self {
        Self { domain, group: 0 }
    }

    /// In a group without any distinction.
    pub const fn scratch(domain: Domain) -> Self {
        Self { domain, group: SCRATCH }
    }

    /// A rule of the highest priority here.
    pub fn rule(self, pattern: Vec<Item>, actions: Vec<Action>) -> Rule {
        let attributes = Attributes { group: self.group, priority: 0, domain: self.domain };
        Rule { attributes, pattern, actions }
    }
}

/// Asks a NIC about rules.
pub struct Trial<'n, 'e> {
    /// The NIC.
    pub nic: &'n mut Nic<'e>,
    /// Through which interface rules are made.
    pub interface: Interface,
    /// The shared actions that rules name.
    pub shared: Vec<(ActionKind, IndirectHandle)>,
    /// How a rule can end, by domain, for those that take rules at all.
    ends: Vec<(Domain, Action)>,
}

impl<'n, 'e> Trial<'n, 'e> {
    /// Trials through this interface, if it takes any rule at all.
    pub fn through(interface: Interface, nic: &'n mut Nic<'e>) -> Option<Self> {
        let port = nic.proxy();
        let mut trial = Self { nic, interface, shared: Vec::new(), ends: Vec::new() };
        for domain in DOMAINS {
            // What is dropped is changed by no card.
            let ends = [
                Action::Jump(ELSEWHERE),
                Action::Drop,
                Action::Queue(0),
                Action::RepresentedPort(port),
            ];
            let end = ends.into_iter().find(|end| {
                let rule = Place::scratch(domain).rule(bare(&[ItemKind::Eth]), vec![end.clone()]);
                trial.accepts(&rule)
            });
            trial.ends.extend(end.map(|end| (domain, end)));
        }
        (!trial.ends.is_empty()).then_some(trial)
    }

    /// Makes a rule through a port, to stay.
    pub fn insert(&mut self, port: u16, rule: &Rule) -> Result<Made, FlowError> {
        Made::insert(self.interface, port, rule, &self.shared)
    }

    /// What the NIC says to a rule made through a port, which is gone afterwards.
    pub fn on(&mut self, port: u16, rule: &Rule) -> Result<(), FlowError> {
        self.insert(port, rule).map(drop)
    }

    /// Whether the NIC takes a rule through the port that manages the switch.
    pub fn accepts(&mut self, rule: &Rule) -> bool {
        self.on(self.nic.proxy(), rule).is_ok()
    }

    /// The domains that take rules.
    pub fn domains(&self) -> Vec<Domain> {
        self.ends.iter().map(|(domain, _)| *domain).collect()
    }

    /// The actions with an end, where they have none.
    pub fn ended(&self, domain: Domain, actions: &[Action]) -> Vec<Action> {
        let mut list = actions.to_vec();
        let end = self.ends.iter().find(|(known, _)| *known == domain);
        let is_end = |action: &Action| action.kind().is_fate() || *action == Action::Passthru;
        if !list.iter().any(is_end) {
            list.extend(end.map(|(_, action)| action.clone()));
        }
        list
    }

    /// Whether the NIC takes a rule of this pattern, whatever it does.
    pub fn accepts_pattern(&mut self, place: Place, pattern: &[Item]) -> bool {
        let actions = self.ended(place.domain, &[]);
        self.accepts(&place.rule(pattern.to_vec(), actions))
    }

    /// Patterns that end with these items and that the NIC takes.
    pub fn patterns_with(&mut self, place: Place, items: &[Item]) -> Vec<Vec<Item>> {
        let patterns = PREFIXES.iter().map(|prefix| [bare(prefix), items.to_vec()].concat());
        patterns.filter(|pattern| self.accepts_pattern(place, pattern)).collect()
    }

    /// The positions of the prefixes with which the NIC takes a rule of these actions, in this order.
    pub fn prefixes_with(&mut self, place: Place, actions: &[Action]) -> Vec<usize> {
        let actions = self.ended(place.domain, actions);
        let accepts = |(at, prefix): (usize, &&[ItemKind])| {
            self.accepts(&place.rule(bare(prefix), actions.clone())).then_some(at)
        };
        PREFIXES.iter().enumerate().filter_map(accepts).collect()
    }

    /// Whether the NIC takes a rule of these actions, in this order, for some pattern.
    pub fn accepts_actions(&mut self, place: Place, actions: &[Action]) -> bool {
        let actions = self.ended(place.domain, actions);
        PREFIXES.iter().any(|prefix| self.accepts(&place.rule(bare(prefix), actions.clone())))
    }
}

/// The largest number that is accepted, where `0..=largest` are and `most` is the largest to be tried; `None` when that
/// is accepted too. 0 must be accepted.
pub fn largest(most: u64, mut accepts: impl FnMut(u64) -> bool) -> Option<u64> {
    if accepts(most) {
        return None;
    }
    let (mut good, mut bad) = (0, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if accepts(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_exactly() {
        for limit in [0, 1, 7, 21_843, 65_530, u64::MAX - 1] {
            assert_eq!(largest(u64::MAX, |number| number <= limit), Some(limit));
        }
        assert_eq!(largest(255, |_| true), None);
    }
}
