//! Why a meter, profile or policy was refused, as `rte_mtr` reports it.

use std::borrow::Cow;

use dpdk_sys as c;
use thiserror::Error;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:ident;)+) => {
        /// What kind of thing is wrong (`enum rte_mtr_error_type`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum MeterErrorKind {
            $($(#[$doc])* $kind,)+
        }

        impl MeterErrorKind {
            /// DPDK's number.
            #[must_use]
            pub const fn number(self) -> c::rte_mtr_error_type {
                match self {
                    $(Self::$kind => c::$number,)+
                }
            }
        }
    };
}

kinds! {
    /// Nothing particular.
    Unspecified = RTE_MTR_ERROR_TYPE_UNSPECIFIED;
    /// The profile's identifier.
    ProfileId = RTE_MTR_ERROR_TYPE_METER_PROFILE_ID;
    /// The profile.
    Profile = RTE_MTR_ERROR_TYPE_METER_PROFILE;
    /// The profile's unit.
    PacketMode = RTE_MTR_ERROR_TYPE_METER_PROFILE_PACKET_MODE;
    /// The meter's identifier.
    MeterId = RTE_MTR_ERROR_TYPE_MTR_ID;
    /// The meter's parameters.
    Params = RTE_MTR_ERROR_TYPE_MTR_PARAMS;
    /// The set of statistics.
    StatisticsMask = RTE_MTR_ERROR_TYPE_STATS_MASK;
    /// The statistics.
    Statistics = RTE_MTR_ERROR_TYPE_STATS;
    /// Whether rules share the meter.
    Shared = RTE_MTR_ERROR_TYPE_SHARED;
    /// The policy's identifier.
    PolicyId = RTE_MTR_ERROR_TYPE_METER_POLICY_ID;
    /// The policy.
    Policy = RTE_MTR_ERROR_TYPE_METER_POLICY;
}

/// A refusal (`struct rte_mtr_error` and errno).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct MeterError {
    /// What kind of thing is wrong.
    pub kind: MeterErrorKind,
    /// The errno, positive.
    pub errno: i32,
    /// What is wrong and what to do, in one line.
    pub message: Cow<'static, str>,
}

impl MeterError {
    /// A refusal.
    #[must_use]
    pub fn new(kind: MeterErrorKind, errno: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, errno, message: message.into() }
    }
}
