//! What can go wrong with one rule of a table.

use rte_flow::{Action, AskedField, Item, ItemKind, ModifySource, RawEncap};
use verify::dump::{Dump, Serves};

/// A change of one rule.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// Item and field are not asked for any more.
    Forget(usize, usize),
    /// A bit of a field's mask is cleared.
    Widen(usize, usize, u32),
    /// A bit of a wanted value is another.
    Flip(usize, usize, u32),
    /// An action is left out.
    Omit(usize),
    /// The rule jumps to another group.
    Jump(u32),
    /// The rule sends packets to another port.
    Send(u16),
    /// A bit that an action writes is another: a tag, a MAC.
    Rewrite(usize, u32),
    /// A bit of the header that an action prepends is another.
    Header(u32),
    /// The rule is there a second time, and its packets go to this port.
    Double(u16),
    /// The rule is not there.
    Remove,
}

/// The fields that an item asks for.
fn fields(item: &Item) -> Vec<AskedField> {
    let mut fields = Vec::new();
    item.for_each_asked_field(&mut |field| {
        if let Some(spec) = field.spec {
            fields.push(AskedField {
                index: field.index,
                spec,
                last: field.last,
                mask: field.mask,
            });
        }
    });
    fields
}

/// The name of a field of an item.
pub fn field_name(item: &Item, field: usize) -> Option<(ItemKind, &'static str)> {
    let index = fields(item).get(field)?.index;
    Some((item.kind(), item.kind().fields()[index].name))
}

/// How many fields an item asks for.
pub fn field_count(item: &Item) -> usize {
    fields(item).len()
}

fn with_fields(
    item: &mut Item,
    change: impl FnOnce(&mut Vec<AskedField>) -> Option<()>,
) -> Option<()> {
    let mut asked = fields(item);
    change(&mut asked)?;
    *item = Item::asking(item.kind(), &asked);
    Some(())
}

impl Mutation {
    /// Changes a rule of a dump; `None` where it has nothing to change in this way.
    pub fn apply(&self, dump: &mut Dump, rule: usize) -> Option<()> {
        let dumped = dump.rules.get_mut(rule)?;
        let bit = |bit: u32| 1_u128.checked_shl(bit);
        match *self {
            Self::Forget(item, field) => {
                with_fields(dumped.rule.pattern.get_mut(item)?, |fields| {
                    (field < fields.len()).then(|| fields.remove(field)).map(drop)
                })
            }
            Self::Widen(item, field, at) => {
                with_fields(dumped.rule.pattern.get_mut(item)?, |fields| {
                    let field = fields.get_mut(field)?;
                    let bit = bit(at).filter(|bit| field.mask & bit != 0)?;
                    (field.mask, field.spec) = (field.mask & !bit, field.spec & !bit);
                    field.last.is_none().then_some(())
                })
            }
            Self::Flip(item, field, at) => {
                with_fields(dumped.rule.pattern.get_mut(item)?, |fields| {
                    let field = fields.get_mut(field)?;
                    let bit = bit(at).filter(|bit| field.mask & bit != 0)?;
                    match &mut field.last {
                        // The range's end goes up.
                        Some(last) if *last & bit == 0 => *last |= bit,
                        Some(_) => return None,
                        None => field.spec ^= bit,
                    }
                    Some(())
                })
            }
            Self::Omit(action) => {
                let actions = &mut dumped.rule.actions;
                let is_mute =
                    actions.get(action).is_none_or(|action| matches!(action, Action::Count(_)));
                if is_mute {
                    return None;
                }
                actions.remove(action);
                Some(())
            }
            Self::Jump(to) => {
                let own = dumped.rule.attributes.group;
                dumped.rule.actions.iter_mut().find_map(|action| match action {
                    Action::Jump(group) if *group != to && to != own => {
                        *group = to;
                        Some(())
                    }
                    _ => None,
                })
            }
            Self::Send(to) => dumped.rule.actions.iter_mut().find_map(|action| match action {
                Action::RepresentedPort(port) if *port != to => {
                    *port = to;
                    Some(())
                }
                _ => None,
            }),
            Self::Rewrite(action, at) => match dumped.rule.actions.get_mut(action)? {
                Action::ModifyField(modify) if at < modify.width => {
                    let number = modify.number()? ^ bit(at)?;
                    modify.source = ModifySource::Value(modify.destination.field.value_of(number));
                    Some(())
                }
                _ => None,
            },
            Self::Header(at) => dumped.rule.actions.iter_mut().find_map(|action| match action {
                Action::RawEncap(RawEncap { data, .. }) => {
                    *data.get_mut(at as usize / 8)? ^= 1 << (at % 8);
                    Some(())
                }
                _ => None,
            }),
            Self::Double(port) => {
                let mut double = dumped.clone();
                if dumped.rule.actions.last() == Some(&Action::RepresentedPort(port)) {
                    return None;
                }
                double.rule.actions = vec![Action::RepresentedPort(port)];
                dump.rules.push(double);
                Some(())
            }
            // Without its rule a connection is software's, and nothing is wrong.
            Self::Remove if matches!(dumped.serves, Serves::Connection(_)) => None,
            Self::Remove => {
                dump.rules.remove(rule);
                Some(())
            }
        }
    }
}

/// Every mutation of a rule, bits aside.
pub fn all(dump: &Dump, rule: usize) -> Vec<Mutation> {
    let rule = &dump.rules[rule].rule;
    let ports = || [dump.node.uplink].into_iter().chain(dump.node.vfs.iter().map(|vf| vf.port));
    let mut all = vec![Mutation::Remove];
    for (item, asked) in rule.pattern.iter().enumerate() {
        all.extend((0..field_count(asked)).map(|field| Mutation::Forget(item, field)));
    }
    all.extend((0..rule.actions.len()).map(Mutation::Omit));
    let groups: std::collections::BTreeSet<u32> =
        dump.rules.iter().map(|rule| rule.rule.attributes.group).collect();
    all.extend(groups.into_iter().map(Mutation::Jump));
    all.push(Mutation::Jump(77));
    all.extend(ports().map(Mutation::Send));
    all.extend(ports().map(Mutation::Double));
    for action in 0..rule.actions.len() {
        all.extend([0, 5, 31, 47].map(|bit| Mutation::Rewrite(action, bit)));
    }
    all
}
