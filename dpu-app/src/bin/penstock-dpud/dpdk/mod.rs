//! DPDK, made safe: the environment, packet memory, ports, packets and rules. All `unsafe` of the daemon is in here.
//!
//! Everything borrows from what it needs: packets and ports from the memory they use, queues and rules from their port,
//! all of it from the environment; so nothing is closed or freed while something else still uses it.

mod eal;
mod error;
mod packet;
mod pool;
mod port;
mod rules;

pub use eal::Eal;
pub use error::DpdkError;
pub use packet::{BURST, Burst, Packet};
pub use pool::PacketPool;
pub use port::{
    Device, Port, PortSettings, PortStats, Queues, Representation, StoppedPort, devices,
};
pub use rules::{FlowQueue, RuleHandle, Rules, SynchronousRules, TemplateRules, transfer_proxy};
