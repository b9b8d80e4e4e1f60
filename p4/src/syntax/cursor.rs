//! The parser's place in the tokens.

use std::collections::HashSet;

use super::ast::Name;
use super::token::{KEYWORDS, Token, TokenKind};
use crate::diagnostic::{Problem, Span};

/// The rest of the tokens. P4 cannot be parsed without knowing which names are types: `(a) - b`.
pub struct Cursor {
    tokens: Vec<Token>,
    at: usize,
    type_names: HashSet<String>,
}

impl Cursor {
    /// At the first of the tokens, of which the last is [`TokenKind::End`].
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, at: 0, type_names: HashSet::new() }
    }

    /// The next token.
    pub fn peek(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    /// The token this far behind the next one.
    pub fn peek_at(&self, ahead: usize) -> &TokenKind {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)].kind
    }

    /// The place of the next token.
    pub fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// The place of the last token taken.
    pub fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    /// Takes the next token; the end stays.
    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Whether this symbol or keyword is next.
    pub fn is(&self, text: &str) -> bool {
        is(self.peek(), text)
    }

    /// Whether this symbol or keyword stands this far ahead.
    pub fn is_at(&self, ahead: usize, text: &str) -> bool {
        is(self.peek_at(ahead), text)
    }

    /// Whether two symbols stand next without a blank between: `> >` is no shift.
    pub fn is_pair(&self, first: &str, second: &str) -> bool {
        self.is(first)
            && self.is_at(1, second)
            && self.tokens[self.at].span.end == self.tokens[self.at + 1].span.start
    }

    /// Takes this symbol or keyword if it is next.
    pub fn take(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.advance();
        }
        found
    }

    /// Takes this symbol or keyword.
    pub fn expect(&mut self, text: &str) -> Result<Span, Problem> {
        if self.take(text) {
            Ok(self.last_span())
        } else {
            Err(self.unexpected(&format!("`{text}`")))
        }
    }

    /// Takes a name.
    pub fn name(&mut self, what: &str) -> Result<Name, Problem> {
        let span = self.span();
        match self.peek() {
            TokenKind::Word(word) if KEYWORDS.contains(&word.as_str()) && !may_be_name(word) => {
                Err(Problem::new(
                    span,
                    format!("expected {what}, found the keyword `{word}`"),
                    "not a name",
                ))
            }
            TokenKind::Word(word) => {
                let text = word.clone();
                self.advance();
                Ok(Name { text, span })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// What to say when something else stands next. A missing symbol is shown behind the last token, where it belongs.
    pub fn unexpected(&self, wanted: &str) -> Problem {
        let (last, next) = (self.last_span(), self.span());
        let found = self.peek();
        if matches!(wanted, "`;`" | "`)`" | "`]`")
            && last.file == next.file
            && last.end < next.start
        {
            let span = Span { start: last.end, end: last.end + 1, ..last };
            return Problem::new(
                span,
                format!("expected {wanted}, found {found}"),
                format!("{wanted} is missing"),
            );
        }
        Problem::new(
            next,
            format!("expected {wanted}, found {found}"),
            format!("expected {wanted}"),
        )
    }

    /// Items separated by commas up to a closing symbol, which is taken; a comma may follow the last.
    pub fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(item(self)?);
            if !self.take(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    /// Tries a rule; when it does not apply, the place is as before.
    pub fn attempt<T>(&mut self, rule: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let at = self.at;
        let result = rule(self);
        if result.is_none() {
            self.at = at;
        }
        result
    }

    /// From now on this name is a type.
    pub fn declare_type(&mut self, name: &Name) {
        self.type_names.insert(name.text.clone());
    }

    /// Whether a name is a declared type.
    pub fn is_type_name(&self, name: &str) -> bool {
        self.type_names.contains(name)
    }
}

fn is(kind: &TokenKind, text: &str) -> bool {
    match kind {
        TokenKind::Word(word) => word == text,
        TokenKind::Symbol(symbol) => *symbol == text,
        _ => false,
    }
}

/// Words with a meaning in one place that are ordinary names in all others.
fn may_be_name(word: &str) -> bool {
    matches!(word, "apply" | "key" | "actions" | "state" | "entries" | "type")
}
