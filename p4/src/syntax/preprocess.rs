//! `#include`, `#define` of names without parameters, `#undef`, `#ifdef`, `#ifndef`, `#else`, `#endif`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::lexer;
use super::token::{Token, TokenKind};
use crate::diagnostic::{Diagnostic, Problem, Sources, Span};

/// Files that `#include <...>` finds.
const LIBRARY: &[(&str, &str)] = &[
    ("core.p4", include_str!("../../include/core.p4")),
    ("v1model.p4", include_str!("../../include/v1model.p4")),
];

/// Includes in includes, deeper than any program needs: an include of itself ends here.
const DEPTH: usize = 32;

/// The tokens of a program, its includes and macros replaced by what they stand for.
///
/// # Errors
/// A file that cannot be read, an unknown directive, a condition without an end, a wrong token.
pub fn tokens(path: &Path, sources: &mut Sources) -> Result<Vec<Token>, Diagnostic> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::without_place(format!("{} cannot be read: {error}", path.display()))
    })?;
    let file = sources.add(path.display().to_string(), text);
    let mut preprocessor = Preprocessor { sources, macros: HashMap::new(), output: Vec::new() };
    preprocessor
        .file(file, Some(path), 0)
        .map_err(|problem| preprocessor.sources.report(problem))?;
    let mut output = preprocessor.output;
    let end = sources.text(file).trim_end().len() as u32;
    output.push(Token { kind: TokenKind::End, span: Span { file, start: end, end } });
    Ok(output)
}

struct Preprocessor<'a> {
    sources: &'a mut Sources,
    macros: HashMap<String, Vec<TokenKind>>,
    output: Vec<Token>,
}

/// An `#ifdef` that waits for its `#endif`.
struct Condition {
    span: Span,
    /// Whether the text between is taken.
    taken: bool,
    else_seen: bool,
}

impl Preprocessor<'_> {
    fn file(&mut self, file: u32, path: Option<&Path>, depth: usize) -> Result<(), Problem> {
        let mut conditions: Vec<Condition> = Vec::new();
        for Token { kind, span } in lexer::tokens(file, self.sources.text(file))? {
            let taken = conditions.iter().all(|condition| condition.taken);
            let TokenKind::Directive(text) = kind else {
                if taken {
                    self.expand(kind, span, &mut Vec::new());
                }
                continue;
            };
            let (word, rest) =
                text.split_once(char::is_whitespace).map_or((&*text, ""), |(w, r)| (w, r.trim()));
            match word {
                "ifdef" | "ifndef" => {
                    let defined = self.macros.contains_key(name(rest, span)?);
                    let taken = defined == (word == "ifdef");
                    conditions.push(Condition { span, taken, else_seen: false });
                }
                "else" => {
                    let condition = conditions.last_mut().filter(|condition| !condition.else_seen);
                    let condition = condition.ok_or_else(|| {
                        Problem::new(span, "`#else` belongs to no `#ifdef`", "no condition is open")
                    })?;
                    condition.taken = !condition.taken;
                    condition.else_seen = true;
                }
                "endif" => {
                    conditions.pop().ok_or_else(|| {
                        Problem::new(
                            span,
                            "`#endif` belongs to no `#ifdef`",
                            "no condition is open",
                        )
                    })?;
                }
                _ if !taken => {}
                "define" => self.define(rest, span)?,
                "undef" => {
                    self.macros.remove(name(rest, span)?);
                }
                "include" => self.include(rest, span, path, depth)?,
                _ => {
                    return Err(Problem::new(
                        span,
                        format!("`#{word}` is not supported"),
                        "this directive",
                    )
                    .help(
                        "the subset has #include, #define, #undef, #ifdef, #ifndef, #else, #endif",
                    ));
                }
            }
        }
        match conditions.pop() {
            Some(Condition { span, .. }) => {
                Err(Problem::new(span, "a condition has no `#endif`", "opened here"))
            }
            None => Ok(()),
        }
    }

    fn define(&mut self, rest: &str, span: Span) -> Result<(), Problem> {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (macro_name, body) = rest.split_at(end);
        let macro_name = name(macro_name, span)?;
        if body.starts_with('(') {
            return Err(Problem::new(
                span,
                format!("the macro `{macro_name}` has parameters"),
                "not supported",
            )
            .help("write a function, an action or a control: P4 has them, and they are typed"));
        }
        let body = lexer::tokens(span.file, body)
            .map_err(|problem| Problem { span, ..problem })?
            .into_iter()
            .map(|token| token.kind)
            .collect();
        if self.macros.insert(macro_name.to_owned(), body).is_some() {
            return Err(Problem::new(
                span,
                format!("`{macro_name}` is defined twice"),
                "the second time",
            )
            .help("`#undef` it first"));
        }
        Ok(())
    }

    fn include(
        &mut self,
        rest: &str,
        span: Span,
        path: Option<&Path>,
        depth: usize,
    ) -> Result<(), Problem> {
        if depth == DEPTH {
            return Err(Problem::new(span, "includes are nested too deeply", "the last one")
                .help("does a file include itself? guard it with #ifndef, #define, #endif"));
        }
        if let Some(library) = rest.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            let Some((_, text)) = LIBRARY.iter().find(|(name, _)| *name == library) else {
                let known: Vec<_> = LIBRARY.iter().map(|(name, _)| *name).collect();
                return Err(Problem::new(
                    span,
                    format!("there is no <{library}>"),
                    "included here",
                )
                .help(format!("in angle brackets: {}", known.join(", "))));
            };
            let file = self.sources.add(format!("<{library}>"), *text);
            return self.file(file, None, depth + 1);
        }
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let quoted = quoted.ok_or_else(|| {
            Problem::new(span, "`#include` names no file", "\"file\" or <file> expected")
        })?;
        let target: PathBuf =
            path.and_then(Path::parent).map_or_else(|| quoted.into(), |home| home.join(quoted));
        let text = std::fs::read_to_string(&target).map_err(|error| {
            Problem::new(
                span,
                format!("{} cannot be read: {error}", target.display()),
                "included here",
            )
        })?;
        let file = self.sources.add(target.display().to_string(), text);
        self.file(file, Some(&target), depth + 1)
    }

    /// Appends a token, or what it stands for; `open` are the macros being replaced.
    fn expand(&mut self, kind: TokenKind, span: Span, open: &mut Vec<String>) {
        if let TokenKind::Word(word) = &kind
            && !open.contains(word)
            && let Some(body) = self.macros.get(word).cloned()
        {
            open.push(word.clone());
            for kind in body {
                self.expand(kind, span, open);
            }
            open.pop();
        } else {
            self.output.push(Token { kind, span });
        }
    }
}

fn name(text: &str, span: Span) -> Result<&str, Problem> {
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid {
        Ok(text)
    } else {
        Err(Problem::new(span, "the directive has no name", "one name expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<String, Problem> {
        let mut sources = Sources::default();
        let file = sources.add("test", text);
        let mut preprocessor =
            Preprocessor { sources: &mut sources, macros: HashMap::new(), output: Vec::new() };
        preprocessor.file(file, None, 0)?;
        let words: Vec<_> =
            preprocessor.output.iter().map(|t| t.kind.to_string().replace('`', "")).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn macros_are_replaced_also_in_macros_but_not_in_themselves() {
        let text = "#define A B + A\n#define B 2\nA B C\n#undef B\nB";
        assert_eq!(words(text).unwrap(), "2 + A 2 C B");
    }

    #[test]
    fn conditions_nest() {
        let text = "#define A\n#ifdef A\n1\n#ifndef A\n2\n#else\n3\n#endif\n#else\n4\n\
                    #ifdef A\n5\n#endif\n#endif\n6";
        assert_eq!(words(text).unwrap(), "1 3 6");
    }

    #[test]
    fn directives_that_are_not_taken_do_nothing() {
        assert_eq!(words("#ifdef X\n#include \"none\"\n#define Y 1\n#endif\nY").unwrap(), "Y");
    }

    #[test]
    fn wrong_directives_are_refused() {
        for text in [
            "#pragma x",
            "#ifdef A",
            "#else",
            "#endif",
            "#define F(x) x",
            "#define A 1\n#define A 2",
            "#include <none.p4>",
            "#include none",
            "#define",
            "#ifdef A\n#else\n#else\n#endif",
        ] {
            assert!(words(text).is_err(), "{text}");
        }
    }
}
