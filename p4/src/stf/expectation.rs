//! What is expected of a packet.

use crate::interpreter::Verdict;

/// Nibbles, of which some may be anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    nibbles: Vec<Option<u8>>,
    /// Whether the packet ends here.
    whole: bool,
}

impl Pattern {
    /// These bytes and no more.
    pub fn exact(bytes: &[u8]) -> Self {
        let nibbles = bytes.iter().flat_map(|byte| [Some(byte >> 4), Some(byte & 15)]).collect();
        Self { nibbles, whole: true }
    }

    /// Hexadecimal digits and `*`; `$` at the end.
    pub fn read(text: &str) -> Result<Self, String> {
        let digits: String = text.split_whitespace().collect();
        let (digits, whole) = match digits.strip_suffix('$') {
            Some(digits) => (digits, true),
            None => (&*digits, false),
        };
        let nibbles = digits
            .chars()
            .map(|digit| match (digit, digit.to_digit(16)) {
                ('*', _) => Ok(None),
                (_, Some(nibble)) => Ok(Some(nibble as u8)),
                _ => Err(format!("`{digit}` is neither a hexadecimal digit nor `*`")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { nibbles, whole })
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        let found = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let length = bytes.len() * 2;
        (length == self.nibbles.len() || (!self.whole && length > self.nibbles.len()))
            && self
                .nibbles
                .iter()
                .zip(found)
                .all(|(wanted, found)| wanted.is_none_or(|w| w == found))
    }
}

impl std::fmt::Display for Pattern {
    /// As a packet in notation where it is one; else the digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known: Option<Vec<u8>> = self.nibbles.iter().copied().collect();
        if let (Some(nibbles), true) = (known, self.whole) {
            let bytes: Vec<u8> = nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            return f.write_str(&testbed::notation::show(&bytes));
        }
        for nibble in &self.nibbles {
            match nibble {
                Some(nibble) => write!(f, "{nibble:x}")?,
                None => f.write_str("*")?,
            }
        }
        f.write_str(if self.whole { "$" } else { "" })
    }
}

/// What is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A packet at a port.
    Port(u16, Pattern),
    /// A packet at any port.
    AnyPort,
    /// A drop for a reason.
    Drop(String),
    /// An answer of a responder.
    Reply(String),
    /// That the node learned from it.
    Consumed,
}

impl Expected {
    /// Whether this is an outcome of the expected kind, right or wrong. A packet that is expected to be dropped or
    /// answered and is not shall be seen, so these two take whatever comes first.
    pub fn is_of_kind(&self, verdict: &Verdict) -> bool {
        match self {
            Self::Port(..) | Self::AnyPort => matches!(verdict, Verdict::Forward { .. }),
            Self::Drop(_) | Self::Reply(_) | Self::Consumed => true,
        }
    }

    /// Whether this is what is expected.
    pub fn matches(&self, verdict: &Verdict) -> bool {
        match (self, verdict) {
            (Self::Port(wanted, pattern), Verdict::Forward { port, packet }) => {
                wanted == port && pattern.matches(packet)
            }
            (Self::AnyPort, Verdict::Forward { .. }) | (Self::Consumed, Verdict::Consume) => true,
            (Self::Drop(wanted), Verdict::Drop { reason }) => wanted == reason,
            (Self::Reply(wanted), Verdict::Reply { responder }) => {
                wanted.is_empty() || wanted == responder
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(port, pattern) => write!(f, "at port {port}: {pattern}"),
            Self::AnyPort => f.write_str("a packet"),
            Self::Drop(reason) => write!(f, "drop: {reason}"),
            Self::Reply(responder) => write!(f, "reply: {responder}"),
            Self::Consumed => f.write_str("consumed"),
        }
    }
}

/// What came out, in words.
pub fn show(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Forward { port, packet } => {
            format!("at port {port}: {}", testbed::notation::show(packet))
        }
        Verdict::Drop { reason } => format!("drop: {reason}"),
        Verdict::Reply { responder } => format!("reply: {responder}"),
        Verdict::Consume => "consumed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let pattern = |text| Pattern::read(text).unwrap();
        assert!(pattern("0a*b $").matches(&[0x0a, 0xfb]));
        assert!(!pattern("0a*b $").matches(&[0x0a, 0xfa]));
        assert!(!pattern("0a$").matches(&[0x0a, 0]));
        assert!(pattern("0a").matches(&[0x0a, 0]));
        assert!(!pattern("0a00").matches(&[0x0a]));
        assert!(pattern("").matches(&[]));
        assert!(Pattern::read("0x").is_err());
        assert!(Pattern::exact(&[1, 2]).matches(&[1, 2]));
    }
}
