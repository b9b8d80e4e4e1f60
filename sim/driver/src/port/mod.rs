//! The ethdev of a port: DPDK's operations besides packets and rules.

mod filter;
mod hairpin;
mod link;
mod queues;
mod spread;
mod statistics;

use std::ffi::{c_char, c_int};
use std::mem::zeroed;
use std::ptr;
use std::sync::Arc;

use dpdk_sys::{
    RTE_ETH_DEV_ATTACHED, RTE_ETH_DEV_CAPA_FLOW_SHARED_OBJECT_KEEP, RTE_ETH_LINK_SPEED_200G,
    RTE_ETH_MQ_RX_RSS_FLAG, RTE_ETH_REPRESENTOR_VF, RTE_ETH_RX_METADATA_USER_FLAG,
    RTE_ETH_RX_METADATA_USER_MARK, RTE_ETH_RX_OFFLOAD_CHECKSUM, RTE_ETH_RX_OFFLOAD_RSS_HASH,
    RTE_ETH_RX_OFFLOAD_SCATTER, RTE_ETH_RX_OFFLOAD_VLAN_FILTER, RTE_ETH_RX_OFFLOAD_VLAN_STRIP,
    RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
    RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM, RTE_ETH_TX_OFFLOAD_TCP_CKSUM, RTE_ETH_TX_OFFLOAD_TCP_TSO,
    RTE_ETH_TX_OFFLOAD_UDP_CKSUM, RTE_ETH_TX_OFFLOAD_VLAN_INSERT, RTE_ETH_VLAN_FILTER_MASK,
    RTE_ETH_VLAN_STRIP_MASK, eth_dev_ops, rte_eth_dev, rte_eth_dev_info, rte_eth_representor_info,
    rte_eth_representor_range, rte_ether_addr, rte_flow_ops,
};
use rte_flow::FlowError;

use crate::batch::MAX_FRAME;
use crate::description::PACKET_TYPES;
use crate::devargs::{MAX_MTU, MIN_MTU};
use crate::device::{Device, PortIndex, SwitchPort};
use crate::log;
use crate::meter_ops;
use crate::receive_filter::{MAX_ADDRESSES, ReceiveFilter};
use crate::registration::Card;
use crate::reset;
use crate::rss;
use crate::software::MAX_QUEUES;
use crate::{flow_aged, flow_ops};

/// Smallest mbuf data room, in bytes, headroom not counted.
const MIN_RX_BUFFER: u32 = 64;
/// Most frames that wait in a receive queue.
const MAX_DESCRIPTORS: u16 = 32768;
/// Receive and transmit descriptors unless the application chooses.
const DEFAULT_DESCRIPTORS: u16 = 512;

/// What a receive queue can do beside receiving.
const QUEUE_RX_OFFLOADS: u64 = RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_CHECKSUM;
/// What the card does to packets that are sent, where the application asks for it in the mbuf.
const TX_OFFLOADS: u64 = RTE_ETH_TX_OFFLOAD_MULTI_SEGS
    | RTE_ETH_TX_OFFLOAD_VLAN_INSERT
    | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
    | RTE_ETH_TX_OFFLOAD_UDP_CKSUM
    | RTE_ETH_TX_OFFLOAD_TCP_CKSUM
    | RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM
    | RTE_ETH_TX_OFFLOAD_TCP_TSO;

/// What an ethdev of ours keeps in `dev_private`.
pub struct PortPrivate {
    /// Where `mac_addrs` points to: freed with this structure, not by itself.
    pub addresses: [rte_ether_addr; MAX_ADDRESSES as usize],
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
    dev_reset: Some(reset),
    dev_infos_get: Some(infos_get),
    dev_supported_ptypes_get: Some(supported_ptypes_get),
    fw_version_get: Some(firmware_version_get),
    is_removed: Some(is_removed),
    link_update: Some(link::link_update),
    dev_set_link_up: Some(link::set_link_up),
    dev_set_link_down: Some(link::set_link_down),
    rx_queue_setup: Some(queues::rx_queue_setup),
    rx_queue_release: Some(queues::rx_queue_release),
    rxq_info_get: Some(queues::rxq_info_get),
    rx_burst_mode_get: Some(queues::burst_mode_get),
    hairpin_cap_get: Some(hairpin::capability_get),
    rx_hairpin_queue_setup: Some(hairpin::receive_setup),
    tx_hairpin_queue_setup: Some(hairpin::transmit_setup),
    tx_queue_setup: Some(queues::tx_queue_setup),
    tx_queue_release: Some(queues::tx_queue_release),
    txq_info_get: Some(queues::txq_info_get),
    tx_burst_mode_get: Some(queues::burst_mode_get),
    promiscuous_enable: Some(filter::promiscuous_enable),
    promiscuous_disable: Some(filter::promiscuous_disable),
    allmulticast_enable: Some(filter::allmulticast_enable),
    allmulticast_disable: Some(filter::allmulticast_disable),
    mac_addr_set: Some(filter::mac_addr_set),
    mac_addr_add: Some(filter::mac_addr_add),
    mac_addr_remove: Some(filter::mac_addr_remove),
    set_mc_addr_list: Some(filter::set_mc_addr_list),
    vlan_filter_set: Some(filter::vlan_filter_set),
    vlan_offload_set: Some(filter::vlan_offload_set),
    mtu_set: Some(mtu_set),
    stats_get: Some(statistics::stats_get),
    stats_reset: Some(statistics::stats_reset),
    xstats_get: Some(statistics::xstats_get),
    xstats_get_names: Some(statistics::xstats_get_names),
    xstats_reset: Some(statistics::stats_reset),
    representor_info_get: Some(representor_info_get),
    rx_metadata_negotiate: Some(rx_metadata_negotiate),
    flow_ops_get: Some(flow_ops_get),
    mtr_ops_get: Some(meter_ops::operations_get),
    rss_hash_update: Some(spread::rss_hash_update),
    rss_hash_conf_get: Some(spread::rss_hash_conf_get),
    reta_update: Some(spread::reta_update),
    reta_query: Some(spread::reta_query),
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
            let spread = spread::set_rss(port, &conf.rx_adv_conf.rss_conf, queues);
            if spread != 0 {
                return spread;
            }
        }
        let vlan = (RTE_ETH_VLAN_STRIP_MASK | RTE_ETH_VLAN_FILTER_MASK).cast_signed();
        filter::vlan_offload_set(dev, vlan)
    }
}

/// Whether the application asked to be told of changes of the link.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn wants_link_events(dev: *mut rte_eth_dev) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { (*(*dev).data).dev_conf.intr_conf.lsc() != 0 }
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
            // An error while the card was away made DPDK note that it is removed, which turns every later error into EIO.
            (*dev).state = RTE_ETH_DEV_ATTACHED;
            queues::set_state(dev, true);
            link::link_update(dev, 0);
            link::watch(dev);
            flow_aged::unwatch(dev);
            flow_aged::watch(dev);
        }
        started
    }
}

unsafe extern "C" fn stop(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        let private = PortPrivate::of(dev);
        let stopped = status(private.device().stop(private.index, (*(*dev).data).port_id));
        if stopped == 0 {
            queues::set_state(dev, false);
            link::unwatch(dev);
            flow_aged::unwatch(dev);
            link::store_link(dev, false);
        }
        stopped
    }
}

unsafe extern "C" fn close(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, stopped, and calls nothing of them afterwards. What `rte_eth_dev_release_port`
    // frees itself is left to it: the arrays of queues and the memory of the private data, whose address is not freed by
    // itself because `mac_addrs` is cleared.
    unsafe {
        let data = &mut *(*dev).data;
        reset::forget(data.port_id);
        for queue in 0..data.nb_rx_queues {
            queues::rx_queue_release(dev, queue);
        }
        for queue in 0..data.nb_tx_queues {
            queues::tx_queue_release(dev, queue);
        }
        data.mac_addrs = ptr::null_mut();
        ptr::drop_in_place(data.dev_private.cast::<PortPrivate>());
    }
    0
}

unsafe extern "C" fn reset(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, stopped, for which the application sets everything anew.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        port.software.set_rss(None);
        port.software.change_filter(|filter| {
            let own = filter.addresses.remove(&0);
            let rules = std::mem::take(&mut filter.rules);
            *filter = ReceiveFilter { rules, ..ReceiveFilter::default() };
            filter.addresses.extend(own.map(|own| (0, own)));
        });
        let data = &mut *(*dev).data;
        data.set_promiscuous(0);
        data.set_all_multicast(0);
        if let Some((_, others)) =
            std::slice::from_raw_parts_mut(data.mac_addrs, MAX_ADDRESSES as usize).split_first_mut()
        {
            others.fill(zeroed());
        }
    }
    0
}

unsafe extern "C" fn supported_ptypes_get(_dev: *mut rte_eth_dev) -> *const u32 {
    PACKET_TYPES.as_ptr()
}

unsafe extern "C" fn is_removed(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { PortPrivate::of(dev) }.device().is_away().into()
}

unsafe extern "C" fn infos_get(dev: *mut rte_eth_dev, info: *mut rte_eth_dev_info) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill.
    let (private, info) = unsafe { (PortPrivate::of(dev), &mut *info) };
    // Shared actions outlive a stop, as do templates and tables.
    info.dev_capa = RTE_ETH_DEV_CAPA_FLOW_SHARED_OBJECT_KEEP;
    info.min_mtu = MIN_MTU;
    info.max_mtu = MAX_MTU;
    info.min_rx_bufsize = MIN_RX_BUFFER;
    info.max_rx_pktlen = MAX_FRAME as u32;
    info.max_rx_queues = MAX_QUEUES;
    info.max_tx_queues = MAX_QUEUES;
    info.max_mac_addrs = MAX_ADDRESSES;
    info.max_vfs = private.device().vfs();
    info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_VLAN_FILTER
        | RTE_ETH_RX_OFFLOAD_VLAN_STRIP
        | RTE_ETH_RX_OFFLOAD_RSS_HASH
        | QUEUE_RX_OFFLOADS;
    info.rx_queue_offload_capa = QUEUE_RX_OFFLOADS;
    info.hash_key_size = rss::KEY_LENGTH as u8;
    info.reta_size = rss::TABLE_SIZE as u16;
    info.flow_type_rss_offloads = rss::SUPPORTED;
    info.tx_offload_capa = TX_OFFLOADS;
    info.tx_queue_offload_capa = TX_OFFLOADS;
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
