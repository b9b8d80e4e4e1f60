//! Who a DPU and its hosts are to each other: identities, the DPU's certificate authority, enrolment, TLS on which both
//! sides prove who they are, and the calls they make.
//!
//! Time comes from outside ([`Clock`]). See `docs/reference/trust.md`.

pub mod api;
pub mod authority;
pub mod client;
pub mod clock;
pub mod credentials;
pub mod file;
pub mod functions;
pub mod identity;
mod kept;
pub mod leases;
pub mod listener;
mod name;
pub mod refusal;
pub mod registry;
pub mod server;
pub mod tls;
pub mod token;
pub mod vf;
pub mod vm;

pub use authority::Authority;
pub use clock::{Clock, Moment};
pub use credentials::{Credentials, NewKey};
pub use identity::{Enrolment, HostName, Identity, NodeName};
pub use refusal::{Refusal, Refusals};
pub use registry::Registry;
pub use token::Token;
