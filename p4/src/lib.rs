//! The contract in P4: a front end and an interpreter for the subset of P4-16 that `pipeline.p4` uses.
//!
//! A program is read ([`compile`]), loaded into a machine, and run packet by packet in virtual time.

pub mod address;
pub mod bits;
mod check;
pub mod conntrack;
pub mod diagnostic;
pub mod interpreter;
pub mod neighbors;
mod operation;
pub mod program;
pub mod schema;
pub mod stf;
pub mod syntax;
pub mod trace;
pub mod value;

use std::path::Path;

use diagnostic::{Diagnostic, Sources};
use program::Program;

/// Reads and checks a program.
///
/// # Errors
/// The first fault, with its place in the text.
pub fn compile(path: &Path) -> Result<Program, Diagnostic> {
    let mut sources = Sources::default();
    let declarations = syntax::read(path, &mut sources)?;
    check::check(&declarations).map_err(|problem| sources.report(problem))
}
