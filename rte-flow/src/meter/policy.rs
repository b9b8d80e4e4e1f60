//! Meter policies: what happens to packets of each colour.

use dpdk_sys as c;

use super::{Color, MeterError, MeterErrorKind};
use crate::action::Action;
use crate::decode::decode_actions;
use crate::error::EINVAL;

/// The actions of each colour (`struct rte_mtr_meter_policy_params`); none: the packet goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeterPolicy {
    /// For green packets.
    pub green: Vec<Action>,
    /// For yellow packets.
    pub yellow: Vec<Action>,
    /// For red packets.
    pub red: Vec<Action>,
}

impl MeterPolicy {
    /// The actions of a colour.
    #[must_use]
    pub fn of(&self, color: Color) -> &[Action] {
        match color {
            Color::Green => &self.green,
            Color::Yellow => &self.yellow,
            Color::Red => &self.red,
        }
    }

    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer, and what is wrong with the actions.
    ///
    /// # Safety
    /// `policy` is null or points to a valid structure, whose lists are null or as for [`decode_actions`].
    pub unsafe fn decode(
        policy: *const c::rte_mtr_meter_policy_params,
    ) -> Result<Self, MeterError> {
        let kind = MeterErrorKind::Policy;
        // SAFETY: the caller's promise.
        let policy = unsafe { policy.as_ref() }
            .ok_or_else(|| MeterError::new(kind, EINVAL, "the policy is null; pass one"))?;
        let list = |color: Color| {
            let Some(&actions) = policy.actions.get(color.number() as usize) else {
                return Ok(Vec::new());
            };
            if actions.is_null() {
                return Ok(Vec::new());
            }
            // SAFETY: the caller's promise.
            unsafe { decode_actions(actions) }.map_err(|error| {
                let message = format!("{} packets: {error}", color.name());
                MeterError::new(kind, EINVAL, message)
            })
        };
        Ok(Self {
            green: list(Color::Green)?,
            yellow: list(Color::Yellow)?,
            red: list(Color::Red)?,
        })
    }
}
