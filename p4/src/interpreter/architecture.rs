//! The architecture `DpuNic` of `arch/dpu_nic.p4`: parser, main control, deparser.

use super::block::Stop;
use super::call::Run;
use super::event::Event;
use super::externs::LoadError;
use super::packet::{PacketIn, PacketOut};
use super::{Fault, Machine, Time};
use crate::program::{Program, Type};
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
    /// It ends.
    Drop {
        /// The member of `drop_reason_t`.
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

/// The structures whose fields are used here, in order.
const STRUCTURES: &[(&str, &[&str])] = &[
    ("nic_input_t", &["port", "length", "parser_error"]),
    ("nic_output_t", &["verdict", "port", "reason", "responder"]),
];

/// Whether the program declares what the architecture needs.
pub fn check(program: &Program, package: &str) -> Result<(), LoadError> {
    if package != "DpuNic" {
        return Err(LoadError::UnknownPackage(package.to_owned(), "DpuNic"));
    }
    for (name, fields) in STRUCTURES {
        let fits = program.structure(name).is_some_and(|(_, structure)| {
            structure.fields.iter().map(|(field, _)| field).eq(fields.iter())
        });
        if !fits {
            return Err(LoadError::Missing(format!("struct {name} {{ {} }}", fields.join("; "))));
        }
    }
    let verdicts = program.enumeration("verdict_t");
    let names = verdicts.map(|found| found.members.iter().map(|(name, _)| name.as_str()).collect());
    if names != Some(vec!["drop", "forward", "reply"]) {
        return Err(LoadError::Missing("enum verdict_t { drop, forward, reply }".to_owned()));
    }
    Ok(())
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

    fn run(&mut self, now: Time, port: u16, packet: &[u8], trace: bool) -> Result<Outcome, Fault> {
        let program = self.program;
        let mut run = Run {
            program,
            now,
            globals: &mut self.globals,
            input: PacketIn::new(packet),
            output: PacketOut::default(),
            events: trace.then(Vec::new),
        };
        let [parser, control, deparser] = &mut self.blocks[..] else {
            unreachable!("the package DpuNic has three blocks");
        };
        let zero = |block: &crate::program::BlockDefinition, n: usize| {
            program.zero(&block.parameters[n].ty)
        };
        let mut input = nic_input(port, packet, run.error("NoError"));
        let arguments = vec![
            Value::Nothing,
            zero(parser.definition, 1),
            zero(parser.definition, 2),
            input.clone(),
        ];
        let (mut parsed, result) = run.block(parser, arguments);
        match result {
            Ok(()) | Err(Stop::Exit) => {}
            Err(Stop::Reject(error)) => {
                run.record(|| Event::Reject { error: program.errors[error].clone() });
                input = nic_input(port, packet, error);
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        }
        let output = zero(control.definition, 3);
        let metadata = std::mem::replace(&mut parsed[2], Value::Nothing);
        let headers = std::mem::replace(&mut parsed[1], Value::Nothing);
        let (mut controlled, result) = run.block(control, vec![headers, metadata, input, output]);
        fault_of(result)?;
        let Value::List(output) = controlled.pop().expect("the control has four parameters") else {
            unreachable!("nic_output_t is a struct");
        };
        let verdict = match output[0] {
            Value::Member(1) => {
                let headers = controlled.swap_remove(0);
                let (_, result) = run.block(deparser, vec![Value::Nothing, headers]);
                fault_of(result)?;
                let mut bytes = run.output.bytes().ok_or(Fault::NotWholeBytes)?;
                bytes.extend_from_slice(run.input.rest().ok_or(Fault::NotWholeBytes)?);
                Verdict::Forward { port: output[1].as_bits().low_u64() as u16, packet: bytes }
            }
            Value::Member(2) => {
                Verdict::Reply { responder: member(program, "responder_t", &output[3]) }
            }
            _ => Verdict::Drop { reason: member(program, "drop_reason_t", &output[2]) },
        };
        Ok(Outcome { verdict, events: run.events.unwrap_or_default() })
    }
}

fn nic_input(port: u16, packet: &[u8], error: usize) -> Value {
    let length = Value::bits(32, packet.len() as u64);
    Value::List(vec![Value::bits(16, port), length, Value::Member(error)])
}

fn fault_of(result: Result<(), Stop>) -> Result<(), Fault> {
    match result {
        Err(Stop::Fault(fault)) => Err(fault),
        Ok(()) | Err(Stop::Exit | Stop::Reject(_)) => Ok(()),
    }
}

/// The name of a member of an enum; the value itself when it has none.
fn member(program: &Program, name: &str, value: &Value) -> String {
    let place = program.enums.iter().position(|found| found.name == name);
    let ty = place.map_or(Type::Void, Type::Enum);
    program.show_value(&ty, value)
}
