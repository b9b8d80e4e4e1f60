//! Messages, client and server of `proto/penstock/v1/host_access.proto`, where they are described.

/// The largest message either side takes, in bytes: certificates and names are small, and there are few VFs.
pub const MESSAGE_LIMIT: usize = 64 << 10;

/// Version 1.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]

    tonic::include_proto!("penstock.v1");
}
