//! What the conformance cases need: packets as text, cases as files, runs and their comparison.

pub mod case;
pub mod event;
pub mod intent;
pub mod notation;
pub mod run;
