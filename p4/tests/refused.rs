//! Programs that are refused, and what is said of them: `tests/refused/NAME.p4` and `NAME.txt`.
//!
//! `P4_WRITE=1 cargo test -p p4 --test refused` writes the texts anew.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use miette::{GraphicalReportHandler, GraphicalTheme};

fn main() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&home)
        .expect("tests/refused")
        .map(|entry| entry.expect("a directory's entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "p4"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", home.display());
    std::env::set_current_dir(&home).expect("tests/refused");
    let trials = cases
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a file's name").to_string_lossy().into_owned();
            Trial::test(name.clone(), move || refused(&name))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn refused(name: &str) -> Result<(), Failed> {
    let Err(diagnostic) = p4::compile(Path::new(&format!("{name}.p4"))) else {
        return Err("the program is accepted".into());
    };
    let mut found = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .render_report(&mut found, &diagnostic)?;
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
