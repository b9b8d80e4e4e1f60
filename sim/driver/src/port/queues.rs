//! The queues of a port: set up, released, shown.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

use dpdk_sys::{
    RTE_ETH_QUEUE_STATE_HAIRPIN, RTE_ETH_QUEUE_STATE_STARTED, RTE_ETH_QUEUE_STATE_STOPPED,
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM, RTE_ETH_RX_OFFLOAD_SCATTER, RTE_ETH_RX_OFFLOAD_TCP_CKSUM,
    RTE_ETH_RX_OFFLOAD_UDP_CKSUM, RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_GOOD,
    rte_eth_burst_mode, rte_eth_dev, rte_eth_rxconf, rte_eth_rxq_info, rte_eth_txconf,
    rte_eth_txq_info, rte_mempool,
};

use super::{PortPrivate, copy_name, switch_port};
use crate::mbuf::Pool;
use crate::queue::{ReceiveQueue, TransmitQueue};
use crate::software::QueueIndex;

/// The flags of received packets that these offloads ask for.
const fn checksum_flags(offloads: u64) -> u64 {
    let mut flags = 0;
    if offloads & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM != 0 {
        flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    }
    if offloads & (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM) != 0 {
        flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    }
    flags
}

pub unsafe extern "C" fn rx_queue_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    descriptors: u16,
    _socket: c_uint,
    conf: *const rte_eth_rxconf,
    pool: *mut rte_mempool,
) -> c_int {
    // A pool for each segment size (buffer split) is not offered, so that there is always this one.
    let Some(pool) = NonNull::new(pool) else { return -libc::EINVAL };
    // SAFETY: DPDK passes ethdevs of ours, a queue within what was configured, and a packet pool, which the application
    // keeps until it released the queue.
    unsafe {
        let private = PortPrivate::of(dev);
        let data = &mut *(*dev).data;
        let offloads = data.dev_conf.rxmode.offloads | (*conf).offloads;
        let pool = Pool::new(pool, offloads & RTE_ETH_RX_OFFLOAD_SCATTER != 0);
        let place = (private.index, QueueIndex(queue));
        if let Some(port) = switch_port(dev) {
            port.software.set_hairpin(QueueIndex(queue), None);
            port.software.set_capacity(QueueIndex(queue), descriptors);
        }
        let checksums = checksum_flags(offloads);
        let device = private.device().clone();
        let made = ReceiveQueue::new(device, place, data.port_id, pool, checksums);
        *data.rx_queues.add(queue.into()) = Box::into_raw(Box::new(made)).cast::<c_void>();
    }
    0
}

pub unsafe extern "C" fn rx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured; a queue that was set up is a box of
    // ours, and no thread uses it any more.
    unsafe {
        let entry = (*(*dev).data).rx_queues.add(queue.into());
        if !(*entry).is_null() {
            drop(Box::from_raw((*entry).cast::<ReceiveQueue>()));
            *entry = ptr::null_mut();
            if let Some(port) = switch_port(dev) {
                port.software.set_capacity(QueueIndex(queue), 0);
            }
        }
    }
}

pub unsafe extern "C" fn tx_queue_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    descriptors: u16,
    _socket: c_uint,
    _conf: *const rte_eth_txconf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured.
    unsafe {
        let private = PortPrivate::of(dev);
        let made = TransmitQueue::new(private.device().clone(), private.index, descriptors);
        *(*(*dev).data).tx_queues.add(queue.into()) =
            Box::into_raw(Box::new(made)).cast::<c_void>();
    }
    0
}

pub unsafe extern "C" fn tx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
    // SAFETY: as in rx_queue_release.
    unsafe {
        let entry = (*(*dev).data).tx_queues.add(queue.into());
        if !(*entry).is_null() {
            drop(Box::from_raw((*entry).cast::<TransmitQueue>()));
            *entry = ptr::null_mut();
        }
    }
}

/// Tells DPDK that all queues of a port are started or stopped, as they are with it: testpmd polls no others.
///
/// # Safety
/// `dev` is an ethdev of ours.
pub unsafe fn set_state(dev: *mut rte_eth_dev, started: bool) {
    let state = if started { RTE_ETH_QUEUE_STATE_STARTED } else { RTE_ETH_QUEUE_STATE_STOPPED };
    // SAFETY: by the caller's promise.
    let data = unsafe { &mut *(*dev).data };
    let (receiving, sending) = (data.nb_rx_queues.into(), data.nb_tx_queues.into());
    let all = data.rx_queue_state.iter_mut().take(receiving);
    let all = all.chain(data.tx_queue_state.iter_mut().take(sending));
    for queue in all.filter(|queue| u32::from(**queue) != RTE_ETH_QUEUE_STATE_HAIRPIN) {
        *queue = state as u8;
    }
}

pub unsafe extern "C" fn rxq_info_get(
    dev: *mut rte_eth_dev,
    queue: u16,
    info: *mut rte_eth_rxq_info,
) {
    // SAFETY: DPDK passes ethdevs of ours, a queue that was set up, and a structure to fill, all 0.
    unsafe {
        let (data, info) = (&*(*dev).data, &mut *info);
        let found = (*data.rx_queues.add(queue.into())).cast::<ReceiveQueue>().as_ref();
        let Some(found) = found else { return };
        info.mp = found.pool().as_ptr();
        info.conf.offloads = data.dev_conf.rxmode.offloads;
        info.scattered_rx = found.pool().scatters().into();
        info.nb_desc = found.level().1 as u16;
    }
}

pub unsafe extern "C" fn txq_info_get(
    dev: *mut rte_eth_dev,
    queue: u16,
    info: *mut rte_eth_txq_info,
) {
    // SAFETY: DPDK passes ethdevs of ours, a queue that was set up, and a structure to fill, all 0.
    unsafe {
        let (data, info) = (&*(*dev).data, &mut *info);
        let found = (*data.tx_queues.add(queue.into())).cast::<TransmitQueue>().as_ref();
        let Some(found) = found else { return };
        info.conf.offloads = data.dev_conf.txmode.offloads;
        info.nb_desc = found.descriptors();
    }
}

pub unsafe extern "C" fn burst_mode_get(
    _dev: *mut rte_eth_dev,
    _queue: u16,
    mode: *mut rte_eth_burst_mode,
) -> c_int {
    // SAFETY: DPDK passes a structure to fill, all 0.
    copy_name(unsafe { &mut (*mode).info }, "Scalar");
    0
}
