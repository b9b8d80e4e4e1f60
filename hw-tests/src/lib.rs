//! One conformance suite for switchdev NICs under DPDK: cases as data, run by an unmodified `dpdk-testpmd`.
//!
//! The NIC is the simulated one, or a real one on a bench. `README.md` describes both, and how cases are written.

pub mod bench;
pub mod case;
pub mod ground;
pub mod place;
pub mod runner;
pub mod step;
pub mod target;

mod perform;
mod refusal;
mod session;
mod verbose;
mod wires;
