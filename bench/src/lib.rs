//! What the pure datapath costs: a world with flows, and the pieces of work that are measured in it.

pub mod datapath;
