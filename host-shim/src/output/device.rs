//! A lease as a device of a VM.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use packet::Mac;
use serde_json::{Value, json};
use thiserror::Error;

use crate::backend::BackendKind;
use crate::lease::{Lease, VmName};
use crate::sysfs::PciAddress;

/// Why a lease cannot be a device of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OutputError {
    /// The VF has no place from which a VM could have it.
    #[error("{lease}: its VF has no {what} now; see penstock vm list")]
    Missing {
        /// The lease.
        lease: String,
        /// What is missing.
        what: &'static str,
    },
    /// QEMU's arguments and XML have no way to write it.
    #[error("`{}`: a path with other than printable characters; choose another", .0.display())]
    Path(PathBuf),
}

/// What QEMU calls a lease's device and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIds {
    id: String,
    kind: BackendKind,
}

impl DeviceIds {
    /// Those of a lease, wherever its VF is.
    #[must_use]
    pub fn of(lease: &Lease) -> Self {
        Self { id: lease.device_id(), kind: lease.backend }
    }

    /// The device.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The netdev behind a virtio device.
    fn backend(&self) -> String {
        format!("{}-backend", self.id)
    }

    /// The character device of a vhost-user back end.
    #[must_use]
    pub fn chardev(&self) -> Option<String> {
        (self.kind == BackendKind::VhostUser).then(|| self.socket())
    }

    fn socket(&self) -> String {
        format!("{}-socket", self.id)
    }

    /// Commands that remove what is behind the device, once that is gone. Each may find nothing.
    #[must_use]
    pub fn clear_commands(&self) -> Vec<(&'static str, Value)> {
        let mut commands = Vec::new();
        if self.kind != BackendKind::Vfio {
            commands.push(("netdev_del", json!({"id": self.backend()})));
        }
        if let Some(chardev) = self.chardev() {
            commands.push(("chardev-remove", json!({"id": chardev})));
        }
        commands
    }
}

/// The device that a VM gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDevice {
    ids: DeviceIds,
    mac: Mac,
    source: Source,
}

/// Where the VM has it from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Vfio(PciAddress),
    /// QEMU is the client: a NIC in software outlives its VMs.
    VhostUser(String),
    Vdpa(String),
}

impl VmDevice {
    /// The device of a lease: `address` is where the VF is now, `path` its vhost-user socket or vDPA device.
    ///
    /// # Errors
    /// When the VF has nothing of the kind.
    pub fn of(
        lease: &Lease,
        address: Option<PciAddress>,
        path: Option<&Path>,
    ) -> Result<Self, OutputError> {
        let missing = |what| OutputError::Missing { lease: lease.key().to_string(), what };
        let text = |what| {
            let path = path.ok_or_else(|| missing(what))?;
            let printable = |text: &&str| text.chars().all(|c| !c.is_control());
            path.to_str()
                .filter(printable)
                .map(str::to_owned)
                .ok_or_else(|| OutputError::Path(path.to_owned()))
        };
        let source = match lease.backend {
            BackendKind::Vfio => Source::Vfio(address.ok_or_else(|| missing("PCI address"))?),
            BackendKind::VhostUser => Source::VhostUser(text("vhost-user socket")?),
            BackendKind::Vdpa => Source::Vdpa(text("vDPA device")?),
        };
        Ok(Self { ids: DeviceIds::of(lease), mac: lease.settings.mac, source })
    }

    /// What QEMU calls it.
    #[must_use]
    pub const fn ids(&self) -> &DeviceIds {
        &self.ids
    }

    /// An element for libvirt's `<devices>`.
    #[must_use]
    pub fn libvirt_xml(&self) -> String {
        let mac = self.mac;
        match &self.source {
            Source::Vfio(address) => format!(
                "<hostdev mode='subsystem' type='pci' managed='no'>\n  <source>\n    <address domain='{:#06x}' bus='{:#04x}' slot='{:#04x}' function='{:#x}'/>\n  </source>\n</hostdev>\n",
                address.domain(),
                address.bus(),
                address.device(),
                address.function()
            ),
            Source::VhostUser(path) => format!(
                "<interface type='vhostuser'>\n  <mac address='{mac}'/>\n  <source type='unix' path='{}' mode='client'>\n    <reconnect enabled='yes' timeout='1'/>\n  </source>\n  <model type='virtio'/>\n</interface>\n",
                escaped(path)
            ),
            Source::Vdpa(path) => format!(
                "<interface type='vdpa'>\n  <mac address='{mac}'/>\n  <source dev='{}'/>\n  <model type='virtio'/>\n</interface>\n",
                escaped(path)
            ),
        }
    }

    /// Arguments for QEMU. A vhost-user VM also needs memory that is shared.
    #[must_use]
    pub fn qemu_arguments(&self, bus: Option<&VmName>) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        let backend = self.ids.backend();
        let mut device = match &self.source {
            Source::Vfio(address) => format!("vfio-pci,host={address},id={}", self.ids.id),
            Source::VhostUser(path) => {
                let chardev = self.ids.socket();
                add("-chardev", format!("socket,id={chardev},path={},reconnect=1", doubled(path)));
                add("-netdev", format!("vhost-user,id={backend},chardev={chardev}"));
                format!("virtio-net-pci,netdev={backend},mac={},id={}", self.mac, self.ids.id)
            }
            Source::Vdpa(path) => {
                add("-netdev", format!("vhost-vdpa,id={backend},vhostdev={}", doubled(path)));
                format!("virtio-net-pci,netdev={backend},mac={},id={}", self.mac, self.ids.id)
            }
        };
        if let Some(bus) = bus {
            let _ = write!(device, ",bus={bus}");
        }
        add("-device", device);
        arguments
    }

    /// Commands that give it to a running VM, in order.
    #[must_use]
    pub fn plug_commands(&self, bus: Option<&VmName>) -> Vec<(&'static str, Value)> {
        let backend = self.ids.backend();
        let virtio = || json!({"driver": "virtio-net-pci", "id": self.ids.id, "netdev": backend, "mac": self.mac});
        let (mut commands, mut device) = match &self.source {
            Source::Vfio(address) => {
                (Vec::new(), json!({"driver": "vfio-pci", "id": self.ids.id, "host": address}))
            }
            Source::VhostUser(path) => {
                let chardev = format!("{}-socket", self.ids.id);
                let address = json!({"type": "unix", "data": {"path": path}});
                let socket = json!({"addr": address, "server": false, "reconnect": 1});
                let commands = vec![
                    (
                        "chardev-add",
                        json!({"id": chardev, "backend": {"type": "socket", "data": socket}}),
                    ),
                    (
                        "netdev_add",
                        json!({"type": "vhost-user", "id": backend, "chardev": chardev}),
                    ),
                ];
                (commands, virtio())
            }
            Source::Vdpa(path) => {
                let netdev = json!({"type": "vhost-vdpa", "id": backend, "vhostdev": path});
                (vec![("netdev_add", netdev)], virtio())
            }
        };
        if let Some(bus) = bus {
            device["bus"] = bus.as_str().into();
        }
        commands.push(("device_add", device));
        commands
    }
}

/// Text within an attribute of XML, in single quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A value among QEMU's options, where a comma ends it unless doubled.
fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::testing::lease;

    fn device(backend: BackendKind, path: &str) -> VmDevice {
        let lease = Lease { backend, ..lease(7, 0) };
        VmDevice::of(&lease, "0000:01:10.3".parse().ok(), Some(Path::new(path))).unwrap()
    }

    #[test]
    fn a_vf_itself() {
        let device = device(BackendKind::Vfio, "");
        assert_eq!(
            device.qemu_arguments(None),
            ["-device", "vfio-pci,host=0000:01:10.3,id=penstock-7"]
        );
        assert!(
            device
                .libvirt_xml()
                .contains("<address domain='0x0000' bus='0x01' slot='0x10' function='0x3'/>")
        );
        let bus = "rp1".parse().ok();
        assert_eq!(
            device.plug_commands(bus.as_ref()),
            [(
                "device_add",
                json!({"driver": "vfio-pci", "id": "penstock-7", "host": "0000:01:10.3", "bus": "rp1"})
            )]
        );
        assert_eq!(device.ids().clear_commands(), []);
    }

    #[test]
    fn a_socket_with_any_name() {
        let device = device(BackendKind::VhostUser, "/run/a,b'<&>.sock");
        assert_eq!(
            device.qemu_arguments(None),
            [
                "-chardev",
                "socket,id=penstock-7-socket,path=/run/a,,b'<&>.sock,reconnect=1",
                "-netdev",
                "vhost-user,id=penstock-7-backend,chardev=penstock-7-socket",
                "-device",
                "virtio-net-pci,netdev=penstock-7-backend,mac=02:00:00:00:01:07,id=penstock-7",
            ]
        );
        let xml = device.libvirt_xml();
        assert!(xml.contains("path='/run/a,b&apos;&lt;&amp;&gt;.sock'"), "{xml}");
        let commands: Vec<&str> =
            device.plug_commands(None).iter().map(|(name, _)| *name).collect();
        assert_eq!(commands, ["chardev-add", "netdev_add", "device_add"]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let vfio = lease(7, 0);
        let error = VmDevice::of(&vfio, None, None).unwrap_err().to_string();
        assert_eq!(error, "vm-7/net0: its VF has no PCI address now; see penstock vm list");
        let vdpa = Lease { backend: BackendKind::Vdpa, ..vfio };
        assert!(VmDevice::of(&vdpa, None, Some(Path::new("/a\nb"))).is_err());
        assert!(VmDevice::of(&vdpa, None, None).is_err());
    }
}
