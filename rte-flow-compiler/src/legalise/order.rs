//! Puts actions into an order that means what the contract says and that the card takes. In the contract they do not depend on
//! each other: MACs are those of the inner frame, for example, before a tunnel's headers are put on and after they are taken off.

use rte_flow::{ActionKind, Profile};

use crate::actions::kind;
use crate::draft::{Act, Draft};
use crate::layout::Operation;

use super::{Refusal, Subject};

pub fn pass(mut drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    for draft in &mut drafts {
        sort(&mut draft.acts, subject.profile)?;
    }
    Ok(drafts)
}

fn sort(acts: &mut [Act], profile: &Profile) -> Result<(), Refusal> {
    acts.sort_by_key(|act| step(kind(*act)));
    // What the profile says nothing of stays where it is.
    let (places, mut listed): (Vec<usize>, Vec<(usize, Act)>) = acts
        .iter()
        .enumerate()
        .filter_map(|(place, act)| Some((place, (profile.order_of(kind(*act))?, *act))))
        .unzip();
    listed.sort_by_key(|(order, _)| *order);
    for (place, (_, act)) in places.into_iter().zip(listed) {
        acts[place] = act;
    }
    // What is written is headers of another layer before and after these.
    let mut last = (0, "");
    for act in acts.iter().filter(|act| touches_headers(**act)) {
        let kind = kind(*act);
        if step(kind) < last.0 {
            return Err(Refusal::Order { first: last.1, second: kind.name() });
        }
        last = (step(kind), kind.name());
    }
    Ok(())
}

/// The order in which actions do what the contract says.
const fn step(kind: ActionKind) -> u32 {
    if kind.is_decap() {
        0
    } else if kind.is_fate() {
        4
    } else if kind.is_encap() {
        3
    } else if kind.is_modify() {
        2
    } else {
        1
    }
}

const fn touches_headers(act: Act) -> bool {
    matches!(
        act,
        Act::Operation(
            Operation::Decapsulate
                | Operation::Encapsulate
                | Operation::SetSourceMac
                | Operation::SetDestinationMac
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{TABLES, Verb};
    use crate::legalise::tests::{changed, named};

    fn of(verb: Verb) -> Vec<Act> {
        let actions = TABLES.iter().flat_map(|layout| layout.actions);
        let action =
            actions.into_iter().find(|action| action.verb == verb).expect("such an action");
        action.operations.iter().copied().map(Act::Operation).collect()
    }

    fn sorted(mut acts: Vec<Act>, profile: &Profile) -> Result<Vec<ActionKind>, Refusal> {
        sort(&mut acts, profile).map(|()| acts.into_iter().map(kind).collect())
    }

    #[test]
    fn headers_are_taken_off_first_and_the_fate_is_last() {
        use ActionKind::{Count, ModifyField, RepresentedPort, VxlanDecap};
        for name in Profile::names() {
            let profile = named(name);
            assert_eq!(
                sorted(of(Verb::DecapsulateAndDeliver), &profile),
                Ok(vec![VxlanDecap, Count, RepresentedPort]),
                "{name}"
            );
            assert_eq!(
                sorted(of(Verb::Deliver), &profile),
                Ok(vec![Count, ModifyField, ModifyField, RepresentedPort]),
                "{name}"
            );
        }
    }

    #[test]
    fn the_cards_order_is_followed() {
        use ActionKind::{Count, ModifyField, RepresentedPort};
        let late = changed(
            "bluefield3-sws-22.11",
            r#"order = [["decap"], ["modify"], ["encap"]]"#,
            r#"order = [["decap"], ["modify"], ["count"], ["encap"]]"#,
        );
        assert_eq!(
            sorted(of(Verb::Deliver), &late),
            Ok(vec![ModifyField, ModifyField, Count, RepresentedPort])
        );
    }

    #[test]
    fn an_order_that_means_something_else_is_refused() {
        let inverse = changed(
            "bluefield3-sws-22.11",
            r#"order = [["decap"], ["modify"], ["encap"]]"#,
            r#"order = [["encap"], ["modify"], ["decap"]]"#,
        );
        let acts = [Operation::SetSourceMac, Operation::Encapsulate].map(Act::Operation).to_vec();
        assert_eq!(
            sorted(acts, &inverse),
            Err(Refusal::Order { first: "raw_encap", second: "modify_field" })
        );
        assert!(sorted(of(Verb::Deliver), &inverse).is_ok(), "writes headers of one layer");
    }
}
