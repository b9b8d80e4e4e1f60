//! Intents that are refused, each with all its errors: `refused/NAME.yaml` and beside it `refused/NAME.expected`.
//!
//! After a wanted change of messages, `UPDATE_EXPECTED=1 cargo test -p model --test refused` writes the files anew; read
//! the difference.

use std::fs;
use std::path::{Path, PathBuf};

use model::intent::{Intent, Source};

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir("tests/refused")
        .expect("the directory of cases")
        .map(|file| file.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

/// The errors as they would be shown, or nothing.
fn errors(path: &Path) -> String {
    let name = path.file_name().expect("a file").to_string_lossy();
    let bytes = fs::read(path).expect("a readable file");
    match Intent::parse(&[Source { name: &name, bytes: &bytes }]) {
        Ok(_) => "accepted\n".to_owned(),
        Err(diagnostics) => format!("{diagnostics}\n"),
    }
}

#[test]
fn each_is_refused_with_all_its_errors() {
    let mut wrong = Vec::new();
    for case in cases() {
        let expected = case.with_extension("expected");
        let found = errors(&case);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &found).expect("a writable directory");
        }
        assert_ne!(found, "accepted\n", "{}", case.display());
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    assert!(cases().len() > 10);
}

/// The same bytes after each other in one call and apart: no error hides another.
#[test]
fn errors_of_several_sources_are_all_told() {
    let broken = Source { name: "a.yaml", bytes: b"kind: [" };
    let binary = Source { name: "b.yaml", bytes: b"# \xff" };
    let missing = Source { name: "c.yaml", bytes: b"kind: Node" };
    let diagnostics = Intent::parse(&[broken, binary, missing]).expect_err("all are wrong");
    let files: Vec<&str> = diagnostics.iter().map(|diagnostic| &*diagnostic.file).collect();
    assert_eq!(files, ["a.yaml", "b.yaml", "c.yaml", "c.yaml", "c.yaml"]);
    assert_eq!(diagnostics.iter().nth(1).map(|d| (d.line, d.column)), Some((1, 3)));
}
