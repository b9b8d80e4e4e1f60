//! The NIC under test: the simulated one, or a real one on a bench.

use std::path::{Path, PathBuf};
use std::process::Command;

use rte_flow::{Profile, Steering};

use crate::bench::Bench;
use crate::case::Start;
use crate::place::{Place, Port};

/// What the application's side of each port is called.
const APPLICATION: [&str; Port::ALL.len()] = ["app-up", "app-vf0", "app-vf1"];

/// The NIC under test.
pub enum Target {
    /// The simulated NIC: its driver.
    Simulated(PathBuf),
    /// A real one.
    Device(Bench),
}

impl Target {
    /// The profiles that the suite runs with.
    #[must_use]
    pub fn profiles(&self) -> Vec<String> {
        match self {
            // Without aliases.
            Self::Simulated(_) => Profile::names()
                .filter(|name| Profile::named(name).is_ok_and(|profile| profile.name == *name))
                .map(str::to_owned)
                .collect(),
            Self::Device(bench) => vec![bench.profile.clone()],
        }
    }

    /// Whether a case can run: a real NIC knows nothing of the simulated one's device arguments.
    #[must_use]
    pub fn can_start(&self, start: &Start) -> bool {
        matches!(self, Self::Simulated(_)) || start.device.is_empty()
    }

    /// Whether the driver's messages and causes are ours, and frames are not padded on a wire.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// The interfaces at all places.
    #[must_use]
    pub fn interfaces(&self) -> [String; Place::ALL.len()] {
        let entities = match self {
            Self::Simulated(_) => ["wire", "vm0", "vm1"].map(str::to_owned),
            Self::Device(bench) => {
                let [vf0, vf1] = bench.vfs.clone();
                [bench.uplink_peer.clone(), vf0, vf1]
            }
        };
        Place::ALL.map(|place| match place {
            Place::Entity(port) => entities[port.number()].clone(),
            Place::Application(port) => APPLICATION[port.number()].to_owned(),
        })
    }

    /// Lets the simulated NIC's links carry longer frames than its ports: what is too long is the NIC's business.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn widen_interfaces(&self) -> Result<(), String> {
        const MTU: &str = "9000";
        if !self.is_simulated() {
            return Ok(());
        }
        for name in self.interfaces() {
            let output = Command::new("ip").args(["link", "set", &name, "mtu", MTU]).output();
            let output = output.map_err(|e| format!("ip: {e}"))?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        Ok(())
    }

    /// The command that starts testpmd with the NIC as ports 0 to 2, and with a TAP port behind each of them.
    #[must_use]
    pub fn testpmd(&self, profile: &Profile, start: &Start, runtime: &Path) -> Command {
        // Into a pipe, C programs would hold their output back.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "dpdk-testpmd"]).env("RUNTIME_DIRECTORY", runtime);
        match self {
            Self::Simulated(library) => {
                let [uplink, vf0, vf1, ..] = self.interfaces();
                let mut device = format!(
                    "net_eswitch0,vfs=2,representor=vf[0-1],uplink=tap:{uplink},vf0=tap:{vf0},vf1=tap:{vf1},\
                     profile={}",
                    profile.name
                );
                if !start.device.is_empty() {
                    device = format!("{device},{}", start.device);
                }
                command.args(["--no-huge", "-m", "256", "--no-pci", "-l", "0,1"]);
                command.arg("-d").arg(library).args(["--vdev", &device]);
            }
            Self::Device(bench) => {
                let engine = if profile.steering == Steering::Hardware { 2 } else { 1 };
                let mut device =
                    format!("{},representor=vf[0-1],dv_flow_en={engine}", bench.address);
                if !bench.device.is_empty() {
                    device = format!("{device},{}", bench.device);
                }
                command.args(&bench.eal).args(["-a", &device]);
            }
        }
        for (number, name) in APPLICATION.iter().enumerate() {
            command.args(["--vdev", &format!("net_tap{number},iface={name}")]);
        }
        command.args(["--", "-i", "--total-num-mbufs=8192"]);
        command.args(start.testpmd.split_whitespace());
        command
    }
}
