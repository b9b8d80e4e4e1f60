//! What a profile accepts of templates: before there is a table, all that does not depend on the group, nor on items and actions
//! together; of a table, all but what only its rules say.

use super::actions::{Known, KnownActions};
use super::{Api, Check, Context, NoObjects};
use crate::attribute::{Attributes, Domain};
use crate::error::FlowError;
use crate::item::Item;
use crate::profile::Profile;
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
    let pattern: Vec<Item> = template.pattern.iter().map(Item::with_mask).collect();
    let attributes = somewhere(template.domain);
    let context = Context { api: Api::Template, is_proxy, objects: &NoObjects };
    let check = Check {
        attributes: &attributes,
        pattern: Some(&pattern),
        profile,
        context,
        is_root: false,
    };
    check.ports()?;
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
    context: Context<'_>,
) -> Result<(), FlowError> {
    let attributes = somewhere(template.domain);
    let check = Check { attributes: &attributes, pattern: None, profile, context, is_root: false };
    check.ports()?;
    check.actions(&known(&template.actions, context)?)
}

/// Whether a NIC of this profile accepts a table of these templates, whatever values its rules have.
///
/// # Errors
/// The first thing it refuses, as `rte_flow` reports it, with what to do.
pub fn check_table(
    attributes: &Attributes,
    pattern: &[Item],
    actions: &[TemplateAction],
    profile: &Profile,
    context: Context<'_>,
) -> Result<(), FlowError> {
    let list = || known(actions, context);
    Check::new(attributes, Some(pattern), profile, context).all(list)
}

fn known<'a>(
    actions: &'a [TemplateAction],
    context: Context<'_>,
) -> Result<KnownActions<'a>, FlowError> {
    let known = |(index, action)| Known::template(index, action, context.objects);
    actions.iter().enumerate().map(known).collect()
}

/// In a group that is no root and that nobody jumps to.
const fn somewhere(domain: Domain) -> Attributes {
    Attributes { domain, group: u32::MAX, priority: 0 }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
