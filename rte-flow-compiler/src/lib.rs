//! From a decision to typed `rte_flow` rules, legal for a NIC profile.
//!
//! The NIC's tables are data ([`layout`]). A decision becomes an [`Entry`] of one of them ([`connection`]), intent
//! becomes the entries of the static part ([`statics`]), and any entry becomes a rule ([`Nic::rule`]).

mod actions;
mod connection;
mod entry;
pub mod layout;
mod nic;
mod pattern;
#[cfg(test)]
mod profile_tests;
mod statics;
mod template;

pub use connection::{NotOffloaded, connection};
pub use entry::{Destination, Entry, EthdevPort, Macs, Transport};
pub use nic::{Nic, Ports};
pub use statics::statics;
pub use template::{TableTemplate, shape, templates};
