//! Declarations at the top of a program, and those inside of parsers, controls and blocks.

use super::ast::{
    Declaration, DeclarationKind as K, Direction, Field, Name, Parameter, Prototype,
    TypeExpression, TypeKind,
};
use super::cursor::Cursor;
use super::expression::expression;
use super::object::{action, control, parser};
use super::statement::block;
use super::token::{Token, TokenKind};
use super::types::{annotations, begins_type, parameters, type_expression, type_parameters};
use crate::diagnostic::Problem;

/// All declarations of a program.
pub fn program(tokens: Vec<Token>) -> Result<Vec<Declaration>, Problem> {
    let mut cursor = Cursor::new(tokens);
    let mut declarations = Vec::new();
    while *cursor.peek() != TokenKind::End {
        if cursor.take(";") {
            continue;
        }
        let annotations = annotations(&mut cursor)?;
        declarations.push(Declaration { kind: top(&mut cursor)?, annotations });
    }
    Ok(declarations)
}

fn top(cursor: &mut Cursor) -> Result<K, Problem> {
    let span = cursor.span();
    let TokenKind::Word(word) = cursor.peek().clone() else {
        return Err(cursor.unexpected("a declaration"));
    };
    match word.as_str() {
        "error" => {
            cursor.advance();
            Ok(K::Errors(names(cursor)?))
        }
        "match_kind" => {
            cursor.advance();
            Ok(K::MatchKinds(names(cursor)?))
        }
        "typedef" => {
            cursor.advance();
            let ty = type_expression(cursor)?;
            let name = declared_type(cursor)?;
            cursor.expect(";")?;
            Ok(K::Typedef(ty, name))
        }
        "type" => Err(Problem::new(span, "`type` is not supported", "here").help("use `typedef`")),
        "header_union" => Err(Problem::new(span, "header unions are not supported", "here")
            .help("use several headers of which one is valid")),
        "enum" => enumeration(cursor),
        "header" => {
            cursor.advance();
            let name = declared_type(cursor)?;
            Ok(K::Header(name, fields(cursor)?))
        }
        "struct" => {
            cursor.advance();
            let name = declared_type(cursor)?;
            Ok(K::Struct(name, fields(cursor)?))
        }
        "extern" => external(cursor),
        "package" => {
            cursor.advance();
            let name = declared_type(cursor)?;
            let prototype = signature(cursor, None, name)?;
            cursor.expect(";")?;
            Ok(K::Package(prototype))
        }
        "parser" => {
            cursor.advance();
            let name = declared_type(cursor)?;
            let prototype = signature(cursor, None, name)?;
            if cursor.take(";") { Ok(K::ParserType(prototype)) } else { parser(cursor, prototype) }
        }
        "control" => {
            cursor.advance();
            let name = declared_type(cursor)?;
            let prototype = signature(cursor, None, name)?;
            if cursor.take(";") {
                Ok(K::ControlType(prototype))
            } else {
                control(cursor, prototype)
            }
        }
        "action" => action(cursor),
        _ => {
            if let Some(declaration) = local(cursor)? {
                return Ok(declaration.kind);
            }
            if !begins_type(cursor) {
                return Err(cursor.unexpected("a declaration"));
            }
            let returns = type_expression(cursor)?;
            let name = cursor.name("a function's name")?;
            let prototype = signature(cursor, Some(returns), name)?;
            Ok(K::Function(prototype, block(cursor)?))
        }
    }
}

/// A constant, a variable or an instance, if one stands here.
pub fn local(cursor: &mut Cursor) -> Result<Option<Declaration>, Problem> {
    let kind = if cursor.take("const") {
        let ty = type_expression(cursor)?;
        let name = cursor.name("a constant's name")?;
        cursor.expect("=")?;
        let value = expression(cursor)?;
        K::Constant(ty, name, value)
    } else if let Some((ty, name)) = cursor.attempt(typed_name) {
        let value = if cursor.take("=") { Some(expression(cursor)?) } else { None };
        K::Variable(ty, name, value)
    } else if let Some((ty, arguments, name)) = cursor.attempt(instance) {
        K::Instance(ty, arguments, name)
    } else {
        return Ok(None);
    };
    cursor.expect(";")?;
    Ok(Some(Declaration { kind, annotations: Vec::new() }))
}

/// `T name` before `=` or `;`.
fn typed_name(cursor: &mut Cursor) -> Option<(TypeExpression, Name)> {
    let ty = type_expression(cursor).ok()?;
    let name = cursor.name("").ok()?;
    (!cursor.is("(")).then_some((ty, name))
}

/// `T(arguments) name` before `;`.
fn instance(cursor: &mut Cursor) -> Option<(TypeExpression, Vec<super::ast::Expression>, Name)> {
    let ty = type_expression(cursor).ok()?;
    cursor.expect("(").ok()?;
    let arguments = cursor.list(")", expression).ok()?;
    let name = cursor.name("").ok()?;
    Some((ty, arguments, name))
}

fn declared_type(cursor: &mut Cursor) -> Result<Name, Problem> {
    let name = cursor.name("a name for the type")?;
    cursor.declare_type(&name);
    Ok(name)
}

fn names(cursor: &mut Cursor) -> Result<Vec<Name>, Problem> {
    cursor.expect("{")?;
    cursor.list("}", |cursor| cursor.name("a name"))
}

fn enumeration(cursor: &mut Cursor) -> Result<K, Problem> {
    cursor.expect("enum")?;
    let underlying = if cursor.is("bit") { Some(type_expression(cursor)?) } else { None };
    let name = declared_type(cursor)?;
    cursor.expect("{")?;
    let members = cursor.list("}", |cursor| {
        let member = cursor.name("a member")?;
        let value = if cursor.take("=") { Some(expression(cursor)?) } else { None };
        Ok((member, value))
    })?;
    Ok(K::Enum(name, underlying, members))
}

fn fields(cursor: &mut Cursor) -> Result<Vec<Field>, Problem> {
    cursor.expect("{")?;
    let mut fields = Vec::new();
    while !cursor.take("}") {
        let ty = type_expression(cursor)?;
        let name = cursor.name("a field's name")?;
        cursor.expect(";")?;
        fields.push(Field { ty, name });
    }
    Ok(fields)
}

fn signature(
    cursor: &mut Cursor,
    returns: Option<TypeExpression>,
    name: Name,
) -> Result<Prototype, Problem> {
    let type_parameters = type_parameters(cursor)?;
    let parameters: Vec<Parameter> = parameters(cursor)?;
    Ok(Prototype { returns, name, type_parameters, parameters })
}

fn external(cursor: &mut Cursor) -> Result<K, Problem> {
    cursor.expect("extern")?;
    let object = matches!(cursor.peek(), TokenKind::Word(_)) && cursor.is_at(1, "{");
    if !object {
        // What a generic function returns may be its type parameter, which is declared behind it.
        let returns = returned(cursor)?;
        let name = cursor.name("a function's name")?;
        let prototype = signature(cursor, Some(returns), name)?;
        cursor.expect(";")?;
        return Ok(K::ExternFunction(prototype));
    }
    let name = declared_type(cursor)?;
    cursor.expect("{")?;
    let mut methods = Vec::new();
    while !cursor.take("}") {
        let constructor = matches!(cursor.peek(), TokenKind::Word(word) if *word == name.text)
            && cursor.is_at(1, "(");
        let returns = if constructor { None } else { Some(returned(cursor)?) };
        let method = cursor.name("a method's name")?;
        methods.push(signature(cursor, returns, method)?);
        cursor.expect(";")?;
    }
    for method in &methods {
        if let Some(bare) = method.parameters.iter().find(|p| p.direction == Direction::None)
            && method.returns.is_some()
        {
            return Err(Problem::new(
                bare.name.span,
                format!("the parameter `{}` of a method has no direction", bare.name.text),
                "`in`, `out` or `inout` expected",
            ));
        }
    }
    Ok(K::ExternObject(name, methods))
}

fn returned(cursor: &mut Cursor) -> Result<TypeExpression, Problem> {
    if begins_type(cursor) {
        return type_expression(cursor);
    }
    let name = cursor.name("a type")?;
    Ok(TypeExpression { kind: TypeKind::Named(name.text, Vec::new()), span: name.span })
}
