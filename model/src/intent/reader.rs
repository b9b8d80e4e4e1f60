//! Reading the fields of one object, with an error for each that is not as it should be.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use packet::Mac;

use super::name::shortened;
use super::report::{At, Position, Report};
use super::yaml::{Entry, Node, Value};

/// Where the errors of the object that is read go.
pub(super) struct Reader<'r> {
    report: &'r mut Report,
}

/// What fields a map may have.
pub(super) struct Known<const N: usize> {
    /// Those that are read, in the order in which they are wanted.
    pub(super) fields: [&'static str; N],
    /// Those that are planned.
    pub(super) later: &'static [&'static str],
}

impl<'r> Reader<'r> {
    pub(super) fn new(report: &'r mut Report) -> Self {
        Self { report }
    }

    pub(super) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.report.error(at, None, message, None);
    }

    pub(super) fn error_with_hint(
        &mut self,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report.error(at, None, message, Some(hint.into()));
    }

    pub(super) fn not_supported_yet(&mut self, at: Position, what: impl Display) {
        self.error(at, format!("not_supported_yet: {what} is planned and not built yet"));
    }

    /// The entries of a map.
    pub(super) fn map<'n, 'a>(&mut self, node: &'n Node<'a>) -> Option<&'n [Entry<'a>]> {
        match &node.value {
            Value::Mapping(entries) => Some(entries),
            _ => self.wrong(node, "a map of fields"),
        }
    }

    /// The wanted fields of a map, absent ones as `None`; all others are errors.
    pub(super) fn fields<'n, 'a, const N: usize>(
        &mut self,
        node: &'n Node<'a>,
        known: &Known<N>,
    ) -> Option<[Option<&'n Node<'a>>; N]> {
        let mut found = [None; N];
        for entry in self.map(node)? {
            if let Some(at) = known.fields.iter().position(|field| *field == entry.key) {
                found[at] = Some(&entry.value);
            } else if known.later.contains(&&entry.key[..]) {
                self.not_supported_yet(entry.at, format_args!("field `{}`", entry.key));
            } else {
                let message = format!("unknown field `{}`", shortened(&entry.key));
                let hint = did_you_mean(&entry.key, known.fields).unwrap_or_else(|| {
                    if known.fields.is_empty() {
                        "there are no fields here".to_owned()
                    } else {
                        format!("known fields: {}", known.fields.join(", "))
                    }
                });
                self.error_with_hint(entry.at, message, hint);
            }
        }
        Some(found)
    }

    /// A field that must be there.
    pub(super) fn required<'n, 'a>(
        &mut self,
        parent: &Node<'a>,
        name: &str,
        field: Option<&'n Node<'a>>,
    ) -> Option<&'n Node<'a>> {
        if field.is_none() {
            self.error(parent.at, format!("field `{name}` is missing"));
        }
        field
    }

    /// The items of a list.
    pub(super) fn list<'n, 'a>(&mut self, node: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
        match &node.value {
            Value::Sequence(items) => Some(items),
            _ => self.wrong(node, "a list"),
        }
    }

    /// A text, a number or a truth value, as it is written.
    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>, wanted: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain } if !(*plain && is_null(text)) => Some(text),
            _ => self.wrong(node, wanted),
        }
    }

    /// A text that would not be a number, a truth value or nothing in YAML.
    pub(super) fn string<'n>(&mut self, node: &'n Node<'_>) -> Option<&'n str> {
        let text = self.text(node, "a text")?;
        let plain = matches!(node.value, Value::Scalar { plain: true, .. });
        let is_other = text.parse::<f64>().is_ok() || truth(text).is_some();
        if plain && is_other {
            let message = format!("`{}` is not a text here", shortened(text));
            self.error_with_hint(node.at, message, format!("write \"{}\"", shortened(text)));
            return None;
        }
        Some(text)
    }

    /// Anything that is written as a text of its own form.
    pub(super) fn parse<T>(&mut self, node: &Node<'_>, wanted: &str) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(node, wanted)?;
        match text.parse() {
            Ok(value) => Some(At { value, at: node.at }),
            Err(error) => {
                let message = if text.len() > 200 {
                    format!("`{}` is not {wanted}", shortened(text))
                } else {
                    error.to_string()
                };
                self.error(node.at, message);
                None
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn integer<T>(&mut self, node: &Node<'_>, range: RangeInclusive<T>) -> Option<At<T>>
    where
        T: Copy + PartialOrd + Display + TryFrom<u64>,
    {
        if let Value::Scalar { text, plain: true } = &node.value
            && let Some(value) = decimal(text).and_then(|number| T::try_from(number).ok())
            && range.contains(&value)
        {
            return Some(At { value, at: node.at });
        }
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let text = self.text(node, &wanted)?;
        let plain = matches!(node.value, Value::Scalar { plain: true, .. });
        if !plain && decimal(text).and_then(|number| T::try_from(number).ok()).is_some() {
            let message = format!("\"{}\" is a text, not {wanted}", shortened(text));
            self.error_with_hint(node.at, message, "leave the quotes out");
        } else {
            self.error(node.at, format!("`{}` is not {wanted}", shortened(text)));
        }
        None
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node<'_>) -> Option<bool> {
        let value = match &node.value {
            Value::Scalar { text, plain: true } => truth(text),
            _ => None,
        };
        value.or_else(|| self.wrong(node, "true or false"))
    }

    /// An IP address.
    pub(super) fn address(&mut self, node: &Node<'_>) -> Option<At<IpAddr>> {
        let text = self.text(node, "an IP address")?;
        if let Ok(value) = text.parse() {
            return Some(At { value, at: node.at });
        }
        let message = format!("`{}` is not an IP address", shortened(text));
        if let Ok(prefix) = text.parse::<IpNet>() {
            let hint = format!("write {}, without the prefix length", prefix.addr());
            self.error_with_hint(node.at, message, hint);
        } else {
            self.error(node.at, message);
        }
        None
    }

    /// A prefix, with or without bits behind its length.
    pub(super) fn any_prefix(&mut self, node: &Node<'_>) -> Option<At<IpNet>> {
        let text = self.text(node, "a prefix")?;
        if let Ok(value) = text.parse() {
            return Some(At { value, at: node.at });
        }
        let message = format!("`{}` is not a prefix", shortened(text));
        let hint = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("write a length, for example {address}/32"),
            Ok(IpAddr::V6(address)) => format!("write a length, for example {address}/128"),
            Err(_) => "write address/length, for example 10.0.0.0/16".to_owned(),
        };
        self.error_with_hint(node.at, message, hint);
        None
    }

    /// A prefix whose bits behind its length are zero.
    pub(super) fn cidr(&mut self, node: &Node<'_>) -> Option<At<IpNet>> {
        let prefix = self.any_prefix(node)?;
        let network = prefix.value.trunc();
        if network != prefix.value {
            let message = format!("{} has host bits set", prefix.value);
            self.error_with_hint(node.at, message, format!("write {network}"));
            return None;
        }
        Some(prefix)
    }

    /// A MAC that names one station.
    pub(super) fn unicast_mac(&mut self, node: &Node<'_>) -> Option<At<Mac>> {
        let mac: At<Mac> = self.parse(node, "a MAC address")?;
        if mac.value.unicast().is_ok() {
            return Some(mac);
        }
        let what = if mac.value.is_group() { "a group's" } else { "no station's" };
        let message = format!("{} is {what} MAC address", mac.value);
        self.error_with_hint(
            node.at,
            message,
            "give a unicast address, for example 02:00:00:00:00:01",
        );
        None
    }

    /// Reports something of another type than wanted.
    fn wrong<T>(&mut self, node: &Node<'_>, wanted: &str) -> Option<T> {
        match &node.value {
            Value::Refused => {}
            Value::Scalar { text, plain: true } if is_null(text) => self.error_with_hint(
                node.at,
                format!("there is no value; {wanted} is wanted"),
                "write a value, or leave the field out",
            ),
            Value::Scalar { text, .. } => {
                self.error(node.at, format!("`{}` is not {wanted}", shortened(text)));
            }
            Value::Sequence(_) => self.error(node.at, format!("a list is not {wanted}")),
            Value::Mapping(_) => self.error(node.at, format!("a map is not {wanted}")),
        }
        None
    }
}

/// The YAML core schema's words for nothing.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The YAML core schema's truth values.
fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A number of decimal digits only.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A hint for a misspelt word, when one of the known ones is near.
pub(super) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<String> {
    if word.len() > 40 {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Edits between two words: characters added, left out, replaced, or two neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Rows of the table for prefixes of `a`; the last three are all that is looked at.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_proposed_and_far_ones_not() {
        let known = ["vpc", "cidrs", "routeTable", "gatewayMac"];
        let hint = |word| did_you_mean(word, known);
        assert_eq!(hint("routetable").as_deref(), Some("did you mean `routeTable`?"));
        assert_eq!(hint("cidr").as_deref(), Some("did you mean `cidrs`?"));
        assert_eq!(hint("gatewayMAC").as_deref(), Some("did you mean `gatewayMac`?"));
        assert_eq!(hint("color"), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(distance("vcp", "vpc"), 1);
    }
}
