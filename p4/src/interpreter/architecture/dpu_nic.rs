//! The architecture `DpuNic` of `arch/dpu_nic.p4`: parser, main control, deparser.

use super::{Verdict, built, check_structures, finished, parser_error, zero};
use crate::interpreter::Fault;
use crate::interpreter::block::BlockState;
use crate::interpreter::call::Run;
use crate::interpreter::externs::LoadError;
use crate::program::{Program, Type};
use crate::value::Value;

/// The structures whose fields are used here, in order.
const STRUCTURES: &[(&str, &[&str])] = &[
    ("nic_input_t", &["port", "length", "parser_error", "recheck"]),
    ("nic_output_t", &["verdict", "port", "reason", "responder"]),
];

/// Whether the program declares what the architecture needs.
pub fn check(program: &Program) -> Result<(), LoadError> {
    check_structures(program, STRUCTURES)?;
    let verdicts = program.enumeration("verdict_t");
    let names = verdicts.map(|found| found.members.iter().map(|(name, _)| name.as_str()).collect());
    if names != Some(vec!["drop", "forward", "reply", "consume"]) {
        return Err(LoadError::Missing(
            "enum verdict_t { drop, forward, reply, consume }".to_owned(),
        ));
    }
    Ok(())
}

/// A packet's way.
pub fn run<'p>(
    run: &mut Run<'_, 'p>,
    blocks: &mut [BlockState<'p>],
    port: u16,
    packet: &[u8],
) -> Result<Verdict, Fault> {
    let program = run.program;
    let [parser, control, deparser] = blocks else {
        unreachable!("the package DpuNic has three blocks");
    };
    let input = nic_input(port, packet, run.error("NoError"));
    let headers = zero(program, parser.definition, 1);
    let metadata = zero(program, parser.definition, 2);
    let (mut parsed, result) = run.block(parser, vec![Value::Nothing, headers, metadata, input]);
    let input = nic_input(port, packet, parser_error(run, result)?);
    let metadata = parsed.swap_remove(2);
    let headers = parsed.swap_remove(1);
    let output = zero(program, control.definition, 3);
    let (mut controlled, result) = run.block(control, vec![headers, metadata, input, output]);
    finished(result)?;
    let Some(Value::List(output)) = controlled.pop() else {
        unreachable!("the last parameter of the control is nic_output_t");
    };
    Ok(match output[0] {
        Value::Member(1) => {
            let (_, result) = run.block(deparser, vec![Value::Nothing, controlled.swap_remove(0)]);
            finished(result)?;
            Verdict::Forward { port: output[1].as_bits().low_u64() as u16, packet: built(run)? }
        }
        Value::Member(2) => {
            Verdict::Reply { responder: member(program, "responder_t", &output[3]) }
        }
        Value::Member(3) => Verdict::Consume,
        _ => Verdict::Drop { reason: member(program, "drop_reason_t", &output[2]) },
    })
}

fn nic_input(port: u16, packet: &[u8], error: usize) -> Value {
    let length = Value::bits(32, packet.len() as u64);
    Value::List(vec![Value::bits(16, port), length, Value::Member(error), Value::Boolean(false)])
}

/// The main control for a connection that is due: no packet comes in, and none goes out.
pub fn recheck<'p>(run: &mut Run<'_, 'p>, blocks: &mut [BlockState<'p>]) -> Result<(), Fault> {
    let program = run.program;
    let [_, control, _] = blocks else {
        unreachable!("the package DpuNic has three blocks");
    };
    let input = Value::List(vec![
        Value::bits(16, 0_u8),
        Value::bits(32, 0_u8),
        Value::Member(run.error("NoError")),
        Value::Boolean(true),
    ]);
    let [headers, metadata, output] = [0, 1, 3].map(|n| zero(program, control.definition, n));
    let (_, result) = run.block(control, vec![headers, metadata, input, output]);
    finished(result)
}

/// The name of a member of an enum; the value itself when it has none.
fn member(program: &Program, name: &str, value: &Value) -> String {
    let place = program.enums.iter().position(|found| found.name == name);
    let ty = place.map_or(Type::Void, Type::Enum);
    program.show_value(&ty, value)
}
