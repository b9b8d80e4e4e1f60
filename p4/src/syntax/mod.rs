//! From text to a syntax tree: characters, tokens, preprocessor, recursive descent.

pub mod ast;
mod cursor;
mod declaration;
mod expression;
mod lexer;
mod object;
mod preprocess;
mod statement;
mod token;
mod types;

use std::path::Path;

use crate::diagnostic::{Diagnostic, Sources};

/// Reads a program and everything it includes.
///
/// # Errors
/// The first fault of the text, with its place.
pub fn read(path: &Path, sources: &mut Sources) -> Result<Vec<ast::Declaration>, Diagnostic> {
    let tokens = preprocess::tokens(path, sources)?;
    declaration::program(tokens).map_err(|problem| sources.report(problem))
}
