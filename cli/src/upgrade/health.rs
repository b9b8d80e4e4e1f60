//! When a daemon is as well as the one before.

use std::collections::BTreeSet;
use std::time::Duration;

use dpu_app::api::v1::{StatusResponse, probe_status};

/// What the daemon before had, and the next must have, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    intent: bool,
    offload: bool,
    /// Ports with a link.
    links: BTreeSet<String>,
}

impl Before {
    /// What a daemon has.
    #[must_use]
    pub fn of(status: &StatusResponse) -> Self {
        Self {
            intent: status.epoch > 0,
            offload: status.offload.as_ref().is_some_and(|offload| offload.enabled),
            links: status.ports.iter().filter(|it| it.link_up).map(|it| it.name.clone()).collect(),
        }
    }

    /// What is wrong with a daemon that was restarted so long ago, if anything is.
    #[must_use]
    pub fn problem(&self, status: &StatusResponse, since_restart: Duration) -> Option<String> {
        if u128::from(status.up_ms) > since_restart.as_millis() {
            return Some("it is still the daemon before that answers".to_owned());
        }
        if !status.alive {
            return Some(format!("its datapath has not moved for {} ms", status.heartbeat_age_ms));
        }
        if !status.intent_error.is_empty() {
            return Some(format!("its intent is not in force: {}", status.intent_error));
        }
        if self.intent && status.epoch == 0 {
            return Some("it has lost its intent".to_owned());
        }
        let probe = status.probe.clone().unwrap_or_default();
        match probe.result() {
            probe_status::Result::Answered => {}
            probe_status::Result::NoIntent if !self.intent => {}
            probe_status::Result::Unanswered => return Some(probe.problem),
            _ => return Some("its datapath was not asked yet".to_owned()),
        }
        if let Some(port) = self
            .links
            .iter()
            .find(|name| !status.ports.iter().any(|port| port.name == **name && port.link_up))
        {
            return Some(format!("port {port} has no link any more"));
        }
        let offload = status.offload.clone().unwrap_or_default();
        (self.offload && !offload.enabled).then(|| format!("offload is off: {}", offload.reason))
    }
}

#[cfg(test)]
mod tests {
    use dpu_app::api::v1::{OffloadStatus, PortStatus, ProbeStatus};

    use super::*;

    fn good() -> StatusResponse {
        let port = PortStatus { name: "uplink".into(), link_up: true, ..PortStatus::default() };
        let probe =
            ProbeStatus { result: probe_status::Result::Answered.into(), ..ProbeStatus::default() };
        StatusResponse {
            alive: true,
            epoch: 3,
            ports: vec![port],
            offload: Some(OffloadStatus { enabled: true, ..OffloadStatus::default() }),
            probe: Some(probe),
            up_ms: 900,
            ..StatusResponse::default()
        }
    }

    type Spoil = fn(&mut StatusResponse);

    #[test]
    fn what_was_well_must_be_well_again() {
        let second = Duration::from_secs(1);
        let before = Before::of(&good());
        assert_eq!(before.problem(&good(), second), None);
        let cases: [(Spoil, &str); 8] = [
            (|it| it.up_ms = 1100, "still the daemon before"),
            (|it| it.alive = false, "has not moved"),
            (|it| it.intent_error = "VF 1 twice".into(), "VF 1 twice"),
            (|it| it.epoch = 0, "lost its intent"),
            (|it| it.probe = None, "was not asked yet"),
            (|it| it.probe.as_mut().unwrap().result = 2, "no answer"),
            (|it| it.ports[0].link_up = false, "port uplink has no link"),
            (|it| it.offload.as_mut().unwrap().enabled = false, "offload is off: no rules"),
        ];
        for (spoil, expected) in cases {
            let mut status = good();
            status.probe.as_mut().unwrap().problem = "no answer".into();
            status.offload.as_mut().unwrap().reason = "no rules".into();
            spoil(&mut status);
            let problem = before.problem(&status, second).unwrap();
            assert!(problem.contains(expected), "{problem}");
        }
        // What the one before had not, the next need not have.
        let mut bare = good();
        (bare.epoch, bare.offload, bare.ports) = (0, None, Vec::new());
        bare.probe.as_mut().unwrap().result = probe_status::Result::NoIntent.into();
        assert_eq!(Before::of(&bare).problem(&bare, second), None);
    }
}
