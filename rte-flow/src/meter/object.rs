//! Meters: what `rte_mtr_create` gets.

use bitflags::bitflags;
use dpdk_sys as c;

use super::{Color, MeterError, MeterErrorKind};
use crate::error::EINVAL;

bitflags! {
    /// What a meter counts (`enum rte_mtr_stats_type`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MeterStatistics: u64 {
        /// Packets that passed green.
        const PACKETS_GREEN = c::RTE_MTR_STATS_N_PKTS_GREEN as u64;
        /// Packets that passed yellow.
        const PACKETS_YELLOW = c::RTE_MTR_STATS_N_PKTS_YELLOW as u64;
        /// Packets that passed red.
        const PACKETS_RED = c::RTE_MTR_STATS_N_PKTS_RED as u64;
        /// Packets that the policy dropped.
        const PACKETS_DROPPED = c::RTE_MTR_STATS_N_PKTS_DROPPED as u64;
        /// Bytes of those that passed green.
        const BYTES_GREEN = c::RTE_MTR_STATS_N_BYTES_GREEN as u64;
        /// Bytes of those that passed yellow.
        const BYTES_YELLOW = c::RTE_MTR_STATS_N_BYTES_YELLOW as u64;
        /// Bytes of those that passed red.
        const BYTES_RED = c::RTE_MTR_STATS_N_BYTES_RED as u64;
        /// Bytes of those that the policy dropped.
        const BYTES_DROPPED = c::RTE_MTR_STATS_N_BYTES_DROPPED as u64;
    }
}

/// What of a packet says the colour it comes with (`enum rte_mtr_color_in_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColorSource {
    /// DEI and PCP of the outermost VLAN tag.
    OuterVlan,
    /// DEI and PCP of the innermost VLAN tag.
    InnerVlan,
    /// DSCP of the outermost IP header.
    OuterIp,
    /// DSCP of the innermost IP header.
    InnerIp,
}

impl ColorSource {
    /// Every source.
    pub const ALL: &'static [Self] =
        &[Self::OuterVlan, Self::InnerVlan, Self::OuterIp, Self::InnerIp];

    /// DPDK's number, a bit.
    #[must_use]
    pub const fn number(self) -> c::rte_mtr_color_in_protocol {
        match self {
            Self::OuterVlan => c::RTE_MTR_COLOR_IN_PROTO_OUTER_VLAN,
            Self::InnerVlan => c::RTE_MTR_COLOR_IN_PROTO_INNER_VLAN,
            Self::OuterIp => c::RTE_MTR_COLOR_IN_PROTO_OUTER_IP,
            Self::InnerIp => c::RTE_MTR_COLOR_IN_PROTO_INNER_IP,
        }
    }

    /// The source of DPDK's number.
    #[must_use]
    pub fn from_number(number: c::rte_mtr_color_in_protocol) -> Option<Self> {
        Self::ALL.iter().copied().find(|source| source.number() == number)
    }
}

/// What a meter is made with (`struct rte_mtr_params`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterParams {
    /// The profile's identifier.
    pub profile: u32,
    /// The policy's identifier.
    pub policy: u32,
    /// Whether the colour that an earlier meter gave the packet is the one it comes with.
    pub uses_previous_color: bool,
    /// The colour a packet comes with, by DSCP.
    pub dscp_table: Option<Box<[Color; 64]>>,
    /// The colour a packet comes with, by DEI and PCP.
    pub vlan_table: Option<Box<[Color; 16]>>,
    /// Whether it meters from the beginning.
    pub enabled: bool,
    /// What it counts.
    pub statistics: MeterStatistics,
    /// The colour of packets of which no source says one.
    pub default_color: Color,
}

fn wrong(message: String) -> MeterError {
    MeterError::new(MeterErrorKind::Params, EINVAL, message)
}

fn color(number: c::rte_color) -> Result<Color, MeterError> {
    Color::from_number(number)
        .ok_or_else(|| wrong(format!("colour {number} is unknown; use green, yellow or red")))
}

/// Reads a table of colours; `None` for a null pointer.
///
/// # Errors
/// An unknown colour.
///
/// # Safety
/// `table` is null or points to `N` colours.
pub unsafe fn color_table<const N: usize>(
    table: *const c::rte_color,
) -> Result<Option<Box<[Color; N]>>, MeterError> {
    if table.is_null() {
        return Ok(None);
    }
    let mut colors = Box::new([Color::Green; N]);
    for (index, entry) in colors.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *entry = color(unsafe { *table.add(index) })?;
    }
    Ok(Some(colors))
}

impl MeterParams {
    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer, unknown colours.
    ///
    /// # Safety
    /// `params` is null or points to a valid structure, whose tables are null or as long as `rte_mtr` says.
    pub unsafe fn decode(params: *const c::rte_mtr_params) -> Result<Self, MeterError> {
        // SAFETY: the caller's promise.
        let params = unsafe { params.as_ref() }
            .ok_or_else(|| wrong("the parameters are null; pass them".to_owned()))?;
        Ok(Self {
            profile: params.meter_profile_id,
            policy: params.meter_policy_id,
            uses_previous_color: params.use_prev_mtr_color != 0,
            // SAFETY: the caller's promise.
            dscp_table: unsafe { color_table(params.dscp_table) }?,
            // SAFETY: the caller's promise.
            vlan_table: unsafe { color_table(params.vlan_table) }?,
            enabled: params.meter_enable != 0,
            // Programs that want everything set every bit.
            statistics: MeterStatistics::from_bits_truncate(params.stats_mask),
            default_color: color(params.default_input_color)?,
        })
    }
}
