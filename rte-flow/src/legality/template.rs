//! What a profile accepts of templates, before there is a table: all that does not depend on the group, nor on items and actions
//! together.

use super::{Api, Check, Context};
use crate::action::{Action, ActionKind};
use crate::attribute::{Attributes, Domain};
use crate::error::FlowError;
use crate::item::Item;
use crate::profile::Profile;
use crate::rule::Rule;
use crate::template::{ActionsTemplate, PatternTemplate, TemplateAction};

/// Whether a NIC of this profile accepts the pattern template in some table.
///
/// # Errors
/// The first thing it refuses, as `rte_flow` reports it, with what to do.
pub fn check_pattern_template(
    template: &PatternTemplate,
    profile: &Profile,
    is_proxy: bool,
) -> Result<(), FlowError> {
    let pattern = template.pattern.iter().map(Item::with_mask).collect();
    let rule = somewhere(template.domain, pattern);
    let check = of(&rule, profile);
    check.ports(is_proxy)?;
    // How wide the pattern is shows when a table is made.
    check.items().map(drop)
}

/// Whether a NIC of this profile accepts the actions template in some table.
///
/// # Errors
/// The first thing it refuses, as `rte_flow` reports it, with what to do.
pub fn check_actions_template(
    template: &ActionsTemplate,
    profile: &Profile,
    is_proxy: bool,
) -> Result<(), FlowError> {
    let rule = somewhere(template.domain, Vec::new());
    let check = of(&rule, profile);
    check.ports(is_proxy)?;
    let kinds = || template.actions.iter().map(TemplateAction::kind);
    for (index, action) in template.actions.iter().enumerate() {
        check.kind(index, action.kind(), kinds().take(index))?;
        if let Some(action) = known(action) {
            check.conf(index, action, Context { api: Api::Template, is_proxy })?;
        }
    }
    check.fate(kinds())
}

/// A rule in a group that is no root and that nobody jumps to.
fn somewhere(domain: Domain, pattern: Vec<Item>) -> Rule {
    const GROUP: u32 = u32::MAX;
    let attributes = Attributes { domain, group: GROUP, priority: 0 };
    Rule { attributes, pattern, actions: Vec::new() }
}

fn of<'a>(rule: &'a Rule, profile: &'a Profile) -> Check<'a> {
    Check { rule, profile, api: Api::Template, is_root: false }
}

/// An action's configuration, where it is known and can be looked at without items.
fn known(action: &TemplateAction) -> Option<&Action> {
    match action {
        TemplateAction::Fixed(action) | TemplateAction::Shaped(action) => Some(action),
        TemplateAction::PerRule(_) | TemplateAction::Indirect { .. } => None,
    }
    .filter(|action| !matches!(action.kind(), ActionKind::VxlanDecap | ActionKind::RawDecap))
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
