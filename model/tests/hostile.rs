//! Whatever bytes arrive as intent: an answer, soon, and no panic.
//!
//!     cargo test -p model --test hostile
//!     PENSTOCK_HOSTILE_CASES=100000 PENSTOCK_HOSTILE_SEED=7 cargo test --release -p model --test hostile

use std::time::{Duration, Instant};

use model::intent::{Intent, Source};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<Intent, model::diagnostic::Diagnostics> {
    let result = Intent::parse(&[Source { name: "hostile", bytes }]);
    if let Err(diagnostics) = &result {
        assert!(diagnostics.iter().next().is_some(), "refused without a reason");
        assert!(diagnostics.iter().all(|d| d.line > 0 && d.column > 0 && !d.message.is_empty()));
        assert!(!diagnostics.render().is_empty());
    }
    result
}

fn valid() -> String {
    std::fs::read_to_string("tests/accepted/every-kind.yaml").expect("a readable file")
}

/// Any value of `strategy` is answered, `cases` of them unless the environment says otherwise.
fn check<S: Strategy<Value: AsRef<[u8]>>>(cases: u32, strategy: &S) {
    testbed::random::check("HOSTILE", cases, strategy, |bytes| {
        let _ = parse(bytes.as_ref());
        Ok(())
    });
}

#[test]
fn random_bytes() {
    check(2000, &prop::collection::vec(any::<u8>(), 0..200));
}

#[test]
fn random_marks() {
    check(2000, &"[-:?,\\[\\]{}#&*!|>'\"%@`~ \n\r\ta0.<é\u{feff}]{0,120}");
}

#[test]
fn mutated_yaml() {
    let valid = valid().into_bytes();
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0u8..3);
    let mutated = prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut bytes = valid.clone();
        for (index, byte, kind) in edits {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    });
    check(400, &mutated);
}

#[test]
fn lines_left_out_and_repeated() {
    let valid = valid();
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 0..70);
    let picked = picks.prop_map(move |picks| {
        let lines: Vec<&str> = valid.lines().collect();
        let picked: Vec<&str> = picks.iter().map(|pick| lines[pick.index(lines.len())]).collect();
        picked.join("\n")
    });
    check(400, &picked);
}

/// A few lines that stand for more than any memory holds.
#[test]
fn aliases_of_aliases() {
    let start = "apiVersion: penstock.dev/v1alpha1\nkind: Vpc\nmetadata:\n  name: laughs\n  labels:\n    a0: &a0 [x]\n";
    let lines = |count: usize, uses: usize| {
        let aliases = |n| vec![format!("*a{n}"); uses].join(", ");
        let line = |n: usize| format!("    a{n}: &a{n} [{}]\n", aliases(n - 1));
        (1..count).map(line).collect::<Vec<_>>().concat()
    };
    for (count, uses, why) in
        [(30, 10, "stand for more than"), (100, 1, "too many lists and maps within each other")]
    {
        let text = format!("{start}{}", lines(count, uses));
        let refused = parse(text.as_bytes()).expect_err(why).render();
        assert!(refused.contains(why), "{refused}");
    }
}

/// Repetitions of all kinds of marks, 256 KiB each: time must grow with the length only.
#[test]
fn long_repetitions_take_no_longer_than_their_length() {
    let patterns = [
        "[",
        "{",
        "]",
        "}",
        "[]",
        "{}",
        "[[],",
        "{a: ",
        "{a: {},",
        "- ",
        "-\n",
        "? ",
        "? a\n",
        ": ",
        ":\n",
        "a: ",
        "a:\n",
        "a: b\n",
        "a",
        " ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "#",
        "# a\n",
        "---\n",
        "--- a\n",
        "...\n",
        "---\n[",
        "[\n---\n",
        "&a ",
        "*a ",
        "!a ",
        "!!str ",
        "|\n",
        ">\n",
        "|\n ",
        "'",
        "\"",
        "''",
        "\"\\",
        "\"\\u0041",
        "%",
        "%YAML 1.2\n",
        "%TAG ! x\n",
        ",",
        "[a,",
        "{a,",
        "[a: ",
        "[?",
        "[? ",
        "? [",
        "- - ",
        "- a\n ",
        "<<: ",
        "\0",
        "\u{feff}",
        "é",
        "a: &a [*a]\n",
        "a\n b\n",
        "- a:\n  - ",
        "{? ",
        "{: ",
        "\"a\": ",
        "[\"a\": ",
        "'a'\n",
        "~",
        "null\n---\n",
    ];
    for pattern in patterns {
        let text = pattern.repeat((256 << 10) / pattern.len());
        let start = Instant::now();
        let _ = Intent::parse(&[Source { name: "long", bytes: text.as_bytes() }]);
        let spent = start.elapsed();
        assert!(spent < Duration::from_secs(4), "{pattern:?} took {spent:?}");
    }
}

/// As many spaces deeper with each line, as deep as 1 MiB goes.
#[test]
fn deep_indentation_ends_at_the_limit() {
    let mut text = String::new();
    for depth in 0..1400 {
        text += &" ".repeat(depth);
        text += "a:\n";
    }
    let diagnostics = parse(text.as_bytes()).expect_err("too deep");
    assert!(diagnostics.to_string().contains("more than 32"), "{diagnostics}");
}

#[test]
fn bytes_that_are_no_text_are_one_error() {
    let diagnostics = parse(b"kind: Vpc\nmetadata: \xc3(\n").expect_err("not UTF-8");
    let one: Vec<_> = diagnostics.iter().collect();
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].line, one[0].column), (2, 11));
}

#[test]
fn nothing_is_an_intent() {
    for text in ["", "\n\n", "---\n", "# only a comment\n", "---\n---\n...\n", "\u{feff}"] {
        assert_eq!(
            parse(text.as_bytes()).map_err(|d| d.to_string()),
            Ok(Intent::default()),
            "{text:?}"
        );
    }
}

/// Enough documents for several threads: errors stay in order, and all of them are there.
#[test]
fn many_documents_keep_their_order() {
    let document = |n: u32| {
        format!(
            "---\napiVersion: penstock.dev/v1alpha1\nkind: Vpc\nmetadata: {{name: vpc-{n}}}\nspec: {{cidr: {n}}}\n"
        )
    };
    let text: String = (0..40_000).map(document).collect();
    assert!(text.len() > 3 << 20);
    let diagnostics = parse(text.as_bytes()).expect_err("the field has another name");
    // `cidrs` is missing, and `cidr` is unknown.
    assert_eq!(diagnostics.iter().count(), 80_000);
    assert!(diagnostics.iter().map(|d| d.line).is_sorted());
    assert_eq!(diagnostics.iter().last().map(|d| d.line), Some(200_000));
}
