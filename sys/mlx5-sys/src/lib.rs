//! rdma-core for mlx5: [`raw`], generated bindings to libibverbs and mlx5dv, and [`identify`], what tells one NIC from
//! another.
//!
//! The library is loaded when it is asked for, not linked: programs run on machines without it.

mod identity;

/// Generated bindings. `Mlx5` holds the functions of a loaded `libmlx5.so.1`, and those of the libibverbs that it is
/// linked to.
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case, missing_docs)]
#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
#[allow(unsafe_op_in_unsafe_fn, dead_code)]
pub mod raw {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use identity::{Identity, IdentityError, NetDevice, SwitchPort, identify};
