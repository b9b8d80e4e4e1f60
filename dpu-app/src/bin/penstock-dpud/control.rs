//! The control API's service. What each call means is told in `proto/penstock/v1/dpu.proto`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use dpu_app::api::v1::{self, apply_response, change, dpu_server::Dpu};
use dpu_app::datapath::conntrack::Connection;
use dpu_app::offload::{Asked, RuleOwner};
use model::intent::{Change, ObjectName, What};
use model::snapshot::Snapshot;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
use tracing::info;
use trust::server::DpuServer;

use crate::explain_view::{self, ExplainQuestion};
use crate::flow_view::FlowView;
use crate::health::Health;
use crate::host_view;
use crate::intent_store::{ApplyError, IntentStore};
use crate::nic_status::doubts;
use crate::object_view::{self, UnknownKind};
use crate::question::{Asker, NoAnswer};
use crate::rule_listing::RulePortion;
use crate::shared::Shared;

/// See the module.
#[derive(Clone)]
pub struct Control {
    /// What threads share.
    pub shared: Arc<Shared>,
    /// The way to the datapath's loop.
    pub asker: Arc<Asker>,
    /// The intent in force.
    pub store: Arc<Mutex<IntentStore>>,
    /// The node's name.
    pub node: Arc<str>,
    /// Why the intent of the last run is not in force.
    pub intent_error: Arc<Mutex<Option<String>>>,
    /// Hosts, where there are any.
    pub hosts: Option<Arc<DpuServer>>,
}

type Flows = ReceiverStream<Result<v1::FlowsResponse, Status>>;
type Rules = ReceiverStream<Result<v1::RulesResponse, Status>>;

#[tonic::async_trait]
impl Dpu for Control {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let who = caller(&request);
        let sources = sources(request.into_inner().sources);
        let (store, shared) = (self.store.clone(), self.shared.clone());
        let result = blocking(move || lock(&store).apply(sources, &shared)).await?;
        self.answer_to_change(&who, result)
    }

    async fn patch(
        &self,
        request: Request<v1::PatchRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let who = caller(&request);
        let request = request.into_inner();
        let sources = sources(request.sources);
        let name = |object: v1::ObjectName| {
            let kind = object_view::known_kind(&object.kind);
            let kind = kind.map_err(|unknown| Status::invalid_argument(unknown.to_string()))?;
            Ok(ObjectName { kind: kind.to_owned(), name: object.name })
        };
        let removed = request.removed.into_iter().map(name).collect::<Result<Vec<_>, Status>>()?;
        let (store, shared) = (self.store.clone(), self.shared.clone());
        let result = blocking(move || lock(&store).patch(sources, &removed, &shared)).await?;
        self.answer_to_change(&who, result)
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let interfaces = self.shared.snapshot.load().as_ref().map_or(0, |s| s.interfaces.len());
        let report = self.asker.report(interfaces).await.map_err(unavailable)?;
        let control = self.clone();
        blocking(move || {
            let snapshot = control.shared.snapshot.load_full();
            let nic = control.shared.nic.load_full();
            let store = lock(&control.store);
            let view = object_view::ObjectView {
                intent: store.intent(),
                node: &control.node,
                snapshot: snapshot.as_deref(),
                report: &report,
                nic: &nic,
            };
            view.get(&request.into_inner().kind)
                .map(Response::new)
                .map_err(|unknown: UnknownKind| Status::invalid_argument(unknown.to_string()))
        })
        .await?
    }

    type FlowsStream = Flows;

    async fn flows(&self, request: Request<v1::FlowsRequest>) -> Result<Response<Flows>, Status> {
        let interface = request.into_inner().interface;
        let (sender, receiver) = mpsc::channel(2);
        let control = self.clone();
        tokio::spawn(async move {
            let mut page = None;
            loop {
                let next = match control.asker.flows(page).await {
                    Ok(next) => next,
                    Err(error) => {
                        // Whoever asked may have gone.
                        let _ = sender.send(Err(unavailable(error))).await;
                        return;
                    }
                };
                let Some(snapshot) = control.shared.snapshot.load_full() else { return };
                let view = FlowView {
                    snapshot: &snapshot,
                    refusals: &control.shared.refusals,
                    now: control.shared.clock.now(),
                };
                let flows: Vec<v1::Flow> = next
                    .flows
                    .iter()
                    .filter(|(_, flow)| interface.is_empty() || view.involves(flow, &interface))
                    .map(|(id, flow)| view.flow(*id, flow))
                    .collect();
                let is_last = next.is_last;
                let message = Ok(v1::FlowsResponse { flows });
                if sender.send(message).await.is_err() || is_last {
                    return;
                }
                page = Some(next);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn explain_offload(
        &self,
        request: Request<v1::ExplainOffloadRequest>,
    ) -> Result<Response<v1::ExplainOffloadResponse>, Status> {
        let offload = &self.shared.nic.load().offload.clone();
        let target = offload.target.clone().ok_or_else(|| {
            let why = offload.disabled.clone().unwrap_or_else(|| "it has not begun yet".into());
            Status::failed_precondition(format!("nothing is offloaded: {why}"))
        })?;
        let snapshot = self.shared.snapshot.load_full().ok_or_else(|| {
            Status::failed_precondition("no intent was applied yet; nothing is forwarded")
        })?;
        let question = ExplainQuestion::read(&snapshot, &request.into_inner())
            .map_err(Status::invalid_argument)?;
        let flow = self.find_flow(&snapshot, question.asked()).await?;
        let explanation = question
            .answer(&target, &snapshot, flow)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let explanation = serde_json::to_string(&explanation)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::ExplainOffloadResponse { explanation }))
    }

    type RulesStream = Rules;

    async fn rules(&self, _: Request<v1::RulesRequest>) -> Result<Response<Rules>, Status> {
        if let Some(reason) = &self.shared.nic.load().offload.disabled {
            return Err(Status::failed_precondition(format!("no rules are in a NIC: {reason}")));
        }
        let (sender, receiver) = mpsc::channel(2);
        let control = self.clone();
        tokio::spawn(async move {
            let mut portion = None;
            loop {
                let (lines, next) = match control.rule_lines(portion).await {
                    Ok(lines) => lines,
                    Err(status) => {
                        // Whoever asked may have gone.
                        let _ = sender.send(Err(status)).await;
                        return;
                    }
                };
                let message = Ok(v1::RulesResponse { lines });
                if sender.send(message).await.is_err() || next.is_last {
                    return;
                }
                portion = Some(next);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let shared = &self.shared;
        let alive = shared.is_alive();
        // A loop that does not move would not answer.
        let report = if alive { self.asker.report(0).await.ok() } else { None };
        let nic = shared.nic.load_full();
        let unsent = report.as_ref().map(|report| report.unsent.as_slice()).unwrap_or_default();
        let ports = nic.ports.iter().map(|(name, port)| v1::PortStatus {
            name: name.to_string(),
            device: port.device.clone(),
            driver: port.driver.clone(),
            link_up: port.link_up,
            rx_packets: port.stats.rx_packets,
            rx_bytes: port.stats.rx_bytes,
            tx_packets: port.stats.tx_packets,
            tx_bytes: port.stats.tx_bytes,
            rx_missed: port.stats.rx_missed,
            rx_errors: port.stats.rx_errors,
            tx_errors: port.stats.tx_errors,
            tx_dropped: unsent.iter().find(|(port, _)| port == name).map_or(0, |(_, count)| *count),
        });
        let offload = &nic.offload;
        Ok(Response::new(v1::StatusResponse {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            alive,
            heartbeat_age_ms: u64::try_from(shared.heartbeat_age().as_millis()).unwrap_or(u64::MAX),
            probe: Some(probe_status(&shared.health.load())),
            up_ms: shared.clock.now().0 / 1_000_000,
            epoch: shared.snapshot.load().as_ref().map_or(0, |snapshot| snapshot.epoch),
            intent_error: lock(&self.intent_error).clone().unwrap_or_default(),
            flows: report.as_ref().map_or(0, |report| report.connections.into()),
            ports: ports.collect(),
            offload: Some(v1::OffloadStatus {
                enabled: offload.disabled.is_none(),
                reason: offload.disabled.clone().unwrap_or_default(),
                profile: offload.profile.clone(),
                static_rules: offload.rules.statics as u64,
                flow_rules: offload.rules.connections as u64,
                hardware_packets: offload.carried.packets,
                hardware_bytes: offload.carried.bytes,
                failures: offload.failures.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
                rules_in_doubt: doubts(offload.rules.in_doubt)
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
                    .map(|(what, count)| (what.to_owned(), count))
                    .collect(),
            }),
        }))
    }

    async fn create_host_token(
        &self,
        request: Request<v1::CreateHostTokenRequest>,
    ) -> Result<Response<v1::CreateHostTokenResponse>, Status> {
        let hosts = host_view::known(self.hosts.as_ref())?.clone();
        info!(by = caller(&request), host = request.get_ref().host, "asked for an enrolment token");
        let answer = move || host_view::create_token(&hosts, request.get_ref());
        blocking(answer).await?.map(Response::new)
    }

    async fn hosts(
        &self,
        _: Request<v1::HostsRequest>,
    ) -> Result<Response<v1::HostsResponse>, Status> {
        let hosts = host_view::known(self.hosts.as_ref())?.clone();
        blocking(move || host_view::list(&hosts)).await.map(Response::new)
    }

    async fn revoke_host(
        &self,
        request: Request<v1::RevokeHostRequest>,
    ) -> Result<Response<v1::RevokeHostResponse>, Status> {
        let hosts = host_view::known(self.hosts.as_ref())?.clone();
        info!(by = caller(&request), host = request.get_ref().host, "asked to revoke a host");
        blocking(move || host_view::revoke(&hosts, request.get_ref())).await?.map(Response::new)
    }
}

impl Control {
    /// What is said of a change of intent, and noted of it.
    fn answer_to_change(
        &self,
        who: &str,
        result: Result<(u64, Vec<Change>), ApplyError>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let result = match result {
            Ok((epoch, changes)) => {
                info!(by = who, epoch, changes = changes.len(), "intent applied");
                *lock(&self.intent_error) = None;
                let changes = changes.into_iter().map(|change| v1::Change {
                    what: match change.what {
                        What::Added => change::What::Added,
                        What::Changed => change::What::Changed,
                        What::Removed => change::What::Removed,
                    }
                    .into(),
                    kind: change.kind.into(),
                    name: change.name,
                });
                apply_response::Result::Applied(v1::Applied { epoch, changes: changes.collect() })
            }
            Err(ApplyError::Refused(diagnostics)) => {
                info!(by = who, errors = diagnostics.len(), "intent refused");
                apply_response::Result::Refused(v1::Refused { diagnostics })
            }
            Err(error @ ApplyError::Keep { .. }) => {
                return Err(Status::internal(error.to_string()));
            }
        };
        Ok(Response::new(v1::ApplyResponse { result: Some(result) }))
    }

    /// The connection that is asked for, as the control API shows it, if there is one.
    async fn find_flow(
        &self,
        snapshot: &Snapshot,
        asked: &Asked,
    ) -> Result<Option<v1::Flow>, Status> {
        let mut page = None;
        loop {
            let next = self.asker.flows(page).await.map_err(unavailable)?;
            let is_it = |flow: &&(_, Connection)| explain_view::is_asked(asked, &flow.1);
            if let Some((id, flow)) = next.flows.iter().find(is_it) {
                let (refusals, now) = (&self.shared.refusals, self.shared.clock.now());
                let view = FlowView { snapshot, refusals, now };
                return Ok(Some(view.flow(*id, flow)));
            }
            if next.is_last {
                return Ok(None);
            }
            page = Some(next);
        }
    }

    /// The lines of the portion of the NIC's rules after another one.
    async fn rule_lines(
        &self,
        after: Option<RulePortion>,
    ) -> Result<(String, RulePortion), Status> {
        let is_first = after.is_none();
        let answer = self.shared.rules.ask(after).await;
        let mut portion = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        let snapshot = self.shared.snapshot.load_full();
        let (Some(node), Some(snapshot)) = (&portion.node, snapshot) else {
            return Err(Status::failed_precondition("no intent was applied yet"));
        };
        let mut lines = if is_first { node.line() } else { String::new() };
        let wanted = portion.rules.iter().filter_map(|rule| match rule.owner {
            RuleOwner::Connection(connection, _) => Some(connection),
            _ => None,
        });
        let found = self.asker.connections(wanted.collect()).await.map_err(unavailable)?;
        let found: HashMap<_, _> = found.into_iter().collect();
        for rule in std::mem::take(&mut portion.rules) {
            let connection = match rule.owner {
                RuleOwner::Connection(connection, _) => found.get(&connection),
                _ => None,
            };
            lines += &rule.dumped(&snapshot, connection).line();
        }
        Ok((lines, portion))
    }
}

fn probe_status(health: &Health) -> v1::ProbeStatus {
    use v1::probe_status::Result;
    let (result, microseconds) = match health {
        Health::Unknown => (Result::Unspecified, 0),
        Health::NoIntent => (Result::NoIntent, 0),
        Health::Answered(time) => {
            (Result::Answered, u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        }
        Health::Unanswered(_) => (Result::Unanswered, 0),
    };
    let problem = health.problem().unwrap_or_default().to_owned();
    v1::ProbeStatus { result: result.into(), microseconds, problem }
}

/// Who asks, for the log.
fn caller<T>(request: &Request<T>) -> String {
    request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred)
        .map_or_else(|| "unknown".to_owned(), |peer| format!("uid {}", peer.uid()))
}

fn sources(sources: Vec<v1::Source>) -> Vec<(String, Vec<u8>)> {
    sources.into_iter().map(|source| (source.name, source.content)).collect()
}

fn unavailable(error: NoAnswer) -> Status {
    Status::unavailable(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs what takes time where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))
}
