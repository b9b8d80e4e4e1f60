//! Calls into DPDK, and whether what is refused is refused as `rte_flow` wants it.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr;

use dpdk_sys as c;

use crate::nic::{Nic, Refusal, refusal};
use crate::raw::Memory;
use crate::shapes::{Call, RawAttributes, RawRule};

/// The arrays of a call, where a cause may point to.
#[derive(Default)]
struct Arrays {
    attributes: usize,
    /// Address and number of entries.
    pattern: (usize, usize),
    actions: (usize, usize),
}

impl Arrays {
    /// What is wrong with how a call was refused.
    fn complaint(&self, refusal: &Refusal) -> Option<String> {
        let within = |(start, count): (usize, usize), size: usize| {
            let offset = refusal.cause.checked_sub(start).filter(|_| start != 0);
            offset.is_some_and(|offset| offset.is_multiple_of(size) && offset / size < count)
        };
        let is_item = within(self.pattern, size_of::<c::rte_flow_item>());
        let is_action = within(self.actions, size_of::<c::rte_flow_action>());
        let is_attributes = self.attributes != 0 && refusal.cause == self.attributes;
        let place_fits = refusal.cause == 0
            || match refusal.kind {
                c::RTE_FLOW_ERROR_TYPE_ITEM_NUM..=c::RTE_FLOW_ERROR_TYPE_ITEM => is_item,
                c::RTE_FLOW_ERROR_TYPE_ACTION_NUM..=c::RTE_FLOW_ERROR_TYPE_ACTION => is_action,
                c::RTE_FLOW_ERROR_TYPE_ATTR_GROUP..=c::RTE_FLOW_ERROR_TYPE_ATTR => is_attributes,
                _ => is_item || is_action || is_attributes,
            };
        let kinds = c::RTE_FLOW_ERROR_TYPE_UNSPECIFIED..=c::RTE_FLOW_ERROR_TYPE_STATE;
        let words = refusal.message.trim();
        let problem = if !kinds.contains(&refusal.kind) {
            "no type"
        } else if refusal.errno <= 0 {
            "no errno"
        } else if words.is_empty() || words.contains('\n') {
            "not one line of words"
        } else if !place_fits {
            "the cause is not of the type"
        } else {
            return None;
        };
        Some(format!("{problem}: {refusal:x?}"))
    }
}

/// What the calls of a case have made.
pub struct Made {
    nic: Nic,
    shared: Vec<usize>,
    rules: Vec<*mut c::rte_flow>,
    patterns: Vec<*mut c::rte_flow_pattern_template>,
    actions: Vec<*mut c::rte_flow_actions_template>,
    tables: Vec<*mut c::rte_flow_template_table>,
}

fn attributes(raw: RawAttributes) -> c::rte_flow_attr {
    // SAFETY: a structure of numbers, for which zero is a value.
    let mut attributes: c::rte_flow_attr = unsafe { zeroed() };
    attributes.group = raw.group;
    attributes.priority = raw.priority;
    attributes.set_ingress(u32::from(raw.domain & 1));
    attributes.set_egress(u32::from(raw.domain >> 1 & 1));
    attributes.set_transfer(u32::from(raw.domain >> 2 & 1));
    attributes
}

/// A pointer to a structure, or null.
fn unless<T>(is_null: bool, structure: &T) -> *const T {
    if is_null { ptr::null() } else { structure }
}

/// Whether a call that returns 0 or a negative errno failed.
fn is_negative(result: c_int) -> bool {
    result < 0
}

/// Lays a rule out in memory and passes it on.
fn pass<T>(
    rule: &RawRule,
    memory: &mut Memory<'_>,
    arrays: &mut Arrays,
    call: impl FnOnce(*const c::rte_flow_attr, *const c::rte_flow_item, *const c::rte_flow_action) -> T,
) -> T {
    let raw = attributes(rule.attributes);
    let attributes = unless(rule.attributes.is_null, &raw);
    let (pattern, pattern_count) = memory.pattern(&rule.pattern);
    let (actions, actions_count) = memory.actions(&rule.actions);
    *arrays = Arrays {
        attributes: attributes.addr(),
        pattern: (pattern.addr(), pattern_count),
        actions: (actions.addr(), actions_count),
    };
    call(attributes, pattern, actions)
}

/// One object by its place, or none.
fn at<T>(list: &[*mut T], place: usize) -> *mut T {
    list.get(place).copied().unwrap_or(ptr::without_provenance_mut(place))
}

impl Made {
    pub fn new(nic: Nic) -> Self {
        let (patterns, actions, tables) = (Vec::new(), Vec::new(), Vec::new());
        Self { nic, shared: Vec::new(), rules: Vec::new(), patterns, actions, tables }
    }

    /// Makes a call; whether it was accepted, and what is wrong with how it was refused.
    pub fn call(&mut self, call: &Call) -> Result<Result<(), Refusal>, String> {
        let shared = self.shared.clone();
        let mut memory = Memory::new(&shared);
        let mut arrays = Arrays::default();
        let uplink = self.nic.uplink;
        let result = match call {
            Call::Validate(rule) => self.validate(rule, &mut memory, &mut arrays),
            Call::Create(rule) => self.create(rule, &mut memory, &mut arrays),
            Call::PatternTemplate { attributes, pattern } => {
                let (pattern, count) = memory.pattern(pattern);
                let domain = attributes.unwrap_or(0);
                // SAFETY: a structure of numbers, for which zero is a value.
                let mut template: c::rte_flow_pattern_template_attr = unsafe { zeroed() };
                template.set_ingress(u32::from(domain & 1));
                template.set_egress(u32::from(domain >> 1 & 1));
                template.set_transfer(u32::from(domain >> 2 & 1));
                let template = unless(attributes.is_none(), &template);
                arrays.attributes = template.addr();
                arrays.pattern = (pattern.addr(), count);
                // SAFETY: null, or whole structures and lists that end.
                let make = |error| unsafe {
                    c::rte_flow_pattern_template_create(uplink, template, pattern, error)
                };
                refusal(make, <*mut _>::is_null).map(|made| self.patterns.push(made))
            }
            Call::ActionsTemplate { attributes, actions, masks } => {
                let (actions, count) = memory.actions(actions);
                let (masks, _) = memory.actions(masks);
                let domain = attributes.unwrap_or(0);
                // SAFETY: a structure of numbers, for which zero is a value.
                let mut template: c::rte_flow_actions_template_attr = unsafe { zeroed() };
                template.set_ingress(u32::from(domain & 1));
                template.set_egress(u32::from(domain >> 1 & 1));
                template.set_transfer(u32::from(domain >> 2 & 1));
                let template = unless(attributes.is_none(), &template);
                arrays.attributes = template.addr();
                arrays.actions = (actions.addr(), count);
                // SAFETY: null, or whole structures and lists that end.
                let make = |error| unsafe {
                    c::rte_flow_actions_template_create(uplink, template, actions, masks, error)
                };
                refusal(make, <*mut _>::is_null).map(|made| self.actions.push(made))
            }
            Call::Table { attributes: raw, capacity, patterns, actions } => {
                let table = c::rte_flow_template_table_attr {
                    flow_attr: attributes(*raw),
                    nb_flows: *capacity,
                };
                let table = unless(raw.is_null, &table);
                arrays.attributes = table.addr();
                let of = |place: &usize| at(&self.patterns, *place);
                let mut patterns: Vec<_> = patterns.iter().map(of).collect();
                let of = |place: &usize| at(&self.actions, *place);
                let mut actions: Vec<_> = actions.iter().map(of).collect();
                let counts = (patterns.len() as u8, actions.len() as u8);
                let (patterns, actions) = (patterns.as_mut_ptr(), actions.as_mut_ptr());
                // SAFETY: null, or whole structures and as many names as said, which nobody follows.
                let make = |error| unsafe {
                    c::rte_flow_template_table_create(
                        uplink, table, patterns, counts.0, actions, counts.1, error,
                    )
                };
                refusal(make, <*mut _>::is_null).map(|made| self.tables.push(made))
            }
            Call::Enqueue { queue, table, pattern_index, actions_index, pattern, actions } => {
                let (pattern, pattern_count) = memory.pattern(pattern);
                let (actions, actions_count) = memory.actions(actions);
                arrays.pattern = (pattern.addr(), pattern_count);
                arrays.actions = (actions.addr(), actions_count);
                let table = at(&self.tables, *table);
                let none = ptr::null_mut();
                // SAFETY: null, or whole structures and lists that end; a name that nobody follows.
                let make = |error| unsafe {
                    c::rte_flow_async_create(
                        uplink,
                        *queue,
                        ptr::null(),
                        table,
                        pattern,
                        *pattern_index,
                        actions,
                        *actions_index,
                        none,
                        error,
                    )
                };
                refusal(make, <*mut _>::is_null).map(|made| self.rules.push(made))
            }
            Call::Share { domain, action } => {
                self.share(*domain, memory.action(action), &mut arrays)
            }
            Call::Handle { number, kind } => return self.handle(*number, *kind).map(Ok),
        };
        match result {
            Ok(()) => Ok(Ok(())),
            Err(refusal) => arrays.complaint(&refusal).map_or(Ok(Err(refusal)), Err),
        }
    }

    fn share(
        &mut self,
        domain: u8,
        action: c::rte_flow_action,
        arrays: &mut Arrays,
    ) -> Result<(), Refusal> {
        // SAFETY: a structure of numbers, for which zero is a value.
        let mut conf: c::rte_flow_indir_action_conf = unsafe { zeroed() };
        conf.set_transfer(u32::from(domain >> 2 & 1));
        arrays.actions = ((&raw const action).addr(), 1);
        let (uplink, conf, action) = (self.nic.uplink, &raw const conf, &raw const action);
        // SAFETY: whole structures.
        let make = |error| unsafe { c::rte_flow_action_handle_create(uplink, conf, action, error) };
        refusal(make, <*mut _>::is_null).map(|made| self.shared.push(made.addr()))
    }

    fn port(&self, rule: &RawRule) -> u16 {
        if rule.on_representor { self.nic.representor } else { self.nic.uplink }
    }

    fn validate(
        &self,
        rule: &RawRule,
        memory: &mut Memory<'_>,
        arrays: &mut Arrays,
    ) -> Result<(), Refusal> {
        pass(rule, memory, arrays, |attributes, pattern, actions| {
            // SAFETY: null, or whole structures and lists that end.
            let validate = |error| unsafe {
                c::rte_flow_validate(self.port(rule), attributes, pattern, actions, error)
            };
            let result = refusal(validate, is_negative);
            if let Err(refused) = &result {
                assert!(refused.errno > 0);
            }
            result.map(drop)
        })
    }

    fn create(
        &mut self,
        rule: &RawRule,
        memory: &mut Memory<'_>,
        arrays: &mut Arrays,
    ) -> Result<(), Refusal> {
        let port = self.port(rule);
        let made = pass(rule, memory, arrays, |attributes, pattern, actions| {
            // SAFETY: null, or whole structures and lists that end.
            let create =
                |error| unsafe { c::rte_flow_create(port, attributes, pattern, actions, error) };
            refusal(create, <*mut _>::is_null)
        });
        made.map(|made| self.rules.push(made))
    }

    /// Asks and destroys rules and shared actions, which may be gone already.
    fn handle(&self, number: usize, kind: u32) -> Result<(), String> {
        let Nic { uplink, representor } = self.nic;
        let rule = at(&self.rules, number);
        let shared = self.shared.get(number).copied().unwrap_or(number);
        let shared: *mut c::rte_flow_action_handle = ptr::without_provenance_mut(shared);
        let asked = c::rte_flow_action { type_: kind, conf: ptr::null() };
        // Room for any answer.
        let mut answer = [0_u64; 16];
        let answer: *mut c_void = answer.as_mut_ptr().cast();
        let arrays = Arrays { actions: ((&raw const asked).addr(), 1), ..Arrays::default() };
        for port in [uplink, representor] {
            // SAFETY: whole structures, room for the answers, and names that nobody follows.
            let results = unsafe {
                [
                    refusal(
                        |error| c::rte_flow_query(port, rule, &raw const asked, answer, error),
                        is_negative,
                    ),
                    refusal(
                        |error| c::rte_flow_action_handle_query(port, shared, answer, error),
                        is_negative,
                    ),
                    refusal(|error| c::rte_flow_destroy(port, rule, error), is_negative),
                    refusal(
                        |error| c::rte_flow_action_handle_destroy(port, shared, error),
                        is_negative,
                    ),
                ]
            };
            for refused in results.iter().filter_map(|result| result.as_ref().err()) {
                if let Some(complaint) = arrays.complaint(refused) {
                    return Err(complaint);
                }
            }
        }
        Ok(())
    }
}

/// What a case made goes with it, in the order in which it can.
impl Drop for Made {
    fn drop(&mut self) {
        let uplink = self.nic.uplink;
        self.nic.flush();
        // SAFETY: names that nobody follows, each of which was given out by DPDK.
        unsafe {
            let mut error = zeroed();
            for rule in &self.rules {
                let none = ptr::null_mut();
                c::rte_flow_async_destroy(uplink, 0, ptr::null(), *rule, none, &raw mut error);
                self.nic.pull(0);
            }
            self.nic.pull(1);
            for table in &self.tables {
                c::rte_flow_template_table_destroy(uplink, *table, &raw mut error);
            }
            for template in &self.patterns {
                c::rte_flow_pattern_template_destroy(uplink, *template, &raw mut error);
            }
            for template in &self.actions {
                c::rte_flow_actions_template_destroy(uplink, *template, &raw mut error);
            }
            for shared in &self.shared {
                let shared = ptr::without_provenance_mut(*shared);
                c::rte_flow_action_handle_destroy(uplink, shared, &raw mut error);
            }
        }
    }
}
