//! Rules and shared actions that have aged: announced to the application, and fetched by it.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use ::rte_flow::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use dpdk_sys::{
    RTE_ETH_EVENT_FLOW_AGED, rte_eal_alarm_cancel, rte_eal_alarm_set, rte_eth_dev,
    rte_eth_dev_callback_process, rte_flow_error,
};
use sim::eswitch::Time;

use crate::device::Switch;
use crate::flow_error::Arrays;
use crate::flow_ops::called;
use crate::flow_state::AgeScope;
use crate::log;

/// How often it is looked at what has aged, in microseconds. Ages are whole seconds.
const INTERVAL: u64 = 1_000_000;

impl Switch {
    /// Takes up what has aged by now. Says whether the application is to be told.
    fn age(&mut self, port: u16, now: Time) -> Result<bool, FlowError> {
        let news = self.eswitch.aged(port, now)?;
        Ok(self.flow_state.ages(port).take_up(&news))
    }
}

/// Begins to look for what ages at a port.
///
/// # Safety
/// `dev` is an ethdev of ours, started; [`unwatch`] comes before it goes.
pub unsafe fn watch(dev: *mut rte_eth_dev) {
    // SAFETY: by the caller's promise.
    if unsafe { rte_eal_alarm_set(INTERVAL, Some(look), dev.cast::<c_void>()) } != 0 {
        log::error(&"EAL has no alarm left; aged rules are not reported by an event");
    }
}

/// Ends looking; when this returns, nobody looks any more.
///
/// # Safety
/// `dev` is an ethdev of ours, marked as stopped.
pub unsafe fn unwatch(dev: *mut rte_eth_dev) {
    // SAFETY: by the caller's promise.
    unsafe { rte_eal_alarm_cancel(Some(look), dev.cast::<c_void>()) };
}

/// Tells the application when something has aged since it asked last.
unsafe extern "C" fn look(dev: *mut c_void) {
    let dev = dev.cast::<rte_eth_dev>();
    // SAFETY: `unwatch` comes before the ethdev goes.
    unsafe {
        let (private, port) = called(dev);
        let started = private
            .device()
            .port(private.index)
            .is_some_and(|port| port.software.started.load(Ordering::Acquire));
        if !started {
            return;
        }
        if private.device().with_switch(|switch, now| switch.age(port, now)) == Ok(true) {
            rte_eth_dev_callback_process(dev, RTE_ETH_EVENT_FLOW_AGED, ptr::null_mut());
        }
        watch(dev);
    }
}

/// Fetches what has aged: at most `count` contexts, or with 0, how many there are.
///
/// # Safety
/// `dev` is an ethdev of ours; `contexts` has room for `count`; `error` is null or may be written.
unsafe fn fetch(
    dev: *mut rte_eth_dev,
    queue: Option<u32>,
    (contexts, count): (*mut *mut c_void, u32),
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: by the caller's promises.
    unsafe {
        let (private, port) = called(dev);
        let result = private.device().with_switch(|switch, now| {
            if let Some(queue) = queue {
                switch.check_age_queue(port, queue)?;
            }
            switch.age(port, now)?;
            let waiting = switch.flow_state.ages(port).asked(queue.unwrap_or(0));
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

impl Switch {
    /// Whether what has aged can be asked for through a queue. Its number means nothing unless queues are strict.
    fn check_age_queue(&mut self, port: u16, queue: u32) -> Result<(), FlowError> {
        let refuse = |errno, message| Err(FlowError::other(ErrorKind::Unspecified, errno, message));
        if !self.eswitch.profile().interface.templates {
            return refuse(ENOTSUP, "there are no flow queues; use rte_flow_get_aged_flows");
        }
        let is_strict = self.flow_state.ages(port).scope == AgeScope::Queue;
        if is_strict && self.flow_state.has_queue(port, queue).is_err() {
            return refuse(EINVAL, "the port has no such flow queue; configure it first");
        }
        Ok(())
    }
}

pub unsafe extern "C" fn get_aged_flows(
    dev: *mut rte_eth_dev,
    contexts: *mut *mut c_void,
    count: u32,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, room for `count` contexts.
    unsafe { fetch(dev, None, (contexts, count), error) }
}

pub unsafe extern "C" fn get_queue_aged_flows(
    dev: *mut rte_eth_dev,
    queue: u32,
    contexts: *mut *mut c_void,
    count: u32,
    error: *mut rte_flow_error,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; the application, room for `count` contexts.
    unsafe { fetch(dev, Some(queue), (contexts, count), error) }
}
