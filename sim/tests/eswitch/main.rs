//! The eswitch model through its public API.

mod forwarding;
mod lifecycle;
mod matching;
mod properties;
mod queues;
mod rewriting;
mod rig;
