//! Values of arguments: numbers, addresses, bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::build::{Inside, stack};
use super::read::{Argument, Layer, layers, split};

/// The arguments of a layer, taken one by one; what is left over at the end is a mistake.
pub struct Arguments<'a> {
    layer: &'a Layer,
    left: Vec<&'a Argument>,
}

impl<'a> Arguments<'a> {
    pub fn of(layer: &'a Layer) -> Self {
        Self { layer, left: layer.arguments.iter().collect() }
    }

    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.layer.name)
    }

    /// The text of an argument with a key.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let at = self.left.iter().position(|a| a.key.as_deref() == Some(key))?;
        Some(&self.left.remove(at).value)
    }

    /// Whether a word stands there.
    pub fn word(&mut self, word: &str) -> bool {
        let at = self.left.iter().position(|a| a.key.is_none() && a.value == word);
        at.map(|at| self.left.remove(at)).is_some()
    }

    /// The next argument without a key.
    pub fn positional(&mut self) -> Result<&'a str, String> {
        let at = self
            .left
            .iter()
            .position(|a| a.key.is_none())
            .ok_or_else(|| self.wrong("an argument is missing"))?;
        Ok(&self.left.remove(at).value)
    }

    /// All that is left, without keys.
    pub fn rest(&mut self) -> Vec<&'a str> {
        let (rest, keyed) = self.left.iter().copied().partition(|a| a.key.is_none());
        self.left = keyed;
        let rest: Vec<&Argument> = rest;
        rest.into_iter().map(|a| a.value.as_str()).collect()
    }

    /// A value that must be there.
    pub fn need<T: FromStr>(&mut self, key: &str) -> Result<T, String> {
        self.get(key)?.ok_or_else(|| self.wrong(&format!("{key}= is missing")))
    }

    /// A value that may be there.
    pub fn get<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, String> {
        self.text(key)
            .map(|text| text.parse().map_err(|_| self.wrong(&format!("{key}={text} is not right"))))
            .transpose()
    }

    /// A number that may be there, decimal or `0x`.
    pub fn number<T: TryFrom<u64>>(&mut self, key: &str) -> Result<Option<T>, String> {
        self.text(key)
            .map(|text| number(text).map_err(|e| self.wrong(&format!("{key}: {e}"))))
            .transpose()
    }

    /// A number, or its default.
    pub fn number_or<T: TryFrom<u64>>(&mut self, key: &str, default: T) -> Result<T, String> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// A number that must be there.
    pub fn need_number<T: TryFrom<u64>>(&mut self, key: &str) -> Result<T, String> {
        self.number(key)?.ok_or_else(|| self.wrong(&format!("{key}= is missing")))
    }

    /// Bytes, or none.
    pub fn bytes(&mut self, key: &str) -> Result<Vec<u8>, String> {
        self.text(key).map_or_else(|| Ok(Vec::new()), bytes)
    }

    /// Nothing else may be there.
    pub fn end(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some(Argument { key: Some(key), .. }) => Err(self.wrong(&format!("{key}= is unknown"))),
            Some(Argument { value, .. }) => Err(self.wrong(&format!("`{value}` is unknown"))),
        }
    }
}

/// A number, decimal or `0x`.
pub fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("`{text}` is not a number that fits"))
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let octets = text
            .split(':')
            .map(|part| {
                let octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
                (part.len() == 2).then_some(octet).ok_or(())
            })
            .collect::<Result<Vec<u8>, ()>>()?;
        octets.try_into().map(Self).map_err(|_| ())
    }
}

/// Hexadecimal digits, with spaces anywhere.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(|| format!("`{c}` is no hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if digits.len() % 2 == 1 {
        return Err(format!("`{text}` has half a byte too much"));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Terms joined by `+`: `0x0a0b`, `u8:1`, `u16:1`, `u32:1`, an address, a MAC, `"text"`, `[layers]`.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    Ok(split(text, '+')?.into_iter().map(term).collect::<Result<Vec<_>, _>>()?.concat())
}

fn term(text: &str) -> Result<Vec<u8>, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        return hex(digits);
    }
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(quoted.as_bytes().to_vec());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return stack(&layers(inner)?, Inside::default());
    }
    let sized = text.split_once(':').and_then(|(size, digits)| {
        Some(match size {
            "u8" => number::<u8>(digits).map(|n| vec![n]),
            "u16" => number::<u16>(digits).map(|n| n.to_be_bytes().to_vec()),
            "u32" => number::<u32>(digits).map(|n| n.to_be_bytes().to_vec()),
            _ => return None,
        })
    });
    if let Some(sized) = sized {
        return sized;
    }
    if let Ok(Mac(octets)) = text.parse() {
        return Ok(octets.to_vec());
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.octets().to_vec());
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.octets().to_vec());
    }
    Err(format!("`{text}` is neither 0x..., u8:, u16:, u32:, an address, \"text\" nor [layers]"))
}

/// The octets of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}
