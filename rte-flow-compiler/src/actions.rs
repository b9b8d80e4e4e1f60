//! From what a draft does and an entry's values to the actions of a rule.

use rte_flow::{Action, ActionKind, FieldId, FieldRef, ModifyField, ModifyOperation, RawEncap};

use crate::draft::{Act, Draft, FOUND_TAG, TUNNEL_TAG, ZONE_TAG};
use crate::entry::{Destination, Entry};
use crate::layout::Operation;

/// The actions of a draft, with the values of an entry; `number` is what the rule after it knows it by.
pub(crate) fn actions(draft: &Draft, entry: &Entry, number: u32) -> Vec<Action> {
    draft.acts.iter().filter_map(|act| action(*act, entry, number)).collect()
}

/// The actions of a draft that has no values of its own.
pub(crate) fn shared_actions(draft: &Draft, number: u32) -> Vec<Action> {
    draft.acts.iter().filter_map(|act| valueless(*act, number)).collect()
}

fn valueless(act: Act, number: u32) -> Option<Action> {
    match act {
        Act::Note => Some(set_tag(FOUND_TAG, number)),
        Act::Jump(group) => Some(Action::Jump(group)),
        Act::Operation(_) => None,
    }
}

/// An entry without a value for an operation of its table does not exist; a test over all tables says so.
fn action(act: Act, entry: &Entry, number: u32) -> Option<Action> {
    let Act::Operation(operation) = act else { return valueless(act, number) };
    Some(match (operation, entry) {
        (
            Operation::SetZone,
            Entry::VmDispatch { zone, .. } | Entry::TunnelDispatch { zone, .. },
        ) => set_tag(ZONE_TAG, zone.number()),
        (
            Operation::SetTunnel,
            Entry::VmConnection { destination: Destination::Tunnel(tunnel), .. },
        ) => set_tag(TUNNEL_TAG, tunnel.0),
        (Operation::Decapsulate, _) => Action::VxlanDecap,
        (Operation::Count, _) => Action::Count(0),
        (Operation::SetSourceMac, Entry::VmConnection { macs, .. }) => {
            set_mac(FieldId::MacSrc, macs.source.0)
        }
        (Operation::SetDestinationMac, Entry::VmConnection { macs, .. }) => {
            set_mac(FieldId::MacDst, macs.destination.0)
        }
        (Operation::Encapsulate, Entry::Encapsulation { header, .. }) => {
            Action::RawEncap(RawEncap { data: header.clone(), preserve: None })
        }
        (
            Operation::Deliver,
            Entry::Encapsulation { port, .. }
            | Entry::TunnelConnection { port, .. }
            | Entry::VmConnection { destination: Destination::Port(port), .. },
        ) => Action::RepresentedPort(port.0),
        _ => return None,
    })
}

/// The kind of action that something is done by.
pub(crate) const fn kind(act: Act) -> ActionKind {
    match act {
        Act::Jump(_) => ActionKind::Jump,
        Act::Note => ActionKind::ModifyField,
        Act::Operation(operation) => match operation {
            Operation::Count => ActionKind::Count,
            Operation::Decapsulate => ActionKind::VxlanDecap,
            Operation::Encapsulate => ActionKind::RawEncap,
            Operation::Deliver => ActionKind::RepresentedPort,
            Operation::SetZone
            | Operation::SetTunnel
            | Operation::SetSourceMac
            | Operation::SetDestinationMac => ActionKind::ModifyField,
        },
    }
}

fn set_tag(index: u8, value: u32) -> Action {
    let tag = FieldRef { field: FieldId::Tag, level: u32::from(index), offset: 0 };
    let bits = FieldId::Tag.bits();
    Action::ModifyField(ModifyField::immediate(ModifyOperation::Set, tag, bits, value.into()))
}

fn set_mac(field: FieldId, octets: [u8; 6]) -> Action {
    let number = octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet));
    Action::ModifyField(ModifyField::set(field, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TABLES;
    use crate::samples::samples;

    #[test]
    fn every_operation_of_every_action_is_done_as_its_kind() {
        let samples = samples();
        for entry in &samples {
            for act in Draft::of(entry).acts {
                let done = action(act, entry, 1).map(|action| action.kind());
                assert_eq!(done, Some(kind(act)), "{act:?} of {entry:?}");
            }
        }
        for layout in TABLES {
            for wanted in layout.actions {
                let has =
                    |entry: &Entry| entry.table() == layout.table && entry.verb() == wanted.verb;
                assert!(samples.iter().any(has), "no sample of {wanted:?}");
            }
        }
    }
}
