//! Intent: the objects an operator writes, their validation, their compiled snapshot.

pub mod decision;
pub mod policy;
mod ranges;
pub mod route;
pub mod snapshot;
