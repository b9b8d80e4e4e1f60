//! Architectures: which blocks a package has, how a packet goes through them, what comes out.

mod dpu_nic;
pub mod v1model;

use super::block::Stop;
use super::call::Run;
use super::event::Event;
use super::externs::LoadError;
use super::packet::{PacketIn, PacketOut};
use super::{Fault, Machine, Time};
use crate::program::{BlockDefinition, Program};
use crate::value::Value;

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It leaves by a port.
    Forward {
        /// The port.
        port: u16,
        /// As it leaves.
        packet: Vec<u8>,
    },
    /// A responder answers it.
    Reply {
        /// The member of `responder_t`.
        responder: String,
    },
    /// The node has learned from it, and it ends.
    Consume,
    /// It ends.
    Drop {
        /// The member of `drop_reason_t`; `none` where the architecture has no reasons.
        reason: String,
    },
}

/// A packet's end, and how it came there.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What becomes of it.
    pub verdict: Verdict,
    /// The steps, if asked for.
    pub events: Vec<Event>,
}

/// The architectures that programs can run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// `arch/dpu_nic.p4`.
    DpuNic,
    /// As far as the contract's shim uses it.
    V1Model,
}

impl Architecture {
    /// The architecture of a package, if the program declares what it needs.
    pub fn of(program: &Program, package: &str) -> Result<Self, LoadError> {
        match package {
            "DpuNic" => dpu_nic::check(program).map(|()| Self::DpuNic),
            "V1Switch" => v1model::check(program).map(|()| Self::V1Model),
            _ => Err(LoadError::UnknownPackage(package.to_owned(), "DpuNic, V1Switch")),
        }
    }
}

impl Machine<'_> {
    /// A packet's way through the program.
    ///
    /// # Errors
    /// The program did what is undefined.
    pub fn process(&mut self, now: Time, port: u16, packet: &[u8]) -> Result<Outcome, Fault> {
        self.run(now, port, packet, false)
    }

    /// The same, with all its steps.
    ///
    /// # Errors
    /// The program did what is undefined.
    pub fn trace(&mut self, now: Time, port: u16, packet: &[u8]) -> Result<Outcome, Fault> {
        self.run(now, port, packet, true)
    }

    /// Entries have changed: each connection is decided again.
    ///
    /// # Errors
    /// The program did what is undefined.
    pub fn recheck(&mut self, now: Time) -> Result<(), Fault> {
        let due = self.conntrack().map_or(0, |tracker| tracker.recheck(now));
        for _ in 0..due {
            let mut run = Run {
                program: self.program,
                now,
                globals: &mut self.globals,
                input: PacketIn::new(&[]),
                output: PacketOut::default(),
                events: None,
            };
            match self.architecture {
                Architecture::DpuNic => dpu_nic::recheck(&mut run, &mut self.blocks)?,
                // Has no connections.
                Architecture::V1Model => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, now: Time, port: u16, packet: &[u8], trace: bool) -> Result<Outcome, Fault> {
        let mut run = Run {
            program: self.program,
            now,
            globals: &mut self.globals,
            input: PacketIn::new(packet),
            output: PacketOut::default(),
            events: trace.then(Vec::new),
        };
        let verdict = match self.architecture {
            Architecture::DpuNic => dpu_nic::run(&mut run, &mut self.blocks, port, packet),
            Architecture::V1Model => v1model::run(&mut run, &mut self.blocks, port, packet),
        }?;
        Ok(Outcome { verdict, events: run.events.unwrap_or_default() })
    }
}

/// Whether the program has these structures with these fields in order.
fn check_structures(program: &Program, wanted: &[(&str, &[&str])]) -> Result<(), LoadError> {
    for (name, fields) in wanted {
        let fits = program.structure(name).is_some_and(|(_, structure)| {
            structure.fields.iter().map(|(field, _)| field).eq(fields.iter())
        });
        if !fits {
            return Err(LoadError::Missing(format!("struct {name} {{ {} }}", fields.join("; "))));
        }
    }
    Ok(())
}

/// What a block's parameter is at first.
fn zero(program: &Program, block: &BlockDefinition, parameter: usize) -> Value {
    program.zero(&block.parameters[parameter].ty)
}

/// The error with which a parser ended; its first member is that there was none.
fn parser_error(run: &mut Run<'_, '_>, result: Result<(), Stop>) -> Result<usize, Fault> {
    match result {
        Ok(()) | Err(Stop::Exit) => Ok(run.error("NoError")),
        Err(Stop::Reject(error)) => {
            let name = run.program.errors[error].clone();
            run.record(|| Event::Reject { error: name });
            Ok(error)
        }
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// A control ends at its end or with `exit`.
fn finished(result: Result<(), Stop>) -> Result<(), Fault> {
    match result {
        Err(Stop::Fault(fault)) => Err(fault),
        Ok(()) | Err(Stop::Exit | Stop::Reject(_)) => Ok(()),
    }
}

/// What the deparser wrote, and behind it what the parser left.
fn built(run: &mut Run<'_, '_>) -> Result<Vec<u8>, Fault> {
    let mut bytes = std::mem::take(&mut run.output).bytes().ok_or(Fault::NotWholeBytes)?;
    bytes.extend_from_slice(run.input.rest().ok_or(Fault::NotWholeBytes)?);
    Ok(bytes)
}
