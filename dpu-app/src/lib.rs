//! The DPU daemon: datapath, conntrack, offload manager, ports, control API.

pub mod api;
pub mod datapath;
pub mod offload;
