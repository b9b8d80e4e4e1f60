//! How a port spreads frames over its receive queues: RSS key, types and redirection table.

use std::ffi::c_int;
use std::slice;

use dpdk_sys::{rte_eth_dev, rte_eth_rss_conf, rte_eth_rss_reta_entry64};

use super::switch_port;
use crate::device::SwitchPort;
use crate::log;
use crate::rss::{KEY_LENGTH, Rss, TABLE_SIZE};

/// Entries of the redirection table in each of DPDK's groups.
const GROUP: usize = 64;

/// Takes over how frames are spread, over so many queues.
///
/// # Safety
/// Where `conf` has a key, it is as long as it says.
pub unsafe fn set_rss(port: &SwitchPort, conf: &rte_eth_rss_conf, queues: u16) -> c_int {
    let mut rss = port.software.rss().unwrap_or_else(|| Rss::new(queues));
    rss.types = conf.rss_hf;
    if !conf.rss_key.is_null() {
        if usize::from(conf.rss_key_len) != KEY_LENGTH {
            log::error(&format_args!(
                "an RSS key has {} bytes, not {}",
                KEY_LENGTH, conf.rss_key_len
            ));
            return -libc::EINVAL;
        }
        // SAFETY: the key has this length, by the caller's promise.
        rss.set_key(unsafe { *conf.rss_key.cast() });
    }
    port.software.set_rss(Some(rss));
    0
}

pub unsafe extern "C" fn rss_hash_update(
    dev: *mut rte_eth_dev,
    conf: *mut rte_eth_rss_conf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a configuration whose types it checked.
    unsafe {
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        set_rss(port, &*conf, (*(*dev).data).nb_rx_queues)
    }
}

pub unsafe extern "C" fn rss_hash_conf_get(
    dev: *mut rte_eth_dev,
    conf: *mut rte_eth_rss_conf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill, whose key has room for as many bytes as it says.
    unsafe {
        let (Some(port), conf) = (switch_port(dev), &mut *conf) else { return -libc::ENODEV };
        let rss = port.software.rss().unwrap_or_else(|| Rss::new(1));
        conf.rss_hf = rss.types;
        if !conf.rss_key.is_null() && usize::from(conf.rss_key_len) >= KEY_LENGTH {
            conf.rss_key.cast::<[u8; KEY_LENGTH]>().write(*rss.key());
        }
        conf.rss_key_len = KEY_LENGTH as u8;
    }
    0
}

/// The groups of entries that DPDK passes.
///
/// # Safety
/// `conf` points to as many groups as `size` entries fill.
unsafe fn groups<'a>(
    conf: *mut rte_eth_rss_reta_entry64,
    size: u16,
) -> Option<&'a mut [rte_eth_rss_reta_entry64]> {
    let count = usize::from(size);
    // SAFETY: by the caller's promise.
    (count == TABLE_SIZE).then(|| unsafe { slice::from_raw_parts_mut(conf, count / GROUP) })
}

/// Whether an entry of a group is meant.
fn is_selected(group: &rte_eth_rss_reta_entry64, entry: usize) -> bool {
    group.mask >> entry & 1 == 1
}

pub unsafe extern "C" fn reta_update(
    dev: *mut rte_eth_dev,
    conf: *mut rte_eth_rss_reta_entry64,
    size: u16,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and groups whose queues it checked.
    unsafe {
        let (Some(port), Some(groups)) = (switch_port(dev), groups(conf, size)) else {
            return -libc::EINVAL;
        };
        let Some(mut rss) = port.software.rss() else { return -libc::ENOTSUP };
        for (entries, group) in rss.table.chunks_mut(GROUP).zip(groups) {
            for (number, (entry, queue)) in entries.iter_mut().zip(group.reta).enumerate() {
                if is_selected(group, number) {
                    *entry = queue;
                }
            }
        }
        port.software.set_rss(Some(rss));
    }
    0
}

pub unsafe extern "C" fn reta_query(
    dev: *mut rte_eth_dev,
    conf: *mut rte_eth_rss_reta_entry64,
    size: u16,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and groups to fill.
    unsafe {
        let (Some(port), Some(groups)) = (switch_port(dev), groups(conf, size)) else {
            return -libc::EINVAL;
        };
        let Some(rss) = port.software.rss() else { return -libc::ENOTSUP };
        for (entries, group) in rss.table.chunks(GROUP).zip(groups) {
            for (number, entry) in entries.iter().enumerate() {
                if is_selected(group, number)
                    && let Some(to) = group.reta.get_mut(number)
                {
                    *to = *entry;
                }
            }
        }
    }
    0
}
