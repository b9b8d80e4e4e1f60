//! Templates and tables of the asynchronous API.

use rte_flow::{
    Action, ActionsTemplate, Attributes, EBUSY, EINVAL, ENOENT, ENOTSUP, ErrorKind, FlowError,
    Item, ModifyField, PatternTemplate, Rule, TableAttributes, TemplateAction, TemplateMismatch,
    check_pattern_template,
};

use super::arena::Id;
use super::switch::Eswitch;

/// The handle of a pattern template.
pub type PatternTemplateId = Id<PatternEntry>;
/// The handle of an actions template.
pub type ActionsTemplateId = Id<ActionsEntry>;
/// The handle of a template table.
pub type TableId = Id<TemplateTable>;

/// A pattern template of a port.
#[derive(Debug)]
pub struct PatternEntry {
    pub(super) port: u16,
    pub(super) template: PatternTemplate,
    tables: usize,
}

/// An actions template of a port.
#[derive(Debug)]
pub struct ActionsEntry {
    pub(super) port: u16,
    pub(super) template: ActionsTemplate,
    tables: usize,
}

/// A table of a port: rules of the same shapes at the same place, as many as it was made for.
#[derive(Debug)]
pub struct TemplateTable {
    pub(super) port: u16,
    pub(super) attributes: TableAttributes,
    pub(super) patterns: Vec<PatternTemplateId>,
    pub(super) actions: Vec<ActionsTemplateId>,
    /// How many rules there are.
    pub(super) rules: usize,
}

fn refuse(errno: i32, message: impl Into<std::borrow::Cow<'static, str>>) -> FlowError {
    FlowError::other(ErrorKind::Unspecified, errno, message)
}

impl Eswitch {
    fn templates_allowed(&self, port: u16) -> Result<(), FlowError> {
        self.ports.known(port)?;
        if self.profile.interface.templates {
            return Ok(());
        }
        let message = "incorrect steering mode: there are no templates; use rte_flow_create";
        Err(refuse(ENOTSUP, message))
    }

    /// Makes a pattern template.
    ///
    /// # Errors
    /// `ENOTSUP` when the profile has no templates, an unknown port, what the profile refuses of the template in any table.
    pub fn pattern_template_create(
        &mut self,
        port: u16,
        template: PatternTemplate,
    ) -> Result<PatternTemplateId, FlowError> {
        self.templates_allowed(port)?;
        check_pattern_template(&template, &self.profile, self.is_proxy(port)?)?;
        Ok(self.pattern_templates.insert(PatternEntry { port, template, tables: 0 }))
    }

    /// Destroys a pattern template.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while tables use it.
    pub fn pattern_template_destroy(
        &mut self,
        port: u16,
        id: PatternTemplateId,
    ) -> Result<(), FlowError> {
        let found = self.pattern_templates.get(id).filter(|entry| entry.port == port);
        unused(found.map(|entry| entry.tables), "pattern template")?;
        self.pattern_templates.remove(id);
        Ok(())
    }

    /// Makes an actions template.
    ///
    /// # Errors
    /// `ENOTSUP` when the profile has no templates, an unknown port, what the profile refuses of the template in any table.
    pub fn actions_template_create(
        &mut self,
        port: u16,
        template: ActionsTemplate,
    ) -> Result<ActionsTemplateId, FlowError> {
        self.templates_allowed(port)?;
        self.check_actions_template(port, &template)?;
        Ok(self.actions_templates.insert(ActionsEntry { port, template, tables: 0 }))
    }

    /// Destroys an actions template.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while tables use it.
    pub fn actions_template_destroy(
        &mut self,
        port: u16,
        id: ActionsTemplateId,
    ) -> Result<(), FlowError> {
        let found = self.actions_templates.get(id).filter(|entry| entry.port == port);
        unused(found.map(|entry| entry.tables), "actions template")?;
        self.actions_templates.remove(id);
        Ok(())
    }

    /// Makes a table. Every pattern template is checked here with every actions template, so that a rule of the table is refused
    /// for its own values only.
    ///
    /// # Errors
    /// What the profile or the model refuses of the templates at that place, `EINVAL` for a table without room, templates or
    /// the templates' domain, `ENOENT` for an unknown template.
    pub fn table_create(
        &mut self,
        port: u16,
        attributes: TableAttributes,
        patterns: &[PatternTemplateId],
        actions: &[ActionsTemplateId],
    ) -> Result<TableId, FlowError> {
        self.templates_allowed(port)?;
        if attributes.capacity == 0 || patterns.is_empty() || actions.is_empty() {
            let message = "a table needs room for a rule, a pattern and an actions template";
            return Err(refuse(EINVAL, message));
        }
        self.admit_table(attributes.attributes, patterns.len(), actions.len())?;
        let attributes = if self.profile.tables.rounded {
            let capacity = attributes.capacity;
            TableAttributes {
                capacity: capacity.checked_next_power_of_two().unwrap_or(capacity),
                ..attributes
            }
        } else {
            attributes
        };
        for pattern in patterns {
            let pattern = self.pattern_template(port, *pattern)?;
            for actions in actions {
                let actions = self.actions_template(port, *actions)?;
                let domain = attributes.attributes.domain;
                if pattern.domain != domain || actions.domain != domain {
                    let message = "table and templates are of different domains; use one";
                    return Err(refuse(EINVAL, message));
                }
                let items: Vec<_> = pattern.pattern.iter().map(Item::with_mask).collect();
                self.check_templates(
                    port,
                    &attributes.attributes,
                    &items,
                    &actions.actions,
                    pattern.relaxed_matching,
                )?;
            }
        }
        for pattern in patterns {
            if let Some(entry) = self.pattern_templates.get_mut(*pattern) {
                entry.tables += 1;
            }
        }
        for actions in actions {
            if let Some(entry) = self.actions_templates.get_mut(*actions) {
                entry.tables += 1;
            }
        }
        Ok(self.tables.insert(TemplateTable {
            port,
            attributes,
            patterns: patterns.to_vec(),
            actions: actions.to_vec(),
            rules: 0,
        }))
    }

    /// Whether the card's tables have so many templates there.
    fn admit_table(
        &self,
        place: Attributes,
        patterns: usize,
        actions: usize,
    ) -> Result<(), FlowError> {
        let rules = &self.profile.tables;
        let most = if self.profile.is_root(place.domain, place.group) {
            rules.root_pattern_templates
        } else {
            rules.pattern_templates
        };
        let limits = [("pattern", patterns, most), ("actions", actions, rules.actions_templates)];
        for (what, count, most) in limits {
            if let Some(most) = most.filter(|most| count > *most) {
                let message =
                    format!("a table has at most {most} {what} templates here; make another table");
                return Err(refuse(EINVAL, message));
            }
        }
        Ok(())
    }

    /// Destroys a table.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while it has rules.
    pub fn table_destroy(&mut self, port: u16, id: TableId) -> Result<(), FlowError> {
        let found = self.tables.get(id).filter(|table| table.port == port);
        unused(found.map(|table| table.rules), "table")?;
        let Some(table) = self.tables.remove(id) else { return Ok(()) };
        for pattern in table.patterns {
            if let Some(entry) = self.pattern_templates.get_mut(pattern) {
                entry.tables = entry.tables.saturating_sub(1);
            }
        }
        for actions in table.actions {
            if let Some(entry) = self.actions_templates.get_mut(actions) {
                entry.tables = entry.tables.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn pattern_template(
        &self,
        port: u16,
        id: PatternTemplateId,
    ) -> Result<&PatternTemplate, FlowError> {
        let found = self.pattern_templates.get(id).filter(|entry| entry.port == port);
        found.map(|entry| &entry.template).ok_or_else(|| missing("pattern template"))
    }

    fn actions_template(
        &self,
        port: u16,
        id: ActionsTemplateId,
    ) -> Result<&ActionsTemplate, FlowError> {
        let found = self.actions_templates.get(id).filter(|entry| entry.port == port);
        found.map(|entry| &entry.template).ok_or_else(|| missing("actions template"))
    }

    /// The whole rule that values make with a table's templates, and whether its matching is relaxed.
    pub(super) fn templated(
        &self,
        port: u16,
        table: TableId,
        (items, pattern_index): (&[Item], usize),
        (actions, actions_index): (&[Action], usize),
    ) -> Result<(Rule, bool), FlowError> {
        let table = self.tables.get(table).filter(|table| table.port == port);
        let table = table.ok_or_else(|| missing("table"))?;
        let (Some(pattern), Some(template)) =
            (table.patterns.get(pattern_index), table.actions.get(actions_index))
        else {
            return Err(refuse(EINVAL, "the table has no template of this index; use a lower one"));
        };
        let pattern = self.pattern_template(port, *pattern)?;
        let template = self.actions_template(port, *template)?;
        if pattern.pattern.len() != items.len() {
            let message = format!(
                "the pattern template has {} items, the rule {}; give one for each",
                pattern.pattern.len(),
                items.len()
            );
            return Err(FlowError::other(ErrorKind::ItemNumber, EINVAL, message));
        }
        if template.actions.len() != actions.len() {
            let message = format!(
                "the actions template has {} actions, the rule {}; give one for each",
                template.actions.len(),
                actions.len()
            );
            return Err(FlowError::other(ErrorKind::ActionNumber, EINVAL, message));
        }
        let pattern_of = |(index, (mask, value))| item_of(index, mask, value);
        let action_at = |(index, (shape, value))| action_of(index, shape, value);
        let rule = Rule {
            attributes: table.attributes.attributes,
            pattern: pattern
                .pattern
                .iter()
                .zip(items)
                .enumerate()
                .map(pattern_of)
                .collect::<Result<_, _>>()?,
            actions: template
                .actions
                .iter()
                .zip(actions)
                .enumerate()
                .map(action_at)
                .collect::<Result<_, _>>()?,
        };
        Ok((rule, pattern.relaxed_matching))
    }
}

fn missing(what: &str) -> FlowError {
    refuse(ENOENT, format!("the port has no such {what}; create it first"))
}

fn unused(users: Option<usize>, what: &str) -> Result<(), FlowError> {
    match users {
        None => Err(missing(what)),
        Some(0) => Ok(()),
        Some(_) => Err(refuse(EBUSY, format!("the {what} is in use; destroy its users first"))),
    }
}

/// A rule's item: the template's mask, the rule's value.
fn item_of(index: usize, template: &Item, value: &Item) -> Result<Item, FlowError> {
    template.with_values_of(value).map_err(|mismatch| match mismatch {
        TemplateMismatch::NoSpec => {
            let message = "the template matches fields of this item; give their values";
            FlowError::item(index, ErrorKind::ItemSpec, EINVAL, message)
        }
        TemplateMismatch::Kind => {
            let kind = template.kind();
            let message = format!("the pattern template has {kind} here; give its value");
            FlowError::item(index, ErrorKind::Item, EINVAL, message)
        }
    })
}

/// A rule's action: the template's configuration where it is fixed, else the rule's.
fn action_of(index: usize, template: &TemplateAction, value: &Action) -> Result<Action, FlowError> {
    if template.kind() != value.kind() {
        let kind = template.kind().name();
        let message = format!("the actions template has {kind} here; give its configuration");
        return Err(FlowError::action(index, ErrorKind::Action, EINVAL, message));
    }
    Ok(match (template, value) {
        (TemplateAction::Fixed(action), _) => action.clone(),
        (TemplateAction::Indirect { handle: Some(handle), .. }, _) => Action::Indirect(*handle),
        // What is modified is the template's; by what, the rule's.
        (TemplateAction::Shaped(Action::ModifyField(shape)), Action::ModifyField(value)) => {
            Action::ModifyField(ModifyField { source: value.source, ..*shape })
        }
        _ => value.clone(),
    })
}
