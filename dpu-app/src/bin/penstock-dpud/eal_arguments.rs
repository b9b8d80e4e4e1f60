//! DPDK's arguments, from the configuration and from what the machine has.

use crate::config::Config;

/// What of the machine matters for the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Whether huge pages are free.
    pub has_huge_pages: bool,
    /// The CPUs this process may use.
    pub cpus: Vec<usize>,
}

impl Machine {
    /// This one.
    pub fn read() -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = memory.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self {
            has_huge_pages: free
                .and_then(|free| free.trim().parse().ok())
                .is_some_and(|n: u64| n > 0),
            cpus: cpus.map_or_else(|| vec![0], cpu_list),
        }
    }
}

/// The CPUs of `0-3,8`.
fn cpu_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// Arguments with which an operator decides about memory by hand.
const MEMORY: &[&str] = &[
    "--in-memory",
    "--no-huge",
    "--huge-dir",
    "--huge-unlink",
    "--file-prefix",
    "--no-shconf",
    "-m",
    "--socket-mem",
    "--legacy-mem",
    "--single-file-segments",
    "--proc-type",
];
/// Arguments that choose cores.
const CORES: &[&str] = &["-c", "-l", "--lcores", "-s", "-S"];
/// Arguments that choose PCI devices.
const PCI: &[&str] = &["-a", "--allow", "-b", "--block", "--no-pci"];

/// The arguments for DPDK, without the program's name.
pub fn eal_arguments(config: &Config, machine: &Machine) -> Vec<String> {
    let own = &config.eal.arguments;
    let says = |names: &[&str]| {
        own.iter().any(|argument| {
            names.iter().any(|name| {
                let rest = argument.strip_prefix(name);
                let long = name.starts_with("--");
                rest.is_some_and(|rest| !long || rest.is_empty() || rest.starts_with('='))
            })
        })
    };
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |list: &[&str]| arguments.extend(list.iter().map(ToString::to_string));
    if !says(MEMORY) {
        // Neither leaves a file or a lock behind, whatever ends the process, so several daemons and any restart find
        // nothing in their way.
        add(if machine.has_huge_pages {
            &["--in-memory"]
        } else {
            &["--no-huge", "--no-shconf", "-m", "256"]
        });
    }
    if !says(&["--no-telemetry", "--telemetry"]) {
        add(&["--no-telemetry"]);
    }
    if !says(CORES) {
        // One lcore that the kernel may move: daemons that share a machine must not meet on CPU 0.
        let cpus: Vec<String> = machine.cpus.iter().map(ToString::to_string).collect();
        add(&["--lcores", &format!("0@({})", cpus.join(","))]);
    }
    let (hardware, virtual_): (Vec<_>, Vec<_>) =
        config.ports.devices.iter().partition(|device| is_on_a_bus(device));
    if hardware.is_empty() && !says(PCI) {
        add(&["--no-pci"]);
    }
    for driver in &config.eal.drivers {
        add(&["-d", &driver.display().to_string()]);
    }
    for device in hardware {
        add(&["-a", device]);
    }
    for device in virtual_ {
        add(&["--vdev", device]);
    }
    arguments.extend(own.iter().cloned());
    arguments
}

/// Whether a device is named by its place on a bus (`0000:03:00.0`, `03:00.0`, `auxiliary:...`) and not by a driver.
fn is_on_a_bus(device: &str) -> bool {
    let name = device.split(',').next().unwrap_or_default();
    name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn arguments(eal: &str, devices: &str, has_huge_pages: bool) -> String {
        let text = format!("node = \"a\"\n[eal]\n{eal}\n[ports]\ndevices = {devices}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = Config::read(Path::new(file.path())).unwrap();
        eal_arguments(&config, &Machine { has_huge_pages, cpus: vec![0, 1] }).join(" ")
    }

    #[test]
    fn defaults_leave_nothing_behind() {
        assert_eq!(
            arguments("", "[\"net_eswitch0,vfs=2\"]", false),
            "--no-huge --no-shconf -m 256 --no-telemetry --lcores 0@(0,1) --no-pci --vdev net_eswitch0,vfs=2"
        );
        assert_eq!(
            arguments("drivers = [\"/lib/x.so\"]", "[\"0000:03:00.0,representor=vf[0-1]\"]", true),
            "--in-memory --no-telemetry --lcores 0@(0,1) -d /lib/x.so -a 0000:03:00.0,representor=vf[0-1]"
        );
    }

    #[test]
    fn what_the_operator_says_takes_the_place_of_defaults() {
        assert_eq!(
            arguments("arguments = [\"-l\", \"1\", \"--file-prefix=x\"]", "[\"net_null0\"]", true),
            "--no-telemetry --no-pci --vdev net_null0 -l 1 --file-prefix=x"
        );
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("\t0-2,5\n"), [0, 1, 2, 5]);
    }
}
