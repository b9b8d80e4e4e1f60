//! A template table: the room for rules of one shape.

use std::ptr::NonNull;

use ::rte_flow::{
    EncodedActionsTemplate, EncodedPatternTemplate, FlowError, TableAttributes, encode_table,
};
use dpdk_sys::{rte_flow_actions_template, rte_flow_pattern_template, rte_flow_template_table};
use rte_flow_compiler::{Nic, TableTemplate};

use super::refusal::Refusal;

/// Rules of connections of one shape.
const CONNECTIONS: u32 = 1 << 20;
/// Other rules of one shape: a few for each VF, VPC or remote VTEP.
const OTHERS: u32 = 1 << 16;

/// How many rules a table of this shape has room for.
pub fn capacity(nic: &Nic, template: &TableTemplate) -> u32 {
    if nic.has_connections(template.attributes.group) { CONNECTIONS } else { OTHERS }
}

/// See the module. Dropped, it is destroyed, and must be empty by then.
pub struct Table {
    port: u16,
    table: NonNull<rte_flow_template_table>,
    // A table is destroyed before the templates that it is made of.
    _pattern: PatternTemplate,
    _actions: ActionsTemplate,
}

// SAFETY: handles are only names here; nobody but DPDK looks behind them.
unsafe impl Send for Table {}

impl Table {
    /// Makes a table on a started port.
    ///
    /// # Errors
    /// The NIC's refusal of one of its templates or of the table.
    pub fn create(port: u16, nic: &Nic, template: &TableTemplate) -> Result<Self, FlowError> {
        let pattern = PatternTemplate::create(port, template)?;
        let actions = ActionsTemplate::create(port, template)?;
        let attributes = encode_table(&TableAttributes {
            attributes: template.attributes,
            capacity: capacity(nic, template),
        });
        let mut refusal = Refusal::default();
        // SAFETY: attributes and templates live until the call is over, the templates longer than the table.
        let table = unsafe {
            dpdk_sys::rte_flow_template_table_create(
                port,
                &raw const attributes,
                [pattern.handle.as_ptr()].as_mut_ptr(),
                1,
                [actions.handle.as_ptr()].as_mut_ptr(),
                1,
                refusal.as_mut_ptr(),
            )
        };
        let table = NonNull::new(table).ok_or_else(|| refusal.last(None))?;
        Ok(Self { port, table, _pattern: pattern, _actions: actions })
    }

    /// DPDK's name of it.
    pub const fn as_ptr(&self) -> *mut rte_flow_template_table {
        self.table.as_ptr()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut refusal = Refusal::default();
        // SAFETY: nobody uses the table any more. It stays when it still has rules; then it goes with the port.
        unsafe {
            dpdk_sys::rte_flow_template_table_destroy(
                self.port,
                self.table.as_ptr(),
                refusal.as_mut_ptr(),
            )
        };
    }
}

struct PatternTemplate {
    port: u16,
    handle: NonNull<rte_flow_pattern_template>,
}

impl PatternTemplate {
    fn create(port: u16, template: &TableTemplate) -> Result<Self, FlowError> {
        let encoded = EncodedPatternTemplate::new(&template.pattern);
        let mut refusal = Refusal::default();
        // SAFETY: the template lives until the call is over, and DPDK copies what it keeps.
        let handle = unsafe {
            dpdk_sys::rte_flow_pattern_template_create(
                port,
                encoded.attributes(),
                encoded.pattern(),
                refusal.as_mut_ptr(),
            )
        };
        let handle = NonNull::new(handle).ok_or_else(|| refusal.last(None))?;
        Ok(Self { port, handle })
    }
}

impl Drop for PatternTemplate {
    fn drop(&mut self) {
        let mut refusal = Refusal::default();
        // SAFETY: its table is gone, or goes with the port.
        unsafe {
            dpdk_sys::rte_flow_pattern_template_destroy(
                self.port,
                self.handle.as_ptr(),
                refusal.as_mut_ptr(),
            )
        };
    }
}

struct ActionsTemplate {
    port: u16,
    handle: NonNull<rte_flow_actions_template>,
}

impl ActionsTemplate {
    fn create(port: u16, template: &TableTemplate) -> Result<Self, FlowError> {
        let encoded = EncodedActionsTemplate::new(&template.actions);
        let mut refusal = Refusal::default();
        // SAFETY: the template lives until the call is over, and DPDK copies what it keeps.
        let handle = unsafe {
            dpdk_sys::rte_flow_actions_template_create(
                port,
                encoded.attributes(),
                encoded.actions(),
                encoded.masks(),
                refusal.as_mut_ptr(),
            )
        };
        let handle = NonNull::new(handle).ok_or_else(|| refusal.last(None))?;
        Ok(Self { port, handle })
    }
}

impl Drop for ActionsTemplate {
    fn drop(&mut self) {
        let mut refusal = Refusal::default();
        // SAFETY: its table is gone, or goes with the port.
        unsafe {
            dpdk_sys::rte_flow_actions_template_destroy(
                self.port,
                self.handle.as_ptr(),
                refusal.as_mut_ptr(),
            )
        };
    }
}
