//! How much a NIC takes: numbers, sizes, widths.

use rte_flow::{
    Action, ActionKind, AskedField, Domain, Eth, Item, ItemKind, Match, ModifyField, Rule,
};

use crate::actions::FoundAction;
use crate::items::{FoundField, FoundItem, full, with_field};
use crate::rules::Made;
use crate::trial::{Place, Trial, bare, largest};

/// Sizes; `None`: no limit was found.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Rules in root groups together.
    pub root_rules: Option<u64>,
    /// The highest value of MARK.
    pub highest_mark: Option<u64>,
    /// The highest group.
    pub highest_group: Option<u64>,
    /// The lowest priority of root groups.
    pub lowest_root_priority: Option<u64>,
    /// The lowest priority of other groups.
    pub lowest_priority: Option<u64>,
    /// Items of a pattern.
    pub items: Option<u64>,
    /// Width of a pattern in words of 32 bits.
    pub match_words: Option<u64>,
    /// Registers.
    pub tags: Option<u64>,
    /// Different options of GENEVE.
    pub geneve_options: Option<u64>,
    /// Words of their data.
    pub geneve_option_words: Option<u64>,
    /// Modify-header commands of a rule.
    pub modify_commands: Option<u64>,
    /// The same in root groups.
    pub root_modify_commands: Option<u64>,
}

/// Finds out about groups and priorities; these come first, as they say which groups are root.
pub fn place_limits(trial: &mut Trial<'_, '_>, domain: Domain) -> Limits {
    const LAST: u64 = u32::MAX as u64;
    let actions = trial.ended(domain, &[]);
    let mut accepts = |group: u32, priority: u32| {
        let mut rule = Place { domain, group }.rule(bare(&[ItemKind::Eth]), actions.clone());
        rule.attributes.priority = priority;
        trial.accepts(&rule)
    };
    let scratch = Place::scratch(domain).group;
    Limits {
        // The last of all groups is no limit.
        highest_group: largest(LAST, |group| group <= scratch.into() || accepts(group as u32, 0)),
        lowest_root_priority: largest(LAST, |priority| {
            priority == 0 || accepts(0, priority as u32)
        }),
        lowest_priority: largest(LAST, |priority| {
            priority == 0 || accepts(scratch, priority as u32)
        }),
        ..Limits::default()
    }
}

/// How many rules the root groups hold together.
pub fn root_rules(trial: &mut Trial<'_, '_>, domain: Domain) -> Option<u64> {
    /// More than are filled in.
    const MOST: u32 = 1 << 17;
    let actions = trial.ended(domain, &[]);
    let rules = (0..).map(|number: u32| {
        let [_, _, octets @ ..] = u64::from(number).to_be_bytes();
        let address = Eth { src: octets, ..Eth::default() };
        let mask = Eth { src: [0xff; 6], ..Eth::default() };
        let pattern = vec![Item::Eth(Match::masked(address, mask))];
        Place::first(domain).rule(pattern, actions.clone())
    });
    let port = trial.nic.proxy();
    let (count, refusal) = Made::fill(trial.interface, port, rules, MOST);
    refusal.map(|_| count.into())
}

/// How many items a pattern has.
pub fn items(trial: &mut Trial<'_, '_>, domain: Domain) -> Option<u64> {
    /// More than any pattern needs.
    const MOST: u64 = 64;
    let place = Place::scratch(domain);
    largest(MOST - 1, |voids| {
        let voids = vec![Item::Void; voids as usize];
        trial.accepts_pattern(place, &[bare(&[ItemKind::Eth]), voids].concat())
    })
    .map(|voids| voids + 1)
}

/// How wide a pattern is: asks for more and more of a stack of headers, 32 bits each time.
pub fn match_words(trial: &mut Trial<'_, '_>, domain: Domain, found: &[FoundItem]) -> Option<u64> {
    /// Fields that must agree with the next item.
    const NEXT: [&str; 2] = ["ether_type", "protocol"];
    let kinds = [ItemKind::Eth, ItemKind::Ipv6, ItemKind::Tcp, ItemKind::Meta, ItemKind::Tag];
    let of = |kind: &ItemKind| {
        let accepted = |item: &&FoundItem| item.kind == *kind && item.domains.contains(&domain);
        found.iter().find(accepted)
    };
    let stack: Vec<&FoundItem> = kinds.iter().filter_map(of).collect();
    let mut asked: Vec<Vec<AskedField>> = stack.iter().map(|item| item.least.clone()).collect();
    let pattern = |asked: &[Vec<AskedField>]| -> Vec<Item> {
        let items = stack.iter().zip(asked);
        items.map(|(item, fields)| Item::asking(item.kind, fields)).collect()
    };
    let words = |pattern: &[Item]| pattern.iter().map(Item::match_words).sum::<u32>();
    for (at, item) in stack.iter().enumerate() {
        let is_usable = |field: &&FoundField| {
            field.value == 0 && field.bits == field.all && !NEXT.contains(&field.name)
        };
        for field in item.fields.iter().filter(is_usable) {
            let step = if field.whole { u128::BITS } else { u32::BITS };
            let mut mask = 0_u128;
            while mask != field.all {
                let more = (field.all & !mask).leading_zeros();
                let next = u128::MAX.checked_shl(128_u32.saturating_sub(more + step)).unwrap_or(0);
                mask = field.all & next;
                let before = asked.clone();
                if let Some(fields) = asked.get_mut(at) {
                    *fields = with_field(fields, full(field.index, 0, mask));
                }
                if !trial.accepts_pattern(Place::scratch(domain), &pattern(&asked)) {
                    return Some(words(&pattern(&before)).into());
                }
            }
        }
    }
    None
}

/// The highest value of MARK.
pub fn highest_mark(trial: &mut Trial<'_, '_>, actions: &[FoundAction]) -> Option<u64> {
    let mark = actions.iter().find(|action| action.kind == ActionKind::Mark)?;
    let place = Place::scratch(mark.accepted.first()?.domain);
    largest(u32::MAX.into(), |mark| trial.accepts_actions(place, &[Action::Mark(mark as u32)]))
}

/// How many registers there are.
pub fn tags(trial: &mut Trial<'_, '_>, found: &[FoundItem]) -> Option<u64> {
    let tag = found.iter().find(|item| item.kind == ItemKind::Tag)?;
    let index = tag.fields.iter().find(|field| field.name == "index")?;
    let place = Place::scratch(*tag.domains.first()?);
    largest(u8::MAX.into(), |number| {
        let asked = with_field(&tag.least, full(index.index, number.into(), index.bits));
        !trial.patterns_with(place, &[Item::asking(ItemKind::Tag, &asked)]).is_empty()
    })
    .map(|highest| highest + 1)
}

/// How many options of GENEVE the card knows, and how many words of data they have together.
pub fn geneve_options(
    trial: &mut Trial<'_, '_>,
    found: &[FoundItem],
) -> (Option<u64>, Option<u64>) {
    /// The longest data in words.
    const LONGEST: u64 = 31;
    /// More options than are tried at a time.
    const MOST: u64 = 16;
    let Some(option) = found.iter().find(|item| item.kind == ItemKind::GeneveOpt) else {
        return (None, None);
    };
    let Some(place) = option.domains.first().map(|domain| Place::scratch(*domain)) else {
        return (None, None);
    };
    // Class, type and length, with data in the first word.
    let asking = |class: u64, words: u64| {
        let values = [u128::from(class), 1, words.into(), 1];
        let fields = option.fields.iter().zip(values);
        let fields: Vec<AskedField> =
            fields.map(|(field, value)| full(field.index, value, field.bits)).collect();
        Item::asking(ItemKind::GeneveOpt, &fields)
    };
    let mut accepts = |options: Vec<Item>| !trial.patterns_with(place, &options).is_empty();
    let words = largest(LONGEST, |words| words == 0 || accepts(vec![asking(1, words)]));
    let options =
        largest(MOST, |count| accepts((1..=count).map(|class| asking(class, 1)).collect()));
    (options, words)
}

/// How many modify-header commands a rule has.
pub fn modify_commands(
    trial: &mut Trial<'_, '_>,
    place: Place,
    actions: &[FoundAction],
) -> Option<u64> {
    /// More than any rule needs.
    const MOST: u64 = 64;
    let is_there = |action: &&FoundAction| action.root || place.group != 0;
    let accepted = |action: &FoundAction| action.in_domain(place.domain)?.actions.last().cloned();
    let accepted = actions.iter().filter(is_there).filter_map(accepted);
    let command = accepted.into_iter().find_map(single_command)?;
    largest(MOST, |count| trial.accepts_actions(place, &vec![command.clone(); count as usize]))
}

/// The action as one command, if that can be.
fn single_command(action: Action) -> Option<Action> {
    match action {
        Action::ModifyField(modify) => {
            let part = ModifyField { width: modify.width.min(u32::BITS), ..modify };
            Some(Action::ModifyField(part))
        }
        Action::SetTtl(_) | Action::DecTtl | Action::SetTag(_) | Action::SetTpSrc(_) => {
            Some(action)
        }
        _ => None,
    }
}

/// Whether the rule of a place may leave out where its packets go.
pub fn needs_no_fate(trial: &mut Trial<'_, '_>, domain: Domain) -> bool {
    let actions = [vec![], vec![Action::Count(0)], vec![Action::Void]];
    let pattern = bare(&[ItemKind::Eth]);
    let rules = actions.map(|actions| Place::scratch(domain).rule(pattern.clone(), actions));
    rules.iter().any(|rule: &Rule| trial.accepts(rule))
}
