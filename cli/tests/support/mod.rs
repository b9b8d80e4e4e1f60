//! What the conformance cases need: cases as files, runs and their comparison.

pub mod case;
pub mod contract;
pub mod documented;
pub mod event;
pub mod intent;
pub mod run;
