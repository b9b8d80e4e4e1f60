//! The template form: every shape of rule the layout can have, announced once as a table of its own.

use std::ops::Range;

use rte_flow::{
    Action, ActionsTemplate, Api, Attributes, Domain, Item, ModifyField, ModifySource,
    PatternTemplate, RawEncap, Rule, TemplateAction,
};

use crate::nic::Nic;
use crate::samples::samples;

/// One template table: the rules of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTemplate {
    /// Where its rules sit.
    pub attributes: Attributes,
    /// What they match.
    pub pattern: PatternTemplate,
    /// What they do.
    pub actions: ActionsTemplate,
}

/// The template tables of the layout on a NIC: one for each shape of rule that its profile accepts.
#[must_use]
pub fn templates(nic: &Nic) -> Vec<TableTemplate> {
    let mut tables: Vec<TableTemplate> = Vec::new();
    for entry in samples() {
        for rule in nic.rules_for(&entry, Api::Template).unwrap_or_default() {
            let shape = shape(&rule);
            if !tables.contains(&shape) {
                tables.push(shape);
            }
        }
    }
    tables
}

/// The template table that a rule belongs to, were it announced.
#[must_use]
pub fn shape(rule: &Rule) -> TableTemplate {
    TableTemplate {
        attributes: rule.attributes,
        pattern: PatternTemplate {
            domain: Domain::Transfer,
            relaxed_matching: false,
            pattern: rule.pattern.iter().map(Item::to_template).collect(),
        },
        actions: ActionsTemplate {
            domain: Domain::Transfer,
            actions: rule.actions.iter().map(action_shape).collect(),
        },
    }
}

/// What of an action is the same for every rule of its shape.
fn action_shape(action: &Action) -> TemplateAction {
    match action {
        Action::ModifyField(modify) => {
            let source = match modify.source {
                ModifySource::Value(_) => ModifySource::Value([0; 16]),
                ModifySource::Pointer(_) => ModifySource::Pointer([0; 16]),
                field @ ModifySource::Field(_) => field,
            };
            TemplateAction::Shaped(Action::ModifyField(ModifyField { source, ..*modify }))
        }
        Action::RawEncap(encap) => TemplateAction::Shaped(Action::RawEncap(RawEncap {
            data: skeleton(&encap.data),
            preserve: encap.preserve.clone(),
        })),
        Action::Jump(_) | Action::VxlanDecap | Action::Count(_) => {
            TemplateAction::Fixed(action.clone())
        }
        other => TemplateAction::PerRule(other.kind()),
    }
}

/// Outer headers with 0 in place of what differs from tunnel to tunnel: what is left is the layers.
fn skeleton(header: &[u8]) -> Vec<u8> {
    /// MACs; TOS, checksum and addresses; source port; VNI.
    const V4: &[Range<usize>] = &[0..12, 15..16, 24..34, 34..36, 46..49];
    /// MACs; traffic class and flow label but for the version; addresses; source port; VNI.
    const V6: &[Range<usize>] = &[0..12, 15..18, 22..54, 54..56, 66..69];
    let mut header = header.to_vec();
    let is_v6 = header.get(12..14) == Some(&[0x86, 0xdd]);
    for range in if is_v6 { V6 } else { V4 } {
        if let Some(variable) = header.get_mut(range.clone()) {
            variable.fill(0);
        }
    }
    if let Some(version) = header.get_mut(14).filter(|_| is_v6) {
        *version &= 0xf0;
    }
    header
}
