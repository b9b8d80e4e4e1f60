//! The eswitch model: a switchdev eswitch as `ConnectX` and BlueField cards and their driver behave, in plain Rust.
//!
//! It performs no I/O and reads no clock. Rules come in through a synchronous or an asynchronous API, as typed
//! [`rte_flow::Rule`]s and templates; a [`Profile`](rte_flow::Profile) says what is refused, how fast and how large the card
//! is. Packets go through [`Eswitch::process`].

mod actions;
mod arena;
mod asynchronous;
mod bytes;
mod conntrack;
mod counter;
mod execute;
mod faults;
mod group;
mod headers;
mod indirect;
mod inspect;
mod matcher;
mod meter;
mod mix;
mod options;
mod pace;
mod pattern;
mod pool;
mod port;
mod process;
mod program;
mod rewrite;
mod rss;
mod rule;
mod sample;
mod store;
mod subject;
mod switch;
mod synchronous;
mod table;
mod template;
mod time;
mod trace;
mod tunnel;
mod turns;
mod usage;
mod vlan;

pub use arena::Id;
pub use asynchronous::{Completion, Enqueue, TableRule};
pub use counter::{AgeState, Count};
pub use faults::{Faults, InsertionFault, RefusedInsertions, RefusedUpdate};
pub use indirect::{IndirectState, IndirectUpdate};
pub use inspect::{Group, RuleSummary};
pub use meter::{MeterCapabilities, MeterCount, MeterStats};
pub use pool::FlowConfig;
pub use port::{Port, PortConfig, PortCounters, PortError, PortRole};
pub use process::{Attached, DropCause, RxQueue, Verdict};
pub use rss::{DEFAULT_RSS_KEY, RSS_KEY_BYTES, RssHash};
pub use rule::{Rule, RuleId};
pub use sample::{COPIES, PacketCopy};
pub use subject::Ingress;
pub use switch::Eswitch;
pub use synchronous::{Aged, Created};
pub use template::{ActionsTemplateId, PatternTemplateId, TableId};
pub use time::Time;
pub use trace::{Trace, VISITS, Visit};
pub use usage::Usage;
