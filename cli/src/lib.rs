//! `penstock`, the operator's command: its commands, one module each.

pub mod apply;
pub mod daemon;
pub mod explain;
pub mod firmware;
pub mod flows;
pub mod get;
pub mod host;
pub mod intent_files;
pub mod nic;
pub mod pcapng;
pub mod replay;
pub mod status;
pub mod table;
pub mod upgrade;
pub mod validate;
pub mod verify;
pub mod vm;
