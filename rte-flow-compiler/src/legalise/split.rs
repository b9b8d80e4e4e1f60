//! Splits a match that is too wide for the card over rules in groups one behind the other. Each but the last asks for some of the
//! fields, notes in a register which rule it is, and leads on; the next asks for that number and for more fields.
//!
//! Fields stand in the order in which entries share them, so most entries share all rules but the last, which does all that the
//! rule did. Those before change no packet: a miss in any of them hands software the packet as it came.

use rte_flow::Rule;

use crate::draft::{Act, Ask, Draft};
use crate::entry::{Entry, Layers};
use crate::layout::Field;

use super::{MAX_PARTS, Refusal, Subject};

/// The first group of parts; each table has as many as there can be parts.
const FIRST: u32 = 16;

pub fn pass(drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    let Some(most) = subject.profile.limits.match_words else { return Ok(drafts) };
    let mut outcome = Vec::with_capacity(drafts.len());
    for draft in drafts {
        split(draft, subject, most, &mut outcome)?;
    }
    Ok(outcome)
}

fn split(
    draft: Draft,
    subject: Subject<'_>,
    most: u32,
    outcome: &mut Vec<Draft>,
) -> Result<(), Refusal> {
    let mut rest = draft;
    for part in 0..MAX_PARTS {
        if words(&rest, subject) <= most {
            outcome.push(rest);
            return Ok(());
        }
        let next = group(subject.entry, part);
        let taken = (1..rest.asks.len()).rev().find_map(|count| {
            let taken = first(&rest, count, next);
            // What only asks for what the rule before has found would find nothing new. The protocol takes no room, and
            // without it TCP and UDP share the rule.
            let is_good = !matches!(
                taken.asks.last(),
                Some(Ask::Found | Ask::AnyPort | Ask::Field(Field::Protocol, _)) | None
            );
            (is_good && words(&taken, subject) <= most).then_some(taken)
        });
        let Some(taken) = taken else { return Err(too_wide(&rest, subject, most)) };
        let asks = [Ask::Found].into_iter().chain(rest.asks.drain(taken.asks.len()..)).collect();
        outcome.push(taken);
        rest = Draft { group: next, asks, ..rest };
    }
    Err(Refusal::TooManyParts { most })
}

/// The rule for the first so many fields of a draft.
fn first(draft: &Draft, count: usize, next: u32) -> Draft {
    let taken = Draft {
        group: draft.group,
        layers: draft.layers,
        asks: draft.asks.get(..count).unwrap_or_default().to_vec(),
        acts: vec![Act::Note, Act::Jump(next)],
    };
    // Down to the packet's family at least: else the rule would take packets of the other one, too, whose entries may be split
    // elsewhere.
    let needed = taken.needed_layers();
    let layers = Layers { link: draft.layers.link, family: draft.layers.family, ..needed };
    Draft { layers, ..taken }
}

/// The group of the part behind the first, the second, ...
const fn group(entry: &Entry, part: usize) -> u32 {
    FIRST + entry.table() as u32 * MAX_PARTS as u32 + part as u32
}

/// How wide a draft's match is.
fn words(draft: &Draft, subject: Subject<'_>) -> u32 {
    let rules = subject.rules(std::slice::from_ref(draft));
    let of_rule = |rule: &Rule| rule.pattern.iter().map(rte_flow::Item::match_words).sum::<u32>();
    rules.iter().map(of_rule).sum()
}

/// The first field that does not fit.
fn too_wide(draft: &Draft, subject: Subject<'_>, most: u32) -> Refusal {
    let fields = draft.asks.iter().filter_map(|ask| match ask {
        Ask::Field(field, _) => Some((*field, ask)),
        Ask::AnyPort | Ask::Found => None,
    });
    for (field, ask) in fields {
        let before = draft.asks.iter().filter(|ask| matches!(ask, Ask::Found)).chain([ask]);
        let alone = Draft { asks: before.copied().collect(), ..draft.clone() };
        let alone = Draft { layers: alone.needed_layers(), ..alone };
        let words = words(&alone, subject);
        if words > most {
            return Refusal::TooWide { field, words, most };
        }
    }
    // The last part has all headers; none of their fields is too wide.
    Refusal::TooManyParts { most }
}

#[cfg(test)]
mod tests {
    use packet::Family;

    use super::*;
    use crate::layout::{TABLES, Table};
    use crate::legalise::tests::{changed, named, subject};
    use crate::samples::samples;

    fn fields(draft: &Draft) -> Vec<Field> {
        let field = |ask: &Ask| match ask {
            Ask::Field(field, _) => Some(*field),
            Ask::AnyPort | Ask::Found => None,
        };
        draft.asks.iter().filter_map(field).collect()
    }

    /// A connection's drafts: its table, the families of tunnel and packet.
    fn parts(profile: &str, table: Table, outer: Option<Family>, family: Family) -> Vec<Draft> {
        let profile = named(profile);
        let samples = samples();
        let is_it = |entry: &&Entry| {
            let layers = entry.layers();
            entry.table() == table && (layers.outer, layers.family) == (outer, Some(family))
        };
        let entry = samples.iter().find(is_it).expect("a sample");
        pass(vec![Draft::of(entry)], subject(entry, &profile)).expect("fits")
    }

    #[test]
    fn what_fits_stays_whole() {
        for profile in ["unlimited", "bluefield3-sws-22.11"] {
            for family in [Family::V4, Family::V6] {
                let drafts = parts(profile, Table::TunnelConnections, Some(Family::V6), family);
                assert_eq!(drafts.len(), 1, "{profile}");
            }
        }
        let narrow = "bluefield3-hws-22.11";
        assert_eq!(parts(narrow, Table::VmConnections, None, Family::V4).len(), 1);
        let drafts = parts(narrow, Table::TunnelConnections, Some(Family::V4), Family::V4);
        assert_eq!(drafts.len(), 1);
    }

    #[test]
    fn what_connections_share_is_matched_first() {
        use Field::{
            Destination, DestinationPort, OuterSource, Protocol, Source, SourcePort, Zone,
        };
        let narrow = "bluefield3-hws-22.11";
        let drafts = parts(narrow, Table::VmConnections, None, Family::V6);
        let asked: Vec<_> = drafts.iter().map(fields).collect();
        let rest = [Destination, Protocol, SourcePort, DestinationPort];
        assert_eq!(asked, [vec![Zone, Source], rest.to_vec()]);
        assert_eq!(drafts[0].layers.transport, None, "TCP and UDP share it");

        let drafts = parts(narrow, Table::TunnelConnections, Some(Family::V4), Family::V6);
        let asked: Vec<_> = drafts.iter().map(fields).collect();
        let rest = [Source, Protocol, SourcePort, DestinationPort];
        assert_eq!(asked, [vec![Zone, OuterSource, Destination], rest.to_vec()]);

        let drafts = parts(narrow, Table::TunnelConnections, Some(Family::V6), Family::V6);
        let asked: Vec<_> = drafts.iter().map(fields).collect();
        assert_eq!(asked, [vec![Zone, OuterSource], vec![Destination], rest.to_vec()]);
        let groups: Vec<_> = drafts.iter().map(|draft| draft.group).collect();
        assert_eq!(groups, [4, 41, 42]);
    }

    #[test]
    fn parts_ask_for_all_in_order_and_only_the_last_does_what_the_rule_did() {
        for most in 6..12 {
            let words = format!("match_words = {most}");
            let profile = changed("bluefield3-hws-22.11", "match_words = 8", &words);
            for entry in samples() {
                let draft = Draft::of(&entry);
                let subject = subject(&entry, &profile);
                let Ok(drafts) = pass(vec![draft.clone()], subject) else { continue };
                let together: Vec<_> = drafts.iter().flat_map(fields).collect();
                assert_eq!(together, fields(&draft), "{entry:?}");
                let (last, before) = drafts.split_last().expect("at least one");
                assert_eq!(last.acts, draft.acts);
                for (part, next) in before.iter().zip(&drafts[1..]) {
                    assert_eq!(part.acts, [Act::Note, Act::Jump(next.group)]);
                    assert_eq!(next.asks[0], Ask::Found);
                }
                for draft in &drafts {
                    assert!(super::words(draft, subject) <= most, "{draft:?}");
                }
                assert_eq!(last.layers, draft.layers);
            }
        }
    }

    #[test]
    fn a_field_that_is_too_wide_is_named() {
        let profile = changed("bluefield3-hws-22.11", "match_words = 8", "match_words = 3");
        let samples = samples();
        let v6 = |entry: &&Entry| {
            entry.table() == Table::VmConnections && entry.layers().family == Some(Family::V6)
        };
        let entry = samples.iter().find(v6).expect("a sample");
        let refusal = pass(vec![Draft::of(entry)], subject(entry, &profile)).expect_err("too wide");
        assert_eq!(refusal, Refusal::TooWide { field: Field::Source, words: 6, most: 3 });
    }

    #[test]
    fn no_table_has_a_group_of_parts() {
        assert!(TABLES.iter().all(|layout| layout.group < FIRST));
    }
}
