//! The operations of `rte_flow` on a port: the table, and those that are done when they return.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr;

use ::rte_flow::{ActionKind, EBUSY, ErrorKind, FlowError, decode_rule};
use dpdk_sys::{
    FILE, rte_eth_dev, rte_flow, rte_flow_action, rte_flow_attr, rte_flow_error, rte_flow_item,
    rte_flow_ops,
};
use sim::eswitch::{Id, RuleId};

use crate::device::Switch;
use crate::flow_aged as aged;
use crate::flow_answer::{Answer, cannot_query, wants_reset};
use crate::flow_async as queued;
use crate::flow_error::{Arrays, number};
use crate::flow_shared as shared;
use crate::port::PortPrivate;

/// The operations of every port.
///
/// All that `rte_flow_async_*` calls are there: DPDK does not check those for null.
pub static OPERATIONS: rte_flow_ops = rte_flow_ops {
    validate: Some(validate),
    create: Some(create),
    destroy: Some(destroy),
    flush: Some(flush),
    query: Some(query),
    isolate: Some(isolate),
    dev_dump: Some(dev_dump),
    get_aged_flows: Some(aged::get_aged_flows),
    get_q_aged_flows: Some(aged::get_queue_aged_flows),
    action_handle_create: Some(shared::create),
    action_handle_destroy: Some(shared::destroy),
    action_handle_update: Some(shared::update),
    action_handle_query: Some(shared::query),
    pick_transfer_proxy: Some(pick_transfer_proxy),
    info_get: Some(queued::info_get),
    configure: Some(queued::configure),
    pattern_template_create: Some(queued::pattern_template_create),
    pattern_template_destroy: Some(queued::pattern_template_destroy),
    actions_template_create: Some(queued::actions_template_create),
    actions_template_destroy: Some(queued::actions_template_destroy),
    template_table_create: Some(queued::template_table_create),
    template_table_destroy: Some(queued::template_table_destroy),
    async_create: Some(queued::create),
    async_destroy: Some(queued::destroy),
    push: Some(queued::push),
    pull: Some(queued::pull),
    async_action_handle_create: Some(shared::enqueue_create),
    async_action_handle_destroy: Some(shared::enqueue_destroy),
    async_action_handle_update: Some(shared::enqueue_update),
    async_action_handle_query: Some(shared::enqueue_query),
    // SAFETY: the table consists of optional function pointers, for which all zero means none.
    ..unsafe { zeroed() }
};

/// The port that a call is about: its private data and the number by which the eswitch knows it.
///
/// # Safety
/// `dev` is an ethdev of ours.
pub unsafe fn called<'a>(dev: *mut rte_eth_dev) -> (&'a PortPrivate, u16) {
    // SAFETY: by the caller's promise.
    unsafe { (PortPrivate::of(dev), (*(*dev).data).port_id) }
}

unsafe extern "C" fn validate(
    dev: *mut rte_eth_dev,
    attr: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result =
            decode_rule(attr, pattern, actions).map_err(FlowError::from).and_then(|rule| {
                private.device().with_switch(|switch, _| switch.eswitch.validate(port, &rule))
            });
        Arrays::rule(attr, pattern, actions).status(error, result)
    }
}

unsafe extern "C" fn create(
    dev: *mut rte_eth_dev,
    attr: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> *mut rte_flow {
    // SAFETY: DPDK passes ethdevs of ours, and the application's arrays as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result =
            decode_rule(attr, pattern, actions).map_err(FlowError::from).and_then(|rule| {
                private.device().with_switch(|switch, now| {
                    switch.eswitch.create(port, &rule, now).map(|created| (created, now))
                })
            });
        let result = result.map(|(created, now)| {
            // Without a card's pace nothing is to be waited for, nor a clock to be asked.
            if created.done > now {
                private.device().wait(created.done);
            }
            created.rule.to_bits()
        });
        Arrays::rule(attr, pattern, actions).handle(error, result)
    }
}

/// The rule of a handle, of which the eswitch will say whether there is one.
fn rule(flow: *const rte_flow) -> RuleId {
    Id::from_bits(number(flow))
}

unsafe extern "C" fn destroy(
    dev: *mut rte_eth_dev,
    flow: *mut rte_flow,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let result = private
            .device()
            .with_switch(|switch, now| switch.eswitch.destroy(port, rule(flow), now));
        Arrays::NONE.status(error, result.map(|done| private.device().wait(done)))
    }
}

unsafe extern "C" fn flush(dev: *mut rte_eth_dev, error: *mut rte_flow_error) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let result = private.device().with_switch(|switch, now| switch.eswitch.flush(port, now));
        Arrays::NONE.status(error, result.map(|done| private.device().wait(done)))
    }
}

unsafe extern "C" fn query(
    dev: *mut rte_eth_dev,
    flow: *mut rte_flow,
    action: *const rte_flow_action,
    data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, an action and the structure of its kind.
    unsafe {
        let (private, port) = called(dev);
        let kind = action.as_ref().and_then(|action| ActionKind::from_number(action.type_));
        let result = private.device().with_switch(|Switch { eswitch, .. }, now| match kind {
            Some(ActionKind::Count) => {
                let reset = wants_reset(data)?;
                eswitch.query_count(port, rule(flow), reset, now).map(Answer::Count)
            }
            Some(ActionKind::Age) => eswitch.query_age(port, rule(flow), now).map(Answer::Age),
            _ => Err(cannot_query()),
        });
        Arrays::actions(ptr::null::<c_void>(), action)
            .status(error, result.and_then(|answer| answer.write(data)))
    }
}

unsafe extern "C" fn isolate(
    dev: *mut rte_eth_dev,
    set: c_int,
    error: *mut rte_flow_error,
) -> c_int {
    use std::sync::atomic::Ordering;
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, _) = called(dev);
        let result = match private.device().port(private.index) {
            Some(port) if !port.software.started.load(Ordering::Acquire) => {
                port.software.change_filter(|filter| filter.isolated = set != 0);
                Ok(())
            }
            _ => {
                let message = "stop the port before changing its isolated mode";
                Err(FlowError::other(ErrorKind::Unspecified, EBUSY, message))
            }
        };
        Arrays::NONE.status(error, result)
    }
}

unsafe extern "C" fn dev_dump(
    dev: *mut rte_eth_dev,
    flow: *mut rte_flow,
    file: *mut FILE,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and an open file.
    unsafe {
        let (private, port) = called(dev);
        let wanted = (!flow.is_null()).then(|| rule(flow));
        let text = private.device().with_switch(|switch, now| {
            let rules = switch.eswitch.dump(port, wanted, now);
            if wanted.is_some() { rules } else { format!("{}\n{rules}", switch.eswitch.usage(now)) }
        });
        let written = libc::fwrite(text.as_ptr().cast(), 1, text.len(), file.cast());
        let result = if written == text.len() {
            Ok(())
        } else {
            let message = "the file takes no more; see its disk";
            Err(FlowError::other(ErrorKind::Unspecified, libc::EIO, message))
        };
        Arrays::NONE.status(error, result)
    }
}

unsafe extern "C" fn pick_transfer_proxy(
    dev: *mut rte_eth_dev,
    proxy: *mut u16,
    _error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a number to fill.
    unsafe {
        let (private, _) = called(dev);
        proxy.write(private.device().uplink());
    }
    0
}
