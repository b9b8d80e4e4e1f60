//! What DPDK says about a refused call.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use ::rte_flow::{Cause, EncodedRule, ErrorKind, FlowError, Rule};
use dpdk_sys::{rte_flow_action, rte_flow_error, rte_flow_item};

/// Room for what DPDK says about a failed call.
pub(super) struct Refusal(rte_flow_error);

impl Default for Refusal {
    fn default() -> Self {
        let type_ = ErrorKind::Unspecified.number();
        Self(rte_flow_error { type_, cause: ptr::null(), message: ptr::null() })
    }
}

impl Refusal {
    pub(super) const fn as_mut_ptr(&mut self) -> *mut rte_flow_error {
        &raw mut self.0
    }

    /// What was said, where the call reports through `rte_errno`.
    pub(super) fn last(&self, rule: Option<(&Rule, &EncodedRule)>) -> FlowError {
        // SAFETY: reads a variable of this thread.
        let errno = unsafe { dpdk_sys::dpdk_sys_errno() };
        self.read(errno, rule)
    }

    /// What was said; `rule` is what was refused, if its parts can be the cause.
    pub(super) fn read(&self, errno: i32, rule: Option<(&Rule, &EncodedRule)>) -> FlowError {
        let message = NonNull::new(self.0.message.cast_mut()).map_or_else(
            || format!("refused without a message (errno {errno})"),
            // SAFETY: a message is a terminated text that the driver keeps at least until its next call.
            |message| unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned(),
        );
        FlowError {
            kind: ErrorKind::from_number(self.0.type_),
            errno,
            cause: rule.map_or(Cause::None, |(rule, encoded)| self.cause(rule, encoded)),
            message: message.into(),
        }
    }

    /// Which part of the rule the error points at.
    fn cause(&self, rule: &Rule, encoded: &EncodedRule) -> Cause {
        let cause = self.0.cause.addr();
        let place = |list: usize, size: usize, length: usize| {
            cause.checked_sub(list).map(|offset| offset / size).filter(|place| *place < length)
        };
        if cause == encoded.attributes().addr() {
            return Cause::Attributes;
        }
        let item = place(encoded.pattern().addr(), size_of::<rte_flow_item>(), rule.pattern.len());
        let action =
            place(encoded.actions().addr(), size_of::<rte_flow_action>(), rule.actions.len());
        item.map(Cause::Item).or(action.map(Cause::Action)).unwrap_or(Cause::None)
    }
}
