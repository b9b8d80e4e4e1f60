//! `cargo run -p hw-tests`: the suite on the simulated NIC or on a real one, as a table.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use clap::Parser;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use hw_tests::bench::{self, Bench};
use hw_tests::case::Case;
use hw_tests::ground;
use hw_tests::runner::{Runner, Trial, trials};
use hw_tests::target::Target;

/// Runs the conformance suite of switchdev NICs.
#[derive(Parser)]
#[command(name = "hw-tests")]
struct Arguments {
    /// The NIC: `simulated`, or `pci:ADDRESS` for a real one
    #[arg(long, default_value = "simulated")]
    target: Nic,
    /// How the real NIC is wired (a TOML file)
    #[arg(long)]
    bench: Option<PathBuf>,
    /// Only show the cases
    #[arg(long)]
    list: bool,
    /// Only cases whose name, with the profile in brackets, contains this
    filter: Option<String>,
}

#[derive(Clone)]
enum Nic {
    Simulated,
    Pci(String),
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("pci:") {
            Some(address) if !address.is_empty() => Ok(Self::Pci(address.to_owned())),
            None if text == "simulated" => Ok(Self::Simulated),
            _ => Err("it is `simulated` or `pci:ADDRESS`, like pci:0000:03:00.0".to_owned()),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(&arguments).unwrap_or_else(|problem| {
        eprintln!("hw-tests: {problem}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let cases = Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))?;
    if arguments.list {
        list(&cases, arguments.filter.as_deref());
        return Ok(ExitCode::SUCCESS);
    }
    let target = target(arguments)?;
    let mut trials = trials(&target, &cases);
    if let Some(filter) = &arguments.filter {
        trials.retain(|trial| name(trial).contains(filter.as_str()));
    }
    perform(target, &trials)
}

/// The NIC that was asked for, if the suite can run on it.
fn target(arguments: &Arguments) -> Result<Target, String> {
    let address = match &arguments.target {
        Nic::Simulated => {
            if let Some(obstacle) = ground::obstacle() {
                return Err(format!("the suite cannot run: {obstacle}"));
            }
            ground::enter_namespace()?;
            return Ok(Target::Simulated(ground::driver()?));
        }
        Nic::Pci(address) => address,
    };
    let bench = arguments.bench.as_deref();
    let bench = bench.map(|file| Bench::read(file, address)).transpose()?;
    let needs = bench::needs(address, bench.as_ref());
    match bench {
        Some(bench) if needs.iter().all(|need| need.found.is_ok()) => Ok(Target::Device(bench)),
        bench => {
            let mut table = table(["needed", "there", "found"]);
            for need in &needs {
                let (there, found) = match &need.found {
                    Ok(found) => ("yes", found),
                    Err(found) => ("NO", found),
                };
                table.add_row([&need.what, there, found]);
            }
            println!("{table}");
            if bench.is_none() {
                println!("\nA bench file looks like this:\n\n{}", bench::EXAMPLE);
            }
            Err(format!("the suite does not start on {address}: see above what it needs"))
        }
    }
}

/// Runs trials and prints what came of them.
fn perform(target: Target, trials: &[Trial<'_>]) -> Result<ExitCode, String> {
    let begin = Instant::now();
    let progress = std::io::stderr().is_terminal();
    let mut runner = Runner::new(target);
    let mut results: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    let mut failures = Vec::new();
    for (number, trial) in trials.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K{}/{} {}", number + 1, trials.len(), name(trial));
            let _ = std::io::stderr().flush();
        }
        let result = runner.run(trial.case, &trial.profile);
        results.entry(&trial.case.name).or_default().insert(&trial.profile, result.is_ok());
        if let Err(problem) = result {
            failures.push(format!("---- {}\n{}\n{problem}\n", name(trial), trial.case.about));
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    runner.finish()?;
    let profiles: std::collections::BTreeSet<&str> =
        results.values().flat_map(|row| row.keys().copied()).collect();
    let mut table = table(std::iter::once("case").chain(profiles.iter().copied()));
    for (case, row) in &results {
        let cells = profiles.iter().map(|profile| match row.get(profile) {
            None => "",
            Some(true) => "ok",
            Some(false) => "FAILED",
        });
        table.add_row(std::iter::once(*case).chain(cells));
    }
    println!("{table}");
    for failure in &failures {
        println!("\n{failure}");
    }
    let failed = failures.len();
    println!(
        "{} cases, {} passed, {failed} failed, {:.1} s",
        results.len(),
        trials.len() - failed,
        begin.elapsed().as_secs_f64()
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(cases: &[Case], filter: Option<&str>) {
    let mut table = table(["case", "what it shows"]);
    let shown: Vec<&Case> = cases
        .iter()
        .filter(|case| filter.is_none_or(|filter| case.name.contains(filter)))
        .collect();
    for case in &shown {
        table.add_row([case.name.as_str(), case.about.trim()]);
    }
    println!("{table}\n{} cases", shown.len());
}

fn name(trial: &Trial<'_>) -> String {
    format!("{} [{}]", trial.case.name, trial.profile)
}

fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.into_iter().collect::<Vec<_>>());
    table
}
