//! What can be refused of templates alone.

use super::{Api, Context, NoObjects, check_actions_template, check_pattern_template};
use crate::action::{Action, ActionKind};
use crate::attribute::Domain;
use crate::error::{Cause, ErrorKind};
use crate::header::{Eth, Ipv6, Sctp};
use crate::item::{Item, Match};
use crate::profile::Profile;
use crate::template::{ActionsTemplate, PatternTemplate, TemplateAction};

fn hardware() -> Profile {
    Profile::named("bluefield3-hws-22.11").expect("built in")
}

fn pattern(items: Vec<Item>) -> PatternTemplate {
    PatternTemplate { domain: Domain::Transfer, relaxed_matching: false, pattern: items }
}

fn actions(actions: &[TemplateAction]) -> ActionsTemplate {
    ActionsTemplate { domain: Domain::Transfer, actions: actions.to_vec() }
}

#[test]
fn items_are_refused_before_there_is_a_table_and_width_is_not() {
    let eth = Item::Eth(Match::<Eth>::default());
    let unknown = pattern(vec![eth.clone(), Item::Sctp(Match::<Sctp>::default())]);
    let refusal = check_pattern_template(&unknown, &hardware(), true).expect_err("no SCTP");
    assert_eq!(refusal.cause, Cause::Item(1));
    let refusal = check_pattern_template(&pattern(vec![eth.clone()]), &hardware(), false);
    assert_eq!(refusal.expect_err("a representor").kind, ErrorKind::Transfer);
    let full = Ipv6 { src: u128::MAX, dst: u128::MAX, ..Ipv6::default() };
    let wide = pattern(vec![eth, Item::Ipv6(Match::masked(Ipv6::default(), full))]);
    assert_eq!(check_pattern_template(&wide, &hardware(), true), Ok(()));
}

#[test]
fn actions_are_refused_by_kind_order_and_what_is_fixed() {
    let per_rule = TemplateAction::PerRule;
    let context = Context { api: Api::Template, is_proxy: true, objects: &NoObjects };
    let check =
        |list: &[TemplateAction]| check_actions_template(&actions(list), &hardware(), context);
    let drop = per_rule(ActionKind::Drop);
    assert_eq!(check(&[per_rule(ActionKind::Count), drop.clone()]), Ok(()));
    let refusal = check(&[per_rule(ActionKind::Count), per_rule(ActionKind::SetTtl), drop.clone()]);
    assert_eq!(refusal.expect_err("MODIFY_FIELD only").cause, Cause::Action(1));
    let refusal = check(&[drop.clone(), per_rule(ActionKind::Count)]);
    assert_eq!(refusal.expect_err("fate comes last").cause, Cause::Action(1));
    let refusal = check(&[drop.clone(), drop]);
    assert_eq!(refusal.expect_err("one fate").cause, Cause::Action(1));
    let refusal = check(&[per_rule(ActionKind::Count)]);
    assert_eq!(refusal.expect_err("a fate").kind, ErrorKind::ActionNumber);
    let far = TemplateAction::Fixed(Action::Jump(4_000_000_000));
    assert_eq!(check(&[far]).expect_err("no such group").kind, ErrorKind::ActionConf);
    assert_eq!(check(&[per_rule(ActionKind::Jump)]), Ok(()));
}
