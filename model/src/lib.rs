//! Intent: the objects an operator writes, their validation, their compiled snapshot.

mod compile;
pub mod decision;
pub mod diagnostic;
pub mod intent;
pub mod policy;
mod ranges;
pub mod route;
pub mod snapshot;
mod vni;

pub use compile::UnknownNode;
