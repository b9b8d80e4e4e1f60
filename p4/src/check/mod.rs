//! From the syntax tree to a program that can run: names, types, constants.

mod body;
mod call;
mod expression;
mod global;
mod object;
mod package;
mod packet_call;
mod place;
mod scope;
mod statement;
mod table;
mod types;

use crate::diagnostic::{Problem, Span};
use crate::program::Program;
use crate::syntax::ast::Declaration;
use scope::Scope;

/// Checks a whole program.
///
/// # Errors
/// The first fault.
pub fn check(declarations: &[Declaration]) -> Result<Program, Problem> {
    let mut checker = Checker { program: Program::default(), globals: Scope::default() };
    for declaration in declarations {
        checker.global(declaration)?;
    }
    Ok(checker.program)
}

/// What has been declared so far.
struct Checker {
    program: Program,
    globals: Scope,
}

/// A fault of types.
fn mismatch(span: Span, expected: &str, found: &str) -> Problem {
    Problem::new(span, format!("expected {expected}, found {found}"), format!("this is {found}"))
}

/// Refuses annotations that nothing here understands.
fn no_annotations(annotations: &[crate::syntax::ast::Annotation]) -> Result<(), Problem> {
    known_annotations(annotations, &[])
}

/// Refuses annotations but these.
fn known_annotations(
    annotations: &[crate::syntax::ast::Annotation],
    known: &[&str],
) -> Result<(), Problem> {
    let unknown = annotations.iter().find(|a| !known.contains(&a.name.text.as_str()));
    let Some(unknown) = unknown else { return Ok(()) };
    let problem = Problem::new(
        unknown.name.span,
        format!("unknown annotation `@{}`", unknown.name.text),
        "means nothing here",
    );
    Err(if known.is_empty() {
        problem.help("nothing may be annotated here")
    } else {
        problem.help(format!("here may stand: @{}", known.join(", @")))
    })
}
