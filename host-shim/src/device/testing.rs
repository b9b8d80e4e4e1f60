//! A sysfs in a temporary directory, with as much of a kernel behind it as tests need.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config_space::AcsBits;
use super::config_space::tests::config;
use super::vpd::tests::vpd;
use crate::sysfs::{AttributeWriter, PciAddress, Sysfs};

const EBUSY: i32 = 16;
const ENODEV: i32 = 19;

/// Configuration space says which port a bridge is.
pub(crate) const ROOT_PORT: u16 = 4;
pub(crate) const UPSTREAM: u16 = 5;
pub(crate) const DOWNSTREAM: u16 = 6;

/// A sysfs of our own.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

/// What a function is to be.
pub(crate) struct Function<'a> {
    pub parent: &'a str,
    pub address: &'a str,
    pub class: u32,
    pub numa_node: i32,
    pub group: u32,
    pub driver: Option<&'a str>,
    pub config: Vec<u8>,
}

impl Tree {
    pub(crate) fn empty() -> Self {
        let tree = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["bus/pci/devices", "devices", "class/net", "kernel/iommu_groups"] {
            fs::create_dir_all(tree.root().join(directory)).unwrap();
        }
        tree.file("bus/pci/drivers_probe", "");
        for driver in ["igb", "igbvf", "vfio-pci", "pcieport", "nvidia"] {
            fs::create_dir_all(tree.root().join("bus/pci/drivers").join(driver)).unwrap();
        }
        tree
    }

    /// A root port with a NIC of 7 VFs behind it, each function in a group of its own.
    pub(crate) fn igb() -> Self {
        let tree = Self::empty();
        tree.port("pci0000:00", "0000:00:02.0", ROOT_PORT, Some(AcsBits::ISOLATION), 0, 1);
        tree.nic("pci0000:00/0000:00:02.0", "0000:01:00.0", 0, 2, "IGB0001", "52:54:00:00:00:01");
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn sysfs(&self) -> Sysfs {
        Sysfs::with_writer(self.root(), Arc::new(Kernel(self.root().canonicalize().unwrap())))
            .unwrap()
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn function(&self, function: &Function<'_>) {
        add_function(self.root(), function);
    }

    /// A port of a root complex or switch.
    pub(crate) fn port(
        &self,
        parent: &str,
        address: &str,
        kind: u16,
        acs: Option<AcsBits>,
        numa_node: i32,
        group: u32,
    ) {
        self.function(&Function {
            parent,
            address,
            class: 0x06_0400,
            numa_node,
            group,
            driver: Some("pcieport"),
            config: config(kind, acs),
        });
    }

    pub(crate) fn gpu(&self, parent: &str, address: &str, numa_node: i32, group: u32) {
        self.function(&Function {
            parent,
            address,
            class: 0x03_0200,
            numa_node,
            group,
            driver: None,
            config: config(0, None),
        });
    }

    /// A NIC of up to 7 VFs, whose groups follow its own by tens; a group of 0 is shared by all.
    pub(crate) fn nic(
        &self,
        parent: &str,
        address: &str,
        numa_node: i32,
        group: u32,
        serial: &str,
        mac: &str,
    ) {
        self.function(&Function {
            parent,
            address,
            class: 0x02_0000,
            numa_node,
            group,
            driver: Some("igb"),
            config: config(0, None),
        });
        let directory = format!("devices/{parent}/{address}");
        self.file(&format!("{directory}/vpd"), vpd("NIC", &[("SN", serial)]));
        self.file(&format!("{directory}/sriov_totalvfs"), "7\n");
        self.file(&format!("{directory}/sriov_numvfs"), "0\n");
        let name = format!("eth{}", address.parse::<PciAddress>().unwrap().bus());
        add_net(self.root(), &directory, &name, mac);
    }
}

fn add_net(root: &Path, directory: &str, name: &str, mac: &str) {
    let net = root.join(directory).join("net").join(name);
    fs::create_dir_all(&net).unwrap();
    for (attribute, value) in [("address", mac), ("flags", "0x1002"), ("mtu", "1500")] {
        fs::write(net.join(attribute), format!("{value}\n")).unwrap();
    }
    let _ = symlink(&net, root.join("class/net").join(name));
}

fn add_function(root: &Path, function: &Function<'_>) {
    let directory = root.join("devices").join(function.parent).join(function.address);
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, content: String| fs::write(directory.join(name), content).unwrap();
    write("class", format!("{:#08x}\n", function.class));
    write("vendor", "0x8086\n".into());
    write("device", "0x10c9\n".into());
    write("numa_node", format!("{}\n", function.numa_node));
    write("driver_override", "(null)\n".into());
    fs::write(directory.join("config"), &function.config).unwrap();
    let group = root.join("kernel/iommu_groups").join(function.group.to_string());
    fs::create_dir_all(&group).unwrap();
    symlink(group, directory.join("iommu_group")).unwrap();
    symlink(&directory, root.join("bus/pci/devices").join(function.address)).unwrap();
    if let Some(driver) = function.driver {
        bind(root, function.address, driver);
    }
}

fn bind(root: &Path, address: &str, driver: &str) {
    let directory = root.join("bus/pci/devices").join(address).canonicalize().unwrap();
    symlink(root.join("bus/pci/drivers").join(driver), directory.join("driver")).unwrap();
    if driver == "igbvf" {
        let relative = directory.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        add_net(
            root,
            &relative,
            &format!("vf{}", address.replace([':', '.'], "")),
            "02:00:00:00:00:0f",
        );
    }
}

/// Does what a kernel does when it is written to.
struct Kernel(PathBuf);

impl AttributeWriter for Kernel {
    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        if !file.exists() && !file.ends_with("driver/unbind") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let text = text.trim_end();
        let directory = file.parent().unwrap();
        match file.file_name().unwrap().to_str().unwrap() {
            "sriov_numvfs" => {
                self.set_vfs(directory, text.parse().map_err(|_| io::ErrorKind::InvalidInput)?)
            }
            "unbind" => {
                let device = self.device(text)?;
                fs::remove_file(device.join("driver"))?;
                for net in fs::read_dir(device.join("net")).into_iter().flatten() {
                    fs::remove_file(self.0.join("class/net").join(net?.file_name()))?;
                }
                let _ = fs::remove_dir_all(device.join("net"));
                Ok(())
            }
            "driver_override" => fs::write(
                file,
                if text.is_empty() { "(null)\n".into() } else { format!("{text}\n") },
            ),
            "drivers_probe" => {
                let device = self.device(text)?;
                if device.join("driver").exists() {
                    return Ok(());
                }
                let only = fs::read_to_string(device.join("driver_override"))?;
                let driver = match only.trim() {
                    "(null)" if device.join("physfn").exists() => "igbvf",
                    "(null)" => "igb",
                    driver => driver,
                };
                if self.0.join("bus/pci/drivers").join(driver).exists() {
                    bind(&self.0, text, driver);
                }
                Ok(())
            }
            _ => fs::write(file, text),
        }
    }
}

impl Kernel {
    fn device(&self, address: &str) -> io::Result<PathBuf> {
        let link = self.0.join("bus/pci/devices").join(address);
        link.canonicalize().map_err(|_| io::Error::from_raw_os_error(ENODEV))
    }

    fn set_vfs(&self, directory: &Path, wanted: u8) -> io::Result<()> {
        let now: u8 = fs::read_to_string(directory.join("sriov_numvfs"))?.trim().parse().unwrap();
        if now != 0 && wanted != 0 {
            return Err(io::Error::from_raw_os_error(EBUSY));
        }
        let directory = directory.canonicalize()?;
        let pf: PciAddress = directory.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let parent = directory.parent().unwrap().strip_prefix(self.0.join("devices")).unwrap();
        let number = |name: &str| {
            fs::read_link(directory.join(name)).ok()?.file_name()?.to_str()?.parse::<u32>().ok()
        };
        let group = number("iommu_group").unwrap();
        for vf in 0..now.max(wanted) {
            let address = format!("{:04x}:{:02x}:10.{vf}", pf.domain(), pf.bus());
            if wanted == 0 {
                if self.device(&address)?.join("driver").exists() {
                    self.write(Path::new("x/driver/unbind"), &address)?;
                }
                fs::remove_dir_all(self.device(&address)?)?;
                fs::remove_file(self.0.join("bus/pci/devices").join(&address))?;
                fs::remove_file(directory.join(format!("virtfn{vf}")))?;
                continue;
            }
            add_function(
                &self.0,
                &Function {
                    parent: parent.to_str().unwrap(),
                    address: &address,
                    class: 0x02_0000,
                    numa_node: fs::read_to_string(directory.join("numa_node"))?
                        .trim()
                        .parse()
                        .unwrap(),
                    group: if group == 0 { 0 } else { group * 10 + u32::from(vf) },
                    driver: None,
                    config: config(0, None),
                },
            );
            let device = self.device(&address)?;
            symlink(&directory, device.join("physfn"))?;
            symlink(&device, directory.join(format!("virtfn{vf}")))?;
            bind(&self.0, &address, "igbvf");
        }
        fs::write(directory.join("sriov_numvfs"), format!("{wanted}\n"))
    }
}
