//! Shared actions (`rte_flow_action_handle_*`), at once and through queues. They are there at once; results wait for a push.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr;
use std::time::Duration;

use ::rte_flow::{
    Action, ActionKind, AgeUpdate, ConnectionUpdate, DecodeReason, EINVAL, ENOTSUP, ErrorKind,
    FlowError, IndirectHandle, MeterMarkUpdate, decode_actions,
};
use dpdk_sys::{
    rte_eth_dev, rte_flow_action, rte_flow_action_handle, rte_flow_error,
    rte_flow_indir_action_conf, rte_flow_op_attr,
};
use sim::eswitch::{Completion, Enqueue, IndirectUpdate, Time};

use crate::device::Switch;
use crate::flow_answer::{Answer, wants_reset};
use crate::flow_async::enqueue;
use crate::flow_error::Arrays;
use crate::flow_ops::called;

/// The first action of an array.
///
/// # Safety
/// `action` is null or an action with the configuration that its type asks.
unsafe fn first(action: *const rte_flow_action) -> Result<Action, FlowError> {
    let none = || FlowError::action(0, ErrorKind::ActionNumber, EINVAL, "there is no action");
    // SAFETY: by the caller's promise; the END behind the one action is added here.
    let actions = unsafe {
        let list = [*action.as_ref().ok_or_else(none)?, zeroed::<rte_flow_action>()];
        decode_actions(list.as_ptr())?
    };
    actions.into_iter().next().ok_or_else(none)
}

/// The name of a shared action.
fn named(handle: *const rte_flow_action_handle) -> IndirectHandle {
    IndirectHandle(handle.addr())
}

/// Reads what changes of an action of this kind.
///
/// # Safety
/// `update` is null or the structure that updates of the kind have.
unsafe fn read_update(
    kind: ActionKind,
    update: *const c_void,
) -> Result<IndirectUpdate, FlowError> {
    let wrong =
        |reason: DecodeReason| FlowError::other(ErrorKind::ActionConf, EINVAL, reason.to_string());
    // SAFETY: by the caller's promise.
    unsafe {
        Ok(match kind {
            ActionKind::Age => {
                let AgeUpdate { timeout, touch } =
                    AgeUpdate::decode(update.cast()).map_err(wrong)?;
                let timeout = timeout.map(|seconds| Duration::from_secs(seconds.get().into()));
                IndirectUpdate::Age { timeout, touch }
            }
            ActionKind::Conntrack => {
                IndirectUpdate::Connection(ConnectionUpdate::decode(update.cast()).map_err(wrong)?)
            }
            ActionKind::MeterMark => {
                IndirectUpdate::Meter(MeterMarkUpdate::decode(update.cast()).map_err(wrong)?)
            }
            ActionKind::Rss => match first(update.cast())? {
                Action::Rss(rss) => IndirectUpdate::Queues(rss.queues),
                other => {
                    let message = format!("an RSS is updated by {}; pass an RSS", other.kind());
                    return Err(FlowError::other(ErrorKind::Action, EINVAL, message));
                }
            },
            kind => {
                let message = format!("an indirect {kind} cannot be updated; make another one");
                return Err(FlowError::other(ErrorKind::Action, ENOTSUP, message));
            }
        })
    }
}

impl Switch {
    /// Makes the shared action that is described by the first of an array.
    ///
    /// # Safety
    /// As for [`first`].
    unsafe fn make_shared(
        &mut self,
        port: u16,
        action: *const rte_flow_action,
        queue: Option<u32>,
        now: Time,
    ) -> Result<u64, FlowError> {
        // SAFETY: by the caller's promise.
        let action = unsafe { first(action) }?;
        let handle = self.eswitch.indirect_create(port, &action, queue, now)?;
        Ok(handle.0 as u64)
    }

    /// Changes a shared action.
    ///
    /// # Safety
    /// `update` is null or the structure that updates of the action's kind have.
    unsafe fn update_shared(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        update: *const c_void,
        now: Time,
    ) -> Result<(), FlowError> {
        let kind = self.eswitch.indirect_kind(port, handle)?;
        // SAFETY: by the caller's promise.
        let update = unsafe { read_update(kind, update) }?;
        self.eswitch.indirect_update(port, handle, &update, now)
    }

    /// Asks a shared action.
    ///
    /// # Safety
    /// `data` is null or the structure of the action's kind.
    unsafe fn query_shared(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        data: *mut c_void,
        now: Time,
    ) -> Result<(), FlowError> {
        // SAFETY: by the caller's promise.
        unsafe {
            let is_count = self.eswitch.indirect_kind(port, handle)? == ActionKind::Count;
            let reset = is_count && wants_reset(data)?;
            let state = self.eswitch.indirect_query(port, handle, reset, now)?;
            Answer::Shared(state).write(data)
        }
    }

    /// Lets the success of an operation wait to be pulled.
    fn complete(&mut self, port: u16, how: Enqueue, now: Time) -> Result<(), FlowError> {
        let at = now + self.eswitch.faults().completion_delay;
        let completion = Completion { user_data: how.user_data, result: Ok(()) };
        if !how.postpone {
            self.flow_state.push(port, how.queue, at);
        }
        self.flow_state.complete(port, how.queue, (!how.postpone).then_some(at), completion)
    }

    /// Hands the results of operations on shared actions on, with an operation on a rule that does not wait for a push.
    pub fn push_shared(&mut self, port: u16, queue: u32, now: Time) {
        let at = now + self.eswitch.faults().completion_delay;
        self.flow_state.push(port, queue, at);
    }
}

pub unsafe extern "C" fn create(
    dev: *mut rte_eth_dev,
    _conf: *const rte_flow_indir_action_conf,
    action: *const rte_flow_action,
    error: *mut rte_flow_error,
) -> *mut rte_flow_action_handle {
    // SAFETY: DPDK passes ethdevs of ours; the application, an action as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let result =
            private.device().with_switch(|switch, now| switch.make_shared(port, action, None, now));
        Arrays::actions(ptr::null::<c_void>(), action).handle(error, result)
    }
}

/// Does an operation on a shared action at once.
///
/// # Safety
/// `dev` is an ethdev of ours; `error` is null or may be written.
unsafe fn done(
    dev: *mut rte_eth_dev,
    error: *mut rte_flow_error,
    operation: impl FnOnce(&mut Switch, u16, Time) -> Result<(), FlowError>,
) -> c_int {
    // SAFETY: by the caller's promises.
    unsafe {
        let (private, port) = called(dev);
        let result = private.device().with_switch(|switch, now| operation(switch, port, now));
        Arrays::NONE.status(error, result)
    }
}

pub unsafe extern "C" fn destroy(
    dev: *mut rte_eth_dev,
    handle: *mut rte_flow_action_handle,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        done(dev, error, |switch, port, now| {
            switch.eswitch.indirect_destroy(port, named(handle), now)
        })
    }
}

pub unsafe extern "C" fn update(
    dev: *mut rte_eth_dev,
    handle: *mut rte_flow_action_handle,
    update: *const c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, the structure of the action's kind.
    unsafe {
        done(dev, error, |switch, port, now| switch.update_shared(port, named(handle), update, now))
    }
}

pub unsafe extern "C" fn query(
    dev: *mut rte_eth_dev,
    handle: *const rte_flow_action_handle,
    data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, the structure of the action's kind.
    unsafe {
        done(dev, error, |switch, port, now| switch.query_shared(port, named(handle), data, now))
    }
}

pub unsafe extern "C" fn enqueue_create(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    _conf: *const rte_flow_indir_action_conf,
    action: *const rte_flow_action,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> *mut rte_flow_action_handle {
    // SAFETY: DPDK passes ethdevs of ours; the application, an action as the API asks.
    unsafe {
        let (private, port) = called(dev);
        let how = enqueue(queue, attr, user_data);
        let result = private.device().with_switch(|switch, now| {
            switch.flow_state.has_queue(port, queue)?;
            let handle = switch.make_shared(port, action, Some(queue), now)?;
            switch.complete(port, how, now)?;
            Ok(handle)
        });
        Arrays::actions(ptr::null::<c_void>(), action).handle(error, result)
    }
}

/// Does an operation on a shared action and enqueues its success; a refusal is told at once.
///
/// # Safety
/// `dev` is an ethdev of ours; `attr` is null or valid; `error` is null or may be written.
unsafe fn enqueued(
    dev: *mut rte_eth_dev,
    (queue, attr, user_data): (u32, *const rte_flow_op_attr, *mut c_void),
    error: *mut rte_flow_error,
    operation: impl FnOnce(&mut Switch, u16, Time) -> Result<(), FlowError>,
) -> c_int {
    // SAFETY: by the caller's promises.
    unsafe {
        let how = enqueue(queue, attr, user_data);
        done(dev, error, |switch, port, now| {
            switch.flow_state.has_queue(port, queue)?;
            operation(switch, port, now)?;
            switch.complete(port, how, now)
        })
    }
}

pub unsafe extern "C" fn enqueue_destroy(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    handle: *mut rte_flow_action_handle,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        enqueued(dev, (queue, attr, user_data), error, |switch, port, now| {
            switch.eswitch.indirect_destroy(port, named(handle), now)
        })
    }
}

pub unsafe extern "C" fn enqueue_update(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    handle: *mut rte_flow_action_handle,
    update: *const c_void,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, the structure of the action's kind.
    unsafe {
        enqueued(dev, (queue, attr, user_data), error, |switch, port, now| {
            switch.update_shared(port, named(handle), update, now)
        })
    }
}

pub unsafe extern "C" fn enqueue_query(
    dev: *mut rte_eth_dev,
    queue: u32,
    attr: *const rte_flow_op_attr,
    handle: *const rte_flow_action_handle,
    data: *mut c_void,
    user_data: *mut c_void,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, the structure of the action's kind.
    unsafe {
        enqueued(dev, (queue, attr, user_data), error, |switch, port, now| {
            switch.query_shared(port, named(handle), data, now)
        })
    }
}
