//! From characters to tokens.

use ethnum::U256;

use super::token::{Token, TokenKind};
use crate::diagnostic::{Problem, Span};

/// Longest first. `>>` is left to the expression parser: `bit<bit<8>>` must close twice.
const SYMBOLS: &[&str] = &[
    "&&&", "|+|", "|-|", "...", "<<", "<=", ">=", "==", "!=", "&&", "||", "++", "..", "+", "-",
    "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "=", "?", ":", ";", ",", ".", "(", ")", "{",
    "}", "[", "]", "@",
];

/// Cuts a file's text into tokens.
///
/// # Errors
/// A character that begins no token, a comment or text without an end, a number out of range.
pub fn tokens(file: u32, text: &str) -> Result<Vec<Token>, Problem> {
    let mut lexer = Lexer { file, text, at: 0, line_start: true };
    let mut tokens = Vec::new();
    while lexer.skip_blanks()? {
        tokens.push(lexer.token()?);
        lexer.line_start = false;
    }
    Ok(tokens)
}

struct Lexer<'a> {
    file: u32,
    text: &'a str,
    at: usize,
    /// Whether only blanks stand before this place on its line.
    line_start: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn span(&self, start: usize) -> Span {
        Span { file: self.file, start: start as u32, end: self.at as u32 }
    }

    /// Skips blanks and comments; false at the end of the file.
    fn skip_blanks(&mut self) -> Result<bool, Problem> {
        loop {
            let rest = self.rest();
            let Some(next) = rest.chars().next() else { return Ok(false) };
            if next == '\n' {
                self.line_start = true;
                self.at += 1;
            } else if next.is_whitespace() {
                self.at += next.len_utf8();
            } else if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(length) = rest.find("*/") else {
                    let span = Span { end: self.at as u32 + 2, ..self.span(self.at) };
                    return Err(Problem::new(span, "a comment has no end", "begins here")
                        .help("close it with `*/`"));
                };
                self.at += length + 2;
            } else {
                return Ok(true);
            }
        }
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let rest = self.rest();
        let first = rest.chars().next().expect("blanks were skipped up to a character");
        let kind = if first == '#' && self.line_start {
            self.directive()
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += length;
            TokenKind::Word(rest[..length].to_owned())
        } else if first.is_ascii_digit() {
            self.integer()?
        } else if first == '"' {
            let inside = &rest[1..];
            let end = inside.find(['"', '\n']).filter(|&end| inside[end..].starts_with('"'));
            let Some(end) = end else {
                self.at += 1;
                return Err(Problem::new(self.span(start), "a text has no end", "begins here")
                    .help("close it with `\"` on the same line"));
            };
            self.at += end + 2;
            TokenKind::Text(rest[1..=end].to_owned())
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            self.at += symbol.len();
            TokenKind::Symbol(symbol)
        } else {
            self.at += first.len_utf8();
            return Err(Problem::new(
                self.span(start),
                format!("`{first}` begins nothing in P4"),
                "this character",
            ));
        };
        Ok(Token { kind, span: self.span(start) })
    }

    /// The rest of the line, without comments; a backslash at its end joins the next one.
    fn directive(&mut self) -> TokenKind {
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = self.rest();
            let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
            let code = &line[..line.find("//").unwrap_or(line.len())];
            let (code, joined) = match code.trim_end().strip_suffix('\\') {
                Some(code) => (code, true),
                None => (code, false),
            };
            text.push_str(code);
            self.at += line.len();
            if !joined || self.rest().is_empty() {
                return TokenKind::Directive(text.trim().to_owned());
            }
            self.at += 1;
        }
    }

    fn integer(&mut self) -> Result<TokenKind, Problem> {
        let start = self.at;
        let rest = self.rest();
        let length =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += length;
        let span = self.span(start);
        let word = &rest[..length];
        let wrong = |label: &str| Problem::new(span, format!("`{word}` is no number"), label);
        let (width, digits) = match word.split_once(['w', 's']) {
            Some(_) if word.contains('s') => {
                return Err(wrong("signed").help("the subset has no `int<N>`: use `bit<N>`"));
            }
            Some((width, digits)) => {
                let width = width
                    .parse::<u32>()
                    .ok()
                    .filter(|width| (1..=crate::bits::MAX_WIDTH).contains(width))
                    .ok_or_else(|| {
                        wrong("its width").help(format!(
                            "before the `w` stands a width in bits, 1 to {}",
                            crate::bits::MAX_WIDTH
                        ))
                    })?;
                (Some(width), digits)
            }
            None => (None, word),
        };
        let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => (16, &digits[2..]),
            Some("0b") => (2, &digits[2..]),
            Some("0o") => (8, &digits[2..]),
            Some("0d") => (10, &digits[2..]),
            _ => (10, digits),
        };
        let value = U256::from_str_radix(&digits.replace('_', ""), radix)
            .map_err(|_| wrong(&format!("not a number of base {radix} of at most 256 bits")))?;
        if let Some(width) = width
            && width < 256
            && value >> width != U256::ZERO
        {
            return Err(wrong("too large for its width")
                .help(format!("{width} bits hold at most {}", (U256::ONE << width) - 1)));
        }
        Ok(TokenKind::Integer { value, width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(0, text).expect("the text is right").into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn the_longest_symbol_wins() {
        let symbols: Vec<_> =
            kinds("&&&&& |+|| ++ >>= ..").into_iter().map(|k| k.to_string()).collect();
        assert_eq!(symbols, ["`&&&`", "`&&`", "`|+|`", "`|`", "`++`", "`>`", "`>=`", "`..`"]);
    }

    #[test]
    fn numbers_of_all_bases_and_widths() {
        let number = |value: u64, width| TokenKind::Integer { value: value.into(), width };
        assert_eq!(
            kinds("10 0x1F 0b1_01 0o17 8w255 16w0xffff"),
            [
                number(10, None),
                number(31, None),
                number(5, None),
                number(15, None),
                number(255, Some(8)),
                number(0xffff, Some(16))
            ]
        );
    }

    #[test]
    fn comments_separate_and_directives_end_with_their_line() {
        assert_eq!(
            kinds("a/*\n# no */b // c\n #define X \\\n 1 // one\nd"),
            [
                TokenKind::Word("a".into()),
                TokenKind::Word("b".into()),
                TokenKind::Directive("define X  1".into()),
                TokenKind::Word("d".into())
            ]
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["$", "\"a\nb\"", "/* x", "9w512", "0b2", "4s1", "0w1", "12ab"] {
            assert!(tokens(0, text).is_err(), "{text}");
        }
    }
}
