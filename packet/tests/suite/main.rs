//! The crate's public functions on frames that are made byte by byte, and on random bytes.

mod frames;
mod fuzz;
mod parse;
mod tunnel;
