//! Types, parameters, annotations.

use super::ast::{Annotation, Direction, Name, Parameter, TypeExpression, TypeKind};
use super::cursor::Cursor;
use super::expression;
use super::token::TokenKind;
use crate::diagnostic::Problem;

/// Whether a type, and nothing else, can begin here.
pub fn begins_type(cursor: &Cursor) -> bool {
    match cursor.peek() {
        TokenKind::Word(word) => match word.as_str() {
            "bool" | "bit" | "varbit" | "int" | "string" | "void" | "tuple" => true,
            "error" => !cursor.is_at(1, "."),
            name => cursor.is_type_name(name),
        },
        _ => false,
    }
}

/// A type.
pub fn type_expression(cursor: &mut Cursor) -> Result<TypeExpression, Problem> {
    let start = cursor.span();
    let TokenKind::Word(word) = cursor.peek().clone() else {
        return Err(cursor.unexpected("a type"));
    };
    let kind = match word.as_str() {
        "bool" => plain(cursor, TypeKind::Boolean),
        "error" => plain(cursor, TypeKind::Error),
        "string" => plain(cursor, TypeKind::Text),
        "void" => plain(cursor, TypeKind::Void),
        "bit" => {
            cursor.advance();
            TypeKind::Bits(Box::new(width(cursor)?))
        }
        "varbit" => {
            cursor.advance();
            TypeKind::Varbit(Box::new(width(cursor)?))
        }
        "int" => {
            cursor.advance();
            if cursor.is("<") {
                return Err(Problem::new(start, "signed types are not supported", "`int<N>`")
                    .help("use `bit<N>`"));
            }
            TypeKind::Integer
        }
        "tuple" => {
            cursor.advance();
            cursor.expect("<")?;
            TypeKind::Tuple(cursor.list(">", type_expression)?)
        }
        "header_union" | "value_set" => {
            return Err(Problem::new(start, format!("`{word}` is not supported"), "here"));
        }
        _ => {
            let name = cursor.name("a type")?;
            let arguments =
                if cursor.take("<") { cursor.list(">", type_expression)? } else { Vec::new() };
            TypeKind::Named(name.text, arguments)
        }
    };
    if cursor.is("[") {
        return Err(Problem::new(cursor.span(), "header stacks are not supported", "here")
            .help("name the headers one by one"));
    }
    Ok(TypeExpression { kind, span: start.to(cursor.last_span()) })
}

fn plain(cursor: &mut Cursor, kind: TypeKind) -> TypeKind {
    cursor.advance();
    kind
}

/// `<N>`, where N is a number, a name, or anything in parentheses.
fn width(cursor: &mut Cursor) -> Result<super::ast::Expression, Problem> {
    cursor.expect("<")?;
    let width = expression::primary(cursor)?;
    cursor.expect(">")?;
    Ok(width)
}

/// `<A, B>`, if there.
pub fn type_parameters(cursor: &mut Cursor) -> Result<Vec<Name>, Problem> {
    if !cursor.take("<") {
        return Ok(Vec::new());
    }
    cursor.list(">", |cursor| {
        let name = cursor.name("a type parameter")?;
        cursor.declare_type(&name);
        Ok(name)
    })
}

/// `(in T a, out U b)`.
pub fn parameters(cursor: &mut Cursor) -> Result<Vec<Parameter>, Problem> {
    cursor.expect("(")?;
    cursor.list(")", |cursor| {
        let direction = if cursor.take("in") {
            Direction::In
        } else if cursor.take("out") {
            Direction::Out
        } else if cursor.take("inout") {
            Direction::InOut
        } else {
            Direction::None
        };
        let ty = type_expression(cursor)?;
        let name = cursor.name("a parameter's name")?;
        if cursor.is("=") {
            return Err(Problem::new(
                cursor.span(),
                "default values of parameters are not supported",
                "here",
            ));
        }
        Ok(Parameter { direction, ty, name })
    })
}

/// `@a @b(1)`, if there.
pub fn annotations(cursor: &mut Cursor) -> Result<Vec<Annotation>, Problem> {
    let mut annotations = Vec::new();
    while cursor.take("@") {
        let name = cursor.name("an annotation's name")?;
        let arguments =
            if cursor.take("(") { cursor.list(")", expression::expression)? } else { Vec::new() };
        annotations.push(Annotation { name, arguments });
    }
    Ok(annotations)
}
