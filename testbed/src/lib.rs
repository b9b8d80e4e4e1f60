//! What tests of several rooms share. It knows none of those rooms, so that a mistake in them is not repeated here.

pub mod callgrind;
pub mod difference;
pub mod notation;
pub mod random;
pub mod testpmd;
