//! How a VF gets to a VM, stays there and comes back, whatever happens meanwhile.

mod choose;
pub mod consent;
mod engine;
pub mod fault;
mod host;
pub mod step;
mod system;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use choose::{ChoiceError, choose, free_vfs, used_by_host};
pub use engine::{AttachError, Attachments, Condition, Wish};
pub use host::{Host, HostError};
pub use system::{Machine, SystemHost};
