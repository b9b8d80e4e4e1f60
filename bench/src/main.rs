//! `cargo xtask bench`: measures what things cost and prints one table.
//!
//! Cases run in turns, each once before any runs again, so that a machine that is slower for a while is so for all of them:
//! ratios between cases of one run mean something where single figures do not. Where a case can, it counts the processor's
//! time of the one thread that does the work, which does not grow when other programs want the core, too.

mod nic;
mod path;
mod plot;
mod proof;
mod report;
mod shard;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use miette::{Result, bail};

use report::Report;
use statistics::Samples;

#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", about = "Measures what things cost")]
struct Arguments {
    /// How often each case runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only the cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// The directory that gets the figures as JSON and as a plot
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
    /// The pages in which the software path's programs keep their packets
    #[arg(long, value_enum, default_value = "huge")]
    memory: path::Memory,
    /// Measures the memory of so many connections in this process, and nothing else
    #[arg(long, hide = true)]
    memory_of: Option<u32>,
}

/// Something that can be measured again and again.
trait Case {
    /// What is measured: what is done, with how much.
    fn name(&self) -> String;
    /// What the figures count.
    fn unit(&self) -> Unit;
    /// Measures once.
    ///
    /// # Errors
    /// When it cannot be measured.
    fn measure(&self) -> Result<f64>;
}

/// What figures count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    /// Nanoseconds of one core's time for a packet.
    NanosecondsPerPacket,
    /// Nanoseconds of one core's time for a connection, all its packets together.
    NanosecondsPerConnection,
    /// Thousands in a second.
    ThousandsPerSecond,
    /// Bytes that the process grows by, for each.
    BytesEach,
    /// Seconds by the wall's clock.
    Seconds,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(connections) = arguments.memory_of {
        println!("{}", shard::memory_of(connections)?);
        return Ok(ExitCode::SUCCESS);
    }
    let cases: Vec<Box<dyn Case>> = nic::cases()?
        .into_iter()
        .chain(shard::cases())
        .chain(path::cases(arguments.memory)?)
        .chain(proof::cases()?)
        .filter(|case| case.name().contains(&arguments.only))
        .collect();
    if cases.is_empty() {
        bail!("no case's name contains \"{}\"; leave out --only to see them all", arguments.only);
    }
    let mut samples = vec![Samples::default(); cases.len()];
    for run in 1..=arguments.runs {
        for (case, samples) in cases.iter().zip(&mut samples) {
            eprintln!("run {run} of {}: {}", arguments.runs, case.name());
            samples.add(case.measure()?);
        }
    }
    let measured = cases.iter().zip(&samples).map(|(case, samples)| (case.as_ref(), samples));
    let report = Report::new(measured);
    println!("{report}");
    report.save(&arguments.output)?;
    Ok(ExitCode::SUCCESS)
}
