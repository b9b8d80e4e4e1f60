//! The demo's steps. Each says what it expects and what it saw.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use miette::{Result, miette};

use super::daemon::{Flow, Programs};
use super::interrupt;
use super::iperf;
use super::ledger::{Ledger, Sum};
use super::plan::{
    BLUE_1, BLUE_3, GATEWAY_LINK_LOCAL, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, MTU, RED_1, RED_2,
    RED_3, RED_4, VMS, Vm,
};
use super::program::Running;
use super::report::{self, Report};
use super::topology::World;
use super::vm::Family;

/// The port of iperf3 that stays open.
const KEPT_PORT: u16 = 5201;
/// The port that a change of policy closes.
const CLOSED_PORT: u16 = 5202;
/// A port that was never open.
const NEVER_OPEN: u16 = 23;
/// How soon a change of policy must stop a connection.
const STOPS_WITHIN: Duration = Duration::from_secs(1);
/// What share of iperf3's packets NIC rules must carry at least, per cent.
const SHARE: f64 = 99.0;
/// How often daemons read the counters of the NIC's rules, and a bit.
const COUNTERS: Duration = Duration::from_millis(1300);

/// What everything but iperf3 is counted as.
const REST: &str = "pings, web, DHCP...";
/// What the connection is counted as that outlives the change of policy.
const NEIGHBOR: &str = "red-1 -> red-3, the neighbour";
/// What the connection is counted as that does not.
const STOPPED: &str = "red-3 -> red-1, stopped by policy";

/// Takes all steps.
///
/// # Errors
/// When a step cannot be taken; what differs from what was expected is in the report.
pub fn run(world: &mut World, programs: &Programs, report: &mut Report) -> Result<()> {
    let mut ledger = Ledger::default();
    daemons(world, programs, report)?;
    intent(world, report)?;
    leases(world, report)?;
    pings(world, report)?;
    tenants(world, report)?;
    closed_port(world, report)?;
    ledger.take_down(&world.dpus, REST)?;
    let purposes = tcp(world, report, &mut ledger)?;
    policy(world, report, &mut ledger)?;
    table(world, report, &mut ledger, purposes)
}

fn daemons(world: &mut World, programs: &Programs, report: &mut Report) -> Result<()> {
    report.step("Two DPUs start, each with a simulated NIC of its own");
    world.start_daemons(programs)?;
    for dpu in &world.dpus {
        let node = dpu.node();
        let status = dpu.status()?;
        let offload = status.lines().find(|line| line.starts_with("offload:")).unwrap_or_default();
        let name = format!("{}: offload", node.name);
        let is_on = offload.starts_with("offload: bluefield3-sws");
        report.check(&name, "profile bluefield3-sws", offload, is_on);
        let ports = status
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("uplink") || line.starts_with("vf"))
            .filter(|line| line.split_whitespace().nth(2) == Some("up"));
        report.expect(
            &format!("{}: ports that are up", node.name),
            &format!("{}", node.vfs + 1),
            &format!("{}", ports.count()),
        );
    }
    Ok(())
}

fn intent(world: &mut World, report: &mut Report) -> Result<()> {
    report.step("The operator applies intent: two tenants with the same addresses");
    for dpu in &world.dpus {
        let said = dpu.apply(&["network.yaml", "policy.yaml"])?;
        let expected = "applied: 15 changes";
        let what = format!("{}: penstock apply -f network.yaml -f policy.yaml", dpu.node().name);
        report.expect(&what, expected, said.lines().last().unwrap_or_default());
    }
    Ok(())
}

fn leases(world: &mut World, report: &mut Report) -> Result<()> {
    report.step("VMs boot with nothing but a DHCP client");
    world.attach_vms()?;
    let vms = || VMS.into_iter().filter(|vm| vm.node.vfs > 0);
    for vm in vms() {
        let client = vm.start_dhcp(Family::V4)?;
        world.beside.push(client);
    }
    for vm in vms() {
        // A DHCPv6 client speaks from its link-local address.
        world.wait_for_addresses(vm)?;
        let client = vm.start_dhcp(Family::V6)?;
        world.beside.push(client);
    }
    for vm in vms() {
        let expected = format!("{}/24 via {GATEWAY_V4}, MTU {MTU}, DNS {}", vm.v4, vm.dns.0);
        let seen = vm.settings(Family::V4)?.to_string();
        report.expect(&format!("{}: DHCPv4", vm.name), &expected, &seen);
        let expected =
            format!("{}/128 via {GATEWAY_LINK_LOCAL}, MTU {MTU}, DNS {}", vm.v6, vm.dns.1);
        let seen = vm.settings(Family::V6)?.to_string();
        report.expect(&format!("{}: DHCPv6 and RA", vm.name), &expected, &seen);
        world.wait_for_addresses(vm)?;
    }
    Ok(())
}

fn pings(_: &World, report: &mut Report) -> Result<()> {
    report.step("Pings within the red tenant, IPv4 and IPv6");
    let pairs = [
        (&RED_1, &RED_2, "on the same DPU"),
        (&RED_1, &RED_3, "across DPUs"),
        (&RED_3, &RED_2, "across DPUs, back"),
        (&RED_1, &RED_4, "to the Linux VTEP"),
        (&RED_4, &RED_3, "from the Linux VTEP"),
    ];
    for (from, to, way) in pairs {
        for address in to.addresses() {
            // The first packet to a VTEP finds its MAC unknown: it is dropped by name, and an ARP request goes out.
            interrupt::wait_for(Duration::from_secs(3), || {
                Ok((from.ping(address, 1)? == 1).then_some(()))
            })?;
            let what = format!("{} -> {} ({address}), {way}", from.name, to.name);
            let seen = format!("{} of 3 answered", from.ping(address, 3)?);
            report.expect(&what, "3 of 3 answered", &seen);
        }
    }
    for gateway in [IpAddr::from(GATEWAY_V4), IpAddr::from(GATEWAY_V6)] {
        let seen = format!("{} of 3 answered", RED_1.ping(gateway, 3)?);
        report.expect(&format!("red-1 -> its gateway {gateway}"), "3 of 3 answered", &seen);
    }
    Ok(())
}

fn tenants(world: &mut World, report: &mut Report) -> Result<()> {
    report.step("A tenant cannot reach the other, though both use the same addresses");
    for vm in [&RED_3, &BLUE_3] {
        world.beside.push(vm.serve_web()?);
    }
    for (from, to) in [(&RED_1, &RED_3), (&BLUE_1, &BLUE_3)] {
        for address in to.addresses() {
            // The server has just been started.
            let said = interrupt::wait_for(Duration::from_secs(3), || {
                Ok(Some(from.fetch(address)?).filter(|said| said != "no answer"))
            })?;
            let what = format!("{}: who is the web server at {address}?", from.name);
            report.expect(&what, to.name, said.as_deref().unwrap_or("no answer"));
        }
    }
    // red-2's address is nobody's in the blue tenant. Its ARP requests stay without an answer, so it is told one.
    let address = RED_2.v4.to_string();
    let before = RED_2.received()?;
    report.expect(
        &format!("blue-1 -> {address}, which only the red tenant has"),
        "0 of 3 answered",
        &format!("{} of 3 answered", BLUE_1.ping(RED_2.v4.into(), 3)?),
    );
    BLUE_1.run("ip", &["neighbor", "replace", &address, "lladdr", GATEWAY_MAC, "dev", "eth0"])?;
    let dropped = world.dpu(&BLUE_1)?.drops(BLUE_1.name, "no_mapping")?;
    report.expect(
        "the same with a forged ARP entry",
        "0 of 3 answered",
        &format!("{} of 3 answered", BLUE_1.ping(RED_2.v4.into(), 3)?),
    );
    let dropped = world.dpu(&BLUE_1)?.drops(BLUE_1.name, "no_mapping")? - dropped;
    report.expect("dropped at blue-1 as no_mapping", "3 packets", &format!("{dropped} packets"));
    let arrived = RED_2.received()? - before;
    report.expect("meanwhile at red-2", "0 packets", &format!("{arrived} packets"));
    BLUE_1.run("ip", &["neighbor", "delete", &address, "dev", "eth0"]).map(|_| ())
}

fn closed_port(world: &World, report: &mut Report) -> Result<()> {
    report.step("A port that no security group opens is refused, by name");
    for (from, to, counted) in [(&RED_1, &RED_3, &RED_3), (&RED_1, &RED_2, &RED_1)] {
        let reason = "security_group_ingress";
        let before = world.dpu(counted)?.drops(counted.name, reason)?;
        let connects = from.connects(to.v4.into(), NEVER_OPEN)?;
        report.expect(
            &format!("{} -> {} port {NEVER_OPEN}", from.name, to.name),
            "no connection",
            if connects { "a connection" } else { "no connection" },
        );
        let dropped = world.dpu(counted)?.drops(counted.name, reason)? - before;
        report.check(
            &format!("penstock get interface: {reason} at {}", counted.name),
            "1 or more",
            &format!("{dropped}"),
            dropped > 0,
        );
    }
    Ok(())
}

fn tcp(world: &mut World, report: &mut Report, ledger: &mut Ledger) -> Result<Vec<String>> {
    report.step("TCP at full speed (iperf3), both ways");
    for vm in [&RED_2, &RED_3, &RED_4] {
        world.beside.push(iperf::serve(vm, KEPT_PORT)?);
    }
    world.beside.push(iperf::serve(&RED_3, CLOSED_PORT)?);
    interrupt::sleep(Duration::from_millis(200))?;
    let tests: [(&Vm, IpAddr, &Vm, &str); 4] = [
        (&RED_1, RED_3.v4.into(), &RED_3, "across DPUs"),
        (&RED_1, RED_3.v6.into(), &RED_3, "across DPUs, IPv6"),
        (&RED_1, RED_2.v4.into(), &RED_2, "on the same DPU"),
        (&RED_1, RED_4.v4.into(), &RED_4, "with the Linux VTEP"),
    ];
    let mut purposes = Vec::new();
    for (from, address, to, way) in tests {
        for (sender, receiver, options) in
            [(from, to, [].as_slice()), (to, from, ["--reverse"].as_slice())]
        {
            let purpose = format!("{} -> {}, {way}", sender.name, receiver.name);
            let seen = match iperf::run(from, address, KEPT_PORT, 2, options) {
                Ok(transfer) => format!("{:.0} Mbit/s", transfer.megabits_per_second),
                Err(error) if interrupt::check().is_ok() => error.to_string(),
                Err(interrupted) => return Err(interrupted),
            };
            let is_right = seen.ends_with(" Mbit/s") && seen != "0 Mbit/s";
            report.check(&purpose, "a transfer to the end", &seen, is_right);
            ledger.take_down(&world.dpus, &purpose)?;
            purposes.push(purpose);
        }
    }
    Ok(purposes)
}

/// The connection to a port that the NIC has, both ways: of iperf3's two, the one with the data.
fn data_flow(flows: Vec<Flow>, port: u16) -> Option<Flow> {
    flows
        .into_iter()
        .filter(|flow| flow.destination_port == port && flow.is_in_hardware())
        .max_by_key(Flow::hardware)
}

/// The flow at both DPUs, as soon as both have it in their NICs and their rules have carried something.
fn offloaded(world: &World, port: u16) -> Result<[Flow; 2]> {
    let both = || -> Result<Option<[Flow; 2]>> {
        let mut flows = Vec::new();
        for dpu in &world.dpus {
            flows.extend(data_flow(dpu.flows()?, port).filter(|flow| flow.hardware() > 100));
        }
        Ok(flows.try_into().ok())
    };
    interrupt::wait_for(Duration::from_secs(5), both)?
        .ok_or_else(|| miette!("the connection to port {port} does not get into both NICs"))
}

fn policy(world: &World, report: &mut Report, ledger: &mut Ledger) -> Result<()> {
    report
        .step("A change of policy stops one offloaded connection, and leaves its neighbour alone");
    let rate = ["--bitrate", "20M"];
    let neighbor = thread::spawn(move || iperf::run(&RED_1, RED_3.v4.into(), KEPT_PORT, 8, &rate));
    let mut stopped = iperf::client(&RED_1, RED_3.v4.into(), CLOSED_PORT, 60);
    stopped.args(rate).args(["--reverse", "--interval", "0.1", "--forceflush"]);
    let (stopped, lines) = Running::start_talking(&mut stopped)?;

    let before_stopped = offloaded(world, CLOSED_PORT)?;
    let before = offloaded(world, KEPT_PORT)?;
    for (dpu, flow) in world.dpus.iter().zip(&before_stopped) {
        let what = format!("{}: the connection to port {CLOSED_PORT}", dpu.node().name);
        let seen = format!("{} packets", flow.hardware());
        report.check(&what, "in the NIC, both ways", &format!("just that, {seen}"), true);
    }
    for dpu in &world.dpus {
        for flow in dpu.flows()? {
            let is_stopped = flow.destination_port == CLOSED_PORT;
            ledger.record(dpu.node().name, &flow, if is_stopped { STOPPED } else { NEIGHBOR });
        }
    }
    let lost_before = RED_1.segments_lost(KEPT_PORT)?;
    let applied = Instant::now();
    for dpu in world.dpus.iter().rev() {
        let said = dpu.apply(&["network.yaml", "policy-without-5202.yaml"])?;
        let what = format!("{}: penstock apply, without port {CLOSED_PORT}", dpu.node().name);
        report.expect(&what, "applied: 1 change", said.lines().last().unwrap_or_default());
    }
    interrupt::sleep(Duration::from_secs(2))?;

    let seen = iperf::last_arrival(&lines).map(|last| last.saturating_duration_since(applied));
    report.check(
        &format!("last data over port {CLOSED_PORT} after the change"),
        &format!("within {} s", STOPS_WITHIN.as_secs()),
        &seen.map_or_else(
            || "never any".to_owned(),
            |after| format!("{:.1} s", after.as_secs_f64()),
        ),
        seen.is_some_and(|after| after < STOPS_WITHIN),
    );
    // Who may receive is decided where the receiver is; the sender's DPU sees a connection that has fallen silent.
    let receiver = world.dpu(&RED_3)?;
    let left = receiver.flows()?.iter().filter(|flow| flow.destination_port == CLOSED_PORT).count();
    let what = format!("{}: connections to port {CLOSED_PORT}", receiver.node().name);
    report.expect(&what, "0", &format!("{left}"));
    drop(stopped);

    interrupt::sleep(COUNTERS)?;
    for (dpu, before) in world.dpus.iter().zip(&before) {
        let name = dpu.node().name;
        let after = dpu.flows()?.into_iter().find(|flow| flow.is_same_as(before));
        let path = after.as_ref().map_or("gone", |flow| {
            if flow.is_in_hardware() { "in the NIC, both ways" } else { "in software" }
        });
        report.expect(&format!("{name}: the neighbour"), "in the NIC, both ways", path);
        let Some(after) = after else { continue };
        report.expect(
            &format!("{name}: its packets in software meanwhile"),
            "0",
            &format!("{}", after.software() - before.software()),
        );
        let carried = after.hardware().saturating_sub(before.hardware());
        report.check(
            &format!("{name}: its packets in the NIC meanwhile"),
            "more than 1000",
            &format!("{carried}"),
            carried > 1000,
        );
    }
    let lost = RED_1.segments_lost(KEPT_PORT)?.saturating_sub(lost_before);
    let what = "the neighbour's TCP since the change";
    report.expect(what, "0 segments lost", &format!("{lost} segments lost"));
    neighbor.join().map_err(|_| miette!("the neighbour's test failed"))??;
    ledger.take_down(&world.dpus, NEIGHBOR)
}

fn table(
    world: &World,
    report: &mut Report,
    ledger: &mut Ledger,
    purposes: Vec<String>,
) -> Result<()> {
    report.step("Who carried the packets");
    interrupt::sleep(COUNTERS)?;
    ledger.take_down(&world.dpus, REST)?;
    let mut rows = Vec::new();
    let mut iperf = Sum::default();
    let tests = purposes.into_iter().chain([NEIGHBOR.to_owned(), STOPPED.to_owned()]);
    for purpose in tests {
        for (dpu, sum) in ledger.by_dpu(&purpose) {
            rows.push(row(&purpose, dpu, sum));
            iperf += sum;
        }
    }
    rows.push(row("all of iperf3", "both", iperf));
    for (dpu, sum) in ledger.by_dpu(REST) {
        rows.push(row(REST, dpu, sum));
    }
    let headings =
        ["traffic", "DPU", "connections", "packets by NIC rules", "packets in software", "share"];
    report::table(headings, rows);
    report.check(
        "iperf3's packets carried by NIC rules",
        &format!("{SHARE} % or more"),
        &format!("{:.3} %", iperf.percent()),
        iperf.percent() >= SHARE,
    );
    Ok(())
}

fn row(purpose: &str, dpu: &str, sum: Sum) -> [String; 6] {
    [
        purpose.to_owned(),
        dpu.to_owned(),
        sum.connections.to_string(),
        sum.hardware.to_string(),
        sum.software.to_string(),
        format!("{:.2} %", sum.percent()),
    ]
}
