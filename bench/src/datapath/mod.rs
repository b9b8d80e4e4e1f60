//! The pure datapath on one core, without ports: a shard, a snapshot and frames in memory.

mod work;
mod world;

pub use work::{WORK, Work, prepare, run};
pub use world::{Direction, Frames, Transport, World};
