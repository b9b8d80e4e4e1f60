//! Expressions, by precedence climbing.

use super::ast::{BinaryOperator as B, Expression, ExpressionKind as E, UnaryOperator};
use super::cursor::Cursor;
use super::token::TokenKind;
use super::types::{begins_type, type_expression};
use crate::diagnostic::Problem;

/// Operators from the loosest to the tightest, as the specification's grammar has them. `>>` is two tokens.
const LEVELS: &[&[(&str, B)]] = &[
    &[("||", B::OrElse)],
    &[("&&", B::AndAlso)],
    &[("==", B::Equal), ("!=", B::NotEqual)],
    &[("<=", B::LessOrEqual), (">=", B::GreaterOrEqual), ("<", B::Less), (">", B::Greater)],
    &[("|", B::Or)],
    &[("^", B::ExclusiveOr)],
    &[("&", B::And)],
    &[("<<", B::ShiftLeft)],
    &[
        ("++", B::Concatenate),
        ("|+|", B::AddSaturating),
        ("|-|", B::SubtractSaturating),
        ("+", B::Add),
        ("-", B::Subtract),
    ],
    &[("*", B::Multiply), ("/", B::Divide), ("%", B::Remainder)],
];

const SHIFT_LEVEL: usize = 7;

/// An expression.
pub fn expression(cursor: &mut Cursor) -> Result<Expression, Problem> {
    let condition = binary(cursor, 0)?;
    if !cursor.take("?") {
        return Ok(condition);
    }
    let yes = expression(cursor)?;
    cursor.expect(":")?;
    let no = expression(cursor)?;
    let span = condition.span.to(no.span);
    Ok(Expression { kind: E::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), span })
}

/// One set of a `select` or an entry: `a`, `a &&& m`, `a .. b`, `_`, `default`.
pub fn set(cursor: &mut Cursor) -> Result<Expression, Problem> {
    let span = cursor.span();
    if cursor.take("default") || cursor.take("_") {
        return Ok(Expression { kind: E::Any, span });
    }
    let first = expression(cursor)?;
    let make = if cursor.take("&&&") {
        E::Mask
    } else if cursor.take("..") {
        E::Range
    } else {
        return Ok(first);
    };
    let second = expression(cursor)?;
    let span = first.span.to(second.span);
    Ok(Expression { kind: make(Box::new(first), Box::new(second)), span })
}

/// Sets for all keys: one, or several in parentheses.
pub fn sets(cursor: &mut Cursor) -> Result<Vec<Expression>, Problem> {
    let several = cursor.attempt(|cursor| {
        cursor.expect("(").ok()?;
        let sets = cursor.list(")", set).ok()?;
        cursor.is(":").then_some(sets)
    });
    match several {
        Some(sets) => Ok(sets),
        None => Ok(vec![set(cursor)?]),
    }
}

fn binary(cursor: &mut Cursor, level: usize) -> Result<Expression, Problem> {
    let Some(operators) = LEVELS.get(level) else { return unary(cursor) };
    let mut left = binary(cursor, level + 1)?;
    loop {
        let operator = if cursor.is_pair(">", ">") || cursor.is_pair(">", ">=") {
            if level != SHIFT_LEVEL {
                return Ok(left);
            }
            cursor.advance();
            B::ShiftRight
        } else {
            match operators.iter().find(|(symbol, _)| cursor.is(symbol)) {
                Some((_, operator)) => *operator,
                None => return Ok(left),
            }
        };
        cursor.advance();
        let right = binary(cursor, level + 1)?;
        let span = left.span.to(right.span);
        left = Expression { kind: E::Binary(operator, Box::new(left), Box::new(right)), span };
    }
}

fn unary(cursor: &mut Cursor) -> Result<Expression, Problem> {
    let start = cursor.span();
    let operator = if cursor.take("!") {
        UnaryOperator::Not
    } else if cursor.take("~") {
        UnaryOperator::Complement
    } else if cursor.take("-") {
        UnaryOperator::Negate
    } else if cursor.is("(") && cast_follows(cursor) {
        cursor.advance();
        let ty = type_expression(cursor)?;
        cursor.expect(")")?;
        let of = unary(cursor)?;
        let span = start.to(of.span);
        return Ok(Expression { kind: E::Cast(ty, Box::new(of)), span });
    } else {
        return postfix(cursor);
    };
    let of = unary(cursor)?;
    let span = start.to(of.span);
    Ok(Expression { kind: E::Unary(operator, Box::new(of)), span })
}

/// Whether `(` opens a cast: a type stands behind it, and no member of that type.
fn cast_follows(cursor: &mut Cursor) -> bool {
    let mut cast = false;
    cursor.attempt(|cursor| {
        cursor.advance();
        cast = begins_type(cursor) && type_expression(cursor).is_ok() && cursor.is(")");
        None::<()>
    });
    cast
}

fn postfix(cursor: &mut Cursor) -> Result<Expression, Problem> {
    let mut of = primary(cursor)?;
    loop {
        let kind = if cursor.take(".") {
            E::Member(Box::new(of.clone()), cursor.name("a field or a method")?)
        } else if cursor.take("[") {
            let high = expression(cursor)?;
            if cursor.is("]") {
                return Err(Problem::new(cursor.span(), "indexing is not supported", "here")
                    .help("a slice is `x[high:low]`; there are no header stacks"));
            }
            cursor.expect(":")?;
            let low = expression(cursor)?;
            cursor.expect("]")?;
            E::Slice(Box::new(of.clone()), Box::new(high), Box::new(low))
        } else if cursor.take("(") {
            E::Call(Box::new(of.clone()), Vec::new(), cursor.list(")", expression)?)
        } else if let Some(types) = cursor.attempt(type_arguments) {
            cursor.expect("(")?;
            E::Call(Box::new(of.clone()), types, cursor.list(")", expression)?)
        } else {
            return Ok(of);
        };
        of = Expression { kind, span: of.span.to(cursor.last_span()) };
    }
}

/// `<A, B>` before `(`; anything else that begins with `<` is a comparison.
fn type_arguments(cursor: &mut Cursor) -> Option<Vec<super::ast::TypeExpression>> {
    cursor.expect("<").ok()?;
    let types = cursor.list(">", type_expression).ok()?;
    cursor.is("(").then_some(types)
}

/// A number, a name, a list, or anything in parentheses.
pub fn primary(cursor: &mut Cursor) -> Result<Expression, Problem> {
    let span = cursor.span();
    let kind = match cursor.peek().clone() {
        TokenKind::Integer { value, width } => {
            cursor.advance();
            E::Integer { value, width }
        }
        TokenKind::Text(text) => {
            cursor.advance();
            E::Text(text)
        }
        TokenKind::Symbol("(") => {
            cursor.advance();
            let inside = expression(cursor)?;
            let span = span.to(cursor.expect(")")?);
            return Ok(Expression { span, ..inside });
        }
        TokenKind::Symbol("{") => list(cursor)?,
        TokenKind::Word(word) => match word.as_str() {
            "true" | "false" => {
                cursor.advance();
                E::Boolean(word == "true")
            }
            "error" => {
                cursor.advance();
                E::Name(word)
            }
            _ => E::Name(cursor.name("an expression")?.text),
        },
        _ => return Err(cursor.unexpected("an expression")),
    };
    Ok(Expression { kind, span: span.to(cursor.last_span()) })
}

/// `{ a, b }` or `{ x = a, y = b }`.
fn list(cursor: &mut Cursor) -> Result<E, Problem> {
    cursor.expect("{")?;
    if matches!(cursor.peek(), TokenKind::Word(_)) && cursor.is_at(1, "=") {
        let fields = cursor.list("}", |cursor| {
            let name = cursor.name("a field")?;
            cursor.expect("=")?;
            Ok((name, expression(cursor)?))
        })?;
        return Ok(E::Fields(fields));
    }
    Ok(E::List(cursor.list("}", expression)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;
    use crate::syntax::lexer;
    use crate::syntax::token::Token;

    /// The expression with all its parentheses.
    fn shape(text: &str) -> String {
        let mut tokens = lexer::tokens(0, text).expect("tokens");
        tokens.push(Token { kind: TokenKind::End, span: Span::default() });
        let mut cursor = Cursor::new(tokens);
        cursor.declare_type(&crate::syntax::ast::Name { text: "T".into(), span: Span::default() });
        let parsed = expression(&mut cursor).expect("an expression");
        assert_eq!(*cursor.peek(), TokenKind::End, "{text}: not read to its end");
        show(&parsed)
    }

    fn show(e: &Expression) -> String {
        match &e.kind {
            E::Integer { value, .. } => value.to_string(),
            E::Name(name) => name.clone(),
            E::Member(of, name) => format!("{}.{}", show(of), name.text),
            E::Slice(of, high, low) => format!("{}[{}:{}]", show(of), show(high), show(low)),
            E::Unary(operator, of) => format!("({operator:?} {})", show(of)),
            E::Binary(operator, a, b) => format!("({} {operator:?} {})", show(a), show(b)),
            E::Conditional(a, b, c) => format!("({} ? {} : {})", show(a), show(b), show(c)),
            E::Cast(_, of) => format!("(cast {})", show(of)),
            E::Call(f, types, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(show).collect();
                format!("{}<{}>({})", show(f), types.len(), arguments.join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn operators_bind_as_the_specification_says() {
        assert_eq!(
            shape("a + b * c == d && e || f"),
            "((((a Add (b Multiply c)) Equal d) AndAlso e) OrElse f)"
        );
        assert_eq!(shape("a & b == c"), "((a And b) Equal c)");
        assert_eq!(shape("a - b - c"), "((a Subtract b) Subtract c)");
        assert_eq!(shape("a >> 2 > b"), "((a ShiftRight 2) Greater b)");
        assert_eq!(shape("a ++ b << 1"), "((a Concatenate b) ShiftLeft 1)");
        assert_eq!(shape("a ? b : c ? d : e"), "(a ? b : (c ? d : e))");
        assert_eq!(
            shape("!a.b && ~c[7:4] == 1"),
            "((Not a.b) AndAlso ((Complement c[7:4]) Equal 1))"
        );
    }

    #[test]
    fn casts_calls_and_comparisons_are_told_apart() {
        assert_eq!(shape("(T) a + b"), "((cast a) Add b)");
        assert_eq!(shape("(a) + b"), "(a Add b)");
        assert_eq!(shape("(bit<8>) -a"), "(cast (Negate a))");
        assert_eq!(shape("p.lookahead<bit<8>>()"), "p.lookahead<1>()");
        assert_eq!(shape("a < b"), "(a Less b)");
        assert_eq!(shape("(T.x) + 1"), "(T.x Add 1)");
    }
}
