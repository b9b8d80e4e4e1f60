//! The suite on the simulated NIC: each case with each profile is a test. The cases of `failing/` show that the suite
//! sees what is wrong: each must fail with the words that it is about.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use hw_tests::case::Case;
use hw_tests::ground;
use hw_tests::runner::{Runner, trials};
use hw_tests::target::Target;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Some(obstacle) = ground::obstacle() {
        assert!(std::env::var_os("CI").is_none(), "the suite cannot run: {obstacle}");
        eprintln!("skipped: {obstacle}");
        return ExitCode::SUCCESS;
    }
    ground::enter_namespace().expect("a network namespace");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Target::Simulated(ground::driver().expect("the driver"));
    let good = all(&here.join("cases"));
    let bad = all(&here.join("tests/failing"));
    let good = trials(&target, good).into_iter().map(|trial| (trial, false));
    let bad = trials(&target, bad).into_iter().map(|trial| (trial, true));
    let runner = Arc::new(Mutex::new(Runner::new(target)));
    let tests = good.chain(bad).map(|(trial, fails)| {
        let runner = Arc::clone(&runner);
        let sort = if fails { "failing/" } else { "" };
        Trial::test(format!("{sort}{} [{}]", trial.case.name, trial.profile), move || {
            let mut runner = runner.lock().unwrap_or_else(PoisonError::into_inner);
            let result = runner.run(trial.case, &trial.profile);
            let about = &trial.case.about;
            match result {
                Err(problem) if fails && problem.contains(about.as_str()) => Ok(()),
                result if fails => Err(format!("expected \"{about}\", but: {result:?}").into()),
                result => result.map_err(|problem| format!("{about}\n\n{problem}").into()),
            }
        })
    });
    // In order: neighbours share a testpmd.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    let runner = Arc::into_inner(runner).expect("all trials have ended");
    let runner = runner.into_inner().unwrap_or_else(PoisonError::into_inner);
    runner.finish().unwrap_or_else(|wrong| panic!("{wrong}"));
    conclusion.exit_code()
}

fn all(directory: &Path) -> &'static [Case] {
    Case::all(directory).unwrap_or_else(|wrong| panic!("{wrong}")).leak()
}
