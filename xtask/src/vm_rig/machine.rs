//! The machines, and what their checks say.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::qemu::Qemu;

/// Until a machine says something: it boots, or runs a check.
const PATIENCE: Duration = Duration::from_mins(5);
/// As much more for each random kill, all of which are one check.
const PATIENCE_FOR_A_KILL: Duration = Duration::from_secs(10);
/// How much of a machine's console is shown when something went wrong.
const TAIL: usize = 40;

/// A machine, and the checks that are run on it.
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    /// What there is about it.
    about: &'static str,
    /// Groups of checks.
    checks: &'static [&'static str],
    /// Its devices, as QEMU's arguments.
    devices: &'static [&'static str],
}

/// What a machine is started with.
pub struct Boot<'a> {
    /// The kernel.
    pub kernel: &'a Path,
    /// Its first file system.
    pub image: &'a Path,
    /// How often the daemon is killed at random.
    pub kills: u32,
}

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "root-port",
        about: "an igb behind a root port, VT-d",
        checks: &["number", "attachment", "fault"],
        devices: &[
            "pcie-root-port,id=rp0,chassis=1,slot=1",
            "igb,bus=rp0,mac=52:54:00:00:00:01,romfile=",
        ],
    },
    Machine {
        name: "netdevsim",
        about: "no card but the kernel's own simulated one",
        checks: &["simulated"],
        devices: &[],
    },
    Machine {
        name: "switch",
        about: "an igb and a GPU behind a switch without ACS, an igb at a root port, a GPU at another NUMA node",
        checks: &["placement"],
        devices: &[
            "pcie-root-port,id=rp0,chassis=1,slot=1",
            "x3130-upstream,id=up,bus=rp0",
            "xio3130-downstream,id=down0,bus=up,chassis=2,slot=2",
            "xio3130-downstream,id=down1,bus=up,chassis=3,slot=3",
            "igb,bus=down0,mac=52:54:00:00:00:01,romfile=",
            "pci-testdev,bus=down1,membar=16M",
            "pcie-root-port,id=rp1,chassis=4,slot=4",
            "igb,bus=rp1,mac=52:54:00:00:00:02,romfile=",
            "pxb-pcie,id=far,bus=pcie.0,bus_nr=64,numa_node=1",
            "pcie-root-port,id=rp2,bus=far,chassis=5,slot=5",
            "pci-testdev,bus=rp2,membar=16M",
        ],
    },
];

/// How many checks had which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that hold.
    pub passed: u32,
    /// Those that do not.
    pub failed: u32,
}

impl Tally {
    /// Whether something was checked, and all of it holds.
    pub const fn is_good(self) -> bool {
        self.passed > 0 && self.failed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// What a machine says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// A check.
    Check { holds: bool, name: &'a str, milliseconds: u32, seen: &'a str },
    /// All checks were run.
    End,
    /// Anything else.
    Other(&'a str),
}

fn parse(line: &str) -> Line<'_> {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields[..] {
        [verdict @ ("ok" | "FAILED"), name, milliseconds, seen] => Line::Check {
            holds: verdict == "ok",
            name,
            milliseconds: milliseconds.parse().unwrap_or(0),
            seen,
        },
        [end] if end.starts_with("end ") => Line::End,
        _ => Line::Other(line),
    }
}

/// A running QEMU.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// Runs the machine's checks and shows what they say.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn run(&self, qemu: &Qemu, boot: &Boot<'_>, directory: &Path) -> Result<Tally> {
        println!("\nmachine {}: {}", self.name, self.about);
        let console = directory.join(format!("{}.log", self.name));
        let start = Instant::now();
        let (_running, lines) = self.start(qemu, boot, &console)?;
        let patience = PATIENCE + PATIENCE_FOR_A_KILL * boot.kills;
        let mut tally = Tally::default();
        let problem = loop {
            match lines.recv_timeout(patience) {
                Ok(line) => match parse(line.trim_end()) {
                    Line::Check { holds, name, milliseconds, seen } => {
                        let verdict = if holds { "ok    " } else { "FAILED" };
                        let seconds = f64::from(milliseconds) / 1000.0;
                        println!("   {verdict} {name} ({seconds:.1} s): {seen}");
                        tally += Tally { passed: holds.into(), failed: (!holds).into() };
                    }
                    Line::End => break None,
                    Line::Other(text) => println!("          {text}"),
                },
                Err(RecvTimeoutError::Timeout) => break Some("it says nothing any more"),
                Err(RecvTimeoutError::Disconnected) => break Some("it ended before its checks"),
            }
        };
        if let Some(problem) = problem {
            println!("   FAILED machine {}: {problem}", self.name);
            tally.failed += 1;
        }
        println!("   {:.0} s", start.elapsed().as_secs_f64());
        if tally.failed > 0 {
            println!("\nThe end of its console ({}):", console.display());
            for line in tail(&console) {
                println!("   | {line}");
            }
        }
        Ok(tally)
    }

    fn start(
        &self,
        qemu: &Qemu,
        boot: &Boot<'_>,
        console: &Path,
    ) -> Result<(Running, Receiver<String>)> {
        let mut command = qemu.command();
        command
            .args(["-machine", "q35,kernel-irqchip=split"])
            // Where the processor would help, it often hangs; and results are the same everywhere without it.
            .args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2"])
            .args(["-m", "1024", "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-object", "memory-backend-ram,id=near,size=512M"])
            .args(["-object", "memory-backend-ram,id=beyond,size=512M"])
            .args(["-numa", "node,nodeid=0,cpus=0,memdev=near"])
            .args(["-numa", "node,nodeid=1,cpus=1,memdev=beyond"])
            .args(["-device", "intel-iommu,intremap=on,caching-mode=on"]);
        for device in self.devices {
            command.args(["-device", device]);
        }
        let options = "console=ttyS0 quiet intel_iommu=on iommu=pt mitigations=off panic=-1";
        command.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.image);
        let (checks, kills) = (self.checks.join(" "), boot.kills);
        command.arg("-append").arg(format!("{options} kills={kills} checks=\"{checks}\""));
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio"]);
        let errors = console.with_extension("errors");
        let file = fs::File::create(&errors).into_diagnostic()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .into_diagnostic()
            .wrap_err("QEMU does not start")?;
        let output = child.stdout.take().ok_or_else(|| miette!("QEMU has no output"))?;
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok((Running(child), lines))
    }
}

/// The last lines of a machine's console, and what QEMU complained about.
fn tail(console: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in [console.with_extension("errors"), console.to_owned()] {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        lines.extend(all[all.len().saturating_sub(TAIL)..].iter().map(|line| (*line).to_owned()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_machine() {
        let holds =
            Line::Check { holds: true, name: "number: VFs come", milliseconds: 1200, seen: "7" };
        assert_eq!(parse("ok\tnumber: VFs come\t1200\t7"), holds);
        assert!(matches!(parse("FAILED\ta\t1\tno VF"), Line::Check { holds: false, .. }));
        assert_eq!(parse("end 1"), Line::End);
        assert_eq!(parse("ok\tsomething"), Line::Other("ok\tsomething"));
        assert!(!Tally::default().is_good(), "no check is no success");
    }
}
