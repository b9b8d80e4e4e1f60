//! The eswitch model through its public API.

mod forwarding;
mod items;
mod lifecycle;
mod matching;
mod objects;
mod pools;
mod properties;
mod queues;
mod random_packets;
mod rewriting;
mod rig;
mod traps;
