//! Which actions stand beside each other in a rule, and in which order.

use std::cmp::{Ordering, Reverse};

use rte_flow::{Action, ActionKind, ItemKind};

use crate::actions::FoundAction;
use crate::trial::{PREFIXES, Place, Trial, bare};

/// Actions that stand together in order and number, by their name in profiles.
pub fn class(kind: ActionKind) -> &'static str {
    match kind {
        kind if kind.is_decap() => "decap",
        kind if kind.is_encap() => "encap",
        kind if kind.is_modify() => "modify",
        kind if kind.is_fate() => "fate",
        kind => kind.name(),
    }
}

/// What is accepted of several actions in a rule.
#[derive(Debug, Default)]
pub struct Company {
    /// Classes in the order they must have.
    pub order: Vec<Vec<&'static str>>,
    /// Actions or classes of which the first stands before the second, beside those of the order.
    pub precedes: Vec<[&'static str; 2]>,
    /// Actions or classes that are never in one rule.
    pub exclusive: Vec<[&'static str; 2]>,
    /// Classes of which a rule has at most one.
    pub at_most_one: Vec<&'static str>,
}

/// How two actions stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// In either order.
    Free,
    /// The first before the second.
    Before,
    /// The second before the first.
    After,
    /// Never in one rule.
    Apart,
    /// They cannot be tried: there is no rule for both.
    Unknown,
}

impl Relation {
    const fn reversed(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
            other => other,
        }
    }
}

/// The relations of all actions, each to each.
struct Relations<'a> {
    actions: Vec<&'a FoundAction>,
    table: Vec<Vec<Relation>>,
}

/// Finds out which actions stand beside each other.
pub fn examine(trial: &mut Trial<'_, '_>, found: &[FoundAction]) -> Company {
    // What a shared action may stand beside is a matter of what is shared.
    let actions: Vec<&FoundAction> =
        found.iter().filter(|action| action.kind != ActionKind::Indirect).collect();
    let mut table = vec![vec![Relation::Unknown; actions.len()]; actions.len()];
    for (first, one) in actions.iter().enumerate() {
        for (second, other) in actions.iter().enumerate().skip(first) {
            let relation = relation(trial, one, other);
            table[first][second] = relation;
            table[second][first] = relation.reversed();
        }
    }
    let relations = Relations { actions, table };
    let at_most_one = relations.at_most_one();
    let order = relations.order();
    let precedes = relations.pairs(Relation::Before, |one, other| {
        rank(&order, one).zip(rank(&order, other)).is_some_and(|(one, other)| one < other)
    });
    let exclusive = relations.pairs(Relation::Apart, |_, _| false);
    Company { order, precedes, exclusive, at_most_one }
}

/// Tries two actions in both orders, with all patterns with which each is accepted alone.
fn relation(trial: &mut Trial<'_, '_>, one: &FoundAction, other: &FoundAction) -> Relation {
    let (mut forth, mut back, mut was_tried) = (false, false, false);
    for first in &one.accepted {
        let Some(second) = other.in_domain(first.domain) else { continue };
        // An action that another needs before it stands there anyway.
        let needs = |actions: &[Action], kind: ActionKind| {
            actions.iter().rev().skip(1).any(|action| action.kind() == kind)
        };
        if needs(&first.actions, other.kind) || needs(&second.actions, one.kind) {
            return Relation::Unknown;
        }
        let place = Place::scratch(first.domain);
        let both = first.prefixes.iter().filter(|prefix| second.prefixes.contains(prefix));
        let both = both.filter_map(|prefix| PREFIXES.get(*prefix));
        for prefix in both.filter(|prefix| serves(prefix, one, other)) {
            was_tried = true;
            let mut accepts = |one: &[Action], other: &[Action]| {
                let actions = trial.ended(first.domain, &joined(one, other));
                trial.accepts(&place.rule(bare(prefix), actions))
            };
            forth = forth || accepts(&first.actions, &second.actions);
            back = back || accepts(&second.actions, &first.actions);
            if forth && back {
                return Relation::Free;
            }
        }
    }
    match (was_tried, forth, back) {
        (false, _, _) => Relation::Unknown,
        (true, true, true) => Relation::Free,
        (true, true, false) => Relation::Before,
        (true, false, true) => Relation::After,
        (true, false, false) => Relation::Apart,
    }
}

/// Whether a pattern has what two actions need in either order: behind a decapsulation it must be there once more.
fn serves(prefix: &[ItemKind], one: &FoundAction, other: &FoundAction) -> bool {
    let mut inner = prefix.iter().skip(1).skip_while(|kind| **kind != ItemKind::Eth);
    let needs: &[ItemKind] = match (one.kind.is_decap(), other.kind.is_decap()) {
        (true, false) => &other.needs,
        (false, true) => &one.needs,
        _ => &[],
    };
    needs.is_empty() || inner.any(|kind| needs.contains(kind))
}

/// One list behind the other, without what the second repeats of the first for its own sake.
fn joined(one: &[Action], other: &[Action]) -> Vec<Action> {
    let (last, needed) = match other.split_last() {
        Some((last, needed)) => (Some(last), needed),
        None => (None, other),
    };
    let is_new = |action: &&Action| !one.iter().any(|known| known.kind() == action.kind());
    one.iter().chain(needed.iter().filter(is_new)).chain(last).cloned().collect()
}

fn rank(order: &[Vec<&'static str>], class: &str) -> Option<usize> {
    order.iter().position(|classes| classes.contains(&class))
}

impl Relations<'_> {
    fn classes(&self) -> Vec<&'static str> {
        let mut classes = Vec::new();
        for action in &self.actions {
            if !classes.contains(&class(action.kind)) {
                classes.push(class(action.kind));
            }
        }
        classes
    }

    /// The relations that are known between actions of two names: classes, or single actions.
    fn between(&self, one: &str, other: &str) -> Vec<Relation> {
        let is = |kind: ActionKind, name: &str| class(kind) == name || kind.name() == name;
        let mut list = Vec::new();
        for (first, row) in self.actions.iter().zip(&self.table) {
            for (second, relation) in self.actions.iter().zip(row) {
                if is(first.kind, one) && is(second.kind, other) && *relation != Relation::Unknown {
                    list.push(*relation);
                }
            }
        }
        list
    }

    /// Whether that is how all actions of these names stand.
    fn all(&self, one: &str, other: &str, relation: Relation) -> bool {
        let known = self.between(one, other);
        !known.is_empty() && known.iter().all(|known| *known == relation)
    }

    fn at_most_one(&self) -> Vec<&'static str> {
        let classes = self.classes().into_iter();
        // That a packet has one end is no matter of the card.
        classes.filter(|name| *name != "fate" && self.all(name, name, Relation::Apart)).collect()
    }

    /// Classes in an order that all of them keep, each with all others: those that fit in no such order are left out.
    fn order(&self) -> Vec<Vec<&'static str>> {
        let mut classes = self.classes();
        let comes_before =
            |one: &str, other: &str| one != other && self.all(one, other, Relation::Before);
        classes.retain(|name| {
            let others = self.classes();
            others.iter().any(|other| comes_before(name, other) || comes_before(other, name))
        });
        loop {
            // What is before what is before something is before it too.
            let mut before: Vec<Vec<bool>> = classes
                .iter()
                .map(|one| classes.iter().map(|other| comes_before(one, other)).collect())
                .collect();
            for middle in 0..classes.len() {
                for first in 0..classes.len() {
                    for second in 0..classes.len() {
                        before[first][second] |= before[first][middle] && before[middle][second];
                    }
                }
            }
            let earlier = |index: usize| before.iter().filter(|row| row[index]).count();
            let mut ranked: Vec<(usize, &'static str)> =
                classes.iter().enumerate().map(|(index, name)| (earlier(index), *name)).collect();
            ranked.sort_by_key(|(rank, _)| *rank);
            let contradicts = |(rank, name): &(usize, &'static str)| {
                let wrong = |(other_rank, other): &&(usize, &'static str)| {
                    let known = self.between(name, other);
                    let fits = |relation: &Relation| match rank.cmp(other_rank) {
                        Ordering::Less => *relation == Relation::Before,
                        Ordering::Greater => *relation == Relation::After,
                        Ordering::Equal => true,
                    };
                    !known.iter().all(|relation| *relation == Relation::Apart || fits(relation))
                };
                ranked.iter().filter(wrong).count()
            };
            // Of two that contradict each other, that goes which says less of the others.
            let says = |name: &str| {
                let others = classes.iter();
                others
                    .filter(|other| comes_before(name, other) || comes_before(other, name))
                    .count()
            };
            let worst = ranked
                .iter()
                .map(|entry| (contradicts(entry), Reverse(says(entry.1)), entry.1))
                .max();
            if let Some((1.., _, name)) = worst {
                classes.retain(|class| *class != name);
                continue;
            }
            let groups = ranked.chunk_by(|(one, _), (other, _)| one == other);
            let names = groups.map(|group| group.iter().map(|(_, name)| *name).collect());
            return names.filter(|_| classes.len() > 1).collect();
        }
    }

    /// The pairs of classes, or of single actions where the others of their class differ, that stand so to each other and are not
    /// covered otherwise.
    fn pairs(
        &self,
        relation: Relation,
        is_covered: impl Fn(&str, &str) -> bool,
    ) -> Vec<[&'static str; 2]> {
        let mut pairs: Vec<[&'static str; 2]> = Vec::new();
        for (first, row) in self.actions.iter().zip(&self.table) {
            for (second, known) in self.actions.iter().zip(row) {
                let (one, other) = (class(first.kind), class(second.kind));
                let (single, another) = (first.kind.name(), second.kind.name());
                // That all of a class are so to each other is said otherwise.
                let is_said = single == another || one == other && self.all(one, other, relation);
                if *known != relation || is_said || is_covered(one, other) {
                    continue;
                }
                let [one, other] = [[one, other], [single, other], [one, another]]
                    .into_iter()
                    .find(|[one, other]| self.all(one, other, relation))
                    .unwrap_or([single, another]);
                let is_there = pairs.iter().any(|pair| {
                    let reverse = relation == Relation::Apart && *pair == [other, one];
                    *pair == [one, other] || reverse
                });
                if !is_there {
                    pairs.push([one, other]);
                }
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relations of actions by a function of two of them.
    fn relations(
        actions: &[FoundAction],
        relation: impl Fn(ActionKind, ActionKind) -> Relation,
    ) -> Relations<'_> {
        let row = |one: &FoundAction| {
            actions.iter().map(|other| relation(one.kind, other.kind)).collect()
        };
        Relations { actions: actions.iter().collect(), table: actions.iter().map(row).collect() }
    }

    fn actions(kinds: &[ActionKind]) -> Vec<FoundAction> {
        let action = |kind: &ActionKind| FoundAction {
            kind: *kind,
            accepted: Vec::new(),
            root: true,
            only_shared: false,
            needs: Vec::new(),
            without: Vec::new(),
            after: Vec::new(),
        };
        kinds.iter().map(action).collect()
    }

    /// Each before those of a higher rank, where both have one.
    fn by_rank(
        rank: impl Fn(ActionKind) -> Option<u32>,
    ) -> impl Fn(ActionKind, ActionKind) -> Relation {
        move |one, other| match (rank(one), rank(other)) {
            (Some(one), Some(other)) if one < other => Relation::Before,
            (Some(one), Some(other)) if one > other => Relation::After,
            _ => Relation::Free,
        }
    }

    #[test]
    fn ranks_are_an_order_even_where_some_pairs_are_unknown() {
        use ActionKind::{
            Age, Count, Drop, Flag, Jump, Mark, RawDecap, RawEncap, SetTtl, VxlanDecap,
        };
        let list =
            actions(&[Jump, Mark, Flag, Drop, Count, Age, RawEncap, VxlanDecap, RawDecap, SetTtl]);
        let ranked = by_rank(|kind| match kind {
            Mark => Some(0),
            VxlanDecap | RawDecap => Some(1),
            Count | Age => Some(2),
            SetTtl => Some(3),
            RawEncap => Some(4),
            Jump | Drop => Some(5),
            _ => None,
        });
        let found = relations(&list, |one, other| {
            // Marks are for packets that come, encapsulations for those that leave.
            let never_meet = [Mark, RawEncap].contains(&one) && [Mark, RawEncap].contains(&other);
            if never_meet { Relation::Unknown } else { ranked(one, other) }
        });
        let order = found.order();
        let expected = [
            vec!["mark"],
            vec!["decap"],
            vec!["count", "age"],
            vec!["modify"],
            vec!["encap"],
            vec!["fate"],
        ];
        assert_eq!(order, expected);
        let is_covered = |one: &str, other: &str| rank(&order, one) < rank(&order, other);
        assert_eq!(found.pairs(Relation::Before, is_covered), [[""; 2]; 0]);
    }

    #[test]
    fn what_fits_no_order_is_said_in_pairs() {
        use ActionKind::{Conntrack, Drop, Jump, RawEncap, Sample, SetTtl, VxlanDecap};
        let list = actions(&[Jump, Drop, VxlanDecap, RawEncap, SetTtl, Sample, Conntrack]);
        let found = relations(&list, |one, other| {
            let ranked = by_rank(|kind| match kind {
                VxlanDecap => Some(0),
                SetTtl => Some(1),
                RawEncap => Some(2),
                _ => None,
            });
            let pairs =
                [(Sample, Jump), (Conntrack, Jump), (Conntrack, Drop), (Conntrack, RawEncap)];
            match (one, other) {
                (Sample, Conntrack) | (Conntrack, Sample) => Relation::Apart,
                pair if pairs.contains(&pair) => Relation::Before,
                (one, other) if pairs.contains(&(other, one)) => Relation::After,
                (one, other) => ranked(one, other),
            }
        });
        let order = found.order();
        assert_eq!(order, [["decap"], ["modify"], ["encap"]]);
        let is_covered = |one: &str, other: &str| {
            rank(&order, one).zip(rank(&order, other)).is_some_and(|(one, other)| one < other)
        };
        let mut pairs = found.pairs(Relation::Before, is_covered);
        pairs.sort_unstable();
        assert_eq!(pairs, [["conntrack", "encap"], ["conntrack", "fate"], ["sample", "jump"]]);
        assert_eq!(found.pairs(Relation::Apart, |_, _| false), [["sample", "conntrack"]]);
    }
}
