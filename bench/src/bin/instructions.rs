//! Counts the instructions that a packet or connection costs, and compares them with what was committed.
//!
//! Valgrind counts: its figures are the same on a busy machine as on a quiet one. They say nothing of caches; `bench` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bench::datapath::{WORK, Work, prepare, run};
use clap::{Parser, Subcommand};
use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use serde::{Deserialize, Serialize};
use testbed::callgrind;

/// Flows of each piece of work: more change no count by a hundredth.
const FLOWS: u32 = 4096;

#[derive(Parser)]
#[command(about = "Counts instructions for each packet, and compares with the committed figures")]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only the work whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Subcommand)]
enum Action {
    /// Counts, and commits to the figures
    Update,
    /// Does some work once, for valgrind to watch
    Work {
        /// Its name
        name: String,
    },
}

/// The committed figures.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    /// By how many hundredths a count may exceed its figure.
    tolerance_percent: f64,
    /// Instructions for each packet.
    instructions: BTreeMap<String, f64>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Action::Work { name }) = &arguments.action {
        let mut prepared = prepare(work(name)?, FLOWS)?;
        println!("{}", prepared.packets());
        run(work(name)?, &mut prepared)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut figures = Figures::read()?;
    let mut is_good = true;
    for (name, _) in WORK.iter().filter(|(name, _)| name.contains(&arguments.only)) {
        let counted = count(name)?;
        let committed = figures.instructions.get(*name).copied();
        let limit = committed.map(|figure| figure * (1.0 + figures.tolerance_percent / 100.0));
        let verdict = match limit {
            None => "not committed yet",
            Some(limit) if counted > limit => "MORE THAN COMMITTED",
            Some(_) => "",
        };
        is_good &= verdict.is_empty();
        println!(
            "{name:<24} {counted:>9.1}  committed {:>9.1}  {verdict}",
            committed.unwrap_or(0.0)
        );
        figures.instructions.insert((*name).to_owned(), (counted * 10.0).round() / 10.0);
    }
    match arguments.action {
        Some(Action::Update) => figures.write()?,
        _ if !is_good => bail!(
            "the packet path takes more instructions than {} says; find out why, or run `cargo run --release -p bench --bin \
             instructions update` and commit with the reason",
            Figures::path().display(),
        ),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn work(name: &str) -> Result<Work> {
    let found = WORK.iter().find(|(known, _)| *known == name);
    found.map(|(_, work)| *work).ok_or_else(|| miette!("there is no work named {name}"))
}

/// Instructions that some work takes for each packet.
fn count(name: &str) -> Result<f64> {
    let directory = tempfile::tempdir().into_diagnostic()?;
    let file = directory.path().join("callgrind");
    let mut words = callgrind::counting("bench::datapath::work::run*", &file).into_iter();
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .arg(std::env::current_exe().into_diagnostic()?)
        .args(["work", name])
        .output()
        .into_diagnostic()
        .wrap_err("valgrind does not start; `cargo xtask test` installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} under valgrind:\n{said}");
    }
    let packets =
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().into_diagnostic()?;
    let cost = callgrind::read(&file).into_diagnostic()?;
    if cost.instructions == 0 {
        bail!("no count for {name}:\n{said}");
    }
    Ok(f64::from(u32::try_from(cost.instructions).into_diagnostic()?) / packets)
}

impl Figures {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
    }

    fn read() -> Result<Self> {
        let path = Self::path();
        let text = std::fs::read_to_string(&path)
            .into_diagnostic()
            .wrap_err_with(|| path.display().to_string())?;
        toml::from_str(&text).into_diagnostic().wrap_err_with(|| path.display().to_string())
    }

    fn write(&self) -> Result<()> {
        let text = toml::to_string(self).into_diagnostic()?;
        std::fs::write(Self::path(), text).into_diagnostic()
    }
}
