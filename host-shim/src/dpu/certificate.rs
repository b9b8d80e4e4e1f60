//! A host's certificate: the first one for a token, the next ones for the one before.

use std::sync::Arc;

use thiserror::Error;
use tokio::time::timeout;
use tracing::info;
use trust::api::v1::{EnrollRequest, RenewRequest};
use trust::client::connect;
use trust::credentials::CredentialsError;
use trust::tls::{Expected, OwnKey, client_config};
use trust::token::{Digest, TokenError};
use trust::{Credentials, HostName, Identity, Moment, NewKey, NodeName, Token};

use super::link::{Ended, Shared, ended};
use super::{DpuLink, LinkError};

/// Why a host was not enrolled.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The DPU.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The DPU says something else than the token.
    #[error("the DPU gave a certificate for {0}, which is not what the token is for")]
    Other(String),
}

impl From<CredentialsError> for EnrollError {
    fn from(error: CredentialsError) -> Self {
        Self::Link(error.into())
    }
}

/// A certificate in use.
pub(super) struct Installed {
    pub own: Arc<OwnKey>,
    pub expected: Expected,
    identity: Identity,
    renew_at: Moment,
    pub valid_until: Moment,
}

impl Installed {
    pub fn new(credentials: &Credentials) -> Result<Self, LinkError> {
        let Identity::Host { dpu, .. } = credentials.identity() else {
            return Err(LinkError::NoHost(credentials.identity().to_string()));
        };
        Ok(Self {
            own: OwnKey::new(credentials.certified_key()?),
            expected: Expected::Dpu {
                authority: credentials.authority().clone(),
                node: dpu.clone(),
            },
            identity: credentials.identity().clone(),
            renew_at: credentials.renew_at(),
            valid_until: credentials.valid_until(),
        })
    }
}

impl DpuLink {
    /// Enrols this host with a token. Its key is made here, and stays here.
    ///
    /// # Errors
    /// When the token is none, the DPU is not the token's, or does not take it.
    pub async fn enroll(&self, token: &str) -> Result<(HostName, NodeName), EnrollError> {
        let token: Token = token.parse()?;
        let config = client_config(Expected::Authority(token.authority), None, &self.clock)
            .map_err(LinkError::from)?;
        let unreachable = |error: String| EnrollError::Link(LinkError::Unreachable(error));
        let mut client = connect(self.settings.address, config, self.settings.deadline)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let key = NewKey::generate()?;
        let secret = token.secret.as_bytes().to_vec();
        let request = EnrollRequest { secret, request: key.request()? };
        let answer = timeout(self.settings.deadline, client.enroll(request))
            .await
            .map_err(|_| unreachable("no answer; create another token".to_owned()))?
            .map_err(|status| match ended(&status) {
                Ended::Refused(refusal, text) => {
                    EnrollError::Link(LinkError::Refused { refusal, text })
                }
                Ended::Unanswered(text) => unreachable(text),
            })?
            .into_inner();
        if Digest::of(&answer.authority) != token.authority {
            return Err(EnrollError::Other("another authority".to_owned()));
        }
        let credentials = key.certified(answer.certificate.into(), answer.authority.into())?;
        let (host, node) = match credentials.identity() {
            Identity::Host { dpu, host, .. } if *host == token.host => (host.clone(), dpu.clone()),
            other => return Err(EnrollError::Other(other.to_string())),
        };
        credentials.save(&self.settings.credentials)?;
        let installed = Arc::new(Installed::new(&credentials)?);
        {
            let mut connection = self.connection.lock().await;
            *self.shared() = Shared { installed: Some(installed), ..Shared::default() };
            *connection = None;
        }
        info!(%host, dpu = %node, "enrolled");
        self.hurry.notify_one();
        Ok((host, node))
    }

    /// Gets the next certificate, when it is time; whether it did.
    ///
    /// # Errors
    /// When the DPU does not answer, or its certificate is not this host's.
    pub async fn renew(&self) -> Result<bool, LinkError> {
        let installed = self.shared().installed.clone().ok_or(LinkError::NotEnrolled)?;
        if self.clock.now() < installed.renew_at {
            return Ok(false);
        }
        let key = NewKey::generate()?;
        let request = key.request()?;
        let call = self.call(async |client| {
            Ok(client.renew(RenewRequest { request }).await?.into_inner().certificate)
        });
        let certificate = call.await.map_err(|ended| self.failed(ended))?;
        let Expected::Dpu { authority, .. } = &installed.expected else {
            return Err(LinkError::NotEnrolled);
        };
        let credentials = key.certified(certificate.into(), authority.clone())?;
        if *credentials.identity() != installed.identity {
            return Err(LinkError::NoHost(credentials.identity().to_string()));
        }
        credentials.save(&self.settings.credentials)?;
        let renewed = Arc::new(Installed::new(&credentials)?);
        // The DPU goes by the certificate that a connection began with.
        let mut connection = self.connection.lock().await;
        self.shared().installed = Some(renewed);
        *connection = None;
        Ok(true)
    }
}
