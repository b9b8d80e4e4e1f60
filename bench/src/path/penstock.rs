//! `penstock-dpud`, its own packet loop on ports of the benchmark's driver.

use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr};
use serde::Serialize;

use super::program::Running;
use super::scenario::{Frames, SECOND_VM, Scenario, UPLINK, VM};
use super::{Rig, intent, packet_core, window};

/// Connections that fit.
const CONNECTIONS: u32 = 1 << 21;

/// The cost of a packet, in nanoseconds.
///
/// # Errors
/// When the daemon does not forward.
pub fn measure(rig: &Rig, scenario: &Scenario, frames: &Frames) -> Result<f64> {
    let (configuration, intent) = (rig.file("dpud.toml"), rig.file("intent.yaml"));
    std::fs::write(&intent, intent::intent()).into_diagnostic()?;
    std::fs::write(&configuration, text(rig, frames)).into_diagnostic()?;
    let mut daemon = Command::new(rig.built.join("penstock-dpud"));
    daemon.arg("--config").arg(configuration);
    let mut running = Running::start("penstock-dpud", &mut daemon, &rig.file("dpud.log"))?;
    window::cost(&rig.report(), frames, || running.check())
        .wrap_err_with(|| format!("{}:\n{}", scenario.name(), running.last_words()))
}

/// A TOML text: JSON's are written alike.
fn quoted(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

/// The daemon's configuration.
fn text(rig: &Rig, frames: &Frames) -> String {
    let mut arguments: Vec<String> =
        rig.memory_arguments().iter().map(ToString::to_string).collect();
    arguments.push(format!("--lcores=0@{}", packet_core()));
    let devices: Vec<String> =
        [VM, UPLINK, SECOND_VM].iter().map(|port| rig.device(*port, frames)).collect();
    format!(
        "node = {node}\n\
         [intent]\nstateDirectory = {state}\nfiles = [{intent}]\n\
         [api]\nsocket = {socket}\n\
         [eal]\ndrivers = [{driver}]\narguments = {arguments}\n\
         [ports]\ndevices = {devices}\nmtu = 1600\n\
         [ports.names]\nvf0 = \"net_traffic{VM}\"\nvf1 = \"net_traffic{SECOND_VM}\"\nuplink = \"net_traffic{UPLINK}\"\n\
         [datapath.connections]\ntableSize = {CONNECTIONS}\nperInterface = {CONNECTIONS}\n\
         [offload]\nenabled = false\n",
        node = quoted(intent::NODE),
        state = quoted(rig.file("state")),
        intent = quoted(rig.file("intent.yaml")),
        socket = quoted(rig.file("dpud.sock")),
        driver = quoted(rig.driver()),
        arguments = quoted(arguments),
        devices = quoted(devices),
    )
}
