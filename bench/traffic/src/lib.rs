//! A DPDK driver for benchmarks: ports that receive the frames of a file, and forget what is sent.
//!
//! `net_trafficN,file=FILE,port=NUMBER[,repeat=BYTE][,report=FILE]`: behind the last frame, that at byte BYTE comes again. Any DPDK program can load it, so that all of them are
//! measured by the same means: the CPU time of the thread that polls the ports, read in this thread itself, against the
//! packets that it received. Ports of one process that have the same file share their place in it: each receives the
//! frames that are its own, in the order of the file, when the ones before them were received. One thread polls them all.
//!
//! See [`Frames`] for the file and [`Report`] for what is said of it.

mod frames;
mod port;
mod report;

pub use frames::{Frames, write_frame};
pub use report::{Checkpoint, Report};
