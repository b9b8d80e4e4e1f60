//! The bindings against what the C compiler says: layouts, bit constants, errno, and a call into the libraries.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the functions of wrapper.h only return a number"
)]

use std::ffi::CStr;
use std::mem::size_of;

#[test]
fn layouts_agree_with_the_c_compiler() {
    assert_eq!(unsafe { dpdk_sys::dpdk_sys_sizeof_mbuf() }, size_of::<dpdk_sys::rte_mbuf>());
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_sizeof_flow_action_modify_field() },
        size_of::<dpdk_sys::rte_flow_action_modify_field>()
    );
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_sizeof_flow_item_ipv6() },
        size_of::<dpdk_sys::rte_flow_item_ipv6>()
    );
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_sizeof_eth_dev_info() },
        size_of::<dpdk_sys::rte_eth_dev_info>()
    );
}

#[cfg(feature = "driver")]
#[test]
fn driver_layouts_agree_with_the_c_compiler() {
    assert_eq!(unsafe { dpdk_sys::dpdk_sys_sizeof_eth_dev() }, size_of::<dpdk_sys::rte_eth_dev>());
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_sizeof_eth_dev_ops() },
        size_of::<dpdk_sys::eth_dev_ops>()
    );
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_sizeof_flow_ops() },
        size_of::<dpdk_sys::rte_flow_ops>()
    );
}

#[test]
fn bit_constants_agree_with_the_c_compiler() {
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_rx_offload_checksum() },
        dpdk_sys::RTE_ETH_RX_OFFLOAD_CHECKSUM
    );
    assert_eq!(unsafe { dpdk_sys::dpdk_sys_rss_ip() }, dpdk_sys::RTE_ETH_RSS_IP);
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_tx_offload_outer_udp() },
        dpdk_sys::RTE_ETH_TX_OFFLOAD_OUTER_UDP_CKSUM
    );
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_dev_representor() },
        u64::from(dpdk_sys::RTE_ETH_DEV_REPRESENTOR)
    );
    assert_eq!(unsafe { dpdk_sys::dpdk_sys_mbuf_rx_vlan() }, dpdk_sys::RTE_MBUF_F_RX_VLAN);
    assert_eq!(
        unsafe { dpdk_sys::dpdk_sys_mbuf_tx_tunnel_vxlan() },
        dpdk_sys::RTE_MBUF_F_TX_TUNNEL_VXLAN
    );
    assert_eq!(u32::from(unsafe { dpdk_sys::dpdk_sys_max_ethports() }), dpdk_sys::RTE_MAX_ETHPORTS);
}

#[test]
fn errno_is_the_threads_own() {
    unsafe { dpdk_sys::dpdk_sys_set_errno(22) };
    let other = std::thread::spawn(|| unsafe { dpdk_sys::dpdk_sys_errno() }).join();
    assert_eq!(other.ok(), Some(0));
    assert_eq!(unsafe { dpdk_sys::dpdk_sys_errno() }, 22);
}

#[test]
fn the_library_is_of_the_headers_version() {
    let version = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    let expected = format!("{}.{}", dpdk_sys::RTE_VER_YEAR, dpdk_sys::RTE_VER_MONTH);
    assert!(version.to_string_lossy().contains(&expected), "{version:?} is not {expected}");
}
