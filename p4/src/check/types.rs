//! Types as written to types as meant.

use super::scope::Symbol;
use super::{Checker, mismatch};
use crate::bits::MAX_WIDTH;
use crate::diagnostic::{Problem, Span};
use crate::program::{Parameter, Signature, Type};
use crate::syntax::ast::{self, Direction, Expression, Name, Prototype, TypeExpression, TypeKind};
use crate::value::Value;

/// The longest `varbit`: the longest IPv6 extension header and more.
const MAX_VARBIT: u32 = 1 << 16;

impl Checker {
    /// A type, of which these names may be parameters.
    pub fn resolve(&mut self, ty: &TypeExpression, generic: &[String]) -> Result<Type, Problem> {
        Ok(match &ty.kind {
            TypeKind::Boolean => Type::Boolean,
            TypeKind::Integer => Type::Integer,
            TypeKind::Error => Type::Error,
            TypeKind::Text => Type::Text,
            TypeKind::Void => Type::Void,
            TypeKind::Bits(width) => Type::Bits(self.width(width, MAX_WIDTH)?),
            TypeKind::Varbit(width) => Type::Varbit(self.width(width, MAX_VARBIT)?),
            TypeKind::Tuple(types) => Type::Tuple(
                types.iter().map(|ty| self.resolve(ty, generic)).collect::<Result<_, _>>()?,
            ),
            TypeKind::Named(name, arguments) => {
                if generic.contains(name) {
                    return Ok(Type::Parameter(name.clone()));
                }
                if let Some(argument) = arguments.first() {
                    return Err(Problem::new(
                        argument.span,
                        format!("`{name}` has no type parameters"),
                        "one too many",
                    ));
                }
                match self.globals.get(name) {
                    Some(Symbol::Type(ty)) => ty.clone(),
                    Some(other) => return Err(mismatch(ty.span, "a type", other.what())),
                    None => return Err(self.unknown(name, ty.span, "type")),
                }
            }
        })
    }

    /// What to say of a name that nothing has.
    pub fn unknown(&self, name: &str, span: Span, what: &str) -> Problem {
        let problem = Problem::new(span, format!("there is no {what} `{name}`"), "not declared");
        match self.globals.similar(name) {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem,
        }
    }

    fn width(&mut self, width: &Expression, limit: u32) -> Result<u32, Problem> {
        let value = self.constant(width, None)?.0;
        let number = match value {
            Value::Integer(number) => u32::try_from(number).ok(),
            Value::Bits(bits) => Some(bits.to_count()),
            _ => None,
        };
        number.filter(|width| (1..=limit).contains(width)).ok_or_else(|| {
            Problem::new(width.span, "no width in bits", format!("1 to {limit} expected"))
        })
    }

    /// The types of a function's or block's parameters.
    pub fn signature(
        &mut self,
        prototype: &Prototype,
        outer: &[String],
    ) -> Result<Signature, Problem> {
        let type_parameters: Vec<_> =
            prototype.type_parameters.iter().map(|name| name.text.clone()).collect();
        let generic = [outer, &type_parameters].concat();
        distinct(&prototype.type_parameters)?;
        let returns =
            prototype.returns.as_ref().map(|ty| self.resolve(ty, &generic)).transpose()?;
        let parameters = self.parameters(&prototype.parameters, &generic)?;
        Ok(Signature { name: prototype.name.text.clone(), type_parameters, parameters, returns })
    }

    /// The types of parameters.
    pub fn parameters(
        &mut self,
        parameters: &[ast::Parameter],
        generic: &[String],
    ) -> Result<Vec<Parameter>, Problem> {
        distinct(parameters.iter().map(|parameter| &parameter.name))?;
        parameters
            .iter()
            .map(|parameter| {
                let ty = self.resolve(&parameter.ty, generic)?;
                if ty == Type::Text && parameter.direction != Direction::None {
                    return Err(Problem::new(
                        parameter.name.span,
                        "text has no direction",
                        "it is known before the program runs",
                    ));
                }
                if matches!(ty, Type::Extern(_)) && parameter.direction != Direction::None {
                    return Err(Problem::new(
                        parameter.name.span,
                        "an extern object has no direction",
                        "`in`, `out` and `inout` copy, which an object cannot be",
                    ));
                }
                Ok(Parameter {
                    name: parameter.name.text.clone(),
                    ty,
                    direction: parameter.direction,
                })
            })
            .collect()
    }
}

/// Refuses parameters of the same name.
pub fn distinct<'a>(names: impl IntoIterator<Item = &'a Name>) -> Result<(), Problem> {
    let mut known: Vec<&str> = Vec::new();
    for name in names {
        if known.contains(&name.text.as_str()) {
            return Err(Problem::new(
                name.span,
                format!("`{}` is declared twice", name.text),
                "the second time",
            ));
        }
        known.push(&name.text);
    }
    Ok(())
}
