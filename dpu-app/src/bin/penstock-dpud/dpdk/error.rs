//! Failed calls of DPDK.

use std::ffi::CStr;
use std::os::raw::c_int;

use thiserror::Error;

/// A call that failed: what was tried, and what DPDK said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot {action}: {} (errno {errno})", text_of(*.errno))]
pub struct DpdkError {
    /// What was tried, as it reads after "cannot".
    pub action: String,
    /// The errno, positive.
    pub errno: i32,
}

impl DpdkError {
    /// The failure of a call that reports through `rte_errno`.
    pub fn last(action: impl Into<String>) -> Self {
        // SAFETY: reads a variable of this thread.
        let errno = unsafe { dpdk_sys::dpdk_sys_errno() };
        Self { action: action.into(), errno }
    }
}

/// The result of a call that returns 0 or more, or a negative errno.
pub(super) fn check(result: c_int, action: impl FnOnce() -> String) -> Result<c_int, DpdkError> {
    if result >= 0 {
        Ok(result)
    } else {
        Err(DpdkError { action: action(), errno: result.saturating_neg() })
    }
}

fn text_of(errno: i32) -> String {
    // SAFETY: returns a terminated text that stays valid at least until this thread's next call.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) };
    text.to_string_lossy().into_owned()
}
