//! Expressions.

use super::block::{Scope, Stop};
use super::call::Run;
use crate::operation;
use crate::program::{Expression, ExpressionKind as K, Type};
use crate::syntax::ast::BinaryOperator as B;
use crate::value::Value;

impl<'p> Run<'_, 'p> {
    /// The value of an expression.
    pub fn evaluate(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        expression: &'p Expression,
    ) -> Result<Value, Stop> {
        Ok(match &expression.kind {
            K::Constant(value) => value.clone(),
            K::Read(place) => scope.read(place)?,
            K::Slice(of, high, low) => {
                Value::Bits(self.evaluate(scope, of)?.as_bits().slice(*high, *low))
            }
            K::Unary(operator, of) => operation::unary(*operator, &self.evaluate(scope, of)?),
            K::Binary(B::AndAlso, left, right) => Value::Boolean(
                self.evaluate(scope, left)?.as_boolean()
                    && self.evaluate(scope, right)?.as_boolean(),
            ),
            K::Binary(B::OrElse, left, right) => Value::Boolean(
                self.evaluate(scope, left)?.as_boolean()
                    || self.evaluate(scope, right)?.as_boolean(),
            ),
            K::Binary(operator, left, right) => {
                let (left, right) = (self.evaluate(scope, left)?, self.evaluate(scope, right)?);
                operation::binary(*operator, &left, &right)
                    .expect("what can fail are constants, which the checker has folded")
            }
            K::Conditional(condition, yes, no) => {
                let chosen = self.evaluate(scope, condition)?.as_boolean();
                self.evaluate(scope, if chosen { yes } else { no })?
            }
            K::Cast(of) => {
                let width = match &expression.ty {
                    Type::Enum(id) => self.program.enums[*id].width,
                    _ => None,
                };
                operation::cast(&self.evaluate(scope, of)?, &expression.ty, width)
                    .expect("the checker admits casts that have a value")
            }
            K::List(values) => Value::List(self.all(scope, values)?),
            K::Header(values) => Value::Header { valid: true, fields: self.all(scope, values)? },
            K::IsValid(place) => match scope.get(place)? {
                Value::Header { valid, .. } => Value::Boolean(*valid),
                other => unreachable!("checked as a header, but is {other:?}"),
            },
            K::TableHit(table) => Value::Boolean(self.apply(scope, *table)?.hit),
            K::Call(call) => self.call(scope, call)?,
        })
    }

    fn all(
        &mut self,
        scope: &mut Scope<'_, 'p>,
        expressions: &'p [Expression],
    ) -> Result<Vec<Value>, Stop> {
        expressions.iter().map(|expression| self.evaluate(scope, expression)).collect()
    }
}
