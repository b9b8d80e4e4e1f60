//! Generated bindings to DPDK.
