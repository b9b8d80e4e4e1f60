//! A real NIC on a bench: how it is wired, and what must be there before the suite touches it.

use std::fs;
use std::path::Path;
use std::process::Command;

use rte_flow::Profile;
use serde::Deserialize;

/// What a bench file looks like.
pub const EXAMPLE: &str = r#"profile = "bluefield3-sws-22.11"       # how the NIC is steered: what it must accept and refuse
uplink_peer = "enp7s0"                 # the interface at the other end of the uplink's cable
vfs = ["enp3s0f0v0", "enp3s0f0v1"]     # the interfaces of VF 0 and VF 1, in this namespace
device = "fdb_def_rule_en=1"           # device arguments beside representor and dv_flow_en (optional)
eal = ["-l", "0,1"]                    # EAL arguments beside -a (optional)
"#;

/// How a real NIC is wired: a TOML file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// The NIC's PCI address, as in `/sys/bus/pci/devices`.
    #[serde(skip)]
    pub address: String,
    /// The profile that describes it.
    pub profile: String,
    /// The interface at the other end of the uplink's cable.
    pub uplink_peer: String,
    /// The interfaces of VF 0 and VF 1.
    pub vfs: [String; 2],
    /// Device arguments beside `representor` and `dv_flow_en`.
    #[serde(default)]
    pub device: String,
    /// EAL arguments beside `-a`.
    #[serde(default)]
    pub eal: Vec<String>,
}

/// Something the suite needs of a real NIC and its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub what: String,
    /// What there is, or why that is not enough.
    pub found: Result<String, String>,
}

impl Bench {
    /// Reads a bench file.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn read(file: &Path, address: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{}: {what}", file.display());
        let text = fs::read_to_string(file).map_err(|e| wrong(&e.to_string()))?;
        Self::parse(&text, address).map_err(|e| wrong(&e))
    }

    fn parse(text: &str, address: &str) -> Result<Self, String> {
        let bench: Self = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let profile = Profile::named(&bench.profile).map_err(|e| e.to_string())?;
        Ok(Self { address: address.to_owned(), profile: profile.name, ..bench })
    }
}

/// What the suite needs to run on the device at this address, and whether it is there.
#[must_use]
pub fn needs(address: &str, bench: Option<&Bench>) -> Vec<Need> {
    let device = Path::new("/sys/bus/pci/devices").join(address);
    let read = |name: &str| {
        let text = fs::read_to_string(device.join(name)).map_err(|_| "not there".to_owned())?;
        Ok(text.trim().to_owned())
    };
    let is = |found: Result<String, String>, enough: &dyn Fn(&str) -> bool| {
        found.and_then(|found| if enough(&found) { Ok(found) } else { Err(found) })
    };
    let vendor = is(read("vendor"), &|vendor| vendor == "0x15b3");
    let driver = fs::read_link(device.join("driver")).map_err(|_| "no driver".to_owned());
    let driver = driver.map(|link| link.file_name().unwrap_or_default().display().to_string());
    let two = |number: &str| number.parse().is_ok_and(|vfs: u32| vfs >= 2);
    let pages = fs::read_to_string("/proc/meminfo").map_err(|e| e.to_string());
    let pages = pages.map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
        line.unwrap_or("0").trim().to_owned()
    });
    let root = rustix::process::geteuid().is_root();
    let mut needs = vec![
        ("a device of NVIDIA or Mellanox (vendor 0x15b3) at this address".to_owned(), vendor),
        ("its kernel driver mlx5_core".to_owned(), is(driver, &|driver| driver == "mlx5_core")),
        (
            format!("switchdev mode (devlink dev eswitch set pci/{address} mode switchdev)"),
            is(eswitch_mode(address), &|mode| mode == "switchdev"),
        ),
        (
            "two VFs, for VF representors 0 and 1 (sriov_numvfs)".to_owned(),
            is(read("sriov_numvfs"), &two),
        ),
        ("free hugepages".to_owned(), is(pages, &|pages| pages != "0")),
        ("root".to_owned(), if root { Ok("yes".to_owned()) } else { Err("no".to_owned()) }),
    ];
    match bench {
        None => {
            let missing = Err("no --bench FILE".to_owned());
            needs.push((
                "a bench file, which names the interfaces around the device".to_owned(),
                missing,
            ));
        }
        Some(bench) => {
            let [vf0, vf1] = &bench.vfs;
            let ends = [("the uplink's peer", &bench.uplink_peer), ("VF 0", vf0), ("VF 1", vf1)];
            for (what, name) in ends {
                needs.push((format!("{name}, the interface of {what}, up"), interface(name)));
            }
        }
    }
    needs.into_iter().map(|(what, found)| Need { what, found }).collect()
}

/// The mode of the device's eswitch, as `devlink` tells it.
fn eswitch_mode(address: &str) -> Result<String, String> {
    let arguments = ["dev", "eswitch", "show", &format!("pci/{address}")];
    let output = Command::new("devlink").args(arguments).output();
    let output = output.map_err(|e| format!("devlink: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "mode");
    words.nth(1).map(str::to_owned).ok_or_else(|| "devlink knows no eswitch there".to_owned())
}

fn interface(name: &str) -> Result<String, String> {
    let state = Path::new("/sys/class/net").join(name).join("operstate");
    let state = fs::read_to_string(state).map_err(|_| "not there".to_owned())?;
    if state.trim() == "down" { Err("down".to_owned()) } else { Ok(state.trim().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_bench() {
        let bench = Bench::parse(EXAMPLE, "0000:03:00.0").expect("it can be read");
        assert_eq!(bench.uplink_peer, "enp7s0");
        assert_eq!(bench.address, "0000:03:00.0");
        let wrong = Bench::parse(&EXAMPLE.replace("bluefield3-sws-22.11", "bluefield9"), "");
        assert!(wrong.is_err_and(|e| e.contains("there is no profile `bluefield9`")));
        assert!(Bench::parse(&EXAMPLE.replace("vfs", "vf"), "").is_err());
    }

    #[test]
    fn without_a_device_nothing_is_found() {
        let missing = needs("0000:ff:1f.7", None);
        let missing: Vec<&str> = missing
            .iter()
            .filter(|need| need.found.is_err())
            .map(|need| need.what.as_str())
            .collect();
        for words in ["vendor 0x15b3", "mlx5_core", "switchdev", "two VFs", "bench file"] {
            assert!(missing.iter().any(|what| what.contains(words)), "{words}: {missing:?}");
        }
    }
}
