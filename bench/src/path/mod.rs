//! The software path: what a packet costs the core that forwards it, in Penstock's own daemon, in Open vSwitch with the
//! same policy, and in `dpdk-testpmd`, which does nothing with it.
//!
//! All three get the same frames from the same driver (`bench/traffic`), which says itself how many packets passed and how
//! long the core had worked by then.

mod addresses;
mod intent;
mod namespace;
mod ovs;
mod penstock;
mod program;
mod scenario;
mod template;
mod testpmd;
mod window;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use miette::{IntoDiagnostic, Result, bail};
use tempfile::TempDir;

use crate::{Case, Unit};
use scenario::{Frames, SCENARIOS, Scenario, Shape};

/// Who forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// `penstock-dpud`.
    Penstock,
    /// `ovs-vswitchd` with DPDK.
    Ovs,
    /// `dpdk-testpmd`: the ceiling.
    Testpmd,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Penstock, Self::Ovs, Self::Testpmd];

    const fn name(self) -> &'static str {
        match self {
            Self::Penstock => "Penstock",
            Self::Ovs => "OVS",
            Self::Testpmd => "testpmd, input and output only",
        }
    }
}

/// Whether huge pages are there for those that are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Memory {
    /// Of 2 MiB; they have to be free (`/proc/sys/vm/nr_hugepages`)
    Huge,
    /// Of 4 KiB: on any machine, and slower for all
    Ordinary,
}

/// What cases share.
struct Rig {
    /// What was built: programs and drivers.
    built: PathBuf,
    /// Frames, configurations, sockets; gone at the end.
    directory: TempDir,
    memory: Memory,
    /// Of each scenario that has run.
    frames: RefCell<HashMap<String, Rc<Frames>>>,
}

impl Rig {
    /// The frames of a scenario, made once.
    fn frames(&self, scenario: &Scenario) -> Result<Rc<Frames>> {
        let name = scenario.name();
        if let Some(frames) = self.frames.borrow().get(&name) {
            return Ok(Rc::clone(frames));
        }
        let frames = Rc::new(scenario.frames(self)?);
        self.frames.borrow_mut().insert(name, Rc::clone(&frames));
        Ok(frames)
    }

    /// The driver that all programs load.
    fn driver(&self) -> PathBuf {
        self.built.join("libpenstock_traffic.so")
    }

    /// A place for a file.
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// DPDK's arguments for memory.
    fn memory_arguments(&self) -> &'static [&'static str] {
        match self.memory {
            Memory::Huge => &["--in-memory"],
            // What `--no-huge` implies is said too: OVS would otherwise add the contrary.
            Memory::Ordinary => &["--no-huge", "--legacy-mem", "--no-shconf", "-m", "1024"],
        }
    }

    /// The device with a port's number in the file of frames.
    fn device(&self, port: u16, frames: &Frames) -> String {
        let repeat = frames.repeat.map_or_else(String::new, |place| format!(",repeat={place}"));
        let (file, report) = (frames.path.display(), self.report());
        format!("net_traffic{port},file={file},port={port},report={}{repeat}", report.display())
    }

    /// Where the driver reports.
    fn report(&self) -> PathBuf {
        self.file("report")
    }
}

/// The core that forwards: the last one. The others are for everything else.
fn packet_core() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1
}

/// All cases of this room.
///
/// # Errors
/// When something is not built.
pub fn cases(memory: Memory) -> Result<Vec<Box<dyn Case>>> {
    let program = std::env::current_exe().into_diagnostic()?;
    let built = program.parent().unwrap_or(Path::new(".")).to_owned();
    for file in ["penstock-dpud", "libpenstock_traffic.so"] {
        if !built.join(file).is_file() {
            bail!(
                "{} is missing; run `cargo xtask bench`, which builds it",
                built.join(file).display()
            );
        }
    }
    let directory =
        tempfile::Builder::new().prefix("penstock-bench-").tempdir().into_diagnostic()?;
    let rig = Rc::new(Rig { built, directory, memory, frames: RefCell::default() });
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for scenario in SCENARIOS {
        for subject in Subject::ALL {
            if subject != Subject::Testpmd || scenario.has_ceiling() {
                cases.push(Box::new(Forwarding { rig: Rc::clone(&rig), scenario, subject }));
            }
        }
    }
    Ok(cases)
}

/// A scenario in the hands of a subject.
struct Forwarding {
    rig: Rc<Rig>,
    scenario: &'static Scenario,
    subject: Subject,
}

impl Case for Forwarding {
    fn name(&self) -> String {
        format!("software: {}: {}", self.scenario.name(), self.subject.name())
    }

    fn unit(&self) -> Unit {
        match self.scenario.shape {
            Shape::Connections(_) => Unit::NanosecondsPerConnection,
            _ => Unit::NanosecondsPerPacket,
        }
    }

    fn measure(&self) -> Result<f64> {
        let frames = self.rig.frames(self.scenario)?;
        // Of the run before.
        let _ = std::fs::remove_file(self.rig.report());
        let cost = match self.subject {
            Subject::Penstock => penstock::measure(&self.rig, self.scenario, &frames),
            Subject::Ovs => ovs::measure(&self.rig, self.scenario, &frames),
            Subject::Testpmd => testpmd::measure(&self.rig, self.scenario, &frames),
        }?;
        Ok(cost * f64::from(self.scenario.packets_of_one()))
    }
}
