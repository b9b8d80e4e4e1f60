//! The machine that the checks run on: its devices, a daemon, and the operator's command.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use host_shim::device::{Inventory, PciFunction, PhysicalFunction, VirtualFunction};
use host_shim::sysfs::PciAddress;
use serde_json::Value;

const CONFIG: &str = "/etc/penstock/hostd.toml";
const SOCKET: &str = "/run/penstock/hostd.sock";
const STATE: &str = "/var/lib/penstock/host";
/// Until something has happened: without the processor's help a machine is slow.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until the answer is there.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// Runs `penstock`.
pub fn penstock(arguments: &[&str]) -> Said {
    let output = Command::new("penstock").args(arguments).output().expect("run penstock");
    Said {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `penstock`, which must do what it is told.
pub fn done(arguments: &[&str]) -> String {
    let said = penstock(arguments);
    assert_eq!(said.code, Some(0), "penstock {}: {}", arguments.join(" "), said.errors);
    said.output
}

/// Runs `penstock`, which must refuse with these words.
pub fn refused(arguments: &[&str], words: &str) {
    let said = penstock(arguments);
    assert_eq!(said.code, Some(1), "penstock {}: {said:?}", arguments.join(" "));
    assert!(said.errors.contains(words), "expected `{words}`: {}", said.errors);
}

/// Makes the next daemon one of a machine without leases.
pub fn forget_leases() {
    let _ = fs::remove_dir_all(STATE);
}

/// A daemon that runs, and is killed when this value goes.
pub struct Daemon(Child);

impl Daemon {
    /// Starts one, with something in its configuration. Leases of an earlier one are still there.
    pub fn start(configuration: &str) -> Self {
        fs::create_dir_all(Path::new(CONFIG).parent().unwrap()).unwrap();
        let text = format!("{configuration}\n[reconcile]\nintervalMs = 300\n");
        fs::write(CONFIG, text).unwrap();
        let console = fs::File::options().append(true).open("/dev/ttyS0").unwrap();
        let child = Command::new("penstock-hostd")
            .args(["--config", CONFIG])
            .stdin(Stdio::null())
            .stderr(console)
            .spawn()
            .expect("run penstock-hostd");
        Self(child)
    }

    /// Starts one on a machine without leases, and waits until it answers.
    pub fn fresh(configuration: &str) -> Self {
        forget_leases();
        let daemon = Self::start(configuration);
        daemon.answers();
        daemon
    }

    /// Waits until it answers.
    pub fn answers(&self) {
        wait_for("answer of the daemon", || {
            (Path::new(SOCKET).exists() && penstock(&["vm", "list"]).code == Some(0)).then_some(())
        });
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> ExitStatus {
        wait_for("end of the daemon", || self.0.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    /// As `kill -9`.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the daemon sees.
pub fn inventory() -> Inventory {
    serde_json::from_str(&done(&["host", "inventory", "-o", "json"])).unwrap()
}

/// The only PF of a driver.
pub fn pf_of(inventory: &Inventory, driver: &str) -> PhysicalFunction {
    let has = |pf: &&PhysicalFunction| {
        let function =
            inventory.functions.iter().find(|f| f.address.to_string() == pf.device.to_string());
        function.is_some_and(|f| f.driver.as_deref() == Some(driver))
    };
    inventory.physical_functions.iter().find(has).expect("a PF").clone()
}

/// The PCI function of a VF.
pub fn function<'a>(inventory: &'a Inventory, vf: &VirtualFunction) -> &'a PciFunction {
    inventory.function(vf.address.expect("an address")).expect("a function")
}

/// Where a function's files are.
pub fn directory(address: PciAddress) -> String {
    format!("/sys/bus/pci/devices/{address}")
}

/// The driver that the kernel says a function has.
pub fn driver(address: PciAddress) -> Option<String> {
    let link = fs::read_link(format!("{}/driver", directory(address))).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// What the kernel keeps of a VF at its PF, as `ip` shows it: not by the daemon's own code.
pub fn kept(pf: &PhysicalFunction, vf: u16) -> Value {
    let name = pf.net.as_ref().expect("an interface").name.as_str();
    let output =
        Command::new("ip").args(["-json", "-details", "link", "show", name]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["vfinfo_list"][usize::from(vf)].clone()
}

/// The MAC that a PF keeps of a VF.
pub fn mac(pf: &PhysicalFunction, vf: u16) -> String {
    kept(pf, vf)["address"].as_str().expect("a MAC").to_owned()
}

/// Runs `ip`, which must do what it is told.
pub fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {}", arguments.join(" "));
}

/// The leases there are.
pub fn leases() -> Vec<Value> {
    let text = done(&["vm", "list", "-o", "json"]);
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

/// The machine's PF with this many VFs, all new.
pub fn igb_with_vfs(number: u16) -> PhysicalFunction {
    let name = pf_of(&inventory(), "igb").device.to_string();
    done(&["host", "vfs", &name, "0"]);
    done(&["host", "vfs", &name, &number.to_string()]);
    // The network driver takes a VF a moment after it is there.
    wait_for("interfaces of VFs", || {
        let pf = pf_of(&inventory(), "igb");
        pf.vfs.iter().all(|vf| vf.net.is_some()).then_some(pf)
    })
}

/// Whether a VF is as one of nobody: with its network driver, for any driver, without an address.
pub fn is_free(pf: &PhysicalFunction, vf: &VirtualFunction) -> Result<(), String> {
    let address = vf.address.expect("an address");
    let over = fs::read_to_string(format!("{}/driver_override", directory(address))).unwrap();
    let mac = mac(pf, vf.number.0);
    match driver(address).as_deref() {
        Some("igbvf") if over.trim() == "(null)" && mac == NO_MAC => Ok(()),
        driver => {
            Err(format!("{}: driver {driver:?}, override {}, MAC {mac}", vf.number, over.trim()))
        }
    }
}

/// Whether a VF is as a VM needs it that gets it by vfio.
pub fn is_given(pf: &PhysicalFunction, vf: &VirtualFunction, wanted: &str) -> Result<(), String> {
    let address = vf.address.expect("an address");
    let mac = mac(pf, vf.number.0);
    let group = fs::read_link(format!("{}/iommu_group", directory(address))).unwrap();
    let node = Path::new("/dev/vfio").join(group.file_name().unwrap());
    match driver(address).as_deref() {
        Some("vfio-pci") if mac == wanted && node.exists() => Ok(()),
        driver => Err(format!(
            "{}: driver {driver:?}, MAC {mac} and not {wanted}, {}",
            vf.number,
            node.display()
        )),
    }
}

/// The address of a VF that has none.
pub const NO_MAC: &str = "00:00:00:00:00:00";
