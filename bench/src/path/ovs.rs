//! Open vSwitch with DPDK, as Debian has it, with flows that mean the same as the intent.
//!
//! Its connections are answered before they are measured: one that has seen packets of one side only is new to it with
//! each packet.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use super::addresses::{
    FAR, Host, LOCAL, NODES, SERVICE, SERVICES, VNI, VTEP, VTEP_MAC, vtep, vtep_mac,
};
use super::namespace::Namespace;
use super::program::{Running, output};
use super::scenario::{Frames, SECOND_VM, Scenario, UPLINK, VM};
use super::{Rig, packet_core, window};

/// What `openvswitch-switch-dpdk` installs.
const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Number of the port that connections are begun and answered through, before they are measured.
const PRIME: u16 = 9;
/// Number of the tunnels' port.
const TUNNELS: u16 = 8;
/// What a subnet's gateway sends from.
const GATEWAY_MAC: &str = "02:50:4e:53:00:01";
/// How long something may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cost of a packet, in nanoseconds.
///
/// # Errors
/// When the switch does not forward.
pub fn measure(rig: &Rig, scenario: &Scenario, frames: &Frames) -> Result<f64> {
    let mut switch = Switch::start(rig)?;
    let measured = (|| {
        switch.bridges()?;
        let (first, last) = scenario.ports();
        let others =
            [VM, UPLINK, SECOND_VM].into_iter().filter(|port| ![first, last].contains(port));
        for port in [last].into_iter().chain(others) {
            switch.add_port(port, &rig.device(port, frames))?;
        }
        switch.flows()?;
        if let Some((prime, packets)) = &frames.prime {
            switch.prime(&format!("net_traffic{PRIME},file={}", prime.display()), *packets)?;
        }
        // Its packets begin at once.
        switch.add_port(first, &rig.device(first, frames))?;
        window::cost(&rig.report(), frames, || switch.daemon.check())
    })();
    measured.wrap_err_with(|| format!("{}:\n{}", scenario.name(), switch.daemon.last_words()))
}

/// A running switch; fields are dropped in this order.
struct Switch {
    daemon: Running,
    _database: Running,
    namespace: Namespace,
    directory: PathBuf,
}

impl Switch {
    fn start(rig: &Rig) -> Result<Self> {
        let directory = rig.file("ovs");
        // Of the run before.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).into_diagnostic()?;
        let namespace = Namespace::new()?;
        let file = directory.join("conf.db");
        output(Command::new("ovsdb-tool").arg("create").arg(&file).arg(SCHEMA))?;
        let socket = directory.join("db.sock");
        let mut command = Command::new("ovsdb-server");
        command.arg(&file).arg(format!("--remote=punix:{}", socket.display()));
        command.arg(format!("--unixctl={}", directory.join("db.ctl").display()));
        command.env("OVS_RUNDIR", &directory);
        let mut database = Running::start("ovsdb-server", &mut command, &directory.join("db.log"))?;
        wait("ovsdb-server", || {
            database.check()?;
            Ok(socket.exists())
        })?;

        let mut extra = vec!["--no-pci", "--no-telemetry"];
        extra.extend(rig.memory_arguments());
        let driver = rig.driver().display().to_string();
        extra.extend(["-d", &driver]);
        let core = packet_core();
        let settings = [
            "dpdk-init=true".to_owned(),
            "dpdk-lcore-mask=0x1".to_owned(),
            format!("pmd-cpu-mask={:#x}", 1_u64 << core),
            format!("dpdk-extra=\"{}\"", extra.join(" ")),
            // As many flows as there may be, and none that times out meanwhile.
            "flow-limit=2000000".to_owned(),
            "max-idle=600000".to_owned(),
        ];
        let mut set = vsctl(&socket);
        set.args(["--no-wait", "init", "--", "set", "Open_vSwitch", "."]);
        output(set.args(settings.map(|setting| format!("other_config:{setting}"))))?;
        let mut command = namespace.command(SWITCH);
        command.arg(format!("unix:{}", socket.display()));
        command.arg(format!("--unixctl={}", directory.join("vs.ctl").display()));
        command.env("OVS_RUNDIR", &directory);
        let mut daemon = Running::start("ovs-vswitchd", &mut command, &directory.join("vs.log"))?;
        let control = directory.join("vs.ctl");
        wait("ovs-vswitchd", || {
            daemon.check()?;
            Ok(control.exists())
        })?;
        Ok(Self { daemon, _database: database, namespace, directory })
    }

    /// Runs a line of `ovs-vsctl`, of words without spaces in them.
    fn vsctl(&self, line: &str) -> Result<String> {
        let mut command = vsctl(&self.directory.join("db.sock"));
        output(command.arg("--timeout=60").args(line.split(' ')))
    }

    fn appctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ovs-appctl");
        output(command.arg("-t").arg(self.directory.join("vs.ctl")).args(arguments))
    }

    fn ofctl(&self, bridge: &str, flows: &[String]) -> Result<()> {
        let file = self.directory.join("flows");
        std::fs::write(&file, flows.join("\n")).into_diagnostic()?;
        let target = format!("unix:{}", self.directory.join(format!("{bridge}.mgmt")).display());
        output(Command::new("ovs-ofctl").args(["--bundle", "add-flows", &target]).arg(file))
            .map(drop)
    }

    /// One bridge with the VMs and the tunnels, one with the uplink.
    fn bridges(&self) -> Result<()> {
        for bridge in ["br-int", "br-phy"] {
            self.vsctl(&format!(
                "add-br {bridge} -- set bridge {bridge} datapath_type=netdev fail-mode=secure \
                 other-config:hwaddr=\"{VTEP_MAC}\""
            ))?;
        }
        let address = format!("{VTEP}/16");
        output(self.namespace.command("ip").args(["address", "add", &address, "dev", "br-phy"]))?;
        output(self.namespace.command("ip").args(["link", "set", "br-phy", "up"]))?;
        self.vsctl(&format!(
            "add-port br-int vx0 -- set interface vx0 type=vxlan ofport_request={TUNNELS} \
             options:remote_ip=flow options:key=flow"
        ))?;
        self.appctl(&["tnl/neigh/aging", "3600"])?;
        wait("the route to the tunnels", || {
            Ok(self.appctl(&["ovs/route/show"])?.contains("172.16.0.0/16"))
        })?;
        for node in 0..NODES {
            self.appctl(&["tnl/neigh/set", "br-phy", &vtep(node), &vtep_mac(node)])?;
        }
        Ok(())
    }

    /// Adds a port; its number in `OpenFlow` is that in files of frames, from 1 on.
    fn add_port(&self, port: u16, device: &str) -> Result<()> {
        let bridge = if port == UPLINK { "br-phy" } else { "br-int" };
        let name = format!("p{port}");
        self.vsctl(&format!(
            "add-port {bridge} {name} -- set interface {name} type=dpdk mtu_request=1600 ofport_request={} \
             options:dpdk-devargs=\"{device}\"",
            port + 1
        ))?;
        let error = self.vsctl(&format!("get interface {name} error"))?;
        if error.trim() == "[]" { Ok(()) } else { Err(miette!("port {name}: {}", error.trim())) }
    }

    /// The policy.
    fn flows(&self) -> Result<()> {
        let uplink = UPLINK + 1;
        self.ofctl(
            "br-phy",
            &[format!("in_port={uplink},actions=LOCAL"), format!("in_port=LOCAL,actions={uplink}")],
        )?;
        self.ofctl("br-int", &policy())
    }

    /// Lets all connections begin and be answered, by so many packets.
    fn prime(&self, device: &str, packets: u64) -> Result<()> {
        let port = PRIME + 1;
        for family in ["ip", "ipv6"] {
            self.ofctl(
                "br-int",
                &[
                    // Looked up first: an answer is committed to the connection that it answers.
                    format!(
                        "table=0,priority=50,in_port={port},{family},actions=ct(zone=1,table=20)"
                    ),
                    format!("table=20,{family},actions=ct(commit,zone=1,table=21)"),
                    format!("table=21,{family},actions=ct(zone=2,table=22)"),
                    format!("table=22,{family},actions=ct(commit,zone=2)"),
                ],
            )?;
        }
        self.add_port(PRIME, device)?;
        let name = format!("p{PRIME}");
        wait("connections", || {
            Ok(received(&self.appctl(&["dpctl/show", "-s"])?, &name) >= packets)
        })?;
        self.vsctl(&format!("del-port br-int {name}")).map(drop)
    }
}

/// Packets that a port has received, in what `dpctl/show -s` prints.
fn received(text: &str, port: &str) -> u64 {
    let behind = text.split_once(&format!(": {port} ")).map_or("", |(_, behind)| behind);
    let number = behind.split_once("RX packets:").map_or("", |(_, behind)| behind);
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// The flows of `br-int`: who may send what, connections, groups, routes.
fn policy() -> Vec<String> {
    let mut flows = Vec::new();
    // Anti-spoofing. A VM's packets meet the connections of its own zone.
    for (port, zone, host) in [(VM + 1, 1, LOCAL[0]), (SECOND_VM + 1, 2, LOCAL[1])] {
        let mac = host.mac();
        for source in
            [format!("ip,nw_src={}", host.ipv4()), format!("ipv6,ipv6_src={}", host.ipv6())]
        {
            flows.push(format!(
                "table=0,priority=10,in_port={port},dl_src={mac},{source},actions=ct(zone={zone},table=1)"
            ));
        }
    }
    for host in (0..FAR).map(Host::far) {
        let vtep = vtep(host.node());
        for source in
            [format!("ip,nw_src={}", host.ipv4()), format!("ipv6,ipv6_src={}", host.ipv6())]
        {
            flows.push(format!(
                "table=0,priority=10,in_port={TUNNELS},tun_id={VNI},tun_src={vtep},{source},actions=goto_table:5"
            ));
        }
    }
    // Out of a VM: its groups, then where to.
    flows.extend(groups(1, "dst", 1, 3));
    flows.extend(groups(1, "dst", 2, 3));
    for host in (0..FAR).map(Host::far) {
        let mac = host.mac();
        let actions = format!(
            "set_field:{GATEWAY_MAC}->eth_src,set_field:{mac}->eth_dst,set_field:{}->tun_dst,set_field:{VNI}->tun_id,output:{TUNNELS}",
            vtep(host.node())
        );
        flows.push(format!("table=3,ip,nw_dst={},actions={actions}", host.ipv4()));
        flows.push(format!("table=3,ipv6,ipv6_dst={},actions={actions}", host.ipv6()));
    }
    // To a VM here: its zone, its groups, then its port.
    for (table, port, zone, host) in [(6, VM + 1, 1, LOCAL[0]), (7, SECOND_VM + 1, 2, LOCAL[1])] {
        for to in [format!("ip,nw_dst={}", host.ipv4()), format!("ipv6,ipv6_dst={}", host.ipv6())] {
            for from in [3, 5] {
                flows.push(format!(
                    "table={from},priority=20,{to},actions=ct(zone={zone},table={table})"
                ));
            }
        }
        flows.extend(groups(table, "src", zone, table + 10));
        let mac = host.mac();
        flows.push(format!("table={},actions=set_field:{mac}->eth_dst,output:{port}", table + 10));
    }
    flows
}

/// A table that lets established connections on, and new ones that the group allows. `end` says which of a packet's ends
/// the rules are about.
fn groups(table: u16, end: &str, zone: u16, next: u16) -> Vec<String> {
    let mut flows = vec![format!(
        "table={table},priority=20,ct_zone={zone},ct_state=+trk+est,actions=goto_table:{next}"
    )];
    for protocol in ["tcp", "udp"] {
        for prefix in ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/32", "fd00:2::/32"] {
            let (protocol, field) = if prefix.contains(':') {
                (format!("{protocol}6"), format!("ipv6_{end}"))
            } else {
                (protocol.to_owned(), format!("nw_{end}"))
            };
            let ports = format!("{SERVICE}/{:#x}", !(SERVICES - 1));
            for port in ["22", "443", &ports] {
                flows.push(format!(
                    "table={table},priority=10,ct_zone={zone},ct_state=+trk+new,{protocol},{field}={prefix},\
                     tp_dst={port},actions=ct(commit,zone={zone}),goto_table:{next}"
                ));
            }
        }
    }
    flows
}

/// `ovs-vsctl` on a database.
fn vsctl(socket: &std::path::Path) -> Command {
    let mut command = Command::new("ovs-vsctl");
    command.arg(format!("--db=unix:{}", socket.display()));
    command
}

/// Waits until something is so.
fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > PATIENCE {
            bail!("{what}: not there after {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_port_are_found() {
        let text = "  port 3: p1 (dpdk: configured_rx_queues=1)\n    RX packets:7 errors:0\n  port 4: p9 (dpdk)\n    RX packets:20000 errors:0\n";
        assert_eq!(
            (received(text, "p1"), received(text, "p9"), received(text, "p8")),
            (7, 20_000, 0)
        );
    }
}
