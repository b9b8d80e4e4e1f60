//! What identifies a device: firmware, part, PCI address, its place in its eswitch.

use std::ffi::{CStr, c_char};
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::NonNull;

use thiserror::Error;

use crate::raw::{
    MLX5_IB_UAPI_QUERY_PORT_ESW_OWNER_VHCA_ID, MLX5_IB_UAPI_QUERY_PORT_VPORT,
    MLX5_IB_UAPI_QUERY_PORT_VPORT_VHCA_ID, Mlx5, ibv_context, ibv_device, ibv_device_attr,
    mlx5_ib_uapi_query_port, mlx5dv_context,
};

/// The library, by the name of its interface's version.
const LIBRARY: &str = "libmlx5.so.1";

/// Why nothing could be identified.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// rdma-core is not there.
    #[error(
        "{LIBRARY} cannot be loaded ({0}); install rdma-core's mlx5 provider (Debian: ibverbs-providers)"
    )]
    NoLibrary(#[from] libloading::Error),
    /// The list of devices cannot be had.
    #[error("the RDMA devices cannot be listed: {0}; is the module ib_uverbs loaded?")]
    NoList(std::io::Error),
}

/// One mlx5 device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its RDMA name, as `mlx5_0`.
    pub name: String,
    /// Its PCI address, where the kernel says it: `0000:03:00.0`.
    pub pci: Option<String>,
    /// The firmware's version.
    pub firmware: String,
    /// PCI vendor, 0x15b3 or 0x02c9.
    pub vendor: u32,
    /// PCI device: 0xa2d6 is BlueField-2, 0xa2dc `BlueField`-3.
    pub part: u32,
    /// The hardware's revision.
    pub revision: u32,
    /// What mlx5dv says it can do (`MLX5DV_CONTEXT_FLAGS_*`); none where it says nothing.
    pub flags: Option<u64>,
    /// Its ports in the eswitch, where rdma-core can say them (34 and later): in switchdev mode also representors.
    pub switch_ports: Vec<SwitchPort>,
    /// Its network interfaces.
    pub interfaces: Vec<NetDevice>,
}

/// A port of a device in its eswitch (`mlx5dv_query_port`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchPort {
    /// The RDMA port's number, from 1.
    pub number: u32,
    /// The eswitch's number of it.
    pub vport: Option<u16>,
    /// The function it belongs to.
    pub vhca: Option<u16>,
    /// The function that owns the eswitch.
    pub switch_owner: Option<u16>,
}

/// A network interface of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetDevice {
    /// Its name.
    pub name: String,
    /// What it is in the eswitch, by the kernel's name: `p0` an uplink, `pf0vf3` a representor.
    pub port: Option<String>,
    /// The eswitch, by the kernel's identifier.
    pub switch: Option<String>,
}

/// All mlx5 devices that this process may use.
///
/// # Errors
/// [`IdentityError`]. A machine without a device is no error. A device that cannot be opened is left out.
pub fn identify() -> Result<Vec<Identity>, IdentityError> {
    // SAFETY: the library's initialisers register its driver with libibverbs, and do nothing else.
    let library = unsafe { Mlx5::new(LIBRARY) }?;
    // Functions of libibverbs are there because the library is linked to it.
    let devices = DeviceList::read(&library)?;
    Ok(devices.iter().filter_map(|device| identity(&library, device)).collect())
}

/// libibverbs' list of devices.
struct DeviceList<'l> {
    library: &'l Mlx5,
    list: NonNull<*mut ibv_device>,
    count: usize,
}

impl<'l> DeviceList<'l> {
    fn read(library: &'l Mlx5) -> Result<Self, IdentityError> {
        let mut count = 0;
        // SAFETY: there is room for the count.
        let list = unsafe { library.ibv_get_device_list(&raw mut count) };
        let list = NonNull::new(list)
            .ok_or_else(|| IdentityError::NoList(std::io::Error::last_os_error()))?;
        Ok(Self { library, list, count: usize::try_from(count).unwrap_or(0) })
    }

    fn iter(&self) -> impl Iterator<Item = NonNull<ibv_device>> {
        // SAFETY: the list has so many entries.
        (0..self.count).filter_map(|index| NonNull::new(unsafe { *self.list.add(index).as_ptr() }))
    }
}

impl Drop for DeviceList<'_> {
    fn drop(&mut self) {
        // SAFETY: the list came from this library, and nobody uses a device of it any more.
        unsafe { self.library.ibv_free_device_list(self.list.as_ptr()) };
    }
}

/// An open device.
struct Context<'l> {
    library: &'l Mlx5,
    context: NonNull<ibv_context>,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { self.library.ibv_close_device(self.context.as_ptr()) };
    }
}

fn identity(library: &Mlx5, device: NonNull<ibv_device>) -> Option<Identity> {
    // SAFETY: a device of a list that is still there; so are its name and its folder, which end with 0.
    let (name, folder, context) = unsafe {
        if !library.mlx5dv_is_supported(device.as_ptr()) {
            return None;
        }
        let name = text(CStr::from_ptr(library.ibv_get_device_name(device.as_ptr())).to_bytes());
        let folder = text(&bytes(&(*device.as_ptr()).ibdev_path));
        (name, folder, NonNull::new(library.ibv_open_device(device.as_ptr()))?)
    };
    let context = Context { library, context };
    let attributes = context.attributes()?;
    let functions = Path::new(&folder).join("device");
    Some(Identity {
        name,
        pci: pci_address(&functions),
        firmware: text(&bytes(&attributes.fw_ver)),
        vendor: attributes.vendor_id,
        part: attributes.vendor_part_id,
        revision: attributes.hw_ver,
        flags: context.flags(),
        switch_ports: (1..=attributes.phys_port_cnt.into())
            .filter_map(|number| context.switch_port(number))
            .collect(),
        interfaces: interfaces(&functions),
    })
}

impl Context<'_> {
    fn attributes(&self) -> Option<ibv_device_attr> {
        let mut attributes = MaybeUninit::<ibv_device_attr>::zeroed();
        // SAFETY: an open device, and room for the answer.
        let failed = unsafe {
            self.library.ibv_query_device(self.context.as_ptr(), attributes.as_mut_ptr())
        };
        // SAFETY: numbers and texts, for which all zero is a value.
        (failed == 0).then(|| unsafe { attributes.assume_init() })
    }

    fn flags(&self) -> Option<u64> {
        let mut attributes = MaybeUninit::<mlx5dv_context>::zeroed();
        // SAFETY: as above; a mask of 0 asks for the fields that are always there.
        let failed = unsafe {
            self.library.mlx5dv_query_device(self.context.as_ptr(), attributes.as_mut_ptr())
        };
        // SAFETY: numbers and pointers, for which all zero is a value.
        (failed == 0).then(|| unsafe { attributes.assume_init() }.flags)
    }

    #[expect(clippy::used_underscore_items, reason = "rdma-core's own name")]
    fn switch_port(&self, number: u32) -> Option<SwitchPort> {
        // Newer than the rest.
        self.library._mlx5dv_query_port.as_ref().ok()?;
        let mut port = MaybeUninit::<mlx5_ib_uapi_query_port>::zeroed();
        // SAFETY: an open device, and room for the answer, whose size is said.
        let failed = unsafe {
            self.library._mlx5dv_query_port(
                self.context.as_ptr(),
                number,
                port.as_mut_ptr(),
                size_of::<mlx5_ib_uapi_query_port>(),
            )
        };
        if failed != 0 {
            return None;
        }
        // SAFETY: numbers, for which all zero is a value.
        let port = unsafe { port.assume_init() };
        let known = |flag: u32, value: u16| (port.flags & u64::from(flag) != 0).then_some(value);
        Some(SwitchPort {
            number,
            vport: known(MLX5_IB_UAPI_QUERY_PORT_VPORT, port.vport),
            vhca: known(MLX5_IB_UAPI_QUERY_PORT_VPORT_VHCA_ID, port.vport_vhca_id),
            switch_owner: known(MLX5_IB_UAPI_QUERY_PORT_ESW_OWNER_VHCA_ID, port.esw_owner_vhca_id),
        })
    }
}

/// The bytes of an array of C characters before its 0.
fn bytes(array: &[c_char]) -> Vec<u8> {
    array.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The PCI address of the function that a folder of sysfs leads to.
fn pci_address(function: &Path) -> Option<String> {
    let folder = fs::canonicalize(function).ok()?;
    let name = folder.file_name()?.to_str()?;
    // Subfunctions have no address of their own.
    let is_address = name.len() == 12 && name.bytes().filter(|byte| *byte == b':').count() == 2;
    is_address.then(|| name.to_owned())
}

/// The network interfaces of a function, by name.
fn interfaces(function: &Path) -> Vec<NetDevice> {
    let Ok(entries) = fs::read_dir(function.join("net")) else { return Vec::new() };
    let interface = |entry: fs::DirEntry| {
        // A file that cannot be read is one that the interface does not have.
        let attribute = |name: &str| {
            let value = fs::read_to_string(entry.path().join(name)).ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        NetDevice {
            name: entry.file_name().to_string_lossy().into_owned(),
            port: attribute("phys_port_name"),
            switch: attribute("phys_switch_id"),
        }
    };
    let mut interfaces: Vec<_> = entries.flatten().map(interface).collect();
    interfaces.sort();
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a card it is identified; without, with or without rdma-core, that is said.
    #[test]
    fn a_machine_has_devices_or_says_why_not() {
        match identify() {
            Ok(devices) => {
                for device in devices {
                    assert!(device.name.starts_with("mlx5"), "{device:?}");
                    assert!(matches!(device.vendor, 0x15b3 | 0x02c9), "{device:?}");
                    assert!(!device.firmware.is_empty(), "{device:?}");
                }
            }
            Err(error @ IdentityError::NoLibrary(_)) => {
                assert!(error.to_string().contains("ibverbs-providers"), "{error}");
            }
            Err(error @ IdentityError::NoList(_)) => {
                assert!(error.to_string().contains("ib_uverbs"), "{error}");
            }
        }
    }

    #[test]
    fn sysfs_says_addresses_and_places_in_the_eswitch() {
        let directory = tempfile::tempdir().expect("a directory");
        let function = directory.path().join("0000:03:00.0");
        for (interface, port) in [("p0", Some("p0")), ("pf0vf3", Some("pf0vf3")), ("eth9", None)] {
            let folder = function.join("net").join(interface);
            fs::create_dir_all(&folder).expect("a folder");
            if let Some(port) = port {
                fs::write(folder.join("phys_port_name"), format!("{port}\n")).expect("a file");
                fs::write(folder.join("phys_switch_id"), "72b5aa\n").expect("a file");
            }
        }
        let link = directory.path().join("device");
        std::os::unix::fs::symlink(&function, &link).expect("a link");
        assert_eq!(pci_address(&link).as_deref(), Some("0000:03:00.0"));
        assert_eq!(pci_address(directory.path()), None);
        let found = interfaces(&link);
        let names: Vec<_> = found.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["eth9", "p0", "pf0vf3"]);
        assert_eq!(found[0].port, None);
        assert_eq!(found[2].port.as_deref(), Some("pf0vf3"));
        assert_eq!(found[2].switch.as_deref(), Some("72b5aa"));
    }
}
