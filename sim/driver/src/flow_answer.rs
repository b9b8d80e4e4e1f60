//! What queries answer, in the structures that `rte_flow` has for it.

use std::ffi::c_void;

use dpdk_sys::{rte_flow_action_conntrack, rte_flow_query_age, rte_flow_query_count};
use rte_flow::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use sim::eswitch::{AgeState, Count, IndirectState};

/// What a query answers.
pub enum Answer {
    /// A rule's COUNT.
    Count(Count),
    /// A rule's AGE.
    Age(AgeState),
    /// A shared action's state.
    Shared(IndirectState),
}

/// The refusal of a query of any other action of a rule.
pub fn cannot_query() -> FlowError {
    let message = "only COUNT and AGE can be queried; query one of them";
    FlowError::action(0, ErrorKind::Action, ENOTSUP, message)
}

fn no_data() -> FlowError {
    let message = "the query has no structure for its answer; pass one";
    FlowError::other(ErrorKind::Unspecified, EINVAL, message)
}

/// Whether a query of a COUNT asks to begin at 0 again.
///
/// # Safety
/// `data` is null or a `rte_flow_query_count`.
pub unsafe fn wants_reset(data: *const c_void) -> Result<bool, FlowError> {
    // SAFETY: by the caller's promise.
    let query = unsafe { data.cast::<rte_flow_query_count>().as_ref() };
    query.map(|query| query.reset() != 0).ok_or_else(no_data)
}

/// The caller's structure.
///
/// # Safety
/// `data` is null or a `T`, of the caller alone.
unsafe fn structure<'a, T>(data: *mut c_void) -> Result<&'a mut T, FlowError> {
    // SAFETY: by the caller's promise.
    unsafe { data.cast::<T>().as_mut() }.ok_or_else(no_data)
}

impl Answer {
    /// Fills the caller's structure.
    ///
    /// # Safety
    /// `data` is null or the structure of the kind.
    pub unsafe fn write(self, data: *mut c_void) -> Result<(), FlowError> {
        match self {
            Self::Count(count) | Self::Shared(IndirectState::Count(count)) => {
                // SAFETY: by the caller's promise.
                let query = unsafe { structure::<rte_flow_query_count>(data) }?;
                query.set_hits_set(1);
                query.set_bytes_set(1);
                query.hits = count.packets;
                query.bytes = count.bytes;
            }
            Self::Age(age) | Self::Shared(IndirectState::Age(age)) => {
                // SAFETY: by the caller's promise.
                let query = unsafe { structure::<rte_flow_query_age>(data) }?;
                query.set_aged(age.aged.into());
                query.set_sec_since_last_hit_valid(1);
                // The field has 24 bits: half a year.
                query.set_sec_since_last_hit(age.idle.as_secs().min(0x00ff_ffff) as u32);
            }
            Self::Shared(IndirectState::Connection(connection)) => {
                // SAFETY: by the caller's promise.
                let query = unsafe { structure::<rte_flow_action_conntrack>(data) }?;
                *query = connection.to_c();
            }
        }
        Ok(())
    }
}
