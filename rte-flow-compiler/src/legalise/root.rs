//! Where the first group is the card's root table, with its tighter limits, entries are kept out of it: one rule leads all
//! packets on to a group that has their place.

use rte_flow::Domain;

use crate::draft::{Act, Draft};
use crate::entry::Layers;

use super::{Refusal, Subject};

/// The group in place of the root; no table of the contract has it, nor a part of one.
const FIRST: u32 = 15;

pub fn pass(drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    let mut outcome = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if !subject.profile.is_root(Domain::Transfer, draft.group) {
            outcome.push(draft);
            continue;
        }
        let (layers, acts) = (Layers::default(), vec![Act::Jump(FIRST)]);
        outcome.push(Draft { group: draft.group, layers, asks: Vec::new(), acts });
        outcome.push(Draft { group: FIRST, ..draft });
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TABLES;
    use crate::legalise::tests::{changed, named, subject};
    use crate::samples::samples;

    #[test]
    fn no_table_has_the_group() {
        assert!(TABLES.iter().all(|layout| layout.group < FIRST));
    }

    #[test]
    fn the_root_only_leads_on() {
        let rooted = changed(
            "bluefield3-sws-22.11",
            r#"root_domains = ["ingress", "egress"]"#,
            r#"root_domains = ["ingress", "egress", "transfer"]"#,
        );
        for entry in samples() {
            let draft = Draft::of(&entry);
            let plain = pass(vec![draft.clone()], subject(&entry, &named("bluefield3-sws-22.11")));
            assert_eq!(plain, Ok(vec![draft.clone()]));
            let drafts =
                pass(vec![draft.clone()], subject(&entry, &rooted)).expect("never refuses");
            let own = drafts.last().expect("the entry's own");
            assert_eq!((&own.asks, &own.acts), (&draft.asks, &draft.acts));
            if draft.group == 0 {
                assert_eq!(drafts.len(), 2);
                assert_eq!((drafts[0].group, &drafts[0].asks), (0, &vec![]));
                assert_eq!(drafts[0].acts, [Act::Jump(own.group)]);
            } else {
                assert_eq!(drafts, [draft]);
            }
            assert_eq!(subject(&entry, &rooted).legalise().map(|_| ()), Ok(()), "{entry:?}");
        }
    }
}
