//! The groups of rules: a packet finds the first one by its key, and those that rules send it on to by a number that the rules keep.

use hashbrown::HashMap;

use super::mix::BuildMixer;
use super::rule::GroupKey;
use super::table::Table;

/// The number of a group, good while somebody holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupNumber(u32);

/// A group of rules.
#[derive(Debug)]
struct Group {
    key: GroupKey,
    table: Table,
    /// Rules that are in it, or send packets to it.
    holders: usize,
}

/// The groups that somebody holds.
#[derive(Debug, Default)]
pub struct Groups {
    numbers: HashMap<GroupKey, GroupNumber, BuildMixer>,
    groups: Vec<Option<Group>>,
    free: Vec<GroupNumber>,
}

impl Groups {
    /// How many have rules.
    pub fn len(&self) -> usize {
        self.groups.iter().flatten().filter(|group| !group.table.is_empty()).count()
    }

    /// The number of a group that somebody holds.
    #[inline]
    pub fn find(&self, key: GroupKey) -> Option<GroupNumber> {
        self.numbers.get(&key).copied()
    }

    /// The rules of a group that has some.
    #[inline]
    pub fn table(&self, GroupNumber(number): GroupNumber) -> Option<&Table> {
        let group = self.groups.get(number as usize)?.as_ref()?;
        Some(&group.table).filter(|table| !table.is_empty())
    }

    /// The rules of a group, to change them.
    pub fn table_mut(&mut self, GroupNumber(number): GroupNumber) -> Option<&mut Table> {
        Some(&mut self.groups.get_mut(number as usize)?.as_mut()?.table)
    }

    /// Holds a group, which is there from then on.
    pub fn hold(&mut self, key: GroupKey) -> GroupNumber {
        let (groups, free) = (&mut self.groups, &mut self.free);
        let number = *self.numbers.entry(key).or_insert_with(|| {
            let group = Some(Group { key, table: Table::default(), holders: 0 });
            let number = free.pop().unwrap_or(GroupNumber(groups.len() as u32));
            match groups.get_mut(number.0 as usize) {
                Some(place) => *place = group,
                None => groups.push(group),
            }
            number
        });
        if let Some(Some(group)) = self.groups.get_mut(number.0 as usize) {
            group.holders += 1;
        }
        number
    }

    /// Holds a group no more; with its last holder it goes.
    pub fn release(&mut self, number: GroupNumber) {
        let Some(place) = self.groups.get_mut(number.0 as usize) else { return };
        let Some(group) = place else { return };
        group.holders = group.holders.saturating_sub(1);
        if group.holders == 0 {
            self.numbers.remove(&group.key);
            *place = None;
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use rte_flow::Domain;

    use super::*;

    #[test]
    fn a_group_goes_with_its_last_holder() {
        let key = |group| GroupKey { domain: Domain::Transfer, port: None, group };
        let mut groups = Groups::default();
        let first = groups.hold(key(1));
        assert_eq!(groups.hold(key(1)), first);
        let second = groups.hold(key(2));
        assert_ne!(first, second);
        groups.release(first);
        assert_eq!(groups.find(key(1)), Some(first));
        groups.release(first);
        assert_eq!(groups.find(key(1)), None);
        assert_eq!(groups.hold(key(3)), first, "its place is used again");
        assert_eq!(groups.find(key(2)), Some(second));
        assert!(groups.table(first).is_none() && groups.len() == 0, "no rules are there");
    }
}
