//! What operators do with values: used by the checker for constants and by the interpreter for all else.

use ethnum::I256;

use crate::bits::Bits;
use crate::program::Type;
use crate::syntax::ast::{BinaryOperator as B, UnaryOperator as U};
use crate::value::Value;

/// An operator with one operand.
#[must_use]
pub fn unary(operator: U, of: &Value) -> Value {
    match (operator, of) {
        (U::Not, of) => Value::Boolean(!of.as_boolean()),
        (U::Complement, of) => Value::Bits(of.as_bits().complement()),
        (U::Negate, Value::Integer(of)) => Value::Integer(of.wrapping_neg()),
        (U::Negate, of) => Value::Bits(of.as_bits().negate()),
    }
}

/// An operator with two operands that were both evaluated; none when constants leave 256 bits or divide by zero.
#[must_use]
pub fn binary(operator: B, left: &Value, right: &Value) -> Option<Value> {
    match operator {
        B::Equal => return Some(Value::Boolean(left == right)),
        B::NotEqual => return Some(Value::Boolean(left != right)),
        B::AndAlso => return Some(Value::Boolean(left.as_boolean() && right.as_boolean())),
        B::OrElse => return Some(Value::Boolean(left.as_boolean() || right.as_boolean())),
        _ => {}
    }
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => integers(operator, *left, *right),
        (Value::Bits(left), Value::Integer(right)) => {
            let count = u32::try_from(*right).unwrap_or(u32::MAX);
            Some(Value::Bits(match operator {
                B::ShiftLeft => left.shift_left(count),
                B::ShiftRight => left.shift_right(count),
                _ => return None,
            }))
        }
        _ => Some(numbers(operator, left.as_bits(), right.as_bits())),
    }
}

fn numbers(operator: B, left: Bits, right: Bits) -> Value {
    Value::Bits(match operator {
        B::Add => left.add_wrapping(right),
        B::Subtract => left.subtract_wrapping(right),
        B::Multiply => left.multiply_wrapping(right),
        B::AddSaturating => left.add_saturating(right),
        B::SubtractSaturating => left.subtract_saturating(right),
        B::ShiftLeft => left.shift_left(right.to_count()),
        B::ShiftRight => left.shift_right(right.to_count()),
        B::And => left.and(right),
        B::Or => left.or(right),
        B::ExclusiveOr => left.exclusive_or(right),
        B::Concatenate => left.concatenate(right),
        B::Less => return Value::Boolean(left.value() < right.value()),
        B::LessOrEqual => return Value::Boolean(left.value() <= right.value()),
        B::Greater => return Value::Boolean(left.value() > right.value()),
        B::GreaterOrEqual => return Value::Boolean(left.value() >= right.value()),
        B::Divide | B::Remainder | B::Equal | B::NotEqual | B::AndAlso | B::OrElse => {
            unreachable!("the checker admits no {operator:?} of numbers with a width here")
        }
    })
}

fn integers(operator: B, left: I256, right: I256) -> Option<Value> {
    let count = || u32::try_from(right).ok().filter(|count| *count < 256);
    let value = match operator {
        B::Add => left.checked_add(right)?,
        B::Subtract => left.checked_sub(right)?,
        B::Multiply => left.checked_mul(right)?,
        B::Divide | B::Remainder if left.is_negative() || right.is_negative() => return None,
        B::Divide => left.checked_div(right)?,
        B::Remainder => left.checked_rem(right)?,
        B::ShiftLeft => {
            let shifted = left << count()?;
            (shifted >> count()? == left).then_some(shifted)?
        }
        B::ShiftRight => left >> count()?,
        B::And => left & right,
        B::Or => left | right,
        B::ExclusiveOr => left ^ right,
        B::Less => return Some(Value::Boolean(left < right)),
        B::LessOrEqual => return Some(Value::Boolean(left <= right)),
        B::Greater => return Some(Value::Boolean(left > right)),
        B::GreaterOrEqual => return Some(Value::Boolean(left >= right)),
        _ => return None,
    };
    Some(Value::Integer(value))
}

/// A value as one of another type; none when a constant does not fit.
#[must_use]
pub fn cast(value: &Value, to: &Type, enum_width: Option<u32>) -> Option<Value> {
    let width = match to {
        Type::Bits(width) => Some(*width),
        _ => enum_width,
    };
    Some(match (value, to, width) {
        (Value::Boolean(value), _, Some(1)) => Value::bits(1, u8::from(*value)),
        (Value::Bits(bits), Type::Boolean, _) => Value::Boolean(bits.low_u64() != 0),
        (Value::Bits(bits), _, Some(width)) => Value::Bits(bits.resize(width)),
        (Value::Integer(value), _, Some(width)) => {
            let bits = Bits::truncate(width, value.unsigned_abs());
            if bits.value() != value.unsigned_abs() {
                return None;
            }
            Value::Bits(if value.is_negative() { bits.negate() } else { bits })
        }
        (Value::Integer(_), Type::Integer, _) => value.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_keep_their_whole_value() {
        let three = Value::Integer(I256::new(3));
        assert_eq!(unary(U::Negate, &three), Value::Integer(I256::new(-3)));
        assert_eq!(binary(B::Divide, &three, &Value::Integer(I256::ZERO)), None);
        assert_eq!(binary(B::ShiftLeft, &three, &Value::Integer(I256::new(254))), None);
        assert_eq!(binary(B::Multiply, &three, &three), Some(Value::Integer(I256::new(9))));
    }

    #[test]
    fn casts() {
        let minus_one = Value::Integer(I256::MINUS_ONE);
        assert_eq!(cast(&minus_one, &Type::Bits(8), None), Some(Value::bits(8, 255_u8)));
        assert_eq!(cast(&Value::Integer(I256::new(256)), &Type::Bits(8), None), None);
        assert_eq!(
            cast(&Value::bits(16, 0x1234_u16), &Type::Bits(8), None),
            Some(Value::bits(8, 0x34_u8))
        );
        assert_eq!(cast(&Value::bits(1, 1_u8), &Type::Boolean, None), Some(Value::Boolean(true)));
        assert_eq!(cast(&Value::Boolean(true), &Type::Bits(1), None), Some(Value::bits(1, 1_u8)));
        assert_eq!(cast(&Value::Boolean(true), &Type::Bits(8), None), None);
    }

    #[test]
    fn shifts_take_numbers_of_any_width() {
        let byte = Value::bits(8, 0x81_u8);
        assert_eq!(
            binary(B::ShiftRight, &byte, &Value::bits(32, 7_u8)),
            Some(Value::bits(8, 1_u8))
        );
        assert_eq!(
            binary(B::ShiftLeft, &byte, &Value::Integer(I256::new(1))),
            Some(Value::bits(8, 2_u8))
        );
    }
}
