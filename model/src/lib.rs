//! Intent: the objects an operator writes, their validation, their compiled snapshot.

pub mod decision;
pub mod policy;
pub mod route;
pub mod snapshot;
