//! Requests as checked values. Everything in a request is a caller's.

use std::fmt::Display;
use std::path::PathBuf;

use host_shim::api::v1::AttachRequest;
use host_shim::backend::BackendKind;
use host_shim::device::VfId;
use host_shim::lease::{LeaseKey, LinkState, VfSettings, VlanId, VmName};
use host_shim::sysfs::PciAddress;
use packet::Mac;
use tonic::Status;

/// The interface of a VM that names none.
const INTERFACE: &str = "net0";

/// What a caller wants for a VM, before a VF is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub key: LeaseKey,
    pub vf: Option<VfId>,
    pub backend: BackendKind,
    pub settings: VfSettings,
    pub gpus: Vec<PciAddress>,
    pub qmp: Option<PathBuf>,
    pub bus: Option<VmName>,
}

fn wrong(field: &str, error: impl Display) -> Status {
    Status::invalid_argument(format!("{field}: {error}"))
}

/// A VM and its interface.
pub fn key(vm: &str, interface: &str) -> Result<LeaseKey, Status> {
    let interface = if interface.is_empty() { INTERFACE } else { interface };
    Ok(LeaseKey {
        vm: vm.parse().map_err(|error| wrong("vm", error))?,
        interface: interface.parse().map_err(|error| wrong("interface", error))?,
    })
}

/// A field that may be empty.
fn optional<T>(field: &str, text: &str) -> Result<Option<T>, Status>
where
    T: std::str::FromStr<Err: Display>,
{
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| wrong(field, error))
}

impl Wanted {
    /// Checks a request.
    pub fn new(request: &AttachRequest) -> Result<Self, Status> {
        let mac: Mac = request.mac.parse().map_err(|error| wrong("mac", error))?;
        let vlan = request.vlan.map(|vlan| {
            let number =
                u16::try_from(vlan).map_err(|_| wrong("vlan", format!("{vlan} is no VLAN")))?;
            VlanId::try_from(number).map_err(|error| wrong("vlan", error))
        });
        let link = match request.link.as_str() {
            "" => None,
            "auto" => Some(LinkState::Auto),
            "enable" => Some(LinkState::Enable),
            "disable" => Some(LinkState::Disable),
            _ => return Err(wrong("link", "expected auto, enable or disable")),
        };
        let gpus = request.gpus.iter().map(|gpu| gpu.parse().map_err(|error| wrong("gpus", error)));
        let qmp = (!request.qmp.is_empty()).then(|| PathBuf::from(&request.qmp));
        if qmp.as_ref().is_some_and(|qmp| !qmp.is_absolute()) {
            return Err(wrong("qmp", "expected an absolute path"));
        }
        let bus = optional("bus", &request.bus)?;
        if bus.is_some() && qmp.is_none() {
            return Err(wrong("bus", "only a VM that runs has one; give its QMP socket, too"));
        }
        Ok(Self {
            key: key(&request.vm, &request.interface)?,
            vf: optional("vf", &request.vf)?,
            backend: optional("backend", &request.backend)?.unwrap_or(BackendKind::Vfio),
            settings: VfSettings {
                mac: mac.unicast().map_err(|error| wrong("mac", error))?,
                vlan: vlan.transpose()?,
                trust: request.trust,
                spoof_check: request.spoof_check,
                max_rate: request.max_rate,
                link,
            },
            gpus: gpus.collect::<Result<_, _>>()?,
            qmp,
            bus,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AttachRequest {
        AttachRequest {
            vm: "vm-1".into(),
            mac: "02:00:00:00:00:01".into(),
            ..AttachRequest::default()
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let wanted = Wanted::new(&request()).unwrap();
        assert_eq!(wanted.key.to_string(), "vm-1/net0");
        assert_eq!((wanted.vf, wanted.backend, wanted.qmp), (None, BackendKind::Vfio, None));
        assert_eq!(wanted.settings.trust, None);
    }

    type Spoil = fn(&mut AttachRequest);

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(Spoil, &str); 10] = [
            (|r| r.vm = "../etc".into(), "vm: `../etc` is not a name"),
            (|r| r.interface = "a b".into(), "interface: `a b` is not a name"),
            (|r| r.mac = "01:00:5e:00:00:01".into(), "mac: `01:00:5e:00:00:01` is a group"),
            (|r| r.vf = "vf0".into(), "vf: `vf0` names no VF"),
            (|r| r.backend = "magic".into(), "backend: `magic` is no back end"),
            (|r| r.vlan = Some(70_000), "vlan: 70000 is no VLAN"),
            (|r| r.vlan = Some(0), "vlan: VLAN 0 is outside"),
            (|r| r.link = "up".into(), "link: expected auto"),
            (|r| r.qmp = "vm.qmp".into(), "qmp: expected an absolute path"),
            (|r| r.bus = "rp1".into(), "bus: only a VM that runs"),
        ];
        for (spoil, expected) in cases {
            let mut request = request();
            spoil(&mut request);
            let status = Wanted::new(&request).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().starts_with(expected), "{}", status.message());
        }
    }
}
