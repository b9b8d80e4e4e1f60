//! The simulated NIC: an eswitch model, its DPDK driver, virtual links.
