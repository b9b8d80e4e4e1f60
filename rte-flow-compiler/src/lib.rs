//! From a decision to typed `rte_flow` rules, legal for a NIC profile.
//!
//! The NIC's tables are derived from the contract ([`layout`]). A decision becomes an [`Entry`] of one of them ([`connection`]),
//! intent becomes the entries of the static part ([`statics`]). The contract's rule for an entry, a [`Draft`], becomes rules that
//! the NIC takes pass by pass ([`legalise`]), once for each shape of entry; then any entry becomes a rule ([`Nic::rule`]).

mod actions;
mod connection;
mod draft;
mod entry;
pub mod layout;
pub mod legalise;
mod nic;
mod pattern;
#[cfg(test)]
mod profile_tests;
mod samples;
mod statics;
mod template;
pub mod vocabulary;

pub use connection::{NotOffloaded, connection};
pub use draft::{Act, Ask, Draft};
pub use entry::{Destination, Entry, EthdevPort, Layers, Macs, Transport, Value};
pub use legalise::Refusal;
pub use nic::{Explanation, Nic, Ports, Shared, Step};
pub use statics::statics;
pub use template::{TableTemplate, shape, templates};
