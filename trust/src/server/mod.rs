//! A DPU's side of what it offers its hosts: who may call what, and what follows.

mod service;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use packet::Mac;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tracing::{info, warn};

use crate::api::MESSAGE_LIMIT;
use crate::api::v1::host_access_server::HostAccessServer;
use crate::authority::{Authority, AuthorityError};
use crate::clock::{Clock, Moment};
use crate::file::FileError;
use crate::functions::Functions;
use crate::identity::{Enrolment, HostName, NodeName};
use crate::leases::LeaseBook;
use crate::listener::{Limits, listen};
use crate::refusal::{Refusal, Refusals};
use crate::registry::{Registry, RegistryError};
use crate::tls::{OwnKey, TlsError, server_config};
use crate::token::Token;

/// How long a call may take, whatever it waits for.
const CALL: Duration = Duration::from_secs(5);
/// When a connection on which nothing is heard is asked whether it is there, and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// Calls of a connection at a time.
const CALLS: u32 = 8;
/// Bytes of a call's headers, in all.
const HEADERS: u32 = 8 << 10;
/// Changes that a host may make at once, and how long it takes until it may make another. Each is a write to disk.
const CHANGES: (u32, Duration) = (100, Duration::from_millis(50));
/// How often the DPU's own certificate is looked at.
const LOOK: Duration = Duration::from_mins(1);

/// What a DPU knows by itself: none of it is a host's to say.
pub trait DpuView: Send + Sync + 'static {
    /// The Interface of intent for a VF, and its MAC.
    fn interface(&self, vf: u16) -> Option<(String, Mac)>;
    /// Why the datapath does not work, if so.
    fn problem(&self) -> Option<String>;
    /// Moves with intent; 0: there is none.
    fn intent_epoch(&self) -> u64;
    /// The daemon's version.
    fn version(&self) -> &'static str;
}

/// Why a DPU cannot be there for its hosts.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Its authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its hosts.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Their leases.
    #[error(transparent)]
    Leases(#[from] FileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its own key.
    #[error(transparent)]
    Own(#[from] crate::credentials::CredentialsError),
    /// The server has failed.
    #[error(transparent)]
    Serve(#[from] tonic::transport::Error),
}

/// What the operator sees of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Its name.
    pub host: HostName,
    /// Which enrolment counts.
    pub enrolment: Enrolment,
    /// Since when.
    pub enrolled: Option<Moment>,
    /// Since when it is revoked, if it is.
    pub revoked: Option<Moment>,
    /// Until when its open token is good.
    pub token_until: Option<Moment>,
    /// How long ago it was heard of; none: not since the daemon's start.
    pub heard: Option<Duration>,
    /// Its leases: VF and `VM/INTERFACE`.
    pub leases: Vec<(String, String)>,
}

/// Changes a host may make.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    changes: u32,
    since: Instant,
}

impl Allowance {
    const fn full(now: Instant) -> Self {
        Self { changes: CHANGES.0, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let grown = now.saturating_duration_since(self.since).as_millis() / CHANGES.1.as_millis();
        if grown > 0 {
            let grown = u32::try_from(grown).unwrap_or(u32::MAX);
            self.changes = self.changes.saturating_add(grown).min(CHANGES.0);
            self.since = now;
        }
        let left = self.changes.checked_sub(1);
        self.changes = left.unwrap_or_default();
        left.is_some()
    }
}

/// What changes.
struct State {
    registry: Registry,
    leases: LeaseBook,
    heard: BTreeMap<HostName, Instant>,
    allowances: BTreeMap<HostName, Allowance>,
}

impl State {
    fn allow(&mut self, host: &HostName) -> Result<(), Refusal> {
        let now = Instant::now();
        let allowance = self.allowances.entry(host.clone()).or_insert(Allowance::full(now));
        if allowance.take(now) { Ok(()) } else { Err(Refusal::TooManyChanges) }
    }
}

/// See the module.
pub struct DpuServer {
    authority: Authority,
    own: Arc<OwnKey>,
    functions: Functions,
    view: Arc<dyn DpuView>,
    clock: Clock,
    lifetime: Duration,
    refusals: Arc<Refusals>,
    state: Mutex<State>,
}

impl DpuServer {
    /// For a DPU that keeps its authority, its hosts and their leases in `directory`. `lifetime` is that of certificates.
    ///
    /// # Errors
    /// When they cannot be read, or made.
    pub fn open(
        directory: &Path,
        node: NodeName,
        functions: Functions,
        view: Arc<dyn DpuView>,
        clock: Clock,
        lifetime: Duration,
    ) -> Result<Self, ServerError> {
        let now = clock.now();
        let authority = Authority::open(directory, node, now)?;
        let own = OwnKey::new(authority.own_credentials(now, lifetime)?.certified_key()?);
        let state = State {
            registry: Registry::open(directory)?,
            leases: LeaseBook::open(directory)?,
            heard: BTreeMap::new(),
            allowances: BTreeMap::new(),
        };
        Ok(Self {
            authority,
            own,
            functions,
            view,
            refusals: Arc::new(Refusals::new(clock.clone())),
            clock,
            lifetime,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// A token with which a host can be enrolled, once.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn create_token(&self, host: &HostName, valid: Duration) -> Result<Token, RegistryError> {
        let secret = self.state().registry.create_token(host, self.clock.now(), valid)?;
        info!(%host, "enrolment token created");
        Ok(Token { host: host.clone(), authority: self.authority.fingerprint(), secret })
    }

    /// Makes a host's certificates and tokens useless, and forgets its leases.
    ///
    /// # Errors
    /// When there is no such host, or it cannot be kept.
    pub fn revoke(&self, host: &HostName) -> Result<(), ServerError> {
        let mut state = self.state();
        state.registry.revoke(host, self.clock.now())?;
        state.leases.forget(host)?;
        info!(%host, "revoked");
        Ok(())
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostState> {
        let (state, now) = (self.state(), self.clock.now());
        let describe = |(host, record): (&HostName, &crate::registry::HostRecord)| HostState {
            host: host.clone(),
            enrolment: record.enrolment,
            enrolled: record.enrolled,
            revoked: record.revoked,
            token_until: state.registry.token_until(host, now),
            heard: state.heard.get(host).map(Instant::elapsed),
            leases: state
                .leases
                .of(host)
                .map(|(vf, lease)| (vf.to_string(), format!("{}/{}", lease.vm, lease.interface)))
                .collect(),
        };
        state.registry.hosts().iter().map(describe).collect()
    }

    /// Answers hosts until `until` is over.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the server fails.
    pub async fn serve(
        self: Arc<Self>,
        tcp: TcpListener,
        limits: Limits,
        until: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let node = self.authority.node().clone();
        let config =
            server_config(self.authority.certificate(), node, self.own.clone(), &self.clock)?;
        let incoming = listen(tcp, config, limits, self.refusals.clone());
        let service = HostAccessServer::from_arc(self.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let server = Server::builder()
            .timeout(CALL)
            .concurrency_limit_per_connection(CALLS as usize)
            .max_concurrent_streams(CALLS)
            .http2_max_header_list_size(HEADERS)
            .http2_keepalive_interval(Some(KEEP_ALIVE.0))
            .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
            .add_service(service);
        // Calls that are under way when it is time to stop end with their connection.
        tokio::select! {
            result = server.serve_with_incoming(incoming) => Ok(result?),
            () = self.keep_certified() => Ok(()),
            () = until => Ok(()),
        }
    }

    /// Renews the DPU's own certificate after two thirds of its life, for ever.
    async fn keep_certified(&self) {
        let mut renew_at = self.clock.now() + self.lifetime / 3 * 2;
        loop {
            tokio::time::sleep(LOOK.min(self.lifetime / 10)).await;
            let now = self.clock.now();
            if now < renew_at {
                continue;
            }
            let renewed = self
                .authority
                .own_credentials(now, self.lifetime)
                .and_then(|own| Ok((own.certified_key()?, own.renew_at())));
            match renewed {
                Ok((key, at)) => {
                    self.own.replace(key);
                    renew_at = at;
                }
                Err(error) => warn!("the DPU's own certificate was not renewed: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_grow_back() {
        let now = Instant::now();
        let mut allowance = Allowance::full(now);
        for _ in 0..CHANGES.0 {
            assert!(allowance.take(now));
        }
        assert!(!allowance.take(now));
        assert!(allowance.take(now + CHANGES.1));
        assert!(!allowance.take(now + CHANGES.1));
        let later = now + Duration::from_hours(24);
        assert_eq!((0..1000).filter(|_| allowance.take(later)).count(), CHANGES.0 as usize);
    }
}
