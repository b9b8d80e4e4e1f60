//! Random tests that anyone can repeat, and run for longer: the environment says seed and number of cases.

use std::env;
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};

/// How much of a failing input is shown, bytes.
const SHOWN: usize = 4000;

/// The same as [`check`], and then once more with a seed that is another one in each run, unless `PENSTOCK_name_SEED` says which.
/// The seed is printed.
///
/// # Panics
/// As [`check`].
pub fn check_and_explore<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> TestCaseResult,
) where
    S::Value: Debug,
{
    check(name, cases, strategy, &test);
    if env::var_os(format!("PENSTOCK_{name}_SEED")).is_none() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (_, cases) = seed_and_cases(name, cases);
        eprintln!("fresh: PENSTOCK_{name}_SEED={now}");
        run(name, now, cases, strategy, test);
    }
}

/// Tries `test` on values of `strategy`, `cases` of them unless `PENSTOCK_name_CASES` says otherwise, which are the same in
/// each run with the same `PENSTOCK_name_SEED` (1 when absent). A failure is shrunk.
///
/// # Panics
/// With what failed and the smallest input found for which it does, and when a variable is no number.
pub fn check<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> TestCaseResult,
) where
    S::Value: Debug,
{
    let (seed, cases) = seed_and_cases(name, cases);
    run(name, seed, cases, strategy, test);
}

fn run<S: Strategy>(
    name: &str,
    seed: u64,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> TestCaseResult,
) where
    S::Value: Debug,
{
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    match TestRunner::new_with_rng(config, random).run(strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => {
            let mut input = format!("{value:?}");
            input.truncate(input.floor_char_boundary(SHOWN));
            panic!("PENSTOCK_{name}_SEED={seed}: {reason}\ninput: {input}");
        }
        Err(abort) => panic!("PENSTOCK_{name}_SEED={seed}: {abort}"),
    }
}

/// The seed and the number of cases of a random test: `PENSTOCK_name_SEED`, else 1, and `PENSTOCK_name_CASES`, else `cases`.
///
/// # Panics
/// When a variable is no number.
#[must_use]
pub fn seed_and_cases(name: &str, cases: u32) -> (u64, u32) {
    let seed = variable(&format!("PENSTOCK_{name}_SEED"), 1);
    let cases = variable(&format!("PENSTOCK_{name}_CASES"), cases.into());
    (seed, u32::try_from(cases).expect("fewer cases"))
}

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`"))
    })
}
