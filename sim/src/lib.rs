//! The simulated NIC: a pure model of a switchdev eswitch, and what its driver needs besides.

pub mod eswitch;
