//! The ethdev of a port: DPDK's operations besides packets and rules.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::zeroed;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys::{
    RTE_ETH_LINK_AUTONEG, RTE_ETH_LINK_DOWN, RTE_ETH_LINK_FULL_DUPLEX, RTE_ETH_LINK_SPEED_200G,
    RTE_ETH_LINK_UP, RTE_ETH_MQ_RX_RSS_FLAG, RTE_ETH_REPRESENTOR_VF, RTE_ETH_RX_METADATA_USER_FLAG,
    RTE_ETH_RX_METADATA_USER_MARK, RTE_ETH_RX_OFFLOAD_RSS_HASH, RTE_ETH_RX_OFFLOAD_SCATTER,
    RTE_ETH_SPEED_NUM_200G, RTE_ETH_TX_OFFLOAD_MULTI_SEGS, eth_dev_ops, rte_eth_dev,
    rte_eth_dev_info, rte_eth_link, rte_eth_representor_info, rte_eth_representor_range,
    rte_eth_rss_conf, rte_eth_rxconf, rte_eth_stats, rte_eth_txconf, rte_eth_xstat,
    rte_eth_xstat_name, rte_ether_addr, rte_flow_ops, rte_mempool,
};
use packet::Mac;
use rte_flow::FlowError;

use crate::batch::MAX_FRAME;
use crate::counters::Counter;
use crate::devargs::{MAX_MTU, MIN_MTU};
use crate::device::{Device, PortIndex, SwitchPort};
use crate::flow_ops;
use crate::log;
use crate::mbuf::Pool;
use crate::queue::{ReceiveQueue, TransmitQueue};
use crate::registration::Card;
use crate::rss::{self, Rss};
use crate::software::{MAX_QUEUES, QueueIndex};

/// Smallest mbuf data room, in bytes, headroom not counted.
const MIN_RX_BUFFER: u32 = 64;
/// Most frames that wait in a receive queue.
const MAX_DESCRIPTORS: u16 = 32768;
/// Receive and transmit descriptors unless the application chooses.
const DEFAULT_DESCRIPTORS: u16 = 512;

/// What an ethdev of ours keeps in `dev_private`.
pub struct PortPrivate {
    /// Where `mac_addrs` points to: freed with this structure, not by itself.
    pub mac: rte_ether_addr,
    /// The card.
    pub card: Arc<Card>,
    /// Which of its ports.
    pub index: PortIndex,
}

impl PortPrivate {
    /// The private data of one of our ethdevs.
    ///
    /// # Safety
    /// `dev` is an ethdev that `registration` initialised and that is not closed.
    pub unsafe fn of<'a>(dev: *mut rte_eth_dev) -> &'a Self {
        // SAFETY: initialisation wrote one there, aligned by rte_zmalloc, and close takes it away last.
        unsafe { &*(*(*dev).data).dev_private.cast::<Self>() }
    }

    /// The card's shared state.
    pub fn device(&self) -> &Arc<Device> {
        &self.card.device
    }
}

/// The port behind an ethdev of ours; every operation begins with it.
///
/// # Safety
/// As for [`PortPrivate::of`].
unsafe fn switch_port<'a>(dev: *mut rte_eth_dev) -> Option<&'a SwitchPort> {
    // SAFETY: by the caller's promise.
    let private = unsafe { PortPrivate::of(dev) };
    private.card.device.port(private.index)
}

/// The operations of every port, representor or uplink.
pub static OPERATIONS: eth_dev_ops = eth_dev_ops {
    dev_configure: Some(configure),
    dev_start: Some(start),
    dev_stop: Some(stop),
    dev_close: Some(close),
    dev_infos_get: Some(infos_get),
    fw_version_get: Some(firmware_version_get),
    link_update: Some(link_update),
    rx_queue_setup: Some(rx_queue_setup),
    rx_queue_release: Some(rx_queue_release),
    tx_queue_setup: Some(tx_queue_setup),
    tx_queue_release: Some(tx_queue_release),
    promiscuous_enable: Some(promiscuous_enable),
    promiscuous_disable: Some(promiscuous_disable),
    allmulticast_enable: Some(allmulticast_enable),
    allmulticast_disable: Some(allmulticast_disable),
    mac_addr_set: Some(mac_addr_set),
    mtu_set: Some(mtu_set),
    stats_get: Some(stats_get),
    stats_reset: Some(stats_reset),
    xstats_get: Some(xstats_get),
    xstats_get_names: Some(xstats_get_names),
    xstats_reset: Some(stats_reset),
    representor_info_get: Some(representor_info_get),
    rx_metadata_negotiate: Some(rx_metadata_negotiate),
    flow_ops_get: Some(flow_ops_get),
    rss_hash_update: Some(rss_hash_update),
    rss_hash_conf_get: Some(rss_hash_conf_get),
    // SAFETY: the table consists of optional function pointers, for which all zero means none.
    ..unsafe { zeroed() }
};

unsafe extern "C" fn configure(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, with a configuration that it checked against `infos_get`.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        let data = &*(*dev).data;
        let conf = &data.dev_conf;
        let device = PortPrivate::of(dev).device();
        let queues = data.nb_rx_queues;
        let known =
            device.with_switch(|switch, _| switch.eswitch.set_receive_queues(data.port_id, queues));
        if known.is_err() {
            return status(known);
        }
        port.software.set_rss(None);
        if conf.rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG != 0 {
            return set_rss(port, &conf.rx_adv_conf.rss_conf, queues);
        }
    }
    0
}

/// Takes over how frames are spread, over so many queues.
///
/// # Safety
/// Where `conf` has a key, it is as long as it says.
unsafe fn set_rss(port: &SwitchPort, conf: &rte_eth_rss_conf, queues: u16) -> c_int {
    let mut rss = port.software.rss().unwrap_or(Rss { key: rss::DEFAULT_KEY, types: 0, queues });
    rss.types = conf.rss_hf;
    if !conf.rss_key.is_null() {
        if usize::from(conf.rss_key_len) != rss::KEY_LENGTH {
            log::error(&format_args!(
                "an RSS key has {} bytes, not {}",
                rss::KEY_LENGTH,
                conf.rss_key_len
            ));
            return -libc::EINVAL;
        }
        // SAFETY: the key has this length, by the caller's promise.
        rss.key = unsafe { *conf.rss_key.cast() };
    }
    port.software.set_rss(Some(rss));
    0
}

unsafe extern "C" fn rss_hash_update(dev: *mut rte_eth_dev, conf: *mut rte_eth_rss_conf) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a configuration whose types it checked.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        set_rss(port, &*conf, (*(*dev).data).nb_rx_queues)
    }
}

unsafe extern "C" fn rss_hash_conf_get(
    dev: *mut rte_eth_dev,
    conf: *mut rte_eth_rss_conf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill, whose key has room for as many bytes as it says.
    unsafe {
        let (Some(port), conf) = (switch_port(dev), &mut *conf) else { return -libc::ENODEV };
        let Rss { key, types, .. } =
            port.software.rss().unwrap_or(Rss { key: rss::DEFAULT_KEY, types: 0, queues: 1 });
        conf.rss_hf = types;
        if !conf.rss_key.is_null() && usize::from(conf.rss_key_len) >= key.len() {
            conf.rss_key.cast::<[u8; rss::KEY_LENGTH]>().write(key);
        }
        conf.rss_key_len = rss::KEY_LENGTH as u8;
    }
    0
}

/// 0, or what the eswitch refuses, negated; the log says it.
fn status(result: Result<(), FlowError>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(refusal) => {
            log::error(&refusal);
            -refusal.errno
        }
    }
}

unsafe extern "C" fn start(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let private = PortPrivate::of(dev);
        let started = status(private.device().start(private.index, (*(*dev).data).port_id));
        if started == 0 {
            link_update(dev, 0);
        }
        started
    }
}

unsafe extern "C" fn stop(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let private = PortPrivate::of(dev);
        let stopped = status(private.device().stop(private.index, (*(*dev).data).port_id));
        store_link(dev, false);
        stopped
    }
}

unsafe extern "C" fn close(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, stopped, and calls nothing of them afterwards. What `rte_eth_dev_release_port`
    // frees itself is left to it: the arrays of queues and the memory of the private data, whose address is not freed by
    // itself because `mac_addrs` is cleared.
    unsafe {
        let data = &mut *(*dev).data;
        for queue in 0..data.nb_rx_queues {
            rx_queue_release(dev, queue);
        }
        for queue in 0..data.nb_tx_queues {
            tx_queue_release(dev, queue);
        }
        data.mac_addrs = ptr::null_mut();
        ptr::drop_in_place(data.dev_private.cast::<PortPrivate>());
    }
    0
}

unsafe extern "C" fn infos_get(dev: *mut rte_eth_dev, info: *mut rte_eth_dev_info) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill.
    let (private, info) = unsafe { (PortPrivate::of(dev), &mut *info) };
    info.min_mtu = MIN_MTU;
    info.max_mtu = MAX_MTU;
    info.min_rx_bufsize = MIN_RX_BUFFER;
    info.max_rx_pktlen = MAX_FRAME as u32;
    info.max_rx_queues = MAX_QUEUES;
    info.max_tx_queues = MAX_QUEUES;
    info.max_mac_addrs = 1;
    info.max_vfs = private.device().vfs();
    info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_RSS_HASH;
    info.rx_queue_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER;
    info.hash_key_size = rss::KEY_LENGTH as u8;
    info.flow_type_rss_offloads = rss::SUPPORTED;
    info.tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    info.tx_queue_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    info.speed_capa = RTE_ETH_LINK_SPEED_200G;
    for limits in [&mut info.rx_desc_lim, &mut info.tx_desc_lim] {
        limits.nb_max = MAX_DESCRIPTORS;
        limits.nb_min = 1;
        limits.nb_align = 1;
    }
    for preferred in [&mut info.default_rxportconf, &mut info.default_txportconf] {
        preferred.burst_size = crate::batch::BURST as u16;
        preferred.ring_size = DEFAULT_DESCRIPTORS;
        preferred.nb_queues = 1;
    }
    info.switch_info.name = private.card.name.as_ptr();
    info.switch_info.domain_id = private.card.domain.id();
    info.switch_info.port_id = private.index.number();
    0
}

unsafe extern "C" fn firmware_version_get(
    _dev: *mut rte_eth_dev,
    version: *mut c_char,
    size: usize,
) -> c_int {
    let text = concat!("penstock ", env!("CARGO_PKG_VERSION"), "\0");
    if size < text.len() {
        // By the API: how much room it takes.
        return length(text.len());
    }
    // SAFETY: DPDK passes room for `size` characters, which is enough.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr().cast(), version, text.len()) };
    0
}

unsafe extern "C" fn link_update(dev: *mut rte_eth_dev, _wait: c_int) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let up = switch_port(dev)
            .is_some_and(|port| port.software.started.load(Ordering::Acquire) && port.link_is_up());
        store_link(dev, up);
    }
    0
}

/// Writes the link's state in one piece, because other threads read it.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn store_link(dev: *mut rte_eth_dev, up: bool) {
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

unsafe extern "C" fn rx_queue_setup(
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
            port.software.set_capacity(QueueIndex(queue), descriptors);
        }
        let made = ReceiveQueue::new(private.device().clone(), place, data.port_id, pool);
        *data.rx_queues.add(queue.into()) = Box::into_raw(Box::new(made)).cast::<c_void>();
    }
    0
}

unsafe extern "C" fn rx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
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

unsafe extern "C" fn tx_queue_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    _descriptors: u16,
    _socket: c_uint,
    _conf: *const rte_eth_txconf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured.
    unsafe {
        let private = PortPrivate::of(dev);
        let made = TransmitQueue::new(private.device().clone(), private.index);
        *(*(*dev).data).tx_queues.add(queue.into()) =
            Box::into_raw(Box::new(made)).cast::<c_void>();
    }
    0
}

unsafe extern "C" fn tx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
    // SAFETY: as in rx_queue_release.
    unsafe {
        let entry = (*(*dev).data).tx_queues.add(queue.into());
        if !(*entry).is_null() {
            drop(Box::from_raw((*entry).cast::<TransmitQueue>()));
            *entry = ptr::null_mut();
        }
    }
}

macro_rules! mode_switches {
    ($($name:ident: $mode:ident = $on:literal;)+) => {$(
        unsafe extern "C" fn $name(dev: *mut rte_eth_dev) -> c_int {
            // SAFETY: DPDK passes ethdevs of ours.
            let Some(port) = (unsafe { switch_port(dev) }) else { return -libc::ENODEV };
            port.software.$mode.store($on, Ordering::Relaxed);
            0
        }
    )+};
}
mode_switches! {
    promiscuous_enable: promiscuous = true;
    promiscuous_disable: promiscuous = false;
    allmulticast_enable: allmulticast = true;
    allmulticast_disable: allmulticast = false;
}

unsafe extern "C" fn mac_addr_set(dev: *mut rte_eth_dev, mac: *mut rte_ether_addr) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and an address it checked.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        port.software.set_mac(Mac((*mac).addr_bytes));
    }
    0
}

unsafe extern "C" fn mtu_set(dev: *mut rte_eth_dev, mtu: u16) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours; it checked the MTU against `infos_get`.
    unsafe {
        let port = (*(*dev).data).port_id;
        let device = PortPrivate::of(dev).device();
        status(device.with_switch(|switch, _| switch.eswitch.set_mtu(port, mtu)))
    }
}

unsafe extern "C" fn flow_ops_get(_dev: *mut rte_eth_dev, ops: *mut *const rte_flow_ops) -> c_int {
    // SAFETY: DPDK passes a pointer to fill; the table is static.
    unsafe { *ops = &raw const flow_ops::OPERATIONS };
    0
}

unsafe extern "C" fn stats_get(dev: *mut rte_eth_dev, stats: *mut rte_eth_stats) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill, all 0.
    let (Some(port), stats) = (unsafe { (switch_port(dev), &mut *stats) }) else {
        return -libc::ENODEV;
    };
    let counters = &port.counters;
    stats.ipackets = counters.software_rx.packets.get();
    stats.ibytes = counters.software_rx.bytes.get();
    stats.imissed = counters.software_rx_missed.get();
    stats.ierrors = counters.software_rx_errors.get();
    stats.rx_nombuf = counters.software_rx_no_mbuf.get();
    stats.opackets = counters.software_tx.packets.get();
    stats.obytes = counters.software_tx.bytes.get();
    stats.oerrors = counters.software_tx_errors.get() + counters.software_tx_dropped.get();
    0
}

unsafe extern "C" fn stats_reset(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    let Some(port) = (unsafe { switch_port(dev) }) else { return -libc::ENODEV };
    port.counters.reset();
    0
}

/// The names and counters that `xstats` shows, in order.
fn extended_statistics(port: &SwitchPort) -> Vec<(&'static str, u64)> {
    let mut list = Vec::new();
    port.counters.for_each(|name, counter: &Counter| list.push((name, counter.get())));
    list
}

unsafe extern "C" fn xstats_get(
    dev: *mut rte_eth_dev,
    stats: *mut rte_eth_xstat,
    count: c_uint,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    let Some(port) = (unsafe { switch_port(dev) }) else { return -libc::ENODEV };
    let list = extended_statistics(port);
    if !stats.is_null() && count as usize >= list.len() {
        for (index, (_, value)) in list.iter().enumerate() {
            // SAFETY: the array has `count` entries.
            unsafe { stats.add(index).write(rte_eth_xstat { id: index as u64, value: *value }) };
        }
    }
    length(list.len())
}

unsafe extern "C" fn xstats_get_names(
    dev: *mut rte_eth_dev,
    names: *mut rte_eth_xstat_name,
    count: c_uint,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    let Some(port) = (unsafe { switch_port(dev) }) else { return -libc::ENODEV };
    let list = extended_statistics(port);
    if !names.is_null() && count as usize >= list.len() {
        for (index, (name, _)) in list.iter().enumerate() {
            // SAFETY: all zero is a value of the structure.
            let mut entry: rte_eth_xstat_name = unsafe { zeroed() };
            copy_name(&mut entry.name, name);
            // SAFETY: the array has `count` entries.
            unsafe { names.add(index).write(entry) };
        }
    }
    length(list.len())
}

/// A length as DPDK returns it.
fn length(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// Writes a name into a C array, cut so that its last byte stays 0.
fn copy_name(to: &mut [c_char], name: &str) {
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
}

unsafe extern "C" fn representor_info_get(
    dev: *mut rte_eth_dev,
    info: *mut rte_eth_representor_info,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    let vfs = c_int::from(unsafe { PortPrivate::of(dev) }.device().vfs());
    let ranges = c_int::from(vfs > 0);
    // SAFETY: where a structure is passed, `nb_ranges_alloc` says how many ranges follow it.
    unsafe {
        let Some(info) = info.as_mut() else { return ranges };
        info.controller = 0;
        info.pf = 0;
        info.nb_ranges = 0;
        if ranges == 1 && info.nb_ranges_alloc > 0 {
            let mut range: rte_eth_representor_range = zeroed();
            range.type_ = RTE_ETH_REPRESENTOR_VF;
            range.__bindgen_anon_1.vf = 0;
            range.id_base = 0;
            range.id_end = vfs.cast_unsigned() - 1;
            copy_name(&mut range.name, "vf");
            info.ranges.as_mut_ptr().write(range);
            info.nb_ranges = 1;
        }
    }
    ranges
}

unsafe extern "C" fn rx_metadata_negotiate(_dev: *mut rte_eth_dev, features: *mut u64) -> c_int {
    // SAFETY: DPDK passes the features that the application wants.
    unsafe { *features &= RTE_ETH_RX_METADATA_USER_FLAG | RTE_ETH_RX_METADATA_USER_MARK };
    0
}
