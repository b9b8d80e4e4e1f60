//! Rules in a NIC, through either interface. Each is gone when its value is.

use std::ffi::CStr;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ::rte_flow::{
    Action, ActionKind, ActionsTemplate, EncodedActionsTemplate, EncodedPatternTemplate,
    EncodedRule, ErrorKind, FlowError, IndirectHandle, Item, PatternTemplate, Rule,
    TableAttributes, TemplateAction, encode_table,
};
use dpdk_sys::{
    rte_flow, rte_flow_action, rte_flow_error, rte_flow_op_attr, rte_flow_op_result,
    rte_flow_query_count,
};

/// How long the NIC may take for one operation.
const PATIENCE: Duration = Duration::from_secs(5);

/// An interface to rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// `rte_flow_create`.
    Synchronous,
    /// Templates, tables and queues.
    Templates,
}

/// Shared actions and what they are, which templates say.
pub type SharedActions = [(ActionKind, IndirectHandle)];

/// A rule in the NIC.
pub struct Made {
    port: u16,
    flow: NonNull<rte_flow>,
    /// What it is made of, where it is made of templates.
    table: Option<Rc<Table>>,
}

impl Made {
    /// Makes a rule.
    pub fn insert(
        through: Interface,
        port: u16,
        rule: &Rule,
        shared: &SharedActions,
    ) -> Result<Self, FlowError> {
        match through {
            Interface::Synchronous => {
                let encoded = EncodedRule::new(rule);
                let mut refusal = Refusal::new();
                // SAFETY: the port is started; the rule lives until the call is over.
                let flow = unsafe {
                    dpdk_sys::rte_flow_create(
                        port,
                        encoded.attributes(),
                        encoded.pattern(),
                        encoded.actions(),
                        refusal.get(),
                    )
                };
                let flow = NonNull::new(flow).ok_or_else(|| refusal.last())?;
                Ok(Self { port, flow, table: None })
            }
            Interface::Templates => {
                let table = Rc::new(Table::create(port, rule, 1, shared)?);
                Self::of_table(&table, rule)
            }
        }
    }

    fn of_table(table: &Rc<Table>, rule: &Rule) -> Result<Self, FlowError> {
        let flow = table.insert(rule)?;
        Ok(Self { port: table.port, flow, table: Some(Rc::clone(table)) })
    }

    /// Makes rules of one shape until the NIC refuses one or there are `most`; returns how many it took, all of which are gone
    /// again, and the refusal.
    pub fn fill(
        through: Interface,
        port: u16,
        rules: impl Iterator<Item = Rule>,
        most: u32,
    ) -> (u32, Option<FlowError>) {
        let mut made = Vec::new();
        let mut shape: Option<Rc<Table>> = None;
        for rule in rules.take(most as usize) {
            let result = match (through, &shape) {
                (Interface::Synchronous, _) => Self::insert(through, port, &rule, &[]),
                (Interface::Templates, Some(table)) => Self::of_table(table, &rule),
                (Interface::Templates, None) => Table::create(port, &rule, most, &[])
                    .and_then(|table| Self::of_table(shape.insert(Rc::new(table)), &rule)),
            };
            match result {
                Ok(rule) => made.push(rule),
                Err(error) => return (made.len() as u32, Some(error)),
            }
        }
        (made.len() as u32, None)
    }

    /// Packets that the rule's COUNT has counted.
    pub fn count(&self) -> Result<u64, FlowError> {
        let mut refusal = Refusal::new();
        let mut count = MaybeUninit::<rte_flow_query_count>::zeroed();
        // SAFETY: all-zero is END.
        let end: rte_flow_action = unsafe { zeroed() };
        let action =
            [rte_flow_action { type_: ActionKind::Count.number(), conf: ptr::null() }, end];
        // SAFETY: the rule is in the NIC; action, counter and error live until the call is over.
        let result = unsafe {
            dpdk_sys::rte_flow_query(
                self.port,
                self.flow.as_ptr(),
                action.as_ptr(),
                count.as_mut_ptr().cast(),
                refusal.get(),
            )
        };
        if result != 0 {
            return Err(refusal.read(-result));
        }
        // SAFETY: numbers, for which all zero is a value.
        Ok(unsafe { count.assume_init() }.hits)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        match &self.table {
            Some(table) => table.remove(self.flow),
            None => {
                // SAFETY: the rule is in the NIC, and its handle is not used again. One that stays is gone with the port.
                unsafe {
                    dpdk_sys::rte_flow_destroy(self.port, self.flow.as_ptr(), Refusal::new().get());
                }
            }
        }
    }
}

/// Room for what DPDK says about a failed call.
pub struct Refusal(rte_flow_error);

impl Refusal {
    /// Nothing said yet.
    pub fn new() -> Self {
        let type_ = ErrorKind::Unspecified.number();
        Self(rte_flow_error { type_, cause: ptr::null(), message: ptr::null() })
    }

    /// Where DPDK writes it.
    pub fn get(&mut self) -> *mut rte_flow_error {
        &raw mut self.0
    }

    fn last(&self) -> FlowError {
        // SAFETY: reads a variable of this thread.
        self.read(unsafe { dpdk_sys::dpdk_sys_errno() })
    }

    fn read(&self, errno: i32) -> FlowError {
        let message = NonNull::new(self.0.message.cast_mut()).map_or_else(String::new, |message| {
            // SAFETY: a terminated text that the driver keeps at least until its next call.
            unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned()
        });
        FlowError::other(ErrorKind::from_number(self.0.type_), errno, message)
    }
}

/// A template table for one rule's shape. Dropped, it goes with its templates.
struct Table {
    port: u16,
    pattern: *mut dpdk_sys::rte_flow_pattern_template,
    actions: *mut dpdk_sys::rte_flow_actions_template,
    table: *mut dpdk_sys::rte_flow_template_table,
}

impl Table {
    fn create(
        port: u16,
        rule: &Rule,
        capacity: u32,
        shared: &SharedActions,
    ) -> Result<Self, FlowError> {
        let domain = rule.attributes.domain;
        let pattern = rule.pattern.iter().map(Item::to_template).collect();
        let pattern = PatternTemplate { domain, relaxed_matching: false, pattern };
        let fixed = |action: &Action| match action {
            Action::Indirect(handle) => TemplateAction::Indirect {
                kind: shared.iter().find(|(_, known)| known == handle).map(|(kind, _)| *kind),
                handle: Some(*handle),
            },
            action => TemplateAction::Fixed(action.clone()),
        };
        let actions = rule.actions.iter().map(fixed).collect();
        let actions = ActionsTemplate { domain, actions };
        let (pattern, actions) =
            (EncodedPatternTemplate::new(&pattern), EncodedActionsTemplate::new(&actions));
        let attributes = encode_table(&TableAttributes { attributes: rule.attributes, capacity });
        let mut refusal = Refusal::new();
        let mut table = Self {
            port,
            pattern: ptr::null_mut(),
            actions: ptr::null_mut(),
            table: ptr::null_mut(),
        };
        // SAFETY: the port is started; templates and attributes live until each call is over.
        unsafe {
            table.pattern = dpdk_sys::rte_flow_pattern_template_create(
                port,
                pattern.attributes(),
                pattern.pattern(),
                refusal.get(),
            );
            if table.pattern.is_null() {
                return Err(refusal.last());
            }
            table.actions = dpdk_sys::rte_flow_actions_template_create(
                port,
                actions.attributes(),
                actions.actions(),
                actions.masks(),
                refusal.get(),
            );
            if table.actions.is_null() {
                return Err(refusal.last());
            }
            table.table = dpdk_sys::rte_flow_template_table_create(
                port,
                &raw const attributes,
                [table.pattern].as_mut_ptr(),
                1,
                [table.actions].as_mut_ptr(),
                1,
                refusal.get(),
            );
            if table.table.is_null() {
                return Err(refusal.last());
            }
        }
        Ok(table)
    }

    fn insert(&self, rule: &Rule) -> Result<NonNull<rte_flow>, FlowError> {
        let encoded = EncodedRule::new(rule);
        let mut refusal = Refusal::new();
        // SAFETY: all-zero does not postpone; the rule lives until the call is over.
        let flow = unsafe {
            let attributes: rte_flow_op_attr = zeroed();
            dpdk_sys::rte_flow_async_create(
                self.port,
                0,
                &raw const attributes,
                self.table,
                encoded.pattern(),
                0,
                encoded.actions(),
                0,
                ptr::null_mut(),
                refusal.get(),
            )
        };
        let flow = NonNull::new(flow).ok_or_else(|| refusal.last())?;
        if self.complete() {
            return Ok(flow);
        }
        // The handle of a rule that could not be made is to be given back.
        self.remove(flow);
        Err(FlowError::other(ErrorKind::Unspecified, 0, "the operation failed"))
    }

    fn remove(&self, flow: NonNull<rte_flow>) {
        // SAFETY: the rule is in the NIC, its creation was pulled, and its handle is not used again.
        unsafe {
            let attributes: rte_flow_op_attr = zeroed();
            dpdk_sys::rte_flow_async_destroy(
                self.port,
                0,
                &raw const attributes,
                flow.as_ptr(),
                ptr::null_mut(),
                Refusal::new().get(),
            );
        }
        self.complete();
    }

    /// Waits for the one operation in flight; whether it was well.
    fn complete(&self) -> bool {
        let begin = Instant::now();
        let mut result = MaybeUninit::<rte_flow_op_result>::zeroed();
        while begin.elapsed() < PATIENCE {
            // SAFETY: the queue was configured; there is room for one result.
            let pulled = unsafe {
                dpdk_sys::rte_flow_push(self.port, 0, Refusal::new().get());
                dpdk_sys::rte_flow_pull(self.port, 0, result.as_mut_ptr(), 1, Refusal::new().get())
            };
            if pulled != 0 {
                // SAFETY: all-zero is valid.
                let status = unsafe { result.assume_init() }.status;
                return pulled > 0 && status == dpdk_sys::RTE_FLOW_OP_SUCCESS;
            }
        }
        false
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: what is not null was made, and is not used again; the table goes before its templates.
        unsafe {
            if !self.table.is_null() {
                dpdk_sys::rte_flow_template_table_destroy(
                    self.port,
                    self.table,
                    Refusal::new().get(),
                );
            }
            if !self.actions.is_null() {
                dpdk_sys::rte_flow_actions_template_destroy(
                    self.port,
                    self.actions,
                    Refusal::new().get(),
                );
            }
            if !self.pattern.is_null() {
                dpdk_sys::rte_flow_pattern_template_destroy(
                    self.port,
                    self.pattern,
                    Refusal::new().get(),
                );
            }
        }
    }
}
