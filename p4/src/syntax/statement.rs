//! Statements.

use super::ast::{Block, Expression, ExpressionKind, Statement, SwitchCase};
use super::cursor::Cursor;
use super::declaration::local;
use super::expression::expression;
use super::token::TokenKind;
use crate::diagnostic::Problem;

/// Statements in braces.
pub fn block(cursor: &mut Cursor) -> Result<Block, Problem> {
    let start = cursor.expect("{")?;
    let mut statements = Vec::new();
    while !cursor.take("}") {
        statements.push(statement(cursor)?);
    }
    Ok(Block { statements, span: start.to(cursor.last_span()) })
}

/// One statement.
pub fn statement(cursor: &mut Cursor) -> Result<Statement, Problem> {
    let span = cursor.span();
    if cursor.is("{") {
        return Ok(Statement::Block(block(cursor)?));
    }
    if cursor.take(";") {
        return Ok(Statement::Empty);
    }
    if cursor.take("if") {
        return conditional(cursor);
    }
    if cursor.take("switch") {
        return switch(cursor);
    }
    if cursor.take("return") {
        let value = if cursor.is(";") { None } else { Some(expression(cursor)?) };
        cursor.expect(";")?;
        return Ok(Statement::Return(value, span));
    }
    if cursor.take("exit") {
        cursor.expect(";")?;
        return Ok(Statement::Exit(span));
    }
    for word in ["for", "while", "do", "goto", "break", "continue"] {
        if cursor.is(word) && !cursor.is_at(1, ".") && !cursor.is_at(1, "=") {
            return Err(Problem::new(span, format!("`{word}` is not supported"), "here")
                .help("controls are loop-free; repetition belongs to parser states"));
        }
    }
    if let Some(declaration) = local(cursor)? {
        return Ok(Statement::Declaration(Box::new(declaration)));
    }
    let target = expression(cursor)?;
    if cursor.take("=") {
        let value = expression(cursor)?;
        cursor.expect(";")?;
        return Ok(Statement::Assign(target, value));
    }
    if !matches!(target.kind, ExpressionKind::Call(..)) {
        return Err(Problem::new(target.span, "this expression does nothing", "not a statement")
            .help("a statement assigns (`a = b;`) or calls (`a();`)"));
    }
    cursor.expect(";")?;
    Ok(Statement::Call(target))
}

fn conditional(cursor: &mut Cursor) -> Result<Statement, Problem> {
    cursor.expect("(")?;
    let condition = expression(cursor)?;
    cursor.expect(")")?;
    let yes = Box::new(statement(cursor)?);
    let no = if cursor.take("else") { Some(Box::new(statement(cursor)?)) } else { None };
    Ok(Statement::If(condition, yes, no))
}

fn switch(cursor: &mut Cursor) -> Result<Statement, Problem> {
    cursor.expect("(")?;
    let on: Expression = expression(cursor)?;
    cursor.expect(")")?;
    cursor.expect("{")?;
    let mut cases = Vec::new();
    while !cursor.take("}") {
        let span = cursor.span();
        let label =
            if cursor.take("default") { None } else { Some(cursor.name("an action's name")?) };
        cursor.expect(":")?;
        let body = match cursor.peek() {
            TokenKind::Symbol("{") => Some(block(cursor)?),
            _ => None,
        };
        cases.push(SwitchCase { label, body, span });
    }
    Ok(Statement::Switch(on, cases))
}
