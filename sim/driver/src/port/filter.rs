//! Which frames a port takes: modes, addresses, VLANs.

use std::ffi::c_int;
use std::slice;
use std::sync::atomic::Ordering;

use dpdk_sys::{
    RTE_ETH_RX_OFFLOAD_VLAN_FILTER, RTE_ETH_RX_OFFLOAD_VLAN_STRIP, RTE_ETH_VLAN_EXTEND_MASK,
    RTE_ETH_VLAN_FILTER_MASK, RTE_ETH_VLAN_STRIP_MASK, rte_eth_dev, rte_ether_addr,
};
use packet::Mac;

use super::switch_port;
use crate::receive_filter::{ReceiveFilter, VlanSet};

/// Changes what a port takes.
///
/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn change(dev: *mut rte_eth_dev, change: impl FnOnce(&mut ReceiveFilter)) -> c_int {
    // SAFETY: by the caller's promise.
    let Some(port) = (unsafe { switch_port(dev) }) else { return -libc::ENODEV };
    port.software.change_filter(change);
    0
}

macro_rules! mode_switches {
    ($($name:ident: $mode:ident = $on:literal;)+) => {$(
        pub unsafe extern "C" fn $name(dev: *mut rte_eth_dev) -> c_int {
            // SAFETY: DPDK passes ethdevs of ours.
            unsafe { change(dev, |filter| filter.$mode = $on) }
        }
    )+};
}
mode_switches! {
    promiscuous_enable: promiscuous = true;
    promiscuous_disable: promiscuous = false;
    allmulticast_enable: allmulticast = true;
    allmulticast_disable: allmulticast = false;
}

pub unsafe extern "C" fn mac_addr_set(dev: *mut rte_eth_dev, mac: *mut rte_ether_addr) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and an address it checked.
    unsafe { mac_addr_add(dev, mac, 0, 0) }
}

pub unsafe extern "C" fn mac_addr_add(
    dev: *mut rte_eth_dev,
    mac: *mut rte_ether_addr,
    index: u32,
    _pool: u32,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, an address it checked, and an index within what `infos_get` offers.
    unsafe {
        let mac = Mac((*mac).addr_bytes);
        change(dev, |filter| {
            filter.addresses.insert(index, mac);
        })
    }
}

pub unsafe extern "C" fn mac_addr_remove(dev: *mut rte_eth_dev, index: u32) {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        change(dev, |filter| {
            filter.addresses.remove(&index);
        });
    }
}

pub unsafe extern "C" fn set_mc_addr_list(
    dev: *mut rte_eth_dev,
    list: *mut rte_ether_addr,
    count: u32,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, and the application, a list of so many addresses, or none at all.
    unsafe {
        let list: &[rte_ether_addr] =
            if list.is_null() { &[] } else { slice::from_raw_parts(list, count as usize) };
        let groups = list.iter().map(|address| Mac(address.addr_bytes)).collect();
        change(dev, |filter| filter.groups = groups)
    }
}

pub unsafe extern "C" fn vlan_filter_set(dev: *mut rte_eth_dev, vlan: u16, on: c_int) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe {
        change(dev, |filter| {
            if let Some(vlans) = &mut filter.vlans {
                vlans.set(vlan, on != 0);
            }
        })
    }
}

pub unsafe extern "C" fn vlan_offload_set(dev: *mut rte_eth_dev, mask: c_int) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, whose offloads it has changed already.
    unsafe {
        if mask.cast_unsigned() & RTE_ETH_VLAN_EXTEND_MASK != 0 {
            return -libc::ENOTSUP;
        }
        let Some(port) = switch_port(dev) else { return -libc::ENODEV };
        let data = &*(*dev).data;
        let offloads = data.dev_conf.rxmode.offloads;
        if mask.cast_unsigned() & RTE_ETH_VLAN_STRIP_MASK != 0 {
            let on = offloads & RTE_ETH_RX_OFFLOAD_VLAN_STRIP != 0;
            port.software.vlan_strip.store(on, Ordering::Relaxed);
        }
        if mask.cast_unsigned() & RTE_ETH_VLAN_FILTER_MASK != 0 {
            let on = offloads & RTE_ETH_RX_OFFLOAD_VLAN_FILTER != 0;
            let vlans = on.then(|| VlanSet::from(data.vlan_filter_conf.ids));
            port.software.change_filter(|filter| filter.vlans = vlans);
        }
    }
    0
}
