//! `dpdk-testpmd`, which receives and sends: what no forwarder can be faster than.

use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr};
use testbed::testpmd::Testpmd;

use super::scenario::{Frames, Scenario};
use super::{Rig, packet_core, window};

/// The cost of a packet, in nanoseconds.
///
/// # Errors
/// When testpmd does not forward.
pub fn measure(rig: &Rig, scenario: &Scenario, frames: &Frames) -> Result<f64> {
    let (from, to) = scenario.ports();
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "dpdk-testpmd", "--no-pci", "--no-telemetry"]);
    command.args(["--lcores", &format!("0,1@{}", packet_core()), "-d"]).arg(rig.driver());
    command.args(rig.memory_arguments());
    for port in [from, to] {
        command.args(["--vdev", &rig.device(port, frames)]);
    }
    command.args(["--", "-i", "--no-flush-rx", "--burst=32", "--total-num-mbufs=8192"]);
    let mut testpmd = Testpmd::start(command).into_diagnostic()?;
    testpmd.command("set fwd io").into_diagnostic()?;
    testpmd.command("start").into_diagnostic()?;
    let cost = window::cost(&rig.report(), frames, || Ok(())).wrap_err_with(|| scenario.name())?;
    testpmd.command("stop").into_diagnostic()?;
    testpmd.quit().into_diagnostic()?;
    Ok(cost)
}
