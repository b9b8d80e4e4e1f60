//! Which hosts a DPU knows: said to the DPU's daemon, not to the host's.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use dpu_app::api::DEFAULT_SOCKET;
use dpu_app::api::v1::dpu_client::DpuClient;
use dpu_app::api::v1::{
    CreateHostTokenRequest, HostStatus, HostsRequest, HostsResponse, RevokeHostRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::daemon::{Daemon, DaemonError, Output};
use crate::table;

/// Which DPU.
#[derive(Debug, Args)]
pub struct Dpu {
    /// Socket of the DPU's daemon
    #[arg(long, value_name = "PATH", env = "PENSTOCK_SOCKET", default_value = DEFAULT_SOCKET)]
    dpu_socket: PathBuf,
}

impl Dpu {
    fn call<T>(
        &self,
        call: impl AsyncFnOnce(DpuClient<Channel>) -> Result<T, DaemonError>,
    ) -> Result<T, DaemonError> {
        let daemon = Daemon { socket: self.dpu_socket.clone() };
        daemon.call(call).map_err(|error| match error {
            // `--socket` is that of the host's daemon here.
            DaemonError::Unreachable { program, variable, socket, reason, .. } => {
                let option = "--dpu-socket";
                DaemonError::Unreachable { program, option, variable, socket, reason }
            }
            other => other,
        })
    }
}

/// A token for a host: the token alone, so that it can be passed on.
pub fn create_token(dpu: &Dpu, host: &str, minutes: u32) -> Result<String, DaemonError> {
    let valid_seconds = minutes.saturating_mul(60);
    let request = CreateHostTokenRequest { host: host.to_owned(), valid_seconds };
    let response =
        dpu.call(async |mut client| Ok(client.create_host_token(request).await?.into_inner()))?;
    Ok(response.token)
}

/// The hosts a DPU knows.
pub fn list(dpu: &Dpu, output: Output) -> Result<String, DaemonError> {
    let response =
        dpu.call(async |mut client| Ok(client.hosts(HostsRequest {}).await?.into_inner()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(match output {
        Output::Table => show(&response, now),
        Output::Json => {
            let hosts: Vec<Value> = response.hosts.iter().map(json_host).collect();
            format!("{:#}", json!({"hosts": hosts, "refusals": response.refusals}))
        }
    })
}

/// Takes a host's rights away.
pub fn revoke(dpu: &Dpu, host: &str) -> Result<String, DaemonError> {
    let request = RevokeHostRequest { host: host.to_owned() };
    dpu.call(async |mut client| Ok(client.revoke_host(request).await?))?;
    Ok(format!("{host} is revoked: its certificates and tokens are of no use any more"))
}

fn json_host(host: &HostStatus) -> Value {
    let moment = |seconds: u64| (seconds > 0).then_some(seconds);
    let leases =
        host.leases.iter().map(|lease| json!({"vf": lease.vf, "vm": lease.vm})).collect::<Vec<_>>();
    json!({
        "name": host.name,
        "state": host.state,
        "enrolment": host.enrolment,
        "enrolled": moment(host.enrolled),
        "tokenUntil": moment(host.token_until),
        "heardMsAgo": host.heard_ms_ago,
        "leases": leases,
    })
}

/// A span of time, as people say it.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn show(response: &HostsResponse, now: u64) -> String {
    let mut hosts = table::table(&["host", "state", "enrolled", "heard", "token", "leases"]);
    for host in &response.hosts {
        let ago = |moment: u64| format!("{} ago", span(now.saturating_sub(moment)));
        let token = |until: u64| format!("for {}", span(until.saturating_sub(now)));
        hosts.add_row([
            host.name.clone(),
            host.state.clone(),
            if host.enrolled > 0 { ago(host.enrolled) } else { "never".into() },
            host.heard_ms_ago.map_or("-".into(), |ms| format!("{} ago", span(ms / 1000))),
            if host.token_until > 0 { token(host.token_until) } else { "-".into() },
            host.leases.len().to_string(),
        ]);
    }
    let text = table::text(&hosts);
    if response.refusals.is_empty() {
        return text;
    }
    let mut refusals: Vec<_> = response.refusals.iter().collect();
    refusals.sort();
    let refusals: Vec<String> =
        refusals.into_iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    format!("{text}\nrefused: {}", refusals.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_shown_with_what_was_refused() {
        let host = |name: &str, state: &str| HostStatus {
            name: name.into(),
            state: state.into(),
            ..HostStatus::default()
        };
        let enrolled =
            HostStatus { enrolled: 1_000, heard_ms_ago: Some(900), ..host("gpu-17", "enrolled") };
        let invited = HostStatus { token_until: 4_700, ..host("gpu-18", "invited") };
        let response = HostsResponse {
            hosts: vec![enrolled, invited],
            refusals: [("revoked".to_owned(), 2), ("expired".to_owned(), 1)].into(),
        };
        let text = show(&response, 1_300);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..5], ["gpu-17", "enrolled", "5", "min", "ago"]);
        assert_eq!(lines[1][5..], ["0", "s", "ago", "-", "0"]);
        assert_eq!(lines[2], ["gpu-18", "invited", "never", "-", "for", "56", "min", "0"]);
        assert_eq!(text.lines().last().unwrap(), "refused: expired 1, revoked 2");
    }
}
