//! The DPU daemon: datapath, conntrack, offload manager, ports, control API.
