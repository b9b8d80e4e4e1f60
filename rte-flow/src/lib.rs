//! rte_flow as Rust types: encoding to and decoding from DPDK's C structures, NIC profiles.
