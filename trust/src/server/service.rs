//! The calls. What each means is told in `proto/penstock/v1/host_access.proto`.

use tonic::{Request, Response, Status};
use tracing::{error, info};

use super::DpuServer;
use crate::api::v1::host_access_server::HostAccess;
use crate::api::v1::{
    EnrollRequest, EnrollResponse, HeartbeatRequest, HeartbeatResponse, HeldLease,
    ReleaseLeaseRequest, ReleaseLeaseResponse, RenewRequest, RenewResponse, RequestLeaseRequest,
    RequestLeaseResponse,
};
use crate::authority::{Authority, AuthorityError};
use crate::identity::{Enrolment, HostName, Identity};
use crate::leases::HostLease;
use crate::listener::Peer;
use crate::refusal::Refusal;
use crate::tls::PeerHost;
use crate::token::Secret;
use crate::vf::VfId;

/// A refusal, and what there is to say of it.
type Refused = (Refusal, String);

fn bare(refusal: Refusal) -> Refused {
    (refusal, String::new())
}

fn field<T>(name: &str, text: &str) -> Result<T, Refused>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error: T::Err| (Refusal::Malformed, format!("{name}: {error}")))
}

/// What is not the caller's fault is not the caller's to know, either.
fn internal(problem: impl std::fmt::Display) -> Status {
    error!("a host's call failed: {problem}");
    Status::internal("the DPU cannot do this now; see its log")
}

impl DpuServer {
    fn refuse(&self, (refusal, detail): Refused, peer: &Peer) -> Status {
        self.refusals.note(refusal, peer);
        refusal.status(&detail)
    }

    /// Who calls; only an enrolled host gets any further.
    fn caller<T>(&self, request: &Request<T>) -> Result<(Peer, PeerHost), Status> {
        let peer = peer(request)?;
        let Some(host) = peer.host.clone() else {
            return Err(self.refuse(bare(Refusal::NoCertificate), &peer));
        };
        // A connection may last longer than the certificate it began with.
        let admitted = if self.clock.now() > host.valid_until {
            Err(Refusal::Expired)
        } else {
            self.state().registry.admit(&host.host, host.enrolment)
        };
        admitted.map_err(|refusal| self.refuse(bare(refusal), &peer))?;
        Ok((peer, host))
    }

    fn sign(
        &self,
        request: &[u8],
        host: HostName,
        enrolment: Enrolment,
    ) -> Result<Vec<u8>, Status> {
        let dpu = self.authority.node().clone();
        let identity = Identity::Host { dpu, host, enrolment };
        let signed = self.authority.sign(request, &identity, self.clock.now(), self.lifetime);
        signed.map(|certificate| certificate.to_vec()).map_err(internal)
    }

    /// Checks a request to sign before anything depends on it.
    fn check(&self, request: &[u8], peer: &Peer) -> Result<(), Status> {
        Authority::check(request).map_err(|error| match error {
            AuthorityError::Request => self.refuse(bare(Refusal::BadRequest), peer),
            other => internal(other),
        })
    }

    /// What intent calls a host's VF.
    fn own_vf(&self, host: &HostName, vf: &VfId) -> Result<u16, Refused> {
        match self.functions.find(vf) {
            Some((owner, index)) if owner == host => Ok(index),
            Some(_) => Err((Refusal::NotYourVf, vf.to_string())),
            None => Err((Refusal::UnknownVf, vf.to_string())),
        }
    }

    /// The Interface that a lease is for, when it can be given.
    fn interface(&self, host: &HostName, vf: &VfId, lease: &HostLease) -> Result<String, Refused> {
        let index = self.own_vf(host, vf)?;
        let interface = self.view.interface(index);
        let (name, mac) = interface
            .ok_or_else(|| (Refusal::NoInterface, format!("{vf} is VF {index} of intent")))?;
        if mac != lease.mac {
            let detail = format!("{vf} is of Interface {name}, whose address is {mac}");
            return Err((Refusal::WrongMac, detail));
        }
        Ok(name)
    }

    fn request(&self, peer: &PeerHost, request: &RequestLeaseRequest) -> Changed<String> {
        let vf: VfId = field("vf", &request.vf)?;
        let lease = HostLease {
            vm: field("vm", &request.vm)?,
            interface: field("vm_interface", &request.vm_interface)?,
            mac: field("mac", &request.mac)?,
        };
        let name = self.interface(&peer.host, &vf, &lease)?;
        self.change(peer, request.version, &vf, Some(lease)).map(|kept| kept.map(|()| name))
    }

    fn release(&self, peer: &PeerHost, request: &ReleaseLeaseRequest) -> Changed<()> {
        let vf: VfId = field("vf", &request.vf)?;
        // One that it has goes back also when the DPU's configuration has changed since.
        if !self.state().leases.of(&peer.host).any(|(held, _)| *held == vf) {
            self.own_vf(&peer.host, &vf)?;
        }
        self.change(peer, request.version, &vf, None)
    }

    fn change(
        &self,
        peer: &PeerHost,
        version: u64,
        vf: &VfId,
        lease: Option<HostLease>,
    ) -> Changed<()> {
        let host = &peer.host;
        let mut state = self.state();
        // The operator may have revoked the host since the call came: then it gets nothing any more.
        state.registry.admit(host, peer.enrolment).map_err(bare)?;
        let changes = state
            .leases
            .check(host, version, vf, lease.as_ref())
            .map_err(|refusal| (refusal, format!("{vf}, version {version}")))?;
        if !changes {
            state.leases.fence(host, version);
            return Ok(Ok(()));
        }
        state.allow(host).map_err(bare)?;
        let what = if lease.is_some() { "leased" } else { "released" };
        let kept = state.leases.change(host, version, vf, lease);
        if kept.is_ok() {
            info!(%host, %vf, version, "{what}");
        }
        Ok(kept.map_err(internal))
    }
}

/// A change that is refused, or cannot be kept, or was made.
type Changed<T> = Result<Result<T, Status>, Refused>;

fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    request.extensions().get::<Peer>().cloned().ok_or_else(|| internal("a call of nobody"))
}

#[tonic::async_trait]
impl HostAccess for DpuServer {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let secret = Secret::from_bytes(&request.secret)
            .ok_or_else(|| self.refuse(bare(Refusal::TokenUnknown), &peer))?;
        // What could fail later fails before the token is used up.
        self.check(&request.request, &peer)?;
        let (host, enrolment) = {
            let mut state = self.state();
            let redeemed = state.registry.redeem(&secret, self.clock.now()).map_err(internal)?;
            let redeemed = redeemed.map_err(|refusal| self.refuse(bare(refusal), &peer))?;
            // Whoever has the host's name now begins anew.
            state.leases.forget(&redeemed.0).map_err(internal)?;
            redeemed
        };
        info!(%host, enrolment = enrolment.0, from = %peer.address, "enrolled");
        let certificate = self.sign(&request.request, host, enrolment)?;
        let authority = self.authority.certificate().to_vec();
        Ok(Response::new(EnrollResponse { certificate, authority }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let (peer, PeerHost { host, enrolment, .. }) = self.caller(&request)?;
        let request = request.into_inner().request;
        let allowed = self.state().allow(&host);
        allowed.map_err(|refusal| self.refuse(bare(refusal), &peer))?;
        self.check(&request, &peer)?;
        let certificate = self.sign(&request, host, enrolment)?;
        Ok(Response::new(RenewResponse { certificate }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (_, PeerHost { host, .. }) = self.caller(&request)?;
        let mut state = self.state();
        state.heard.insert(host.clone(), std::time::Instant::now());
        state.leases.fence(&host, request.into_inner().version);
        let leases = state.leases.of(&host).map(|(vf, lease)| HeldLease {
            vf: vf.to_string(),
            vm: lease.vm.to_string(),
            vm_interface: lease.interface.to_string(),
            mac: lease.mac.to_string(),
            objection: match self.interface(&host, vf, lease) {
                Ok(_) => String::new(),
                Err((refusal, detail)) => format!("{refusal}: {detail}"),
            },
        });
        Ok(Response::new(HeartbeatResponse {
            node: self.authority.node().to_string(),
            daemon_version: self.view.version().to_owned(),
            version: state.leases.version(&host),
            leases: leases.collect(),
            datapath_problem: self.view.problem().unwrap_or_default(),
            intent_epoch: self.view.intent_epoch(),
        }))
    }

    async fn request_lease(
        &self,
        request: Request<RequestLeaseRequest>,
    ) -> Result<Response<RequestLeaseResponse>, Status> {
        let (peer, host) = self.caller(&request)?;
        let request = request.into_inner();
        let changed = self.request(&host, &request);
        let interface = changed.map_err(|refused| self.refuse(refused, &peer))??;
        Ok(Response::new(RequestLeaseResponse { version: request.version, interface }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let (peer, host) = self.caller(&request)?;
        let request = request.into_inner();
        let changed = self.release(&host, &request);
        changed.map_err(|refused| self.refuse(refused, &peer))??;
        Ok(Response::new(ReleaseLeaseResponse { version: request.version }))
    }
}
