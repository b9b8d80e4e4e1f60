//! The control API.

use std::sync::Arc;
use std::time::Duration;

use host_shim::api::v1::host_server::Host;
use host_shim::api::v1::{
    self, AttachRequest, AttachResponse, Check, DetachRequest, DetachResponse, DoctorRequest,
    DoctorResponse, DpuRequest, DpuResponse, EnrollHostRequest, EnrollHostResponse,
    InventoryRequest, InventoryResponse, Lease, ListRequest, ListResponse, SetVfsRequest,
    SetVfsResponse, SupportBundleRequest, SupportBundleResponse, TopologyRequest, TopologyResponse,
    check,
};
use host_shim::attachment::consent::Consent;
use host_shim::attachment::{
    AttachError, Attachments, Condition, Machine, SystemHost, Wish, choose, used_by_host,
};
use host_shim::backend::{Kernel, Migration};
use host_shim::bundle;
use host_shim::device::{Inventory, PhysicalFunction, set_vfs};
use host_shim::doctor::{self, Verdict};
use host_shim::dpu::DpuLink;
use host_shim::lease::{self, Goal};
use host_shim::netlink::devlink::{Card, Devlink};
use host_shim::output::VmDevice;
use host_shim::topology::{self, Distance, Topology};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::{Request, Response, Status};
use tracing::info;

use crate::config::Config;
use crate::dpu_view;
use crate::log::RecentLog;
use crate::request::{self, Wanted};
use crate::view::View;

/// How long a caller waits for other attachments to end.
const TURN: Duration = Duration::from_secs(10);

/// Answers calls.
pub struct Control {
    pub attachments: Arc<Mutex<Attachments<SystemHost>>>,
    pub view: Arc<View>,
    pub machine: Machine,
    pub log: RecentLog,
    pub config: Arc<Config>,
    /// The DPU, if there is one.
    pub dpu: Option<Arc<DpuLink>>,
    /// Who is asked about leases.
    pub consent: Arc<dyn Consent>,
}

/// What a call ends with when it is not the caller's fault.
fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn attach_status(error: &AttachError) -> Status {
    let text = error.to_string();
    match error {
        AttachError::Unknown(_) => Status::not_found(text),
        AttachError::Different { .. } | AttachError::Taken { .. } | AttachError::SameMac { .. } => {
            Status::already_exists(text)
        }
        AttachError::Waiting(_) | AttachError::Releasing { .. } => {
            Status::failed_precondition(text)
        }
        AttachError::Store(_)
        | AttachError::Host(_)
        | AttachError::Step { .. }
        | AttachError::NoEffect(_) => Status::aborted(text),
    }
}

type Guard = OwnedMutexGuard<Attachments<SystemHost>>;

impl Control {
    fn dpu_status(&self) -> Option<v1::DpuStatus> {
        self.dpu.as_deref().map(dpu_view::status)
    }

    /// Does something with the attachments once it is this caller's turn. It goes on when the caller leaves.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Guard) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = tokio::time::timeout(TURN, self.attachments.clone().lock_owned()).await;
        let mut guard = turn.map_err(|_| {
            Status::unavailable("another attachment takes long; try again, or see penstock vm list")
        })?;
        let view = self.view.clone();
        let work = move || {
            let result = work(&mut guard);
            view.publish(&*guard);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(internal)?
    }

    /// Looks at the devices, beside the thread that answers.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine, Inventory) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let machine = self.machine.clone();
        let work = move || {
            let inventory = machine.inventory().map_err(internal)?;
            work(&machine, inventory)
        };
        tokio::task::spawn_blocking(work).await.map_err(internal)?
    }
}

/// The kernel that runs.
fn kernel() -> Option<Kernel> {
    Kernel::parse(std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim())
}

fn describe(
    machine: &Machine,
    inventory: &Inventory,
    consent: &dyn Consent,
    lease: &lease::Lease,
    condition: &Condition,
) -> Lease {
    let vf = inventory.vf(&lease.vf).map(|(_, vf)| vf);
    let (can_migrate, migration) = match vf {
        None => (false, "the VF is gone"),
        Some(vf) => match lease.backend.migration(inventory, vf, kernel()) {
            Migration::Possible(condition) => (true, condition),
            Migration::No(reason) => (false, reason),
        },
    };
    let device = machine.device(lease).ok();
    Lease {
        number: lease.number.0,
        vm: lease.vm.to_string(),
        interface: lease.interface.to_string(),
        vf: lease.vf.to_string(),
        backend: lease.backend.to_string(),
        mac: lease.settings.mac.to_string(),
        address: vf
            .and_then(|vf| vf.address)
            .map(|address| address.to_string())
            .unwrap_or_default(),
        gpus: lease.gpus.iter().map(ToString::to_string).collect(),
        state: match (lease.goal, lease.attached) {
            (Goal::Released, _) => "detaching",
            (Goal::Attached, true) => "attached",
            (Goal::Attached, false) => "attaching",
        }
        .to_owned(),
        trouble: match condition {
            Condition::Good => String::new(),
            Condition::Troubled(why) => why.clone(),
        },
        consent: dpu_view::consent(consent.state(lease)).to_owned(),
        can_migrate,
        migration: migration.to_owned(),
        libvirt_xml: device.as_ref().map(VmDevice::libvirt_xml).unwrap_or_default(),
        qemu_arguments: device
            .map(|device| device.qemu_arguments(lease.bus.as_ref()))
            .unwrap_or_default(),
    }
}

/// Chooses the VF, unless the caller or an earlier call did.
fn wish(attachments: &Guard, inventory: &Inventory, wanted: Wanted) -> Result<Wish, Status> {
    let earlier = attachments.leases().iter().find(|lease| lease.key() == wanted.key);
    let vf = match (wanted.vf, earlier) {
        (None, Some(lease)) => lease.vf.clone(),
        (None, None) => {
            choose(inventory, wanted.backend, &wanted.gpus, |vf| attachments.is_leased(vf))
                .map_err(|error| Status::resource_exhausted(error.to_string()))?
        }
        (Some(vf), _) => vf,
    };
    let found = inventory.vf(&vf).map(|(_, vf)| vf);
    if earlier.is_none() && !attachments.is_leased(&vf) {
        let found = found.ok_or_else(|| {
            Status::not_found(format!("{vf} is not there; see penstock host inventory"))
        })?;
        if !wanted.backend.suits(found) {
            return Err(Status::failed_precondition(format!(
                "{vf} cannot be given by {}; see penstock host inventory",
                wanted.backend
            )));
        }
        if let Some(why) = used_by_host(inventory, found) {
            return Err(Status::failed_precondition(format!(
                "{vf}: {why}; choose another VF, or free it"
            )));
        }
    }
    let function = found.and_then(|vf| vf.address).and_then(|address| inventory.function(address));
    Ok(Wish {
        key: wanted.key,
        vf,
        backend: wanted.backend,
        settings: wanted.settings,
        gpus: wanted.gpus,
        qmp: wanted.qmp,
        bus: wanted.bus,
        driver_before: function.and_then(|function| function.driver.clone()),
    })
}

/// What an operator should know of a VF and its VM's GPUs.
fn advice(inventory: &Inventory, lease: &lease::Lease) -> Vec<String> {
    let address = inventory.vf(&lease.vf).and_then(|(_, vf)| vf.address);
    let Some(function) = address.and_then(|address| inventory.function(address)) else {
        return Vec::new();
    };
    let gpus: Vec<_> = lease.gpus.iter().filter_map(|gpu| inventory.function(*gpu)).collect();
    let mut warnings = Vec::new();
    for function in std::iter::once(function).chain(gpus.iter().copied()) {
        for warning in topology::warnings_of(inventory, function) {
            let text = warning.to_string();
            if !warnings.contains(&text) {
                warnings.push(text);
            }
        }
    }
    for gpu in gpus {
        let (distance, reason) = Distance::between(inventory, function, gpu);
        if distance > Distance::SameSwitch {
            warnings.push(format!(
                "{} and GPU {}: {} ({reason})",
                lease.vf,
                gpu.address,
                distance.words()
            ));
        }
    }
    warnings
}

fn cards() -> Result<Vec<Card>, String> {
    Devlink::open().and_then(|mut devlink| devlink.cards()).map_err(|error| error.to_string())
}

fn examine(
    machine: &Machine,
    inventory: &Inventory,
    leases: &[(lease::Lease, Condition)],
    dpu: Option<&DpuLink>,
) -> Vec<doctor::Check> {
    let troubles: Vec<(String, String)> = leases
        .iter()
        .filter_map(|(lease, condition)| match condition {
            Condition::Troubled(why) => Some((lease.key().to_string(), why.clone())),
            Condition::Good => None,
        })
        .collect();
    let mut checks = doctor::examine(&machine.sysfs, inventory, &cards(), &troubles);
    checks.extend(dpu.map(|dpu| dpu_view::check(&dpu.status())));
    checks
}

fn draw(inventory: &Inventory, leases: &[(lease::Lease, Condition)]) -> String {
    topology::draw(inventory, |address| {
        let (lease, _) = leases.iter().find(|(lease, _)| {
            inventory.vf(&lease.vf).is_some_and(|(_, vf)| vf.address == Some(address))
        })?;
        Some(lease.key().to_string())
    })
}

#[tonic::async_trait]
impl Host for Control {
    async fn attach(
        &self,
        request: Request<AttachRequest>,
    ) -> Result<Response<AttachResponse>, Status> {
        let wanted = Wanted::new(request.get_ref())?;
        let (machine, consent) = (self.machine.clone(), self.consent.clone());
        let work = move |attachments: &mut Guard| {
            let wish = wish(attachments, &machine.inventory().map_err(internal)?, wanted)?;
            let lease = attachments.attach(&wish).map_err(|error| attach_status(&error))?;
            info!(lease = %lease.key(), vf = %lease.vf, "attached");
            // As it is now: with its new driver.
            let inventory = machine.inventory().map_err(internal)?;
            let condition = attachments.condition(lease.number);
            Ok(AttachResponse {
                warnings: advice(&inventory, &lease),
                lease: Some(describe(&machine, &inventory, &*consent, &lease, &condition)),
            })
        };
        self.with(work).await.map(Response::new)
    }

    async fn detach(
        &self,
        request: Request<DetachRequest>,
    ) -> Result<Response<DetachResponse>, Status> {
        let request = request.into_inner();
        let key = request::key(&request.vm, &request.interface)?;
        let work = move |attachments: &mut Guard| {
            attachments.detach(&key).map_err(|error| attach_status(&error))?;
            info!(lease = %key, "detached");
            Ok(DetachResponse {})
        };
        self.with(work).await.map(Response::new)
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (leases, consent, dpu) = (self.view.leases(), self.consent.clone(), self.dpu_status());
        let work = move |machine: &Machine, inventory: Inventory| {
            let describe = |(lease, condition): &(lease::Lease, Condition)| {
                describe(machine, &inventory, &*consent, lease, condition)
            };
            Ok(ListResponse { leases: leases.iter().map(describe).collect(), dpu })
        };
        self.look(work).await.map(Response::new)
    }

    async fn inventory(
        &self,
        _: Request<InventoryRequest>,
    ) -> Result<Response<InventoryResponse>, Status> {
        let dpu = self.dpu_status();
        let work = move |_: &Machine, inventory: Inventory| {
            let inventory = serde_json::to_string(&inventory).map_err(internal)?;
            Ok(InventoryResponse { inventory, dpu })
        };
        self.look(work).await.map(Response::new)
    }

    async fn topology(
        &self,
        _: Request<TopologyRequest>,
    ) -> Result<Response<TopologyResponse>, Status> {
        let leases = self.view.leases();
        let work = move |_: &Machine, inventory: Inventory| {
            let topology = Topology::of(&inventory);
            Ok(TopologyResponse {
                tree: draw(&inventory, &leases),
                warnings: topology.warnings.iter().map(ToString::to_string).collect(),
                topology: serde_json::to_string(&topology).map_err(internal)?,
            })
        };
        self.look(work).await.map(Response::new)
    }

    async fn set_vfs(
        &self,
        request: Request<SetVfsRequest>,
    ) -> Result<Response<SetVfsResponse>, Status> {
        let request = request.into_inner();
        let vfs = u16::try_from(request.vfs)
            .map_err(|_| Status::invalid_argument(format!("vfs: {} is too many", request.vfs)))?;
        let machine = self.machine.clone();
        let work = move |attachments: &mut Guard| {
            let inventory = machine.inventory().map_err(internal)?;
            let named = |pf: &&PhysicalFunction| {
                pf.device.to_string() == request.pf
                    || pf.net.as_ref().is_some_and(|net| net.name.as_str() == request.pf)
            };
            let pf = inventory.physical_functions.iter().find(named).ok_or_else(|| {
                Status::not_found(format!("{} is no PF; see penstock host inventory", request.pf))
            })?;
            let of_pf =
                |lease: &&lease::Lease| Some(lease.vf.pf) == pf.mac && lease.vf.card == pf.card;
            let holders =
                attachments.leases().iter().filter(of_pf).map(|lease| lease.key().to_string());
            set_vfs(&machine.sysfs, pf, vfs, holders.collect())
                .map_err(|error| Status::failed_precondition(error.to_string()))?;
            info!(pf = request.pf, vfs, "number of VFs changed");
            Ok(SetVfsResponse {})
        };
        self.with(work).await.map(Response::new)
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<DoctorResponse>, Status> {
        let (leases, dpu) = (self.view.leases(), self.dpu.clone());
        let work = move |machine: &Machine, inventory: Inventory| {
            let checks = examine(machine, &inventory, &leases, dpu.as_deref());
            let checks = checks.into_iter().map(|check| Check {
                result: match check.verdict {
                    Verdict::Good => check::Result::Good,
                    Verdict::Warning => check::Result::Warning,
                    Verdict::Bad => check::Result::Bad,
                }
                .into(),
                name: check.name,
                finding: check.finding,
                mending: check.mending,
            });
            Ok(DoctorResponse { checks: checks.collect() })
        };
        self.look(work).await.map(Response::new)
    }

    async fn dpu(&self, _: Request<DpuRequest>) -> Result<Response<DpuResponse>, Status> {
        Ok(Response::new(DpuResponse { dpu: self.dpu_status() }))
    }

    async fn enroll(
        &self,
        request: Request<EnrollHostRequest>,
    ) -> Result<Response<EnrollHostResponse>, Status> {
        let dpu = self.dpu.as_ref().ok_or_else(|| {
            Status::failed_precondition("this host has no DPU: [dpu] address is not configured")
        })?;
        let enrolled = dpu.enroll(&request.into_inner().token).await;
        let (host, node) = enrolled.map_err(|error| dpu_view::enroll_status(&error))?;
        let (host, node) = (host.to_string(), node.to_string());
        Ok(Response::new(EnrollHostResponse { host, node }))
    }

    async fn support_bundle(
        &self,
        _: Request<SupportBundleRequest>,
    ) -> Result<Response<SupportBundleResponse>, Status> {
        let (leases, log, config) = (self.view.leases(), self.log.text(), self.config.clone());
        let dpu = self.dpu.clone();
        let work = move |machine: &Machine, inventory: Inventory| {
            let checks = examine(machine, &inventory, &leases, dpu.as_deref());
            let line = |check: &doctor::Check| {
                format!(
                    "{:?} {}: {}; {}\n",
                    check.verdict, check.name, check.finding, check.mending
                )
            };
            let only: Vec<&lease::Lease> = leases.iter().map(|(lease, _)| lease).collect();
            let version =
                format!("penstock-hostd {}\nkernel {:?}\n", env!("CARGO_PKG_VERSION"), kernel());
            let json = |value: serde_json::Result<Vec<u8>>| value.map_err(internal);
            let files = [
                ("version.txt", version.into_bytes()),
                ("inventory.json", json(serde_json::to_vec_pretty(&inventory))?),
                ("topology.txt", draw(&inventory, &leases).into_bytes()),
                ("topology.json", json(serde_json::to_vec_pretty(&Topology::of(&inventory)))?),
                ("devlink.json", json(serde_json::to_vec_pretty(&cards().unwrap_or_default()))?),
                ("leases.json", json(serde_json::to_vec_pretty(&only))?),
                ("doctor.txt", checks.iter().map(line).collect::<String>().into_bytes()),
                // It has paths and names only: keys and certificates are in files of their own.
                ("hostd.toml", config.text.clone().into_bytes()),
                ("log.txt", log),
            ];
            let archive = bundle::pack("penstock-host", &files).map_err(internal)?;
            Ok(SupportBundleResponse { archive })
        };
        self.look(work).await.map(Response::new)
    }
}
