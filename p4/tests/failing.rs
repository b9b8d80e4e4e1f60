//! Tests that must fail, and what is said of them: `tests/failing/NAME.stf` and `NAME.txt`.
//!
//! `P4_WRITE=1 cargo test -p p4 --test failing` writes the texts anew.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use p4::interpreter::Machine;
use p4::stf::Runner;

fn main() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/failing");
    std::env::set_current_dir(&home).expect("tests/failing");
    let mut tests: Vec<PathBuf> = std::fs::read_dir(".")
        .expect("tests/failing")
        .map(|entry| entry.expect("a directory's entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "stf"))
        .collect();
    assert!(!tests.is_empty(), "no tests in tests/failing");
    tests.sort();
    let trials = tests
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a file's name").to_string_lossy().into_owned();
            Trial::test(name.clone(), move || failing(&name))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn failing(name: &str) -> Result<(), Failed> {
    let test = PathBuf::from(format!("{name}.stf"));
    let lines = std::fs::read_to_string(&test)?;
    let program = lines.lines().next().and_then(|line| line.strip_prefix("# for "));
    let program = program.ok_or("the first line is to be `# for PROGRAM`")?;
    let program = p4::compile(Path::new(program)).map_err(|error| error.to_string())?;
    let mut machine = Machine::new(&program)?;
    let Err(error) = Runner::new(&mut machine).test(&test) else {
        return Err("the test passes".into());
    };
    let found = format!("{error}\n");
    let expected = format!("{name}.txt");
    if std::env::var_os("P4_WRITE").is_some() {
        std::fs::write(&expected, &found)?;
        return Ok(());
    }
    let expected = std::fs::read_to_string(&expected)?;
    if expected == found {
        Ok(())
    } else {
        Err(format!("expected:\n{expected}\nfound:\n{found}").into())
    }
}
