//! Text to layers.

/// One part of a packet between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is; `"` for a quoted text, whose content is then the only argument.
    pub name: String,
    /// What stands between its parentheses.
    pub arguments: Vec<Argument>,
}

/// `key=value`, or a value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub key: Option<String>,
    pub value: String,
}

/// Reads layers separated by slashes.
pub fn layers(text: &str) -> Result<Vec<Layer>, String> {
    split(text, '/')?.into_iter().map(layer).collect()
}

fn layer(text: &str) -> Result<Layer, String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let content = quoted.strip_suffix('"').ok_or_else(|| format!("`{text}` is not closed"))?;
        let argument = Argument { key: None, value: content.to_owned() };
        return Ok(Layer { name: "\"".to_owned(), arguments: vec![argument] });
    }
    let (name, arguments) = match text.split_once('(') {
        None => (text, ""),
        Some((name, rest)) => {
            (name, rest.strip_suffix(')').ok_or_else(|| format!("`{text}` is not closed"))?)
        }
    };
    if name.is_empty() {
        return Err("a layer is missing between two slashes".to_owned());
    }
    let arguments = if arguments.trim().is_empty() {
        Vec::new()
    } else {
        split(arguments, ',')?.into_iter().map(argument).collect()
    };
    Ok(Layer { name: name.trim().to_owned(), arguments })
}

fn argument(text: &str) -> Argument {
    let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match text.split_once('=') {
        Some((key, value)) if is_key(key.trim()) => {
            Argument { key: Some(key.trim().to_owned()), value: value.trim().to_owned() }
        }
        _ => Argument { key: None, value: text.to_owned() },
    }
}

/// Splits outside of quotes, parentheses and brackets.
pub fn split(text: &str, separator: char) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0usize;
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' | ']' => {
                depth = depth.checked_sub(1).ok_or_else(|| format!("`{text}` closes too much"))?;
            }
            _ if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err(format!("`{text}` is not closed"));
    }
    parts.push(text[start..].trim());
    Ok(parts)
}
