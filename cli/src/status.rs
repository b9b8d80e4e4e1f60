//! `penstock status`: is the daemon well?

use clap::Args;
use dpu_app::api::v1::{StatusRequest, StatusResponse, probe_status};

use crate::daemon::{Daemon, DaemonError};
use crate::table;

/// Arguments of `penstock status`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    daemon: Daemon,
}

/// Says how the daemon is.
///
/// # Errors
/// [`DaemonError`], also when the datapath stands still: a probe can rely on the exit code.
pub fn run(arguments: &Arguments) -> Result<String, DaemonError> {
    let status = arguments
        .daemon
        .call(async |mut client| Ok(client.status(StatusRequest {}).await?.into_inner()))?;
    if !status.alive {
        return Err(DaemonError::Stalled(status.heartbeat_age_ms));
    }
    match &status.probe {
        Some(probe) if probe.result() == probe_status::Result::Unanswered => {
            Err(DaemonError::Unanswered(probe.problem.clone()))
        }
        _ => Ok(show(&status)),
    }
}

fn show(status: &StatusResponse) -> String {
    let intent = match (status.epoch, status.intent_error.as_str()) {
        (0, "") => "none applied yet; nothing is forwarded".to_owned(),
        (0, error) => format!("none: {error}"),
        (epoch, _) => format!("epoch {epoch}"),
    };
    let offload = status.offload.clone().unwrap_or_default();
    let offload = if offload.enabled {
        let in_doubt: u64 = offload.rules_in_doubt.values().sum();
        format!(
            "{}: {} static rules, {} flow rules{}, {} packets",
            offload.profile,
            offload.static_rules,
            offload.flow_rules,
            if in_doubt > 0 { format!(" ({in_doubt} rules in doubt)") } else { String::new() },
            offload.hardware_packets
        )
    } else {
        format!("off: {}", offload.reason)
    };
    let probe = status.probe.clone().unwrap_or_default();
    let probe = match probe.result() {
        probe_status::Result::Answered => format!("answered in {} µs", probe.microseconds),
        probe_status::Result::Unanswered => probe.problem,
        probe_status::Result::NoIntent => "none without intent".to_owned(),
        probe_status::Result::Unspecified => "none yet".to_owned(),
    };
    let mut ports =
        table::table(&["port", "device", "link", "rx", "tx", "missed", "errors", "dropped"]);
    for port in &status.ports {
        ports.add_row([
            port.name.clone(),
            port.device.clone(),
            if port.link_up { "up".into() } else { "down".into() },
            port.rx_packets.to_string(),
            port.tx_packets.to_string(),
            port.rx_missed.to_string(),
            port.rx_errors.saturating_add(port.tx_errors).to_string(),
            port.tx_dropped.to_string(),
        ]);
    }
    format!(
        "node {}, version {}\nintent: {intent}\nprobe: {probe}\nflows: {}\noffload: {offload}\n{}",
        status.node,
        status.version,
        status.flows,
        table::text(&ports)
    )
}
