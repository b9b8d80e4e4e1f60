//! The connection to the DPU, and all that is said over it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::timeout;
use tonic::Status;
use tracing::{info, warn};
use trust::api::v1::{
    HeartbeatRequest, HeartbeatResponse, ReleaseLeaseRequest, RequestLeaseRequest,
};
use trust::client::{DpuClient, connect, explain};
use trust::credentials::CredentialsError;
use trust::tls::{TlsError, client_config};
use trust::{Clock, Credentials, Refusal};

use super::certificate::Installed;
use super::known::{After, Held};
use super::{DpuStatus, Known, Presence, Settings};
use crate::attachment::consent::ConsentError;
use crate::attachment::step::ConsentState;
use crate::device::VfId;
use crate::lease::Lease;

/// How long after a renewal that failed it is tried again.
const RENEW_AGAIN: Duration = Duration::from_mins(1);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum LinkError {
    /// This host has no certificate.
    #[error(
        "this host is not enrolled at its DPU: penstock host token create there, penstock enroll TOKEN here"
    )]
    NotEnrolled,
    /// Key and certificate.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// They are not a host's.
    #[error("{0}: this is no host's certificate; remove it and enrol this host anew")]
    NoHost(String),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It answers, and does not want this.
    #[error("{text}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// In its words.
        text: String,
    },
}

/// What the DPU said of itself last.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    node: String,
    datapath_problem: String,
    intent_epoch: u64,
}

#[derive(Default)]
pub(super) struct Shared {
    pub known: Known,
    pub health: Health,
    pub installed: Option<Arc<Installed>>,
    /// What the last attempt ended with.
    pub trouble: String,
    pub refused: bool,
}

/// See the module.
pub struct DpuLink {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    runtime: Handle,
    /// One call at a time: a heartbeat then knows that no other is under way.
    pub(super) connection: AsyncMutex<Option<DpuClient>>,
    shared: Mutex<Shared>,
    /// To be told when leases should be looked at.
    news: Arc<Notify>,
    /// To be told when there is reason for a heartbeat at once.
    pub(super) hurry: Notify,
}

/// How a call ended.
pub(super) enum Ended {
    Refused(Refusal, String),
    Unanswered(String),
}

pub(super) fn ended(status: &Status) -> Ended {
    match Refusal::of(status) {
        Some(refusal) => Ended::Refused(refusal, status.message().to_owned()),
        None => Ended::Unanswered(explain(status)),
    }
}

impl DpuLink {
    /// To a DPU, with the certificate that this host has, if it has one. `runtime` is the one that connections are of.
    ///
    /// # Errors
    /// When there is a certificate that cannot be used.
    pub fn new(
        settings: Settings,
        clock: Clock,
        runtime: Handle,
        news: Arc<Notify>,
    ) -> Result<Self, LinkError> {
        let credentials = Credentials::load(&settings.credentials)?;
        let installed = credentials.map(|it| Installed::new(&it)).transpose()?.map(Arc::new);
        Ok(Self {
            settings,
            clock,
            runtime,
            connection: AsyncMutex::new(None),
            shared: Mutex::new(Shared { installed, ..Shared::default() }),
            news,
            hurry: Notify::new(),
        })
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the DPU is.
    #[must_use]
    pub fn status(&self) -> DpuStatus {
        let (shared, now) = (self.shared(), Instant::now());
        let heard = shared.known.heard(now);
        let presence = match (&shared.installed, heard) {
            (None, _) => Presence::NotEnrolled,
            (Some(_), _) if shared.refused => Presence::Refused,
            (Some(_), None) if shared.trouble.is_empty() => Presence::Connecting,
            (Some(_), None) => Presence::Gone,
            (Some(_), Some(ago)) if ago >= self.settings.gone_after() => Presence::Gone,
            (Some(_), Some(_)) if shared.known.is_failing() => Presence::Silent,
            (Some(_), Some(_)) => Presence::Present,
        };
        DpuStatus {
            address: self.settings.address,
            presence,
            trouble: shared.trouble.clone(),
            node: shared.health.node.clone(),
            heard,
            datapath_problem: shared.health.datapath_problem.clone(),
            intent_epoch: shared.health.intent_epoch,
            desired: shared.known.version(),
            applied: shared.known.applied(),
            certificate_until: shared.installed.as_ref().map(|it| it.valid_until.0),
        }
    }

    /// Whether this host has a certificate.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.shared().installed.is_some()
    }

    /// What the DPU says of a lease, as far as was heard.
    #[must_use]
    pub fn consent_state(&self, lease: &Lease) -> ConsentState {
        let shared = self.shared();
        if shared.installed.is_none() || shared.refused {
            // Nobody here for the DPU: it has nothing for this host, and whoever asks learns why.
            return ConsentState::NotGiven;
        }
        shared.known.state(lease, Instant::now(), self.settings.gone_after())
    }

    /// Makes a call over the connection, which is made when there is none. All of it ends by the deadline.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut DpuClient) -> Result<T, Status>,
    ) -> Result<T, Ended> {
        let start = Instant::now();
        let left = || self.settings.deadline.saturating_sub(start.elapsed());
        let late = || {
            Ended::Unanswered(format!("no answer within {} ms", self.settings.deadline.as_millis()))
        };
        let mut connection = timeout(left(), self.connection.lock()).await.map_err(|_| late())?;
        if connection.is_none() {
            let client = self.connect(left()).await;
            *connection = Some(client.map_err(|error| Ended::Unanswered(error.to_string()))?);
        }
        let Some(client) = connection.as_mut() else { return Err(late()) };
        let result = match timeout(left(), call(client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => ended(&status),
            Err(_) => late(),
        };
        // One that did not answer is not asked again: it may be that nobody is there any more. One that does not want this
        // host's certificate may want its next.
        match &result {
            Ended::Refused(refusal, _) if !is_final(*refusal) => {}
            Ended::Refused(..) | Ended::Unanswered(_) => *connection = None,
        }
        Err(result)
    }

    async fn connect(&self, within: Duration) -> Result<DpuClient, LinkError> {
        let installed = self.shared().installed.clone().ok_or(LinkError::NotEnrolled)?;
        let (expected, own) = (installed.expected.clone(), installed.own.clone());
        let config = client_config(expected, Some(own), &self.clock)?;
        let client = connect(self.settings.address, config, within).await;
        client.map_err(|error| LinkError::Unreachable(error.to_string()))
    }

    pub(super) fn failed(&self, ended: Ended) -> LinkError {
        let mut shared = self.shared();
        match ended {
            Ended::Refused(refusal, text) => {
                if is_final(refusal) {
                    shared.known.forget();
                    shared.refused = true;
                    shared.trouble.clone_from(&text);
                }
                LinkError::Refused { refusal, text }
            }
            Ended::Unanswered(text) => {
                shared.known.fail();
                shared.trouble.clone_from(&text);
                LinkError::Unreachable(text)
            }
        }
    }

    /// Asks for a VF, and waits for the answer, on a thread that may wait.
    ///
    /// # Errors
    /// When the DPU refuses, or does not answer by the deadline.
    pub fn request(&self, lease: &Lease) -> Result<(), ConsentError> {
        // The host knows best: what the DPU has for another VM of it is left over from long ago.
        let other = self.shared().known.of_vf(&lease.vf).is_some_and(|it| it.key != lease.key());
        if other {
            self.release(&lease.vf)?;
        }
        let call = self.call(async |client| {
            let version = self.shared().known.begin(&lease.vf);
            let request = RequestLeaseRequest {
                version,
                vf: lease.vf.to_string(),
                vm: lease.vm.to_string(),
                vm_interface: lease.interface.to_string(),
                mac: lease.settings.mac.to_string(),
            };
            client.request_lease(request).await?;
            self.shared().known.confirm(&lease.vf, version, Some(Held::of(lease)));
            Ok(())
        });
        let result = self.runtime.block_on(call);
        result.map_err(|ended| self.not_changed(ended, &lease.vf, &lease.key().to_string()))
    }

    /// Gives a VF back, and waits for the answer, on a thread that may wait.
    ///
    /// # Errors
    /// When the DPU refuses, or does not answer by the deadline.
    pub fn release(&self, vf: &VfId) -> Result<(), ConsentError> {
        let call = self.call(async |client| {
            let version = self.shared().known.begin(vf);
            client.release_lease(ReleaseLeaseRequest { version, vf: vf.to_string() }).await?;
            self.shared().known.confirm(vf, version, None);
            Ok(())
        });
        let result = self.runtime.block_on(call);
        result.map_err(|ended| self.not_changed(ended, vf, &vf.to_string()))
    }

    fn not_changed(&self, ended: Ended, vf: &VfId, what: &str) -> ConsentError {
        match ended {
            // Whoever uses later versions has changed what is there: the next heartbeat says what that is.
            Ended::Refused(Refusal::StaleVersion, text) => {
                self.failed(Ended::Unanswered(text.clone()));
                self.hurry.notify_one();
                ConsentError::Unreachable(text)
            }
            Ended::Refused(refusal, text) => {
                self.shared().known.refuse(vf);
                self.failed(Ended::Refused(refusal, text.clone()));
                ConsentError::Refused { lease: what.to_owned(), reason: text }
            }
            unanswered @ Ended::Unanswered(_) => {
                let error = self.failed(unanswered);
                // So that it is soon known what the call did.
                self.hurry.notify_one();
                ConsentError::Unreachable(error.to_string())
            }
        }
    }

    /// Gives back what the DPU has for VFs that nobody here knows of, on a thread that may wait.
    pub fn release_others(&self, leases: &[Lease]) {
        let others: Vec<VfId> = {
            let shared = self.shared();
            let gone = shared.known.heard(Instant::now());
            if shared.known.is_failing() || gone.is_none_or(|ago| ago >= self.settings.gone_after())
            {
                return;
            }
            let known = |vf: &VfId| leases.iter().any(|lease| lease.vf == *vf);
            shared.known.held().map(|(vf, _)| vf.clone()).filter(|vf| !known(vf)).collect()
        };
        for vf in others {
            match self.release(&vf) {
                Ok(()) => info!(%vf, "given back: the DPU had a lease that is not known here"),
                Err(error) => {
                    warn!(%vf, "not given back: {error}");
                    return;
                }
            }
        }
    }

    /// Says that this host is there, until the answer is final.
    ///
    /// # Errors
    /// When the DPU does not answer by the deadline.
    pub async fn heartbeat(&self) -> Result<(), LinkError> {
        loop {
            let call = self.call(async |client| {
                let version = self.shared().known.version();
                let answer = client.heartbeat(HeartbeatRequest { version }).await?.into_inner();
                // Before anybody else calls: its leases are those of now.
                Ok((self.hear(&answer), answer))
            });
            let (after, answer) = call.await.map_err(|ended| self.failed(ended))?;
            match after {
                After::Again => continue,
                After::AsBefore => {}
                After::Changed => {
                    info!(dpu = answer.node, leases = answer.leases.len(), "the DPU is there");
                    self.news.notify_one();
                }
            }
            return Ok(());
        }
    }

    fn hear(&self, answer: &HeartbeatResponse) -> After {
        let mut shared = self.shared();
        let after = shared.known.hear(answer, Instant::now(), self.settings.gone_after());
        shared.trouble.clear();
        shared.refused = false;
        shared.health = Health {
            node: answer.node.clone(),
            datapath_problem: answer.datapath_problem.clone(),
            intent_epoch: answer.intent_epoch,
        };
        after
    }

    /// Keeps up the connection and the certificate, for ever.
    pub async fn keep_up(self: Arc<Self>) {
        let mut renew_next = Instant::now();
        let mut last = String::new();
        loop {
            if self.is_enrolled() {
                let result = self.heartbeat().await;
                let said = result.err().map(|error| error.to_string()).unwrap_or_default();
                // Once, not with each heartbeat.
                if said != last && !said.is_empty() {
                    warn!(dpu = %self.settings.address, "{said}");
                }
                last = said;
                if Instant::now() >= renew_next {
                    match self.renew().await {
                        Ok(true) => info!("the certificate is renewed"),
                        Ok(false) => {}
                        Err(error) => {
                            warn!("the certificate is not renewed: {error}");
                            renew_next = Instant::now() + RENEW_AGAIN;
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.settings.heartbeat) => {}
                () = self.hurry.notified() => {}
            }
        }
    }
}

/// Refusals that another call would have, too.
const fn is_final(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::UnknownHost | Refusal::Revoked | Refusal::Superseded | Refusal::Expired
    )
}
