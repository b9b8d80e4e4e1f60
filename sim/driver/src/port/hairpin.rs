//! Hairpin queues: what rules send to one leaves through another port, or the same, as if software had sent it there.

use std::ffi::c_int;
use std::mem::zeroed;

use dpdk_sys::{rte_eth_dev, rte_eth_hairpin_cap, rte_eth_hairpin_conf};

use super::{MAX_DESCRIPTORS, PortPrivate, switch_port};
use crate::log;
use crate::software::{MAX_QUEUES, QueueIndex};

pub unsafe extern "C" fn capability_get(
    _dev: *mut rte_eth_dev,
    capability: *mut rte_eth_hairpin_cap,
) -> c_int {
    // SAFETY: DPDK passes a structure to fill, of numbers.
    unsafe {
        *capability = rte_eth_hairpin_cap {
            max_nb_queues: MAX_QUEUES,
            max_rx_2_tx: MAX_QUEUES,
            max_tx_2_rx: 1,
            max_nb_desc: MAX_DESCRIPTORS,
            ..zeroed()
        };
    }
    0
}

/// The port at the other end; what of a configuration is not there is refused.
///
/// # Safety
/// `conf` is a configuration with one peer.
unsafe fn peer(conf: *const rte_eth_hairpin_conf) -> Result<u16, c_int> {
    // SAFETY: by the caller's promise.
    let conf = unsafe { &*conf };
    if conf.manual_bind() != 0 || conf.tx_explicit() != 0 {
        log::error(
            &"hairpin queues are bound by themselves, and need no rule to leave; ask for neither",
        );
        return Err(-libc::ENOTSUP);
    }
    conf.peers.first().map(|peer| peer.port).ok_or(-libc::EINVAL)
}

pub unsafe extern "C" fn receive_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    _descriptors: u16,
    conf: *const rte_eth_hairpin_conf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, a queue within what was configured, and as many peers as the capability allows.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        match peer(conf) {
            Ok(peer) if PortPrivate::of(dev).device().has_ethdev(peer) => {
                port.software.set_hairpin(QueueIndex(queue), Some(peer));
                0
            }
            Ok(peer) => {
                log::error(&format_args!(
                    "port {peer} is of another card; name one of this card's"
                ));
                -libc::EINVAL
            }
            Err(errno) => errno,
        }
    }
}

pub unsafe extern "C" fn transmit_setup(
    _dev: *mut rte_eth_dev,
    _queue: u16,
    _descriptors: u16,
    conf: *const rte_eth_hairpin_conf,
) -> c_int {
    // What comes here is sent by the receiving end.
    // SAFETY: DPDK passes as many peers as the capability allows.
    unsafe { peer(conf) }.map_or_else(|errno| errno, |_| 0)
}
