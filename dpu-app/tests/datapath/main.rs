//! Scenarios over whole shards: two nodes, their VMs, and the wire between them.

mod flood;
mod fragments;
mod frames;
mod icmp;
mod limits;
mod network;
mod offload;
mod policy;
mod random;
mod short_way;
mod tcp;
mod timeouts;
mod world;
