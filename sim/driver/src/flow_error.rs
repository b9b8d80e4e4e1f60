//! Refusals of rules, as `rte_flow` reports them: errno, kind, the guilty part of the caller's arrays, a message.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use dpdk_sys::{rte_flow_action, rte_flow_attr, rte_flow_error, rte_flow_error_set, rte_flow_item};
use rte_flow::FlowError;

/// Most different messages that are kept. A message belongs to a kind of mistake and perhaps a number; a program that
/// makes more different ones than this in its life gets the general message for the rest.
const MAX_MESSAGES: usize = 4096;

/// What is said when [`MAX_MESSAGES`] were said already.
const GENERAL_MESSAGE: &CStr = c"refused; the kind of error and its cause say what";

/// A message that stays where it is: callers may look at it any time later.
pub fn lasting(message: &str) -> &'static CStr {
    static MESSAGES: Mutex<Option<HashSet<&'static CStr>>> = Mutex::new(None);
    let Ok(message) = CString::new(message.replace('\0', " ")) else { return GENERAL_MESSAGE };
    let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let messages = messages.get_or_insert_default();
    if let Some(known) = messages.get(message.as_c_str()) {
        return known;
    }
    if messages.len() >= MAX_MESSAGES {
        return GENERAL_MESSAGE;
    }
    // Bounded, and never given back: a program may keep the pointer for as long as it runs.
    let kept: &'static CStr = Box::leak(message.into_boxed_c_str());
    messages.insert(kept);
    kept
}

/// The caller's arrays, into which the cause of a refusal points.
#[derive(Clone, Copy)]
pub struct Arrays {
    /// The attributes, of whatever type.
    pub attributes: *const c_void,
    /// The pattern.
    pub pattern: *const rte_flow_item,
    /// The actions.
    pub actions: *const rte_flow_action,
}

impl Arrays {
    /// A call that is about no rule.
    pub const NONE: Self =
        Self { attributes: ptr::null(), pattern: ptr::null(), actions: ptr::null() };

    /// Arrays of a call with attributes and a pattern.
    pub fn pattern<A>(attributes: *const A, pattern: *const rte_flow_item) -> Self {
        Self { attributes: attributes.cast(), pattern, actions: ptr::null() }
    }

    /// A call with attributes alone.
    pub fn attributes<A>(attributes: *const A) -> Self {
        Self { attributes: attributes.cast(), ..Self::NONE }
    }

    /// Arrays of a call with attributes and actions.
    pub fn actions<A>(attributes: *const A, actions: *const rte_flow_action) -> Self {
        Self { attributes: attributes.cast(), pattern: ptr::null(), actions }
    }

    /// Arrays of a call with a whole rule.
    pub fn rule(
        attributes: *const rte_flow_attr,
        pattern: *const rte_flow_item,
        actions: *const rte_flow_action,
    ) -> Self {
        Self { attributes: attributes.cast(), pattern, actions }
    }

    /// Reports a refusal: fills the caller's structure, where there is one, sets `rte_errno`, and returns it negated.
    ///
    /// # Safety
    /// `error` is null or may be written.
    pub unsafe fn report(self, error: *mut rte_flow_error, refusal: &FlowError) -> c_int {
        let cause = refusal.cause_pointer(self.attributes.cast(), self.pattern, self.actions);
        let message = lasting(&refusal.message);
        // SAFETY: by the caller's promise; the message lives as long as the process.
        unsafe {
            rte_flow_error_set(error, refusal.errno, refusal.kind.number(), cause, message.as_ptr())
        }
    }

    /// Reports a refusal, if there is one: 0 or a negative errno.
    ///
    /// # Safety
    /// As for [`Arrays::report`].
    pub unsafe fn status(self, error: *mut rte_flow_error, result: Result<(), FlowError>) -> c_int {
        match result {
            Ok(()) => 0,
            // SAFETY: by the caller's promise.
            Err(refusal) => unsafe { self.report(error, &refusal) },
        }
    }

    /// A new object's number as the pointer that C gets; null, reported, for a refusal.
    ///
    /// # Safety
    /// As for [`Arrays::report`].
    pub unsafe fn handle<T>(
        self,
        error: *mut rte_flow_error,
        result: Result<u64, FlowError>,
    ) -> *mut T {
        match result {
            // Never dereferenced, neither by us nor by the caller, to whom the type is opaque.
            Ok(number) => ptr::without_provenance_mut(number as usize),
            Err(refusal) => {
                // SAFETY: by the caller's promise.
                unsafe { self.report(error, &refusal) };
                ptr::null_mut()
            }
        }
    }
}

/// The number of an object that a caller names by the pointer it was given.
pub fn number<T>(handle: *const T) -> u64 {
    handle.addr() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_and_is_kept_once() {
        let first = lasting("too many\0 actions");
        assert_eq!(first.to_str(), Ok("too many  actions"));
        assert!(ptr::eq(first, lasting("too many\0 actions")));
    }

    #[test]
    fn handles_are_numbers() {
        // SAFETY: nothing is reported.
        let handle: *mut dpdk_sys::rte_flow =
            unsafe { Arrays::NONE.handle(ptr::null_mut(), Ok(7)) };
        assert_eq!(number(handle), 7);
    }
}
