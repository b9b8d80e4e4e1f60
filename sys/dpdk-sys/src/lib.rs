//! Generated bindings to DPDK 22.11: EAL, ports, mbufs, rings, `rte_flow`, meters; with the feature `driver` also what
//! a port driver outside DPDK's tree needs.
//!
//! Names, layouts and semantics are DPDK's own; see its API reference. Inline functions of the headers are callable
//! like the others. The DPDK libraries are linked only into programs that call one of them.
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case, missing_docs)]
#![allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
#![allow(unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
