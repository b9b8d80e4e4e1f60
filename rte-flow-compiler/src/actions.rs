//! From a table's operations and an entry's values to the actions of a rule.

use rte_flow::{Action, FieldId, FieldRef, ModifyField, ModifyOperation, RawEncap};

use crate::entry::{Destination, Entry};
use crate::layout::Operation;
use crate::pattern::{TUNNEL_TAG, ZONE_TAG};

/// The actions of an entry's rule.
pub(crate) fn actions(entry: &Entry) -> Vec<Action> {
    variant(entry).iter().flat_map(|operation| actions_of(*operation, entry)).collect()
}

/// Which of its table's variants an entry is.
fn variant(entry: &Entry) -> &'static [Operation] {
    let variants = entry.table().layout().variants;
    let number = usize::from(matches!(
        entry,
        Entry::VmConnection { destination: Destination::Tunnel(_), .. }
    ));
    variants.get(number).copied().unwrap_or_default()
}

fn actions_of(operation: Operation, entry: &Entry) -> Vec<Action> {
    match (operation, entry) {
        (
            Operation::SetZone,
            Entry::VmDispatch { zone, .. } | Entry::TunnelDispatch { zone, .. },
        ) => vec![set_tag(ZONE_TAG, zone.number())],
        (
            Operation::SetTunnel,
            Entry::VmConnection { destination: Destination::Tunnel(tunnel), .. },
        ) => vec![set_tag(TUNNEL_TAG, tunnel.0)],
        (Operation::Jump(table), _) => vec![Action::Jump(table.layout().group)],
        (Operation::Decapsulate, _) => vec![Action::VxlanDecap],
        (Operation::Count, _) => vec![Action::Count(0)],
        (Operation::SetMacs, Entry::VmConnection { macs, .. }) => {
            [(FieldId::MacDst, macs.destination), (FieldId::MacSrc, macs.source)]
                .map(|(field, mac)| Action::ModifyField(ModifyField::set(field, number(mac.0))))
                .to_vec()
        }
        (Operation::Encapsulate, Entry::Encapsulation { header, .. }) => {
            vec![Action::RawEncap(RawEncap { data: header.clone(), preserve: None })]
        }
        (
            Operation::Deliver,
            Entry::Encapsulation { port, .. }
            | Entry::TunnelConnection { port, .. }
            | Entry::VmConnection { destination: Destination::Port(port), .. },
        ) => vec![Action::RepresentedPort(port.0)],
        // An entry without a value for an operation of its table does not exist; a test over all tables says so.
        _ => Vec::new(),
    }
}

fn set_tag(index: u8, value: u32) -> Action {
    let tag = FieldRef { field: FieldId::Tag, level: u32::from(index), offset: 0 };
    let bits = FieldId::Tag.bits();
    Action::ModifyField(ModifyField::immediate(ModifyOperation::Set, tag, bits, value.into()))
}

fn number(octets: [u8; 6]) -> u128 {
    octets.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::samples;

    #[test]
    fn every_operation_of_every_variant_is_done() {
        let samples = samples();
        for entry in &samples {
            for operation in variant(entry) {
                assert!(!actions_of(*operation, entry).is_empty(), "{operation:?} of {entry:?}");
            }
        }
        for layout in crate::layout::TABLES {
            for wanted in layout.variants {
                let of_table = samples.iter().filter(|entry| entry.table() == layout.table);
                assert!(of_table.map(variant).any(|is| is == *wanted), "no sample of {wanted:?}");
            }
        }
    }
}
