/* What the bindings are generated from. Features of the crate arrive as macros from build.rs. */
#include <rte_alarm.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_kvargs.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_mtr.h>
#include <rte_ring.h>
#include <rte_version.h>

#ifdef PENSTOCK_DRIVER
#include <bus_vdev_driver.h>
#include <dev_driver.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>
#include <rte_flow_driver.h>
#include <rte_mtr_driver.h>
#include <rte_telemetry.h>
#include <rte_vhost.h>
#endif

/* `rte_errno` is a thread-local variable behind a macro, which Rust cannot name. */
static inline int dpdk_sys_errno(void) { return rte_errno; }
static inline void dpdk_sys_set_errno(int value) { rte_errno = value; }

/* What the C compiler says, for the tests that compare it with the bindings. */
static inline size_t dpdk_sys_sizeof_mbuf(void) { return sizeof(struct rte_mbuf); }
static inline size_t dpdk_sys_sizeof_flow_action_modify_field(void)
{
	return sizeof(struct rte_flow_action_modify_field);
}
static inline size_t dpdk_sys_sizeof_flow_item_ipv6(void) { return sizeof(struct rte_flow_item_ipv6); }
static inline size_t dpdk_sys_sizeof_eth_dev_info(void) { return sizeof(struct rte_eth_dev_info); }
static inline uint64_t dpdk_sys_rx_offload_checksum(void) { return RTE_ETH_RX_OFFLOAD_CHECKSUM; }
static inline uint64_t dpdk_sys_rss_ip(void) { return RTE_ETH_RSS_IP; }
static inline uint64_t dpdk_sys_tx_offload_outer_udp(void) { return RTE_ETH_TX_OFFLOAD_OUTER_UDP_CKSUM; }
static inline uint64_t dpdk_sys_dev_representor(void) { return RTE_ETH_DEV_REPRESENTOR; }
static inline uint64_t dpdk_sys_mbuf_rx_vlan(void) { return RTE_MBUF_F_RX_VLAN; }
static inline uint64_t dpdk_sys_mbuf_tx_tunnel_vxlan(void) { return RTE_MBUF_F_TX_TUNNEL_VXLAN; }
static inline const void *dpdk_sys_default_mask(enum rte_flow_item_type type)
{
	switch (type) {
	case RTE_FLOW_ITEM_TYPE_ANY: return &rte_flow_item_any_mask;
	case RTE_FLOW_ITEM_TYPE_PORT_ID: return &rte_flow_item_port_id_mask;
	case RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR:
	case RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT: return &rte_flow_item_ethdev_mask;
	case RTE_FLOW_ITEM_TYPE_ETH: return &rte_flow_item_eth_mask;
	case RTE_FLOW_ITEM_TYPE_VLAN: return &rte_flow_item_vlan_mask;
	case RTE_FLOW_ITEM_TYPE_IPV4: return &rte_flow_item_ipv4_mask;
	case RTE_FLOW_ITEM_TYPE_IPV6: return &rte_flow_item_ipv6_mask;
	case RTE_FLOW_ITEM_TYPE_TCP: return &rte_flow_item_tcp_mask;
	case RTE_FLOW_ITEM_TYPE_UDP: return &rte_flow_item_udp_mask;
	case RTE_FLOW_ITEM_TYPE_ICMP: return &rte_flow_item_icmp_mask;
	case RTE_FLOW_ITEM_TYPE_ICMP6: return &rte_flow_item_icmp6_mask;
	case RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4: return &rte_flow_item_arp_eth_ipv4_mask;
	case RTE_FLOW_ITEM_TYPE_SCTP: return &rte_flow_item_sctp_mask;
	case RTE_FLOW_ITEM_TYPE_ESP: return &rte_flow_item_esp_mask;
	case RTE_FLOW_ITEM_TYPE_VXLAN: return &rte_flow_item_vxlan_mask;
	case RTE_FLOW_ITEM_TYPE_VXLAN_GPE: return &rte_flow_item_vxlan_gpe_mask;
	case RTE_FLOW_ITEM_TYPE_GENEVE: return &rte_flow_item_geneve_mask;
	case RTE_FLOW_ITEM_TYPE_GENEVE_OPT: return &rte_flow_item_geneve_opt_mask;
	case RTE_FLOW_ITEM_TYPE_GRE: return &rte_flow_item_gre_mask;
	case RTE_FLOW_ITEM_TYPE_NVGRE: return &rte_flow_item_nvgre_mask;
	case RTE_FLOW_ITEM_TYPE_GTP: return &rte_flow_item_gtp_mask;
	case RTE_FLOW_ITEM_TYPE_META: return &rte_flow_item_meta_mask;
	case RTE_FLOW_ITEM_TYPE_TAG: return &rte_flow_item_tag_mask;
	case RTE_FLOW_ITEM_TYPE_MARK: return &rte_flow_item_mark_mask;
	case RTE_FLOW_ITEM_TYPE_INTEGRITY: return &rte_flow_item_integrity_mask;
	case RTE_FLOW_ITEM_TYPE_CONNTRACK: return &rte_flow_item_conntrack_mask;
	default: return NULL;
	}
}
static inline uint16_t dpdk_sys_max_ethports(void) { return RTE_MAX_ETHPORTS; }
#ifdef PENSTOCK_DRIVER
static inline size_t dpdk_sys_sizeof_eth_dev(void) { return sizeof(struct rte_eth_dev); }
static inline size_t dpdk_sys_sizeof_eth_dev_ops(void) { return sizeof(struct eth_dev_ops); }
static inline size_t dpdk_sys_sizeof_flow_ops(void) { return sizeof(struct rte_flow_ops); }
#endif
