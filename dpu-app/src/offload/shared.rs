//! Rules that those of several entries build upon, where a NIC cannot match all of an entry at once: each has a number, and is
//! wanted for as long as a rule is that builds upon it.

use std::collections::HashMap;

use rte_flow_compiler::Shared;

use super::manager::Manager;
use super::records::{Content, Owner};
use super::statics::Purpose;

/// A shared rule that has a number.
#[derive(Debug)]
struct Numbered {
    shared: Shared,
    /// Rules made for it that were not forgotten: one that is leaving, or in doubt, still goes by the number.
    rules: u32,
}

/// The numbers of shared rules.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    by_shared: HashMap<Shared, u32>,
    by_number: HashMap<u32, Numbered>,
    last: u32,
}

impl Numbers {
    /// The number of a shared rule; a new one that no rule in the NIC goes by, if it has none yet.
    pub fn of(&mut self, shared: Shared) -> u32 {
        if let Some(number) = self.by_shared.get(&shared) {
            return *number;
        }
        loop {
            self.last = self.last.wrapping_add(1);
            // 0 is what the register holds before any rule writes it.
            if self.last != 0 && !self.by_number.contains_key(&self.last) {
                break;
            }
        }
        self.by_shared.insert(shared.clone(), self.last);
        self.by_number.insert(self.last, Numbered { shared, rules: 0 });
        self.last
    }

    /// A rule is made for a number.
    pub fn take(&mut self, number: u32) {
        if let Some(numbered) = self.by_number.get_mut(&number) {
            numbered.rules += 1;
        }
    }

    /// A rule that was made for a number is forgotten.
    pub fn give_back(&mut self, number: u32) {
        if let Some(numbered) = self.by_number.get_mut(&number) {
            numbered.rules = numbered.rules.saturating_sub(1);
        }
    }

    fn shared(&self, number: u32) -> Option<&Shared> {
        self.by_number.get(&number).map(|numbered| &numbered.shared)
    }

    /// Forgets a number that no rule goes by.
    fn release(&mut self, number: u32) {
        if self.by_number.get(&number).is_some_and(|numbered| numbered.rules == 0)
            && let Some(numbered) = self.by_number.remove(&number)
        {
            self.by_shared.remove(&numbered.shared);
        }
    }
}

impl<H: Copy> Manager<H> {
    /// Asks for a shared rule, unless it is wanted already.
    pub(super) fn want_shared(&mut self, number: u32) {
        let purpose = Purpose::Shared(number);
        if self.statics.get(&purpose).is_some_and(|state| state.wanted.is_some()) {
            return;
        }
        let Some(shared) = self.numbers.shared(number) else { return };
        let after = shared.after().map(Purpose::Shared);
        match shared.rule(&self.nic, number) {
            Ok(rule) => {
                let content = Content {
                    entry: None,
                    rule,
                    purpose: Some(purpose),
                    needs: after.into_iter().collect(),
                    place: None,
                };
                let ticket = self.record(content, Owner::Static, None);
                let state = self.state_mut(purpose);
                state.wanted = Some(ticket);
                state.renewals = 0;
                self.submit(ticket);
            }
            Err(refusal) => self.state_mut(purpose).refusal = Some(refusal.to_string()),
        }
    }

    /// Lets a shared rule go, and its number, if no rule builds upon it.
    pub(super) fn let_shared_go(&mut self, number: u32) {
        let purpose = Purpose::Shared(number);
        if let Some(state) = self.statics.get_mut(&purpose) {
            if !state.users.is_empty() {
                return;
            }
            state.refusal = None;
            if let Some(ticket) = state.wanted.take() {
                self.retire(ticket);
            }
            self.tidy(purpose);
        }
        self.numbers.release(number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use model::decision::{Side, Zone};
    use model::snapshot::InterfaceId;
    use packet::{Mac, Tuple};
    use rte_flow::Profile;
    use rte_flow_compiler::{Destination, Entry, EthdevPort, Macs, Nic, Ports, Transport};

    use super::*;

    /// The shared rules of a connection from an interface, on a card that matches IPv6 in two rules.
    fn shared(interface: u32, port: u16) -> Vec<Shared> {
        let profile = Profile::named("bluefield3-hws-22.11").expect("a profile");
        let ports = Ports { uplink: EthdevPort(0), vfs: BTreeMap::new() };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let address = "2001:db8::1".parse().expect("an address");
        let entry = Entry::VmConnection {
            zone: Zone::new(InterfaceId(interface), Side::FromVm),
            tuple: Tuple::new(address, address, 6, port, 80),
            transport: Transport::Tcp,
            macs: Macs { source: mac, destination: mac },
            destination: Destination::Port(EthdevPort(1)),
        };
        let mut shared = Vec::new();
        let rule = Nic::new(Arc::new(profile), ports).rule(&entry, |one| {
            shared.push(one);
            1
        });
        rule.expect("the card takes it");
        shared
    }

    #[test]
    fn what_differs_has_another_number_and_what_is_gone_none() {
        let mut numbers = Numbers::default();
        let [one] = shared(1, 1000).try_into().expect("one shared rule");
        let [same] = shared(1, 2000).try_into().expect("one shared rule");
        let [another] = shared(2, 1000).try_into().expect("one shared rule");
        let first = numbers.of(one.clone());
        assert_eq!(numbers.of(same), first, "ports are no part of it");
        let second = numbers.of(another.clone());
        assert_ne!(first, second);

        // One rule for the number is on its way out while another one is on its way in.
        numbers.take(first);
        numbers.take(first);
        numbers.give_back(first);
        numbers.release(first);
        assert_eq!(numbers.of(one.clone()), first);
        numbers.give_back(first);
        numbers.release(first);
        let third = numbers.of(one);
        assert!(![0, first, second].contains(&third), "numbers are not used again at once");

        // Not even when all have been used.
        numbers.last = second.wrapping_sub(1);
        numbers.release(third);
        let [one] = shared(1, 1000).try_into().expect("one shared rule");
        assert!(![0, second].contains(&numbers.of(one)));
        numbers.last = u32::MAX;
        let [more] = shared(3, 1000).try_into().expect("one shared rule");
        assert_ne!(numbers.of(more), 0);
    }
}
