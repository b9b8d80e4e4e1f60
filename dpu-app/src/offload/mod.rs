//! The offload manager: which connections are in the NIC, and how they get there and leave.
//!
//! Pure, like the datapath: it is told what the shards want ([`Offer`]) and how requests ended ([`Reply`]), and says
//! what the NIC should do ([`Request`]) and what the shards should know ([`Notice`]). Whoever runs it (a thread of
//! the daemon, `penstock replay`) carries these to and fro.

mod dump;
mod exchange;
mod explain;
mod futility;
mod life;
mod link;
mod manager;
mod poll;
mod records;
mod shared;
mod statics;
mod tunnels;

pub use dump::{RuleInNic, RuleOwner, dumped_node};
pub use exchange::{
    InDoubt, News, Notice, Offer, OffloadSettings, Reply, Request, RuleCounters, RuleTally,
};
pub use explain::{Asked, ExplainedDirection, ExplainedPass, Explanation, NoEnd, Place, explain};
pub use link::Wish;
pub use manager::Manager;
pub use records::Ticket;
pub use tunnels::tunnel_header;
