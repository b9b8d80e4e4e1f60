//! Expressions: types, and constants folded.

use super::body::BodyChecker;
use super::call::Called;
use super::mismatch;
use super::scope::{Symbol, most_similar};
use crate::diagnostic::{Problem, Span};
use crate::operation;
use crate::program::{Expression, ExpressionKind as K, Type};
use crate::syntax::ast::{
    self, BinaryOperator as B, ExpressionKind as E, Name, UnaryOperator as U,
};
use crate::value::Value;

impl BodyChecker<'_> {
    /// An expression of the expected type, or of its own.
    pub fn expression(
        &mut self,
        written: &ast::Expression,
        expected: Option<&Type>,
    ) -> Result<Expression, Problem> {
        let span = written.span;
        let constant = |value, ty| Expression { kind: K::Constant(value), ty, span };
        let checked = match &written.kind {
            E::Boolean(value) => constant(Value::Boolean(*value), Type::Boolean),
            E::Integer { value, width: Some(width) } => {
                constant(Value::bits(*width, *value), Type::Bits(*width))
            }
            E::Integer { value, width: None } => {
                let value = ethnum::I256::try_from(*value)
                    .map_err(|_| Problem::new(span, "the number is too large", "over 255 bits"))?;
                constant(Value::Integer(value), Type::Integer)
            }
            E::Text(text) => constant(Value::Text(text.clone()), Type::Text),
            E::Name(_) | E::Member(..) => self.named(written)?,
            E::Slice(of, high, low) => self.slice(written, of, high, low)?,
            E::Unary(operator, of) => self.unary(*operator, of, span)?,
            E::Binary(operator, left, right) => self.binary(*operator, left, right, span)?,
            E::Conditional(condition, yes, no) => {
                let condition = self.expression(condition, Some(&Type::Boolean))?;
                let yes = self.expression(yes, expected)?;
                let no = self.expression(no, expected)?;
                let (yes, no) = self.unified(yes, no)?;
                if yes.ty == Type::Integer {
                    return Err(Problem::new(
                        span,
                        "the width of the result is unknown",
                        "two plain numbers",
                    )
                    .help("give one of them a width: `8w1`"));
                }
                let ty = yes.ty.clone();
                Expression {
                    kind: K::Conditional(condition.into(), yes.into(), no.into()),
                    ty,
                    span,
                }
            }
            E::Cast(ty, of) => self.cast(ty, of, span)?,
            E::Call(..) => match self.call(written)? {
                Called::Value(expression) if expression.ty != Type::Void => expression,
                Called::Value(_) | Called::Apply(_) | Called::SetValid(..) => {
                    return Err(Problem::new(
                        span,
                        "this call has no value",
                        "a value is expected",
                    )
                    .help("a table's are `t.apply().hit` and `t.apply().miss`"));
                }
            },
            E::List(values) => self.list(values, expected, span)?,
            E::Fields(fields) => self.fields(fields, expected, span)?,
            E::Mask(..) | E::Range(..) | E::Any => {
                return Err(Problem::new(span, "a set is no value", "here")
                    .help("sets stand in `select` and in entries"));
            }
        };
        match expected {
            Some(expected) => self.coerce(checked, expected),
            None => Ok(checked),
        }
    }

    /// A plain number gets the expected width; all else must be of the expected type.
    fn coerce(&self, checked: Expression, expected: &Type) -> Result<Expression, Problem> {
        if checked.ty == *expected || matches!(expected, Type::Parameter(_)) {
            return Ok(checked);
        }
        if let (K::Constant(value @ Value::Integer(number)), Type::Bits(width)) =
            (&checked.kind, expected)
        {
            let value = operation::cast(value, expected, None).ok_or_else(|| {
                Problem::new(
                    checked.span,
                    format!("{number} does not fit into {width} bits"),
                    "too large",
                )
            })?;
            return Ok(Expression { kind: K::Constant(value), ty: expected.clone(), ..checked });
        }
        let program = &self.checker.program;
        let problem =
            mismatch(checked.span, &program.show_type(expected), &program.show_type(&checked.ty));
        Err(match (expected, &checked.ty) {
            (Type::Bits(_), Type::Bits(_) | Type::Boolean | Type::Enum(_)) => {
                problem.help(format!("cast it: `({}) ...`", program.show_type(expected)))
            }
            (Type::Boolean, Type::Bits(_)) => problem.help("compare it: `... != 0`"),
            _ => problem,
        })
    }

    /// Two operands of the same type; a plain number takes the other's.
    fn unified(
        &self,
        left: Expression,
        right: Expression,
    ) -> Result<(Expression, Expression), Problem> {
        if left.ty == Type::Integer && right.ty != Type::Integer {
            let left = self.coerce(left, &right.ty)?;
            return Ok((left, right));
        }
        let right = self.coerce(right, &left.ty)?;
        Ok((left, right))
    }

    fn named(&mut self, written: &ast::Expression) -> Result<Expression, Problem> {
        let span = written.span;
        let constant = |value, ty| Ok(Expression { kind: K::Constant(value), ty, span });
        if let E::Member(of, member) = &written.kind {
            if let E::Name(name) = &of.kind {
                if name == "error" {
                    let errors = &self.checker.program.errors;
                    let value = member_of("error", member, errors.iter().map(String::as_str))?;
                    return constant(Value::Member(value), Type::Error);
                }
                if let Symbol::Type(Type::Enum(id)) = self.lookup(name, of.span)? {
                    let members = &self.checker.program.enums[id].members;
                    let place =
                        member_of(name, member, members.iter().map(|(name, _)| name.as_str()))?;
                    return constant(members[place].1.clone(), Type::Enum(id));
                }
            }
            if let Some(expression) = self.table_result(of, member, span)? {
                return Ok(expression);
            }
            if matches!(of.kind, E::Call(..)) {
                return Err(Problem::new(span, "a field of a call's result", "not supported")
                    .help("put the result into a variable first"));
            }
        }
        if let E::Name(name) = &written.kind
            && let Symbol::Constant(value, ty) = self.lookup(name, span)?
        {
            return constant(value, ty);
        }
        if let Some((place, ty, _)) = self.place(written)? {
            return Ok(Expression { kind: K::Read(place), ty, span });
        }
        let what = match &written.kind {
            E::Name(name) => self.lookup(name, span)?.what(),
            _ => "something else",
        };
        Err(mismatch(span, "a value", what))
    }

    fn slice(
        &mut self,
        written: &ast::Expression,
        of: &ast::Expression,
        high: &ast::Expression,
        low: &ast::Expression,
    ) -> Result<Expression, Problem> {
        let span = written.span;
        if let Some((place, ty, _)) = self.place(written)? {
            return Ok(Expression { kind: K::Read(place), ty, span });
        }
        let checked = self.expression(of, None)?;
        let (high, low) = self.slice_bounds(&checked.ty, of.span, high, low)?;
        let ty = Type::Bits(high - low + 1);
        Ok(match &checked.kind {
            K::Constant(value) => Expression {
                kind: K::Constant(Value::Bits(value.as_bits().slice(high, low))),
                ty,
                span,
            },
            _ => Expression { kind: K::Slice(Box::new(checked), high, low), ty, span },
        })
    }

    /// The bounds of a slice of a type.
    pub fn slice_bounds(
        &mut self,
        ty: &Type,
        span: Span,
        high: &ast::Expression,
        low: &ast::Expression,
    ) -> Result<(u32, u32), Problem> {
        let Type::Bits(width) = *ty else {
            return Err(mismatch(span, "bit<N>", &self.checker.program.show_type(ty)));
        };
        let mut bound = |written: &ast::Expression| match self.checker.constant(written, None)?.0 {
            Value::Integer(number) => {
                u32::try_from(number).ok().filter(|bit| *bit < width).ok_or_else(|| {
                    Problem::new(
                        written.span,
                        "there is no such bit",
                        format!("0 to {}", width - 1),
                    )
                })
            }
            _ => Err(Problem::new(written.span, "a plain number is expected", "here")),
        };
        let (top, bottom) = (bound(high)?, bound(low)?);
        if top < bottom {
            return Err(Problem::new(
                high.span.to(low.span),
                "the slice is upside down",
                "high:low expected",
            ));
        }
        Ok((top, bottom))
    }

    fn unary(
        &mut self,
        operator: U,
        of: &ast::Expression,
        span: Span,
    ) -> Result<Expression, Problem> {
        let expected = (operator == U::Not).then_some(Type::Boolean);
        let of = self.expression(of, expected.as_ref())?;
        let fits = match operator {
            U::Not => true,
            U::Complement => matches!(of.ty, Type::Bits(_)),
            U::Negate => matches!(of.ty, Type::Bits(_) | Type::Integer),
        };
        if !fits {
            return Err(mismatch(of.span, "bit<N>", &self.checker.program.show_type(&of.ty)));
        }
        let ty = of.ty.clone();
        let kind = match &of.kind {
            K::Constant(value) => K::Constant(operation::unary(operator, value)),
            _ => K::Unary(operator, Box::new(of)),
        };
        Ok(Expression { kind, ty, span })
    }

    fn binary(
        &mut self,
        operator: B,
        left: &ast::Expression,
        right: &ast::Expression,
        span: Span,
    ) -> Result<Expression, Problem> {
        let expected = matches!(operator, B::AndAlso | B::OrElse).then_some(Type::Boolean);
        let left = self.expression(left, expected.as_ref())?;
        let right = self.expression(right, expected.as_ref())?;
        let (left, right, ty) = match operator {
            B::AndAlso | B::OrElse => (left, right, Type::Boolean),
            B::ShiftLeft | B::ShiftRight => {
                self.number(&left)?;
                self.number(&right)?;
                if matches!(&right.kind, K::Constant(Value::Integer(count)) if count.is_negative())
                {
                    return Err(Problem::new(right.span, "a shift by a negative number", "here"));
                }
                if left.ty == Type::Integer && !matches!(right.kind, K::Constant(_)) {
                    return Err(Problem::new(
                        left.span,
                        "the width of the result is unknown",
                        "a plain number",
                    )
                    .help("give it a width: `8w1`"));
                }
                let ty = left.ty.clone();
                (left, right, ty)
            }
            B::Concatenate => {
                let (Type::Bits(a), Type::Bits(b)) = (&left.ty, &right.ty) else {
                    return Err(Problem::new(span, "`++` joins numbers of known width", "here"));
                };
                if a + b > crate::bits::MAX_WIDTH {
                    return Err(Problem::new(span, format!("{} bits are too many", a + b), "here")
                        .help(format!("at most {}", crate::bits::MAX_WIDTH)));
                }
                let ty = Type::Bits(a + b);
                (left, right, ty)
            }
            B::Equal | B::NotEqual => {
                let (left, right) = self.unified(left, right)?;
                (left, right, Type::Boolean)
            }
            B::Less | B::LessOrEqual | B::Greater | B::GreaterOrEqual => {
                let (left, right) = self.unified(left, right)?;
                self.number(&left)?;
                (left, right, Type::Boolean)
            }
            _ => {
                let (left, right) = self.unified(left, right)?;
                self.number(&left)?;
                if matches!(operator, B::Divide | B::Remainder) && left.ty != Type::Integer {
                    return Err(Problem::new(span, "only constants can be divided", "here")
                        .help("a shift divides by a power of two"));
                }
                let ty = left.ty.clone();
                (left, right, ty)
            }
        };
        let kind = match (&left.kind, &right.kind) {
            (K::Constant(a), K::Constant(b)) => {
                K::Constant(operation::binary(operator, a, b).ok_or_else(|| {
                    Problem::new(
                        span,
                        "the constant cannot be computed",
                        "over 256 bits, or divided by 0, or of negative numbers",
                    )
                })?)
            }
            _ => K::Binary(operator, Box::new(left), Box::new(right)),
        };
        Ok(Expression { kind, ty, span })
    }

    fn number(&self, checked: &Expression) -> Result<(), Problem> {
        match checked.ty {
            Type::Bits(_) | Type::Integer => Ok(()),
            _ => Err(mismatch(
                checked.span,
                "a number",
                &self.checker.program.show_type(&checked.ty),
            )),
        }
    }

    fn cast(
        &mut self,
        ty: &ast::TypeExpression,
        of: &ast::Expression,
        span: Span,
    ) -> Result<Expression, Problem> {
        let ty = self.checker.resolve(ty, &[])?;
        let of = self.expression(of, None)?;
        if of.ty == ty {
            return Ok(Expression { span, ..of });
        }
        let program = &self.checker.program;
        let width = |ty: &Type| match ty {
            Type::Bits(width) => Some(*width),
            Type::Enum(id) => program.enums[*id].width,
            _ => None,
        };
        let fits = match (&of.ty, &ty) {
            (Type::Boolean, Type::Bits(1)) | (Type::Bits(1), Type::Boolean) => true,
            (Type::Integer, to) => width(to).is_some() || *to == Type::Integer,
            (from, to) => width(from).is_some() && width(to).is_some(),
        };
        if !fits {
            let (from, to) = (program.show_type(&of.ty), program.show_type(&ty));
            return Err(Problem::new(span, format!("{from} cannot be cast to {to}"), "here"));
        }
        let kind = match &of.kind {
            K::Constant(value) => K::Constant(
                operation::cast(value, &ty, width(&ty))
                    .ok_or_else(|| Problem::new(of.span, "the number does not fit", "too large"))?,
            ),
            _ => K::Cast(Box::new(of)),
        };
        Ok(Expression { kind, ty, span })
    }

    fn list(
        &mut self,
        values: &[ast::Expression],
        expected: Option<&Type>,
        span: Span,
    ) -> Result<Expression, Problem> {
        let (wanted, is_header) = match expected {
            Some(Type::Structure(id)) => {
                let structure = &self.checker.program.structures[*id];
                let types = structure.fields.iter().map(|(_, ty)| Some(ty.clone())).collect();
                (types, structure.is_header)
            }
            Some(Type::Tuple(types)) => (types.iter().cloned().map(Some).collect(), false),
            _ => (vec![None; values.len()], false),
        };
        if wanted.len() != values.len() {
            return Err(Problem::new(
                span,
                format!("{} values expected", wanted.len()),
                format!("{} given", values.len()),
            ));
        }
        let values: Vec<Expression> = values
            .iter()
            .zip(&wanted)
            .map(|(value, ty)| self.expression(value, ty.as_ref()))
            .collect::<Result<_, _>>()?;
        let ty = match expected {
            Some(ty @ (Type::Structure(_) | Type::Tuple(_))) => ty.clone(),
            _ => Type::Tuple(values.iter().map(|value| value.ty.clone()).collect()),
        };
        Ok(Expression { kind: composed(values, is_header), ty, span })
    }

    fn fields(
        &mut self,
        fields: &[(Name, ast::Expression)],
        expected: Option<&Type>,
        span: Span,
    ) -> Result<Expression, Problem> {
        let Some(ty @ Type::Structure(id)) = expected else {
            return Err(Problem::new(span, "which struct is this?", "the type is not known here")
                .help("assign it to a variable of that type"));
        };
        let structure = self.checker.program.structures[*id].clone();
        let mut values = Vec::new();
        for (name, ty) in &structure.fields {
            let Some((_, value)) = fields.iter().find(|(field, _)| field.text == *name) else {
                return Err(Problem::new(
                    span,
                    format!("the field `{name}` of `{}` is missing", structure.name),
                    "all fields must be given",
                ));
            };
            values.push(self.expression(value, Some(ty))?);
        }
        for (n, (name, _)) in fields.iter().enumerate() {
            self.field(ty, name)?;
            if fields[..n].iter().any(|(other, _)| other.text == name.text) {
                return Err(Problem::new(
                    name.span,
                    format!("`{}` is given twice", name.text),
                    "again",
                ));
            }
        }
        Ok(Expression { kind: composed(values, structure.is_header), ty: ty.clone(), span })
    }
}

/// A constant when all values are.
fn composed(values: Vec<Expression>, is_header: bool) -> K {
    let constants: Option<Vec<Value>> = values
        .iter()
        .map(|value| match &value.kind {
            K::Constant(value) => Some(value.clone()),
            _ => None,
        })
        .collect();
    match constants {
        Some(fields) if is_header => K::Constant(Value::Header { valid: true, fields }),
        Some(fields) => K::Constant(Value::List(fields)),
        None if is_header => K::Header(values),
        None => K::List(values),
    }
}

fn member_of<'a>(
    of: &str,
    member: &Name,
    mut known: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, Problem> {
    let names = known.clone();
    known.position(|name| name == member.text).ok_or_else(|| {
        let problem = Problem::new(
            member.span,
            format!("`{of}` has no member `{}`", member.text),
            "no such member",
        );
        match most_similar(&member.text, names) {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem,
        }
    })
}
