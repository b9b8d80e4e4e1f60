//! The simulated NIC as a DPDK driver: `libpenstock_eswitch.so`, device `net_eswitch0`.
//!
//! EAL loads the library with `-d`; [`registration`] announces the driver, [`devargs`] reads what the user asked for,
//! [`device`] holds the eswitch and its ports, [`port`] and the modules beside it answer DPDK's calls.
//!
//! No thread of the driver touches a frame (the one of a [`control_socket`] only posts to the device). A frame moves when the application polls a port: [`queue`] reads a burst from the
//! port's [`link`], runs it through the eswitch, writes what the rules forward to the links, and hands the rest to the
//! application.
//!
//! # Panics
//! Every function that DPDK calls is `extern "C"`: a panic in it ends the process with its message instead of
//! unwinding into C. A half-updated eswitch must not go on carrying frames.

#![cfg(target_os = "linux")]

mod batch;
mod control_socket;
mod counters;
mod description;
mod devargs;
mod device;
mod flow_aged;
mod flow_answer;
mod flow_async;
mod flow_error;
mod flow_ops;
mod flow_shared;
mod flow_state;
mod kernel;
mod link;
mod log;
mod mbuf;
mod meter_ops;
mod port;
mod queue;
mod receive_filter;
mod registration;
mod reset;
mod rss;
mod software;
mod tally;
mod telemetry;
mod tracer;
mod transmit;
mod wire;

#[cfg(test)]
mod testing;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to another holder: a panic under a lock ends the process before anybody sees it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
