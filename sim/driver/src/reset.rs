//! Resets of the card, and the event that tells the application (`RTE_ETH_EVENT_INTR_RMV`).
//!
//! Both happen on DPDK's interrupt thread, as an alarm: there applications expect events.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use dpdk_sys::{
    RTE_ETH_EVENT_INTR_RMV, RTE_MAX_ETHPORTS, rte_eal_alarm_cancel, rte_eal_alarm_set, rte_eth_dev,
    rte_eth_dev_callback_process, rte_eth_dev_is_valid_port, rte_eth_devices, rte_eth_find_next_of,
};

use crate::port::PortPrivate;

/// How long a reset that was scheduled keeps the card away.
pub const OUTAGE: Duration = Duration::from_millis(100);

/// The argument of an alarm: the uplink's ethdev.
fn argument(uplink: u16) -> *mut c_void {
    ptr::without_provenance_mut(uplink.into())
}

/// An ethdev by its number.
///
/// # Safety
/// `port` is below `RTE_MAX_ETHPORTS`.
unsafe fn ethdev(port: usize) -> *mut rte_eth_dev {
    // SAFETY: the array, whose length the header does not say, has as many entries.
    unsafe { (&raw mut rte_eth_devices).cast::<rte_eth_dev>().add(port) }
}

/// Tells the application, from another thread than this one, that the ports of the card are gone.
pub fn announce(uplink: u16) {
    // SAFETY: the function is static, and its argument a number.
    unsafe { rte_eal_alarm_set(1, Some(on_announcement), argument(uplink)) };
}

/// Resets the card by itself after a time, and announces that.
pub fn schedule(uplink: u16, after: Duration) {
    let microseconds = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).max(1);
    // SAFETY: as above.
    unsafe { rte_eal_alarm_set(microseconds, Some(on_schedule), argument(uplink)) };
}

/// Cancels what is planned for a port that closes.
pub fn forget(uplink: u16) {
    // SAFETY: cancelling what is not there does nothing. An alarm that runs is waited for, unless it is the caller.
    unsafe {
        rte_eal_alarm_cancel(Some(on_announcement), argument(uplink));
        rte_eal_alarm_cancel(Some(on_schedule), argument(uplink));
    }
}

unsafe extern "C" fn on_schedule(argument: *mut c_void) {
    // SAFETY: the alarm is cancelled before the port closes, so it is there, and one of ours.
    let private = unsafe { PortPrivate::of(ethdev(argument.addr())) };
    private.device().reset(OUTAGE);
    // SAFETY: the same argument.
    unsafe { on_announcement(argument) };
}

unsafe extern "C" fn on_announcement(argument: *mut c_void) {
    let uplink = argument.addr();
    let mut ports = Vec::new();
    // SAFETY: the alarm is cancelled before the uplink closes, so it and its device are there.
    unsafe {
        let device = (*ethdev(uplink)).device;
        let mut next = 0;
        loop {
            let port = rte_eth_find_next_of(next, device);
            if u32::from(port) >= RTE_MAX_ETHPORTS {
                break;
            }
            ports.push(port);
            next = port + 1;
        }
    }
    for port in ports {
        // SAFETY: the application may have closed the port when it heard of another one.
        unsafe {
            let dev = ethdev(port.into());
            let is_there = rte_eth_dev_is_valid_port(port) != 0;
            // As drivers do it: whoever has not asked for the event is not told.
            if is_there && (*(*dev).data).dev_conf.intr_conf.rmv() != 0 {
                rte_eth_dev_callback_process(dev, RTE_ETH_EVENT_INTR_RMV, ptr::null_mut());
            }
        }
    }
}
