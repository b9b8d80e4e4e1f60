//! What a port counted: `rte_eth_stats` and `xstats`.

use std::ffi::{c_int, c_uint};
use std::mem::zeroed;

use dpdk_sys::{rte_eth_dev, rte_eth_stats, rte_eth_xstat, rte_eth_xstat_name};

use super::{copy_name, length, switch_port};
use crate::counters::Counter;
use crate::device::SwitchPort;

pub unsafe extern "C" fn stats_get(dev: *mut rte_eth_dev, stats: *mut rte_eth_stats) -> c_int {
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

pub unsafe extern "C" fn stats_reset(dev: *mut rte_eth_dev) -> c_int {
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

pub unsafe extern "C" fn xstats_get(
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

pub unsafe extern "C" fn xstats_get_names(
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
