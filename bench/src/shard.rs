//! The pure datapath: what a packet and a connection cost without ports.

use std::process::Command;
use std::time::Duration;

use bench::datapath::{Direction, Transport, WORK, Work, World, prepare, run};
use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::time::{ClockId, clock_gettime};

use crate::{Case, Unit};

/// How many flows there are.
const FLOWS: [u32; 4] = [1, 10_000, 100_000, 1_000_000];
/// How many connections memory is measured of.
const CONNECTIONS: [u32; 2] = [1_000_000, 8_000_000];
/// The time that is measured at least, where the same work can be done again.
const MEASURED: Duration = Duration::from_millis(300);
/// Flows that begin at a time while memory is measured.
const CHUNK: u32 = 4096;

/// All cases of this room.
pub fn cases() -> Vec<Box<dyn Case>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for (name, work) in WORK {
        match work {
            Work::Established(_) => {
                for flows in FLOWS {
                    cases.push(Box::new(PacketTime { name, work: *work, flows }));
                }
            }
            Work::New(..) | Work::Handshake => {
                cases.push(Box::new(PacketTime { name, work: *work, flows: 1_000_000 }));
            }
            _ => cases.push(Box::new(PacketTime { name, work: *work, flows: 10_000 })),
        }
    }
    for connections in CONNECTIONS {
        cases.push(Box::new(Memory { connections }));
    }
    cases
}

/// Time of this thread's core for each packet.
struct PacketTime {
    name: &'static str,
    work: Work,
    flows: u32,
}

impl Case for PacketTime {
    fn name(&self) -> String {
        format!("datapath: {}, {} flows", self.name, self.flows)
    }

    fn unit(&self) -> Unit {
        Unit::NanosecondsPerPacket
    }

    fn measure(&self) -> Result<f64> {
        let mut prepared = prepare(self.work, self.flows)?;
        // What begins connections cannot be done twice; all else is done once to warm up.
        let is_once = matches!(self.work, Work::New(..) | Work::Handshake);
        if !is_once {
            run(self.work, &mut prepared)?;
        }
        let start = thread_time();
        let mut packets = 0_u32;
        loop {
            run(self.work, &mut prepared)?;
            packets += u32::try_from(prepared.packets()).into_diagnostic()?;
            let time = thread_time().saturating_sub(start);
            if is_once || time >= MEASURED {
                return Ok(time.as_secs_f64() * 1e9 / f64::from(packets));
            }
        }
    }
}

/// The processor's time that this thread has had.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What a process grows by for each connection: measured in a process of its own.
struct Memory {
    connections: u32,
}

impl Case for Memory {
    fn name(&self) -> String {
        format!("datapath: memory of {} connections", self.connections)
    }

    fn unit(&self) -> Unit {
        Unit::BytesEach
    }

    fn measure(&self) -> Result<f64> {
        let output = Command::new(std::env::current_exe().into_diagnostic()?)
            .args(["--memory-of", &self.connections.to_string()])
            .output()
            .into_diagnostic()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8_lossy(&output.stdout).trim().parse().into_diagnostic()
    }
}

/// Bytes by which this process grows for each of so many UDP connections that were answered.
///
/// # Errors
/// When packets that should pass do not.
pub fn memory_of(connections: u32) -> Result<f64> {
    let mut world = World::new(connections)?;
    let before = resident()?;
    let mut first = 0;
    while first < connections {
        let count = CHUNK.min(connections - first);
        for direction in [Direction::Encapsulate, Direction::Decapsulate] {
            let frames = world.frames(direction, Transport::Udp, first, count);
            let forwarded = world.pass(&frames, 32);
            if forwarded != frames.len() {
                bail!("{forwarded} of {} frames went on", frames.len());
            }
        }
        first += count;
    }
    let kibibytes = resident()?.saturating_sub(before);
    Ok(f64::from(kibibytes) * 1024.0 / f64::from(connections))
}

/// Kibibytes of memory that this process has.
fn resident() -> Result<u32> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kibibytes.ok_or_else(|| miette!("{path} has no VmRSS"))
}
