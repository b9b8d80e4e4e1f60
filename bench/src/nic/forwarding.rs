//! 64-byte packets of a generator through rules: the time of the one core that carries them.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, miette};
use testbed::testpmd::Testpmd;

use super::dpdk;
use crate::{Case, Unit};

/// Rules on the way of a packet.
pub struct Rules {
    name: &'static str,
    /// As testpmd creates them, after `flow create 0 transfer `.
    rules: &'static [&'static str],
    /// The statistic of port 0 or 1 that counts what came through.
    counter: (u16, &'static str),
}

pub const CASES: &[Rules] = &[
    Rules {
        name: "dropped by the first rule",
        rules: &["group 0 pattern eth / end actions drop / end"],
        counter: (1, "link_rx_packets"),
    },
    Rules {
        name: "through 3 groups, VXLAN encapsulation",
        rules: &[
            "group 0 pattern represented_port ethdev_port_id is 1 / eth / end actions jump group 1 / end",
            "group 1 pattern eth / ipv4 / end actions count / jump group 2 / end",
            "group 2 pattern eth / ipv4 / udp dst is 9 / end actions count / vxlan_encap / represented_port \
             ethdev_port_id 0 / end",
        ],
        counter: (0, "link_tx_packets"),
    },
];

/// How many flows the generator has.
pub const FLOWS: [u32; 3] = [1, 10_000, 1_000_000];

const TUNNEL: &str = "set vxlan ip-version ipv4 vni 100 udp-src 0 udp-dst 4789 ip-src 192.168.0.1 ip-dst 192.168.0.2 \
                      eth-src 02:00:00:00:00:aa eth-dst 02:00:00:00:00:bb";
/// Until caches are warm.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);

pub struct Forwarding {
    pub driver: PathBuf,
    pub rules: &'static Rules,
    pub flows: u32,
}

/// How far the packets and the thread that carries them are.
struct Reading {
    packets: f64,
    nanoseconds: f64,
}

impl Forwarding {
    fn read(&self, testpmd: &mut Testpmd) -> Result<Reading> {
        let (port, counter) = self.rules.counter;
        let nanoseconds = worker_time(testpmd.id())?;
        let output = testpmd.command(&format!("show port xstats {port}")).into_diagnostic()?;
        let packets = output
            .lines()
            .find_map(|line| line.trim().strip_prefix(counter)?.strip_prefix(": ")?.parse().ok());
        let packets = packets.ok_or_else(|| miette!("testpmd shows no {counter}:\n{output}"))?;
        Ok(Reading { packets, nanoseconds })
    }
}

/// Processor's time of DPDK's one worker so far, in nanoseconds.
fn worker_time(process: u32) -> Result<f64> {
    for task in fs::read_dir(format!("/proc/{process}/task")).into_diagnostic()? {
        let task = task.into_diagnostic()?.path();
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.trim() == "rte-worker-1" {
            let schedule = fs::read_to_string(task.join("schedstat")).into_diagnostic()?;
            let time = schedule.split_whitespace().next().and_then(|time| time.parse().ok());
            return time.ok_or_else(|| miette!("{}/schedstat has no time", task.display()));
        }
    }
    Err(miette!("process {process} has no thread rte-worker-1"))
}

impl Case for Forwarding {
    fn name(&self) -> String {
        format!("NIC: 64-byte packets {}, {} flows", self.rules.name, self.flows)
    }

    fn unit(&self) -> Unit {
        Unit::NanosecondsPerPacket
    }

    fn measure(&self) -> Result<f64> {
        let runtime = tempfile::tempdir().into_diagnostic()?;
        let device = format!(
            "net_eswitch0,vfs=1,representor=vf0,profile=unlimited,uplink=gen:[flows=1,size=64],\
             vf0=gen:[flows={},size=64,seed=3]",
            self.flows
        );
        let mut command = dpdk("dpdk-testpmd", &self.driver, &device, &runtime);
        command.args(["-i", "--no-flush-rx", "--total-num-mbufs=4096"]);
        let mut testpmd = Testpmd::start(command).into_diagnostic()?;
        for line in ["set fwd rxonly", "set portlist 1", TUNNEL] {
            testpmd.command(line).into_diagnostic()?;
        }
        for rule in self.rules.rules {
            let line = format!("flow create 0 transfer {rule}");
            let output = testpmd.command(&line).into_diagnostic()?;
            if !output.contains("created") {
                return Err(miette!("{line}:\n{output}"));
            }
        }
        testpmd.command("start").into_diagnostic()?;
        thread::sleep(WARM_UP);
        let before = self.read(&mut testpmd)?;
        thread::sleep(MEASURED);
        let after = self.read(&mut testpmd)?;
        testpmd.command("stop").into_diagnostic()?;
        testpmd.quit().into_diagnostic()?;
        Ok((after.nanoseconds - before.nanoseconds) / (after.packets - before.packets))
    }
}
