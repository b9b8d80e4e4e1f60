//! Meters: colours, the actions that meter, and what `rte_mtr_*()` get.

mod error;
mod object;
mod policy;
mod profile;

pub use error::{MeterError, MeterErrorKind};
pub use object::{ColorSource, MeterParams, MeterStatistics, color_table};
pub use policy::MeterPolicy;
pub use profile::{MeterAlgorithm, MeterProfile};

use std::ffi::c_void;
use std::{fmt, ptr};

use dpdk_sys as c;

use crate::conf::{Conf, at};
use crate::encode::Arena;
use crate::error::DecodeReason;

/// The colour of a packet (`enum rte_color`), from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Color {
    /// Within what was committed.
    #[default]
    Green,
    /// Beyond that, within what is tolerated.
    Yellow,
    /// Beyond all.
    Red,
}

impl Color {
    /// Every colour.
    pub const ALL: &'static [Self] = &[Self::Green, Self::Yellow, Self::Red];

    /// DPDK's number.
    #[must_use]
    pub const fn number(self) -> c::rte_color {
        match self {
            Self::Green => c::RTE_COLOR_GREEN,
            Self::Yellow => c::RTE_COLOR_YELLOW,
            Self::Red => c::RTE_COLOR_RED,
        }
    }

    /// The colour of DPDK's number.
    #[must_use]
    pub const fn from_number(number: c::rte_color) -> Option<Self> {
        match number {
            c::RTE_COLOR_GREEN => Some(Self::Green),
            c::RTE_COLOR_YELLOW => Some(Self::Yellow),
            c::RTE_COLOR_RED => Some(Self::Red),
            _ => None,
        }
    }

    /// testpmd's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// A meter profile as the driver named it (`rte_mtr_meter_profile_get`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MeterProfileHandle(pub usize);

/// A meter policy as the driver named it (`rte_mtr_meter_policy_get`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MeterPolicyHandle(pub usize);

/// Meters a stream of packets and colours them (`struct rte_flow_action_meter_mark`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MeterMark {
    /// How to meter.
    pub profile: MeterProfileHandle,
    /// What to do with each colour; `None`: nothing.
    pub policy: Option<MeterPolicyHandle>,
    /// The colour that packets have before, in colour-aware mode; `None`: colour-blind.
    pub color_aware: Option<Color>,
    /// Whether it meters; else all packets keep the colour they have before.
    pub enabled: bool,
}

impl Conf<c::rte_flow_action_meter_mark> for MeterMark {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        let policy = self.policy.map_or(0, |policy| policy.0);
        arena.put(c::rte_flow_action_meter_mark {
            profile: ptr::with_exposed_provenance_mut(self.profile.0),
            policy: ptr::with_exposed_provenance_mut(policy),
            color_mode: self.color_aware.is_some().into(),
            init_color: self.color_aware.unwrap_or_default().number(),
            state: self.enabled.into(),
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let mark = unsafe { at::<c::rte_flow_action_meter_mark>(conf) }?;
        if mark.profile.is_null() {
            return Err(DecodeReason::Missing("meter profile"));
        }
        Ok(Self {
            profile: MeterProfileHandle(mark.profile.expose_provenance()),
            policy: (!mark.policy.is_null())
                .then(|| MeterPolicyHandle(mark.policy.expose_provenance())),
            color_aware: (mark.color_mode != 0).then(|| color(mark.init_color)).transpose()?,
            enabled: mark.state != 0,
        })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " mtr_profile {} mtr_policy ", self.profile.0)?;
        write!(f, "{}", self.policy.map_or(0, |policy| policy.0))?;
        let color = self.color_aware.unwrap_or_default().name();
        let (mode, state) = (u8::from(self.color_aware.is_some()), u8::from(self.enabled));
        write!(f, " mtr_color_mode {mode} mtr_init_color {color} mtr_state {state}")
    }
}

impl Conf<c::rte_flow_action_meter_color> for Color {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_meter_color { color: self.number() })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        color(unsafe { at::<c::rte_flow_action_meter_color>(conf) }?.color)
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " type {}", self.name())
    }
}

fn color(number: c::rte_color) -> Result<Color, DecodeReason> {
    Color::from_number(number).ok_or(DecodeReason::UnknownValue("color", number))
}

/// What changes of a shared `METER_MARK` (`struct rte_flow_update_meter_mark`); `None`: it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterMarkUpdate {
    /// How to meter.
    pub profile: Option<MeterProfileHandle>,
    /// What to do with each colour.
    pub policy: Option<MeterPolicyHandle>,
    /// The colour that packets have before; inside, `None` for colour-blind.
    pub color_aware: Option<Option<Color>>,
    /// Whether it meters.
    pub enabled: Option<bool>,
}

impl MeterMarkUpdate {
    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer, a profile or policy that is to be set and is null, an unknown colour.
    ///
    /// # Safety
    /// `update` is null or points to a valid structure.
    pub unsafe fn decode(
        update: *const c::rte_flow_update_meter_mark,
    ) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let update = unsafe { at::<c::rte_flow_update_meter_mark>(update.cast()) }?;
        let mark = &update.meter_mark;
        let named = |is_valid: u32, handle: usize, name| match (is_valid, handle) {
            (0, _) => Ok(None),
            (_, 0) => Err(DecodeReason::Missing(name)),
            (_, handle) => Ok(Some(handle)),
        };
        let profile = mark.profile.expose_provenance();
        let policy = mark.policy.expose_provenance();
        let colors = update.color_mode_valid() != 0 || update.init_color_valid() != 0;
        let aware = || (mark.color_mode != 0).then(|| color(mark.init_color)).transpose();
        Ok(Self {
            profile: named(update.profile_valid(), profile, "meter profile")?
                .map(MeterProfileHandle),
            policy: named(update.policy_valid(), policy, "meter policy")?.map(MeterPolicyHandle),
            color_aware: colors.then(aware).transpose()?,
            enabled: (update.state_valid() != 0).then_some(mark.state != 0),
        })
    }
}
