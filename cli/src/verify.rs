//! `penstock verify`: what can be proven of the rules in a NIC.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::verify::dump::Node;
use ::verify::{Dump, DumpError, Finding, Packet, Report, served, verify};
use clap::Args;
use dpu_app::api::v1::RulesRequest;
use rte_flow::{Profile, ProfileError};
use thiserror::Error;

use crate::daemon::{Daemon, DaemonError};
use crate::pcapng::Writer;

/// How long rules that change may take to be as they are decided.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `penstock verify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Check the rules of this dump, not those of a daemon; `-` for standard input
    #[arg(long, value_name = "RULES.jsonl", conflicts_with = "save")]
    pub dump: Option<PathBuf>,
    /// Write the daemon's dump there, too
    #[arg(long, value_name = "RULES.jsonl")]
    pub save: Option<PathBuf>,
    /// Where to write the packets that show what does not hold, if any
    #[arg(long, value_name = "PACKETS.pcapng", default_value = "counterexample.pcapng")]
    pub packets: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

/// Why not all is proven.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Something does not hold.
    #[error("{0}")]
    Refuted(String),
    /// The dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// There is no such profile.
    #[error("the dump's NIC: {0}")]
    Profile(#[from] ProfileError),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> VerifyError {
    move |error| VerifyError::File { path: path.to_owned(), error }
}

/// Says what is proven.
///
/// # Errors
/// [`VerifyError`]; where something does not hold, it says what, and the packets that show it are written.
pub fn run(arguments: &Arguments) -> Result<String, VerifyError> {
    let (dump, report, time) = match &arguments.dump {
        Some(path) => check(read(path)?)?,
        None => live(&arguments.daemon)?,
    };
    if let Some(path) = &arguments.save {
        let file = File::create(path).map(BufWriter::new).map_err(file_error(path))?;
        save(&dump, file).map_err(file_error(path))?;
    }
    let summary = report.summary(time);
    if report.holds() {
        return Ok(summary);
    }
    let packets: Vec<&Packet> = report.findings.iter().filter_map(|f| f.packet.as_ref()).collect();
    if !packets.is_empty() {
        let path = &arguments.packets;
        std::fs::write(path, capture(&dump.node, &packets)).map_err(file_error(path))?;
    }
    Err(VerifyError::Refuted(describe(&dump, &report, &arguments.packets) + &summary))
}

fn read(path: &Path) -> Result<Dump, VerifyError> {
    if path == Path::new("-") {
        return Ok(Dump::read(io::stdin().lock())?);
    }
    let file = File::open(path).map_err(file_error(path))?;
    Ok(Dump::read(BufReader::new(file))?)
}

fn save(dump: &Dump, mut file: impl Write) -> io::Result<()> {
    dump.write(&mut file)?;
    file.flush()
}

fn check(dump: Dump) -> Result<(Dump, Report, Duration), VerifyError> {
    let profile = Profile::named(&dump.node.profile)?;
    let begun = Instant::now();
    let report = verify(&dump, &profile);
    Ok((dump, report, begun.elapsed()))
}

/// Checks a daemon's rules. They change while they are listed: what does not hold is looked at once more.
fn live(daemon: &Daemon) -> Result<(Dump, Report, Duration), VerifyError> {
    let checked = check(fetch(daemon)?)?;
    if checked.1.holds() {
        return Ok(checked);
    }
    std::thread::sleep(PAUSE);
    check(fetch(daemon)?)
}

fn fetch(daemon: &Daemon) -> Result<Dump, VerifyError> {
    let lines = daemon.call(async |mut client| {
        let mut batches = client.rules(RulesRequest {}).await?.into_inner();
        let mut lines = String::new();
        while let Some(batch) = batches.message().await? {
            lines += &batch.lines;
        }
        Ok(lines)
    })?;
    Ok(Dump::read(lines.as_bytes())?)
}

/// What a capture calls the place where a packet comes in.
fn interface(node: &Node, packet: &Packet) -> String {
    let vf = node.vfs.iter().find(|vf| vf.port == packet.port);
    let name = vf.map_or_else(|| "uplink".to_owned(), |vf| format!("vf{}", vf.vf));
    if packet.by_software { format!("software-{name}") } else { name }
}

/// The packets as a capture, a second apart.
fn capture(node: &Node, packets: &[&Packet]) -> Vec<u8> {
    let names: BTreeSet<String> = packets.iter().map(|packet| interface(node, packet)).collect();
    let mut file = Writer::new(&names);
    for (number, packet) in (0..).zip(packets) {
        let name = interface(node, packet);
        let place = names.iter().position(|known| *known == name).unwrap_or(0);
        file.packet(place as u32, number * 1_000_000_000, &packet.frame);
    }
    file.finish()
}

/// What does not hold: for each finding the rules, whose they are, and where its packet is.
fn describe(dump: &Dump, report: &Report, packets: &Path) -> String {
    let mut text = String::new();
    let mut number = 0;
    for Finding { property, what, rules, packet, is_uncertain } in &report.findings {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {what}", property.name());
        for dumped in rules.iter().filter_map(|rule| dump.rules.get(*rule)) {
            let _ = writeln!(text, "  # {}", served(&dumped.serves));
            for line in dumped.rule.testpmd(dump.node.uplink).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        if let Some(packet) = packet {
            number += 1;
            let place = interface(&dump.node, packet);
            let _ = write!(text, "  packet {number} of {}, in at {place}", packets.display());
            let _ = writeln!(
                text,
                "{}",
                if *is_uncertain {
                    "; it may not show it: part of its way is not known exactly"
                } else {
                    ""
                }
            );
        }
        text.push('\n');
    }
    text
}
