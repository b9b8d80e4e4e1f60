//! Tokens.

use ethnum::U256;

use crate::diagnostic::Span;

/// What a token is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// A name or a keyword.
    Word(String),
    /// A number, with its width when it is written as `8w255`.
    Integer { value: U256, width: Option<u32> },
    /// Text in double quotes.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The rest of a line that begins with `#`.
    Directive(String),
    /// Behind the last token.
    End,
}

impl std::fmt::Display for TokenKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Integer { value, width: None } => write!(f, "`{value}`"),
            Self::Integer { value, width: Some(width) } => write!(f, "`{width}w{value}`"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::Directive(_) => f.write_str("a preprocessor directive"),
            Self::End => f.write_str("the end of the file"),
        }
    }
}

/// A token and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is; for what a macro stands for, where the macro was used.
    pub span: Span,
}

/// Words that cannot be names.
pub const KEYWORDS: &[&str] = &[
    "abstract",
    "action",
    "actions",
    "apply",
    "bit",
    "bool",
    "const",
    "control",
    "default",
    "else",
    "entries",
    "enum",
    "error",
    "exit",
    "extern",
    "false",
    "header",
    "header_union",
    "if",
    "in",
    "inout",
    "int",
    "key",
    "match_kind",
    "out",
    "package",
    "parser",
    "return",
    "select",
    "state",
    "string",
    "struct",
    "switch",
    "table",
    "this",
    "transition",
    "true",
    "tuple",
    "type",
    "typedef",
    "value_set",
    "varbit",
    "void",
    "_",
];
