//! Meter profiles: which algorithm, with which rates and bursts.

use dpdk_sys as c;

use super::{MeterError, MeterErrorKind};
use crate::error::EINVAL;

/// How packets get their colours (`enum rte_mtr_algorithm`). Rates are in bytes or packets a second, bursts in bytes or
/// packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeterAlgorithm {
    /// Not at all: they keep the colour they have.
    None,
    /// One rate, two bursts: srTCM (RFC 2697).
    SingleRate {
        /// Committed information rate.
        cir: u64,
        /// Committed burst.
        cbs: u64,
        /// Excess burst.
        ebs: u64,
    },
    /// Committed and peak rate: trTCM (RFC 2698).
    TwoRate {
        /// Committed information rate.
        cir: u64,
        /// Peak information rate.
        pir: u64,
        /// Committed burst.
        cbs: u64,
        /// Peak burst.
        pbs: u64,
    },
    /// Committed and excess rate: the differentiated trTCM (RFC 4115).
    TwoRateDifferentiated {
        /// Committed information rate.
        cir: u64,
        /// Excess information rate.
        eir: u64,
        /// Committed burst.
        cbs: u64,
        /// Excess burst.
        ebs: u64,
    },
}

/// A meter profile (`struct rte_mtr_meter_profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MeterProfile {
    /// The algorithm.
    pub algorithm: MeterAlgorithm,
    /// Whether rates and bursts count packets; else bytes.
    pub packet_mode: bool,
}

impl MeterProfile {
    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer, an unknown algorithm.
    ///
    /// # Safety
    /// `profile` is null or points to a valid structure.
    pub unsafe fn decode(profile: *const c::rte_mtr_meter_profile) -> Result<Self, MeterError> {
        let kind = MeterErrorKind::Profile;
        // SAFETY: the caller's promise.
        let profile = unsafe { profile.as_ref() }
            .ok_or_else(|| MeterError::new(kind, EINVAL, "the profile is null; pass one"))?;
        let numbers = &profile.__bindgen_anon_1;
        // SAFETY: every member of the union is plain numbers, and the algorithm says which is meant.
        let algorithm = unsafe {
            match profile.alg {
                c::RTE_MTR_NONE => MeterAlgorithm::None,
                c::RTE_MTR_SRTCM_RFC2697 => {
                    let c::rte_mtr_meter_profile__bindgen_ty_1__bindgen_ty_1 { cir, cbs, ebs } =
                        numbers.srtcm_rfc2697;
                    MeterAlgorithm::SingleRate { cir, cbs, ebs }
                }
                c::RTE_MTR_TRTCM_RFC2698 => {
                    let c::rte_mtr_meter_profile__bindgen_ty_1__bindgen_ty_2 { cir, pir, cbs, pbs } =
                        numbers.trtcm_rfc2698;
                    MeterAlgorithm::TwoRate { cir, pir, cbs, pbs }
                }
                c::RTE_MTR_TRTCM_RFC4115 => {
                    let c::rte_mtr_meter_profile__bindgen_ty_1__bindgen_ty_3 { cir, eir, cbs, ebs } =
                        numbers.trtcm_rfc4115;
                    MeterAlgorithm::TwoRateDifferentiated { cir, eir, cbs, ebs }
                }
                other => {
                    let message = format!("algorithm {other} is unknown; use one of DPDK 22.11's");
                    return Err(MeterError::new(kind, EINVAL, message));
                }
            }
        };
        Ok(Self { algorithm, packet_mode: profile.packet_mode != 0 })
    }
}
