//! The control API: messages, client and server of `proto/penstock/v1/host.proto`, where they are described.

/// Where a daemon listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/penstock/hostd.sock";

/// The largest message either side takes, in bytes: a support bundle travels in one.
pub const MESSAGE_LIMIT: usize = 64 << 20;

/// Version 1.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]

    tonic::include_proto!("penstock.v1");
}
