//! The conformance cases in `tests/cases/`: each file is a test.

mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use support::case::Case;

/// The page of what differs with other profiles than `unlimited`.
const DIFFERENCES: &str = "../docs/reference/offload-differences.md";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", root.display());
    let cases: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap_or(&file).with_extension("");
            (name.display().to_string(), file)
        })
        .collect();
    let trial = |(name, file): &(String, PathBuf)| {
        let (file, root) = (file.clone(), root.clone());
        Trial::test(name, move || {
            let case = Case::read(&file, &root)?;
            support::run::run(&case).map_err(|e| format!("{}\n\n{e}", case.about.trim()).into())
        })
    };
    let mut trials: Vec<Trial> = cases.iter().map(trial).collect();
    trials.push(Trial::test("all differences are documented", move || {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(DIFFERENCES);
        let page =
            std::fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        let mut read = Vec::new();
        for (name, file) in cases {
            read.push((name, Case::read(&file, &root)?));
        }
        Ok(support::documented::check(&page, &read)?)
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// All cases below a directory; what lies in `base` is none by itself.
fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("the directory of the cases can be read");
    for path in entries.map(|entry| entry.expect("an entry can be read").path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "base") {
            find(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
}
