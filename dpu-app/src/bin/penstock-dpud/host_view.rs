//! What the operator asks and says about hosts.

use std::sync::Arc;
use std::time::Duration;

use dpu_app::api::v1;
use tonic::Status;
use trust::registry::RegistryError;
use trust::server::{DpuServer, HostState, ServerError};
use trust::{Enrolment, HostName};

/// How long a token may be good at most: it is a secret that lies about.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Hosts, where the configuration has any.
pub fn known(hosts: Option<&Arc<DpuServer>>) -> Result<&Arc<DpuServer>, Status> {
    hosts.ok_or_else(|| {
        Status::failed_precondition("no host can connect: [host] listen is not configured")
    })
}

/// A token for a host.
pub fn create_token(
    hosts: &DpuServer,
    request: &v1::CreateHostTokenRequest,
) -> Result<v1::CreateHostTokenResponse, Status> {
    let valid = Duration::from_secs(request.valid_seconds.into());
    if valid.is_zero() || valid > LONGEST {
        return Err(Status::invalid_argument("a token is good for 1 s to 7 days"));
    }
    let token = hosts.create_token(&name(&request.host)?, valid).map_err(|e| registry(&e))?;
    Ok(v1::CreateHostTokenResponse { token: token.reveal() })
}

/// All hosts.
pub fn list(hosts: &DpuServer) -> v1::HostsResponse {
    let count = |(refusal, count): (trust::Refusal, u64)| (refusal.name().to_owned(), count);
    v1::HostsResponse {
        hosts: hosts.hosts().into_iter().map(status).collect(),
        refusals: hosts.refusals().counts().map(count).collect(),
    }
}

/// Takes a host's rights away.
pub fn revoke(
    hosts: &DpuServer,
    request: &v1::RevokeHostRequest,
) -> Result<v1::RevokeHostResponse, Status> {
    match hosts.revoke(&name(&request.host)?) {
        Ok(()) => Ok(v1::RevokeHostResponse {}),
        Err(ServerError::Registry(error)) => Err(registry(&error)),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

fn name(text: &str) -> Result<HostName, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("host: {error}")))
}

fn registry(error: &RegistryError) -> Status {
    let text = error.to_string();
    match error {
        RegistryError::Unknown(_) => Status::not_found(text),
        RegistryError::TooManyTokens => Status::resource_exhausted(text),
        RegistryError::File(_) | RegistryError::Token(_) => Status::internal(text),
    }
}

fn status(host: HostState) -> v1::HostStatus {
    let state = match (host.revoked, host.enrolment) {
        (Some(_), _) => "revoked",
        (None, Enrolment(0)) => "invited",
        (None, _) => "enrolled",
    };
    v1::HostStatus {
        name: host.host.to_string(),
        state: state.to_owned(),
        enrolment: host.enrolment.0,
        enrolled: host.enrolled.map_or(0, |moment| moment.0),
        token_until: host.token_until.map_or(0, |moment| moment.0),
        heard_ms_ago: host.heard.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        leases: host.leases.into_iter().map(|(vf, vm)| v1::HostLease { vf, vm }).collect(),
    }
}
