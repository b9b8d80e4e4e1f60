//! The eswitch model through its public API.

mod forwarding;
mod rig;
