//! Values and sets as written in entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ethnum::U256;

use crate::address;
use crate::bits::Bits;
use crate::program::{Key, Program, Set, Type};
use crate::value::Value;

/// A value of a type.
pub fn value(program: &Program, ty: &Type, text: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is no {}", program.show_type(ty));
    match ty {
        Type::Boolean => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => number(text, 1).map(|bit| Value::Boolean(bit.low_u64() == 1)).ok_or_else(wrong),
        },
        Type::Bits(width) => number(text, *width).map(Value::Bits).ok_or_else(wrong),
        Type::Error => {
            let member = program.errors.iter().position(|error| error == text).ok_or_else(wrong)?;
            Ok(Value::Member(member))
        }
        Type::Enum(id) => {
            let found = &program.enums[*id];
            if let Some((_, value)) = found.members.iter().find(|(name, _)| name == text) {
                return Ok(value.clone());
            }
            let number = found.width.and_then(|width| number(text, width));
            number.map(Value::Bits).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// A number, an address, a MAC address.
fn number(text: &str, width: u32) -> Option<Bits> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return match width {
            32 => Bits::exact(32, u32::from(address)),
            address::WIDTH => Some(address::bits(address.into())),
            _ => None,
        };
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return match width {
            128 => Bits::exact(128, u128::from(address)),
            address::WIDTH => Some(address::bits(address.into())),
            _ => None,
        };
    }
    if width == 48 && text.matches(':').count() == 5 {
        let mut value = 0_u64;
        for byte in text.split(':') {
            value = value << 8 | u64::from(u8::from_str_radix(byte, 16).ok()?);
        }
        return Bits::exact(48, value);
    }
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0b" | "0B") => (&text[2..], 2),
        _ => (text, 10),
    };
    Bits::exact(width, U256::from_str_radix(&digits.replace('_', ""), radix).ok()?)
}

/// What a key is to match: a value, `value/prefix`, `value&&&mask`, hexadecimal or binary digits with `*`, or `*` alone.
pub fn set(program: &Program, key: &Key, text: &str) -> Result<Set, String> {
    if matches!(text, "*" | "_") {
        return Ok(Set::Any);
    }
    let ty = &key.expression.ty;
    let bits = |text: &str| {
        value(program, ty, text)?.as_key().ok_or_else(|| format!("`{text}` is no number"))
    };
    if let Some((number, mask)) = text.split_once("&&&") {
        return Ok(Set::Mask(bits(number)?, bits(mask)?));
    }
    if let Some((number, length)) = text.split_once('/') {
        let given: u32 = length.parse().map_err(|_| format!("`{length}` is no prefix length"))?;
        // In front of an address of either family stands which it is of.
        let before = match number.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) if key.width == address::WIDTH => address::WIDTH - 32,
            Ok(IpAddr::V6(_)) if key.width == address::WIDTH => address::WIDTH - 128,
            _ => 0,
        };
        let length = given.saturating_add(before);
        if length > key.width {
            return Err(format!("the prefix of `{text}` is too long"));
        }
        let (number, mask) = (bits(number)?, Bits::prefix_mask(key.width, length));
        if number.and(mask) != number {
            return Err(format!("`{text}` has bits behind its prefix"));
        }
        return Ok(Set::Mask(number, mask));
    }
    if text.contains('*') {
        let all = match text.get(..2) {
            Some("0x" | "0X") => 'f',
            Some("0b" | "0B") => '1',
            _ => {
                return Err(format!(
                    "`*` stands for a digit of a number in base 16 or 2, not of `{text}`"
                ));
            }
        };
        if text[2..].bytes().all(|digit| digit == b'*') {
            return Ok(Set::Any);
        }
        let digits = text[2..].chars().map(|digit| if digit == '*' { '0' } else { all });
        let mask: String = text[..2].chars().chain(digits).collect();
        return Ok(Set::Mask(bits(&text.replace('*', "0"))?, bits(&mask)?));
    }
    value(program, ty, text).map(Set::Value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;
    use crate::program::{Expression, ExpressionKind, MatchKind};

    fn key(width: u32, kind: MatchKind) -> Key {
        let expression = Expression {
            kind: ExpressionKind::Constant(Value::Nothing),
            ty: Type::Bits(width),
            span: Span::default(),
        };
        Key { name: "key".into(), expression, width, kind, where_matchable: false }
    }

    fn read(width: u32, kind: MatchKind, text: &str) -> Result<Set, String> {
        set(&Program::default(), &key(width, kind), text)
    }

    #[test]
    fn addresses_of_all_kinds() {
        let value = |width, value: u128| Ok(Set::Value(Value::bits(width, value)));
        assert_eq!(read(32, MatchKind::Exact, "10.0.0.1"), value(32, 0x0a00_0001));
        assert_eq!(read(128, MatchKind::Exact, "::1"), value(128, 1));
        for (address, number) in [
            ("10.0.0.1", "0x040000000000000000000000000a000001"),
            ("::1", "0x0600000000000000000000000000000001"),
            ("::ffff:10.0.0.1", "0x0600000000000000000000ffff0a000001"),
        ] {
            let number = read(136, MatchKind::Exact, number);
            assert_eq!(read(136, MatchKind::Exact, address), number, "{address}");
        }
        assert!(read(128, MatchKind::Exact, "10.0.0.1").is_err());
        assert!(read(32, MatchKind::Exact, "::1").is_err());
        assert_eq!(read(48, MatchKind::Exact, "02:00:00:00:00:0a"), value(48, 0x0200_0000_000a));
        assert!(read(16, MatchKind::Exact, "0x10000").is_err());
    }

    #[test]
    fn prefixes_and_masks() {
        let mask = |value: u128, mask: u128| {
            Ok(Set::Mask(Bits::truncate(128, value), Bits::truncate(128, mask)))
        };
        assert_eq!(
            read(136, MatchKind::LongestPrefix, "10.0.0.0/8"),
            read(
                136,
                MatchKind::LongestPrefix,
                "0x040000000000000000000000000a000000&&&0xffffffffffffffffffffffffffff000000"
            )
        );
        assert!(read(136, MatchKind::LongestPrefix, "10.0.0.0/33").is_err());
        assert!(read(136, MatchKind::LongestPrefix, "::/129").is_err());
        assert_eq!(read(128, MatchKind::LongestPrefix, "::/0"), mask(0, 0));
        assert!(read(128, MatchKind::LongestPrefix, "10.0.0.1/8").is_err());
        assert!(read(32, MatchKind::LongestPrefix, "10.0.0.0/33").is_err());
        let nibbles = Set::Mask(Bits::truncate(16, 0x10_u8), Bits::truncate(16, 0xff0_u16));
        assert_eq!(read(16, MatchKind::Ternary, "0x01*"), Ok(nibbles));
        let digits = Set::Mask(Bits::truncate(4, 0b100_u8), Bits::truncate(4, 0b1101_u8));
        assert_eq!(read(4, MatchKind::LongestPrefix, "0b01*0"), Ok(digits));
        assert!(read(16, MatchKind::Ternary, "1*").is_err());
        assert_eq!(read(8, MatchKind::Optional, "0b********"), Ok(Set::Any));
    }
}
