//! What differs between two intents, as people are told of it.

use super::object::{Object, Spec};
use super::objects::{Inventory, Objects};

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub what: What,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
}

/// All changes from one to the other, kind by kind, each in the order of names.
pub(super) fn changes(old: &Inventory, new: &Inventory) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(&old.nodes, &new.nodes, &mut changes);
    compare(&old.vpcs, &new.vpcs, &mut changes);
    compare(&old.subnets, &new.subnets, &mut changes);
    compare(&old.interfaces, &new.interfaces, &mut changes);
    compare(&old.security_groups, &new.security_groups, &mut changes);
    compare(&old.route_tables, &new.route_tables, &mut changes);
    changes
}

fn compare<S: Spec + PartialEq>(old: &Objects<S>, new: &Objects<S>, changes: &mut Vec<Change>) {
    let first = changes.len();
    for object in new {
        changes.extend(change(old.get(object.name()), Some(object)));
    }
    for object in old {
        if new.get(object.name()).is_none() {
            changes.extend(change(Some(object), None));
        }
    }
    let of_kind = changes.get_mut(first..).unwrap_or_default();
    of_kind.sort_unstable_by(|a, b| a.name.cmp(&b.name));
}

/// What became of one object.
pub(super) fn change<S: Spec + PartialEq>(
    old: Option<&Object<S>>,
    new: Option<&Object<S>>,
) -> Option<Change> {
    let (what, object) = match (old, new) {
        (None, Some(new)) => (What::Added, new),
        (Some(old), Some(new)) if old != new => (What::Changed, new),
        (Some(old), None) => (What::Removed, old),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(Change { what, kind: S::KIND, name: object.name().to_string() })
}
