//! Tests in STF: of the language in `tests/language/`, of the contract in `tests/stf/`, of its shim in `tests/v1model/`.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use p4::interpreter::Machine;
use p4::stf::{Runner, program_of};

fn main() {
    let mut trials = tests_in("language", None);
    trials.extend(tests_in("stf", None));
    trials.extend(tests_in("v1model", Some("arch/v1model_shim.p4")));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The tests of a directory; of the program that is named, or each of its own.
fn tests_in(room: &str, program: Option<&'static str>) -> Vec<Trial> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(room);
    let mut tests: Vec<PathBuf> = std::fs::read_dir(&home)
        .unwrap_or_else(|error| panic!("{}: {error}", home.display()))
        .map(|entry| entry.expect("a directory's entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "stf"))
        .collect();
    assert!(!tests.is_empty(), "no tests in {}", home.display());
    tests.sort();
    tests
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a file's name").to_string_lossy().into_owned();
            Trial::test(format!("{room}::{name}"), move || run(&path, program))
        })
        .collect()
}

fn run(test: &Path, program: Option<&str>) -> Result<(), Failed> {
    let named = program.map(|program| Path::new(env!("CARGO_MANIFEST_DIR")).join(program));
    let program = named.or_else(|| program_of(test)).ok_or("there is no program for it")?;
    let program =
        p4::compile(&program).map_err(|error| format!("{:?}", miette::Report::new(error)))?;
    let mut machine = Machine::new(&program)?;
    let done = Runner::new(&mut machine).test(test)?;
    if done.expectations == 0 {
        return Err("nothing is expected".into());
    }
    Ok(())
}
