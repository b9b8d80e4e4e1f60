//! The simulated NIC: a pure model of a switchdev eswitch, and what its driver needs besides.

pub mod control;
pub mod eswitch;
pub mod link_faults;
