//! The control API: messages, client and server of `proto/penstock/v1/dpu.proto`, where they are described.

/// Where a daemon listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/penstock/dpud.sock";

/// The largest message either side takes, in bytes: a whole intent travels in one.
pub const MESSAGE_LIMIT: usize = 1 << 30;

/// Version 1.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]

    tonic::include_proto!("penstock.v1");
}
