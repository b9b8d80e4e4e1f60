//! The DPU, as its host knows it.

use std::time::{SystemTime, UNIX_EPOCH};

use host_shim::api::v1::{DpuRequest, DpuStatus, EnrollHostRequest};
use serde_json::{Value, json};

use super::HostDaemon;
use super::access::span;
use crate::daemon::{DaemonError, Output};

/// Shows how the DPU is.
pub fn show(daemon: &HostDaemon, output: Output) -> Result<String, DaemonError> {
    let response =
        daemon.call(async |mut client| Ok(client.dpu(DpuRequest {}).await?.into_inner()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(match (output, &response.dpu) {
        (Output::Json, dpu) => format!("{:#}", dpu.as_ref().map_or(Value::Null, to_json)),
        (Output::Table, None) => "this host has no DPU".to_owned(),
        (Output::Table, Some(dpu)) => describe(dpu, now),
    })
}

/// Enrols a host; the token is a secret, which `-` takes from standard input.
pub fn enroll(daemon: &HostDaemon, token: &str) -> Result<String, DaemonError> {
    let token =
        if token == "-" { std::io::read_to_string(std::io::stdin())? } else { token.into() };
    let request = EnrollHostRequest { token };
    let response =
        daemon.call(async |mut client| Ok(client.enroll(request).await?.into_inner()))?;
    Ok(format!("this host is {} of DPU {}", response.host, response.node))
}

fn to_json(dpu: &DpuStatus) -> Value {
    json!({
        "address": dpu.address,
        "presence": dpu.presence,
        "trouble": dpu.trouble,
        "node": dpu.node,
        "heardMsAgo": dpu.heard_ms_ago,
        "datapathProblem": dpu.datapath_problem,
        "intentEpoch": dpu.intent_epoch,
        "desired": dpu.desired,
        "applied": dpu.applied,
        "certificateUntil": (dpu.certificate_until > 0).then_some(dpu.certificate_until),
    })
}

/// Puts what is wrong with the DPU, if anything is, below a list.
#[must_use]
pub fn below(list: String, dpu: Option<&DpuStatus>) -> String {
    match dpu {
        Some(dpu) if dpu.presence != "present" => format!("{list}\n{}", presence(dpu)),
        _ => list,
    }
}

fn presence(dpu: &DpuStatus) -> String {
    let heard = dpu.heard_ms_ago.map(|ms| format!(", heard {} ago", span(ms / 1000)));
    let trouble = if dpu.trouble.is_empty() { "" } else { ": " };
    let (heard, why) = (heard.unwrap_or_default(), &dpu.trouble);
    format!("DPU {}: {}{heard}{trouble}{why}", dpu.address, dpu.presence)
}

fn describe(dpu: &DpuStatus, now: u64) -> String {
    let mut lines = vec![presence(dpu)];
    if !dpu.node.is_empty() {
        let problem = &dpu.datapath_problem;
        let datapath = if problem.is_empty() { "it works" } else { problem };
        lines.push(format!("node {}, intent {}, datapath: {datapath}", dpu.node, dpu.intent_epoch));
    }
    lines.push(format!("leases: version {} wanted, {} applied", dpu.desired, dpu.applied));
    lines.push(match dpu.certificate_until {
        0 => "certificate: none".to_owned(),
        until if until > now => format!("certificate: good for {}", span(until - now)),
        until => format!("certificate: ended {} ago", span(now - until)),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dpu_that_is_gone_is_below_every_list() {
        let gone = DpuStatus {
            address: "192.0.2.1:7443".into(),
            presence: "gone".into(),
            trouble: "no answer within 3s".into(),
            node: "dpu-a".into(),
            heard_ms_ago: Some(12_345),
            certificate_until: 4_600,
            desired: 9,
            applied: 8,
            datapath_problem: "it answers no packet".into(),
            ..DpuStatus::default()
        };
        let line = "DPU 192.0.2.1:7443: gone, heard 12 s ago: no answer within 3s";
        assert_eq!(below("VM".into(), Some(&gone)), format!("VM\n{line}"));
        let text = describe(&gone, 1_000);
        let rest = "node dpu-a, intent 0, datapath: it answers no packet\nleases: version 9 wanted, 8 applied\ncertificate: good for 60 min";
        assert_eq!(text, format!("{line}\n{rest}"));
        let present = DpuStatus { presence: "present".into(), ..gone };
        assert_eq!(below("VM".into(), Some(&present)), "VM");
        assert_eq!(below("VM".into(), None), "VM");
    }
}
