//! Leaves out the fields that the contract lets a NIC leave out and that this one cannot match.

use rte_flow::{Profile, Rule};

use crate::draft::{Act, Ask, Draft};
use crate::layout::Need;

use super::{Refusal, Subject};

pub fn pass(mut drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    for draft in &mut drafts {
        let Draft { group, layers, ref acts, .. } = *draft;
        let next: Vec<Act> =
            acts.iter().copied().filter(|act| matches!(act, Act::Jump(_))).collect();
        draft.asks.retain(|ask| {
            let Ask::Field(_, Need::WhereMatchable) = ask else { return true };
            // By itself, so that only this field can be what is refused.
            let alone = Draft { group, layers, asks: vec![*ask], acts: next.clone() };
            let rules = subject.rules(&[alone]);
            rules
                .iter()
                .all(|rule| subject.check(rule).is_ok() && is_followed(rule, subject.profile))
        });
    }
    Ok(drafts)
}

/// Whether the card asks all that a rule asks: some take a range, and match its lower end alone.
fn is_followed(rule: &Rule, profile: &Profile) -> bool {
    let mut is_followed = true;
    for item in &rule.pattern {
        item.for_each_field(&mut |field| {
            is_followed &= field.last.is_none() || !profile.ignores_range(item.kind(), field.index);
        });
    }
    is_followed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Field, Table};
    use crate::legalise::tests::{named, subject};
    use crate::samples::samples;

    fn left_out(profile: &str, table: Table) -> Vec<Field> {
        let profile = named(profile);
        let mut left_out = Vec::new();
        for entry in samples().iter().filter(|entry| entry.table() == table) {
            let before = Draft::of(entry);
            let after =
                pass(vec![before.clone()], subject(entry, &profile)).expect("never refuses");
            for ask in before.asks.iter().filter(|ask| !after[0].asks.contains(ask)) {
                if let Ask::Field(field, _) = ask {
                    left_out.push(*field);
                }
            }
        }
        left_out.sort_unstable();
        left_out.dedup();
        left_out
    }

    /// DPDK 22.11 with hardware steering takes a range of IPv6 lengths, and looks at its lower end alone.
    #[test]
    fn a_range_that_the_card_does_not_look_at_is_left_out() {
        let profile = named("bluefield3-hws-22.11");
        let is_dispatch = |entry: &&crate::Entry| entry.table() == Table::VmDispatch;
        let mut looked_at = 0;
        for entry in samples().iter().filter(is_dispatch) {
            let subject = subject(entry, &profile);
            let drafts = pass(vec![Draft::of(entry)], subject).expect("never refuses");
            let is_length = |ask: &Ask| matches!(ask, Ask::Field(Field::Length, _));
            assert!(!drafts[0].asks.iter().any(is_length), "{entry:?}");
            looked_at += 1;
        }
        assert_eq!(looked_at, 4, "both families, with and without a MAC");
    }

    #[test]
    fn only_what_the_card_cannot_match_is_left_out() {
        for (profile, dispatch, tunnel, checks) in [
            ("unlimited", vec![], vec![], vec![]),
            ("bluefield3-sws-22.11", vec![Field::Length], vec![Field::VniValid], vec![]),
            (
                "bluefield2-sws-22.11",
                vec![Field::Length],
                vec![Field::VniValid],
                vec![Field::HeaderLength],
            ),
            ("bluefield3-hws-24.11", vec![Field::Length], vec![], vec![]),
        ] {
            assert_eq!(left_out(profile, Table::VmDispatch), dispatch, "{profile}");
            assert_eq!(left_out(profile, Table::TunnelDispatch), tunnel, "{profile}");
            assert_eq!(left_out(profile, Table::VmChecks), checks, "{profile}");
            assert_eq!(left_out(profile, Table::VmConnections), [], "{profile}");
        }
    }
}
