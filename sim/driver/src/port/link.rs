//! The state of a port's link, and the event when it changes.

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys::{
    RTE_ETH_EVENT_INTR_LSC, RTE_ETH_LINK_AUTONEG, RTE_ETH_LINK_DOWN, RTE_ETH_LINK_FULL_DUPLEX,
    RTE_ETH_LINK_UP, RTE_ETH_SPEED_NUM_200G, rte_eal_alarm_cancel, rte_eal_alarm_set, rte_eth_dev,
    rte_eth_dev_callback_process, rte_eth_link,
};

use super::{switch_port, wants_link_events};
use crate::log;

/// How often a port's link is looked at for its application, in microseconds.
const INTERVAL: u64 = 20_000;

/// Whether an ethdev is started and its link up.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn is_up(dev: *mut rte_eth_dev) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { switch_port(dev) }
        .is_some_and(|port| port.software.started.load(Ordering::Acquire) && port.link_is_up())
}

pub unsafe extern "C" fn link_update(dev: *mut rte_eth_dev, _wait: c_int) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        store_link(dev, is_up(dev));
    }
    0
}

/// Writes the link's state in one piece, because other threads read it.
///
/// # Safety
/// `dev` is an ethdev of ours.
pub unsafe fn store_link(dev: *mut rte_eth_dev, up: bool) {
    // SAFETY: all zero is a value of the structure.
    let mut link: rte_eth_link = unsafe { zeroed() };
    link.link_speed = RTE_ETH_SPEED_NUM_200G;
    link.set_link_duplex(RTE_ETH_LINK_FULL_DUPLEX as u16);
    link.set_link_autoneg(RTE_ETH_LINK_AUTONEG as u16);
    link.set_link_status(if up { RTE_ETH_LINK_UP } else { RTE_ETH_LINK_DOWN } as u16);
    // SAFETY: the structure has the size and alignment of 64 bits, which DPDK itself accesses atomically.
    unsafe {
        let bits: u64 = std::mem::transmute(link);
        AtomicU64::from_ptr((&raw mut (*(*dev).data).dev_link).cast())
            .store(bits, Ordering::SeqCst);
    }
}

/// The state that was stored last.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn stored_up(dev: *mut rte_eth_dev) -> bool {
    // SAFETY: as in `store_link`; every bit pattern is a value of the structure.
    let link: rte_eth_link = unsafe {
        let place = AtomicU64::from_ptr((&raw mut (*(*dev).data).dev_link).cast());
        std::mem::transmute(place.load(Ordering::SeqCst))
    };
    u32::from(link.link_status()) == RTE_ETH_LINK_UP
}

pub unsafe extern "C" fn set_link_up(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { set_link(dev, true) }
}

pub unsafe extern "C" fn set_link_down(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { set_link(dev, false) }
}

unsafe fn set_link(dev: *mut rte_eth_dev, up: bool) -> c_int {
    // SAFETY: as our callers promise.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        port.connect(up);
        link_update(dev, 0)
    }
}

/// Begins to look at a link, for an application that asked to be told.
///
/// # Safety
/// `dev` is an ethdev of ours, started.
pub unsafe fn watch(dev: *mut rte_eth_dev) {
    // SAFETY: by the caller's promise; `unwatch` comes before the ethdev goes.
    unsafe {
        if wants_link_events(dev)
            && rte_eal_alarm_set(INTERVAL, Some(look), dev.cast::<c_void>()) != 0
        {
            log::error(&"EAL has no alarm left; changes of the link are not reported");
        }
    }
}

/// Ends looking at a link; when this returns, nobody looks any more.
///
/// # Safety
/// `dev` is an ethdev of ours, marked as stopped.
pub unsafe fn unwatch(dev: *mut rte_eth_dev) {
    // SAFETY: by the caller's promise.
    unsafe { rte_eal_alarm_cancel(Some(look), dev.cast::<c_void>()) };
}

/// Looks at a link and tells the application when it changed.
unsafe extern "C" fn look(dev: *mut c_void) {
    let dev = dev.cast::<rte_eth_dev>();
    // SAFETY: `unwatch` comes before the ethdev goes.
    unsafe {
        let up = is_up(dev);
        if up != stored_up(dev) {
            store_link(dev, up);
            rte_eth_dev_callback_process(dev, RTE_ETH_EVENT_INTR_LSC, ptr::null_mut());
        }
        if switch_port(dev).is_some_and(|port| port.software.started.load(Ordering::Acquire)) {
            watch(dev);
        }
    }
}
