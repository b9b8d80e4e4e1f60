//! With software steering, a rule without a port item is for packets from the port on which it was made, in any group; with an
//! item that names no port, for packets from all of them.

use rte_flow::Steering;

use crate::draft::{Ask, Draft};
use crate::layout::Field;

use super::{Refusal, Subject};

pub fn pass(mut drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    if subject.profile.steering == Steering::Software {
        for draft in &mut drafts {
            let names_port = |ask: &Ask| matches!(ask, Ask::Field(Field::IngressPort, _));
            if !draft.asks.iter().any(names_port) {
                draft.asks.insert(0, Ask::AnyPort);
            }
        }
    }
    Ok(drafts)
}

#[cfg(test)]
mod tests {
    use rte_flow::ItemKind;

    use super::*;
    use crate::legalise::tests::{named, subject};
    use crate::samples::samples;

    #[test]
    fn with_software_steering_every_rule_has_a_port_item() {
        for entry in samples() {
            let ports = |name| {
                let profile = named(name);
                let subject = subject(&entry, &profile);
                let drafts = pass(vec![Draft::of(&entry)], subject).expect("never refuses");
                let rule = subject.rules(&drafts).remove(0);
                let is_port = |item: &&rte_flow::Item| item.kind() == ItemKind::RepresentedPort;
                rule.pattern.iter().filter(is_port).count()
            };
            let named = usize::from(entry.value(Field::IngressPort).is_some());
            assert_eq!(ports("bluefield3-sws-22.11"), 1);
            assert_eq!(ports("bluefield3-hws-22.11"), named);
        }
    }
}
