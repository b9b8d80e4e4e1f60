//! `penstock`, the operator's command: its commands, one module each.

pub mod pcapng;
