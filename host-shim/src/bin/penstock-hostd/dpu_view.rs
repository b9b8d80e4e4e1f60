//! What is said of the DPU, to people and programs.

use host_shim::api::v1;
use host_shim::attachment::step::ConsentState;
use host_shim::doctor::{Check, Verdict};
use host_shim::dpu::{DpuLink, DpuStatus, EnrollError, LinkError, Presence};
use tonic::Status;

/// As the API has it.
pub fn status(link: &DpuLink) -> v1::DpuStatus {
    let status = link.status();
    v1::DpuStatus {
        address: status.address.to_string(),
        presence: status.presence.name().to_owned(),
        trouble: status.trouble,
        node: status.node,
        heard_ms_ago: status.heard.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        datapath_problem: status.datapath_problem,
        intent_epoch: status.intent_epoch,
        desired: status.desired,
        applied: status.applied,
        certificate_until: status.certificate_until.unwrap_or_default(),
    }
}

/// What the DPU says of a lease, as the API has it.
pub const fn consent(state: ConsentState) -> &'static str {
    match state {
        ConsentState::NotNeeded => "not needed",
        ConsentState::Given => "given",
        ConsentState::NotGiven => "not given",
        ConsentState::Unknown => "unknown",
    }
}

/// Whether all is well with it.
pub fn check(status: &DpuStatus) -> Check {
    let DpuStatus { address, presence, trouble, datapath_problem, intent_epoch, .. } = status;
    let colon = if trouble.is_empty() { "" } else { ": " };
    let (verdict, finding, mending) = match presence {
        Presence::Present if !datapath_problem.is_empty() => (
            Verdict::Bad,
            format!(
                "the DPU at {address} answers, and its datapath does not work: {datapath_problem}"
            ),
            "penstock status on the DPU, and its log",
        ),
        Presence::Present if *intent_epoch == 0 => (
            Verdict::Warning,
            format!("the DPU at {address} has no intent: it forwards nothing"),
            "penstock apply on the DPU",
        ),
        Presence::Present => (Verdict::Good, format!("the DPU at {address} answers"), ""),
        Presence::NotEnrolled => (
            Verdict::Bad,
            format!("this host is not enrolled at the DPU at {address}"),
            "penstock host token create on the DPU, penstock enroll TOKEN here",
        ),
        Presence::Refused => (
            Verdict::Bad,
            format!("the DPU at {address} does not want this host{colon}{trouble}"),
            "penstock host list on the DPU; enrol this host anew",
        ),
        Presence::Connecting | Presence::Silent | Presence::Gone => (
            Verdict::Bad,
            format!("the DPU at {address} does not answer{colon}{trouble}"),
            "is it up, and is this its [host] listen? What it agreed to goes on",
        ),
    };
    Check { verdict, name: "dpu".into(), finding, mending: mending.into() }
}

/// Why this host was not enrolled.
pub fn enroll_status(error: &EnrollError) -> Status {
    let text = error.to_string();
    match error {
        EnrollError::Token(_) => Status::invalid_argument(text),
        EnrollError::Link(LinkError::Refused { .. }) | EnrollError::Other(_) => {
            Status::permission_denied(text)
        }
        EnrollError::Link(LinkError::Unreachable(_)) => Status::unavailable(text),
        EnrollError::Link(_) => Status::internal(text),
    }
}
