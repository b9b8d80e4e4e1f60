//! `cargo xtask`: all set-up lives here.
fn main() {}
