//! The list of what shows which limit names nothing that is not there.

use std::path::Path;

/// The texts in backticks of a part of a line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether there is such a case, or such a test in Rust.
fn is_there(root: &Path, name: &str) -> bool {
    match name.split_once("::") {
        Some((file, function)) => {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            text.contains(&format!("fn {function}("))
        }
        None => root.join(format!("hw-tests/cases/{name}.yaml")).is_file(),
    }
}

#[test]
fn every_name_in_the_list_is_of_something_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| {
        std::fs::read_to_string(root.join("docs/reference").join(name)).expect("a page")
    };
    let (list, keys) = (read("nic-conformance.md"), read("nic-profiles.md"));
    let mut lines = 0;
    let mut wrong = Vec::new();
    for line in list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [what, of, by] = cells[..] else { panic!("three cells, but: {line}") };
        if by.trim() == "shown by" {
            continue;
        }
        lines += 1;
        if quoted(by).next().is_none() {
            wrong.push(format!("nothing shows: {what}"));
        }
        wrong.extend(quoted(by).filter(|name| !is_there(&root, name)).map(str::to_owned));
        let is_key = |key: &&str| keys.contains(&format!("`{key}`"));
        wrong.extend(quoted(of).filter(|key| !is_key(key)).map(|key| format!("key {key}")));
    }
    assert!(lines > 50, "the list is short: {lines}");
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
}
