//! `dpdk-test-flow-perf`: a table of a million rules, and how fast it fills.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::dpdk;
use crate::{Case, Unit};

/// Rules of one shape.
pub struct Rules {
    name: &'static str,
    arguments: &'static [&'static str],
}

/// What is measured of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Rate,
    Memory,
}

pub const FIGURES: [Figure; 2] = [Figure::Rate, Figure::Memory];

pub const CASES: &[Rules] = &[
    Rules {
        name: "IPv4 address, jump",
        arguments: &["--ingress", "--group=1", "--ether", "--ipv4", "--udp", "--jump"],
    },
    Rules {
        name: "IPv4 address and VXLAN, count, decapsulate, two rewrites",
        arguments: &[
            "--transfer",
            "--group=1",
            "--ether",
            "--ipv4",
            "--udp",
            "--vxlan",
            "--count",
            "--vxlan-decap",
            "--set-dst-mac",
            "--dec-ttl",
            "--jump",
        ],
    },
];

/// A table as large as the ones that are asked of the simulated NIC.
const COUNT: u32 = 1_000_000;
/// How often the memory of the program is looked at. It shrinks at the end only.
const INTERVAL: Duration = Duration::from_millis(5);

pub struct Insertion {
    pub driver: PathBuf,
    pub rules: &'static Rules,
    pub figure: Figure,
}

/// What one run of the program says.
struct Run {
    /// Rules inserted in a second, as the program counts it.
    rate: f64,
    /// Most memory that it had, in bytes.
    memory: f64,
}

impl Insertion {
    fn run(&self, count: u32) -> Result<Run> {
        let runtime = tempfile::tempdir().into_diagnostic()?;
        let device = "net_eswitch0,vfs=1,representor=vf0,profile=unlimited";
        let mut command = dpdk("dpdk-test-flow-perf", &self.driver, device, &runtime);
        command.args(self.rules.arguments).arg("--portmask=1");
        command.args([format!("--rules-count={count}"), format!("--rules-batch={count}")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().into_diagnostic().wrap_err("dpdk-test-flow-perf does not start")?;
        let memory = thread::scope(|scope| {
            let errors = child.stderr.take();
            // Nobody else empties the pipe.
            scope.spawn(move || errors.map(|mut pipe| pipe.read_to_end(&mut Vec::new())));
            let output = child.stdout.take();
            let output = scope.spawn(move || {
                let mut text = String::new();
                output.map(|mut pipe| pipe.read_to_string(&mut text)).transpose()?;
                Ok::<_, std::io::Error>(text)
            });
            let memory = most_memory(&mut child)?;
            let output = output.join().unwrap_or_else(|_| Ok(String::new())).into_diagnostic()?;
            Ok::<_, miette::Report>((memory, output))
        });
        let (memory, output) = memory?;
        let rate =
            rate(&output).ok_or_else(|| miette!("dpdk-test-flow-perf says no rate:\n{output}"))?;
        Ok(Run { rate, memory })
    }
}

/// Waits for the end of a process; the most memory that it had, in bytes.
fn most_memory(child: &mut Child) -> Result<f64> {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0_f64;
    while child.try_wait().into_diagnostic()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kilobytes = text.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
        });
        most = most.max(kilobytes.unwrap_or_default() * 1024.0);
        thread::sleep(INTERVAL);
    }
    Ok(most)
}

/// Rules a second, in what `dpdk-test-flow-perf` prints.
fn rate(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.contains(":: Rules insertion rate ->"))?;
    let thousands = line.split("->").nth(1)?.trim().strip_suffix("K Rule/Sec")?;
    thousands.trim().parse::<f64>().ok().map(|thousands| thousands * 1000.0)
}

impl Case for Insertion {
    fn name(&self) -> String {
        let figure = match self.figure {
            Figure::Rate => "rules inserted",
            Figure::Memory => "memory of rules",
        };
        format!("NIC: {figure}, {COUNT} of {}", self.rules.name)
    }

    fn unit(&self) -> Unit {
        match self.figure {
            Figure::Rate => Unit::ThousandsPerSecond,
            Figure::Memory => Unit::BytesEach,
        }
    }

    fn measure(&self) -> Result<f64> {
        let full = self.run(COUNT)?;
        Ok(match self.figure {
            Figure::Rate => full.rate / 1000.0,
            Figure::Memory => (full.memory - self.run(1)?.memory) / f64::from(COUNT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found() {
        let output = ":: Port 0 :: Core 0 :: Rules insertion rate -> 542.316366 K Rule/Sec\n";
        assert_eq!(rate(output).map(f64::round), Some(542_316.0));
        assert_eq!(rate("nothing"), None);
    }
}
