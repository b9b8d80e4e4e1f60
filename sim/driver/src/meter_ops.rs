//! The operations of `rte_mtr` on a port: meter profiles, policies and meters.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr;

use ::rte_flow::{
    ColorSource, EINVAL, MeterError, MeterErrorKind, MeterParams, MeterPolicy, MeterProfile,
    MeterStatistics, color_table,
};
use dpdk_sys::{
    rte_color, rte_eth_dev, rte_flow_error_set, rte_flow_meter_policy, rte_flow_meter_profile,
    rte_mtr_capabilities, rte_mtr_color_in_protocol, rte_mtr_error, rte_mtr_meter_policy_params,
    rte_mtr_meter_profile, rte_mtr_ops, rte_mtr_params, rte_mtr_stats,
};
use sim::eswitch::{Eswitch, MeterCapabilities, MeterStats, Time};

use crate::flow_error::lasting;
use crate::flow_ops::called;

/// The operations of every port.
pub static OPERATIONS: rte_mtr_ops = rte_mtr_ops {
    capabilities_get: Some(capabilities_get),
    meter_profile_add: Some(profile_add),
    meter_profile_delete: Some(profile_delete),
    create: Some(create),
    destroy: Some(destroy),
    meter_enable: Some(enable),
    meter_disable: Some(disable),
    meter_profile_update: Some(profile_update),
    meter_dscp_table_update: Some(dscp_table_update),
    meter_vlan_table_update: Some(vlan_table_update),
    in_proto_set: Some(color_source_set),
    in_proto_get: Some(color_sources_get),
    in_proto_prio_get: Some(color_source_priority_get),
    stats_update: Some(statistics_update),
    stats_read: Some(statistics_read),
    meter_policy_validate: Some(policy_validate),
    meter_policy_add: Some(policy_add),
    meter_policy_delete: Some(policy_delete),
    meter_policy_update: Some(policy_update),
    meter_profile_get: Some(profile_get),
    meter_policy_get: Some(policy_get),
};

/// Reports a refusal: fills the caller's structure, where there is one, sets `rte_errno`, and returns it negated.
///
/// # Safety
/// `error` is null or may be written.
unsafe fn report(error: *mut rte_mtr_error, refusal: &MeterError) -> c_int {
    // SAFETY: by the caller's promise.
    if let Some(error) = unsafe { error.as_mut() } {
        error.type_ = refusal.kind.number();
        error.cause = ptr::null();
        error.message = lasting(&refusal.message).as_ptr();
    }
    // SAFETY: without a structure, the function only sets this thread's `rte_errno`.
    unsafe { rte_flow_error_set(ptr::null_mut(), refusal.errno, 0, ptr::null(), ptr::null()) }
}

/// Does an operation on the eswitch for an ethdev.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn with<T>(
    dev: *mut rte_eth_dev,
    operation: impl FnOnce(&mut Eswitch, u16, Time) -> Result<T, MeterError>,
) -> Result<T, MeterError> {
    // SAFETY: by the caller's promise.
    let (private, port) = unsafe { called(dev) };
    private.device().with_switch(|switch, now| operation(&mut switch.eswitch, port, now))
}

/// Does an operation that answers nothing.
///
/// # Safety
/// `dev` is an ethdev of ours; `error` is null or may be written.
unsafe fn done(
    dev: *mut rte_eth_dev,
    error: *mut rte_mtr_error,
    operation: impl FnOnce(&mut Eswitch, u16, Time) -> Result<(), MeterError>,
) -> c_int {
    // SAFETY: by the caller's promises.
    unsafe {
        match with(dev, operation) {
            Ok(()) => 0,
            Err(refusal) => report(error, &refusal),
        }
    }
}

/// Does an operation that answers with a handle, here a pointer whose type is opaque to the caller: nobody dereferences it.
///
/// # Safety
/// `dev` is an ethdev of ours; `error` is null or may be written.
unsafe fn opaque<T>(
    dev: *mut rte_eth_dev,
    error: *mut rte_mtr_error,
    operation: impl FnOnce(&mut Eswitch, u16) -> Result<usize, MeterError>,
) -> *mut T {
    // SAFETY: by the caller's promises.
    unsafe {
        match with(dev, |eswitch, port, _| operation(eswitch, port)) {
            Ok(handle) => ptr::without_provenance_mut(handle),
            Err(refusal) => {
                report(error, &refusal);
                ptr::null_mut()
            }
        }
    }
}

fn wrong(message: &'static str) -> MeterError {
    MeterError::new(MeterErrorKind::Params, EINVAL, message)
}

fn at_most_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is told of a card's meters: each algorithm in bytes and packets, aware of the colour that packets bring.
fn describe(can: &MeterCapabilities) -> rte_mtr_capabilities {
    let meters = at_most_u32(can.meters);
    let sources = ColorSource::ALL.iter().fold(0, |mask, source| mask | u64::from(source.number()));
    // SAFETY: the structure consists of numbers.
    let nothing: rte_mtr_capabilities = unsafe { zeroed() };
    rte_mtr_capabilities {
        n_max: meters,
        n_shared_max: meters,
        identical: 1,
        shared_identical: 1,
        shared_n_flows_per_mtr_max: u32::MAX,
        chaining_n_mtrs_per_flow_max: can.chain,
        chaining_use_prev_mtr_color_supported: (can.chain > 1).into(),
        meter_srtcm_rfc2697_n_max: meters,
        meter_trtcm_rfc2698_n_max: meters,
        meter_trtcm_rfc4115_n_max: meters,
        meter_rate_max: can.highest_rate,
        meter_policy_n_max: can.policies.into(),
        color_aware_srtcm_rfc2697_supported: 1,
        color_aware_trtcm_rfc2698_supported: 1,
        color_aware_trtcm_rfc4115_supported: 1,
        srtcm_rfc2697_byte_mode_supported: 1,
        srtcm_rfc2697_packet_mode_supported: 1,
        trtcm_rfc2698_byte_mode_supported: 1,
        trtcm_rfc2698_packet_mode_supported: 1,
        trtcm_rfc4115_byte_mode_supported: 1,
        trtcm_rfc4115_packet_mode_supported: 1,
        stats_mask: can.statistics.bits(),
        input_color_proto_mask: if can.color_tables { sources } else { 0 },
        ..nothing
    }
}

unsafe extern "C" fn capabilities_get(
    dev: *mut rte_eth_dev,
    capabilities: *mut rte_mtr_capabilities,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a structure to fill or null.
    unsafe {
        done(dev, error, |eswitch, port, _| {
            let can = eswitch.meter_capabilities(port)?;
            let room = capabilities.as_mut().ok_or_else(|| wrong("no structure to fill"))?;
            *room = describe(&can);
            Ok(())
        })
    }
}

unsafe extern "C" fn profile_add(
    dev: *mut rte_eth_dev,
    id: u32,
    profile: *mut rte_mtr_meter_profile,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a profile or null.
    unsafe {
        let profile = MeterProfile::decode(profile);
        done(dev, error, |eswitch, port, _| eswitch.meter_profile_add(port, id, profile?))
    }
}

unsafe extern "C" fn profile_delete(
    dev: *mut rte_eth_dev,
    id: u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, now| eswitch.meter_profile_delete(port, id, now)) }
}

unsafe extern "C" fn profile_get(
    dev: *mut rte_eth_dev,
    id: u32,
    error: *mut rte_mtr_error,
) -> *mut rte_flow_meter_profile {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { opaque(dev, error, |eswitch, port| Ok(eswitch.meter_profile(port, id)?.0)) }
}

unsafe extern "C" fn policy_validate(
    dev: *mut rte_eth_dev,
    policy: *mut rte_mtr_meter_policy_params,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a policy or null.
    unsafe {
        let policy = MeterPolicy::decode(policy);
        done(dev, error, |eswitch, port, _| eswitch.meter_policy_validate(port, &policy?))
    }
}

unsafe extern "C" fn policy_add(
    dev: *mut rte_eth_dev,
    id: u32,
    policy: *mut rte_mtr_meter_policy_params,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a policy or null.
    unsafe {
        let policy = MeterPolicy::decode(policy);
        done(dev, error, |eswitch, port, _| eswitch.meter_policy_add(port, id, &policy?))
    }
}

unsafe extern "C" fn policy_delete(
    dev: *mut rte_eth_dev,
    id: u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, now| eswitch.meter_policy_delete(port, id, now)) }
}

unsafe extern "C" fn policy_get(
    dev: *mut rte_eth_dev,
    id: u32,
    error: *mut rte_mtr_error,
) -> *mut rte_flow_meter_policy {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { opaque(dev, error, |eswitch, port| Ok(eswitch.meter_policy(port, id)?.0)) }
}

unsafe extern "C" fn create(
    dev: *mut rte_eth_dev,
    id: u32,
    params: *mut rte_mtr_params,
    shared: c_int,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, parameters or null.
    unsafe {
        let params = MeterParams::decode(params);
        done(dev, error, |eswitch, port, now| {
            eswitch.meter_create(port, id, &params?, shared != 0, now)
        })
    }
}

unsafe extern "C" fn destroy(dev: *mut rte_eth_dev, id: u32, error: *mut rte_mtr_error) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, now| eswitch.meter_destroy(port, id, now)) }
}

unsafe extern "C" fn enable(dev: *mut rte_eth_dev, id: u32, error: *mut rte_mtr_error) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, _| eswitch.meter_enable(port, id, true)) }
}

unsafe extern "C" fn disable(dev: *mut rte_eth_dev, id: u32, error: *mut rte_mtr_error) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, _| eswitch.meter_enable(port, id, false)) }
}

unsafe extern "C" fn profile_update(
    dev: *mut rte_eth_dev,
    id: u32,
    profile: u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        done(dev, error, |eswitch, port, now| eswitch.meter_set_profile(port, id, profile, now))
    }
}

unsafe extern "C" fn policy_update(
    dev: *mut rte_eth_dev,
    id: u32,
    policy: u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { done(dev, error, |eswitch, port, _| eswitch.meter_set_policy(port, id, policy)) }
}

fn color_source(number: rte_mtr_color_in_protocol) -> Result<ColorSource, MeterError> {
    ColorSource::from_number(number)
        .ok_or_else(|| wrong("the protocol is none that says a colour; use VLAN or IP"))
}

unsafe extern "C" fn dscp_table_update(
    dev: *mut rte_eth_dev,
    id: u32,
    source: rte_mtr_color_in_protocol,
    table: *mut rte_color,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, 64 colours or null.
    unsafe {
        let table = color_source(source).and_then(|_| color_table(table));
        done(dev, error, |eswitch, port, _| eswitch.meter_set_dscp_table(port, id, table?))
    }
}

unsafe extern "C" fn vlan_table_update(
    dev: *mut rte_eth_dev,
    id: u32,
    source: rte_mtr_color_in_protocol,
    table: *mut rte_color,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, 16 colours or null.
    unsafe {
        let table = color_source(source).and_then(|_| color_table(table));
        done(dev, error, |eswitch, port, _| eswitch.meter_set_vlan_table(port, id, table?))
    }
}

unsafe extern "C" fn color_source_set(
    dev: *mut rte_eth_dev,
    id: u32,
    source: rte_mtr_color_in_protocol,
    priority: u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        done(dev, error, |eswitch, port, _| {
            eswitch.meter_set_color_source(port, id, color_source(source)?, priority)
        })
    }
}

unsafe extern "C" fn color_sources_get(
    dev: *mut rte_eth_dev,
    id: u32,
    mask: *mut u64,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a number to fill or null.
    unsafe {
        done(dev, error, |eswitch, port, _| {
            let sources = eswitch.meter_color_sources(port, id)?;
            let room = mask.as_mut().ok_or_else(|| wrong("no number to fill; pass one"))?;
            *room = sources.iter().fold(0, |mask, (source, _)| mask | u64::from(source.number()));
            Ok(())
        })
    }
}

unsafe extern "C" fn color_source_priority_get(
    dev: *mut rte_eth_dev,
    id: u32,
    source: rte_mtr_color_in_protocol,
    priority: *mut u32,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, a number to fill or null.
    unsafe {
        done(dev, error, |eswitch, port, _| {
            let source = color_source(source)?;
            let sources = eswitch.meter_color_sources(port, id)?;
            let found = sources.iter().find(|(known, _)| *known == source);
            let (_, found) =
                found.ok_or_else(|| wrong("the meter does not use this protocol; set it first"))?;
            let room = priority.as_mut().ok_or_else(|| wrong("no number to fill; pass one"))?;
            *room = *found;
            Ok(())
        })
    }
}

unsafe extern "C" fn statistics_update(
    dev: *mut rte_eth_dev,
    id: u32,
    mask: u64,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let statistics = MeterStatistics::from_bits_truncate(mask);
        done(dev, error, |eswitch, port, _| eswitch.meter_set_statistics(port, id, statistics))
    }
}

unsafe extern "C" fn statistics_read(
    dev: *mut rte_eth_dev,
    id: u32,
    statistics: *mut rte_mtr_stats,
    mask: *mut u64,
    clear: c_int,
    error: *mut rte_mtr_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, structures to fill or null.
    unsafe {
        done(dev, error, |eswitch, port, _| {
            let MeterStats { passed, dropped, kept } =
                eswitch.meter_statistics(port, id, clear != 0)?;
            if let Some(mask) = mask.as_mut() {
                *mask = kept.bits();
            }
            if let Some(room) = statistics.as_mut() {
                *room = rte_mtr_stats {
                    n_pkts: passed.map(|count| count.packets),
                    n_bytes: passed.map(|count| count.bytes),
                    n_pkts_dropped: dropped.packets,
                    n_bytes_dropped: dropped.bytes,
                };
            }
            Ok(())
        })
    }
}

/// Tells DPDK where the operations are.
///
/// # Safety
/// `ops` may be written.
pub unsafe extern "C" fn operations_get(_dev: *mut rte_eth_dev, ops: *mut c_void) -> c_int {
    // SAFETY: by the caller's promise; the table is static.
    unsafe { ops.cast::<*const rte_mtr_ops>().write(&raw const OPERATIONS) };
    0
}
