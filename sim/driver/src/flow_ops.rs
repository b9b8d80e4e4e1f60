//! The operations of `rte_flow` on a port: the table, and those that are done when they return.

use std::ffi::{c_int, c_void};
use std::fmt::Write as _;
use std::mem::zeroed;
use std::ptr;

use ::rte_flow::{
    ActionKind, EBUSY, EINVAL, ENOTSUP, ErrorKind, FlowError, IndirectHandle, decode_actions,
    decode_rule,
};
use dpdk_sys::{
    FILE, rte_eth_dev, rte_flow, rte_flow_action, rte_flow_action_handle, rte_flow_attr,
    rte_flow_error, rte_flow_indir_action_conf, rte_flow_item, rte_flow_ops, rte_flow_query_age,
    rte_flow_query_count,
};
use sim::eswitch::{AgeState, Count, Id, RuleId, Time};

use crate::device::Switch;
use crate::flow_async as queued;
use crate::flow_error::{Arrays, number};
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
    get_aged_flows: Some(get_aged_flows),
    action_handle_create: Some(action_handle_create),
    action_handle_destroy: Some(action_handle_destroy),
    action_handle_update: Some(action_handle_update),
    action_handle_query: Some(action_handle_query),
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
    async_action_handle_create: Some(queued::action_handle_create),
    async_action_handle_destroy: Some(queued::action_handle_destroy),
    async_action_handle_update: Some(queued::action_handle_update),
    async_action_handle_query: Some(queued::action_handle_query),
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
                private.device().with_switch(|switch, now| switch.eswitch.create(port, &rule, now))
            });
        let result = result.map(|created| {
            private.device().wait(created.done);
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

/// What a query answers.
pub enum Answer {
    /// COUNT.
    Count(Count),
    /// AGE.
    Age(AgeState),
}

fn cannot_query() -> FlowError {
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
unsafe fn wants_reset(data: *const c_void) -> Result<bool, FlowError> {
    // SAFETY: by the caller's promise.
    let query = unsafe { data.cast::<rte_flow_query_count>().as_ref() };
    query.map(|query| query.reset() != 0).ok_or_else(no_data)
}

impl Answer {
    /// Fills the caller's structure.
    ///
    /// # Safety
    /// `data` is null or the structure of the kind.
    unsafe fn write(self, data: *mut c_void) -> Result<(), FlowError> {
        match self {
            Self::Count(count) => {
                // SAFETY: by the caller's promise.
                let query = unsafe { data.cast::<rte_flow_query_count>().as_mut() };
                let query = query.ok_or_else(no_data)?;
                query.set_hits_set(1);
                query.set_bytes_set(1);
                query.hits = count.packets;
                query.bytes = count.bytes;
            }
            Self::Age(age) => {
                // SAFETY: by the caller's promise.
                let query = unsafe { data.cast::<rte_flow_query_age>().as_mut() };
                let query = query.ok_or_else(no_data)?;
                query.set_aged(age.aged.into());
                query.set_sec_since_last_hit_valid(1);
                // The field has 24 bits: half a year.
                query.set_sec_since_last_hit(age.idle.as_secs().min(0x00ff_ffff) as u32);
            }
        }
        Ok(())
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
            let usage = switch.eswitch.usage(now);
            let rules = switch.eswitch.rules_through(port);
            let rules = rules.filter(|(id, _)| wanted.is_none_or(|wanted| wanted == *id));
            let mut text = if wanted.is_none() { format!("{usage}\n") } else { String::new() };
            for (id, rule) in rules {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{:#x}: {rule:?}", id.to_bits());
            }
            text
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

unsafe extern "C" fn get_aged_flows(
    dev: *mut rte_eth_dev,
    contexts: *mut *mut c_void,
    count: u32,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, room for `count` contexts.
    unsafe {
        let (private, port) = called(dev);
        let result = private.device().with_switch(|Switch { eswitch, flow_state, .. }, now| {
            let news = eswitch.aged(port, now)?;
            let waiting = flow_state.aged(port);
            waiting.extend(news.iter().map(|aged| match (aged.context, aged.rule) {
                // By the API: without a context, the rule itself.
                (0, Some(rule)) => rule.to_bits() as usize,
                (context, _) => context,
            }));
            if count == 0 || contexts.is_null() {
                return Ok(waiting.len());
            }
            let fetched = waiting.len().min(count as usize);
            for (index, context) in waiting.drain(..fetched).enumerate() {
                contexts.add(index).write(ptr::with_exposed_provenance_mut(context));
            }
            Ok(fetched)
        });
        match result {
            Ok(number) => c_int::try_from(number).unwrap_or(c_int::MAX),
            Err(refusal) => Arrays::NONE.report(error, &refusal),
        }
    }
}

/// Makes the shared action that is described by the first of an array.
///
/// # Safety
/// `action` is null or an action with the configuration that its type asks.
pub unsafe fn make_shared(
    switch: &mut Switch,
    port: u16,
    action: *const rte_flow_action,
    now: Time,
) -> Result<u64, FlowError> {
    let none = || FlowError::action(0, ErrorKind::ActionNumber, EINVAL, "there is no action");
    // SAFETY: by the caller's promise; the END behind the one action is added here.
    let action = unsafe {
        let first = action.as_ref().ok_or_else(none)?;
        let list = [*first, zeroed::<rte_flow_action>()];
        decode_actions(list.as_ptr())?
    };
    let action = action.first().ok_or_else(none)?;
    switch.eswitch.indirect_create(port, action, now).map(|handle| handle.0 as u64)
}

/// The name of a shared action.
pub fn shared(handle: *const rte_flow_action_handle) -> IndirectHandle {
    IndirectHandle(handle.addr())
}

/// Asks a shared action.
///
/// # Safety
/// `data` is null or the structure of the action's kind.
pub unsafe fn query_shared(
    Switch { eswitch, .. }: &mut Switch,
    port: u16,
    handle: IndirectHandle,
    data: *mut c_void,
    now: Time,
) -> Result<(), FlowError> {
    // SAFETY: by the caller's promise.
    unsafe {
        let answer = match eswitch.indirect_kind(port, handle)? {
            ActionKind::Count => {
                let reset = wants_reset(data)?;
                Answer::Count(eswitch.indirect_query_count(port, handle, reset, now)?)
            }
            ActionKind::Age => Answer::Age(eswitch.indirect_query_age(port, handle, now)?),
            _ => return Err(cannot_query()),
        };
        answer.write(data)
    }
}

/// What updating any shared action answers: the modelled cards update meters, connections and RSS, none of which they share here.
pub fn no_update() -> FlowError {
    let message = "this indirect action cannot be updated; make another one";
    FlowError::other(ErrorKind::Action, ENOTSUP, message)
}

unsafe extern "C" fn action_handle_create(
    dev: *mut rte_eth_dev,
    _conf: *const rte_flow_indir_action_conf,
    action: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> *mut rte_flow_action_handle {
    // SAFETY: DPDK passes ethdevs of ours; the application, an action as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result =
            private.device().with_switch(|switch, now| make_shared(switch, port, action, now));
        Arrays::actions(ptr::null::<c_void>(), action).handle(error, result)
    }
}

unsafe extern "C" fn action_handle_destroy(
    dev: *mut rte_eth_dev,
    handle: *mut rte_flow_action_handle,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let (private, port) = called(dev);
        let result = private
            .device()
            .with_switch(|switch, now| switch.eswitch.indirect_destroy(port, shared(handle), now));
        Arrays::NONE.status(error, result)
    }
}

unsafe extern "C" fn action_handle_update(
    _dev: *mut rte_eth_dev,
    _handle: *mut rte_flow_action_handle,
    _update: *const c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes the application's structure or null.
    unsafe { Arrays::NONE.report(error, &no_update()) }
}

unsafe extern "C" fn action_handle_query(
    dev: *mut rte_eth_dev,
    handle: *const rte_flow_action_handle,
    data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, the structure of the action's kind.
    unsafe {
        let (private, port) = called(dev);
        let result = private
            .device()
            .with_switch(|switch, now| query_shared(switch, port, shared(handle), data, now));
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
