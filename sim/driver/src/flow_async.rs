//! The operations of `rte_flow` that work through templates and queues: enqueued here, done when their result is pulled.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use ::rte_flow::{
    ActionKind, EINVAL, ENOTSUP, ErrorKind, FlowError, ItemsOf, Profile, decode_actions,
    decode_actions_template, decode_items, decode_pattern_template, decode_table,
};
use dpdk_sys::{
    RTE_FLOW_OP_ERROR, RTE_FLOW_OP_SUCCESS, RTE_FLOW_PORT_FLAG_STRICT_QUEUE, rte_eth_dev, rte_flow,
    rte_flow_action, rte_flow_actions_template, rte_flow_actions_template_attr, rte_flow_error,
    rte_flow_item, rte_flow_op_attr, rte_flow_op_result, rte_flow_pattern_template,
    rte_flow_pattern_template_attr, rte_flow_port_attr, rte_flow_port_info, rte_flow_queue_attr,
    rte_flow_queue_info, rte_flow_template_table, rte_flow_template_table_attr,
};
use sim::eswitch::{Enqueue, FlowConfig, Id, TableRule};

use crate::device::Switch;
use crate::flow_error::{Arrays, number};
use crate::flow_ops::called;
use crate::flow_state::AgeScope;

fn refuse(errno: i32, message: &'static str) -> FlowError {
    FlowError::other(ErrorKind::Unspecified, errno, message)
}

/// What a port of a card can have at most.
fn limits(profile: &Profile) -> rte_flow_port_info {
    let most = |limit: Option<u64>| {
        limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
    };
    let of = |kind, limit| if profile.knows(kind) { most(limit) } else { 0 };
    rte_flow_port_info {
        // As mlx5 says it: number and size of queues are a matter of memory alone.
        max_nb_queues: u32::MAX,
        max_nb_counters: most(profile.limits.counters),
        max_nb_aging_objects: most(profile.limits.counters),
        max_nb_meters: of(ActionKind::MeterMark, profile.limits.meters),
        max_nb_conn_tracks: of(ActionKind::Conntrack, profile.limits.conntracks),
        supported_flags: RTE_FLOW_PORT_FLAG_STRICT_QUEUE,
    }
}

pub unsafe extern "C" fn info_get(
    dev: *mut rte_eth_dev,
    port_info: *mut rte_flow_port_info,
    queue_info: *mut rte_flow_queue_info,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, and structures to fill or null.
    unsafe {
        let (private, _) = called(dev);
        let result = private.device().with_switch(|switch, _| {
            let profile = switch.eswitch.profile();
            if !profile.interface.templates {
                return Err(refuse(
                    ENOTSUP,
                    "incorrect steering mode: there are no queues; use rte_flow_create",
                ));
            }
            if let Some(info) = port_info.as_mut() {
                *info = limits(profile);
            }
            if let Some(info) = queue_info.as_mut() {
                info.max_size = u32::MAX;
            }
            Ok(())
        });
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn configure(
    dev: *mut rte_eth_dev,
    port_attr: *const rte_flow_port_attr,
    count: u16,
    queue_attr: *mut *const rte_flow_queue_attr,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, and as many queue attributes as it says.
    unsafe {
        let (private, port) = called(dev);
        let queues = (0..usize::from(count)).map(|index| (*queue_attr.add(index)).as_ref());
        let sizes: Option<Vec<u32>> = queues.map(|queue| Some(queue?.size)).collect();
        let Some(sizes) = sizes else {
            let refusal = refuse(EINVAL, "a queue has a null pointer; give each its attributes");
            return Arrays::NONE.report(error, &refusal);
        };
        let wanted = &*port_attr;
        let scope = match wanted.flags {
            0 => Some(AgeScope::Port),
            RTE_FLOW_PORT_FLAG_STRICT_QUEUE => Some(AgeScope::Queue),
            _ => None,
        };
        let Some(scope) = scope else {
            let refusal = refuse(ENOTSUP, "of the flags there is STRICT_QUEUE; clear the others");
            return Arrays::NONE.report(error, &refusal);
        };
        let result = private.device().with_switch(|Switch { eswitch, flow_state, .. }, _| {
            let most = limits(eswitch.profile());
            if wanted.nb_meters > most.max_nb_meters
                || wanted.nb_conn_tracks > most.max_nb_conn_tracks
                || wanted.nb_counters > most.max_nb_counters
                || wanted.nb_aging_objects > most.max_nb_aging_objects
            {
                let message = "the port has fewer objects, as info_get says; ask for fewer";
                return Err(refuse(EINVAL, message));
            }
            let config = FlowConfig {
                queues: sizes,
                counters: wanted.nb_counters,
                ages: wanted.nb_aging_objects,
                meters: wanted.nb_meters,
                connections: wanted.nb_conn_tracks,
                strict_queues: scope == AgeScope::Queue,
            };
            eswitch.configure(port, &config)?;
            flow_state.configure(port, count.into(), scope);
            Ok(())
        });
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn pattern_template_create(
    dev: *mut rte_eth_dev,
    attr: *const rte_flow_pattern_template_attr,
    pattern: *const rte_flow_item,
    error: *mut rte_flow_error,
) -> *mut rte_flow_pattern_template {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result = decode_pattern_template(attr, pattern).map_err(FlowError::from);
        let result = result.and_then(|template| {
            private.device().with_switch(|switch, _| {
                switch.eswitch.pattern_template_create(port, template).map(Id::to_bits)
            })
        });
        Arrays::pattern(attr, pattern).handle(error, result)
    }
}

pub unsafe extern "C" fn pattern_template_destroy(
    dev: *mut rte_eth_dev,
    template: *mut rte_flow_pattern_template,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let id = Id::from_bits(number(template));
        let result = private
            .device()
            .with_switch(|switch, _| switch.eswitch.pattern_template_destroy(port, id));
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn actions_template_create(
    dev: *mut rte_eth_dev,
    attr: *const rte_flow_actions_template_attr,
    actions: *const rte_flow_action,
    masks: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> *mut rte_flow_actions_template {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result = decode_actions_template(attr, actions, masks).map_err(FlowError::from);
        let result = result.and_then(|template| {
            private.device().with_switch(|switch, _| {
                switch.eswitch.actions_template_create(port, template).map(Id::to_bits)
            })
        });
        Arrays::actions(attr, actions).handle(error, result)
    }
}

pub unsafe extern "C" fn actions_template_destroy(
    dev: *mut rte_eth_dev,
    template: *mut rte_flow_actions_template,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let id = Id::from_bits(number(template));
        let result = private
            .device()
            .with_switch(|switch, _| switch.eswitch.actions_template_destroy(port, id));
        Arrays::NONE.status(error, result)
    }
}

/// The names in an array of handles.
///
/// # Safety
/// `handles` is null or has `count` entries.
unsafe fn names<T, U>(handles: *mut *mut T, count: u8) -> Vec<Id<U>> {
    if handles.is_null() {
        return Vec::new();
    }
    // SAFETY: by the caller's promise.
    let handles = unsafe { slice::from_raw_parts(handles, count.into()) };
    handles.iter().map(|handle| Id::from_bits(number(*handle))).collect()
}

pub unsafe extern "C" fn template_table_create(
    dev: *mut rte_eth_dev,
    attr: *const rte_flow_template_table_attr,
    pattern_templates: *mut *mut rte_flow_pattern_template,
    pattern_count: u8,
    actions_templates: *mut *mut rte_flow_actions_template,
    actions_count: u8,
    error: *mut rte_flow_error,
) -> *mut rte_flow_template_table {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as long as it says.
    unsafe {
        let (private, port) = called(dev);
        let patterns = names(pattern_templates, pattern_count);
        let actions = names(actions_templates, actions_count);
        let result = decode_table(attr).map_err(FlowError::from).and_then(|attributes| {
            private.device().with_switch(|switch, _| {
                switch.eswitch.table_create(port, attributes, &patterns, &actions).map(Id::to_bits)
            })
        });
        Arrays::attributes(attr).handle(error, result)
    }
}

pub unsafe extern "C" fn template_table_destroy(
    dev: *mut rte_eth_dev,
    table: *mut rte_flow_template_table,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let id = Id::from_bits(number(table));
        let result =
            private.device().with_switch(|switch, _| switch.eswitch.table_destroy(port, id));
        Arrays::NONE.status(error, result)
    }
}

/// How an operation is enqueued.
///
/// # Safety
/// `attr` is null or valid.
pub unsafe fn enqueue(
    queue: u32,
    attr: *const rte_flow_op_attr,
    user_data: *mut c_void,
) -> Enqueue {
    Enqueue {
        queue,
        // SAFETY: by the caller's promise.
        postpone: unsafe { attr.as_ref() }.is_some_and(|attr| attr.postpone() != 0),
        user_data: user_data.expose_provenance() as u64,
    }
}

pub unsafe extern "C" fn create(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    table: *mut rte_flow_template_table,
    pattern: *const rte_flow_item,
    pattern_template: u8,
    actions: *const rte_flow_action,
    actions_template: u8,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> *mut rte_flow {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let decode = || {
            Ok::<_, FlowError>((decode_items(pattern, ItemsOf::Rule)?, decode_actions(actions)?))
        };
        let result = decode().and_then(|(items, actions)| {
            let new = TableRule {
                table: Id::from_bits(number(table)),
                items: &items,
                pattern_template: pattern_template.into(),
                actions: &actions,
                actions_template: actions_template.into(),
            };
            let how = enqueue(queue, attr, user_data);
            private.device().with_switch(|switch, now| {
                let rule = switch.eswitch.enqueue_create(port, how, new, now)?;
                if !how.postpone {
                    switch.push_shared(port, queue, now);
                }
                Ok(rule.to_bits())
            })
        });
        Arrays::rule(ptr::null(), pattern, actions).handle(error, result)
    }
}

pub unsafe extern "C" fn destroy(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    flow: *mut rte_flow,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let how = enqueue(queue, attr, user_data);
        let rule = Id::from_bits(number(flow));
        let result = private.device().with_switch(|switch, now| {
            switch.eswitch.enqueue_destroy(port, how, rule, now)?;
            if !how.postpone {
                switch.push_shared(port, queue, now);
            }
            Ok(())
        });
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn push(
    dev: *mut rte_eth_dev,
    queue: u32,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let result = private.device().with_switch(|switch, now| {
            switch.eswitch.push(port, queue, now)?;
            switch.push_shared(port, queue, now);
            Ok(())
        });
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn pull(
    dev: *mut rte_eth_dev,
    queue: u32,
    results: *mut rte_flow_op_result,
    count: u16,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, room for `count` results.
    unsafe {
        let (private, port) = called(dev);
        let most = usize::from(count);
        let mut completions = Vec::new();
        let result = private.device().with_switch(|Switch { eswitch, flow_state, .. }, now| {
            if eswitch.frozen_queue() != Some(queue) {
                flow_state.pull(port, queue, most, now, &mut completions);
            }
            let left = most.saturating_sub(completions.len());
            eswitch.pull(port, queue, left, now, &mut completions)
        });
        if let Err(refusal) = result {
            return Arrays::NONE.report(error, &refusal);
        }
        for (index, completion) in completions.iter().enumerate() {
            let status =
                if completion.result.is_ok() { RTE_FLOW_OP_SUCCESS } else { RTE_FLOW_OP_ERROR };
            let user_data = ptr::with_exposed_provenance_mut(completion.user_data as usize);
            results.add(index).write(rte_flow_op_result { status, user_data });
        }
        c_int::try_from(completions.len()).unwrap_or(c_int::MAX)
    }
}
