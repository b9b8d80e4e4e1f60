//! `penstock`, the operator's command.
fn main() {}
