//! `penstock`, the operator's command: its commands, one module each.

pub mod intent_files;
pub mod pcapng;
pub mod replay;
pub mod validate;
