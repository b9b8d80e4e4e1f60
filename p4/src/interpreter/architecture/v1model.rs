//! The architecture v1model: parser, verification, ingress, egress, computation, deparser. Without a traffic manager:
//! no multicast, no recirculation, no digests.

use super::{Verdict, built, check_structures, finished, parser_error, zero};
use crate::interpreter::Fault;
use crate::interpreter::block::BlockState;
use crate::interpreter::call::Run;
use crate::interpreter::externs::LoadError;
use crate::program::Program;
use crate::value::Value;

/// Fields of `standard_metadata_t` by their places.
const INGRESS_PORT: usize = 0;
/// Where the packet is to leave.
pub const EGRESS_SPEC: usize = 1;
const EGRESS_PORT: usize = 2;
const PACKET_LENGTH: usize = 4;
const PARSER_ERROR: usize = 14;

/// The port that means a drop.
pub const DROP_PORT: u16 = 511;

/// Whether the program declares what the architecture needs.
pub fn check(program: &Program) -> Result<(), LoadError> {
    check_structures(
        program,
        &[(
            "standard_metadata_t",
            &[
                "ingress_port",
                "egress_spec",
                "egress_port",
                "instance_type",
                "packet_length",
                "enq_timestamp",
                "enq_qdepth",
                "deq_timedelta",
                "deq_qdepth",
                "ingress_global_timestamp",
                "egress_global_timestamp",
                "mcast_grp",
                "egress_rid",
                "checksum_error",
                "parser_error",
                "priority",
            ],
        )],
    )
}

/// A packet's way.
pub fn run<'p>(
    run: &mut Run<'_, 'p>,
    blocks: &mut [BlockState<'p>],
    port: u16,
    packet: &[u8],
) -> Result<Verdict, Fault> {
    let program = run.program;
    let [parser, verify, ingress, egress, compute, deparser] = blocks else {
        unreachable!("the package V1Switch has six blocks");
    };
    let Value::List(mut standard) = zero(program, parser.definition, 3) else {
        unreachable!("standard_metadata_t is a struct");
    };
    standard[INGRESS_PORT] = Value::bits(9, port);
    standard[PACKET_LENGTH] = Value::bits(32, packet.len() as u64);
    let headers = zero(program, parser.definition, 1);
    let metadata = zero(program, parser.definition, 2);
    let arguments = vec![Value::Nothing, headers, metadata, Value::List(standard)];
    let (mut values, result) = run.block(parser, arguments);
    let error = parser_error(run, result)?;
    // From here on: headers, metadata, standard metadata.
    values.remove(0);
    set(&mut values[2], PARSER_ERROR, Value::Member(error));
    values = checksums(run, verify, values)?;
    let (after, result) = run.block(ingress, values);
    finished(result)?;
    values = after;
    let leaving = egress_spec(&values[2]);
    if leaving == DROP_PORT {
        return Ok(Verdict::Drop { reason: "none".to_owned() });
    }
    set(&mut values[2], EGRESS_PORT, Value::bits(9, leaving));
    let (after, result) = run.block(egress, values);
    finished(result)?;
    if egress_spec(&after[2]) == DROP_PORT {
        return Ok(Verdict::Drop { reason: "none".to_owned() });
    }
    let mut values = checksums(run, compute, after)?;
    let (_, result) = run.block(deparser, vec![Value::Nothing, values.swap_remove(0)]);
    finished(result)?;
    Ok(Verdict::Forward { port: leaving, packet: built(run)? })
}

/// A block that sees headers and metadata only.
fn checksums<'p>(
    run: &mut Run<'_, 'p>,
    block: &mut BlockState<'p>,
    mut values: Vec<Value>,
) -> Result<Vec<Value>, Fault> {
    let standard = values.pop().expect("three values go from block to block");
    let (mut values, result) = run.block(block, values);
    finished(result)?;
    values.push(standard);
    Ok(values)
}

fn egress_spec(standard: &Value) -> u16 {
    match standard {
        Value::List(fields) => fields[EGRESS_SPEC].as_bits().low_u64() as u16,
        other => unreachable!("standard_metadata_t is a struct, not {other:?}"),
    }
}

/// Gives a field of the standard metadata a value.
pub fn set(standard: &mut Value, field: usize, value: Value) {
    match standard {
        Value::List(fields) => fields[field] = value,
        other => unreachable!("standard_metadata_t is a struct, not {other:?}"),
    }
}
